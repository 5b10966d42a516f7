//! Qwen 2 and 2.5 (arXiv 2407.10671; 2412.15115): Llama with biases on queries, keys and values, and maybe a sliding
//! window in the upper layers.

use super::config::Config;
use super::decoder::{Biases, GatedDecoder};
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = GatedDecoder::read(b.config, "hidden_act")?;
    decoder.biases = Biases { queries_keys_values: true, ..Biases::default() };
    windows(b.config, &mut decoder)?;
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}

/// The layers from `max_window_layers` on have a window, if `use_sliding_window`.
pub fn windows(config: &mut Config, decoder: &mut GatedDecoder) -> Result<(), CheckpointError> {
    let given = config.size_or_none("sliding_window")?;
    let window = if config.flag("use_sliding_window")? { given } else { None };
    // 0 is a valid number here: all layers.
    let first = config.index_or_none("max_window_layers")?.unwrap_or(0);
    decoder.set_windows(config, window, |layer| window.is_some() && layer >= first)
}
