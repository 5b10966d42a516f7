//! Integrated gradients (Sundararajan et al., arXiv 1703.01365).

use std::f64::consts::PI;

use ndarray::Array2;

use super::gradients::{Embeddings, gradient_row, sum_over_features};
use super::{Attribution, Case, Method, tokens_of};
use crate::config::Score;
use crate::grad::Knobs;
use crate::runtime::{GradientRow, Model, Row, RuntimeError};

/// The gradient averaged along the straight path from the baseline token at every position to the prompt, times the
/// path.
pub struct IntegratedGradients {
    /// Gauss-Legendre points.
    pub steps: usize,
}

impl Method for IntegratedGradients {
    fn attribute(&self, model: &mut Model, cases: &[Case]) -> Result<Vec<Attribution>, RuntimeError> {
        let embeddings = Embeddings::of(model, cases)?;
        let points = gauss_legendre(self.steps);
        let mut attributions = Vec::with_capacity(cases.len());
        for ((case, difference), baseline) in cases.iter().zip(embeddings.differences()).zip(&embeddings.baselines) {
            let rows: Vec<GradientRow> = points
                .iter()
                .map(|&(at, _)| {
                    let point = baseline.mapv(f64::from) + &(&difference * at);
                    gradient_row(case, point.mapv(|x| x as f32))
                })
                .collect();
            let gradients = model.gradients(&rows, &Knobs::GRADIENT)?;
            let mut mean = Array2::<f64>::zeros(difference.raw_dim());
            for (gradient, &(_, weight)) in gradients.iter().zip(&points) {
                mean.zip_mut_with(&gradient.gradient, |sum, &g| *sum += weight * f64::from(g));
            }
            attributions.push(Attribution::deterministic(sum_over_features(&difference, &mean)));
        }
        self.report_completeness(model, cases, &mut attributions)?;
        Ok(attributions)
    }
}

impl IntegratedGradients {
    /// The attributions should add up to the change of the score along the path; how far they do not is what the points
    /// of the integral cost. `completeness_gap` is in units of the score, `completeness_gap_relative` in units of that
    /// change.
    fn report_completeness(
        &self,
        model: &mut Model,
        cases: &[Case],
        attributions: &mut [Attribution],
    ) -> Result<(), RuntimeError> {
        // What is integrated is the logit, whatever the perturbations are measured in.
        let cases: Vec<Case> = cases
            .iter()
            .map(|case| {
                let mut case = case.clone();
                if case.question.score == Score::Probability {
                    case.question.score = Score::Logit;
                }
                case
            })
            .collect();
        let tokens = tokens_of(&cases);
        let start = |case: &Case| Row { input_ids: vec![case.baseline; case.input_ids.len()], position: case.position };
        let rows: Vec<Row> = cases.iter().flat_map(|case| [case.row(), start(case)]).collect();
        let scores = model.scores(&rows, &tokens)?;
        for ((case, ends), attribution) in cases.iter().zip(scores.chunks_exact(2)).zip(attributions) {
            let change = case.question.value(&tokens, &ends[0]) - case.question.value(&tokens, &ends[1]);
            let total: f64 = attribution.values.iter().flatten().sum();
            let gap = (total - change).abs();
            attribution.diagnostics.insert("completeness_gap".to_owned(), gap);
            if change != 0.0 {
                attribution.diagnostics.insert("completeness_gap_relative".to_owned(), gap / change.abs());
            }
        }
        Ok(())
    }
}

/// Points and weights on `[0, 1]`, exact for polynomials up to degree `2 n - 1`. The roots of the Legendre polynomial by
/// Newton's method from Tricomi's estimate.
pub(crate) fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let legendre = |x: f64| {
        let (mut previous, mut current) = (1.0, x);
        for k in 2..=n {
            let k = k as f64;
            (previous, current) = (current, ((2.0 * k - 1.0) * x * current - (k - 1.0) * previous) / k);
        }
        let derivative = n as f64 * (x * current - previous) / (x * x - 1.0);
        (current, derivative)
    };
    (0..n)
        .map(|i| {
            let mut x = -(PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..100 {
                let (value, derivative) = legendre(x);
                slope = derivative;
                let step = value / derivative;
                x -= step;
                if step.abs() < 1e-16 {
                    break;
                }
            }
            (0.5 * (x + 1.0), 1.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauss_legendre_is_exact_for_polynomials() {
        for n in [1, 2, 5, 20, 50] {
            let points = gauss_legendre(n);
            for degree in 0..2 * n {
                let sum: f64 = points.iter().map(|(x, w)| w * x.powi(degree as i32)).sum();
                let exact = 1.0 / (degree as f64 + 1.0);
                assert!((sum - exact).abs() < 1e-13, "{n} points, degree {degree}: {sum} is not {exact}");
            }
        }
    }
}
