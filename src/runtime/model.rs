//! A bundle's graphs as functions of rows.

use std::collections::HashMap;
use std::iter::Sum;
use std::ops::{Range, Sub};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ndarray::{Array1, Array2, Array3, Array4, ArrayD, ArrayViewMut1, Axis, Slice, arr1, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{Bounds, batches};
use super::error::{InputError, RuntimeError};
use super::external;
use super::fewer::in_halves;
use super::inside;
use super::library::Runtime;
use super::memory::{Memory, Prepacking};
use super::not_finite::Tracing;
use super::pace::Pace;
use super::placement::Placement;
use super::prefix::{Cutting, PrefixCache, Prefixes};
use super::remembered::Remembered;
use super::reuse::Reuse;
use super::row::{Change, Prompt, Row};
use super::score::{Score, reduce};
use super::session::{Outputs, Session, SessionOptions, Tensor};
use crate::bundle::manifest::WEIGHT_FILE;
use crate::bundle::{Graph, Manifest, OpenedBundle, Opening};
use crate::device::Device;
use crate::grad::knobs::Knobs;

/// A sequence of embeddings and the score whose gradient is meant: `logit[target]`, or
/// `logit[target] - logit[contrast]`, at `position`.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientRow {
    /// `[seq, hidden]`.
    pub embeds: Array2<f32>,
    pub position: usize,
    pub target: i64,
    pub contrast: Option<i64>,
}

/// A score and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    pub score: f32,
    /// `[seq, hidden]`, with respect to the embeddings.
    pub gradient: Array2<f32>,
}

/// Rows that were run, and rows that did not have to be because the same row was run before. Their sum was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub forward_rows: u64,
    pub forward_rows_saved: u64,
    /// Tokens of rows that were run but for these, whose keys and values were at hand.
    pub prefix_tokens_saved: u64,
    /// Tokens whose keys and values were computed for that.
    pub prefix_tokens: u64,
    pub gradient_rows: u64,
    pub gradient_rows_saved: u64,
    pub embed_rows: u64,
    pub attention_rows: u64,
    pub attention_rows_saved: u64,
}

impl Sum for Counters {
    fn sum<I: Iterator<Item = Counters>>(all: I) -> Counters {
        all.fold(Counters::default(), |sum, next| Counters {
            forward_rows: sum.forward_rows + next.forward_rows,
            forward_rows_saved: sum.forward_rows_saved + next.forward_rows_saved,
            prefix_tokens_saved: sum.prefix_tokens_saved + next.prefix_tokens_saved,
            prefix_tokens: sum.prefix_tokens + next.prefix_tokens,
            gradient_rows: sum.gradient_rows + next.gradient_rows,
            gradient_rows_saved: sum.gradient_rows_saved + next.gradient_rows_saved,
            embed_rows: sum.embed_rows + next.embed_rows,
            attention_rows: sum.attention_rows + next.attention_rows,
            attention_rows_saved: sum.attention_rows_saved + next.attention_rows_saved,
        })
    }
}

impl Sub for Counters {
    type Output = Counters;

    /// What was counted since `earlier`.
    fn sub(self, earlier: Counters) -> Counters {
        Counters {
            forward_rows: self.forward_rows.saturating_sub(earlier.forward_rows),
            forward_rows_saved: self.forward_rows_saved.saturating_sub(earlier.forward_rows_saved),
            prefix_tokens_saved: self.prefix_tokens_saved.saturating_sub(earlier.prefix_tokens_saved),
            prefix_tokens: self.prefix_tokens.saturating_sub(earlier.prefix_tokens),
            gradient_rows: self.gradient_rows.saturating_sub(earlier.gradient_rows),
            gradient_rows_saved: self.gradient_rows_saved.saturating_sub(earlier.gradient_rows_saved),
            embed_rows: self.embed_rows.saturating_sub(earlier.embed_rows),
            attention_rows: self.attention_rows.saturating_sub(earlier.attention_rows),
            attention_rows_saved: self.attention_rows_saved.saturating_sub(earlier.attention_rows_saved),
        }
    }
}

/// A bundle, ready to be asked. A graph is loaded when it is first needed.
///
/// Rows run in batches of one length each (or, with [`SessionOptions::padding`], padded on the right to the longest of
/// the batch), and results come in the order asked. On the CPU the scores of a row do not hang on what else is in a batch
/// of one length, to the bit, so neither reuse nor an interruption changes the numbers of a run. Padding can change last
/// digits: some products are summed in an order that hangs on the length. So can the batch for gradients; of them only what was
/// run by itself is remembered from one call to the next, so the same calls give the same numbers.
#[derive(Debug)]
pub struct Model {
    pub(super) runtime: Runtime,
    bundle: Arc<OpenedBundle>,
    pub(super) options: SessionOptions,
    prepacking: Prepacking,
    sessions: HashMap<Graph, Session>,
    /// Of all graphs that were ever loaded.
    placements: HashMap<Graph, Placement>,
    reuse: Reuse,
    remembered: Remembered,
    pace: Pace,
    /// Which rows are cut, where any is.
    pub(super) cutting: Option<Cutting>,
    pub(super) prefixes: Prefixes,
    /// Tokens of a batch of scores, once one did not fit into memory.
    pub(super) most_tokens: usize,
    pub(super) counters: Counters,
    pub(super) tracing: Tracing,
}

