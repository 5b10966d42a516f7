//! The parts that decoders are made of.

use super::rope::RotaryTables;
use super::{BATCH, CheckpointError, SEQ};
use crate::onnx::op::{Logic, Op, WeightLayout};
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id, Tensor};

/// Added to the scores of what must not be attended to. Finite, so that a row without any key stays a number.
const MASKED: f64 = -1e30;

/// What is added to attention scores: 0 where a token may look, a large negative number elsewhere.
/// f32 `[batch, 1, 1, seq, seq]`.
pub fn causal_bias(graph: &mut Graph, attention_mask: Id) -> Result<Id, GraphError> {
    let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
    let places = graph.add(Op::Arange(seq.clone()), &[])?;
    let queries = graph.reshape(places, vec![seq.clone(), one.clone()])?;
    let keys = graph.reshape(places, vec![one.clone(), seq.clone()])?;
    let causal = graph.logic(Logic::LessOrEqual, keys, queries)?;
    let present = graph.cast(attention_mask, Dtype::Bool)?;
    let present = graph.reshape(present, vec![batch, one.clone(), one.clone(), one, seq])?;
    let allowed = graph.logic(Logic::And, causal, present)?;
    let zero = graph.constant(Tensor::float(0.0, Dtype::F32))?;
    let masked = graph.constant(Tensor::float(MASKED, Dtype::F32))?;
    graph.choose(allowed, zero, masked)
}

/// The sizes of an attention block.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    pub heads: usize,
    /// Heads of keys and values; several query heads share one.
    pub key_heads: usize,
    pub head_size: usize,
}

impl AttentionShape {
    /// Checks that the heads can be shared out, before anything is allocated by their sizes.
    pub fn check(&self) -> Result<(), String> {
        const LIMIT: usize = 1 << 16;
        if self.head_size > LIMIT || self.heads > LIMIT {
            return Err(format!("{} heads of {} elements are absurd", self.heads, self.head_size));
        }
        if self.heads.is_multiple_of(self.key_heads) && self.head_size.is_multiple_of(2) {
            return Ok(());
        }
        Err(format!(
            "{} query heads cannot share {} key heads, or a head size of {} cannot be rotated",
            self.heads, self.key_heads, self.head_size
        ))
    }

    fn sizes(&self) -> [Dim; 3] {
        [self.key_heads, self.heads / self.key_heads, self.head_size].map(Dim::known)
    }

    /// Queries `[batch, seq, heads * size]` to `[batch, key_heads, group, seq, size]`.
    pub fn split_queries(&self, graph: &mut Graph, q: Id) -> Result<Id, GraphError> {
        let [key_heads, group, size] = self.sizes();
        let split = graph.reshape(q, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), key_heads, group, size])?;
        graph.transpose(split, &[0, 2, 3, 1, 4])
    }

    /// Keys or values `[batch, seq, key_heads * size]` to `[batch, key_heads, seq, size]`.
    pub fn split_keys(&self, graph: &mut Graph, k: Id) -> Result<Id, GraphError> {
        let [key_heads, _, size] = self.sizes();
        let split = graph.reshape(k, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), key_heads, size])?;
        graph.transpose(split, &[0, 2, 1, 3])
    }

    /// `softmax(scale * q k^T + bias) v`, with `q`, `k`, `v` split as above, to `[batch, seq, heads * size]`.
    ///
    /// The query heads that share a key head are rows of one matrix, so no key is ever repeated.
    pub fn attend(&self, graph: &mut Graph, [q, k, v]: [Id; 3], scale: f64, bias: Id) -> Result<Id, GraphError> {
        let [key_heads, group, size] = self.sizes();
        let (batch, seq) = (Dim::symbol(BATCH), Dim::symbol(SEQ));
        let rows = group.checked_mul(&seq).unwrap_or_else(|| seq.clone());
        let matrices = |last: Dim| vec![batch.clone(), key_heads.clone(), rows.clone(), last];
        let by_head = |last: Dim| vec![batch.clone(), key_heads.clone(), group.clone(), seq.clone(), last];

        let q = graph.scaled(q, scale)?;
        let q = graph.reshape(q, matrices(size.clone()))?;
        let k = graph.transpose_last(k)?;
        let scores = graph.matmul(q, k)?;
        let scores = graph.reshape(scores, by_head(seq.clone()))?;
        let scores = graph.plus(scores, bias)?;
        let weights = graph.add(Op::Softmax { axis: 4 }, &[scores])?;
        let weights = graph.reshape(weights, matrices(seq.clone()))?;
        let mixed = graph.matmul(weights, v)?;
        let mixed = graph.reshape(mixed, by_head(size))?;
        let mixed = graph.transpose(mixed, &[0, 3, 1, 2, 4])?;
        graph.reshape(mixed, vec![batch, seq, Dim::known(self.heads * self.head_size)])
    }
}

/// Rotates queries or keys.
pub fn rotate(graph: &mut Graph, x: Id, tables: RotaryTables) -> Result<Id, GraphError> {
    graph.add(Op::Rotary, &[x, tables.cos, tables.sin])
}

/// A PyTorch linear layer, `weight` and maybe `bias` under a prefix.
pub fn linear(
    builder: &mut super::Builder,
    x: Id,
    prefix: &str,
    [size_out, size_in]: [usize; 2],
    bias: bool,
) -> Result<Id, CheckpointError> {
    let weight = builder.weights.tensor(builder.graph, &format!("{prefix}.weight"), &[size_out, size_in])?;
    let bias = match bias {
        true => Some(builder.weights.tensor(builder.graph, &format!("{prefix}.bias"), &[size_out])?),
        false => None,
    };
    Ok(builder.graph.linear(x, weight, bias, WeightLayout::OutIn)?)
}
