//! A run in the form of other programs.

mod eraser;

use std::path::{Path, PathBuf};

use super::error::ReportError;
use crate::store::{Store, StoreError};

pub use eraser::Exported;

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{}: this is there already; name a folder that is not", folder.display())]
    InTheWay { folder: PathBuf },
    #[error("{}: no example of this run has both annotated evidence and attributions, and ERASER's files are about evidence", store.display())]
    NoEvidence { store: PathBuf },
    #[error("{}: damaged: {what} is not what was written; run the harness file again on its folder", store.display())]
    Damaged { store: PathBuf, what: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Writes a run's rationales into `folder`, which must not exist, as ERASER's results (DeYoung et al., arXiv 1911.03429),
/// with the annotations and documents that they are to be scored against. The folder appears whole, by rename.
///
/// For each model and task with annotated evidence a folder `NUMBER-MODEL-TASK` holds `docs.jsonl` (a prompt is a document,
/// of the model's tokens), `test.jsonl` (the annotations) and `results/METHOD.jsonl`. Examples are those that are annotated
/// and have attributions by every method.
///
/// # Errors
/// [`ExportError`], also for a run without any such example.
pub fn eraser(store: &Store, folder: &Path) -> Result<Vec<Exported>, ExportError> {
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ExportError::Io { path, source }
    };
    if std::fs::symlink_metadata(folder).is_ok() {
        return Err(ExportError::InTheWay { folder: folder.to_path_buf() });
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(fail(parent))?;
    let made = tempfile::Builder::new().prefix(".export.").tempdir_in(parent).map_err(fail(parent))?;
    let exported = eraser::write(store, made.path())?;
    #[cfg(unix)]
    {
        // A temporary folder is for its maker alone, what comes of it for whoever may read its parent.
        use std::os::unix::fs::PermissionsExt as _;
        let like = std::fs::metadata(parent).map_err(fail(parent))?.permissions().mode();
        std::fs::set_permissions(made.path(), std::fs::Permissions::from_mode(0o700 | (like & 0o777)))
            .map_err(fail(folder))?;
    }
    std::fs::rename(made.path(), folder).map_err(fail(folder))?;
    let _ = made.keep();
    Ok(exported)
}
