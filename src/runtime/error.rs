//! What can go wrong between a request and a number, each with what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::install::{Flavour, PINNED_VERSION};
use super::library::MINIMUM_VERSION;
use super::locate::Attempt;
use super::memory::Bytes;
use crate::bundle::BundleError;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    #[error("{}", not_found(.tried, .cache.as_ref(), *.cuda))]
    NotFound { tried: Vec<Attempt>, cache: Option<PathBuf>, cuda: bool },

    #[error("{setting} names {}, where there is no ONNX Runtime library: {problem}", .path.display())]
    NoLibrary { setting: &'static str, path: PathBuf, problem: String },

    #[error("cannot load ONNX Runtime from {}: {problem}", .path.display())]
    Load { path: PathBuf, problem: String },

    #[error(
        "ONNX Runtime {version} in {} is too old: {}.{} or newer is needed\n  hint: `gim-harness runtime install` installs {PINNED_VERSION}",
        .path.display(), MINIMUM_VERSION.0, MINIMUM_VERSION.1
    )]
    TooOld { path: PathBuf, version: String },

    #[error(
        "this process already uses ONNX Runtime from {}, and a process can load only one (asked for now: {})",
        .loaded.display(), .wanted.display()
    )]
    AlreadyLoaded { loaded: PathBuf, wanted: PathBuf },

    #[error(
        "device {device} was asked for, but ONNX Runtime {version} in {} was built without {} (it offers {})\n  hint: {}",
        .library.display(), .device.provider(), .providers.join(", "), how(*.device)
    )]
    NoProvider { device: super::Device, library: PathBuf, version: String, providers: Vec<String> },

    #[error("device {device} cannot be used: {problem}\n  hint: {}", needs(*.device))]
    Device { device: super::Device, problem: String },

    #[error(
        "there is no folder for the program's cache\n  hint: set GIM_HARNESS_CACHE (or HOME) to a folder that can be written"
    )]
    NoCache,

    #[error("cannot install {}=={PINNED_VERSION}: {problem}", .flavour.package())]
    Install { flavour: Flavour, problem: String },

    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },

    #[error(transparent)]
    Opening(#[from] BundleError),

    #[error("{}: {problem}\n  hint: `gim-harness bake` makes a bundle; a damaged one is best baked anew", .path.display())]
    Bundle { path: PathBuf, problem: String },

    #[error("{}: ONNX Runtime refuses this graph: {problem}", .graph.display())]
    Graph { graph: PathBuf, problem: String },

    #[error("{}: running the graph failed: {problem}", .graph.display())]
    Run { graph: PathBuf, problem: String },

    #[error(
        "{}: a single row of {tokens} tokens does not fit into memory, of which it takes about {}: {problem}\n  hint: leave out \
         what is so long (`max_tokens` of a task), or take a machine or device with more",
        .graph.display(), Bytes(*.estimate)
    )]
    Memory {
        graph: PathBuf,
        tokens: usize,
        /// Bytes, as [`Model::row_bytes`](super::Model::row_bytes) estimates them.
        estimate: u64,
        problem: String,
    },

    #[error("{}: output `{output}` is {found}, expected {expected}", .graph.display())]
    Output { graph: PathBuf, output: String, expected: String, found: String },

    #[error("interrupted")]
    Interrupted,
    /// A method or a metric waits for something that nobody is going to answer: a fault of the program.
    #[error("a method or a metric waits and has asked for nothing: this is a fault of gim-harness")]
    NothingAsked,

    #[error("{}", at_row(*.row, .error))]
    Input {
        /// Which of the rows asked for, from 0.
        row: usize,
        error: InputError,
    },
}

/// A row that the model has no answer to; it never reaches ONNX Runtime.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    #[error("it has no tokens")]
    Empty,
    #[error("token id {id} at position {position} is outside the vocabulary (0 to {})", vocab - 1)]
    TokenOutsideVocabulary { id: i64, position: usize, vocab: usize },
    #[error("{role} token id {id} is outside the vocabulary (0 to {})", vocab - 1)]
    WantedOutsideVocabulary { role: &'static str, id: i64, vocab: usize },
    #[error("it has {length} tokens, and the model has positions for {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("position {position} is outside its {length} tokens")]
    PositionOutside { position: usize, length: usize },
    #[error("its embeddings are {found} wide, the model's are {expected}")]
    Width { found: usize, expected: usize },
    #[error("{what} {number} is outside those there are (0 to {})", of.saturating_sub(1))]
    Inside { what: &'static str, number: usize, of: usize },
}

impl RuntimeError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RuntimeError {
        let path = path.into();
        move |source| RuntimeError::Io { path, source }
    }
}

fn at_row(row: usize, error: &InputError) -> String {
    format!("input row {row} cannot be run: {error}")
}

fn not_found(tried: &[Attempt], cache: Option<&PathBuf>, cuda: bool) -> String {
    let mut text = String::from(if cuda {
        "no ONNX Runtime with CUDA was found\n  tried:"
    } else {
        "no ONNX Runtime was found\n  tried:"
    });
    for attempt in tried {
        text.push_str(&format!("\n    {}", attempt.to_string().replace('\n', "\n      ")));
    }
    let (flavour, flag) = if cuda { (Flavour::Gpu, " --gpu") } else { (Flavour::Cpu, "") };
    let package = flavour.package();
    let (major, minor) = MINIMUM_VERSION;
    text.push_str(&format!("\n  any one of these provides it ({major}.{minor} or newer):"));
    text.push_str("\n    - in harness.yaml, `runtime: {library: PATH}` with the path of the shared library");
    text.push_str("\n    - the environment variable ORT_DYLIB_PATH with that path");
    text.push_str(&format!(
        "\n    - the Python package, where `python3` finds it: pip install {package}=={PINNED_VERSION}"
    ));
    match cache {
        Some(cache) => text.push_str(&format!(
            "\n    - `gim-harness runtime install{flag}`, which needs python3 with pip and a package index, and installs below {}",
            cache.display()
        )),
        None => text.push_str(&format!(
            "\n    - `gim-harness runtime install{flag}`, after setting GIM_HARNESS_CACHE to a folder that can be written"
        )),
    }
    text
}

/// How to get a library with the provider of a device.
fn how(device: super::Device) -> String {
    if let super::Device::Other(provider, _) = device {
        return format!(
            "{}; name the library with ORT_DYLIB_PATH, or under `runtime.library` in harness.yaml",
            provider.how
        );
    }
    format!(
        "`gim-harness runtime install --gpu` installs {}=={PINNED_VERSION}; it needs an NVIDIA driver, and CUDA and cuDNN libraries where the loader finds them",
        Flavour::Gpu.package()
    )
}

/// What a device needs besides the library.
fn needs(device: super::Device) -> &'static str {
    if let super::Device::Other(provider, _) = device {
        return provider.how;
    }
    "the CUDA provider needs an NVIDIA driver, and CUDA and cuDNN libraries where the loader finds them (on Linux: LD_LIBRARY_PATH)"
}

/// Seconds, for a message.
pub(crate) struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}
