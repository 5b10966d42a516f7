//! Mistakes in files that a user wrote: where they stand, what is wrong, and what was probably meant.
//!
//! A file is read to its end and every mistake in it is collected, so that one look at the terminal is enough to mend
//! them all. The form is rustc's, because many people can already read it:
//!
//! ```text
//! error: unknown key `metods`
//!   --> harness.yaml:7:1
//!    |
//!  7 | metods:
//!    | ^^^^^^
//!   help: did you mean `methods`?
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use unicode_width::UnicodeWidthStr as _;

use crate::files;
use crate::text::shown;

/// The `file` of a mistake that was typed on the command line rather than in a file.
pub const COMMAND_LINE: &str = "command line";

/// No more of a source line than this is shown around a mistake, in columns of the terminal.
const EXCERPT_COLUMNS: usize = 100;
/// A source line longer than this is not shown at all.
const LINE_BYTES: u64 = 16 << 20;
/// Mistakes of one file that are said one by one; nobody mends more in one go.
const MISTAKES_A_FILE: usize = 200;
/// What was typed is not compared with valid names when it is longer than this.
const NAME_CHARS: usize = 100;

/// A value and the place in a user's file where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl<T> Located<T> {
    /// The same place, with another value.
    pub fn with<U>(&self, value: U) -> Located<U> {
        Located { value, file: self.file.clone(), line: self.line, column: self.column }
    }

    /// A mistake at this place.
    pub fn mistake(&self, key: impl Into<String>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.file, self.line, self.column, key, message)
    }
}

/// One mistake in a file that the user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the user would name it, or [`COMMAND_LINE`].
    pub file: PathBuf,
    /// Counted from 1; 0 where a line means nothing (the command line).
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The offending key, as a path: `statistics.confidence`, `methods[2]`.
    pub key: String,
    /// What is wrong, without position and without advice.
    pub message: String,
    /// The valid name nearest to what was typed.
    pub suggestion: Option<String>,
    /// Other advice: what would be valid here, how to write it.
    pub help: Option<String>,
    width: usize,
    excerpt: Option<Excerpt>,
}

/// The part of a source line that is shown, and where the caret goes below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Columns of the terminal before it.
    caret: usize,
    /// Columns that it underlines.
    carets: usize,
}

impl Diagnostic {
    /// A mistake at a place; its source line is looked up by [`Diagnostics::read_sources`].
    pub fn new(
        file: impl AsRef<Path>,
        line: usize,
        column: usize,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Diagnostic {
            file: file.as_ref().to_path_buf(),
            line,
            column,
            key: key.into(),
            message: message.into(),
            suggestion: None,
            help: None,
            width: 1,
            excerpt: None,
        }
    }

    /// A mistake in an option of the command line, e.g. `--methods`.
    pub fn on_command_line(option: &str, message: impl Into<String>) -> Self {
        Diagnostic::new(COMMAND_LINE, 0, 0, option, message)
    }

    /// Underlines this many characters instead of one.
    pub fn with_width(mut self, characters: usize) -> Self {
        self.width = characters.max(1);
        self
    }

    /// Says what would help, unless that is empty.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into()).filter(|help| !help.is_empty());
        self
    }

    /// Suggests the valid name nearest to what was typed; where none is near, lists the valid ones.
    pub fn with_nearest<'a>(mut self, typed: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        let valid: Vec<&str> = valid.into_iter().collect();
        self.suggestion = nearest(typed, valid.iter().copied()).map(str::to_owned);
        if self.suggestion.is_none() && !valid.is_empty() {
            self.help = Some(format!("valid here: {}", list(&valid)));
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", shown(&self.message))?;
        let file = self.file.display().to_string();
        let file = shown(&file);
        if self.line == 0 {
            write!(f, "\n  --> {file}")?;
            if !self.key.is_empty() {
                write!(f, " ({})", shown(&self.key))?;
            }
        } else {
            write!(f, "\n  --> {file}:{}:{}", self.line, self.column)?;
        }
        if let Some(excerpt) = &self.excerpt {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            let carets = "^".repeat(excerpt.carets);
            write!(f, "\n {gutter} |\n {number} | {}", excerpt.text)?;
            write!(f, "\n {gutter} | {}{carets}", " ".repeat(excerpt.caret))?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  help: did you mean {}?", quote(suggestion))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", shown(help))?;
        }
        Ok(())
    }
}

