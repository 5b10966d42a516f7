//! Attribution methods: which tokens of a prompt made the model answer as it did.
//!
//! A method is one file and one line in [`METHODS`]. It sees cases and a model, never a metric.

mod ablation;
mod gradients;
mod integrated_gradients;
pub(crate) mod quadrature;
mod random;
mod rollout;

use std::collections::BTreeMap;

use crate::config::{MethodInfo, MethodPlan, OptionInfo, OptionKind, OptionValue, Score};
use crate::grad::Knobs;
use crate::runtime::{self, Model, Row, RuntimeError};

/// The number that is explained, at one position of the model's output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Token of the answer, or number of a classifier's label.
    pub target: i64,
    /// Token or label it is compared with, where the score is a difference of logits.
    pub contrast: Option<i64>,
    pub score: Score,
}

impl Question {
    /// The tokens or labels whose logits are needed for the score.
    pub fn tokens(&self) -> impl Iterator<Item = i64> {
        std::iter::once(self.target).chain(self.contrast)
    }

    /// f(x), from the logits of `tokens`, which hold those of the question.
    pub fn value(&self, tokens: &[i64], score: &runtime::Score) -> f64 {
        let logit = |id: i64| {
            let at = tokens.iter().position(|&token| token == id);
            at.map_or(f64::NAN, |at| f64::from(score.logits[at]))
        };
        match (self.score, self.contrast) {
            (Score::Probability, _) => (logit(self.target) - score.log_sum_exp).exp(),
            (Score::LogitDifference, Some(contrast)) => logit(self.target) - logit(contrast),
            (Score::Logit | Score::LogitDifference, _) => logit(self.target),
        }
    }

    /// The contrast that a gradient is taken against: none where the score is that of one token.
    ///
    /// A gradient explains the logit, also where the perturbations are measured in probability: in a saturated softmax
    /// the gradient of the probability is nothing but rounding.
    fn gradient_contrast(&self) -> Option<i64> {
        self.contrast.filter(|_| self.score == Score::LogitDifference)
    }
}

/// One prompt to explain.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What sets its random numbers apart from those of others: the example's name.
    pub key: String,
    pub input_ids: Vec<i64>,
    /// The scored position.
    pub position: usize,
    pub question: Question,
    /// The token that stands for a removed one.
    pub baseline: i64,
}

impl Case {
    pub fn row(&self) -> Row {
        Row { input_ids: self.input_ids.clone(), position: self.position }
    }

    /// The prompt with the tokens at `places` replaced by the baseline token.
    pub fn without(&self, places: &[usize]) -> Row {
        let mut row = self.row();
        for &place in places {
            row.input_ids[place] = self.baseline;
        }
        row
    }
}

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

pub trait Method {
    /// One attribution a case, in order. Cases come several at a time so that their rows share batches.
    ///
    /// # Errors
    /// Those of running the model.
    fn attribute(&self, model: &mut Model, cases: &[Case]) -> Result<Vec<Attribution>, RuntimeError>;
}

/// Settings of a method: those the user gave, and the run's seed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub options: BTreeMap<String, OptionValue>,
    pub seed: u64,
}

impl Settings {
    /// An option that is a whole number; `None` where it is anything else.
    fn integer(&self, name: &str) -> Option<usize> {
        match self.options.get(name) {
            Some(OptionValue::Integer(number)) => Some(usize::try_from(*number).unwrap_or(usize::MAX)),
            _ => None,
        }
    }
}

/// A line of the registry.
pub struct Entry {
    pub info: MethodInfo,
    /// One sentence, with its source.
    pub description: &'static str,
    build: fn(&Settings) -> Box<dyn Method>,
}

const fn entry(
    name: &'static str,
    options: &'static [OptionInfo],
    build: fn(&Settings) -> Box<dyn Method>,
    description: &'static str,
) -> Entry {
    Entry { info: MethodInfo { name, options }, description, build }
}

