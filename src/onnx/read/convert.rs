//! From nodes to values of the typed graph.

use std::rc::Rc;

use super::array::{Array, Scalar};
use super::attributes::Attributes;
use super::size::Size;
use super::weights::FileWeights;
use crate::onnx::dim::show;
use crate::onnx::infer::broadcast;
use crate::onnx::op::{Attribute, Binary, Opaque, WeightRef};
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id, Op, Shape, Tensor};

/// What is wrong with a node; who calls says which node it is.
#[derive(Debug)]
pub struct Problem(pub String);

impl From<GraphError> for Problem {
    fn from(error: GraphError) -> Self {
        Problem(format!("{}: {}", error.op, error.problem))
    }
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Problem(problem)
    }
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Problem(problem.to_owned())
    }
}

pub type Outcome<T> = Result<T, Problem>;

/// A value of the file.
#[derive(Clone, Debug)]
pub enum Val {
    /// It is computed when the model runs.
    Node(Id),
    /// Its elements are known, as numbers or in terms of the input's sizes.
    Known(Rc<Array>),
    /// It has no elements: a cache that starts empty, the rest of a slice that takes everything.
    Empty(Dtype, Shape),
}

impl From<Id> for Val {
    fn from(id: Id) -> Self {
        Val::Node(id)
    }
}

impl From<Array> for Val {
    fn from(array: Array) -> Self {
        Val::Known(Rc::new(array))
    }
}

impl Val {
    pub fn known(&self) -> Option<&Array> {
        if let Val::Known(array) = self { Some(array) } else { None }
    }
}

/// A node whose inputs have been converted.
pub struct Call {
    /// A name that no other node has: that of the first output.
    pub name: String,
    pub op: String,
    /// "" for standard operators.
    pub domain: String,
    /// `None` for optional inputs that were left out.
    pub inputs: Vec<Option<Val>>,
    pub attributes: Attributes,
    /// For each output, whether something uses it.
    pub used: Vec<bool>,
}

impl Call {
    /// An input that must be there.
    pub fn input(&self, i: usize) -> Outcome<&Val> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(|| format!("lacks its input {i}").into())
    }

    pub fn optional(&self, i: usize) -> Option<&Val> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// An input of whole numbers that must be known before the model runs.
    pub fn sizes(&self, i: usize, what: &str) -> Outcome<Vec<Size>> {
        self.input(i)?.known().and_then(Array::as_sizes).ok_or_else(|| {
            format!("takes {what} from its input {i}, which is computed from data: shapes must be known").into()
        })
    }

    /// An optional input of plain whole numbers.
    pub fn ints(&self, i: usize, what: &str) -> Outcome<Option<Vec<i64>>> {
        match self.optional(i) {
            None => Ok(None),
            Some(value) => match value.known().and_then(Array::as_ints) {
                Some(ints) => Ok(Some(ints)),
                None => Err(format!("takes {what} from its input {i}, which is no constant").into()),
            },
        }
    }

    /// An optional scalar input that must be a constant.
    pub fn scalar(&self, i: usize, what: &str) -> Outcome<Option<f64>> {
        match self.optional(i) {
            None => Ok(None),
            Some(value) => match value.known().and_then(Array::only).and_then(Scalar::as_real) {
                Some(number) => Ok(Some(number)),
                None => Err(format!("takes {what} from its input {i}, which is no constant").into()),
            },
        }
    }

    /// Fails if an output that is not made is used.
    pub fn only_first_output(&self) -> Outcome<()> {
        match self.used.iter().skip(1).position(|&used| used) {
            None => Ok(()),
            Some(i) => Err(format!("is used for its output {}, which is not supported", i + 1).into()),
        }
    }
}

/// The graph under construction, and the weights it refers to.
pub struct Converter {
    pub graph: Graph,
    pub weights: FileWeights,
}

impl Converter {
    /// The value as one of the graph.
    pub fn id(&mut self, value: &Val) -> Outcome<Id> {
        match value {
            Val::Node(id) => Ok(*id),
            Val::Empty(_, shape) => Err(format!("works on an empty tensor {}", show(shape)).into()),
            Val::Known(array) => self.materialize(array),
        }
    }

    fn materialize(&mut self, array: &Array) -> Outcome<Id> {
        if let Some(tensor) = array.to_tensor() {
            return Ok(self.graph.constant(tensor)?);
        }
        let mut parts = Vec::with_capacity(array.data.len());
        for x in &array.data {
            let Some(size) = x.as_size() else { return Err("mixes sizes and other numbers".into()) };
            parts.push(self.size(&size)?);
        }
        let vector = self.graph.concat(&parts, 0)?;
        let vector = self.graph.cast(vector, array.dtype)?;
        Ok(self.graph.reshape(vector, array.dims.iter().map(|&d| Dim::known(d)).collect())?)
    }

