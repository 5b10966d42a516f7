//! The type and shape of what an operator makes.

use super::dim::{Dim, Shape, show};
use super::graph::Value;
use super::op::{Op, WeightLayout};
use super::tensor::Dtype;

/// The broadcast of two shapes (NumPy's rule, which is ONNX's).
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    let one = Dim::known(1);
    let at = |shape: &[Dim], i: usize| -> Dim {
        (i + shape.len()).checked_sub(rank).and_then(|j| shape.get(j)).unwrap_or(&one).clone()
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y.is_one() => Ok(x),
            (x, y) if x.is_one() => Ok(y),
            (x, y) => Err(format!("cannot broadcast {} with {}: {x} is not {y}", show(a), show(b))),
        })
        .collect()
}

/// Type and shape of the output, or what is wrong.
pub fn infer(op: &Op, inputs: &[&Value]) -> Result<(Dtype, Shape), String> {
    let expected = arity(op);
    if !expected.contains(&inputs.len()) {
        return Err(format!("takes {expected:?} inputs, not {}", inputs.len()));
    }
    match op {
        Op::Input { dtype, shape, .. } => Ok((*dtype, shape.clone())),
        Op::Opaque(opaque) => Ok((opaque.dtype, opaque.shape.clone())),
        Op::Constant(tensor) => Ok((tensor.dtype, tensor.dims.iter().map(|&d| Dim::known(d)).collect())),
        Op::Weight(weight) => Ok((weight.dtype, weight.dims.iter().map(|&d| Dim::known(d)).collect())),
        Op::DimSize(_) => Ok((Dtype::I64, vec![Dim::known(1)])),
        Op::Arange(dim) => Ok((Dtype::I64, vec![dim.clone()])),
        Op::Unary(_) | Op::Activation(_) | Op::SoftCap { .. } => {
            let x = inputs[0];
            if matches!(op, Op::Unary(_)) || x.dtype.is_float() {
                Ok((x.dtype, x.shape.clone()))
            } else {
                Err("needs a floating-point input".to_owned())
            }
        }
        Op::Not => same_dtype(inputs, Some(Dtype::Bool)).map(|dtype| (dtype, inputs[0].shape.clone())),
        Op::Binary(_) => Ok((same_dtype(inputs, None)?, broadcast(&inputs[0].shape, &inputs[1].shape)?)),
        Op::Logic(_) => {
            same_dtype(inputs, None)?;
            Ok((Dtype::Bool, broadcast(&inputs[0].shape, &inputs[1].shape)?))
        }
        Op::Where => {
            if inputs[0].dtype != Dtype::Bool {
                return Err("needs a boolean condition".to_owned());
            }
            let dtype = same_dtype(&inputs[1..], None)?;
            Ok((dtype, broadcast(&inputs[0].shape, &broadcast(&inputs[1].shape, &inputs[2].shape)?)?))
        }
        Op::Cast(dtype) => Ok((*dtype, inputs[0].shape.clone())),
        Op::MatMul => matmul(inputs),
        Op::Softmax { axis } => {
            axis_of(&inputs[0].shape, *axis)?;
            Ok((inputs[0].dtype, inputs[0].shape.clone()))
        }
        Op::Reduce { axes, keep, .. } => {
            let mut shape = inputs[0].shape.clone();
            // ONNX takes no axes for all of them, or for none, by another attribute: too easily mistaken.
            if axes.is_empty() {
                return Err("reduces no axis".to_owned());
            }
            for (i, &axis) in axes.iter().enumerate() {
                axis_of(&shape, axis)?;
                if axes[..i].contains(&axis) {
                    return Err(format!("reduces axis {axis} twice"));
                }
                shape[axis] = Dim::known(1);
            }
            if !keep {
                let kept = (0..shape.len()).filter(|axis| !axes.contains(axis));
                shape = kept.map(|axis| shape[axis].clone()).collect();
            }
            Ok((inputs[0].dtype, shape))
        }
        Op::Reshape(shape) => {
            let (from, to) = (Dim::product(&inputs[0].shape), Dim::product(shape));
            if from.is_none() || from != to {
                return Err(format!("cannot reshape {} to {}", show(&inputs[0].shape), show(shape)));
            }
            Ok((inputs[0].dtype, shape.clone()))
        }
        Op::Transpose(order) => {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if sorted != (0..inputs[0].shape.len()).collect::<Vec<_>>() {
                return Err(format!("has the order {order:?}, which is no permutation of the axes"));
            }
            Ok((inputs[0].dtype, order.iter().map(|&axis| inputs[0].shape[axis].clone()).collect()))
        }
        Op::Expand(shape) => {
            if broadcast(&inputs[0].shape, shape)? != *shape {
                return Err(format!("cannot expand {} to {}", show(&inputs[0].shape), show(shape)));
            }
            Ok((inputs[0].dtype, shape.clone()))
        }
        Op::Concat { axis } => concat(inputs, *axis),
        Op::Slice { axis, start, end } => {
            let mut shape = inputs[0].shape.clone();
            axis_of(&shape, *axis)?;
            if start >= end || shape[*axis].value().is_some_and(|size| *end > size) {
                return Err(format!("cannot take {start}..{end} of an axis of size {}", shape[*axis]));
            }
            shape[*axis] = Dim::known(end - start);
            Ok((inputs[0].dtype, shape))
        }
        Op::Pad { axis, before, after } => {
            let mut shape = inputs[0].shape.clone();
            axis_of(&shape, *axis)?;
            let size = shape[*axis].value().ok_or("pads only axes of known size")?;
            let padded = size.checked_add(*before).and_then(|size| size.checked_add(*after));
            shape[*axis] = Dim::known(padded.ok_or("is too large")?);
            Ok((inputs[0].dtype, shape))
        }
        Op::Gather { axis } => {
            let (data, indices) = (inputs[0], inputs[1]);
            axis_of(&data.shape, *axis)?;
            if !matches!(indices.dtype, Dtype::I64 | Dtype::I32) {
                return Err("needs integer indices".to_owned());
            }
            let mut shape = data.shape[..*axis].to_vec();
            shape.extend(indices.shape.iter().cloned());
            shape.extend(data.shape[axis + 1..].iter().cloned());
            Ok((data.dtype, shape))
        }
        Op::Gemm { transpose_b } => {
            if inputs[0].shape.len() != 2 {
                return Err("needs a matrix".to_owned());
            }
            linear(inputs, if *transpose_b { WeightLayout::OutIn } else { WeightLayout::InOut })
        }
        Op::Linear(layout) => linear(inputs, *layout),
        Op::RmsNorm { .. } | Op::LayerNorm { .. } => {
            let dtype = same_dtype(inputs, None)?;
            let last = inputs[0].shape.last().ok_or("needs at least one axis")?;
            for parameter in &inputs[1..] {
                if parameter.shape != [last.clone()] {
                    return Err(format!(
                        "normalises {last} elements with a parameter of shape {}",
                        show(&parameter.shape)
                    ));
                }
            }
            Ok((dtype, inputs[0].shape.clone()))
        }
        Op::Rotary => {
            let dtype = same_dtype(inputs, None)?;
            let x = &inputs[0].shape;
            let ([heads @ .., seq, size], [.., half]) = (&x[..], &inputs[1].shape[..]) else {
                return Err("needs two axes".to_owned());
            };
            let fits = half.checked_mul(&Dim::known(2)).is_some_and(|rotated| match (rotated.value(), size.value()) {
                (Some(rotated), Some(size)) => rotated <= size,
                _ => rotated == *size,
            });
            if !fits {
                return Err(format!("rotates {half} pairs of {size} elements"));
            }
            for table in &inputs[1..] {
                let rows = [heads, std::slice::from_ref(seq)].concat();
                let given = &table.shape[..];
                let aligned = given.split_last().is_some_and(|(last, leading)| {
                    last == half && leading.last() == Some(seq) && broadcast(leading, &rows) == Ok(rows)
                });
                if !aligned {
                    return Err(format!("has a table of shape {} for {}", show(given), show(x)));
                }
            }
            Ok((dtype, x.clone()))
        }
    }
}

