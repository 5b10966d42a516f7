//! Advisory locks: who uses a bundle, and who is at work where. The system releases them when a process ends, however it
//! ends. Where a file system has no locks, what would be locked goes unlocked.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

use crate::files;

/// Opens a bundle's manifest and holds it against those who would replace or remove the bundle, until the file is dropped.
///
/// # Errors
/// Those of opening a file. That it cannot be locked is none: a bundle may lie where there are no locks.
pub(super) fn in_use(manifest: &Path) -> io::Result<File> {
    loop {
        let file = files::open(manifest, files::MANIFEST)?;
        // Waits only for as long as somebody takes who is replacing this very bundle.
        let _ = file.lock_shared();
        if is_at(&file, manifest) {
            return Ok(file);
        }
    }
}

/// Whether an open file is still the one of this name: while one waited for its lock it may have been removed.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => is_same(&open, &there),
        _ => false,
    }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}
