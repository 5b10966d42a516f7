//! The graph of DeepLIFT's multipliers.

use super::contract::Graph as Contract;
use super::graphs::{Asked, Baked, from_embeds};
use super::inside::Made;
use super::source::ForwardModel;
use crate::grad::{GradError, KnobInputs, SiteKind, differentiate};
use crate::onnx::dim::BATCH;
use crate::onnx::{Dim, Dtype};

/// `deep_lift.onnx`: as `gradient.onnx` by plain calculus, but for element-wise nonlinearities (activations, tanh, sigmoid,
/// soft-caps), where `(f(x) - f(x0)) / (x - x0)` stands in the place of the derivative: DeepLIFT's rescale rule. `x0` is of the
/// row that the input `baseline_row`, i64 `[batch]`, names for each; a row that names itself gets its gradient.
pub fn graph(source: &ForwardModel) -> Result<Made, GradError> {
    let (mut graph, scored, inputs_embeds, _) = from_embeds(source, &[])?;
    let asked = Asked::with(&mut graph, source, &scored, inputs_embeds, |graph, dtype| {
        let baseline_row = graph.input("baseline_row", Dtype::I64, vec![Dim::symbol(BATCH)])?;
        Ok((KnobInputs::calculus(graph, dtype, baseline_row)?, vec![baseline_row]))
    })?;
    let Asked { score, knobs, inputs } = asked;
    match differentiate(&mut graph, score, inputs_embeds, &knobs, &SiteKind::ALL) {
        Ok(derivative) => {
            let outputs = vec![("score", score), ("gradient", derivative.gradient)];
            Ok(Ok(Baked { file: Contract::DeepLift.file(), graph, inputs, outputs }))
        }
        Err(error @ GradError::NoRule { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}
