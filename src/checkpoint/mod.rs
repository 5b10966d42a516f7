//! Hugging Face folders to forward graphs.
//!
//! An architecture is one file with one function, listed in [`ARCHITECTURES`]. It builds the forward pass from the
//! blocks in [`blocks`] and knows nothing of gradients.

mod bert;
pub mod blocks;
mod code;
pub mod config;
pub mod decoder;
pub mod encoder;
pub mod fields;
mod folder;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod leftovers;
mod llama;
mod mistral;
pub mod past;
mod phi3;
mod qwen2;
mod qwen3;
mod roberta;
pub mod rope;
pub mod weights;

use std::path::{Path, PathBuf};

use crate::labels::Labels;
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id};
use config::Config;
use past::{Continued, Past, TOTAL};
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
    #[error(
        "{path}: the architecture '{found}'{} is not supported; supported are {}; an .onnx file exported from this model \
         (its forward pass, without a cache) may well bake",
        if *.own_code { ", which comes with code of its own ('auto_map')," } else { "" },
        supported()
    )]
    Architecture { path: PathBuf, found: String, own_code: bool },
    #[error("the forward graph could not be built")]
    Graph(#[from] GraphError),
}

fn supported() -> String {
    ARCHITECTURES.iter().map(|known| known.model_type).collect::<Vec<_>>().join(", ")
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
    /// Of a graph that goes on behind a prefix.
    pub past: &'a mut Option<Past>,
}

/// What an architecture's function gives.
pub struct Forward {
    /// The output of the token-embedding lookup, `[batch, seq, hidden]`.
    pub inputs_embeds: Id,
    /// `[batch, seq, vocab]`; of a classifier `[batch, seq, labels]`, of which only the first token's row is meant.
    pub logits: Id,
    pub layers: usize,
    pub heads: usize,
    pub max_positions: Option<usize>,
    /// The number of labels, if it is a classifier.
    pub labels: Option<usize>,
}

type Build = fn(&mut Builder) -> Result<Forward, CheckpointError>;

/// One kind of checkpoint.
struct Architecture {
    /// `model_type` in `config.json`. What the absence of a field means for it is in [`fields`].
    model_type: &'static str,
    /// What `architectures` may name there: other heads compute something else.
    classes: &'static [&'static str],
    build: Build,
}

const fn architecture(model_type: &'static str, classes: &'static [&'static str], build: Build) -> Architecture {
    Architecture { model_type, classes, build }
}

const ARCHITECTURES: &[Architecture] = &[
    architecture("llama", &["LlamaForCausalLM", "LlamaModel"], llama::build),
    architecture("qwen2", &["Qwen2ForCausalLM", "Qwen2Model"], qwen2::build),
    architecture("qwen3", &["Qwen3ForCausalLM", "Qwen3Model"], qwen3::build),
    architecture("gemma2", &["Gemma2ForCausalLM", "Gemma2Model"], gemma2::build),
    architecture("gemma3_text", &["Gemma3ForCausalLM", "Gemma3TextModel"], gemma3::build),
    architecture("gemma3", &["Gemma3ForConditionalGeneration"], gemma3::build_without_images),
    architecture("mistral", &["MistralForCausalLM", "MistralModel"], mistral::build),
    architecture("phi3", &["Phi3ForCausalLM", "Phi3Model"], phi3::build),
    architecture("gpt2", &["GPT2LMHeadModel", "GPT2Model"], gpt2::build),
    architecture("gpt_neox", &["GPTNeoXForCausalLM", "GPTNeoXModel"], gpt_neox::build),
    architecture("bert", &["BertForSequenceClassification"], bert::build),
    architecture("roberta", &["RobertaForSequenceClassification"], roberta::build),
];

impl Architecture {
    /// `architectures`, where given, names a class with the head that is built here.
    fn check_class(&self, config: &mut Config) -> Result<(), CheckpointError> {
        let Some(given) = config.texts_or_none("architectures")? else { return Ok(()) };
        if given.is_empty() || given.iter().any(|class| self.classes.contains(&class.as_str())) {
            return Ok(());
        }
        // Sentence encoders are published so; GPT2DoubleHeadsModel and the like are something else.
        if given.iter().all(|class| class.ends_with("Model") && !class.contains("Head")) {
            return Err(config.problem(format!(
                "'architectures' is {}, which has no head: it gives vectors, and there is no score to explain; save the \
                 model with a trained head, as {}",
                given.join(", "),
                self.classes.join(" or ")
            )));
        }
        Err(config.problem(format!(
            "'architectures' is {}; of '{}' only {} is supported; an .onnx file exported from the model may well bake",
            given.join(", "),
            self.model_type,
            self.classes.join(" and ")
        )))
    }
}

/// The number of rows of the table that embeddings are looked up in.
fn vocab(graph: &Graph, inputs_embeds: Id) -> usize {
    let table = graph.value(inputs_embeds).inputs.first();
    table.and_then(|&table| graph.shape(table).first()).and_then(Dim::value).unwrap_or(0)
}

/// The names of as many labels as the classifier has weights for.
fn label_names(config: &mut Config, count: usize) -> Result<Labels, CheckpointError> {
    let named = config.get("id2label").map(Labels::from_id2label);
    match named {
        Some(Ok(labels)) if labels.count() == count => Ok(labels),
        Some(Ok(labels)) => {
            Err(config.problem(format!("'id2label' names {} labels, and the classifier has {count}", labels.count())))
        }
        Some(Err(problem)) => Err(config.problem(format!("'id2label' {problem}"))),
        None => Labels::unnamed(count).ok_or_else(|| config.problem(format!("a classifier with {count} labels"))),
    }
}

/// The forward pass once more, behind a prefix.
fn continued(
    config: &Path,
    known: &Architecture,
    weights: &mut Weights,
    plain: &Forward,
) -> Result<Result<Continued, String>, CheckpointError> {
    // What a build reads of it is noted in it, and was looked at for the plain graph.
    let mut config = Config::read(config)?.expecting(fields::of(known.model_type))?;
    let mut graph = Graph::new();
    let tokens = |symbol: &str| vec![Dim::symbol(BATCH), Dim::symbol(symbol)];
    let input_ids = graph.input("input_ids", Dtype::I64, tokens(SEQ))?;
    let attention_mask = graph.input("attention_mask", Dtype::I64, tokens(TOTAL))?;
    let mut past = Some(Past::of_layers(plain.layers));
    let builder =
        Builder { config: &mut config, weights, graph: &mut graph, input_ids, attention_mask, past: &mut past };
    let forward = (known.build)(&mut { builder })?;
    let none = || Err("the model has no attention".to_owned());
    Ok(past.map_or_else(none, |past| past.finish(graph, [input_ids, attention_mask], forward.logits)))
}

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
    /// `[batch, seq, vocab]`, or of a classifier `[batch, seq, labels]`.
    pub logits: Id,
    pub layers: usize,
    pub heads: usize,
    pub hidden: usize,
    /// Token ids that there are embeddings for.
    pub vocab: usize,
    /// The names of the labels, if it is a classifier: its logits are then `[batch, seq, labels]`, and the first token's
    /// row is the one that counts.
    pub labels: Option<Labels>,
    pub max_positions: Option<usize>,
    pub pad_token_id: Option<i64>,
    /// Fields of `config.json` that change nothing, as the reference implementation does not read them.
    pub ignored_fields: Vec<String>,
    /// What was decided while it was read and its user should know.
    pub notes: Vec<String>,
    /// The same forward pass behind a prefix, or why there is none: a sentence without a full stop.
    pub continued: Result<Continued, String>,
}

