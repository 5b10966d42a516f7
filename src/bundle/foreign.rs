//! A forward `.onnx` file as a source: where its embeddings are, and what its sizes are.

use std::path::{Path, PathBuf};

use super::beside::{self, Config};
use super::source::ForwardModel;
use super::{head, last, padding, positions};
use crate::grad::sites::Sites;
use crate::labels::Labels;
use crate::onnx::dim::{BATCH, SEQ, show};
use crate::onnx::op::{Logic, Op};
use crate::onnx::read::weights::FileWeights;
use crate::onnx::read::{Foreign, ReadError, read};
use crate::onnx::{Dim, Graph, GraphError, Id, Tensor};
use crate::raise::raise;

#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the graph of {path} could not be raised")]
    Graph { path: PathBuf, source: GraphError },
    #[error(
        "{path}: its output has the shape {found}; logits are [batch, seq, vocab], or [batch, labels] of a classifier"
    )]
    Logits { path: PathBuf, found: String },
    #[error(
        "{path}: no lookup of token embeddings was found, that is a Gather of rows of a table by input_ids; found were \
         {found}"
    )]
    NoEmbedding { path: PathBuf, found: String },
    #[error("{path}: input_ids are looked up in several tables ({found}); which one holds the embeddings is unclear")]
    ManyEmbeddings { path: PathBuf, found: String },
    #[error(
        "{path}: the score depends on input_ids not only through the embeddings, but also through {operator} in \
         '{scope}': a gradient graph starts from embeddings and has no ids"
    )]
    OtherPath { path: PathBuf, operator: String, scope: String },
    #[error("{path}: '{scope}' compares input_ids with the token {token}, and a gradient graph has no ids; {known}")]
    Compared { path: PathBuf, scope: String, token: i64, known: String },
    #[error(
        "{path}: its logits are over {found} tokens, and the table of embeddings has {vocab} rows: ids of one do not \
         name the other's"
    )]
    Vocabulary { path: PathBuf, found: usize, vocab: usize },
    #[error(
        "{path}: it takes position_ids, and {reason}; export it without position_ids, so that it makes them itself"
    )]
    Positions { path: PathBuf, reason: String },
    #[error("{path}: no attention was found: no softmax that weighs another activation")]
    NoAttention { path: PathBuf },
    #[error("{path}: the attention in '{scope}' has weights of shape {found}, not [batch, heads, seq, seq]")]
    Heads { path: PathBuf, scope: String, found: String },
    #[error("{config}, for {path}: 'id2label' {problem}; remove that file if it belongs to another model")]
    Labels { path: PathBuf, config: PathBuf, problem: String },
    #[error("{config}, for {path}: it {problem}; put the model's own configuration there, or remove that file")]
    Config { path: PathBuf, config: PathBuf, problem: String },
    #[error(
        "{path}: what it gives is made by {operator} in '{scope}' behind its last product, as probabilities are; they are not \
         logits, and which logits they are made from is not recognised: export the model without it"
    )]
    Probabilities { path: PathBuf, operator: String, scope: String },
    #[error(
        "{path}: '{scope}' takes a place counted from the end of {found}; with padding on the right no token may be there, and \
         only for the last place of [batch, seq, ..] the scored one can be taken instead: export the model so that it gives \
         logits at every place"
    )]
    LastPlace { path: PathBuf, scope: String, found: String },
    #[error(
        "{path}: its output is one row of {found} numbers, and the table of embeddings has {vocab} rows: this looks like a \
         decoder that chooses a place itself, in a way that is not recognised; export it so that it gives logits at every \
         place (of a classifier, say what the labels are: 'id2label' in a config.json beside it)"
    )]
    OneRow { path: PathBuf, found: usize, vocab: usize },
    #[error(
        "{path}: nothing depends on attention_mask, and the model looks ahead: rows of different lengths in one batch \
         would change each other; export it with the input attention_mask"
    )]
    NoMask { path: PathBuf },
}

