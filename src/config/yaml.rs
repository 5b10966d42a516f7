//! YAML text to a small tree in which every node knows where it was written.
//!
//! The events come from `saphyr-parser` (YAML 1.2). Files may be hostile: depth and the number of nodes are bounded, and
//! an alias counts for all that it stands for, so that a few lines of aliases to aliases cannot grow into billions.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::diagnostics::{Diagnostic, quote};

/// Mappings and lists inside each other.
const MAX_DEPTH: usize = 32;
/// Nodes of a file, aliases written out.
const MAX_NODES: usize = 20_000;
/// Places inside a text are not looked for in longer lines.
const MAX_LINE_BYTES: usize = 10_000;

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Characters to underline.
    pub width: usize,
    pub content: Content,
    depth: usize,
    size: usize,
}

#[derive(Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    /// In the order of the file; a key stands in it once.
    Mapping(Vec<(Key, Rc<Node>)>),
}

#[derive(Debug)]
pub(super) struct Scalar {
    /// Quotes and escapes resolved.
    pub text: String,
    /// Written without quotes: may be a number, a truth value or nothing.
    plain: bool,
    /// The column of the text's first character, where the text stands in the file exactly as it is here.
    verbatim: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Key {
    pub text: String,
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

/// What a scalar is in YAML's core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Atom<'a> {
    Null,
    Bool,
    Integer(i128),
    Float(f64),
    Text(&'a str),
}

impl Node {
    /// The value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Content::Mapping(entries) = &self.content else { return None };
        entries.iter().find(|(known, _)| known.text == key).map(|(_, value)| value.as_ref())
    }

    pub fn atom(&self) -> Option<Atom<'_>> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar.atom()),
            Content::List(_) | Content::Mapping(_) => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.atom() == Some(Atom::Null)
    }

    /// The scalar as it was written, whatever it looks like.
    pub fn scalar_text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(scalar) => Some(&scalar.text),
            Content::List(_) | Content::Mapping(_) => None,
        }
    }

    /// For "expected X, found ...".
    pub fn described(&self) -> &'static str {
        match self.atom() {
            Some(Atom::Null) => "nothing",
            Some(Atom::Bool) => "a truth value",
            Some(Atom::Integer(_) | Atom::Float(_)) => "a number",
            Some(Atom::Text(_)) => "text",
            None if matches!(self.content, Content::List(_)) => "a list",
            None => "a mapping",
        }
    }

    /// Line and column of a character of the scalar's text; of its beginning where escapes or folding moved it.
    pub fn position_of(&self, character: usize) -> (usize, usize) {
        let Content::Scalar(Scalar { text, verbatim: Some(column), .. }) = &self.content else {
            return (self.line, self.column);
        };
        let before = text.chars().take(character);
        let (line, within) = before.fold((0, 0), |(line, within), character| match character {
            '\n' => (line + 1, 0),
            _ => (line, within + 1),
        });
        (self.line + line, column + within)
    }
}

impl Scalar {
    fn atom(&self) -> Atom<'_> {
        if !self.plain {
            return Atom::Text(&self.text);
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Atom::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Atom::Bool,
            text => number(text).unwrap_or(Atom::Text(text)),
        }
    }
}

/// Numbers of the core schema: `-12`, `0x1f`, `0o17`, `1.5`, `.5`, `1e9`; not `inf`, not `1_000`.
fn number(text: &str) -> Option<Atom<'static>> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i128::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['+', '-'])).map(Atom::Integer);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i128::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with(['+', '-'])).map(Atom::Integer);
    }
    let starts = text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !starts || !text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E')) {
        return None;
    }
    match text.parse() {
        Ok(integer) => Some(Atom::Integer(integer)),
        Err(_) => text.parse().ok().map(Atom::Float),
    }
}

/// Reads a text with exactly one document; mistakes that leave the rest readable are added to `mistakes`.
///
/// # Errors
/// `None` when there is nothing to check: the text is not YAML, is empty, or is out of bounds (a mistake says which).
pub(super) fn parse(file: &Path, text: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Rc<Node>> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut builder = Builder {
        file,
        lines: text.split('\n').collect(),
        open: Vec::new(),
        anchors: HashMap::new(),
        documents: 0,
        nodes: 0,
        root: None,
        mistakes,
    };
    match builder.read(text) {
        Ok(()) if builder.root.is_none() => {
            builder.mistakes.push(Diagnostic::new(file, 1, 1, "", "the file is empty"));
            None
        }
        Ok(()) => builder.root,
        Err(mistake) => {
            builder.mistakes.push(*mistake);
            None
        }
    }
}

