//! Hugging Face folders to forward graphs.
//!
//! An architecture is one file with one function, listed in [`ARCHITECTURES`]. It builds the forward pass from the
//! blocks in [`blocks`] and knows nothing of gradients.

pub mod blocks;
pub mod config;
mod llama;
pub mod rope;
pub mod weights;

use std::path::{Path, PathBuf};

use crate::onnx::{Dim, Dtype, Graph, GraphError, Id};
use config::Config;
use weights::Weights;

pub use crate::onnx::dim::{BATCH, SEQ};

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot read {path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is not valid JSON")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{path}: {problem}")]
    Config { path: PathBuf, problem: String },
    #[error("{path}: {problem}")]
    Weights { path: PathBuf, problem: String },
    #[error("{path}: the architecture '{found}' is not supported; supported are {}", supported())]
    Architecture { path: PathBuf, found: String },
    #[error("the forward graph could not be built")]
    Graph(#[from] GraphError),
}

fn supported() -> String {
    ARCHITECTURES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What an architecture's function is given.
pub struct Builder<'a> {
    pub config: &'a mut Config,
    pub weights: &'a mut Weights,
    pub graph: &'a mut Graph,
    /// i64 `[batch, seq]`.
    pub input_ids: Id,
    /// i64 `[batch, seq]`: 1 for tokens, 0 for padding, which is on the right.
    pub attention_mask: Id,
}

/// What an architecture's function gives.
pub struct Forward {
    /// The output of the token-embedding lookup, `[batch, seq, hidden]`.
    pub inputs_embeds: Id,
    /// `[batch, seq, vocab]`.
    pub logits: Id,
    pub layers: usize,
    pub heads: usize,
    pub max_positions: Option<usize>,
}

type Build = fn(&mut Builder) -> Result<Forward, CheckpointError>;

/// Architectures by `model_type`.
const ARCHITECTURES: &[(&str, Build)] = &[("llama", llama::build)];

/// A checkpoint as a forward graph, its weights still in their files.
#[derive(Debug)]
pub struct Checkpoint {
    pub folder: PathBuf,
    pub architecture: String,
    pub graph: Graph,
    pub weights: Weights,
    pub input_ids: Id,
    pub attention_mask: Id,
    pub inputs_embeds: Id,
    pub logits: Id,
    pub layers: usize,
    pub heads: usize,
    pub hidden: usize,
    pub vocab: usize,
    pub max_positions: Option<usize>,
    pub pad_token_id: Option<i64>,
}

impl Checkpoint {
    /// Reads `config.json` and the headers of the safetensors files, and builds the graph.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let mut config = Config::read(&folder.join("config.json"))?;
        let architecture = config.text("model_type")?;
        let Some((_, build)) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture) else {
            return Err(CheckpointError::Architecture { path: config.path().to_owned(), found: architecture });
        };
        let mut weights = Weights::open(folder)?;
        let mut graph = Graph::new();
        let shape = vec![Dim::symbol(BATCH), Dim::symbol(SEQ)];
        let input_ids = graph.input("input_ids", Dtype::I64, shape.clone())?;
        let attention_mask = graph.input("attention_mask", Dtype::I64, shape)?;
        let pad_token_id = config.token("pad_token_id")?;
        let builder =
            Builder { config: &mut config, weights: &mut weights, graph: &mut graph, input_ids, attention_mask };
        let forward = build(&mut { builder })?;
        config.finish()?;
        let known = |id: Id| graph.shape(id).last().and_then(Dim::value).unwrap_or(0);
        Ok(Checkpoint {
            folder: folder.to_owned(),
            architecture,
            input_ids,
            attention_mask,
            inputs_embeds: forward.inputs_embeds,
            logits: forward.logits,
            layers: forward.layers,
            heads: forward.heads,
            hidden: known(forward.inputs_embeds),
            vocab: known(forward.logits),
            max_positions: forward.max_positions,
            pad_token_id,
            graph,
            weights,
        })
    }
}
