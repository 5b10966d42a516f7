//! How often an attribution is better than its own numbers in another order.

use std::rc::Rc;

use async_trait::async_trait;
use rand::seq::SliceRandom;

use super::curves::{area, steps};
use super::{Curve, Evaluated, Family, Measured, Metric, Output, REMOVAL, Ranking, Unit, removal};
use crate::attribution::generator;
use crate::config::{OptionInfo, OptionKind, OptionValue};
use crate::probe::{Probe, Removal};

const SHUFFLES: OptionInfo = OptionInfo {
    name: "shuffles",
    kind: OptionKind::Integer(1, 1000),
    default: OptionValue::Integer(20),
    only_with: None,
    about: "How many other orders of the same attributions it is compared with.",
};
/// Points of a curve: enough to tell orders apart.
const POINTS: usize = 10;

pub const WIN_RATE: Family = Family {
    metrics: &[Output {
        name: "random_win_rate",
        label: "Win rate against matched random",
        description: "The share of random orders of the same attributions that have a smaller symmetric relevance gain; \
                      ties count half. One half is chance, and below it an attribution is anti-faithful.",
        higher_is_better: true,
        unit: Unit::Number,
    }],
    options: &[SHUFFLES, REMOVAL],
    standard: false,
    source: "this program; the gain: arXiv 2401.06654",
    cost: "20 forward, and 20 a shuffle that all methods share",
    build: |settings| {
        Rc::new(WinRate {
            shuffles: settings.integer(SHUFFLES.name).unwrap_or(1),
            removal: removal(settings),
            seed: settings.seed,
        })
    },
};

struct WinRate {
    shuffles: usize,
    removal: Removal,
    seed: u64,
}

#[async_trait(?Send)]
impl Metric for WinRate {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(1, &reason);
        }
        let ranked = &evaluated.case.ranked;
        if ranked.len() < 2 {
            return Measured::none(1, "fewer than two tokens are ranked");
        }
        let own = evaluated.of_units();
        let mut rankings = vec![evaluated.ranking.clone()];
        for draw in 0..self.shuffles {
            // The orders hang on the example alone, so that the rows of one method are those of the others.
            let mut order: Vec<usize> = (0..own.len()).collect();
            order.shuffle(&mut generator(self.seed, draw as u64, &evaluated.case));
            // The place that the draw puts first gets the largest of the numbers, and so on.
            let mut sorted = own.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let mut shuffled = vec![f64::NAN; own.len()];
            order.iter().zip(sorted).for_each(|(&which, value)| shuffled[which] = value);
            rankings.push(Ranking::of(&shuffled, ranked));
        }
        let steps = steps(ranked.len(), POINTS);
        let sets = rankings.iter().flat_map(|ranking| {
            let highest = steps[1..].iter().map(|&k| ranking.highest(k));
            highest.chain(steps[1..].iter().map(|&k| ranking.lowest(k)))
        });
        let scores = probe.without(self.removal, sets).await;
        let gains: Vec<f64> =
            scores.chunks_exact(2 * (steps.len() - 1)).map(|scores| gain(&steps, evaluated.full, scores)).collect();
        let won = |other: &f64| match gains[0].partial_cmp(other) {
            Some(std::cmp::Ordering::Greater) => 1.0,
            Some(std::cmp::Ordering::Equal) => 0.5,
            _ => 0.0,
        };
        let rate = gains[1..].iter().map(won).sum::<f64>() / self.shuffles as f64;
        let finite = gains.iter().all(|gain| gain.is_finite());
        let value = if finite { Ok(rate) } else { Err("a score is not a finite number".to_owned()) };
        Measured { values: vec![value], curves: Vec::new() }
    }
}

/// The symmetric relevance gain, from the scores without the highest and then without the lowest.
fn gain(steps: &[usize], full: f64, scores: &[f64]) -> f64 {
    let n = steps[steps.len() - 1] as f64;
    let area_of = |scores: &[f64]| {
        area(&Curve {
            curve: String::new(),
            step: steps.to_vec(),
            fraction: steps.iter().map(|&k| k as f64 / n).collect(),
            score: std::iter::once(full).chain(scores.iter().copied()).collect(),
        })
    };
    let (most_first, least_first) = scores.split_at(scores.len() / 2);
    area_of(least_first) - area_of(most_first)
}
