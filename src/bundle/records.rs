//! What is known of large files that were read before, so that they need not be read at every start.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::digest::sha256;
use crate::files;

/// A folder of the program's cache with one small file for each file that was hashed: its stamp then, and its SHA-256.
///
/// A record that cannot be read, or does not fit the file, counts as none: the file is read again. So does a record that
/// cannot be written.
pub(crate) struct Records<'a>(pub &'a Path);

#[derive(Serialize, Deserialize)]
struct Record {
    path: PathBuf,
    stamp: Stamp,
    sha256: String,
}

/// A record is some hundred bytes.
const KIND: files::Kind = files::Kind { what: "a record of a hash", most: 1 << 16 };

impl Records<'_> {
    /// The hash of a file that still has the stamp it had when it was hashed. `path` is absolute and without links.
    pub fn find(&self, path: &Path, stamp: &Stamp) -> Option<String> {
        let record = read(&self.file_of(path))?;
        (record.path == path && record.stamp == *stamp).then_some(record.sha256)
    }

    /// Keeps a hash. Nothing is kept of a file that changed so recently that the next change might go unnoticed.
    pub fn keep(&self, path: &Path, stamp: &Stamp, sha256: &str) {
        if !stamp.is_settled() {
            return;
        }
        let record = Record { path: path.to_owned(), stamp: stamp.clone(), sha256: sha256.to_owned() };
        let Ok(text) = serde_json::to_vec(&record) else { return };
        if fs::create_dir_all(self.0).is_ok() {
            self.forget_what_is_gone();
            // In one piece, and without a temporary file that a kill could leave behind: a torn record counts as none.
            let _ = fs::write(self.file_of(path), text);
        }
    }

    /// Removes the records of files that are no longer there.
    fn forget_what_is_gone(&self) {
        let Ok(entries) = fs::read_dir(self.0) else { return };
        for file in entries.flatten().map(|entry| entry.path()) {
            if let Some(record) = read(&file)
                && self.file_of(&record.path) == file
                && !record.path.exists()
            {
                let _ = fs::remove_file(file);
            }
        }
    }

    fn file_of(&self, path: &Path) -> PathBuf {
        self.0.join(format!("{}.json", &sha256(path.as_os_str().as_encoded_bytes())[..32]))
    }
}

fn read(file: &Path) -> Option<Record> {
    serde_json::from_slice(&files::read(file, KIND).ok()?).ok()
}