/// Bytes of weights up to which a model is small: a row's products are then so short that threads inside an operator wait for each other
/// most of the time, and as many copies of the weights fit into the processor's caches.
const SMALL_WEIGHTS: u64 = 16 << 20;

/// Outputs of one batch are kept below this many numbers (256 MiB).
pub(super) const OUTPUT_LIMIT: usize = 64 << 20;

impl Model {
    /// Opens a bundle, all of whose files are read to see that they are the ones that were baked. No graph is loaded yet.
    ///
    /// # Errors
    /// [`RuntimeError::Opening`] for a folder that is no sound bundle, [`RuntimeError::NoProvider`].
    pub fn open(runtime: &Runtime, bundle: &Path, options: &SessionOptions) -> Result<Model, RuntimeError> {
        runtime.check_device(options.device)?;
        Model::of_bundle(runtime, Arc::new(OpenedBundle::open(bundle, &Opening::default())?), options)
    }

    /// As [`Model::open`], of a bundle that was opened before.
    ///
    /// # Errors
    /// [`RuntimeError::NoProvider`].
    pub fn of_bundle(
        runtime: &Runtime,
        bundle: Arc<OpenedBundle>,
        options: &SessionOptions,
    ) -> Result<Model, RuntimeError> {
        runtime.check_device(options.device)?;
        let prepacking = Model::choose_prepacking(&bundle, options, 1);
        let cutting = Cutting::of(&bundle.manifest, options.prefix_cache, options.device);
        tracing::debug!(bundle = %bundle.path().display(), %prepacking, "opened a bundle");
        Ok(Model {
            runtime: runtime.clone(),
            bundle,
            options: SessionOptions { prepacking: Some(prepacking.on), ..options.clone() },
            prepacking,
            sessions: HashMap::new(),
            placements: HashMap::new(),
            reuse: Reuse::new(options.reuse_bytes),
            remembered: Remembered::new(options.reuse_bytes / 8),
            // On other devices last digits may hang on the batch.
            pace: Pace::new(options.batch_tokens, options.device == Device::Cpu && !options.padding),
            cutting,
            prefixes: Prefixes::default(),
            most_tokens: usize::MAX,
            counters: Counters::default(),
            tracing: Tracing::default(),
        })
    }

    /// Whether the weights of a bundle are prepacked: as asked for, or where they fit into this machine's memory as often
    /// as models are open side by side.
    pub fn choose_prepacking(bundle: &OpenedBundle, options: &SessionOptions, models: usize) -> Prepacking {
        // The embedding graph gathers from its table and has no products to pack weights for.
        let mut packing = vec![Graph::Forward, Graph::Gradient, Graph::Attention];
        packing.extend((options.prefix_cache != PrefixCache::Never).then_some(Graph::ForwardCached));
        let sessions = packing.iter().filter(|graph| bundle.has(graph.file())).count() as u64;
        let sessions = sessions.saturating_mul(models as u64);
        Prepacking::choose(options.prepacking, bundle.wide_weights(), sessions, Memory::of_machine())
    }

    /// Whether a row of a bundle's model is done sooner by one thread than by several.
    pub fn is_small(bundle: &OpenedBundle) -> bool {
        bundle.wide_weights() <= SMALL_WEIGHTS
    }

    pub fn manifest(&self) -> &Manifest {
        &self.bundle.manifest
    }

    /// That the weights, which stay mapped, are still what was baked. They are read only where something happened to the
    /// file since the bundle was opened, so this may be asked after every batch.
    ///
    /// # Errors
    /// [`RuntimeError::Opening`]: numbers that came since it was last asked may be wrong.
    pub fn check_weights(&self) -> Result<(), RuntimeError> {
        Ok(self.bundle.check_unchanged(WEIGHT_FILE)?)
    }

    /// What it was opened from.
    pub fn bundle(&self) -> &Arc<OpenedBundle> {
        &self.bundle
    }

    pub fn device(&self) -> Device {
        self.options.device
    }

    /// Threads inside one operator, at most.
    pub fn threads(&self) -> usize {
        self.options.thread_count()
    }

    /// Upper bound of rows times sequence length in one batch.
    pub fn batch_tokens(&self) -> usize {
        self.options.batch_tokens
    }

    /// Bytes that a single row may take, where that was asked for.
    pub(super) fn row_limit(&self) -> Option<u64> {
        self.options.row_bytes
    }

    /// Whether weights are prepacked, and why.
    pub fn prepacking(&self) -> &Prepacking {
        &self.prepacking
    }

    /// Where it runs, in one line for people.
    pub fn describe(&self) -> String {
        format!(
            "{}, {} threads, ONNX Runtime {}, prepacking {}",
            self.device(),
            self.threads(),
            self.runtime.version(),
            self.prepacking
        )
    }

    /// Which nodes of the graphs that were loaded ran where, in their order; nothing on the CPU, where all did.
    pub fn placements(&self) -> Vec<(Graph, &Placement)> {
        let known = |graph| Some((graph, self.placements.get(&graph)?));
        Graph::ALL.into_iter().filter_map(known).filter(|(_, placement)| !placement.is_empty()).collect()
    }

    /// Rows run and rows saved since the model was opened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Forgets the scores and gradients that were remembered, and the keys and values of prompts.
    pub fn forget(&mut self) {
        self.reuse.clear();
        self.remembered.clear();
        self.prefixes.clear();
    }

