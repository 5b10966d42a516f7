//! Attribution methods: which tokens of a prompt made the model answer as it did.
//!
//! A method is one file and one line in `SINGLE`, the registry: an asynchronous function of one example that asks its probe. It never
//! sees a metric.

mod ablation;
mod atp_star;
mod attention_flow;
mod attention_gradient;
mod deep_lift;
mod ensemble;
mod grad_ellm;
mod gradients;
mod imported;
mod integrated_gradients;
mod kernel_shap;
mod least_squares;
mod lime;
mod options;
pub(crate) mod quadrature;
mod random;
mod rollout;
mod smooth_grad;
mod sobol;
mod subsets;
mod value_zeroing;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;

use crate::config::{Chosen, Offered, OptionInfo, OptionKind, OptionValue, Score};
use crate::grad::Knobs;
use crate::imports::Given;
use crate::probe::{self, DoesNotFit, Probe};
use crate::runtime::{Graph, Model, RuntimeError};

pub(crate) use gradients::{RULES, named_rules};
pub(crate) use random::generator;

pub use crate::probe::{Case, Question};
pub use imported::{ImportedFile, imported_file};
pub use options::Settings;
pub(crate) use options::{REMOVAL, removal};

/// What a method says of one case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribution {
    /// One vector a seed (a deterministic method has one), one number a token: the larger, the more it speaks for the
    /// answer.
    pub values: Vec<Vec<f64>>,
    /// What the method says of its own exactness, by name.
    pub diagnostics: BTreeMap<String, f64>,
}

impl Attribution {
    /// The first of its numbers that is not finite, as a sentence without a full stop.
    pub fn not_finite(&self) -> Option<String> {
        let place = self.values.iter().find_map(|values| values.iter().position(|value| !value.is_finite()))?;
        Some(format!("the attribution of token {place} is not a finite number"))
    }
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

    /// The knobs, where it is a gradient times something, which can be had at inner layers too.
    fn knobs(&self) -> Option<Knobs> {
        None
    }

    /// The knobs at which it asks for gradients.
    fn rules(&self) -> Option<Knobs> {
        self.knobs()
    }

    /// The graphs that it asks for besides those that every bundle has.
    fn needs(&self) -> &'static [Graph] {
        &[]
    }

    /// Whether it asks for gradients of the question, which take a graph of their own where that is about the logarithm of a
    /// probability.
    fn differentiates(&self) -> bool {
        false
    }
}

/// What `method` says of the case that `probe` is about; [`Inapplicable`] also where the bundle lacks a graph or
/// a knob, and where a row that it asks for does not fit into memory.
pub async fn attribute(method: &dyn Method, probe: &Probe) -> Result<Attribution, Inapplicable> {
    let of_logarithm = probe.case().differentiated().score == Score::LogProbability;
    let own = (method.differentiates() && of_logarithm).then_some(Graph::GradientLogProbability);
    if let Some(graph) = own.into_iter().chain(method.needs().iter().copied()).find(|&graph| !probe.has(graph)) {
        return Err(Inapplicable(probe.lacks(graph)));
    }
    if let Some(lacks) = method.rules().and_then(|rules| probe.lacks_knob(&rules)) {
        return Err(Inapplicable(lacks));
    }
    let of_logits = |graph: &&Graph| {
        use Graph::{AttentionProjections, DeepLift, GradientDrop, ResidualGradient, ScoreGradient};
        matches!(graph, ResidualGradient | ScoreGradient | DeepLift | AttentionProjections | GradientDrop)
    };
    if let Some(graph) = method.needs().iter().find(of_logits).filter(|_| of_logarithm) {
        let reason =
            format!("{} differentiates logits, and what is explained is the logarithm of a probability", graph.file());
        return Err(Inapplicable(reason));
    }
    let found = probe.within_memory(|probe| async move { method.attribute(probe.case(), &probe).await }).await;
    found.unwrap_or_else(|DoesNotFit(reason)| Err(Inapplicable(reason)))
}

/// What a method says of one case by itself, and what that took; [`Inapplicable`] also where it is not finite.
///
/// # Errors
/// Those of running the model.
pub fn explain(
    model: &mut Model,
    method: &Rc<dyn Method>,
    case: &Case,
) -> Result<(Result<Attribution, Inapplicable>, probe::Cost), RuntimeError> {
    let method = Rc::clone(method);
    probe::ask(model, case.clone(), move |probe| async move {
        let found = attribute(&*method, &probe).await?;
        match found.not_finite() {
            Some(reason) => Err(Inapplicable(probe.because(reason))),
            None => Ok(found),
        }
    })
}

