//! Data files as rows: JSON Lines or CSV, read one row at a time, each row of bounded length.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::diagnostics::{Diagnostic, quote, skip_line};
use crate::files;

/// A row longer than this is refused.
const MAX_ROW_BYTES: u64 = 16 << 20;
/// Field names remembered to suggest one of them.
const MAX_NAMES: usize = 1000;
/// Longer ones are not.
const MAX_NAME_BYTES: usize = 200;
/// Size of the CSV reader's buffer, which it fills beyond the row it reads.
const BUFFER_BYTES: usize = 1 << 16;

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text; numbers and truth values as they were written.
    Text(String),
    Null,
    /// A JSON list or object, as it was written.
    Json(String),
}

/// A value and the column at which it begins (1 where the format does not say).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub value: Value,
    pub column: usize,
}

/// A row of the data file.
#[derive(Debug)]
pub(super) struct Row {
    /// Where it begins, counted from 1.
    pub line: usize,
    /// The wanted fields in the order in which they were asked for; `None`: this row does not have it.
    pub cells: Vec<Option<Cell>>,
    /// With any, `cells` says nothing.
    pub mistakes: Vec<Diagnostic>,
}

/// Reads a data file row by row.
pub(super) struct Records {
    file: PathBuf,
    wanted: Vec<String>,
    names: BTreeSet<String>,
    format: Format,
}

enum Format {
    Jsonl { reader: BufReader<File>, line: usize, bytes: Vec<u8> },
    Csv(Box<Csv>),
}

struct Csv {
    reader: csv::Reader<Lines<File>>,
    progress: Rc<RefCell<Progress>>,
    /// For each wanted field its column in the file; `None` until the header was read.
    columns: Option<Vec<Option<usize>>>,
    width: usize,
    record: csv::ByteRecord,
    ended: bool,
}

impl Records {
    /// Opens a `.jsonl` or `.csv` file to read the wanted fields of its rows.
    pub fn open(path: &Path, wanted: Vec<String>) -> io::Result<Self> {
        let file = files::open(path, files::DATA)?;
        let format = if path.extension().is_some_and(|extension| extension == "csv") {
            let progress = Rc::new(RefCell::new(Progress::default()));
            let lines = Lines { inner: file, progress: Rc::clone(&progress) };
            let reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .buffer_capacity(BUFFER_BYTES)
                .from_reader(lines);
            let record = csv::ByteRecord::new();
            Format::Csv(Box::new(Csv { reader, progress, columns: None, width: 0, record, ended: false }))
        } else {
            Format::Jsonl { reader: BufReader::new(file), line: 0, bytes: Vec::new() }
        };
        Ok(Records { file: path.to_path_buf(), wanted, names: BTreeSet::new(), format })
    }

    /// Names of fields met so far.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The next row that is not blank.
    ///
    /// # Errors
    /// When the file cannot be read; what is wrong with a row is said in the row.
    pub fn next(&mut self) -> io::Result<Option<Row>> {
        match &mut self.format {
            Format::Jsonl { reader, line, bytes } => loop {
                bytes.clear();
                *line += 1;
                if reader.by_ref().take(MAX_ROW_BYTES + 1).read_until(b'\n', bytes)? == 0 {
                    return Ok(None);
                }
                let here = |column: usize, message: String| Diagnostic::new(&self.file, *line, column, "", message);
                let failed = |mistake: Diagnostic| Row { line: *line, cells: Vec::new(), mistakes: vec![mistake] };
                if bytes.len() as u64 > MAX_ROW_BYTES {
                    if !bytes.ends_with(b"\n") {
                        skip_line(reader)?;
                    }
                    let message = format!("this line is longer than {} MiB", MAX_ROW_BYTES >> 20);
                    return Ok(Some(failed(here(1, message))));
                }
                let text = match std::str::from_utf8(bytes) {
                    Ok(text) => text,
                    Err(error) => {
                        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                        let mistake = here(before.chars().count() + 1, "this is not UTF-8 text".to_owned());
                        return Ok(Some(failed(mistake)));
                    }
                };
                let text = if *line == 1 { text.trim_start_matches('\u{FEFF}') } else { text };
                let text = text.trim_end();
                if text.trim_start().is_empty() {
                    continue;
                }
                let row = json_row(text, &self.wanted, &mut self.names, here);
                return Ok(Some(Row { line: *line, ..row }));
            },
            Format::Csv(csv) => csv.next(&self.file, &self.wanted, &mut self.names),
        }
    }
}

