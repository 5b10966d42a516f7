//! Gemma 3, text only (arXiv 2503.19786): Gemma 2 with norms on queries and keys instead of the cap on scores, five
//! layers with a sliding window to one without, and a rotation of its own for each kind of layer.

use serde_json::{Value, json};

use super::config::Config;
use super::decoder::GatedDecoder;
use super::rope::{Rotary, scaling};
use super::{Builder, CheckpointError, Forward, gemma2};

/// What the file of a model that sees images says about images.
const OF_IMAGES: &[&str] = &[
    "boi_token_id",
    "boi_token_index",
    "eoi_token_id",
    "eoi_token_index",
    "image_token_id",
    "image_token_index",
    "mm_tokens_per_image",
    "vision_config",
];

/// Indices into the decoder's rotations.
const FULL: usize = 0;
const SLIDING: usize = 1;

pub fn defaults() -> Value {
    json!({
        "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true, "query_pre_attn_scalar": 256, "sliding_window": 4096, "pad_token_id": 0,
    })
}

pub fn defaults_without_images() -> Value {
    json!({"tie_word_embeddings": true})
}

/// A model that sees images, as it is without any: the decoder that `text_config` describes.
pub fn build_without_images(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let Some(text) = b.config.object("text_config")? else {
        return Err(b.config.problem("'text_config' is missing"));
    };
    let mut text = text.with_defaults(defaults());
    text.only("model_type", json!("gemma3_text"))?;
    // The head belongs to the whole, which has no cap.
    text.only("final_logit_softcapping", Value::Null)?;
    text.set("tie_word_embeddings", json!(b.config.flag("tie_word_embeddings")?));
    for key in OF_IMAGES {
        b.config.get(key);
    }
    if let (None, Some(padding)) = (b.config.token("pad_token_id")?, text.token("pad_token_id")?) {
        b.config.set("pad_token_id", json!(padding));
    }
    let Builder { weights, graph, input_ids, attention_mask, .. } = b;
    let (input_ids, attention_mask) = (*input_ids, *attention_mask);
    let forward = build(&mut Builder { config: &mut text, weights, graph, input_ids, attention_mask })?;
    text.finish()?;
    Ok(forward)
}

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = gemma2::read(b.config)?;
    decoder.query_key_norms = true;
    decoder.logit_cap = b.config.positive_or_none("final_logit_softcapping")?;
    let window = b.config.size_or_none("sliding_window")?;
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
