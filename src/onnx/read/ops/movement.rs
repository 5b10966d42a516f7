//! Shapes, and operators that move elements without looking at them.

use super::pointwise::log_sum_exp;
use crate::onnx::dim::show;
use crate::onnx::infer::broadcast;
use crate::onnx::op::{Attribute, Binary, Op, Reduction, Unary};
use crate::onnx::read::array::{Array, Scalar};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val, dim_of, product, size_of};
use crate::onnx::read::fold::{axes_of, axis, flatten_axis};
use crate::onnx::read::size::Size;
use crate::onnx::{Dim, Dtype, Id, Shape, Tensor};

/// The shape, from `start` to `end`: always known.
pub fn shape(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let shape = c.shape(call.input(0)?);
    let rank = shape.len() as i64;
    let bound = |name: &str, default: i64| {
        let at = call.attributes.int(name).unwrap_or(default);
        (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", rank));
    let sizes = shape.get(start..end).unwrap_or_default().iter().map(size_of).collect::<Outcome<Vec<_>>>()?;
    Ok(vec![Array::sizes(sizes).into()])
}

pub fn size(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let size = product(&c.shape(call.input(0)?))?;
    Ok(vec![Array { dims: vec![], ..Array::sizes(vec![size]) }.into()])
}

pub fn reshape(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = call.input(0)?.clone();
    let from = c.shape(&x);
    let wanted = call.sizes(1, "its shape")?;
    let zero_is_zero = call.attributes.int("allowzero").unwrap_or(0) != 0;
    let mut inferred = None;
    let mut shape = Vec::with_capacity(wanted.len());
    for (i, size) in wanted.iter().enumerate() {
        shape.push(match size.value() {
            Some(-1) if inferred.is_none() => {
                inferred = Some(i);
                Dim::known(1)
            }
            Some(-1) => return Err("leaves two sizes to be inferred".into()),
            Some(0) if !zero_is_zero => {
                from.get(i).cloned().ok_or_else(|| format!("copies axis {i} of {}", show(&from)))?
            }
            _ => dim_of(size)?,
        });
    }
    if let Some(i) = inferred {
        let rest = product(&from)?.div(&product(&shape)?).and_then(|size| size.to_dim());
        shape[i] = rest.ok_or_else(|| {
            let others: Shape = shape.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, d)| d.clone()).collect();
            format!("leaves one size to be inferred, and {} is no multiple of {}", show(&from), show(&others))
        })?;
    }
    reshaped(c, &x, shape)
}

fn reshaped(c: &mut Converter, x: &Val, shape: Shape) -> Outcome<Vec<Val>> {
    if let Val::Empty(dtype, _) = x {
        return Ok(vec![Val::Empty(*dtype, shape)]);
    }
    let id = c.id(x)?;
    Ok(vec![c.graph.reshape(id, shape)?.into()])
}

pub fn flatten(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = call.input(0)?.clone();
    let from = c.shape(&x);
    let number = call.attributes.int("axis").unwrap_or(1);
    let axis = flatten_axis(number, from.len()).ok_or_else(|| format!("has no axis {number}"))?;
    let shape = vec![dim_of(&product(&from[..axis])?)?, dim_of(&product(&from[axis..])?)?];
    reshaped(c, &x, shape)
}

pub fn squeeze(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = call.input(0)?.clone();
    let from = c.shape(&x);
    let axes = match call.ints(1, "the axes")? {
        Some(axes) => axes_of(&axes, from.len()).ok_or_else(|| format!("has no axes {axes:?}"))?,
        None => (0..from.len()).filter(|&i| from[i].is_one()).collect(),
    };
    let shape = from.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, dim)| dim.clone()).collect();
    reshaped(c, &x, shape)
}

