//! The bundles of a run's models: opened, or baked on the way and kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Progress, RunError};
use crate::bundle::bake::{BakeOptions, fingerprint};
use crate::bundle::manifest::MANIFEST_FILE;
use crate::bundle::{OpenedBundle, Opening};
use crate::runtime::Runtime;
use crate::verify::{Step, bake};

/// Where bundles baked from checkpoints are kept, and how bundles are opened.
#[derive(Clone, Copy, Debug)]
pub struct Bundles<'a> {
    pub folder: &'a Path,
    pub opening: &'a Opening,
}

/// Whether a folder is a bundle rather than a checkpoint.
pub(super) fn is_bundle(folder: &Path) -> bool {
    folder.join(MANIFEST_FILE).is_file()
}

/// The bundle of a model: the folder itself, or one baked from it and kept in `bundles.folder`.
///
/// What is baked is verified before it is kept. A kept bundle is found again by the contents of the model's files and of
/// this program: another build may bake otherwise. The one that an earlier build baked from the same files is removed.
///
/// # Errors
/// [`RunError::Opening`] for a bundle that is not what was baked; those of reading the checkpoint and of baking.
pub fn resolve_bundle(
    runtime: &Runtime,
    model: &Path,
    name: &str,
    bundles: Bundles<'_>,
    interrupted: Option<&AtomicBool>,
    progress: &dyn Progress,
) -> Result<Arc<OpenedBundle>, RunError> {
    if is_bundle(model) {
        let bundle = OpenedBundle::open(model, bundles.opening)?;
        if let Some(caution) = bundle.caution() {
            progress.note(&caution);
        }
        return Ok(Arc::new(bundle));
    }
    let io = |path: PathBuf| move |source| RunError::Io { path, source };
    let mut files: Vec<PathBuf> = std::fs::read_dir(model)
        .map_err(io(model.to_owned()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json" || extension == "safetensors"))
        .collect();
    files.sort();
    let source = fingerprint(&files).map_err(|(path, source)| RunError::Io { path, source })?;
    let program = std::env::current_exe().map_err(io(PathBuf::from("this program")))?;
    let build = crate::config::sha256_of_file(&program).map_err(io(program))?;
    let prefix = format!("{}-", &source[..16]);
    let bundle = bundles.folder.join(format!("{prefix}{}", &build[..16]));
    if is_bundle(&bundle) {
        return Ok(Arc::new(OpenedBundle::open(&bundle, bundles.opening)?));
    }
    progress.note(&format!("baking the gradient graph of {name} into {}", bundle.display()));
    let options = BakeOptions { interrupted, ..BakeOptions::default() };
    bake(runtime, model, &bundle, &options, &|step| match step {
        Step::Writing { done, total } => progress.baking(name, done, total),
        Step::Checking(_) => {}
    })
    .map_err(|source| match source.is_interruption() {
        true => RunError::Interrupted { model: name.to_owned() },
        false => RunError::Bake { model: name.to_owned(), source: Box::new(source) },
    })?;
    for entry in std::fs::read_dir(bundles.folder).map_err(io(bundles.folder.to_owned()))?.flatten() {
        let former = entry.path();
        if former != bundle && entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Another program may be using it; then it stays.
            let _ = std::fs::remove_dir_all(former);
        }
    }
    Ok(Arc::new(OpenedBundle::open(&bundle, bundles.opening)?))
}
