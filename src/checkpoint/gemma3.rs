//! Gemma 3, text only (arXiv 2503.19786): Gemma 2 with norms on queries and keys instead of the cap on scores, five
//! layers with a sliding window to one without, and a rotation of its own for each kind of layer.

use serde_json::{Value, json};

use super::config::Config;
use super::decoder::GatedDecoder;
use super::rope::{Rotary, from_either};
use super::{Builder, CheckpointError, Forward, fields, gemma2};

/// Indices into the decoder's rotations.
const FULL: usize = 0;
const SLIDING: usize = 1;

/// A model that sees images, as it is without any: the decoder that `text_config` describes.
pub fn build_without_images(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let Some(text) = b.config.object("text_config")? else {
        return Err(b.config.problem("'text_config' is missing"));
    };
    let mut text = text.expecting(fields::of("gemma3_text"))?;
    text.only("model_type", json!("gemma3_text"))?;
    // transformers then narrows the windows, as of a decoder that looks both ways, and still masks what is ahead.
    if text.flag("use_bidirectional_attention")? {
        return Err(text.problem("'use_bidirectional_attention' is supported in 'gemma3_text' only"));
    }
    // The head belongs to the whole, which has no cap.
    text.only("final_logit_softcapping", Value::Null)?;
    text.set("tie_word_embeddings", json!(b.config.flag("tie_word_embeddings")?));
    if let (None, Some(padding)) = (b.config.token("pad_token_id")?, text.token("pad_token_id")?) {
        b.config.set("pad_token_id", json!(padding));
    }
    let Builder { weights, graph, input_ids, attention_mask, past, .. } = b;
    let (input_ids, attention_mask) = (*input_ids, *attention_mask);
    let forward = build(&mut Builder { config: &mut text, weights, graph, input_ids, attention_mask, past })?;
    b.config.finish_inner(text)?;
    Ok(forward)
}

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = gemma2::read(b.config)?;
    decoder.query_key_norms = true;
    decoder.logit_cap = b.config.positive_or_none("final_logit_softcapping")?;
    let mut window = b.config.size_or_none("sliding_window")?;
    if b.config.flag("use_bidirectional_attention")? {
        // Half on either side: strictly nearer than half + 1, or up to it where masks look both ways by themselves.
        let beyond = usize::from(decoder.both_ways);
        window = window.map(|size| size / 2 + beyond);
        decoder.both_ways = true;
    }
    let pattern = b.config.size("sliding_window_pattern")?;
    decoder.set_windows(b.config, window, |layer| (layer + 1) % pattern != 0)?;
    decoder.rotaries = rotaries(b.config, &decoder)?;
    for layer in &mut decoder.layers {
        layer.rotary = if layer.window.is_some() { SLIDING } else { FULL };
    }
    decoder.build(b)
}

/// The rotations of full and of sliding layers. Older files have one set of parameters, `rope_scaling`, meant for the full
/// layers, and `rope_local_base_freq` for the others. One set under the newer name is passed over by transformers: whoever
/// wrote it meant something else, unless it says what holds without it.
fn rotaries(config: &mut Config, decoder: &GatedDecoder) -> Result<Vec<Rotary>, CheckpointError> {
    let (full, sliding) = (decoder.rotary_defaults(1_000_000.0), decoder.rotary_defaults(10_000.0));
    let theta = config.positive_or_none("rope_theta")?;
    let local_theta = config.positive_or_none("rope_local_base_freq")?;
    let is_nested = |p: &Config| p.mentions("full_attention") || p.mentions("sliding_attention");
    let stands_alone = config.object("rope_parameters")?.is_some_and(|p| !p.is_empty() && !is_nested(&p));
    let rotaries = from_either(config, |config, mut parameters| {
        let nested = match &mut parameters {
            Some(p) if is_nested(p) => Some([p.object("full_attention")?, p.object("sliding_attention")?]),
            _ => None,
        };
        let [of_full, of_sliding] = match nested {
            Some(nested) => {
                parameters.map_or(Ok(()), |parameters| config.finish_inner(parameters))?;
                nested
            }
            None => [parameters, None],
        };
        Ok(vec![
            Rotary::from_parts(config, theta, of_full, &full)?,
            Rotary::from_parts(config, local_theta, of_sliding, &sliding)?,
        ])
    })?;
    if stands_alone {
        let without =
            [Rotary::from_parts(config, theta, None, &full)?, Rotary::from_parts(config, local_theta, None, &sliding)?];
        if rotaries != without {
            return Err(config.problem(
                "'rope_parameters' is one set of parameters, which transformers passes over in this architecture: each kind of \
                 layer has its own; put it under 'full_attention' in 'rope_parameters' if it is meant, or remove it",
            ));
        }
    }
    Ok(rotaries)
}