impl Checkpoint {
    /// Reads `config.json` and the headers of the safetensors files, and builds the graph.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join("config.json");
        if !path.exists() {
            // An adapter, or weights alone: that says more than that the file is missing.
            folder::shards(folder, None)?;
        }
        let mut config = Config::read(&path)?;
        let Some(architecture) = config.text_or_none("model_type")? else {
            let known = supported();
            return Err(
                config.problem(format!("'model_type' is missing; add it: the architecture's name, one of {known}"))
            );
        };
        let Some(known) = ARCHITECTURES.iter().find(|known| known.model_type == architecture) else {
            let own_code = config.get("auto_map").is_some();
            return Err(CheckpointError::Architecture { path, found: architecture, own_code });
        };
        known.check_class(&mut config)?;
        let mut notes = Vec::from_iter(code::check(&mut config, known.model_type, known.classes)?);
        let mut config = config.expecting(fields::of(known.model_type))?;
        let named = config.text_or_none("transformers_weights")?;
        let mut weights = Weights::open(folder, named.as_deref())?;
        let mut graph = Graph::new();
        let shape = vec![Dim::symbol(BATCH), Dim::symbol(SEQ)];
        let input_ids = graph.input("input_ids", Dtype::I64, shape.clone())?;
        let attention_mask = graph.input("attention_mask", Dtype::I64, shape)?;
        let builder = Builder {
            config: &mut config,
            weights: &mut weights,
            graph: &mut graph,
            input_ids,
            attention_mask,
            past: &mut None,
        };
        let forward = (known.build)(&mut { builder })?;
        let continued = continued(&path, known, &mut weights, &forward)?;
        let labels = forward.labels.map(|count| label_names(&mut config, count)).transpose()?;
        // Some architectures find it elsewhere in the file.
        let pad_token_id = config.token("pad_token_id")?;
        config.finish()?;
        notes.extend(weights.finish(forward.layers)?);
        Ok(Checkpoint {
            ignored_fields: config.ignored().to_vec(),
            notes,
            continued,
            folder: folder.to_owned(),
            architecture,
            input_ids,
            attention_mask,
            inputs_embeds: forward.inputs_embeds,
            logits: forward.logits,
            layers: forward.layers,
            heads: forward.heads,
            hidden: graph.shape(forward.inputs_embeds).last().and_then(Dim::value).unwrap_or(0),
            vocab: vocab(&graph, forward.inputs_embeds),
            labels,
            max_positions: forward.max_positions,
            pad_token_id,
            graph,
            weights,
        })
    }
}
