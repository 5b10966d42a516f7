//! DeepLIFT's rescale rule (Shrikumar et al., arXiv 1704.02685).

use super::{GradError, Vjp};
use crate::onnx::dim::BATCH;
use crate::onnx::op::{Logic, Op, Unary};
use crate::onnx::{Dim, Id};

/// Where an input is closer to its baseline than this, the mean of the two slopes stands for their ratio: a quotient of
/// differences of f32 would have few digits left, and the mean is off by its square over 12.
pub const NEAR: f64 = 1e-3;

/// What an element-wise nonlinearity multiplies the gradient by: `slope`, its derivative; in a graph whose rows have baselines
/// `(f(x) - f(x0)) / (x - x0)`, with `x0` the same value in the row that is the baseline.
pub fn rescaled(v: &mut Vjp, slope: Id) -> Result<Id, GradError> {
    let Some(baseline_row) = v.knobs.baseline_row else { return Ok(slope) };
    let (x, y) = (v.input(0), v.id);
    if v.graph.shape(x).first() != Some(&Dim::symbol(BATCH)) {
        return Err(GradError::NoRule {
            operator: v.value.op.name(),
            scope: v.value.scope.to_string(),
            detail: " (its prompts do not stand one above another, so it is not known which is another's baseline)"
                .to_owned(),
        });
    }
    let mut of_baseline = |value: Id| v.graph.add(Op::Gather { axis: 0 }, &[value, baseline_row]);
    let (x0, y0, slope0) = (of_baseline(x)?, of_baseline(y)?, of_baseline(slope)?);
    let (run, rise) = (v.graph.minus(x, x0)?, v.graph.minus(y, y0)?);
    let both = v.graph.plus(slope, slope0)?;
    let mean = v.graph.scaled(both, 0.5)?;
    let distance = v.graph.unary(Unary::Abs, run)?;
    let near = v.graph.scalar(NEAR, x)?;
    let near = v.graph.logic(Logic::Less, distance, near)?;
    // Not divided by what may be 0, even where that is not chosen.
    let one = v.graph.scalar(1.0, x)?;
    let divisor = v.graph.choose(near, one, run)?;
    let ratio = v.graph.divided(rise, divisor)?;
    Ok(v.graph.choose(near, mean, ratio)?)
}
