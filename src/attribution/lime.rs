//! LIME (Ribeiro et al., arXiv 1602.04938): a linear model of the scores of subsets near the prompt.

use std::collections::BTreeMap;
use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{Array1, Array2};

use super::kernel_shap::say;
use super::least_squares::{Factor, Fit};
use super::options::{REMOVAL, SEEDS, removal, samples};
use super::subsets::{Game, Subset, count, every};
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue, Settings};
use crate::config::Offered;
use crate::probe::{Probe, Removal};

/// The most ranked tokens: the regression has a matrix of their square.
const MOST: usize = 2048;

const OPTIONS: &[OptionInfo] = &[
    samples(
        "The most subsets of the ranked tokens that are scored; where there are no more, all of them are.",
        16,
        65_536,
        512,
    ),
    OptionInfo {
        name: "kernel_width",
        kind: OptionKind::Number(0.05, 100.0),
        default: OptionValue::Number(0.25),
        only_with: None,
        about: "Width w of the weights exp(-d^2 / 2 w^2), with d one minus the cosine between the subset and the whole prompt.",
    },
    OptionInfo {
        name: "regularization",
        kind: OptionKind::Number(0.0, 1e6),
        default: OptionValue::Number(1.0),
        only_with: None,
        about: "What the squared coefficients are multiplied by and added to the weighted squared errors (ridge).",
    },
    REMOVAL,
    SEEDS,
];

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "lime", options: OPTIONS },
    description: "coefficients of a weighted ridge regression of the score on which ranked tokens stay",
    source: "arXiv 1602.04938",
    cost: "min(2^r, `samples` x `seeds`) forward",
    build: |settings| Rc::new(Lime::new(settings)),
};

/// Coefficients of a ridge regression with an intercept on subsets of the ranked tokens, each token kept with probability
/// one half; on all subsets where there are at most `samples`. Tokens that are not ranked always stay, and get 0.
///
/// Says what [`KernelShap`](super::kernel_shap::KernelShap) says of its regression.
pub struct Lime {
    samples: usize,
    kernel_width: f64,
    regularization: f64,
    removal: Removal,
    seeds: usize,
    seed: u64,
}

impl Lime {
    fn new(settings: &Settings) -> Self {
        Lime {
            samples: settings.integer("samples").unwrap_or(512),
            kernel_width: settings.number("kernel_width").unwrap_or(0.25),
            regularization: settings.number("regularization").unwrap_or(1.0),
            removal: removal(settings),
            seeds: settings.integer(SEEDS.name).unwrap_or(1),
            seed: settings.seed,
        }
    }

    fn weight(&self, subset: &Subset, tokens: usize) -> f64 {
        // The cosine of a vector of zeros and ones with that of ones.
        let distance = 1.0 - (subset.len() as f64 / tokens as f64).sqrt();
        (-distance.powi(2) / (2.0 * self.kernel_width.powi(2))).exp()
    }
}

#[async_trait(?Send)]
impl Method for Lime {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let game = Game::new(case, probe, self.removal, MOST)?;
        let tokens = game.tokens();
        let exact = count(tokens, self.samples);
        let (mut values, mut diagnostics) = (Vec::with_capacity(self.seeds), BTreeMap::new());
        for draw in 0..self.seeds {
            let subsets: Vec<Subset> = match exact {
                // All seeds say the same.
                Some(_) if draw > 0 => {
                    values.extend(values.first().cloned());
                    continue;
                }
                Some(count) => every(tokens, count).collect(),
                None => {
                    let mut random = game.random(self.seed, draw);
                    (0..self.samples).map(|_| Subset::drawn(tokens, &mut random)).collect()
                }
            };
            let worth = game.worth(&subsets).await;
            let weights: Vec<f64> = subsets.iter().map(|subset| self.weight(subset, tokens)).collect();
            let Linear { intercept, coefficients, ridge } =
                Linear::of(tokens, &weights, &subsets, &worth, self.regularization);
            let fitted = |subset: &Subset| intercept + subset.held().map(|token| coefficients[token]).sum::<f64>();
            let points = weights
                .iter()
                .zip(&subsets)
                .zip(&worth)
                .map(|((&weight, subset), &worth)| (weight, worth, fitted(subset)));
            if draw == 0 {
                say(&mut diagnostics, exact.is_some(), subsets.len(), ridge, Some(Fit::of(points)));
            }
            values.push(game.spread(&coefficients));
        }
        Ok(Attribution { values, diagnostics })
    }
}

/// A linear model of what subsets are worth.
struct Linear {
    intercept: f64,
    coefficients: Vec<f64>,
    /// What was added to the diagonal besides the regularization.
    ridge: f64,
}

impl Linear {
    fn of(tokens: usize, weights: &[f64], subsets: &[Subset], worth: &[f64], regularization: f64) -> Self {
        let total: f64 = weights.iter().sum();
        let mean_worth = weights.iter().zip(worth).map(|(weight, worth)| weight * worth).sum::<f64>() / total;
        let mut mean = Array1::<f64>::zeros(tokens);
        let (mut matrix, mut right) = (Array2::<f64>::zeros((tokens, tokens)), Array1::<f64>::zeros(tokens));
        for ((weight, subset), worth) in weights.iter().zip(subsets).zip(worth) {
            let held: Vec<usize> = subset.held().collect();
            for &row in &held {
                mean[row] += weight / total;
                right[row] += weight * (worth - mean_worth);
                held.iter().for_each(|&column| matrix[[row, column]] += weight);
            }
        }
        // About the weighted means, so that the intercept is not regularized.
        for row in 0..tokens {
            for column in 0..tokens {
                matrix[[row, column]] -= total * mean[row] * mean[column];
            }
            matrix[[row, row]] += regularization;
        }
        let factor = Factor::of(&matrix);
        let coefficients = factor.solve(&right);
        let intercept = mean_worth - mean.dot(&coefficients);
        Linear { intercept, coefficients: coefficients.to_vec(), ridge: factor.ridge }
    }
}
