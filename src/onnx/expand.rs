//! Composites written out as ONNX primitives.
//!
//! This runs after differentiation. Backward rules use the same building blocks ([`inverse_rms`], [`gate`]), and equal
//! operators on equal inputs are one value, so a backward pass reuses what the forward pass has computed.

use std::collections::{HashMap, HashSet};

use super::dim::Dim;
use super::graph::{Graph, GraphError, Id};
use super::op::{Activation, Logic, Op, Reduction, Unary, WeightLayout, WeightRef};

/// The same graph without composites and without what `outputs` do not need; `outputs` as they are numbered there.
pub fn expand(graph: &Graph, outputs: &[Id]) -> Result<(Graph, Vec<Id>), GraphError> {
    let mut out = Graph::new();
    let mut renamed: Vec<Option<Id>> = vec![None; graph.len()];
    let ids = graph.ancestors(outputs);
    let turned = square_in_both_layouts(graph, &ids);
    for id in ids {
        let value = graph.value(id);
        let inputs: Vec<Id> = value.inputs.iter().filter_map(|input| renamed[input.index()]).collect();
        out.set_scope(&value.scope);
        let expanded = match (&value.op, &value.inputs[..]) {
            (Op::Linear(WeightLayout::OutIn), [_, weight, ..]) if turned.contains(weight) => {
                in_halves(&mut out, &inputs)?
            }
            _ => expand_one(&mut out, &value.op, &inputs)?,
        };
        renamed[id.index()] = Some(expanded);
    }
    let outputs = outputs.iter().filter_map(|id| renamed[id.index()]).collect();
    Ok((out, outputs))
}

/// The square matrices by which something is multiplied in either layout: forwards in one, backwards in the other.
fn square_in_both_layouts(graph: &Graph, ids: &[Id]) -> HashSet<Id> {
    let mut layouts: HashMap<Id, HashSet<WeightLayout>> = HashMap::new();
    for &id in ids {
        if let (&Op::Linear(layout), [_, weight, ..]) = (&graph.value(id).op, &graph.value(id).inputs[..])
            && matches!(graph.shape(*weight), [rows, columns] if rows == columns)
        {
            layouts.entry(*weight).or_default().insert(layout);
        }
    }
    layouts.into_iter().filter(|(_, layouts)| layouts.len() == 2).map(|(weight, _)| weight).collect()
}

fn expand_one(g: &mut Graph, op: &Op, inputs: &[Id]) -> Result<Id, GraphError> {
    match *op {
        Op::Linear(layout) => linear(g, inputs, layout),
        Op::RmsNorm { eps } => {
            let r = inverse_rms(g, inputs[0], eps.get())?;
            let normed = g.times(inputs[0], r)?;
            g.times(normed, inputs[1])
        }
        Op::LayerNorm { eps } => {
            let centered = centered(g, inputs[0])?;
            let r = inverse_rms(g, centered, eps.get())?;
            let normed = g.times(centered, r)?;
            let scaled = g.times(normed, inputs[1])?;
            g.plus(scaled, inputs[2])
        }
        Op::Activation(kind) => {
            let gate = gate(g, kind, inputs[0])?;
            g.times(inputs[0], gate)
        }
        Op::SoftCap { cap } => {
            let squashed = soft_cap_tanh(g, inputs[0], cap.get())?;
            g.scaled(squashed, cap.get())
        }
        Op::Rotary => rotate(g, inputs[0], inputs[1], inputs[2], false),
        _ => g.add(op.clone(), inputs),
    }
}

/// A matrix product with a weight. `Gemm` reads a transposed weight in place, where a `Transpose` before a `MatMul`
/// would make the runtime fold a second copy of it.
fn linear(g: &mut Graph, inputs: &[Id], layout: WeightLayout) -> Result<Id, GraphError> {
    let (x, weight, bias) = (inputs[0], inputs[1], inputs.get(2).copied());
    // A vector is made a row first, in either layout.
    if layout == WeightLayout::InOut && g.shape(x).len() >= 2 {
        let product = g.matmul(x, weight)?;
        return match bias {
            Some(bias) => g.plus(product, bias),
            None => Ok(product),
        };
    }
    let Some((matrix, leading)) = as_matrix(g, x)? else { return g.add(Op::Linear(layout), inputs) };
    let operands: Vec<Id> = [matrix, weight].into_iter().chain(bias).collect();
    let product = g.add(Op::Gemm { transpose_b: layout == WeightLayout::OutIn }, &operands)?;
    let size_out = g.shape(product)[1].clone();
    g.reshape(product, leading.into_iter().chain([size_out]).collect())
}

