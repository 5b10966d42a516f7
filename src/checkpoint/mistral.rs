//! Mistral (arXiv 2310.06825): Llama with a sliding window in all layers.

use serde_json::{Value, json};

use super::decoder::GatedDecoder;
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn defaults() -> Value {
    json!({
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu",
        "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "sliding_window": 4096,
    })
}

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    let window = b.config.size_or_none("sliding_window")?;
    decoder.layers.iter_mut().for_each(|layer| layer.window = window);
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}
