//! What a run needs before the first model runs: checked data, and bundles.

use std::sync::Arc;

use super::bundles::{is_bundle, resolve_bundle};
use super::{Job, Progress, RunError};
use crate::bundle::bake::BakeError;
use crate::bundle::manifest::{MANIFEST_FILE, TOKENIZER_FILE};
use crate::bundle::open::described;
use crate::bundle::source::SourceError;
use crate::bundle::{Manifest, OpenedBundle};
use crate::chat::ChatTemplate;
use crate::checkpoint::Checkpoint;
use crate::config::{ModelPlan, Plan};
use crate::diagnostics::Diagnostics;
use crate::labels::Labels;
use crate::runtime::Runtime;
use crate::tasks::{self, Dataset, Subject, Taken, TaskError};
use crate::tokenizer::{SpecialTokens, Tokenizer};

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
        if let (Ok(tokenizer), Ok(outputs)) = (tokenizer(model), outputs(model))
            && let Err(RunError::Invalid(found)) = read_data(plan, model, &tokenizer, &outputs)
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
        match read_data(job.plan, model, &tokenizer, &outputs(model)?) {
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
            for note in notes(model, &manifest, &tokenizer, &datasets) {
                progress.note(&format!("{}: {note}", model.name));
            }
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
    outputs: &Outputs,
) -> Result<Vec<Dataset>, RunError> {
    let subject = Subject {
        model: &model.name,
        architecture: &outputs.architecture,
        tokenizer,
        chat: outputs.chat.as_ref(),
        labels: outputs.labels.as_ref(),
        special_tokens: model.special_tokens,
        vocab: outputs.vocab,
        max_tokens: outputs.max_positions,
    };
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

/// What a model has logits and embeddings for, and how it is asked.
struct Outputs {
    /// `model_type` of its configuration.
    architecture: String,
    chat: Option<ChatTemplate>,
    max_positions: Option<usize>,
    /// Of a classifier.
    labels: Option<Labels>,
    /// Token ids that there are embeddings for.
    vocab: usize,
}

/// As the model's bundle or its checkpoint says it.
fn outputs(model: &ModelPlan) -> Result<Outputs, RunError> {
    if is_bundle(&model.path) {
        let problem = |problem| RunError::Bundle { path: model.path.join(MANIFEST_FILE), problem };
        let manifest = described(&model.path)?.0;
        return Ok(Outputs {
            labels: manifest.labels().map_err(problem)?,
            architecture: manifest.architecture,
            chat: manifest.chat_template,
            max_positions: manifest.dimensions.max_positions,
            vocab: manifest.dimensions.vocab,
        });
    }
    let refused = |error| BakeError::Source(SourceError::Checkpoint(error)).into();
    match Checkpoint::open(&model.path) {
        Ok(checkpoint) => Ok(Outputs {
            chat: ChatTemplate::beside(&model.path.join(TOKENIZER_FILE))?.map(|(template, _)| template),
            architecture: checkpoint.architecture,
            max_positions: checkpoint.max_positions,
            labels: checkpoint.labels,
            vocab: checkpoint.vocab,
        }),
        Err(error) => Err(RunError::Bake { model: model.name.clone(), source: Box::new(refused(error)) }),
    }
}

/// What the user should know of a model before it is run.
fn notes(model: &ModelPlan, manifest: &Manifest, tokenizer: &Tokenizer, datasets: &[Dataset]) -> Vec<String> {
    let ends = tokenizer.note_on_ends().filter(|_| model.special_tokens != SpecialTokens::Tokenizer);
    let mut notes: Vec<String> = manifest.notes.iter().filter(|note| Some(*note) != ends.as_ref()).cloned().collect();
    for dataset in datasets {
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
