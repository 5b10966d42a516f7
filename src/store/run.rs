//! What a run says of itself before any unit is done: what makes it this run, and in which order its parts stand.

use std::collections::BTreeMap;

use crate::faithfulness::MetricFacts;

/// The facts that make a run this run and no other: hashes of the configuration, models, tokenizers and tasks, and the
/// program's version, each under a name that a person understands (`configuration`, `model demo`, `program`).
/// An interrupted run is resumed only where all of them are the same.
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
    /// Examples in the data file.
    pub available: usize,
    /// The most that the run was allowed to take, the first ones.
    pub limit: Option<usize>,
    /// The most that it was allowed to take, drawn by the seed from all of them.
    pub sample: Option<usize>,
    /// Examples that the run took.
    pub examples: usize,
}

/// A fact that is not the same in two runs; `None` where a run does not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactDifference {
    pub fact: String,
    pub stored: Option<String>,
    pub now: Option<String>,
}

impl RunIdentity {
    /// The facts in which `now` departs from `self`, by name.
    pub fn differences(&self, now: &RunIdentity) -> Vec<FactDifference> {
        differences(&self.facts, &now.facts)
    }
}

impl Declared {
    /// The method behind a label.
    pub fn method_of<'a>(&'a self, label: &'a str) -> &'a str {
        self.relabelled.get(label).map_or(label, String::as_str)
    }

    /// The parts in which `now` departs from `self`.
    pub fn differences(&self, now: &Declared) -> Vec<FactDifference> {
        differences(&self.facts(), &now.facts())
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let metrics: Vec<String> = self
            .metrics
            .iter()
            .map(|m| {
                format!("{} ({})", m.name, if m.higher_is_better { "higher is better" } else { "lower is better" })
            })
            .collect();
        [
            ("name", self.name.clone()),
            ("list of models", self.models.join(", ")),
            ("list of tasks", self.tasks.join(", ")),
            ("list of methods", self.methods.join(", ")),
            ("list of metrics", metrics.join(", ")),
            ("seed", self.seed.to_string()),
            ("resamples", self.resamples.to_string()),
            ("confidence", format!("{:?}", self.confidence)),
        ]
        .map(|(fact, value)| (fact.to_string(), value))
        .into()
    }
}

fn differences(stored: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<FactDifference> {
    let mut names: Vec<&String> = stored.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| stored.get(*name) != now.get(*name))
        .map(|name| FactDifference {
            fact: name.clone(),
            stored: stored.get(name).cloned(),
            now: now.get(name).cloned(),
        })
        .collect()
}
