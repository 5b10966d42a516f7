//! `plots/`: every plot of the report as a file of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::document::Document;
use super::error::ReportError;
use super::render::svg;

/// The folder's name inside a run's.
pub const FOLDER: &str = "plots";
/// What the names of folders that are not finished begin with.
const UNFINISHED: &str = ".plots.";
const ENDING: &str = "svg";

/// Plots in a folder beside their own.
pub struct Pending {
    /// Absent where there is nothing to show.
    made: Option<TempDir>,
    target: PathBuf,
}

impl Pending {
    pub fn create(folder: &Path, document: &Document) -> Result<Pending, ReportError> {
        let target = folder.join(FOLDER);
        if document.plots().next().is_none() {
            return Ok(Pending { made: None, target });
        }
        let fail = |source| ReportError::Io { path: target.clone(), source };
        let made = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(folder).map_err(fail)?;
        #[cfg(unix)]
        {
            // As other folders are: a report may be read by whoever may read the rest.
            use std::os::unix::fs::PermissionsExt as _;
            let like = fs::metadata(folder).map_err(fail)?.permissions().mode();
            fs::set_permissions(made.path(), fs::Permissions::from_mode(like & 0o777)).map_err(fail)?;
        }
        for plot in document.plots() {
            let path = made.path().join(&plot.name).with_extension(ENDING);
            let written = File::create_new(&path).and_then(|mut file| file.write_all(svg::file(plot).as_bytes()));
            written
                .map_err(|source| ReportError::Io { path: target.join(&plot.name).with_extension(ENDING), source })?;
        }
        Ok(Pending { made: Some(made), target })
    }

    /// Puts the folder in its place. What else lies in the one that was there stays.
    pub fn publish(self) -> Result<Option<PathBuf>, ReportError> {
        let Pending { made, target } = self;
        let fail = |source| ReportError::Io { path: target.clone(), source };
        let Some(made) = made else {
            remove_plots(&target);
            return Ok(None);
        };
        if fs::symlink_metadata(&target).is_err() {
            fs::rename(made.path(), &target).map_err(fail)?;
            let _ = made.keep();
            return Ok(Some(target));
        }
        // One by one over those of the last report, so that none is missing at any time.
        let mut names = Vec::new();
        for entry in fs::read_dir(made.path()).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            names.push(entry.file_name());
            fs::rename(entry.path(), target.join(entry.file_name())).map_err(fail)?;
        }
        for entry in fs::read_dir(&target).map_err(fail)?.flatten() {
            if !names.contains(&entry.file_name()) && is_plot(&entry.path()) {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Some(target))
    }
}

/// Removes the plots of an earlier report, and their folder where it is empty then.
fn remove_plots(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| is_plot(&entry.path())) {
        let _ = fs::remove_file(entry.path());
    }
    let _ = fs::remove_dir(folder);
}

/// Whether a file's name is one that a report gives.
pub(super) fn is_plot(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let ours = ["agreement-", "cost-", "curve-", "differences-", "distribution-", "ranking-"];
    path.extension().is_some_and(|ending| ending == ENDING) && ours.iter().any(|kind| name.starts_with(kind))
}

/// Removes folders that killed programs left, once they are old enough to have no owner.
pub fn remove_unfinished(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let modified = entry.metadata().ok().filter(fs::Metadata::is_dir).and_then(|found| found.modified().ok());
        let is_old = modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > super::atomic::SETTLED);
        if is_ours && is_old {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