/// The rows of all leading axes as a matrix, and those axes; nothing of a scalar.
fn as_matrix(g: &mut Graph, x: Id) -> Result<Option<(Id, Vec<Dim>)>, GraphError> {
    let shape = g.shape(x).to_vec();
    let Some((last, leading)) = shape.split_last() else { return Ok(None) };
    let rows = Dim::product(leading).unwrap_or_else(|| Dim::known(1));
    Ok(Some((g.reshape(x, vec![rows, last.clone()])?, leading.to_vec())))
}

/// A product `x W^T`, half of its columns at a time: what another node multiplies by the whole of a square `W`.
///
/// OpenVINO 2026.4 packs a weight once for each address and shape. Where a square one is multiplied by as it is and
/// transposed, both products take what the first of them packed, and the gradient is another model's, without a word. A
/// half has a shape of its own, and no bytes of its own; ONNX Runtime takes as long either way (docs/runtimes.md).
fn in_halves(g: &mut Graph, inputs: &[Id]) -> Result<Id, GraphError> {
    let (x, weight, bias) = (inputs[0], inputs[1], inputs.get(2).copied());
    let size = g.shape(weight)[0].value().unwrap_or_default();
    let (Op::Weight(whole), true) = (g.value(weight).op.clone(), size >= 2) else {
        return linear(g, inputs, WeightLayout::OutIn);
    };
    let Some((matrix, leading)) = as_matrix(g, x)? else { return linear(g, inputs, WeightLayout::OutIn) };
    let mut parts = Vec::with_capacity(2);
    for (start, end) in [(0, size / 2), (size / 2, size)] {
        let rows = WeightRef { start: whole.start + start * size, dims: vec![end - start, size], ..whole.clone() };
        let mut operands = vec![matrix, g.add(Op::Weight(rows), &[])?];
        if let Some(bias) = bias {
            operands.push(match g.value(bias).op.clone() {
                Op::Weight(bias) => {
                    let part = WeightRef { start: bias.start + start, dims: vec![end - start], ..bias };
                    g.add(Op::Weight(part), &[])?
                }
                _ => g.slice(bias, 0, start, end)?,
            });
        }
        parts.push(g.add(Op::Gemm { transpose_b: true }, &operands)?);
    }
    let product = g.concat(&parts, 1)?;
    g.reshape(product, leading.into_iter().chain([Dim::known(size)]).collect())
}

/// `1 / sqrt(mean(x^2) + eps)` over the last axis, which stays with size 1.
pub fn inverse_rms(g: &mut Graph, x: Id, eps: f64) -> Result<Id, GraphError> {
    let square = g.times(x, x)?;
    let mean = g.mean_last(square)?;
    let eps = g.scalar(eps, x)?;
    let eps = g.with_axes_of(eps, mean)?;
    let shifted = g.plus(mean, eps)?;
    let root = g.unary(Unary::Sqrt, shifted)?;
    g.unary(Unary::Reciprocal, root)
}

/// `x - mean(x)` over the last axis.
pub fn centered(g: &mut Graph, x: Id) -> Result<Id, GraphError> {
    let mean = g.mean_last(x)?;
    g.minus(x, mean)
}

