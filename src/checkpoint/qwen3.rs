//! Qwen 3, the dense models (arXiv 2505.09388): Qwen 2 without its biases, with norms on every head's queries and keys.

use super::decoder::{Biases, GatedDecoder};
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward, qwen2};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    b.config.count("head_dim")?;
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    let attention = b.config.flag("attention_bias")?;
    decoder.biases = Biases { queries_keys_values: attention, attention_output: attention, feed_forward: false };
    decoder.query_key_norms = true;
    qwen2::windows(b.config, &mut decoder)?;
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}
