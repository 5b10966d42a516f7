//! The protocol of ERASER (DeYoung et al., arXiv 1911.03429): comprehensiveness and sufficiency in probability.

use std::rc::Rc;

use async_trait::async_trait;

use super::{Evaluated, Family, Measured, Metric, Output, REMOVAL, Unit, removal};
use crate::config::Score;
use crate::probe::{Probe, Question, Removal};

/// Fractions of the tokens that count as the rationale, over which is averaged.
const BINS: [f64; 5] = [0.01, 0.05, 0.1, 0.2, 0.5];

pub const ERASER: Family = Family {
    metrics: &[
        Output {
            name: "eraser_comprehensiveness",
            label: "ERASER comprehensiveness",
            description: "How much the probability of the answer falls without the highest-ranked 1, 5, 10, 20 and 50 % of \
                          the tokens, averaged over the five.",
            higher_is_better: true,
            unit: Unit::Number,
        },
        Output {
            name: "eraser_sufficiency",
            label: "ERASER sufficiency",
            description: "How much the probability of the answer falls with nothing but the highest-ranked 1, 5, 10, 20 and \
                          50 % of the tokens, averaged over the five.",
            higher_is_better: false,
            unit: Unit::Number,
        },
    ],
    options: &[REMOVAL],
    standard: false,
    source: "arXiv 1911.03429",
    cost: "11 forward",
    build: |settings| Rc::new(Eraser { removal: removal(settings) }),
};

struct Eraser {
    removal: Removal,
}

#[async_trait(?Send)]
impl Metric for Eraser {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(2, &reason);
        }
        let (case, ranking) = (&evaluated.case, &evaluated.ranking);
        let question = Question { score: Score::Probability, contrast: None, ..case.question };
        let sizes = BINS.map(|bin| size(bin, ranking.len()));
        let without = |places: &[usize]| self.removal.without(case, places, probe.pad());
        let mut rows = vec![case.row()];
        rows.extend(sizes.iter().map(|&k| without(ranking.highest(k))));
        rows.extend(sizes.iter().map(|&k| without(ranking.lowest(ranking.len() - k))));
        let found = probe.scores_of(question, rows).await;
        let fall = |scores: &[f64]| scores.iter().map(|score| found[0] - score).sum::<f64>() / scores.len() as f64;
        let (without, only) = found[1..].split_at(BINS.len());
        Measured { values: vec![Ok(fall(without)), Ok(fall(only))], curves: Vec::new() }
    }
}

/// How many of n tokens a fraction is: at least one.
fn size(fraction: f64, n: usize) -> usize {
    ((fraction * n as f64).ceil() as usize).clamp(1, n.max(1)).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rationale_has_at_least_one_token() {
        assert_eq!(BINS.map(|bin| size(bin, 20)), [1, 1, 2, 4, 10]);
        assert_eq!(BINS.map(|bin| size(bin, 1)), [1; 5]);
        assert_eq!(size(0.5, 0), 0);
    }
}