/// A line of the registry.
#[derive(Clone, Copy)]
pub struct Entry {
    pub info: Offered,
    /// What it is: a phrase without a full stop.
    pub description: &'static str,
    /// Where it is defined.
    pub source: &'static str,
    /// What it asks for one example, in forward and gradient rows: n tokens, r of them ranked, `k` by the name of an option.
    pub cost: &'static str,
    build: fn(&Settings) -> Rc<dyn Method>,
}

/// A method that is gradient times input at one setting of the knobs.
macro_rules! knobs {
    ($name:literal, $source:literal, $description:literal) => {
        Entry {
            info: Offered { name: $name, options: &[] },
            description: $description,
            source: $source,
            cost: "1 gradient",
            build: |_| Rc::new(gradients::GradientTimesInput { knobs: gradients::named_rules($name) }),
        }
    };
}

/// All methods, in the order in which they are listed: those that stand by themselves, those that are made of others, and what
/// was made elsewhere.
pub const METHODS: &[Entry] = &{
    let others = [ensemble::METHOD, random::MATCHED, imported::METHOD];
    let mut all = [ensemble::METHOD; SINGLE.len() + 3];
    let (single, behind) = all.split_at_mut(SINGLE.len());
    single.copy_from_slice(SINGLE);
    behind.copy_from_slice(&others);
    all
};

/// The methods that stand by themselves.
const SINGLE: &[Entry] = &[
    knobs!(
        "gim",
        "arXiv 2505.17630",
        "gradient interaction modifications: tsg, norm_freeze and product_share together"
    ),
    knobs!("gradient", "arXiv 1312.6034", "gradient times input, by plain calculus"),
    integrated_gradients::METHOD,
    deep_lift::METHOD,
    rollout::METHOD,
    attention_flow::METHOD,
    attention_gradient::METHOD,
    value_zeroing::METHOD,
    grad_ellm::METHOD,
    atp_star::METHOD,
    ablation::METHOD,
    random::METHOD,
    smooth_grad::SMOOTH_GRAD,
    smooth_grad::SQUARE_GRAD,
    smooth_grad::VAR_GRAD,
    kernel_shap::METHOD,
    lime::METHOD,
    sobol::METHOD,
    knobs!("tsg", "arXiv 2505.17630", "temperature-adjusted softmax gradients alone"),
    knobs!("norm_freeze", "arXiv 2505.17630", "frozen normalisation statistics alone"),
    knobs!("product_share", "arXiv 2505.17630", "halved gradients at activation products alone"),
    knobs!("tsg+norm_freeze", "arXiv 2505.17630", "GIM without product_share"),
    knobs!("tsg+product_share", "arXiv 2505.17630", "GIM without norm_freeze"),
    knobs!("norm_freeze+product_share", "arXiv 2505.17630", "GIM without tsg"),
    knobs!(
        "attn_lrp",
        "arXiv 2402.05602",
        "AttnLRP's rules as a modified gradient (LRP is patented for commercial use, says its authors' repository)"
    ),
    knobs!(
        "transformer_lrp",
        "arXiv 2202.07304",
        "conservative propagation: attention weights and norms as constants (LRP is patented for commercial use, says its \
         authors' repository)"
    ),
    knobs!(
        "relp",
        "arXiv 2508.21258",
        "RelP's rules: attention weights and norms as constants, activations by their secant, halves at gates (LRP is patented \
         for commercial use, says the repository of AttnLRP's authors)"
    ),
];

/// The names and options of all methods, for reading configuration files.
pub fn infos() -> &'static [Offered] {
    static INFOS: LazyLock<Vec<Offered>> = LazyLock::new(|| METHODS.iter().map(|entry| entry.info).collect());
    &INFOS
}

/// A method by name, options that are not set at their defaults; `None` for an unknown one.
pub fn build(name: &str, settings: &Settings) -> Option<Rc<dyn Method>> {
    let entry = METHODS.iter().find(|entry| entry.info.name == name)?;
    let complete = Settings { options: entry.info.complete(&settings.options), ..settings.clone() };
    Some((entry.build)(&complete))
}

/// The methods of a plan under their labels. `given`: by label, what files say of the examples at hand.
pub fn build_all(methods: &[Chosen], seed: u64, given: &HashMap<String, Arc<Given>>) -> Vec<(String, Rc<dyn Method>)> {
    let built = |method: &Chosen| {
        let given = given.get(&method.label).cloned();
        let settings = Settings { options: method.options.clone(), seed, given };
        Some((method.label.clone(), build(&method.name, &settings)?))
    };
    methods.iter().filter_map(built).collect()
}