/// Reads a file, raises its patterns, and finds the embeddings and the logits. `tokenizer`: the one that was named by hand.
pub fn open(path: &Path, tokenizer: Option<&Path>) -> Result<ForwardModel, ForeignError> {
    let Foreign { graph, mut weights, input_ids, attention_mask, logits, takes_positions, output, mut notes, .. } =
        read(path)?;
    let owned = || path.to_owned();
    let graph_error = |source| ForeignError::Graph { path: owned(), source };
    if tokenizer.is_none() {
        notes.extend(beside::note(path, &beside::tokenizer(path)));
    }
    let roots = [logits, input_ids, attention_mask];
    let (mut graph, roots) = raise(&graph, &roots).map_err(graph_error)?;
    let [end, input_ids, attention_mask] = roots[..] else {
        return Err(ForeignError::Logits { path: owned(), found: "nothing".to_owned() });
    };
    let (logits, taken) = head::logits(&mut graph, end).map_err(graph_error)?;
    if !taken.is_empty() {
        notes.push(format!(
            "the file ends in {}; the logits in front of that are what is explained",
            taken.into_iter().rev().collect::<Vec<_>>().join(", then ")
        ));
    }
    let table = graph.value(embeddings(path, &graph, input_ids, logits)?).inputs[0];
    let config = Config::find(path, tokenizer, graph.shape(table), &mut notes)?;
    // Asked before anything else is made from the mask.
    let is_masked = graph.descendants(attention_mask)[logits.index()];
    if takes_positions {
        check_positions(path, &graph, &weights, &config)?;
    }
    let roots = [logits, input_ids, attention_mask];
    let pad_token_id = config.pad_token_id();
    let (graph, roots) = padding::from_mask(path, &graph, [input_ids, attention_mask], &roots, pad_token_id)?;
    let [logits, input_ids, attention_mask] = roots[..] else {
        return Err(ForeignError::Logits { path: owned(), found: "nothing".to_owned() });
    };
    let rows = rows(path, &graph, logits)?;
    let inputs_embeds = embeddings(path, &graph, input_ids, logits)?;
    check_only_path(path, &graph, input_ids, inputs_embeds, logits)?;
    head::check(path, &graph, inputs_embeds, logits)?;
    let last_places = last::places(path, &graph, inputs_embeds, logits)?;
    let size = |id: Id, axis: usize| graph.shape(id).get(axis).and_then(Dim::value).unwrap_or(0);
    let (vocab, hidden) = (size(graph.value(inputs_embeds).inputs[0], 0), size(inputs_embeds, 2));
    let labels = labels(path, &config, rows, vocab, !last_places.is_empty())?;
    if !last_places.is_empty() {
        notes.push(match &labels {
            None => "the file gives logits of the last place; the bundle gives those of `position`".to_owned(),
            Some(_) => "the file scores the last place; the bundle scores the last token of attention_mask".to_owned(),
        });
    }
    let (layers, heads) = attention(path, &graph, inputs_embeds, logits)?;
    let is_causal = is_causal(&graph, logits);
    if !is_masked && !is_causal {
        return Err(ForeignError::NoMask { path: owned() });
    }

    let used = graph.ancestors(&[logits]);
    weights.keep(used.iter().filter_map(|&id| match &graph.value(id).op {
        Op::Weight(weight) => Some(weight.index),
        _ => None,
    }));
    Ok(ForwardModel {
        path: owned(),
        kind: "onnx",
        architecture: config.model_type().unwrap_or("onnx").to_owned(),
        described_by: config.described_by(),
        input_ids,
        attention_mask,
        inputs_embeds,
        logits,
        layers,
        heads,
        hidden,
        vocab,
        // Where tokens do not look ahead only the last one has seen the whole text.
        scores_last: labels.is_some() && (is_causal || !last_places.is_empty()),
        labels,
        last_places,
        output: Some(output),
        max_positions: positions::longest(&graph, &used, attention_mask),
        pad_token_id,
        weights: Box::new(weights),
        ignored_fields: Vec::new(),
        notes,
        continued: Err(
            "a forward graph that somebody exported is not taken apart into prefixes and what follows".to_owned()
        ),
        graph,
    })
}

/// Whether positions start behind the number of the padding token, as RoBERTa's do.
fn counts_from_pad(model_type: &str) -> bool {
    const OFFSET: [&str; 8] = [
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "roberta-prelayernorm",
        "camembert",
        "longformer",
        "mpnet",
        "data2vec-text",
    ];
    OFFSET.contains(&model_type)
}

