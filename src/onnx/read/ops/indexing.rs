//! Operators that take some elements of an axis.

use crate::onnx::op::{Attribute, Logic, Op};
use crate::onnx::read::array::{Array, Scalar};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val, dim_of, size_of};
use crate::onnx::read::fold::{self, axis};
use crate::onnx::read::size::Size;
use crate::onnx::{Dim, Dtype, Id, Tensor};

/// Bounds from here on mean "to the end".
const FAR: i64 = i32::MAX as i64 - 1;
/// Elements picked one by one by a gather.
const MAX_PICKED: usize = 256;

pub fn slice(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let (starts, ends) = (call.sizes(1, "its starts")?, call.sizes(2, "its ends")?);
    let rank = c.shape(call.input(0)?).len();
    let axes = match call.ints(3, "the axes")? {
        Some(axes) => axes,
        None => (0..starts.len() as i64).collect(),
    };
    let axes = axes.iter().map(|&a| axis(a, rank)).collect::<Option<Vec<_>>>().ok_or("has axes that do not fit")?;
    let steps = call.ints(4, "the steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("has starts, ends, axes and steps that differ in number".into());
    }
    let mut value = call.input(0)?.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let size = size_of(&c.shape(&value)[axis])?;
        value = if steps[i] == 1 {
            let (start, end) = (bound(&starts[i], &size)?, bound(&ends[i], &size)?);
            take(c, &value, axis, start, end, &size)?
        } else {
            take_every(c, &value, axis, steps[i], [&starts[i], &ends[i], &size])?
        };
    }
    Ok(vec![value])
}

/// A bound counted from the front and within the axis.
fn bound(at: &Size, size: &Size) -> Outcome<Size> {
    let zero = Size::number(0);
    if at.value().is_some_and(|number| number >= FAR) {
        return Ok(size.clone());
    }
    if at.value().is_some_and(|number| number <= -FAR) {
        return Ok(zero);
    }
    let from_front = if at.at_least(&zero) {
        at.clone()
    } else if Size::number(-1).at_least(at) {
        size.add(at).ok_or("has bounds that are not followed")?
    } else {
        return Err(format!(
            "cuts an axis at {at}, which counts from its start or from its end: that depends on the input"
        )
        .into());
    };
    if zero.at_least(&from_front) {
        return Ok(zero);
    }
    if from_front.at_least(size) {
        return Ok(size.clone());
    }
    let within = size.at_least(&from_front) && from_front.at_least(&zero);
    // A table of positions is as long as the longest input, so a length of the input is within it. Counted from its end the
    // places of a text would change with the padding beside it.
    let of_table = size.value().is_some() && at.value().is_none() && at.at_least(&zero);
    if within || of_table {
        return Ok(from_front);
    }
    Err(format!("cuts an axis of size {size} at {at}: its length depends on the input's").into())
}

/// Elements `start..end` of an axis.
fn take(c: &mut Converter, value: &Val, axis: usize, start: Size, end: Size, size: &Size) -> Outcome<Val> {
    if start.value() == Some(0) && end == *size {
        return Ok(value.clone());
    }
    let length = end.sub(&start).ok_or("has bounds that are not followed")?;
    if length.value().is_some_and(|length| length <= 0) {
        let mut shape = c.shape(value);
        shape[axis] = Dim::known(0);
        return Ok(Val::Empty(c.dtype(value), shape));
    }
    let numbers = (start.value(), end.value());
    let numbers = numbers.0.zip(numbers.1).and_then(|(a, b)| usize::try_from(a).ok().zip(usize::try_from(b).ok()));
    if let (Val::Known(array), Some((start, end))) = (value, numbers)
        && let Some(part) = fold::take(array, axis, &(start..end).collect::<Vec<_>>())
    {
        return Ok(part.into());
    }
    let x = c.id(value)?;
    if let Some((start, end)) = numbers {
        return Ok(c.graph.slice(x, axis, start, end)?.into());
    }
    if length.value() == Some(1) && end == *size {
        return Ok(last_of(c, x, axis, &[Dim::known(1)])?.into());
    }
    let mut shape = c.graph.shape(x).to_vec();
    shape[axis] = dim_of(&length)?;
    let (start, end) = (c.id(&Array::sizes(vec![start]).into())?, c.id(&Array::sizes(vec![end]).into())?);
    let axis = c.graph.constant(Tensor::i64s(&[axis as i64]))?;
    let dtype = c.graph.dtype(x);
    Ok(c.opaque("Slice", &[x, start, end, axis], &[], dtype, shape)?.into())
}

