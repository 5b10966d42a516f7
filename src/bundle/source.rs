//! What a bundle is made from: a forward graph with its weights, whoever described it.

use std::path::{Path, PathBuf};

use super::beside;
use super::foreign::{self, ForeignError};
use crate::checkpoint::past::Continued;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::labels::Labels;
use crate::onnx::weights::{Narrowed, WeightSource};
use crate::onnx::{Dtype, Graph, Id};

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Foreign(#[from] ForeignError),
}

/// A forward graph, its weights still in their files.
#[derive(Debug)]
pub struct ForwardModel {
    /// The folder or the file.
    pub path: PathBuf,
    /// `hugging_face` or `onnx`.
    pub kind: &'static str,
    /// `model_type` of the checkpoint; `onnx` for a file that does not say.
    pub architecture: String,
    pub graph: Graph,
    pub weights: Box<dyn WeightSource>,
    /// Files besides the weights and the tokenizer that the model is described by.
    pub described_by: Vec<PathBuf>,
    /// i64 `[batch, seq]`.
    pub input_ids: Id,
    /// i64 `[batch, seq]`: 1 for tokens, 0 for padding, which is on the right.
    pub attention_mask: Id,
    /// The output of the token-embedding lookup, `[batch, seq, hidden]`.
    pub inputs_embeds: Id,
    /// `[batch, seq, vocab]`. Of a classifier `[batch, labels]`, or `[batch, seq, labels]` of which the first token's
    /// row counts.
    pub logits: Id,
    /// Where the file takes the last place itself; see [`last`](super::last). Its logits are then `[batch, vocab]`,
    /// `[batch, labels]`, or the same with an axis of one place.
    pub last_places: Vec<Id>,
    /// The output of the file that is taken for the logits.
    pub output: Option<String>,
    pub layers: usize,
    pub heads: usize,
    pub hidden: usize,
    /// Token ids that there are embeddings for.
    pub vocab: usize,
    /// The names of the labels, if it is a classifier.
    pub labels: Option<Labels>,
    /// Whether a classifier takes its score at the last token.
    pub scores_last: bool,
    pub max_positions: Option<usize>,
    pub pad_token_id: Option<i64>,
    /// Fields of the configuration that change nothing; see [`Manifest::ignored_fields`](super::Manifest::ignored_fields).
    pub ignored_fields: Vec<String>,
    /// What was decided while the model was read and its user should know; see [`Manifest::notes`](super::Manifest::notes).
    pub notes: Vec<String>,
    /// The same forward pass behind a prefix, or why there is none: a sentence without a full stop.
    pub continued: Result<Continued, String>,
}

impl ForwardModel {
    /// Opens a Hugging Face folder or a forward `.onnx` file. `tokenizer`: the one that was named by hand.
    pub fn open(path: &Path, tokenizer: Option<&Path>) -> Result<Self, SourceError> {
        if path.is_file() { Ok(foreign::open(path, tokenizer)?) } else { Ok(Checkpoint::open(path)?.into()) }
    }

    /// Its weights rounded to `dtype`, as a bundle of that type stores them; f32 is what they are.
    pub fn stored_as(mut self, dtype: Dtype) -> Self {
        if dtype != Dtype::F32 {
            self.weights = Box::new(Narrowed { inner: self.weights, dtype });
        }
        self
    }

    /// Where the tokenizer is if nobody says otherwise: in the folder, beside the file, or in the folder above it.
    pub fn tokenizer(&self) -> PathBuf {
        if self.kind == "onnx" { beside::tokenizer(&self.path) } else { self.path.join("tokenizer.json") }
    }
}

impl From<Checkpoint> for ForwardModel {
    fn from(checkpoint: Checkpoint) -> Self {
        ForwardModel {
            kind: "hugging_face",
            architecture: checkpoint.architecture,
            graph: checkpoint.graph,
            weights: Box::new(checkpoint.weights),
            described_by: vec![checkpoint.folder.join("config.json")],
            path: checkpoint.folder,
            input_ids: checkpoint.input_ids,
            attention_mask: checkpoint.attention_mask,
            inputs_embeds: checkpoint.inputs_embeds,
            logits: checkpoint.logits,
            last_places: Vec::new(),
            output: None,
            layers: checkpoint.layers,
            heads: checkpoint.heads,
            hidden: checkpoint.hidden,
            vocab: checkpoint.vocab,
            labels: checkpoint.labels,
            scores_last: false,
            max_positions: checkpoint.max_positions,
            pad_token_id: checkpoint.pad_token_id,
            ignored_fields: checkpoint.ignored_fields,
            notes: checkpoint.notes,
            continued: checkpoint.continued,
        }
    }
}
