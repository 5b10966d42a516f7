//! DeepLIFT's multipliers of one row.

use ndarray::{Array2, arr1};

use super::error::RuntimeError;
use super::model::{Gradient, GradientRow, Model, gradient_inputs};
use crate::bundle::Graph;

/// What DeepLIFT says of one row, compared with another.
#[derive(Clone, Debug, PartialEq)]
pub struct Multipliers {
    /// The score of the row, and its multipliers with respect to the embeddings, `[seq, hidden]`.
    pub own: Gradient,
    /// The score of the baseline.
    pub baseline: f32,
}

impl Model {
    /// The multipliers of a row by DeepLIFT's rescale rule, compared with the same row at other embeddings, `[seq, hidden]`: both
    /// in one batch of two.
    ///
    /// # Errors
    /// As [`Model::gradients`]; [`RuntimeError::Bundle`] when the bundle has no such graph.
    pub fn multipliers(&mut self, row: &GradientRow, baseline: Array2<f32>) -> Result<Multipliers, RuntimeError> {
        let rows = [row.clone(), GradientRow { embeds: baseline, ..row.clone() }];
        for (number, row) in rows.iter().enumerate() {
            self.check_gradient_row(row).map_err(|error| RuntimeError::Input { row: number, error })?;
        }
        let hidden = self.manifest().dimensions.hidden;
        let longest = rows.iter().map(|row| row.embeds.nrows()).max().unwrap_or_default();
        let mut inputs = gradient_inputs(Graph::DeepLift, &[&rows[0], &rows[1]], longest, hidden, &[]);
        inputs.push(("baseline_row", arr1(&[1i64, 1]).into()));
        // The two go together or not at all.
        let mut found = self.fitting(Graph::DeepLift, &[0], longest, true, &mut |model, _| {
            Ok(vec![model.run(Graph::DeepLift, &inputs)?])
        })?;
        self.counters.gradient_rows += rows.len() as u64;
        let mut outputs = found.swap_remove(0);
        let scores = outputs.take_f32("score", &[2])?;
        let gradients = outputs.take_f32("gradient", &[2, longest, hidden])?;
        let gradient = Array2::from_shape_fn(rows[0].embeds.dim(), |(token, d)| gradients[[0, token, d]]);
        Ok(Multipliers { own: Gradient { score: scores[[0]], gradient }, baseline: scores[[1]] })
    }
}
