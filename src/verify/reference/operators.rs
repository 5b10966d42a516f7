//! What each operator computes, from its definition.

use ndarray::{ArrayD, Axis, Dimension as _, IxDyn, Slice, concatenate};
use statrs::function::erf::erf;

use super::array::{
    Computed, Value, axis_of, choose, common_shape, count, from_vec, index_of, matmul, pairwise, reshaped, rows,
    softmax, stretch, sum_keeping,
};
use super::program::Operator;
use crate::onnx::Dtype;
use crate::onnx::op::{Activation, Binary, Logic, Reduction, Unary};

/// The result of one operator. Products with stored weights are the machine's business, and not known here.
pub fn compute(operator: &Operator, inputs: &[&Value], single: bool) -> Computed<Value> {
    let input = |i: usize| inputs.get(i).copied().ok_or_else(|| format!("lacks input {i}"));
    let x = || input(0)?.real();
    Ok(match operator {
        Operator::Input(name) => return Err(format!("'{name}' is not fed")),
        Operator::Other(_) => return Err("is not understood".to_owned()),
        Operator::Known(value) => (**value).clone(),
        Operator::Same => input(0)?.clone(),
        Operator::Unary(kind) => match (input(0)?, kind) {
            (Value::Whole(x), Unary::Neg) => Value::Whole(x.mapv(i64::wrapping_neg)),
            (Value::Whole(x), Unary::Abs) => Value::Whole(x.mapv(i64::wrapping_abs)),
            (x, kind) => Value::Real(x.real()?.mapv(unary(*kind))),
        },
        Operator::Binary(kind) => match (input(0)?, input(1)?) {
            (Value::Whole(a), Value::Whole(b)) => Value::Whole(whole(*kind, a, b)?),
            (a, b) => Value::Real(pairwise(a.real()?, b.real()?, binary(*kind))?),
        },
        Operator::Logic(kind) => Value::Truth(logic(*kind, input(0)?, input(1)?)?),
        Operator::Not => Value::Truth(input(0)?.truth()?.mapv(|truth| !truth)),
        Operator::IsNan => Value::Truth(x()?.mapv(f64::is_nan)),
        Operator::Where => {
            let condition = input(0)?.truth()?;
            match (input(1)?, input(2)?) {
                (Value::Whole(a), Value::Whole(b)) => Value::Whole(choose(condition, a, b)?),
                (Value::Truth(a), Value::Truth(b)) => Value::Truth(choose(condition, a, b)?),
                (a, b) => Value::Real(choose(condition, a.real()?, b.real()?)?),
            }
        }
        Operator::Cast(dtype) => cast(input(0)?, *dtype)?,
        Operator::MatMul => Value::Real(matmul(x()?, input(1)?.real()?, single)?),
        Operator::Gemm { transpose_b } => linear(inputs, *transpose_b, single)?,
        Operator::Linear { out_in } => linear(inputs, *out_in, single)?,
        Operator::Softmax { axis } => Value::Real(softmax(x()?, axis_of(*axis, x()?.ndim())?)),
        Operator::Reduce { kind, keep } => {
            let axes = input(1)?.numbers()?;
            match input(0)? {
                // Lengths and places: small integers, which f64 holds exactly. Their mean is cut, as ONNX Runtime does.
                Value::Whole(x) => {
                    Value::Whole(reduce(*kind, &x.mapv(|i| i as f64), &axes, *keep)?.mapv(|x| x.trunc() as i64))
                }
                x => Value::Real(reduce(*kind, x.real()?, &axes, *keep)?),
            }
        }
        Operator::Reshape => moved(input(0)?, &Reshaped(&input(1)?.numbers()?))?,
        Operator::Transpose(order) => moved(input(0)?, &Transposed(order))?,
        Operator::Expand => moved(input(0)?, &Expanded(&input(1)?.numbers()?))?,
        Operator::Concat { axis } => joined(inputs, *axis)?,
        Operator::Slice => {
            let numbers = |i: usize| input(i)?.numbers();
            moved(input(0)?, &Sliced { starts: &numbers(1)?, ends: &numbers(2)?, axes: &numbers(3)? })?
        }
        Operator::Pad => Value::Real(padded(x()?, &input(1)?.numbers()?)?),
        Operator::Gather { axis } => gather(input(0)?, input(1)?.whole()?, *axis)?,
        Operator::GatherElements { axis } => {
            let indices = input(1)?.whole()?;
            match input(0)? {
                Value::Whole(data) => Value::Whole(gather_elements(data, indices, *axis)?),
                data => Value::Real(gather_elements(data.real()?, indices, *axis)?),
            }
        }
        Operator::ScatterElements { axis } => {
            Value::Real(scatter_elements(x()?, input(1)?.whole()?, input(2)?.real()?, *axis)?)
        }
        Operator::Shape { start, end } => shape_of(input(0)?.shape(), *start, *end)?,
        Operator::Range => range(input(0)?, input(1)?, input(2)?)?,
        Operator::RmsNorm { eps } => Value::Real(norm(x()?, input(1)?.real()?, None, *eps)?),
        Operator::LayerNorm { eps } => Value::Real(norm(x()?, input(1)?.real()?, Some(input(2)?.real()?), *eps)?),
        Operator::Activation(kind) => Value::Real(x()?.mapv(|x| activation(*kind, x))),
        // 1 / cap is what f32 has.
        Operator::SoftCap { cap } => {
            let inverse = f64::from((1.0 / cap) as f32);
            Value::Real(x()?.mapv(|x| cap * (x * inverse).tanh()))
        }
        Operator::Rotary => Value::Real(rotary(x()?, input(1)?.real()?, input(2)?.real()?)?),
    })
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
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

fn whole(kind: Binary, a: &ArrayD<i64>, b: &ArrayD<i64>) -> Computed<ArrayD<i64>> {
    let divides = kind == Binary::Div;
    if divides && b.iter().any(|&b| b == 0) {
        return Err("divides integers by 0".to_owned());
    }
    match kind {
        Binary::Add => pairwise(a, b, |a, b| a.wrapping_add(*b)),
        Binary::Sub => pairwise(a, b, |a, b| a.wrapping_sub(*b)),
        Binary::Mul => pairwise(a, b, |a, b| a.wrapping_mul(*b)),
        Binary::Div => pairwise(a, b, |a, b| a.wrapping_div(*b)),
        Binary::Pow => pairwise(a, b, |a, b| u32::try_from(*b).map_or(0, |b| a.wrapping_pow(b))),
    }
}

fn logic(kind: Logic, a: &Value, b: &Value) -> Computed<ArrayD<bool>> {
    fn compare<T: PartialOrd + Clone>(kind: Logic, a: &ArrayD<T>, b: &ArrayD<T>) -> Computed<ArrayD<bool>> {
        match kind {
            Logic::Equal => pairwise(a, b, |a, b| a == b),
            Logic::Less => pairwise(a, b, |a, b| a < b),
            Logic::LessOrEqual => pairwise(a, b, |a, b| a <= b),
            Logic::Greater => pairwise(a, b, |a, b| a > b),
            Logic::GreaterOrEqual => pairwise(a, b, |a, b| a >= b),
            Logic::And | Logic::Or => Err("takes truth values".to_owned()),
        }
    }
    match (a, b) {
        (Value::Real(a), Value::Real(b)) => compare(kind, a, b),
        (Value::Whole(a), Value::Whole(b)) => compare(kind, a, b),
        (Value::Truth(a), Value::Truth(b)) => match kind {
            Logic::And => pairwise(a, b, |&a, &b| a && b),
            Logic::Or => pairwise(a, b, |&a, &b| a || b),
            Logic::Equal => pairwise(a, b, |a, b| a == b),
            Logic::Less | Logic::LessOrEqual | Logic::Greater | Logic::GreaterOrEqual => {
                Err("has no order of truth values".to_owned())
            }
        },
        _ => Err("takes two values of one type".to_owned()),
    }
}

fn cast(x: &Value, dtype: Dtype) -> Computed<Value> {
    // A weight that is widened stays where it is.
    if let (Value::Stored(stored), Dtype::F32 | Dtype::F64) = (x, dtype)
        && stored.is_float()
    {
        return Ok(x.clone());
    }
    let real = match x {
        Value::Real(array) => array.clone(),
        Value::Whole(array) => array.mapv(|i| i as f64),
        Value::Truth(array) => array.mapv(f64::from),
        Value::Stored(stored) => return cast(&stored.load()?, dtype),
    };
    Ok(match dtype {
        Dtype::Bool => Value::Truth(real.mapv(|x| x != 0.0)),
        Dtype::I32 | Dtype::I64 => match x {
            Value::Whole(array) => Value::Whole(array.clone()),
            _ => Value::Whole(real.mapv(|x| x as i64)),
        },
        Dtype::F16 => Value::Real(real.mapv(|x| half::f16::from_f64(x).to_f64())),
        Dtype::BF16 => Value::Real(real.mapv(|x| half::bf16::from_f64(x).to_f64())),
        Dtype::F32 | Dtype::F64 => Value::Real(real),
    })
}

fn linear(inputs: &[&Value], out_in: bool, single: bool) -> Computed<Value> {
    let (Some(x), Some(weight)) = (inputs.first(), inputs.get(1)) else { return Err("lacks an input".to_owned()) };
    let (x, weight) = (x.real()?, weight.real()?);
    let weight = if out_in { transposed(weight, &[1, 0])? } else { weight.clone() };
    let product = matmul(&rows(x)?.into_dyn(), &weight, single)?;
    let bias = inputs.get(2).map(|bias| bias.real()).transpose()?;
    Ok(Value::Real(finish_linear(product, x.shape(), bias)?))
}

/// The product of the rows of an x of this shape, in x's axes, with the bias added.
pub fn finish_linear(product: ArrayD<f64>, x: &[usize], bias: Option<&ArrayD<f64>>) -> Computed<ArrayD<f64>> {
    let leading = x.split_last().map(|(_, leading)| leading).unwrap_or_default();
    let size_out = product.shape().last().copied().unwrap_or_default();
    let product = reshaped(&product, &[leading, &[size_out]].concat())?;
    bias.map_or(Ok(product.clone()), |bias| pairwise(&product, bias, |a, b| a + b))
}

/// Axes counted from the front, descending.
fn descending(axes: &[i64], rank: usize) -> Computed<Vec<usize>> {
    let mut axes = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Computed<Vec<_>>>()?;
    axes.sort_unstable_by(|a, b| b.cmp(a));
    Ok(axes)
}

fn reduce(kind: Reduction, x: &ArrayD<f64>, axes: &[i64], keep: bool) -> Computed<ArrayD<f64>> {
    let mut out = x.clone();
    for axis in descending(axes, x.ndim())? {
        let axis = Axis(axis);
        out = match kind {
            Reduction::Sum => out.sum_axis(axis),
            Reduction::Mean => out.mean_axis(axis).ok_or("takes the mean of nothing")?,
            Reduction::Max => out.map_axis(axis, |lane| lane.fold(f64::NEG_INFINITY, |a, &b| a.max(b))),
        };
        if keep {
            out.insert_axis_inplace(axis);
        }
    }
    Ok(out)
}

/// An operator that moves elements, of whatever type.
pub trait Movement {
    fn array<T: Clone>(&self, x: &ArrayD<T>) -> Computed<ArrayD<T>>;
}

pub fn moved(x: &Value, movement: &impl Movement) -> Computed<Value> {
    Ok(match x {
        Value::Real(array) => Value::Real(movement.array(array)?),
        Value::Whole(array) => Value::Whole(movement.array(array)?),
        Value::Truth(array) => Value::Truth(movement.array(array)?),
        Value::Stored(stored) => return moved(&stored.load()?, movement),
    })
}

/// ONNX's Reshape: 0 copies a size, -1 is what is left.
pub struct Reshaped<'a>(pub &'a [i64]);

