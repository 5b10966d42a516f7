//! Data files as rows, each of bounded size.
//!
//! One file a format behind one trait. A row has the fields that were asked for; what is wrong with it is said in the row,
//! so that reading goes on behind it.

mod documents;
mod eraser;
mod hatexplain;
mod json;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;
mod scifact;
mod separated;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;

use crate::config::{DataPlan, Format};
use crate::diagnostics::Diagnostic;
use crate::{files, lfs};

use super::spans::Span;

pub(super) use json::without_place;

/// A row longer than this is refused.
const MAX_ROW_BYTES: u64 = 16 << 20;
/// Field names remembered to suggest one of them.
const MAX_NAMES: usize = 1000;
/// Longer ones are not.
const MAX_NAME_BYTES: usize = 200;

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text; numbers and truth values as they were written.
    Text(String),
    Null,
    /// A JSON list or object, as it was written.
    Json(String),
    /// Spans of characters that the format states, of the field that it calls the context.
    Spans(Vec<Span>),
}

/// A place in a file, both counted from 1; line 0 where a file has no lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub line: usize,
    /// In characters; 1 where the format does not say.
    pub column: usize,
}

/// A value and the place at which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub value: Value,
    pub place: Place,
}

/// What is wrong with a row.
#[derive(Clone, Debug)]
pub(super) struct Flaw {
    /// The kind, for counting: "12 left out: WHY".
    pub why: &'static str,
    pub mistake: Diagnostic,
}

/// A row of the data file.
#[derive(Debug)]
pub(super) struct Row {
    pub place: Place,
    /// Counted from 1, for files without lines.
    pub number: usize,
    /// What the format takes for its id.
    pub id: Option<String>,
    /// The wanted fields in the order in which they were asked for; `None`: this row does not have it.
    pub cells: Vec<Option<Cell>>,
    /// With any, `cells` says nothing.
    pub flaws: Vec<Flaw>,
    /// The rows behind it cannot be read.
    pub is_last: bool,
    /// Why the format has no example of it although nothing is wrong with it.
    pub set_aside: Option<&'static str>,
}

impl Row {
    fn new(place: Place, number: usize, cells: Vec<Option<Cell>>) -> Self {
        Row { place, number, id: None, cells, flaws: Vec::new(), is_last: false, set_aside: None }
    }

    /// The same, behind which nothing can be read.
    fn ending(self) -> Self {
        Row { is_last: true, ..self }
    }
}

/// What is looked for in a file, and what was met there.
pub(super) struct Wanted {
    /// Stands in mistakes.
    pub file: PathBuf,
    pub fields: Vec<String>,
    names: BTreeSet<String>,
}

impl Wanted {
    /// Keeps the name of a field, to suggest it where another is looked for in vain.
    fn remember(&mut self, name: &str) {
        if self.names.len() < MAX_NAMES && name.len() <= MAX_NAME_BYTES && !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
    }

    /// The mistake at a place of a row.
    pub fn mistake(&self, place: Place, number: usize, key: &str, message: String) -> Diagnostic {
        let message = if place.line == 0 { format!("row {number}: {message}") } else { message };
        Diagnostic::new(&self.file, place.line, place.column, key, message)
    }

    /// A row that cannot be read.
    fn unreadable(&self, place: Place, number: usize, message: String) -> Row {
        self.flawed(place, number, "the record cannot be read", message)
    }

    fn flawed(&self, place: Place, number: usize, why: &'static str, message: String) -> Row {
        let mut row = Row::new(place, number, Vec::new());
        row.flaws.push(Flaw { why, mistake: self.mistake(place, number, "", message) });
        row
    }

    /// Puts what a format makes of a record among the wanted fields, all of them at the place of the row. Where the
    /// record has a field of that name, this one counts.
    fn fill(&mut self, row: &mut Row, made: Vec<(&str, Value)>) {
        for (name, value) in made {
            self.remember(name);
            if let Some(index) = self.fields.iter().position(|field| field == name) {
                row.cells[index] = Some(Cell { value, place: row.place });
            }
        }
    }
}

/// A file of rows.
trait Source {
    /// The next row.
    ///
    /// # Errors
    /// When the file cannot be read; what is wrong with a row is said in the row.
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>>;
}

/// Reads a data file row by row.
pub(super) struct Records {
    wanted: Wanted,
    source: Box<dyn Source>,
    ended: bool,
}

