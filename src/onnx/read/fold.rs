//! Operators on tensors whose elements are known: shape arithmetic and constants, done while the file is read.
//!
//! `None` always means "not here": the operator is then left in the graph, where the runtime computes it.

use std::cmp::Ordering;

use super::array::{Array, MAX_ELEMENTS, Scalar};
use super::attributes::Attributes;
use super::size::Size;
use crate::onnx::Dtype;

/// Axes of the arrays that are computed with.
const MAX_RANK: usize = 64;

/// The output of an operator on known inputs. Operators with several outputs are not folded.
pub fn fold(op: &str, inputs: &[Option<&Array>], attributes: &Attributes) -> Option<Array> {
    let input = |i: usize| inputs.get(i).copied().flatten();
    let first = input(0)?;
    match op {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Max" | "Min" | "And" | "Or" | "Xor" | "Equal" | "Less"
        | "LessOrEqual" | "Greater" | "GreaterOrEqual" => {
            // The remainder of C, which has the sign of what is divided.
            if attributes.int("fmod").unwrap_or(0) != 0 {
                return None;
            }
            let mut result = first.clone();
            for other in &inputs[1..] {
                result = pairwise(&result, (*other)?, |a, b| binary(op, a, b))?;
            }
            Some(typed(result, op, first.dtype))
        }
        "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Not" | "Floor" | "Ceil" | "Sin" | "Cos" | "Tanh" => {
            map(first, first.dtype, |x| unary(op, x))
        }
        "Clip" => {
            let mut result = first.clone();
            for (i, op) in [(1, "Max"), (2, "Min")] {
                if let Some(limit) = input(i) {
                    result = pairwise(&result, limit, |a, b| binary(op, a, b))?;
                }
            }
            Some(result)
        }
        "Identity" => Some(first.clone()),
        "Where" => choose(first, input(1)?, input(2)?),
        "Reshape" => {
            let dims = target(&input(1)?.as_ints()?, &first.dims, attributes.int("allowzero").unwrap_or(0) != 0)?;
            reshaped(first, dims)
        }
        "Flatten" => {
            let axis = flatten_axis(attributes.int("axis").unwrap_or(1), first.dims.len())?;
            reshaped(first, vec![first.dims[..axis].iter().product(), first.dims[axis..].iter().product()])
        }
        "Squeeze" => {
            let axes = match input(1) {
                Some(axes) => axes_of(&axes.as_ints()?, first.dims.len())?,
                None => (0..first.dims.len()).filter(|&i| first.dims[i] == 1).collect(),
            };
            let kept = first.dims.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &d)| d);
            reshaped(first, kept.collect())
        }
        "Unsqueeze" => {
            let axes = input(1)?.as_ints()?;
            let axes = axes_of(&axes, first.dims.len() + axes.len())?;
            let mut left = first.dims.iter().copied();
            let rank = first.dims.len() + axes.len();
            let dims = (0..rank).map(|i| if axes.contains(&i) { Some(1) } else { left.next() });
            reshaped(first, dims.collect::<Option<_>>()?)
        }
        "Transpose" => {
            let order = match attributes.ints("perm") {
                Some(order) => order.iter().map(|&i| usize::try_from(i).ok()).collect::<Option<Vec<_>>>()?,
                None => (0..first.dims.len()).rev().collect(),
            };
            transposed(first, &order)
        }
        "Expand" => {
            let wanted = input(1)?.as_ints()?;
            let wanted = wanted.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<Vec<_>>>()?;
            expanded(first, &broadcast(&first.dims, &wanted)?)
        }
        "ConstantOfShape" => {
            let dims = first.as_ints()?.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<Vec<_>>>()?;
            let value = match attributes.tensor("value") {
                Some(tensor) => Array::from_tensor(tensor)?,
                None => Array { dtype: Dtype::F32, dims: vec![1], data: vec![Scalar::Real(0.0)] },
            };
            let count = count(&dims)?;
            Some(Array { dtype: value.dtype, dims, data: vec![value.only()?.clone(); count] })
        }
        "Range" => {
            let of = |i: usize| input(i)?.only().cloned();
            let (Scalar::Int(start), Scalar::Int(limit), Scalar::Int(delta)) = (of(0)?, of(1)?, of(2)?) else {
                return None;
            };
            let length = limit.checked_sub(start)?.checked_add(delta.signum().checked_neg()?)?.checked_div(delta)?;
            let length = usize::try_from(length.checked_add(1)?.max(0)).ok().filter(|&n| n <= MAX_ELEMENTS)?;
            let values = (0..length as i64).map(|i| start.checked_add(i.checked_mul(delta)?));
            Some(Array { dtype: first.dtype, ..Array::ints(&values.collect::<Option<Vec<_>>>()?) })
        }
        "Concat" => {
            let parts = inputs.iter().copied().collect::<Option<Vec<_>>>()?;
            concat(&parts, axis(attributes.int("axis")?, first.dims.len())?)
        }
        "Gather" => {
            let axis = axis(attributes.int("axis").unwrap_or(0), first.dims.len())?;
            gather(first, input(1)?, axis)
        }
        "Slice" => slice(first, inputs),
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" => {
            let axes = match (input(1), attributes.ints("axes")) {
                (Some(axes), _) => axes_of(&axes.as_ints()?, first.dims.len())?,
                (None, Some(axes)) => axes_of(axes, first.dims.len())?,
                (None, None) if attributes.int("noop_with_empty_axes").unwrap_or(0) != 0 => return None,
                (None, None) => (0..first.dims.len()).collect(),
            };
            // Over everything: all that shape arithmetic asks for.
            if axes.len() != first.dims.len() || first.data.is_empty() {
                return None;
            }
            let op = match op {
                "ReduceProd" => "Mul",
                "ReduceSum" => "Add",
                "ReduceMax" => "Max",
                "ReduceMin" => "Min",
                _ => return None,
            };
            let (start, rest) = first.data.split_first()?;
            let total = rest.iter().try_fold(start.clone(), |total, x| binary(op, &total, x))?;
            let keep = attributes.int("keepdims").unwrap_or(1) != 0;
            let dims = if keep { vec![1; first.dims.len()] } else { Vec::new() };
            Some(Array { dtype: first.dtype, dims, data: vec![total] })
        }
        _ => None,
    }
}

