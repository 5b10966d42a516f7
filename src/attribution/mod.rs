//! Attribution methods: which tokens of a prompt made the model answer as it did.
//!
//! A method is one file and one line in [`METHODS`]: an asynchronous function of one example that asks its probe. It never
//! sees a metric.

mod ablation;
mod gradients;
mod integrated_gradients;
pub(crate) mod quadrature;
mod random;
mod rollout;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::LazyLock;

use async_trait::async_trait;

use crate::config::{Chosen, Offered, OptionInfo, OptionKind, OptionValue};
use crate::probe::{self, Probe, Removal};
use crate::runtime::{Graph, Model, RuntimeError};

pub(crate) use random::generator;

pub use crate::probe::{Case, Question};

/// What a method says of one case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribution {
    /// One vector a seed (a deterministic method has one), one number a token: the larger, the more it speaks for the
    /// answer.
    pub values: Vec<Vec<f64>>,
    /// What the method says of its own exactness, by name.
    pub diagnostics: BTreeMap<String, f64>,
}

/// A completeness gap larger than this share of the change that is explained is large: the attributions are then not the
/// integral that they approximate.
pub const LARGE_GAP: f64 = 0.1;

/// How far attributions that should add up to a change are from it, in units of that change; infinite where there is none.
/// `None` for methods whose attributions need not add up.
pub fn relative_gap(diagnostics: &BTreeMap<String, f64>) -> Option<f64> {
    let gap = *diagnostics.get("completeness_gap")?;
    let relative = diagnostics.get("completeness_gap_relative").copied();
    let relative = relative.unwrap_or(if gap == 0.0 { 0.0 } else { f64::INFINITY });
    Some(if relative.is_nan() { f64::INFINITY } else { relative })
}

impl Attribution {
    fn deterministic(values: Vec<f64>) -> Self {
        Attribution { values: vec![values], diagnostics: BTreeMap::new() }
    }
}

/// Why a method or a metric has nothing to say of an example: a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inapplicable(pub String);

impl fmt::Display for Inapplicable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[async_trait(?Send)]
pub trait Method {
    /// How much each token of the case's prompt speaks for the answer.
    ///
    /// # Errors
    /// [`Inapplicable`] where the method has no meaning for this case.
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable>;

    /// The graphs that it asks for besides those that every bundle has.
    fn needs(&self) -> &'static [Graph] {
        &[]
    }
}

/// What `method` says of the case that `probe` is about; [`Inapplicable`] also where the bundle lacks a graph.
pub async fn attribute(method: &dyn Method, probe: &Probe) -> Result<Attribution, Inapplicable> {
    if let Some(graph) = method.needs().iter().find(|&&graph| !probe.has(graph)) {
        return Err(Inapplicable(format!("this bundle has no {}", graph.file())));
    }
    method.attribute(probe.case(), probe).await
}

/// What a method says of one case by itself, and what that took.
///
/// # Errors
/// Those of running the model.
pub fn explain(
    model: &mut Model,
    method: &Rc<dyn Method>,
    case: &Case,
) -> Result<(Result<Attribution, Inapplicable>, probe::Cost), RuntimeError> {
    let method = Rc::clone(method);
    probe::ask(model, case.clone(), move |probe| async move { attribute(&*method, &probe).await })
}

/// Settings of a method: those the user gave, and the run's seed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub options: BTreeMap<String, OptionValue>,
    pub seed: u64,
}

impl Settings {
    /// An option that is a whole number; `None` where it is anything else.
    pub(crate) fn integer(&self, name: &str) -> Option<usize> {
        match self.options.get(name) {
            Some(OptionValue::Integer(number)) => Some(usize::try_from(*number).unwrap_or(usize::MAX)),
            _ => None,
        }
    }

    /// An option that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.options.get(name) {
            Some(&OptionValue::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// An option that is a word; empty where it is anything else.
    pub(crate) fn word(&self, name: &str) -> &'static str {
        match self.options.get(name) {
            Some(OptionValue::Word(word)) => word,
            _ => "",
        }
    }
}

/// A line of the registry.
pub struct Entry {
    pub info: Offered,
    /// One sentence, with its source.
    pub description: &'static str,
    build: fn(&Settings) -> Rc<dyn Method>,
}

const fn entry(
    name: &'static str,
    options: &'static [OptionInfo],
    build: fn(&Settings) -> Rc<dyn Method>,
    description: &'static str,
) -> Entry {
    Entry { info: Offered { name, options }, description, build }
}

/// A method that is gradient times input at one setting of the knobs.
macro_rules! knobs {
    ($name:literal, $description:literal) => {
        entry(
            $name,
            &[],
            |_| Rc::new(gradients::GradientTimesInput { knobs: gradients::named_rules($name) }),
            $description,
        )
    };
}

/// All methods, in the order in which they are listed.
pub const METHODS: &[Entry] = &[
    knobs!("gim", "gradient interaction modifications: all three below (arXiv 2505.17630)"),
    knobs!("gradient", "gradient times input, by plain calculus (arXiv 1312.6034)"),
    entry(
        "integrated_gradients",
        integrated_gradients::OPTIONS,
        |settings| Rc::new(integrated_gradients::IntegratedGradients::new(settings)),
        "gradients along the straight path from the baseline (arXiv 1703.01365)",
    ),
    entry(
        "attention_rollout",
        &[],
        |_| Rc::new(rollout::AttentionRollout),
        "attention weights, averaged over heads and multiplied through the layers (arXiv 2005.00928)",
    ),
    entry(
        "ablation",
        &[],
        |_| Rc::new(ablation::Ablation { removal: Removal::Replace }),
        "the score lost when one token is replaced by the baseline (occlusion, leave one out)",
    ),
    entry(
        "random",
        random::OPTIONS,
        |settings| Rc::new(random::Random { seeds: settings.integer("seeds").unwrap_or(1), seed: settings.seed }),
        "random numbers, what any method has to beat",
    ),
    knobs!("tsg", "temperature-adjusted softmax gradients alone"),
    knobs!("norm_freeze", "frozen normalisation statistics alone"),
    knobs!("product_share", "halved gradients at activation products alone"),
    knobs!("tsg+norm_freeze", "GIM without product_share"),
    knobs!("tsg+product_share", "GIM without norm_freeze"),
    knobs!("norm_freeze+product_share", "GIM without tsg"),
    knobs!("attn_lrp", "AttnLRP's rules as a modified gradient (arXiv 2402.05602)"),
    knobs!("transformer_lrp", "conservative propagation: attention weights and norms as constants (arXiv 2202.07304)"),
];

/// The names and options of all methods, for reading configuration files.
pub fn infos() -> &'static [Offered] {
    static INFOS: LazyLock<Vec<Offered>> = LazyLock::new(|| METHODS.iter().map(|entry| entry.info).collect());
    &INFOS
}

/// A method by name, options that are not set at their defaults; `None` for an unknown one.
pub fn build(name: &str, settings: &Settings) -> Option<Rc<dyn Method>> {
    let entry = METHODS.iter().find(|entry| entry.info.name == name)?;
    let complete = Settings { options: entry.info.complete(&settings.options), seed: settings.seed };
    Some((entry.build)(&complete))
}

/// The methods of a plan under their labels.
pub fn build_all(methods: &[Chosen], seed: u64) -> Vec<(String, Rc<dyn Method>)> {
    let built = |method: &Chosen| {
        let settings = Settings { options: method.options.clone(), seed };
        Some((method.label.clone(), build(&method.name, &settings)?))
    };
    methods.iter().filter_map(built).collect()
}
