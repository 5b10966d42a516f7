//! Integrated gradients (Sundararajan et al., arXiv 1703.01365).

use ndarray::Array2;

use super::gradients::{Embeddings, gradient_row, sum_over_features};
use super::quadrature::{fejer, gauss_legendre};
use super::{Attribution, Case, Method, OptionInfo, OptionKind, OptionValue, Settings, tokens_of};
use crate::config::Score;
use crate::grad::Knobs;
use crate::runtime::{GradientRow, Model, Row, RuntimeError};

const AUTO: &str = "auto";
/// Points with which `steps: auto` begins. It goes on with twice as many and one, so that all are used again.
const FIRST: usize = 15;
/// The most points: beyond, rounding and not the rule is what is wrong.
const MOST: u64 = 10_000;
/// A gap below this share of what cancels (the two scores and the attributions) is the rounding of f32.
const ROUNDING: f64 = 5e-6;
/// Bytes of points on the path, and of their gradients, that are held at once.
const IN_HAND: usize = 64 << 20;

pub(super) const OPTIONS: &[OptionInfo] = &[
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
];

/// The gradient averaged along the straight path from the baseline token at every position to the prompt, times the
/// path.
///
/// The attributions should add up to the change of the score along the path; how far they do not is what the points of the
/// integral cost. Of every case it says so: `completeness_gap` is in units of the score, `completeness_gap_relative` in
/// units of that change (absent where there is none), `steps` the points that it took, and, where a tolerance was asked
/// for, `tolerance_missed` is 0 or 1.
pub struct IntegratedGradients {
    steps: Steps,
}

/// How many points stand on the path.
enum Steps {
    /// So many, by Gauss and Legendre.
    Fixed(usize),
    /// Doubled, by Fejér, until the gap is within `tolerance` of the change, or there would be more than `most`.
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
        let steps = match (settings.integer("steps"), settings.options.get("tolerance"), settings.integer("max_steps"))
        {
            (None, Some(&OptionValue::Number(tolerance)), Some(most)) => Steps::Auto { tolerance, most },
            (steps, ..) => Steps::Fixed(steps.unwrap_or(50)),
        };
        IntegratedGradients { steps }
    }
}

impl Method for IntegratedGradients {
    fn attribute(&self, model: &mut Model, cases: &[Case]) -> Result<Vec<Attribution>, RuntimeError> {
        let embeddings = Embeddings::of(model, cases)?;
        let ends = ends(model, cases)?;
        let mut attributions = Vec::with_capacity(cases.len());
        for (((case, difference), baseline), ends) in
            cases.iter().zip(embeddings.differences()).zip(&embeddings.baselines).zip(&ends)
        {
            let path = Path { case, baseline: baseline.mapv(f64::from), difference };
            attributions.push(match self.steps {
                Steps::Fixed(steps) => path.fixed(model, steps, ends)?,
                Steps::Auto { tolerance, most } => path.auto(model, tolerance, most, ends)?,
            });
        }
        Ok(attributions)
    }
}

/// The scores at the ends of every case's path.
fn ends(model: &mut Model, cases: &[Case]) -> Result<Vec<Ends>, RuntimeError> {
    // What is integrated is the logit, whatever the perturbations are measured in.
    let cases: Vec<Case> = cases
        .iter()
        .map(|case| {
            let mut case = case.clone();
            if case.question.score == Score::Probability {
                case.question.score = Score::Logit;
            }
            case
        })
        .collect();
    let tokens = tokens_of(&cases);
    let start = |case: &Case| Row { input_ids: vec![case.baseline; case.input_ids.len()], position: case.position };
    let rows: Vec<Row> = cases.iter().flat_map(|case| [case.row(), start(case)]).collect();
    let scores = model.scores(&rows, &tokens)?;
    let ends = cases.iter().zip(scores.chunks_exact(2)).map(|(case, ends)| {
        let [end, start] = [0, 1].map(|i| case.question.value(&tokens, &ends[i]));
        Ends { change: end - start, size: end.abs() + start.abs() }
    });
    Ok(ends.collect())
}