/// An array in another type.
pub fn cast(x: &Array, dtype: Dtype) -> Option<Array> {
    map(x, dtype, |x| x.cast(dtype))
}

fn map(x: &Array, dtype: Dtype, f: impl Fn(&Scalar) -> Option<Scalar>) -> Option<Array> {
    Some(Array { dtype, dims: x.dims.clone(), data: x.data.iter().map(f).collect::<Option<_>>()? })
}

fn typed(array: Array, op: &str, dtype: Dtype) -> Array {
    let logical = matches!(op, "And" | "Or" | "Xor" | "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual");
    Array { dtype: if logical { Dtype::Bool } else { dtype }, ..array }
}

fn unary(op: &str, x: &Scalar) -> Option<Scalar> {
    Some(match (op, x) {
        ("Not", x) => Scalar::Bool(!x.as_bool()?),
        ("Neg", Scalar::Int(_) | Scalar::Size(_)) => Scalar::size(Size::number(0).sub(&x.as_size()?)?),
        ("Abs", Scalar::Int(x)) => Scalar::Int(x.checked_abs()?),
        (_, Scalar::Real(x)) => Scalar::real(match op {
            "Neg" => -x,
            "Abs" => x.abs(),
            "Sqrt" => x.sqrt(),
            "Reciprocal" => 1.0 / x,
            "Exp" => x.exp(),
            "Log" => x.ln(),
            "Floor" => x.floor(),
            "Ceil" => x.ceil(),
            "Sin" => x.sin(),
            "Cos" => x.cos(),
            "Tanh" => x.tanh(),
            _ => return None,
        }),
        _ => return None,
    })
}

