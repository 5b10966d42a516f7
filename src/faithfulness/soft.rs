//! Soft comprehensiveness and sufficiency (Zhao and Aletras, arXiv 2305.10496): tokens are thinned out as their attributions say,
//! rather than taken away one by one; and their areas over the share that stays (pi-Soft, Huang and Chan, arXiv 2601.03089).

use std::rc::Rc;

use async_trait::async_trait;
use rand::RngExt;

use super::curves::area;
use super::{Curve, Evaluated, Family, Measured, Metric, Output, Unit};
use crate::attribution::generator;
use crate::config::{OptionInfo, OptionKind, OptionValue, Score};
use crate::probe::{Probe, Question};
use crate::runtime::Graph;

const OWN: &str = "own";
const KEPT: OptionInfo = OptionInfo {
    name: "kept",
    kind: OptionKind::IntegerOr(OWN, 1, 99),
    default: OptionValue::Integer(50),
    only_with: None,
    about: "How many per cent of the ranked tokens' numbers stay on average, the same for every method; own: as many as the \
            attributions, scaled to [0, 1], come to, as in the paper.",
};
const SAMPLES: OptionInfo = OptionInfo {
    name: "samples",
    kind: OptionKind::Integer(1, 10_000),
    default: OptionValue::Integer(10),
    only_with: None,
    about: "How many times what stays is drawn, by the same random numbers for every method.",
};
const SAMPLES_OF_A_SHARE: OptionInfo = OptionInfo {
    default: OptionValue::Integer(5),
    about: "How many times what stays is drawn, by the same random numbers for every method and every share.",
    ..SAMPLES
};
const SHARES: OptionInfo = OptionInfo {
    name: "shares",
    kind: OptionKind::Integer(1, 99),
    default: OptionValue::Integer(9),
    only_with: None,
    about: "At how many shares between none and all of the ranked tokens' numbers the curve is measured, evenly spread.",
};

pub const SOFT: Family = Family {
    metrics: &[
        Output {
            name: "soft_comprehensiveness",
            label: "Soft comprehensiveness",
            description: "How much the probability of the answer falls while of each token's embedding less stays the higher it \
                          ranks, in units of the fall without any of the ranked tokens.",
            higher_is_better: true,
            unit: Unit::Number,
        },
        Output {
            name: "soft_sufficiency",
            label: "Soft sufficiency",
            description: "How much of the fall without any of the ranked tokens does not come about while of each token's embedding \
                          more stays the higher it ranks; 1 where the probability does not fall.",
            higher_is_better: true,
            unit: Unit::Number,
        },
    ],
    options: &[KEPT, SAMPLES],
    standard: false,
    source: "arXiv 2305.10496; the same share for every method: arXiv 2601.03089",
    cost: "2 x samples + 2 forward",
    build: |settings| {
        Rc::new(Soft {
            kept: settings.integer(KEPT.name).map(|percent| percent as f64 / 100.0),
            samples: settings.integer(SAMPLES.name).unwrap_or(1),
            seed: settings.seed,
        })
    },
};

pub const PI_SOFT: Family = Family {
    metrics: &[
        Output {
            name: "pi_soft_comprehensiveness",
            label: "Area of soft comprehensiveness",
            description: "The area under soft comprehensiveness over the share pi of the ranked tokens' numbers that stays, which is \
                          the same for every method at each point. 1 where nothing of the answer is left until everything stays.",
            higher_is_better: true,
            unit: Unit::Number,
        },
        Output {
            name: "pi_soft_sufficiency",
            label: "Area of soft sufficiency",
            description: "The area under soft sufficiency over the share pi of the ranked tokens' numbers that stays, which is the \
                          same for every method at each point. 1 where the least that stays holds the answer.",
            higher_is_better: true,
            unit: Unit::Number,
        },
    ],
    options: &[SHARES, SAMPLES_OF_A_SHARE],
    standard: false,
    source: "arXiv 2601.03089 (pi-Soft-NC, pi-Soft-NS); how attributions become probabilities of a given mean is ours: docs/metrics.md",
    cost: "2 x shares x samples + 2 forward",
    build: |settings| {
        Rc::new(PiSoft {
            shares: settings.integer(SHARES.name).unwrap_or(1),
            samples: settings.integer(SAMPLES_OF_A_SHARE.name).unwrap_or(1),
            seed: settings.seed,
        })
    },
};

struct Soft {
    /// The mean share that stays; none: what the attributions come to.
    kept: Option<f64>,
    samples: usize,
    seed: u64,
}

#[async_trait(?Send)]
impl Metric for Soft {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        match normalised(evaluated, probe, &[self.kept], self.samples, self.seed).await {
            Ok(of_shares) => {
                Measured { values: of_shares.as_flattened().iter().copied().map(Ok).collect(), curves: Vec::new() }
            }
            Err(reason) => Measured::none(2, &reason),
        }
    }
}

struct PiSoft {
    /// How many shares are measured between none and all.
    shares: usize,
    samples: usize,
    seed: u64,
}

