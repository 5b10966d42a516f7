//! Normalisations, their statistics frozen to the degree the knob says.

use super::{GradError, Gradients, Vjp};
use crate::onnx::Id;
use crate::onnx::expand::{centered, inverse_rms};
use crate::onnx::op::{Op, Real};

/// RMSNorm: see [`through_rms`].
pub fn rms_norm(v: &mut Vjp) -> Gradients {
    let Op::RmsNorm { eps } = v.value.op else { return Ok(vec![None]) };
    let result = through_rms(v, v.value.inputs[0], eps)?;
    Ok(vec![Some(result), None])
}

/// LayerNorm: RMSNorm of the centred input. The subtraction of the mean is linear and always differentiated.
pub fn layer_norm(v: &mut Vjp) -> Gradients {
    let Op::LayerNorm { eps } = v.value.op else { return Ok(vec![None]) };
    let x = centered(v.graph, v.value.inputs[0])?;
    let gradient = through_rms(v, x, eps)?;
    Ok(vec![Some(centered(v.graph, gradient)?), None, None])
}

/// With `r = 1 / rms(x)`, `n = x r` and `h = g weight`: `r (h - (1 - freeze) n mean(n h))`.
fn through_rms(v: &mut Vjp, x: Id, eps: Real) -> Result<Id, GradError> {
    if v.needed[1..].iter().any(|&needed| needed) {
        return Err(GradError::NoRule {
            operator: v.value.op.name(),
            scope: v.value.scope.to_string(),
            detail: " (its weight is made from the embeddings)".to_owned(),
        });
    }
    let r = inverse_rms(v.graph, x, eps.get())?;
    let normed = v.graph.times(x, r)?;
    let scaled = v.graph.times(v.gradient, v.value.inputs[1])?;
    let aligned = v.graph.times(normed, scaled)?;
    let mean = v.graph.mean_last(aligned)?;
    let one = v.graph.scalar(1.0, x)?;
    let thawed = v.graph.minus(one, v.knobs.norm_freeze)?;
    let thawed = v.graph.with_axes_of(thawed, mean)?;
    // The knob multiplies the mean, which is a number a row, rather than a whole activation.
    let mean = v.graph.times(mean, thawed)?;
    let through_statistic = v.graph.times(normed, mean)?;
    let rest = v.graph.minus(scaled, through_statistic)?;
    Ok(v.graph.times(rest, r)?)
}
