//! Rows that begin as their prompt does: the keys and values of the beginning are computed once, and shared.
//!
//! Whether a row goes this way, and where it is cut, hangs on the row and the bundle alone: never on what it is asked
//! together with, on what was scored before, or on the memory of the machine. So a row's score stays the same to the bit
//! whoever asks for it first, after an interruption, and where it was forgotten and is run again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use ndarray::{Array1, ArrayD, Axis, IxDyn, Slice, s};

use super::error::RuntimeError;
use super::model::{Model, OUTPUT_LIMIT, mask_of, padded_rows};
use super::row::{Change, Prompt, Row};
use crate::bundle::{Graph, Manifest};
use crate::device::Device;

/// Whether what rows have in common with their prompt is computed once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrefixCache {
    /// Where that takes less time, as far as a rule can tell.
    #[default]
    Auto,
    Always,
    Never,
}

impl PrefixCache {
    pub const NAMES: [&'static str; 3] = ["auto", "always", "never"];

    pub fn named(name: &str) -> Option<PrefixCache> {
        let at = PrefixCache::NAMES.iter().position(|&known| known == name)?;
        Some([PrefixCache::Auto, PrefixCache::Always, PrefixCache::Never][at])
    }

    pub fn name(self) -> &'static str {
        match self {
            PrefixCache::Auto => "auto",
            PrefixCache::Always => "always",
            PrefixCache::Never => "never",
        }
    }
}

/// A prompt is cut at one of so many places, evenly spread: rows that are cut at one place share batches.
const PLACES: usize = 16;
/// Multiply-adds that a row has to be spared: with fewer, smaller batches cost more than they save.
const LEAST_SPARED: u64 = 1 << 29;
/// Tokens that a row has to be spared: prompts that are hardly longer are cut into batches of too few rows.
const LEAST_TOKENS: usize = 32;
/// What the keys and values of prompts may take together. One of which they take more is not cut.
const KEPT_BYTES: usize = 256 << 20;
/// A batch holds the keys of all its rows, prefixes too: so many tokens for each that it may compute.
const KEYS_PER_TOKEN: usize = 4;

/// Which rows are cut, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cutting {
    /// Multiply-adds that a token takes, about.
    per_token: u64,
    /// Multiply-adds, and tokens, that a row has to be spared.
    least: (u64, usize),
    /// Keys and values of a token: layers, heads, size of a head.
    shape: [usize; 3],
}

impl Cutting {
    /// Of a bundle that has the graph, where it is wanted. What is faster was measured on CPUs alone.
    pub fn of(manifest: &Manifest, wanted: PrefixCache, device: Device) -> Option<Cutting> {
        let least = match wanted {
            PrefixCache::Never => return None,
            PrefixCache::Auto if device != Device::Cpu => return None,
            PrefixCache::Always => (0, 0),
            PrefixCache::Auto => (LEAST_SPARED, LEAST_TOKENS),
        };
        let shape = manifest.kept_shape()?;
        let (layers, hidden) = (manifest.dimensions.layers as u64, manifest.dimensions.hidden as u64);
        // Four products of attention and three of a feed-forward some three times as wide: about 12 squares of the width.
        let per_token = layers.saturating_mul(hidden).saturating_mul(hidden).saturating_mul(12);
        Some(Cutting { per_token, least, shape })
    }

    fn bytes(&self, tokens: usize) -> usize {
        self.shape.iter().fold(2 * size_of::<f32>(), |bytes, &size| bytes.saturating_mul(size)).saturating_mul(tokens)
    }

    /// How many tokens of a row are taken from its prompt; none where all are run.
    pub fn at(&self, row: &Row) -> usize {
        if !matches!(row.kind(), Some(Change::Token(_) | Change::Masked)) {
            return 0;
        }
        let first = row.changes().first().map_or(0, |&(place, _)| place as usize).min(row.position());
        let grain = grain(row.length());
        let cut = first / grain * grain;
        let spared = (cut as u64).saturating_mul(self.per_token);
        if spared < self.least.0 || cut < self.least.1 || self.bytes(kept(row.length())) > KEPT_BYTES { 0 } else { cut }
    }
}

/// How far the places are apart at which a prompt of this length may be cut.
fn grain(length: usize) -> usize {
    length.div_ceil(PLACES).max(1)
}

/// The tokens whose keys and values are kept of a prompt: up to the last place at which it may be cut, since last digits may
/// hang on how many are computed together.
fn kept(length: usize) -> usize {
    let grain = grain(length);
    length.saturating_sub(1) / grain * grain
}

/// `[layers, 1, key_heads, tokens, size]` each.
#[derive(Clone, Debug)]
struct Kept {
    keys: ArrayD<f32>,
    values: ArrayD<f32>,
}

impl Kept {
    fn none([layers, heads, size]: [usize; 3]) -> Kept {
        let empty = ArrayD::zeros(IxDyn(&[layers, 1, heads, 0, size]));
        Kept { keys: empty.clone(), values: empty }
    }

