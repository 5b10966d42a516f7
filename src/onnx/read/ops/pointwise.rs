//! Element-wise operators, and constants.

use crate::onnx::infer::broadcast;
use crate::onnx::op::{Activation, Binary, Logic, Op, Reduction, Unary};
use crate::onnx::read::array::{Array, Scalar};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val};
use crate::onnx::read::fold;
use crate::onnx::read::fold::axis;
use crate::onnx::read::weights::element_type;
use crate::onnx::weights::converted;
use crate::onnx::{Dtype, Id};

pub fn constant(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let a = &call.attributes;
    if let Some(tensor) = a.tensor("value") {
        return Ok(vec![c.tensor(&call.name, tensor)?]);
    }
    let array = if let Some(value) = a.int("value_int") {
        Array { dims: vec![], ..Array::ints(&[value]) }
    } else if let Some(values) = a.ints("value_ints") {
        Array::ints(values)
    } else if let Some(value) = a.float("value_float") {
        Array { dtype: Dtype::F32, dims: vec![], data: vec![Scalar::real(value)] }
    } else if let Some(values) = a.floats("value_floats") {
        let data = values.iter().map(|&v| Scalar::real(v.into())).collect();
        Array { dtype: Dtype::F32, dims: vec![values.len()], data }
    } else {
        return Err("has no value of a supported type".into());
    };
    Ok(vec![array.into()])
}

pub fn identity(_: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    Ok(vec![call.input(0)?.clone()])
}

/// At inference dropout changes nothing. In training mode it would change everything, at random.
pub fn dropout(_: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    call.only_first_output()?;
    let training = match call.optional(2) {
        None => false,
        Some(mode) => match mode.known().and_then(Array::only).and_then(Scalar::as_bool) {
            Some(training) => training,
            None => return Err("is a Dropout whose training mode is decided when it runs; export for inference".into()),
        },
    };
    if training {
        return Err("is a Dropout in training mode: what it computes is random; export for inference".into());
    }
    Ok(vec![call.input(0)?.clone()])
}

pub fn cast(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let code = call.attributes.int("to").and_then(|code| i32::try_from(code).ok());
    // Half and double precision are computed in f32, as is everything.
    let dtype = converted(element_type(code.ok_or("does not say to which type it casts")?)?);
    cast_to(c, call, dtype)
}

pub fn cast_like(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let dtype = c.dtype(call.input(1)?);
    cast_to(c, call, dtype)
}

fn cast_to(c: &mut Converter, call: &Call, dtype: Dtype) -> Outcome<Vec<Val>> {
    let x = call.input(0)?;
    Ok(vec![match x {
        Val::Known(array) => match fold::cast(array, dtype) {
            Some(array) => array.into(),
            None => {
                let id = c.id(x)?;
                c.graph.cast(id, dtype)?.into()
            }
        },
        Val::Empty(_, shape) => Val::Empty(dtype, shape.clone()),
        Val::Node(id) => c.graph.cast(*id, dtype)?.into(),
    }])
}

pub fn unary(c: &mut Converter, call: &Call, kind: Unary) -> Outcome<Vec<Val>> {
    if let empty @ Val::Empty(..) = call.input(0)? {
        return Ok(vec![empty.clone()]);
    }
    let x = c.id(call.input(0)?)?;
    Ok(vec![c.graph.unary(kind, x)?.into()])
}

/// Two values, or for a sum any number of them.
pub fn arithmetic(c: &mut Converter, call: &Call, kind: Binary) -> Outcome<Vec<Val>> {
    let mut result = c.id(call.input(0)?)?;
    for i in 1..call.inputs.len() {
        let other = c.id(call.input(i)?)?;
        result = c.binary(kind, result, other)?;
    }
    Ok(vec![result.into()])
}

