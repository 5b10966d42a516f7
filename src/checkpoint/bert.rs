//! BERT with a sequence classifier (arXiv 1810.04805): the first token goes through the pooler, a linear layer with a
//! tanh, and then the classifier.

use serde_json::{Value, json};

use super::blocks::{linear, prefix};
use super::encoder::{self, encoder};
use super::{Builder, CheckpointError, Forward};
use crate::onnx::op::Unary;

/// Left over in old files from another implementation, which had settings for the pooler.
const WITHOUT_EFFECT: &[&str] = &[
    "directionality",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
];

pub fn defaults() -> Value {
    let mut defaults = encoder::defaults();
    defaults["vocab_size"] = json!(30522);
    defaults["pad_token_id"] = json!(0);
    defaults
}

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    for key in WITHOUT_EFFECT {
        b.config.get(key);
    }
    let prefix = prefix(b, &["bert."], "embeddings.word_embeddings.weight");
    let encoder = encoder(b, prefix, 0)?;
    let (hidden, labels) = (encoder.hidden, encoder.labels);
    b.graph.set_scope("pooler");
    let pooled = linear(b, encoder.output, &format!("{prefix}pooler.dense"), [hidden, hidden], true)?;
    let pooled = b.graph.unary(Unary::Tanh, pooled)?;
    b.graph.set_scope("classifier");
    let logits = linear(b, pooled, "classifier", [labels, hidden], true)?;
    Ok(Forward {
        inputs_embeds: encoder.inputs_embeds,
        logits,
        layers: encoder.layers,
        heads: encoder.heads,
        max_positions: Some(encoder.max_positions),
        labels: Some(labels),
    })
}