/// A list or mapping whose end has not come yet.
struct Open {
    span: Span,
    anchor: usize,
    kind: Collection,
}

enum Collection {
    List(Vec<Rc<Node>>),
    Mapping { entries: Vec<(Key, Rc<Node>)>, key: Option<Option<Key>>, known: HashSet<String> },
}

struct Builder<'a> {
    file: &'a Path,
    lines: Vec<&'a str>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    documents: usize,
    nodes: usize,
    root: Option<Rc<Node>>,
    mistakes: &'a mut Vec<Diagnostic>,
}

/// A mistake after which the rest of the file says nothing.
type Fatal = Box<Diagnostic>;

impl Builder<'_> {
    fn read(&mut self, text: &str) -> Result<(), Fatal> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let mark = error.marker();
                let message = format!("this is not YAML: {}", error.info());
                let help = self.syntax_help(mark.line());
                Box::new(Diagnostic::new(self.file, mark.line(), mark.col() + 1, "", message).with_help(help))
            })?;
            match event {
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(_) => {
                    self.documents += 1;
                    if self.documents == 2 {
                        let message = "a second document begins here; a file holds one";
                        return Err(self.fatal(span, message).into());
                    }
                }
                Event::Alias(anchor) => {
                    let node = self.anchors.get(&anchor).cloned();
                    let node = node.ok_or_else(|| self.fatal(span, "this alias stands inside what it refers to"))?;
                    self.place(node, span)?;
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = self.plain(span, style, tag.as_deref());
                    let verbatim = self.verbatim(span, style, &text);
                    let content = Content::Scalar(Scalar { text: text.into_owned(), plain, verbatim });
                    self.finish(span, anchor, content, 0, 1)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.reject_tag(span, tag.as_deref(), "seq");
                    self.begin(span, anchor, Collection::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.reject_tag(span, tag.as_deref(), "map");
                    let mapping = Collection::Mapping { entries: Vec::new(), key: None, known: HashSet::new() };
                    self.begin(span, anchor, mapping)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end()?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, span: Span, anchor: usize, kind: Collection) -> Result<(), Fatal> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fatal(span, format!("more than {MAX_DEPTH} levels inside each other")).into());
        }
        self.open.push(Open { span, anchor, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fatal> {
        let Some(Open { span, anchor, kind }) = self.open.pop() else { return Ok(()) };
        let (content, depth, size) = match kind {
            Collection::List(items) => {
                let (depth, size) = extent(items.iter());
                (Content::List(items), depth, size)
            }
            Collection::Mapping { entries, .. } => {
                let (depth, size) = extent(entries.iter().map(|(_, value)| value));
                (Content::Mapping(entries), depth, size)
            }
        };
        self.finish(span, anchor, content, depth, size)
    }

    fn finish(&mut self, span: Span, anchor: usize, content: Content, depth: usize, size: usize) -> Result<(), Fatal> {
        let width = match content {
            Content::Scalar(_) => width(span),
            _ => 1,
        };
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let node = Rc::new(Node { line, column, width, content, depth, size });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node, span)
    }

    /// Puts a finished node where it belongs: as the root, as an item, as a key or as a key's value.
    fn place(&mut self, node: Rc<Node>, span: Span) -> Result<(), Fatal> {
        if self.open.len() + node.depth > MAX_DEPTH {
            return Err(self.fatal(span, format!("more than {MAX_DEPTH} levels inside each other")).into());
        }
        self.nodes += 1;
        if node.size > MAX_NODES || self.nodes > MAX_NODES {
            return Err(self.fatal(span, format!("more than {MAX_NODES} values, aliases written out")).into());
        }
        let file = self.file;
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Collection::List(items)) => items.push(node),
            Some(Collection::Mapping { entries, key, known }) => match key.take() {
                None => {
                    let place = |message: String| {
                        Diagnostic::new(file, span.start.line(), span.start.col() + 1, "", message)
                            .with_width(width(span))
                    };
                    let text = node.scalar_text().filter(|text| !text.is_empty());
                    let Some(text) = text else {
                        let message = format!("expected a name as key, found {}", node.described());
                        self.mistakes.push(place(message));
                        *key = Some(None);
                        return Ok(());
                    };
                    if text == "<<" {
                        let mistake = place("merging mappings with `<<` is not part of YAML 1.2".to_owned());
                        self.mistakes.push(mistake.with_help("write the keys out"));
                        *key = Some(None);
                    } else if !known.insert(text.to_owned()) {
                        let first = entries.iter().find(|(earlier, _)| earlier.text == text);
                        let line = first.map_or(0, |(earlier, _)| earlier.line);
                        let mut mistake = place(format!("the key {} was already given in line {line}", quote(text)));
                        mistake.key = text.to_owned();
                        self.mistakes.push(mistake);
                        *key = Some(None);
                    } else {
                        *key = Some(Some(Key {
                            text: text.to_owned(),
                            line: span.start.line(),
                            column: span.start.col() + 1,
                            width: width(span),
                        }));
                    }
                }
                Some(Some(key)) => entries.push((key, node)),
                // The key was a mistake, and was reported; what it names is not looked at.
                Some(None) => {}
            },
        }
        Ok(())
    }

    fn fatal(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.file, span.start.line(), span.start.col() + 1, "", message)
    }

    /// Whether a scalar may stand for something else than text.
    fn plain(&mut self, span: Span, style: ScalarStyle, tag: Option<&Tag>) -> bool {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => false,
            Some(tag) if tag.is_yaml_core_schema() => ["int", "float", "bool", "null"].contains(&&*tag.suffix),
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => false,
            Some(_) => {
                self.reject_tag(span, tag, "str");
                false
            }
            None => style == ScalarStyle::Plain,
        }
    }

    fn reject_tag(&mut self, span: Span, tag: Option<&Tag>, core: &str) {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == core)) {
            let mistake = self.fatal(span, format!("the tag {} has no meaning here", quote(&tag.to_string())));
            self.mistakes.push(mistake);
        }
    }

    /// The column of the text's first character, if every line of the text stands in the file as it was parsed and
    /// begins in that column.
    fn verbatim(&self, span: Span, style: ScalarStyle, text: &str) -> Option<usize> {
        let skipped = match style {
            ScalarStyle::Plain | ScalarStyle::Literal => 0,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
            ScalarStyle::Folded => return None,
        };
        let start = span.start.col() + skipped;
        if text.len() > MAX_LINE_BYTES {
            return None;
        }
        for (number, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            let written = self.lines.get(span.start.line().checked_sub(1)? + number)?;
            if written.len() > MAX_LINE_BYTES {
                return None;
            }
            let (byte, _) = written.char_indices().nth(start).unwrap_or((written.len(), ' '));
            if !written[byte..].starts_with(line) {
                return None;
            }
        }
        Some(start + 1)
    }

    /// What a reader should look at where the parser gave up.
    fn syntax_help(&self, line: usize) -> String {
        let text = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        if text.chars().take_while(|character| character.is_whitespace()).any(|character| character == '\t') {
            return "YAML is indented with spaces, not with tabs".to_owned();
        }
        let innermost = self.open.last().map(|open| open.span.start).filter(|start| start.line() < line);
        let bracket = innermost.and_then(|start| {
            let character = self.lines.get(start.line().checked_sub(1)?)?.chars().nth(start.col())?;
            ['[', '{'].contains(&character).then(|| format!("the `{character}` in line {} is still open", start.line()))
        });
        bracket.unwrap_or_default()
    }
}

