//! Attention rollout (Abnar and Zuidema, arXiv 2005.00928).

use ndarray::{Array2, Axis};

use super::{Attribution, Case, Method};
use crate::runtime::{Model, Row, RuntimeError};

/// The row of the scored position of `A_L A_(L-1) .. A_1`, each the mean over heads plus the identity (the residual
/// stream), with rows that sum to 1.
pub struct AttentionRollout;

impl Method for AttentionRollout {
    fn attribute(&self, model: &mut Model, cases: &[Case]) -> Result<Vec<Attribution>, RuntimeError> {
        let rows: Vec<Row> = cases.iter().map(Case::row).collect();
        let attention = model.attention(&rows)?;
        Ok(cases
            .iter()
            .zip(attention)
            .map(|(case, layers)| {
                let seq = case.input_ids.len();
                // Only one row is wanted, so it is multiplied through from the last layer down: seq^2 a layer.
                let mut row = Array2::<f64>::zeros((1, seq));
                row[[0, case.position]] = 1.0;
                for layer in layers.axis_iter(Axis(0)).rev() {
                    row = row.dot(&with_residual(layer.mapv(f64::from).mean_axis(Axis(0)), seq));
                }
                Attribution::deterministic(row.into_raw_vec_and_offset().0)
            })
            .collect())
    }
}

fn with_residual(mean: Option<Array2<f64>>, seq: usize) -> Array2<f64> {
    let mut attention = mean.unwrap_or_else(|| Array2::zeros((seq, seq))) + Array2::<f64>::eye(seq);
    for mut row in attention.axis_iter_mut(Axis(0)) {
        let sum = row.sum();
        row /= sum;
    }
    attention
}
