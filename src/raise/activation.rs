//! SiLU, GELU in its forms, and the soft-cap: by the polynomial that they are in x and one nonlinear function of x.

use super::pattern::{Polynomial, is_polynomial, polynomial, scalar};
use crate::onnx::op::{Activation, Binary, Op, Real, Unary};
use crate::onnx::{Graph, GraphError, Id};

/// How far behind a product its nonlinear function is looked for.
const MAX_DEPTH: usize = 6;

/// A product that completes an activation or a soft-cap.
pub fn product(g: &mut Graph, a: Id, b: Id) -> Result<Option<Id>, GraphError> {
    let found = gates(g, a, b).into_iter().find_map(|f| gated(g, a, b, f).or_else(|| capped(g, a, b, f)));
    match found {
        Some((op, x)) => g.add(op, &[x]).map(Some),
        None => Ok(None),
    }
}

/// A quotient that completes one: by a constant it is a product.
pub fn quotient(g: &mut Graph, a: Id, divisor: Id) -> Result<Option<Id>, GraphError> {
    match scalar(g, divisor) {
        Some(number) if number != 0.0 => {
            let factor = g.scalar(1.0 / number, a)?;
            product(g, a, factor)
        }
        // x / (1 + exp(-x))
        _ => match logistic_denominator(g, divisor) {
            Some(x) if x == a => g.activation(Activation::Silu, x).map(Some),
            _ => Ok(None),
        },
    }
}

/// x of `1 + exp(-x)`.
fn logistic_denominator(g: &Graph, id: Id) -> Option<Id> {
    let value = g.value(id);
    let (Op::Binary(Binary::Add), &[a, b]) = (&value.op, &value.inputs[..]) else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(one, exponential)| {
        let inner = |id: Id, kind: Unary| match g.value(id).op {
            Op::Unary(found) if found == kind => Some(g.value(id).inputs[0]),
            _ => None,
        };
        (scalar(g, one)? == 1.0).then_some(())?;
        inner(inner(exponential, Unary::Exp)?, Unary::Neg)
    })
}

/// Nonlinear functions behind two factors.
fn gates(g: &Graph, a: Id, b: Id) -> Vec<Id> {
    let mut found = Vec::new();
    let mut open = vec![(a, 0), (b, 0)];
    while let Some((id, depth)) = open.pop() {
        let value = g.value(id);
        match value.op {
            Op::Unary(Unary::Sigmoid | Unary::Erf | Unary::Tanh) if !found.contains(&id) => found.push(id),
            Op::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div) | Op::Unary(Unary::Neg)
                if depth < MAX_DEPTH =>
            {
                open.extend(value.inputs.iter().map(|&input| (input, depth + 1)));
            }
            _ => {}
        }
    }
    found
}

/// Values that the argument of a nonlinear function may be a polynomial in.
fn bases(g: &Graph, argument: Id) -> Vec<Id> {
    let mut found = Vec::new();
    let mut open = vec![(argument, 0)];
    while let Some((id, depth)) = open.pop() {
        if found.contains(&id) || scalar(g, id).is_some() {
            continue;
        }
        found.push(id);
        let value = g.value(id);
        if let (Op::Binary(_) | Op::Unary(Unary::Neg), true) = (&value.op, depth < MAX_DEPTH) {
            open.extend(value.inputs.iter().map(|&input| (input, depth + 1)));
        }
    }
    found
}

/// `a * b` as an activation with the nonlinear function `f`.
fn gated(g: &Graph, a: Id, b: Id, f: Id) -> Option<(Op, Id)> {
    let Op::Unary(function) = g.value(f).op else { return None };
    let argument = g.value(f).inputs[0];
    bases(g, argument).into_iter().find_map(|x| {
        let whole = whole(g, a, b, x, f)?;
        let inner = polynomial(g, argument, x, None)?;
        kind(function, &whole, &inner).map(|kind| (Op::Activation(kind), x))
    })
}

fn whole(g: &Graph, a: Id, b: Id, x: Id, f: Id) -> Option<Polynomial> {
    let (a, b) = (polynomial(g, a, x, Some(f))?, polynomial(g, b, x, Some(f))?);
    let mut product = Polynomial::new();
    for (&(i, j), c) in &a {
        for (&(k, l), d) in &b {
            *product.entry((i + k, j + l)).or_insert(0.0) += c * d;
        }
    }
    Some(product)
}

/// The activation that is `whole` in x and f, with `f = function(inner)`.
fn kind(function: Unary, whole: &Polynomial, inner: &Polynomial) -> Option<Activation> {
    let gelu = is_polynomial(whole, &[((1, 0), 0.5), ((1, 1), 0.5)]);
    let swish = is_polynomial(whole, &[((1, 1), 1.0)]);
    let linear = |factor: f64| is_polynomial(inner, &[((1, 0), factor)]);
    let cubic = |first: f64| is_polynomial(inner, &[((1, 0), first), ((3, 0), first * 0.044715)]);
    let root = (2.0 / std::f64::consts::PI).sqrt();
    match function {
        Unary::Sigmoid if swish && linear(1.0) => Some(Activation::Silu),
        Unary::Sigmoid if swish && linear(1.702) => Some(Activation::QuickGelu),
        // 1 + tanh(y) = 2 sigmoid(2 y).
        Unary::Sigmoid if swish && cubic(2.0 * root) => Some(Activation::GeluTanh),
        Unary::Erf if gelu && linear(std::f64::consts::FRAC_1_SQRT_2) => Some(Activation::Gelu),
        Unary::Tanh if gelu && cubic(root) => Some(Activation::GeluTanh),
        Unary::Tanh if gelu && linear(0.5) => Some(Activation::Silu),
        _ => None,
    }
}

/// `cap * tanh(x / cap)`, with `f` the tanh.
fn capped(g: &Graph, a: Id, b: Id, f: Id) -> Option<(Op, Id)> {
    let cap = match (a == f, b == f) {
        (true, false) => scalar(g, b)?,
        (false, true) => scalar(g, a)?,
        _ => return None,
    };
    if g.value(f).op != Op::Unary(Unary::Tanh) || cap <= 0.0 {
        return None;
    }
    let argument = g.value(f).inputs[0];
    let value = g.value(argument);
    let (x, factor) = match (&value.op, &value.inputs[..]) {
        (Op::Binary(Binary::Div), &[x, number]) => (x, 1.0 / scalar(g, number)?),
        (Op::Binary(Binary::Mul), &[x, y]) => match (scalar(g, x), scalar(g, y)) {
            (_, Some(factor)) => (x, factor),
            (Some(factor), _) => (y, factor),
            _ => return None,
        },
        _ => return None,
    };
    ((factor * cap - 1.0).abs() < 1e-4).then_some((Op::SoftCap { cap: Real::new(cap) }, x))
}
