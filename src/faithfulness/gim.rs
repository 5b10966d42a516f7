//! The protocol of the GIM paper (arXiv 2505.17630): comprehensiveness and sufficiency.

use super::{Curve, Family, Judged, Judgement, MetricFacts, Ranking, Value};
use crate::runtime::Row;

/// Comprehensiveness takes away the 1 to 50 highest-ranked tokens.
const MOST: usize = 50;
/// Sufficiency takes away these fractions of the tokens, the lowest-ranked first.
const FRACTIONS: [f64; 5] = [0.5, 0.8, 0.9, 0.95, 0.99];
/// A score below this is no unit to measure in: it is nearly nothing, or points the other way.
const LEAST_UNIT: f64 = 1e-3;

/// Comprehensiveness: the score should fall when the highest-ranked tokens go.
pub static COMPREHENSIVENESS: Gim = Gim {
    name: "comprehensiveness",
    label: "Comprehensiveness",
    higher_is_better: true,
    description: "How much the score falls when the highest-ranked tokens are replaced, averaged over the first 1 to 50 \
                  of them.",
    // As many as there are, where there are fewer.
    steps: |n| (1..=n.min(MOST)).collect(),
    replaced: Ranking::highest,
};

/// Sufficiency: the score should stay when only the highest-ranked tokens do.
pub static SUFFICIENCY: Gim = Gim {
    name: "sufficiency",
    label: "Sufficiency",
    higher_is_better: false,
    description: "How much the score falls when the lowest-ranked 50, 80, 90, 95 and 99 % of the tokens are replaced, \
                  averaged over the five.",
    // Truncation, as in the paper's code.
    steps: |n| FRACTIONS.iter().map(|fraction| (fraction * n as f64) as usize).collect(),
    replaced: Ranking::lowest,
};

/// The mean fall of the score while tokens are taken away from one end of the ranking, and the same over f(x).
pub struct Gim {
    name: &'static str,
    label: &'static str,
    higher_is_better: bool,
    description: &'static str,
    /// How many of n tokens are taken away, for each point of the curve.
    steps: fn(usize) -> Vec<usize>,
    /// The places of so many.
    replaced: fn(&Ranking, usize) -> &[usize],
}

impl Family for Gim {
    fn metrics(&self) -> Vec<MetricFacts> {
        let Gim { name, label, higher_is_better, description, .. } = *self;
        vec![
            MetricFacts {
                name: name.to_owned(),
                higher_is_better,
                in_score_units: true,
                over_score: false,
                label: label.to_owned(),
                description: description.to_owned(),
            },
            MetricFacts {
                name: format!("{name}_normalized"),
                higher_is_better,
                in_score_units: false,
                over_score: true,
                label: format!("{label} / f(x)"),
                description: format!("{label} as a fraction of the score itself, for scores above 0."),
            },
        ]
    }

    fn rows(&self, judged: &Judged) -> Vec<Row> {
        let steps = (self.steps)(judged.ranking.len());
        steps.into_iter().map(|k| judged.case.without((self.replaced)(judged.ranking, k))).collect()
    }

    fn judge(&self, judged: &Judged, scores: &[f64]) -> Judgement {
        let n = judged.ranking.len();
        let fall = mean_fall(judged.full, scores);
        let step: Vec<usize> = std::iter::once(0).chain((self.steps)(n)).collect();
        let curve = Curve {
            curve: self.name.to_owned(),
            fraction: step.iter().map(|&k| k as f64 / n as f64).collect(),
            step,
            score: std::iter::once(judged.full).chain(scores.iter().copied()).collect(),
        };
        Judgement { values: vec![fall.clone(), in_units_of(judged.full, fall)], curves: vec![curve] }
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
        let (highest, lowest) = (COMPREHENSIVENESS.steps, SUFFICIENCY.steps);
        assert_eq!((highest(4), lowest(4)), (vec![1, 2, 3, 4], vec![2, 3, 3, 3, 3]));
        assert_eq!((highest(120).len(), highest(120)[49]), (50, 50));
        assert_eq!(lowest(120), [60, 96, 108, 114, 118]);
        assert_eq!((highest(0), lowest(0)), (vec![], vec![0; 5]));
    }

    #[test]
    fn a_score_that_is_no_unit_gives_a_reason() {
        assert_eq!(in_units_of(4.0, Ok(1.0)), Ok(0.25));
        assert!(in_units_of(0.0, Ok(1.0)).is_err());
        assert!(in_units_of(-4.0, Ok(1.0)).unwrap_err().contains("below 0"));
        assert!(in_units_of(f64::NAN, Ok(1.0)).is_err());
    }
}
