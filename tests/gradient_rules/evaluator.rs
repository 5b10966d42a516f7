//! Graphs computed in f64, each operator from its definition.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use gim_harness::onnx::op::{Activation, Attribute, Binary, Logic, Opaque, Reduction, Unary, WeightLayout};
use gim_harness::onnx::{Dim, Dtype, Graph, Id, Op, Tensor};
use ndarray::{Array3, ArrayD, Axis, Dimension, IxDyn, Slice, Zip};

/// The numbers of one value.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Real(ArrayD<f64>),
    Whole(ArrayD<i64>),
    Truth(ArrayD<bool>),
}

impl Data {
    pub fn real(&self) -> &ArrayD<f64> {
        let Data::Real(array) = self else { panic!("not of a floating-point type") };
        array
    }

    pub fn whole(&self) -> &ArrayD<i64> {
        let Data::Whole(array) = self else { panic!("not of an integer type") };
        array
    }

    pub fn truth(&self) -> &ArrayD<bool> {
        let Data::Truth(array) = self else { panic!("not of a boolean type") };
        array
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Data::Real(array) => array.shape(),
            Data::Whole(array) => array.shape(),
            Data::Truth(array) => array.shape(),
        }
    }
}

/// What the symbols of a graph stand for.
pub type Sizes = BTreeMap<&'static str, usize>;

pub fn size(dim: &Dim, sizes: &Sizes) -> usize {
    dim.symbols().iter().map(|symbol| sizes[&**symbol]).product::<usize>() * dim.factor() as usize
}

pub fn sizes_of(shape: &[Dim], sizes: &Sizes) -> Vec<usize> {
    shape.iter().map(|dim| size(dim, sizes)).collect()
}

/// The arrays of a graph's inputs, by name.
pub type Feeds = BTreeMap<String, Data>;

/// The values of a graph that were computed, and which way every decision (a comparison, the side of a kink) went.
#[derive(Clone, Default)]
pub struct Values {
    data: Vec<Option<Arc<Data>>>,
    decisions: DefaultHasher,
}

impl Values {
    pub fn get(&self, id: Id) -> &Data {
        self.data.get(id.index()).and_then(Option::as_ref).expect("it was not computed")
    }

    pub fn real(&self, id: Id) -> &ArrayD<f64> {
        self.get(id).real()
    }

    pub fn set(&mut self, id: Id, data: Data) {
        if self.data.len() <= id.index() {
            self.data.resize(id.index() + 1, None);
        }
        self.decide(&data);
        self.data[id.index()] = Some(Arc::new(data));
    }

    /// Equal for two points between which the function has no kink or jump (but for unlucky pairs of them).
    pub fn decisions(&self) -> u64 {
        self.decisions.finish()
    }

    fn decide(&mut self, data: &Data) {
        if let Data::Truth(array) = data {
            array.iter().for_each(|truth| truth.hash(&mut self.decisions));
        }
    }
}

/// Computes `roots` and all they are made from.
pub fn evaluate(graph: &Graph, roots: &[Id], feeds: &Feeds, sizes: &Sizes) -> Values {
    let mut values = Values::default();
    for id in graph.ancestors(roots) {
        compute(graph, id, feeds, sizes, &mut values);
    }
    values
}

/// Computes one value from those of its inputs.
pub fn compute(graph: &Graph, id: Id, feeds: &Feeds, sizes: &Sizes, values: &mut Values) {
    let value = graph.value(id);
    let inputs: Vec<&Data> = value.inputs.iter().map(|&input| values.get(input)).collect();
    let data = match &value.op {
        Op::Input { name, .. } => feeds.get(name).unwrap_or_else(|| panic!("'{name}' is not fed")).clone(),
        op => apply(op, &inputs, sizes),
    };
    assert_eq!(data.shape(), sizes_of(&value.shape, sizes), "{:?} of inferred shape {:?}", value.op, value.shape);
    let kind = match data {
        Data::Real(_) => value.dtype.is_float(),
        Data::Whole(_) => matches!(value.dtype, Dtype::I32 | Dtype::I64),
        Data::Truth(_) => value.dtype == Dtype::Bool,
    };
    assert!(kind, "{:?} of inferred type {:?}", value.op, value.dtype);
    let side = match &value.op {
        Op::Unary(Unary::Abs) | Op::Activation(Activation::Relu) => Some(inputs[0].real().mapv(|x| x > 0.0)),
        Op::Reduce { kind: Reduction::Max, axes, .. } => {
            let largest = reduce(Reduction::Max, inputs[0].real(), axes, true);
            Some(pairwise(inputs[0].real(), &largest, |x, largest| x == largest))
        }
        _ => None,
    };
    if let Some(side) = side {
        values.decide(&Data::Truth(side));
    }
    values.set(id, data);
}

