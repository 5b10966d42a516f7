//! What a file makes of its logits: a softmax or a sigmoid at the end is taken off.
//!
//! Attributions explain logits. In a saturated softmax the gradient of the probability is rounding, and a score that is a
//! probability saturates under ablation, so a graph that ends in probabilities is cut in front of them. Exporters and
//! their users write the end in many forms; one that is not recognised is refused rather than taken for logits.

use std::path::Path;

use super::foreign::ForeignError;
use crate::onnx::op::{Binary, Op, Reduction, Unary};
use crate::onnx::{Graph, GraphError, Id};

/// The logits that `output` is made from, and what is made of them: `softmax`, `sigmoid` or a logarithm of those, the last one
/// first.
pub fn logits(graph: &mut Graph, output: Id) -> Result<(Id, Vec<&'static str>), GraphError> {
    let mut taken = Vec::new();
    let logits = before(graph, output, &mut taken)?;
    Ok((logits, taken))
}

fn before(graph: &mut Graph, id: Id, taken: &mut Vec<&'static str>) -> Result<Id, GraphError> {
    if let Some((inner, what)) = probability(graph, id).or_else(|| logarithm(graph, id)) {
        taken.push(what);
        return before(graph, inner, taken);
    }
    let value = graph.value(id).clone();
    let passes = match &value.op {
        Op::Reshape(shape) => shape.last() == graph.shape(value.inputs[0]).last(),
        Op::Cast(dtype) => dtype.is_float() && graph.dtype(value.inputs[0]).is_float(),
        // Of places, not of labels.
        Op::Gather { axis } | Op::Slice { axis, .. } => axis + 1 < graph.shape(value.inputs[0]).len(),
        _ => false,
    };
    if !passes {
        return Ok(id);
    }
    let inner = before(graph, value.inputs[0], taken)?;
    if inner == value.inputs[0] {
        return Ok(id);
    }
    let inputs = [&[inner], &value.inputs[1..]].concat();
    graph.set_scope(&value.scope);
    graph.add(value.op, &inputs)
}

/// What a value is the softmax over its last axis, or the sigmoid, of.
fn probability(g: &Graph, id: Id) -> Option<(Id, &'static str)> {
    let value = g.value(id);
    match (&value.op, &value.inputs[..]) {
        (Op::Softmax { axis }, &[x]) if axis + 1 == value.shape.len() => Some((x, "softmax")),
        (Op::Unary(Unary::Sigmoid), &[x]) => Some((x, "sigmoid")),
        (Op::Unary(Unary::Exp), &[x]) => match logarithm(g, x)? {
            (x, "log softmax") => Some((x, "softmax")),
            (x, _) => Some((x, "sigmoid")),
        },
        (Op::Unary(Unary::Reciprocal), &[below]) => one_and_exp_of_minus(g, below).map(|x| (x, "sigmoid")),
        (Op::Binary(Binary::Div), &[above, below]) => {
            if g.as_scalar(above) == Some(1.0) {
                return one_and_exp_of_minus(g, below).map(|x| (x, "sigmoid"));
            }
            let x = exponent(g, above)?;
            if one_and(g, below) == Some(above) {
                return Some((x, "sigmoid"));
            }
            (sum_over_last(g, below)? == above).then(|| (unshifted(g, x), "softmax"))
        }
        (Op::Binary(Binary::Mul), &[a, b]) => [(a, b), (b, a)].into_iter().find_map(|(above, factor)| {
            let factor = g.value(unmoved(g, factor));
            let (Op::Unary(Unary::Reciprocal), &[below]) = (&factor.op, &factor.inputs[..]) else { return None };
            let x = exponent(g, above)?;
            (sum_over_last(g, below)? == above).then(|| (unshifted(g, x), "softmax"))
        }),
        _ => None,
    }
}

/// What a value is the logarithm of the softmax, or of the sigmoid, of.
fn logarithm(g: &Graph, id: Id) -> Option<(Id, &'static str)> {
    let value = g.value(id);
    match (&value.op, &value.inputs[..]) {
        (Op::Unary(Unary::Log), &[p]) => match probability(g, p)? {
            (x, "softmax") => Some((x, "log softmax")),
            (x, _) => Some((x, "log sigmoid")),
        },
        (Op::Binary(Binary::Sub), &[x, total]) => {
            // `y - log(sum(exp(y)))` with `y = x - largest`, or all of it in one subtraction.
            let (y, total) = match log_of_sum(g, total) {
                Some(y) => (x, y),
                None => {
                    let sum = g.value(unmoved(g, total));
                    let (Op::Binary(Binary::Add), &[a, b]) = (&sum.op, &sum.inputs[..]) else { return None };
                    let (y, shift) = [(a, b), (b, a)].into_iter().find_map(|(a, b)| Some((log_of_sum(g, a)?, b)))?;
                    let shifted = g.value(y);
                    let (Op::Binary(Binary::Sub), &[inner, own]) = (&shifted.op, &shifted.inputs[..]) else {
                        return None;
                    };
                    if inner != x || unmoved(g, own) != unmoved(g, shift) {
                        return None;
                    }
                    (y, y)
                }
            };
            (y == total).then(|| (unshifted(g, y), "log softmax"))
        }
        _ => None,
    }
}

