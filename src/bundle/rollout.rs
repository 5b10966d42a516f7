//! Attention rollout inside a graph, so that no more than one layer's weights are there at a time.

use super::contract::Graph as Contract;
use super::graphs::{Baked, attention_softmaxes};
use super::source::ForwardModel;
use crate::grad::GradError;
use crate::onnx::dim::{BATCH, SEQ};
use crate::onnx::op::{Logic, Op, Reduction};
use crate::onnx::{Dim, Dtype, Id};

/// `attention_rollout.onnx`: of the product of all layers' attention, each the mean over heads plus the identity (the residual
/// stream) with rows that sum to 1, the row of `position`, `[batch, seq]` (Abnar and Zuidema, arXiv 2005.00928).
///
/// Multiplied from the first layer up, as the pass goes: what is kept is one `[batch, seq, seq]`, for `layers * seq^3`
/// multiply-adds.
///
/// # Errors
/// Those of building a graph, which are faults of this program.
pub fn attention_rollout(source: &ForwardModel) -> Result<Baked, GradError> {
    let (mut graph, softmaxes) = attention_softmaxes(source)?;
    let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
    let position = graph.input("position", Dtype::I64, vec![batch.clone()])?;
    graph.set_scope("rollout");
    let dtype = graph.dtype(softmaxes[0]);
    let places = graph.add(Op::Arange(seq.clone()), &[])?;
    let own = graph.reshape(places, vec![seq.clone(), one.clone()])?;
    let identity = graph.logic(Logic::Equal, own, places)?;
    let mut below: Option<Id> = None;
    let mut rolled = graph.cast(identity, dtype)?;
    // All means are written before the chain of products, though they are not needed earlier: ONNX Runtime orders nodes from
    // the outputs back, at each node the input written last first. So it comes to the first layer's product first, and each
    // layer's weights go as soon as they are used. The other way round it makes the weights of all layers before any product.
    let mean = |softmax: Id| {
        let heads = vec![batch.clone(), Dim::known(source.heads), seq.clone(), seq.clone()];
        let weights = graph.reshape(softmax, heads)?;
        graph.reduce(Reduction::Mean, weights, &[1], false)
    };
    let means = softmaxes.into_iter().map(mean).collect::<Result<Vec<Id>, _>>()?;
    for mean in means {
        let sum = graph.reduce(Reduction::Sum, mean, &[2], true)?;
        let unit = graph.scalar(1.0, sum)?;
        let sum = graph.plus(sum, unit)?;
        // (A + 1) R, and below the first layer R is 1.
        let passed = below.map_or(Ok(mean), |below| graph.matmul(mean, below))?;
        let joined = graph.plus(passed, rolled)?;
        rolled = graph.divided(joined, sum)?;
        below = Some(rolled);
    }
    let asked = graph.reshape(position, vec![batch.clone(), one.clone(), one])?;
    let here = graph.logic(Logic::Equal, places, asked)?;
    let here = graph.cast(here, dtype)?;
    let row = graph.matmul(here, rolled)?;
    let row = graph.reshape(row, vec![batch, seq])?;
    let inputs = vec![source.input_ids, source.attention_mask, position];
    Ok(Baked { file: Contract::AttentionRollout.file(), graph, inputs, outputs: vec![("rollout", row)] })
}