fn apply(op: &Op, inputs: &[&Data], sizes: &Sizes) -> Data {
    let x = || inputs[0].real();
    match op {
        Op::Input { .. } => unreachable!(),
        Op::Opaque(opaque) => opaque_operator(opaque, inputs),
        Op::Constant(tensor) => constant(tensor),
        Op::Weight(_) => panic!("the tests feed weights as inputs"),
        Op::Unary(kind) => Data::Real(x().mapv(unary(*kind))),
        Op::Binary(kind) => match (inputs[0], inputs[1]) {
            (Data::Whole(a), Data::Whole(b)) => Data::Whole(pairwise(a, b, whole_binary(*kind))),
            (a, b) => Data::Real(pairwise(a.real(), b.real(), binary(*kind))),
        },
        Op::Logic(kind) => logic(*kind, inputs[0], inputs[1]),
        Op::Not => Data::Truth(inputs[0].truth().mapv(|truth| !truth)),
        Op::Where => choose(inputs[0].truth(), inputs[1].real(), inputs[2].real()),
        Op::Cast(dtype) => cast(inputs[0], *dtype),
        Op::MatMul => Data::Real(matmul(x(), inputs[1].real())),
        Op::Softmax { axis } => Data::Real(softmax(x(), *axis)),
        Op::Reduce { kind, axes, keep } => Data::Real(reduce(*kind, x(), axes, *keep)),
        Op::Reshape(shape) => match inputs[0] {
            Data::Real(array) => Data::Real(reshaped(array, &sizes_of(shape, sizes))),
            Data::Whole(array) => Data::Whole(reshaped(array, &sizes_of(shape, sizes))),
            Data::Truth(array) => Data::Truth(reshaped(array, &sizes_of(shape, sizes))),
        },
        Op::Transpose(order) => Data::Real(x().clone().permuted_axes(IxDyn(order))),
        Op::Expand(shape) => match inputs[0] {
            Data::Whole(array) => Data::Whole(stretch(array, &sizes_of(shape, sizes))),
            array => Data::Real(stretch(array.real(), &sizes_of(shape, sizes))),
        },
        Op::Concat { axis } => {
            let views: Vec<_> = inputs.iter().map(|data| data.real().view()).collect();
            Data::Real(ndarray::concatenate(Axis(*axis), &views).unwrap())
        }
        Op::Slice { axis, start, end } => Data::Real(x().slice_axis(Axis(*axis), Slice::from(*start..*end)).to_owned()),
        Op::Pad { axis, before, after } => {
            let mut shape = x().shape().to_vec();
            let length = shape[*axis];
            shape[*axis] += before + after;
            let mut padded = ArrayD::zeros(IxDyn(&shape));
            padded.slice_axis_mut(Axis(*axis), Slice::from(*before..before + length)).assign(x());
            Data::Real(padded)
        }
        Op::Gather { axis } => {
            let indices: Vec<usize> = inputs[1].whole().iter().map(|&i| from_front(i, x().shape()[*axis])).collect();
            let flat = x().select(Axis(*axis), &indices);
            let mut shape = x().shape()[..*axis].to_vec();
            shape.extend(inputs[1].shape());
            shape.extend(&x().shape()[axis + 1..]);
            Data::Real(reshaped(&flat, &shape))
        }
        Op::DimSize(dim) => Data::Whole(ArrayD::from_elem(IxDyn(&[1]), size(dim, sizes) as i64)),
        Op::Arange(dim) => Data::Whole(ArrayD::from_shape_fn(IxDyn(&[size(dim, sizes)]), |i| i[0] as i64)),
        Op::Gemm { transpose_b } => Data::Real(linear(inputs, *transpose_b)),
        Op::Linear(layout) => Data::Real(linear(inputs, *layout == WeightLayout::OutIn)),
        Op::RmsNorm { eps } => Data::Real(norm(x(), inputs[1].real(), None, eps.get())),
        Op::LayerNorm { eps } => Data::Real(norm(x(), inputs[1].real(), Some(inputs[2].real()), eps.get())),
        Op::Activation(kind) => Data::Real(x().mapv(|x| activation(*kind, x))),
        Op::SoftCap { cap } => Data::Real(x().mapv(|x| cap.get() * (x / cap.get()).tanh())),
        Op::Rotary => Data::Real(rotary(x(), inputs[1].real(), inputs[2].real())),
    }
}

