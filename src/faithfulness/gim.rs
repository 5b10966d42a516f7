//! The protocol of the GIM paper (arXiv 2505.17630): comprehensiveness and sufficiency.

use super::{Curve, Family, Judged, Judgement, MetricFacts, Value};
use crate::runtime::Row;

/// Comprehensiveness takes away the 1 to 50 highest-ranked tokens.
const MOST: usize = 50;
/// Sufficiency takes away these fractions of the tokens, the lowest-ranked first.
const FRACTIONS: [f64; 5] = [0.5, 0.8, 0.9, 0.95, 0.99];
/// A score below this is no unit to measure in: it is nearly nothing, or points the other way.
const LEAST_UNIT: f64 = 1e-3;

pub struct Gim;

/// How many tokens are taken away, for each point of the two curves.
fn steps(n: usize) -> (Vec<usize>, Vec<usize>) {
    // Truncation, as in the paper's code.
    let sufficiency = FRACTIONS.iter().map(|fraction| (fraction * n as f64) as usize).collect();
    ((1..=n.min(MOST)).collect(), sufficiency)
}

impl Family for Gim {
    fn metrics(&self) -> Vec<MetricFacts> {
        let facts = |name: &str, higher_is_better, in_score_units, label: &str, description: &str| MetricFacts {
            name: name.to_owned(),
            higher_is_better,
            in_score_units,
            label: label.to_owned(),
            description: description.to_owned(),
        };
        vec![
            facts(
                "comprehensiveness",
                true,
                true,
                "Comprehensiveness",
                "How much the score falls when the highest-ranked tokens are replaced, averaged over the first 1 to 50 \
                 of them.",
            ),
            facts(
                "sufficiency",
                false,
                true,
                "Sufficiency",
                "How much the score falls when the lowest-ranked 50, 80, 90, 95 and 99 % of the tokens are replaced, \
                 averaged over the five.",
            ),
            facts(
                "comprehensiveness_normalized",
                true,
                false,
                "Comprehensiveness / f(x)",
                "Comprehensiveness as a fraction of the score itself, for scores above 0.",
            ),
            facts(
                "sufficiency_normalized",
                false,
                false,
                "Sufficiency / f(x)",
                "Sufficiency as a fraction of the score itself, for scores above 0.",
            ),
        ]
    }

    fn rows(&self, judged: &Judged) -> Vec<Row> {
        let (highest, lowest) = steps(judged.ranking.len());
        let highest = highest.into_iter().map(|k| judged.case.without(judged.ranking.highest(k)));
        let lowest = lowest.into_iter().map(|k| judged.case.without(judged.ranking.lowest(k)));
        highest.chain(lowest).collect()
    }

    fn judge(&self, judged: &Judged, scores: &[f64]) -> Judgement {
        let n = judged.ranking.len();
        let (highest, lowest) = steps(n);
        let (removed, kept) = scores.split_at(highest.len());
        let comprehensiveness = mean_fall(judged.full, removed);
        let sufficiency = mean_fall(judged.full, kept);
        let values = vec![
            comprehensiveness.clone(),
            sufficiency.clone(),
            in_units_of(judged.full, comprehensiveness),
            in_units_of(judged.full, sufficiency),
        ];
        let curve = |name: &str, steps: Vec<usize>, scores: &[f64]| {
            let step: Vec<usize> = std::iter::once(0).chain(steps).collect();
            Curve {
                curve: name.to_owned(),
                fraction: step.iter().map(|&k| k as f64 / n as f64).collect(),
                step,
                score: std::iter::once(judged.full).chain(scores.iter().copied()).collect(),
            }
        };
        Judgement {
            values,
            curves: vec![curve("comprehensiveness", highest, removed), curve("sufficiency", lowest, kept)],
        }
    }
}

/// The mean of `full - score`.
fn mean_fall(full: f64, scores: &[f64]) -> Value {
    if scores.is_empty() {
        return Err("no token is ranked".to_owned());
    }
    let mean = scores.iter().map(|score| full - score).sum::<f64>() / scores.len() as f64;
    if mean.is_finite() { Ok(mean) } else { Err("a score is not a finite number".to_owned()) }
}

fn in_units_of(full: f64, value: Value) -> Value {
    let value = value?;
    if full >= LEAST_UNIT {
        return Ok(value / full);
    }
    Err(if full.abs() < LEAST_UNIT { "f(x) is near 0" } else { "f(x) is below 0" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_the_paper() {
        assert_eq!(steps(4), (vec![1, 2, 3, 4], vec![2, 3, 3, 3, 3]));
        let (highest, lowest) = steps(120);
        assert_eq!((highest.len(), highest[49]), (50, 50));
        assert_eq!(lowest, [60, 96, 108, 114, 118]);
        assert_eq!(steps(0), (vec![], vec![0; 5]));
    }

    #[test]
    fn a_score_that_is_no_unit_gives_a_reason() {
        assert_eq!(in_units_of(4.0, Ok(1.0)), Ok(0.25));
        assert!(in_units_of(0.0, Ok(1.0)).is_err());
        assert!(in_units_of(-4.0, Ok(1.0)).unwrap_err().contains("below 0"));
        assert!(in_units_of(f64::NAN, Ok(1.0)).is_err());
    }
}
