//! A forward graph as it is before it is written out in primitives: norms, activations and rotations by their
//! definitions.

use std::sync::Arc;

use super::array::{Computed, Value};
use super::program::{Operator, Program, known};
use super::stored::{Stored, WeightFile};
use crate::onnx::op::{Attribute, Opaque, WeightLayout};
use crate::onnx::proto::NodeProto;
use crate::onnx::write::{WeightLocation, opaque_attribute};
use crate::onnx::{Dim, Graph, Id, Op, Tensor};

/// What the symbols of a graph stand for.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub batch: usize,
    pub seq: usize,
}

impl Sizes {
    fn of(self, dim: &Dim) -> Computed<i64> {
        let symbols = dim.symbols().iter().map(|symbol| match &**symbol {
            crate::onnx::dim::BATCH => Ok(self.batch as u64),
            crate::onnx::dim::SEQ => Ok(self.seq as u64),
            other => Err(format!("has the unknown size '{other}'")),
        });
        let sizes = symbols.collect::<Computed<Vec<_>>>()?;
        let product = sizes.iter().try_fold(dim.factor(), |n, &size| n.checked_mul(size));
        product.and_then(|n| i64::try_from(n).ok()).ok_or_else(|| format!("has the absurd size {dim}"))
    }
}

/// The program of `root`, as its output `name`.
pub fn program(
    graph: &Graph,
    root: Id,
    name: &str,
    sizes: Sizes,
    weights: &Arc<WeightFile>,
    locations: &[WeightLocation],
) -> Computed<Program> {
    let mut program = Program::default();
    let mut made = vec![0; graph.len()];
    for id in graph.ancestors(&[root]) {
        let value = graph.value(id);
        let mut lower = Lower { program: &mut program, sizes, scope: &value.scope };
        let inputs: Vec<usize> = value.inputs.iter().map(|input| made[input.index()]).collect();
        let in_scope = |problem: String| format!("{} in '{}' {problem}", value.op.name(), value.scope);
        made[id.index()] = lower.step(&value.op, inputs, weights, locations).map_err(in_scope)?;
    }
    program.outputs.insert(name.to_owned(), made[root.index()]);
    Ok(program)
}

struct Lower<'a> {
    program: &'a mut Program,
    sizes: Sizes,
    scope: &'a str,
}

impl Lower<'_> {
    fn numbers(&mut self, numbers: &[i64]) -> Computed<usize> {
        let operator = known(&Tensor::i64s(numbers))?;
        Ok(self.program.push(operator, Vec::new(), self.scope))
    }

    fn shape(&mut self, shape: &[Dim]) -> Computed<usize> {
        let sizes = shape.iter().map(|dim| self.sizes.of(dim)).collect::<Computed<Vec<_>>>()?;
        self.numbers(&sizes)
    }

    fn step(
        &mut self,
        op: &Op,
        mut inputs: Vec<usize>,
        weights: &Arc<WeightFile>,
        locations: &[WeightLocation],
    ) -> Computed<usize> {
        let operator = match op {
            Op::Input { name, .. } => Operator::Input(name.clone()),
            Op::Constant(tensor) => known(tensor)?,
            Op::Weight(weight) => {
                let place = locations.get(weight.index).ok_or("names a weight that is not there")?;
                let offset = place.offset + (weight.start * place.dtype.size()) as u64;
                let stored = Stored::new(weights, offset, place.dtype, weight.dims.clone())?;
                Operator::Known(Arc::new(Value::Stored(stored)))
            }
            Op::Unary(kind) => Operator::Unary(*kind),
            Op::Binary(kind) => Operator::Binary(*kind),
            Op::Logic(kind) => Operator::Logic(*kind),
            Op::Not => Operator::Not,
            Op::Where => Operator::Where,
            Op::Cast(dtype) => Operator::Cast(*dtype),
            Op::MatMul => Operator::MatMul,
            Op::Softmax { axis } => Operator::Softmax { axis: *axis as i64 },
            Op::Reduce { kind, axes, keep } => {
                let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
                inputs.push(self.numbers(&axes)?);
                Operator::Reduce { kind: *kind, keep: *keep }
            }
            Op::Reshape(shape) => {
                inputs.push(self.shape(shape)?);
                Operator::Reshape
            }
            Op::Transpose(order) => Operator::Transpose(order.clone()),
            Op::Expand(shape) => {
                inputs.push(self.shape(shape)?);
                Operator::Expand
            }
            Op::Concat { axis } => Operator::Concat { axis: *axis as i64 },
            Op::Slice { axis, start, end } => {
                for number in [*start, *end, *axis] {
                    inputs.push(self.numbers(&[number as i64])?);
                }
                Operator::Slice
            }
            Op::Pad { .. } => return Err("stands in no forward pass".to_owned()),
            Op::Gather { axis } => Operator::Gather { axis: *axis as i64 },
            Op::DimSize(dim) => known(&Tensor::i64s(&[self.sizes.of(dim)?]))?,
            Op::Arange(dim) => known(&Tensor::i64s(&(0..self.sizes.of(dim)?).collect::<Vec<_>>()))?,
            Op::Gemm { transpose_b } => Operator::Gemm { transpose_b: *transpose_b },
            Op::Linear(layout) => Operator::Linear { out_in: *layout == WeightLayout::OutIn },
            Op::RmsNorm { eps } => Operator::RmsNorm { eps: single(eps.get()) },
            Op::LayerNorm { eps } => Operator::LayerNorm { eps: single(eps.get()) },
            Op::Activation(kind) => Operator::Activation(*kind),
            Op::SoftCap { cap } => Operator::SoftCap { cap: single(cap.get()) },
            Op::Rotary => Operator::Rotary,
            Op::Opaque(opaque) => carried(opaque),
        };
        Ok(self.program.push(operator, inputs, self.scope))
    }
}

/// A number of a model as f32 has it.
fn single(number: f64) -> f64 {
    f64::from(number as f32)
}

/// An operator that is carried through, as a node of its own.
fn carried(opaque: &Opaque) -> Operator {
    let axis = opaque.attributes.iter().find_map(|(name, value)| match value {
        Attribute::Int(axis) if name == "axis" => Some(*axis),
        _ => None,
    });
    if opaque.op_type == "GatherElements" {
        return Operator::GatherElements { axis: axis.unwrap_or(0) };
    }
    if opaque.op_type == "IsNaN" {
        return Operator::IsNan;
    }
    Operator::Other(Box::new(NodeProto {
        op_type: Some(opaque.op_type.clone()),
        attribute: opaque.attributes.iter().map(opaque_attribute).collect(),
        ..NodeProto::default()
    }))
}