/// Every `step`th element from `start` on, or backwards.
fn take_every(c: &mut Converter, value: &Val, axis: usize, step: i64, [start, end, size]: [&Size; 3]) -> Outcome<Val> {
    if let (Some(start), Some(end), Some(size)) = (start.value(), end.value(), size.value()) {
        let size = usize::try_from(size).map_err(|_| "cuts an axis of an absurd size")?;
        let numbers = fold::places(start, end, step, size)
            .ok_or_else(|| format!("takes {start}..{end} in steps of {step} of {size}, which is not supported"))?;
        return take_numbers(c, value, axis, &numbers, size);
    }
    // Backwards through all of it.
    let last = size.sub(&Size::number(1));
    let from_end = |at: &Size| at.value().is_some_and(|at| at == -1 || at >= FAR) || Some(at) == last.as_ref();
    if step != -1 || !from_end(start) || end.value().is_none_or(|end| end > -FAR) {
        return Err(format!(
            "takes {start}..{end} in steps of {step} of an axis of size {size}: only backwards through all of it is \
             supported where the size is known only when the model runs"
        )
        .into());
    }
    let x = c.id(value)?;
    let (dtype, shape) = (c.graph.dtype(x), c.graph.shape(x).to_vec());
    let mut inputs = vec![x];
    for number in [-1, i64::MIN, axis as i64, -1] {
        inputs.push(c.graph.constant(Tensor::i64s(&[number]))?);
    }
    Ok(c.opaque("Slice", &inputs, &[], dtype, shape)?.into())
}

/// Elements of an axis of known size, by their numbers.
fn take_numbers(c: &mut Converter, value: &Val, axis: usize, numbers: &[usize], size: usize) -> Outcome<Val> {
    if numbers.is_empty() {
        let mut shape = c.shape(value);
        shape[axis] = Dim::known(0);
        return Ok(Val::Empty(c.dtype(value), shape));
    }
    if let Some(part) = value.known().and_then(|array| fold::take(array, axis, numbers)) {
        return Ok(part.into());
    }
    let x = c.id(value)?;
    // Every second number, as of pairs that are rotated: one column of the axis folded into rows.
    let step = numbers.get(1).and_then(|second| second.checked_sub(numbers[0])).unwrap_or(0);
    let even = step > 1 && numbers.windows(2).all(|pair| pair[0] + step == pair[1]);
    if even && numbers[0] < step && size.is_multiple_of(step) && numbers.len() == size / step {
        let mut rows = c.graph.shape(x).to_vec();
        rows[axis] = Dim::known(size / step);
        let shape = rows.clone();
        rows.insert(axis + 1, Dim::known(step));
        let rows = c.graph.reshape(x, rows)?;
        let column = c.graph.slice(rows, axis + 1, numbers[0], numbers[0] + 1)?;
        return Ok(c.graph.reshape(column, shape)?.into());
    }
    let indices = Array::ints(&numbers.iter().map(|&number| number as i64).collect::<Vec<_>>());
    if let Some(picked) = pick(c, x, axis, &indices)? {
        return Ok(picked.into());
    }
    let indices = c.id(&indices.into())?;
    Ok(c.graph.add(Op::Gather { axis }, &[x, indices])?.into())
}

