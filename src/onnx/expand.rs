//! Composites written out as ONNX primitives.
//!
//! This runs after differentiation. Backward rules use the same building blocks ([`inverse_rms`], [`gate`]), and equal
//! operators on equal inputs are one value, so a backward pass reuses what the forward pass has computed.

use super::dim::Dim;
use super::graph::{Graph, GraphError, Id};
use super::op::{Activation, Logic, Op, Reduction, Unary, WeightLayout};

/// The same graph without composites and without what `outputs` do not need; `outputs` as they are numbered there.
pub fn expand(graph: &Graph, outputs: &[Id]) -> Result<(Graph, Vec<Id>), GraphError> {
    let mut out = Graph::new();
    let mut renamed: Vec<Option<Id>> = vec![None; graph.len()];
    for id in graph.ancestors(outputs) {
        let value = graph.value(id);
        let inputs: Vec<Id> = value.inputs.iter().filter_map(|input| renamed[input.index()]).collect();
        out.set_scope(&value.scope);
        renamed[id.index()] = Some(expand_one(&mut out, &value.op, &inputs)?);
    }
    let outputs = outputs.iter().filter_map(|id| renamed[id.index()]).collect();
    Ok((out, outputs))
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
    let shape = g.shape(x).to_vec();
    let (last, leading) = match shape.split_last() {
        Some((last, leading)) => (last.clone(), leading.to_vec()),
        None => return g.add(Op::Linear(layout), inputs),
    };
    let rows = Dim::product(&leading).unwrap_or_else(|| Dim::known(1));
    let matrix = g.reshape(x, vec![rows, last])?;
    let operands: Vec<Id> = [matrix, weight].into_iter().chain(bias).collect();
    let product = g.add(Op::Gemm { transpose_b: layout == WeightLayout::OutIn }, &operands)?;
    let size_out = g.shape(product)[1].clone();
    g.reshape(product, leading.into_iter().chain([size_out]).collect())
}

/// `1 / sqrt(mean(x^2) + eps)` over the last axis, which stays with size 1.
pub fn inverse_rms(g: &mut Graph, x: Id, eps: f64) -> Result<Id, GraphError> {
    let square = g.times(x, x)?;
    let mean = g.mean_last(square)?;
    let eps = g.scalar(eps, x)?;
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