    /// A size as i64 `[1]`.
    fn size(&mut self, size: &Size) -> Outcome<Id> {
        if let Some(value) = size.value() {
            return Ok(self.graph.constant(Tensor::i64s(&[value]))?);
        }
        let mut sum = None;
        for (factor, monomial) in size.terms() {
            let factor_id = self.graph.constant(Tensor::i64s(&[factor]))?;
            let term = if monomial.is_one() {
                factor_id
            } else {
                let term = self.graph.add(Op::DimSize(monomial), &[])?;
                if factor == 1 { term } else { self.graph.times(term, factor_id)? }
            };
            sum = Some(match sum {
                None => term,
                Some(sum) => self.graph.plus(sum, term)?,
            });
        }
        sum.ok_or_else(|| "has a size without terms".into())
    }

    pub fn shape(&self, value: &Val) -> Shape {
        match value {
            Val::Node(id) => self.graph.shape(*id).to_vec(),
            Val::Known(array) => array.dims.iter().map(|&d| Dim::known(d)).collect(),
            Val::Empty(_, shape) => shape.clone(),
        }
    }

    pub fn dtype(&self, value: &Val) -> Dtype {
        match value {
            Val::Node(id) => self.graph.dtype(*id),
            Val::Known(array) => array.dtype,
            Val::Empty(dtype, _) => *dtype,
        }
    }

    /// A tensor as a constant of the graph if it is small, else as a weight. Integers and truth values are kept known
    /// up to larger sizes, since shapes and positions are computed from them.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> Outcome<Val> {
        if !tensor.is_sound() {
            return Err("has a tensor whose data does not fit its shape".into());
        }
        if is_small(tensor.dtype, tensor.bytes.len() / tensor.dtype.size())
            && let Some(array) = Array::from_tensor(tensor)
        {
            return Ok(array.into());
        }
        if tensor.bytes.is_empty() {
            return Ok(Val::Empty(
                crate::onnx::weights::converted(tensor.dtype),
                tensor.dims.iter().map(|&d| Dim::known(d)).collect(),
            ));
        }
        let index = self.weights.index_of_tensor(name, tensor);
        self.weight(index, &tensor.dims, tensor.dtype)
    }

    /// A weight by its number.
    pub fn weight(&mut self, index: usize, dims: &[usize], dtype: Dtype) -> Outcome<Val> {
        let dtype = crate::onnx::weights::converted(dtype);
        let weight = WeightRef { index, start: 0, dims: dims.to_vec(), dtype };
        Ok(self.graph.add(Op::Weight(weight), &[])?.into())
    }

    /// Whether a value is a weight or a constant, maybe moved about: the embeddings do not reach it.
    pub fn is_parameter(&self, mut id: Id) -> bool {
        loop {
            let value = self.graph.value(id);
            match &value.op {
                Op::Weight(_) | Op::Constant(_) => return true,
                Op::Transpose(_) | Op::Reshape(_) | Op::Cast(_) | Op::Expand(_) => id = value.inputs[0],
                _ => return false,
            }
        }
    }

    /// The broadcast of two values' shapes.
    pub fn broadcast(&self, a: Id, b: Id) -> Outcome<Shape> {
        Ok(broadcast(self.graph.shape(a), self.graph.shape(b))?)
    }

    /// A broadcasting operator. Whole numbers of the other width are brought to the first's type.
    pub fn binary(&mut self, kind: Binary, a: Id, b: Id) -> Outcome<Id> {
        let b = self.graph.cast(b, self.graph.dtype(a))?;
        Ok(self.graph.binary(kind, a, b)?)
    }

    /// An operator that is carried through.
    pub fn opaque(
        &mut self,
        op: &str,
        inputs: &[Id],
        attributes: &[(&str, Attribute)],
        dtype: Dtype,
        shape: Shape,
    ) -> Outcome<Id> {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let opaque = Opaque { op_type: op.to_owned(), attributes, dtype, shape };
        Ok(self.graph.add(Op::Opaque(opaque.into()), inputs)?)
    }

    /// `x` in the shape `shape`, where the two agree but for axes of size 1.
    pub fn expand(&mut self, x: Id, shape: &[Dim]) -> Outcome<Id> {
        let full = broadcast(self.graph.shape(x), shape)?;
        product(&full)?;
        Ok(self.graph.add(Op::Expand(full), &[x])?)
    }
}

/// Whether a tensor is kept in the graph rather than among the weights.
pub fn is_small(dtype: Dtype, elements: usize) -> bool {
    elements <= if dtype.is_float() { 32 } else { 4096 } && elements > 0 || elements == 0 && !dtype.is_float()
}

/// The product of sizes, as a size.
pub fn product(shape: &[Dim]) -> Outcome<Size> {
    let product = Dim::product(shape).ok_or_else(|| Problem(format!("has the absurd shape {}", show(shape))))?;
    size_of(&product)
}

/// A dimension as a size.
pub fn size_of(dim: &Dim) -> Outcome<Size> {
    Size::from_dim(dim).ok_or_else(|| Problem(format!("has an axis of the absurd size {dim}")))
}

/// A size as a dimension.
pub fn dim_of(size: &Size) -> Outcome<Dim> {
    size.to_dim().ok_or_else(|| Problem(format!("makes an axis of size {size}, which is not followed")))
}
