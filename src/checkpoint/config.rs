//! `config.json`, read so that nothing in it that matters can be overlooked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::CheckpointError;

/// Fields that cannot change what the forward pass computes at inference: identity, generation, training, caching.
const HARMLESS: &[&str] = &[
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "finetuning_task",
    "hidden_dropout",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "resid_pdrop",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// `config.json` with a record of which fields were read. [`Config::finish`] refuses the rest.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    fields: Map<String, Value>,
    read: BTreeSet<String>,
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let text = std::fs::read(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        let fields: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|source| CheckpointError::Json { path: path.to_owned(), source })?;
        Ok(Config { path: path.to_owned(), fields, read: BTreeSet::new() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file.
    pub fn problem(&self, problem: impl Into<String>) -> CheckpointError {
        CheckpointError::Config { path: self.path.clone(), problem: problem.into() }
    }

    /// A field; null counts as absent.
    pub fn get(&mut self, key: &str) -> Option<&Value> {
        self.read.insert(key.to_owned());
        self.fields.get(key).filter(|value| !value.is_null())
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        what: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match parse(value) {
            Some(parsed) => Ok(Some(parsed)),
            None => {
                let problem = format!("'{key}' should be {what}, and is {value}");
                Err(self.problem(problem))
            }
        }
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, CheckpointError> {
        value.ok_or_else(|| self.problem(format!("'{key}' is missing")))
    }

    pub fn text(&mut self, key: &str) -> Result<String, CheckpointError> {
        let value = self.text_or_none(key)?;
        self.required(key, value)
    }

    pub fn text_or_none(&mut self, key: &str) -> Result<Option<String>, CheckpointError> {
        self.parsed(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A size or count, at least 1.
    pub fn size(&mut self, key: &str) -> Result<usize, CheckpointError> {
        let value = self.size_or_none(key)?;
        self.required(key, value)
    }

    pub fn size_or_none(&mut self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.parsed(key, "a whole number above 0", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0)
        })
    }

    pub fn number(&mut self, key: &str) -> Result<f64, CheckpointError> {
        let value = self.number_or_none(key)?;
        self.required(key, value)
    }

    pub fn number_or_none(&mut self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.parsed(key, "a finite number", |value| value.as_f64().filter(|n| n.is_finite()))
    }

    pub fn flag(&mut self, key: &str, default: bool) -> Result<bool, CheckpointError> {
        Ok(self.parsed(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// The id of a special token.
    pub fn token(&mut self, key: &str) -> Result<Option<i64>, CheckpointError> {
        Ok(self.parsed(key, "a token id", Value::as_i64)?.filter(|&id| id >= 0))
    }

    /// A nested object, with a path of its own in messages.
    pub fn object(&mut self, key: &str) -> Result<Option<Config>, CheckpointError> {
        let fields = self.parsed(key, "an object", |value| value.as_object().cloned())?;
        let path = PathBuf::from(format!("{}: {key}", self.path.display()));
        Ok(fields.map(|fields| Config { path, fields, read: BTreeSet::new() }))
    }

    /// Requires that a field, where present, has the one value that is supported.
    pub fn only(&mut self, key: &str, supported: Value) -> Result<(), CheckpointError> {
        match self.get(key) {
            Some(value) if *value != supported => {
                let problem = format!("'{key}' is {value}, and only {supported} is supported");
                Err(self.problem(problem))
            }
            _ => Ok(()),
        }
    }

    /// Refuses fields that nobody read, unless they are known not to matter or say nothing.
    pub fn finish(&self) -> Result<(), CheckpointError> {
        let silent = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(fields) => fields.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        let unknown: Vec<String> = self
            .fields
            .iter()
            .filter(|(key, value)| !self.read.contains(*key) && !HARMLESS.contains(&key.as_str()) && !silent(value))
            .map(|(key, value)| format!("'{key}' ({value})"))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(self.problem(format!(
            "these fields are not understood and may change what the model computes: {}; \
             remove those that do not matter",
            unknown.join(", ")
        )))
    }
}
