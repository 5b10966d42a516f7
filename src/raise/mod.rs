//! Decomposed patterns of foreign graphs, raised to composites.
//!
//! Exporters write a norm or an activation as a dozen primitives. Differentiated as they stand, the products inside
//! them would be taken for products of two activations, and the norm for no norm at all. So a graph is built anew, one
//! operator after the other, and whenever an operator completes a pattern the composite takes its place; what the
//! pattern was made from is left behind unused. Patterns are matched by what they compute (a polynomial, a mean of
//! squares), not by the order in which an exporter happens to write it. Nothing here knows of gradients.

mod activation;
mod linear;
mod norm;
mod pattern;
mod rows;

use crate::onnx::op::{Binary, Op};
use crate::onnx::{Graph, GraphError, Id};

/// The same graph with composites in place of the patterns; `outputs` as they are numbered there.
pub fn raise(graph: &Graph, outputs: &[Id]) -> Result<(Graph, Vec<Id>), GraphError> {
    let mut out = Graph::new();
    let mut renamed: Vec<Option<Id>> = vec![None; graph.len()];
    for id in graph.ancestors(outputs) {
        let value = graph.value(id);
        let inputs: Vec<Id> = value.inputs.iter().filter_map(|input| renamed[input.index()]).collect();
        out.set_scope(&value.scope);
        renamed[id.index()] = Some(add(&mut out, value.op.clone(), &inputs)?);
    }
    let outputs = outputs.iter().filter_map(|id| renamed[id.index()]).collect();
    Ok((out, outputs))
}

/// Adds an operator, or the composite that it completes.
fn add(g: &mut Graph, op: Op, inputs: &[Id]) -> Result<Id, GraphError> {
    if let Some(raised) = completed(g, &op, inputs)? {
        return Ok(raised);
    }
    g.add(op, inputs)
}

fn completed(g: &mut Graph, op: &Op, inputs: &[Id]) -> Result<Option<Id>, GraphError> {
    if let Some(sunk) = rows::before_flattening(g, op, inputs)? {
        return Ok(Some(sunk));
    }
    match (op, inputs) {
        (Op::Binary(Binary::Mul), &[a, b]) => {
            if let Some(norm) = norm::product(g, a, b)? {
                return Ok(Some(norm));
            }
            activation::product(g, a, b)
        }
        (Op::Binary(Binary::Div), &[a, b]) => {
            if let Some(norm) = norm::quotient(g, a, b)? {
                return Ok(Some(norm));
            }
            activation::quotient(g, a, b)
        }
        (Op::Binary(Binary::Add), &[a, b]) => {
            if let Some(norm) = norm::sum(g, a, b)? {
                return Ok(Some(norm));
            }
            linear::sum(g, a, b)
        }
        (Op::MatMul, &[a, b]) => linear::matmul(g, a, b),
        (Op::Where, &[condition, a, b]) => Ok(guarded(g, condition, a, b)),
        _ => Ok(None),
    }
}

/// Attention exports guard against rows without any key: `Where(IsNaN(p), 0, p)` behind the softmax. Masks are finite
/// here, so such a row holds numbers, and the guard only hides the softmax.
fn guarded(g: &Graph, condition: Id, a: Id, b: Id) -> Option<Id> {
    let is_nan_of = |g: &Graph, id: Id, x: Id| match &g.value(id).op {
        Op::Opaque(opaque) => opaque.op_type == "IsNaN" && g.value(id).inputs == [x],
        _ => false,
    };
    if is_nan_of(g, condition, b) && pattern::is_softmax(g, b) {
        return Some(b);
    }
    match g.value(condition).op {
        Op::Not if is_nan_of(g, g.value(condition).inputs[0], a) && pattern::is_softmax(g, a) => Some(a),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
