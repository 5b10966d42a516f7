//! What a run says of itself before any unit is done: what makes it this run, and in which order its parts stand.

use std::collections::BTreeMap;

use crate::faithfulness::MetricFacts;

/// How facts begin that say which nodes of a graph ran where; its file and its model follow.
pub const NODES: &str = "nodes of ";

/// The facts that make a run this run and no other: hashes of models, tokenizers, tasks and of the program, the device,
/// each under a name that a person understands (`program`, `weights.bin of demo`).
///
/// A run goes on only where no fact has another value than before. Facts may be added: a larger plan, with another
/// model, task or method, extends the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunIdentity {
    pub facts: BTreeMap<String, String>,
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for RunIdentity {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(facts: I) -> Self {
        RunIdentity { facts: facts.into_iter().map(|(k, v)| (k.into(), v.into())).collect() }
    }
}

/// The parts of a run in the order in which reports list them, and how its statistics are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// The run's name.
    pub name: String,
    pub models: Vec<String>,
    pub tasks: Vec<String>,
    /// Labels: a method may stand twice, with different options.
    pub methods: Vec<String>,
    /// The methods behind those labels that are not a method's name.
    pub relabelled: BTreeMap<String, String>,
    pub metrics: Vec<MetricFacts>,
    /// Seeds every bootstrap and permutation.
    pub seed: u64,
    /// Bootstrap resamples and random sign flips.
    pub resamples: usize,
    /// Of the intervals, e.g. 0.95.
    pub confidence: f64,
}

/// A task's dataset as one model saw it (its tokenizer decides what fits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetFacts {
    pub model: String,
    pub task: String,
    pub version: u32,
    /// Of the task file and its data.
    pub sha256: String,
    /// What is explained: `logit`, `probability`, `logit_difference`.
    pub score: String,
    /// Records in the data file.
    pub records: usize,
    /// Of them, those that are examples.
    pub available: usize,
    /// Those that are none, by the reason.
    pub left_out: Vec<(String, usize)>,
    /// Examples whose context was shortened.
    pub shortened: usize,
    /// The most that the run was allowed to take, the first ones.
    pub limit: Option<usize>,
    /// The most that it was allowed to take, drawn by the seed from all of them.
    pub sample: Option<usize>,
    /// Examples that the run takes.
    pub examples: usize,
}

/// A dataset, and which examples of it the run takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDataset {
    pub facts: DatasetFacts,
    /// In the order of the reports; as many as `facts.examples`.
    pub examples: Vec<PlannedExample>,
}

/// An example, as far as reports have to know it before anything is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedExample {
    /// Its name.
    pub id: String,
    /// Positions that annotators marked as evidence, ascending.
    pub evidence: Vec<usize>,
    /// What the model reads, and says.
    pub prompt: Prompt,
}

/// A prompt as the model reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// One a token.
    pub ids: Vec<i64>,
    /// The explained answer's tokens, with their texts; none of a classifier's label.
    pub answer: Vec<(i64, String)>,
}

/// A fact that is not the same in two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactDifference {
    pub fact: String,
    pub stored: String,
    pub now: String,
}

impl RunIdentity {
    /// The facts that have another value in `now`, by name. Facts that only one of the two has do not count.
    pub fn differences(&self, now: &RunIdentity) -> Vec<FactDifference> {
        let differs = |(fact, stored): (&String, &String)| {
            let now = now.facts.get(fact)?;
            let difference = || FactDifference { fact: fact.clone(), stored: stored.clone(), now: now.clone() };
            (now != stored).then(difference)
        };
        self.facts.iter().filter_map(differs).collect()
    }
}

impl Declared {
    /// The method behind a label.
    pub fn method_of<'a>(&'a self, label: &'a str) -> &'a str {
        self.relabelled.get(label).map_or(label, String::as_str)
    }
}