fn arity(op: &Op) -> std::ops::RangeInclusive<usize> {
    match op {
        Op::Input { .. } | Op::Constant(_) | Op::Weight(_) | Op::DimSize(_) | Op::Arange(_) => 0..=0,
        Op::Binary(_) | Op::Logic(_) | Op::MatMul | Op::Gather { .. } | Op::RmsNorm { .. } => 2..=2,
        Op::Where | Op::LayerNorm { .. } | Op::Rotary => 3..=3,
        Op::Linear(_) | Op::Gemm { .. } => 2..=3,
        Op::Concat { .. } => 1..=usize::MAX,
        Op::Opaque(_) => 0..=usize::MAX,
        _ => 1..=1,
    }
}

fn same_dtype(inputs: &[&Value], wanted: Option<Dtype>) -> Result<Dtype, String> {
    let dtype = wanted.unwrap_or(inputs[0].dtype);
    match inputs.iter().find(|value| value.dtype != dtype) {
        Some(other) => Err(format!("mixes {} and {}", dtype.name(), other.dtype.name())),
        None => Ok(dtype),
    }
}

fn axis_of(shape: &[Dim], axis: usize) -> Result<(), String> {
    if axis < shape.len() { Ok(()) } else { Err(format!("has no axis {axis} in {}", show(shape))) }
}

