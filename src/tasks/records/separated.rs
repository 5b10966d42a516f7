//! Fields between commas or tabs, a record a line unless quotation marks hold a line break.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;

use super::{Cell, MAX_ROW_BYTES, Place, Row, Source, Value, Wanted};
use crate::diagnostics::quote;

/// Size of the reader's buffer, which it fills beyond the record it reads.
const BUFFER_BYTES: usize = 1 << 16;

pub(super) struct Separated {
    reader: csv::Reader<Lines<File>>,
    progress: Rc<RefCell<Progress>>,
    /// Of a file without a header row.
    named: Option<Vec<String>>,
    is_named: bool,
    /// For each wanted field its column in the file; `None` until the header was read.
    columns: Option<Vec<Option<usize>>>,
    width: usize,
    record: csv::ByteRecord,
    /// Of the record that was read last.
    number: usize,
    ended: bool,
}

impl Separated {
    pub fn new(file: File, separator: u8, quotes: bool, named: Option<Vec<String>>) -> Self {
        let progress = Rc::new(RefCell::new(Progress::default()));
        let lines = Lines { inner: file, progress: Rc::clone(&progress) };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .quoting(quotes)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(lines);
        let (record, is_named) = (csv::ByteRecord::new(), named.is_some());
        Separated { reader, progress, named, is_named, columns: None, width: 0, record, number: 0, ended: false }
    }

    /// Where the wanted fields are, by the names of the columns; `Err` with a name that stands twice.
    fn header(&mut self, names: &[String], wanted: &mut Wanted) -> Result<(), String> {
        let mut known = HashSet::new();
        let twice = names.iter().find(|&name| !known.insert(name));
        names.iter().for_each(|name| wanted.remember(name));
        self.width = names.len();
        let columns = wanted.fields.iter().map(|name| names.iter().position(|field| field == name));
        self.columns = Some(columns.collect());
        twice.map_or(Ok(()), |name| Err(name.clone()))
    }
}

impl Source for Separated {
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>> {
        loop {
            if self.ended {
                return Ok(None);
            }
            self.progress.borrow_mut().budget = MAX_ROW_BYTES + BUFFER_BYTES as u64;
            let before = self.reader.position().clone();
            let read = self.reader.read_byte_record(&mut self.record);
            let line = self.progress.borrow_mut().line_from(before.byte()).unwrap_or(before.line() as usize);
            self.number += 1;
            let number = self.number;
            let failed =
                |wanted: &Wanted, message: String| wanted.unreadable(Place { line, column: 1 }, number, message);
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
                            Ok(Some(failed(wanted, message).ending()))
                        }
                        csv::ErrorKind::Io(error) => Err(error),
                        other => Ok(Some(failed(wanted, format!("not CSV: {other:?}")).ending())),
                    };
                }
            }
            let record = std::mem::take(&mut self.record);
            let fields = match utf8(&record) {
                Ok(fields) => fields,
                Err(index) => {
                    // Without a header there is no telling which fields the rows have.
                    self.ended = self.columns.is_none();
                    let row = failed(wanted, format!("field {index} is not UTF-8 text"));
                    return Ok(Some(if self.ended { row.ending() } else { row }));
                }
            };
            if self.columns.is_none() {
                let named = self.named.take();
                let is_header = named.is_none();
                let names = named.unwrap_or_else(|| fields.iter().map(|&name| name.to_owned()).collect());
                if let Err(twice) = self.header(&names, wanted) {
                    self.ended = true;
                    let message = format!("the header names the field {} twice", quote(&twice));
                    return Ok(Some(failed(wanted, message).ending()));
                }
                if is_header {
                    self.number = 0;
                    self.record = record;
                    continue;
                }
            }
            let width = fields.len();
            if width != self.width {
                let message = match self.is_named {
                    true => format!("fields in this record: {width}, in `columns`: {}", self.width),
                    false => format!("fields in this record: {width}, in the header: {}", self.width),
                };
                return Ok(Some(failed(wanted, message)));
            }
            let place = Place { line, column: 1 };
            let cell = |text: &&str| Cell { value: Value::Text((*text).to_owned()), place };
            let columns = self.columns.iter().flatten();
            let cells = columns.map(|column| column.and_then(|column| fields.get(column)).map(cell)).collect();
            self.record = record;
            return Ok(Some(Row::new(place, number, cells)));
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
