//! Softmax.

use super::{Gradients, Vjp};
use crate::grad::SiteKind;
use crate::onnx::op::{Op, Reduction};

/// `p (g - sum(p g))`; in attention with `p = softmax(s / T)` and no factor 1/T (GIM's temperature-adjusted softmax
/// gradients, arXiv 2505.17630).
pub fn softmax(v: &mut Vjp) -> Gradients {
    let Op::Softmax { axis } = v.value.op else { return Ok(vec![None]) };
    let mut p = v.id;
    let temperature = v.knobs.softmax_temperature;
    // Where a graph has no such input, it stands at calculus.
    let warm = v.graph.as_scalar(temperature) != Some(1.0);
    if v.sites.kind(v.id) == Some(SiteKind::AttentionSoftmax) && warm {
        let scores = v.graph.divided(v.input(0), temperature)?;
        p = v.graph.add(Op::Softmax { axis }, &[scores])?;
    }
    let weighted = v.graph.times(p, v.gradient)?;
    let total = v.graph.reduce(Reduction::Sum, weighted, &[axis], true)?;
    let centered = v.graph.minus(v.gradient, total)?;
    Ok(vec![Some(v.graph.times(p, centered)?)])
}
