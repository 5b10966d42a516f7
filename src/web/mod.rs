//! A bundle as a static web page: its own graphs, run in the reader's browser by onnxruntime-web.
//!
//! The page's folder holds all that it needs, so any server of files will do, and nothing is fetched from anywhere else:
//! `index.html` with `page.css` and `page.js` (what is seen), `worker.js` and `tokenize.js` (what is computed), `page.json` (what
//! they have to know), `model/` (files of the bundle and a list of its tokens) and `runtime/` (files of two npm packages). There is
//! no script and no style in the page itself, so that a strict content policy lets it work; the page states one.

mod facts;
mod files;
mod packages;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use maud::{DOCTYPE, html};
use serde::{Deserialize, Serialize};

use crate::bundle::OpenedBundle;
use crate::bundle::manifest::{Manifest, TOKENIZER_FILE, WEIGHT_FILE};
use crate::report::page_style;
use crate::runtime::Graph;
use crate::text::{Bytes, shown};
use crate::tokenizer::Tokenizer;
use files::Place;
pub use packages::{ORT, TOKENIZERS};

/// What a page tells its own files by.
const FACTS_FILE: &str = "page.json";
const TOKENS_FILE: &str = "model/tokens.json";
/// The graphs that a page runs.
const GRAPHS: [(&str, Graph); 3] =
    [("embed", Graph::Embed), ("forward", Graph::Forward), ("gradient", Graph::Gradient)];
/// What a page's process may take: see [`facts::memory`].
const MOST_MEMORY: u64 = 4 << 30;

/// What the page may do, as far as a page can say so itself: run what lies beside it, WebAssembly included, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; \
                      worker-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'";

/// The parts that are the same for every bundle.
const PARTS: [(&str, &str); 3] = [
    ("page.js", include_str!("page/page.js")),
    ("worker.js", include_str!("page/worker.js")),
    ("tokenize.js", include_str!("page/tokenize.js")),
];

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(
        "{} has no {package}, which the page computes with\n  hint: `npm install {ORT} {TOKENIZERS}` in any folder, then \
         --node-modules FOLDER/node_modules", .folder.display()
    )]
    NoPackage { folder: PathBuf, package: &'static str },
    #[error(
        "{} is missing: this {package} has version {version}, and other files than {wanted}, with which pages are made",
        .path.display()
    )]
    OtherPackage { path: PathBuf, package: &'static str, version: String, wanted: &'static str },
    #[error("this bundle has no baseline token; name one with --baseline-id")]
    NoBaseline,
    #[error("--baseline-id: the model has embeddings for 0 to {}, not for {id}", .vocab.saturating_sub(1))]
    Baseline { id: i64, vocab: usize },
    #[error(
        "a page of {} would need about {} of a browser's memory, and {} is what browsers give one: no page was made",
        .bundle.display(), Bytes(*.bytes), Bytes(MOST_MEMORY)
    )]
    TooLarge { bundle: PathBuf, bytes: u64 },
    #[error("{} {problem}; name another folder, or move away what is there", .path.display())]
    Occupied { path: PathBuf, problem: String },
    #[error("{} is not what it was when the bundle was opened", .path.display())]
    Changed { path: PathBuf },
    #[error("cannot read {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("interrupted; nothing was written")]
    Interrupted,
}

/// What a page is made of.
pub struct Request<'a> {
    pub bundle: &'a OpenedBundle,
    pub tokenizer: &'a Tokenizer,
    /// A folder `node_modules` with the packages [`ORT`] and [`TOKENIZERS`].
    pub node_modules: &'a Path,
    pub out: &'a Path,
    /// The token that stands for nothing, if not the bundle's.
    pub baseline: Option<i64>,
    /// What stands in the field for the prompt at first.
    pub prompt: &'a str,
    /// Becomes true when to stop; nothing is left behind then.
    pub interrupted: &'a AtomicBool,
}

/// A page that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that a reader's browser fetches before the first answer, the page itself aside.
    pub download: u64,
}

/// A file of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    sha256: String,
    bytes: u64,
}

