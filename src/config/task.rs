//! A task file as a plan: where the records are and how each becomes a prompt and an answer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Vocabulary;
use super::chosen::{Chosen, Sort};
use super::data::{self, DataPlan};
use super::form::{self, Family, FewShot, Form};
use super::plan::{base, stem};
use super::template::Template;
use super::written::{self, Task};
use crate::diagnostics::{Diagnostic, Located, quote};
use crate::units::{Aggregate, Granularity};

/// A task whose file has been read and checked; its data have not been, but exist.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPlan {
    /// What the file says, else the file's name without extension.
    pub name: String,
    pub version: u32,
    pub description: Option<String>,
    pub file: PathBuf,
    /// SHA-256 of the task file, hexadecimal.
    pub file_sha256: String,
    pub data: DataPlan,
    /// Field whose tokens `rank: context` keeps to and that evidence indexes; then it stands once in the prompt.
    pub context: Option<Located<String>>,
    /// Field with a list of `[start, end)` spans, in Unicode characters of the context field.
    pub evidence: Option<Located<String>>,
    /// Field with a text that stands in the context and is the evidence; never together with `evidence`.
    pub selection: Option<Located<String>>,
    /// How it is put to models.
    pub form: Form,
    /// How it is put to those whose `model_type` begins with this.
    pub families: Vec<Family>,
    pub few_shot: Option<FewShot>,
    /// Longer prompts are shortened.
    pub max_tokens: Option<usize>,
    /// Label of the right option; without options the text of the answer.
    pub answer: Located<Template>,
    /// The same for the answer to compare with.
    pub contrast: Option<Located<Template>>,
    /// For classifiers: an answer (a label of the options where there are options) and the model's label that is meant.
    pub labels: Vec<(Located<String>, Located<LabelRef>)>,
    pub score: Score,
    /// Which tokens compete for a rank..
    pub rank: Rank,
    /// .. and what they compete as. [`Granularity::Groups`] only with `groups`.
    pub granularity: Granularity,
    pub aggregate: Aggregate,
    /// Field with a list of `[start, end)` spans, in Unicode characters of the context field.
    pub groups: Option<Located<String>>,
    /// Instead of the run's; then at least one.
    pub metrics: Option<Vec<Chosen>>,
}

/// What tasks are read with.
pub(super) struct Given<'a> {
    pub vocabulary: &'a Vocabulary<'a>,
    /// For tasks that do not say it themselves.
    pub granularity: Option<Granularity>,
    pub aggregate: Option<Aggregate>,
}

impl TaskPlan {
    /// How it is put to a model with this `model_type`: as to the family whose name is the longest beginning of it.
    pub fn form(&self, architecture: &str) -> &Form {
        let own = self.families.iter().filter(|(name, _)| architecture.starts_with(&name.value));
        own.max_by_key(|(name, _)| name.value.len()).map_or(&self.form, |(_, form)| form)
    }

    /// All the ways in which it is put to models.
    pub fn forms(&self) -> impl Iterator<Item = &Form> {
        std::iter::once(&self.form).chain(self.families.iter().map(|(_, form)| form))
    }
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
    /// Logarithm of the probability of the answer; of an answer of several tokens the sum over them, each behind those
    /// before it.
    LogProbability,
}

