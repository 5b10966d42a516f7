//! Mistral (arXiv 2310.06825): Llama with a sliding window in all layers.

use super::decoder::GatedDecoder;
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    let window = b.config.size_or_none("sliding_window")?;
    // transformers takes Ministral's classes for a Mistral with kinds of layers.
    if b.config.texts_or_none("layer_types")?.iter().flatten().any(|kind| kind != "sliding_attention") {
        return Err(b.config.problem(
            "'layer_types' makes a Ministral of it, which is not supported: a Mistral's layers all have the window; an .onnx \
             file exported from the model may well bake",
        ));
    }
    decoder.layers.iter_mut().for_each(|layer| layer.window = window);
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}