/// Mistakes that are reported together, in the order of the files and of the lines in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds another file's mistakes.
    pub fn extend(&mut self, other: Diagnostics) {
        self.0.extend(other.0);
    }

    /// Puts the mistakes of one file together and in the order of their lines, drops those said twice, and looks up the
    /// source line of each. Beyond the first 200 of a file they are counted. Files keep the order in which they were first named; the command line comes first.
    pub fn finished(mut self) -> Self {
        let mut order: Vec<PathBuf> = vec![PathBuf::from(COMMAND_LINE)];
        for mistake in &self.0 {
            if !order.contains(&mistake.file) {
                order.push(mistake.file.clone());
            }
        }
        let place = |file: &Path| order.iter().position(|known| known == file);
        self.0.sort_by_cached_key(|mistake| (place(&mistake.file), mistake.line, mistake.column));
        let mut seen: Vec<Diagnostic> = Vec::with_capacity(self.0.len());
        for mistake in self.0 {
            let same = |other: &&Diagnostic| {
                (other.line, other.column) == (mistake.line, mistake.column) && other.file == mistake.file
            };
            if !seen.iter().rev().take_while(same).any(|other| other.message == mistake.message) {
                seen.push(mistake);
            }
        }
        let mut files: Vec<Vec<Diagnostic>> = order.iter().map(|_| Vec::new()).collect();
        for mistake in seen {
            if let Some(file) = place(&mistake.file) {
                files[file].push(mistake);
            }
        }
        self.0 = files
            .into_iter()
            .flat_map(|mistakes| {
                let mut capped = Capped::new(MISTAKES_A_FILE);
                mistakes.into_iter().for_each(|mistake| capped.push(mistake));
                capped.finish()
            })
            .collect();
        self.read_sources();
        self
    }

    /// Looks up the source lines that are to be shown. A file that cannot be read (any more) is shown without.
    pub fn read_sources(&mut self) {
        let mut wanted: BTreeMap<PathBuf, BTreeSet<usize>> = BTreeMap::new();
        for mistake in self.0.iter().filter(|mistake| mistake.line > 0 && mistake.excerpt.is_none()) {
            wanted.entry(mistake.file.clone()).or_default().insert(mistake.line);
        }
        for (file, lines) in wanted {
            let Some(found) = source_lines(&file, &lines) else { continue };
            for mistake in self.0.iter_mut().filter(|mistake| mistake.file == file) {
                let line = found.get(&mistake.line);
                mistake.excerpt = line.and_then(|line| excerpt(line, mistake.column, mistake.width));
            }
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            write!(f, "{mistake}\n\n")?;
        }
        let files: BTreeSet<&Path> = self.0.iter().map(|mistake| mistake.file.as_path()).collect();
        match (self.0.len(), files.len()) {
            (1, _) => write!(f, "1 mistake"),
            (mistakes, 1) => write!(f, "{mistakes} mistakes"),
            (mistakes, _) if files.contains(Path::new(COMMAND_LINE)) => write!(f, "{mistakes} mistakes"),
            (mistakes, files) => write!(f, "{mistakes} mistakes in {files} files"),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// Collects the mistakes of one data file: shows the first, counts the rest.
#[derive(Debug)]
pub(crate) struct Capped {
    shown: Vec<Diagnostic>,
    cap: usize,
    hidden: usize,
    first_hidden: Option<Diagnostic>,
}

impl Capped {
    pub(crate) fn new(cap: usize) -> Self {
        Capped { shown: Vec::new(), cap, hidden: 0, first_hidden: None }
    }

    pub(crate) fn push(&mut self, mistake: Diagnostic) {
        if self.shown.len() < self.cap {
            self.shown.push(mistake);
        } else {
            self.hidden += 1;
            self.first_hidden.get_or_insert(mistake);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// Adds what another collector with the same cap has.
    pub(crate) fn absorb(&mut self, other: Capped) {
        for mistake in other.shown {
            self.push(mistake);
        }
        self.hidden += other.hidden;
        self.first_hidden = self.first_hidden.take().or(other.first_hidden);
    }

    /// The mistakes shown, then one that says how many are not.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        if let Some(first) = self.first_hidden {
            let (many, are) = if self.hidden == 1 { ("mistake", "is") } else { ("mistakes", "are") };
            let message = format!("{} more {many} in this file {are} not shown; the first stands here", self.hidden);
            self.shown.push(Diagnostic { message, suggestion: None, help: None, ..first });
        }
        self.shown
    }
}

/// The valid name nearest to what was typed, if any is near enough to be what was meant.
///
/// Near is: the same but for case and separators; the same words in another order (`norm_freeze+tsg`); a beginning of
/// it at least three characters long; or an edit distance (with transpositions) of at most a third of its length.
pub fn nearest<'a>(typed: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if typed.is_empty() || typed.chars().count() > NAME_CHARS {
        return None;
    }
    let fold = |name: &str| -> String {
        name.trim().chars().map(|c| if c == '-' || c == ' ' { '_' } else { c }).collect::<String>().to_lowercase()
    };
    let words = |name: &str| -> Vec<String> {
        let mut words: Vec<String> = name.split('+').map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    let typed = fold(typed);
    let mut best: Option<(usize, &str)> = None;
    for name in valid {
        let folded = fold(name);
        let length = typed.chars().count();
        let distance = if folded == typed || words(&folded) == words(&typed) {
            0
        } else {
            let distance = strsim::damerau_levenshtein(&typed, &folded);
            let near = distance <= length.max(3) / 3;
            let beginning = length >= 3 && folded.starts_with(&typed);
            match (near, beginning) {
                (true, _) => distance,
                (false, true) => length.max(3) / 3 + 1,
                (false, false) => continue,
            }
        };
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Text of a user's in a message: in backquotes, shortened, and as [`shown`] shows it.
pub fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut quoted = String::from("`");
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN {
            quoted.push('…');
            break;
        }
        quoted.push_str(&shown(character.encode_utf8(&mut [0; 4])));
    }
    quoted.push('`');
    quoted
}

/// Names in a sentence, each in backquotes, the first twenty of them.
pub fn list(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    let mut text = String::new();
    for (index, name) in names.iter().take(SHOWN).enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&quote(name));
    }
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