fn constant(tensor: &Tensor) -> Data {
    let shape = IxDyn(&tensor.dims);
    let chunks = tensor.bytes.chunks_exact(tensor.dtype.size());
    match tensor.dtype {
        Dtype::F64 => Data::Real(from_vec(shape, chunks.map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect())),
        Dtype::F32 => {
            Data::Real(from_vec(shape, chunks.map(|c| f32::from_le_bytes(c.try_into().unwrap()).into()).collect()))
        }
        Dtype::I64 => Data::Whole(from_vec(shape, chunks.map(|c| i64::from_le_bytes(c.try_into().unwrap())).collect())),
        Dtype::Bool => Data::Truth(from_vec(shape, chunks.map(|c| c[0] != 0).collect())),
        other => panic!("no constants of {}", other.name()),
    }
}

fn from_vec<T>(shape: IxDyn, elements: Vec<T>) -> ArrayD<T> {
    ArrayD::from_shape_vec(shape, elements).unwrap()
}

fn reshaped<T: Clone>(array: &ArrayD<T>, shape: &[usize]) -> ArrayD<T> {
    from_vec(IxDyn(shape), array.iter().cloned().collect())
}

/// An array repeated along axes of size 1 and new leading axes.
pub fn stretch<T: Clone>(array: &ArrayD<T>, shape: &[usize]) -> ArrayD<T> {
    array.broadcast(IxDyn(shape)).unwrap_or_else(|| panic!("{:?} to {shape:?}", array.shape())).to_owned()
}

fn common_shape(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (1, size) => size,
            (size, _) => size,
        })
        .collect()
}

/// Applied to each pair of elements of two arrays that broadcast against each other.
pub fn pairwise<A: Clone, B: Clone, C>(a: &ArrayD<A>, b: &ArrayD<B>, f: impl Fn(&A, &B) -> C) -> ArrayD<C> {
    let shape = common_shape(a.shape(), b.shape());
    let (a, b) = (a.broadcast(IxDyn(&shape)).unwrap(), b.broadcast(IxDyn(&shape)).unwrap());
    Zip::from(&a).and(&b).map_collect(f)
}

fn unary(kind: Unary) -> fn(f64) -> f64 {
    match kind {
        Unary::Neg => |x| -x,
        Unary::Abs => f64::abs,
        Unary::Sqrt => f64::sqrt,
        Unary::Reciprocal => f64::recip,
        Unary::Exp => f64::exp,
        Unary::Log => f64::ln,
        Unary::Tanh => f64::tanh,
        Unary::Sigmoid => sigmoid,
        Unary::Erf => erf,
        Unary::Sin => f64::sin,
        Unary::Cos => f64::cos,
    }
}

fn binary(kind: Binary) -> fn(&f64, &f64) -> f64 {
    match kind {
        Binary::Add => |a, b| a + b,
        Binary::Sub => |a, b| a - b,
        Binary::Mul => |a, b| a * b,
        Binary::Div => |a, b| a / b,
        Binary::Pow => |a, b| a.powf(*b),
    }
}

fn whole_binary(kind: Binary) -> fn(&i64, &i64) -> i64 {
    match kind {
        Binary::Add => |a, b| a + b,
        Binary::Sub => |a, b| a - b,
        other => panic!("no {other:?} of whole numbers"),
    }
}

fn from_front(index: i64, size: usize) -> usize {
    usize::try_from(if index < 0 { index + size as i64 } else { index }).unwrap()
}

