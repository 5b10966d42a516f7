//! What a run says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::prepare::Prepared;
use crate::config::{Chosen, Plan, Score, TaskPlan};
use crate::faithfulness;
use crate::runtime::{Counters, Graph, Model, Placement, Runtime};
use crate::store::{DatasetFacts, Declared, NODES, PlannedDataset, PlannedExample, Prompt, RunIdentity, UnitKey};
use crate::tasks::{Dataset, Example};
use crate::units::Granularity;

/// Facts by name, for people to read and for units to hang on.
type Facts = BTreeMap<String, String>;

/// What the numbers of a run hang on, by what each part of a unit adds to it.
///
/// A run goes on only where none of these changed; and each unit carries the hash of those that it hangs on, so that a
/// plan takes no other unit for its own.
pub struct Basis {
    /// Program, runtime, device.
    common: Facts,
    /// By model, task and method.
    models: BTreeMap<String, Facts>,
    tasks: BTreeMap<String, Facts>,
    methods: BTreeMap<String, Facts>,
}

/// How sessions compute, where the machine rather than the plan decides. A run that goes on computes as it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    pub threads: usize,
    /// By model: whether weights are prepacked.
    pub prepacking: BTreeMap<String, bool>,
}

const THREADS: &str = "threads";

fn prepacking_of(model: &str) -> String {
    format!("prepacking of {model}")
}

impl Sessions {
    /// As a run that was begun recorded it in its facts, as far as it did.
    pub fn imposed(self, plan: &Plan, begun: &RunIdentity) -> Sessions {
        let mut sessions = self;
        let threads = begun.facts.get(THREADS).and_then(|threads| threads.parse().ok());
        sessions.threads = plan.threads.or(threads).unwrap_or(sessions.threads);
        for (model, on) in &mut sessions.prepacking {
            *on = begun.facts.get(&prepacking_of(model)).map_or(*on, |word| word == "on");
        }
        sessions
    }
}

impl Basis {
    pub fn new(plan: &Plan, models: &[Prepared], runtime: &Runtime, build: &str, sessions: &Sessions) -> Basis {
        let common = Facts::from([
            ("program".to_owned(), format!("{}, build {build}", env!("CARGO_PKG_VERSION"))),
            ("ONNX Runtime".to_owned(), runtime.version().to_owned()),
            ("device".to_owned(), plan.devices.join(", ")),
            (THREADS.to_owned(), sessions.threads.to_string()),
            ("batch_tokens".to_owned(), plan.batch_tokens.to_string()),
            ("prefix_cache".to_owned(), plan.prefix_cache.clone()),
            ("seed".to_owned(), plan.seed.to_string()),
        ]);
        let of_model = |model: &Prepared| {
            let name = &model.name;
            let prepacked = sessions.prepacking.get(name).copied().unwrap_or_default();
            let mut facts = Facts::from([
                (format!("tokenizer of {name}"), model.tokenizer_sha256.clone()),
                (format!("baseline token of {name}"), model.baseline.to_string()),
                (prepacking_of(name), if prepacked { "on" } else { "off" }.to_owned()),
            ]);
            for planned in plan.models.iter().filter(|planned| planned.name == *name) {
                facts.insert(format!("special tokens of {name}"), planned.special_tokens.name().to_owned());
            }
            for (file, hash) in &model.bundle.files {
                facts.insert(format!("{file} of {name}"), hash.clone());
            }
            (name.clone(), facts)
        };
        let of_task = |task: &TaskPlan| {
            let said = match task.granularity {
                Granularity::Tokens => "tokens".to_owned(),
                other => format!("{} by {}", json!(other), json!(task.aggregate)).replace('"', ""),
            };
            let facts = Facts::from([
                (format!("task {}", task.name), task.file_sha256.clone()),
                (format!("granularity of {}", task.name), said),
            ]);
            (task.name.clone(), facts)
        };
        let of_method = |method: &Chosen| {
            let mut facts = Facts::from([(format!("method {}", method.label), method.described())]);
            let given = models.iter().flat_map(|model| &model.data.given).find_map(|given| given.get(&method.label));
            facts.extend(given.map(|given| (format!("file of {}", method.label), given.sha256().to_owned())));
            (method.label.clone(), facts)
        };
        Basis {
            common,
            models: models.iter().map(of_model).collect(),
            tasks: plan.tasks.iter().map(of_task).collect(),
            methods: plan.methods.iter().map(of_method).collect(),
        }
    }

    /// All facts.
    pub fn identity(&self) -> RunIdentity {
        let parts = [&self.models, &self.tasks, &self.methods];
        let of_parts = parts.into_iter().flat_map(BTreeMap::values).flatten();
        self.common.iter().chain(of_parts).map(|(fact, value)| (fact.as_str(), value.as_str())).collect()
    }

    /// The hash of what a unit hangs on: its facts, and what its example asks.
    pub fn of_unit(&self, key: &UnitKey, score: Score, example: &Example) -> String {
        let facts = [self.models.get(&key.model), self.tasks.get(&key.task), self.methods.get(&key.method)];
        let written = serde_json::to_vec(&(&self.common, facts, score.name(), example));
        // Maps of text and an example of numbers and text can always be written.
        crate::digest::sha256(&written.unwrap_or_default())
    }
}

