//! How much of a mapped weight file counts as this process's memory.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while ONNX Runtime maps or unmaps weights, and while pages are given up: where one mapping ended another may
/// begin, whose pages are not to be lost. Counts how often that was, so that the list of mappings is read only when it may
/// be another.
static MAPPINGS: Mutex<u64> = Mutex::new(0);

/// To be held while a session is opened or dropped.
pub(super) fn mappings_change() -> MutexGuard<'static, u64> {
    let mut changes = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    *changes += 1;
    changes
}

/// While it lives, pages of a mapped file are given up once they are many.
///
/// ONNX Runtime maps `weights.bin` once for every graph, and a pass through a model touches all of it. These pages are
/// the system's to drop, but they count as the process's resident memory until it does, once for each mapping: five
/// graphs of a model with 5 GB of weights look like 25 GB. What is given up stays in the system's page cache and comes
/// back at the next touch.
///
/// Does nothing on other systems than Linux.
#[derive(Debug)]
pub struct Residency {
    #[cfg(target_os = "linux")]
    _watch: linux::Watch,
}

impl Residency {
    /// Watches the mappings of `file` in this process, and gives up their pages whenever the pages of all mapped files
    /// are more than `bytes`.
    ///
    /// ONNX Runtime reads its weights and never writes to them; a mapping of the file that somebody else wrote to would
    /// lose what was written.
    pub fn limit(file: &Path, bytes: u64) -> Residency {
        #[cfg(not(target_os = "linux"))]
        let _ = (file, bytes);
        Residency {
            #[cfg(target_os = "linux")]
            _watch: linux::Watch::start(file, bytes),
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};
    use std::sync::PoisonError;
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::thread::JoinHandle;
    use std::time::Duration;

    /// Between looks: reading forward, a pass maps 2 MB from the page cache in this time; down the columns of a matrix, 60.
    const INTERVAL: Duration = Duration::from_micros(500);

    #[derive(Debug)]
    pub struct Watch {
        /// Dropping it ends the thread.
        stop: Option<Sender<()>>,
        thread: Option<JoinHandle<()>>,
    }

    impl Watch {
        pub fn start(file: &Path, bytes: u64) -> Watch {
            let (stop, stopped) = channel::<()>();
            let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
            let watch = move || {
                let mut mappings = Mappings { file, at: None, regions: Vec::new() };
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                    if mapped_bytes().is_some_and(|mapped| mapped > bytes) {
                        mappings.give_up();
                    }
                }
            };
            // Without the thread there is only more resident memory.
            let thread = std::thread::Builder::new().name("residency".to_owned()).spawn(watch).ok();
            Watch { stop: Some(stop), thread }
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            drop(self.stop.take());
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    /// Resident bytes of this process that are pages of files.
    pub fn mapped_bytes() -> Option<u64> {
        let statistics = crate::files::read_text(Path::new("/proc/self/statm"), crate::files::FACTS).ok()?;
        let pages: u64 = statistics.split(' ').nth(2)?.parse().ok()?;
        Some(pages * page_size())
    }

    fn page_size() -> u64 {
        // SAFETY: asks for a number.
        u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }

    /// Where the file is mapped.
    struct Mappings {
        file: PathBuf,
        /// The count of changes at which `regions` was read.
        at: Option<u64>,
        regions: Vec<(usize, usize)>,
    }

    impl Mappings {
        fn give_up(&mut self) {
            let changes = super::MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
            if self.at != Some(*changes) {
                let Ok(maps) = crate::files::read_text(Path::new("/proc/self/maps"), crate::files::FACTS) else {
                    return;
                };
                self.regions = maps.lines().filter_map(|line| region(line, &self.file)).collect();
                self.at = Some(*changes);
            }
            for &(start, length) in &self.regions {
                // SAFETY: the region is a mapping of a file that nobody writes to, so that its pages can be read from the
                // file again, which is what happens at the next touch. It is still that mapping: sessions map and unmap
                // weights only while they hold the lock that is held here, and count that they do.
                unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
            }
        }
    }

    /// Start and length of the region that a line of `/proc/self/maps` describes, if it maps the file.
    fn region(line: &str, file: &Path) -> Option<(usize, usize)> {
        // address perms offset dev inode pathname
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let path = fields.nth(4)?.trim_start();
        if Path::new(path) != file {
            return None;
        }
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        Some((start, end.checked_sub(start)?))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn lines_of_maps() {
            let line = "7f3a00000000-7f3a00002000 rw-p 00001000 fd:01 1234                       /a b/weights.bin";
            let found = Some((0x7f3a_0000_0000, 0x2000));
            assert_eq!(region(line, Path::new("/a b/weights.bin")), found);
            assert_eq!(region(line, Path::new("/a b/weights.bin2")), None);
            assert_eq!(region("7f3a00000000-7f3a00002000 rw-p 00000000 00:00 0 ", Path::new("/a")), None);
        }
    }
}
