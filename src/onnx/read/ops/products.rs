//! Matrix products.

use crate::onnx::op::{Binary, WeightLayout};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val};
use crate::onnx::{Dim, Id};

/// `MatMul`, vectors included (NumPy's rule).
pub fn matmul(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let (mut a, mut b) = (c.id(call.input(0)?)?, c.id(call.input(1)?)?);
    let (rank_a, rank_b) = (c.graph.shape(a).len(), c.graph.shape(b).len());
    if rank_a == 0 || rank_b == 0 {
        return Err("multiplies a matrix by a scalar".into());
    }
    if rank_a == 1 {
        a = c.graph.unsqueeze(a, 0)?;
    }
    if rank_b == 1 {
        b = c.graph.unsqueeze(b, 1)?;
    }
    let mut result = c.graph.matmul(a, b)?;
    let mut shape = c.graph.shape(result).to_vec();
    if rank_b == 1 {
        shape.pop();
    }
    if rank_a == 1 {
        let place = shape.len() - usize::from(rank_b != 1);
        shape.remove(place - usize::from(place > 0));
    }
    if shape.len() != c.graph.shape(result).len() {
        result = c.graph.reshape(result, shape)?;
    }
    Ok(vec![result.into()])
}

/// `alpha A' B' + beta C`.
pub fn gemm(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let (mut a, b) = (c.id(call.input(0)?)?, c.id(call.input(1)?)?);
    for x in [a, b] {
        if c.graph.shape(x).len() != 2 {
            return Err("needs two matrices".into());
        }
    }
    let flag = |name: &str| call.attributes.int(name).unwrap_or(0) != 0;
    let factor = |name: &str| call.attributes.float(name).unwrap_or(1.0);
    if flag("transA") {
        a = c.graph.transpose_last(a)?;
    }
    let bias = match call.optional(2) {
        Some(bias) if factor("beta") != 0.0 => {
            let bias = c.id(bias)?;
            Some(c.graph.scaled(bias, factor("beta"))?)
        }
        _ => None,
    };
    let plain = factor("alpha") == 1.0;
    if !c.is_parameter(b) {
        let b = if flag("transB") { c.graph.transpose_last(b)? } else { b };
        let product = c.graph.matmul(a, b)?;
        return finish(c, product, factor("alpha"), bias);
    }
    let layout = if flag("transB") { WeightLayout::OutIn } else { WeightLayout::InOut };
    let size_out = c.graph.shape(b)[usize::from(!flag("transB"))].clone();
    let fitting = match bias {
        Some(bias) if plain => vector(c, bias, &size_out)?,
        _ => None,
    };
    let product = c.graph.linear(a, b, fitting, layout)?;
    if fitting.is_some() { Ok(vec![product.into()]) } else { finish(c, product, factor("alpha"), bias) }
}

fn finish(c: &mut Converter, product: Id, alpha: f64, bias: Option<Id>) -> Outcome<Vec<Val>> {
    let scaled = c.graph.scaled(product, alpha)?;
    Ok(vec![match bias {
        Some(bias) => c.binary(Binary::Add, scaled, bias)?.into(),
        None => scaled.into(),
    }])
}

/// A bias as the vector that a linear layer takes, if it is one.
fn vector(c: &mut Converter, bias: Id, size: &Dim) -> Outcome<Option<Id>> {
    match c.graph.shape(bias) {
        [only] if only == size => Ok(Some(bias)),
        [one, last] if one.is_one() && last == size => Ok(Some(c.graph.reshape(bias, vec![size.clone()])?)),
        _ => Ok(None),
    }
}
