//! RMSNorm and LayerNorm, from the mean of squares up.
//!
//! The weight and the bias come last in most exports, so a norm is raised without them first (a weight of ones, a bias
//! of zeros) and takes them over when they follow.

use super::pattern::{filled, is_filled, is_static, last_axis_parameter, scalar};
use crate::onnx::op::{Binary, Op, Real, Reduction, Unary};
use crate::onnx::{Graph, GraphError, Id};

/// `x * 1/sqrt(mean(x^2) + eps)`, or a norm times its weight.
pub fn product(g: &mut Graph, a: Id, b: Id) -> Result<Option<Id>, GraphError> {
    for (x, other) in [(a, b), (b, a)] {
        if let Some(statistic) = inverse_root(g, other)
            && statistic.is_of(g, x)
        {
            return plain(g, x, statistic.eps).map(Some);
        }
        // x * (weight / sqrt(..))
        if let Op::Binary(kind @ (Binary::Mul | Binary::Div)) = g.value(other).op {
            let parts = [g.value(other).inputs[0], g.value(other).inputs[1]];
            let orders: &[[Id; 2]] = if kind == Binary::Mul { &[parts, [parts[1], parts[0]]] } else { &[parts] };
            for &[weight, statistic] in orders {
                let found = if kind == Binary::Mul { inverse_root(g, statistic) } else { root(g, statistic) };
                let Some(found) = found else { continue };
                if found.is_of(g, x)
                    && is_static(g, weight)
                    && let Some(weight) = last_axis_parameter(g, x, weight)?
                {
                    let norm = plain(g, x, found.eps)?;
                    return weighted(g, norm, weight);
                }
            }
        }
        if let Some(weight) = last_axis_parameter(g, x, other)?
            && let Some(norm) = weighted(g, x, weight)?
        {
            return Ok(Some(norm));
        }
    }
    Ok(None)
}

/// `x / sqrt(mean(x^2) + eps)`.
pub fn quotient(g: &mut Graph, x: Id, divisor: Id) -> Result<Option<Id>, GraphError> {
    match root(g, divisor) {
        Some(statistic) if statistic.is_of(g, x) => plain(g, x, statistic.eps).map(Some),
        _ => Ok(None),
    }
}

/// A LayerNorm plus its bias.
pub fn sum(g: &mut Graph, a: Id, b: Id) -> Result<Option<Id>, GraphError> {
    for (x, bias) in [(a, b), (b, a)] {
        let value = g.value(x).clone();
        let (Op::LayerNorm { eps }, &[source, weight, zeros]) = (&value.op, &value.inputs[..]) else { continue };
        if is_filled(g, zeros, 0.0)
            && let Some(bias) = last_axis_parameter(g, x, bias)?
        {
            return g.add(Op::LayerNorm { eps: *eps }, &[source, weight, bias]).map(Some);
        }
    }
    Ok(None)
}

/// The norm without weight: LayerNorm if its mean has been subtracted, else RMSNorm.
fn plain(g: &mut Graph, x: Id, eps: f64) -> Result<Id, GraphError> {
    let eps = Real::new(eps);
    let ones = filled(g, x, 1.0)?;
    match centred(g, x) {
        Some(source) => {
            let zeros = filled(g, x, 0.0)?;
            g.add(Op::LayerNorm { eps }, &[source, ones, zeros])
        }
        None => g.add(Op::RmsNorm { eps }, &[x, ones]),
    }
}

/// A norm that had no weight, with one.
fn weighted(g: &mut Graph, norm: Id, weight: Id) -> Result<Option<Id>, GraphError> {
    let value = g.value(norm).clone();
    match (&value.op, &value.inputs[..]) {
        (Op::RmsNorm { .. }, &[x, ones]) if is_filled(g, ones, 1.0) => g.add(value.op, &[x, weight]).map(Some),
        (Op::LayerNorm { .. }, &[x, ones, zeros]) if is_filled(g, ones, 1.0) && is_filled(g, zeros, 0.0) => {
            g.add(value.op, &[x, weight, zeros]).map(Some)
        }
        _ => Ok(None),
    }
}

/// What `x - mean(x)` was taken of.
fn centred(g: &Graph, id: Id) -> Option<Id> {
    let value = g.value(id);
    let (Op::Binary(Binary::Sub), &[x, mean]) = (&value.op, &value.inputs[..]) else { return None };
    (mean_of(g, mean)? == x).then_some(x)
}

/// What a norm divides by: the square root of this plus eps.
struct Statistic {
    kind: Kind,
    eps: f64,
}

enum Kind {
    /// The mean of the squares of a value.
    MeanSquare(Id),
    /// `mean(x^2) - mean(x)^2`: the mean of the squares of `x - mean(x)`.
    Variance(Id),
}