pub fn declared(plan: &Plan) -> Declared {
    Declared {
        name: plan.name.clone(),
        models: plan.models.iter().map(|model| model.name.clone()).collect(),
        tasks: plan.tasks.iter().map(|task| task.name.clone()).collect(),
        methods: plan.methods.iter().map(|method| method.label.clone()).collect(),
        relabelled: plan
            .methods
            .iter()
            .filter(|method| method.label != method.name)
            .map(|method| (method.label.clone(), method.name.clone()))
            .collect(),
        metrics: faithfulness::facts(&plan.all_metrics()),
        seed: plan.seed,
        resamples: plan.resamples,
        confidence: plan.confidence,
    }
}

/// What a run takes of a task's data for a model.
pub fn dataset(model: &Prepared, plan: &Plan, dataset: &Dataset) -> PlannedDataset {
    PlannedDataset {
        facts: DatasetFacts {
            model: model.name.clone(),
            task: dataset.name.clone(),
            version: dataset.version,
            sha256: dataset.sha256.clone(),
            score: dataset.score.name().to_owned(),
            records: dataset.counts.records,
            available: dataset.counts.available,
            left_out: dataset.counts.left_out().collect(),
            shortened: dataset.counts.shortened,
            limit: plan.limit,
            sample: plan.sample,
            examples: dataset.examples.len(),
        },
        examples: dataset
            .examples
            .iter()
            .map(|example| PlannedExample {
                id: example.id.clone(),
                evidence: example.evidence.clone(),
                prompt: prompt(model, example),
            })
            .collect(),
    }
}

fn prompt(model: &Prepared, example: &Example) -> Prompt {
    let answer = match model.manifest.dimensions.labels {
        Some(_) => Vec::new(),
        None => std::iter::once(&example.target)
            .chain(&example.following)
            .map(|&id| (id, model.data.tokenizer.token(id)))
            .collect(),
    };
    Prompt { ids: example.input_ids.clone(), answer }
}

/// A model as it was run.
#[derive(Serialize)]
pub struct ModelRecord {
    name: String,
    architecture: String,
    source: crate::bundle::manifest::Source,
    tokenizer_sha256: String,
    baseline_token_id: i64,
    baseline_token: String,
    where_it_ran: String,
    workers: usize,
    forward_rows: u64,
    forward_rows_saved: u64,
    prefix_tokens: u64,
    prefix_tokens_saved: u64,
    gradient_rows: u64,
    attention_rows: u64,
}

impl ModelRecord {
    /// Of all its workers.
    pub fn new(prepared: &Prepared, models: &[Model]) -> Self {
        let counters = models.iter().map(Model::counters).sum::<Counters>();
        let mut where_it_ran: Vec<String> = models.iter().map(Model::describe).collect();
        where_it_ran.dedup();
        ModelRecord {
            name: prepared.name.clone(),
            architecture: prepared.manifest.architecture.clone(),
            source: prepared.manifest.source.clone(),
            tokenizer_sha256: prepared.tokenizer_sha256.clone(),
            baseline_token_id: prepared.baseline,
            baseline_token: prepared.data.tokenizer.token(prepared.baseline),
            where_it_ran: where_it_ran.join("; "),
            workers: models.len(),
            forward_rows: counters.forward_rows,
            forward_rows_saved: counters.forward_rows_saved,
            prefix_tokens: counters.prefix_tokens,
            prefix_tokens_saved: counters.prefix_tokens_saved,
            gradient_rows: counters.gradient_rows,
            attention_rows: counters.attention_rows,
        }
    }
}

/// Facts that the running shows: which nodes of a model's graphs ran where, if not all on the CPU.
pub fn placements(name: &str, workers: &[Model]) -> RunIdentity {
    let of =
        |(graph, placement): (Graph, &Placement)| (format!("{NODES}{} of {name}", graph.file()), placement.to_string());
    workers.iter().flat_map(Model::placements).map(of).collect()
}

/// `manifest.json`.
pub fn manifest(
    plan: &Plan,
    identity: &RunIdentity,
    models: &[ModelRecord],
    runtime: &Runtime,
    threads: usize,
    elapsed: Duration,
) -> Value {
    json!({
        "name": plan.name,
        "program": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        "onnx_runtime": { "version": runtime.version(), "origin": runtime.origin().to_string() },
        "device": plan.devices.join(", "),
        "threads": threads,
        "batch_tokens": plan.batch_tokens,
        "seed": plan.seed,
        "statistics": { "resamples": plan.resamples, "confidence": plan.confidence },
        "configuration_sha256": plan.sha256,
        "tasks": plan.tasks.iter().map(|task| json!({
            "name": task.name,
            "version": task.version,
            "file_sha256": task.file_sha256,
            "data_sha256": task.data.sha256,
        })).collect::<Vec<_>>(),
        "models": models,
        "identity": identity.facts,
        "seconds": elapsed.as_secs_f64(),
    })
}
