//! One writer a run: a lock on a file in the run's folder, which the operating system takes back when its holder ends,
//! however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the file; it holds a line on who holds the lock.
const FILE_NAME: &str = ".run.lock";

/// The right to write into a run's folder; given back when dropped.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    /// Locked as long as it is open.
    _file: File,
}

/// Somebody else writes into the folder.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: {owner} is writing to this run; wait for it, or name another folder with --out",
    folder.display()
)]
pub struct HeldElsewhere {
    pub folder: PathBuf,
    /// As it called itself, e.g. `process 4711`.
    pub owner: String,
}

impl RunLock {
    /// Takes the lock of a folder, which must exist.
    ///
    /// # Errors
    /// The inner one where another program has it; the outer one where the file cannot be made.
    pub fn take(folder: &Path) -> io::Result<Result<RunLock, HeldElsewhere>> {
        let path = folder.join(FILE_NAME);
        loop {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Ok(Err(HeldElsewhere { folder: folder.to_owned(), owner: owner(&mut file) }));
                }
                // A file system without locks: SQLite's own are all that there is then.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The holder before removes the file when it ends: what was opened may have lost its name since.
            if !is_at(&file, &path) {
                continue;
            }
            let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
            file.set_len(0)?;
            writeln!(file, "process {} since {}", std::process::id(), crate::run::timestamp(since))?;
            return Ok(Ok(RunLock { path, _file: file }));
        }
    }

    /// Whether somebody writes into a folder at this moment.
    pub fn is_held(folder: &Path) -> bool {
        let Ok(file) = crate::files::open(&folder.join(FILE_NAME), crate::files::FACTS) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody locks a file that is about to go without noticing.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The line in a lock's file, if it looks like one.
fn owner(file: &mut File) -> String {
    let mut line = String::new();
    let _ = file.rewind().and_then(|()| file.take(100).read_to_string(&mut line));
    let line = line.trim();
    let sound = line.starts_with("process ") && line.chars().all(|c| c.is_ascii_alphanumeric() || " -".contains(c));
    if sound { line.to_owned() } else { "another program".to_owned() }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    // An open file keeps its name here.
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunLock::take(folder.path()).unwrap().unwrap();
        assert!(RunLock::is_held(folder.path()));
        let refused = RunLock::take(folder.path()).unwrap().unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        assert!(!RunLock::is_held(folder.path()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        // What a killed holder leaves is no lock.
        std::fs::write(folder.path().join(FILE_NAME), "process 1 since then").unwrap();
        RunLock::take(folder.path()).unwrap().unwrap();
    }
}
