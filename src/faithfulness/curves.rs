//! Areas under the score while tokens are taken away, one after another, from either end of the ranking.
//!
//! Deletion and insertion after Petsiuk et al. (RISE, arXiv 1806.07421); the symmetric relevance gain after Blücher et al.
//! (Decoupling Pixel Flipping and Occlusion Strategy, arXiv 2401.06654).

use std::rc::Rc;

use async_trait::async_trait;

use super::{Curve, Evaluated, Family, Measured, Metric, Output, REMOVAL, Unit, removal};
use crate::attribution::Settings;
use crate::config::{OptionInfo, OptionKind, OptionValue};
use crate::probe::{Probe, Removal};

const POINTS: OptionInfo = OptionInfo {
    name: "points",
    kind: OptionKind::Integer(1, 1000),
    default: OptionValue::Integer(50),
    only_with: None,
    about: "The most points of a curve besides its start; with more tokens than that they are spread evenly.",
};

pub const CURVES: Family = Family {
    metrics: &[
        Output {
            name: "deletion_auc",
            label: "Deletion AUC",
            description: "The area under the score while tokens are taken away, the highest-ranked first: low where the \
                          score falls at once.",
            higher_is_better: false,
            unit: Unit::Score,
        },
        Output {
            name: "insertion_auc",
            label: "Insertion AUC",
            description: "The area under the score while tokens are given back, the highest-ranked first: high where the \
                          score comes back at once.",
            higher_is_better: true,
            unit: Unit::Score,
        },
        Output {
            name: "srg",
            label: "Symmetric relevance gain",
            description: "The area between taking away the least and the most important tokens first. What a removal does \
                          to the score whatever is removed cancels, so it hangs less on the removal than either alone.",
            higher_is_better: true,
            unit: Unit::Score,
        },
    ],
    options: &[REMOVAL, POINTS],
    standard: false,
    source: "arXiv 1806.07421 (deletion, insertion), arXiv 2401.06654 (symmetric relevance gain)",
    cost: "2 min(n, points) forward",
    build: |settings| Rc::new(Areas { removal: removal(settings), points: points(settings) }),
};

fn points(settings: &Settings) -> usize {
    settings.integer(POINTS.name).unwrap_or(1)
}

struct Areas {
    removal: Removal,
    points: usize,
}

#[async_trait(?Send)]
impl Metric for Areas {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(3, &reason);
        }
        let ranking = &evaluated.ranking;
        let steps = steps(ranking.len(), self.points);
        let highest = steps[1..].iter().map(|&k| ranking.highest(k));
        let lowest = steps[1..].iter().map(|&k| ranking.lowest(k));
        let scores = probe.without(self.removal, highest.chain(lowest)).await;
        let (most_first, least_first) = scores.split_at(scores.len() / 2);
        let curve = |name: &str, scores: Vec<f64>| Curve {
            curve: name.to_owned(),
            fraction: steps.iter().map(|&k| k as f64 / ranking.len().max(1) as f64).collect(),
            step: steps.clone(),
            score: scores,
        };
        let full = evaluated.full;
        let deletion = curve("deletion", std::iter::once(full).chain(most_first.iter().copied()).collect());
        // What is left when the lowest are gone are the highest: the same scores, from the other end.
        let insertion = curve("insertion", least_first.iter().rev().copied().chain([full]).collect());
        let (deleted, inserted) = (area(&deletion), area(&insertion));
        Measured { values: vec![Ok(deleted), Ok(inserted), Ok(inserted - deleted)], curves: vec![deletion, insertion] }
    }
}

/// 0 to n in at most `points` steps. Symmetric, so that what is taken away and what is left have the same counts.
pub(super) fn steps(n: usize, points: usize) -> Vec<usize> {
    let mut parts = n.min(points).max(1);
    if parts.is_multiple_of(2) && !n.is_multiple_of(2) {
        // An odd number has no middle.
        parts -= 1;
    }
    let mut steps: Vec<usize> = (0..=parts).map(|i| (i * n + parts / 2) / parts).collect();
    // Rounding to nearest is symmetric but for halves.
    for i in 0..=parts / 2 {
        steps[parts - i] = n - steps[i];
    }
    steps.dedup();
    steps
}

/// By trapezoids, over fractions from 0 to 1.
pub(super) fn area(curve: &Curve) -> f64 {
    let parts = curve.fraction.windows(2).zip(curve.score.windows(2));
    parts.map(|(x, y)| (x[1] - x[0]) * (y[0] + y[1]) / 2.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_symmetric_and_end_at_all() {
        for n in 1..140 {
            for points in [1, 2, 7, 50] {
                let steps = steps(n, points);
                assert_eq!((steps[0], *steps.last().unwrap()), (0, n));
                assert!(
                    steps.len() <= points.min(n) + 1 && steps.is_sorted_by(|a, b| a < b),
                    "{n} {points}: {steps:?}"
                );
                let mirrored: Vec<usize> = steps.iter().rev().map(|&k| n - k).collect();
                assert_eq!(mirrored, steps, "{n} {points}");
            }
        }
        assert_eq!(steps(4, 50), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn areas_are_those_of_trapezoids() {
        let curve = |score: &[f64]| Curve {
            curve: String::new(),
            step: (0..score.len()).collect(),
            fraction: (0..score.len()).map(|k| k as f64 / (score.len() - 1) as f64).collect(),
            score: score.to_vec(),
        };
        assert_eq!(area(&curve(&[4.0, 4.0, 4.0])), 4.0);
        assert_eq!(area(&curve(&[2.0, 1.0, 0.0])), 1.0);
        assert_eq!(area(&curve(&[1.0, 0.0, 0.0, 0.0, 0.0])), 0.125);
    }
}
