//! What the attributions themselves are like: whether they hang on chance or on the baseline, and where they lie.

use std::rc::Rc;

use async_trait::async_trait;
use rand::RngExt;

use super::{Evaluated, Family, Measured, Metric, Output, Unit};
use crate::attribution::{attribute, generator};
use crate::config::{OptionInfo, OptionKind, OptionValue};
use crate::probe::{Case, Probe};
use crate::stats::spearman;

const BASELINES: OptionInfo = OptionInfo {
    name: "baselines",
    kind: OptionKind::Integer(1, 100),
    default: OptionValue::Integer(3),
    only_with: None,
    about: "How many other baseline tokens are tried, each one of the prompt's own.",
};

pub const SEEDS: Family = Family {
    metrics: &[Output {
        name: "seed_stability",
        label: "Stability over seeds",
        description: "Mean rank correlation (Spearman) between the attributions of one seed and those of the others; only of \
                      methods that draw.",
        higher_is_better: true,
        unit: Unit::Number,
    }],
    options: &[],
    standard: false,
    source: "this program",
    cost: "none",
    build: |_| Rc::new(Seeds),
};

struct Seeds;

#[async_trait(?Send)]
impl Metric for Seeds {
    async fn measure(&self, evaluated: &Evaluated, _: &Probe) -> Measured {
        let all = &evaluated.attribution.values;
        if all.len() < 2 {
            return Measured::none(1, "the method has one seed");
        }
        let others = all.iter().enumerate().filter(|(seed, _)| *seed != evaluated.seed);
        Measured {
            values: vec![mean_correlation(evaluated, others.map(|(_, values)| values.as_slice()))],
            curves: Vec::new(),
        }
    }
}

pub const BASELINE: Family = Family {
    metrics: &[Output {
        name: "baseline_stability",
        label: "Stability over baselines",
        description: "Mean rank correlation (Spearman) between the attributions and those of the same method with another \
                      token as its baseline. 1 for methods that have none.",
        higher_is_better: true,
        unit: Unit::Number,
    }],
    options: &[BASELINES],
    standard: false,
    source: "this program",
    cost: "what the method costs, times baselines",
    build: |settings| Rc::new(Baselines { count: settings.integer(BASELINES.name).unwrap_or(1), seed: settings.seed }),
};

struct Baselines {
    count: usize,
    seed: u64,
}

#[async_trait(?Send)]
impl Metric for Baselines {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        let case = &evaluated.case;
        // Tokens of the prompt: the model knows them, and no list of a vocabulary's oddities is needed.
        let others: Vec<i64> = case.tokens().iter().copied().filter(|&id| id != case.baseline).collect();
        if others.is_empty() {
            return Measured::none(1, "the prompt has no token but the baseline");
        }
        let mut found = Vec::with_capacity(self.count);
        for draw in 0..self.count {
            let which = generator(self.seed, draw as u64, case).random_range(0..others.len());
            let about = probe.about(Case { baseline: others[which], ..(**case).clone() });
            match attribute(&*evaluated.method, &about).await {
                Ok(other) => found.push(other.values.get(evaluated.seed).cloned().unwrap_or_default()),
                Err(reason) => return Measured::none(1, &reason.0),
            }
        }
        let value = mean_correlation(evaluated, found.iter().map(Vec::as_slice));
        Measured { values: vec![value], curves: Vec::new() }
    }
}

/// Of the ranked tokens' attributions with others of the same prompt.
fn mean_correlation<'a>(evaluated: &Evaluated, others: impl Iterator<Item = &'a [f64]>) -> super::Value {
    let ranked = |values: &[f64]| evaluated.case.ranked.values(values);
    let own = evaluated.of_units();
    let (mut sum, mut count) = (0.0, 0.0);
    for other in others {
        sum += spearman(&own, &ranked(other)).ok_or("the attributions of all tokens are the same")?;
        count += 1.0;
    }
    Ok(sum / count)
}

