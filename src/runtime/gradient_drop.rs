//! Gradients without what flows through one layer.

use ndarray::{Array1, Array2};

use super::error::RuntimeError;
use super::model::{Gradient, GradientRow, Model, gradient_inputs};
use crate::bundle::Graph;
use crate::grad::Knobs;

impl Model {
    /// The gradients of a row's score with respect to its embeddings, one for each layer: that which hands on only what goes
    /// around it.
    ///
    /// # Errors
    /// As [`Model::gradients`]; [`RuntimeError::Bundle`] when the bundle has no such graph.
    pub fn gradients_without_layers(
        &mut self,
        row: &GradientRow,
        knobs: &Knobs,
    ) -> Result<Vec<Gradient>, RuntimeError> {
        let graph = Graph::GradientDrop;
        self.check_gradient_row(row).map_err(|error| RuntimeError::Input { row: 0, error })?;
        let knobs = self.known_knobs(graph, knobs)?;
        let (layers, hidden) = (self.manifest().dimensions.layers, self.manifest().dimensions.hidden);
        let length = row.embeds.nrows();
        let bounds = self.bounds().for_gradients(&self.manifest().dimensions);
        self.in_batches(graph, &vec![length; layers], bounds, |model, batch, longest| {
            model.counters.gradient_rows += batch.len() as u64;
            let rows: Vec<&GradientRow> = batch.iter().map(|_| row).collect();
            let mut inputs = gradient_inputs(graph, &rows, longest, hidden, &knobs);
            let dropped: Array1<i64> = batch.iter().map(|&layer| layer as i64).collect();
            inputs.push(("dropped", dropped.into()));
            let mut outputs = model.run(graph, &inputs)?;
            let scores = outputs.take_f32("score", &[batch.len()])?;
            let gradients = outputs.take_f32("gradient", &[batch.len(), longest, hidden])?;
            let of_row = |at: usize| {
                let gradient = Array2::from_shape_fn((length, hidden), |(token, d)| gradients[[at, token, d]]);
                Gradient { score: scores[[at]], gradient }
            };
            Ok((0..batch.len()).map(of_row).collect())
        })
    }
}