fn opaque_operator(opaque: &Opaque, inputs: &[&Data]) -> Data {
    let axis = opaque.attributes.iter().find_map(|(name, value)| match value {
        Attribute::Int(axis) if name == "axis" => Some(*axis as usize),
        _ => None,
    });
    let (mut data, indices, axis) = (inputs[0].real().clone(), inputs[1].whole(), axis.unwrap());
    let size = data.shape()[axis];
    let place = |index: &IxDyn| {
        let mut place = index.clone();
        place[axis] = from_front(indices[index], size);
        place
    };
    match opaque.op_type.as_str() {
        "GatherElements" => Data::Real(ArrayD::from_shape_fn(indices.raw_dim(), |index| data[place(&index)])),
        "ScatterElements" => {
            let add = ("reduction".to_owned(), Attribute::Text("add".to_owned()));
            assert!(opaque.attributes.contains(&add));
            for (index, update) in inputs[2].real().indexed_iter() {
                data[place(&index)] += update;
            }
            Data::Real(data)
        }
        other => panic!("the tests use no {other}"),
    }
}

fn logic(kind: Logic, a: &Data, b: &Data) -> Data {
    fn compare<T: PartialOrd + Clone>(kind: Logic, a: &ArrayD<T>, b: &ArrayD<T>) -> ArrayD<bool> {
        pairwise(a, b, |a, b| match kind {
            Logic::Equal => a == b,
            Logic::Less => a < b,
            Logic::LessOrEqual => a <= b,
            Logic::Greater => a > b,
            Logic::GreaterOrEqual => a >= b,
            Logic::And | Logic::Or => panic!("not a comparison"),
        })
    }
    Data::Truth(match (a, b) {
        (Data::Real(a), Data::Real(b)) => compare(kind, a, b),
        (Data::Whole(a), Data::Whole(b)) => compare(kind, a, b),
        (Data::Truth(a), Data::Truth(b)) => pairwise(a, b, |&a, &b| match kind {
            Logic::And => a && b,
            Logic::Or => a || b,
            other => panic!("{other:?} of truths"),
        }),
        _ => panic!("mixed types"),
    })
}

fn choose(condition: &ArrayD<bool>, a: &ArrayD<f64>, b: &ArrayD<f64>) -> Data {
    let either = pairwise(a, b, |&a, &b| (a, b));
    Data::Real(pairwise(condition, &either, |&yes, &(a, b)| if yes { a } else { b }))
}

/// Floating-point types are all computed in f64: rounding is no business of calculus.
fn cast(x: &Data, dtype: Dtype) -> Data {
    let real = match x {
        Data::Real(array) => array.clone(),
        Data::Whole(array) => array.mapv(|i| i as f64),
        Data::Truth(array) => array.mapv(f64::from),
    };
    match dtype {
        Dtype::Bool => Data::Truth(real.mapv(|x| x != 0.0)),
        Dtype::I32 | Dtype::I64 => Data::Whole(real.mapv(|x| x as i64)),
        _ => Data::Real(real),
    }
}

pub fn matmul(a: &ArrayD<f64>, b: &ArrayD<f64>) -> ArrayD<f64> {
    let ([batch_a @ .., m, k], [batch_b @ .., _, n]) = (a.shape(), b.shape()) else { panic!("matrices") };
    let batch = common_shape(batch_a, batch_b);
    let count = batch.iter().product::<usize>();
    let matrices = |x: &ArrayD<f64>, rows: usize, columns: usize| {
        let x = stretch(x, &[&batch[..], &[rows, columns]].concat());
        Array3::from_shape_vec((count, rows, columns), x.iter().copied().collect()).unwrap()
    };
    let (left, right) = (matrices(a, *m, *k), matrices(b, *k, *n));
    let mut product = Vec::with_capacity(count * m * n);
    for (left, right) in left.outer_iter().zip(right.outer_iter()) {
        product.extend(left.dot(&right).iter());
    }
    from_vec(IxDyn(&[&batch[..], &[*m, *n]].concat()), product)
}

pub fn softmax(x: &ArrayD<f64>, axis: usize) -> ArrayD<f64> {
    let mut p = x.clone();
    for mut lane in p.lanes_mut(Axis(axis)) {
        let largest = lane.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        lane.mapv_inplace(|x| (x - largest).exp());
        let total = lane.sum();
        lane.mapv_inplace(|x| x / total);
    }
    p
}