const SAMPLES: OptionInfo = OptionInfo {
    name: "samples",
    kind: OptionKind::Integer(1, 1000),
    default: OptionValue::Integer(10),
    only_with: None,
    about: "How many places around the prompt are tried, the same ones for every method.",
};
const RADIUS: OptionInfo = OptionInfo {
    name: "radius",
    kind: OptionKind::Number(1e-6, 1.0),
    default: OptionValue::Number(0.02),
    only_with: None,
    about: "How far they are at most in any feature, in standard deviations of the prompt's embeddings.",
};

pub const SENSITIVITY: Family = Family {
    metrics: &[Output {
        name: "max_sensitivity",
        label: "Max-sensitivity",
        description: "How far the attributions move at most, as a share of their size, when the prompt's embeddings move a little; only of methods that differentiate at them.",
        higher_is_better: false,
        unit: Unit::Number,
    }],
    options: &[SAMPLES, RADIUS],
    standard: false,
    source: "arXiv 1901.09392, with captum's uniform draws; here the radius is relative to the embeddings",
    cost: "what the method costs, times samples",
    build: |settings| {
        Rc::new(Sensitivity {
            samples: settings.integer(SAMPLES.name).unwrap_or(1),
            radius: settings.number(RADIUS.name).unwrap_or(0.02),
            seed: settings.seed,
        })
    },
};

struct Sensitivity {
    samples: usize,
    radius: f64,
    seed: u64,
}

#[async_trait(?Send)]
impl Metric for Sensitivity {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if !evaluated.method.differentiates() {
            return Measured::none(1, "the method does not differentiate at the embeddings");
        }
        let (own, length) = (evaluated.values(), |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt());
        let size = length(own);
        if size == 0.0 {
            return Measured::none(1, "all attributions are 0");
        }
        let embeddings = probe.embeddings().await;
        let radius = self.radius * embeddings.inputs.mapv(f64::from).std(0.0);
        let mut most: f64 = 0.0;
        for draw in 0..self.samples {
            let mut random = generator(self.seed, draw as u64, &evaluated.case);
            let moved = embeddings.inputs.mapv(|x| (f64::from(x) + radius * random.random_range(-1.0..=1.0)) as f32);
            match attribute(&*evaluated.method, &probe.at(moved).await).await {
                Ok(found) => {
                    let other = found.values.get(evaluated.seed).map_or(&[][..], Vec::as_slice);
                    let away: Vec<f64> = own.iter().zip(other).map(|(own, other)| other - own).collect();
                    let share = if other.len() == own.len() { length(&away) / size } else { f64::NAN };
                    // Not a number stays one.
                    most = if share.is_nan() || most.is_nan() { f64::NAN } else { most.max(share) };
                }
                Err(reason) => return Measured::none(1, &reason.0),
            }
        }
        Measured { values: vec![Ok(most)], curves: Vec::new() }
    }
}

pub const FIRST_TOKEN: Family = Family {
    metrics: &[Output {
        name: "first_token_share",
        label: "Share of the first token",
        description: "The first token's part of the sizes of all attributions. Much of it there says that attention's sink is \
                      explained rather than the prompt.",
        higher_is_better: false,
        unit: Unit::Number,
    }],
    options: &[],
    standard: false,
    source: "this program; attention sinks: arXiv 2309.17453",
    cost: "none",
    build: |_| Rc::new(FirstToken),
};

struct FirstToken;

#[async_trait(?Send)]
impl Metric for FirstToken {
    async fn measure(&self, evaluated: &Evaluated, _: &Probe) -> Measured {
        let values = evaluated.values();
        let all: f64 = values.iter().map(|value| value.abs()).sum();
        let value = if all > 0.0 { Ok(values[0].abs() / all) } else { Err("all attributions are 0".to_owned()) };
        Measured { values: vec![value], curves: Vec::new() }
    }
}
