//! Integrated gradients (Sundararajan et al., arXiv 1703.01365), by calculus or by any rules.

use std::rc::Rc;

use async_trait::async_trait;
use ndarray::Array2;

use super::gradients::{RULES, named_rules, sum_over_features, together};
use super::quadrature::{fejer, gauss_legendre};
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue, Settings};
use crate::config::Offered;
use crate::grad::Knobs;
use crate::probe::{Points, Probe};

const AUTO: &str = "auto";
/// Points with which `steps: auto` begins. It goes on with twice as many and one, so that all are used again.
const FIRST: usize = 15;
/// The most points: beyond, rounding and not the rule is what is wrong.
const MOST: u64 = 10_000;
/// A gap below this share of what cancels (the two scores and the attributions) is the rounding of f32.
const ROUNDING: f64 = 5e-6;

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "integrated_gradients", options: OPTIONS },
    description: "gradients along the straight path from the baseline",
    source: "arXiv 1703.01365",
    cost: "`steps` gradient, and 2 forward for the completeness gap",
    build: |settings| Rc::new(IntegratedGradients::new(settings)),
};

const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "steps",
        kind: OptionKind::IntegerOr(AUTO, 1, MOST),
        default: OptionValue::Integer(50),
        only_with: None,
        about: "Points on the path, by Gauss and Legendre; auto: doubled until the attributions add up.",
    },
    OptionInfo {
        name: "tolerance",
        kind: OptionKind::Fraction,
        default: OptionValue::Number(0.01),
        only_with: Some(("steps", OptionValue::Word(AUTO))),
        about: "The completeness gap that ends the doubling, in units of the change that is explained.",
    },
    OptionInfo {
        name: "max_steps",
        kind: OptionKind::Integer(FIRST as u64, MOST),
        default: OptionValue::Integer(511),
        only_with: Some(("steps", OptionValue::Word(AUTO))),
        about: "The most points that the doubling goes to (15, 31, 63, ...), whatever the gap.",
    },
    OptionInfo { about: "How the gradients along the path are taken; only those of calculus add up.", ..RULES },
];

/// The gradient averaged along the straight path from the baseline token at every position to the prompt, times the
/// path.
///
/// By calculus the attributions should add up to the change of the score along the path; how far they do not is what the
/// points of the integral cost. Of every case it says so: `completeness_gap` is in units of the score,
/// `completeness_gap_relative` in units of that change (absent where there is none). Modified gradients have no such sum. Both
/// say `steps`, the points that it took, and, where a tolerance was asked for, `tolerance_missed`, 0 or 1.
pub struct IntegratedGradients {
    steps: Steps,
    rules: Knobs,
}

/// How many points stand on the path.
enum Steps {
    /// So many, by Gauss and Legendre.
    Fixed(usize),
    /// Doubled, by Fejér, until the gap is within `tolerance` of the change, or there would be more than `most`. Where there is
    /// no gap, until doubling changes the attributions by no more than `tolerance` of their sizes.
    Auto { tolerance: f64, most: usize },
}

/// The scores at the two ends of the path.
struct Ends {
    /// What the attributions should add up to.
    change: f64,
    /// The sum of their sizes.
    size: f64,
}

impl IntegratedGradients {
    /// From a complete set of [`OPTIONS`].
    pub fn new(settings: &Settings) -> Self {
        let steps = match (settings.integer("steps"), settings.number("tolerance"), settings.integer("max_steps")) {
            (None, Some(tolerance), Some(most)) => Steps::Auto { tolerance, most },
            (steps, ..) => Steps::Fixed(steps.unwrap_or(50)),
        };
        IntegratedGradients { steps, rules: named_rules(settings.word(RULES.name)) }
    }
}

#[async_trait(?Send)]
impl Method for IntegratedGradients {
    fn differentiates(&self) -> bool {
        true
    }

    fn rules(&self) -> Option<Knobs> {
        Some(self.rules)
    }

    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let ends = match self.rules == Knobs::GRADIENT {
            true => Some(ends(case, probe).await),
            false => None,
        };
        let embeddings = probe.embeddings().await;
        let path = Path {
            probe,
            rules: self.rules,
            baseline: Rc::new(embeddings.baseline.mapv(f64::from)),
            difference: Rc::new(embeddings.difference()),
        };
        Ok(match self.steps {
            Steps::Fixed(steps) => path.fixed(steps, ends.as_ref()).await,
            Steps::Auto { tolerance, most } => path.auto(tolerance, most, ends.as_ref()).await,
        })
    }
}

/// The scores at the ends of the path.
async fn ends(case: &Case, probe: &Probe) -> Ends {
    // What is integrated is the logit, whatever the perturbations are measured in.
    let start = case.without(&(0..case.length()).collect::<Vec<usize>>());
    let ends = probe.scores_of(case.differentiated(), vec![case.row(), start]).await;
    Ends { change: ends[0] - ends[1], size: ends[0].abs() + ends[1].abs() }
}

