//! Products with a weight, and the bias that follows.

use super::pattern::{is_static, last_axis_parameter};
use crate::onnx::op::{Op, WeightLayout};
use crate::onnx::{Graph, GraphError, Id};

/// `x W`, or `x W'` where the file transposes the weight.
pub fn matmul(g: &mut Graph, x: Id, weight: Id) -> Result<Option<Id>, GraphError> {
    if g.shape(weight).len() != 2 || !is_static(g, weight) || is_static(g, x) {
        return Ok(None);
    }
    let value = g.value(weight);
    let (weight, layout) = match &value.op {
        Op::Transpose(order) if order[..] == [1, 0] => (value.inputs[0], WeightLayout::OutIn),
        _ => (weight, WeightLayout::InOut),
    };
    super::add(g, Op::Linear(layout), &[x, weight]).map(Some)
}

/// A linear layer plus its bias.
pub fn sum(g: &mut Graph, a: Id, b: Id) -> Result<Option<Id>, GraphError> {
    for (x, bias) in [(a, b), (b, a)] {
        let value = g.value(x).clone();
        let (Op::Linear(layout), &[source, weight]) = (&value.op, &value.inputs[..]) else { continue };
        if let Some(bias) = last_axis_parameter(g, x, bias)? {
            return g.linear(source, weight, Some(bias), *layout).map(Some);
        }
    }
    Ok(None)
}
