//! The bundles of a run's models: opened, or baked on the way and kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Progress, RunError};
use crate::bundle::bake::{BakeOptions, fingerprint};
use crate::bundle::manifest::MANIFEST_FILE;
use crate::bundle::{OpenedBundle, Opening, clean, evict};
use crate::lock::{Hold, Turn, exclusive};
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
/// this program: another build may bake otherwise. One that is damaged is baked anew, and one that another build baked
/// from the same files is removed, unless somebody uses it. Of several programs that need the same bundle at once, one bakes
/// it and the others wait.
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
        .filter(|path| {
            path.extension().is_some_and(|ending| ending == "json" || ending == "safetensors" || ending == "jinja")
        })
        .collect();
    files.sort();
    let source = fingerprint(&files).map_err(|(path, source)| RunError::Io { path, source })?;
    let build = crate::digest::sha256_of_this_program().map_err(io(PathBuf::from("the file of this program")))?;
    let key = format!("{}-{}", &source[..16], &build[..16]);
    std::fs::create_dir_all(bundles.folder).map_err(io(bundles.folder.to_owned()))?;
    clean(bundles.folder);
    remove_ended_turns(bundles.folder);
    if let Some(bundle) = kept(&bundles, &key, &|line| progress.note(line))? {
        return Ok(bundle);
    }
    let file = bundles.folder.join(turn_file(&key));
    let stop = || interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed));
    let waiting = |who: &str| progress.note(&format!("waiting for {who}, which is baking {name}"));
    // Held until the bundle is open, so that no other build takes it for one that nobody uses.
    let Some(_turn) = Turn::take(&file, &stop, &waiting).map_err(io(file))? else {
        return Err(RunError::Interrupted { model: name.to_owned() });
    };
    // Whoever had the turn before may have made it.
    if let Some(bundle) = kept(&bundles, &key, &|_| {})? {
        return Ok(bundle);
    }
    let bundle = bundles.folder.join(&key);
    progress.note(&format!("baking the gradient graph of {name} into {}", bundle.display()));
    let options = BakeOptions { interrupted, replace_damaged: true, ..BakeOptions::default() };
    bake(runtime, model, &bundle, &options, &|step| match step {
        Step::Writing { done, total } => progress.baking(name, done, total),
        Step::Checking(_) => {}
    })
    .map_err(|source| match source.is_interruption() {
        true => RunError::Interrupted { model: name.to_owned() },
        false => RunError::Bake { model: name.to_owned(), source: Box::new(source) },
    })?;
    evict_former(&bundles, &key);
    Ok(Arc::new(OpenedBundle::open(&bundle, bundles.opening)?))
}

/// The bundle of this key, if there is a sound one.
fn kept(bundles: &Bundles<'_>, key: &str, note: &dyn Fn(&str)) -> Result<Option<Arc<OpenedBundle>>, RunError> {
    let bundle = bundles.folder.join(key);
    if !bundle.exists() {
        return Ok(None);
    }
    match OpenedBundle::open(&bundle, bundles.opening) {
        Ok(bundle) => Ok(Some(Arc::new(bundle))),
        Err(error) if error.is_damage() => {
            let said = error.to_string();
            let said = said.lines().next().unwrap_or_default();
            note(&format!("a bundle in the program's cache is damaged and will be baked anew: {said}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes what other builds baked from the same files, and nobody uses.
fn evict_former(bundles: &Bundles<'_>, key: &str) {
    for (path, name) in entries(bundles.folder) {
        if name != key && is_key(&name) && name[..16] == key[..16] {
            // Who bakes it is about to use it.
            let baking = exclusive(&bundles.folder.join(turn_file(&name)));
            if !matches!(baking, Ok(Hold::Taken | Hold::NoLocks)) {
                evict(&path);
            }
        }
    }
}

/// Removes the files of turns that were ended by a kill.
fn remove_ended_turns(bundles: &Path) {
    for (path, name) in entries(bundles) {
        let key = name.strip_prefix('.').and_then(|name| name.strip_suffix(".lock"));
        if key.is_some_and(is_key) {
            Turn::remove_leftover(&path);
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
}

fn turn_file(key: &str) -> String {
    format!(".{key}.lock")
}

/// Two times 16 hexadecimal digits: of the model's files, and of the program's.
fn is_key(name: &str) -> bool {
    let is_half = |half: &str| half.len() == 16 && half.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.split_once('-').is_some_and(|(source, build)| is_half(source) && is_half(build))
}
