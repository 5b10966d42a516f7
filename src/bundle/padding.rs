//! Models that look for padding in `input_ids` themselves.
//!
//! RoBERTa counts its positions over the ids that are not the padding token, and classifiers made from decoders take
//! their score at the last such id. In a bundle it is `attention_mask` that says what is padding, and the gradient graph
//! starts from embeddings and has no ids, so a comparison of ids with the padding token becomes a look at the mask. For
//! a text that has no padding token inside it the two are the same.

use std::path::Path;

use crate::onnx::op::{Logic, Op};
use crate::onnx::{Dtype, Graph, GraphError, Id, Tensor};

use super::foreign::ForeignError;

/// The same graph, with comparisons of ids with the padding token made from the mask; `roots` as they are numbered there.
///
/// `known`: the padding token, if something beside the file says which it is. Without that a token is taken for it only
/// if all that is ever asked is which ids are something else.
pub fn from_mask(
    path: &Path,
    graph: &Graph,
    [ids, mask]: [Id; 2],
    roots: &[Id],
    known: Option<i64>,
) -> Result<(Graph, Vec<Id>), ForeignError> {
    let used = graph.ancestors(roots);
    let comparisons: Vec<(Id, i64)> =
        used.iter().filter_map(|&id| Some((id, compared_token(graph, id, ids)?))).collect();
    for &(id, token) in &comparisons {
        let only_others =
            || used.iter().map(|&user| graph.value(user)).all(|user| !user.inputs.contains(&id) || user.op == Op::Not);
        if !known.map_or_else(only_others, |known| known == token) {
            let scope = graph.value(id).scope.to_string();
            return Err(ForeignError::Compared { path: path.to_owned(), scope, token, known: says(known) });
        }
    }
    let rebuilt = replaced(graph, mask, roots, &comparisons);
    rebuilt.map_err(|source| ForeignError::Graph { path: path.to_owned(), source })
}

fn says(known: Option<i64>) -> String {
    match known {
        Some(known) => format!("config.json beside the file says that padding is {known}"),
        None => "if that is padding, say so as \"pad_token_id\" in a config.json beside the file".to_owned(),
    }
}

/// The token that all ids are compared with.
fn compared_token(graph: &Graph, id: Id, ids: Id) -> Option<i64> {
    let value = graph.value(id);
    let (Op::Logic(Logic::Equal), &[a, b]) = (&value.op, &value.inputs[..]) else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(x, token)| {
        // The shape is the ids': nothing is repeated.
        (source(graph, x) == ids && graph.shape(x) == graph.shape(id)).then(|| number(graph, token))?
    })
}

/// What a value is but for its shape and width.
fn source(graph: &Graph, mut id: Id) -> Id {
    while let Op::Reshape(_) | Op::Cast(Dtype::I64 | Dtype::I32) = graph.value(id).op {
        id = graph.value(id).inputs[0];
    }
    id
}

/// The one whole number that a constant holds.
fn number(graph: &Graph, mut id: Id) -> Option<i64> {
    while let Op::Reshape(_) | Op::Expand(_) | Op::Cast(Dtype::I64 | Dtype::I32) = graph.value(id).op {
        id = graph.value(id).inputs[0];
    }
    match &graph.value(id).op {
        Op::Constant(Tensor { dtype: Dtype::I64, bytes, .. }) => Some(i64::from_le_bytes(bytes[..].try_into().ok()?)),
        Op::Constant(Tensor { dtype: Dtype::I32, bytes, .. }) => {
            Some(i32::from_le_bytes(bytes[..].try_into().ok()?).into())
        }
        _ => None,
    }
}

fn replaced(graph: &Graph, mask: Id, roots: &[Id], comparisons: &[(Id, i64)]) -> Result<(Graph, Vec<Id>), GraphError> {
    let mut out = Graph::new();
    let mut renamed: Vec<Option<Id>> = vec![None; graph.len()];
    // The mask comes first, so that it is there for whatever needs it.
    for id in graph.ancestors(&[mask]).into_iter().chain(graph.ancestors(roots)) {
        if renamed[id.index()].is_some() {
            continue;
        }
        let value = graph.value(id);
        out.set_scope(&value.scope);
        renamed[id.index()] = Some(match renamed[mask.index()] {
            Some(mask) if comparisons.iter().any(|(comparison, _)| *comparison == id) => {
                let padding = out.constant(Tensor::i64(0))?;
                let is_padding = out.logic(Logic::Equal, mask, padding)?;
                out.reshape(is_padding, value.shape.clone())?
            }
            _ => {
                let inputs: Vec<Id> = value.inputs.iter().filter_map(|input| renamed[input.index()]).collect();
                out.add(value.op.clone(), &inputs)?
            }
        });
    }
    let roots = roots.iter().filter_map(|id| renamed[id.index()]).collect();
    Ok((out, roots))
}