impl Movement for Reshaped<'_> {
    fn array<T: Clone>(&self, x: &ArrayD<T>) -> Computed<ArrayD<T>> {
        let mut shape = Vec::with_capacity(self.0.len());
        let mut inferred = None;
        for (axis, &size) in self.0.iter().enumerate() {
            shape.push(match size {
                0 => *x.shape().get(axis).ok_or("copies a size that is not there")?,
                -1 => {
                    inferred = Some(axis);
                    1
                }
                size => usize::try_from(size).map_err(|_| format!("has the size {size}"))?,
            });
        }
        if let Some(axis) = inferred {
            shape[axis] = x.len().checked_div(count(&shape)?).unwrap_or(0);
        }
        reshaped(x, &shape)
    }
}

pub struct Transposed<'a>(pub &'a [usize]);

impl Movement for Transposed<'_> {
    fn array<T: Clone>(&self, x: &ArrayD<T>) -> Computed<ArrayD<T>> {
        transposed(x, self.0)
    }
}

fn transposed<T: Clone>(x: &ArrayD<T>, order: &[usize]) -> Computed<ArrayD<T>> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if sorted.len() != x.ndim() || sorted.iter().enumerate().any(|(i, &axis)| i != axis) {
        return Err(format!("puts the axes of {:?} in the order {order:?}", x.shape()));
    }
    Ok(x.view().permuted_axes(IxDyn(order)).as_standard_layout().into_owned())
}