    /// The embeddings of a sequence, `[seq, hidden]`.
    ///
    /// # Errors
    /// [`RuntimeError::Input`] for a sequence that the model has no embeddings for; those of running a graph.
    pub fn embed(&mut self, input_ids: &[i64]) -> Result<Array2<f32>, RuntimeError> {
        let mut embeds = self.embed_rows(&[input_ids])?;
        Ok(embeds.pop().unwrap_or_default())
    }

    /// The embeddings of sequences, `[seq, hidden]` each.
    ///
    /// # Errors
    /// As [`Model::embed`].
    pub fn embed_rows<R: AsRef<[i64]>>(&mut self, rows: &[R]) -> Result<Vec<Array2<f32>>, RuntimeError> {
        let ids: Vec<&[i64]> = rows.iter().map(AsRef::as_ref).collect();
        for (row, ids) in ids.iter().enumerate() {
            self.check_ids(ids).map_err(|error| RuntimeError::Input { row, error })?;
        }
        let hidden = self.manifest().dimensions.hidden;
        let lengths: Vec<usize> = ids.iter().map(|ids| ids.len()).collect();
        let bounds = self.bounds();
        self.in_batches(Graph::Embed, &lengths, bounds, |model, rows, longest| {
            let ids: Vec<&[i64]> = rows.iter().map(|&row| ids[row]).collect();
            let mut outputs = model.run(Graph::Embed, &[("input_ids", padded(&ids, longest).into())])?;
            model.counters.embed_rows += rows.len() as u64;
            let embeds = outputs.take_f32("inputs_embeds", &[ids.len(), longest, hidden])?;
            Ok(cropped(&embeds, &ids))
        })
    }

    /// The scores of rows: the logits at each row's position, reduced to those of `tokens`, the logarithm of the sum of
    /// their exponentials, and the highest. A row that was scored before, in this call or an earlier one, is not run
    /// again.
    ///
    /// # Errors
    /// [`RuntimeError::Input`] names the first row that cannot be run, and nothing is run then; those of running a graph.
    pub fn scores(&mut self, rows: &[Row], tokens: &[i64]) -> Result<Vec<Score>, RuntimeError> {
        self.check_rows(rows)?;
        for &id in tokens {
            self.check_wanted("wanted", id).map_err(|error| RuntimeError::Input { row: 0, error })?;
        }
        let mut scores: Vec<Option<Score>> = rows.iter().map(|row| self.reuse.get(row, tokens)).collect();
        let missing: Vec<usize> = (0..rows.len()).filter(|&row| scores[row].is_none()).collect();
        let (distinct, copy_of) = distinct(missing.iter().map(|&row| &rows[row]));
        let found = self.forward(&distinct, |model, row, logits| {
            let (log_sum_exp, argmax) = reduce(logits);
            let kept = model.reuse.worth_keeping(row, tokens).into_iter().map(|id| (id, logits[id as usize])).collect();
            model.reuse.insert(row, kept, log_sum_exp, argmax);
            Score { logits: tokens.iter().map(|&id| logits[id as usize]).collect(), log_sum_exp, argmax }
        })?;
        for (&row, copy) in missing.iter().zip(copy_of) {
            scores[row] = Some(found[copy].clone());
        }
        self.counters.forward_rows_saved += (rows.len() - distinct.len()) as u64;
        Ok(scores.into_iter().flatten().collect())
    }

