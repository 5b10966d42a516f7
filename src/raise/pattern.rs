//! What patterns are described with.

use std::collections::BTreeMap;

use crate::onnx::op::{Binary, Op, Unary};
use crate::onnx::{Dim, Graph, GraphError, Id, Tensor};

/// Terms of the largest polynomial that is followed, and how deep.
const MAX_TERMS: usize = 16;
const MAX_DEPTH: usize = 12;

/// A constant scalar, whatever shape of ones it has been given.
pub fn scalar(g: &Graph, id: Id) -> Option<f64> {
    let value = g.value(id);
    match value.op {
        Op::Constant(_) => g.as_scalar(id),
        Op::Reshape(_) | Op::Cast(_) => scalar(g, value.inputs[0]),
        Op::Expand(_) if value.shape.iter().all(Dim::is_one) => scalar(g, value.inputs[0]),
        _ => None,
    }
}

/// Whether a value is made of weights and constants alone.
pub fn is_static(g: &Graph, id: Id) -> bool {
    let mut open = vec![id];
    let mut steps = 0;
    while let Some(id) = open.pop() {
        steps += 1;
        let value = g.value(id);
        match value.op {
            Op::Weight(_) | Op::Constant(_) => {}
            // Parameters are prepared in few steps, such as 1 + weight.
            _ if steps > 16 => return false,
            Op::Binary(_)
            | Op::Unary(_)
            | Op::Transpose(_)
            | Op::Reshape(_)
            | Op::Cast(_)
            | Op::Expand(_)
            | Op::Slice { .. } => open.extend(&value.inputs),
            _ => return false,
        }
    }
    true
}

/// A parameter of the last axis of `x` as a vector `[d]`, if it is one that is the same in all rows.
pub fn last_axis_parameter(g: &mut Graph, x: Id, id: Id) -> Result<Option<Id>, GraphError> {
    let Some(size) = g.shape(x).last().cloned() else { return Ok(None) };
    let fits = match g.shape(id).split_last() {
        Some((last, leading)) => {
            *last == size && leading.iter().all(Dim::is_one) && g.shape(id).len() <= g.shape(x).len()
        }
        None => false,
    };
    if !fits || !is_static(g, id) {
        return Ok(None);
    }
    g.reshape(id, vec![size]).map(Some)
}

/// A vector of equal numbers for the last axis of `x`.
pub fn filled(g: &mut Graph, x: Id, value: f64) -> Result<Id, GraphError> {
    let size = g.shape(x).last().cloned().unwrap_or_else(|| Dim::known(1));
    let scalar = g.constant(Tensor::float(value, g.dtype(x)))?;
    g.add(Op::Expand(vec![size]), &[scalar])
}

/// Whether a vector was made by [`filled`] with this number.
pub fn is_filled(g: &Graph, id: Id, number: f64) -> bool {
    let value = g.value(id);
    let source = if matches!(value.op, Op::Expand(_)) { value.inputs[0] } else { id };
    scalar(g, source) == Some(number)
}

/// Whether a value is a softmax, maybe moved about since.
pub fn is_softmax(g: &Graph, mut id: Id) -> bool {
    loop {
        let value = g.value(id);
        match value.op {
            Op::Softmax { .. } => return true,
            Op::Reshape(_) | Op::Transpose(_) | Op::Cast(_) | Op::Expand(_) => id = value.inputs[0],
            _ => return false,
        }
    }
}

/// A polynomial in two values: coefficients by the powers of each.
pub type Polynomial = BTreeMap<(u32, u32), f64>;

/// What `id` is as a polynomial in `x` and `f`.
pub fn polynomial(g: &Graph, id: Id, x: Id, f: Option<Id>) -> Option<Polynomial> {
    expanded(g, id, x, f, MAX_DEPTH)
}

fn expanded(g: &Graph, id: Id, x: Id, f: Option<Id>, depth: usize) -> Option<Polynomial> {
    if id == x {
        return Some([((1, 0), 1.0)].into());
    }
    if Some(id) == f {
        return Some([((0, 1), 1.0)].into());
    }
    if let Some(number) = scalar(g, id) {
        return Some([((0, 0), number)].into());
    }
    if depth == 0 {
        return None;
    }
    let value = g.value(id);
    let part = |i: usize| expanded(g, value.inputs[i], x, f, depth - 1);
    match value.op {
        Op::Unary(Unary::Neg) => Some(part(0)?.into_iter().map(|(powers, c)| (powers, -c)).collect()),
        Op::Binary(Binary::Add) => sum(part(0)?, part(1)?, 1.0),
        Op::Binary(Binary::Sub) => sum(part(0)?, part(1)?, -1.0),
        Op::Binary(Binary::Mul) => times(&part(0)?, &part(1)?),
        Op::Binary(Binary::Div) => {
            let divisor = scalar(g, value.inputs[1]).filter(|&c| c != 0.0)?;
            Some(part(0)?.into_iter().map(|(powers, c)| (powers, c / divisor)).collect())
        }
        Op::Binary(Binary::Pow) => {
            let exponent = scalar(g, value.inputs[1])?;
            let base = part(0)?;
            match exponent {
                2.0 => times(&base, &base),
                3.0 => times(&times(&base, &base)?, &base),
                _ => None,
            }
        }
        _ => None,
    }
}

fn sum(mut a: Polynomial, b: Polynomial, sign: f64) -> Option<Polynomial> {
    for (powers, c) in b {
        *a.entry(powers).or_insert(0.0) += sign * c;
    }
    (a.len() <= MAX_TERMS).then_some(a)
}

fn times(a: &Polynomial, b: &Polynomial) -> Option<Polynomial> {
    let mut product = Polynomial::new();
    for (&(i, j), x) in a {
        for (&(k, l), y) in b {
            *product.entry((i.checked_add(k)?, j.checked_add(l)?)).or_insert(0.0) += x * y;
        }
    }
    (product.len() <= MAX_TERMS).then_some(product)
}

/// Whether a polynomial has these terms and no others, up to the rounding of exported constants.
pub fn is_polynomial(found: &Polynomial, terms: &[((u32, u32), f64)]) -> bool {
    const TOLERANCE: f64 = 2e-4;
    let wanted: Polynomial = terms.iter().copied().collect();
    let scale = wanted.values().fold(0.0f64, |max, c| max.max(c.abs()));
    let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(TOLERANCE * scale);
    let at = |p: &Polynomial, powers| p.get(powers).copied().unwrap_or(0.0);
    found.keys().chain(wanted.keys()).all(|powers| close(at(found, powers), at(&wanted, powers)))
}