pub fn unsqueeze(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = call.input(0)?.clone();
    let from = c.shape(&x);
    let axes = call.ints(1, "the axes")?.ok_or("lacks its axes")?;
    let rank = from.len() + axes.len();
    let axes = axes_of(&axes, rank).ok_or_else(|| format!("has no axes {axes:?}"))?;
    let mut left = from.into_iter();
    let shape = (0..rank).map(|i| if axes.contains(&i) { Some(Dim::known(1)) } else { left.next() });
    let shape = shape.collect::<Option<Shape>>().ok_or("has axes that do not fit")?;
    reshaped(c, &x, shape)
}

pub fn transpose(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = call.input(0)?.clone();
    let from = c.shape(&x);
    let order: Vec<usize> = match call.attributes.ints("perm") {
        Some(order) => order.iter().map(|&i| usize::try_from(i).unwrap_or(usize::MAX)).collect(),
        None => (0..from.len()).rev().collect(),
    };
    if let Val::Empty(dtype, _) = x {
        let shape = order.iter().map(|&i| from.get(i).cloned()).collect::<Option<Shape>>();
        return Ok(vec![Val::Empty(dtype, shape.ok_or("has an order that does not fit")?)]);
    }
    let id = c.id(&x)?;
    Ok(vec![c.graph.transpose(id, &order)?.into()])
}

pub fn expand(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    let wanted = call.sizes(1, "its shape")?.iter().map(dim_of).collect::<Outcome<Shape>>()?;
    Ok(vec![c.expand(x, &wanted)?.into()])
}

pub fn constant_of_shape(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let shape = call.sizes(0, "its shape")?.iter().map(dim_of).collect::<Outcome<Shape>>()?;
    let value = match call.attributes.tensor("value") {
        Some(tensor) => Array::from_tensor(tensor).ok_or("has a value that is no scalar")?,
        None => Array { dtype: Dtype::F32, dims: vec![], data: vec![Scalar::Real(0.0)] },
    };
    if shape.iter().any(|dim| dim.value() == Some(0)) {
        return Ok(vec![Val::Empty(value.dtype, shape)]);
    }
    let only = value.only().cloned().ok_or("has a value that is no scalar")?;
    let scalar = c.id(&Array { dtype: value.dtype, dims: vec![], data: vec![only] }.into())?;
    Ok(vec![c.expand(scalar, &shape)?.into()])
}

/// `start, start + 1, ...`; other steps only between known numbers.
pub fn range(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let dtype = c.dtype(call.input(0)?);
    let scalar = |i: usize| -> Outcome<Size> {
        let known = call.input(i)?.known().and_then(Array::only);
        let size = known.and_then(|x| match x {
            // Exporters count positions in floating point, too.
            Scalar::Real(value) if value.fract() == 0.0 && value.abs() < 1e9 => Some(Size::number(*value as i64)),
            other => other.as_size(),
        });
        size.ok_or_else(|| "has bounds that are computed from data: shapes must be known".into())
    };
    let (start, limit, delta) = (scalar(0)?, scalar(1)?, scalar(2)?);
    if delta.value() != Some(1) {
        return Err(format!("counts in steps of {delta}, which is supported only between constants").into());
    }
    let length = limit.sub(&start).ok_or("has bounds that are not followed")?;
    if length.value().is_some_and(|length| length <= 0) {
        return Ok(vec![Val::Empty(dtype, vec![Dim::known(0)])]);
    }
    let length = dim_of(&length)?;
    let mut places = c.graph.add(Op::Arange(length), &[])?;
    if start.value() != Some(0) {
        let start = c.id(&Array::sizes(vec![start]).into())?;
        places = c.graph.plus(places, start)?;
    }
    Ok(vec![c.graph.cast(places, dtype)?.into()])
}

