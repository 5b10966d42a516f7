//! Llama (arXiv 2302.13971; 2407.21783): RMSNorm, rotary positions, grouped queries, a gated feed-forward.

use serde_json::{Value, json};

use super::decoder::{Biases, GatedDecoder};
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn defaults() -> Value {
    json!({
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
    })
}

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    let attention = b.config.flag("attention_bias")?;
    decoder.biases = Biases {
        queries_keys_values: attention,
        attention_output: attention,
        feed_forward: b.config.flag("mlp_bias")?,
    };
    // In how many parts products were computed in training: the sum is the same, and so is the checkpoint's layout.
    b.config.get("pretraining_tp");
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}