/// `act(x) / x`, continuous at 0.
pub fn gate(g: &mut Graph, kind: Activation, x: Id) -> Result<Id, GraphError> {
    match kind {
        Activation::Silu => g.unary(Unary::Sigmoid, x),
        Activation::QuickGelu => {
            let scaled = g.scaled(x, 1.702)?;
            g.unary(Unary::Sigmoid, scaled)
        }
        Activation::Gelu => {
            let scaled = g.scaled(x, std::f64::consts::FRAC_1_SQRT_2)?;
            let erf = g.unary(Unary::Erf, scaled)?;
            half_of_one_plus(g, erf)
        }
        Activation::GeluTanh => {
            let tanh = gelu_tanh(g, x)?;
            half_of_one_plus(g, tanh)
        }
        Activation::Relu => {
            let zero = g.scalar(0.0, x)?;
            let positive = g.logic(Logic::Greater, x, zero)?;
            let dtype = g.dtype(x);
            g.cast(positive, dtype)
        }
    }
}

/// The tanh inside the approximated GELU: `tanh(sqrt(2/pi) (x + 0.044715 x^3))`.
pub fn gelu_tanh(g: &mut Graph, x: Id) -> Result<Id, GraphError> {
    let square = g.times(x, x)?;
    let cubic = g.scaled(square, 0.044715)?;
    let one = g.scalar(1.0, x)?;
    let factor = g.plus(cubic, one)?;
    let argument = g.times(x, factor)?;
    let argument = g.scaled(argument, (2.0 / std::f64::consts::PI).sqrt())?;
    g.unary(Unary::Tanh, argument)
}

fn half_of_one_plus(g: &mut Graph, x: Id) -> Result<Id, GraphError> {
    let half = g.scaled(x, 0.5)?;
    let offset = g.scalar(0.5, x)?;
    g.plus(half, offset)
}

/// `tanh(x / cap)`.
pub fn soft_cap_tanh(g: &mut Graph, x: Id, cap: f64) -> Result<Id, GraphError> {
    let scaled = g.scaled(x, 1.0 / cap)?;
    g.unary(Unary::Tanh, scaled)
}

/// The first elements of the last axis, two for each column of the tables, rotated by the angles of the tables, or back
/// by them: halves against each other. The elements after them stay.
pub fn rotate(g: &mut Graph, x: Id, cos: Id, sin: Id, back: bool) -> Result<Id, GraphError> {
    let axis = g.shape(x).len() - 1;
    let size = g.shape(x)[axis].value().ok_or_else(|| GraphError {
        op: "Rotary".to_owned(),
        scope: g.value(x).scope.to_string(),
        problem: "rotates an axis of unknown size".to_owned(),
    })?;
    let half = g.shape(cos).last().and_then(Dim::value).unwrap_or(size / 2);
    let first = g.slice(x, axis, 0, half)?;
    let second = g.slice(x, axis, half, 2 * half)?;
    let (first_cos, second_sin) = (g.times(first, cos)?, g.times(second, sin)?);
    let (second_cos, first_sin) = (g.times(second, cos)?, g.times(first, sin)?);
    let (a, b) = if back {
        (g.plus(first_cos, second_sin)?, g.minus(second_cos, first_sin)?)
    } else {
        (g.minus(first_cos, second_sin)?, g.plus(second_cos, first_sin)?)
    };
    let mut parts = vec![a, b];
    if 2 * half < size {
        parts.push(g.slice(x, axis, 2 * half, size)?);
    }
    g.concat(&parts, axis)
}

