//! What ends a run.

use std::path::PathBuf;

use crate::bundle::BundleError;
use crate::chat::ChatError;
use crate::diagnostics::Diagnostics;
use crate::report::ReportError;
use crate::runtime::{ParseDeviceError, RuntimeError};
use crate::store::{HeldElsewhere, StoreError};
use crate::tokenizer::TokenizerError;
use crate::verify::VerifiedBakeError;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Mistakes in the configuration or the data; nothing was run.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
    #[error("the device of the configuration")]
    Device(#[from] ParseDeviceError),
    #[error("the tokenizer {path}")]
    Tokenizer { path: PathBuf, source: TokenizerError },
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("{path}: {problem}")]
    Bundle { path: PathBuf, problem: String },
    #[error(
        "the model '{model}' has no baseline token: its tokenizer makes nothing of a space, and has neither a pad nor an \
         unknown token; name one with `baseline:` beside its path"
    )]
    NoBaseline { model: String },
    #[error("'{baseline}' is to stand for removed tokens, and is no token of the model '{model}'")]
    Baseline { model: String, baseline: String },
    #[error("the task {task} cannot be read")]
    Task { task: String, source: crate::tasks::TaskError },
    #[error("there is no run to resume in {folder}; leave out --resume to start one")]
    NothingToResume { folder: PathBuf },
    #[error("{}: not a run store of gim-harness, and not removed; name another folder with --out", path.display())]
    NotOurs { path: PathBuf },
    #[error(transparent)]
    Held(#[from] HeldElsewhere),
    #[error(
        "{}: cannot go on, because the example `{example}` of {task} does not ask what it did when it was done (its text, \
         answer or evidence changed); start over with --fresh, or name another folder with --out",
        folder.display()
    )]
    ExampleChanged { folder: PathBuf, task: String, example: String },
    #[error("{path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("interrupted while baking the model '{model}': nothing was run, and nothing of the bake is left")]
    Interrupted { model: String },
    #[error("baking the model '{model}'")]
    Bake { model: String, source: Box<VerifiedBakeError> },
    #[error(transparent)]
    Opening(#[from] BundleError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Report(#[from] ReportError),
}