/// The straight path of one case.
struct Path<'a> {
    case: &'a Case,
    /// `[1, hidden]`
    baseline: Array2<f64>,
    /// `[seq, hidden]`
    difference: Array2<f64>,
}

impl Path<'_> {
    fn fixed(&self, model: &mut Model, steps: usize, ends: &Ends) -> Result<Attribution, RuntimeError> {
        let (places, weights): (Vec<f64>, Vec<f64>) = gauss_legendre(steps).into_iter().unzip();
        let mut mean = Mean::new(self.difference.nrows());
        self.visit(model, &places, |i, contributions| mean.add(weights[i], &contributions))?;
        Ok(mean.finished(steps, ends))
    }

    fn auto(&self, model: &mut Model, tolerance: f64, most: usize, ends: &Ends) -> Result<Attribution, RuntimeError> {
        let mut steps = FIRST;
        // One number a token and point: small next to a gradient, so all can be kept and weighted anew.
        let mut known: Vec<Vec<f64>> = Vec::new();
        loop {
            let rule = fejer(steps);
            let is_new = |i: usize| known.is_empty() || i.is_multiple_of(2);
            let places: Vec<f64> = (0..steps).filter(|&i| is_new(i)).map(|i| rule[i].0).collect();
            let mut found = Vec::with_capacity(places.len());
            self.visit(model, &places, |_, contributions| found.push(contributions))?;
            let (first, mut old, mut new) = (known.is_empty(), known.into_iter(), found.into_iter());
            known =
                (0..steps).filter_map(|i| if first || i.is_multiple_of(2) { new.next() } else { old.next() }).collect();
            let mut mean = Mean::new(self.difference.nrows());
            for ((_, weight), contributions) in rule.iter().zip(&known) {
                mean.add(*weight, contributions);
            }
            let (gap, sizes) = mean.gap(ends);
            let reached = gap <= (tolerance * ends.change.abs()).max(ROUNDING * (ends.size + sizes));
            let next = 2 * steps + 1;
            // What is not finite does not become so by more points.
            if reached || !gap.is_finite() || next > most {
                let mut attribution = mean.finished(steps, ends);
                attribution.diagnostics.insert("tolerance_missed".to_owned(), f64::from(u8::from(!reached)));
                return Ok(attribution);
            }
            steps = next;
        }
    }

    /// What each token contributes at the places on the path, `[seq]` for each place in order.
    fn visit(
        &self,
        model: &mut Model,
        places: &[f64],
        mut each: impl FnMut(usize, Vec<f64>),
    ) -> Result<(), RuntimeError> {
        let bytes = 2 * size_of::<f32>() * self.difference.len();
        let together = (IN_HAND / bytes.max(1)).max(1);
        for (part, places) in places.chunks(together).enumerate() {
            let rows: Vec<GradientRow> = places
                .iter()
                .map(|&at| {
                    let point = &self.baseline + &(&self.difference * at);
                    gradient_row(self.case, point.mapv(|x| x as f32))
                })
                .collect();
            for (i, gradient) in model.gradients(&rows, &Knobs::GRADIENT)?.into_iter().enumerate() {
                let contributions = sum_over_features(&self.difference, &gradient.gradient.mapv(f64::from));
                each(part * together + i, contributions);
            }
        }
        Ok(())
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

    /// How far the attributions are from adding up, and the sum of their sizes.
    fn gap(&self, ends: &Ends) -> (f64, f64) {
        let total: f64 = self.0.iter().sum();
        ((total - ends.change).abs(), self.0.iter().map(|value| value.abs()).sum())
    }

    fn finished(self, steps: usize, ends: &Ends) -> Attribution {
        let (gap, _) = self.gap(ends);
        let mut attribution = Attribution::deterministic(self.0);
        let mut say = |name: &str, value: f64| attribution.diagnostics.insert(name.to_owned(), value);
        say("completeness_gap", gap);
        say("steps", steps as f64);
        if ends.change != 0.0 {
            say("completeness_gap_relative", gap / ends.change.abs());
        }
        attribution
    }
}
