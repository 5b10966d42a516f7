//! Self-repair of attention (GIM paper, arXiv 2505.17630): two scores of a row that matter, taken away alone and together.

use std::rc::Rc;

use async_trait::async_trait;
use rand::seq::index::sample;

use super::{Curve, Evaluated, Family, Measured, Metric, Output, Unit, blocked_inside};
use crate::attribution::{RULES, generator, named_rules};
use crate::bundle::inside::MASKED_BELOW;
use crate::config::{OptionInfo, OptionKind, OptionValue};
use crate::grad::Knobs;
use crate::probe::Probe;
use crate::runtime::{AttentionScores, Change, Graph};
use crate::stats::median;

const THRESHOLD: OptionInfo = OptionInfo {
    name: "threshold",
    kind: OptionKind::Number(0.0, 1e6),
    default: OptionValue::Number(0.05),
    only_with: None,
    about: "A score counts where it times its gradient is above this, in the unit of what is explained; and a row where taking \
            both scores away changes that by as much.",
};
const MOST: OptionInfo = OptionInfo {
    name: "most",
    kind: OptionKind::Integer(1, 100_000),
    default: OptionValue::Integer(50),
    only_with: None,
    about: "Rows of attention that are looked at in an example, drawn by the run's seed where there are more.",
};

pub const SELF_REPAIR: Family = Family {
    metrics: &[
        Output {
            name: "self_repair",
            label: "Self-repair",
            description: "Median over rows of attention with two scores of large contribution of (D_both - D_1 - D_2) / D_both, \
                          where D is how much the score falls when these are set to the row's mean: above 0 each \
                          stands in for the other. A property of the model and the prompt, the same for all methods.",
            higher_is_better: false,
            unit: Unit::Number,
        },
        Output {
            name: "joint_effect_share",
            label: "Share of the joint effect",
            description: "Median over the same rows of what the method's gradient foretells of both scores' fall to the mean, \
                          over D_both: 1 is right, below 1 underestimates; only of methods that are a gradient.",
            higher_is_better: true,
            unit: Unit::Number,
        },
        Output {
            name: "joint_effect_error",
            label: "Error of the joint effect",
            description: "Median over the same rows of the distance between what the gradient foretells and D_both, over \
                          the size of D_both.",
            higher_is_better: false,
            unit: Unit::Number,
        },
    ],
    options: &[THRESHOLD, MOST, RULES],
    standard: false,
    source: "arXiv 2505.17630",
    cost: "2 gradient, and 3 x `most` forward that all methods share",
    build: |settings| {
        Rc::new(SelfRepair {
            threshold: settings.number(THRESHOLD.name).unwrap_or(0.0),
            most: settings.integer(MOST.name).unwrap_or(1),
            rules: named_rules(settings.word(RULES.name)),
            seed: settings.seed,
        })
    },
};

struct SelfRepair {
    threshold: f64,
    most: usize,
    /// Of the gradients that choose rows.
    rules: Knobs,
    seed: u64,
}

/// A row of attention, and the two of its keys that contribute most.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    layer: usize,
    head: usize,
    query: usize,
    keys: [usize; 2],
}

#[async_trait(?Send)]
impl Metric for SelfRepair {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Some(reason) = blocked_inside(probe, [Graph::ScoreGradient, Graph::ForwardScores]) {
            return Measured::none(3, &reason);
        }
        if let Some(lacks) = probe.lacks_knob(&self.rules) {
            return Measured::none(3, &lacks);
        }
        let case = &evaluated.case;
        let found = probe.attention_scores(self.rules).await;
        let mut pairs = pairs(&found, self.threshold);
        if pairs.len() > self.most {
            let drawn = sample(&mut generator(self.seed, 0, case), pairs.len(), self.most);
            let mut drawn = drawn.into_vec();
            drawn.sort_unstable();
            pairs = drawn.into_iter().map(|at| pairs[at]).collect();
        }
        if pairs.is_empty() {
            return Measured::none(3, "no row of attention has two scores whose contribution is above the threshold");
        }
        let foretold = match evaluated.method.knobs() {
            Some(knobs) => {
                let own = probe.attention_scores(knobs).await;
                Some(pairs.iter().map(|pair| foretold(&own, pair)).collect::<Vec<f64>>())
            }
            None => None,
        };
        drop(found);
        let rows = pairs.iter().flat_map(|&Pair { layer, head, query, keys }| {
            let number = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
            let change = Change::Score { layer: number(layer), head: number(head), query: query as u32 };
            [&keys[..1], &keys[1..], &keys[..]].map(|keys| case.row().changed(keys, change))
        });
        // What is differentiated, which is the logit where the task asks for its probability.
        let rows = std::iter::once(case.row()).chain(rows).collect();
        let scores = probe.scores_of(case.differentiated(), rows).await;
        let (full, scores) = scores.split_first().map_or((f64::NAN, &[][..]), |(&full, scores)| (full, scores));
        let falls = scores.chunks_exact(3).map(|scores| [0, 1, 2].map(|at| full - scores[at]));
        let (mut interactions, mut shares, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (at, [first, second, both]) in falls.enumerate() {
            if both.abs() < self.threshold.max(f64::MIN_POSITIVE)
                || ![first, second, both].iter().all(|x| x.is_finite())
            {
                continue;
            }
            interactions.push((both - first - second) / both);
            if let Some(foretold) = &foretold {
                shares.push(foretold[at] / both);
                errors.push((foretold[at] - both).abs() / both.abs());
            }
        }
        if interactions.is_empty() {
            return Measured::none(3, "no row of attention changes the score by more than the threshold");
        }
        let of_gradient = |values: &[f64]| match foretold {
            Some(_) => median(values).ok_or_else(|| "there is no row".to_owned()),
            None => Err("the method is no gradient, and says nothing of attention scores".to_owned()),
        };
        let values = vec![
            median(&interactions).ok_or_else(|| "there is no row".to_owned()),
            of_gradient(&shares),
            of_gradient(&errors),
        ];
        Measured { values, curves: vec![quantiles("self_repair", interactions)] }
    }
}