/// The straight path of one case.
struct Path<'a> {
    probe: &'a Probe,
    rules: Knobs,
    /// `[1, hidden]`
    baseline: Rc<Array2<f64>>,
    /// `[seq, hidden]`
    difference: Rc<Array2<f64>>,
}

impl Path<'_> {
    async fn fixed(&self, steps: usize, ends: Option<&Ends>) -> Attribution {
        let (places, weights): (Vec<f64>, Vec<f64>) = gauss_legendre(steps).into_iter().unzip();
        let mut mean = Mean::new(self.difference.nrows());
        self.visit(&places, |i, contributions| mean.add(weights[i], &contributions)).await;
        mean.finished(steps, ends)
    }

    async fn auto(&self, tolerance: f64, most: usize, ends: Option<&Ends>) -> Attribution {
        let mut steps = FIRST;
        // One number a token and point: small next to a gradient, so all can be kept and weighted anew.
        let mut known: Vec<Vec<f64>> = Vec::new();
        let mut before: Option<Vec<f64>> = None;
        loop {
            let rule = fejer(steps);
            let is_new = |i: usize| known.is_empty() || i.is_multiple_of(2);
            let places: Vec<f64> = (0..steps).filter(|&i| is_new(i)).map(|i| rule[i].0).collect();
            let mut found = Vec::with_capacity(places.len());
            self.visit(&places, |_, contributions| found.push(contributions)).await;
            let (first, mut old, mut new) = (known.is_empty(), known.into_iter(), found.into_iter());
            known =
                (0..steps).filter_map(|i| if first || i.is_multiple_of(2) { new.next() } else { old.next() }).collect();
            let mut mean = Mean::new(self.difference.nrows());
            for ((_, weight), contributions) in rule.iter().zip(&known) {
                mean.add(*weight, contributions);
            }
            let sizes = mean.size();
            let (gap, allowed) = match (ends, &before) {
                (Some(ends), _) => {
                    (mean.gap(ends), (tolerance * ends.change.abs()).max(ROUNDING * (ends.size + sizes)))
                }
                (None, Some(before)) => (mean.distance(before), (tolerance * sizes).max(ROUNDING * sizes)),
                (None, None) => (if sizes.is_finite() { f64::MAX } else { f64::NAN }, 0.0),
            };
            let reached = gap <= allowed;
            let next = 2 * steps + 1;
            // What is not finite does not become so by more points.
            if reached || !gap.is_finite() || next > most {
                let mut attribution = mean.finished(steps, ends);
                attribution.diagnostics.insert("tolerance_missed".to_owned(), f64::from(u8::from(!reached)));
                return attribution;
            }
            before = Some(mean.0);
            steps = next;
        }
    }

    /// What each token contributes at the places on the path, `[seq]` for each place in order.
    async fn visit(&self, places: &[f64], mut each: impl FnMut(usize, Vec<f64>)) {
        let together = together(self.difference.len());
        for (part, places) in places.chunks(together).enumerate() {
            let (baseline, difference) = (Rc::clone(&self.baseline), Rc::clone(&self.difference));
            let places = places.to_vec();
            let points =
                Points::new(places.len(), move |i| (&*baseline + &(&*difference * places[i])).mapv(|x| x as f32));
            for (i, gradient) in self.probe.gradients(points, self.rules).await.into_iter().enumerate() {
                let contributions = sum_over_features(&self.difference, &gradient.gradient.mapv(f64::from));
                each(part * together + i, contributions);
            }
        }
    }
}

/// A weighted sum of what each token contributes.
struct Mean(Vec<f64>);

impl Mean {
    fn new(tokens: usize) -> Self {
        Mean(vec![0.0; tokens])
    }

    fn add(&mut self, weight: f64, contributions: &[f64]) {
        self.0.iter_mut().zip(contributions).for_each(|(sum, contribution)| *sum += weight * contribution);
    }

    /// How far the attributions are from adding up.
    fn gap(&self, ends: &Ends) -> f64 {
        (self.0.iter().sum::<f64>() - ends.change).abs()
    }

    /// The sum of their sizes.
    fn size(&self) -> f64 {
        self.0.iter().map(|value| value.abs()).sum()
    }

    fn distance(&self, other: &[f64]) -> f64 {
        self.0.iter().zip(other).map(|(a, b)| (a - b).abs()).sum()
    }

    fn finished(self, steps: usize, ends: Option<&Ends>) -> Attribution {
        let gap = ends.map(|ends| (self.gap(ends), ends.change.abs()));
        let mut attribution = Attribution::deterministic(self.0);
        let mut say = |name: &str, value: f64| attribution.diagnostics.insert(name.to_owned(), value);
        say("steps", steps as f64);
        if let Some((gap, change)) = gap {
            say("completeness_gap", gap);
            if change != 0.0 {
                say("completeness_gap_relative", gap / change);
            }
        }
        attribution
    }
}