impl Score {
    /// As task files write it.
    pub fn name(self) -> &'static str {
        match self {
            Score::Logit => "logit",
            Score::Probability => "probability",
            Score::LogitDifference => "logit_difference",
            Score::LogProbability => "log_probability",
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
pub(super) fn resolve(file: &Path, bytes: &[u8], given: &Given, mistakes: &mut Vec<Diagnostic>) -> Option<TaskPlan> {
    let mut written = written::task(file, super::text(file, bytes, mistakes)?, given.vocabulary, mistakes)?;
    for form in forms(&written) {
        check_context(&written, form, mistakes);
        check_options(form, mistakes);
    }
    check_rank_and_evidence(&written, mistakes);
    check_answers(&written, mistakes);
    check_labels(&written, mistakes);
    check_score(&written, mistakes);
    let granularity = granularity(&written, given, file, mistakes);
    let metrics = written
        .metrics
        .take()
        .map(|listed| super::plan::all_chosen(&listed, Sort::Metric, given.vocabulary.metrics, mistakes));
    let resolved = form::resolve(&written, mistakes);
    let few_shot = written.few_shot.as_ref().and_then(|few_shot| form::few_shot(few_shot, mistakes));
    let data = data::resolve(base(file), written.data.take()?, mistakes);
    let (form, families) = resolved?;
    Some(TaskPlan {
        name: written.name.unwrap_or_else(|| stem(file)),
        version: u32::try_from(written.version).ok()?,
        description: written.description,
        file: file.to_path_buf(),
        file_sha256: super::sha256(bytes),
        data: data?,
        context: written.context,
        evidence: written.evidence,
        selection: written.selection,
        form,
        families,
        few_shot,
        max_tokens: written.max_tokens.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        answer: written.answer?,
        contrast: written.contrast,
        labels: written.labels,
        score: match written.score.value.as_str() {
            "logit_difference" => Score::LogitDifference,
            "probability" => Score::Probability,
            "log_probability" => Score::LogProbability,
            _ => Score::Logit,
        },
        rank: match written.rank.value.as_str() {
            "context" => Rank::Context,
            "all" => Rank::All,
            _ => Rank::Interior,
        },
        granularity,
        aggregate: written.aggregate.or(given.aggregate).unwrap_or_default(),
        groups: written.groups,
        metrics,
    })
}

/// What is ranked; groups need a field that names them.
fn granularity(written: &Task, given: &Given, file: &Path, mistakes: &mut Vec<Diagnostic>) -> Granularity {
    let own = written.granularity.as_ref().map(|own| own.value);
    let found = own.or(written.groups.as_ref().map(|_| Granularity::Groups)).or(given.granularity).unwrap_or_default();
    if found == Granularity::Groups && written.groups.is_none() {
        let message = "`granularity: groups` has no groups";
        let mistake = match &written.granularity {
            Some(own) => own.mistake("granularity", message).with_width("groups".len()),
            None => Diagnostic::new(file, 1, 1, "granularity", message),
        };
        mistakes.push(mistake.with_help("add `groups: FIELD`, a field with [start, end) spans of the context"));
    }
    found
}

/// All that a task file says of how it is put to models.
fn forms(written: &Task) -> impl Iterator<Item = &written::Form> {
    std::iter::once(&written.form).chain(written.families.iter().map(|(_, form)| form))
}

/// Why a context field is needed, and what asks for it.
fn needs_context(written: &Task) -> Option<(&Located<String>, &'static str, &'static str)> {
    if let Some(evidence) = &written.evidence {
        return Some((evidence, "evidence", "evidence spans index the context"));
    }
    if let Some(selection) = &written.selection {
        return Some((selection, "selection", "what is selected stands in the context"));
    }
    if let Some(groups) = &written.groups {
        return Some((groups, "groups", "groups are spans of the context"));
    }
    (written.rank.value == "context").then_some((
        &written.rank,
        "rank",
        "`rank: context` keeps to the context's tokens",
    ))
}

/// What evidence and `rank: context` need: a context field.
fn check_rank_and_evidence(written: &Task, mistakes: &mut Vec<Diagnostic>) {
    if let (Some(evidence), Some(selection)) = (&written.evidence, &written.selection) {
        let message = format!("`selection` stands beside the `evidence` of line {}", evidence.line);
        mistakes.push(selection.mistake("selection", message).with_help("give one of them: spans, or a text"));
    }
    if let Some((place, key, why)) = needs_context(written)
        && written.context.is_none()
    {
        let mistake = place.mistake(key, format!("{why}, but there is no key `context`"));
        mistakes.push(mistake.with_width(place.value.chars().count()).with_help("add `context: FIELD`"));
    }
}

/// And one place in the prompt where it stands.
fn check_context(written: &Task, form: &written::Form, mistakes: &mut Vec<Diagnostic>) {
    let Some((_, _, why)) = needs_context(written) else { return };
    let (Some(context), Some(prompt)) = (&written.context, &form.prompt) else { return };
    let mut placeholders = prompt.value.placeholders().filter(|placeholder| placeholder.name == context.value);
    match (placeholders.next(), placeholders.next()) {
        (None, _) => {
            let message = format!("{why}, but the prompt has no `{{{}}}`", context.value);
            // The context is named once, and there may be several prompts.
            let mistake = match form.prompt == written.form.prompt {
                true => context.mistake("context", message).with_width(context.value.chars().count()),
                false => prompt.mistake("prompt", message),
            };
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

/// Labels and texts are unique.
fn check_options(form: &written::Form, mistakes: &mut Vec<Diagnostic>) {
    let mut labels = std::collections::HashMap::new();
    let mut texts = std::collections::HashMap::new();
    for (label, text) in &form.options {
        let width = |place: &Located<String>| place.value.chars().count();
        if let Some(line) = labels.insert(label.value.as_str(), label.line) {
            let message = format!("the option {} is already given in line {line}", quote(&label.value));
            mistakes.push(label.mistake("options", message).with_width(width(label)));
        } else if let Some(line) = texts.insert(text.value.as_str(), text.line) {
            let message = format!("the option in line {line} has the text {} too", quote(&text.value));
            mistakes.push(text.mistake("options", message).with_width(width(text)));
        }
    }
}

/// An answer that is the same in every example is one of the options.
fn check_answers(written: &Task, mistakes: &mut Vec<Diagnostic>) {
    let labels: Vec<&str> = written.form.options.iter().map(|(label, _)| label.value.as_str()).collect();
    if labels.is_empty() {
        return;
    }
    for (template, key) in [(&written.answer, "answer"), (&written.contrast, "contrast")] {
        let Some(template) = template else { continue };
        let Some(label) = template.value.fixed() else { continue };
        if !labels.contains(&label.as_str()) {
            let message = format!("{} is not one of the options", quote(&label));
            let mistake = template.mistake(key, message).with_width(label.chars().count());
            mistakes.push(mistake.with_nearest(&label, labels.iter().copied()));
        }
    }
}

/// Where there are options, what is mapped to a model's labels is one of them.
fn check_labels(written: &Task, mistakes: &mut Vec<Diagnostic>) {
    let options = || written.form.options.iter().map(|(label, _)| label.value.as_str());
    for (answer, _) in written.labels.iter().filter(|_| !written.form.options.is_empty()) {
        if !options().any(|option| option == answer.value) {
            let message = format!("{} is not one of the options", quote(&answer.value));
            let mistake = answer.mistake("labels", message).with_width(answer.value.chars().count());
            mistakes.push(mistake.with_nearest(&answer.value, options()));
        }
    }
}

/// A difference needs something to subtract, and only a difference does.
fn check_score(written: &Task, mistakes: &mut Vec<Diagnostic>) {
    if let (Some(contrast), "log_probability") = (&written.contrast, written.score.value.as_str()) {
        let message = "`contrast` stands beside `score: log_probability`, which compares with all other answers";
        mistakes.push(contrast.mistake("contrast", message).with_help("`score: logit_difference` compares with one"));
    }
    if written.score.value == "logit_difference" && written.contrast.is_none() && written.form.options.is_empty() {
        let message = "`score: logit_difference` has nothing to subtract";
        let mistake = written.score.mistake("score", message).with_width("logit_difference".len());
        mistakes.push(mistake.with_help("add `options`, or `contrast` with the answer to compare with"));
    }
}
