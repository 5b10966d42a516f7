//! Operators that move, join, sum or rotate: all of them linear.

use super::{GradError, Gradients, Vjp};
use crate::onnx::expand::rotate;
use crate::onnx::op::{Logic, Op, Reduction};
use crate::onnx::{Dim, Dtype, Tensor};

/// The rotation back: the tables are constants.
pub fn rotary(v: &mut Vjp) -> Gradients {
    if v.needed[1..].iter().any(|&needed| needed) {
        return Err(GradError::NoRule {
            operator: "Rotary".to_owned(),
            scope: v.value.scope.to_string(),
            detail: " (its tables are made from the embeddings)".to_owned(),
        });
    }
    let (cos, sin) = (v.input(1), v.input(2));
    Ok(vec![Some(rotate(v.graph, v.gradient, cos, sin, true)?), None, None])
}

/// Sums and means hand every element the gradient of its sum; a maximum hands it to the largest, in equal shares where
/// several are.
pub fn reduction(v: &mut Vjp) -> Gradients {
    let Op::Reduce { kind, axes, .. } = &v.value.op else { return Ok(vec![None]) };
    let shape = v.graph.shape(v.input(0)).to_vec();
    let mut kept = shape.clone();
    for &axis in axes {
        kept[axis] = Dim::known(1);
    }
    let mut gradient = v.graph.reshape(v.gradient, kept)?;
    match kind {
        Reduction::Sum => {}
        Reduction::Mean => {
            for &axis in axes {
                gradient = divided_by_size(v, gradient, &shape[axis])?;
            }
        }
        Reduction::Max => {
            let largest = v.graph.reshape(v.id, v.graph.shape(gradient).to_vec())?;
            let here = v.graph.logic(Logic::Equal, v.input(0), largest)?;
            let here = v.graph.cast(here, v.graph.dtype(gradient))?;
            let count = v.graph.reduce(Reduction::Sum, here, axes, true)?;
            let share = v.graph.divided(gradient, count)?;
            return Ok(vec![Some(v.graph.times(here, share)?)]);
        }
    }
    Ok(vec![Some(v.graph.add(Op::Expand(shape), &[gradient])?)])
}

fn divided_by_size(v: &mut Vjp, x: crate::onnx::Id, size: &Dim) -> Result<crate::onnx::Id, GradError> {
    Ok(match size.value() {
        Some(size) => v.graph.scaled(x, 1.0 / size as f64)?,
        None => {
            let size = v.graph.add(Op::DimSize(size.clone()), &[])?;
            let dtype = v.graph.dtype(x);
            let size = v.graph.cast(size, dtype)?;
            v.graph.divided(x, size)?
        }
    })
}

pub fn reshape(v: &mut Vjp) -> Gradients {
    let shape = v.graph.shape(v.input(0)).to_vec();
    Ok(vec![Some(v.graph.reshape(v.gradient, shape)?)])
}

pub fn transpose(v: &mut Vjp) -> Gradients {
    let Op::Transpose(order) = &v.value.op else { return Ok(vec![None]) };
    let mut inverse = vec![0; order.len()];
    for (to, &from) in order.iter().enumerate() {
        inverse[from] = to;
    }
    Ok(vec![Some(v.graph.transpose(v.gradient, &inverse)?)])
}

/// The driver sums over what was repeated.
pub fn expand(v: &mut Vjp) -> Gradients {
    Ok(vec![Some(v.gradient)])
}

pub fn cast(v: &mut Vjp) -> Gradients {
    let dtype = v.graph.dtype(v.input(0));
    if !dtype.is_float() {
        return Ok(vec![None]);
    }
    Ok(vec![Some(v.graph.cast(v.gradient, dtype)?)])
}

/// Each part takes its slice.
pub fn concat(v: &mut Vjp) -> Gradients {
    let Op::Concat { axis } = v.value.op else { return Ok(vec![None]) };
    let mut start = 0;
    let mut results = Vec::with_capacity(v.value.inputs.len());
    for (i, &input) in v.value.inputs.iter().enumerate() {
        let Some(size) = v.graph.shape(input)[axis].value() else {
            return Err(GradError::NoRule {
                operator: "Concat".to_owned(),
                scope: v.value.scope.to_string(),
                detail: " (it joins parts whose sizes are known only at run time)".to_owned(),
            });
        };
        results.push(match v.needed[i] {
            true => Some(v.graph.slice(v.gradient, axis, start, start + size)?),
            false => None,
        });
        start += size;
    }
    Ok(results)
}

/// Zeros around the slice.
pub fn slice(v: &mut Vjp) -> Gradients {
    let Op::Slice { axis, start, end } = v.value.op else { return Ok(vec![None]) };
    let size = v.graph.shape(v.input(0))[axis].clone();
    if let Some(size) = size.value() {
        let pad = Op::Pad { axis, before: start, after: size - end };
        return Ok(vec![Some(v.graph.add(pad, &[v.gradient])?)]);
    }
    if end != start + 1 {
        return Err(GradError::NoRule {
            operator: "Slice".to_owned(),
            scope: v.value.scope.to_string(),
            detail: " (it takes several elements of an axis whose size is known only at run time)".to_owned(),
        });
    }
    // One element of an axis of unknown size: the gradient where the index is, 0 elsewhere.
    let rank = v.graph.shape(v.input(0)).len();
    let places = v.graph.add(Op::Arange(size.clone()), &[])?;
    let wanted = v.graph.constant(Tensor::i64(start as i64))?;
    let here = v.graph.logic(Logic::Equal, places, wanted)?;
    let dtype: Dtype = v.graph.dtype(v.gradient);
    let here = v.graph.cast(here, dtype)?;
    let mut shape = vec![Dim::known(1); rank];
    shape[axis] = size;
    let here = v.graph.reshape(here, shape)?;
    Ok(vec![Some(v.graph.times(v.gradient, here)?)])
}

/// The slice between the zeros.
pub fn pad(v: &mut Vjp) -> Gradients {
    let Op::Pad { axis, before, .. } = v.value.op else { return Ok(vec![None]) };
    let Some(size) = v.graph.shape(v.input(0))[axis].value() else { return Ok(vec![None]) };
    Ok(vec![Some(v.graph.slice(v.gradient, axis, before, before + size)?)])
}