#[async_trait(?Send)]
impl Metric for PiSoft {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        let parts = self.shares + 1;
        let fraction: Vec<f64> = (0..=parts).map(|part| part as f64 / parts as f64).collect();
        let between: Vec<Option<f64>> = fraction[1..parts].iter().copied().map(Some).collect();
        let found = match normalised(evaluated, probe, &between, self.samples, self.seed).await {
            Ok(found) => found,
            Err(reason) => return Measured::none(2, &reason),
        };
        // Without any of the ranked tokens, and with all of them, there is nothing to draw.
        let of_shares: Vec<[f64; 2]> = [[1.0, 0.0]].into_iter().chain(found).chain([[0.0, 1.0]]).collect();
        let names = PI_SOFT.metrics.iter().enumerate();
        let curves: Vec<Curve> = names
            .map(|(place, output)| Curve {
                curve: output.name.to_owned(),
                step: fraction.iter().map(|share| (share * 100.0).round() as usize).collect(),
                fraction: fraction.clone(),
                score: of_shares.iter().map(|of| of[place]).collect(),
            })
            .collect();
        Measured { values: curves.iter().map(|curve| Ok(area(curve))).collect(), curves }
    }
}

/// Soft-NC and Soft-NS at each mean share that stays (none: what the attributions come to), or why there are none.
async fn normalised(
    evaluated: &Evaluated,
    probe: &Probe,
    means: &[Option<f64>],
    samples: usize,
    seed: u64,
) -> Result<Vec<[f64; 2]>, String> {
    if !probe.has(Graph::ForwardEmbeds) {
        return Err(probe.lacks(Graph::ForwardEmbeds));
    }
    let case = &evaluated.case;
    let Some(high) = unit_interval(&evaluated.of_units()) else {
        return Err("the attributions are all the same, so no token is to stay rather than another".to_owned());
    };
    let low: Vec<f64> = high.iter().map(|share| 1.0 - share).collect();
    let thinned = |shares: &[f64], draw: u32| {
        let units = case.ranked.iter().zip(shares);
        let of_unit = |(places, &share): (&'_ [usize], &f64)| {
            let kept = (share * f64::from(u16::MAX)).round() as u16;
            places.iter().map(|&place| (place, kept)).collect::<Vec<_>>()
        };
        case.row().thinned(units.flat_map(of_unit), draw)
    };
    let mut rows = vec![case.row(), thinned(&vec![0.0; high.len()], 0)];
    for &mean in means {
        let [comprehensive, sufficient] = [&low, &high].map(|shares| match mean {
            Some(mean) => shifted(shares, mean),
            None => shares.clone(),
        });
        for sample in 0..samples {
            let draw = generator(seed, sample as u64, case).random::<u32>();
            rows.extend([thinned(&comprehensive, draw), thinned(&sufficient, draw)]);
        }
    }
    let question = Question { score: Score::Probability, contrast: None, ..case.question };
    let found = probe.scores_of(question, rows).await;
    let (&[full, empty], rest) = found.split_at(2) else { return Err("nothing was scored".to_owned()) };
    let fall = |probability: f64| (full - probability).max(0.0);
    let whole = fall(empty);
    if !found.iter().all(|probability| probability.is_finite()) {
        return Err("a score is not a finite number".to_owned());
    }
    if whole <= f64::from(f32::EPSILON) * full {
        return Err("the answer is as probable without any of the ranked tokens".to_owned());
    }
    let of_share = |drawn: &[f64]| {
        let mean = |first: usize| drawn.iter().skip(first).step_by(2).map(|&p| fall(p)).sum::<f64>() / samples as f64;
        // Soft-NC = fall / (1 - S0) and Soft-NS = max(0, (1 - fall) - S0) / (1 - S0), with 1 - S0 the whole fall.
        [mean(0) / whole, (whole - mean(1)).max(0.0) / whole]
    };
    Ok(rest.chunks(2 * samples).map(of_share).collect())
}

/// Numbers scaled so that the lowest is 0 and the highest 1; `None` where they are all the same, or not all are numbers.
fn unit_interval(values: &[f64]) -> Option<Vec<f64>> {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
    let scaled: Vec<f64> = values.iter().map(|value| (value - low) / (high - low)).collect();
    (low < high && scaled.iter().all(|share| share.is_finite())).then_some(scaled)
}

/// Shares in `[0, 1]`, all moved by one number and cut off at 0 and 1, so that their mean is `mean`: their order stays, and so
/// do the distances between those that are not cut off.
fn shifted(shares: &[f64], mean: f64) -> Vec<f64> {
    let moved = |by: f64| shares.iter().map(move |share| (share + by).clamp(0.0, 1.0));
    let (mut low, mut high) = (-1.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        let too_much = moved(middle).sum::<f64>() > mean * shares.len() as f64;
        *(if too_much { &mut high } else { &mut low }) = middle;
    }
    moved((low + high) / 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_mean_that_was_asked_for_and_keep_their_order() {
        let shares = unit_interval(&[-2.0, 0.0, 6.0, -1.0]).unwrap();
        assert_eq!(shares, [0.0, 0.25, 1.0, 0.125]);
        for mean in [0.01, 0.3, 0.5, 0.99] {
            let found = shifted(&shares, mean);
            assert!((found.iter().sum::<f64>() / 4.0 - mean).abs() < 1e-12, "{found:?}");
            assert!(found[0] <= found[3] && found[3] <= found[1] && found[1] <= found[2], "{found:?}");
        }
        // Nothing is cut off but the highest: 1, and three that have moved by the same.
        let found = shifted(&shares, 0.5);
        assert!((found[0] - 5.0 / 24.0).abs() < 1e-12 && found[2] == 1.0, "{found:?}");
        assert_eq!(unit_interval(&[1.0, 1.0]), None);
        assert_eq!(unit_interval(&[1.0, f64::NAN, 2.0]), None);
    }
}