pub fn logic(c: &mut Converter, call: &Call, kind: Logic) -> Outcome<Vec<Val>> {
    let (a, b) = (c.id(call.input(0)?)?, c.id(call.input(1)?)?);
    // A mask that allows everything changes nothing.
    let neutral = match kind {
        Logic::And => Some(true),
        Logic::Or => Some(false),
        Logic::Equal | Logic::Less | Logic::LessOrEqual | Logic::Greater | Logic::GreaterOrEqual => None,
    };
    for (known, other) in [(call.input(0)?, b), (call.input(1)?, a)] {
        let all = |value: bool| known.known().is_some_and(|x| x.data.iter().all(|x| x.as_bool() == Some(value)));
        if neutral.is_some_and(all) {
            let shape = c.broadcast(a, b)?;
            return Ok(vec![c.expand(other, &shape)?.into()]);
        }
    }
    Ok(vec![c.graph.logic(kind, a, b)?.into()])
}

pub fn not(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    Ok(vec![c.graph.add(Op::Not, &[x])?.into()])
}

pub fn choose(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let (condition, a, b) = (call.input(0)?, c.id(call.input(1)?)?, c.id(call.input(2)?)?);
    if let Some(condition) = condition.known() {
        let first = condition.data.first().and_then(Scalar::as_bool);
        if let Some(first) = first
            && condition.data.iter().all(|x| x.as_bool() == Some(first))
        {
            let dims: Vec<_> = condition.dims.iter().map(|&d| d.into()).collect();
            let shape = broadcast(&dims, &c.broadcast(a, b)?)?;
            return Ok(vec![c.expand(if first { a } else { b }, &shape)?.into()]);
        }
    }
    let condition = c.id(condition)?;
    Ok(vec![c.graph.choose(condition, a, b)?.into()])
}

/// The larger or the smaller of values, as a choice: the gradient flows to what was chosen.
pub fn extreme(c: &mut Converter, call: &Call, kind: Logic) -> Outcome<Vec<Val>> {
    let mut result = c.id(call.input(0)?)?;
    for i in 1..call.inputs.len() {
        let other = c.id(call.input(i)?)?;
        result = chosen(c, kind, result, other)?;
    }
    Ok(vec![result.into()])
}

fn chosen(c: &mut Converter, kind: Logic, a: Id, b: Id) -> Outcome<Id> {
    let wins = c.graph.logic(kind, a, b)?;
    Ok(c.graph.choose(wins, a, b)?)
}

pub fn clip(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let mut x = c.id(call.input(0)?)?;
    for (i, kind) in [(1, Logic::GreaterOrEqual), (2, Logic::LessOrEqual)] {
        if let Some(limit) = call.optional(i) {
            let limit = c.id(limit)?;
            x = chosen(c, kind, x, limit)?;
        }
    }
    Ok(vec![x.into()])
}

pub fn activation(c: &mut Converter, call: &Call, kind: Activation) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    Ok(vec![c.graph.activation(kind, x)?.into()])
}

pub fn gelu(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let kind = match call.attributes.text("approximate") {
        None | Some("none") => Activation::Gelu,
        Some("tanh") => Activation::GeluTanh,
        Some(other) => return Err(format!("has the approximation '{other}', which ONNX does not have").into()),
    };
    activation(c, call, kind)
}

pub fn softmax(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    let rank = c.graph.shape(x).len();
    let number = call.attributes.int("axis").unwrap_or(-1);
    let axis = axis(number, rank).ok_or_else(|| format!("has no axis {number}"))?;
    Ok(vec![c.graph.add(Op::Softmax { axis }, &[x])?.into()])
}

/// `x - log(sum(exp(x)))`, with the largest element taken out of the sum so that nothing overflows.
pub fn log_softmax(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    let rank = c.graph.shape(x).len();
    let number = call.attributes.int("axis").unwrap_or(-1);
    let axis = axis(number, rank).ok_or_else(|| format!("has no axis {number}"))?;
    let total = log_sum_exp(c, x, &[axis])?;
    Ok(vec![c.graph.minus(x, total)?.into()])
}

/// `log(sum(exp(x)))` over axes, which stay.
pub fn log_sum_exp(c: &mut Converter, x: Id, axes: &[usize]) -> Outcome<Id> {
    let largest = c.graph.reduce(Reduction::Max, x, axes, true)?;
    let below = c.graph.minus(x, largest)?;
    let powers = c.graph.unary(Unary::Exp, below)?;
    let sum = c.graph.reduce(Reduction::Sum, powers, axes, true)?;
    let log = c.graph.unary(Unary::Log, sum)?;
    Ok(c.graph.plus(log, largest)?)
}
