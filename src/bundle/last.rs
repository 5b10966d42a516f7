//! Files that give the logits of the last place only, as exports for generation do.
//!
//! In a bundle prompts are padded on the right, so the last place is no token's. Where such a file takes the last place of
//! `[batch, seq, ..]`, the place that is scored is taken instead: `position` of a decoder, the last token of a classifier.

use std::collections::HashMap;
use std::path::Path;

use super::foreign::ForeignError;
use super::select::row_at;
use crate::onnx::dim::{BATCH, SEQ, show};
use crate::onnx::op::{Op, Reduction};
use crate::onnx::{Dim, Graph, GraphError, Id, Tensor};

/// Where a file takes the last place of what depends on the embeddings.
pub fn places(path: &Path, graph: &Graph, embeds: Id, logits: Id) -> Result<Vec<Id>, ForeignError> {
    let depends = graph.descendants(embeds);
    let mut found = Vec::new();
    for id in graph.ancestors(&[logits]) {
        let value = graph.value(id);
        let (Op::Gather { axis }, &[x, index]) = (&value.op, &value.inputs[..]) else { continue };
        if graph.shape(x)[*axis] != Dim::symbol(SEQ) || !depends[x.index()] || !from_end(graph, index) {
            continue;
        }
        let is_row = matches!(graph.shape(x), [batch, seq, rest @ ..] if *axis == 1
            && graph.value(index).op == Op::Constant(Tensor::i64(-1))
            && *batch == Dim::symbol(BATCH)
            && *seq == Dim::symbol(SEQ)
            && rest.iter().all(|dim| dim.value().is_some()));
        // What still has a length is not the row of one place.
        if !is_row || graph.shape(logits).iter().any(|dim| *dim == Dim::symbol(SEQ)) {
            let (scope, found) = (value.scope.to_string(), show(graph.shape(x)));
            return Err(ForeignError::LastPlace { path: path.to_owned(), scope, found });
        }
        found.push(id);
    }
    Ok(found)
}

/// Whether places are counted from the end of an axis, by negative numbers or by its length.
fn from_end(graph: &Graph, index: Id) -> bool {
    match &graph.value(index).op {
        Op::Constant(tensor) => tensor.as_i64s().is_none_or(|numbers| numbers.iter().any(|&number| number < 0)),
        _ => graph.ancestors(&[index]).into_iter().any(|id| graph.value(id).op == Op::DimSize(Dim::symbol(SEQ))),
    }
}

/// `logits` with the row at `position` (i64 `[batch]`) wherever the last place was taken. `at`: those places; `whole`: as of
/// [`row_at`].
pub fn at_position(graph: &mut Graph, logits: Id, at: &[Id], position: Id, whole: &[Id]) -> Result<Id, GraphError> {
    let mut changed: HashMap<Id, Id> = HashMap::new();
    for id in graph.ancestors(&[logits]) {
        let value = graph.value(id).clone();
        let inputs: Vec<Id> = value.inputs.iter().map(|input| changed.get(input).copied().unwrap_or(*input)).collect();
        let new = if at.contains(&id) {
            let row = row_at(graph, inputs[0], position, whole)?;
            graph.reshape(row, value.shape)?
        } else if inputs != value.inputs {
            graph.set_scope(&value.scope);
            graph.add(value.op, &inputs)?
        } else {
            continue;
        };
        changed.insert(id, new);
    }
    Ok(changed.get(&logits).copied().unwrap_or(logits))
}

/// The place of the last token, i64 `[batch]`, of a mask `[batch, seq]` that has its zeros on the right.
pub fn of_mask(graph: &mut Graph, mask: Id) -> Result<Id, GraphError> {
    graph.set_scope("position");
    let count = graph.reduce(Reduction::Sum, mask, &[1], false)?;
    let one = graph.constant(Tensor::i64(1))?;
    graph.minus(count, one)
}
