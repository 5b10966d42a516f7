//! The checks, each a largest deviation and what it may be.
//!
//! Two kinds. What a graph *means* is computed in double precision and must agree to nine digits, whatever the weights:
//! a deviation is a fault. What the runtime *computes* is f32, and may be off by some times what errors in the last places
//! of f32 do to the same model and prompts.

use std::sync::Arc;

use ndarray::{Array1, ArrayD, ArrayView, Axis, Dimension, IxDyn, Slice};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::exact::{Exact, asked, prompts};
use super::inside::Inside;
use super::reference::WeightFile;
use super::reference::array::Shared;
use super::reference::machine::{Feeds, Machine};
use super::reference::sites::Sites;
use super::reference::tangents::{Moved, inner};
use super::sample::{CONTRAST_WEIGHT, Sample};
use super::{Check, VerifyError};
use crate::bundle::manifest::ComputeType;
use crate::bundle::{Manifest, OpenedBundle};
use crate::grad::{Knobs, SiteKind};
use crate::runtime::{Graph, Model, Runtime, Tensor};

type Checked = Result<Check, VerifyError>;

/// What the runtime computes, what it should, and how far single precision is off.
pub type Computed = (ArrayD<f64>, ArrayD<f64>, f64);

/// What two computations in double precision may differ by, relative, in a model of ordinary condition.
pub(super) const EXACT: f64 = 1e-9;
/// The same for a derivative: its rules hold numbers such as `1 / sqrt(2 pi)`, which a graph of f32 rounds to 3e-8 of
/// themselves, once a layer.
pub(super) const DERIVATIVE: f64 = 2e-6;
/// What is added to that, as a multiple of what single precision is off by: 500 times the ratio of the two precisions,
/// 2^-29. A model in which f32 has no right digit left may differ by 1e-6.
const CONDITION: f64 = 1e-6;
/// What the runtime's f32 may be off by, relative, in a model of ordinary condition.
const SINGLE: f64 = 1e-5;
/// What is added to that, as a multiple of what computations in single precision are off by.
const RUNTIME: f64 = 10.0;

/// How many times as much products in half precision may be off by: the ratio of the two precisions.
const HALF: f64 = 8192.0;
/// Beyond this, relative, half precision leaves nothing that could be explained.
const HALF_LIMIT: f64 = 0.5;
/// Where single precision is off by more than half a hundredth, digits cancel, and half precision has none left: so many times what
/// single precision is off by. (A score of SmolLM2 of which single precision has two digits was off by 0.36 and 0.55 in f16.)
const HALF_CANCELS: f64 = 100.0;

pub(super) const FAULT: &str = "a fault of this program, not of the model: please report it with the model's name";

/// What is computed once and used by several checks.
pub struct Evidence {
    pub(super) sample: Sample,
    gradient: Exact,
    /// What `forward_embeds.onnx` makes of `embeds`, where there is one: `[batch, vocab]`.
    from_embeds: Option<ArrayD<f64>>,
    pub(super) attention: Option<Attention>,
    pub(super) settings: [(&'static str, Knobs); 3],
    sites: Sites,
    /// `[batch, seq, hidden]`, rounded to f32.
    pub(super) embeds: ArrayD<f64>,
    /// `[batch, vocab]`.
    pub(super) logits: ArrayD<f64>,
    /// One for each lane that the score has.
    scores: Vec<ArrayD<f64>>,
    /// `[batch, seq, hidden]`, one for each of the settings.
    pub(super) gradients: Vec<ArrayD<f64>>,
    pub(super) moved: Moved,
    pub(super) directions: Vec<ArrayD<f64>>,
    /// How far single precision is off, relative, at best and at worst.
    pub(super) single: Single,
}

/// What `attention.onnx` gives, `[layers, batch, heads, seq, seq]`.
pub(super) struct Attention {
    pub(super) weights: ArrayD<f64>,
    /// How far single precision is off.
    single: f64,
}

/// The relative deviation of computations in f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Single {
    pub logits: f64,
    pub gradients: f64,
}

impl Single {
    fn worst(self) -> f64 {
        largest([self.logits, self.gradients]).min(1.0)
    }
}

/// A setting of the knobs with no round number in it: rules that differ anywhere differ there.
fn any_knobs(random: &mut ChaCha8Rng) -> Knobs {
    let mut within = |low: f32, high: f32| random.random_range(low..high);
    Knobs {
        softmax_temperature: within(1.3, 2.7),
        norm_freeze: within(0.2, 0.8),
        product_share: within(0.6, 0.9),
        attention_path: within(0.3, 0.8),
        activation_secant: within(0.2, 0.8),
        gate_share: Some(within(0.2, 0.5)),
    }
}

impl Evidence {
    /// Computes everything that the checks in double precision compare.
    ///
    /// # Errors
    /// For a graph that cannot be computed at all.
    pub fn gather(
        runtime: &Runtime,
        bundle: &OpenedBundle,
        weights: &Arc<WeightFile>,
        lengths: &[usize],
        seed: u64,
    ) -> Result<Evidence, VerifyError> {
        let machine = Machine { runtime, single: false };
        let sample = Sample::random(&bundle.manifest, lengths, seed);
        let read = |graph| Exact::read(bundle, graph, weights);
        let (embed, forward, gradient) = (read(Graph::Embed)?, read(Graph::Forward)?, read(Graph::Gradient)?);
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x9e37_79b9_7f4a_7c15);
        let mut any = any_knobs(&mut random);
        if !gradient.has_input("gate_share") {
            any.gate_share = None;
        }
        let settings = [("calculus", Knobs::GRADIENT), ("gim", Knobs::GIM), ("any", any)];