impl Records {
    /// Opens a task's data to read the wanted fields of its rows.
    pub fn open(plan: &DataPlan, fields: Vec<String>) -> io::Result<Self> {
        let path = &plan.file.value;
        let wanted = Wanted { file: path.clone(), fields, names: BTreeSet::new() };
        let mut file = files::open(path, files::DATA)?;
        let source: Box<dyn Source> = match foreign(&mut file, &plan.format)? {
            Some(problem) => Box::new(Unreadable(Some(problem))),
            None => match &plan.format {
                Format::Jsonl => Box::new(lines::JsonLines::new(file)),
                Format::Json => Box::new(json::JsonFile::new(file)?),
                Format::Separated { separator, quotes, columns } => {
                    Box::new(separated::Separated::new(file, *separator, *quotes, columns.clone()))
                }
                #[cfg(feature = "parquet")]
                Format::Parquet => Box::new(parquet::Parquet::new(file, &wanted.fields)?),
                #[cfg(not(feature = "parquet"))]
                Format::Parquet => {
                    Box::new(Unreadable(Some("this program was built without the feature `parquet`".to_owned())))
                }
                Format::Eraser { brackets } => Box::new(eraser::Eraser::new(file, plan.beside.as_deref(), *brackets)?),
                Format::HateXplain { consensus, split } => {
                    Box::new(hatexplain::HateXplain::new(file, *consensus, split.as_ref(), plan.beside.as_deref())?)
                }
                Format::SciFact => Box::new(scifact::SciFact::new(file, plan.beside.as_deref())?),
            },
        };
        Ok(Records { wanted, source, ended: false })
    }

    /// Names of fields met so far.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.wanted.names.iter().map(String::as_str)
    }

    /// The next row.
    ///
    /// # Errors
    /// When the file cannot be read; what is wrong with a row is said in the row.
    pub fn next(&mut self) -> io::Result<Option<Row>> {
        if self.ended {
            return Ok(None);
        }
        let row = self.source.next(&mut self.wanted)?;
        self.ended = row.as_ref().is_none_or(|row| row.is_last);
        Ok(row)
    }
}

/// A file that is not what its rows could be read from.
struct Unreadable(Option<String>);

impl Source for Unreadable {
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>> {
        let place = Place { line: 0, column: 0 };
        let row = |message: String| {
            let mut row = wanted.unreadable(place, 1, String::new());
            row.flaws.iter_mut().for_each(|flaw| flaw.mistake.message.clone_from(&message));
            row.ending()
        };
        Ok(self.0.take().map(row))
    }
}

