//! Values of a program, and arithmetic on them.

use std::sync::Arc;

use ndarray::{Array2, ArrayD, ArrayView2, Axis, IxDyn, Zip};

use super::stored::Stored;
use crate::onnx::{Dtype, Tensor};

/// Elements that one value may have: verifying takes short prompts, and a hostile graph may ask for anything.
const MAX_ELEMENTS: usize = 1 << 27;

/// The numbers of one value. Floating-point types are all computed in f64.
#[derive(Clone, Debug)]
pub enum Value {
    Real(ArrayD<f64>),
    Whole(ArrayD<i64>),
    Truth(ArrayD<bool>),
    /// A matrix that stays in the weight file.
    Stored(Stored),
}

/// What is wrong with an operator's inputs.
pub type Problem = String;
pub type Computed<T> = Result<T, Problem>;

impl Value {
    pub fn real(&self) -> Computed<&ArrayD<f64>> {
        match self {
            Value::Real(array) => Ok(array),
            other => Err(format!("takes floating-point numbers, not {}", other.kind())),
        }
    }

    pub fn whole(&self) -> Computed<&ArrayD<i64>> {
        match self {
            Value::Whole(array) => Ok(array),
            other => Err(format!("takes integers, not {}", other.kind())),
        }
    }

    pub fn truth(&self) -> Computed<&ArrayD<bool>> {
        match self {
            Value::Truth(array) => Ok(array),
            other => Err(format!("takes truth values, not {}", other.kind())),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Value::Real(_) => "floating-point numbers",
            Value::Whole(_) => "integers",
            Value::Truth(_) => "truth values",
            Value::Stored(_) => "a stored weight",
        }
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Value::Real(array) => array.shape(),
            Value::Whole(array) => array.shape(),
            Value::Truth(array) => array.shape(),
            Value::Stored(stored) => &stored.dims,
        }
    }

    /// Sizes, axes and other small integers that steer an operator.
    pub fn numbers(&self) -> Computed<Vec<i64>> {
        Ok(self.whole()?.iter().copied().collect())
    }

    pub fn of_tensor(tensor: &Tensor) -> Computed<Value> {
        let shape = &tensor.dims;
        let bytes = &tensor.bytes;
        if !tensor.is_sound() {
            return Err("has a constant that is not as long as its shape says".to_owned());
        }
        macro_rules! elements {
            ($element:ty) => {
                bytes
                    .chunks_exact(size_of::<$element>())
                    .filter_map(|c| Some(<$element>::from_le_bytes(c.try_into().ok()?)))
            };
        }
        Ok(match tensor.dtype {
            Dtype::F64 => Value::Real(from_vec(shape, elements!(f64).collect())?),
            Dtype::F32 => Value::Real(from_vec(shape, elements!(f32).map(f64::from).collect())?),
            Dtype::F16 => Value::Real(from_vec(shape, elements!(half::f16).map(f64::from).collect())?),
            Dtype::BF16 => Value::Real(from_vec(shape, elements!(half::bf16).map(f64::from).collect())?),
            Dtype::I64 => Value::Whole(from_vec(shape, elements!(i64).collect())?),
            Dtype::I32 => Value::Whole(from_vec(shape, elements!(i32).map(i64::from).collect())?),
            Dtype::Bool => Value::Truth(from_vec(shape, bytes.iter().map(|&byte| byte != 0).collect())?),
        })
    }
}

pub fn from_vec<T>(shape: &[usize], elements: Vec<T>) -> Computed<ArrayD<T>> {
    ArrayD::from_shape_vec(IxDyn(shape), elements).map_err(|error| format!("makes no array of {shape:?}: {error}"))
}

/// The number of elements of a shape that is no larger than any should be.
pub fn count(shape: &[usize]) -> Computed<usize> {
    let count = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
    count.filter(|&n| n <= MAX_ELEMENTS).ok_or_else(|| format!("makes a tensor of the absurd shape {shape:?}"))
}

pub fn reshaped<T: Clone>(array: &ArrayD<T>, shape: &[usize]) -> Computed<ArrayD<T>> {
    from_vec(shape, array.iter().cloned().collect())
}

/// An array repeated along axes of size 1 and new leading axes.
pub fn stretch<T: Clone>(array: &ArrayD<T>, shape: &[usize]) -> Computed<ArrayD<T>> {
    count(shape)?;
    let view = array.broadcast(IxDyn(shape));
    view.map(|view| view.to_owned()).ok_or_else(|| format!("cannot broadcast {:?} to {shape:?}", array.shape()))
}

