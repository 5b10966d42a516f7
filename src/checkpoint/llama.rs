//! Llama (arXiv 2302.13971; 2407.21783): RMSNorm, rotary positions, grouped queries, a gated feed-forward.

use serde_json::json;

use super::blocks::{AttentionShape, causal_bias, linear, rotate};
use super::rope::Frequencies;
use super::{Builder, CheckpointError, Forward, SEQ};
use crate::onnx::Id;
use crate::onnx::op::{Activation, Op, Real};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let hidden = b.config.size("hidden_size")?;
    let inner = b.config.size("intermediate_size")?;
    let layers = b.config.size("num_hidden_layers")?;
    let heads = b.config.size("num_attention_heads")?;
    let key_heads = b.config.size_or_none("num_key_value_heads")?.unwrap_or(heads);
    let head_size = b.config.size_or_none("head_dim")?.unwrap_or(hidden / heads);
    let vocab = b.config.size("vocab_size")?;
    let eps = Real::new(b.config.number("rms_norm_eps")?);
    let attention_bias = b.config.flag("attention_bias", false)?;
    let mlp_bias = b.config.flag("mlp_bias", false)?;
    let tied = b.config.flag("tie_word_embeddings", false)?;
    let max_positions = b.config.size_or_none("max_position_embeddings")?;
    b.config.only("hidden_act", json!("silu"))?;
    // Splits the projections for training on several devices; the sum is the same, the checkpoint's layout is not.
    b.config.only("pretraining_tp", json!(1))?;
    let shape = AttentionShape { heads, key_heads, head_size };
    shape.check().map_err(|problem| b.config.problem(problem))?;
    let frequencies = Frequencies::read(b.config, head_size)?;

    b.graph.set_scope("embed");
    let embedding = b.weights.tensor(b.graph, "model.embed_tokens.weight", &[vocab, hidden])?;
    let inputs_embeds = b.graph.add(Op::Gather { axis: 0 }, &[embedding, b.input_ids])?;
    b.graph.set_scope("positions");
    let tables = frequencies.tables(b.graph, SEQ)?;
    let bias = causal_bias(b.graph, b.attention_mask)?;

    let mut x = inputs_embeds;
    for layer in 0..layers {
        let prefix = format!("model.layers.{layer}");
        b.graph.set_scope(&format!("layers.{layer}.input_layernorm"));
        let normed = rms_norm(b, x, &format!("{prefix}.input_layernorm"), hidden, eps)?;

        b.graph.set_scope(&format!("layers.{layer}.self_attn"));
        let attention = format!("{prefix}.self_attn");
        let project = |b: &mut Builder, name: &str, heads: usize| {
            linear(b, normed, &format!("{attention}.{name}"), [heads * head_size, hidden], attention_bias)
        };
        let q = project(b, "q_proj", heads)?;
        let k = project(b, "k_proj", key_heads)?;
        let v = project(b, "v_proj", key_heads)?;
        let q = shape.split_queries(b.graph, q)?;
        let k = shape.split_keys(b.graph, k)?;
        let v = shape.split_keys(b.graph, v)?;
        let q = rotate(b.graph, q, tables)?;
        let k = rotate(b.graph, k, tables)?;
        let mixed = shape.attend(b.graph, [q, k, v], (head_size as f64).powf(-0.5), bias)?;
        let attended = linear(b, mixed, &format!("{attention}.o_proj"), [hidden, heads * head_size], attention_bias)?;
        x = b.graph.plus(x, attended)?;

        b.graph.set_scope(&format!("layers.{layer}.post_attention_layernorm"));
        let normed = rms_norm(b, x, &format!("{prefix}.post_attention_layernorm"), hidden, eps)?;
        b.graph.set_scope(&format!("layers.{layer}.mlp"));
        let gate = linear(b, normed, &format!("{prefix}.mlp.gate_proj"), [inner, hidden], mlp_bias)?;
        let up = linear(b, normed, &format!("{prefix}.mlp.up_proj"), [inner, hidden], mlp_bias)?;
        let gate = b.graph.activation(Activation::Silu, gate)?;
        let product = b.graph.times(gate, up)?;
        let fed = linear(b, product, &format!("{prefix}.mlp.down_proj"), [hidden, inner], mlp_bias)?;
        x = b.graph.plus(x, fed)?;
    }

    b.graph.set_scope("norm");
    let x = rms_norm(b, x, "model.norm", hidden, eps)?;
    b.graph.set_scope("lm_head");
    let head = if tied { "model.embed_tokens" } else { "lm_head" };
    let logits = linear(b, x, head, [vocab, hidden], false)?;
    Ok(Forward { inputs_embeds, logits, layers, heads, max_positions })
}

fn rms_norm(b: &mut Builder, x: Id, prefix: &str, size: usize, eps: Real) -> Result<Id, CheckpointError> {
    let weight = b.weights.tensor(b.graph, &format!("{prefix}.weight"), &[size])?;
    Ok(b.graph.add(Op::RmsNorm { eps }, &[x, weight])?)
}
