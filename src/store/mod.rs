//! The run store, `run.sqlite`: every finished unit of work, written before it counts as done.
//!
//! A unit is in the store whole or not at all, so a run that was interrupted, even by `kill -9` or a power cut, goes
//! on where the store ends; and every report can be made again from the store alone. Each unit carries a checksum and the
//! hash of what it hangs on: a damaged one is done again, and a larger plan finds in the same store what it has in common
//! with the smaller one.

mod checksum;
mod columns;
mod description;
mod error;
mod glance;
mod lock;
mod record;
mod run;
mod schema;
mod sqlite;
mod units;

pub use crate::faithfulness::{Curve, MetricFacts};
pub use crate::probe::Cost;
pub use error::StoreError;
pub use glance::Glance;
pub use lock::{HeldElsewhere, RunLock};
pub use record::{MetricValue, Timing, Unit, UnitKey};
pub use run::{DatasetFacts, Declared, FactDifference, NODES, PlannedDataset, PlannedExample, Prompt, RunIdentity};
pub use sqlite::Store;
pub use units::{Damage, Finished};

/// The store's file name inside a run's folder.
pub const FILE_NAME: &str = "run.sqlite";

/// What the names of stores that are not finished begin with.
const UNFINISHED_PREFIX: &str = ".run.sqlite.";

/// Whether a file says of itself that it is a run store, of whatever format and however damaged behind its first bytes.
pub fn is_run_store(path: &std::path::Path) -> bool {
    use std::io::Read;
    let mut header = [0; 72];
    let read = crate::files::open(path, crate::files::STORE).and_then(|mut file| file.read_exact(&mut header));
    // The application's number stands at byte 68: https://www.sqlite.org/fileformat.html
    let application = u32::from_be_bytes([header[68], header[69], header[70], header[71]]);
    read.is_ok() && header.starts_with(b"SQLite format 3\0") && i64::from(application) == schema::APPLICATION_ID
}

/// Whether a file of this name is what a run leaves that was killed before it had its store.
pub fn is_leftover(name: &str) -> bool {
    name == lock::FILE_NAME || name.starts_with(UNFINISHED_PREFIX)
}

/// Removes what creating a store left in a folder when it was killed. Only for whoever has the folder's [`RunLock`].
pub fn remove_unfinished(folder: &std::path::Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX);
        if is_unfinished && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            // What cannot be removed is in nobody's way.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
