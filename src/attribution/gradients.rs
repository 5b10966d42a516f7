//! Gradient times input, at any setting of the knobs: GIM and its whole family.

use ndarray::{Array2, ArrayView1, Axis};

use super::{Attribution, Case, Method};
use crate::grad::Knobs;
use crate::runtime::{GradientRow, Model, RuntimeError};

/// `attribution[i] = sum_d (e[i, d] - b[d]) grad[i, d]`, with `b` the embedding of the baseline token.
pub struct GradientTimesInput {
    pub knobs: Knobs,
}

impl Method for GradientTimesInput {
    fn attribute(&self, model: &mut Model, cases: &[Case]) -> Result<Vec<Attribution>, RuntimeError> {
        let embeddings = Embeddings::of(model, cases)?;
        let rows: Vec<GradientRow> =
            cases.iter().zip(&embeddings.inputs).map(|(case, embeds)| gradient_row(case, embeds.clone())).collect();
        let gradients = model.gradients(&rows, &self.knobs)?;
        let attributions = embeddings.differences().zip(gradients).map(|(difference, gradient)| {
            Attribution::deterministic(sum_over_features(&difference, &gradient.gradient.mapv(f64::from)))
        });
        Ok(attributions.collect())
    }
}

/// The embeddings of cases, and of their baseline tokens.
pub(super) struct Embeddings {
    /// `[seq, hidden]` each.
    pub inputs: Vec<Array2<f32>>,
    /// `[1, hidden]` each.
    pub baselines: Vec<Array2<f32>>,
}

impl Embeddings {
    pub fn of(model: &mut Model, cases: &[Case]) -> Result<Self, RuntimeError> {
        let ids: Vec<&[i64]> = cases.iter().map(|case| case.input_ids.as_slice()).collect();
        let inputs = model.embed_rows(&ids)?;
        let baselines: Vec<[i64; 1]> = cases.iter().map(|case| [case.baseline]).collect();
        Ok(Embeddings { inputs, baselines: model.embed_rows(&baselines)? })
    }

    /// `e - b`, `[seq, hidden]` each.
    pub fn differences(&self) -> impl Iterator<Item = Array2<f64>> {
        self.inputs
            .iter()
            .zip(&self.baselines)
            .map(|(input, baseline)| input.mapv(f64::from) - baseline.mapv(f64::from))
    }
}

pub(super) fn gradient_row(case: &Case, embeds: Array2<f32>) -> GradientRow {
    GradientRow {
        embeds,
        position: case.position,
        target: case.question.target,
        contrast: case.question.gradient_contrast(),
    }
}

/// One number a token, `[seq]`, from a difference and a gradient `[seq, hidden]`.
pub(super) fn sum_over_features(difference: &Array2<f64>, gradient: &Array2<f64>) -> Vec<f64> {
    let dot = |(a, b): (ArrayView1<f64>, ArrayView1<f64>)| a.dot(&b);
    difference.axis_iter(Axis(0)).zip(gradient.axis_iter(Axis(0))).map(dot).collect()
}
