//! Records to examples: prompts rendered and encoded, answers resolved to token ids, character spans to tokens.

mod answers;
mod read;
mod records;
mod spans;

use std::io;
use std::path::PathBuf;

use crate::config::{Score, TaskPlan};
use crate::diagnostics::Diagnostics;
use crate::tokenizer::Tokenizer;

/// Why a task's data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The data file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Mistakes in the data, or in the task file where the data show them.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
    /// The data file is not the one that was hashed when the task file was read.
    #[error("{} was changed while it was being used", .path.display())]
    Changed { path: PathBuf },
}

/// The examples of a task for one tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub version: u32,
    /// SHA-256, hexadecimal, over the two lines `file_sha256` and `data_sha256` of the plan.
    pub sha256: String,
    pub score: Score,
    /// The first ones, as many as were asked for.
    pub examples: Vec<Example>,
    /// Records in the data file.
    pub available: usize,
}

/// One prompt, and what is asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub id: String,
    /// With the tokenizer's special tokens.
    pub input_ids: Vec<i64>,
    /// For display, one a token.
    pub tokens: Vec<String>,
    /// Token of the right answer.
    pub target: i64,
    /// Token to compare with; `None` with options and [`Score::LogitDifference`]: the strongest other option.
    pub contrast: Option<i64>,
    /// Tokens of all options in the order of the task file; empty: the whole vocabulary.
    pub options: Vec<i64>,
    /// Positions that compete for a rank, ascending; may be empty.
    pub ranked: Vec<usize>,
    /// Positions that overlap an evidence span, ascending.
    pub evidence: Vec<usize>,
    /// The scored position: that of the last token.
    pub position: usize,
}

/// Reads a task's data and makes its first `limit` examples for a tokenizer.
///
/// Every record is read and checked, also those beyond the limit.
///
/// # Errors
/// [`TaskError::Invalid`] with the mistakes in the data (the first twenty, the rest counted) and those of the task file
/// that only the data or the tokenizer show; [`TaskError::Io`]; [`TaskError::Changed`].
pub fn load(plan: &TaskPlan, tokenizer: &Tokenizer, limit: Option<usize>) -> Result<Dataset, TaskError> {
    let (examples, available) = read::read(plan, Some(tokenizer), limit.unwrap_or(usize::MAX))?;
    let hashes = format!("{}\n{}\n", plan.file_sha256, plan.data_sha256);
    let sha256 = crate::config::sha256(hashes.as_bytes());
    let (name, version, score) = (plan.name.clone(), plan.version, plan.score);
    Ok(Dataset { name, version, sha256, score, examples, available })
}

/// Checks all of a task's data that can be checked without a tokenizer, and says how many records there are.
///
/// # Errors
/// As [`load`]; what is or is not one token is not looked at.
pub fn validate(plan: &TaskPlan) -> Result<usize, TaskError> {
    read::read(plan, None, 0).map(|(_, available)| available)
}
