//! Gemma 3, text only (arXiv 2503.19786): Gemma 2 with norms on queries and keys instead of the cap on scores, five
//! layers with a sliding window to one without, and a rotation of its own for each kind of layer.

use super::config::Config;
use super::decoder::GatedDecoder;
use super::rope::{Rotary, scaling};
use super::{Builder, CheckpointError, Forward, gemma2};

/// Indices into the decoder's rotations.
const FULL: usize = 0;
const SLIDING: usize = 1;

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = gemma2::read(b.config)?;
    decoder.query_key_norms = true;
    decoder.logit_cap = b.config.positive_or_none("final_logit_softcapping")?;
    let window = b.config.size_or_default("sliding_window", Some(4096))?;
    let newer = b.config.size_or_none("sliding_window_pattern")?;
    let older = b.config.size_or_none("_sliding_window_pattern")?;
    let pattern = newer.or(older).unwrap_or(6);
    decoder.set_windows(b.config, window, |layer| (layer + 1) % pattern != 0)?;
    decoder.rotaries = rotaries(b.config, &decoder)?;
    for layer in &mut decoder.layers {
        layer.rotary = if layer.window.is_some() { SLIDING } else { FULL };
    }
    decoder.build(b)
}

/// The rotations of full and of sliding layers. Older files have one set of parameters, meant for the full layers, and
/// `rope_local_base_freq` for the others.
fn rotaries(config: &mut Config, decoder: &GatedDecoder) -> Result<Vec<Rotary>, CheckpointError> {
    let (full, sliding) = (decoder.rotary_defaults(1_000_000.0), decoder.rotary_defaults(10_000.0));
    let theta = config.positive_or_none("rope_theta")?;
    let local_theta = config.positive_or_none("rope_local_base_freq")?;
    let mut parameters = scaling(config)?;
    let nested = match &mut parameters {
        Some(p) if p.mentions("full_attention") || p.mentions("sliding_attention") => {
            let nested = [p.object("full_attention")?, p.object("sliding_attention")?];
            p.finish()?;
            Some(nested)
        }
        _ => None,
    };
    let [of_full, of_sliding] = nested.unwrap_or([parameters, None]);
    Ok(vec![
        Rotary::from_parts(config, theta, of_full, &full)?,
        Rotary::from_parts(config, local_theta, of_sliding, &sliding)?,
    ])
}