/// Positions that come from outside are given as 0, 1, 2, ...; that must be what the model was trained with.
///
/// A table with one row of zeros among its first has a padding row (`padding_idx` of PyTorch, which is set to 0 and never
/// trained), and the positions of tokens begin behind it. Its very first row is not looked at: there a table of sines
/// has zeros.
fn check_positions(path: &Path, graph: &Graph, weights: &FileWeights, config: &Config) -> Result<(), ForeignError> {
    let refused = |reason| Err(ForeignError::Positions { path: path.to_owned(), reason });
    if let Some(architecture) = config.model_type().filter(|name| counts_from_pad(name)) {
        let file = config.file.as_deref().unwrap_or(Path::new("config.json")).display();
        return refused(format!("{file} says that it is a {architecture}, whose positions do not count from 0"));
    }
    for id in graph.ids() {
        let value = graph.value(id);
        let (Op::Gather { axis: 0 }, &[table, indices]) = (&value.op, &value.inputs[..]) else { continue };
        if graph.value(moved_only(graph, indices)).op != Op::Arange(Dim::symbol(SEQ)) {
            continue;
        }
        let loaded = match &graph.value(table).op {
            Op::Weight(weight) => weights.small(weight.index, MAX_POSITION_TABLE),
            Op::Constant(tensor) => Some(tensor.clone()),
            _ => None,
        };
        let rows = loaded.map(|tensor| zero_rows(&tensor)).unwrap_or_default();
        if let [row @ 1..4] = rows[..] {
            return refused(format!(
                "row {row} of its table of positions in '{}' is zero, as where the positions of tokens begin behind a \
                 padding row",
                value.scope
            ));
        }
    }
    Ok(())
}

/// Bytes of a table of positions that is looked into: 32,768 positions of 1,024 numbers.
const MAX_POSITION_TABLE: u64 = 128 << 20;

/// Rows of a matrix that are all zero.
fn zero_rows(tensor: &Tensor) -> Vec<usize> {
    let &[_, columns] = &tensor.dims[..] else { return Vec::new() };
    let width = columns.saturating_mul(tensor.dtype.size()).max(1);
    let rows = tensor.bytes.chunks_exact(width).enumerate();
    rows.filter(|(_, row)| row.iter().all(|&byte| byte == 0)).map(|(row, _)| row).collect()
}

fn is_token_axes(shape: &[Dim]) -> bool {
    shape.len() >= 2 && shape[0] == Dim::symbol(BATCH) && shape[1] == Dim::symbol(SEQ)
}

/// What a file gives: scores at every place, or one row of them.
#[derive(Clone, Copy)]
enum Rows {
    /// `[batch, seq, n]`.
    Every(usize),
    /// `[batch, n]`, or `[batch, 1, n]`.
    One(usize),
}

fn rows(path: &Path, graph: &Graph, logits: Id) -> Result<Rows, ForeignError> {
    let shape = graph.shape(logits);
    let batch = shape.first().is_some_and(|dim| *dim == Dim::symbol(BATCH)) && graph.dtype(logits).is_float();
    let size = shape.last().and_then(Dim::value);
    match (shape, size) {
        ([_, _, _], Some(size)) if batch && is_token_axes(shape) => Ok(Rows::Every(size)),
        ([_, _], Some(size)) if batch => Ok(Rows::One(size)),
        ([_, one, _], Some(size)) if batch && one.is_one() => Ok(Rows::One(size)),
        _ => Err(ForeignError::Logits { path: path.to_owned(), found: show(shape) }),
    }
}

/// The labels of a classifier, or `None` for logits over a vocabulary.
fn labels(
    path: &Path,
    config: &Config,
    rows: Rows,
    vocab: usize,
    takes_last: bool,
) -> Result<Option<Labels>, ForeignError> {
    let path = || path.to_owned();
    let count = match rows {
        Rows::Every(size) if size == vocab => return Ok(None),
        Rows::Every(found) => return Err(ForeignError::Vocabulary { path: path(), found, vocab }),
        Rows::One(count) => count,
    };
    // A row over the vocabulary is a decoder's, if nothing says that these are labels.
    let is_named = config.names_labels() && config.labels(&path(), count).is_ok();
    match count {
        _ if is_named => {}
        count if count == vocab && takes_last => return Ok(None),
        // As many labels as half the vocabulary has tokens: a decoder whose head has rows to spare, or fewer.
        count if count > vocab / 2 => return Err(ForeignError::OneRow { path: path(), found: count, vocab }),
        _ => {}
    }
    match config.labels(&path(), count)? {
        Some(labels) => Ok(Some(labels)),
        None => Err(ForeignError::Logits { path: path(), found: format!("[batch, {count}]") }),
    }
}

