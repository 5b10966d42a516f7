//! GPT-NeoX and Pythia (arXiv 2204.06745; 2304.01373): attention and feed-forward side by side, parts of heads rotated,
//! each head's query, key and value next to each other in one projection.

use super::blocks::{
    AttentionShape, Reach, Scores, activation, attention_bias, embed, head, layer_norm, linear, looks_both_ways,
    prefix, rotate,
};
use super::config::Config;
use super::rope::{Rotary, RotaryDefaults, from_either};
use super::{BATCH, Builder, CheckpointError, Forward, SEQ};
use crate::onnx::Dim;
use crate::onnx::op::Real;

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let hidden = b.config.size("hidden_size")?;
    let inner = b.config.size("intermediate_size")?;
    let layers = b.config.count("num_hidden_layers")?;
    let heads = b.config.count("num_attention_heads")?;
    let vocab = b.config.size("vocab_size")?;
    let eps = Real::new(b.config.number("layer_norm_eps")?);
    let act = activation(b.config, "hidden_act")?;
    let tied = b.config.flag("tie_word_embeddings")?;
    let parallel = b.config.flag("use_parallel_residual")?;
    let attention_bias_given = b.config.flag("attention_bias")?;
    let max_positions = b.config.size_or_none("max_position_embeddings")?;
    let reach = if looks_both_ways(b.config)? { Reach::Everywhere } else { Reach::Before };
    let size = hidden / heads;
    if let Some(other) = b.config.size_or_none("head_dim")?.filter(|&other| other != size) {
        // The reference implementation would take it for the rotation alone.
        let problem =
            format!("'head_dim' is {other}, and heads have {size} elements ('hidden_size' / 'num_attention_heads')");
        return Err(b.config.problem(problem));
    }
    let shape = AttentionShape { heads, key_heads: heads, head_size: size };
    shape.check().map_err(|problem| b.config.problem(problem))?;
    if shape.query_size() != hidden {
        return Err(b
            .config
            .problem(format!("'hidden_size' {hidden} is no multiple of 'num_attention_heads' {heads}")));
    }
    let rotary = rotary(b.config, size, max_positions)?;
    let max_positions = rotary.max_positions(max_positions);

    let prefix = prefix(b, &["gpt_neox."], "embed_in.weight");
    let table = format!("{prefix}embed_in");
    let inputs_embeds = embed(b, &format!("{table}.weight"), [vocab, hidden])?;
    b.graph.set_scope("positions");
    let tables = rotary.tables(b)?;
    let bias = attention_bias(b, reach)?;

    let mut x = inputs_embeds;
    for layer in 0..layers {
        let own = format!("{prefix}layers.{layer}");
        b.graph.set_scope(&format!("layers.{layer}.input_layernorm"));
        let normed = layer_norm(b, x, &format!("{own}.input_layernorm"), hidden, eps)?;
        b.graph.set_scope(&format!("layers.{layer}.attention"));
        let attention = format!("{own}.attention");
        let fused =
            linear(b, normed, &format!("{attention}.query_key_value"), [3 * hidden, hidden], attention_bias_given)?;
        let by_head = [Dim::symbol(BATCH), Dim::symbol(SEQ), heads.into(), 3.into(), size.into()];
        let fused = b.graph.reshape(fused, by_head.to_vec())?;
        let q = b.graph.slice(fused, 3, 0, 1)?;
        let k = b.graph.slice(fused, 3, 1, 2)?;
        let v = b.graph.slice(fused, 3, 2, 3)?;
        let q = shape.split_queries(b.graph, q)?;
        let k = shape.split_keys(b.graph, k)?;
        let v = shape.split_keys(b.graph, v)?;
        let (q, k) = (rotate(b.graph, q, tables)?, rotate(b.graph, k, tables)?);
        let scores = Scores { scale: (size as f64).powf(-0.5), cap: None, bias };
        let mixed = shape.attend(b, [q, k, v], scores)?;
        let attended = linear(b, mixed, &format!("{attention}.dense"), [hidden, hidden], attention_bias_given)?;
        let after = b.graph.plus(x, attended)?;

        b.graph.set_scope(&format!("layers.{layer}.post_attention_layernorm"));
        let source = if parallel { x } else { after };
        let normed = layer_norm(b, source, &format!("{own}.post_attention_layernorm"), hidden, eps)?;
        b.graph.set_scope(&format!("layers.{layer}.mlp"));
        let up = linear(b, normed, &format!("{own}.mlp.dense_h_to_4h"), [inner, hidden], true)?;
        let active = b.graph.activation(act, up)?;
        let fed = linear(b, active, &format!("{own}.mlp.dense_4h_to_h"), [hidden, inner], true)?;
        x = b.graph.plus(after, fed)?;
    }

    b.graph.set_scope("norm");
    let x = layer_norm(b, x, &format!("{prefix}final_layer_norm"), hidden, eps)?;
    let logits = head(b, x, &table, "embed_out", tied, [vocab, hidden])?;
    Ok(Forward { inputs_embeds, logits, layers, heads, max_positions, labels: None })
}

/// Beside the parameters of rotation the base is called `rotary_emb_base` and the fraction `rotary_pct`. Some files repeat
/// them under the usual names, which the reference implementation does not read there.
fn rotary(config: &mut Config, head_size: usize, max_positions: Option<usize>) -> Result<Rotary, CheckpointError> {
    from_either(config, |config, parameters| one_rotary(config, parameters, head_size, max_positions))
}

fn one_rotary(
    config: &mut Config,
    parameters: Option<Config>,
    head_size: usize,
    max_positions: Option<usize>,
) -> Result<Rotary, CheckpointError> {
    let mut beside = |own: &str, usual: &str| {
        let value = config.positive(own)?;
        let inside = parameters.as_ref().is_some_and(|parameters| parameters.mentions(usual));
        match config.positive_or_none(usual)? {
            Some(other) if other != value && !inside => {
                Err(config.problem(format!("'{usual}' is {other}, and '{own}', which counts, is {value}")))
            }
            _ => Ok(value),
        }
    };
    let theta = beside("rotary_emb_base", "rope_theta")?;
    let fraction = beside("rotary_pct", "partial_rotary_factor")?;
    let defaults = RotaryDefaults {
        head_size,
        theta,
        partial: Some(fraction),
        longrope_names: &[],
        max_positions,
        original: None,
    };
    Rotary::from_parts(config, None, parameters, &defaults)
}
