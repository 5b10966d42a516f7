//! What a bundle's graphs show of the inside of a model, and what may be replaced there.

use ndarray::{Array1, Array2, Array3, Array4, Axis, s};

use super::batch::Bounds;
use super::error::{InputError, RuntimeError};
use super::model::{GradientRow, Model, OUTPUT_LIMIT, gradient_inputs, mask, padded};
use super::row::{Change, Row};
use super::session::Tensor;
use crate::bundle::Graph;
use crate::bundle::manifest::Dimensions;
use crate::grad::Knobs;

/// The residual stream of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// What enters each layer, `[layers, seq, hidden]`.
    pub values: Array3<f32>,
    /// The score's gradient with respect to it.
    pub gradient: Array3<f32>,
}

/// Attention scores of one row, `[layers, heads, seq, seq]` each: of queries with keys.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionScores {
    /// What the softmax is taken of, masks added: very low where a query may not look.
    pub scores: Array4<f32>,
    /// The score's gradient with respect to them.
    pub score_gradient: Array4<f32>,
    /// The score's gradient with respect to the attention weights, which the softmax gives.
    pub attention_gradient: Array4<f32>,
}

impl Model {
    /// The residual stream and its gradient. Each row is run by itself: its output is as large as the model is deep.
    ///
    /// # Errors
    /// As [`Model::gradients`]; [`RuntimeError::Bundle`] when the bundle has no such graph.
    pub fn residuals(&mut self, rows: &[GradientRow], knobs: &Knobs) -> Result<Vec<Residual>, RuntimeError> {
        let Dimensions { layers, hidden, .. } = self.manifest().dimensions;
        self.differentiated(Graph::ResidualGradient, rows, knobs, |outputs, length| {
            let mut take = |name| -> Result<Array3<f32>, RuntimeError> {
                let all = outputs.take_f32(name, &[layers, 1, length, hidden])?;
                Ok(Array3::from_shape_fn((layers, length, hidden), |(l, t, d)| all[[l, 0, t, d]]))
            };
            Ok(Residual { values: take("residual")?, gradient: take("residual_gradient")? })
        })
    }

    /// Attention scores and their gradients. Each row is run by itself.
    ///
    /// # Errors
    /// As [`Model::residuals`].
    pub fn attention_scores(
        &mut self,
        rows: &[GradientRow],
        knobs: &Knobs,
    ) -> Result<Vec<AttentionScores>, RuntimeError> {
        let Dimensions { layers, heads, .. } = self.manifest().dimensions;
        self.differentiated(Graph::ScoreGradient, rows, knobs, |outputs, length| {
            let mut take = |name| -> Result<Array4<f32>, RuntimeError> {
                let all = outputs.take_f32(name, &[layers, 1, heads, length, length])?;
                let of = |(l, h, i, j): (usize, usize, usize, usize)| all[[l, 0, h, i, j]];
                Ok(Array4::from_shape_fn((layers, heads, length, length), of))
            };
            Ok(AttentionScores {
                scores: take("scores")?,
                score_gradient: take("score_gradient")?,
                attention_gradient: take("attention_gradient")?,
            })
        })
    }

    pub(super) fn differentiated<T>(
        &mut self,
        graph: Graph,
        rows: &[GradientRow],
        knobs: &Knobs,
        mut read: impl FnMut(&mut super::Outputs, usize) -> Result<T, RuntimeError>,
    ) -> Result<Vec<T>, RuntimeError> {
        for (row, wanted) in rows.iter().enumerate() {
            self.check_gradient_row(wanted).map_err(|error| RuntimeError::Input { row, error })?;
        }
        let knobs = self.known_knobs(graph, knobs)?;
        let hidden = self.manifest().dimensions.hidden;
        let lengths: Vec<usize> = rows.iter().map(|row| row.embeds.nrows()).collect();
        let bounds = Bounds { rows: 1, ..self.bounds() };
        self.in_batches(graph, &lengths, bounds, |model, batch, longest| {
            let rows: Vec<&GradientRow> = batch.iter().map(|&row| &rows[row]).collect();
            let mut outputs = model.run(graph, &gradient_inputs(graph, &rows, longest, hidden, &knobs))?;
            model.counters.gradient_rows += rows.len() as u64;
            Ok(vec![read(&mut outputs, longest)?])
        })
    }

