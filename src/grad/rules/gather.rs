//! Elements picked by indices: the gradient goes back to where each was taken from, and adds up where several were.

use super::{GradError, Gradients, Vjp};
use crate::onnx::op::{Attribute, Logic, Op, Opaque};
use crate::onnx::{Dim, Id, Shape, Tensor};

/// Data `[before.., n, after..]` by indices `[..]`: a product with the one-hot matrix `[n, picked]` of the indices. A
/// product, unlike a scatter, adds in one order on every device.
pub fn gather(v: &mut Vjp) -> Gradients {
    let Op::Gather { axis } = v.value.op else { return Ok(vec![None, None]) };
    let (data, indices) = (v.input(0), v.input(1));
    let shape = v.graph.shape(data).to_vec();
    let absurd = || no_rule(v, "its data has an absurd shape");
    let before = Dim::product(&shape[..axis]).ok_or_else(absurd)?;
    let after = Dim::product(&shape[axis + 1..]).ok_or_else(absurd)?;
    let picked = Dim::product(v.graph.shape(indices)).ok_or_else(absurd)?;
    let size = shape[axis].clone();

    let one_hot = one_hot(v, indices, &size, &picked)?;
    let rows = v.graph.reshape(v.gradient, vec![before.clone(), picked, after])?;
    let summed = v.graph.matmul(one_hot, rows)?;
    Ok(vec![Some(v.graph.reshape(summed, shape)?), None])
}

/// `[size, picked]`: 1 where an index is the row's number, counted from the front or from the end.
fn one_hot(v: &mut Vjp, indices: Id, size: &Dim, picked: &Dim) -> Result<Id, GradError> {
    let places = v.graph.add(Op::Arange(size.clone()), &[])?;
    let places = v.graph.reshape(places, vec![size.clone(), Dim::known(1)])?;
    let indices = v.graph.reshape(indices, vec![Dim::known(1), picked.clone()])?;
    let indices = v.graph.cast(indices, v.graph.dtype(places))?;
    let length = v.graph.add(Op::DimSize(size.clone()), &[])?;
    let from_end = v.graph.minus(places, length)?;
    let here = v.graph.logic(Logic::Equal, places, indices)?;
    let here_from_end = v.graph.logic(Logic::Equal, from_end, indices)?;
    let here = v.graph.logic(Logic::Or, here, here_from_end)?;
    let dtype = v.graph.dtype(v.gradient);
    Ok(v.graph.cast(here, dtype)?)
}

/// `GatherElements`: one index an element of the result, so the gradient is added element by element.
pub fn gather_elements(v: &mut Vjp) -> Gradients {
    let Op::Opaque(opaque) = &v.value.op else { return Ok(vec![None, None]) };
    let axis = opaque.attributes.iter().find(|(name, _)| name == "axis").map(|(_, axis)| axis.clone());
    let (data, indices) = (v.input(0), v.input(1));
    let (dtype, shape) = (v.graph.dtype(data), v.graph.shape(data).to_vec());
    let zeros = zeros(v, &shape)?;
    let scatter = Opaque {
        op_type: "ScatterElements".to_owned(),
        attributes: vec![
            ("axis".to_owned(), axis.unwrap_or(Attribute::Int(0))),
            ("reduction".to_owned(), Attribute::Text("add".to_owned())),
        ],
        dtype,
        shape,
    };
    Ok(vec![Some(v.graph.add(Op::Opaque(scatter.into()), &[zeros, indices, v.gradient])?), None])
}

fn zeros(v: &mut Vjp, shape: &Shape) -> Result<Id, GradError> {
    let zero = v.graph.constant(Tensor::float(0.0, v.graph.dtype(v.gradient)))?;
    Ok(v.graph.add(Op::Expand(shape.clone()), &[zero])?)
}

fn no_rule(v: &Vjp, problem: &str) -> GradError {
    GradError::NoRule { operator: v.value.op.name(), scope: v.value.scope.to_string(), detail: format!(" ({problem})") }
}