        let embeds = embed.one(&machine, &prompts(&sample), "inputs_embeds")?;
        let embeds = embeds.mapv(|x| f64::from(x as f32));
        let logits = forward.one(&machine, &prompts(&sample), "logits")?;
        let from_embeds = match bundle.has(Graph::ForwardEmbeds.file()) {
            true => {
                let feeds = asked(&sample, &embeds, &[Knobs::GRADIENT]);
                Some(read(Graph::ForwardEmbeds)?.one(&machine, &feeds, "logits")?)
            }
            false => None,
        };
        let feeds = asked(&sample, &embeds, &settings.map(|(_, knobs)| knobs));
        let Scored { scores, gradients } = scored(&gradient, &machine, &feeds, settings.len())?;

        let directions: Vec<ArrayD<f64>> =
            gradients.iter().map(|gradient| direction(gradient, &embeds, &mut random)).collect();
        let sites = gradient.sites()?;
        let moved = gradient.movements(&machine, &feeds, &sites, &directions, &settings.map(|(_, knobs)| knobs))?;

        let plain = Machine { single: true, ..machine };
        let plain_logits = forward.one(&plain, &prompts(&sample), "logits")?;
        let attention = bundle.has(Graph::Attention.file()).then(|| read(Graph::Attention)).transpose()?;
        let attention = attention.map(|graph| {
            let of = |machine| graph.one(machine, &prompts(&sample), "attention");
            let (weights, rounded) = (of(&machine)?, of(&plain)?);
            Ok::<_, VerifyError>(Attention { single: relative(&rounded, &weights), weights })
        });
        let attention = attention.transpose()?;
        let feeds = asked(&sample, &embeds, &[Knobs::GRADIENT, Knobs::GIM]);
        let rounded = scored(&gradient, &plain, &feeds, 2)?.gradients;
        let single = Single {
            logits: row_deviation(&plain_logits, &logits),
            gradients: largest(rounded.iter().zip(&gradients).map(|(a, b)| row_deviation(a, b))),
        };
        Ok(Evidence {
            sample,
            gradient,
            from_embeds,
            attention,
            settings,
            sites,
            embeds,
            logits,
            scores,
            gradients,
            moved,
            directions,
            single,
        })
    }

    /// The scores, `[batch]`, one for each lane that they have.
    pub(super) fn scores(&self) -> &[ArrayD<f64>] {
        &self.scores
    }

    /// Whether the bundle's gradient graphs have this input, unless it is a knob that came later.
    pub(super) fn knows(&self, name: &str) -> bool {
        !Knobs::NAMES.contains(&name) || self.gradient.has_input(name)
    }

    /// What two computations in double precision may differ by in this model.
    pub(super) fn exact(&self) -> f64 {
        EXACT + CONDITION * if self.single.worst().is_nan() { 1.0 } else { self.single.worst() }
    }

    /// The size of each row's logits, which scores are compared relative to.
    fn sizes(&self) -> Vec<f64> {
        self.logits.outer_iter().map(|row| norm(&row)).collect()
    }