/// Sums over the axes on which `x` was broadcast, so that it gets the shape `target`.
pub fn sum_to(g: &mut Graph, x: Id, target: &[Dim]) -> Result<Id, GraphError> {
    let shape = g.shape(x).to_vec();
    if shape == target {
        return Ok(x);
    }
    let extra = shape.len().saturating_sub(target.len());
    let axes: Vec<usize> = (0..shape.len())
        .filter(|&axis| axis < extra || (target[axis - extra].is_one() && !shape[axis].is_one()))
        .collect();
    let summed = if axes.is_empty() { x } else { g.reduce(Reduction::Sum, x, &axes, true)? };
    g.reshape(summed, target.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Dtype;
    use crate::onnx::dim::show;

    #[test]
    fn a_vector_goes_through_a_linear_of_either_layout() {
        for (layout, weight) in [(WeightLayout::OutIn, [3, 4]), (WeightLayout::InOut, [4, 3])] {
            let mut graph = Graph::new();
            let x = graph.input("x", Dtype::F32, vec![4.into()]).unwrap();
            let weight = graph.input("weight", Dtype::F32, weight.map(Dim::known).to_vec()).unwrap();
            let bias = graph.input("bias", Dtype::F32, vec![3.into()]).unwrap();
            let y = graph.linear(x, weight, Some(bias), layout).unwrap();
            let (expanded, roots) = expand(&graph, &[y]).unwrap();
            assert_eq!(show(expanded.shape(roots[0])), "[3]");
        }
    }

    /// The weights of the products of a graph with one linear layer and its backward pass, and whether each is
    /// transposed.
    fn products(size_out: usize, size_in: usize, bias: bool) -> Vec<(Vec<usize>, usize, bool)> {
        let mut graph = Graph::new();
        let mut weight = |index, dims: Vec<usize>| {
            graph.add(Op::Weight(WeightRef { index, start: 0, dims, dtype: Dtype::F32 }), &[]).unwrap()
        };
        let matrix = weight(0, vec![size_out, size_in]);
        let bias = bias.then(|| weight(1, vec![size_out]));
        let x = graph.input("x", Dtype::F32, vec![2.into(), Dim::symbol("seq"), size_in.into()]).unwrap();
        let y = graph.linear(x, matrix, bias, WeightLayout::OutIn).unwrap();
        let back = graph.linear(y, matrix, None, WeightLayout::InOut).unwrap();
        assert_eq!(graph.shape(back), graph.shape(x));
        let (expanded, roots) = expand(&graph, &[back]).unwrap();
        assert_eq!(expanded.shape(roots[0]), graph.shape(back));
        let product = |id: Id| {
            let transposed = match expanded.value(id).op {
                Op::Gemm { transpose_b } => transpose_b,
                Op::MatMul => false,
                _ => return None,
            };
            let operands = &expanded.value(id).inputs;
            if let Some(bias) = operands.get(2) {
                assert_eq!(expanded.shape(*bias)[0], expanded.shape(operands[1])[0]);
            }
            match &expanded.value(operands[1]).op {
                Op::Weight(weight) => Some((weight.dims.clone(), weight.start, transposed)),
                other => panic!("{other:?}"),
            }
        };
        expanded.ancestors(&roots).into_iter().filter_map(product).collect()
    }

    #[test]
    fn no_square_weight_is_read_both_ways() {
        for bias in [false, true] {
            let halves = [(vec![2, 5], 0, true), (vec![3, 5], 10, true), (vec![5, 5], 0, false)];
            assert_eq!(products(5, 5, bias), halves);
            assert_eq!(products(4, 6, bias), [(vec![4, 6], 0, true), (vec![4, 6], 0, false)]);
        }
        assert_eq!(products(1, 1, false), [(vec![1, 1], 0, true), (vec![1, 1], 0, false)]);
    }

    #[test]
    fn sums_over_what_was_repeated_and_only_that() {
        let seq = Dim::symbol("seq");
        let mut graph = Graph::new();
        let x = graph.input("x", Dtype::F32, vec![2.into(), seq.clone(), 1.into(), 4.into()]).unwrap();
        let mut summed = |target: &[Dim]| {
            let y = sum_to(&mut graph, x, target).unwrap();
            let axes = graph.ancestors(&[y]).into_iter().find_map(|id| match &graph.value(id).op {
                Op::Reduce { axes, .. } => Some(axes.clone()),
                _ => None,
            });
            assert_eq!(graph.shape(y), target);
            axes
        };
        assert_eq!(summed(&[2.into(), seq.clone(), 1.into(), 4.into()]), None);
        assert_eq!(summed(&[1.into(), seq.clone(), 1.into(), 4.into()]), Some(vec![0]));
        assert_eq!(summed(&[1.into(), 1.into(), 1.into()]), Some(vec![0, 1, 3]));
        assert_eq!(summed(&[4.into()]), Some(vec![0, 1, 2]));
        assert_eq!(summed(&[]), Some(vec![0, 1, 2, 3]));
    }
}
