//! Records to examples: prompts rendered and encoded, answers resolved to token ids or labels, character spans to
//! tokens.

mod answers;
mod counts;
mod prompt;
mod read;
mod records;
mod sample;
mod selection;
mod shots;
mod spans;
mod trim;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use crate::chat::ChatTemplate;
use crate::config::{Score, TaskPlan};
use crate::diagnostics::Diagnostics;
use crate::labels::Labels;
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::units::Units;

pub use counts::Counts;

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

/// The model that a task is put to, as far as its examples depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What mistakes call it.
    pub model: &'a str,
    /// `model_type` of its configuration: which of a task's forms it is asked in.
    pub architecture: &'a str,
    pub tokenizer: &'a Tokenizer,
    /// The tokenizer's chat template, if it has one.
    pub chat: Option<&'a ChatTemplate>,
    /// Of a classifier: what answers are names of. A decoder's answers are tokens.
    pub labels: Option<&'a Labels>,
    /// What prompts get around them.
    pub special_tokens: SpecialTokens,
    /// Token ids that there are embeddings for.
    pub vocab: usize,
    /// The longest prompt that it has positions for.
    pub max_tokens: Option<usize>,
}

/// Which of a task's examples are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    All,
    /// The first ones of the data file.
    First(usize),
    /// So many, drawn at random. Which ones hangs on the seed, the task's name and the examples' ids alone: not on the
    /// model, on the order of the file, or on how many are drawn, so a larger sample holds every smaller one.
    Sample {
        size: usize,
        seed: u64,
    },
}

/// The examples of a task for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub version: u32,
    /// SHA-256, hexadecimal, over the two lines `file_sha256` and `data.sha256` of the plan.
    pub sha256: String,
    pub score: Score,
    /// Those that were asked for, in the order of the data file.
    pub examples: Vec<Example>,
    /// Ids of all records that could be examples, taken or not.
    pub ids: HashSet<String>,
    /// What became of all records.
    pub counts: Counts,
}

/// One prompt, and what is asked about it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Example {
    pub id: String,
    /// With the special tokens that the model's settings ask for.
    pub input_ids: Vec<i64>,
    /// For display, one a token.
    pub tokens: Vec<String>,
    /// Token of the right answer, the first of several, or its label's number.
    pub target: i64,
    /// The answer's other tokens; none but with [`Score::LogProbability`].
    pub following: Vec<i64>,
    /// Token or label to compare with; `None` with options and [`Score::LogitDifference`]: the strongest other option.
    pub contrast: Option<i64>,
    /// Tokens or labels of all options in the order of the task file, each of as many tokens as it has; empty: the whole
    /// vocabulary, or all labels.
    pub options: Vec<Vec<i64>>,
    /// What competes for a rank; may be empty.
    pub ranked: Units,
    /// Positions that overlap an evidence span, ascending.
    pub evidence: Vec<usize>,
}

/// Reads a task's data and makes the examples that are taken for a model.
///
/// Every record is read and checked, also those that are not taken.
///
/// # Errors
/// [`TaskError::Invalid`] with the mistakes in the data (the first twenty, the rest counted) and those of the task file
/// that only the data or the model show; [`TaskError::Io`]; [`TaskError::Changed`].
pub fn load(plan: &TaskPlan, subject: &Subject, taken: Taken) -> Result<Dataset, TaskError> {
    let (examples, ids, counts) = read::read(plan, Some(subject), taken)?;
    let hashes = format!("{}\n{}\n", plan.file_sha256, plan.data.sha256);
    let sha256 = crate::config::sha256(hashes.as_bytes());
    let (name, version, score) = (plan.name.clone(), plan.version, plan.score);
    Ok(Dataset { name, version, sha256, score, examples, ids, counts })
}

/// Checks all of a task's data that can be checked without a model, and says what became of the records.
///
/// # Errors
/// As [`load`]; what is or is not one token or a label is not looked at.
pub fn validate(plan: &TaskPlan) -> Result<Counts, TaskError> {
    read::read(plan, None, Taken::All).map(|(_, _, counts)| counts)
}
