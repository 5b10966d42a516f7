//! The files of a page, in a folder of their own until all are there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::{Entry, FACTS_FILE, Listed, WebError};
use crate::digest::{hexadecimal, sha256};
use crate::files;
use crate::workfolder::{WorkFolder, empty_wholly, remove_abandoned};

const PREFIX: &str = ".web-";
/// In the work folder: the page that is made, and for a moment the one that it replaces.
const PAGE: &str = "page";
const FORMER: &str = "former";

/// A page that is being made beside the place where it is to appear.
pub(super) struct Place {
    work: WorkFolder,
    page: PathBuf,
    out: PathBuf,
    files: BTreeMap<String, Entry>,
}

impl Place {
    /// Makes a folder beside `out`, and removes what killed programs left there.
    ///
    /// # Errors
    /// [`WebError::Occupied`] where something would be lost that is no part of a page.
    pub fn beside(out: &Path) -> Result<Place, WebError> {
        let out = std::path::absolute(out).map_err(|source| WebError::Write { path: out.to_owned(), source })?;
        check_replaceable(&out)?;
        let parent = out.parent().unwrap_or(Path::new("/"));
        let write = |source| WebError::Write { path: parent.to_owned(), source };
        fs::create_dir_all(parent).map_err(write)?;
        remove_abandoned(parent, PREFIX, &|work, _| empty_wholly(work));
        let work = WorkFolder::new(parent, PREFIX, b"", empty_wholly).map_err(write)?;
        let page = work.path().join(PAGE);
        for folder in ["", "model", "runtime"] {
            fs::create_dir(page.join(folder)).map_err(write)?;
        }
        Ok(Place { work, page, out, files: BTreeMap::new() })
    }

    /// All that is there by now, by its name with `/`.
    pub fn files(&self) -> &BTreeMap<String, Entry> {
        &self.files
    }

    /// Writes a file.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), WebError> {
        let path = self.page.join(name);
        fs::write(&path, bytes).map_err(|source| WebError::Write { path, source })?;
        self.files.insert(name.to_owned(), Entry { sha256: sha256(bytes), bytes: bytes.len() as u64 });
        Ok(())
    }

    /// Copies a file. `copied` is told of every part's size.
    pub fn copy(
        &mut self,
        from: &Path,
        name: &str,
        interrupted: &AtomicBool,
        copied: &mut dyn FnMut(u64),
    ) -> Result<Entry, WebError> {
        let path = self.page.join(name);
        let read = |source| WebError::Read { path: from.to_owned(), source };
        let write = |source| WebError::Write { path: path.clone(), source };
        let mut source = files::open(from, files::WEIGHTS).map_err(read)?;
        let mut target = File::create_new(&path).map_err(write)?;
        let (mut hasher, mut bytes, mut part) = (Sha256::new(), 0, vec![0; 1 << 20]);
        loop {
            if interrupted.load(Ordering::Relaxed) {
                return Err(WebError::Interrupted);
            }
            let size = source.read(&mut part).map_err(read)?;
            if size == 0 {
                break;
            }
            hasher.update(&part[..size]);
            target.write_all(&part[..size]).map_err(write)?;
            bytes += size as u64;
            copied(size as u64);
        }
        let entry = Entry { sha256: hexadecimal(&hasher.finalize()), bytes };
        self.files.insert(name.to_owned(), entry.clone());
        Ok(entry)
    }

    /// Puts the page in its place; an earlier one there is removed.
    pub fn publish(self) -> Result<(), WebError> {
        let write = |source| WebError::Write { path: self.out.clone(), source };
        // A second time: weights take long to copy.
        let former = self.work.path().join(FORMER);
        let is_there = check_replaceable(&self.out)?;
        if is_there {
            fs::rename(&self.out, &former).map_err(write)?;
        }
        if let Err(source) = fs::rename(&self.page, &self.out) {
            if is_there && fs::rename(&former, &self.out).is_err() {
                self.work.leave();
            }
            return Err(WebError::Write { path: self.out, source });
        }
        Ok(())
    }
}

/// Whether a folder is there: one without files, or a page and nothing else.
///
/// # Errors
/// [`WebError::Occupied`] for anything else.
fn check_replaceable(out: &Path) -> Result<bool, WebError> {
    let occupied = |problem: String| WebError::Occupied { path: out.to_owned(), problem };
    let read = |source| WebError::Read { path: out.to_owned(), source };
    match fs::symlink_metadata(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(read(error)),
        Ok(data) if !data.is_dir() => return Err(occupied("exists and is no folder".to_owned())),
        Ok(_) => {}
    }
    let mut found = Vec::new();
    list(out, "", &mut found).map_err(read)?;
    if found.is_empty() {
        return Ok(true);
    }
    let text = files::read_text(&out.join(FACTS_FILE), files::MANIFEST).ok();
    let listed = text.and_then(|text| serde_json::from_str::<Listed>(&text).ok());
    let Some(listed) = listed.filter(|listed| listed.made_by.starts_with("gim-harness ")) else {
        return Err(occupied(format!("exists and is no page of this program (no {FACTS_FILE} of one)")));
    };
    match found.iter().find(|name| *name != FACTS_FILE && !listed.files.contains_key(*name)) {
        None => Ok(true),
        Some(name) => {
            let name = name.escape_default();
            Err(occupied(format!("holds `{name}`, which is no part of the page there and would be lost")))
        }
    }
}

/// All files below a folder by their names with `/`; links count as files, and are not followed.
fn list(folder: &Path, prefix: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.push(name);
        }
    }
    Ok(())
}
