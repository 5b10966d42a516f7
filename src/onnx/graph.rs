//! A typed graph: append-only, one output an operator, shapes symbolic and always known.

use std::collections::HashMap;
use std::sync::Arc;

use super::dim::{Dim, Shape, show};
use super::infer::infer;
use super::op::{Activation, Binary, Logic, Op, Reduction, Unary, WeightLayout};
use super::tensor::{Dtype, Tensor};

/// A value of a graph. Later values have larger numbers, and inputs come before what uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u32);

impl Id {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug)]
pub struct Value {
    pub op: Op,
    pub inputs: Vec<Id>,
    pub dtype: Dtype,
    pub shape: Shape,
    /// Where in the model it stands, such as `layers.3.attention`.
    pub scope: Arc<str>,
}

/// Axes, and symbols in the size of one, beyond which no model goes. Sizes are computed with, and a hostile file may make
/// them grow with every node.
const MAX_RANK: usize = 64;
const MAX_DEGREE: usize = 16;

/// The shape, if it is one that can be: its number of elements, symbols aside, fits an i64.
fn followed((dtype, shape): (Dtype, Shape)) -> Result<(Dtype, Shape), String> {
    if shape.len() > MAX_RANK {
        return Err(format!("makes a tensor with {} axes", shape.len()));
    }
    let elements = shape.iter().try_fold(1u64, |n, dim| n.checked_mul(dim.factor().max(1)));
    if elements.is_none_or(|n| n > i64::MAX as u64) || shape.iter().any(|dim| dim.symbols().len() > MAX_DEGREE) {
        return Err(format!("makes a tensor of the absurd shape {}", show(&shape)));
    }
    Ok((dtype, shape))
}

#[derive(Debug, thiserror::Error)]
#[error("{op} in '{scope}' {problem}")]
pub struct GraphError {
    pub op: String,
    pub scope: String,
    pub problem: String,
}

/// A graph under construction. Adding the same operator on the same inputs twice gives the same value.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    values: Vec<Value>,
    known: HashMap<(Op, Vec<Id>), Id>,
    scope: Option<Arc<str>>,
}

impl Graph {
    pub fn new() -> Self {
        Graph::default()
    }

    /// Where the values added from now on stand.
    pub fn set_scope(&mut self, scope: &str) {
        self.scope = Some(Arc::from(scope));
    }

    pub fn value(&self, id: Id) -> &Value {
        &self.values[id.index()]
    }

    pub fn shape(&self, id: Id) -> &[Dim] {
        &self.values[id.index()].shape
    }