/// The asked-for lines of a file, by their number from 1. Stops reading at the last of them.
fn source_lines(file: &Path, wanted: &BTreeSet<usize>) -> Option<BTreeMap<usize, String>> {
    let last = *wanted.last()?;
    let mut reader = BufReader::new(files::open(file, files::DATA).ok()?);
    let mut found = BTreeMap::new();
    let mut bytes = Vec::new();
    for number in 1..=last {
        bytes.clear();
        let read = reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut bytes).ok()?;
        if read == 0 {
            break;
        }
        let whole = bytes.len() < LINE_BYTES as usize || bytes.ends_with(b"\n");
        if !whole && skip_line(&mut reader).is_err() {
            break;
        }
        if whole && wanted.contains(&number) {
            let line = String::from_utf8_lossy(&bytes);
            let line = if number == 1 { line.trim_start_matches('\u{FEFF}') } else { &line };
            found.insert(number, line.trim_end_matches(['\n', '\r']).to_owned());
        }
    }
    Some(found)
}

/// Reads up to and with the next line break, and says how many bytes that were.
pub(crate) fn skip_line(reader: &mut impl BufRead) -> std::io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(skipped);
        }
        let (used, done) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        reader.consume(used);
        skipped += used as u64;
        if done {
            return Ok(skipped);
        }
    }
}

/// What is shown of a line: all of it when it is short, else what stands around the column. A character takes as many
/// columns of the terminal as it takes there: two for most of Chinese, none for an accent on the letter before it, eight
/// for an escape in the place of what must not be shown.
fn excerpt(line: &str, column: usize, width: usize) -> Option<Excerpt> {
    let caret = column.checked_sub(1)?;
    let at = line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(caret)?;
    // A line may have millions of characters; beyond these none is shown.
    let (before, after) = line.split_at(at);
    let mut cells: Vec<Cow<'static, str>> = before.chars().rev().take(EXCERPT_COLUMNS).map(cell).collect();
    cells.reverse();
    let caret = cells.len();
    cells.extend(after.chars().take(EXCERPT_COLUMNS).map(cell));
    let is_cut = [before, after].map(|part| part.chars().nth(EXCERPT_COLUMNS).is_some());

    let (mut start, mut end) = (0, cells.len());
    if is_cut.contains(&true) || columns(&cells) > EXCERPT_COLUMNS {
        let lead = (EXCERPT_COLUMNS - width.min(EXCERPT_COLUMNS / 2)) / 2;
        let mut room = EXCERPT_COLUMNS;
        start = caret;
        while start > 0 && EXCERPT_COLUMNS - room + cells[start - 1].width() <= lead {
            start -= 1;
            room -= cells[start].width();
        }
        end = caret;
        while end < cells.len() && cells[end].width() <= room {
            room -= cells[end].width();
            end += 1;
        }
    }
    let ellipsis = |is_cut: bool| if is_cut { "…" } else { "" };
    let lead = format!("{}{}", ellipsis(is_cut[0] || start > 0), cells[start..caret].concat());
    let marked = &cells[caret..end.min(caret.saturating_add(width)).max(caret)];
    Some(Excerpt {
        text: format!("{lead}{}{}", cells[caret..end].concat(), ellipsis(is_cut[1] || end < cells.len())),
        caret: lead.width(),
        // Where the line ends, what is missing there.
        carets: columns(marked).max(1),
    })
}

/// A character of a source line as it is shown.
fn cell(character: char) -> Cow<'static, str> {
    match character {
        '\t' => Cow::Borrowed(" "),
        _ => Cow::Owned(shown(character.encode_utf8(&mut [0; 4])).into_owned()),
    }
}

