//! `bundle.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::contract::Graph;
use crate::chat::ChatTemplate;
use crate::digest::sha256;
use crate::grad::Audit;
use crate::labels::{Labels, MAX_LABELS};

use crate::onnx::Dtype;

pub use super::contract::{FORMAT_VERSION, MANIFEST_FILE, OLDEST_VERSION, TOKENIZER_FILE, WEIGHT_FILE};

/// What a bundle's weights are stored as. They are computed with in what [`ComputeType`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    #[default]
    F32,
    BF16,
    F16,
}

impl WeightType {
    /// By the name that a manifest has for it.
    pub fn named(name: &str) -> Option<Self> {
        [WeightType::F32, WeightType::BF16, WeightType::F16].into_iter().find(|kind| kind.dtype().name() == name)
    }

    pub fn dtype(self) -> Dtype {
        match self {
            WeightType::F32 => Dtype::F32,
            WeightType::BF16 => Dtype::BF16,
            WeightType::F16 => Dtype::F16,
        }
    }
}

/// What a bundle's graphs compute in, between ports that are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComputeType {
    #[default]
    F32,
    /// Everything, but for the error function, which ONNX Runtime's CPU provider has in f32 alone.
    F64,
    /// Products of matrices; the rest in f32.
    F16,
}

impl ComputeType {
    /// By the name that a manifest has for it.
    pub fn named(name: &str) -> Option<Self> {
        [ComputeType::F32, ComputeType::F64, ComputeType::F16].into_iter().find(|kind| kind.dtype().name() == name)
    }

    pub fn dtype(self) -> Dtype {
        match self {
            ComputeType::F32 => Dtype::F32,
            ComputeType::F64 => Dtype::F64,
            ComputeType::F16 => Dtype::F16,
        }
    }

    /// Bytes that weights have in a session, stored as `weights` in so many.
    pub fn wide(self, stored: u64, weights: WeightType) -> u64 {
        let computed = match self {
            // For products in f16 ONNX Runtime's CPU provider makes f32 of them.
            ComputeType::F32 | ComputeType::F16 => Dtype::F32,
            ComputeType::F64 => Dtype::F64,
        };
        (stored / weights.dtype().size() as u64).saturating_mul(computed.size() as u64)
    }
}

/// What a bundle is, as `bundle.json` says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format_version: u32,
    pub source: Source,
    /// `model_type` of the checkpoint, e.g. `llama`.
    pub architecture: String,
    pub dimensions: Dimensions,
    /// The names of a classifier's labels, as many as `dimensions` says; bundles of before there were names have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Element type of the weights: `f32`, `bf16` or `f16`.
    pub dtype: String,
    /// What the graphs compute in, where that is not f32: `f64`, or `f16` for products of matrices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_dtype: Option<String>,
    /// The token that stands for "nothing here"; `None` when the tokenizer offers none.
    pub baseline_token_id: Option<i64>,
    /// The token that fills up short texts, where the source names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<i64>,
    /// The tokenizer's chat template, if it has one; bundles of before 2026-11-25 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<ChatTemplate>,
    /// What was decided while the bundle was made and its user should know: a sentence each, without a full stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Fields of `config.json` that nobody reads, neither this program nor the transformers library, and which hence change
    /// nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_fields: Vec<String>,
    /// Every file of the bundle but `bundle.json`, by its name in the folder.
    pub files: BTreeMap<String, FileEntry>,
    /// By file name.
    pub graphs: BTreeMap<String, GraphPorts>,
    /// Graphs that could not be made of this model, by file name, and why: a sentence without a full stop.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub absent: BTreeMap<String, String>,
    /// Which rule was applied where in the gradient graph.
    pub audit: Audit,
    /// SHA-256 of `bundle.json` without these 64 digits (`"manifest_sha256": ""`); none in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
}

impl Manifest {
    /// The text of `bundle.json`, with its own hash.
    pub(super) fn seal(&mut self) -> serde_json::Result<Vec<u8>> {
        self.manifest_sha256 = Some(String::new());
        self.manifest_sha256 = Some(sha256(&self.text()?));
        self.text()
    }

    fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// That the text it was read from has the hash that it states.
    pub(super) fn check_seal(&self, text: &str) -> Result<(), String> {
        let Some(stated) = &self.manifest_sha256 else {
            // Before version 2 there was none.
            return if self.format_version < 2 { Ok(()) } else { Err("it lacks its own SHA-256".to_owned()) };
        };
        if !stated.is_empty() && text.matches(stated.as_str()).count() == 1 {
            let found = sha256(text.replacen(stated.as_str(), "", 1).as_bytes());
            if found == *stated {
                return Ok(());
            }
        }
        Err("it is not as it was written: its SHA-256 is not the one that it states of itself".to_owned())
    }

    /// The keys, or the values, that `forward_cached.onnx` makes of a token: layers, heads and the size of one; `None` where
    /// there is no such graph.
    pub fn kept_shape(&self) -> Option<[usize; 3]> {
        let ports = self.graphs.get(Graph::ForwardCached.file())?;
        let shape = &ports.inputs.iter().find(|port| port.name == "past_keys")?.shape;
        let size = |axis: usize| shape.get(axis)?.parse::<usize>().ok();
        Some([size(0)?, size(2)?, size(4)?])
    }

    /// What its weights are stored as.
    ///
    /// # Errors
    /// For a type that bundles do not have.
    pub fn weight_type(&self) -> Result<WeightType, String> {
        WeightType::named(&self.dtype)
            .ok_or_else(|| format!("its `dtype` is '{}'; f32, bf16 and f16 are understood", self.dtype))
    }

    /// What its graphs compute in.
    ///
    /// # Errors
    /// For a type that bundles do not have.
    pub fn compute_type(&self) -> Result<ComputeType, String> {
        let Some(name) = &self.compute_dtype else { return Ok(ComputeType::F32) };
        ComputeType::named(name)
            .ok_or_else(|| format!("its `compute_dtype` is '{name}'; f64 and f16 are understood, and none for f32"))
    }

    /// How many logits the model gives: one a token of the vocabulary, or one a label.
    pub fn outputs(&self) -> usize {
        self.dimensions.labels.unwrap_or(self.dimensions.vocab)
    }

    /// The labels of a classifier, `LABEL_0` and so on where the bundle names none; `None` for a decoder.
    ///
    /// # Errors
    /// Where the names and the dimensions contradict each other.
    pub fn labels(&self) -> Result<Option<Labels>, String> {
        match (self.dimensions.labels, &self.labels) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err("it names labels, and its dimensions say that it is no classifier".to_owned()),
            (Some(count), Some(labels)) if labels.count() == count => Ok(Some(labels.clone())),
            (Some(count), Some(labels)) => {
                Err(format!("its dimension `labels` is {count}, and it names {}", labels.count()))
            }
            (Some(count), None) => match Labels::unnamed(count) {
                Some(labels) => Ok(Some(labels)),
                None => Err(format!("its dimension `labels` is {count}; 1 to {MAX_LABELS} are understood")),
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The last component of the path that was baked: a name, never a path of somebody's machine.
    pub name: String,
    /// `hugging_face` or `onnx`.
    pub kind: String,
    /// SHA-256 over the source's files, hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dimensions {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    /// Token ids that there are embeddings for.
    pub vocab: usize,
    /// The number of labels, if it is a classifier: its logits are `[batch, labels]`, targets are labels, and where
    /// the score is taken hangs on the mask alone, whatever `position` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<usize>,
    /// Whether a classifier takes its score at the last token, as those made from decoders do, rather than at the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scores_last: bool,
    /// The longest sequence the model has positions for, where it says so.
    pub max_positions: Option<usize>,
}

impl Dimensions {
    /// The scored position of a text of `length` tokens: a decoder's last one, a classifier's first unless it is made from a
    /// decoder.
    pub fn scored_position(&self, length: usize) -> usize {
        match self.labels {
            Some(_) if !self.scores_last => 0,
            _ => length.saturating_sub(1),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileEntry {
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphPorts {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// A named input or output of a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    /// `f32` or `i64`.
    pub dtype: String,
    /// A size each: a number, or the name of a symbolic dimension.
    pub shape: Vec<String>,
}
