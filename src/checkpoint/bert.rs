//! BERT with a sequence classifier (arXiv 1810.04805): the first token goes through the pooler, a linear layer with a
//! tanh, and then the classifier.

use super::blocks::{linear, prefix};
use super::encoder::encoder;
use super::{Builder, CheckpointError, Forward};
use crate::onnx::op::Unary;

pub fn build(b: &mut Builder) -> Result<Forward, CheckpointError> {
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