    /// How far what each layer makes of its input turns at each place without the values of each place, as `1 - cos`:
    /// `[layers, seq, seq]`, the places that turn before those that are taken away. Positions and changes play no part.
    ///
    /// # Errors
    /// As [`Model::scores`]; [`RuntimeError::Bundle`] when the bundle has no such graph.
    pub fn value_zeroing(&mut self, row: &Row) -> Result<Array3<f32>, RuntimeError> {
        self.check_rows(std::slice::from_ref(row))?;
        let ids = row.prompt().ids().to_vec();
        let (layers, length) = (self.manifest().dimensions.layers, ids.len());
        let lengths = vec![length; length];
        let rows = OUTPUT_LIMIT / layers.saturating_mul(length).max(1);
        let bounds = Bounds { rows: rows.max(1), ..self.bounds() };
        let columns = self.in_batches(Graph::ValueZeroing, &lengths, bounds, |model, batch, longest| {
            let all: Vec<&[i64]> = batch.iter().map(|_| ids.as_slice()).collect();
            let places = Array2::from_shape_fn((batch.len(), longest), |(row, place)| i64::from(batch[row] == place));
            let inputs = [
                ("input_ids", Tensor::from(padded(&all, longest))),
                ("attention_mask", mask(&vec![longest; batch.len()], longest).into()),
                ("places", places.into()),
            ];
            let mut outputs = model.run(Graph::ValueZeroing, &inputs)?;
            model.counters.forward_rows += batch.len() as u64;
            let distance = outputs.take_f32("distance", &[layers, batch.len(), longest])?;
            Ok((0..batch.len()).map(|row| distance.slice(s![.., row, ..]).to_owned()).collect())
        })?;
        let mut found = Array3::zeros((layers, length, length));
        for (mut space, column) in found.axis_iter_mut(Axis(2)).zip(columns) {
            space.assign(&column);
        }
        Ok(found)
    }
}

/// The inputs of a forward graph that say what is replaced inside.
pub(super) fn replacements(graph: Graph, rows: &[&Row], longest: usize) -> Vec<(&'static str, Tensor)> {
    if !matches!(graph, Graph::ForwardResidual | Graph::ForwardScores) {
        return Vec::new();
    }
    let number = |of: fn(Change) -> u32| -> Tensor {
        rows.iter().map(|row| row.kind().map_or(-1, |change| i64::from(of(change)))).collect::<Array1<i64>>().into()
    };
    let layer = |change: Change| match change {
        Change::Residual { layer } | Change::Score { layer, .. } => u32::from(layer),
        Change::Token(_) | Change::Mean | Change::Masked | Change::Thinned { .. } => 0,
    };
    let mut inputs = vec![("layer", number(layer))];
    if graph == Graph::ForwardScores {
        let head = |change: Change| if let Change::Score { head, .. } = change { u32::from(head) } else { 0 };
        let query = |change: Change| if let Change::Score { query, .. } = change { query } else { 0 };
        inputs.extend([("head", number(head)), ("query", number(query))]);
    }
    let mut places = Array2::<i64>::zeros((rows.len(), longest));
    for (mut space, row) in places.rows_mut().into_iter().zip(rows) {
        row.changes().iter().for_each(|&(place, _)| space[place as usize] = 1);
    }
    inputs.push(("places", places.into()));
    inputs
}

/// That what a row replaces inside is there.
pub(super) fn check(row: &Row, model: &Dimensions) -> Result<(), InputError> {
    let (layer, head, query) = match row.kind() {
        Some(Change::Residual { layer }) => (layer, 0, 0),
        Some(Change::Score { layer, head, query }) => (layer, head, query),
        None | Some(Change::Token(_) | Change::Mean | Change::Masked | Change::Thinned { .. }) => return Ok(()),
    };
    for (what, number, of) in [
        ("layer", usize::from(layer), model.layers),
        ("head", usize::from(head), model.heads),
        ("query", query as usize, row.length()),
    ] {
        if number >= of {
            return Err(InputError::Inside { what, number, of });
        }
    }
    Ok(())
}
