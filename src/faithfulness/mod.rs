//! Faithfulness: does the score change as the attributions say when tokens are taken away?
//!
//! A family of metrics is one file and one line in [`FAMILIES`]: an asynchronous function of one evaluated example that asks its
//! probe. Metrics of one family come out of the same measurement.

mod agreement;
mod curves;
mod eraser;
mod gim;
mod layers;
mod matched_random;
mod naopc;
mod plausibility;
mod ranking;
mod self_repair;
mod soft;
mod stability;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use async_trait::async_trait;

use crate::attribution::{Attribution, Method, Settings};
use crate::config::{Chosen, Offered, OptionInfo, OptionValue, Score};
use crate::probe::{self, Case, Cost, DoesNotFit, Probe};
use crate::runtime::{Graph, Model, RuntimeError};

pub(crate) use crate::attribution::{REMOVAL, removal};
pub use ranking::Ranking;

/// f(x) while tokens are taken away or given back; the three vectors are equally long.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub curve: String,
    /// How many tokens were replaced.
    pub step: Vec<usize>,
    /// `step` over the number of ranked tokens, in `[0, 1]`.
    pub fraction: Vec<f64>,
    pub score: Vec<f64>,
}

/// A metric, as far as a report has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFacts {
    pub name: String,
    /// Whether a higher value means a more faithful attribution.
    pub higher_is_better: bool,
    /// Whether values are in the unit of the task's score (logits, probability) rather than free of unit.
    pub in_score_units: bool,
    /// Whether it is a fraction of f(x). Its mean is then the mean of the metric over the mean of f(x): a mean of
    /// fractions would be made by the examples with the smallest f(x).
    pub over_score: bool,
    /// What people call it.
    pub label: String,
    /// One or two sentences on how to read it.
    pub description: String,
}

/// One attribution of one case, to be judged: what a metric sees.
pub struct Evaluated {
    pub case: Rc<Case>,
    /// Of all seeds.
    pub attribution: Rc<Attribution>,
    /// Which of them is judged.
    pub seed: usize,
    /// Of what is ranked, by the attributions of this seed.
    pub ranking: Ranking,
    /// Places of the annotated evidence, ascending; empty where the task has none.
    pub evidence: Rc<[usize]>,
    /// f(x).
    pub full: f64,
    /// Who made the attribution, to be asked again.
    pub method: Rc<dyn Method>,
}

impl Evaluated {
    /// The attributions that are judged, one a token.
    pub fn values(&self) -> &[f64] {
        self.attribution.values.get(self.seed).map_or(&[], Vec::as_slice)
    }

    /// The same, one number for each of what is ranked.
    pub fn of_units(&self) -> Vec<f64> {
        self.case.ranked.values(self.values())
    }
}

/// A metric's value, or why it has none.
pub type Value = Result<f64, String>;

/// What a family says of one attribution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// In the order of [`Family::metrics`].
    pub values: Vec<Value>,
    pub curves: Vec<Curve>,
}

impl Measured {
    /// Nothing, for one reason.
    fn none(metrics: usize, reason: &str) -> Self {
        Measured { values: vec![Err(reason.to_owned()); metrics], curves: Vec::new() }
    }
}

/// Why a metric that differentiates inside the model has nothing to say, if so.
fn blocked_inside(probe: &Probe, needs: [Graph; 2]) -> Option<String> {
    if let Some(graph) = needs.into_iter().find(|&graph| !probe.has(graph)) {
        return Some(probe.lacks(graph));
    }
    let of_logarithm = probe.case().differentiated().score == Score::LogProbability;
    let reason =
        "the graphs that look inside differentiate logits, and what is explained is the logarithm of a probability";
    of_logarithm.then(|| reason.to_owned())
}

#[async_trait(?Send)]
pub trait Metric {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured;
}

/// A metric of a family.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub name: &'static str,
    pub label: &'static str,
    pub description: &'static str,
    pub higher_is_better: bool,
    pub unit: Unit,
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The task's score.
    Score,
    /// The score at hand: see [`MetricFacts::over_score`].
    OfScore,
    /// None.
    Number,
}

/// A line of the registry: metrics that are measured together.
pub struct Family {
    pub metrics: &'static [Output],
    pub options: &'static [OptionInfo],
    /// Whether its metrics are measured where a plan names none.
    pub standard: bool,
    /// Where it is defined.
    pub source: &'static str,
    /// What it asks for one attribution with n ranked tokens, in forward and gradient rows.
    pub cost: &'static str,
    build: fn(&Settings) -> Rc<dyn Metric>,
}

/// All families, in the order in which their metrics are listed.
pub static FAMILIES: &[Family] = &[
    gim::COMPREHENSIVENESS,
    gim::SUFFICIENCY,
    curves::CURVES,
    matched_random::WIN_RATE,
    naopc::NAOPC,
    naopc::AOPC,
    eraser::ERASER,
    soft::SOFT,
    soft::PI_SOFT,
    plausibility::PLAUSIBILITY,
    agreement::SUBSETS,
    agreement::SINGLE_TOKENS,
    agreement::MONOTONICITY,
    stability::SEEDS,
    stability::BASELINE,
    stability::SENSITIVITY,
    stability::FIRST_TOKEN,
    layers::COMPREHENSIVENESS,
    layers::SUFFICIENCY,
    self_repair::SELF_REPAIR,
];