/// A method that is gradient times input at one setting of the knobs.
macro_rules! knobs {
    ($name:literal, $knobs:expr, $description:literal) => {
        entry($name, &[], |_| Box::new(gradients::GradientTimesInput { knobs: $knobs }), $description)
    };
}

const G: Knobs = Knobs::GRADIENT;
const TSG: f32 = Knobs::GIM.softmax_temperature;
const FREEZE: f32 = Knobs::GIM.norm_freeze;
const SHARE: f32 = Knobs::GIM.product_share;

/// All methods, in the order in which they are listed.
pub const METHODS: &[Entry] = &[
    knobs!("gim", Knobs::GIM, "gradient interaction modifications: all three below (arXiv 2505.17630)"),
    knobs!("gradient", G, "gradient times input, by plain calculus (arXiv 1312.6034)"),
    entry(
        "integrated_gradients",
        integrated_gradients::OPTIONS,
        |settings| Box::new(integrated_gradients::IntegratedGradients::new(settings)),
        "gradients along the straight path from the baseline (arXiv 1703.01365)",
    ),
    entry(
        "attention_rollout",
        &[],
        |_| Box::new(rollout::AttentionRollout),
        "attention weights, averaged over heads and multiplied through the layers (arXiv 2005.00928)",
    ),
    entry(
        "ablation",
        &[],
        |_| Box::new(ablation::Ablation),
        "the score lost when one token is replaced by the baseline (occlusion, leave one out)",
    ),
    entry(
        "random",
        random::OPTIONS,
        |settings| Box::new(random::Random { seeds: settings.integer("seeds").unwrap_or(1), seed: settings.seed }),
        "random numbers, what any method has to beat",
    ),
    knobs!("tsg", Knobs { softmax_temperature: TSG, ..G }, "temperature-adjusted softmax gradients alone"),
    knobs!("norm_freeze", Knobs { norm_freeze: FREEZE, ..G }, "frozen normalisation statistics alone"),
    knobs!("product_share", Knobs { product_share: SHARE, ..G }, "halved gradients at activation products alone"),
    knobs!(
        "tsg+norm_freeze",
        Knobs { softmax_temperature: TSG, norm_freeze: FREEZE, ..G },
        "GIM without product_share"
    ),
    knobs!(
        "tsg+product_share",
        Knobs { softmax_temperature: TSG, product_share: SHARE, ..G },
        "GIM without norm_freeze"
    ),
    knobs!("norm_freeze+product_share", Knobs { norm_freeze: FREEZE, product_share: SHARE, ..G }, "GIM without tsg"),
    knobs!("attn_lrp", Knobs::ATTN_LRP, "AttnLRP's rules as a modified gradient (arXiv 2402.05602)"),
    knobs!(
        "transformer_lrp",
        Knobs::TRANSFORMER_LRP,
        "conservative propagation: attention weights and norms as constants (arXiv 2202.07304)"
    ),
];

/// The names and options of all methods, for reading configuration files.
pub fn infos() -> Vec<MethodInfo> {
    METHODS.iter().map(|entry| entry.info).collect()
}

/// A method by name, options that are not set at their defaults; `None` for an unknown one.
pub fn build(name: &str, settings: &Settings) -> Option<Box<dyn Method>> {
    let entry = METHODS.iter().find(|entry| entry.info.name == name)?;
    let complete = Settings { options: entry.info.complete(&settings.options), seed: settings.seed };
    Some((entry.build)(&complete))
}

/// The methods of a plan under their labels.
pub fn build_all(methods: &[MethodPlan], seed: u64) -> Vec<(String, Box<dyn Method>)> {
    let built = |method: &MethodPlan| {
        let settings = Settings { options: method.options.clone(), seed };
        Some((method.label.clone(), build(&method.name, &settings)?))
    };
    methods.iter().filter_map(built).collect()
}

/// The tokens whose logits the questions of some cases need, without repetition.
pub fn tokens_of(cases: &[Case]) -> Vec<i64> {
    let mut tokens: Vec<i64> = cases.iter().flat_map(|case| case.question.tokens()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}
