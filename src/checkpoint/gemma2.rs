//! Gemma 2 (arXiv 2408.00118): norms before and after each block, soft-capped scores and logits, a sliding window in
//! every other layer, scaled embeddings.

use super::blocks::off;
use super::config::Config;
use super::decoder::{Biases, GatedDecoder};
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = read(b.config)?;
    decoder.score_cap = b.config.positive_or_default("attn_logit_softcapping", Some(50.0))?;
    decoder.logit_cap = b.config.positive_or_default("final_logit_softcapping", Some(30.0))?;
    let window = b.config.size_or_default("sliding_window", Some(4096))?;
    decoder.set_windows(b.config, window, |layer| layer % 2 == 0)?;
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}

/// What Gemma 2 and Gemma 3 share.
pub fn read(config: &mut Config) -> Result<GatedDecoder, CheckpointError> {
    config.count("head_dim")?;
    // An older name, which the newer one overrules.
    config.get("hidden_act");
    off(config, &["use_bidirectional_attention"])?;
    let decoder = GatedDecoder::read(config, "hidden_activation", true)?.with_key_heads_given(config)?;
    let attention = config.flag("attention_bias", false)?;
    Ok(GatedDecoder {
        biases: Biases { queries_keys_values: attention, attention_output: attention, feed_forward: false },
        post_norms: true,
        norms_around_one: true,
        embedding_scale: (decoder.hidden as f64).sqrt(),
        score_scale: config.positive("query_pre_attn_scalar")?.powf(-0.5),
        ..decoder
    })
}