/// ONNX's Expand: broadcasts both ways.
pub struct Expanded<'a>(pub &'a [i64]);

impl Movement for Expanded<'_> {
    fn array<T: Clone>(&self, x: &ArrayD<T>) -> Computed<ArrayD<T>> {
        let shape = self.0.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| "has a negative size".to_owned())?;
        stretch(x, &common_shape(x.shape(), &shape)?)
    }
}

pub struct Sliced<'a> {
    pub starts: &'a [i64],
    pub ends: &'a [i64],
    pub axes: &'a [i64],
}

impl Movement for Sliced<'_> {
    fn array<T: Clone>(&self, x: &ArrayD<T>) -> Computed<ArrayD<T>> {
        let mut out = x.view();
        for ((&start, &end), &axis) in self.starts.iter().zip(self.ends).zip(self.axes) {
            let axis = axis_of(axis, x.ndim())?;
            let size = out.shape()[axis];
            let place = |at: i64| {
                let from_front = if at < 0 { at.saturating_add(size as i64) } else { at };
                usize::try_from(from_front.max(0)).map_or(size, |at| at.min(size))
            };
            let (start, end) = (place(start), place(end));
            out = out.slice_axis_move(Axis(axis), Slice::from(start..end.max(start)));
        }
        Ok(out.as_standard_layout().into_owned())
    }
}

