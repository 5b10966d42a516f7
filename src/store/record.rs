//! A unit of work: one method on one example of one task, by one model.

use std::collections::BTreeMap;

use crate::faithfulness::Curve;
use crate::probe::Cost;

/// Which unit; orders by model, task, example, method (by name, not by the order that the run declared).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitKey {
    pub model: String,
    pub task: String,
    pub example_id: String,
    pub method: String,
}

/// Everything that is kept of a finished unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    pub key: UnitKey,
    /// Hash of everything that the numbers hang on: model, program, runtime, device, method and its options, and what
    /// the example asks. A plan that comes to another hash does not take the unit for its own.
    pub depends_on: String,
    /// Where the example stands among those of the plan, from 0; reports keep this order. Not kept with the unit.
    pub example_index: usize,
    pub n_tokens: usize,
    /// How many positions competed in the ranking.
    pub n_ranked: usize,
    /// f(x), the number being explained.
    pub score: Option<f64>,
    /// Why the whole example is left out; then `attributions`, `metrics` and `curves` are empty.
    pub excluded: Option<String>,
    /// The prompt's tokens as text, one a position; may be empty where the example is left out.
    pub tokens: Vec<String>,
    /// One vector a seed (one for a deterministic method), one number a token.
    pub attributions: Vec<Vec<f64>>,
    pub metrics: Vec<MetricValue>,
    /// Mean over the seeds.
    pub curves: Vec<Curve>,
    pub timing: Timing,
    /// What the method says of itself, e.g. `completeness_gap` of integrated gradients.
    pub diagnostics: BTreeMap<String, f64>,
}

/// A metric on one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricValue {
    pub metric: String,
    /// One a seed; empty when excluded.
    pub values: Vec<f64>,
    /// Why there is no value.
    pub excluded: Option<String>,
}

impl MetricValue {
    const ELSEWHERE: &str = "this task does not measure it";

    /// Of a metric that only other tasks of the run measure.
    pub fn elsewhere(metric: String) -> Self {
        MetricValue { metric, values: Vec::new(), excluded: Some(Self::ELSEWHERE.to_owned()) }
    }

    pub fn is_elsewhere(&self) -> bool {
        self.excluded.as_deref() == Some(Self::ELSEWHERE)
    }
}

/// What a unit cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    pub attribution: Cost,
    pub evaluation: Cost,
}
