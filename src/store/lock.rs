//! One writer a run.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use crate::lock::{Hold, Turn, exclusive};

/// The name of the file in the run's folder that is locked; it holds a line on who has it.
pub(super) const FILE_NAME: &str = ".run.lock";

/// The right to write into a run's folder; given back when dropped, and by the system when the process ends, however it
/// ends.
#[derive(Debug)]
pub struct RunLock {
    _turn: Turn,
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
        let owner = RefCell::new(String::new());
        let told = |holder: &str| *owner.borrow_mut() = holder.to_owned();
        let turn = Turn::take(&folder.join(FILE_NAME), &|| true, &told)?;
        Ok(match turn {
            Some(turn) => Ok(RunLock { _turn: turn }),
            None => Err(HeldElsewhere { folder: folder.to_owned(), owner: owner.into_inner() }),
        })
    }

    /// Whether somebody writes into a folder at this moment.
    pub fn is_held(folder: &Path) -> bool {
        matches!(exclusive(&folder.join(FILE_NAME)), Ok(Hold::Taken))
    }
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
        std::fs::write(folder.path().join(FILE_NAME), "process 1").unwrap();
        assert!(!RunLock::is_held(folder.path()));
        RunLock::take(folder.path()).unwrap().unwrap();
    }
}
