//! A task file as a plan: where the records are and how each becomes a prompt and an answer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{Want, base, find, stem};
use super::template::Template;
use super::written::{self, Task};
use crate::diagnostics::{Diagnostic, Located, quote};
use crate::files;

/// A task whose file has been read and checked; its data have not been, but exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlan {
    /// What the file says, else the file's name without extension.
    pub name: String,
    pub version: u32,
    pub description: Option<String>,
    pub file: PathBuf,
    /// SHA-256 of the task file, hexadecimal.
    pub file_sha256: String,
    /// SHA-256 of the data file, hexadecimal.
    pub data_sha256: String,
    /// An existing `.jsonl` or `.csv` file of at most [`files::DATA`].
    pub data: Located<PathBuf>,
    /// Field with a unique id; `None`: the line number is the id.
    pub id: Option<Located<String>>,
    /// Field whose tokens `rank: context` keeps to and that evidence indexes; then it stands once in the prompt.
    pub context: Option<Located<String>>,
    /// Field with a list of `[start, end)` spans, in Unicode characters of the context field.
    pub evidence: Option<Located<String>>,
    pub prompt: Located<Template>,
    /// Label of the right option; without options the text of the answer.
    pub answer: Located<Template>,
    /// The same for the answer to compare with.
    pub contrast: Option<Located<Template>>,
    /// Label and text, labels and texts unique; empty, or at least two.
    pub options: Vec<(Located<String>, Located<String>)>,
    /// For classifiers: an answer (a label of the options where there are options) and the model's label that is meant.
    pub labels: Vec<(Located<String>, Located<LabelRef>)>,
    pub score: Score,
    pub rank: Rank,
}

/// A label of a classifier, as a task file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelRef {
    Name(String),
    /// Its place among the logits, from 0.
    Number(u64),
}

/// The scalar that is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Logit of the answer: a token's, or a classifier's label's.
    Logit,
    /// Softmax probability of the answer, among all tokens or all labels.
    Probability,
    /// Logit of the answer less that of the contrast.
    LogitDifference,
}

impl Score {
    /// As task files write it.
    pub fn name(self) -> &'static str {
        match self {
            Score::Logit => "logit",
            Score::Probability => "probability",
            Score::LogitDifference => "logit_difference",
        }
    }
}

/// The tokens that compete for a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// All but the first and the last.
    Interior,
    /// Those of the context field.
    Context,
    All,
}

/// The plan of a task file, or mistakes: with any mistake added, what is returned is not to be used.
pub(super) fn resolve(file: &Path, bytes: &[u8], mistakes: &mut Vec<Diagnostic>) -> Option<TaskPlan> {
    let written = written::task(file, super::text(file, bytes, mistakes)?, mistakes)?;
    let data = written.data.as_ref().and_then(|data| {
        find_data(base(file), data).map_err(|mistake| mistakes.push(*mistake)).ok().map(|found| data.with(found))
    });
    let data_sha256 = data.as_ref().map(|data| {
        super::sha256_of_file(&data.value).unwrap_or_else(|error| {
            let message = format!("{} cannot be read: {error}", quote(&data.value.display().to_string()));
            mistakes.push(data.mistake("data.file", message));
            String::new()
        })
    });
    check_context(&written, mistakes);
    check_options(&written, mistakes);
    check_labels(&written, mistakes);
    check_score(&written, mistakes);
    Some(TaskPlan {
        name: written.name.unwrap_or_else(|| stem(file)),
        version: u32::try_from(written.version).ok()?,
        description: written.description,
        file: file.to_path_buf(),
        file_sha256: super::sha256(bytes),
        data_sha256: data_sha256?,
        data: data?,
        id: written.id,
        context: written.context,
        evidence: written.evidence,
        prompt: written.prompt?,
        answer: written.answer?,
        contrast: written.contrast,
        options: written.options,
        labels: written.labels,
        score: match written.score.value.as_str() {
            "logit_difference" => Score::LogitDifference,
            "probability" => Score::Probability,
            _ => Score::Logit,
        },
        rank: match written.rank.value.as_str() {
            "context" => Rank::Context,
            "all" => Rank::All,
            _ => Rank::Interior,
        },
    })
}

