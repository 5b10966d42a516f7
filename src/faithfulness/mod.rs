//! Faithfulness: does the score change as the attributions say when tokens are taken away?
//!
//! A family of metrics is one file and one line in [`FAMILIES`]. It names the perturbed rows it wants scored, and makes
//! metrics and curves of the scores; who scores them, and in which batches, is not its business.

mod gim;
mod ranking;

use crate::attribution::Case;
use crate::runtime::Row;
use crate::store::{Curve, MetricFacts};

pub use ranking::Ranking;

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
pub const FAMILIES: &[&dyn Family] = &[&gim::Gim];

/// All metrics.
pub fn metrics() -> Vec<MetricFacts> {
    FAMILIES.iter().flat_map(|family| family.metrics()).collect()
}