/// What a file is that its first bytes show to be no such data.
fn foreign(file: &mut File, format: &Format) -> io::Result<Option<String>> {
    let mut start = Vec::new();
    file.take(lfs::MOST_BYTES + 1).read_to_end(&mut start)?;
    file.rewind()?;
    let is_parquet = start.starts_with(b"PAR1");
    let problem = match start.as_slice() {
        pointer if lfs::is_pointer(pointer) => format!("the file {}", lfs::PROBLEM),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "this is UTF-16 text; save it as UTF-8".to_owned(),
        [0x1F, 0x8B, ..] => "this file is compressed (gzip); decompress it first".to_owned(),
        [b'P', b'K', 3, 4, ..] => "this file is an archive (zip); take the data file out of it first".to_owned(),
        _ if is_parquet && *format != Format::Parquet => {
            "this is a Parquet file; say `format: parquet` in `data`".to_owned()
        }
        _ if !is_parquet && *format == Format::Parquet => {
            "this is no Parquet file: it does not begin with PAR1".to_owned()
        }
        _ => return Ok(None),
    };
    Ok(Some(problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A plan of a file; `more` is what else stands in `data`.
    pub(super) fn plan(path: &std::path::Path, more: &str) -> DataPlan {
        let task = path.with_file_name("task of rows.yaml");
        let file = path.file_name().unwrap().to_str().unwrap();
        std::fs::write(&task, format!("data: {{file: {file}{more}}}\nprompt: \"{{a}}\"\nanswer: \"{{a}}\"\n")).unwrap();
        crate::config::load_task(&task, &crate::config::Vocabulary::EMPTY)
            .unwrap_or_else(|error| panic!("{error}"))
            .data
    }

    fn rows(name: &str, content: &[u8], wanted: &[&str]) -> Vec<Row> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let plan = plan(&path, "");
        let mut records = Records::open(&plan, wanted.iter().map(|&name| name.to_owned()).collect()).unwrap();
        std::iter::from_fn(|| records.next().unwrap()).collect()
    }

    fn texts(row: &Row) -> Vec<&str> {
        row.cells
            .iter()
            .map(|cell| match cell {
                Some(Cell { value: Value::Text(text) | Value::Json(text), .. }) => text.as_str(),
                Some(Cell { value: Value::Null, .. }) => "null",
                Some(Cell { value: Value::Spans(_), .. }) => "spans",
                None => "-",
            })
            .collect()
    }

    fn said(row: &Row) -> Vec<String> {
        row.flaws.iter().map(|flaw| &flaw.mistake).map(|m| format!("{}:{} {}", m.line, m.column, m.message)).collect()
    }

    #[test]
    fn json_lines() {
        let content =
            "\u{FEFF}{\"a\": \"é\\n\", \"b\": 1.50}\r\n\n{\"b\": [1, 2], \"a\": null}\n{\"é\": 1, \"a\": true}";
        let rows = rows("d.jsonl", content.as_bytes(), &["a", "b"]);
        let found: Vec<(usize, Vec<&str>)> = rows.iter().map(|row| (row.place.line, texts(row))).collect();
        assert_eq!(found, [(1, vec!["é\n", "1.50"]), (3, vec!["null", "[1, 2]"]), (4, vec!["true", "-"])]);
        assert_eq!(rows[2].cells[0].as_ref().unwrap().place.column, 15);
    }

    #[test]
    fn json_mistakes_have_a_column() {
        let content =
            b"{\"a\": 1,}\n[1]\n{\"a\": \"\xff\"}\n{\"a\": 1, \"a\": 2}\n{\"\xc3\xa9\": x}\n{\"a\": \"\\ud800\"}\n{\"a\": 1} 2\n";
        let rows = rows("d.jsonl", content, &["a"]);
        let found: Vec<String> = rows.iter().flat_map(said).collect();
        insta::assert_snapshot!(found.join("\n"), @r"
        1:9 this line is not a JSON object: trailing comma
        2:1 this line is not a JSON object: invalid type: sequence, expected a JSON object
        3:8 this is not UTF-8 text
        4:15 the field `a` stands twice in this record
        5:7 this line is not a JSON object: expected value
        6:14 not JSON text: unexpected end of hex escape
        7:10 this line is not a JSON object: trailing characters
        ");
    }

    #[test]
    fn csv_rows_know_their_line_whatever_the_line_ends() {
        for end in ["\n", "\r\n"] {
            let content =
                format!("\u{FEFF}id,text{end}{end}1,\"two{end}lines\"{end}{end}{end}2,\"a \"\"b\"\"\"{end}3,x");
            let rows = rows("d.csv", content.as_bytes(), &["text", "id", "none"]);
            let found: Vec<(usize, Vec<&str>)> = rows.iter().map(|row| (row.place.line, texts(row))).collect();
            let two = format!("two{end}lines");
            let expected =
                [(3, vec![two.as_str(), "1", "-"]), (7, vec!["a \"b\"", "2", "-"]), (8, vec!["x", "3", "-"])];
            assert_eq!(found, expected, "{end:?}");
        }
    }

    #[test]
    fn csv_mistakes_have_a_line() {
        let mut found = Vec::new();
        for content in [&b"a,b\n1\n2,3,4\n5,6\n7,\xff\n"[..], b"a,a\n1,2\n", b"a,\xff\n1,2\n"] {
            found.extend(rows("d.csv", content, &["a"]).iter().flat_map(said));
        }
        insta::assert_snapshot!(found.join("\n"), @r"
        2:1 fields in this record: 1, in the header: 2
        3:1 fields in this record: 3, in the header: 2
        5:1 field 2 is not UTF-8 text
        1:1 the header names the field `a` twice
        1:1 field 2 is not UTF-8 text
        ");
    }

    #[test]
    fn endless_rows_are_refused() {
        let long = vec![b'x'; MAX_ROW_BYTES as usize + 2];
        let content = [b"{\"a\": 1}\n".as_slice(), &long, b"\n{\"a\": 2}\n"].concat();
        let rows_found = rows("d.jsonl", &content, &["a"]);
        assert_eq!(rows_found.len(), 3);
        assert_eq!(said(&rows_found[1]), ["2:1 this line is longer than 16 MiB"]);
        assert_eq!((rows_found[2].place.line, texts(&rows_found[2])), (3, vec!["2"]));

        let content = [b"a,b\n1,\"".as_slice(), &long, &long].concat();
        let rows_found = rows("d.csv", &content, &["a"]);
        assert_eq!(said(&rows_found[0]), ["2:1 this record is longer than 16 MiB: is a quote left open?"]);
        assert_eq!(rows_found.len(), 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(content in prop::collection::vec(any::<u8>(), 0..300)) {
            rows("d.jsonl", &content, &["a"]);
            rows("d.csv", &content, &["a"]);
        }

        #[test]
        fn nearly_json_never_panics(content in "([{}\\[\\]\",:\\\\a1é\n\r \u{FEFF}]|\"a\": ){0,60}") {
            rows("d.jsonl", content.as_bytes(), &["a"]);
            rows("d.csv", content.as_bytes(), &["a"]);
        }
    }
}
