//! Finding the run that was interrupted.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::store::{FILE_NAME, Glance, RunLock};

/// The run to go on with among the folders of `output`: of those with the name `name`, the newest that is not complete
/// and that nobody is writing to; where all are complete, the newest. `None` where there is none.
pub fn to_resume(output: &Path, name: &str) -> Option<PathBuf> {
    let mut runs: Vec<(SystemTime, PathBuf, bool)> = std::fs::read_dir(output)
        .ok()?
        .flatten()
        // Not `latest`, which names one of the others.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            let folder = entry.path();
            let run = Glance::at(&folder.join(FILE_NAME)).ok().filter(|run| run.name == name)?;
            Some((last_written(&folder)?, folder, run.is_complete()))
        })
        .collect();
    runs.sort_by(|a, b| b.cmp(a));
    let interrupted = runs.iter().find(|(_, folder, complete)| !complete && !RunLock::is_held(folder));
    interrupted.or(runs.first()).map(|(_, folder, _)| folder.clone())
}

/// When a run was last worked on.
fn last_written(folder: &Path) -> Option<SystemTime> {
    let of = |name: String| std::fs::metadata(folder.join(name)).ok()?.modified().ok();
    of(FILE_NAME.to_owned()).max(of(format!("{FILE_NAME}-wal")))
}