impl Family {
    /// Its measurement; options that are not set are at their defaults.
    pub fn build(&self, settings: &Settings) -> Rc<dyn Metric> {
        let info = Offered { name: "", options: self.options };
        (self.build)(&Settings { options: info.complete(&settings.options), ..settings.clone() })
    }
}

/// What a metric says of one attribution by itself, and what that took.
///
/// # Errors
/// Those of running the model.
pub fn measure(
    model: &mut Model,
    metric: &Rc<dyn Metric>,
    evaluated: Evaluated,
) -> Result<(Measured, Cost), RuntimeError> {
    let metric = Rc::clone(metric);
    probe::ask(model, (*evaluated.case).clone(), move |probe| async move { metric.measure(&evaluated, &probe).await })
}

impl Output {
    fn facts(&self) -> MetricFacts {
        let &Output { name, label, description, higher_is_better, unit } = self;
        MetricFacts {
            name: name.to_owned(),
            higher_is_better,
            in_score_units: unit == Unit::Score,
            over_score: unit == Unit::OfScore,
            label: label.to_owned(),
            description: description.to_owned(),
        }
    }
}

/// All metrics in the order in which they are listed, each with its family: fractions of f(x) after what they are fractions of.
pub fn metrics() -> Vec<(&'static Family, &'static Output)> {
    let all = FAMILIES.iter().flat_map(|family| family.metrics.iter().map(move |output| (family, output)));
    let mut metrics: Vec<(&Family, &Output)> = all.collect();
    metrics.sort_by_key(|(family, output)| (!family.standard, family.standard && output.unit == Unit::OfScore));
    metrics
}

/// The names and options of all metrics, for reading configuration files.
pub fn infos() -> &'static [Offered] {
    static INFOS: LazyLock<Vec<Offered>> = LazyLock::new(|| {
        let info = |(family, output): (&Family, &Output)| Offered { name: output.name, options: family.options };
        metrics().into_iter().map(info).collect()
    });
    &INFOS
}

/// The metrics of a plan that names none.
pub fn standard() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        metrics().into_iter().filter(|(family, _)| family.standard).map(|(_, output)| output.name).collect()
    });
    &NAMES
}

/// Metrics of a plan that come out of one measurement.
pub struct Measurement {
    pub metric: Rc<dyn Metric>,
    /// Of the values, those that the plan asks for, and what it calls them.
    pub wanted: Vec<(usize, String)>,
    /// Stands behind the names of its curves.
    suffix: String,
}

impl Measurement {
    /// The measurements that a plan's metrics need: one for all metrics of a family that have the same options.
    pub fn of(metrics: &[Chosen], seed: u64) -> Vec<Measurement> {
        // What tells measurements apart: the family, and its options.
        let mut keys: Vec<(usize, BTreeMap<String, OptionValue>)> = Vec::new();
        let mut found: Vec<Measurement> = Vec::new();
        for plan in metrics {
            let place = |(number, family): (usize, &'static Family)| {
                let output = family.metrics.iter().position(|output| output.name == plan.name)?;
                Some((number, family, output))
            };
            let Some((number, family, output)) = FAMILIES.iter().enumerate().find_map(place) else { continue };
            let info = Offered { name: "", options: family.options };
            let key = (number, info.complete(&plan.options));
            let wanted = (output, plan.label.clone());
            if let Some(known) = keys.iter().position(|known| *known == key) {
                found[known].wanted.push(wanted);
                continue;
            }
            let metric = family.build(&Settings { options: plan.options.clone(), seed, ..Settings::default() });
            let set =
                key.1.iter().filter(|(name, value)| info.option(name).is_some_and(|info| info.default != **value));
            let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
            let suffix = if set.is_empty() { String::new() } else { format!("({})", set.join(" ")) };
            found.push(Measurement { metric, wanted: vec![wanted], suffix });
            keys.push(key);
        }
        found
    }

    /// What it says of one attribution: nothing, where a row that it asks for does not fit into memory.
    pub async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        let found = probe.within_memory(|probe| async move { self.metric.measure(evaluated, &probe).await }).await;
        let places = self.wanted.iter().map(|(place, _)| place + 1).max().unwrap_or(0);
        found.unwrap_or_else(|DoesNotFit(reason)| Measured::none(places, &reason))
    }

    /// Curves under names that say how they were made.
    pub fn curves(&self, measured: &Measured) -> Vec<Curve> {
        let named = |curve: &Curve| Curve { curve: format!("{}{}", curve.curve, self.suffix), ..curve.clone() };
        measured.curves.iter().map(named).collect()
    }
}

/// The facts of a plan's metrics, in its order.
pub fn facts(metrics: &[Chosen]) -> Vec<MetricFacts> {
    let all = self::metrics();
    let of = |plan: &Chosen| {
        let (_, output) = all.iter().find(|(_, output)| output.name == plan.name)?;
        let mut facts = output.facts();
        if plan.label != plan.name {
            facts.label = match plan.label.strip_prefix(&plan.name) {
                Some(options) => format!("{} {options}", facts.label),
                None => plan.label.clone(),
            };
            facts.name = plan.label.clone();
        }
        Some(facts)
    };
    metrics.iter().filter_map(of).collect()
}
