//! GPT-2 (Radford et al., 2019): LayerNorm before each block, learned positions, one projection for queries, keys and
//! values.

use super::blocks::{
    AttentionShape, Reach, Scores, activation, attention_bias, conv1d, embed, head, layer_norm, learned_positions,
    looks_both_ways, prefix,
};
use super::{Builder, CheckpointError, Forward};
use crate::onnx::op::Real;

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let hidden = b.config.size("n_embd")?;
    let layers = b.config.count("n_layer")?;
    let heads = b.config.count("n_head")?;
    let vocab = b.config.size("vocab_size")?;
    let positions = b.config.size("n_positions")?;
    let inner = b.config.size_or_none("n_inner")?.unwrap_or(hidden.saturating_mul(4));
    let eps = Real::new(b.config.number("layer_norm_epsilon")?);
    let act = activation(b.config, "activation_function")?;
    let tied = b.config.flag("tie_word_embeddings")?;
    let scaled = b.config.flag("scale_attn_weights")?;
    let scaled_by_layer = b.config.flag("scale_attn_by_inverse_layer_idx")?;
    let reach = if looks_both_ways(b.config)? { Reach::Everywhere } else { Reach::Before };
    let shape = AttentionShape { heads, key_heads: heads, head_size: hidden / heads };
    shape.check().map_err(|problem| b.config.problem(problem))?;
    if shape.query_size() != hidden {
        return Err(b.config.problem(format!("'n_embd' {hidden} is no multiple of 'n_head' {heads}")));
    }

    let prefix = prefix(b, &["transformer."], "wte.weight");
    let table = format!("{prefix}wte");
    let inputs_embeds = embed(b, &format!("{table}.weight"), [vocab, hidden])?;
    b.graph.set_scope("positions");
    let places = learned_positions(b, &format!("{prefix}wpe.weight"), [positions, hidden], 0)?;
    let mut x = b.graph.plus(inputs_embeds, places)?;
    let bias = attention_bias(b, reach)?;

    for layer in 0..layers {
        let own = format!("{prefix}h.{layer}");
        b.graph.set_scope(&format!("layers.{layer}.ln_1"));
        let normed = layer_norm(b, x, &format!("{own}.ln_1"), hidden, eps)?;
        b.graph.set_scope(&format!("layers.{layer}.attn"));
        let fused = conv1d(b, normed, &format!("{own}.attn.c_attn"), [hidden, 3 * hidden])?;
        let q = b.graph.slice(fused, 2, 0, hidden)?;
        let k = b.graph.slice(fused, 2, hidden, 2 * hidden)?;
        let v = b.graph.slice(fused, 2, 2 * hidden, 3 * hidden)?;
        let parts = [shape.split_queries(b.graph, q)?, shape.split_keys(b.graph, k)?, shape.split_keys(b.graph, v)?];
        let mut scale = if scaled { (shape.head_size as f64).powf(-0.5) } else { 1.0 };
        if scaled_by_layer {
            scale /= (layer + 1) as f64;
        }
        let mixed = shape.attend(b, parts, Scores { scale, cap: None, bias })?;
        let attended = conv1d(b, mixed, &format!("{own}.attn.c_proj"), [hidden, hidden])?;
        x = b.graph.plus(x, attended)?;

        b.graph.set_scope(&format!("layers.{layer}.ln_2"));
        let normed = layer_norm(b, x, &format!("{own}.ln_2"), hidden, eps)?;
        b.graph.set_scope(&format!("layers.{layer}.mlp"));
        let up = conv1d(b, normed, &format!("{own}.mlp.c_fc"), [hidden, inner])?;
        let active = b.graph.activation(act, up)?;
        let fed = conv1d(b, active, &format!("{own}.mlp.c_proj"), [inner, hidden])?;
        x = b.graph.plus(x, fed)?;
    }

    b.graph.set_scope("norm");
    let x = layer_norm(b, x, &format!("{prefix}ln_f"), hidden, eps)?;
    let logits = head(b, x, &table, "lm_head", tied, [vocab, hidden])?;
    Ok(Forward { inputs_embeds, logits, layers, heads, max_positions: Some(positions), labels: None })
}
