//! A graph whose numbers are of another type than f32, between ports that stay f32: whoever runs it feeds and reads it as before.

use super::graph::{Graph, GraphError, Id, Value};
use super::op::{Op, WeightRef};
use super::tensor::{Dtype, Tensor};

/// The same graph computed in f64. Weights are read in the type that they are stored in; a `Cast` stands behind them.
/// Constants are widened, not computed anew, so those that f32 rounded stay rounded.
///
/// Gives the copy, with inputs and outputs as they are numbered there.
///
/// # Errors
/// Those of building a graph, which are faults of this program.
pub fn in_double(graph: &Graph, inputs: &[Id], outputs: &[Id]) -> Result<(Graph, Vec<Id>, Vec<Id>), GraphError> {
    retyped(graph, inputs, outputs, |out, value, operands| match &value.op {
        Op::Input { dtype: Dtype::F32, .. } => {
            let input = out.add(value.op.clone(), operands)?;
            out.add(Op::Cast(Dtype::F64), &[input])
        }
        Op::Constant(tensor) if tensor.dtype == Dtype::F32 => out.constant(widened(tensor)),
        Op::Weight(weight) if weight.dtype == Dtype::F32 => {
            out.add(Op::Weight(WeightRef { dtype: Dtype::F64, ..weight.clone() }), &[])
        }
        Op::Cast(Dtype::F32) => out.add(Op::Cast(Dtype::F64), operands),
        // Of an operator that is only carried through nothing is known but its type.
        Op::Opaque(_) => {
            let operands = cast_all(out, operands, Dtype::F64, Dtype::F32)?;
            let made = out.add(value.op.clone(), &operands)?;
            cast(out, made, Dtype::F32, Dtype::F64)
        }
        op => out.add(op.clone(), operands),
    })
}

/// The same graph with its matrix products in f16, weights included; all else, sums, norms and softmaxes among it, stays f32.
///
/// # Errors
/// As [`in_double`].
pub fn products_in_half(graph: &Graph, inputs: &[Id], outputs: &[Id]) -> Result<(Graph, Vec<Id>, Vec<Id>), GraphError> {
    retyped(graph, inputs, outputs, |out, value, operands| match &value.op {
        op @ (Op::Linear(_) | Op::MatMul | Op::Gemm { .. }) if value.dtype == Dtype::F32 => {
            let operands = operands.iter().map(|&operand| halved(out, operand));
            let operands = operands.collect::<Result<Vec<Id>, _>>()?;
            let product = out.add(op.clone(), &operands)?;
            out.add(Op::Cast(Dtype::F32), &[product])
        }
        op => out.add(op.clone(), operands),
    })
}

/// A copy, value by value, whose outputs are f32 wherever those of the original are.
fn retyped(
    graph: &Graph,
    inputs: &[Id],
    outputs: &[Id],
    mut copy: impl FnMut(&mut Graph, &Value, &[Id]) -> Result<Id, GraphError>,
) -> Result<(Graph, Vec<Id>, Vec<Id>), GraphError> {
    let mut out = Graph::new();
    let mut renamed: Vec<Option<Id>> = vec![None; graph.len()];
    for id in graph.ancestors(&[inputs, outputs].concat()) {
        let value = graph.value(id);
        let operands: Vec<Id> = value.inputs.iter().filter_map(|input| renamed[input.index()]).collect();
        out.set_scope(&value.scope);
        renamed[id.index()] = Some(copy(&mut out, value, &operands)?);
    }
    // The port itself, and not what was made of it: adding it again gives the one that is there.
    let ports = inputs.iter().map(|&id| out.add(graph.value(id).op.clone(), &[]));
    let ports = ports.collect::<Result<Vec<Id>, _>>()?;
    let mut made = Vec::with_capacity(outputs.len());
    for (&id, copy) in outputs.iter().zip(outputs.iter().filter_map(|id| renamed[id.index()])) {
        made.push(match graph.dtype(id) == Dtype::F32 {
            true => out.add(Op::Cast(Dtype::F32), &[copy])?,
            false => copy,
        });
    }
    Ok((out, ports, made))
}

