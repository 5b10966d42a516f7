//! What a page's scripts have to know of the model.

use std::collections::BTreeMap;

use serde::Serialize;

use super::packages::{ORT_BINARY, ORT_GLUE, ORT_SCRIPT, Package, TOKENIZER_SCRIPT};
use super::{Entry, GRAPHS, TOKENS_FILE};
use crate::attribution::quadrature::gauss_legendre;
use crate::bundle::manifest::{TOKENIZER_FILE, WEIGHT_FILE};
use crate::bundle::{Manifest, OpenedBundle};
use crate::grad::Knobs;
use crate::labels::Labels;
use crate::tokenizer::Tokenizer;

/// Points on the path of integrated gradients: as many as the method takes by default.
const POINTS: usize = 50;
/// The longest prompt, whatever the model takes: attention of all layers is held for the gradient, and grows with the square.
const MOST_TOKENS: usize = 1024;
/// What a page takes besides weights: its own, and activations of a prompt of some hundred tokens.
const BESIDES: u64 = 256 << 20;

/// Bytes that a browser takes for a page of a bundle, by estimate: what was fetched is held beside what WebAssembly has of it, in
/// f32, and that once more while a graph is loaded. Chromium's process took 2.8 times the weights of SmolLM2 and of Gemma 3 270M.
pub(super) fn memory(bundle: &OpenedBundle) -> u64 {
    bundle.weights() + 2 * bundle.wide_weights() + BESIDES
}

/// Texts whose ids a page compares with its own tokenizer's, for that is another program: what such programs are known to differ in.
const CHECKS: &[&str] = &[
    "The capital of France is",
    "  two  spaces\n\nand lines\t",
    "I don't think it's 1,234.56!",
    "na\u{ef}ve caf\u{e9} \u{c5}ngstr\u{f6}m \u{ff26}\u{ff35}\u{ff2c}\u{ff2c}",
    "\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{30c6}\u{30ad}\u{30b9}\u{30c8}",
    "emoji \u{1f600}\u{1f469}\u{200d}\u{1f467} end",
    "mixed CamelCase_under-score/a.b?z=1",
    "\u{a0}nbsp \u{200b} zero",
    "\u{130}stanbul \u{df} \u{1c5} \u{391}\u{3a3}",
    "e\u{301} combining",
    "don\u{2019}t \u{201c}quote\u{201d}",
    "<s> </s> <pad> [CLS] [MASK] <|im_start|>user\nhi<|im_end|>",
    "trailing ",
    "a\r\nb",
    "12345678901234567890",
    "\u{fb01} ligature \u{bd} \u{b2}",
    "\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947}",
    "question : is it true ? answer :",
];

/// `page.json`.
#[derive(Serialize)]
pub(super) struct Facts<'a> {
    made_by: String,
    files: &'a BTreeMap<String, Entry>,
    packages: BTreeMap<&'static str, &'a str>,
    runtime: BTreeMap<&'static str, &'static str>,
    /// File by the graph's name.
    graphs: BTreeMap<&'static str, String>,
    weights: String,
    /// What the graphs call it.
    weight_file: &'static str,
    tokenizer: String,
    tokens: &'static str,
    hidden: usize,
    vocab: usize,
    /// How many logits there are.
    outputs: usize,
    labels: Option<Vec<String>>,
    scores_last: bool,
    max_positions: Option<usize>,
    most_tokens: usize,
    baseline: Baseline,
    /// The token that stands for words that are in no other.
    unknown: Option<i64>,
    /// What is fetched before the first answer.
    pub download_bytes: u64,
    /// See [`memory`].
    memory_bytes: u64,
    /// Gradients times input, in this order.
    methods: Vec<Rules>,
    /// The knobs of integrated gradients.
    calculus: BTreeMap<&'static str, f32>,
    /// Places on the path, and their weights.
    points: Vec<(f64, f64)>,
    /// Texts, and the ids that they have.
    checks: Vec<(&'static str, Vec<i64>)>,
}

#[derive(Serialize)]
struct Baseline {
    id: i64,
}

#[derive(Serialize)]
struct Rules {
    name: &'static str,
    knobs: BTreeMap<&'static str, f32>,
}

fn named(knobs: Knobs) -> BTreeMap<&'static str, f32> {
    Knobs::NAMES.into_iter().zip(knobs.values()).collect()
}

impl<'a> Facts<'a> {
    pub(super) fn of(
        bundle: &OpenedBundle,
        tokenizer: &Tokenizer,
        baseline: i64,
        packages: &'a [Package],
        files: &'a BTreeMap<String, Entry>,
    ) -> Self {
        let manifest = &bundle.manifest;
        let model = |name: &str| format!("model/{name}");
        let graphs: BTreeMap<_, _> = GRAPHS.iter().map(|(name, graph)| (*name, model(graph.file()))).collect();
        let (weights, tokenizer_file) = (model(WEIGHT_FILE), model(TOKENIZER_FILE));
        let size = |name: &str| files.get(name).map_or(0, |entry| entry.bytes);
        let fetched = graphs.values().map(String::as_str).chain([&*weights, &*tokenizer_file, TOKENS_FILE]);
        let scripts = [ORT_SCRIPT, ORT_GLUE, ORT_BINARY, TOKENIZER_SCRIPT];
        let download_bytes = fetched.chain(scripts).map(size).sum();
        let sizes = &manifest.dimensions;
        Facts {
            made_by: format!("gim-harness {}", env!("CARGO_PKG_VERSION")),
            files,
            packages: packages.iter().map(|package| (package.name, package.version.as_str())).collect(),
            runtime: BTreeMap::from([
                ("ort", ORT_SCRIPT),
                ("glue", ORT_GLUE),
                ("wasm", ORT_BINARY),
                ("tokenizers", TOKENIZER_SCRIPT),
            ]),
            graphs,
            weights,
            weight_file: WEIGHT_FILE,
            tokenizer: tokenizer_file,
            tokens: TOKENS_FILE,
            hidden: sizes.hidden,
            vocab: sizes.vocab,
            outputs: manifest.outputs(),
            labels: manifest.labels().ok().flatten().map(|labels: Labels| labels.names().map(str::to_owned).collect()),
            scores_last: sizes.scores_last,
            max_positions: sizes.max_positions,
            most_tokens: sizes.max_positions.map_or(MOST_TOKENS, |positions| positions.min(MOST_TOKENS)),
            baseline: Baseline { id: baseline },
            unknown: tokenizer.unknown(),
            download_bytes,
            memory_bytes: memory(bundle),
            methods: vec![
                Rules { name: "gim", knobs: named(Knobs::GIM) },
                Rules { name: "gradient", knobs: named(Knobs::GRADIENT) },
            ],
            calculus: named(Knobs::GRADIENT),
            points: gauss_legendre(POINTS),
            checks: CHECKS.iter().filter_map(|text| Some((*text, tokenizer.encode(text, true).ok()?.ids))).collect(),
        }
    }
}

/// `model/tokens.json`: what each id is for display, as the Rust side shows it.
#[derive(Serialize)]
pub(super) struct Tokens {
    names: Vec<String>,
}

impl Tokens {
    pub(super) fn of(manifest: &Manifest, tokenizer: &Tokenizer) -> Self {
        let last = tokenizer.max_id().max(manifest.dimensions.vocab as i64 - 1);
        Tokens { names: (0..=last).map(|id| tokenizer.token(id)).collect() }
    }
}
