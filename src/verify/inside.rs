//! The checks of the graphs that look inside: what they show moves the score as they say, and what they replace is replaced.
//!
//! A replacement is made a second time by the machine that computes in double precision: in the steps of another graph, where
//! it edits a value before others use it. It is made in every layer, each in a prompt of its own: one batch has them all.

use std::sync::Arc;

use ndarray::{Array2, ArrayD, Axis, IxDyn, Slice};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::checks::{Computed, DERIVATIVE, Evidence, FAULT, largest, ratio, row_deviation};
use super::exact::{Exact, asked, one, prompts};
use super::reference::WeightFile;
use super::reference::array::{Shared, Value, softmax};
use super::reference::machine::{Edits, Feeds, Machine};
use super::reference::tangents::{Beginnings, inner};
use super::sample::{CONTRAST_WEIGHT, Sample};
use super::{Check, VerifyError};
use crate::bundle::OpenedBundle;
use crate::bundle::inside::MASKED_BELOW;
use crate::grad::Knobs;
use crate::runtime::{Graph, Model, Runtime, Tensor};

/// What was found, and what the runtime is to be held against.
#[derive(Default)]
pub struct Inside {
    pub checks: Vec<Check>,
    pub(super) expected: Vec<Expected>,
}

/// What a graph gives for some inputs, in double precision.
pub(super) struct Expected {
    pub graph: Graph,
    pub inputs: Vec<(&'static str, Tensor)>,
    pub outputs: Vec<Output>,
}

/// An output by name, as it should be, and how far single precision is off.
pub(super) type Output = (&'static str, ArrayD<f64>, f64);

/// The setting of the knobs that has every knob at a random value: rules that differ anywhere differ there.
pub(super) const LANE: usize = 2;

impl Inside {
    /// Computes what the checks compare; nothing of graphs that the bundle lacks.
    ///
    /// # Errors
    /// For a graph that cannot be computed at all.
    pub fn gather(
        runtime: &Runtime,
        bundle: &OpenedBundle,
        weights: &Arc<WeightFile>,
        evidence: &Evidence,
        seed: u64,
    ) -> Result<Inside, VerifyError> {
        let machine = Machine { runtime, single: false };
        let knobs = [evidence.settings[LANE].1];
        let mut feeds = asked(&evidence.sample, &evidence.embeds, &knobs);
        feeds.retain(|name, _| evidence.knows(name));
        let lengths: Vec<usize> = (0..bundle.manifest.dimensions.layers).map(|layer| 4 - layer % 3).collect();
        let sample = Sample::random(&bundle.manifest, &lengths, seed ^ 0x5be0_cd19_137e_2179);
        let embed = Exact::read(bundle, Graph::Embed, weights)?;
        let embeds = embed.one(&machine, &prompts(&sample), "inputs_embeds")?;
        let by_layer = asked(&sample, &embeds, &knobs);
        let of = Of { bundle, weights, evidence, machine, feeds, knobs, sample, by_layer };
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x1f83_d9ab_fb41_bd6b);
        let mut inside = Inside::default();
        if let Some(graph) = of.read(Graph::GradientLogProbability)? {
            inside.log_probability(&of, &graph)?;
        }
        if let (Some(attention), Some(graph)) = (&evidence.attention, of.read(Graph::AttentionRollout)?) {
            inside.attention_rollout(&of, &graph, &attention.weights)?;
        }
        let residual = of.read(Graph::ResidualGradient)?;
        if let Some(graph) = &residual {
            inside.residual_gradient(&of, graph)?;
        }
        if let (Some(graph), Some(replaced)) = (&residual, of.read(Graph::ForwardResidual)?) {
            inside.forward_residual(&of, graph, &replaced, &mut random)?;
        }
        let scores = of.read(Graph::ScoreGradient)?;
        if let Some(graph) = &scores {
            inside.score_gradient(&of, graph, &mut random)?;
        }
        if let (Some(graph), Some(replaced)) = (&scores, of.read(Graph::ForwardScores)?) {
            inside.forward_scores(&of, graph, &replaced, &mut random)?;
        }
        if let (Some(graph), Some(zeroed)) = (&residual, of.read(Graph::ValueZeroing)?) {
            inside.value_zeroing(&of, graph, &zeroed, &mut random)?;
        }
        if let (Some(whole), Some(cached)) = (of.read(Graph::Forward)?, of.read(Graph::ForwardCached)?) {
            inside.forward_cached(&of, &whole, &cached, &mut random)?;
        }
        if let Some(graph) = of.read(Graph::DeepLift)? {
            inside.deep_lift(&of, &graph, &mut random)?;
        }
        if let Some(graph) = of.read(Graph::AttentionProjections)? {
            inside.projections(&of, &graph, &mut random)?;
        }
        if let (Some(residual), Some(graph)) = (&residual, of.read(Graph::GradientDrop)?) {
            inside.gradient_drop(&of, residual, &graph, &mut random)?;
        }
        Ok(inside)
    }

    /// The logarithm of a probability, by the logits of another graph, and how it moves with the embeddings.
    fn log_probability(&mut self, of: &Of, graph: &Exact) -> Result<(), VerifyError> {
        let names = ["score", "gradient"];
        let found = of.computed(graph, &names)?;
        let rows = of.evidence.logits.outer_iter().zip(&of.evidence.sample.target).zip(&found[0]);
        let deviations = rows.map(|((logits, &target), score)| {
            let most = logits.iter().fold(f64::NEG_INFINITY, |most, x| most.max(*x));
            let log_sum = most + logits.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
            let logit = logits.iter().nth(target as usize).copied().unwrap_or(f64::NAN);
            // Of small logits the sum alone is large.
            let size = logits.iter().map(|x| x * x).sum::<f64>().sqrt().max(log_sum.abs());
            ratio((logit - log_sum - score).abs(), size)
        });
        self.checks.push(Check {
            name: "log probability",
            description: "score of gradient_log_probability.onnx against logits of forward.onnx, in double precision",
            measured: largest(deviations),
            tolerance: of.evidence.exact(),
            advice: FAULT,
        });
        let directions = [of.evidence.directions[LANE].clone()];
        let beginnings = graph.beginning_at_embeddings(&directions)?;
        let moved = graph.moved(&of.machine, &of.feeds, &graph.sites()?, &beginnings, "score", &of.knobs)?;
        let (sum, terms) = inner(&found[1], &directions[0]);
        // Where the target is all but sure, or the only label, gradients of logits cancel to nothing, and rounding is left.
        let size = terms.max(inner(&of.evidence.gradients[LANE], &directions[0]).1);
        self.checks.push(Check {
            name: "its gradient",
            description: "gradient of gradient_log_probability.onnx against the derivative by forward mode, in double precision",
            measured: ratio((sum - moved.output[0].sum()).abs(), size),
            tolerance: DERIVATIVE + of.evidence.exact(),
            advice: FAULT,
        });
        let names_of = Graph::GradientLogProbability.inputs().iter().chain(&Knobs::NAMES).copied();
        self.expected.push(Expected {
            graph: Graph::GradientLogProbability,
            inputs: inputs(&of.feeds, &names_of.collect::<Vec<_>>()),
            outputs: of.with_single(graph, &of.feeds, &names, found)?,
        });
        Ok(())
    }

    /// All ways lead through what enters a layer, so how it moves, times its gradient, is how the score moves, at any layer.
    fn residual_gradient(&mut self, of: &Of, graph: &Exact) -> Result<(), VerifyError> {
        let names = ["residual", "residual_gradient"];
        let found = of.computed(graph, &names)?;
        let directions = [of.evidence.directions[LANE].clone()];
        let beginnings = graph.beginning_at_embeddings(&directions)?;
        let moved = graph.moved(&of.machine, &of.feeds, &graph.sites()?, &beginnings, "residual", &of.knobs)?;
        let score = of.evidence.moved.output[LANE].sum();
        let deviations = found[1].outer_iter().zip(moved.output[0].outer_iter()).map(|(gradient, moves)| {
            let (sum, terms) = inner(&gradient.to_owned(), &moves.to_owned());
            ratio((sum - score).abs(), terms)
        });
        self.checks.push(Check {
            name: "residual stream",
            description: "what enters each layer, and its gradient, against how the score moves, in double precision",
            measured: largest(deviations),
            tolerance: DERIVATIVE + of.evidence.exact(),
            advice: FAULT,
        });
        let expected = of.with_single(graph, &of.feeds, &names, found)?;
        self.expected.push(Expected {
            graph: Graph::ResidualGradient,
            inputs: of.gradient_inputs(),
            outputs: expected,
        });
        Ok(())
    }

    /// A layer's entry at its mean, against the same steps with that entry given.
    fn forward_residual(
        &mut self,
        of: &Of,
        graph: &Exact,
        replaced: &Exact,
        random: &mut ChaCha8Rng,
    ) -> Result<(), VerifyError> {
        let sample = &of.sample;
        let places = some_places(sample, random);
        let layers: Vec<i64> = (0..sample.lengths.len() as i64).collect();
        let feeds = of.replacing(&[("layer", layers)], &places);
        let logits = replaced.one(&of.machine, &feeds, "logits")?;
        let mut edits = Edits::new();
        for (row, entry) in graph.layers("residual")?.into_iter().enumerate().take(sample.lengths.len()) {
            let (places, length) = (&places, sample.lengths[row]);
            let edit = move |entries: &ArrayD<f64>| {
                let mut entries = entries.clone();
                let mut values = entries.index_axis_mut(Axis(0), row);
                let own = values.slice_axis(Axis(0), Slice::from(..length));
                if let Some(mean) = own.mean_axis(Axis(0)) {
                    let meant = values.outer_iter_mut().enumerate().filter(|(place, _)| places[[row, *place]] != 0);
                    meant.for_each(|(_, mut value)| value.assign(&mean));
                }
                entries
            };
            edits.insert(entry, Box::new(edit));
        }
        let score = graph.edited(&of.machine, &of.by_layer, &[graph.output("score")?], &edits)?.remove(0);
        self.checks.push(of.replacement(
            "residual replaced",
            "logits of forward_residual.onnx against a forward pass in which a layer's entry is edited, in double precision",
            &logits,
            &score,
        ));
        self.expect_logits(of, Graph::ForwardResidual, replaced, &feeds, logits)
    }

    fn score_gradient(&mut self, of: &Of, graph: &Exact, random: &mut ChaCha8Rng) -> Result<(), VerifyError> {
        let names = ["scores", "score_gradient", "attention_gradient"];
        let found = of.computed(graph, &names)?;
        // What the scores make of attention.
        let layers = of.evidence.moved.attention.iter().map(|weights| weights.real().ok());
        let deviations = found[0].outer_iter().zip(layers).map(|(scores, weights)| match weights {
            Some(weights) if weights.len() == scores.len() => {
                let own = softmax(&scores.to_owned(), scores.ndim() - 1);
                largest(own.iter().zip(weights).map(|(a, b)| (a - b).abs()))
            }
            _ => f64::NAN,
        });
        let same = found[0].len_of(Axis(0)) == of.evidence.moved.attention.len();
        self.checks.push(Check {
            name: "attention scores",
            description: "softmax of the scores of score_gradient.onnx against gradient.onnx's, in double precision",
            measured: if same { largest(deviations) } else { f64::NAN },
            tolerance: of.evidence.exact(),
            advice: FAULT,
        });
        // Scores and weights of all layers move by themselves; the score moves by the sum of it all.
        let sites = graph.sites()?;
        let weights = sites.attention.clone();
        let steps = graph.layers("scores")?;
        let mut expected = (0.0, 0.0);
        let mut beginnings = Beginnings::new();
        for (steps, gradients) in [(steps, &found[1]), (weights, &found[2])] {
            for (step, gradient) in steps.into_iter().zip(gradients.outer_iter()) {
                let moves = movement(&gradient.to_owned(), random);
                let (sum, terms) = inner(&gradient.to_owned(), &moves);
                (expected.0, expected.1) = (expected.0 + sum, expected.1 + terms);
                beginnings.insert(step, vec![moves]);
            }
        }
        let moved = graph.moved(&of.machine, &of.feeds, &sites, &beginnings, "score", &of.knobs)?;
        self.checks.push(Check {
            name: "score gradient",
            description: "gradients of attention scores and weights against the derivative by forward mode, in double precision",
            measured: ratio((moved.output[0].sum() - expected.0).abs(), expected.1),
            tolerance: DERIVATIVE + of.evidence.exact(),
            advice: FAULT,
        });
        let expected = of.with_single(graph, &of.feeds, &names, found)?;
        self.expected.push(Expected { graph: Graph::ScoreGradient, inputs: of.gradient_inputs(), outputs: expected });
        Ok(())
    }

    /// Scores of one row of one head at the row's mean, against the same steps with those scores given.
    fn forward_scores(
        &mut self,
        of: &Of,
        graph: &Exact,
        replaced: &Exact,
        random: &mut ChaCha8Rng,
    ) -> Result<(), VerifyError> {
        let sample = &of.sample;
        let rows = sample.lengths.len();
        let (heads, width) = (of.bundle.manifest.dimensions.heads, sample.width());
        let layers: Vec<i64> = (0..rows as i64).collect();
        let head: Vec<i64> = sample.lengths.iter().map(|_| random.random_range(0..heads as i64)).collect();
        // The row of the scored position is one that matters in any layer.
        let query = sample.position.to_vec();
        let places = some_places(sample, random);
        let feeds = of.replacing(&[("layer", layers), ("head", head.clone()), ("query", query.clone())], &places);
        let logits = replaced.one(&of.machine, &feeds, "logits")?;
        let mut edits = Edits::new();
        for (row, step) in graph.layers("scores")?.into_iter().enumerate().take(rows) {
            let (places, head, query) = (&places, head[row] as usize, query[row] as usize);
            let edit = move |scores: &ArrayD<f64>| {
                let shape = scores.raw_dim();
                let by_heads = scores.clone().into_shape_with_order(IxDyn(&[rows, heads, width, width]));
                let Ok(mut by_heads) = by_heads else { return scores.clone() };
                let at = |key: usize| [row, head, query, key];
                let keys: Vec<usize> = (0..width).filter(|&key| by_heads[at(key)] > MASKED_BELOW).collect();
                let mean = keys.iter().map(|&key| by_heads[at(key)]).sum::<f64>() / keys.len().max(1) as f64;
                keys.iter().filter(|&&key| places[[row, key]] != 0).for_each(|&key| by_heads[at(key)] = mean);
                by_heads.into_shape_with_order(shape).unwrap_or_else(|_| scores.clone())
            };
            edits.insert(step, Box::new(edit));
        }
        let score = graph.edited(&of.machine, &of.by_layer, &[graph.output("score")?], &edits)?.remove(0);
        self.checks.push(of.replacement(
            "scores replaced",
            "logits of forward_scores.onnx against a forward pass in which a layer's scores are edited, in double precision",
            &logits,
            &score,
        ));
        self.expect_logits(of, Graph::ForwardScores, replaced, &feeds, logits)
    }

    /// A layer without some values, against the same steps with no attention to their places.
    fn value_zeroing(
        &mut self,
        of: &Of,
        graph: &Exact,
        zeroed: &Exact,
        random: &mut ChaCha8Rng,
    ) -> Result<(), VerifyError> {
        let sample = &of.sample;
        let places = some_places(sample, random);
        let feeds = of.replacing(&[], &places);
        let distance = zeroed.one(&of.machine, &feeds, "distance")?;
        // Of the last layer's end the other graph has no step of its own.
        let entries = graph.layers("residual")?;
        let mut edits = Edits::new();
        for (row, weights) in graph.sites()?.attention.into_iter().enumerate().take(sample.lengths.len()) {
            let places = &places;
            let edit = move |attention: &ArrayD<f64>| {
                let mut attention = attention.clone();
                let mut rows = attention.index_axis_mut(Axis(0), row);
                let last = Axis(rows.ndim() - 1);
                let meant = rows.axis_iter_mut(last).enumerate().filter(|(place, _)| places[[row, *place]] != 0);
                meant.for_each(|(_, mut column)| column.fill(0.0));
                attention
            };
            edits.insert(weights, Box::new(edit));
        }
        let ends = entries.get(1..).unwrap_or_default();
        let whole = graph.edited(&of.machine, &of.by_layer, ends, &Edits::new())?;
        let without = graph.edited(&of.machine, &of.by_layer, ends, &edits)?;
        let deviations = whole.iter().zip(&without).enumerate().take(sample.lengths.len()).flat_map(|(row, (a, b))| {
            let of_row = |array: &ArrayD<f64>| array.index_axis(Axis(0), row).to_owned();
            let expected = turned(&of_row(a), &of_row(b));
            let found = distance.index_axis(Axis(0), row).index_axis(Axis(0), row).to_owned();
            let pairs: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).collect();
            pairs.into_iter().take(sample.lengths[row])
        });
        self.checks.push(Check {
            name: "value zeroing",
            description: "value_zeroing.onnx against layers in which columns of attention are edited, in double precision",
            measured: largest(deviations),
            tolerance: of.evidence.exact(),
            advice: FAULT,
        });
        self.expected.push(Expected {
            graph: Graph::ValueZeroing,
            inputs: inputs(&feeds, &["input_ids", "attention_mask", "places"]),
            outputs: of.with_single(zeroed, &feeds, &["distance"], vec![distance])?,
        });
        Ok(())
    }