    /// The logits of rows over the whole vocabulary, `[vocab]` each. Equal rows of one call are run once; nothing is
    /// remembered from one call to the next, since a row may take a megabyte.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn logits(&mut self, rows: &[Row]) -> Result<Vec<Arc<[f32]>>, RuntimeError> {
        self.check_rows(rows)?;
        let (distinct, copy_of) = distinct(rows.iter());
        let found = self.forward(&distinct, |_, _, logits| Arc::<[f32]>::from(logits))?;
        self.counters.forward_rows_saved += (rows.len() - distinct.len()) as u64;
        Ok(copy_of.into_iter().map(|copy| Arc::clone(&found[copy])).collect())
    }

    /// Scores and their gradients with respect to the embeddings. Equal rows of one call are run once, and one that is the only
    /// row of its call is not run again in a later one.
    ///
    /// # Errors
    /// As [`Model::scores`].
    pub fn gradients(&mut self, rows: &[GradientRow], knobs: &Knobs) -> Result<Vec<Gradient>, RuntimeError> {
        self.gradients_by(Graph::Gradient, rows, knobs)
    }

    /// The same by a graph of gradients: [`Graph::Gradient`], or [`Graph::GradientLogProbability`], for which the score is the
    /// logarithm of the target's probability and a contrast is not heeded.
    ///
    /// # Errors
    /// As [`Model::scores`]; [`RuntimeError::Bundle`] when the bundle has no such graph.
    pub fn gradients_by(
        &mut self,
        graph: Graph,
        rows: &[GradientRow],
        knobs: &Knobs,
    ) -> Result<Vec<Gradient>, RuntimeError> {
        for (row, wanted) in rows.iter().enumerate() {
            self.check_gradient_row(wanted).map_err(|error| RuntimeError::Input { row, error })?;
        }
        let knobs = self.known_knobs(graph, knobs)?;
        if let [row] = rows
            && let Some(found) = self.remembered.get(graph, &knobs, row)
        {
            self.counters.gradient_rows_saved += 1;
            return Ok(vec![found]);
        }
        let hidden = self.manifest().dimensions.hidden;
        let (distinct, copy_of) = distinct(rows.iter().map(Bits));
        let lengths: Vec<usize> = distinct.iter().map(|row| row.0.embeds.nrows()).collect();
        let bounds = self.bounds().for_gradients(&self.manifest().dimensions);
        let found = self.in_batches(graph, &lengths, bounds, |model, rows, longest| {
            let rows: Vec<&GradientRow> = rows.iter().map(|&row| distinct[row].0).collect();
            let lengths: Vec<usize> = rows.iter().map(|row| row.embeds.nrows()).collect();
            let inputs = gradient_inputs(graph, &rows, longest, hidden, &knobs);
            let mut outputs = model.run(graph, &inputs)?;
            model.counters.gradient_rows += rows.len() as u64;
            let scores = outputs.take_f32("score", &[rows.len()])?;
            let gradients = outputs.take_f32("gradient", &[rows.len(), longest, hidden])?;
            let gradients = cropped(&gradients, &lengths);
            Ok(scores.iter().zip(gradients).map(|(&score, gradient)| Gradient { score, gradient }).collect())
        })?;
        self.counters.gradient_rows_saved += (rows.len() - distinct.len()) as u64;
        if let ([row], [found]) = (rows, &found[..]) {
            self.remembered.insert(graph, &knobs, row, found);
        }
        Ok(copy_of.into_iter().map(|copy| found[copy].clone()).collect())
    }

    /// The knobs that a gradient graph has.
    ///
    /// # Errors
    /// [`RuntimeError::Bundle`] where it lacks one that would be needed.
    pub(super) fn known_knobs(
        &mut self,
        graph: Graph,
        knobs: &Knobs,
    ) -> Result<Vec<(&'static str, f32)>, RuntimeError> {
        let session = self.load(graph)?;
        let names: Vec<String> = session.input_names().map(str::to_owned).collect();
        let known = knobs.known_to(|name| names.iter().any(|found| found == name));
        known.map_err(|name| RuntimeError::Bundle {
            path: self.bundle.path().join(graph.file()),
            problem: format!("it was baked before there was the knob `{name}`; bake the model anew"),
        })
    }

    /// The attention weights of rows, `[layers, heads, seq, seq]` each; positions play no part, and of changes only tokens. Equal sequences of one
    /// call are run once.
    ///
    /// # Errors
    /// As [`Model::scores`]; [`RuntimeError::Bundle`] when the bundle has no attention graph.
    pub fn attention(&mut self, rows: &[Row]) -> Result<Vec<Array4<f32>>, RuntimeError> {
        self.check_rows(rows)?;
        let (layers, heads) = (self.manifest().dimensions.layers, self.manifest().dimensions.heads);
        let all: Vec<Vec<i64>> = rows.iter().map(Row::ids).collect();
        let (distinct, copy_of) = distinct(all.iter().map(Vec::as_slice));
        let lengths: Vec<usize> = distinct.iter().map(|ids| ids.len()).collect();
        let bounds = Bounds { squares: OUTPUT_LIMIT / layers.saturating_mul(heads).max(1), ..self.bounds() };
        let found = self.in_batches(Graph::Attention, &lengths, bounds, |model, rows, longest| {
            let ids: Vec<&[i64]> = rows.iter().map(|&row| distinct[row]).collect();
            let inputs = [
                ("input_ids", padded(&ids, longest).into()),
                ("attention_mask", mask(&lengths_of(&ids), longest).into()),
            ];
            let mut outputs = model.run(Graph::Attention, &inputs)?;
            model.counters.attention_rows += ids.len() as u64;
            let weights = outputs.take_f32("attention", &[layers, ids.len(), heads, longest, longest])?;
            if ids.len() == 1 {
                // Nothing to cut out, and so no copy of what may be the largest array of a run.
                let own = weights.index_axis_move(Axis(1), 0).into_dimensionality();
                return Ok(own.into_iter().collect());
            }
            Ok(ids
                .iter()
                .enumerate()
                .map(|(row, ids)| {
                    let length = ids.len();
                    weights.slice(s![.., row, .., ..length, ..length]).to_owned()
                })
                .collect())
        })?;
        self.counters.attention_rows_saved += (rows.len() - distinct.len()) as u64;
        if distinct.len() == rows.len() {
            // All are their own first.
            return Ok(found);
        }
        Ok(copy_of.into_iter().map(|copy| found[copy].clone()).collect())
    }

    /// Of the attention weights of a row, averaged over heads, joined with the residual stream and multiplied through the layers,
    /// the row of its position, `[seq]`; of changes only tokens play a part.
    ///
    /// # Errors
    /// As [`Model::scores`]; [`RuntimeError::Bundle`] when the bundle has no such graph.
    pub fn attention_rollout(&mut self, row: &Row) -> Result<Array1<f32>, RuntimeError> {
        self.check_rows(std::slice::from_ref(row))?;
        let ids = row.ids();
        let length = ids.len();
        let inputs = [
            ("input_ids", padded(&[&ids], length).into()),
            ("attention_mask", mask(&[length], length).into()),
            ("position", arr1(&[row.position() as i64]).into()),
        ];
        let found = self.fitting(Graph::AttentionRollout, &[0], length, true, &mut |model, _| {
            model.run(Graph::AttentionRollout, &inputs)?.take_f32("rollout", &[1, length]).map(|found| vec![found])
        })?;
        self.counters.attention_rows += 1;
        Ok(found.into_iter().flatten().collect())
    }

    /// Loads a graph now rather than when it is first needed.
    ///
    /// # Errors
    /// [`RuntimeError::Bundle`] when it is missing or looks for weights elsewhere; those of [`Session::open`].
    pub fn load(&mut self, graph: Graph) -> Result<&mut Session, RuntimeError> {
        if !self.sessions.contains_key(&graph) {
            let opened = match self.opened(graph) {
                Err(error) if error.lacked_memory_to_load() && !self.sessions.is_empty() => {
                    self.make_room();
                    self.opened(graph)
                }
                opened => opened,
            };
            let session = opened?;
            self.placements.insert(graph, session.placement().clone());
            self.sessions.insert(graph, session);
        }
        self.sessions.get_mut(&graph).ok_or_else(|| RuntimeError::Bundle {
            path: self.bundle.path().join(graph.file()),
            problem: "this bundle has no such graph".to_owned(),
        })
    }

    fn opened(&self, graph: Graph) -> Result<Session, RuntimeError> {
        let file = self.bundle.path().join(graph.file());
        let problem = |problem: String| RuntimeError::Bundle { path: file.clone(), problem };
        if !self.bundle.has(graph.file()) {
            return Err(problem("this bundle has no such graph".to_owned()));
        }
        external::check(&self.bundle.read(graph.file())?, self.bundle.weights()).map_err(problem)?;
        let session = Session::open(&self.runtime, &file, &self.options_for(graph))?;
        // What ONNX Runtime has read is what was checked.
        self.bundle.check_unchanged(graph.file())?;
        self.bundle.check_unchanged(WEIGHT_FILE)?;
        let names: Vec<&str> = session.input_names().collect();
        // A knob that came later may be missing; one that this program does not know cannot be fed.
        let knobs: &[&str] = if graph.has_knobs() { &Knobs::NAMES } else { &[] };
        let lacks = graph.inputs().iter().any(|name| !names.contains(name));
        if lacks || names.iter().any(|name| !graph.inputs().contains(name) && !knobs.contains(name)) {
            let expected: Vec<&str> = graph.inputs().iter().chain(knobs).copied().collect();
            return Err(problem(format!("its inputs are {}; expected {}", names.join(", "), expected.join(", "))));
        }
        Ok(session)
    }

    /// Where the number of threads is left open, a small model's gradients have one: few rows run together. Batches of scores have all. No
    /// number hangs on it.
    fn options_for(&self, graph: Graph) -> SessionOptions {
        let alone = self.options.threads.is_none() && self.device() == Device::Cpu && graph.has_knobs();
        let threads = if alone && Model::is_small(&self.bundle) { Some(1) } else { self.options.threads };
        SessionOptions { threads, ..self.options.clone() }
    }

    /// Lets go of a graph, and of what it holds; it is loaded again when it is next needed.
    pub fn unload(&mut self, graph: Graph) {
        self.sessions.remove(&graph);
    }

    /// Lets go of all that can be had again: graphs, with what their last runs left allocated, and the keys and values of
    /// prompts.
    pub(super) fn make_room(&mut self) {
        self.sessions.clear();
        self.prefixes.clear();
        self.tracing.clear();
    }

    /// Whether a graph has been loaded.
    pub fn is_loaded(&self, graph: Graph) -> bool {
        self.sessions.contains_key(&graph)
    }

    pub(super) fn run(&mut self, graph: Graph, inputs: &[(&str, Tensor)]) -> Result<Outputs, RuntimeError> {
        let outputs = self.load(graph)?.run(inputs)?;
        self.look_at(graph, inputs, &outputs);
        Ok(outputs)
    }

    /// As [`Model::run`], of some outputs.
    pub(super) fn run_for(
        &mut self,
        graph: Graph,
        inputs: &[(&str, Tensor)],
        outputs: &[&str],
    ) -> Result<Outputs, RuntimeError> {
        let found = self.load(graph)?.run_for(inputs, |name| outputs.contains(&name))?;
        self.look_at(graph, inputs, &found);
        Ok(found)
    }

    /// A product of one row with weights that are not packed takes another path through the runtime's kernels, and ends in
    /// other last digits, than the same row among others. With a twin it takes the same.
    pub(super) fn with_twin<'r>(&self, rows: &[&'r Row]) -> Vec<&'r Row> {
        if self.never_alone() && rows.len() == 1 { rows.repeat(2) } else { rows.to_vec() }
    }

    /// Whether a single row of scores needs a twin.
    pub(super) fn never_alone(&self) -> bool {
        !self.prepacking.on && self.device() == Device::Cpu
    }

    /// Runs the forward graphs and gives every row's logits to `keep`.
    fn forward<T>(
        &mut self,
        rows: &[&Row],
        mut keep: impl FnMut(&mut Model, &Row, &[f32]) -> T,
    ) -> Result<Vec<T>, RuntimeError> {
        let mut found: Vec<Option<T>> = rows.iter().map(|_| None).collect();
        let cuts: Vec<usize> = rows.iter().map(|row| self.cutting.map_or(0, |cutting| cutting.at(row))).collect();
        let (behind, cut): (Vec<usize>, Vec<usize>) =
            cuts.iter().copied().enumerate().filter(|(_, cut)| *cut > 0).unzip();
        let part: Vec<&Row> = behind.iter().map(|&row| rows[row]).collect();
        let results = self.forward_behind(&part, &cut, &mut keep)?;
        behind.into_iter().zip(results).for_each(|(place, result)| found[place] = Some(result));
        for graph in [Graph::Forward, Graph::ForwardEmbeds, Graph::ForwardResidual, Graph::ForwardScores] {
            let whole = |&row: &usize| cuts[row] == 0 && rows[row].graph() == graph;
            let places: Vec<usize> = (0..rows.len()).filter(whole).collect();
            let part: Vec<&Row> = places.iter().map(|&row| rows[row]).collect();
            let results = self.forward_from(graph, &part, &mut keep)?;
            places.into_iter().zip(results).for_each(|(place, result)| found[place] = Some(result));
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn forward_from<T>(
        &mut self,
        graph: Graph,
        rows: &[&Row],
        keep: &mut impl FnMut(&mut Model, &Row, &[f32]) -> T,
    ) -> Result<Vec<T>, RuntimeError> {
        let vocab = self.manifest().outputs();
        let lengths: Vec<usize> = rows.iter().map(|row| row.length()).collect();
        let bounds = Bounds { rows: OUTPUT_LIMIT / vocab, ..self.bounds() };
        self.in_batches(graph, &lengths, bounds, |model, batch, longest| {
            let rows: Vec<&Row> = batch.iter().map(|&row| rows[row]).collect();
            let run = model.with_twin(&rows);
            let inputs = model.forward_inputs(graph, &run, longest)?;
            let logits = model.run(graph, &inputs)?.take_f32("logits", &[run.len(), vocab])?;
            model.counters.forward_rows += rows.len() as u64;
            // Outputs are in standard layout, so the rows lie one after another.
            let (logits, _) = logits.into_raw_vec_and_offset();
            Ok(rows.iter().zip(logits.chunks_exact(vocab)).map(|(row, logits)| keep(model, row, logits)).collect())
        })
    }

    /// What a graph of logits is asked of rows.
    pub(super) fn forward_inputs(
        &mut self,
        graph: Graph,
        rows: &[&Row],
        longest: usize,
    ) -> Result<Vec<(&'static str, Tensor)>, RuntimeError> {
        let first = match graph {
            Graph::ForwardEmbeds => ("inputs_embeds", self.embeds_with_means(rows, longest)?.into()),
            _ => ("input_ids", padded_rows(rows, longest).into()),
        };
        let positions: Array1<i64> = rows.iter().map(|row| row.position() as i64).collect();
        let mut inputs = vec![first, ("attention_mask", mask_of(rows, longest).into()), ("position", positions.into())];
        inputs.extend(inside::replacements(graph, rows, longest));
        Ok(inputs)
    }

    /// The embeddings of rows, `[rows, longest, hidden]`, with the mean of each prompt's, or thinned, where a row asks for it.
    fn embeds_with_means(&mut self, rows: &[&Row], longest: usize) -> Result<Array3<f32>, RuntimeError> {
        let hidden = self.manifest().dimensions.hidden;
        // One lookup a prompt: the mean is that of the tokens that stood there before anything was changed.
        let (prompts, prompt_of) = distinct(rows.iter().map(|row| row.prompt().ids()));
        let of_prompts = self.embed_rows(&prompts)?;
        let ids: Vec<Vec<i64>> = rows.iter().map(|row| row.ids()).collect();
        let of_rows = self.embed_rows(&ids)?;
        let mut embeds = Array3::<f32>::zeros((rows.len(), longest, hidden));
        for (((mut space, row), own), prompt) in embeds.axis_iter_mut(Axis(0)).zip(rows).zip(of_rows).zip(prompt_of) {
            space.slice_mut(s![..row.length(), ..]).assign(&own);
            let mean = of_prompts[prompt].mapv(f64::from).mean_axis(Axis(0)).unwrap_or_default().mapv(|x| x as f32);
            row.places(Change::Mean).for_each(|place| space.row_mut(place).assign(&mean));
            for &(place, change) in row.changes() {
                if let Change::Thinned { kept, draw } = change {
                    thin(space.row_mut(place as usize), place, kept, draw);
                }
            }
        }
        Ok(embeds)
    }

    /// Calls `run` with the rows of each batch and the longest length among them, and puts what it gives for each row in
    /// the order of `lengths`.
    pub(super) fn in_batches<T>(
        &mut self,
        graph: Graph,
        lengths: &[usize],
        bounds: Bounds,
        mut run: impl FnMut(&mut Model, &[usize], usize) -> Result<Vec<T>, RuntimeError>,
    ) -> Result<Vec<T>, RuntimeError> {
        let (order, ranges) = batches(lengths, bounds);
        let mut results: Vec<Option<T>> = lengths.iter().map(|_| None).collect();
        let watch = self.runtime.watch().cloned();
        watch.iter().for_each(|watch| watch.begin(lengths.len()));
        for Range { start, end } in ranges {
            if watch.as_ref().is_some_and(|watch| watch.is_interrupted()) {
                return Err(RuntimeError::Interrupted);
            }
            let batch = &order[start..end];
            let longest = batch.iter().map(|&row| lengths[row]).max().unwrap_or(0);
            let mut left = batch;
            while !left.is_empty() {
                let most = match bounds.fixed {
                    true => left.len(),
                    false => self.most_tokens.min(self.together(graph, longest)) / longest.max(1),
                };
                let (rows, rest) = left.split_at(most.clamp(1, left.len()));
                let clock = Instant::now();
                let found =
                    self.fitting(graph, rows, longest, bounds.fixed, &mut |model, rows| run(model, rows, longest))?;
                if graph == Graph::Forward {
                    self.pace.note(rows.len(), longest, clock.elapsed().as_secs_f64());
                }
                for (&row, result) in rows.iter().zip(found) {
                    results[row] = Some(result);
                }
                watch.iter().for_each(|watch| watch.advance(rows.len()));
                left = rest;
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// How many tokens of rows of one length run together.
    fn together(&self, graph: Graph, length: usize) -> usize {
        match graph {
            Graph::Forward => self.pace.size(length),
            // The same products, of rows that are changed.
            Graph::ForwardEmbeds | Graph::ForwardResidual | Graph::ForwardScores => self.tokens_together(),
            _ => usize::MAX,
        }
    }

    /// How many tokens run together by what was measured, where something was.
    pub(super) fn tokens_together(&self) -> usize {
        self.pace.chosen().unwrap_or(usize::MAX)
    }

    /// Runs rows together, or where they do not fit into memory in halves; then later batches of scores are as small. Those of
    /// gradients are tried anew: what they are made of is the plan's.
    ///
    /// # Errors
    /// [`RuntimeError::Memory`] where a row does not fit by itself; those of `run`.
    pub(super) fn fitting<T>(
        &mut self,
        graph: Graph,
        rows: &[usize],
        longest: usize,
        fixed: bool,
        run: &mut impl FnMut(&mut Model, &[usize]) -> Result<Vec<T>, RuntimeError>,
    ) -> Result<Vec<T>, RuntimeError> {
        self.check_room(graph, longest)?;
        let (found, most) = in_halves(self, rows, &Model::make_room, run).map_err(|error| match error {
            RuntimeError::Run { ref problem, .. } if error.is_out_of_memory() => {
                self.does_not_fit(graph, longest, problem.clone())
            }
            error => error,
        })?;
        if let Some(most) = most {
            tracing::warn!(rows = rows.len(), fits = most, longest, "a batch did not fit into memory");
            if !fixed {
                self.most_tokens = self.most_tokens.min(most.saturating_mul(longest));
            }
        }
        Ok(found)
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds::of_tokens(self.options.batch_tokens, self.options.padding)
    }

    pub(super) fn check_rows(&self, rows: &[Row]) -> Result<(), RuntimeError> {
        // Rows share prompts, which need to be looked at once.
        let mut sound: Option<&Prompt> = None;
        for (index, row) in rows.iter().enumerate() {
            let changed = row.changes().iter().filter_map(|&(place, change)| match change {
                Change::Token(id) => Some((place as usize, id)),
                Change::Mean
                | Change::Thinned { .. }
                | Change::Masked
                | Change::Residual { .. }
                | Change::Score { .. } => None,
            });
            let prompt = if sound == Some(row.prompt()) { Ok(()) } else { self.check_ids(row.prompt()) };
            prompt
                .and_then(|()| self.check_tokens(changed))
                .and_then(|()| check_position(row.position(), row.length()))
                .and_then(|()| inside::check(row, &self.manifest().dimensions))
                .map_err(|error| RuntimeError::Input { row: index, error })?;
            sound = Some(row.prompt());
        }
        Ok(())
    }

    pub(super) fn check_gradient_row(&self, row: &GradientRow) -> Result<(), InputError> {
        let (length, width) = row.embeds.dim();
        let expected = self.manifest().dimensions.hidden;
        if width != expected {
            return Err(InputError::Width { found: width, expected });
        }
        self.check_length(length)?;
        check_position(row.position, length)?;
        self.check_wanted("target", row.target)?;
        row.contrast.map_or(Ok(()), |id| self.check_wanted("contrast", id))
    }

    fn check_ids(&self, ids: &[i64]) -> Result<(), InputError> {
        self.check_length(ids.len())?;
        self.check_tokens(ids.iter().copied().enumerate())
    }

    fn check_tokens(&self, mut tokens: impl Iterator<Item = (usize, i64)>) -> Result<(), InputError> {
        let vocab = self.manifest().dimensions.vocab;
        match tokens.find(|&(_, id)| !in_vocabulary(id, vocab)) {
            Some((position, id)) => Err(InputError::TokenOutsideVocabulary { id, position, vocab }),
            None => Ok(()),
        }
    }

    fn check_length(&self, length: usize) -> Result<(), InputError> {
        match self.manifest().dimensions.max_positions {
            _ if length == 0 => Err(InputError::Empty),
            Some(limit) if length > limit => Err(InputError::TooLong { length, limit }),
            _ => Ok(()),
        }
    }

    fn check_wanted(&self, role: &'static str, id: i64) -> Result<(), InputError> {
        let vocab = self.manifest().outputs();
        if in_vocabulary(id, vocab) { Ok(()) } else { Err(InputError::WantedOutsideVocabulary { role, id, vocab }) }
    }
}

/// What a graph that differentiates is asked: the rows' embeddings, `[rows, longest, hidden]`, and the rest.
pub(super) fn gradient_inputs(
    graph: Graph,
    rows: &[&GradientRow],
    longest: usize,
    hidden: usize,
    knobs: &[(&'static str, f32)],
) -> Vec<(&'static str, Tensor)> {
    let mut embeds = Array3::<f32>::zeros((rows.len(), longest, hidden));
    for (mut space, row) in embeds.axis_iter_mut(Axis(0)).zip(rows) {
        space.slice_mut(s![..row.embeds.nrows(), ..]).assign(&row.embeds);
    }
    let lengths: Vec<usize> = rows.iter().map(|row| row.embeds.nrows()).collect();
    let positions: Array1<i64> = rows.iter().map(|row| row.position as i64).collect();
    let targets: Array1<i64> = rows.iter().map(|row| row.target).collect();
    let contrasts: Array1<i64> = rows.iter().map(|row| row.contrast.unwrap_or(row.target)).collect();
    let weights: Array1<f32> = rows.iter().map(|row| if row.contrast.is_some() { 1.0 } else { 0.0 }).collect();
    let mut inputs = vec![
        ("inputs_embeds", embeds.into()),
        ("attention_mask", mask(&lengths, longest).into()),
        ("position", positions.into()),
        ("target", targets.into()),
        ("contrast", contrasts.into()),
        ("contrast_weight", weights.into()),
    ];
    inputs.retain(|(name, _)| graph.inputs().contains(name));
    inputs.extend(knobs.iter().map(|&(name, value)| (name, Tensor::from(value))));
    inputs
}

/// Leaves each number with the probability `kept` / 65535 and puts 0 in the place of the others.
fn thin(mut numbers: ArrayViewMut1<f32>, place: u32, kept: u16, draw: u32) {
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(draw) << 32 | u64::from(place));
    for number in &mut numbers {
        // One number each, whatever `kept` is.
        if random.random_range(0..u16::MAX) >= kept {
            *number = 0.0;
        }
    }
}

fn check_position(position: usize, length: usize) -> Result<(), InputError> {
    if position < length { Ok(()) } else { Err(InputError::PositionOutside { position, length }) }
}

fn in_vocabulary(id: i64, vocab: usize) -> bool {
    usize::try_from(id).is_ok_and(|id| id < vocab)
}

/// The distinct ones of some items, in the order of their first appearance, and for every item its index among them.
fn distinct<T: Copy + Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> (Vec<T>, Vec<usize>) {
    let mut seen: HashMap<T, usize> = HashMap::new();
    let mut distinct = Vec::new();
    let copy_of = items
        .map(|item| {
            *seen.entry(item).or_insert_with(|| {
                distinct.push(item);
                distinct.len() - 1
            })
        })
        .collect();
    (distinct, copy_of)
}

/// A gradient row that is equal to another when all its bits are.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a>(pub &'a GradientRow);

impl Bits<'_> {
    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.embeds.iter().map(|number| number.to_bits())
    }
}

impl PartialEq for Bits<'_> {
    fn eq(&self, other: &Self) -> bool {
        let rest = |row: &GradientRow| (row.embeds.dim(), row.position, row.target, row.contrast);
        rest(self.0) == rest(other.0) && self.numbers().eq(other.numbers())
    }
}

impl Eq for Bits<'_> {}

impl std::hash::Hash for Bits<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.0.embeds.dim(), self.0.position, self.0.target, self.0.contrast).hash(state);
        self.numbers().for_each(|number| number.hash(state));
    }
}