/// The lookup of token embeddings: rows of a table, by the ids themselves.
fn embeddings(path: &Path, graph: &Graph, input_ids: Id, logits: Id) -> Result<Id, ForeignError> {
    let lookups: Vec<Id> = graph
        .ancestors(&[logits])
        .into_iter()
        .filter(|&id| graph.value(id).op == Op::Gather { axis: 0 } && graph.dtype(id).is_float())
        .collect();
    let by_ids: Vec<Id> = lookups
        .iter()
        .copied()
        .filter(|&id| {
            let [table, indices] = graph.value(id).inputs[..] else { return false };
            let rank = (graph.shape(table).len(), graph.shape(id).len());
            rank == (2, 3) && is_token_axes(graph.shape(id)) && moved_only(graph, indices) == input_ids
        })
        .collect();
    let describe = |ids: &[Id]| {
        let one = |&id: &Id| {
            let table = graph.value(id).inputs.first().map(|&table| show(graph.shape(table))).unwrap_or_default();
            format!("'{}' in a table {table}", graph.value(id).scope)
        };
        if ids.is_empty() { "none".to_owned() } else { ids.iter().map(one).collect::<Vec<_>>().join(", ") }
    };
    match by_ids[..] {
        [one] => Ok(one),
        [] => Err(ForeignError::NoEmbedding { path: path.to_owned(), found: describe(&lookups) }),
        _ => Err(ForeignError::ManyEmbeddings { path: path.to_owned(), found: describe(&by_ids) }),
    }
}

/// The value that this is, but for its shape and width.
fn moved_only(graph: &Graph, mut id: Id) -> Id {
    while let Op::Reshape(_) | Op::Cast(_) | Op::Expand(_) = graph.value(id).op {
        id = graph.value(id).inputs[0];
    }
    id
}

/// From the embeddings on, ids must not matter.
fn check_only_path(path: &Path, graph: &Graph, ids: Id, embeds: Id, logits: Id) -> Result<(), ForeignError> {
    let mut open = vec![logits];
    let mut seen = vec![false; graph.len()];
    while let Some(id) = open.pop() {
        if id == embeds || std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let value = graph.value(id);
        if value.inputs.contains(&ids) {
            let (operator, scope) = (value.op.name(), value.scope.to_string());
            return Err(ForeignError::OtherPath { path: path.to_owned(), operator, scope });
        }
        open.extend(&value.inputs);
    }
    Ok(())
}

/// Layers and heads, as the attention softmaxes show them.
fn attention(path: &Path, graph: &Graph, embeds: Id, logits: Id) -> Result<(usize, usize), ForeignError> {
    let depends = graph.descendants(embeds);
    let on_path: Vec<Id> = graph.ancestors(&[logits]).into_iter().filter(|id| depends[id.index()]).collect();
    let softmaxes: Vec<Id> = Sites::find(graph, &on_path).attention().collect();
    let (batch, seq) = (Dim::symbol(BATCH), Dim::symbol(SEQ));
    let rest = Dim::product([&batch, &seq, &seq]).unwrap_or(batch);
    let mut heads = None;
    for &softmax in &softmaxes {
        let shape = graph.shape(softmax);
        let found = Dim::product(shape).and_then(|total| total.checked_div(&rest)).and_then(|heads| heads.value());
        if found.is_none() || heads.is_some_and(|heads| Some(heads) != found) {
            let scope = graph.value(softmax).scope.to_string();
            return Err(ForeignError::Heads { path: path.to_owned(), scope, found: show(shape) });
        }
        heads = found;
    }
    match heads {
        Some(heads) => Ok((softmaxes.len(), heads)),
        None => Err(ForeignError::NoAttention { path: path.to_owned() }),
    }
}

/// Whether every softmax over places has scores to which a comparison of places, or a triangle, was added.
fn is_causal(graph: &Graph, logits: Id) -> bool {
    let seq = Dim::symbol(SEQ);
    let mut masked = vec![false; graph.len()];
    let mut all = true;
    for id in graph.ancestors(&[logits]) {
        let value = graph.value(id);
        let here = match &value.op {
            Op::Logic(Logic::Less | Logic::LessOrEqual | Logic::Greater | Logic::GreaterOrEqual) => {
                value.shape.iter().filter(|&dim| *dim == seq).count() == 2
            }
            Op::Opaque(opaque) => opaque.op_type == "Trilu",
            Op::Softmax { .. } => {
                let places = value.shape.iter().filter(|&dim| *dim == seq).count() >= 2;
                all &= !places || masked[value.inputs[0].index()];
                // The next layer needs a mask of its own.
                masked[id.index()] = false;
                continue;
            }
            Op::MatMul | Op::Linear(_) => false,
            _ => value.inputs.iter().any(|input| masked[input.index()]),
        };
        masked[id.index()] = here;
    }
    all
}
