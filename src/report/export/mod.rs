//! A run in the form of other programs.

mod eraser;
mod inseq;
mod mib;

use std::path::{Path, PathBuf};

use super::error::ReportError;
use crate::store::{Damage, Store, StoreError, Unit};

/// What was written of one model on one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Where, in the folder that was made.
    pub place: String,
    pub model: String,
    pub task: String,
    pub examples: usize,
    /// Examples that lack something that the files are about.
    pub left_out: usize,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{}: this is there already; name a folder that is not", folder.display())]
    InTheWay { folder: PathBuf },
    #[error("{}: no example of this run has both annotated evidence and attributions, and ERASER's files are about evidence", store.display())]
    NoEvidence { store: PathBuf },
    #[error("{}: no example of this run has an insertion curve by every method; choose `insertion_auc` or `srg` among its metrics", store.display())]
    NoCurves { store: PathBuf },
    #[error(
        "{}: no example of this run has finite attributions by every method and an answer of one token whose id the store holds (runs \
         of before 2026-12-01 hold no ids, and a classifier's answer is no token)",
        store.display()
    )]
    NoPrompts { store: PathBuf },
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
    whole(folder, |made| eraser::write(store, made))
}

/// Writes how much of the score the best share of a prompt's tokens keeps into `folder`, which must not exist, in the form
/// of results of MIB's circuit track (arXiv 2504.13151): for each method a folder, in it a JSON file for each model and
/// task. Examples are those with insertion curves by every method. The folder appears whole, by rename.
///
/// # Errors
/// [`ExportError`], also for a run without any such example.
pub fn mib(store: &Store, folder: &Path) -> Result<Vec<Exported>, ExportError> {
    whole(folder, |made| mib::write(store, made))
}

/// Writes a run's attributions into `folder`, which must not exist, as inseq 0.7.1 saves them: for each model and task a folder
/// `NUMBER-MODEL-TASK`, in it a JSON file for each method. Of a method with several seeds it is the first. Examples are
/// those with attributions by every method, of decoders, whose answer is one token. The folder appears whole, by rename.
///
/// # Errors
/// [`ExportError`], also for a run without any such example.
pub fn inseq(store: &Store, folder: &Path) -> Result<Vec<Exported>, ExportError> {
    whole(folder, |made| inseq::write(store, made))
}

/// Makes a folder that appears with all that is written into it, or not at all.
fn whole<T>(folder: &Path, write: impl FnOnce(&Path) -> Result<T, ExportError>) -> Result<T, ExportError> {
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
    let exported = write(made.path())?;
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

/// Calls `take` with all units of one example after another, in the store's order; at least one each.
fn by_example(
    store: &Store,
    mut take: impl FnMut(&[Unit]) -> Result<(), ExportError>,
) -> Result<Vec<Damage>, ExportError> {
    let mut example: Vec<Unit> = Vec::new();
    let found = store.visit(|unit| {
        let id = |unit: &Unit| (unit.key.model.clone(), unit.key.task.clone(), unit.key.example_id.clone());
        // Units of one example follow each other, and so do the examples of one task.
        if example.first().is_some_and(|first| id(first) != id(&unit)) {
            take(&example)?;
            example.clear();
        }
        example.push(unit);
        Ok::<(), ExportError>(())
    })?;
    if !example.is_empty() {
        take(&example)?;
    }
    Ok(found)
}

/// Refuses a store of which something is damaged.
fn damaged(store: &Store, found: Vec<Damage>) -> Result<(), ExportError> {
    match found.into_iter().next() {
        Some(first) => Err(ExportError::Damaged { store: store.path().to_path_buf(), what: first.what }),
        None => Ok(()),
    }
}
