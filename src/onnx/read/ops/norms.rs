//! Normalisations that are one operator.

use crate::onnx::op::{Op, Real};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val};
use crate::onnx::read::fold::axis;
use crate::onnx::{Id, Tensor};

/// `LayerNormalization` over the last axis: x, scale, maybe bias.
pub fn layer_norm(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    call.only_first_output()?;
    let x = over_last_axis(c, call)?;
    let scale = c.id(call.input(1)?)?;
    let bias = call.optional(2).cloned();
    let bias = bias.map(|bias| c.id(&bias)).transpose()?;
    let eps = call.attributes.float("epsilon").unwrap_or(1e-5);
    Ok(vec![normalized(c, x, scale, bias, eps)?.into()])
}

/// `RMSNormalization` over the last axis: x, scale.
pub fn rms_norm(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    call.only_first_output()?;
    let x = over_last_axis(c, call)?;
    let scale = c.id(call.input(1)?)?;
    let eps = call.attributes.float("epsilon").unwrap_or(1e-5);
    Ok(vec![root_mean_square(c, x, scale, eps)?.into()])
}

/// LayerNorm with parameters of any shape that broadcasts over rows.
pub fn normalized(c: &mut Converter, x: Id, scale: Id, bias: Option<Id>, eps: f64) -> Outcome<Id> {
    let scale = parameter(c, x, scale)?;
    let bias = match bias {
        Some(bias) => bias,
        None => c.graph.constant(Tensor::float(0.0, c.graph.dtype(x)))?,
    };
    let bias = parameter(c, x, bias)?;
    Ok(c.graph.add(Op::LayerNorm { eps: Real::new(eps) }, &[x, scale, bias])?)
}

/// RMSNorm, likewise.
pub fn root_mean_square(c: &mut Converter, x: Id, scale: Id, eps: f64) -> Outcome<Id> {
    let scale = parameter(c, x, scale)?;
    Ok(c.graph.add(Op::RmsNorm { eps: Real::new(eps) }, &[x, scale])?)
}

fn over_last_axis(c: &mut Converter, call: &Call) -> Outcome<Id> {
    let x = c.id(call.input(0)?)?;
    let rank = c.graph.shape(x).len();
    let number = call.attributes.int("axis").unwrap_or(-1);
    match axis(number, rank) {
        Some(axis) if axis + 1 == rank => Ok(x),
        _ => Err(format!("normalises over the axes from {number} on; only the last axis is supported").into()),
    }
}

/// A parameter as the vector `[d]`.
fn parameter(c: &mut Converter, x: Id, parameter: Id) -> Outcome<Id> {
    let last = c.graph.shape(x).last().cloned().ok_or("normalises a scalar")?;
    let shape = c.graph.shape(parameter).to_vec();
    let Some((end, leading)) = shape.split_last() else { return c.expand(parameter, &[last]) };
    if !leading.iter().all(|dim| dim.is_one()) {
        return Err("has parameters that differ between rows".into());
    }
    let vector = c.graph.reshape(parameter, vec![end.clone()])?;
    c.expand(vector, &[last])
}