/// A value of type `from` in type `to`; one of another type as it is.
fn cast(out: &mut Graph, id: Id, from: Dtype, to: Dtype) -> Result<Id, GraphError> {
    if out.dtype(id) == from { out.add(Op::Cast(to), &[id]) } else { Ok(id) }
}

fn cast_all(out: &mut Graph, ids: &[Id], from: Dtype, to: Dtype) -> Result<Vec<Id>, GraphError> {
    ids.iter().map(|&id| cast(out, id, from, to)).collect()
}

/// An operand of a product in f16: a weight is one of that type, so that what is stored so is not widened on the way.
fn halved(out: &mut Graph, id: Id) -> Result<Id, GraphError> {
    match out.value(id).op.clone() {
        Op::Weight(weight) if weight.dtype == Dtype::F32 => {
            out.add(Op::Weight(WeightRef { dtype: Dtype::F16, ..weight }), &[])
        }
        _ => cast(out, id, Dtype::F32, Dtype::F16),
    }
}

fn widened(tensor: &Tensor) -> Tensor {
    let wide = tensor.bytes.as_chunks::<4>().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes)));
    Tensor { dims: tensor.dims.clone(), ..Tensor::floats(&wide.collect::<Vec<f64>>(), Dtype::F64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Dim;
    use crate::onnx::op::{Unary, WeightLayout};

    /// `exp(x W)` of f32.
    fn graph() -> (Graph, Id, Id) {
        let mut graph = Graph::new();
        let x = graph.input("x", Dtype::F32, vec![Dim::symbol("batch"), Dim::known(2)]).unwrap();
        let weight = WeightRef { index: 0, start: 0, dims: vec![3, 2], dtype: Dtype::F32 };
        let weight = graph.add(Op::Weight(weight), &[]).unwrap();
        let product = graph.add(Op::Linear(WeightLayout::OutIn), &[x, weight]).unwrap();
        let exp = graph.unary(Unary::Exp, product).unwrap();
        (graph, x, exp)
    }

    fn types(graph: &Graph, of: impl Fn(&Op) -> bool) -> Vec<Dtype> {
        graph.ids().filter(|&id| of(&graph.value(id).op)).map(|id| graph.dtype(id)).collect()
    }

    #[test]
    fn ports_keep_their_type_whatever_is_computed_between_them() {
        let (graph, x, exp) = graph();
        for make in [in_double, products_in_half] {
            let (made, inputs, outputs) = make(&graph, &[x], &[exp]).unwrap();
            assert_eq!(made.dtype(inputs[0]), Dtype::F32);
            assert!(matches!(&made.value(inputs[0]).op, Op::Input { name, .. } if name == "x"));
            assert_eq!(made.dtype(outputs[0]), Dtype::F32);
            assert_eq!(made.shape(outputs[0]), graph.shape(exp));
        }
    }

    #[test]
    fn all_is_double_or_products_alone_are_half() {
        let (graph, x, exp) = graph();
        let is_product = |op: &Op| matches!(op, Op::Linear(_) | Op::Weight(_));
        let is_exp = |op: &Op| matches!(op, Op::Unary(Unary::Exp));
        let (double, ..) = in_double(&graph, &[x], &[exp]).unwrap();
        assert_eq!(types(&double, is_product), [Dtype::F64, Dtype::F64]);
        assert_eq!(types(&double, is_exp), [Dtype::F64]);
        let (half, ..) = products_in_half(&graph, &[x], &[exp]).unwrap();
        // The weight stands there in f32, too, and nothing uses it.
        let used = types(&half, |op| matches!(op, Op::Linear(_)));
        assert_eq!(used, [Dtype::F16]);
        assert_eq!(types(&half, is_exp), [Dtype::F32]);
    }
}