pub fn split(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let value = call.input(0)?;
    let shape = c.shape(value);
    let number = call.attributes.int("axis").unwrap_or(0);
    let axis = axis(number, shape.len()).ok_or_else(|| format!("has no axis {number}"))?;
    let Some(size) = shape[axis].value() else {
        return Err("splits an axis whose size is known only when the model runs".into());
    };
    let parts: Vec<usize> = match call.ints(1, "the sizes of its parts")? {
        Some(parts) => {
            let parts = parts.iter().map(|&p| usize::try_from(p).ok()).collect::<Option<Vec<_>>>();
            let parts = parts.ok_or("has parts of negative size")?;
            if parts.iter().try_fold(0usize, |sum, &part| sum.checked_add(part)) != Some(size) {
                return Err(format!("splits {size} elements into parts of {parts:?}").into());
            }
            parts
        }
        None => {
            let count = call.attributes.int("num_outputs").map_or(call.used.len(), |n| n.max(0) as usize);
            if count == 0 || count > size {
                return Err(format!("splits {size} elements into {count} parts").into());
            }
            let part = size.div_ceil(count);
            // Only the outputs that the node names are made: `num_outputs` alone costs nothing to write.
            (0..count.min(call.used.len())).map(|i| part.min(size.saturating_sub(i * part))).collect()
        }
    };
    let mut start = 0;
    let mut results = Vec::with_capacity(parts.len());
    for part in parts.into_iter().take(call.used.len()) {
        let (from, to) = (Size::number(start as i64), Size::number((start + part) as i64));
        results.push(take(c, value, axis, from, to, &Size::number(size as i64))?);
        start += part;
    }
    Ok(results)
}

pub fn gather(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let shape = c.shape(data);
    let number = call.attributes.int("axis").unwrap_or(0);
    let axis = axis(number, shape.len()).ok_or_else(|| format!("has no axis {number}"))?;
    let x = c.id(data)?;
    if let Some(Scalar::Int(-1) | Scalar::Size(_)) = indices.known().and_then(Array::only)
        && shape[axis].value().is_none()
        && is_last(indices, &size_of(&shape[axis])?)
    {
        let shape = c.shape(indices);
        return Ok(vec![last_of(c, x, axis, &shape)?.into()]);
    }
    if let (Some(known), false) = (indices.known(), c.is_parameter(x))
        && let Some(picked) = pick(c, x, axis, known)?
    {
        return Ok(vec![picked.into()]);
    }
    let indices = c.id(indices)?;
    Ok(vec![c.graph.add(Op::Gather { axis }, &[x, indices])?.into()])
}

/// Whether the only index names the last element of an axis.
fn is_last(indices: &Val, size: &Size) -> bool {
    let only = indices.known().and_then(Array::only).and_then(Scalar::as_size);
    only.is_some_and(|at| at.value() == Some(-1) || at.add(&Size::number(1)).as_ref() == Some(size))
}

/// The last element of an axis whose size is known only when the model runs, in one form however the file says it. The
/// axis takes the shape of the index, of ones: `[]` or `[1]`.
fn last_of(c: &mut Converter, x: Id, axis: usize, index: &[Dim]) -> Outcome<Id> {
    let minus_one = c.graph.constant(Tensor::i64(-1))?;
    let row = c.graph.add(Op::Gather { axis }, &[x, minus_one])?;
    let shape = c.graph.shape(x);
    let shape = [&shape[..axis], index, &shape[axis + 1..]].concat();
    Ok(c.graph.reshape(row, shape)?)
}

/// Known elements of an axis, as slices: those have a gradient.
fn pick(c: &mut Converter, x: Id, axis: usize, indices: &Array) -> Outcome<Option<Id>> {
    let shape = c.graph.shape(x).to_vec();
    let size = shape[axis].value();
    let mut numbers = Vec::with_capacity(indices.data.len());
    for index in &indices.data {
        let Scalar::Int(index) = index else { return Ok(None) };
        let from_front = match (*index, size) {
            (i, None) if i >= 0 => i,
            // From the end of an axis whose length is known only at run time.
            (_, None) => return Ok(None),
            (i, Some(size)) if i < 0 => i.saturating_add(size as i64),
            (i, Some(_)) => i,
        };
        match usize::try_from(from_front) {
            Ok(i) if size.is_none_or(|size| i < size) => numbers.push(i),
            _ => return Err(format!("takes element {index} of an axis of size {}", shape[axis]).into()),
        }
    }
    if numbers.is_empty() || numbers.len() > MAX_PICKED {
        return Ok(None);
    }
    let mut parts = Vec::new();
    let mut first = 0;
    for i in 1..=numbers.len() {
        if i == numbers.len() || numbers[i] != numbers[i - 1] + 1 {
            parts.push(c.graph.slice(x, axis, numbers[first], numbers[i - 1] + 1)?);
            first = i;
        }
    }
    let taken = c.graph.concat(&parts, axis)?;
    let mut result = shape[..axis].to_vec();
    result.extend(indices.dims.iter().map(|&d| Dim::known(d)));
    result.extend_from_slice(&shape[axis + 1..]);
    Ok(Some(c.graph.reshape(taken, result)?))
}

