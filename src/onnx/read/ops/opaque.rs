//! Operators that are carried through: masks and positions are made with them, and no gradient is known for them.

use super::indexing::axis_attribute;
use super::movement::broadcast_all;
use super::{AXIS, NONE, Operator, op};
use crate::onnx::op::{Attribute, Op};
use crate::onnx::read::attributes::Kind::{self, Float, Int, Text};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val};
use crate::onnx::read::fold::axis;
use crate::onnx::{Dim, Dtype, Id, Shape};

/// Operators that are carried through.
pub static OPERATORS: &[Operator] = &[
    op("Floor", NONE, like_first),
    op("Ceil", NONE, like_first),
    op("Round", NONE, like_first),
    op("Sign", NONE, like_first),
    op("Trilu", &[("upper", Int)], like_first),
    op("CumSum", &[("exclusive", Int), ("reverse", Int)], like_first),
    op("BitwiseNot", NONE, like_first),
    op("Softplus", NONE, like_first),
    op("Softsign", NONE, like_first),
    op("HardSwish", NONE, like_first),
    op("HardSigmoid", &[("alpha", Float), ("beta", Float)], like_first),
    op("Mish", NONE, like_first),
    op("Elu", &[("alpha", Float)], like_first),
    op("Selu", &[("alpha", Float), ("gamma", Float)], like_first),
    op("Celu", &[("alpha", Float)], like_first),
    op("LeakyRelu", &[("alpha", Float)], like_first),
    op("ThresholdedRelu", &[("alpha", Float)], like_first),
    op("Tan", NONE, like_first),
    op("Asin", NONE, like_first),
    op("Acos", NONE, like_first),
    op("Atan", NONE, like_first),
    op("Sinh", NONE, like_first),
    op("Cosh", NONE, like_first),
    op("Asinh", NONE, like_first),
    op("Acosh", NONE, like_first),
    op("Atanh", NONE, like_first),
    op("Hardmax", AXIS, like_first),
    op("ScatterND", &[("reduction", Text)], like_first),
    op("ScatterElements", &[("axis", Int), ("reduction", Text)], like_first),
    op("PRelu", NONE, like_first),
    op("IsNaN", NONE, truth_of_first),
    op("IsInf", &[("detect_negative", Int), ("detect_positive", Int)], truth_of_first),
    op("Mod", &[("fmod", Int)], broadcasting),
    op("BitwiseAnd", NONE, broadcasting),
    op("BitwiseOr", NONE, broadcasting),
    op("BitwiseXor", NONE, broadcasting),
    op("BitShift", &[("direction", Text)], broadcasting),
    op("Xor", NONE, truth_of_all),
    op("GatherElements", AXIS, gather_elements),
    op("ArgMax", EXTREME, extreme_index),
    op("ArgMin", EXTREME, extreme_index),
];

const EXTREME: &[(&str, Kind)] = &[("axis", Int), ("keepdims", Int), ("select_last_index", Int)];

fn ids(c: &mut Converter, call: &Call) -> Outcome<Vec<Id>> {
    (0..call.inputs.len()).map(|i| c.id(call.input(i)?)).collect()
}

fn with(c: &mut Converter, call: &Call, inputs: &[Id], dtype: Dtype, shape: Shape) -> Outcome<Vec<Val>> {
    call.only_first_output()?;
    Ok(vec![c.opaque(&call.op, inputs, &call.attributes.carried(), dtype, shape)?.into()])
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
