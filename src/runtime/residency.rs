//! How much of a mapped weight file counts as this process's memory.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while ONNX Runtime maps or unmaps weights, and while pages are given up: where one mapping ended another may
/// begin, whose pages are not to be lost.
static MAPPINGS: Mutex<()> = Mutex::new(());

/// To be held while a session is opened or dropped.
pub(super) fn mappings_change() -> MutexGuard<'static, ()> {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::path::Path;
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::thread::JoinHandle;
    use std::time::Duration;

    /// Between looks: from the page cache a pass maps some 10 MB in this time.
    const INTERVAL: Duration = Duration::from_millis(3);

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
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                    if mapped_bytes().is_some_and(|mapped| mapped > bytes) {
                        give_up(&file);
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
        let statistics = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = statistics.split(' ').nth(2)?.parse().ok()?;
        Some(pages * page_size())
    }

    fn page_size() -> u64 {
        // SAFETY: asks for a number.
        u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }

    fn give_up(file: &Path) {
        let _no_change = super::mappings_change();
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
        for (start, length) in maps.lines().filter_map(|line| region(line, file)) {
            // SAFETY: the region is a mapping of a file that nobody writes to, so that its pages can be read from the file
            // again, which is what happens at the next touch. It is still that mapping: sessions map and unmap weights
            // only while they hold the lock that is held here.
            unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
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