fn find_data(base: &Path, written: &Located<String>) -> Result<PathBuf, Box<Diagnostic>> {
    let key = "data.file";
    let path = find(base, written, Want::File, key)?;
    let here = |message: String| written.mistake(key, message).with_width(written.value.chars().count());
    if !path.extension().is_some_and(|extension| extension == "jsonl" || extension == "csv") {
        let message = format!("{} is neither .jsonl nor .csv", quote(&written.value));
        return Err(Box::new(here(message).with_help("one JSON object a line, or CSV with a header row")));
    }
    // What a stranger's file is, before it is hashed and read.
    if let Err(error) = files::open(&path, files::DATA) {
        return Err(Box::new(here(format!("{} cannot be read: {error}", quote(&written.value)))));
    }
    Ok(path)
}

/// What evidence and `rank: context` need: a context field, and one place in the prompt where it stands.
fn check_context(written: &Task, mistakes: &mut Vec<Diagnostic>) {
    let user = match (&written.evidence, written.rank.value == "context") {
        (Some(evidence), _) => Some((evidence, "evidence", "evidence spans index the context")),
        (None, true) => Some((&written.rank, "rank", "`rank: context` keeps to the context's tokens")),
        (None, false) => None,
    };
    let Some((place, key, why)) = user else { return };
    let Some(context) = &written.context else {
        let mistake = place.mistake(key, format!("{why}, but there is no key `context`"));
        mistakes.push(mistake.with_width(place.value.chars().count()).with_help("add `context: FIELD`"));
        return;
    };
    let Some(prompt) = &written.prompt else { return };
    let mut placeholders = prompt.value.placeholders().filter(|placeholder| placeholder.name == context.value);
    match (placeholders.next(), placeholders.next()) {
        (None, _) => {
            let message = format!("{why}, but the prompt has no `{{{}}}`", context.value);
            let mistake = context.mistake("context", message).with_width(context.value.chars().count());
            let names = prompt.value.placeholders().map(|placeholder| placeholder.name.as_str());
            mistakes.push(mistake.with_nearest(&context.value, names));
        }
        (Some(_), Some(second)) => {
            let message = format!("{why}, but the prompt has `{{{}}}` more than once", context.value);
            let mistake = Diagnostic::new(&prompt.file, second.line, second.column, "prompt", message);
            mistakes.push(mistake.with_width(second.name.chars().count() + 2));
        }
        (Some(_), None) => {}
    }
}

/// Labels and texts are unique, and an answer that is the same in every example is one of them.
fn check_options(written: &Task, mistakes: &mut Vec<Diagnostic>) {
    let mut labels = std::collections::HashMap::new();
    let mut texts = std::collections::HashMap::new();
    for (label, text) in &written.options {
        let width = |place: &Located<String>| place.value.chars().count();
        if let Some(line) = labels.insert(label.value.as_str(), label.line) {
            let message = format!("the option {} is already given in line {line}", quote(&label.value));
            mistakes.push(label.mistake("options", message).with_width(width(label)));
        } else if let Some(line) = texts.insert(text.value.as_str(), text.line) {
            let message = format!("the option in line {line} has the text {} too", quote(&text.value));
            mistakes.push(text.mistake("options", message).with_width(width(text)));
        }
    }
    if written.options.is_empty() {
        return;
    }
    for (template, key) in [(&written.answer, "answer"), (&written.contrast, "contrast")] {
        let Some(template) = template else { continue };
        let Some(label) = template.value.fixed() else { continue };
        if !labels.contains_key(label.as_str()) {
            let message = format!("{} is not one of the options", quote(&label));
            let mistake = template.mistake(key, message).with_width(label.chars().count());
            let valid = written.options.iter().map(|(label, _)| label.value.as_str());
            mistakes.push(mistake.with_nearest(&label, valid));
        }
    }
}

/// Where there are options, what is mapped to a model's labels is one of them.
fn check_labels(written: &Task, mistakes: &mut Vec<Diagnostic>) {
    let options = || written.options.iter().map(|(label, _)| label.value.as_str());
    for (answer, _) in written.labels.iter().filter(|_| !written.options.is_empty()) {
        if !options().any(|option| option == answer.value) {
            let message = format!("{} is not one of the options", quote(&answer.value));
            let mistake = answer.mistake("labels", message).with_width(answer.value.chars().count());
            mistakes.push(mistake.with_nearest(&answer.value, options()));
        }
    }
}

/// A difference needs something to subtract.
fn check_score(written: &Task, mistakes: &mut Vec<Diagnostic>) {
    if written.score.value == "logit_difference" && written.contrast.is_none() && written.options.is_empty() {
        let message = "`score: logit_difference` has nothing to subtract";
        let mistake = written.score.mistake("score", message).with_width("logit_difference".len());
        mistakes.push(mistake.with_help("add `options`, or `contrast` with the answer to compare with"));
    }
}
