//! Advisory locks: who uses a bundle, and who is at work where. The system releases them when a process ends, however it
//! ends. Where a file system has no locks, what would be locked goes unlocked, and what only a lock could tell to be
//! nobody's stays.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files;

/// A line that names a process.
const HOLDER: files::Kind = files::Kind { what: "a file that says whose turn it is", most: 64 };
/// Between two looks at a lock that another program holds.
const PAUSE: Duration = Duration::from_millis(50);
/// Who has a turn writes its name right after it took the lock. This many looks later nothing will come.
const LOOKS_FOR_A_NAME: u32 = 20;

/// Opens a file and shares it with others who only read, against those who would replace or remove it, until it is
/// dropped.
///
/// # Errors
/// Those of opening a file. That it cannot be locked is none: a bundle may lie where there are no locks.
pub(crate) fn shared(path: &Path) -> io::Result<File> {
    loop {
        let file = files::open(path, files::MANIFEST)?;
        // Waits only for as long as somebody takes who is replacing this very file.
        let _ = file.lock_shared();
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

/// A file that one wants for oneself.
pub(crate) enum Hold {
    /// Nobody else has it until this is dropped.
    Mine(File),
    /// Another program has it.
    Taken,
    /// The file system has no locks.
    NoLocks,
}

/// Takes a file that is there, unless somebody has it.
///
/// # Errors
/// Those of opening a file, among them that it is gone.
pub(crate) fn exclusive(path: &Path) -> io::Result<Hold> {
    let read_only = files::open(path, files::MANIFEST)?;
    // Network file systems lock exclusively what is open for writing only.
    let file = File::options().read(true).write(true).open(path).unwrap_or(read_only);
    match file.try_lock() {
        Ok(()) if is_at(&file, path) => Ok(Hold::Mine(file)),
        // Somebody else removed or replaced it just now.
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(Hold::Taken),
        Err(TryLockError::Error(_)) => Ok(Hold::NoLocks),
    }
}

/// A file that says whose turn it is to do what only one should do at a time. It is removed when the turn is over.
#[derive(Debug)]
pub(crate) struct Turn {
    file: File,
    path: PathBuf,
}

impl Turn {
    /// Waits for the turn. `waiting` is told once which process has it, or that another has where that one leaves no name
    /// for a second; `stop` is asked again and again whether to give up, and nothing is returned if so. Where there are no
    /// locks, everybody has the turn at once.
    ///
    /// # Errors
    /// Those of making the file.
    pub fn take(path: &Path, stop: &dyn Fn() -> bool, waiting: &dyn Fn(&str)) -> io::Result<Option<Turn>> {
        let (mut told, mut looks) = (false, 0);
        loop {
            let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) if !is_at(&file, path) => continue,
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        let holder = files::read_text(path, HOLDER).unwrap_or_default();
                        let named = is_holder(&holder);
                        told = named || looks == LOOKS_FOR_A_NAME;
                        if told {
                            waiting(if named { holder.trim_end() } else { "another process" });
                        }
                        looks += 1;
                    }
                    if stop() {
                        return Ok(None);
                    }
                    std::thread::sleep(PAUSE);
                }
                _ => {
                    // For those who wait; nothing else hangs on it.
                    let _ = file.set_len(0).and_then(|()| writeln!(file, "process {}", std::process::id()));
                    return Ok(Some(Turn { file, path: path.to_owned() }));
                }
            }
        }
    }

    /// Removes the file of a turn that was ended by a kill.
    pub fn remove_leftover(path: &Path) {
        let mut text = String::new();
        if let Ok(Hold::Mine(file)) = exclusive(path)
            && (&file).take(64).read_to_string(&mut text).is_ok()
            && (text.is_empty() || is_holder(&text))
        {
            drop(Turn { file, path: path.to_owned() });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is still locked: who opened it before and gets the lock then sees that it is gone.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

fn is_holder(text: &str) -> bool {
    text.trim_end().strip_prefix("process ").is_some_and(|id| id.parse::<u32>().is_ok())
}

/// Whether an open file is still the one of this name: while one waited for its lock it may have been removed.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => is_same(&open, &there).unwrap_or(true),
        _ => false,
    }
}

/// Whether two files or folders are one, under whatever names; `None` where the system does not tell.
#[cfg(unix)]
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> Option<bool> {
    use std::os::unix::fs::MetadataExt;
    Some((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

#[cfg(not(unix))]
pub(crate) fn is_same(_: &Metadata, _: &Metadata) -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turn");
        let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let turn = Turn::take(&path, &|| false, &|who| assert!(!who.is_empty())).unwrap().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::sleep(Duration::from_millis(5));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    turns.fetch_add(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
        });
        assert_eq!(turns.into_inner(), 8);
        assert!(!path.exists());
    }

    #[test]
    fn who_waits_is_told_for_whom_and_may_give_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turn");
        let turn = Turn::take(&path, &|| false, &|_| panic!("nobody has it")).unwrap().unwrap();
        let told = std::cell::RefCell::new(Vec::new());
        let looks = AtomicUsize::new(0);
        let stop = || looks.fetch_add(1, Ordering::SeqCst) == 2;
        assert!(Turn::take(&path, &stop, &|who| told.borrow_mut().push(who.to_owned())).unwrap().is_none());
        assert_eq!(*told.borrow(), [format!("process {}", std::process::id())]);
        drop(turn);
        assert!(!path.exists());
    }

    /// Between taking the lock and writing its name whoever has the turn may be kept from going on.
    #[test]
    fn a_name_that_comes_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turn");
        for (name, expected) in [(Some("process 7"), "process 7"), (None, "another process")] {
            let held = File::create(&path).unwrap();
            held.lock().unwrap();
            let looks = AtomicUsize::new(0);
            let stop = || {
                let look = looks.fetch_add(1, Ordering::SeqCst);
                if let (2, Some(name)) = (look, name) {
                    writeln!(&held, "{name}").unwrap();
                }
                look == LOOKS_FOR_A_NAME as usize + 2
            };
            let told = std::cell::RefCell::new(Vec::new());
            assert!(Turn::take(&path, &stop, &|who| told.borrow_mut().push(who.to_owned())).unwrap().is_none());
            assert_eq!(*told.borrow(), [expected]);
        }
    }

    #[test]
    fn leftovers_of_turns_go_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turn");
        for (text, goes) in [("process 12\n", true), ("", true), ("process of mine", false), ("precious", false)] {
            fs::write(&path, text).unwrap();
            Turn::remove_leftover(&path);
            assert_eq!(path.exists(), !goes, "{text}");
        }
        fs::write(&path, "process 12\n").unwrap();
        let held = shared(&path).unwrap();
        Turn::remove_leftover(&path);
        assert!(path.exists());
        drop(held);
    }

    #[test]
    fn shared_by_many_or_owned_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(exclusive(&path).is_err());
        fs::write(&path, "x").unwrap();
        let (one, two) = (shared(&path).unwrap(), shared(&path).unwrap());
        assert!(matches!(exclusive(&path).unwrap(), Hold::Taken));
        drop(one);
        assert!(matches!(exclusive(&path).unwrap(), Hold::Taken));
        drop(two);
        assert!(matches!(exclusive(&path).unwrap(), Hold::Mine(_)));
    }
}
