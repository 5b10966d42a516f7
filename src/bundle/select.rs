//! Taking one position of a sequence, and one token of the vocabulary, as early as possible.
//!
//! Only one row of the logits is ever read. Everything between the last attention and the head treats positions one by
//! one, so the row is taken before it: the head, the last norm and the last feed-forward run on one position instead
//! of all, forwards and backwards. For the score of one token, the head is a product with one row of its weight.

use std::collections::HashMap;

use crate::checkpoint::{BATCH, SEQ};
use crate::onnx::op::{Logic, Op, Reduction, WeightLayout};
use crate::onnx::rewrite::is_elementwise;
use crate::onnx::{Dim, Graph, GraphError, Id};

/// The row of `root` `[batch, seq, ..]` at `position` (i64 `[batch]`), as `[batch, 1, ..]`. `whole`: values that are to be there
/// at all positions, though one were enough.
pub fn row_at(graph: &mut Graph, root: Id, position: Id, whole: &[Id]) -> Result<Id, GraphError> {
    let needed_whole = needed_whole(graph, root, whole);
    let place = Place::at(graph, position, root)?;
    Selector { place, needed_whole, done: HashMap::new() }.row(graph, root)
}

/// The row of `root` `[batch, seq, ..]` at the first token, as `[batch, 1, ..]`. `whole`: as of [`row_at`].
pub fn first_row(graph: &mut Graph, root: Id, whole: &[Id]) -> Result<Id, GraphError> {
    let needed_whole = needed_whole(graph, root, whole);
    Selector { place: Place::First, needed_whole, done: HashMap::new() }.row(graph, root)
}

/// The row of `x` `[batch, seq, ..]` at `position` (i64 `[batch]`), as `[batch, 1, ..]`, taken of `x` itself.
pub fn row_of(graph: &mut Graph, x: Id, position: Id) -> Result<Id, GraphError> {
    let place = Place::at(graph, position, x)?;
    Selector { place, needed_whole: Vec::new(), done: HashMap::new() }.take(graph, x)
}

enum Place {
    /// `[batch, 1, seq]`: 1 at the position, 0 elsewhere.
    OneHot(Id),
    First,
}

impl Place {
    /// A position of each row, i64 `[batch]`, for values of the type of `like`.
    fn at(graph: &mut Graph, position: Id, like: Id) -> Result<Place, GraphError> {
        graph.set_scope("position");
        let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
        let places = graph.add(Op::Arange(seq), &[])?;
        let position = graph.reshape(position, vec![batch, one.clone(), one])?;
        let here = graph.logic(Logic::Equal, places, position)?;
        Ok(Place::OneHot(graph.cast(here, graph.dtype(like))?))
    }
}

struct Selector {
    place: Place,
    needed_whole: Vec<bool>,
    done: HashMap<Id, Id>,
}

impl Selector {
    fn row(&mut self, graph: &mut Graph, x: Id) -> Result<Id, GraphError> {
        if let Some(&row) = self.done.get(&x) {
            return Ok(row);
        }
        let row = if self.needed_whole[x.index()] {
            self.take(graph, x)?
        } else {
            let value = graph.value(x).clone();
            let rows = sequence_inputs(graph, x).unwrap_or_default();
            let mut inputs = value.inputs;
            for input in &mut inputs {
                if rows.contains(input) {
                    *input = self.row(graph, *input)?;
                }
            }
            graph.set_scope(&value.scope);
            graph.add(value.op, &inputs)?
        };
        self.done.insert(x, row);
        Ok(row)
    }

    /// The row by a slice, or by a product with the one-hot vector, which is exact.
    fn take(&mut self, graph: &mut Graph, x: Id) -> Result<Id, GraphError> {
        graph.set_scope("position");
        let shape = graph.shape(x).to_vec();
        if !is_sequence(graph, x) {
            return Err(GraphError {
                op: "row_at".to_owned(),
                scope: graph.value(x).scope.to_string(),
                problem: format!("takes rows of [batch, seq, ..], not of {}", crate::onnx::dim::show(&shape)),
            });
        }
        let one_hot = match self.place {
            Place::OneHot(one_hot) => one_hot,
            Place::First => return graph.slice(x, 1, 0, 1),
        };
        let rest = Dim::product(&shape[2..]).unwrap_or_else(|| Dim::known(1));
        let matrix = graph.reshape(x, vec![shape[0].clone(), shape[1].clone(), rest])?;
        let row = graph.matmul(one_hot, matrix)?;
        let mut row_shape = shape;
        row_shape[1] = Dim::known(1);
        graph.reshape(row, row_shape)
    }
}

