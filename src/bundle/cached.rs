//! The forward graph that goes on behind a prefix, whose keys and values it is given.

use super::contract::Graph as Contract;
use super::graphs::Baked;
use super::inside::{Made, stacked};
use super::select::row_at;
use super::source::ForwardModel;
use crate::grad::GradError;
use crate::onnx::dim::BATCH;
use crate::onnx::{Dim, Dtype};

/// `forward_cached.onnx`: the logits at `position` among the tokens behind the prefix, and the keys and values of those
/// tokens, `[layers, batch, key_heads, seq, size]` each: of one row, what a pass behind it is given as `past_keys` and
/// `past_values`. With an empty prefix it is `forward.onnx`.
///
/// # Errors
/// Those of building a graph, which are faults of this program.
pub fn forward_cached(source: &ForwardModel) -> Result<Made, GradError> {
    let continued = match &source.continued {
        Ok(continued) => continued,
        Err(reason) => return Ok(Err(reason.clone())),
    };
    let mut graph = continued.graph.clone();
    let batch = Dim::symbol(BATCH);
    let position = graph.input("position", Dtype::I64, vec![batch.clone()])?;
    let row = row_at(&mut graph, continued.logits, position, &[])?;
    let logits = graph.reshape(row, vec![batch, Dim::known(source.vocab)])?;
    graph.set_scope("kept");
    let keys = stacked(&mut graph, &continued.keys)?;
    let values = stacked(&mut graph, &continued.values)?;
    let inputs =
        vec![continued.input_ids, continued.attention_mask, position, continued.past_keys, continued.past_values];
    let outputs = vec![("logits", logits), ("keys", keys), ("values", values)];
    Ok(Ok(Baked { file: Contract::ForwardCached.file(), graph, inputs, outputs }))
}
