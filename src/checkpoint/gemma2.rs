//! Gemma 2 (arXiv 2408.00118): norms before and after each block, soft-capped scores and logits, a sliding window in
//! every other layer, scaled embeddings.

use super::config::Config;
use super::decoder::{Biases, GatedDecoder};
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = read(b.config)?;
    decoder.score_cap = b.config.positive_or_none("attn_logit_softcapping")?;
    decoder.logit_cap = b.config.positive_or_none("final_logit_softcapping")?;
    let window = b.config.size_or_none("sliding_window")?;
    decoder.set_windows(b.config, window, |layer| layer % 2 == 0)?;
    decoder.rotaries = vec![Rotary::read(b.config, &decoder.rotary_defaults(10_000.0))?];
    decoder.build(b)
}

/// What Gemma 2 and Gemma 3 share.
pub fn read(config: &mut Config) -> Result<GatedDecoder, CheckpointError> {
    config.count("head_dim")?;
    let decoder = GatedDecoder::read(config, "hidden_activation")?;
    let attention = config.flag("attention_bias")?;
    Ok(GatedDecoder {
        biases: Biases { queries_keys_values: attention, attention_output: attention, feed_forward: false },
        post_norms: true,
        norms_around_one: true,
        embedding_scale: (decoder.hidden as f64).sqrt(),
        score_scale: config.positive("query_pre_attn_scalar")?.powf(-0.5),
        ..decoder
    })
}