/// Depth and size of a collection, itself counted.
fn extent<'a>(children: impl Iterator<Item = &'a Rc<Node>>) -> (usize, usize) {
    let (depth, size) =
        children.fold((0, 0usize), |(depth, size), child| (child.depth.max(depth), size.saturating_add(child.size)));
    (depth + 1, size.saturating_add(1))
}

fn width(span: Span) -> usize {
    if span.end.line() == span.start.line() { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (Option<Rc<Node>>, Vec<String>) {
        let mut mistakes = Vec::new();
        let root = parse(Path::new("f.yaml"), text, &mut mistakes);
        let mistakes = mistakes.iter().map(|m| format!("{}:{} {}", m.line, m.column, m.message)).collect();
        (root, mistakes)
    }

    #[test]
    fn places_and_kinds() {
        let (root, mistakes) = read("a: gim\nb:\n  - 'x y'\n  - {c: 3, d: ~}\né: \"ü\" # note\nf: yes\ng: .5\n");
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let root = root.unwrap();
        let a = root.get("a").unwrap();
        assert_eq!((a.line, a.column, a.width, a.atom()), (1, 4, 3, Some(Atom::Text("gim"))));
        let Content::List(items) = &root.get("b").unwrap().content else { panic!() };
        assert_eq!((items[0].line, items[0].column, items[0].position_of(2)), (3, 5, (3, 8)));
        let c = items[1].get("c").unwrap();
        assert_eq!((c.line, c.column, c.atom()), (4, 9, Some(Atom::Integer(3))));
        assert!(items[1].get("d").unwrap().is_null());
        assert_eq!(root.get("é").unwrap().column, 4);
        let (literal, _) = read("a: |\n  one\n\n  two {x}\n");
        assert_eq!(literal.unwrap().get("a").unwrap().position_of(9), (4, 7));
        let (folded, _) = read("a: >\n  one\n  two {x}\n");
        assert_eq!(folded.unwrap().get("a").unwrap().position_of(8), (2, 3));
        assert_eq!(root.get("f").unwrap().atom(), Some(Atom::Text("yes")));
        assert_eq!(root.get("g").unwrap().atom(), Some(Atom::Float(0.5)));
    }

    #[test]
    fn numbers_of_the_core_schema() {
        for (text, atom) in [
            ("12", Some(Atom::Integer(12))),
            ("-3", Some(Atom::Integer(-3))),
            ("+3", Some(Atom::Integer(3))),
            ("0x1f", Some(Atom::Integer(31))),
            ("0o17", Some(Atom::Integer(15))),
            ("1e3", Some(Atom::Float(1000.0))),
            ("0x-1", None),
            ("inf", None),
            ("1_000", None),
            ("e5", None),
            ("1.2.3", None),
        ] {
            assert_eq!(number(text), atom, "{text}");
        }
    }

    #[test]
    fn mistakes_that_leave_the_rest_readable() {
        let (root, mistakes) = read("a: 1\na: 2\n? [x]\n: 3\n<<: {b: 1}\nc: !mine 4\nd: 5\n");
        assert_eq!(
            mistakes,
            [
                "2:1 the key `a` was already given in line 1",
                "3:3 expected a name as key, found a list",
                "5:1 merging mappings with `<<` is not part of YAML 1.2",
                "6:4 the tag `!mine` has no meaning here",
            ]
        );
        assert_eq!(root.unwrap().get("d").unwrap().atom(), Some(Atom::Integer(5)));
    }

    #[test]
    fn what_is_not_one_document_of_yaml() {
        for (text, mistake) in [
            ("", "1:1 the file is empty"),
            ("# only a comment\n", "1:1 the file is empty"),
            ("a: 1\n---\nb: 2\n", "2:1 a second document begins here; a file holds one"),
            ("a: &x\n  b: *x\n", "2:6 this alias stands inside what it refers to"),
            ("a: [1, 2\nb: 3\n", "2:2 this is not YAML: "),
        ] {
            let (root, mistakes) = read(text);
            assert!(root.is_none(), "{text}");
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(mistake), "{text:?}: {mistakes:?}");
        }
    }

    #[test]
    fn aliases_are_followed_and_bombs_are_not() {
        let (root, mistakes) = read("a: &x [1, 2]\nb: *x\n");
        assert!(mistakes.is_empty());
        assert!(matches!(&root.unwrap().get("b").unwrap().content, Content::List(items) if items.len() == 2));

        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        let (root, mistakes) = read(&bomb);
        assert!(root.is_none());
        assert!(mistakes[0].contains("more than 20000 values"), "{mistakes:?}");

        let indented: String = (0..50).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        for deep in ["[".repeat(5000), "{a: ".repeat(5000), "- ".repeat(5000), "? ".repeat(5000), indented] {
            assert!(read(&deep).0.is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn never_panics(text in "(\\PC|\n|\t|\r|\u{0}|[-?:,\\[\\]{}#&*!|>'\"%@` a])*") {
            let _ = read(&text);
        }

        #[test]
        fn never_panics_on_yaml_like_text(
            parts in prop::collection::vec(prop::sample::select(vec![
                "a", ": ", "- ", "\n", "  ", "[", "]", "{", "}", ",", "&x ", "*x", "!t ", "|\n", ">-\n", "'", "\"", "\\",
                "? ", "#", "---\n", "...\n", "%YAML 1.2\n", "\t", "\r", "<<: ", "é", "\u{2028}", "\u{FEFF}",
            ]), 0..60)
        ) {
            let _ = read(&parts.concat());
        }
    }
}