fn matmul(inputs: &[&Value]) -> Result<(Dtype, Shape), String> {
    let dtype = same_dtype(inputs, None)?;
    let ([batch_a @ .., m, k], [batch_b @ .., l, n]) = (&inputs[0].shape[..], &inputs[1].shape[..]) else {
        return Err("needs two axes on both sides".to_owned());
    };
    if k != l {
        return Err(format!("has inner sizes {k} and {l}"));
    }
    let mut shape = broadcast(batch_a, batch_b)?;
    shape.extend([m.clone(), n.clone()]);
    Ok((dtype, shape))
}

fn linear(inputs: &[&Value], layout: WeightLayout) -> Result<(Dtype, Shape), String> {
    let dtype = same_dtype(inputs, None)?;
    let [rows, columns] = &inputs[1].shape[..] else { return Err("needs a weight with two axes".to_owned()) };
    let (size_out, size_in) = match layout {
        WeightLayout::OutIn => (rows, columns),
        WeightLayout::InOut => (columns, rows),
    };
    let mut shape = inputs[0].shape.clone();
    match shape.last_mut() {
        Some(last) if last == size_in => *last = size_out.clone(),
        _ => return Err(format!("applies a weight for {size_in} features to {}", show(&inputs[0].shape))),
    }
    if let Some(bias) = inputs.get(2)
        && bias.shape != [size_out.clone()]
    {
        return Err(format!("has a bias of shape {} for {size_out} outputs", show(&bias.shape)));
    }
    Ok((dtype, shape))
}

fn concat(inputs: &[&Value], axis: usize) -> Result<(Dtype, Shape), String> {
    let dtype = same_dtype(inputs, None)?;
    let mut shape = inputs[0].shape.clone();
    axis_of(&shape, axis)?;
    let mut total: Option<usize> = Some(0);
    for value in inputs {
        let fits = value.shape.len() == shape.len()
            && value.shape.iter().zip(&shape).enumerate().all(|(i, (a, b))| i == axis || a == b);
        if !fits {
            return Err(format!("joins {} and {} on axis {axis}", show(&shape), show(&value.shape)));
        }
        total = total.zip(value.shape[axis].value()).and_then(|(a, b)| a.checked_add(b));
    }
    shape[axis] = match total {
        Some(total) => Dim::known(total),
        None if inputs.len() == 1 => shape[axis].clone(),
        // Equal symbolic parts: a multiple.
        None if inputs.iter().all(|value| value.shape[axis] == shape[axis]) => {
            shape[axis].checked_mul(&Dim::known(inputs.len())).ok_or("is too large")?
        }
        None => return Err("joins parts of unrelated symbolic sizes".to_owned()),
    };
    Ok((dtype, shape))
}

#[cfg(test)]
mod tests {
    use super::super::graph::Graph;
    use super::super::op::{Binary, Real, Reduction};
    use super::super::tensor::Tensor;
    use super::*;

    fn shape(text: &str) -> Shape {
        let size = |part: &str| part.parse::<usize>().map_or_else(|_| Dim::symbol(part), Dim::known);
        text.split_whitespace().map(size).collect()
    }

    /// The shape that an operator makes of `f32` inputs, or what is wrong.
    fn made(op: Op, inputs: &[&str]) -> Result<String, String> {
        let mut graph = Graph::new();
        let ids: Vec<_> =
            (0..inputs.len()).map(|i| graph.input(&format!("x{i}"), Dtype::F32, shape(inputs[i])).unwrap()).collect();
        graph.add(op, &ids).map(|id| show(graph.shape(id))).map_err(|error| error.problem)
    }

