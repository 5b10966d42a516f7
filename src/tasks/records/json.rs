//! JSON: one object as a record, and files that are one list of records or an object of them.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Cell, MAX_ROW_BYTES, Place, Row, Source, Value, Wanted};
use crate::diagnostics::quote;
use crate::files;

/// A file that is one JSON value is kept whole while it is read.
const WHOLE: files::Kind = files::Kind { what: "a JSON file of records", most: 256 << 20 };
/// The most records of such a file, as each takes memory until all are known.
const MOST_RECORDS: usize = 1 << 20;

/// A file that is one list, or one object, of records.
pub(super) struct JsonFile {
    text: String,
    /// The keys of an object, and where the records are in the text; backwards.
    records: Vec<(Option<String>, std::ops::Range<usize>)>,
    number: usize,
    /// A byte and the line that it is in.
    at: (usize, usize),
    /// Why the file cannot be read; said once.
    problem: Option<(Place, String)>,
}

/// A record of such a file.
pub(super) struct Record<'a> {
    pub key: Option<&'a str>,
    pub text: &'a str,
    pub number: usize,
    start: Place,
}

impl Record<'_> {
    /// Where something stands that begins at a byte of the record.
    pub fn place(&self, byte: usize) -> Place {
        let before = &self.text[..byte.min(self.text.len())];
        match before.rfind('\n') {
            None => Place { line: self.start.line, column: self.start.column + before.chars().count() },
            Some(last) => Place {
                line: self.start.line + before.matches('\n').count(),
                column: before[last + 1..].chars().count() + 1,
            },
        }
    }
}

impl JsonFile {
    pub fn new(mut file: File) -> io::Result<Self> {
        let broken = |line, column, message: &str| JsonFile {
            text: String::new(),
            records: Vec::new(),
            number: 0,
            at: (0, 1),
            problem: Some((Place { line, column }, message.to_owned())),
        };
        let bytes = match files::read_opened(&mut file, WHOLE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let message = format!("{error}: write it as JSON Lines, an object a line");
                return Ok(broken(1, 1, &message));
            }
            Err(error) => return Err(error),
        };
        let mut text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
                let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
                return Ok(broken(before.matches('\n').count() + 1, column, "this is not UTF-8 text"));
            }
        };
        if text.starts_with('\u{FEFF}') {
            text.drain(..'\u{FEFF}'.len_utf8());
        }
        let start = text.as_ptr() as usize;
        let listed = match serde_json::from_str::<Listed>(&text) {
            Ok(Listed(listed)) => listed,
            Err(error) => {
                let before = byte_of(&text, error.line(), error.column());
                let column = text[..before].rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
                let message =
                    format!("this file is not a list of records or an object of them: {}", without_place(&error));
                return Ok(broken(error.line().max(1), column, &message));
            }
        };
        // A RawValue that is borrowed from the text lies in it.
        let range = |raw: &RawValue| {
            let from = raw.get().as_ptr() as usize - start;
            from..from + raw.get().len()
        };
        let records = listed.into_iter().rev().map(|(key, raw)| (key, range(raw))).collect();
        Ok(JsonFile { text, records, number: 0, at: (0, 1), problem: None })
    }

    /// Why the file cannot be read, the first time that it is asked.
    pub fn problem(&mut self, wanted: &Wanted) -> Option<Row> {
        let (place, message) = self.problem.take()?;
        Some(wanted.unreadable(place, 1, message).ending())
    }

    pub fn next<'a>(&'a mut self, key: &'a mut Option<String>) -> Option<Record<'a>> {
        let (found, range) = self.records.pop()?;
        *key = found;
        self.number += 1;
        let (byte, line) = self.at;
        let line = line + self.text[byte..range.start].matches('\n').count();
        self.at = (range.start, line);
        let column = self.text[..range.start].rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        let start = Place { line, column };
        Some(Record { key: key.as_deref(), text: &self.text[range], number: self.number, start })
    }
}

impl Source for JsonFile {
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>> {
        if let Some(row) = self.problem(wanted) {
            return Ok(Some(row));
        }
        let mut key = None;
        let Some(record) = JsonFile::next(self, &mut key) else { return Ok(None) };
        if record.text.len() as u64 > MAX_ROW_BYTES {
            let message = format!("this record is longer than {} MiB", MAX_ROW_BYTES >> 20);
            return Ok(Some(wanted.unreadable(record.place(0), record.number, message)));
        }
        let mut row = object(record.text, "this record", wanted, record.number, &|byte| record.place(byte));
        row.id = record.key.map(str::to_owned);
        Ok(Some(row))
    }
}

/// The records of a file, unread, with their keys where it is an object.
struct Listed<'a>(Vec<(Option<String>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Listed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = Vec<(Option<String>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list or an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut records = Vec::new();
                while let Some(record) = list.next_element::<&RawValue>()? {
                    check_count(records.len())?;
                    records.push((None, record));
                }
                Ok(records)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut records = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    check_count(records.len())?;
                    records.push((Some(key), map.next_value::<&RawValue>()?));
                }
                Ok(records)
            }
        }
        deserializer.deserialize_any(Both).map(Listed)
    }
}

fn check_count<E: serde::de::Error>(count: usize) -> Result<(), E> {
    if count < MOST_RECORDS {
        return Ok(());
    }
    Err(E::custom(format!("it holds more than {MOST_RECORDS} records; write it as JSON Lines, an object a line")))
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

/// The row of a JSON object. `what` it is called in messages; `place` is that of a byte of the text.
pub(super) fn object(
    text: &str,
    what: &str,
    wanted: &mut Wanted,
    number: usize,
    place: &dyn Fn(usize) -> Place,
) -> Row {
    let unreadable = |wanted: &Wanted, byte: usize, message: String| {
        let mut row = wanted.unreadable(place(byte), number, message);
        row.place = place(0);
        row
    };
    let fields = match serde_json::from_str::<Fields>(text) {
        Ok(Fields(fields)) => fields,
        Err(error) => {
            let message = format!("{what} is not a JSON object: {}", without_place(&error));
            return unreadable(wanted, byte_of(text, error.line(), error.column()), message);
        }
    };
    let mut known = HashSet::new();
    let mut row = Row::new(place(0), number, wanted.fields.iter().map(|_| None).collect());
    for (name, raw) in &fields {
        let json = raw.get();
        // A RawValue that is borrowed from the text lies in it.
        let byte = json.as_ptr() as usize - text.as_ptr() as usize;
        if !known.insert(name.as_str()) {
            let message = format!("the field {} stands twice in this record", quote(name));
            return unreadable(wanted, byte, message);
        }
        wanted.remember(name);
        let Some(index) = wanted.fields.iter().position(|wanted| wanted == name) else { continue };
        let value = match json.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<String>(json) {
                Ok(text) => Value::Text(text),
                Err(error) => {
                    let inside = byte_of(json, error.line(), error.column());
                    let message = format!("not JSON text: {}", without_place(&error));
                    let flaw = wanted.unreadable(place(byte + inside), number, message).flaws;
                    row.flaws.extend(flaw);
                    continue;
                }
            },
            Some(b'n') => Value::Null,
            Some(b'[' | b'{') => Value::Json(json.to_owned()),
            _ => Value::Text(json.to_owned()),
        };
        row.cells[index] = Some(Cell { value, place: place(byte) });
    }
    row
}

/// The byte of a text at a line and a column of it, both counted from 1, the column in bytes.
fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut byte = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// Characters before a byte of a text.
pub(super) fn characters(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|&(at, _)| at < byte).count()
}

/// The message alone; the place is said by the diagnostic.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).map_or(message.clone(), str::to_owned)
}
