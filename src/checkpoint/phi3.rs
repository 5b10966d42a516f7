//! Phi-3 (arXiv 2404.14219): Llama with fused projections, parts of heads rotated in some models, LongRoPE in others,
//! and maybe a sliding window in all layers.

use super::decoder::GatedDecoder;
use super::rope::{Rotary, RotaryDefaults};
use super::{Builder, CheckpointError, Forward};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    decoder.fused = true;
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