    /// The model gives numbers at all, in a precision in which nothing overflows. Where it does not, there is nothing to
    /// compare.
    pub fn finite(&self) -> Check {
        let advice = "the weights hold something that is not a number, or lead to it: look at the source's weights, which \
                      were copied as they are";
        finite([&self.logits].into_iter().chain(&self.gradients), advice)
    }

    /// The score of the gradient graph is a difference of logits of the forward graph.
    pub fn forward_equality(&self) -> Check {
        let (expected, sizes) = (self.expected_scores(), self.sizes());
        let deviations = self.scores.iter().flat_map(|scores| {
            let all = scores.iter().zip(&expected).zip(&sizes);
            all.map(|((score, expected), &size)| ratio((score - expected).abs(), size))
        });
        Check {
            name: "forward equality",
            description: "score of gradient.onnx against logits of forward.onnx, in double precision",
            measured: largest(deviations),
            tolerance: self.exact(),
            advice: FAULT,
        }
    }

    /// Both forward graphs are one function.
    pub fn forward_from_embeddings(&self) -> Option<Check> {
        let found = self.from_embeds.as_ref()?;
        Some(Check {
            name: "forward from embeddings",
            description: "logits of forward_embeds.onnx against those of forward.onnx, in double precision",
            measured: row_deviation(found, &self.logits),
            tolerance: self.exact(),
            advice: FAULT,
        })
    }

    fn expected_scores(&self) -> Array1<f64> {
        let logit =
            |row: usize, token: i64| self.logits.get(IxDyn(&[row, token as usize])).copied().unwrap_or(f64::NAN);
        let score = |row: usize| {
            let Sample { target, contrast, .. } = &self.sample;
            logit(row, target[row]) - f64::from(CONTRAST_WEIGHT) * logit(row, contrast[row])
        };
        (0..self.sample.lengths.len()).map(score).collect()
    }

    /// The gradient is the transpose of how the score moves, at three settings of the knobs.
    pub fn gradient_rules(&self) -> Vec<Check> {
        let size = self.sizes().into_iter().fold(0.0, f64::max);
        let checks = self.settings.iter().enumerate().map(|(lane, (setting, _))| {
            let (sum, terms) = inner(&self.gradients[lane], &self.directions[lane]);
            let moved = self.moved.output[lane].sum();
            // Where no gradient flows there must be no movement either, but for rounding.
            let scale = if terms > 0.0 || terms.is_nan() { terms } else { size };
            let (name, description) = match *setting {
                "calculus" => ("gradient", "gradient against the derivative by forward mode, in double precision"),
                "gim" => ("gradient of gim", "the same at GIM's knobs, movements handed on by the papers' rules"),
                _ => ("gradient at any knobs", "the same with every knob at a random value"),
            };
            Check {
                name,
                description,
                measured: ratio((sum - moved).abs(), scale),
                tolerance: DERIVATIVE + self.exact(),
                advice: FAULT,
            }
        });
        checks.collect()
    }

    /// The rules are where bundle.json says, and the score hangs on no knob.
    pub fn audit(&self, manifest: &Manifest) -> Vec<Check> {
        let away = |kind: &SiteKind| manifest.audit.count(*kind).abs_diff(self.sites.count(*kind));
        vec![
            Check {
                name: "sites",
                description: "places for the rules in gradient.onnx that bundle.json's audit has not, or the other way",
                measured: SiteKind::ALL.iter().map(away).sum::<usize>() as f64,
                tolerance: 0.0,
                advice: "bundle.json and gradient.onnx are of different models, or a fault of this program: bake again, \
                         and report it if that does not help",
            },
            Check {
                name: "knobs leave the score",
                description: "whether the score is computed from a knob",
                measured: if self.scores.len() == 1 { 0.0 } else { 1.0 },
                tolerance: 0.0,
                advice: FAULT,
            },
        ]
    }

