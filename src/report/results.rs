//! `results.json`: what `summary.csv` and `comparisons.csv` say, and what they were made from, for programs.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::analysis::{AcrossTasks, Analysis, Comparison, Summary};
use super::gather::Gathered;
use super::inexact::Inexact;

/// Goes up when a field changes its meaning or goes away.
const FORMAT: u32 = 1;

/// What a run of gim-harness measured. A number that is undefined is null.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "results.json of gim-harness")]
pub struct Results<'a> {
    /// Goes up when a field changes its meaning or goes away; fields that are added leave it as it is.
    #[schemars(extend("const" = FORMAT))]
    format: u32,
    /// The run's name.
    run: &'a str,
    /// Whether every unit of work (a method on an example by a model) is done.
    complete: bool,
    units_done: usize,
    units_expected: usize,
    /// Hashes and versions of what the run was made from, by name.
    identity: &'a BTreeMap<String, String>,
    statistics: Statistics,
    models: &'a [String],
    methods: &'a [String],
    metrics: Vec<Metric<'a>>,
    /// One for each model and task.
    tasks: Vec<Task<'a>>,
    /// By model, task, method and metric: the rows of summary.csv.
    summaries: &'a [Summary],
    /// By model, task, metric and pair of methods: the rows of comparisons.csv.
    comparisons: &'a [Comparison],
    /// By model and metric.
    across_tasks: &'a [AcrossTasks],
    /// Methods whose attributions are not the integrals that they approximate.
    inexact: &'a [Inexact],
}

#[derive(Serialize, JsonSchema)]
struct Statistics {
    /// Of the bootstrap.
    resamples: usize,
    /// Of the intervals, a share such as 0.95.
    confidence: f64,
    seed: u64,
}

#[derive(Serialize, JsonSchema)]
struct Metric<'a> {
    name: &'a str,
    higher_is_better: bool,
    in_score_units: bool,
    label: &'a str,
    description: &'a str,
}

/// A task as one model saw it; what is absent was not known when the run was interrupted.
#[derive(Serialize, JsonSchema)]
struct Task<'a> {
    model: &'a str,
    task: &'a str,
    version: Option<u32>,
    sha256: Option<&'a str>,
    score: Option<&'a str>,
    /// Records in the data.
    records: Option<usize>,
    /// Those that are no examples, by the reason.
    left_out: BTreeMap<&'a str, usize>,
    /// Examples whose context was shortened.
    shortened: Option<usize>,
    available: Option<usize>,
    limit: Option<usize>,
    /// How many were to be drawn at random.
    sample: Option<usize>,
    /// That the run takes.
    examples: usize,
    units_done: usize,
    /// Whole examples, by reason.
    excluded: BTreeMap<&'a str, usize>,
}

/// JSON Schema (draft 2020-12) of `results.json`, made from the types that are written. It allows fields that it does not
/// know: a later program may add some.
pub fn schema() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Results<'static>>()
}

impl<'a> Results<'a> {
    pub fn new(gathered: &'a Gathered, analysis: &'a Analysis) -> Results<'a> {
        let declared = &gathered.declared;
        Results {
            format: FORMAT,
            run: &declared.name,
            complete: gathered.complete(),
            units_done: gathered.units_done(),
            units_expected: gathered.units_expected(),
            identity: &gathered.identity.facts,
            statistics: Statistics {
                resamples: declared.resamples,
                confidence: declared.confidence,
                seed: declared.seed,
            },
            models: &declared.models,
            methods: &declared.methods,
            metrics: declared
                .metrics
                .iter()
                .map(|metric| Metric {
                    name: &metric.name,
                    higher_is_better: metric.higher_is_better,
                    in_score_units: metric.in_score_units,
                    label: &metric.label,
                    description: &metric.description,
                })
                .collect(),
            tasks: gathered
                .panels
                .iter()
                .map(|panel| {
                    let dataset = panel.dataset.as_ref();
                    Task {
                        model: &panel.model,
                        task: &panel.task,
                        version: dataset.map(|dataset| dataset.version),
                        sha256: dataset.map(|dataset| dataset.sha256.as_str()),
                        score: dataset.map(|dataset| dataset.score.as_str()),
                        records: dataset.map(|dataset| dataset.records),
                        left_out: dataset
                            .map(|dataset| dataset.left_out.iter().map(|(why, count)| (why.as_str(), *count)).collect())
                            .unwrap_or_default(),
                        shortened: dataset.map(|dataset| dataset.shortened),
                        available: dataset.map(|dataset| dataset.available),
                        limit: dataset.and_then(|dataset| dataset.limit),
                        sample: dataset.and_then(|dataset| dataset.sample),
                        examples: panel.expected(),
                        units_done: panel.units(),
                        excluded: panel.left_out.iter().map(|(why, which)| (why.as_str(), which.len())).collect(),
                    }
                })
                .collect(),
            summaries: &analysis.summaries,
            comparisons: &analysis.comparisons,
            across_tasks: &analysis.across,
            inexact: &analysis.inexact,
        }
    }
}
