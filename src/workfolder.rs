//! Folders in which something large is made, to be renamed when it is whole, and what is left of them after a kill.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::lock::{Hold, exclusive, is_at};

/// The file that marks such a folder as this program's. It is locked for as long as the owner lives.
const OWNER: &str = "owner";
const MARK: &str = "gim-harness is at work in this folder\n";
/// A mark and a purpose are shorter.
const LIMIT: u64 = 1 << 16;
/// Random characters in the name.
const RANDOM: usize = 12;

/// A folder that nobody else works in. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct WorkFolder {
    path: PathBuf,
    owner: File,
    empty: fn(&Path),
}

impl WorkFolder {
    /// Makes one in `parent`, with a name that begins with `prefix`. `empty` removes what was made in it, when it is
    /// dropped; `purpose` is kept in it for [`remove_abandoned`].
    ///
    /// # Errors
    /// Those of making folders and files.
    pub fn new(parent: &Path, prefix: &str, purpose: &[u8], empty: fn(&Path)) -> io::Result<WorkFolder> {
        loop {
            let path = tempfile::Builder::new().prefix(prefix).rand_bytes(RANDOM).tempdir_in(parent)?.keep();
            let owner = path.join(OWNER);
            // Who sweeps the parent may take a folder that is not marked yet for one whose owner was killed.
            let file = match File::options().read(true).write(true).create_new(true).open(&owner) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            let _ = file.lock();
            if !is_at(&file, &owner) {
                continue;
            }
            let folder = WorkFolder { path, owner: file, empty };
            (&folder.owner).write_all(&[MARK.as_bytes(), purpose].concat())?;
            return Ok(folder);
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder with all that is in it to the user: without its mark nobody removes it.
    pub fn leave(mut self) {
        self.empty = |_| {};
        let _ = fs::remove_file(self.path.join(OWNER));
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        (self.empty)(&self.path);
        finish(&self.path);
        let _ = self.owner.unlock();
    }
}

/// Removes the mark and the folder, if nothing else is in it.
fn finish(path: &Path) {
    if is_only(path, &[OWNER]) {
        let _ = fs::remove_file(path.join(OWNER));
        let _ = fs::remove_dir(path);
    }
}

/// Whether a folder holds nothing but files of these names.
fn is_only(path: &Path, names: &[&str]) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| names.iter().any(|name| entry.file_name() == *name)))
    })
}

/// Removes the folders in `parent` whose owners were killed: those that are named and marked as [`WorkFolder::new`] does
/// it, and whose lock nobody holds. `empty` is given the folder and its purpose, and removes what was made in it. What
/// merely has such a name stays.
pub(crate) fn remove_abandoned(parent: &Path, prefix: &str, empty: &dyn Fn(&Path, &[u8])) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !is_name(&entry.file_name(), prefix) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let owner = path.join(OWNER);
        if !fs::symlink_metadata(&owner).is_ok_and(|data| data.is_file()) {
            // Killed before it was marked; a folder that holds anything is not removed by this.
            let _ = fs::remove_dir(&path);
            continue;
        }
        // Held until the folder is gone, so that no other sweep works on it.
        let Ok(Hold::Mine(mut held)) = exclusive(&owner) else { continue };
        let mut mark = Vec::new();
        if (&mut held).take(LIMIT).read_to_end(&mut mark).is_err() {
            continue;
        }
        if let Some(purpose) = mark.strip_prefix(MARK.as_bytes()) {
            empty(&path, purpose);
            finish(&path);
        } else if MARK.as_bytes().starts_with(&mark) {
            // Killed while it was marked, before anything was made in it.
            finish(&path);
        }
    }
}

/// Removes everything in a work folder but its mark.
pub(crate) fn empty_wholly(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name() != OWNER) {
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
            _ => fs::remove_file(entry.path()),
        };
    }
}

fn is_name(name: &OsString, prefix: &str) -> bool {
    let name = name.to_string_lossy();
    let random = name.strip_prefix(prefix);
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn make(parent: &Path) -> WorkFolder {
        WorkFolder::new(parent, ".work-", b"purpose", empty_wholly).unwrap()
    }

    /// What a kill leaves: the folder, with nobody's lock on it.
    fn killed(parent: &Path) -> PathBuf {
        let work = make(parent);
        fs::create_dir(work.path().join("half")).unwrap();
        fs::write(work.path().join("half/file"), "x").unwrap();
        let path = work.path().to_owned();
        work.owner.unlock().unwrap();
        std::mem::forget(work);
        path
    }

    #[test]
    fn only_what_nobody_owns_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let living = make(parent.path());
        fs::write(living.path().join("file"), "x").unwrap();
        killed(parent.path());
        // Killed before it was marked, and while it was.
        fs::create_dir(at(".work-aaaaaaaaaaaa")).unwrap();
        fs::create_dir(at(".work-bbbbbbbbbbbb")).unwrap();
        fs::write(at(".work-bbbbbbbbbbbb").join(OWNER), &MARK[..7]).unwrap();
        // Somebody else's.
        for name in [".work-cccccccccccc", ".work-dddddddddddd", ".work-short", ".work-eeeeeeeeeeee"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at(".work-cccccccccccc").join("precious"), "x").unwrap();
        fs::write(at(".work-dddddddddddd").join(OWNER), "somebody else\n").unwrap();
        fs::write(at(".work-eeeeeeeeeeee").join(OWNER), &MARK[..7]).unwrap();
        fs::write(at(".work-eeeeeeeeeeee").join("precious"), "x").unwrap();
        fs::write(at(".work-ffffffffffff"), "a file").unwrap();

        let purposes = std::cell::RefCell::new(Vec::new());
        remove_abandoned(parent.path(), ".work-", &|path, purpose| {
            purposes.borrow_mut().push(purpose.to_owned());
            empty_wholly(path);
        });
        assert_eq!(*purposes.borrow(), [b"purpose"]);
        let kept = living.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut expected = vec![
            ".work-cccccccccccc".to_owned(),
            ".work-dddddddddddd".to_owned(),
            ".work-eeeeeeeeeeee".to_owned(),
            ".work-ffffffffffff".to_owned(),
            ".work-short".to_owned(),
            kept,
        ];
        expected.sort();
        assert_eq!(names(parent.path()), expected);
        assert_eq!(names(living.path()), ["file", OWNER]);
        drop(living);
        assert_eq!(names(parent.path()).len(), 5);
    }

    #[test]
    fn what_is_not_known_keeps_the_folder_and_its_mark() {
        let parent = tempfile::tempdir().unwrap();
        let path = killed(parent.path());
        remove_abandoned(parent.path(), ".work-", &|_, _| {});
        assert_eq!(names(&path), ["half", OWNER]);
    }

    #[test]
    fn what_is_left_to_the_user_stays() {
        let parent = tempfile::tempdir().unwrap();
        let work = make(parent.path());
        let path = work.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        work.leave();
        remove_abandoned(parent.path(), ".work-", &|path, _| empty_wholly(path));
        assert_eq!(names(&path), ["file"]);
    }

    #[test]
    fn makers_and_sweepers_do_not_disturb_each_other() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let work = make(parent.path());
                        fs::write(work.path().join("file"), "x").unwrap();
                        assert!(work.path().join("file").exists());
                    }
                });
                scope.spawn(|| {
                    for _ in 0..50 {
                        remove_abandoned(parent.path(), ".work-", &|path, _| empty_wholly(path));
                    }
                });
            }
        });
        remove_abandoned(parent.path(), ".work-", &|path, _| empty_wholly(path));
        assert!(names(parent.path()).is_empty());
    }
}