/// The rows of attention with at least two scores whose product with the gradient is above the threshold, each with the two
/// largest of these.
fn pairs(found: &AttentionScores, threshold: f64) -> Vec<Pair> {
    let (layers, heads, seq, _) = found.scores.dim();
    let mut pairs = Vec::new();
    for layer in 0..layers {
        for head in 0..heads {
            for query in 0..seq {
                let contribution = |key: usize| {
                    let at = [layer, head, query, key];
                    let score = f64::from(found.scores[at]);
                    if score > MASKED_BELOW { score * f64::from(found.score_gradient[at]) } else { 0.0 }
                };
                let mut large: Vec<(usize, f64)> = (0..seq)
                    .map(|key| (key, contribution(key)))
                    .filter(|&(_, contribution)| contribution > threshold)
                    .collect();
                large.sort_by(|a, b| b.1.total_cmp(&a.1));
                if let [first, second, ..] = large[..] {
                    pairs.push(Pair { layer, head, query, keys: [first.0, second.0] });
                }
            }
        }
    }
    pairs
}

/// How much the score falls, to first order, when both scores are set to the row's mean.
fn foretold(found: &AttentionScores, pair: &Pair) -> f64 {
    let Pair { layer, head, query, keys } = *pair;
    let score = |key: usize| f64::from(found.scores[[layer, head, query, key]]);
    let seen = (0..found.scores.dim().3).map(score).filter(|&score| score > MASKED_BELOW);
    let (sum, count) = seen.fold((0.0, 0.0), |(sum, count), score| (sum + score, count + 1.0));
    let mean = sum / count;
    keys.iter().map(|&key| (score(key) - mean) * f64::from(found.score_gradient[[layer, head, query, key]])).sum()
}

/// The distribution of some numbers, as a curve over its quantiles.
fn quantiles(name: &str, mut values: Vec<f64>) -> Curve {
    const STEPS: usize = 20;
    values.sort_by(f64::total_cmp);
    let at = |step: usize| {
        let place = step as f64 / STEPS as f64 * (values.len() - 1) as f64;
        let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
        below + (above - below) * place.fract()
    };
    Curve {
        curve: name.to_owned(),
        step: (0..=STEPS).map(|step| step * 100 / STEPS).collect(),
        fraction: (0..=STEPS).map(|step| step as f64 / STEPS as f64).collect(),
        score: (0..=STEPS).map(at).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    fn found() -> AttentionScores {
        let mut scores = Array4::zeros((1, 1, 3, 3));
        let mut score_gradient = Array4::zeros((1, 1, 3, 3));
        for (key, (score, gradient)) in [(2.0, 0.5), (4.0, 0.5), (3.0, -0.5)].into_iter().enumerate() {
            scores[[0, 0, 2, key]] = score;
            score_gradient[[0, 0, 2, key]] = gradient;
        }
        // Two large products, one of them a mask's.
        (scores[[0, 0, 1, 0]], score_gradient[[0, 0, 1, 0]]) = (3.0, 1.0);
        (scores[[0, 0, 1, 1]], score_gradient[[0, 0, 1, 1]]) = (2.0, 1.0);
        (scores[[0, 0, 1, 2]], score_gradient[[0, 0, 1, 2]]) = (-1e30, -1.0);
        AttentionScores { attention_gradient: score_gradient.clone(), scores, score_gradient }
    }

    #[test]
    fn pairs_are_the_two_largest_contributions_of_a_row() {
        let pair = |query, keys| Pair { layer: 0, head: 0, query, keys };
        assert_eq!(pairs(&found(), 0.9), [pair(1, [0, 1]), pair(2, [1, 0])]);
        assert_eq!(pairs(&found(), 1.5), [pair(1, [0, 1])]);
        assert_eq!(pairs(&found(), 2.5), []);
    }

    #[test]
    fn what_is_foretold_is_the_distance_to_the_mean_times_the_gradient() {
        // The mean is 3: (4 - 3) / 2 + (2 - 3) / 2.
        let pair = |query, keys| Pair { layer: 0, head: 0, query, keys };
        assert_eq!(foretold(&found(), &pair(2, [1, 0])), 0.0);
        // The mean of what is seen is 2.5.
        assert_eq!(foretold(&found(), &pair(1, [0, 1])), 0.0);
        assert_eq!(foretold(&found(), &pair(2, [1, 2])), 0.5);
    }

    #[test]
    fn quantiles_go_from_the_least_to_the_largest() {
        let curve = quantiles("q", vec![3.0, 1.0, 2.0]);
        assert_eq!((curve.score[0], curve.score[10], curve.score[20]), (1.0, 2.0, 3.0));
        assert_eq!((curve.step[0], curve.step[20], curve.score[15]), (0, 100, 2.5));
        assert!(quantiles("q", vec![4.0]).score.iter().all(|&x| x == 4.0));
    }
}
