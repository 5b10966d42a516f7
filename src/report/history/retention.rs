//! Runs that may go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::record::Night;
use crate::store::{self, RunLock};

pub fn retain(parent: &Path, nights: &[Night], keep: usize) -> io::Result<Vec<PathBuf>> {
    let latest = fs::canonicalize(parent.join("latest")).ok();
    let there: Vec<PathBuf> = nights.iter().map(|night| parent.join(&night.run)).filter(|run| is_run(run)).collect();
    let mut gone = Vec::new();
    for run in &there[..there.len().saturating_sub(keep)] {
        let is_latest = latest.is_some() && fs::canonicalize(run).ok() == latest;
        if !is_latest && !RunLock::is_held(run) {
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
