//! KernelSHAP (Lundberg and Lee, arXiv 1705.07874): Shapley values as a weighted regression.

use std::collections::BTreeMap;
use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{Array1, Array2};
use rand::RngExt;

use super::least_squares::{Factor, Fit};
use super::options::{REMOVAL, SEEDS, removal, samples};
use super::subsets::{Game, Subset, count, every};
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, Settings};
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
    REMOVAL,
    SEEDS,
];

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "kernel_shap", options: OPTIONS },
    description: "Shapley values of the ranked tokens, by regression on the scores of subsets",
    source: "arXiv 1705.07874; pairs of complements: arXiv 2012.01536",
    cost: "min(2^r, `samples` x `seeds`) forward",
    build: |settings| Rc::new(KernelShap::new(settings)),
};

/// Shapley values of the game whose players are the ranked tokens: exact where they have at most `samples` subsets, else
/// from subsets that are drawn as the Shapley kernel weighs them, each with its complement. They add up to f(x) minus
/// the score without any ranked token. Tokens that are not ranked always stay, and get 0.
///
/// Says `exact`, 0 or 1, `subsets`, how many were scored, and of the regression `residual` (in units of the score) and
/// `r_squared`, on the same subsets: how much of the model is a sum over tokens. `ridge` is there where there were too few
/// subsets to tell all tokens apart.
pub struct KernelShap {
    samples: usize,
    removal: Removal,
    seeds: usize,
    seed: u64,
}

impl KernelShap {
    fn new(settings: &Settings) -> Self {
        KernelShap {
            samples: settings.integer("samples").unwrap_or(512),
            removal: removal(settings),
            seeds: settings.integer(SEEDS.name).unwrap_or(1),
            seed: settings.seed,
        }
    }
}

#[async_trait(?Send)]
impl Method for KernelShap {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let game = Game::new(case, probe, self.removal, MOST)?;
        let tokens = game.tokens();
        let none = Subset::none(tokens);
        let ends = game.worth(&[none.complement(tokens), none]).await;
        let (change, empty) = (ends[0] - ends[1], ends[1]);
        let exact = count(tokens, self.samples);
        let (mut values, mut diagnostics) = (Vec::with_capacity(self.seeds), BTreeMap::new());
        for draw in 0..self.seeds {
            let weighted: Vec<(f64, Subset)> = match exact {
                // All seeds say the same.
                Some(_) if draw > 0 => {
                    values.extend(values.first().cloned());
                    continue;
                }
                Some(count) => {
                    every(tokens, count).skip(1).take(count - 2).map(|s| (kernel(tokens, s.len()), s)).collect()
                }
                None => drawn(&game, (self.samples - 2) / 2, self.seed, draw),
            };
            let (weights, subsets): (Vec<f64>, Vec<Subset>) = weighted.into_iter().unzip();
            let gains: Vec<f64> = game.worth(&subsets).await.iter().map(|worth| worth - empty).collect();
            let (shares, ridge) = regression(tokens, &weights, &subsets, &gains, change);
            let fitted = |subset: &Subset| subset.held().map(|token| shares[token]).sum::<f64>();
            let points = weights
                .iter()
                .zip(&subsets)
                .zip(&gains)
                .map(|((&weight, subset), &gain)| (weight, gain, fitted(subset)));
            if draw == 0 {
                say(
                    &mut diagnostics,
                    exact.is_some(),
                    subsets.len() + 2,
                    ridge,
                    (!subsets.is_empty()).then(|| Fit::of(points)),
                );
            }
            values.push(game.spread(&shares));
        }
        Ok(Attribution { values, diagnostics })
    }
}

/// What a regression says of itself.
pub(super) fn say(diagnostics: &mut BTreeMap<String, f64>, exact: bool, subsets: usize, ridge: f64, fit: Option<Fit>) {
    let mut say = |name: &str, value: f64| diagnostics.insert(name.to_owned(), value);
    say("exact", f64::from(u8::from(exact)));
    say("subsets", subsets as f64);
    if ridge > 0.0 {
        say("ridge", ridge);
    }
    if let Some(fit) = fit {
        say("residual", fit.residual);
        fit.r_squared.map(|r_squared| say("r_squared", r_squared));
    }
}

/// The Shapley kernel of one subset of `size` out of so many tokens, neither none nor all.
fn kernel(tokens: usize, size: usize) -> f64 {
    let (m, k) = (tokens as f64, size as f64);
    let choose: f64 = (0..size).map(|i| (tokens - i) as f64 / (i + 1) as f64).product();
    (m - 1.0) / (choose * k * (m - k))
}

/// Subsets as the Shapley kernel weighs them: their sizes by what all subsets of a size weigh together, and each with its
/// complement, which the kernel weighs the same.
fn drawn(game: &Game<'_>, pairs: usize, seed: u64, draw: usize) -> Vec<(f64, Subset)> {
    let tokens = game.tokens();
    let mut random = game.random(seed, draw);
    let mut sums = Vec::with_capacity(tokens);
    let mut sum = 0.0;
    for size in 1..tokens {
        sum += 1.0 / (size * (tokens - size)) as f64;
        sums.push(sum);
    }
    let pair = |_| {
        let level = random.random::<f64>() * sum;
        let size = 1 + sums.partition_point(|&sum| sum <= level).min(tokens.saturating_sub(2));
        let subset = Subset::drawn_of_size(tokens, size, &mut random);
        let complement = subset.complement(tokens);
        [(1.0, subset), (1.0, complement)]
    };
    (0..pairs).flat_map(pair).collect()
}

/// The shares that add up to `change` and come closest to the gains of subsets, and the ridge that this took.
fn regression(tokens: usize, weights: &[f64], subsets: &[Subset], gains: &[f64], change: f64) -> (Vec<f64>, f64) {
    if tokens == 1 {
        return (vec![change], 0.0);
    }
    let total: f64 = weights.iter().sum();
    let (mut matrix, mut right) = (Array2::<f64>::zeros((tokens, tokens)), Array1::<f64>::zeros(tokens));
    for ((weight, subset), gain) in weights.iter().zip(subsets).zip(gains) {
        let held: Vec<usize> = subset.held().collect();
        let weight = weight / total;
        for &row in &held {
            right[row] += weight * gain;
            held.iter().for_each(|&column| matrix[[row, column]] += weight);
        }
    }
    // Minimum on the plane on which the shares add up to the change, by a Lagrange multiplier.
    let factor = Factor::of(&matrix);
    let (free, ones) = (factor.solve(&right), factor.solve(&Array1::ones(tokens)));
    let multiplier = (change - free.sum()) / ones.sum();
    ((free + ones * multiplier).to_vec(), factor.ridge)
}