    pub fn dtype(&self, id: Id) -> Dtype {
        self.values[id.index()].dtype
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn ids(&self) -> impl DoubleEndedIterator<Item = Id> + use<> {
        (0..self.values.len() as u32).map(Id)
    }

    /// The value of a constant with one floating-point element.
    pub fn as_scalar(&self, id: Id) -> Option<f64> {
        match &self.value(id).op {
            Op::Constant(tensor) => tensor.as_scalar(),
            _ => None,
        }
    }

    /// Adds an operator, unless the same one on the same inputs is there or it changes nothing.
    pub fn add(&mut self, op: Op, inputs: &[Id]) -> Result<Id, GraphError> {
        let key = (op, inputs.to_vec());
        if let Some(&id) = self.known.get(&key) {
            return Ok(id);
        }
        let scope = self.scope.clone().unwrap_or_else(|| Arc::from(""));
        let operands: Vec<&Value> = inputs.iter().map(|&id| self.value(id)).collect();
        let (dtype, shape) = infer(&key.0, &operands).and_then(followed).map_err(|problem| GraphError {
            op: key.0.name(),
            scope: scope.to_string(),
            problem: format!(
                "{problem} (inputs {})",
                operands.iter().map(|v| format!("{}{}", v.dtype.name(), show(&v.shape))).collect::<Vec<_>>().join(", ")
            ),
        })?;
        // Only what is right is simplified: the identity of two axes is no transposition of three.
        if let Some(same) = self.simplified(&key.0, inputs)? {
            return Ok(same);
        }
        let id = Id(self.values.len() as u32);
        self.values.push(Value { op: key.0.clone(), inputs: key.1.clone(), dtype, shape, scope });
        self.known.insert(key, id);
        Ok(id)
    }

    /// What an operator that moves data only comes to, where that is something simpler.
    fn simplified(&mut self, op: &Op, inputs: &[Id]) -> Result<Option<Id>, GraphError> {
        let &[x] = inputs else { return Ok(None) };
        Ok(match op {
            Op::Transpose(order) => {
                if order.iter().enumerate().all(|(i, &axis)| i == axis) {
                    return Ok(Some(x));
                }
                if let Op::Transpose(inner) = &self.value(x).op {
                    let composed: Option<Vec<usize>> = order.iter().map(|&axis| inner.get(axis).copied()).collect();
                    let source = self.value(x).inputs[0];
                    match composed {
                        Some(composed) => Some(self.add(Op::Transpose(composed), &[source])?),
                        None => None,
                    }
                } else {
                    None
                }
            }
            Op::Reshape(shape) | Op::Expand(shape) if shape[..] == *self.shape(x) => Some(x),
            Op::Reshape(shape) => match &self.value(x).op {
                Op::Reshape(_) => {
                    let source = self.value(x).inputs[0];
                    Some(self.add(Op::Reshape(shape.clone()), &[source])?)
                }
                _ => None,
            },
            Op::Cast(dtype) if *dtype == self.dtype(x) => Some(x),
            Op::Slice { axis, start: 0, end } if self.shape(x).get(*axis).and_then(Dim::value) == Some(*end) => Some(x),
            Op::Concat { .. } => Some(x),
            _ => None,
        })
    }

    pub fn input(&mut self, name: &str, dtype: Dtype, shape: Shape) -> Result<Id, GraphError> {
        self.add(Op::Input { name: name.to_owned(), dtype, shape }, &[])
    }

    pub fn constant(&mut self, tensor: Tensor) -> Result<Id, GraphError> {
        self.add(Op::Constant(tensor), &[])
    }

    /// A floating-point scalar of the type of `like`.
    pub fn scalar(&mut self, value: f64, like: Id) -> Result<Id, GraphError> {
        self.constant(Tensor::float(value, self.dtype(like)))
    }

    /// A scalar with as many axes as another value, all of size 1. Where a scalar meets a last axis of size 1, ONNX Runtime goes
    /// through the elements one by one (14 ns each instead of 1).
    pub fn with_axes_of(&mut self, scalar: Id, other: Id) -> Result<Id, GraphError> {
        let rank = self.shape(other).len();
        match &self.value(scalar).op {
            Op::Constant(tensor) => {
                let tensor = Tensor { dims: vec![1; rank], ..tensor.clone() };
                self.constant(tensor)
            }
            _ => self.reshape(scalar, vec![Dim::known(1); rank]),
        }
    }

    pub fn unary(&mut self, kind: Unary, x: Id) -> Result<Id, GraphError> {
        self.add(Op::Unary(kind), &[x])
    }

    pub fn binary(&mut self, kind: Binary, a: Id, b: Id) -> Result<Id, GraphError> {
        self.add(Op::Binary(kind), &[a, b])
    }

    /// The sum `a + b`.
    pub fn plus(&mut self, a: Id, b: Id) -> Result<Id, GraphError> {
        self.binary(Binary::Add, a, b)
    }

    /// The difference `a - b`.
    pub fn minus(&mut self, a: Id, b: Id) -> Result<Id, GraphError> {
        self.binary(Binary::Sub, a, b)
    }

    /// The element-wise product `a * b`.
    pub fn times(&mut self, a: Id, b: Id) -> Result<Id, GraphError> {
        self.binary(Binary::Mul, a, b)
    }

    /// The product with a number.
    pub fn scaled(&mut self, x: Id, factor: f64) -> Result<Id, GraphError> {
        if factor == 1.0 {
            return Ok(x);
        }
        let factor = self.scalar(factor, x)?;
        self.times(x, factor)
    }

    pub fn divided(&mut self, a: Id, b: Id) -> Result<Id, GraphError> {
        self.binary(Binary::Div, a, b)
    }

    pub fn logic(&mut self, kind: Logic, a: Id, b: Id) -> Result<Id, GraphError> {
        self.add(Op::Logic(kind), &[a, b])
    }

    pub fn choose(&mut self, condition: Id, a: Id, b: Id) -> Result<Id, GraphError> {
        self.add(Op::Where, &[condition, a, b])
    }

    pub fn cast(&mut self, x: Id, dtype: Dtype) -> Result<Id, GraphError> {
        self.add(Op::Cast(dtype), &[x])
    }

    pub fn matmul(&mut self, a: Id, b: Id) -> Result<Id, GraphError> {
        self.add(Op::MatMul, &[a, b])
    }

    pub fn linear(&mut self, x: Id, weight: Id, bias: Option<Id>, layout: WeightLayout) -> Result<Id, GraphError> {
        let inputs: Vec<Id> = [x, weight].into_iter().chain(bias).collect();
        self.add(Op::Linear(layout), &inputs)
    }

    pub fn activation(&mut self, kind: Activation, x: Id) -> Result<Id, GraphError> {
        self.add(Op::Activation(kind), &[x])
    }

    /// Over one axis, which stays with size 1 if `keep`.
    pub fn reduce(&mut self, kind: Reduction, x: Id, axes: &[usize], keep: bool) -> Result<Id, GraphError> {
        self.add(Op::Reduce { kind, axes: axes.to_vec(), keep }, &[x])
    }

    /// Mean over the last axis, which stays with size 1.
    pub fn mean_last(&mut self, x: Id) -> Result<Id, GraphError> {
        let last = self.shape(x).len().saturating_sub(1);
        self.reduce(Reduction::Mean, x, &[last], true)
    }

    pub fn reshape(&mut self, x: Id, shape: Shape) -> Result<Id, GraphError> {
        self.add(Op::Reshape(shape), &[x])
    }

    pub fn transpose(&mut self, x: Id, order: &[usize]) -> Result<Id, GraphError> {
        self.add(Op::Transpose(order.to_vec()), &[x])
    }

    /// Swaps the last two axes.
    pub fn transpose_last(&mut self, x: Id) -> Result<Id, GraphError> {
        let rank = self.shape(x).len();
        let mut order: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            order.swap(rank - 1, rank - 2);
        }
        self.transpose(x, &order)
    }