pub fn concat(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let mut parts = Vec::new();
    for i in 0..call.inputs.len() {
        match call.input(i)? {
            Val::Empty(..) => {}
            part => parts.push(c.id(part)?),
        }
    }
    let Some(&first) = parts.first() else { return Ok(vec![call.input(0)?.clone()]) };
    let rank = c.graph.shape(first).len();
    let number = call.attributes.int("axis").ok_or("lacks its axis")?;
    let axis = axis(number, rank).ok_or_else(|| format!("has no axis {number}"))?;
    let sizes = parts.iter().map(|&part| c.graph.shape(part).get(axis).ok_or("joins axes that do not fit"));
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    if sizes.windows(2).all(|pair| pair[0] == pair[1]) || sizes.iter().all(|size| size.value().is_some()) {
        return Ok(vec![c.graph.concat(&parts, axis)?.into()]);
    }
    // A length and one more, as positions are compared with those before them: such a sum has no gradient.
    let total = sizes.iter().try_fold(Size::number(0), |sum, size| sum.add(&size_of(size).ok()?));
    let total = total.and_then(|total| total.to_sum()).ok_or("joins parts of sizes that are not followed")?;
    let mut shape = c.graph.shape(first).to_vec();
    shape[axis] = Dim::known(1);
    for &part in &parts[1..] {
        let mut other = c.graph.shape(part).to_vec();
        if other.len() == rank {
            other[axis] = Dim::known(1);
        }
        if other != shape || c.graph.dtype(part) != c.graph.dtype(first) {
            return Err(format!("joins {} and {} on axis {axis}", show(&shape), show(&other)).into());
        }
    }
    shape[axis] = total;
    let dtype = c.graph.dtype(first);
    Ok(vec![c.opaque("Concat", &parts, &[("axis", Attribute::Int(axis as i64))], dtype, shape)?.into()])
}

/// Zeros around axes of known size.
pub fn pad(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let mut x = c.id(call.input(0)?)?;
    let rank = c.graph.shape(x).len();
    let mode = call.attributes.text("mode").unwrap_or("constant");
    if mode != "constant" || call.scalar(2, "its value")?.unwrap_or(0.0) != 0.0 {
        return Err("pads with something else than zeros, which is not supported".into());
    }
    let pads = call.ints(1, "the widths")?.ok_or("lacks its widths")?;
    let axes = match call.ints(3, "the axes")? {
        Some(axes) => {
            axes.iter().map(|&a| axis(a, rank)).collect::<Option<Vec<_>>>().ok_or("has axes that do not fit")?
        }
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("has {} widths for {} axes", pads.len(), axes.len()).into());
    }
    for (i, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[i], pads[i + axes.len()]);
        if before == 0 && after == 0 {
            continue;
        }
        const LIMIT: i64 = 1 << 20;
        let width = |v: i64| usize::try_from(v).ok().filter(|_| v < LIMIT).ok_or("has negative or absurd widths");
        let (before, after) = (width(before)?, width(after)?);
        x = c.graph.add(Op::Pad { axis, before, after }, &[x])?;
    }
    Ok(vec![x.into()])
}

/// Repeats: by an axis of size 1 that is expanded.
pub fn tile(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let mut x = c.id(call.input(0)?)?;
    let repeats = call.sizes(1, "its repeats")?.iter().map(dim_of).collect::<Outcome<Shape>>()?;
    let from = c.graph.shape(x).to_vec();
    if repeats.len() != from.len() {
        return Err("has repeats for other axes than there are".into());
    }
    for (axis, repeat) in repeats.iter().enumerate().filter(|(_, repeat)| !repeat.is_one()) {
        let mut shape = c.graph.shape(x).to_vec();
        let tiled = shape[axis].checked_mul(repeat).ok_or("makes an absurd size")?;
        x = c.graph.unsqueeze(x, axis)?;
        let mut wide = c.graph.shape(x).to_vec();
        wide[axis] = repeat.clone();
        x = c.expand(x, &wide)?;
        shape[axis] = tiled;
        x = c.graph.reshape(x, shape)?;
    }
    Ok(vec![x.into()])
}

/// What a reduction makes of the elements of its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    SumSquare,
    L1,
    L2,
    LogSum,
    LogSumExp,
}