    fn expect_logits(
        &mut self,
        of: &Of,
        graph: Graph,
        exact: &Exact,
        feeds: &Feeds,
        logits: ArrayD<f64>,
    ) -> Result<(), VerifyError> {
        let outputs = of.with_single(exact, feeds, &["logits"], vec![logits])?;
        self.expected.push(Expected { graph, inputs: inputs(feeds, graph.inputs()), outputs });
        Ok(())
    }

    /// What the runtime computes, what it should, and how far single precision is off.
    pub fn runtime(&self, model: &mut Model) -> Result<Vec<Computed>, VerifyError> {
        let mut all = Vec::new();
        for Expected { graph, inputs, outputs } in &self.expected {
            let mut found = model.load(*graph)?.run(inputs)?;
            // Each holds weights of its own where they are prepacked.
            model.unload(*graph);
            for (name, expected, single) in outputs {
                let array = found.take_f32(name, expected.shape())?.mapv(f64::from);
                let array = if *name == "scores" { array.mapv(unmasked) } else { array };
                all.push((array, expected.clone(), *single));
            }
        }
        Ok(all)
    }
}

/// What everything is computed with.
pub(super) struct Of<'a> {
    pub bundle: &'a OpenedBundle,
    weights: &'a Arc<WeightFile>,
    pub evidence: &'a Evidence,
    pub machine: Machine<'a>,
    /// Of the graphs that differentiate.
    pub feeds: Feeds,
    pub knobs: [Knobs; 1],
    /// A prompt for each layer, in which something is replaced there, and the same as feeds.
    sample: Sample,
    pub by_layer: Feeds,
}