/// Which values something needs at all positions: what is behind the first operators, seen from `root`, that mix
/// positions. Where such a value also leads to `root` directly (the residual stream), its row is taken there, rather
/// than computed a second time. `others` are needed by somebody else.
fn needed_whole(graph: &Graph, root: Id, others: &[Id]) -> Vec<bool> {
    let mut seen = vec![false; graph.len()];
    let mut mixing = others.to_vec();
    let mut open = vec![root];
    while let Some(x) = open.pop() {
        if std::mem::replace(&mut seen[x.index()], true) {
            continue;
        }
        match sequence_inputs(graph, x) {
            Some(inputs) => open.extend(inputs),
            None => mixing.push(x),
        }
    }
    let mut whole = vec![false; graph.len()];
    for id in graph.ancestors(&mixing) {
        whole[id.index()] = true;
    }
    whole
}

/// The inputs of which a row is needed for a row of `x`; `None` if `x` mixes positions, or is no sequence.
fn sequence_inputs(graph: &Graph, x: Id) -> Option<Vec<Id>> {
    let value = graph.value(x);
    if !is_sequence(graph, x) {
        return None;
    }
    match &value.op {
        op if is_elementwise(op) => Some(value.inputs.clone()),
        Op::Linear(_) | Op::RmsNorm { .. } | Op::LayerNorm { .. } => Some(vec![value.inputs[0]]),
        Op::Binary(_) => {
            let (rows, others): (Vec<Id>, Vec<Id>) = value.inputs.iter().partition(|&&input| is_sequence(graph, input));
            let plain = others.iter().all(|&input| !mentions_seq(graph.shape(input)));
            // A row of a broadcast input stands where a row of the result does only if they have the same rank.
            let aligned = rows.iter().all(|&input| graph.shape(input).len() == value.shape.len());
            (plain && aligned).then_some(rows)
        }
        _ => None,
    }
}

/// Whether the shape is `[batch, seq, ..]`, with the length nowhere else.
fn is_sequence(graph: &Graph, x: Id) -> bool {
    match graph.shape(x) {
        [batch, seq, rest @ ..] => *batch == Dim::symbol(BATCH) && *seq == Dim::symbol(SEQ) && !mentions_seq(rest),
        _ => false,
    }
}

fn mentions_seq(shape: &[Dim]) -> bool {
    shape.iter().any(|dim| dim.symbols().iter().any(|symbol| &**symbol == SEQ))
}

/// The logit of one token a row: `logits` `[batch, 1, vocab]` or `[batch, vocab]`, `token` i64 `[batch]`, result `[batch]`.
pub fn logit_of(graph: &mut Graph, logits: Id, token: Id) -> Result<Id, GraphError> {
    let value = graph.value(logits).clone();
    graph.set_scope(&value.scope);
    let batch = Dim::symbol(BATCH);
    match &value.op {
        op if is_elementwise(op) => {
            let inner = logit_of(graph, value.inputs[0], token)?;
            graph.set_scope(&value.scope);
            graph.add(op.clone(), &[inner])
        }
        // A row alone, or as the only one of a sequence.
        Op::Reshape(_) if graph.shape(value.inputs[0]).last() == value.shape.last() => {
            logit_of(graph, value.inputs[0], token)
        }
        Op::Binary(kind) if graph.shape(value.inputs[1]).is_empty() => {
            let inner = logit_of(graph, value.inputs[0], token)?;
            graph.set_scope(&value.scope);
            graph.binary(*kind, inner, value.inputs[1])
        }
        Op::Linear(layout) => {
            let weight = match layout {
                WeightLayout::OutIn => graph.add(Op::Gather { axis: 0 }, &[value.inputs[1], token])?,
                WeightLayout::InOut => {
                    let columns = graph.add(Op::Gather { axis: 1 }, &[value.inputs[1], token])?;
                    graph.transpose_last(columns)?
                }
            };
            let size = graph.shape(weight)[1].clone();
            let x = graph.reshape(value.inputs[0], vec![batch, size])?;
            let products = graph.times(x, weight)?;
            let sum = graph.reduce(Reduction::Sum, products, &[1], false)?;
            match value.inputs.get(2) {
                Some(&bias) => {
                    let bias = graph.add(Op::Gather { axis: 0 }, &[bias, token])?;
                    graph.plus(sum, bias)
                }
                None => Ok(sum),
            }
        }
        _ => {
            let vocab = value.shape.last().cloned().unwrap_or_else(|| Dim::known(1));
            let places = graph.add(Op::Arange(vocab.clone()), &[])?;
            let wanted = graph.unsqueeze(token, 1)?;
            let here = graph.logic(Logic::Equal, places, wanted)?;
            let one_hot = graph.cast(here, value.dtype)?;
            let rows = graph.reshape(logits, vec![batch, vocab])?;
            let products = graph.times(rows, one_hot)?;
            graph.reduce(Reduction::Sum, products, &[1], false)
        }
    }
}
