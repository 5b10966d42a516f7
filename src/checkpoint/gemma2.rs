//! Gemma 2 (arXiv 2408.00118): norms before and after each block, soft-capped scores and logits, a sliding window in
//! every other layer, scaled embeddings.

use serde_json::{Value, json};

use super::blocks::off;
use super::config::Config;
use super::decoder::{Biases, GatedDecoder};
use super::rope::Rotary;
use super::{Builder, CheckpointError, Forward};

pub fn defaults() -> Value {
    json!({
        "vocab_size": 256_000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0, "pad_token_id": 0,
    })
}

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let mut decoder = read(b.config)?;
    decoder.score_cap = b.config.positive_or_none("attn_logit_softcapping")?;
    decoder.logit_cap = b.config.positive_or_none("final_logit_softcapping")?;
    let window = b.config.size_or_none("sliding_window")?;
    // A repetition in the first files.
    b.config.only("sliding_window_size", json!(window))?;
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