impl Of<'_> {
    fn read(&self, graph: Graph) -> Result<Option<Exact>, VerifyError> {
        let there = self.bundle.has(graph.file());
        there.then(|| Exact::read(self.bundle, graph, self.weights)).transpose()
    }

    fn computed(&self, graph: &Exact, outputs: &[&str]) -> Result<Vec<ArrayD<f64>>, VerifyError> {
        self.outputs(graph, &self.feeds, outputs)
    }

    /// The named outputs for some inputs.
    pub fn outputs(&self, graph: &Exact, feeds: &Feeds, names: &[&str]) -> Result<Vec<ArrayD<f64>>, VerifyError> {
        let wanted = names.iter().map(|name| graph.output(name)).collect::<Result<Vec<usize>, _>>()?;
        graph.edited(&self.machine, feeds, &wanted, &Edits::new())
    }

    /// Outputs as they should be, each with how far single precision is off.
    pub fn with_single(
        &self,
        graph: &Exact,
        feeds: &Feeds,
        names: &[&'static str],
        exact: Vec<ArrayD<f64>>,
    ) -> Result<Vec<Output>, VerifyError> {
        let wanted = names.iter().map(|name| graph.output(name)).collect::<Result<Vec<usize>, _>>()?;
        let plain = Machine { single: true, ..self.machine };
        let rounded = graph.edited(&plain, feeds, &wanted, &Edits::new())?;
        let outputs = names.iter().zip(exact).zip(rounded).map(|((&name, exact), rounded)| {
            let clean = |array: ArrayD<f64>| if name == "scores" { array.mapv(unmasked) } else { array };
            let (exact, rounded) = (clean(exact), clean(rounded));
            let single = row_deviation(&rounded, &exact);
            (name, exact, single)
        });
        Ok(outputs.collect())
    }

    /// The inputs of a graph that replaces something: the prompts, numbers of each row, and places.
    fn replacing(&self, numbers: &[(&'static str, Vec<i64>)], places: &Array2<i64>) -> Feeds {
        let mut feeds = prompts(&self.sample);
        for (name, numbers) in numbers {
            feeds.insert(name, one(Value::Whole(ndarray::arr1(numbers).into_dyn())));
        }
        feeds.insert("places", one(Value::Whole(places.clone().into_dyn())));
        feeds
    }

    /// The inputs of the graphs that differentiate, for the runtime.
    fn gradient_inputs(&self) -> Vec<(&'static str, Tensor)> {
        let names: Vec<&'static str> = Graph::Gradient.inputs().iter().chain(&Knobs::NAMES).copied().collect();
        inputs(&self.feeds, &names)
    }

    /// Logits of a graph that replaces something, against a score with the same replaced.
    fn replacement(
        &self,
        name: &'static str,
        description: &'static str,
        logits: &ArrayD<f64>,
        score: &ArrayD<f64>,
    ) -> Check {
        let Sample { target, contrast, .. } = &self.sample;
        let logit = |row: usize, id: i64| logits.get(IxDyn(&[row, id as usize])).copied().unwrap_or(f64::NAN);
        let deviations = score.iter().zip(logits.outer_iter()).enumerate().map(|(row, (score, logits))| {
            let found = logit(row, target[row]) - f64::from(CONTRAST_WEIGHT) * logit(row, contrast[row]);
            ratio((found - score).abs(), logits.iter().map(|x| x * x).sum::<f64>().sqrt())
        });
        let tolerance = self.evidence.exact();
        Check { name, description, measured: largest(deviations), tolerance, advice: FAULT }
    }
}

/// About half of the places of each prompt, as an input: 1 for those that are meant.
fn some_places(sample: &Sample, random: &mut ChaCha8Rng) -> Array2<i64> {
    let mut places = Array2::zeros(sample.ids.raw_dim());
    for (mut row, &length) in places.rows_mut().into_iter().zip(&sample.lengths) {
        row.iter_mut().take(length).for_each(|place| *place = i64::from(random.random_bool(0.5)));
        row[random.random_range(0..length)] = 1;
    }
    places
}

/// A random movement of at most the size of a score's unit, to which large and small elements of a gradient contribute alike.
/// Where attention is saturated, gradients are of any size, and what moved by their inverse would drown in rounding.
pub(super) fn movement(gradient: &ArrayD<f64>, random: &mut ChaCha8Rng) -> ArrayD<f64> {
    const FLOOR: f64 = 1e-3;
    let most = gradient.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let floor = if most > 0.0 { FLOOR * most } else { 1.0 };
    let mut drawn = || if random.random_bool(0.5) { 1.0 } else { -1.0 } * random.random_range(0.5..1.5);
    gradient.mapv(|slope| drawn() * floor / slope.abs().max(floor))
}

/// `1 - cos` over the last axis, as half the square of the distance between directions; that of a vector of zeros is zeros.
fn turned(a: &ArrayD<f64>, b: &ArrayD<f64>) -> ArrayD<f64> {
    let last = Axis(a.ndim() - 1);
    let direction = |x: &ArrayD<f64>| {
        let length = (x * x).sum_axis(last).mapv(|square| if square > 0.0 { square.sqrt() } else { 1.0 });
        x / &length.insert_axis(last)
    };
    let difference = direction(a) - direction(b);
    (&difference * &difference).sum_axis(last) / 2.0
}

/// Masks are of any size, or infinite.
fn unmasked(score: f64) -> f64 {
    if score > MASKED_BELOW { score } else { 0.0 }
}

/// Feeds as the runtime takes them, f32.
pub(super) fn inputs(feeds: &Feeds, names: &[&'static str]) -> Vec<(&'static str, Tensor)> {
    let tensor = |value: &Shared| match &**value {
        Value::Real(array) => Some(array.mapv(|x| x as f32).into()),
        Value::Whole(array) => Some(array.clone().into()),
        Value::Truth(array) => Some(array.clone().into()),
        Value::Stored(_) => None,
    };
    let fed = names.iter().filter_map(|&name| Some((name, tensor(feeds.get(name)?.first()?)?)));
    fed.collect()
}
