//! Mistral (arXiv 2310.06825): Llama with a sliding window in all layers.

use super::decoder::GatedDecoder;
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    let window = b.config.size_or_none("sliding_window")?;
    decoder.layers.iter_mut().for_each(|layer| layer.window = window);
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}
