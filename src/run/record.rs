//! What a run says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::prepare::Prepared;
use crate::config::Plan;
use crate::faithfulness;
use crate::runtime::{Model, Runtime, SessionOptions};
use crate::store::{Declared, RunIdentity};

/// The facts that make a run this run: with any of them changed, its units are not comparable.
pub fn identity(plan: &Plan, models: &[Prepared], runtime: &Runtime) -> RunIdentity {
    let number = |number: Option<usize>| number.map_or("none".to_owned(), |number| number.to_string());
    let methods: Vec<String> = plan
        .methods
        .iter()
        .map(|method| match method.described() {
            described if described == method.label => described,
            described => format!("{}: {described}", method.label),
        })
        .collect();
    let mut facts = BTreeMap::from([
        ("program".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("ONNX Runtime".to_owned(), runtime.version().to_owned()),
        ("device".to_owned(), plan.device.clone()),
        ("methods and their options".to_owned(), methods.join(", ")),
        ("limit".to_owned(), number(plan.limit)),
        ("sample".to_owned(), number(plan.sample)),
        ("batch_tokens".to_owned(), plan.batch_tokens.to_string()),
    ]);
    for model in models {
        facts.insert(format!("model {}", model.name), model.manifest.source.sha256.clone());
        facts.insert(format!("tokenizer of {}", model.name), model.tokenizer_sha256.clone());
        facts.insert(format!("baseline token of {}", model.name), model.baseline.to_string());
        for dataset in &model.datasets {
            facts.insert(format!("task {}", dataset.name), dataset.sha256.clone());
        }
    }
    RunIdentity { facts }
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
        metrics: faithfulness::metrics().into_iter().filter(|facts| plan.metrics.contains(&facts.name)).collect(),
        seed: plan.seed,
        resamples: plan.resamples,
        confidence: plan.confidence,
    }
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
    forward_rows: u64,
    forward_rows_saved: u64,
    gradient_rows: u64,
    attention_rows: u64,
}

impl ModelRecord {
    pub fn new(prepared: &Prepared, model: &Model) -> Self {
        let counters = model.counters();
        ModelRecord {
            name: prepared.name.clone(),
            architecture: prepared.manifest.architecture.clone(),
            source: prepared.manifest.source.clone(),
            tokenizer_sha256: prepared.tokenizer_sha256.clone(),
            baseline_token_id: prepared.baseline,
            baseline_token: prepared.tokenizer.token(prepared.baseline),
            where_it_ran: model.describe(),
            forward_rows: counters.forward_rows,
            forward_rows_saved: counters.forward_rows_saved,
            gradient_rows: counters.gradient_rows,
            attention_rows: counters.attention_rows,
        }
    }
}

/// `manifest.json`.
pub fn manifest(
    plan: &Plan,
    identity: &RunIdentity,
    models: &[ModelRecord],
    runtime: &Runtime,
    options: &SessionOptions,
    elapsed: Duration,
) -> Value {
    json!({
        "name": plan.name,
        "program": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        "onnx_runtime": { "version": runtime.version(), "origin": runtime.origin().to_string() },
        "device": plan.device,
        "threads": options.thread_count(),
        "batch_tokens": plan.batch_tokens,
        "seed": plan.seed,
        "statistics": { "resamples": plan.resamples, "confidence": plan.confidence },
        "configuration_sha256": plan.sha256,
        "tasks": plan.tasks.iter().map(|task| json!({
            "name": task.name,
            "version": task.version,
            "file_sha256": task.file_sha256,
            "data_sha256": task.data_sha256,
        })).collect::<Vec<_>>(),
        "models": models,
        "identity": identity.facts,
        "seconds": elapsed.as_secs_f64(),
    })
}