    /// Inserts an axis of size 1.
    pub fn unsqueeze(&mut self, x: Id, axis: usize) -> Result<Id, GraphError> {
        let mut shape = self.shape(x).to_vec();
        shape.insert(axis.min(shape.len()), Dim::known(1));
        self.reshape(x, shape)
    }

    pub fn slice(&mut self, x: Id, axis: usize, start: usize, end: usize) -> Result<Id, GraphError> {
        self.add(Op::Slice { axis, start, end }, &[x])
    }

    pub fn concat(&mut self, parts: &[Id], axis: usize) -> Result<Id, GraphError> {
        self.add(Op::Concat { axis }, parts)
    }

    /// The values that `outputs` are made from, in order, themselves included.
    pub fn ancestors(&self, outputs: &[Id]) -> Vec<Id> {
        let mut needed = vec![false; self.values.len()];
        for output in outputs {
            needed[output.index()] = true;
        }
        for id in self.ids().rev() {
            if needed[id.index()] {
                for input in &self.value(id).inputs {
                    needed[input.index()] = true;
                }
            }
        }
        self.ids().filter(|id| needed[id.index()]).collect()
    }

    /// For each value, whether it is made from `source`.
    pub fn descendants(&self, source: Id) -> Vec<bool> {
        let mut reached = vec![false; self.values.len()];
        reached[source.index()] = true;
        for id in self.ids() {
            if self.value(id).inputs.iter().any(|input| reached[input.index()]) {
                reached[id.index()] = true;
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph_with(shape: &[usize]) -> (Graph, Id) {
        let mut graph = Graph::new();
        let x = graph.input("x", Dtype::F32, shape.iter().map(|&size| size.into()).collect()).unwrap();
        (graph, x)
    }

    #[test]
    fn equal_operators_on_equal_inputs_are_one_value() {
        let (mut graph, x) = graph_with(&[2, 3]);
        let a = graph.unary(Unary::Exp, x).unwrap();
        graph.set_scope("elsewhere");
        assert_eq!(graph.unary(Unary::Exp, x).unwrap(), a);
        assert_eq!(graph.scaled(x, 2.0).unwrap(), graph.scaled(x, 2.0).unwrap());
        assert_ne!(graph.scaled(x, 2.0).unwrap(), graph.scaled(x, -2.0).unwrap());
        assert_ne!(graph.scaled(x, 0.0).unwrap(), graph.scaled(x, -0.0).unwrap());
        assert_ne!(graph.minus(a, x).unwrap(), graph.minus(x, a).unwrap());
    }

    #[test]
    fn movements_that_cancel_leave_nothing() {
        let (mut graph, x) = graph_with(&[2, 3, 4]);
        let turned = graph.transpose(x, &[2, 0, 1]).unwrap();
        assert_eq!(graph.transpose(turned, &[1, 2, 0]).unwrap(), x);
        assert_eq!(graph.transpose(x, &[0, 1, 2]).unwrap(), x);
        let again = graph.transpose(turned, &[1, 0, 2]).unwrap();
        assert_eq!(graph.value(again).op, Op::Transpose(vec![0, 2, 1]));
        assert_eq!(graph.value(again).inputs, [x]);

        let flat = graph.reshape(x, vec![24.into()]).unwrap();
        assert_eq!(graph.reshape(flat, vec![2.into(), 3.into(), 4.into()]).unwrap(), x);
        let other = graph.reshape(flat, vec![6.into(), 4.into()]).unwrap();
        assert_eq!(graph.value(other).inputs, [x]);

        assert_eq!(graph.cast(x, Dtype::F32).unwrap(), x);
        let narrow = graph.cast(x, Dtype::F16).unwrap();
        assert_ne!(graph.cast(narrow, Dtype::F32).unwrap(), x, "the rounding must stay");
        assert_eq!(graph.slice(x, 2, 0, 4).unwrap(), x);
        assert_eq!(graph.concat(&[x], 1).unwrap(), x);
        assert_eq!(graph.add(Op::Expand(vec![2.into(), 3.into(), 4.into()]), &[x]).unwrap(), x);
    }

    #[test]
    fn what_would_change_nothing_is_checked_all_the_same() {
        let (mut graph, x) = graph_with(&[2, 3, 4]);
        assert!(graph.transpose(x, &[0, 1]).is_err());
        assert!(graph.concat(&[x], 3).is_err());
        let turned = graph.transpose(x, &[2, 1, 0]).unwrap();
        assert!(graph.transpose(turned, &[0, 0, 1]).is_err());
    }

    #[test]
    fn errors_name_operator_scope_and_inputs() {
        let (mut graph, x) = graph_with(&[2, 3]);
        graph.set_scope("layers.3.attention");
        let error = graph.matmul(x, x).unwrap_err().to_string();
        assert_eq!(error, "MatMul in 'layers.3.attention' has inner sizes 3 and 2 (inputs f32[2, 3], f32[2, 3])");
    }

    #[test]
    fn ancestors_and_descendants_of_values() {
        let (mut graph, x) = graph_with(&[2]);
        let other = graph.input("other", Dtype::F32, vec![2.into()]).unwrap();
        let a = graph.unary(Unary::Exp, x).unwrap();
        let b = graph.plus(a, other).unwrap();
        let c = graph.unary(Unary::Neg, other).unwrap();
        assert_eq!(graph.ancestors(&[b]), [x, other, a, b]);
        let below = graph.descendants(x);
        assert_eq!([x, other, a, b, c].map(|id| below[id.index()]), [true, false, true, true, false]);
    }
}