    /// A prompt padded by a longer neighbour gives what it gives alone.
    pub fn padding(&self, runtime: &Runtime) -> Checked {
        let machine = Machine { runtime, single: false };
        let lane = 1;
        let mut deviations = Vec::new();
        for (row, &length) in self.sample.lengths.iter().enumerate() {
            if length == self.sample.width() {
                continue;
            }
            let row_of = |array: &ArrayD<f64>| {
                let row = array.slice_axis(Axis(0), Slice::from(row..=row));
                row.slice_axis(Axis(1), Slice::from(..length)).to_owned()
            };
            let feeds = asked(&self.sample.alone(row), &row_of(&self.embeds), &[self.settings[lane].1]);
            let alone = scored(&self.gradient, &machine, &feeds, 1)?;
            let gradient = &alone.gradients[0];
            let together = &self.gradients[lane];
            deviations.push(relative(gradient, &row_of(together)));
            deviations.push(ratio((alone.scores[0][0] - self.scores[0][row]).abs(), self.sizes()[row]));
            // Padding gets no gradient.
            let rest = together.slice_axis(Axis(0), Slice::from(row..=row));
            let rest = rest.slice_axis(Axis(1), Slice::from(length..)).to_owned();
            deviations.push(ratio(norm(&rest.view()), norm(&gradient.view())));
        }
        Ok(Check {
            name: "padding",
            description: "GIM gradient and score of a prompt in a padded batch against it alone, in double precision",
            measured: largest(deviations),
            tolerance: self.exact(),
            advice: "the model heeds its padding, so that its batches would be wrong; a mask of the source may not \
                     reach its attention",
        })
    }

    /// `attention.onnx` gives the softmaxes that the gradient graph goes through.
    pub fn attention(&self) -> Option<Check> {
        let found = &self.attention.as_ref()?.weights;
        let layers = self.moved.attention.iter().map(|softmax| softmax.real().ok());
        let same = found.len_of(Axis(0)) == self.moved.attention.len();
        let deviations = found.outer_iter().zip(layers).map(|(found, softmax)| match softmax {
            Some(softmax) if softmax.len() == found.len() => {
                largest(found.iter().zip(softmax).map(|(a, b)| (a - b).abs()))
            }
            _ => f64::NAN,
        });
        Some(Check {
            name: "attention",
            description: "attention.onnx against the softmaxes of gradient.onnx, in double precision",
            measured: if same { largest(deviations) } else { f64::NAN },
            tolerance: self.exact(),
            advice: FAULT,
        })
    }

    /// The runtime computes what the graphs mean.
    pub fn runtime(&self, model: &mut Model, inside: &Inside) -> Result<Vec<Check>, VerifyError> {
        let sample = &self.sample;
        let (batch, width) = sample.ids.dim();
        let (hidden, outputs) = (model.manifest().dimensions.hidden, model.manifest().outputs());
        let ids = || Tensor::from(sample.ids.clone());
        let mask = || Tensor::from(sample.mask());
        let mut run = |graph: Graph, inputs: &[(&str, Tensor)], output: &str, shape: &[usize]| {
            let found = model.load(graph)?.run(inputs)?.take_f32(output, shape)?;
            Ok::<_, VerifyError>(found.mapv(f64::from))
        };
        let embeds = run(Graph::Embed, &[("input_ids", ids())], "inputs_embeds", &[batch, width, hidden])?;
        let inputs = [("input_ids", ids()), ("attention_mask", mask()), ("position", sample.position.clone().into())];
        let logits = run(Graph::Forward, &inputs, "logits", &[batch, outputs])?;
        let mut found = vec![(embeds, self.embeds.clone(), 0.0), (logits, self.logits.clone(), self.single.logits)];
        if let Some(expected) = &self.from_embeds {
            let inputs = [
                ("inputs_embeds", Tensor::from(self.embeds.mapv(|x| x as f32))),
                ("attention_mask", mask()),
                ("position", sample.position.clone().into()),
            ];
            let logits = run(Graph::ForwardEmbeds, &inputs, "logits", &[batch, outputs])?;
            found.push((logits, expected.clone(), self.single.logits));
        }
        for (lane, (_, knobs)) in self.settings.iter().enumerate().take(2) {
            let mut inputs = vec![
                ("inputs_embeds", Tensor::from(self.embeds.mapv(|x| x as f32))),
                ("attention_mask", mask()),
                ("position", sample.position.clone().into()),
                ("target", sample.target.clone().into()),
                ("contrast", sample.contrast.clone().into()),
                ("contrast_weight", Array1::from_elem(batch, CONTRAST_WEIGHT).into()),
            ];
            let known = knobs.known_to(|name| self.gradient.has_input(name)).unwrap_or_default();
            inputs.extend(known.into_iter().map(|(name, value)| (name, Tensor::from(value))));
            let gradient = run(Graph::Gradient, &inputs, "gradient", &[batch, width, hidden])?;
            found.push((gradient, self.gradients[lane].clone(), self.single.gradients));
        }
        if let Some(attention) = &self.attention {
            let (layers, heads) = (self.moved.attention.len(), model.manifest().dimensions.heads);
            let inputs = [("input_ids", ids()), ("attention_mask", mask())];
            let shape = [layers, batch, heads, width, width];
            let weights = model.load(Graph::Attention)?.run(&inputs)?.take_f32("attention", &shape)?.mapv(f64::from);
            found.push((weights, attention.weights.clone(), attention.single));
        }
        found.extend(inside.runtime(model)?);
        Ok(judged(&found, model.manifest().compute_type().unwrap_or_default()))
    }
}

