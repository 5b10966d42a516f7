//! Answers to what a model has logits for: tokens of a decoder, labels of a classifier.
//!
//! An answer is one token or label, unless the task explains the probability of whole answers.

use std::collections::HashMap;

use super::Subject;
use crate::config::{Form, LabelRef, Score, TaskPlan};
use crate::diagnostics::{Diagnostic, Located, quote};
use crate::labels::{LabelError, Labels};
use crate::tokenizer::TokenizerError;

/// What an answer may be, each with its token or label where the model is known.
pub(super) struct Answers<'a> {
    plan: &'a TaskPlan,
    form: &'a Form,
    subject: Option<&'a Subject<'a>>,
    /// In the order of the task file.
    options: Vec<Option<Vec<i64>>>,
    by_label: HashMap<&'a str, usize>,
    /// For classifiers: what the task file says of answers; `None` for a mistake already reported.
    mapped: HashMap<&'a str, Option<i64>>,
    /// Without options: texts met so far. What is wrong with one is said at every record that has it.
    texts: HashMap<String, Result<Vec<i64>, String>>,
}

/// What is wrong with an answer.
pub(super) enum Wrong<'a> {
    /// It is none of the options, whose labels are given.
    Option(Vec<&'a str>),
    /// It is not one token, or none at all.
    Text(String),
    /// It names no label of the classifier; [`Answers::not_a_label`] says so.
    Label(LabelError),
}

impl<'a> Answers<'a> {
    /// Resolves the options; those that the model has no logit for are mistakes of the task file.
    pub fn new(plan: &'a TaskPlan, subject: Option<&'a Subject<'a>>, mistakes: &mut Vec<Diagnostic>) -> Self {
        let form = subject.map_or(&plan.form, |subject| plan.form(subject.architecture));
        let by_label =
            form.options.iter().enumerate().map(|(index, (label, _))| (label.value.as_str(), index)).collect();
        let (options, mapped, texts) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut answers = Answers { plan, form, subject, options, by_label, mapped, texts };
        answers.options = match subject {
            None => vec![None; form.options.len()],
            Some(subject) => match subject.labels {
                None => answers.tokens(subject, mistakes),
                Some(labels) => {
                    answers.mapped = answers.mapped(labels, mistakes);
                    answers.labels(labels, mistakes)
                }
            },
        };
        answers
    }

    /// The options as tokens of a decoder.
    fn tokens(&self, subject: &Subject, mistakes: &mut Vec<Diagnostic>) -> Vec<Option<Vec<i64>>> {
        let mut options = Vec::with_capacity(self.form.options.len());
        let mut lines: HashMap<Vec<i64>, (&str, usize)> = HashMap::new();
        for (label, text) in &self.form.options {
            let mistake = |message: String| {
                let key = format!("options.{}", label.value);
                text.mistake(key, message).with_width(text.value.chars().count())
            };
            let ids = match self.ids(subject, &text.value) {
                Err(NoIds::Tokenizer(error)) => {
                    let help = match self.has_several() {
                        true => "",
                        false => "the text of an option must be one token, but for `score: log_probability`",
                    };
                    mistakes.push(mistake(error.to_string()).with_help(help));
                    None
                }
                Err(NoIds::NoLogit) => {
                    mistakes.push(mistake(format!("the model has no logit for {}", quote(&text.value))));
                    None
                }
                Ok(ids) => Some(ids),
            };
            if let Some(ids) = &ids
                && let Some((other, line)) = lines.insert(ids.clone(), (&text.value, text.line))
            {
                let (text, other) = (quote(&text.value), quote(other));
                mistakes.push(mistake(format!("{text} is the same token as {other} in line {line}")));
            }
            options.push(ids);
        }
        options
    }

    /// Whether answers may be several tokens.
    fn has_several(&self) -> bool {
        self.plan.score == Score::LogProbability
    }

    /// The tokens of an answer's text.
    fn ids(&self, subject: &Subject, text: &str) -> Result<Vec<i64>, NoIds> {
        let ids = match self.has_several() {
            true => subject.tokenizer.ids_of_answer(text),
            false => subject.tokenizer.id_of_single_token(text).map(|id| vec![id]),
        };
        match ids.map_err(NoIds::Tokenizer)? {
            ids if ids.iter().any(|&id| id >= subject.vocab as i64) => Err(NoIds::NoLogit),
            ids => Ok(ids),
        }
    }