/// The sum's terms where a value is `log(sum(exp(y)))` over the last axis.
fn log_of_sum(g: &Graph, id: Id) -> Option<Id> {
    let value = g.value(unmoved(g, id));
    match (&value.op, &value.inputs[..]) {
        (Op::Unary(Unary::Log), &[sum]) => exponent(g, sum_over_last(g, sum)?),
        _ => None,
    }
}

fn exponent(g: &Graph, id: Id) -> Option<Id> {
    let value = g.value(id);
    match (&value.op, &value.inputs[..]) {
        (Op::Unary(Unary::Exp), &[x]) => Some(x),
        _ => None,
    }
}

/// What a value is the sum of over its last axis.
fn sum_over_last(g: &Graph, id: Id) -> Option<Id> {
    let value = g.value(unmoved(g, id));
    match (&value.op, &value.inputs[..]) {
        (Op::Reduce { kind: Reduction::Sum, axes, .. }, &[x]) if axes[..] == [g.shape(x).len() - 1] => Some(x),
        _ => None,
    }
}

/// `x` of `x - c`, where `c` is the same for all of the last axis: a softmax does not see it.
fn unshifted(g: &Graph, id: Id) -> Id {
    let value = g.value(id);
    match (&value.op, &value.inputs[..]) {
        (Op::Binary(Binary::Sub), &[x, shift])
            if g.shape(x) == value.shape && g.shape(shift).last().is_none_or(|last| last.is_one()) =>
        {
            x
        }
        _ => id,
    }
}

/// `x` of `1 + x`.
fn one_and(g: &Graph, id: Id) -> Option<Id> {
    let value = g.value(id);
    let (Op::Binary(Binary::Add), &[a, b]) = (&value.op, &value.inputs[..]) else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(one, x)| (g.as_scalar(one) == Some(1.0)).then_some(x))
}

/// `x` of `1 + exp(-x)`.
fn one_and_exp_of_minus(g: &Graph, id: Id) -> Option<Id> {
    let minus = g.value(exponent(g, one_and(g, id)?)?);
    match (&minus.op, &minus.inputs[..]) {
        (Op::Unary(Unary::Neg), &[x]) => Some(x),
        (Op::Binary(Binary::Mul), &[a, b]) => {
            [(a, b), (b, a)].into_iter().find_map(|(factor, x)| (g.as_scalar(factor) == Some(-1.0)).then_some(x))
        }
        _ => None,
    }
}

/// The value that this is but for its shape.
fn unmoved(g: &Graph, mut id: Id) -> Id {
    while let Op::Reshape(_) = g.value(id).op {
        id = g.value(id).inputs[0];
    }
    id
}

