//! What the inputs of a foreign graph mean, by their names.

use super::array::Array;
use super::convert::{Converter, Outcome, Val};
use super::weights::element_type;
use crate::onnx::dim::{BATCH, SEQ};
use crate::onnx::op::Op;
use crate::onnx::proto::tensor_shape_proto::dimension;
use crate::onnx::proto::{ValueInfoProto, type_proto};
use crate::onnx::weights::converted;
use crate::onnx::{Dim, Dtype, Id, Tensor};

/// The two inputs that every graph of a bundle is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// i64 `[batch, seq]`.
    pub input_ids: Id,
    /// i64 `[batch, seq]`: 1 for tokens, 0 for padding, which is on the right.
    pub attention_mask: Id,
}

impl Inputs {
    /// Declares the inputs of a bundle's graphs.
    pub fn declare(c: &mut Converter) -> Outcome<Self> {
        let shape = vec![Dim::symbol(BATCH), Dim::symbol(SEQ)];
        let input_ids = c.graph.input("input_ids", Dtype::I64, shape.clone())?;
        let attention_mask = c.graph.input("attention_mask", Dtype::I64, shape)?;
        Ok(Inputs { input_ids, attention_mask })
    }

    /// What stands for an input of the file.
    pub fn meaning(&self, c: &mut Converter, port: &ValueInfoProto) -> Outcome<Val> {
        let name = port.name();
        let (dtype, dims) = declared(port)?;
        let meaning = match name {
            "input_ids" | "input_ids:0" | "ids" | "tokens" | "input" => self.input_ids,
            "attention_mask" | "attention_mask:0" | "mask" | "input_mask" => self.attention_mask,
            // Padding is on the right, so positions count from 0.
            "position_ids" | "positions" => {
                let shape = c.graph.shape(self.input_ids).to_vec();
                let places = c.graph.add(Op::Arange(Dim::symbol(SEQ)), &[])?;
                c.expand(places, &shape)?
            }
            // One text alone is the first segment.
            "token_type_ids" | "segment_ids" => {
                let shape = c.graph.shape(self.input_ids).to_vec();
                let zero = c.graph.constant(Tensor::i64(0))?;
                c.expand(zero, &shape)?
            }
            "inputs_embeds" => {
                return Err("starts from embeddings; export the model with its token embedding, from input_ids".into());
            }
            // The branch of an export that has a cache and the one that has none, in one file.
            super::order::NO_CACHE => return Ok(Array { dtype: Dtype::Bool, ..no_branch() }.into()),
            // How many of the last positions get logits; 0 means all.
            "num_logits_to_keep" | "logits_to_keep" => {
                let dims = vec![1; dims.map_or(0, |dims| dims.len())];
                return Ok(Array { dims, ..Array::ints(&[0]) }.into());
            }
            _ if is_cache(name) => return empty_cache(name, converted(dtype), dims),
            _ => {
                return Err("is no input that is known; known are input_ids, attention_mask, position_ids, \
                            token_type_ids and empty caches"
                    .into());
            }
        };
        // A mask may be given as 0 and 1 in any type.
        if !matches!(dtype, Dtype::I64 | Dtype::I32) && !name.contains("mask") {
            return Err(format!("has elements of type {}, not whole numbers", dtype.name()).into());
        }
        if let Some(dims) = dims {
            if dims.len() != 2 {
                return Err(format!("has {} axes, where [batch, sequence] is expected", dims.len()).into());
            }
            for (dim, what) in dims.iter().zip(["batch", "sequence length"]) {
                if let Some(size) = dim {
                    return Err(format!(
                        "has the fixed {what} {size}; export with dynamic axes for batch and sequence"
                    )
                    .into());
                }
            }
        }
        Ok(c.graph.cast(meaning, converted(dtype))?.into())
    }
}

fn no_branch() -> Array {
    Array { dtype: Dtype::Bool, dims: vec![1], data: vec![super::array::Scalar::Bool(false)] }
}

fn is_cache(name: &str) -> bool {
    name.starts_with("past") || name.contains("past_key") || name.contains("cache")
}

/// A cache is empty before the first token: the axis of its positions has size 0.
fn empty_cache(name: &str, dtype: Dtype, dims: Option<Vec<Option<usize>>>) -> Outcome<Val> {
    let dims = dims
        .filter(|dims| dims.len() == 4)
        .ok_or_else(|| format!("is a cache ('{name}') of a form that is not known; export without a cache"))?;
    let mut shape = Vec::with_capacity(4);
    for (axis, dim) in dims.iter().enumerate() {
        shape.push(match (axis, dim) {
            (0, _) => Dim::symbol(BATCH),
            (_, Some(size)) => Dim::known(*size),
            (_, None) => Dim::known(0),
        });
    }
    if shape.iter().filter(|dim| dim.value() == Some(0)).count() != 1 {
        return Err("is a cache of fixed length; export without a cache".into());
    }
    Ok(Val::Empty(dtype, shape))
}

/// Type and sizes that a port says it has; a symbolic size is `None`.
fn declared(port: &ValueInfoProto) -> Outcome<(Dtype, Option<Vec<Option<usize>>>)> {
    let kind = port.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else { return Err("is no tensor".into()) };
    let dtype = element_type(tensor.elem_type.unwrap_or(0))?;
    let dims = tensor.shape.as_ref().map(|shape| {
        let size = |dim: &crate::onnx::proto::tensor_shape_proto::Dimension| match dim.value {
            Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok(),
            _ => None,
        };
        shape.dim.iter().map(size).collect()
    });
    Ok((dtype, dims))
}