    /// The first tokens of it.
    fn first(&self, tokens: usize) -> Kept {
        let part = |of: &ArrayD<f32>| of.slice_axis(Axis(3), Slice::from(..tokens)).as_standard_layout().into_owned();
        Kept { keys: part(&self.keys), values: part(&self.values) }
    }
}

/// Keys and values of prompts, those that were used last.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    /// What was used last is the last.
    held: VecDeque<(Prompt, Arc<Kept>)>,
}

impl Prefixes {
    pub fn clear(&mut self) {
        self.held.clear();
    }

    fn get(&mut self, prompt: &Prompt) -> Option<Arc<Kept>> {
        let at = self.held.iter().position(|(known, _)| known == prompt)?;
        let found = self.held.remove(at)?;
        let kept = Arc::clone(&found.1);
        self.held.push_back(found);
        Some(kept)
    }

    fn insert(&mut self, prompt: Prompt, kept: Arc<Kept>) {
        self.held.push_back((prompt, kept));
        let bytes = |kept: &Kept| (kept.keys.len() + kept.values.len()) * size_of::<f32>();
        while self.held.len() > 1 && self.held.iter().map(|(_, kept)| bytes(kept)).sum::<usize>() > KEPT_BYTES {
            self.held.pop_front();
        }
    }
}

