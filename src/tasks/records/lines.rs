//! JSON Lines: an object a line.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};

use super::json::object;
use super::{MAX_ROW_BYTES, Place, Row, Source, Wanted};
use crate::diagnostics::skip_line;

/// The lines of a file that are not blank, each of bounded length.
pub(super) struct JsonLines {
    reader: BufReader<File>,
    line: usize,
    number: usize,
    /// Bytes so far.
    read: u64,
    bytes: Vec<u8>,
}

/// A line, or what is wrong with it.
pub(super) struct Line<'a> {
    pub line: usize,
    /// Among those that are not blank, counted from 1.
    pub number: usize,
    /// The text, or the column at which it is wrong and why.
    pub text: Result<&'a str, (usize, String)>,
}

impl JsonLines {
    pub fn new(file: File) -> Self {
        JsonLines { reader: BufReader::new(file), line: 0, number: 0, read: 0, bytes: Vec::new() }
    }

    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        Ok(self.next_with_start()?.map(|(line, _)| line))
    }

    /// With the byte of the file at which the text begins.
    pub fn next_with_start(&mut self) -> io::Result<Option<(Line<'_>, u64)>> {
        let mut begins;
        loop {
            self.bytes.clear();
            self.line += 1;
            begins = self.read;
            let read = self.reader.by_ref().take(MAX_ROW_BYTES + 1).read_until(b'\n', &mut self.bytes)?;
            self.read += read as u64;
            if read == 0 {
                return Ok(None);
            }
            if self.bytes.len() as u64 > MAX_ROW_BYTES {
                if !self.bytes.ends_with(b"\n") {
                    self.read += skip_line(&mut self.reader)?;
                }
                let message = format!("this line is longer than {} MiB", MAX_ROW_BYTES >> 20);
                self.number += 1;
                return Ok(Some((Line { line: self.line, number: self.number, text: Err((1, message)) }, begins)));
            }
            // Looked at twice, as what is returned borrows the bytes.
            if std::str::from_utf8(&self.bytes).is_ok_and(|text| self.content(text).is_empty()) {
                continue;
            }
            break;
        }
        self.number += 1;
        let text = match std::str::from_utf8(&self.bytes) {
            Ok(text) => Ok(self.content(text)),
            Err(error) => {
                let before = String::from_utf8_lossy(&self.bytes[..error.valid_up_to()]);
                Err((before.chars().count() + 1, "this is not UTF-8 text".to_owned()))
            }
        };
        if let Ok(text) = text {
            begins += (text.as_ptr() as usize - self.bytes.as_ptr() as usize) as u64;
        }
        Ok(Some((Line { line: self.line, number: self.number, text }, begins)))
    }

    /// Without what is no part of it; empty for a blank line.
    fn content<'t>(&self, text: &'t str) -> &'t str {
        let text = if self.line == 1 { text.trim_start_matches('\u{FEFF}') } else { text };
        let text = text.trim_end();
        if text.trim_start().is_empty() { "" } else { text }
    }
}

impl Line<'_> {
    /// Where something stands that begins at a byte of the text.
    pub fn place(&self, byte: usize) -> Place {
        let column = self.text.as_ref().map_or(1, |text| super::json::characters(text, byte) + 1);
        Place { line: self.line, column }
    }

    /// The row of a line that cannot be read.
    pub fn unreadable(&self, wanted: &Wanted) -> Option<Row> {
        let (column, message) = self.text.as_ref().err()?;
        let place = Place { line: self.line, column: *column };
        Some(wanted.unreadable(place, self.number, message.clone()))
    }
}

impl Source for JsonLines {
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>> {
        let Some(line) = JsonLines::next(self)? else { return Ok(None) };
        let Ok(text) = line.text else { return Ok(line.unreadable(wanted)) };
        Ok(Some(object(text, "this line", wanted, line.number, &|byte| line.place(byte))))
    }
}