pub fn reduce(c: &mut Converter, call: &Call, over: Over) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    let rank = c.graph.shape(x).len();
    let numbers = match call.ints(1, "the axes")? {
        Some(axes) => Some(axes),
        None => call.attributes.ints("axes").map(<[i64]>::to_vec),
    };
    let axes = match numbers {
        Some(axes) if !axes.is_empty() => axes_of(&axes, rank).ok_or_else(|| format!("has no axes {axes:?}"))?,
        _ if call.attributes.int("noop_with_empty_axes").unwrap_or(0) != 0 => return no_reduction(c, x, over),
        _ => (0..rank).collect(),
    };
    let keep = call.attributes.int("keepdims").unwrap_or(1) != 0;
    let plain =
        |c: &mut Converter, kind: Reduction, x: Id| -> Outcome<Id> { Ok(c.graph.reduce(kind, x, &axes, keep)?) };
    let result = match over {
        Over::Sum => plain(c, Reduction::Sum, x)?,
        Over::Mean => plain(c, Reduction::Mean, x)?,
        Over::Max => plain(c, Reduction::Max, x)?,
        Over::SumSquare => {
            let square = squared(c, x)?;
            plain(c, Reduction::Sum, square)?
        }
        Over::L2 => {
            let square = squared(c, x)?;
            let total = plain(c, Reduction::Sum, square)?;
            c.graph.unary(Unary::Sqrt, total)?
        }
        Over::L1 => {
            let sizes = c.graph.unary(Unary::Abs, x)?;
            plain(c, Reduction::Sum, sizes)?
        }
        Over::LogSum => {
            let total = plain(c, Reduction::Sum, x)?;
            c.graph.unary(Unary::Log, total)?
        }
        Over::LogSumExp => {
            let total = log_sum_exp(c, x, &axes)?;
            let shape = plain(c, Reduction::Sum, x)?;
            let shape = c.graph.shape(shape).to_vec();
            c.graph.reshape(total, shape)?
        }
        Over::Min if c.graph.dtype(x).is_float() => {
            let negative = c.graph.unary(Unary::Neg, x)?;
            let largest = plain(c, Reduction::Max, negative)?;
            c.graph.unary(Unary::Neg, largest)?
        }
        Over::Min => carried(c, "ReduceMin", x, &axes, keep)?,
        Over::Prod => carried(c, "ReduceProd", x, &axes, keep)?,
    };
    Ok(vec![result.into()])
}

/// A reduction of no axis leaves every element alone, which is not the same as leaving it as it is.
fn no_reduction(c: &mut Converter, x: Id, over: Over) -> Outcome<Vec<Val>> {
    Ok(vec![match over {
        Over::Sum | Over::Mean | Over::Max | Over::Min | Over::Prod | Over::LogSumExp => x.into(),
        Over::SumSquare => squared(c, x)?.into(),
        Over::L1 | Over::L2 => c.graph.unary(Unary::Abs, x)?.into(),
        Over::LogSum => c.graph.unary(Unary::Log, x)?.into(),
    }])
}

fn squared(c: &mut Converter, x: Id) -> Outcome<Id> {
    let two = c.graph.constant(Tensor::float(2.0, c.graph.dtype(x)))?;
    c.binary(Binary::Pow, x, two)
}

/// A reduction without a gradient.
fn carried(c: &mut Converter, op: &str, x: Id, axes: &[usize], keep: bool) -> Outcome<Id> {
    // The same shape as any other reduction's.
    let like = c.graph.reduce(Reduction::Sum, x, axes, keep)?;
    let (dtype, shape) = (c.graph.dtype(like), c.graph.shape(like).to_vec());
    let numbers: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    let numbers = c.graph.constant(Tensor::i64s(&numbers))?;
    c.opaque(op, &[x, numbers], &[("keepdims", Attribute::Int(keep.into()))], dtype, shape)
}

/// The broadcast of several shapes.
pub fn broadcast_all(c: &Converter, ids: &[Id]) -> Outcome<Shape> {
    let mut shape = Vec::new();
    for &id in ids {
        shape = broadcast(&shape, c.graph.shape(id))?;
    }
    Ok(shape)
}