/// Numbers of the runtime against exact ones: whether all are numbers, and the one that takes most of what it may be off.
fn judged(found: &[Computed], compute: ComputeType) -> Vec<Check> {
    let parts = found.iter().map(|(array, expected, single)| {
        // Where single precision overflows, there is no telling how far off a number may be.
        let allowed = SINGLE + RUNTIME * if single.is_nan() { f64::INFINITY } else { *single };
        let allowed = match compute {
            ComputeType::F32 | ComputeType::F64 => allowed,
            // The larger of the two is the number, where single precision has none.
            ComputeType::F16 => (HALF * allowed).min(HALF_LIMIT.max(HALF_CANCELS * single)),
        };
        (row_deviation(array, expected), allowed)
    });
    let worst =
        parts.fold(
            (0.0, SINGLE),
            |worst: (f64, f64), next| {
                if next.0.is_nan() || next.0 / next.1 > worst.0 / worst.1 { next } else { worst }
            },
        );
    let runtime = Check {
        name: "runtime",
        description: "what ONNX Runtime computes against double precision, relative",
        measured: worst.0,
        tolerance: worst.1,
        advice: "this ONNX Runtime computes the graphs wrong on this machine: try another version (--runtime), and \
                 report it if all do",
    };
    let beyond = match compute {
        ComputeType::F32 => {
            "the model goes beyond the range of f32, in which the bundle computes: bake it with --dtype f64"
        }
        ComputeType::F64 => {
            "the model goes beyond the range of f32, in which a bundle gives its results: only one of smaller numbers can be \
             explained"
        }
        ComputeType::F16 => {
            "the model goes beyond the range of f16, which ends at 65504: bake it with --dtype f32 (the default)"
        }
    };
    vec![finite(found.iter().map(|(array, ..)| array), beyond), runtime]
}

fn finite<'a>(arrays: impl Iterator<Item = &'a ArrayD<f64>>, advice: &'static str) -> Check {
    let broken = arrays.flatten().filter(|x| !x.is_finite()).count();
    Check {
        name: "finite",
        description: "logits, gradients and other results that overflow or are no numbers",
        measured: broken as f64,
        tolerance: 0.0,
        advice,
    }
}

/// What the gradient graph gives.
pub(super) struct Scored {
    /// In as many lanes as they have: one, where no knob moves them.
    scores: Vec<ArrayD<f64>>,
    /// In every lane.
    pub(super) gradients: Vec<ArrayD<f64>>,
}

pub(super) fn scored(graph: &Exact, machine: &Machine, feeds: &Feeds, lanes: usize) -> Result<Scored, VerifyError> {
    let values = graph.run(machine, feeds, &["score", "gradient"])?;
    let all = |lanes: &[Shared]| lanes.iter().map(|value| graph.real(value)).collect::<Result<Vec<_>, _>>();
    let (scores, gradients) = (all(&values[0])?, all(&values[1])?);
    // A gradient that no knob moves is the same in every lane.
    let gradients = gradients.iter().cycle().take(lanes).cloned().collect();
    Ok(Scored { scores, gradients })
}

