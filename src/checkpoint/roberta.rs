//! RoBERTa with a sequence classifier (arXiv 1907.11692): BERT with positions counted from behind the padding token's
//! id, and a classifier of two layers on the first token.
//!
//! Positions are those of the attention mask: a padding token inside the text, as a baseline may put there, counts as
//! any other. (Given token ids alone, the reference implementation counts only the tokens that are not padding; given
//! embeddings, which is what gradients are taken with respect to, it counts all.)

use super::blocks::{linear, prefix};
use super::encoder::encoder;
use super::{Builder, CheckpointError, Forward};
use crate::onnx::op::Unary;

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
    let padding = b.config.index_or_none("pad_token_id")?.unwrap_or(1);
    let prefix = prefix(b, &["roberta."], "embeddings.word_embeddings.weight");
    let encoder = encoder(b, prefix, padding.saturating_add(1))?;
    let (hidden, labels) = (encoder.hidden, encoder.labels);
    b.graph.set_scope("classifier");
    let dense = linear(b, encoder.output, "classifier.dense", [hidden, hidden], true)?;
    let squashed = b.graph.unary(Unary::Tanh, dense)?;
    let logits = linear(b, squashed, "classifier.out_proj", [labels, hidden], true)?;
    Ok(Forward {
        inputs_embeds: encoder.inputs_embeds,
        logits,
        layers: encoder.layers,
        heads: encoder.heads,
        max_positions: Some(encoder.max_positions),
        labels: Some(labels),
    })
}
