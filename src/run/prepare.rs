//! What a run needs before the first model runs: checked data, and bundles.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::{Job, Progress, RunError};
use crate::bundle::Manifest;
use crate::bundle::bake::{BakeError, BakeOptions, fingerprint};
use crate::bundle::source::SourceError;
use crate::checkpoint::Checkpoint;
use crate::config::{ModelPlan, Plan};
use crate::diagnostics::Diagnostics;
use crate::labels::Labels;
use crate::runtime::Runtime;
use crate::tasks::{self, Dataset, Subject, TaskError};
use crate::tokenizer::Tokenizer;
use crate::verify::{Step, bake};

/// What makes a folder a bundle.
const BUNDLE: &str = "bundle.json";

/// A model with its bundle, and the tasks as its tokenizer reads them.
pub struct Prepared {
    pub name: String,
    pub bundle: PathBuf,
    pub manifest: Manifest,
    pub tokenizer: Tokenizer,
    pub tokenizer_sha256: String,
    pub baseline: i64,
    /// In the order of the plan's tasks.
    pub datasets: Vec<Dataset>,
}

/// The mistakes in the data of a plan, as far as its models can be asked. For a plan that has mistakes of its own, so
/// that all of them are reported at once.
pub fn data_mistakes(plan: &Plan) -> Diagnostics {
    let mut mistakes = Diagnostics(Vec::new());
    for model in &plan.models {
        if let (Ok(tokenizer), Ok(labels)) = (tokenizer(model), labels(model))
            && let Err(RunError::Invalid(found)) = read_data(plan, model, &tokenizer, labels.as_ref())
        {
            mistakes.extend(found);
        }
    }
    mistakes
}

pub fn prepare(job: &Job, runtime: &Runtime, progress: &dyn Progress) -> Result<Vec<Prepared>, RunError> {
    // Data first: baking may take minutes, and a mistake should not wait for it.
    let mut read = Vec::new();
    let mut mistakes = Diagnostics(Vec::new());
    for model in &job.plan.models {
        let tokenizer = tokenizer(model)?;
        match read_data(job.plan, model, &tokenizer, labels(model)?.as_ref()) {
            Ok(datasets) => read.push((tokenizer, datasets)),
            Err(RunError::Invalid(found)) => mistakes.extend(found),
            Err(error) => return Err(error),
        }
    }
    if !mistakes.0.is_empty() {
        return Err(mistakes.finished().into());
    }
    job.plan
        .models
        .iter()
        .zip(read)
        .map(|(model, (tokenizer, datasets))| {
            let bundle =
                resolve_bundle(runtime, &model.path, &model.name, job.bundles, Some(job.interrupted), progress)?;
            let manifest = read_manifest(&bundle)?;
            let baseline = baseline(model, &manifest, &tokenizer)?;
            let path = tokenizer_path(&model.path);
            let tokenizer_sha256 =
                crate::config::sha256_of_file(&path).map_err(|source| RunError::Io { path, source })?;
            Ok(Prepared { name: model.name.clone(), bundle, manifest, tokenizer, tokenizer_sha256, baseline, datasets })
        })
        .collect()
}

fn read_data(
    plan: &Plan,
    model: &ModelPlan,
    tokenizer: &Tokenizer,
    labels: Option<&Labels>,
) -> Result<Vec<Dataset>, RunError> {
    let subject = Subject { model: &model.name, tokenizer, labels };
    let mut datasets = Vec::new();
    let mut mistakes = Diagnostics(Vec::new());
    for task in &plan.tasks {
        match tasks::load(task, &subject, plan.limit) {
            Ok(dataset) => datasets.push(dataset),
            Err(TaskError::Invalid(found)) => mistakes.extend(found),
            Err(source) => return Err(RunError::Task { task: task.name.clone(), source }),
        }
    }
    if mistakes.0.is_empty() { Ok(datasets) } else { Err(mistakes.finished().into()) }
}

fn tokenizer_path(model: &Path) -> PathBuf {
    model.join("tokenizer.json")
}

fn tokenizer(model: &ModelPlan) -> Result<Tokenizer, RunError> {
    let path = tokenizer_path(&model.path);
    Tokenizer::from_file(&path).map_err(|source| RunError::Tokenizer { path, source })
}

/// The labels of a classifier, as its bundle or its checkpoint names them; `None` for a decoder.
fn labels(model: &ModelPlan) -> Result<Option<Labels>, RunError> {
    if model.path.join(BUNDLE).is_file() {
        let problem = |problem| RunError::Bundle { path: model.path.join(BUNDLE), problem };
        return read_manifest(&model.path)?.labels().map_err(problem);
    }
    let refused = |error| BakeError::Source(SourceError::Checkpoint(error)).into();
    match Checkpoint::open(&model.path) {
        Ok(checkpoint) => Ok(checkpoint.labels),
        Err(error) => Err(RunError::Bake { model: model.name.clone(), source: Box::new(refused(error)) }),
    }
}

fn baseline(model: &ModelPlan, manifest: &Manifest, tokenizer: &Tokenizer) -> Result<i64, RunError> {
    let found = match &model.baseline {
        Some(name) => {
            let id = tokenizer.baseline(None, Some(name));
            let missing = || RunError::Baseline { model: model.name.clone(), baseline: name.clone() };
            Some(id.ok_or_else(missing)?)
        }
        None => manifest.baseline_token_id,
    };
    found.ok_or_else(|| RunError::NoBaseline { model: model.name.clone() })
}

fn read_manifest(bundle: &Path) -> Result<Manifest, RunError> {
    let path = bundle.join(BUNDLE);
    let text = std::fs::read(&path).map_err(|source| RunError::Io { path: path.clone(), source })?;
    serde_json::from_slice(&text).map_err(|error| RunError::Bundle { path, problem: error.to_string() })
}

/// The bundle of a model: the folder itself, or one baked from it and kept under `bundles`.
///
/// What is baked is verified before it is kept. A kept bundle is found again by the contents of the model's files and of
/// this program: another build may bake otherwise. The one that an earlier build baked from the same files is removed.
pub fn resolve_bundle(
    runtime: &Runtime,
    model: &Path,
    name: &str,
    bundles: &Path,
    interrupted: Option<&AtomicBool>,
    progress: &dyn Progress,
) -> Result<PathBuf, RunError> {
    if model.join(BUNDLE).is_file() {
        return Ok(model.to_owned());
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
    let bundle = bundles.join(format!("{prefix}{}", &build[..16]));
    if bundle.join(BUNDLE).is_file() {
        return Ok(bundle);
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
    for entry in std::fs::read_dir(bundles).map_err(io(bundles.to_owned()))?.flatten() {
        let former = entry.path();
        if former != bundle && entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Another program may be using it; then it stays.
            let _ = std::fs::remove_dir_all(former);
        }
    }
    Ok(bundle)
}
