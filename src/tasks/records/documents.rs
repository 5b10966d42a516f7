//! Documents that records name: files of a folder, or lines of one file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::without_place;
use super::lines::JsonLines;
use super::{MAX_ROW_BYTES, Wanted};
use crate::config::stays_inside;
use crate::diagnostics::{Diagnostic, quote};
use crate::files;

const DOCUMENT: files::Kind = files::Kind { what: "a document", most: MAX_ROW_BYTES };

/// An id that one file writes as text and another as a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(pub String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an id, which is text or a whole number")]
        enum Written {
            Text(String),
            Number(i64),
            Large(u64),
        }
        Ok(Id(match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Number(number) => number.to_string(),
            Written::Large(number) => number.to_string(),
        }))
    }
}

/// Documents by their ids.
pub(super) enum Documents {
    Folder(PathBuf),
    Lines {
        path: PathBuf,
        file: File,
        /// Where the line of a document begins, and its length.
        lines: HashMap<Id, (u64, usize)>,
    },
}

impl Documents {
    /// `id_field`: the field of a line that holds the document's id. What is wrong with the file is the second part.
    pub fn open(path: &Path, id_field: &'static str) -> io::Result<(Self, Vec<Diagnostic>)> {
        if path.is_dir() {
            return Ok((Documents::Folder(path.to_path_buf()), Vec::new()));
        }
        let mut mistakes = Vec::new();
        let mut index: HashMap<Id, (u64, usize)> = HashMap::new();
        let mut numbers: HashMap<Id, usize> = HashMap::new();
        let mut lines = JsonLines::new(files::open(path, files::DATA)?);
        while let Some((line, begins)) = lines.next_with_start()? {
            let text = match line.text {
                Ok(text) => text,
                Err((column, message)) => {
                    mistakes.push(Diagnostic::new(path, line.line, column, "", message));
                    continue;
                }
            };
            let found = serde_json::from_str::<HashMap<&str, Field>>(text).map_err(|error| without_place(&error));
            let id = match found {
                Ok(mut fields) => fields.remove(id_field).and_then(|field| field.0),
                Err(message) => {
                    let message = format!("this line is not a JSON object: {message}");
                    mistakes.push(Diagnostic::new(path, line.line, 1, "", message));
                    continue;
                }
            };
            let Some(id) = id else {
                let message = format!("this document has no id in {}", quote(id_field));
                mistakes.push(Diagnostic::new(path, line.line, 1, id_field, message));
                continue;
            };
            match index.entry(id) {
                Entry::Occupied(taken) => {
                    let first = numbers.get(taken.key()).copied().unwrap_or_default();
                    let message = format!("the document {} is already that of line {first}", quote(&taken.key().0));
                    mistakes.push(Diagnostic::new(path, line.line, 1, id_field, message));
                }
                Entry::Vacant(free) => {
                    numbers.insert(free.key().clone(), line.line);
                    free.insert((begins, text.len()));
                }
            }
        }
        let file = files::open(path, files::DATA)?;
        Ok((Documents::Lines { path: path.to_path_buf(), file, lines: index }, mistakes))
    }

    /// The text of a document, or why there is none. A document of a file is its line.
    pub fn get(&mut self, id: &Id) -> io::Result<Result<String, String>> {
        match self {
            Documents::Folder(folder) => {
                let named = || format!("the document {}", quote(&id.0));
                if !stays_inside(&id.0) {
                    return Ok(Err(format!("{} has no name that a file of the folder may have", named())));
                }
                match files::read(&folder.join(&id.0), DOCUMENT) {
                    Ok(bytes) => Ok(String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", named()))),
                    Err(error) => Ok(Err(match error.kind() {
                        io::ErrorKind::NotFound => format!("{} is not in {}", named(), folder.display()),
                        _ => format!("{} in {} cannot be read: {error}", named(), folder.display()),
                    })),
                }
            }
            Documents::Lines { path, file, lines } => {
                let Some(&(begins, length)) = lines.get(id) else {
                    return Ok(Err(format!("the document {} is not in {}", quote(&id.0), path.display())));
                };
                file.seek(SeekFrom::Start(begins))?;
                let mut text = String::new();
                file.take(length as u64).read_to_string(&mut text)?;
                Ok(Ok(text))
            }
        }
    }

    /// Whether a document is there.
    pub fn has(&self, id: &Id) -> bool {
        match self {
            Documents::Folder(folder) => stays_inside(&id.0) && folder.join(&id.0).is_file(),
            Documents::Lines { lines, .. } => lines.contains_key(id),
        }
    }
}

/// A field that may hold an id; what else it holds is passed over.
struct Field(Option<Id>);

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Field(serde_json::from_str(raw.get()).ok()))
    }
}

/// The mistakes of a file of documents as a row: without them, what is read would be something else.
pub(super) fn said(mistakes: Vec<Diagnostic>, wanted: &Wanted) -> Option<super::Row> {
    let first = mistakes.first()?;
    let mut row = wanted.unreadable(super::Place { line: first.line, column: 1 }, 1, String::new()).ending();
    row.flaws = mistakes.into_iter().map(|mistake| super::Flaw { why: "a document cannot be read", mistake }).collect();
    Some(row)
}