fn binary(op: &str, a: &Scalar, b: &Scalar) -> Option<Scalar> {
    if let (Some(a), Some(b)) = (a.as_bool(), b.as_bool()) {
        return Some(Scalar::Bool(match op {
            "And" => a && b,
            "Or" => a || b,
            "Xor" => a != b,
            "Equal" => a == b,
            _ => return None,
        }));
    }
    if let (Some(a), Some(b)) = (a.as_size(), b.as_size()) {
        let order = || a.compare(&b);
        return Some(match op {
            "Add" => Scalar::size(a.add(&b)?),
            "Sub" => Scalar::size(a.sub(&b)?),
            "Mul" => Scalar::size(a.mul(&b)?),
            "Div" => Scalar::size(a.div(&b)?),
            "Mod" => Scalar::Int(a.value()?.checked_rem_euclid(b.value().filter(|&b| b > 0)?)?),
            "Pow" => Scalar::Int(a.value()?.checked_pow(u32::try_from(b.value()?).ok()?)?),
            "Max" | "Min" => match (a.at_least(&b), b.at_least(&a)) {
                (true, _) => Scalar::size(if op == "Max" { a } else { b }),
                (_, true) => Scalar::size(if op == "Max" { b } else { a }),
                _ => return None,
            },
            "Equal" => Scalar::Bool(order()? == Ordering::Equal),
            "Less" => Scalar::Bool(order()? == Ordering::Less),
            "LessOrEqual" => Scalar::Bool(order()? != Ordering::Greater),
            "Greater" => Scalar::Bool(order()? == Ordering::Greater),
            "GreaterOrEqual" => Scalar::Bool(order()? != Ordering::Less),
            _ => return None,
        });
    }
    let (Scalar::Real(a), Scalar::Real(b)) = (a, b) else { return None };
    Some(match op {
        "Add" => Scalar::real(a + b),
        "Sub" => Scalar::real(a - b),
        "Mul" => Scalar::real(a * b),
        "Div" => Scalar::real(a / b),
        "Pow" => Scalar::real(a.powf(*b)),
        "Max" => Scalar::real(a.max(*b)),
        "Min" => Scalar::real(a.min(*b)),
        "Equal" => Scalar::Bool(a == b),
        "Less" => Scalar::Bool(a < b),
        "LessOrEqual" => Scalar::Bool(a <= b),
        "Greater" => Scalar::Bool(a > b),
        "GreaterOrEqual" => Scalar::Bool(a >= b),
        _ => return None,
    })
}

/// The number of elements, unless it is too large to compute with. Sizes beside one of 0 count as they would without it, so
/// that the product of any of them is small.
fn count(dims: &[usize]) -> Option<usize> {
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1))).filter(|&n| n <= MAX_ELEMENTS)?;
    (dims.len() <= MAX_RANK).then_some(if dims.contains(&0) { 0 } else { count })
}

/// An axis counted from the front.
pub fn axis(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

/// The axis at which a Flatten divides a shape: it may be the end of the shape.
pub fn flatten_axis(at: i64, rank: usize) -> Option<usize> {
    if at >= 0 { axis(at, rank + 1) } else { axis(at, rank) }
}

/// Axes counted from the front, none twice.
pub fn axes_of(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let mut found: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect::<Option<_>>()?;
    found.sort_unstable();
    found.windows(2).all(|w| w[0] != w[1]).then_some(found)
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |j| dims[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        })
        .collect()
}

/// For each element of a tensor of shape `to`, the element it is in one of shape `from` that is broadcast to it.
fn broadcast_indices(from: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let total = count(to)?;
    let extra = to.len().checked_sub(from.len())?;
    Some(
        (0..total)
            .map(|flat| {
                let (mut rest, mut index, mut stride) = (flat, 0, 1);
                for i in (0..to.len()).rev() {
                    let at = rest % to[i];
                    rest /= to[i];
                    if i >= extra {
                        index += if from[i - extra] == 1 { 0 } else { at * stride };
                        stride *= from[i - extra];
                    }
                }
                index
            })
            .collect(),
    )
}

fn expanded(x: &Array, dims: &[usize]) -> Option<Array> {
    let data = broadcast_indices(&x.dims, dims)?.into_iter().map(|i| x.data[i].clone()).collect();
    Some(Array { dtype: x.dtype, dims: dims.to_vec(), data })
}

fn pairwise(a: &Array, b: &Array, f: impl Fn(&Scalar, &Scalar) -> Option<Scalar>) -> Option<Array> {
    let dims = broadcast(&a.dims, &b.dims)?;
    let (x, y) = (broadcast_indices(&a.dims, &dims)?, broadcast_indices(&b.dims, &dims)?);
    let data = x.into_iter().zip(y).map(|(i, j)| f(&a.data[i], &b.data[j])).collect::<Option<_>>()?;
    Some(Array { dtype: a.dtype, dims, data })
}

fn choose(condition: &Array, a: &Array, b: &Array) -> Option<Array> {
    let dims = broadcast(&condition.dims, &broadcast(&a.dims, &b.dims)?)?;
    let (condition, a, b) = (expanded(condition, &dims)?, expanded(a, &dims)?, expanded(b, &dims)?);
    let data = condition.data.iter().zip(a.data.iter().zip(&b.data));
    let data = data.map(|(c, (x, y))| Some(if c.as_bool()? { x } else { y }.clone())).collect::<Option<_>>()?;
    Some(Array { dtype: a.dtype, dims, data })
}