/// The shape that two shapes broadcast to.
pub fn common_shape(a: &[usize], b: &[usize]) -> Computed<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (1, size) | (size, 1) => Ok(size),
            (x, y) if x == y => Ok(x),
            _ => Err(format!("cannot broadcast {a:?} and {b:?} against each other")),
        })
        .collect()
}

/// Applied to each pair of elements of two arrays that broadcast against each other.
pub fn pairwise<A: Clone, B: Clone, C>(a: &ArrayD<A>, b: &ArrayD<B>, f: impl Fn(&A, &B) -> C) -> Computed<ArrayD<C>> {
    let shape = common_shape(a.shape(), b.shape())?;
    count(&shape)?;
    let problem = || "cannot broadcast its inputs".to_owned();
    let a = a.broadcast(IxDyn(&shape)).ok_or_else(problem)?;
    let b = b.broadcast(IxDyn(&shape)).ok_or_else(problem)?;
    Ok(Zip::from(&a).and(&b).map_collect(f))
}

pub fn choose<T: Clone>(condition: &ArrayD<bool>, a: &ArrayD<T>, b: &ArrayD<T>) -> Computed<ArrayD<T>> {
    let either = pairwise(a, b, |a, b| (a.clone(), b.clone()))?;
    pairwise(condition, &either, |&yes, (a, b)| if yes { a.clone() } else { b.clone() })
}

/// A product of two matrices, in single precision if said so.
pub fn dot(a: &ArrayView2<f64>, b: &ArrayView2<f64>, single: bool) -> Array2<f64> {
    if single {
        let (a, b) = (a.mapv(|x| x as f32), b.mapv(|x| x as f32));
        a.dot(&b).mapv(f64::from)
    } else {
        a.dot(b)
    }
}

/// `a b` of stacks of matrices that broadcast against each other.
pub fn matmul(a: &ArrayD<f64>, b: &ArrayD<f64>, single: bool) -> Computed<ArrayD<f64>> {
    let ([batch_a @ .., m, k], [batch_b @ .., k_b, n]) = (a.shape(), b.shape()) else {
        return Err("takes matrices".to_owned());
    };
    if k != k_b {
        return Err(format!("has inner sizes {k} and {k_b}"));
    }
    let batch = common_shape(batch_a, batch_b)?;
    let shape = [&batch[..], &[*m, *n]].concat();
    count(&shape)?;
    let matrices = |x: &ArrayD<f64>, rows: usize, columns: usize| -> Computed<Vec<Array2<f64>>> {
        let x = stretch(x, &[&batch[..], &[rows, columns]].concat())?;
        let elements: Vec<f64> = x.iter().copied().collect();
        let size = (rows * columns).max(1);
        elements
            .chunks(size)
            .map(|matrix| Array2::from_shape_vec((rows, columns), matrix.to_vec()).map_err(|error| error.to_string()))
            .collect()
    };
    let mut product = Vec::with_capacity(shape.iter().product());
    for (left, right) in matrices(a, *m, *k)?.iter().zip(&matrices(b, *k, *n)?) {
        product.extend(dot(&left.view(), &right.view(), single).iter());
    }
    // Stacks of nothing have no matrices to multiply, but a product all the same.
    product.resize(shape.iter().product(), 0.0);
    from_vec(&shape, product)
}

/// The rows of an array: all but its last axis made one.
pub fn rows(x: &ArrayD<f64>) -> Computed<Array2<f64>> {
    let last = *x.shape().last().ok_or("takes no scalars")?;
    let count = x.len().checked_div(last).unwrap_or(0);
    Array2::from_shape_vec((count, last), x.iter().copied().collect()).map_err(|error| error.to_string())
}

pub fn softmax(x: &ArrayD<f64>, axis: usize) -> ArrayD<f64> {
    let mut p = x.as_standard_layout().into_owned();
    for mut lane in p.lanes_mut(Axis(axis)) {
        let largest = lane.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        lane.mapv_inplace(|x| (x - largest).exp());
        let total = lane.sum();
        lane.mapv_inplace(|x| x / total);
    }
    p
}

/// Sums over one axis, which stays with size 1.
pub fn sum_keeping(x: &ArrayD<f64>, axis: usize) -> ArrayD<f64> {
    x.sum_axis(Axis(axis)).insert_axis(Axis(axis))
}

/// An axis counted from the front.
pub fn axis_of(axis: i64, rank: usize) -> Computed<usize> {
    let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    from_front
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|&axis| axis < rank)
        .ok_or_else(|| format!("has no axis {axis}"))
}

/// An index counted from the front, within a size.
pub fn index_of(index: i64, size: usize) -> Computed<usize> {
    axis_of(index, size).map_err(|_| format!("takes element {index} of {size}"))
}

/// Values that steps share.
pub type Shared = Arc<Value>;