impl Model {
    /// Runs rows that are cut, each at its place of `cuts`, and gives every row's logits to `keep`.
    pub(super) fn forward_behind<T>(
        &mut self,
        rows: &[&Row],
        cuts: &[usize],
        keep: &mut impl FnMut(&mut Model, &Row, &[f32]) -> T,
    ) -> Result<Vec<T>, RuntimeError> {
        let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        let mut prompts: HashMap<&Prompt, usize> = HashMap::new();
        for (at, (row, &cut)) in rows.iter().zip(cuts).enumerate() {
            let next = prompts.len();
            let prompt = *prompts.entry(row.prompt()).or_insert(next);
            groups.entry((prompt, cut)).or_default().push(at);
        }
        let mut found: Vec<Option<T>> = rows.iter().map(|_| None).collect();
        let watch = self.runtime.watch().cloned();
        watch.iter().for_each(|watch| watch.begin(rows.len()));
        for ((_, cut), places) in groups {
            let prompt = rows[places[0]].prompt().clone();
            let before = self.kept_of(&prompt)?.first(cut);
            let mut left = &places[..];
            while !left.is_empty() {
                if watch.as_ref().is_some_and(|watch| watch.is_interrupted()) {
                    return Err(RuntimeError::Interrupted);
                }
                let (batch, rest) = left.split_at(self.rows_behind(prompt.len(), cut).min(left.len()));
                let results = self.fitting(Graph::ForwardCached, batch, prompt.len(), false, &mut |model, batch| {
                    let part: Vec<&Row> = batch.iter().map(|&at| rows[at]).collect();
                    let vocab = model.manifest().outputs();
                    let logits = model.run_behind(&part, cut, &before)?;
                    Ok(part
                        .iter()
                        .zip(logits.chunks_exact(vocab))
                        .map(|(row, logits)| keep(model, row, logits))
                        .collect())
                })?;
                batch.iter().zip(results).for_each(|(&at, result)| found[at] = Some(result));
                watch.iter().for_each(|watch| watch.advance(batch.len()));
                left = rest;
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// How many rows share a batch.
    fn rows_behind(&self, length: usize, cut: usize) -> usize {
        let tokens = self.batch_tokens().min(self.tokens_together());
        let by_tokens = tokens / (length - cut).max(1);
        let by_keys = tokens.saturating_mul(KEYS_PER_TOKEN) / length.max(1);
        let by_memory = self.most_tokens / length.max(1);
        by_tokens.min(by_keys).min(by_memory).min(OUTPUT_LIMIT / self.manifest().outputs().max(1)).max(1)
    }

    /// The logits of rows of one prompt, one row after another.
    fn run_behind(&mut self, rows: &[&Row], cut: usize, before: &Kept) -> Result<Vec<f32>, RuntimeError> {
        let run = self.with_twin(rows);
        let length = run.first().map_or(0, |row| row.length());
        let ids = padded_rows(&run, length).slice_move(s![.., cut..]);
        let positions: Array1<i64> = run.iter().map(|row| (row.position() - cut) as i64).collect();
        let inputs = [
            ("input_ids", ids.into()),
            ("attention_mask", mask_of(&run, length).into()),
            ("position", positions.into()),
            ("past_keys", before.keys.clone().into()),
            ("past_values", before.values.clone().into()),
        ];
        let shape = [run.len(), self.manifest().outputs()];
        let logits = self.run_for(Graph::ForwardCached, &inputs, &["logits"])?.take_f32("logits", &shape)?;
        self.counters.forward_rows += rows.len() as u64;
        self.counters.prefix_tokens_saved += (rows.len() * cut) as u64;
        // Outputs are in standard layout, so the rows lie one after another.
        Ok(logits.into_raw_vec_and_offset().0)
    }

    /// The keys and values of a prompt, computed where they are not held.
    fn kept_of(&mut self, prompt: &Prompt) -> Result<Arc<Kept>, RuntimeError> {
        if let Some(kept) = self.prefixes.get(prompt) {
            return Ok(kept);
        }
        let problem = || {
            let (path, problem) = (self.bundle().path().to_owned(), "it has no graph that goes on behind a prefix");
            RuntimeError::Bundle { path, problem: problem.to_owned() }
        };
        let shape = self.cutting.ok_or_else(problem)?.shape;
        let tokens = kept(prompt.len());
        let row = Row::new(&prompt[..tokens], tokens.saturating_sub(1));
        // A token alone needs a twin for the same reason as a row does.
        let run = if tokens == 1 { self.with_twin(&[&row]) } else { vec![&row] };
        let positions: Array1<i64> = run.iter().map(|row| row.position() as i64).collect();
        let before = Kept::none(shape);
        let inputs = [
            ("input_ids", padded_rows(&run, tokens).into()),
            ("attention_mask", mask_of(&run, tokens).into()),
            ("position", positions.into()),
            ("past_keys", before.keys.into()),
            ("past_values", before.values.into()),
        ];
        let rows = run.len();
        let mut found = self.fitting(Graph::ForwardCached, &[0], tokens, true, &mut |model, _| {
            Ok(vec![model.run_for(Graph::ForwardCached, &inputs, &["keys", "values"])?])
        })?;
        self.counters.prefix_tokens += tokens as u64;
        let mut outputs = found.swap_remove(0);
        let [layers, heads, size] = shape;
        let mut taken = |name: &str| {
            let all = outputs.take_f32(name, &[layers, rows, heads, tokens, size])?;
            Ok::<_, RuntimeError>(all.slice_axis_move(Axis(1), Slice::from(..1)))
        };
        let kept = Arc::new(Kept { keys: taken("keys")?, values: taken("values")? });
        self.prefixes.insert(prompt.clone(), Arc::clone(&kept));
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(length: i64, place: usize) -> Row {
        Row::new((0..length).collect::<Vec<i64>>(), length as usize - 1).changed(&[place], Change::Token(-1))
    }

    #[test]
    fn rows_are_cut_at_few_places_before_what_changes() {
        let cutting = Cutting { per_token: 1, least: (0, 0), shape: [1, 1, 1] };
        for length in 1..100 {
            let mut places = std::collections::BTreeSet::new();
            for first in 0..length as usize {
                let cut = cutting.at(&row(length, first));
                assert!(cut <= first && first - cut < grain(length as usize), "{length} {first} {cut}");
                assert!(cut <= kept(length as usize) && kept(length as usize) < length as usize);
                places.insert(cut);
            }
            assert!(places.len() <= PLACES);
        }
    }

    #[test]
    fn only_rows_that_gain_are_cut() {
        let cutting = |least| Cutting { per_token: 10, least: (least, 0), shape: [2, 3, 4] };
        let changed = row(32, 20);
        assert_eq!(cutting(200).at(&changed), 20);
        assert_eq!(cutting(201).at(&changed), 0);
        assert_eq!(Cutting { least: (0, 21), ..cutting(0) }.at(&changed), 0);
        // The prompt itself, and what starts from embeddings or is replaced inside.
        assert_eq!(cutting(0).at(&Row::new(vec![1, 2, 3], 2)), 0);
        assert_eq!(cutting(0).at(&changed.changed(&[20], Change::Mean)), 0);
        assert_eq!(cutting(0).at(&changed.changed(&[20], Change::Residual { layer: 0 })), 0);
        assert_eq!(cutting(0).at(&changed.changed(&[20], Change::Masked)), 20);
        // Never behind the scored position.
        let early = Row::new((0..32).collect::<Vec<i64>>(), 7).changed(&[20], Change::Token(-1));
        assert_eq!(cutting(0).at(&early), 6);
        // Keys and values that would take too much.
        let large = Cutting { shape: [1 << 10, 1 << 10, 8], ..cutting(0) };
        assert_eq!(large.at(&changed), 0);
    }

    #[test]
    fn what_was_used_last_is_held() {
        let kept = |tokens: usize| {
            let numbers = ArrayD::zeros(IxDyn(&[1, 1, 1, tokens, 1]));
            Arc::new(Kept { keys: numbers.clone(), values: numbers })
        };
        let prompt = |id: i64| Prompt::new(vec![id]);
        let third = KEPT_BYTES / 8 / 3;
        let mut prefixes = Prefixes::default();
        (0..3).for_each(|id| prefixes.insert(prompt(id), kept(third)));
        assert!(prefixes.get(&prompt(0)).is_some());
        prefixes.insert(prompt(3), kept(third));
        let held = [0, 1, 2, 3].map(|id| prefixes.get(&prompt(id)).is_some());
        assert_eq!(held, [true, false, true, true]);
    }
}
