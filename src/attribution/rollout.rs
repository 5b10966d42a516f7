//! Attention rollout (Abnar and Zuidema, arXiv 2005.00928).

use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{Array2, Axis};

use super::{Attribution, Case, Entry, Inapplicable, Method};
use crate::config::Offered;
use crate::probe::Probe;
use crate::runtime::Graph;

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "attention_rollout", options: &[] },
    description: "attention weights, averaged over heads and multiplied through the layers",
    source: "arXiv 2005.00928",
    cost: "1 forward, with attention weights",
    build: |_| Rc::new(AttentionRollout),
};

/// The row of the scored position of `A_L A_(L-1) .. A_1`, each the mean over heads plus the identity (the residual
/// stream), with rows that sum to 1.
pub struct AttentionRollout;

#[async_trait(?Send)]
impl Method for AttentionRollout {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        if probe.has(Graph::AttentionRollout) {
            let found = probe.attention_rollout(case.row()).await;
            return Ok(Attribution::deterministic(found.iter().copied().map(f64::from).collect()));
        }
        // Bundles of before there was that graph: all layers at once.
        let layers = probe.attention(case.row()).await;
        let seq = case.length();
        // Only one row is wanted, so it is multiplied through from the last layer down: seq^2 a layer.
        let mut row = Array2::<f64>::zeros((1, seq));
        row[[0, case.position]] = 1.0;
        for layer in layers.axis_iter(Axis(0)).rev() {
            row = row.dot(&with_residual(layer.mapv(f64::from).mean_axis(Axis(0)), seq));
        }
        Ok(Attribution::deterministic(row.into_raw_vec_and_offset().0))
    }

    fn needs(&self) -> &'static [Graph] {
        &[Graph::Attention]
    }
}

/// `A + I` with rows that sum to 1, `[seq, seq]`: attention and the residual stream beside it.
pub(super) fn with_residual(mean: Option<Array2<f64>>, seq: usize) -> Array2<f64> {
    let mut attention = mean.unwrap_or_else(|| Array2::zeros((seq, seq))) + Array2::<f64>::eye(seq);
    for mut row in attention.axis_iter_mut(Axis(0)) {
        let sum = row.sum();
        row /= sum;
    }
    attention
}