/// The fields of a JSON object in their order, values unread.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    fields.push((name, map.next_value::<&RawValue>()?));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(InOrder).map(Fields)
    }
}

fn json_row(
    text: &str,
    wanted: &[String],
    names: &mut BTreeSet<String>,
    here: impl Fn(usize, String) -> Diagnostic,
) -> Row {
    let mut row = Row { line: 0, cells: Vec::new(), mistakes: Vec::new() };
    let fields = match serde_json::from_str::<Fields>(text) {
        Ok(Fields(fields)) => fields,
        Err(error) => {
            let column = characters(text, error.column().saturating_sub(1)) + 1;
            let message = format!("this line is not a JSON object: {}", without_place(&error));
            row.mistakes.push(here(column, message));
            return row;
        }
    };
    let mut known = HashSet::new();
    row.cells = wanted.iter().map(|_| None).collect();
    for (name, raw) in &fields {
        let json = raw.get();
        // A RawValue that is borrowed from the text lies in it.
        let column = || characters(text, json.as_ptr() as usize - text.as_ptr() as usize) + 1;
        if !known.insert(name.as_str()) {
            let message = format!("the field {} stands twice in this record", quote(name));
            row.mistakes.push(here(column(), message));
            break;
        }
        remember(names, name);
        let Some(index) = wanted.iter().position(|wanted| wanted == name) else { continue };
        let column = column();
        let value = match json.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<String>(json) {
                Ok(text) => Value::Text(text),
                Err(error) => {
                    let inside = characters(json, error.column().saturating_sub(1));
                    row.mistakes.push(here(column + inside, format!("not JSON text: {}", without_place(&error))));
                    continue;
                }
            },
            Some(b'n') => Value::Null,
            Some(b'[' | b'{') => Value::Json(json.to_owned()),
            _ => Value::Text(json.to_owned()),
        };
        row.cells[index] = Some(Cell { value, column });
    }
    row
}

/// Keeps the name of a field, to suggest it where another is looked for in vain.
fn remember(names: &mut BTreeSet<String>, name: &str) {
    if names.len() < MAX_NAMES && name.len() <= MAX_NAME_BYTES && !names.contains(name) {
        names.insert(name.to_owned());
    }
}

/// Characters before a byte of a text.
fn characters(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|&(at, _)| at < byte).count()
}

/// The message alone; the place is said by the diagnostic.
pub(super) fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).map_or(message.clone(), str::to_owned)
}

impl Csv {
    fn next(&mut self, file: &Path, wanted: &[String], names: &mut BTreeSet<String>) -> io::Result<Option<Row>> {
        loop {
            if self.ended {
                return Ok(None);
            }
            self.progress.borrow_mut().budget = MAX_ROW_BYTES + BUFFER_BYTES as u64;
            let before = self.reader.position().clone();
            let read = self.reader.read_byte_record(&mut self.record);
            let line = self.progress.borrow_mut().line_from(before.byte()).unwrap_or(before.line() as usize);
            let failed = |message: String| {
                let mistake = Diagnostic::new(file, line, 1, "", message);
                Row { line, cells: Vec::new(), mistakes: vec![mistake] }
            };
            match read {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.ended = true;
                    return match error.into_kind() {
                        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                            let message = format!(
                                "this record is longer than {} MiB: is a quote left open?",
                                MAX_ROW_BYTES >> 20
                            );
                            Ok(Some(failed(message)))
                        }
                        csv::ErrorKind::Io(error) => Err(error),
                        other => Ok(Some(failed(format!("not CSV: {other:?}")))),
                    };
                }
            }
            let fields = match utf8(&self.record) {
                Ok(fields) => fields,
                Err(index) => {
                    // Without a header there is no telling which fields the rows have.
                    self.ended = self.columns.is_none();
                    return Ok(Some(failed(format!("field {index} is not UTF-8 text"))));
                }
            };
            let Some(columns) = &self.columns else {
                let mut known = HashSet::new();
                let twice = fields.iter().find(|&&name| !known.insert(name)).copied();
                fields.iter().for_each(|name| remember(names, name));
                self.width = fields.len();
                let columns = wanted.iter().map(|name| fields.iter().position(|field| field == name)).collect();
                if let Some(name) = twice {
                    self.ended = true;
                    return Ok(Some(failed(format!("the header names the field {} twice", quote(name)))));
                }
                self.columns = Some(columns);
                continue;
            };
            if fields.len() != self.width {
                let message = format!("fields in this record: {}, in the header: {}", fields.len(), self.width);
                return Ok(Some(failed(message)));
            }
            let cell = |text: &str| Cell { value: Value::Text(text.to_owned()), column: 1 };
            let cells =
                columns.iter().map(|column| column.and_then(|column| fields.get(column)).map(|text| cell(text)));
            return Ok(Some(Row { line, cells: cells.collect(), mistakes: Vec::new() }));
        }
    }
}

