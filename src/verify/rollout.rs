//! The check of attention rollout: what its graph gives, against the attention weights multiplied through.

use ndarray::{Array2, ArrayD, Axis, Ix4};

use super::checks::{FAULT, largest, row_deviation};
use super::exact::{Exact, prompts};
use super::inside::{Expected, Inside, Of, inputs};
use super::{Check, VerifyError};
use crate::runtime::Graph;

impl Inside {
    /// Of each prompt the row of its position, multiplied from the last layer down.
    pub(super) fn attention_rollout(
        &mut self,
        of: &Of,
        graph: &Exact,
        weights: &ArrayD<f64>,
    ) -> Result<(), VerifyError> {
        let sample = &of.evidence.sample;
        let feeds = prompts(sample);
        let found = graph.one(&of.machine, &feeds, "rollout")?;
        let rows = found.outer_iter().enumerate().map(|(row, found)| {
            let width = found.len();
            let mut expected = Array2::<f64>::zeros((1, width));
            expected[[0, sample.position[row] as usize]] = 1.0;
            let layers = weights.index_axis(Axis(1), row).to_owned().into_dimensionality::<Ix4>();
            for heads in layers.iter().flat_map(|layers| layers.axis_iter(Axis(0)).rev()) {
                let mut layer = heads.mean_axis(Axis(0)).unwrap_or_default() + Array2::<f64>::eye(width);
                layer.rows_mut().into_iter().for_each(|mut row| row /= row.sum());
                expected = expected.dot(&layer);
            }
            row_deviation(&found.to_owned().into_dyn(), &expected.index_axis_move(Axis(0), 0).into_dyn())
        });
        self.checks.push(Check {
            name: "attention rollout",
            description: "attention_rollout.onnx against the weights of attention.onnx multiplied through, in double precision",
            measured: largest(rows.collect::<Vec<f64>>()),
            tolerance: of.evidence.exact(),
            advice: FAULT,
        });
        self.expected.push(Expected {
            graph: Graph::AttentionRollout,
            inputs: inputs(&feeds, Graph::AttentionRollout.inputs()),
            outputs: of.with_single(graph, &feeds, &["rollout"], vec![found])?,
        });
        Ok(())
    }
}
