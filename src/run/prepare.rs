//! What a run needs before the first model runs: checked data, and bundles.

use std::sync::Arc;

use super::bundles::{is_bundle, resolve_bundle};
use super::{Job, Progress, RunError};
use crate::bundle::bake::BakeError;
use crate::bundle::manifest::{MANIFEST_FILE, TOKENIZER_FILE};
use crate::bundle::open::described;
use crate::bundle::source::SourceError;
use crate::bundle::{Manifest, OpenedBundle};
use crate::checkpoint::Checkpoint;
use crate::config::{ModelPlan, Plan};
use crate::diagnostics::Diagnostics;
use crate::labels::Labels;
use crate::runtime::Runtime;
use crate::tasks::{self, Dataset, Subject, Taken, TaskError};
use crate::tokenizer::Tokenizer;

/// A model with its bundle, and the tasks as its tokenizer reads them.
pub struct Prepared {
    pub name: String,
    pub bundle: Arc<OpenedBundle>,
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
            let manifest = bundle.manifest.clone();
            let baseline = baseline(model, &manifest, &tokenizer)?;
            let tokenizer_sha256 = bundle.files.get(TOKENIZER_FILE).cloned().unwrap_or_default();
            let name = model.name.clone();
            Ok(Prepared { name, bundle, manifest, tokenizer, tokenizer_sha256, baseline, datasets })
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
    let taken = match (plan.sample, plan.limit) {
        (Some(size), _) => Taken::Sample { size, seed: plan.seed },
        (None, Some(limit)) => Taken::First(limit),
        (None, None) => Taken::All,
    };
    let mut datasets = Vec::new();
    let mut mistakes = Diagnostics(Vec::new());
    for task in &plan.tasks {
        match tasks::load(task, &subject, taken) {
            Ok(dataset) => datasets.push(dataset),
            Err(TaskError::Invalid(found)) => mistakes.extend(found),
            Err(source) => return Err(RunError::Task { task: task.name.clone(), source }),
        }
    }
    if mistakes.0.is_empty() { Ok(datasets) } else { Err(mistakes.finished().into()) }
}

fn tokenizer(model: &ModelPlan) -> Result<Tokenizer, RunError> {
    if is_bundle(&model.path) {
        return Ok(described(&model.path)?.1);
    }
    let path = model.path.join(TOKENIZER_FILE);
    Tokenizer::from_file(&path).map_err(|source| RunError::Tokenizer { path, source })
}

/// The labels of a classifier, as its bundle or its checkpoint names them; `None` for a decoder.
fn labels(model: &ModelPlan) -> Result<Option<Labels>, RunError> {
    if is_bundle(&model.path) {
        let problem = |problem| RunError::Bundle { path: model.path.join(MANIFEST_FILE), problem };
        return described(&model.path)?.0.labels().map_err(problem);
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
