//! Taking one position of a sequence, and one token of the vocabulary, as early as possible.
//!
//! Only one row of the logits is ever read. Everything between the last attention and the head treats positions one by
//! one, so the row is taken before it: the head, the last norm and the last feed-forward run on one position instead
//! of all, forwards and backwards. For the score of one token, the head is a product with one row of its weight.

use std::collections::HashMap;

use crate::checkpoint::{BATCH, SEQ};
use crate::onnx::op::{Logic, Op, Reduction, WeightLayout};
use crate::onnx::rewrite::is_elementwise;
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id};

/// Takes the row at a position, known at run time, from values `[batch, seq, ..]`.
pub struct RowSelector {
    /// `[batch, 1, seq]`: 1 at the position, 0 elsewhere.
    one_hot: Id,
    done: HashMap<Id, Id>,
}

impl RowSelector {
    /// `position`: i64 `[batch]`.
    pub fn new(graph: &mut Graph, position: Id, dtype: Dtype) -> Result<Self, GraphError> {
        graph.set_scope("position");
        let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
        let places = graph.add(Op::Arange(seq), &[])?;
        let position = graph.reshape(position, vec![batch, one.clone(), one])?;
        let here = graph.logic(Logic::Equal, places, position)?;
        Ok(RowSelector { one_hot: graph.cast(here, dtype)?, done: HashMap::new() })
    }

    /// The row of `x`, `[batch, 1, ..]`.
    pub fn row(&mut self, graph: &mut Graph, x: Id) -> Result<Id, GraphError> {
        if let Some(&row) = self.done.get(&x) {
            return Ok(row);
        }
        let value = graph.value(x).clone();
        graph.set_scope(&value.scope);
        let first = value.inputs.first().copied();
        let row = match (&value.op, first) {
            (op, Some(inner)) if is_elementwise(op) => {
                let inner = self.row(graph, inner)?;
                graph.add(op.clone(), &[inner])?
            }
            (Op::Linear(_) | Op::RmsNorm { .. } | Op::LayerNorm { .. }, Some(inner)) => {
                let inner = self.row(graph, inner)?;
                let inputs: Vec<Id> = [inner].into_iter().chain(value.inputs[1..].iter().copied()).collect();
                graph.add(value.op.clone(), &inputs)?
            }
            (Op::Binary(kind), Some(_)) => {
                let mut inputs = [value.inputs[0], value.inputs[1]];
                for input in &mut inputs {
                    if self.is_sequence(graph, *input) {
                        *input = self.row(graph, *input)?;
                    } else if mentions_seq(graph.shape(*input)) {
                        return self.take(graph, x);
                    }
                }
                graph.set_scope(&value.scope);
                graph.binary(*kind, inputs[0], inputs[1])?
            }
            _ => return self.take(graph, x),
        };
        self.done.insert(x, row);
        Ok(row)
    }

    fn is_sequence(&self, graph: &Graph, x: Id) -> bool {
        matches!(graph.shape(x), [batch, seq, ..] if *batch == Dim::symbol(BATCH) && *seq == Dim::symbol(SEQ))
    }

    /// The row by a product with the one-hot vector, which is exact.
    fn take(&mut self, graph: &mut Graph, x: Id) -> Result<Id, GraphError> {
        let shape = graph.shape(x).to_vec();
        if !self.is_sequence(graph, x) || mentions_seq(&shape[2..]) {
            return Err(GraphError {
                op: "RowSelector".to_owned(),
                scope: graph.value(x).scope.to_string(),
                problem: format!("takes rows of [batch, seq, ..], not of {}", crate::onnx::dim::show(&shape)),
            });
        }
        let rest = Dim::product(&shape[2..]).unwrap_or_else(|| Dim::known(1));
        let matrix = graph.reshape(x, vec![shape[0].clone(), shape[1].clone(), rest])?;
        let row = graph.matmul(self.one_hot, matrix)?;
        let mut row_shape = shape;
        row_shape[1] = Dim::known(1);
        let row = graph.reshape(row, row_shape)?;
        self.done.insert(x, row);
        Ok(row)
    }
}

fn mentions_seq(shape: &[Dim]) -> bool {
    shape.iter().any(|dim| dim.symbols().iter().any(|symbol| &**symbol == SEQ))
}

/// The logit of one token a row: `logits` `[batch, 1, vocab]`, `token` i64 `[batch]`, result `[batch]`.
pub fn logit_of(graph: &mut Graph, logits: Id, token: Id) -> Result<Id, GraphError> {
    let value = graph.value(logits).clone();
    graph.set_scope(&value.scope);
    let batch = Dim::symbol(BATCH);
    match &value.op {
        op if is_elementwise(op) => {
            let inner = logit_of(graph, value.inputs[0], token)?;
            graph.add(op.clone(), &[inner])
        }
        Op::Binary(kind) if graph.shape(value.inputs[1]).is_empty() => {
            let inner = logit_of(graph, value.inputs[0], token)?;
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
            let vocab = value.shape[2].clone();
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
