//! Runs that may go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::record::Night;
use crate::report::{FILES, plots};
use crate::store::{self, RunLock};

pub fn retain(parent: &Path, nights: &[Night], keep: usize) -> io::Result<Vec<PathBuf>> {
    let latest = fs::canonicalize(parent.join("latest")).ok();
    let there: Vec<PathBuf> = nights.iter().map(|night| parent.join(&night.run)).filter(|run| is_run(run)).collect();
    let mut gone = Vec::new();
    for run in &there[..there.len().saturating_sub(keep)] {
        let is_latest = latest.is_some() && fs::canonicalize(run).ok() == latest;
        if !is_latest && !RunLock::is_held(run) && holds_only_ours(run)? {
            fs::remove_dir_all(run)?;
            gone.push(run.clone());
        }
    }
    Ok(gone)
}

/// Whether a folder is a run's own, and no way to somewhere else.
fn is_run(folder: &Path) -> bool {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir());
    is_folder && store::is_run_store(&folder.join(store::FILE_NAME))
}

/// Whether all that lies in a run's folder was written by this program: somebody's notes beside the report keep it.
fn holds_only_ours(run: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(run)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let name = name.to_string_lossy();
        let ours = if name == plots::FOLDER && kind.is_dir() {
            fs::read_dir(entry.path())?.flatten().all(|plot| plots::is_plot(&plot.path()))
        } else {
            let of_store = name.strip_prefix(store::FILE_NAME).is_some_and(|rest| STORE_ENDINGS.contains(&rest));
            let of_reports = FILES.contains(&&*name) || OF_COMPARE.contains(&&*name);
            kind.is_file() && (of_store || of_reports || store::is_leftover(&name))
        };
        if !ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What SQLite may leave beside a store.
const STORE_ENDINGS: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// What `compare` puts beside a run's reports.
const OF_COMPARE: [&str; 3] = ["compare.html", "compare.json", "junit.xml"];