    fn problem(op: Op, inputs: &[&str]) -> String {
        made(op, inputs).unwrap_err().split(" (inputs").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn broadcasts() {
        let add = || Op::Binary(Binary::Add);
        assert_eq!(made(add(), &["batch seq 4", "seq 1"]).unwrap(), "[batch, seq, 4]");
        assert_eq!(made(add(), &["1 seq 1", "batch 1 4"]).unwrap(), "[batch, seq, 4]");
        assert_eq!(made(add(), &["", "3"]).unwrap(), "[3]");
        assert_eq!(problem(add(), &["2 3", "2 4"]), "cannot broadcast [2, 3] with [2, 4]: 3 is not 4");
        assert_eq!(
            problem(add(), &["batch 4", "seq 4"]),
            "cannot broadcast [batch, 4] with [seq, 4]: batch is not seq"
        );
    }

    #[test]
    fn products() {
        assert_eq!(made(Op::MatMul, &["batch 1 seq 4", "3 4 5"]).unwrap(), "[batch, 3, seq, 5]");
        assert_eq!(problem(Op::MatMul, &["2 3", "4 2"]), "has inner sizes 3 and 4");
        assert_eq!(problem(Op::MatMul, &["3", "3 2"]), "needs two axes on both sides");
        let linear = Op::Linear(WeightLayout::OutIn);
        assert_eq!(made(linear.clone(), &["batch seq 4", "6 4", "6"]).unwrap(), "[batch, seq, 6]");
        assert_eq!(problem(linear.clone(), &["seq 4", "4 6"]), "applies a weight for 6 features to [seq, 4]");
        assert_eq!(problem(linear.clone(), &["seq 4", "6 4", "4"]), "has a bias of shape [4] for 6 outputs");
        assert_eq!(problem(linear, &["seq 4", "6 4", "6", "6"]), "takes 2..=3 inputs, not 4");
        assert_eq!(made(Op::Linear(WeightLayout::InOut), &["4", "4 6"]).unwrap(), "[6]");
        assert_eq!(problem(Op::Gemm { transpose_b: true }, &["2 3 4", "6 4"]), "needs a matrix");
    }

    #[test]
    fn movements() {
        let reshape = |text: &str| Op::Reshape(shape(text));
        assert_eq!(problem(reshape("batch 5"), &["batch 4"]), "cannot reshape [batch, 4] to [batch, 5]");
        assert_eq!(problem(reshape("batch"), &["seq"]), "cannot reshape [seq] to [batch]");
        assert_eq!(
            problem(Op::Transpose(vec![0, 0]), &["2 3"]),
            "has the order [0, 0], which is no permutation of the axes"
        );
        assert_eq!(problem(Op::Expand(shape("2 3")), &["2 4"]), "cannot broadcast [2, 4] with [2, 3]: 4 is not 3");
        assert_eq!(problem(Op::Expand(shape("3")), &["2 3"]), "cannot expand [2, 3] to [3]");
        let slice = |start, end| Op::Slice { axis: 0, start, end };
        assert_eq!(problem(slice(1, 4), &["3"]), "cannot take 1..4 of an axis of size 3");
        assert_eq!(problem(slice(1, 1), &["seq"]), "cannot take 1..1 of an axis of size seq");
        assert_eq!(problem(Op::Pad { axis: 0, before: 1, after: 0 }, &["seq"]), "pads only axes of known size");
    }

    #[test]
    fn concatenations() {
        let join = |axis| Op::Concat { axis };
        assert_eq!(made(join(1), &["batch 2", "batch 3", "batch 1"]).unwrap(), "[batch, 6]");
        assert_eq!(made(join(0), &["seq 2", "seq 2"]).unwrap(), "[2*seq, 2]");
        assert_eq!(problem(join(0), &["seq 2", "3 2"]), "joins parts of unrelated symbolic sizes");
        assert_eq!(problem(join(0), &["2 2", "2 3"]), "joins [2, 2] and [2, 3] on axis 0");
    }

    #[test]
    fn reductions() {
        let sum = |axes: &[usize], keep| Op::Reduce { kind: Reduction::Sum, axes: axes.to_vec(), keep };
        assert_eq!(made(sum(&[0, 2], false), &["batch seq 4"]).unwrap(), "[seq]");
        assert_eq!(made(sum(&[1], true), &["batch seq 4"]).unwrap(), "[batch, 1, 4]");
        assert_eq!(problem(sum(&[3], true), &["batch seq 4"]), "has no axis 3 in [batch, seq, 4]");
        assert_eq!(problem(sum(&[], true), &["4"]), "reduces no axis");
        assert_eq!(problem(sum(&[0, 0], true), &["4"]), "reduces axis 0 twice");
    }

    #[test]
    fn norms_need_parameters_of_the_last_axis() {
        let norm = Op::RmsNorm { eps: Real::new(1e-6) };
        assert_eq!(problem(norm.clone(), &["2 4", "3"]), "normalises 4 elements with a parameter of shape [3]");
        assert_eq!(problem(norm, &["2 4"]), "takes 2..=2 inputs, not 1");
    }

    #[test]
    fn types_are_not_mixed() {
        let mut graph = Graph::new();
        let a = graph.input("a", Dtype::F32, vec![]).unwrap();
        let b = graph.constant(Tensor::i64(1)).unwrap();
        assert!(graph.plus(a, b).unwrap_err().problem.starts_with("mixes f32 and i64"));
        assert!(graph.choose(a, a, a).unwrap_err().problem.starts_with("needs a boolean condition"));
    }
}
