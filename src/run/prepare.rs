//! What a run needs before the first model runs: checked data, and bundles.

use std::collections::HashMap;
use std::sync::Arc;

use super::bundles::resolve_bundle;
use super::reads::Reads;
use super::{Job, Progress, RunError};
use crate::attribution::{ImportedFile, imported_file};
use crate::bundle::manifest::TOKENIZER_FILE;
use crate::bundle::{Manifest, OpenedBundle};
use crate::config::{ModelPlan, Plan};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::imports::{self, Given, ImportError};
use crate::runtime::Runtime;
use crate::tasks::{self, Dataset, Taken, TaskError};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// A plan's tasks as its models' tokenizers read them, and what imported files say of them: all that can be known, and be wrong,
/// before a model is baked and before ONNX Runtime is there.
pub struct PlanData {
    /// In the order of the plan's models.
    models: Vec<ModelData>,
}

/// The same for one model.
pub struct ModelData {
    pub tokenizer: Tokenizer,
    /// In the order of the plan's tasks.
    pub datasets: Vec<Dataset>,
    /// For each of them, by the method's label, what imported files say of its examples.
    pub given: Vec<HashMap<String, Arc<Given>>>,
}

impl PlanData {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`RunError::Invalid`] with every mistake that there is, or what could not be read.
    pub fn read(plan: &Plan) -> Result<PlanData, RunError> {
        let mut models = Vec::new();
        let mut mistakes = Diagnostics(Vec::new());
        for model in &plan.models {
            let reads = Reads::open(&model.path, &model.name)?;
            match read_data(plan, model, &reads) {
                Ok((datasets, given)) => models.push(ModelData { tokenizer: reads.tokenizer, datasets, given }),
                Err(RunError::Invalid(found)) => mistakes.extend(found),
                Err(error) => return Err(error),
            }
        }
        for method in &plan.methods {
            // A file may speak of one model or task alone, but not of none.
            let mut said =
                models.iter().flat_map(|model| &model.given).filter_map(|given| given.get(&method.label)).peekable();
            if said.peek().is_some() {
                let nothing: Option<Vec<&Diagnostic>> = said.map(|given| given.nothing()).collect();
                mistakes.0.extend(nothing.into_iter().flatten().take(1).cloned());
            }
        }
        if mistakes.0.is_empty() { Ok(PlanData { models }) } else { Err(mistakes.finished().into()) }
    }
}

/// A model with its bundle, and its data.
pub struct Prepared<'a> {
    pub name: String,
    pub bundle: Arc<OpenedBundle>,
    pub manifest: Manifest,
    pub tokenizer_sha256: String,
    pub baseline: i64,
    pub data: &'a ModelData,
}

/// The mistakes in the data of a plan, as far as its models can be asked. For a plan that has mistakes of its own, so
/// that all of them are reported at once.
pub fn data_mistakes(plan: &Plan) -> Diagnostics {
    let mut mistakes = Diagnostics(Vec::new());
    for model in &plan.models {
        if let Ok(reads) = Reads::open(&model.path, &model.name)
            && let Err(RunError::Invalid(found)) = read_data(plan, model, &reads)
        {
            mistakes.extend(found);
        }
    }
    mistakes
}

/// `data` is of the job's plan.
pub fn prepare<'a>(
    job: &Job,
    data: &'a PlanData,
    runtime: &Runtime,
    progress: &dyn Progress,
) -> Result<Vec<Prepared<'a>>, RunError> {
    job.plan
        .models
        .iter()
        .zip(&data.models)
        .map(|(model, data)| {
            let bundle =
                resolve_bundle(runtime, &model.path, &model.name, job.bundles, Some(job.interrupted), progress)?;
            let manifest = bundle.manifest.clone();
            for note in notes(model, &manifest, data) {
                progress.note(&format!("{}: {note}", model.name));
            }
            let baseline = baseline(model, &manifest, &data.tokenizer)?;
            let tokenizer_sha256 = bundle.files.get(TOKENIZER_FILE).cloned().unwrap_or_default();
            Ok(Prepared { name: model.name.clone(), bundle, manifest, tokenizer_sha256, baseline, data })
        })
        .collect()
}

/// A model's tasks, and for each what imported files say of it.
type Data = (Vec<Dataset>, Vec<HashMap<String, Arc<Given>>>);

fn read_data(plan: &Plan, model: &ModelPlan, reads: &Reads) -> Result<Data, RunError> {
    let subject = reads.subject(&model.name, model.special_tokens);
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
    let mut given = Vec::new();
    for dataset in &datasets {
        given.push(imported(plan, &model.name, dataset, &datasets, &mut mistakes)?);
    }
    if mistakes.0.is_empty() { Ok((datasets, given)) } else { Err(mistakes.finished().into()) }
}

/// What the files that a plan imports say of a task's examples, by the method's label.
fn imported(
    plan: &Plan,
    model: &str,
    dataset: &Dataset,
    all: &[Dataset],
    mistakes: &mut Diagnostics,
) -> Result<HashMap<String, Arc<Given>>, RunError> {
    let mut given = HashMap::new();
    for method in &plan.methods {
        let Some(ImportedFile { file, format, method: of_file }) = imported_file(method) else { continue };
        let request = imports::Request { path: &file.path(), format, method: of_file, model, dataset, all };
        match imports::read(&request) {
            Ok(found) => drop(given.insert(method.label.clone(), Arc::new(found))),
            Err(ImportError::Invalid(found)) => mistakes.extend(found),
            Err(ImportError::Io { path, source }) => return Err(RunError::Io { path, source }),
        }
    }
    Ok(given)
}

/// What the user should know of a model before it is run.
fn notes(model: &ModelPlan, manifest: &Manifest, data: &ModelData) -> Vec<String> {
    let ends = data.tokenizer.note_on_ends().filter(|_| model.special_tokens != SpecialTokens::Tokenizer);
    let mut notes: Vec<String> = manifest.notes.iter().filter(|note| Some(*note) != ends.as_ref()).cloned().collect();
    for dataset in &data.datasets {
        let (name, counts) = (&dataset.name, &dataset.counts);
        notes.extend(
            counts.left_out().map(|(why, count)| {
                format!("{count} of the {} records of {name} are no examples: {why}", counts.records)
            }),
        );
        let all = dataset.examples.len();
        if counts.begins_itself > 0 {
            notes.push(format!(
                "{} of the {all} prompts of {name} begin with the begin token themselves, so the tokenizer's was left out",
                counts.begins_itself
            ));
        }
        if counts.shortened > 0 {
            notes.push(format!(
                "{} of the {all} contexts of {name} were shortened around their evidence",
                counts.shortened
            ));
        }
    }
    notes
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