/// Fails where something that makes probabilities is left between the last product and the logits.
pub fn check(path: &Path, graph: &Graph, embeds: Id, logits: Id) -> Result<(), ForeignError> {
    let depends = graph.descendants(embeds);
    let mut open = vec![logits];
    let mut seen = vec![false; graph.len()];
    while let Some(id) = open.pop() {
        if id == embeds || !depends[id.index()] || std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let value = graph.value(id);
        let squashes = match &value.op {
            Op::MatMul | Op::Linear(_) | Op::Gemm { .. } => continue,
            Op::Softmax { .. } => true,
            Op::Unary(kind) => match kind {
                Unary::Neg | Unary::Abs => false,
                Unary::Sqrt
                | Unary::Reciprocal
                | Unary::Exp
                | Unary::Log
                | Unary::Tanh
                | Unary::Sigmoid
                | Unary::Erf
                | Unary::Sin
                | Unary::Cos => true,
            },
            Op::Binary(Binary::Div | Binary::Pow) => depends[value.inputs[1].index()],
            _ => false,
        };
        if squashes {
            let (operator, scope) = (value.op.name(), value.scope.to_string());
            return Err(ForeignError::Probabilities { path: path.to_owned(), operator, scope });
        }
        open.extend(&value.inputs);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{Dim, Dtype};

    fn input() -> (Graph, Id) {
        let mut g = Graph::new();
        let x = g.input("x", Dtype::F32, vec![Dim::symbol("batch"), 3.into()]).unwrap();
        (g, x)
    }

    #[track_caller]
    fn assert_cut(g: &mut Graph, output: Id, x: Id, what: &[&str]) {
        let (logits, taken) = logits(g, output).unwrap();
        assert_eq!((logits, &taken[..]), (x, what));
    }

    #[test]
    fn softmax_in_all_forms() {
        for (shifted, by_reciprocal, kept) in [(false, false, true), (true, false, true), (true, true, false)] {
            let (mut g, x) = input();
            let y = if shifted {
                let largest = g.reduce(Reduction::Max, x, &[1], true).unwrap();
                g.minus(x, largest).unwrap()
            } else {
                x
            };
            let e = g.unary(Unary::Exp, y).unwrap();
            let mut sum = g.reduce(Reduction::Sum, e, &[1], kept).unwrap();
            if !kept {
                sum = g.unsqueeze(sum, 1).unwrap();
            }
            let p = if by_reciprocal {
                let r = g.unary(Unary::Reciprocal, sum).unwrap();
                g.times(e, r).unwrap()
            } else {
                g.divided(e, sum).unwrap()
            };
            assert_cut(&mut g, p, x, &["softmax"]);
            let log = g.unary(Unary::Log, p).unwrap();
            assert_cut(&mut g, log, x, &["log softmax"]);
        }
    }

    #[test]
    fn logarithms_and_sigmoids_in_all_forms() {
        let (mut g, x) = input();
        let largest = g.reduce(Reduction::Max, x, &[1], true).unwrap();
        let y = g.minus(x, largest).unwrap();
        let e = g.unary(Unary::Exp, y).unwrap();
        let sum = g.reduce(Reduction::Sum, e, &[1], true).unwrap();
        let log = g.unary(Unary::Log, sum).unwrap();
        let in_two = g.minus(y, log).unwrap();
        assert_cut(&mut g, in_two, x, &["log softmax"]);
        let total = g.plus(log, largest).unwrap();
        let in_one = g.minus(x, total).unwrap();
        assert_cut(&mut g, in_one, x, &["log softmax"]);
        let p = g.unary(Unary::Exp, in_one).unwrap();
        assert_cut(&mut g, p, x, &["softmax"]);
        // The sum of something else.
        let other = g.scaled(x, 2.0).unwrap();
        let wrong = g.minus(other, total).unwrap();
        assert_cut(&mut g, wrong, wrong, &[]);

        let minus = g.unary(Unary::Neg, x).unwrap();
        let e = g.unary(Unary::Exp, minus).unwrap();
        let one = g.scalar(1.0, x).unwrap();
        let below = g.plus(one, e).unwrap();
        let by_division = g.divided(one, below).unwrap();
        let by_reciprocal = g.unary(Unary::Reciprocal, below).unwrap();
        let up = g.unary(Unary::Exp, x).unwrap();
        let sum = g.plus(up, one).unwrap();
        let by_exp = g.divided(up, sum).unwrap();
        for p in [by_division, by_reciprocal, by_exp] {
            assert_cut(&mut g, p, x, &["sigmoid"]);
        }
        // One after the other, and moved.
        let p = g.unary(Unary::Sigmoid, x).unwrap();
        let p = g.add(Op::Softmax { axis: 1 }, &[p]).unwrap();
        let rows = g.reshape(p, vec![Dim::symbol("batch"), 1.into(), 3.into()]).unwrap();
        let (logits, taken) = logits(&mut g, rows).unwrap();
        assert_eq!((g.value(logits).inputs[0], &taken[..]), (x, &["softmax", "sigmoid"][..]));
    }

    #[test]
    fn a_softmax_over_places_is_not_taken_off_and_is_refused() {
        let mut g = Graph::new();
        let x = g.input("x", Dtype::F32, vec![Dim::symbol("batch"), Dim::symbol("seq"), 3.into()]).unwrap();
        let p = g.add(Op::Softmax { axis: 1 }, &[x]).unwrap();
        assert_cut(&mut g, p, p, &[]);
        let y = g.unary(Unary::Neg, x).unwrap();
        check(Path::new("m.onnx"), &g, x, y).unwrap();
        for (id, operator) in [(p, "Softmax"), (g.divided(x, p).unwrap(), "Div")] {
            let error = check(Path::new("m.onnx"), &g, x, id).unwrap_err().to_string();
            assert!(error.starts_with("m.onnx: what it gives is made by") && error.contains(operator), "{error}");
        }
    }
}