fn joined(inputs: &[&Value], axis: i64) -> Computed<Value> {
    fn join<T: Clone>(arrays: &[&ArrayD<T>], axis: i64) -> Computed<ArrayD<T>> {
        let rank = arrays.first().map_or(0, |array| array.ndim());
        let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
        concatenate(Axis(axis_of(axis, rank)?), &views).map_err(|error| error.to_string())
    }
    match inputs.first() {
        Some(Value::Whole(_)) => {
            Ok(Value::Whole(join(&inputs.iter().map(|x| x.whole()).collect::<Computed<Vec<_>>>()?, axis)?))
        }
        Some(Value::Truth(_)) => {
            Ok(Value::Truth(join(&inputs.iter().map(|x| x.truth()).collect::<Computed<Vec<_>>>()?, axis)?))
        }
        _ => Ok(Value::Real(join(&inputs.iter().map(|x| x.real()).collect::<Computed<Vec<_>>>()?, axis)?)),
    }
}

pub fn padded(x: &ArrayD<f64>, pads: &[i64]) -> Computed<ArrayD<f64>> {
    if pads.len() != 2 * x.ndim() {
        return Err(format!("pads {:?} by {pads:?}", x.shape()));
    }
    let pads = pads.iter().map(|&pad| usize::try_from(pad)).collect::<Result<Vec<_>, _>>();
    let pads = pads.map_err(|_| "cuts where it should pad".to_owned())?;
    let (before, after) = pads.split_at(x.ndim());
    let shape: Vec<usize> = x
        .shape()
        .iter()
        .zip(before)
        .zip(after)
        .map(|((size, a), b)| size.saturating_add(*a).saturating_add(*b))
        .collect();
    count(&shape)?;
    let mut out = ArrayD::zeros(IxDyn(&shape));
    let mut inside = out.view_mut();
    for (axis, (&start, &size)) in before.iter().zip(x.shape()).enumerate() {
        inside = inside.slice_axis_move(Axis(axis), Slice::from(start..start + size));
    }
    inside.assign(x);
    Ok(out)
}

