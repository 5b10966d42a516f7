//! Llama (arXiv 2302.13971; 2407.21783): RMSNorm, rotary positions, grouped queries, a gated feed-forward.

use super::decoder::{Biases, GatedDecoder};
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    let attention = b.config.flag("attention_bias")?;
    decoder.biases = Biases {
        queries_keys_values: attention,
        attention_output: attention,
        feed_forward: b.config.flag("mlp_bias")?,
    };
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}
