//! Agreement with annotated evidence, after ERASER (DeYoung et al., arXiv 1911.03429) and the pointing game (Zhang et al.,
//! arXiv 1608.00507). Plausible is not faithful: a model may answer for other reasons than people do.

use std::rc::Rc;

use async_trait::async_trait;

use super::{Evaluated, Family, Measured, Metric, Output, Unit};
use crate::probe::Probe;

const fn output(name: &'static str, label: &'static str, description: &'static str) -> Output {
    Output { name, label, description, higher_is_better: true, unit: Unit::Number }
}

pub const PLAUSIBILITY: Family = Family {
    metrics: &[
        output(
            "evidence_auprc",
            "Evidence AUPRC",
            "Area under precision and recall of the ranking against the tokens of the annotated evidence (average \
             precision); by chance about the share of evidence among the tokens.",
        ),
        output(
            "evidence_f1",
            "Evidence token F1",
            "F1 of as many highest-ranked tokens as there are tokens of evidence.",
        ),
        output(
            "evidence_iou_f1",
            "Evidence IOU F1",
            "F1 of the spans that these tokens make: a span counts as found where it shares half of its union with a span \
             of evidence.",
        ),
        output("pointing", "Pointing accuracy", "Whether the highest-ranked token is one of the evidence."),
    ],
    options: &[],
    standard: false,
    source: "arXiv 1911.03429; pointing: arXiv 1608.00507",
    cost: "none",
    build: |_| Rc::new(Plausibility),
};

struct Plausibility;

#[async_trait(?Send)]
impl Metric for Plausibility {
    async fn measure(&self, evaluated: &Evaluated, _: &Probe) -> Measured {
        let ranked = &evaluated.case.ranked;
        // What is ranked is evidence where any of its tokens is.
        let evidence = ranked.holding(&evaluated.evidence);
        if evaluated.evidence.is_empty() {
            return Measured::none(4, "the example has no annotated evidence");
        }
        if evidence.is_empty() {
            return Measured::none(4, "no token of the evidence is ranked");
        }
        if evidence.len() == ranked.len() {
            return Measured::none(4, "all that is ranked is evidence");
        }
        let order = evaluated.ranking.order();
        let is_evidence = |unit: &usize| evidence.binary_search(unit).is_ok();
        let chosen = &order[..evidence.len()];
        let hits = chosen.iter().filter(|unit| is_evidence(unit)).count();
        // As many are chosen as there are, so precision, recall and F1 are one number.
        let f1 = hits as f64 / evidence.len() as f64;
        let pointing = f64::from(u8::from(chosen.first().is_some_and(is_evidence)));
        let auprc = average_precision(&evaluated.of_units(), order, &evidence);
        // Spans of tokens: units are whole in them, and neighbours stand together where no token is between them.
        let chosen = ranked.places_of(chosen.iter().copied());
        let iou = iou_f1(&chosen, &ranked.places_of(evidence.iter().copied()));
        let values = vec![Ok(auprc), Ok(f1), Ok(iou), Ok(pointing)];
        Measured { values, curves: Vec::new() }
    }
}

/// Mean precision at every step of recall; equal attributions count as one step, as in scikit-learn's
/// `average_precision_score`.
///
/// `values`: one a unit; `order`: the units, the highest first; `evidence`: those that are, ascending.
fn average_precision(values: &[f64], order: &[usize], evidence: &[usize]) -> f64 {
    let value = |&unit: &usize| values.get(unit).copied().unwrap_or(f64::NAN);
    let (mut taken, mut hits, mut area) = (0usize, 0usize, 0.0);
    for group in order.chunk_by(|a, b| value(a) == value(b)) {
        let found = group.iter().filter(|unit| evidence.binary_search(unit).is_ok()).count();
        taken += group.len();
        hits += found;
        area += found as f64 / evidence.len() as f64 * hits as f64 / taken as f64;
    }
    area
}

/// F1 of spans, one of which is found where it shares at least half of the union with one of the other kind.
fn iou_f1(chosen: &[usize], evidence: &[usize]) -> f64 {
    let [chosen, evidence] = [chosen, evidence].map(|places| {
        let mut places = places.to_vec();
        places.sort_unstable();
        spans(&places)
    });
    let found = |a: &[(usize, usize)], b: &[(usize, usize)]| {
        let close = |x: &&(usize, usize)| b.iter().any(|y| iou(**x, *y) >= 0.5);
        a.iter().filter(close).count() as f64 / a.len().max(1) as f64
    };
    let (precision, recall) = (found(&chosen, &evidence), found(&evidence, &chosen));
    if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
}

/// Runs of neighbouring places, as `[start, end)`.
fn spans(places: &[usize]) -> Vec<(usize, usize)> {
    places.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run[run.len() - 1] + 1)).collect()
}

fn iou(a: (usize, usize), b: (usize, usize)) -> f64 {
    let shared = a.1.min(b.1).saturating_sub(a.0.max(b.0));
    let union = (a.1 - a.0) + (b.1 - b.0) - shared;
    shared as f64 / union as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_precision_is_scikit_learns() {
        // scikit-learn 1.9.1: average_precision_score([0, 1, 1, 0, 1, 0], [.1, .9, .3, .3, .2, .8]) is 0.7.
        let values = [0.1, 0.9, 0.3, 0.3, 0.2, 0.8];
        let found = average_precision(&values, &[1, 5, 2, 3, 4, 0], &[1, 2, 4]);
        assert!((found - 0.7).abs() < 1e-12, "{found}");
        let best = average_precision(&[3.0, 2.0, 1.0], &[0, 1, 2], &[0, 1]);
        assert_eq!(best, 1.0);
    }

    #[test]
    fn spans_are_compared_by_their_union() {
        assert_eq!(spans(&[1, 2, 3, 7, 9, 10]), [(1, 4), (7, 8), (9, 11)]);
        assert_eq!(iou((0, 4), (2, 6)), 2.0 / 6.0);
        assert_eq!(iou_f1(&[4, 3, 2], &[2, 3, 4, 5]), 1.0, "three of four");
        assert_eq!(iou_f1(&[9], &[2, 3]), 0.0);
        // One of two spans is found, and nothing beside it.
        assert!((iou_f1(&[2, 3], &[2, 3, 8]) - 2.0 / 3.0).abs() < 1e-12);
    }
}