fn columns(cells: &[Cow<'static, str>]) -> usize {
    cells.concat().width()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METHODS: [&str; 7] =
        ["gim", "gradient", "tsg", "norm_freeze", "tsg+norm_freeze", "integrated_gradients", "attention_rollout"];

    #[test]
    fn nearest_names() {
        for (typed, meant) in [
            ("gmi", Some("gim")),
            ("GIM", Some("gim")),
            ("gradeint", Some("gradient")),
            ("integrated-gradients", Some("integrated_gradients")),
            ("integrated", Some("integrated_gradients")),
            ("norm_freeze+tsg", Some("tsg+norm_freeze")),
            ("atention_rolout", Some("attention_rollout")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, METHODS), meant, "{typed}");
        }
        assert_eq!(nearest(&"g".repeat(101), METHODS), None);
    }

    #[test]
    fn a_mistake_reads_like_rustc() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("harness.yaml");
        std::fs::write(&file, "name: demo\n\tmetods: [gim]\n").unwrap();
        let mistake = Diagnostic::new(&file, 2, 2, "metods", "unknown key `metods`")
            .with_width(6)
            .with_nearest("metods", ["models", "methods"]);
        let text = Diagnostics(vec![mistake]).finished().to_string();
        insta::assert_snapshot!(text.replace(&file.display().to_string(), "harness.yaml"), @r"
        error: unknown key `metods`
          --> harness.yaml:2:2
           |
         2 |  metods: [gim]
           |  ^^^^^^
          help: did you mean `methods`?

        1 mistake
        ");
    }

    #[test]
    fn long_lines_are_cut_around_the_column() {
        let line = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let cut = excerpt(&line, 501, 4).unwrap();
        assert!(cut.text.width() <= EXCERPT_COLUMNS + 2);
        assert!(cut.text.chars().skip(cut.caret).collect::<String>().starts_with("HERE"));
        let wide = excerpt(&format!("{}HERE{}", "漢".repeat(500), "字".repeat(500)), 501, 4).unwrap();
        assert!(wide.text.width() <= EXCERPT_COLUMNS + 2, "{}", wide.text.width());
    }

    #[test]
    fn the_caret_stands_where_the_terminal_shows_the_character() {
        for (line, column, width, caret, carets) in [
            ("漢字: x", 5, 1, 6, 1),
            ("é: x", 4, 1, 3, 1),
            ("e\u{301}: x", 5, 1, 3, 1),
            ("👍 x: y", 3, 1, 3, 1),
            ("⚠\u{FE0F} x", 4, 1, 3, 1),
            ("\tx: 漢字", 5, 2, 4, 4),
            ("\u{202e}x", 2, 1, 8, 1),
            ("\u{1b}[2J x", 6, 1, 10, 1),
            ("漢", 2, 1, 2, 1),
        ] {
            let found = excerpt(line, column, width).unwrap();
            assert_eq!((found.caret, found.carets), (caret, carets), "{line:?} {:?}", found.text);
        }
    }

    #[test]
    fn the_rest_is_counted() {
        let mut capped = Capped::new(2);
        for line in 1..=5 {
            capped.push(Diagnostic::new("data.jsonl", line, 1, "id", format!("mistake {line}")));
        }
        let mistakes = capped.finish();
        assert_eq!(mistakes.len(), 3);
        assert_eq!(mistakes[2].message, "3 more mistakes in this file are not shown; the first stands here");
        assert_eq!(mistakes[2].line, 3);
    }

    #[test]
    fn mistakes_are_put_in_order_and_said_once() {
        let at = |file: &str, line| Diagnostic::new(file, line, 1, "", "m");
        let command = Diagnostic::on_command_line("--methods", "unknown method `gmi`");
        let mistakes = Diagnostics(vec![at("b", 9), at("a", 2), at("b", 1), at("b", 9), command]).finished();
        let order: Vec<(String, usize)> =
            mistakes.0.iter().map(|mistake| (mistake.file.display().to_string(), mistake.line)).collect();
        let expected = [(COMMAND_LINE, 0), ("b", 1), ("b", 9), ("a", 2)];
        assert_eq!(order, expected.map(|(file, line)| (file.to_owned(), line)));
    }

    proptest! {
        #[test]
        fn rendering_never_panics_and_never_passes_on_control_characters(
            line in any::<String>(), column in 0usize..50, width in 0usize..50, message in any::<String>()
        ) {
            let mut mistake = Diagnostic::new("f", 1, column, "k", message).with_width(width);
            mistake.excerpt = excerpt(&line, column, width);
            let text = mistake.to_string();
            prop_assert!(text.chars().all(|c| c == '\n' || !crate::text::acts(c)), "{text:?}");
        }

        #[test]
        fn nearest_returns_a_valid_name(typed in any::<String>()) {
            if let Some(name) = nearest(&typed, METHODS) {
                prop_assert!(METHODS.contains(&name));
            }
        }
    }
}
