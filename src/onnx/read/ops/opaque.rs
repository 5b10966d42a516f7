//! Operators that are carried through: masks and positions are made with them, and no gradient is known for them.

use super::Convert;
use super::indexing::axis_attribute;
use super::movement::broadcast_all;
use crate::onnx::op::{Attribute, Op, Real};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val};
use crate::onnx::read::fold::axis;
use crate::onnx::{Dim, Dtype, Id, Shape};

pub fn operator(op: &str) -> Option<Convert> {
    Some(match op {
        "Floor" | "Ceil" | "Round" | "Sign" | "Trilu" | "CumSum" | "BitwiseNot" | "Softplus" | "Softsign"
        | "HardSwish" | "HardSigmoid" | "Mish" | "Elu" | "Selu" | "Celu" | "LeakyRelu" | "ThresholdedRelu" | "Tan"
        | "Asin" | "Acos" | "Atan" | "Sinh" | "Cosh" | "Asinh" | "Acosh" | "Atanh" | "Hardmax" | "ScatterND"
        | "ScatterElements" | "PRelu" => like_first,
        "IsNaN" | "IsInf" => truth_of_first,
        "Mod" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitShift" => broadcasting,
        "Xor" => truth_of_all,
        "GatherElements" => gather_elements,
        "ArgMax" | "ArgMin" => extreme_index,
        _ => return None,
    })
}

fn ids(c: &mut Converter, call: &Call) -> Outcome<Vec<Id>> {
    (0..call.inputs.len()).map(|i| c.id(call.input(i)?)).collect()
}

/// The attributes that these operators may have.
fn attributes(call: &Call) -> Vec<(&'static str, Attribute)> {
    let mut found = Vec::new();
    for name in ["axis", "upper", "exclusive", "reverse", "batch_dims", "fmod", "detect_negative", "detect_positive"] {
        found.extend(call.attributes.int(name).map(|value| (name, Attribute::Int(value))));
    }
    for name in ["alpha", "beta", "gamma"] {
        found.extend(call.attributes.float(name).map(|value| (name, Attribute::Float(Real::new(value)))));
    }
    for name in ["reduction", "direction"] {
        found.extend(call.attributes.text(name).map(|value| (name, Attribute::Text(value.to_owned()))));
    }
    found
}

fn with(c: &mut Converter, call: &Call, inputs: &[Id], dtype: Dtype, shape: Shape) -> Outcome<Vec<Val>> {
    call.only_first_output()?;
    Ok(vec![c.opaque(&call.op, inputs, &attributes(call), dtype, shape)?.into()])
}

fn like_first(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let inputs = ids(c, call)?;
    let first = *inputs.first().ok_or("has no input")?;
    let (dtype, shape) = (c.graph.dtype(first), c.graph.shape(first).to_vec());
    with(c, call, &inputs, dtype, shape)
}

fn truth_of_first(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let inputs = ids(c, call)?;
    let shape = c.graph.shape(*inputs.first().ok_or("has no input")?).to_vec();
    with(c, call, &inputs, Dtype::Bool, shape)
}

fn broadcasting(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let inputs = ids(c, call)?;
    let dtype = c.graph.dtype(*inputs.first().ok_or("has no input")?);
    let shape = broadcast_all(c, &inputs)?;
    with(c, call, &inputs, dtype, shape)
}

fn truth_of_all(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let inputs = ids(c, call)?;
    let shape = broadcast_all(c, &inputs)?;
    with(c, call, &inputs, Dtype::Bool, shape)
}

/// data, indices: the result has the indices' shape.
///
/// Where no other axis has more than one element, such as in PyTorch's buffer of token types `[1, positions]`, it is a
/// plain `Gather`, and written as one: ONNX's reference evaluator (1.23) fails in `GatherElements` on axes of more than
/// 64 elements.
fn gather_elements(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let inputs = ids(c, call)?;
    let [data, indices] = inputs[..] else { return Err("takes two inputs".into()) };
    let (dtype, from, shape) = (c.graph.dtype(data), c.graph.shape(data).to_vec(), c.graph.shape(indices).to_vec());
    let number = call.attributes.int("axis").unwrap_or(0);
    let axis = axis(number, from.len()).ok_or_else(|| format!("has no axis {number}"))?;
    if shape.len() != from.len() {
        return Err(format!("takes indices of rank {} of a tensor of rank {}", shape.len(), from.len()).into());
    }
    let one = Dim::known(1);
    if (0..from.len()).all(|i| i == axis || from[i] == one && shape[i] == one) {
        call.only_first_output()?;
        let data = c.graph.reshape(data, vec![from[axis].clone()])?;
        let indices = c.graph.reshape(indices, vec![shape[axis].clone()])?;
        let taken = c.graph.add(Op::Gather { axis: 0 }, &[data, indices])?;
        return Ok(vec![c.graph.reshape(taken, shape)?.into()]);
    }
    with(c, call, &inputs, dtype, shape)
}

fn extreme_index(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    let mut shape = c.graph.shape(x).to_vec();
    let number = call.attributes.int("axis").unwrap_or(0);
    let axis = axis(number, shape.len()).ok_or_else(|| format!("has no axis {number}"))?;
    let keep = call.attributes.int("keepdims").unwrap_or(1);
    if keep != 0 {
        shape[axis] = Dim::known(1);
    } else {
        shape.remove(axis);
    }
    let last = call.attributes.int("select_last_index").unwrap_or(0);
    let attributes =
        [axis_attribute(axis), ("keepdims", Attribute::Int(keep)), ("select_last_index", Attribute::Int(last))];
    Ok(vec![c.opaque(&call.op, &[x], &attributes, Dtype::I64, shape)?.into()])
}