/// A random direction to which every element of the gradient contributes about as much, large or small.
fn direction(gradient: &ArrayD<f64>, embeds: &ArrayD<f64>, random: &mut ChaCha8Rng) -> ArrayD<f64> {
    let largest = gradient.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    // Elements that are next to nothing beside their neighbours hold rounding.
    const FLOOR: f64 = 1e-4;
    let rms = norm(&embeds.view()) / (embeds.len() as f64).sqrt();
    let mut direction = ArrayD::zeros(gradient.raw_dim());
    let last = Axis(gradient.ndim() - 1);
    for (mut moves, slopes) in direction.lanes_mut(last).into_iter().zip(gradient.lanes(last)) {
        let most = slopes.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let scale = |slope: f64| match (most > 0.0, largest > 0.0) {
            (true, _) => 1.0 / slope.abs().max(FLOOR * most),
            (false, true) => 1.0 / largest,
            (false, false) => rms.max(f64::MIN_POSITIVE),
        };
        for (moves, &slope) in moves.iter_mut().zip(slopes) {
            let sign = if random.random_bool(0.5) { 1.0 } else { -1.0 };
            *moves = sign * random.random_range(0.5..1.5) * scale(slope);
        }
    }
    direction
}

fn norm<D: Dimension>(values: &ArrayView<f64, D>) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `a / b`; nothing of nothing is nothing.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b.max(f64::MIN_POSITIVE) }
}

/// `|a - b| / |b|`.
pub fn relative(a: &ArrayD<f64>, b: &ArrayD<f64>) -> f64 {
    if a.shape() != b.shape() {
        return f64::NAN;
    }
    ratio(norm(&(a - b).view()), norm(&b.view()))
}

/// The largest relative deviation of a row.
pub fn row_deviation(a: &ArrayD<f64>, b: &ArrayD<f64>) -> f64 {
    if a.shape() != b.shape() {
        return f64::NAN;
    }
    largest(a.outer_iter().zip(b.outer_iter()).map(|(a, b)| ratio(norm(&(&a - &b).view()), norm(&b))))
}

/// The largest of some deviations. Not a number is the largest of all, and `f64::max` would pass over it.
pub fn largest(deviations: impl IntoIterator<Item = f64>) -> f64 {
    let larger = |most: f64, next: f64| if next.is_nan() || next > most { next } else { most };
    deviations.into_iter().fold(0.0, |most, next| if most.is_nan() { most } else { larger(most, next) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Off by so much where single precision is off by 1e-6.
    fn verdicts(off: f64, compute: ComputeType) -> Vec<(&'static str, bool)> {
        let exact = ArrayD::from_shape_fn(IxDyn(&[2, 5]), |place| 1.0 + (place[0] * 5 + place[1]) as f64);
        let checks = judged(&[(&exact * 1.0, exact.clone(), 1e-6), (&exact * (1.0 + off), exact, 1e-6)], compute);
        checks.iter().map(|check| (check.name, check.passed())).collect()
    }

    #[test]
    fn the_runtime_may_round_and_not_err() {
        for compute in [ComputeType::F32, ComputeType::F64] {
            assert_eq!(verdicts(1.5e-5, compute), [("finite", true), ("runtime", true)]);
            assert_eq!(verdicts(1e-3, compute), [("finite", true), ("runtime", false)]);
            assert_eq!(verdicts(f64::NAN, compute), [("finite", false), ("runtime", false)]);
        }
        assert_eq!(verdicts(1e-2, ComputeType::F16), [("finite", true), ("runtime", true)]);
        assert_eq!(verdicts(0.3, ComputeType::F16), [("finite", true), ("runtime", false)]);
    }

    /// A score in which logits cancel, say.
    #[test]
    fn half_precision_may_lose_what_cancels_in_single() {
        let verdict = |off: f64, single: f64| {
            let exact = ArrayD::from_elem(IxDyn(&[1]), 2.0);
            judged(&[(&exact * (1.0 + off), exact, single)], ComputeType::F16)[1].passed()
        };
        assert!(verdict(0.55, 1.6e-2) && !verdict(2.0, 1.6e-2));
        assert!(verdict(0.45, 1e-3) && !verdict(0.55, 1e-3));
        assert!(verdict(0.45, f64::NAN) && !verdict(0.55, f64::NAN));
    }

    #[test]
    fn not_a_number_is_the_largest_deviation() {
        assert_eq!(largest([1.0, 3.0, 2.0]), 3.0);
        assert!(largest([1.0, f64::NAN, 2.0]).is_nan());
        assert_eq!(largest([]), 0.0);
        assert_eq!(ratio(0.0, 0.0), 0.0);
        assert!(ratio(1.0, 0.0) > 1e300);
    }
}
