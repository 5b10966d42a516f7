//! The encoder of BERT and of what follows it: attention in both directions, LayerNorm after each block.

use serde_json::{Value, json};

use super::blocks::{
    AttentionShape, Reach, Scores, activation, attention_bias, embed, layer_norm, learned_positions, linear,
};
use super::{Builder, CheckpointError};
use crate::onnx::Id;
use crate::onnx::op::Real;

/// An encoder with a classifier on its first token.
pub struct Encoder {
    pub hidden: usize,
    pub inputs_embeds: Id,
    /// The last layer's output, `[batch, seq, hidden]`.
    pub output: Id,
    pub layers: usize,
    pub heads: usize,
    /// Tokens that there are positions for.
    pub max_positions: usize,
    pub labels: usize,
}

/// Builds the encoder whose tensors are under `prefix`. The first token has the row `first_position` of the table of
/// positions; all tokens are of type 0.
pub fn encoder(b: &mut Builder, prefix: &str, first_position: usize) -> Result<Encoder, CheckpointError> {
    let hidden = b.config.size("hidden_size")?;
    let inner = b.config.size("intermediate_size")?;
    let layers = b.config.count("num_hidden_layers")?;
    let heads = b.config.count("num_attention_heads")?;
    let vocab = b.config.size("vocab_size")?;
    let positions = b.config.size("max_position_embeddings")?;
    let types = b.config.size("type_vocab_size")?;
    let eps = Real::new(b.config.number("layer_norm_eps")?);
    let act = activation(b.config, "hidden_act")?;
    let labels = labels(b)?;
    b.config.only("position_embedding_type", json!("absolute"))?;
    let shape = AttentionShape { heads, key_heads: heads, head_size: hidden / heads };
    shape.check().map_err(|problem| b.config.problem(problem))?;
    if shape.query_size() != hidden {
        return Err(b
            .config
            .problem(format!("'hidden_size' {hidden} is no multiple of 'num_attention_heads' {heads}")));
    }
    if positions <= first_position {
        return Err(b.config.problem(format!("'max_position_embeddings' is {positions}, which leaves no position")));
    }

    let tables = format!("{prefix}embeddings");
    let inputs_embeds = embed(b, &format!("{tables}.word_embeddings.weight"), [vocab, hidden])?;
    b.graph.set_scope("positions");
    let table = format!("{tables}.position_embeddings.weight");
    let places = learned_positions(b, &table, [positions, hidden], first_position)?;
    let table = format!("{tables}.token_type_embeddings.weight");
    let kind = b.weights.rows(b.graph, &table, &[types, hidden], 0, 1)?;
    let extra = b.graph.plus(places, kind)?;
    b.graph.set_scope("embed");
    let x = b.graph.plus(inputs_embeds, extra)?;
    let mut x = layer_norm(b, x, &format!("{tables}.LayerNorm"), hidden, eps)?;
    let bias = attention_bias(b, Reach::Everywhere)?;

    for layer in 0..layers {
        let own = format!("{prefix}encoder.layer.{layer}");
        b.graph.set_scope(&format!("layers.{layer}.attention"));
        let [q, k, v] = ["query", "key", "value"]
            .map(|name| linear(b, x, &format!("{own}.attention.self.{name}"), [hidden, hidden], true));
        let parts = [shape.split_queries(b.graph, q?)?, shape.split_keys(b.graph, k?)?, shape.split_keys(b.graph, v?)?];
        let scores = Scores { scale: (shape.head_size as f64).powf(-0.5), cap: None, bias };
        let mixed = shape.attend(b, parts, scores)?;
        let attended = linear(b, mixed, &format!("{own}.attention.output.dense"), [hidden, hidden], true)?;
        let sum = b.graph.plus(x, attended)?;
        b.graph.set_scope(&format!("layers.{layer}.attention.output.LayerNorm"));
        x = layer_norm(b, sum, &format!("{own}.attention.output.LayerNorm"), hidden, eps)?;

        b.graph.set_scope(&format!("layers.{layer}.intermediate"));
        let up = linear(b, x, &format!("{own}.intermediate.dense"), [inner, hidden], true)?;
        let active = b.graph.activation(act, up)?;
        b.graph.set_scope(&format!("layers.{layer}.output"));
        let fed = linear(b, active, &format!("{own}.output.dense"), [hidden, inner], true)?;
        let sum = b.graph.plus(x, fed)?;
        b.graph.set_scope(&format!("layers.{layer}.output.LayerNorm"));
        x = layer_norm(b, sum, &format!("{own}.output.LayerNorm"), hidden, eps)?;
    }
    let max_positions = positions - first_position;
    Ok(Encoder { hidden, inputs_embeds, output: x, layers, heads, max_positions, labels })
}

/// The number of labels: as many as have names, 2 where none has.
fn labels(b: &mut Builder) -> Result<usize, CheckpointError> {
    let named = b.config.get("id2label").and_then(Value::as_object).map(|names| names.len());
    let counted = b.config.size_or_none("num_labels")?;
    let formerly = b.config.size_or_none("_num_labels")?;
    match (named, counted) {
        (Some(named), Some(counted)) if named != counted => {
            Err(b.config.problem(format!("'id2label' names {named} labels, and 'num_labels' is {counted}")))
        }
        (Some(0), _) => Err(b.config.problem("'id2label' names no label")),
        (named, counted) => Ok(named.or(counted).or(formerly).unwrap_or(2)),
    }
}
