//! Faithfulness: does the score change as the attributions say when tokens are taken away?
//!
//! A family of metrics is one item in a file and one line in [`FAMILIES`]. It names the perturbed rows it wants scored, and makes
//! metrics and curves of the scores; who scores them, and in which batches, is not its business.

mod gim;
mod ranking;

use crate::attribution::Case;
use crate::runtime::Row;

pub use ranking::Ranking;

/// f(x) while tokens are taken away or given back; the three vectors are equally long.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub curve: String,
    /// How many tokens were replaced.
    pub step: Vec<usize>,
    /// `step` over the number of ranked tokens, in `[0, 1]`.
    pub fraction: Vec<f64>,
    pub score: Vec<f64>,
}

/// A metric, as far as a report has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFacts {
    pub name: String,
    /// Whether a higher value means a more faithful attribution.
    pub higher_is_better: bool,
    /// Whether values are in the unit of the task's score (logits, probability) rather than free of unit.
    pub in_score_units: bool,
    /// Whether it is a fraction of f(x). Its mean is then the mean of the metric over the mean of f(x): a mean of
    /// fractions would be made by the examples with the smallest f(x).
    pub over_score: bool,
    /// What people call it.
    pub label: String,
    /// One or two sentences on how to read it.
    pub description: String,
}

/// One ranking of one case, to be judged.
pub struct Judged<'a> {
    pub case: &'a Case,
    pub ranking: &'a Ranking,
    /// f(x).
    pub full: f64,
}

/// A metric's value, or why it has none.
pub type Value = Result<f64, String>;

/// What a family says of one ranking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// In the order of [`Family::metrics`].
    pub values: Vec<Value>,
    pub curves: Vec<Curve>,
}

pub trait Family: Sync {
    fn metrics(&self) -> Vec<MetricFacts>;

    /// The perturbed prompts whose scores it needs.
    fn rows(&self, judged: &Judged) -> Vec<Row>;

    /// Judges by the scores f of [`Family::rows`], in that order.
    fn judge(&self, judged: &Judged, scores: &[f64]) -> Judgement;
}

/// All families, in the order in which their metrics are listed.
pub static FAMILIES: &[&dyn Family] = &[&gim::COMPREHENSIVENESS, &gim::SUFFICIENCY];

/// All metrics: fractions of f(x) after what they are fractions of.
pub fn metrics() -> Vec<MetricFacts> {
    let mut metrics: Vec<MetricFacts> = FAMILIES.iter().flat_map(|family| family.metrics()).collect();
    metrics.sort_by_key(|metric| metric.over_score);
    metrics
}

/// The families of some metrics: no other needs to be measured.
pub fn families_of(metrics: &[String]) -> Vec<&'static dyn Family> {
    let wanted = |family: &&&dyn Family| family.metrics().iter().any(|facts| metrics.contains(&facts.name));
    FAMILIES.iter().filter(wanted).copied().collect()
}
