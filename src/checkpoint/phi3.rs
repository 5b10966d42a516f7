//! Phi-3 (arXiv 2404.14219): Llama with fused projections, parts of heads rotated in some models, LongRoPE in others,
//! and maybe a sliding window in all layers.

use serde_json::{Value, json};

use super::decoder::GatedDecoder;
use super::rope::{Rotary, RotaryDefaults};
use super::{Builder, CheckpointError, Forward};

pub fn defaults() -> Value {
    json!({
        "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
        "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
        "pad_token_id": 32000,
    })
}

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    decoder.fused = true;
    // Of the code that some files bring along; here they mean nothing but these values.
    for key in ["full_attn_mod", "interpolate_factor"] {
        b.config.only(key, json!(1))?;
    }
    let window = b.config.size_or_none("sliding_window")?;
    decoder.layers.iter_mut().for_each(|layer| layer.window = window);
    let defaults = RotaryDefaults {
        partial: Some(1.0),
        longrope_names: &["su", "yarn"],
        original: Some(4096.0),
        ..decoder.rotary_defaults(10_000.0)
    };
    decoder.rotaries = vec![Rotary::read(b.config, &defaults)?];
    decoder.build(b)
}