/// data, indices `[.., n]`: the last axis of the indices addresses the first `n` axes of the data.
pub fn gather_nd(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    call.only_first_output()?;
    let data = c.id(call.input(0)?)?;
    let (from, at) = (c.graph.shape(data).to_vec(), c.shape(call.input(1)?));
    let skipped = call.attributes.int("batch_dims").unwrap_or(0);
    let skipped = usize::try_from(skipped).map_err(|_| "has a negative number of batch axes")?;
    let depth = at.last().and_then(Dim::value).ok_or("has indices of unknown depth")?;
    let rest = skipped.checked_add(depth).and_then(|taken| from.get(taken..)).ok_or("has indices that are too deep")?;
    let mut shape = at[..at.len() - 1].to_vec();
    shape.extend_from_slice(rest);
    let dtype = c.graph.dtype(data);
    // Masks are looked up as they stand. Activations are looked up in a way that has a gradient: by one axis.
    if skipped > 0 || depth == 0 || !dtype.is_float() || c.is_parameter(data) {
        let indices = c.id(call.input(1)?)?;
        let batch = ("batch_dims", Attribute::Int(skipped as i64));
        return Ok(vec![c.opaque("GatherND", &[data, indices], &[batch], dtype, shape)?.into()]);
    }
    if let (1, Some(known)) = (depth, call.input(1)?.known()) {
        let rows = Array { dims: known.dims[..known.dims.len() - 1].to_vec(), ..known.clone() };
        if let Some(picked) = pick(c, data, 0, &rows)? {
            return Ok(vec![picked.into()]);
        }
    }
    let indices = c.id(call.input(1)?)?;
    let place = flat_index(c, indices, &from[..depth])?;
    let rows = Dim::product(&from[..depth]).ok_or("has data of an absurd shape")?;
    let flat = c.graph.reshape(data, [&[rows], rest].concat())?;
    Ok(vec![c.graph.add(Op::Gather { axis: 0 }, &[flat, place])?.into()])
}

/// Of indices `[.., n]` into `n` axes, the row-major place: `[..]`.
fn flat_index(c: &mut Converter, indices: Id, axes: &[Dim]) -> Outcome<Id> {
    let last = c.graph.shape(indices).len() - 1;
    let shape = c.graph.shape(indices)[..last].to_vec();
    let zero = c.graph.constant(Tensor::i64(0))?;
    let mut place = None;
    for (i, size) in axes.iter().enumerate() {
        let index = c.graph.slice(indices, last, i, i + 1)?;
        let index = c.graph.reshape(index, shape.clone())?;
        let index = c.graph.cast(index, Dtype::I64)?;
        let size = c.id(&Array { dims: vec![], ..Array::sizes(vec![size_of(size)?]) }.into())?;
        // Counted from the end where negative.
        let from_end = c.graph.plus(index, size)?;
        let negative = c.graph.logic(Logic::Less, index, zero)?;
        let index = c.graph.choose(negative, from_end, index)?;
        place = Some(match place {
            None => index,
            Some(place) => {
                let row = c.graph.times(place, size)?;
                c.graph.plus(row, index)?
            }
        });
    }
    place.ok_or_else(|| "has indices of depth 0".into())
}

/// `GatherElements` and its kin need an attribute only.
pub fn axis_attribute(axis: usize) -> (&'static str, Attribute) {
    ("axis", Attribute::Int(axis as i64))
}
