//! `bundle.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::grad::Audit;
use crate::labels::{Labels, MAX_LABELS};

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
    /// Element type of the weights: `f32`.
    pub dtype: String,
    /// The token that stands for "nothing here"; `None` when the tokenizer offers none.
    pub baseline_token_id: Option<i64>,
    /// What was decided while the bundle was made and its user should know: a sentence each, without a full stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Every file of the bundle but `bundle.json`, by its name in the folder.
    pub files: BTreeMap<String, FileEntry>,
    /// By file name: `embed.onnx`, `forward.onnx`, `gradient.onnx`, `attention.onnx`.
    pub graphs: BTreeMap<String, GraphPorts>,
    /// Which rule was applied where in the gradient graph.
    pub audit: Audit,
}

impl Manifest {
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
    /// The number of labels, if it is a classifier: its logits are `[batch, labels]`, targets are labels, and the scored
    /// position is the first token, whatever `position` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<usize>,
    /// The longest sequence the model has positions for, where it says so.
    pub max_positions: Option<usize>,
}

impl Dimensions {
    /// The scored position of a text of `length` tokens: a decoder's last one, a classifier's first.
    pub fn scored_position(&self, length: usize) -> usize {
        match self.labels {
            Some(_) => 0,
            None => length.saturating_sub(1),
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