fn lengths_of(rows: &[&[i64]]) -> Vec<usize> {
    rows.iter().map(|ids| ids.len()).collect()
}

/// Token ids, `[rows, longest]`; what stands in the padding is masked, but must be in the vocabulary.
pub(super) fn padded(rows: &[&[i64]], longest: usize) -> Array2<i64> {
    Array2::from_shape_fn((rows.len(), longest), |(row, position)| rows[row].get(position).copied().unwrap_or(0))
}

/// As [`padded`], of rows.
pub(super) fn padded_rows(rows: &[&Row], longest: usize) -> Array2<i64> {
    let mut ids = Array2::zeros((rows.len(), longest));
    for (mut space, row) in ids.axis_iter_mut(Axis(0)).zip(rows) {
        space.iter_mut().zip(row.prompt().ids()).for_each(|(space, &id)| *space = id);
        for &(place, change) in row.changes() {
            if let Change::Token(id) = change {
                space[place as usize] = id;
            }
        }
    }
    ids
}

/// As [`mask`], of rows: 0 also at the places that they hide.
pub(super) fn mask_of(rows: &[&Row], longest: usize) -> Array2<i64> {
    let lengths: Vec<usize> = rows.iter().map(|row| row.length()).collect();
    let mut mask = mask(&lengths, longest);
    for (mut space, row) in mask.axis_iter_mut(Axis(0)).zip(rows) {
        row.places(Change::Masked).for_each(|place| space[place] = 0);
    }
    mask
}

/// 1 for real tokens, 0 for padding, `[rows, longest]`.
pub(super) fn mask(lengths: &[usize], longest: usize) -> Array2<i64> {
    Array2::from_shape_fn((lengths.len(), longest), |(row, position)| i64::from(position < lengths[row]))
}

trait Length {
    fn length(&self) -> usize;
}

impl Length for usize {
    fn length(&self) -> usize {
        *self
    }
}

impl Length for &[i64] {
    fn length(&self) -> usize {
        self.len()
    }
}

/// Splits `[rows, longest, hidden]` into rows without their padding.
fn cropped(array: &ArrayD<f32>, rows: &[impl Length]) -> Vec<Array2<f32>> {
    array
        .axis_iter(Axis(0))
        .zip(rows)
        .filter_map(|(numbers, row)| {
            let numbers = numbers.slice_axis(Axis(0), Slice::from(..row.length())).to_owned();
            numbers.into_dimensionality().ok()
        })
        .collect()
}
