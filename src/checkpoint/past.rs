//! A forward pass that goes on behind a prefix, whose keys and values were kept.
//!
//! In a decoder that only looks back, what a token becomes does not hang on those after it, so rows that begin alike share
//! the keys and values of their beginning. The graph is built by the same functions as the plain one; [`blocks`] asks where
//! the pass begins in four places only: positions, masks, rotations, and the keys and values that queries look at.
//!
//! [`blocks`]: super::blocks

use std::sync::Arc;

use super::blocks::AttentionShape;
use super::{BATCH, Builder, SEQ};
use crate::onnx::dim::PAST;
use crate::onnx::op::{Attribute, Op, Opaque};
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id};

/// The name of the symbolic number of tokens that queries may look at: the prefix's and the pass's own. tract reads it as the sum that
/// it is, and takes no other.
pub const TOTAL: &str = "past+seq";

/// What is known of the prefix while a graph is built.
#[derive(Debug)]
pub struct Past {
    layers: usize,
    /// f32 `[layers, 1, key_heads, past, size]` each: all rows of a batch go on behind one prefix.
    before: Option<[Id; 2]>,
    /// What the pass makes of its own tokens, a layer each: `[batch, key_heads, seq, size]`.
    keys: Vec<Id>,
    values: Vec<Id>,
    /// Why this model's passes cannot go on behind a prefix.
    reason: Option<&'static str>,
}

/// A forward graph that goes on behind a prefix.
#[derive(Debug)]
pub struct Continued {
    pub graph: Graph,
    /// i64 `[batch, seq]`: the tokens behind the prefix.
    pub input_ids: Id,
    /// i64 `[batch, total]`, of the whole row.
    pub attention_mask: Id,
    pub past_keys: Id,
    pub past_values: Id,
    /// `[batch, seq, vocab]`.
    pub logits: Id,
    pub keys: Vec<Id>,
    pub values: Vec<Id>,
}

impl Past {
    pub fn of_layers(layers: usize) -> Self {
        Past { layers, before: None, keys: Vec::new(), values: Vec::new(), reason: None }
    }

    /// The finished graph, or why there is none: a sentence without a full stop.
    pub fn finish(self, graph: Graph, inputs: [Id; 2], logits: Id) -> Result<Continued, String> {
        let [input_ids, attention_mask] = inputs;
        if let Some(reason) = self.reason {
            return Err(reason.to_owned());
        }
        match self.before {
            Some([past_keys, past_values]) if self.keys.len() == self.layers => {
                let Past { keys, values, .. } = self;
                Ok(Continued { graph, input_ids, attention_mask, past_keys, past_values, logits, keys, values })
            }
            _ => Err("its layers do not have one attention each".to_owned()),
        }
    }
}

impl Builder<'_> {
    /// The number of tokens that queries may look at.
    pub fn keys(&self) -> Dim {
        Dim::symbol(if self.past.is_some() { TOTAL } else { SEQ })
    }

    /// The places in their rows of the tokens of the pass, i64 `[seq]`.
    pub fn places(&mut self) -> Result<Id, GraphError> {
        let places = self.graph.add(Op::Arange(Dim::symbol(SEQ)), &[])?;
        if self.past.is_none() {
            return Ok(places);
        }
        let past = self.graph.add(Op::DimSize(Dim::symbol(PAST)), &[])?;
        self.graph.plus(places, past)
    }

    /// Says that keys and values of this model hang on what comes after them.
    pub fn hangs_on_the_rest(&mut self, reason: &'static str) {
        if let Some(past) = self.past {
            past.reason.get_or_insert(reason);
        }
    }

    /// Keys and values, `[batch, key_heads, seq, size]` each, behind those of the prefix: `[batch, key_heads, total, size]`.
    pub fn behind_past(&mut self, shape: AttentionShape, k: Id, v: Id) -> Result<[Id; 2], GraphError> {
        let Some(past) = &mut *self.past else { return Ok([k, v]) };
        let graph = &mut *self.graph;
        let (heads, size) = (Dim::known(shape.key_heads), Dim::known(shape.head_size));
        let (batch, before, total) = (Dim::symbol(BATCH), Dim::symbol(PAST), Dim::symbol(TOTAL));
        let inputs = match past.before {
            Some(inputs) => inputs,
            None => {
                let stored = [past.layers.into(), Dim::known(1), heads.clone(), before.clone(), size.clone()];
                let mut input = |name: &str| graph.input(name, Dtype::F32, stored.to_vec());
                *past.before.insert([input("past_keys")?, input("past_values")?])
            }
        };
        let layer = graph.constant(crate::onnx::Tensor::i64(past.keys.len() as i64))?;
        past.keys.push(k);
        past.values.push(v);
        let mut joined = |stored: Id, own: Id| {
            let of_layer = graph.add(Op::Gather { axis: 0 }, &[stored, layer])?;
            let repeated = vec![batch.clone(), heads.clone(), before.clone(), size.clone()];
            let of_rows = graph.add(Op::Expand(repeated), &[of_layer])?;
            // A sum of symbolic sizes has a name of its own, so the shape is stated rather than inferred.
            let join = Opaque {
                op_type: "Concat".to_owned(),
                attributes: vec![("axis".to_owned(), Attribute::Int(2))],
                dtype: graph.dtype(own),
                shape: vec![batch.clone(), heads.clone(), total.clone(), size.clone()],
            };
            graph.add(Op::Opaque(Arc::new(join)), &[of_rows, own])
        };
        Ok([joined(inputs[0], k)?, joined(inputs[1], v)?])
    }
}