fn reduce(kind: Reduction, x: &ArrayD<f64>, axes: &[usize], keep: bool) -> ArrayD<f64> {
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    let mut out = x.clone();
    for &axis in axes.iter().rev() {
        out = match kind {
            Reduction::Sum => out.sum_axis(Axis(axis)),
            Reduction::Mean => out.mean_axis(Axis(axis)).unwrap(),
            Reduction::Max => out.map_axis(Axis(axis), |lane| lane.fold(f64::NEG_INFINITY, |a, &b| a.max(b))),
        };
        if keep {
            out.insert_axis_inplace(Axis(axis));
        }
    }
    out
}

fn linear(inputs: &[&Data], out_in: bool) -> ArrayD<f64> {
    let (x, weight) = (inputs[0].real(), inputs[1].real());
    let (size_out, size_in) =
        if out_in { (weight.shape()[0], weight.shape()[1]) } else { (weight.shape()[1], weight.shape()[0]) };
    let mut shape = x.shape().to_vec();
    *shape.last_mut().unwrap() = size_out;
    ArrayD::from_shape_fn(IxDyn(&shape), |index| {
        let (&out, place) = index.slice().split_last().unwrap();
        let bias = inputs.get(2).map_or(0.0, |bias| bias.real()[[out]]);
        let product = |i: usize| {
            let weight = if out_in { weight[[out, i]] } else { weight[[i, out]] };
            x[&[place, &[i][..]].concat()[..]] * weight
        };
        (0..size_in).map(product).sum::<f64>() + bias
    })
}

/// LayerNorm with a bias, RMSNorm without.
fn norm(x: &ArrayD<f64>, weight: &ArrayD<f64>, bias: Option<&ArrayD<f64>>, eps: f64) -> ArrayD<f64> {
    let mut out = x.clone();
    for mut lane in out.lanes_mut(Axis(x.ndim() - 1)) {
        if bias.is_some() {
            let mean = lane.mean().unwrap();
            lane.mapv_inplace(|x| x - mean);
        }
        let scale = deviation(lane.iter(), eps);
        for (i, x) in lane.iter_mut().enumerate() {
            *x = *x / scale * weight[[i]] + bias.map_or(0.0, |bias| bias[[i]]);
        }
    }
    out
}

/// `sqrt(mean(x^2) + eps)`.
pub fn deviation<'a>(x: impl ExactSizeIterator<Item = &'a f64>, eps: f64) -> f64 {
    let count = x.len() as f64;
    (x.map(|x| x * x).sum::<f64>() / count + eps).sqrt()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The error function by its series of positive terms, `2/sqrt(pi) exp(-x^2) sum (2 x^2)^n x / (2n + 1)!!`. Unlike a fit
/// by pieces it has no seams, at which differences would stumble.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

pub fn activation(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Silu => x * sigmoid(x),
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Relu => x.max(0.0),
        Activation::Gelu => x * (1.0 + erf(x / 2f64.sqrt())) / 2.0,
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
    }
}

/// Pairs `(x[j], x[j + r/2])` of the first `r` elements as complex numbers, turned by the angle of `(cos, sin)`.
fn rotary(x: &ArrayD<f64>, cos: &ArrayD<f64>, sin: &ArrayD<f64>) -> ArrayD<f64> {
    let half = cos.shape()[cos.ndim() - 1];
    let mut shape = x.shape().to_vec();
    shape[x.ndim() - 1] = half;
    let (cos, sin) = (stretch(cos, &shape), stretch(sin, &shape));
    ArrayD::from_shape_fn(x.raw_dim(), |index| {
        let (&j, place) = index.slice().split_last().unwrap();
        if j >= 2 * half {
            return x[&index];
        }
        let at = |j: usize| [place, &[j][..]].concat();
        let (cos, sin) = (cos[&at(j % half)[..]], sin[&at(j % half)[..]]);
        let other = x[&at((j + half) % (2 * half))[..]];
        if j < half { x[&index] * cos - other * sin } else { x[&index] * cos + other * sin }
    })
}