pub fn gather(data: &Value, indices: &ArrayD<i64>, axis: i64) -> Computed<Value> {
    fn take<T: Clone>(data: &ArrayD<T>, indices: &ArrayD<i64>, axis: usize) -> Computed<ArrayD<T>> {
        let size = data.shape()[axis];
        let wanted = indices.iter().map(|&index| index_of(index, size)).collect::<Computed<Vec<_>>>()?;
        let shape = [&data.shape()[..axis], indices.shape(), &data.shape()[axis + 1..]].concat();
        count(&shape)?;
        reshaped(&data.select(Axis(axis), &wanted), &shape)
    }
    let axis = axis_of(axis, data.shape().len())?;
    Ok(match data {
        Value::Real(data) => Value::Real(take(data, indices, axis)?),
        Value::Whole(data) => Value::Whole(take(data, indices, axis)?),
        Value::Truth(data) => Value::Truth(take(data, indices, axis)?),
        Value::Stored(stored) => Value::Real(stored.gather(axis, indices)?),
    })
}

/// The places that indices along one axis mean.
fn places(indices: &ArrayD<i64>, data: &[usize], axis: i64) -> Computed<Vec<(IxDyn, IxDyn)>> {
    let axis = axis_of(axis, data.len())?;
    if indices.ndim() != data.len() {
        return Err("takes indices of another rank than its data".to_owned());
    }
    indices
        .indexed_iter()
        .map(|(at, &index)| {
            let mut place = at.clone();
            place[axis] = index_of(index, data[axis])?;
            let inside = place.slice().iter().zip(data).all(|(at, size)| at < size);
            if inside { Ok((at, place)) } else { Err("takes elements outside of its data".to_owned()) }
        })
        .collect()
}

pub fn gather_elements<T: Clone>(data: &ArrayD<T>, indices: &ArrayD<i64>, axis: i64) -> Computed<ArrayD<T>> {
    let taken = places(indices, data.shape(), axis)?.into_iter().map(|(_, place)| data[place].clone());
    from_vec(indices.shape(), taken.collect())
}

fn scatter_elements(
    data: &ArrayD<f64>,
    indices: &ArrayD<i64>,
    updates: &ArrayD<f64>,
    axis: i64,
) -> Computed<ArrayD<f64>> {
    if indices.shape() != updates.shape() {
        return Err("takes indices and updates of different shapes".to_owned());
    }
    let mut out = data.clone();
    for (at, place) in places(indices, data.shape(), axis)? {
        out[place] += updates[at];
    }
    Ok(out)
}