/// The shape that a Reshape of known elements comes to.
fn target(wanted: &[i64], dims: &[usize], zero_is_zero: bool) -> Option<Vec<usize>> {
    let total = count(dims)?;
    let mut shape = Vec::with_capacity(wanted.len());
    for (i, &d) in wanted.iter().enumerate() {
        shape.push(match d {
            -1 => None,
            0 if !zero_is_zero => Some(*dims.get(i)?),
            d => Some(usize::try_from(d).ok()?),
        });
    }
    let known = count(&shape.iter().map(|d| d.unwrap_or(1)).collect::<Vec<_>>())?;
    match shape.iter().filter(|d| d.is_none()).count() {
        0 => {}
        1 if known > 0 && total.is_multiple_of(known) => {}
        _ => return None,
    }
    Some(shape.into_iter().map(|d| d.unwrap_or_else(|| total / known.max(1))).collect())
}

fn reshaped(x: &Array, dims: Vec<usize>) -> Option<Array> {
    (count(&dims)? == x.data.len()).then(|| Array { dtype: x.dtype, dims, data: x.data.clone() })
}

fn transposed(x: &Array, order: &[usize]) -> Option<Array> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if sorted != (0..x.dims.len()).collect::<Vec<_>>() {
        return None;
    }
    let dims: Vec<usize> = order.iter().map(|&axis| x.dims[axis]).collect();
    let mut strides = vec![1; x.dims.len()];
    for i in (1..x.dims.len()).rev() {
        strides[i - 1] = strides[i] * x.dims[i];
    }
    let data = (0..x.data.len())
        .map(|flat| {
            let (mut rest, mut index) = (flat, 0);
            for i in (0..dims.len()).rev() {
                index += (rest % dims[i]) * strides[order[i]];
                rest /= dims[i];
            }
            x.data[index].clone()
        })
        .collect();
    Some(Array { dtype: x.dtype, dims, data })
}

/// Elements of an axis by their numbers; the axis keeps its place.
pub fn take(x: &Array, axis: usize, numbers: &[usize]) -> Option<Array> {
    let mut dims = x.dims.clone();
    dims[axis] = numbers.len();
    let total = count(&dims)?;
    let inner: usize = x.dims[axis + 1..].iter().product();
    let mut data = Vec::with_capacity(total);
    for outer in 0..x.dims[..axis].iter().product() {
        for &number in numbers {
            let start = (outer * x.dims[axis] + number) * inner;
            data.extend_from_slice(x.data.get(start..start + inner)?);
        }
    }
    Some(Array { dtype: x.dtype, dims, data })
}

fn gather(x: &Array, indices: &Array, axis: usize) -> Option<Array> {
    let numbers = indices.as_ints()?;
    let numbers = numbers.iter().map(|&i| self::axis(i, x.dims[axis])).collect::<Option<Vec<_>>>()?;
    let taken = take(x, axis, &numbers)?;
    let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
    reshaped(&taken, dims)
}

fn concat(parts: &[&Array], axis: usize) -> Option<Array> {
    let mut dims = parts[0].dims.clone();
    dims[axis] = 0;
    for part in parts {
        let fits = part.dims.len() == dims.len()
            && part.dims.iter().zip(&dims).enumerate().all(|(i, (a, b))| i == axis || a == b);
        if !fits {
            return None;
        }
        dims[axis] += part.dims[axis];
    }
    count(&dims)?;
    let mut data = Vec::new();
    for outer in 0..dims[..axis].iter().product() {
        for part in parts {
            let inner: usize = part.dims[axis..].iter().product();
            data.extend_from_slice(&part.data[outer * inner..(outer + 1) * inner]);
        }
    }
    Some(Array { dtype: parts[0].dtype, dims, data })
}

fn slice(x: &Array, inputs: &[Option<&Array>]) -> Option<Array> {
    let ints = |i: usize| inputs.get(i).copied().flatten().map(Array::as_ints);
    let (starts, ends) = (ints(1)??, ints(2)??);
    let axes = match ints(3) {
        Some(axes) => axes?.iter().map(|&a| axis(a, x.dims.len())).collect::<Option<Vec<_>>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = match ints(4) {
        Some(steps) => steps?,
        None => vec![1; starts.len()],
    };
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return None;
    }
    let mut result = x.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let numbers = places(starts[i], ends[i], steps[i], *result.dims.get(axis)?)?;
        result = take(&result, axis, &numbers)?;
    }
    Some(result)
}

