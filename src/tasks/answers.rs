//! Labels and answer texts to token ids.

use std::collections::HashMap;

use crate::config::TaskPlan;
use crate::diagnostics::{Diagnostic, quote};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// What an answer may be, each with its token where there is a tokenizer.
pub(super) struct Answers<'a> {
    plan: &'a TaskPlan,
    tokenizer: Option<&'a Tokenizer>,
    /// In the order of the task file.
    options: Vec<Option<i64>>,
    by_label: HashMap<&'a str, usize>,
    /// Without options: texts met so far. What is wrong with one is said at every record that has it.
    texts: HashMap<String, Result<i64, String>>,
}

/// What is wrong with an answer.
pub(super) enum Wrong<'a> {
    /// It is none of the labels, which are given.
    Label(Vec<&'a str>),
    /// It is not one token.
    Text(String),
}

impl<'a> Answers<'a> {
    /// Resolves the options; those that are not one token of their own are mistakes of the task file.
    pub fn new(plan: &'a TaskPlan, tokenizer: Option<&'a Tokenizer>, mistakes: &mut Vec<Diagnostic>) -> Self {
        let mut options = Vec::with_capacity(plan.options.len());
        let mut lines: HashMap<i64, (&str, usize)> = HashMap::new();
        for (label, text) in &plan.options {
            let mistake = |message: String| {
                let key = format!("options.{}", label.value);
                text.mistake(key, message).with_width(text.value.chars().count())
            };
            let id = tokenizer.map(|tokenizer| tokenizer.id_of_single_token(&text.value));
            let id = match id {
                Some(Err(error)) => {
                    mistakes.push(mistake(error.to_string()).with_help("the text of an option must be one token"));
                    None
                }
                Some(Ok(id)) => Some(id),
                None => None,
            };
            if let Some(id) = id
                && let Some((other, line)) = lines.insert(id, (&text.value, text.line))
            {
                let (text, other) = (quote(&text.value), quote(other));
                mistakes.push(mistake(format!("{text} is the same token as {other} in line {line}")));
            }
            options.push(id);
        }
        let by_label =
            plan.options.iter().enumerate().map(|(index, (label, _))| (label.value.as_str(), index)).collect();
        Answers { plan, tokenizer, options, by_label, texts: HashMap::new() }
    }

    /// The tokens of all options; empty if there are none, or where one could not be resolved.
    pub fn options(&self) -> Vec<i64> {
        self.options.iter().copied().collect::<Option<Vec<i64>>>().unwrap_or_default()
    }

    /// The token of an answer; `None` where there is no tokenizer, or where the option is a mistake already reported.
    pub fn token(&mut self, answer: &str) -> Result<Option<i64>, Wrong<'a>> {
        if !self.options.is_empty() {
            return match self.by_label.get(answer) {
                Some(&index) => Ok(self.options[index]),
                None => Err(Wrong::Label(self.plan.options.iter().map(|(label, _)| label.value.as_str()).collect())),
            };
        }
        let Some(tokenizer) = self.tokenizer else { return Ok(None) };
        if let Some(known) = self.texts.get(answer) {
            return known.clone().map(Some).map_err(Wrong::Text);
        }
        let found = tokenizer.id_of_single_token(answer).map_err(|error| match error {
            TokenizerError::Encode { message } => format!("cannot be encoded: {message}"),
            error => error.to_string(),
        });
        self.texts.insert(answer.to_owned(), found.clone());
        found.map(Some).map_err(Wrong::Text)
    }
}
