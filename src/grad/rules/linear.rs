//! Matrix products.

use super::{GradError, Gradients, Vjp};
use crate::grad::SiteKind;
use crate::onnx::op::Op;
use crate::onnx::{Dim, Id};

/// `g B^T` and `A^T g`; the share is taken of whichever is smaller, the gradient or what becomes of it.
pub fn matmul(v: &mut Vjp) -> Gradients {
    let (a, b) = (v.input(0), v.input(1));
    let product = v.sites.kind(v.id) == Some(SiteKind::ActivationProduct);
    let mut results = vec![None, None];
    for side in [0, 1] {
        if !v.needed[side] {
            continue;
        }
        let mut factors = Vec::new();
        if product {
            factors.push(v.knobs.product_share);
        }
        if v.sites.is_attention_factor(v.id, side) {
            factors.push(v.knobs.attention_path);
        }
        let before = grows_less(v.graph.shape(v.gradient), v.graph.shape(v.input(side)));
        let mut gradient = v.gradient;
        if before {
            gradient = scaled(v, gradient, &factors)?;
        }
        let other = v.graph.transpose_last(if side == 0 { b } else { a })?;
        let mut result = if side == 0 { v.graph.matmul(gradient, other)? } else { v.graph.matmul(other, gradient)? };
        if !before {
            result = scaled(v, result, &factors)?;
        }
        results[side] = Some(result);
    }
    Ok(results)
}

fn scaled(v: &mut Vjp, mut x: Id, factors: &[Id]) -> Result<Id, GradError> {
    for &factor in factors {
        x = v.graph.times(x, factor)?;
    }
    Ok(x)
}

/// Whether the first shape has fewer elements once the symbolic sizes are large.
fn grows_less(a: &[Dim], b: &[Dim]) -> bool {
    let degree = |shape: &[Dim]| shape.iter().map(|dim| dim.symbols().len()).sum::<usize>();
    let size = |shape: &[Dim]| shape.iter().map(|dim| dim.factor() as f64).product::<f64>();
    (degree(a), size(a)) < (degree(b), size(b))
}

/// The product with the transposed weight, which is the same weight read the other way.
pub fn linear(v: &mut Vjp) -> Gradients {
    let Op::Linear(layout) = v.value.op else { return Ok(vec![None]) };
    if v.needed[1..].iter().any(|&needed| needed) {
        return Err(GradError::NoRule {
            operator: "Linear".to_owned(),
            scope: v.value.scope.to_string(),
            detail: " (its weight is made from the embeddings)".to_owned(),
        });
    }
    let weight = v.input(1);
    let mut results = vec![Some(v.graph.linear(v.gradient, weight, None, layout.transposed())?)];
    results.resize(v.value.inputs.len(), None);
    Ok(results)
}