/// Writes a bundle's page into a folder. It appears there whole, by rename; an earlier page is replaced, and nothing else is.
///
/// `progress` is told how many bytes are copied, and how many there will be.
///
/// # Errors
/// [`WebError`]; the folder is then as it was.
pub fn write(request: &Request<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Written, WebError> {
    let manifest = &request.bundle.manifest;
    let bytes = facts::memory(request.bundle);
    if bytes > MOST_MEMORY {
        return Err(WebError::TooLarge { bundle: request.bundle.path().to_owned(), bytes });
    }
    let vocab = manifest.dimensions.vocab;
    let baseline = match request.baseline {
        Some(id) if !(0..vocab as i64).contains(&id) => return Err(WebError::Baseline { id, vocab }),
        named => named.or(manifest.baseline_token_id).ok_or(WebError::NoBaseline)?,
    };
    let packages = packages::find(request.node_modules)?;
    let mut place = Place::beside(request.out)?;

    let of_bundle = GRAPHS.iter().map(|(_, graph)| graph.file()).chain([WEIGHT_FILE, TOKENIZER_FILE]);
    let of_bundle: Vec<&str> = of_bundle.collect();
    let total = of_bundle.iter().filter_map(|name| manifest.files.get(*name)).map(|entry| entry.bytes).sum();
    let mut done = 0;
    let mut copied = |bytes: u64| {
        done += bytes;
        progress(done, total);
    };
    for name in of_bundle {
        let from = request.bundle.path().join(name);
        let found = place.copy(&from, &format!("model/{name}"), request.interrupted, &mut copied)?;
        if manifest.files.get(name).is_none_or(|baked| baked.sha256 != found.sha256) {
            return Err(WebError::Changed { path: from });
        }
    }
    for file in packages.iter().flat_map(|package| &package.files) {
        place.copy(&file.path, file.name, request.interrupted, &mut |_| {})?;
    }
    let tokens = facts::Tokens::of(manifest, request.tokenizer);
    place.put(TOKENS_FILE, &serde_json::to_vec(&tokens).unwrap_or_default())?;
    for (name, text) in PARTS {
        place.put(name, text.as_bytes())?;
    }
    place.put("page.css", [page_style(), include_str!("page/page.css")].concat().as_bytes())?;
    place.put("index.html", index(manifest, request.prompt).as_bytes())?;
    let facts = facts::Facts::of(request.bundle, request.tokenizer, baseline, &packages, place.files());
    let download = facts.download_bytes;
    place.put(FACTS_FILE, &serde_json::to_vec(&facts).unwrap_or_default())?;
    let bytes = place.files().values().map(|entry| entry.bytes).sum();
    place.publish()?;
    Ok(Written { bytes, download })
}

/// The files that a page's `page.json` lists.
#[derive(Deserialize)]
struct Listed {
    made_by: String,
    files: BTreeMap<String, Entry>,
}

/// What is there before a script runs, and without one.
fn index(manifest: &Manifest, prompt: &str) -> String {
    let name = shown(&manifest.source.name).into_owned();
    let labels = manifest.labels().ok().flatten();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "Why did " (name) " answer that?" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="page.css";
                script src="page.js" defer {}
            }
            body {
                a .skip href="#results" { "To the explanation" }
                header {
                    h1 { "Why did " (name) " answer that?" }
                    p { "Which tokens of a prompt made the model answer as it does, by three methods. The model runs in this browser; what you type \
                         goes nowhere." }
                }
                main {
                    form #form {
                        label {
                            "Prompt"
                            textarea #prompt rows="4" required spellcheck="false" autocomplete="off" { (prompt) }
                        }
                        label {
                            "Answer to explain"
                            @if let Some(labels) = &labels {
                                select #target {
                                    option value="" { "the model's own" }
                                    @for label in labels.names() { option value=(label) { (shown(label)) } }
                                }
                            } @else {
                                input #target autocomplete="off" spellcheck="false" autocapitalize="off";
                                small { "One token, as it stands in the text: many have a space before them. Empty: the model's own answer." }
                            }
                        }
                        div .acts {
                            button .act .first #go type="submit" disabled { "Explain" }
                            button .act #stop type="button" hidden { "Stop" }
                        }
                        div {
                            progress #bar aria-label="Progress" hidden {}
                            p .status #status role="status" {
                                "If this stays, the page's scripts do not run here: it needs JavaScript, and a server; a page that was opened \
                                 as a file may not read the files beside it (“python -m http.server” in its folder is a server)."
                            }
                        }
                    }
                    div #problems role="alert" {}
                    section #results tabindex="-1" aria-live="polite" hidden {}
                    details .about {
                        summary { "What this is" }
                        (about(manifest))
                    }
                }
                footer { p { "Made by gim-harness " (env!("CARGO_PKG_VERSION")) "; runs on onnxruntime-web." } }
            }
        }
    };
    page.into_string() + "\n"
}

fn about(manifest: &Manifest) -> maud::Markup {
    let size = &manifest.dimensions;
    html! {
        p {
            (shown(&manifest.source.name)) ": " (shown(&manifest.architecture)) ", " (size.layers) " layers, " (size.hidden) " features, "
            (size.vocab) " tokens in the vocabulary."
        }
        ul {
            li { strong { "gim" } ": the gradient with softmaxes at twice their temperature, norms held constant and products shared \
                 between their factors (Gradient Interaction Modifications, arXiv 2505.17630), times the input." }
            li { strong { "gradient" } ": the gradient of calculus, times the input." }
            li { strong { "integrated_gradients" } ": gradients along the straight path from the baseline, at 50 points (arXiv 1703.01365). They \
                 add up to the change of the logit." }
        }
        p { "An input is a token's embedding less that of the token that stands for nothing. Numbers are in units of the logit of the answer." }
        @for note in &manifest.notes { p { (shown(note)) "." } }
    }
}
