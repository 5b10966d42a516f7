//! Telling, without reading a file, whether it may have changed.

use std::fs::Metadata;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Size, times, and number of a file. A file that was written to has another stamp, whatever its modification time was
/// set to afterwards: the system alone sets the time of the last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    bytes: u64,
    /// Seconds and nanoseconds since 1970, of the contents.
    modified: (i64, i64),
    /// The same, of contents or attributes; not on all systems.
    changed: (i64, i64),
    inode: u64,
    device: u64,
}

impl Stamp {
    #[cfg(unix)]
    pub fn of(file: &Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        Stamp {
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
            inode: file.ino(),
            device: file.dev(),
        }
    }

    #[cfg(not(unix))]
    pub fn of(file: &Metadata) -> Stamp {
        let since = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let modified = (i64::try_from(since.as_secs()).unwrap_or(0), i64::from(since.subsec_nanos()));
        Stamp { bytes: file.len(), modified, changed: (0, 0), inode: 0, device: 0 }
    }

    /// Whether a later change is sure to give another stamp. Times are kept in steps, of up to two seconds on some file
    /// systems: what was changed just now can be changed again within the same step. Never where the system does not say
    /// when a file was changed.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(0);
        cfg!(unix) && now.saturating_sub(self.changed.0) > 2
    }
}