fn shape_of(shape: &[usize], start: i64, end: Option<i64>) -> Computed<Value> {
    let rank = shape.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (place(start), place(end.unwrap_or(rank)));
    let sizes: Vec<i64> =
        shape.get(start..end.max(start)).unwrap_or_default().iter().map(|&size| size as i64).collect();
    Ok(Value::Whole(from_vec(&[sizes.len()], sizes)?))
}

fn range(start: &Value, end: &Value, step: &Value) -> Computed<Value> {
    let number = |value: &Value| value.whole()?.first().copied().ok_or_else(|| "counts to nothing".to_owned());
    let (start, end, step) = (number(start)?, number(end)?, number(step)?);
    let step = usize::try_from(step).ok().filter(|&step| step > 0).ok_or("counts by a step that is not positive")?;
    count(&[usize::try_from(end.saturating_sub(start).max(0)).unwrap_or(usize::MAX)])?;
    let numbers: Vec<i64> = (start..end).step_by(step).collect();
    Ok(Value::Whole(from_vec(&[numbers.len()], numbers)?))
}

/// LayerNorm with a bias, RMSNorm without.
fn norm(x: &ArrayD<f64>, weight: &ArrayD<f64>, bias: Option<&ArrayD<f64>>, eps: f64) -> Computed<ArrayD<f64>> {
    let last = x.ndim().checked_sub(1).ok_or("takes no scalars")?;
    let size = x.shape()[last] as f64;
    let centered = match bias {
        Some(_) => x - &(sum_keeping(x, last) / size),
        None => x.clone(),
    };
    let deviation = (sum_keeping(&centered.mapv(|x| x * x), last) / size).mapv(|square| (square + eps).sqrt());
    let scaled = pairwise(&(centered / &deviation), weight, |a, b| a * b)?;
    bias.map_or(Ok(scaled.clone()), |bias| pairwise(&scaled, bias, |a, b| a + b))
}

/// By its definition, in which numbers are those that f32 has.
pub fn activation(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Silu => x * sigmoid(x),
        Activation::QuickGelu => x * sigmoid(f64::from(1.702f32) * x),
        Activation::Relu => x.max(0.0),
        Activation::Gelu => x * (1.0 + erf(x * f64::from(std::f32::consts::FRAC_1_SQRT_2))) / 2.0,
        Activation::GeluTanh => {
            let scale = f64::from((2.0 / std::f64::consts::PI).sqrt() as f32);
            0.5 * x * (1.0 + (scale * (x + f64::from(0.044715f32) * x.powi(3))).tanh())
        }
    }
}

/// Pairs `(x[j], x[j + r/2])` of the first `r` elements as complex numbers, turned by the angle of `(cos, sin)`.
fn rotary(x: &ArrayD<f64>, cos: &ArrayD<f64>, sin: &ArrayD<f64>) -> Computed<ArrayD<f64>> {
    let (Some((&size, leading)), Some(&half)) = (x.shape().split_last(), cos.shape().last()) else {
        return Err("takes no scalars".to_owned());
    };
    if 2 * half > size {
        return Err(format!("rotates {} of {size} elements", 2 * half));
    }
    let tables = [leading, &[half]].concat();
    let (cos, sin) = (stretch(cos, &tables)?, stretch(sin, &tables)?);
    let axis = Axis(x.ndim() - 1);
    let part = |start: usize, end: usize| x.slice_axis(axis, Slice::from(start..end)).to_owned();
    let (a, b, rest) = (part(0, half), part(half, 2 * half), part(2 * half, size));
    let turned = [&a * &cos - &b * &sin, &a * &sin + &b * &cos, rest];
    let views: Vec<_> = turned.iter().map(|part| part.view()).collect();
    concatenate(axis, &views).map_err(|error| error.to_string())
}
