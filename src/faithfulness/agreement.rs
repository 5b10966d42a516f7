//! Do attributions predict what taking tokens away does? Metrics that compare numbers rather than walk down a ranking.

use std::rc::Rc;

use async_trait::async_trait;
use rand::seq::index;

use super::{Evaluated, Family, Measured, Metric, Output, REMOVAL, Unit, Value, removal};
use crate::attribution::{Settings, generator};
use crate::config::{OptionInfo, OptionKind, OptionValue};
use crate::probe::{Probe, Removal};
use crate::stats::{kendall_tau, pearson};

const SAMPLES: OptionInfo = OptionInfo {
    name: "samples",
    kind: OptionKind::Integer(2, 10_000),
    default: OptionValue::Integer(50),
    only_with: None,
    about: "How many sets of tokens are drawn for each example, the same ones for every method.",
};
const SHARE: OptionInfo = OptionInfo {
    name: "share",
    kind: OptionKind::Fraction,
    default: OptionValue::Number(0.2),
    only_with: None,
    about: "The share of the ranked tokens that is in a set.",
};

pub const SUBSETS: Family = Family {
    metrics: &[
        Output {
            name: "faithfulness_correlation",
            label: "Faithfulness correlation",
            description: "Pearson's correlation between the sum of the attributions of a random set of tokens and what the \
                          score loses without the set.",
            higher_is_better: true,
            unit: Unit::Number,
        },
        Output {
            name: "infidelity",
            label: "Infidelity",
            description: "The mean squared difference between these two, in squared units of the score, after the \
                          attributions are multiplied by the one number that makes it smallest: an attribution is not \
                          judged by its scale.",
            higher_is_better: false,
            unit: Unit::Number,
        },
    ],
    options: &[SAMPLES, SHARE, REMOVAL],
    standard: false,
    source: "arXiv 2005.00631 (correlation), arXiv 1901.09392 (infidelity, with its optimal scaling)",
    cost: "samples forward, which all methods share",
    build: |settings| Rc::new(Subsets::new(settings)),
};

struct Subsets {
    samples: usize,
    share: f64,
    removal: Removal,
    seed: u64,
}

impl Subsets {
    fn new(settings: &Settings) -> Self {
        Subsets {
            samples: settings.integer(SAMPLES.name).unwrap_or(2),
            share: settings.number(SHARE.name).unwrap_or(0.2),
            removal: removal(settings),
            seed: settings.seed,
        }
    }
}

#[async_trait(?Send)]
impl Metric for Subsets {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(2, &reason);
        }
        let ranked = &evaluated.case.ranked;
        let size = ((self.share * ranked.len() as f64).round() as usize).clamp(1, ranked.len().max(1));
        if size >= ranked.len() {
            return Measured::none(2, "too few tokens are ranked to draw sets of them");
        }
        let draw = |number: usize| {
            let mut random = generator(self.seed, number as u64, &evaluated.case);
            index::sample(&mut random, ranked.len(), size).into_vec()
        };
        let sets: Vec<Vec<usize>> = (0..self.samples).map(draw).collect();
        let places = sets.iter().map(|set| ranked.places_of(set.iter().copied()));
        let scores = probe.without(self.removal, places).await;
        let lost: Vec<f64> = scores.iter().map(|score| evaluated.full - score).collect();
        let own = evaluated.of_units();
        let sum = |set: &Vec<usize>| set.iter().map(|&unit| own[unit]).sum::<f64>();
        let predicted: Vec<f64> = sets.iter().map(sum).collect();
        let constant = || "either the attributions or the scores are the same for every set".to_owned();
        let correlation = pearson(&predicted, &lost).ok_or_else(constant);
        Measured { values: vec![correlation, infidelity(&predicted, &lost)], curves: Vec::new() }
    }
}

/// `mean((beta predicted - lost)^2)` at the best `beta`.
fn infidelity(predicted: &[f64], lost: &[f64]) -> Value {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let size = dot(predicted, predicted);
    if size == 0.0 {
        return Err("all attributions are 0".to_owned());
    }
    let beta = dot(predicted, lost) / size;
    let squares = predicted.iter().zip(lost).map(|(predicted, lost)| (beta * predicted - lost).powi(2));
    Ok(squares.sum::<f64>() / lost.len() as f64)
}

pub const SINGLE_TOKENS: Family = Family {
    metrics: &[Output {
        name: "tau_leave_one_out",
        label: "Kendall's tau with leave-one-out",
        description: "Agreement of the ranking with that by what the score loses without each single token (tau-b).",
        higher_is_better: true,
        unit: Unit::Number,
    }],
    options: &[REMOVAL],
    standard: false,
    source: "arXiv 2208.01575 (ferret)",
    cost: "n forward, which all methods share",
    build: |settings| Rc::new(SingleTokens { removal: removal(settings) }),
};

struct SingleTokens {
    removal: Removal,
}

#[async_trait(?Send)]
impl Metric for SingleTokens {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(1, &reason);
        }
        let scores = probe.without(self.removal, evaluated.case.ranked.iter()).await;
        let lost: Vec<f64> = scores.iter().map(|score| evaluated.full - score).collect();
        let own = evaluated.of_units();
        let tau = kendall_tau(&own, &lost);
        let value = tau.ok_or_else(|| "either the attributions or the losses are all the same".to_owned());
        Measured { values: vec![value], curves: Vec::new() }
    }
}

pub const MONOTONICITY: Family = Family {
    metrics: &[Output {
        name: "monotonicity",
        label: "Monotonicity",
        description: "The share of steps at which the score does not fall while tokens are given back, the least important \
                      first.",
        higher_is_better: true,
        unit: Unit::Number,
    }],
    options: &[REMOVAL],
    standard: false,
    source: "arXiv 1909.03012 (AIX360), as a share of steps rather than all or none",
    cost: "n forward",
    build: |settings| Rc::new(Monotonicity { removal: removal(settings) }),
};

struct Monotonicity {
    removal: Removal,
}

#[async_trait(?Send)]
impl Metric for Monotonicity {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(1, &reason);
        }
        let ranking = &evaluated.ranking;
        // Given back are the lowest, so what is still away are the highest.
        let still_away = (1..=ranking.len()).rev().map(|k| ranking.highest(k));
        let mut scores = probe.without(self.removal, still_away).await;
        scores.push(evaluated.full);
        let steps = scores.len() - 1;
        let held = scores.windows(2).filter(|pair| pair[1] >= pair[0]).count();
        let value = match scores.iter().all(|score| score.is_finite()) {
            _ if steps == 0 => Err("no token is ranked".to_owned()),
            true => Ok(held as f64 / steps as f64),
            false => Err("a score is not a finite number".to_owned()),
        };
        Measured { values: vec![value], curves: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infidelity_is_not_about_scale() {
        let lost = [1.0, 2.0, -1.0];
        assert!(infidelity(&[10.0, 20.0, -10.0], &lost).unwrap() < 1e-20);
        // What points nowhere explains nothing: the mean square of the losses.
        assert_eq!(infidelity(&[2.0, -1.0, 0.0], &lost), Ok(2.0));
        assert!(infidelity(&[0.0; 3], &lost).is_err());
    }
}
