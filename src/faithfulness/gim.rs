//! The protocol of the GIM paper (arXiv 2505.17630): comprehensiveness and sufficiency.

use std::rc::Rc;

use async_trait::async_trait;

use super::{Curve, Evaluated, Family, Measured, Metric, Output, REMOVAL, Ranking, Unit, Value, removal};
use crate::probe::{Probe, Removal};

/// Comprehensiveness takes away the 1 to 50 highest-ranked tokens.
const MOST: usize = 50;
/// Sufficiency takes away these fractions of the tokens, the lowest-ranked first.
const FRACTIONS: [f64; 5] = [0.5, 0.8, 0.9, 0.95, 0.99];
/// A score below this is no unit to measure in: it is nearly nothing, or points the other way.
const LEAST_UNIT: f64 = 1e-3;

const SOURCE: &str = "arXiv 2505.17630";

/// Comprehensiveness: the score should fall when the highest-ranked tokens go.
pub const COMPREHENSIVENESS: Family = Family {
    metrics: &[
        Output {
            name: "comprehensiveness",
            label: "Comprehensiveness",
            description: "How much the score falls when the highest-ranked tokens are replaced, averaged over the first 1 \
                          to 50 of them.",
            higher_is_better: true,
            unit: Unit::Score,
        },
        Output {
            name: "comprehensiveness_normalized",
            label: "Comprehensiveness / f(x)",
            description: "Comprehensiveness as a fraction of the score itself, for scores above 0.",
            higher_is_better: true,
            unit: Unit::OfScore,
        },
    ],
    options: &[REMOVAL],
    standard: true,
    source: SOURCE,
    cost: "min(n, 50) forward",
    build: |settings| {
        Rc::new(Fall {
            curve: "comprehensiveness",
            steps: highest_steps,
            taken: Ranking::highest,
            removal: removal(settings),
        })
    },
};

/// Sufficiency: the score should stay when only the highest-ranked tokens do.
pub const SUFFICIENCY: Family = Family {
    metrics: &[
        Output {
            name: "sufficiency",
            label: "Sufficiency",
            description: "How much the score falls when the lowest-ranked 50, 80, 90, 95 and 99 % of the tokens are \
                          replaced, averaged over the five.",
            higher_is_better: false,
            unit: Unit::Score,
        },
        Output {
            name: "sufficiency_normalized",
            label: "Sufficiency / f(x)",
            description: "Sufficiency as a fraction of the score itself, for scores above 0.",
            higher_is_better: false,
            unit: Unit::OfScore,
        },
    ],
    options: &[REMOVAL],
    standard: true,
    source: SOURCE,
    cost: "5 forward",
    build: |settings| {
        Rc::new(Fall {
            curve: "sufficiency",
            steps: sufficiency_steps,
            taken: Ranking::lowest,
            removal: removal(settings),
        })
    },
};

/// As many as there are, where there are fewer.
pub(super) fn highest_steps(n: usize) -> Vec<usize> {
    (1..=n.min(MOST)).collect()
}

/// Truncation, as in the paper's code.
pub(super) fn sufficiency_steps(n: usize) -> Vec<usize> {
    FRACTIONS.iter().map(|fraction| (fraction * n as f64) as usize).collect()
}

/// The mean fall of the score while tokens are taken away from one end of the ranking, and the same over f(x).
struct Fall {
    curve: &'static str,
    /// How many of n tokens are taken away, for each point of the curve.
    steps: fn(usize) -> Vec<usize>,
    /// The places of so many.
    taken: fn(&Ranking, usize) -> &[usize],
    removal: Removal,
}

#[async_trait(?Send)]
impl Metric for Fall {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        let Evaluated { ranking, full, .. } = evaluated;
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(2, &reason);
        }
        let steps = (self.steps)(ranking.len());
        let scores = probe.without(self.removal, steps.iter().map(|&k| (self.taken)(ranking, k))).await;
        let fall = mean_fall(*full, &scores);
        let step: Vec<usize> = std::iter::once(0).chain(steps).collect();
        let curve = Curve {
            curve: self.curve.to_owned(),
            fraction: step.iter().map(|&k| k as f64 / ranking.len() as f64).collect(),
            step,
            score: std::iter::once(*full).chain(scores).collect(),
        };
        Measured { values: vec![fall.clone(), in_units_of(*full, fall)], curves: vec![curve] }
    }
}

/// The mean of `full - score`.
pub(super) fn mean_fall(full: f64, scores: &[f64]) -> Value {
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
        let lowest = sufficiency_steps;
        assert_eq!(lowest(4), [2, 3, 3, 3, 3]);
        assert_eq!(lowest(120), [60, 96, 108, 114, 118]);
        assert_eq!(lowest(0), [0; 5]);
    }

    #[test]
    fn a_score_that_is_no_unit_gives_a_reason() {
        assert_eq!(in_units_of(4.0, Ok(1.0)), Ok(0.25));
        assert!(in_units_of(0.0, Ok(1.0)).is_err());
        assert!(in_units_of(-4.0, Ok(1.0)).unwrap_err().contains("below 0"));
        assert!(in_units_of(f64::NAN, Ok(1.0)).is_err());
    }
}