/// The elements that a slice takes of an axis; `None` where they are too many, or the step is 0.
pub fn places(start: i64, end: i64, step: i64, size: usize) -> Option<Vec<usize>> {
    let size = i64::try_from(size).ok()?;
    let from_front = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    // Of an axis without elements the last is element -1.
    let start = from_front(start).max(0).min(high);
    let end = if step < 0 && end < -size { -1 } else { from_front(end).clamp(low, high) };
    let mut numbers = Vec::new();
    let mut at = start;
    while if step > 0 { at < end } else { at > end } {
        if step == 0 || numbers.len() == MAX_ELEMENTS {
            return None;
        }
        numbers.push(usize::try_from(at).ok()?);
        at = at.checked_add(step)?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Dim;

    fn symbol(name: &str) -> Size {
        Size::from_dim(&Dim::symbol(name)).unwrap()
    }

    fn with(op: &str, inputs: &[&Array], attributes: &Attributes) -> Option<Array> {
        fold(op, &inputs.iter().map(|&x| Some(x)).collect::<Vec<_>>(), attributes)
    }

    #[test]
    fn the_shape_arithmetic_that_an_expand_of_minus_one_exports_to() {
        // Where(Equal(shape, -1 * ConstantOfShape(rank)), ConstantOfShape(rank), shape)
        let none = Attributes::default();
        let shape = Array::sizes(vec![symbol("batch"), Size::number(-1), symbol("seq")]);
        let ones = Array::ints(&[1, 1, 1]);
        let minus = Array { dims: vec![], ..Array::ints(&[-1]) };
        let minus = with("Mul", &[&ones, &minus], &none).unwrap();
        let equal = with("Equal", &[&shape, &minus], &none).unwrap();
        let chosen = with("Where", &[&equal, &ones, &shape], &none).unwrap();
        assert_eq!(chosen.as_sizes().unwrap(), [symbol("batch"), Size::number(1), symbol("seq")]);
    }

    #[test]
    fn slices_follow_the_specification_at_their_ends() {
        let x = Array::ints(&[0, 1, 2, 3, 4]);
        let slice = |start: i64, end: i64, step: i64| {
            let (s, e, a, t) = (Array::ints(&[start]), Array::ints(&[end]), Array::ints(&[0]), Array::ints(&[step]));
            with("Slice", &[&x, &s, &e, &a, &t], &Attributes::default()).unwrap().as_ints().unwrap()
        };
        assert_eq!(slice(1, i64::MAX, 1), [1, 2, 3, 4]);
        assert_eq!(slice(-2, i64::MAX, 1), [3, 4]);
        assert_eq!(slice(i64::MIN, -1, 1), [0, 1, 2, 3]);
        assert_eq!(slice(-1, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(slice(3, 1, 1), [0i64; 0]);
        assert_eq!(slice(0, 5, 2), [0, 2, 4]);
        let nothing = [Array::ints(&[]), Array::ints(&[0]), Array::ints(&[-9]), Array::ints(&[0]), Array::ints(&[-1])];
        let reversed = with("Slice", &nothing.each_ref(), &Attributes::default()).unwrap();
        assert_eq!(reversed.dims, [0]);
    }

    #[test]
    fn nothing_is_allocated_for_absurd_sizes() {
        let none = Attributes::default();
        assert_eq!(with("ConstantOfShape", &[&Array::ints(&[i64::MAX, i64::MAX])], &none), None);
        let (zero, limit, one) = (Array::ints(&[0]), Array::ints(&[i64::MAX]), Array::ints(&[1]));
        assert_eq!(with("Range", &[&zero, &limit, &one], &none), None);
        assert_eq!(with("Range", &[&zero, &limit, &zero], &none), None);
        assert_eq!(with("Expand", &[&one, &Array::ints(&[1 << 40])], &none), None);
        assert_eq!(with("Mul", &[&limit, &limit], &none), None);
    }

    #[test]
    fn movement_agrees_with_row_major_order() {
        let x = Array { dims: vec![2, 3], ..Array::ints(&[0, 1, 2, 3, 4, 5]) };
        assert_eq!(transposed(&x, &[1, 0]).unwrap().as_ints().unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(take(&x, 1, &[2, 0]).unwrap().as_ints().unwrap(), [2, 0, 5, 3]);
        assert_eq!(concat(&[&x, &x], 1).unwrap().as_ints().unwrap(), [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]);
        let column = Array { dims: vec![2, 1], ..Array::ints(&[7, 8]) };
        assert_eq!(expanded(&column, &[2, 2]).unwrap().as_ints().unwrap(), [7, 7, 8, 8]);
    }
}
