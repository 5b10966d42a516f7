//! Ablation: one token at a time is replaced by the baseline token.

use super::{Attribution, Case, Method, tokens_of};
use crate::runtime::{Model, Row, RuntimeError};

/// `f(x) - f(x with token i replaced)`.
pub struct Ablation;

impl Method for Ablation {
    fn attribute(&self, model: &mut Model, cases: &[Case]) -> Result<Vec<Attribution>, RuntimeError> {
        let tokens = tokens_of(cases);
        let rows: Vec<Row> = cases
            .iter()
            .flat_map(|case| {
                std::iter::once(case.row()).chain((0..case.input_ids.len()).map(|place| case.without(&[place])))
            })
            .collect();
        let scores = model.scores(&rows, &tokens)?;
        let mut rest = &scores[..];
        let mut attributions = Vec::with_capacity(cases.len());
        for case in cases {
            let (own, others) = rest.split_at(case.input_ids.len() + 1);
            rest = others;
            let values: Vec<f64> = own.iter().map(|score| case.question.value(&tokens, score)).collect();
            attributions.push(Attribution::deterministic(values[1..].iter().map(|value| values[0] - value).collect()));
        }
        Ok(attributions)
    }
}