/// The fields of a record, or the number (from 1) of one that is not text.
fn utf8(record: &csv::ByteRecord) -> Result<Vec<&str>, usize> {
    record.iter().enumerate().map(|(index, field)| std::str::from_utf8(field).map_err(|_| index + 1)).collect()
}

/// Passes bytes on to the CSV reader and notes where lines begin: its own positions stand before blank lines and, with
/// Windows line ends, before the end of the previous line.
struct Lines<R> {
    inner: R,
    progress: Rc<RefCell<Progress>>,
}

struct Progress {
    bytes: u64,
    line: usize,
    at_start: bool,
    /// Byte and number of the lines that are not blank and that no record was read from yet.
    starts: VecDeque<(u64, usize)>,
    /// Bytes that the record being read may still take.
    budget: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { bytes: 0, line: 1, at_start: true, starts: VecDeque::new(), budget: u64::MAX }
    }
}

impl Progress {
    /// The number of the first line that is not blank from a byte on.
    fn line_from(&mut self, byte: u64) -> Option<usize> {
        while self.starts.front().is_some_and(|&(start, _)| start < byte) {
            self.starts.pop_front();
        }
        self.starts.front().map(|&(_, line)| line)
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let progress = &mut *self.progress.borrow_mut();
        if progress.budget == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.inner.read(buffer)?;
        progress.budget = progress.budget.saturating_sub(read as u64);
        for &byte in &buffer[..read] {
            match byte {
                b'\n' => {
                    progress.line += 1;
                    progress.at_start = true;
                }
                b'\r' => {}
                _ if progress.at_start => {
                    progress.starts.push_back((progress.bytes, progress.line));
                    progress.at_start = false;
                }
                _ => {}
            }
            progress.bytes += 1;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(name: &str, content: &[u8], wanted: &[&str]) -> Vec<Row> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut records = Records::open(&path, wanted.iter().map(|&name| name.to_owned()).collect()).unwrap();
        std::iter::from_fn(|| records.next().unwrap()).collect()
    }

    fn texts(row: &Row) -> Vec<&str> {
        row.cells
            .iter()
            .map(|cell| match cell {
                Some(Cell { value: Value::Text(text) | Value::Json(text), .. }) => text.as_str(),
                Some(Cell { value: Value::Null, .. }) => "null",
                None => "-",
            })
            .collect()
    }

    fn said(row: &Row) -> Vec<String> {
        row.mistakes.iter().map(|m| format!("{}:{} {}", m.line, m.column, m.message)).collect()
    }

    #[test]
    fn json_lines() {
        let content =
            "\u{FEFF}{\"a\": \"é\\n\", \"b\": 1.50}\r\n\n{\"b\": [1, 2], \"a\": null}\n{\"é\": 1, \"a\": true}";
        let rows = rows("d.jsonl", content.as_bytes(), &["a", "b"]);
        let found: Vec<(usize, Vec<&str>)> = rows.iter().map(|row| (row.line, texts(row))).collect();
        assert_eq!(found, [(1, vec!["é\n", "1.50"]), (3, vec!["null", "[1, 2]"]), (4, vec!["true", "-"])]);
        assert_eq!(rows[2].cells[0].as_ref().unwrap().column, 15);
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
            let found: Vec<(usize, Vec<&str>)> = rows.iter().map(|row| (row.line, texts(row))).collect();
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
        assert_eq!((rows_found[2].line, texts(&rows_found[2])), (3, vec!["2"]));

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
