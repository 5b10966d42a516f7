//! Matrix products.

use super::{GradError, Gradients, Vjp};
use crate::grad::SiteKind;
use crate::onnx::op::Op;
use crate::onnx::{Graph, Id};

/// `g B^T` and `A^T g`, and the shares of each.
pub fn matmul(v: &mut Vjp) -> Gradients {
    let (a, b) = (v.input(0), v.input(1));
    let product = v.sites.kind(v.id) == Some(SiteKind::ActivationProduct);
    let mut results = vec![None, None];
    for side in [0, 1] {
        if !v.needed[side] {
            continue;
        }
        let mut result = if side == 0 {
            let other = v.graph.transpose_last(b)?;
            v.graph.matmul(v.gradient, other)?
        } else if is_turned(v.graph, b) {
            // `(g^T A)^T`, whose outer transposition goes with the one of B.
            let turned = v.graph.transpose_last(v.gradient)?;
            let product = v.graph.matmul(turned, a)?;
            v.graph.transpose_last(product)?
        } else {
            let other = v.graph.transpose_last(a)?;
            v.graph.matmul(other, v.gradient)?
        };
        if product {
            result = v.graph.times(result, v.knobs.product_share)?;
        }
        if v.sites.is_attention_factor(v.id, side) {
            result = v.graph.times(result, v.knobs.attention_path)?;
        }
        results[side] = Some(result);
    }
    Ok(results)
}

/// Whether a value is another one with its last two axes swapped.
fn is_turned(graph: &Graph, id: Id) -> bool {
    let Op::Transpose(order) = &graph.value(id).op else { return false };
    let rank = order.len();
    rank >= 2 && order.ends_with(&[rank - 1, rank - 2])
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
