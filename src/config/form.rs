//! How a task is put to a model: what all models are asked, and what is another way for a family of them.

use super::template::Template;
use super::written;
use crate::diagnostics::{Diagnostic, Located, list, quote};

/// Beginnings of `model_type`, as `config.json` states it.
pub(super) const FAMILIES: &[&str] = &[
    "albert",
    "bert",
    "bloom",
    "camembert",
    "cohere",
    "deberta",
    "distilbert",
    "electra",
    "falcon",
    "gemma",
    "gpt2",
    "gpt_neo",
    "gpt_oss",
    "gptj",
    "granite",
    "llama",
    "mistral",
    "mixtral",
    "modernbert",
    "mpt",
    "olmo",
    "opt",
    "phi",
    "qwen",
    "roberta",
    "smollm",
    "stablelm",
    "starcoder",
    "xlm",
];

/// How a task is put to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub prompt: Located<Template>,
    /// Ends the prompt, as the beginning of the answer.
    pub opening: Option<Located<String>>,
    pub chat: Located<Chat>,
    /// The system's message, for chat templates.
    pub system: Option<Located<String>>,
    /// Label and text, labels and texts unique; empty, or at least two. Every form of a task has the same labels in the
    /// same order.
    pub options: Vec<(Located<String>, Located<String>)>,
}

/// A family's name, as `model_type` begins, and how a task is put to it.
pub type Family = (Located<String>, Form);

/// Whether the tokenizer's chat template is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chat {
    Never,
    Always,
    /// If the tokenizer has one.
    IfThere,
}

impl Chat {
    /// As task files write them.
    pub(super) const NAMES: &'static [&'static str] = &["never", "always", "if_there"];

    fn named(name: &str) -> Chat {
        match name {
            "always" => Chat::Always,
            "if_there" => Chat::IfThere,
            _ => Chat::Never,
        }
    }
}

/// Answered examples that stand before every question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FewShot {
    pub choice: Shots,
    /// Between two of them, and before the question.
    pub separator: String,
}

/// Which ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shots {
    /// Drawn by a seed, as many of each answer as that allows.
    Drawn { count: Located<usize>, seed: u64 },
    /// By their ids, in this order.
    Named(Vec<Located<String>>),
}

/// The forms of a task: that of all models, and those of families. `None` with at least one mistake.
pub(super) fn resolve(written: &written::Task, mistakes: &mut Vec<Diagnostic>) -> Option<(Form, Vec<Family>)> {
    let base = Form {
        prompt: written.form.prompt.clone()?,
        opening: written.form.opening.clone(),
        chat: written.form.chat.clone().map(|chat| chat.with(Chat::named(&chat.value)))?,
        system: written.form.system.clone(),
        options: written.form.options.clone(),
    };
    let mut families = Vec::new();
    for (name, own) in &written.families {
        if !own.options.is_empty() {
            same_labels(name, &own.options, &base.options, mistakes);
        }
        // In the order of the base, so that the answers of all forms have the same places.
        let text = |(label, text): &(Located<String>, Located<String>)| {
            let own = own.options.iter().find(|(own, _)| own.value == label.value);
            own.cloned().unwrap_or((label.clone(), text.clone()))
        };
        let form = Form {
            prompt: own.prompt.clone().unwrap_or_else(|| base.prompt.clone()),
            opening: own.opening.clone().or_else(|| base.opening.clone()),
            chat: own.chat.as_ref().map_or_else(|| base.chat.clone(), |chat| chat.with(Chat::named(&chat.value))),
            system: own.system.clone().or_else(|| base.system.clone()),
            options: base.options.iter().map(text).collect(),
        };
        families.push((name.clone(), form));
    }
    Some((base, families))
}

fn same_labels(
    family: &Located<String>,
    own: &[(Located<String>, Located<String>)],
    base: &[(Located<String>, Located<String>)],
    mistakes: &mut Vec<Diagnostic>,
) {
    let key = format!("families.{}.options", family.value);
    let labels: Vec<&str> = base.iter().map(|(label, _)| label.value.as_str()).collect();
    for (label, _) in own.iter().filter(|(label, _)| !labels.contains(&label.value.as_str())) {
        let message = format!("{} is not one of the options of the task", quote(&label.value));
        let mistake = label.mistake(&key, message).with_width(label.value.chars().count());
        mistakes.push(mistake.with_nearest(&label.value, labels.iter().copied()));
    }
    let missing: Vec<&str> =
        labels.into_iter().filter(|label| !own.iter().any(|(own, _)| own.value == *label)).collect();
    if !missing.is_empty() {
        let message = format!("the options of the family {} lack {}", quote(&family.value), list(&missing));
        mistakes.push(family.mistake(key, message).with_width(family.value.chars().count()));
    }
}

/// Which examples are shown before the question.
pub(super) fn few_shot(written: &written::FewShot, mistakes: &mut Vec<Diagnostic>) -> Option<FewShot> {
    let choice = match (&written.count, &written.ids) {
        (Some(count), None) => {
            Shots::Drawn { count: count.with(usize::try_from(count.value).unwrap_or(usize::MAX)), seed: written.seed }
        }
        (None, Some(ids)) => {
            for (index, id) in ids.iter().enumerate() {
                if ids[..index].iter().any(|earlier| earlier.value == id.value) {
                    let message = format!("the example {} is already listed", quote(&id.value));
                    mistakes.push(id.mistake("few_shot.ids", message).with_width(id.value.chars().count()));
                }
            }
            Shots::Named(ids.clone())
        }
        (Some(count), Some(_)) => {
            mistakes.push(count.mistake("few_shot.count", "`count` stands beside `ids`: give one of them"));
            return None;
        }
        (None, None) => {
            let message = "`few_shot` says neither `count` nor `ids`";
            mistakes.push(written.place.mistake("few_shot", message));
            return None;
        }
    };
    Some(FewShot { choice, separator: written.separator.clone() })
}