impl Statistic {
    /// Whether it is the mean of the squares of `x`.
    fn is_of(&self, g: &Graph, x: Id) -> bool {
        match self.kind {
            Kind::MeanSquare(source) => source == x,
            Kind::Variance(source) => centred(g, x) == Some(source),
        }
    }
}

/// `1 / sqrt(.. + eps)`.
fn inverse_root(g: &Graph, id: Id) -> Option<Statistic> {
    let value = g.value(id);
    match (&value.op, &value.inputs[..]) {
        (Op::Unary(Unary::Reciprocal), &[inner]) => root(g, inner),
        (Op::Binary(Binary::Div), &[one, inner]) if scalar(g, one) == Some(1.0) => root(g, inner),
        (Op::Binary(Binary::Pow), &[inner, power]) if scalar(g, power) == Some(-0.5) => shifted(g, inner),
        (Op::Unary(Unary::Sqrt), &[inner]) => match &g.value(inner).op {
            Op::Unary(Unary::Reciprocal) => shifted(g, g.value(inner).inputs[0]),
            _ => None,
        },
        _ => None,
    }
}

/// `sqrt(.. + eps)`.
fn root(g: &Graph, id: Id) -> Option<Statistic> {
    let value = g.value(id);
    match (&value.op, &value.inputs[..]) {
        (Op::Unary(Unary::Sqrt), &[inner]) => shifted(g, inner),
        (Op::Binary(Binary::Pow), &[inner, power]) if scalar(g, power) == Some(0.5) => shifted(g, inner),
        _ => None,
    }
}

/// A mean of squares, maybe plus eps.
fn shifted(g: &Graph, id: Id) -> Option<Statistic> {
    let value = g.value(id);
    if let (Op::Binary(Binary::Add), &[a, b]) = (&value.op, &value.inputs[..]) {
        return [(a, b), (b, a)]
            .into_iter()
            .find_map(|(mean, eps)| Some(Statistic { kind: spread(g, mean)?, eps: scalar(g, eps)? }));
    }
    spread(g, id).map(|kind| Statistic { kind, eps: 0.0 })
}

fn spread(g: &Graph, id: Id) -> Option<Kind> {
    if let Some(x) = mean_square(g, id) {
        return Some(Kind::MeanSquare(x));
    }
    let value = g.value(id);
    let (Op::Binary(Binary::Sub), &[mean_square_of, square]) = (&value.op, &value.inputs[..]) else { return None };
    let x = mean_square(g, mean_square_of)?;
    (mean_of(g, squared(g, square)?)? == x).then_some(Kind::Variance(x))
}

fn mean_square(g: &Graph, id: Id) -> Option<Id> {
    squared(g, mean_of(g, id)?)
}

fn squared(g: &Graph, id: Id) -> Option<Id> {
    let value = g.value(id);
    match (&value.op, &value.inputs[..]) {
        (Op::Binary(Binary::Pow), &[x, power]) if scalar(g, power) == Some(2.0) => Some(x),
        (Op::Binary(Binary::Mul), &[x, y]) if x == y => Some(x),
        _ => None,
    }
}

/// What a mean over the last axis, which stays, was taken of.
fn mean_of(g: &Graph, id: Id) -> Option<Id> {
    let value = g.value(id);
    match (&value.op, &value.inputs[..]) {
        (Op::Reduce { kind: Reduction::Mean, axes, keep: true }, &[x]) => {
            (axes[..] == [g.shape(x).len().checked_sub(1)?]).then_some(x)
        }
        // The axis was dropped and put back.
        (Op::Reshape(shape), &[inner]) => match &g.value(inner).op {
            Op::Reduce { kind: Reduction::Mean, axes, keep: false } => {
                let x = g.value(inner).inputs[0];
                let (last, leading) = g.shape(x).split_last()?;
                let kept = shape.split_last()?;
                (axes[..] == [leading.len()] && kept.0.is_one() && kept.1 == leading && !last.is_one()).then_some(x)
            }
            _ => None,
        },
        // A sum divided by the number of its terms.
        (Op::Binary(kind @ (Binary::Div | Binary::Mul)), &[total, number]) => {
            let Op::Reduce { kind: Reduction::Sum, axes, keep: true } = &g.value(total).op else { return None };
            let x = g.value(total).inputs[0];
            let size = g.shape(x).last()?.value()? as f64;
            let number = scalar(g, number)?;
            let wanted = if *kind == Binary::Div { size } else { 1.0 / size };
            let last = axes[..] == [g.shape(x).len().checked_sub(1)?];
            (last && (number - wanted).abs() <= 1e-6 * wanted).then_some(x)
        }
        _ => None,
    }
}
