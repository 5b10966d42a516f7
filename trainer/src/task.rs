//! What training needs of a task file: the prompt, the answer and the options. The task files are the only place where
//! the wording of a prompt stands; training texts are filled from the same templates as test prompts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::texts::Fields;

#[derive(Debug, Deserialize)]
pub struct Task {
    pub prompt: String,
    answer: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    file: String,
}

impl Task {
    pub fn read(folder: &Path, name: &str) -> Result<Task> {
        let path = folder.join(format!("{name}.yaml"));
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_yaml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
    }

    /// The records of the task's JSONL file.
    pub fn records(&self, folder: &Path) -> Result<Vec<Fields>> {
        let path = folder.join(&self.data.file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The text that the model should go on with after the prompt.
    pub fn answer(&self, fields: &Fields) -> Result<String> {
        let label = fill(&self.answer, fields)?;
        if self.options.is_empty() {
            return Ok(label);
        }
        self.options.get(&label).cloned().with_context(|| format!("no option is called {label:?}"))
    }

    /// The texts that compete; none when the whole vocabulary does.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.options.values().map(String::as_str)
    }

    /// The prompt after the context.
    pub fn question(&self, fields: &Fields) -> Result<String> {
        let template = self.prompt.strip_prefix("{context}").context("a prompt has to begin with its context")?;
        fill(template, fields)
    }
}

/// Fills the `{field}` placeholders of a template.
pub fn fill(template: &str, fields: &Fields) -> Result<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').context("a placeholder is not closed")?;
        let Some(value) = fields.get(name).and_then(|value| value.as_str()) else { bail!("no field {name:?}") };
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    Ok(filled + rest)
}

/// A template without its placeholders, for the words that stand in it.
pub fn literal(template: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for letter in template.chars() {
        match letter {
            '{' => inside = true,
            '}' => inside = false,
            _ if inside => {}
            letter => text.push(letter),
        }
    }
    text
}