    /// The answers that the task file maps to labels of a classifier.
    fn mapped(&self, labels: &Labels, mistakes: &mut Vec<Diagnostic>) -> HashMap<&'a str, Option<i64>> {
        let resolve = |(answer, label): &'a (Located<String>, Located<LabelRef>)| {
            let key = format!("labels.{}", answer.value);
            let found = match &label.value {
                LabelRef::Name(name) => labels.find(name).map_err(|error| {
                    self.not_a_label(&error, |message| label.mistake(&key, message).with_width(name.chars().count()))
                }),
                LabelRef::Number(number) => {
                    let id = i64::try_from(*number).ok().filter(|&id| labels.name(id).is_some());
                    id.ok_or_else(|| {
                        let message = format!("{} has {} labels, numbered from 0", self.model(), labels.count());
                        let mistake = label.mistake(&key, message).with_width(number.to_string().len());
                        mistake.with_nearest("", labels.names())
                    })
                }
            };
            (answer.value.as_str(), found.map_err(|mistake| mistakes.push(mistake)).ok())
        };
        self.plan.labels.iter().map(resolve).collect()
    }

    /// The options as labels of a classifier: those that the task file maps, else those called like the option, else
    /// those called like its text.
    fn labels(&self, labels: &Labels, mistakes: &mut Vec<Diagnostic>) -> Vec<Option<Vec<i64>>> {
        let mut options = Vec::with_capacity(self.form.options.len());
        let mut lines: HashMap<i64, (&str, usize)> = HashMap::new();
        for (option, text) in &self.form.options {
            let mistake = |message: String| {
                let key = format!("options.{}", option.value);
                option.mistake(key, message).with_width(option.value.chars().count())
            };
            let found = match self.mapped.get(option.value.as_str()) {
                Some(&mapped) => mapped,
                None => {
                    let found = match labels.find(&option.value) {
                        Err(LabelError::Unknown { .. }) => labels.find(&text.value),
                        found => found,
                    };
                    let wrong = |error: LabelError| {
                        let error = match error {
                            LabelError::Unknown { .. } => LabelError::Unknown { name: option.value.clone() },
                            error => error,
                        };
                        mistakes.push(self.not_a_label(&error, mistake));
                    };
                    found.map_err(wrong).ok()
                }
            };
            if let Some(id) = found
                && let Some((other, line)) = lines.insert(id, (&option.value, option.line))
            {
                let name = labels.name(id).unwrap_or_default();
                let (option, other, name) = (quote(&option.value), quote(other), quote(name));
                mistakes.push(mistake(format!("{option} is the same label, {name}, as {other} in line {line}")));
            }
            options.push(found.map(|id| vec![id]));
        }
        options
    }

    fn model(&self) -> String {
        self.subject.map_or_else(|| "the model".to_owned(), |subject| format!("the model {}", quote(subject.model)))
    }

    /// The mistake that a text names no label of the classifier: which one may have been meant; where none is near, what
    /// to do about it.
    pub fn not_a_label(&self, error: &LabelError, mistake: impl FnOnce(String) -> Diagnostic) -> Diagnostic {
        let mistake = mistake(format!("{} {error}", self.model()));
        let mapping = "`labels` in the task file";
        let names = self.subject.and_then(|subject| subject.labels).into_iter().flat_map(Labels::names);
        let mistake = match error {
            LabelError::Unknown { name } => mistake.with_nearest(name, names),
            LabelError::Ambiguous { .. } => mistake.with_help(format!("{mapping} may give a number")),
        };
        match &mistake.help {
            Some(valid) if matches!(error, LabelError::Unknown { .. }) && !mistake.key.starts_with("labels.") => {
                let help = format!("{valid}; {mapping} says which of them an answer is");
                mistake.with_help(help)
            }
            _ => mistake,
        }
    }

    /// The tokens or labels of all options; empty if there are none, or where one could not be resolved.
    pub fn options(&self) -> Vec<Vec<i64>> {
        self.options.iter().cloned().collect::<Option<Vec<Vec<i64>>>>().unwrap_or_default()
    }

    /// The text with which a model would give an answer.
    pub fn text<'t>(&'t self, answer: &'t str) -> &'t str {
        self.by_label.get(answer).map_or(answer, |&index| self.form.options[index].1.value.as_str())
    }

    /// The tokens or the label of an answer; `None` where the model is not known, or for a mistake already reported.
    pub fn target(&mut self, answer: &str) -> Result<Option<Vec<i64>>, Wrong<'a>> {
        if !self.options.is_empty() {
            return match self.by_label.get(answer) {
                Some(&index) => Ok(self.options[index].clone()),
                None => Err(Wrong::Option(self.form.options.iter().map(|(label, _)| label.value.as_str()).collect())),
            };
        }
        let Some(subject) = self.subject else { return Ok(None) };
        if let Some(labels) = subject.labels {
            return match self.mapped.get(answer) {
                Some(&mapped) => Ok(mapped.map(|id| vec![id])),
                None => labels.find(answer).map(|id| Some(vec![id])).map_err(Wrong::Label),
            };
        }
        if let Some(known) = self.texts.get(answer) {
            return known.clone().map(Some).map_err(Wrong::Text);
        }
        let found = self.ids(subject, answer).map_err(|error| match error {
            NoIds::Tokenizer(TokenizerError::Encode { message }) => format!("cannot be encoded: {message}"),
            NoIds::Tokenizer(error) => error.to_string(),
            NoIds::NoLogit => format!("is {}, for which the model has no logit", quote(answer)),
        });
        self.texts.insert(answer.to_owned(), found.clone());
        found.map(Some).map_err(Wrong::Text)
    }
}

/// Why an answer's text is nothing that a model can be asked about.
enum NoIds {
    Tokenizer(TokenizerError),
    /// The model has no logit for one of them.
    NoLogit,
}
