//! `config.json`, read so that nothing in it that matters can be overlooked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::CheckpointError;
use super::fields::{self, Fields};
use crate::{files, lfs};

/// Counts above this (layers, heads, elements of a head) are refused before anything is made by them.
const COUNT_LIMIT: usize = 1 << 16;

/// `config.json`, or an object in it, with a record of which fields were read. [`Config::finish`] looks at the rest.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    /// Where in the file this object is, with a full stop behind it: `rope_scaling.`.
    place: String,
    fields: Map<String, Value>,
    /// What the reference implementation reads here.
    listed: Fields,
    read: BTreeSet<String>,
    ignored: Vec<String>,
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let text =
            files::read(path, files::CONFIG).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        if lfs::is_pointer(&text) {
            return Err(CheckpointError::Config { path: path.to_owned(), problem: lfs::PROBLEM.to_owned() });
        }
        let fields: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|source| CheckpointError::Json { path: path.to_owned(), source })?;
        Ok(Config {
            path: path.to_owned(),
            place: String::new(),
            fields,
            listed: Fields::new(),
            read: BTreeSet::new(),
            ignored: Vec::new(),
        })
    }

    /// Takes what the reference implementation reads here: other names of a field are put under its own, and fields that
    /// the file leaves out get their defaults. A field that is there stays as it is, null too: null often says "none"
    /// where absence means a default.
    ///
    /// # Errors
    /// Where a field and another name of it contradict each other.
    pub fn expecting(mut self, listed: Fields) -> Result<Self, CheckpointError> {
        for (alias, own) in listed.iter().filter_map(|(alias, field)| Some((alias, field.means.as_ref()?))) {
            let Some(value) = self.fields.remove(alias).filter(|value| !value.is_null()) else { continue };
            match self.fields.get(own) {
                Some(other) if !fields::equal(other, &value) => {
                    let problem = format!("'{alias}' is {value} and '{own}' {other}, which are two names of one field");
                    return Err(self.problem(problem));
                }
                _ => drop(self.fields.insert(own.clone(), value)),
            }
        }
        for (key, value) in fields::defaults(&listed) {
            self.fields.entry(key).or_insert(value);
        }
        self.listed = listed;
        Ok(self)
    }

    /// The fields that change nothing, as far as they were met: `rope_scaling.mrope_section`.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Puts a value in a field's place.
    pub fn set(&mut self, key: &str, value: Value) {
        self.fields.insert(key.to_owned(), value);
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

    /// A size that something is repeated by, such as layers or heads.
    pub fn count(&mut self, key: &str) -> Result<usize, CheckpointError> {
        let value = self.count_or_none(key)?;
        self.required(key, value)
    }

    pub fn count_or_none(&mut self, key: &str) -> Result<Option<usize>, CheckpointError> {
        match self.size_or_none(key)? {
            Some(count) if count > COUNT_LIMIT => {
                Err(self.problem(format!("'{key}' is {count}, which is absurd (at most {COUNT_LIMIT})")))
            }
            count => Ok(count),
        }
    }

    /// A whole number from 0 on.
    pub fn index_or_none(&mut self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.parsed(key, "a whole number from 0 on", |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The name of a field that holds an object and that nobody read.
    pub fn unread_object(&self) -> Option<&str> {
        let unread = self.fields.iter().filter(|(key, _)| !self.read.contains(*key));
        unread.filter(|(_, value)| value.is_object()).map(|(key, _)| key.as_str()).next()
    }

    /// Takes what the reference implementation reads here, once that is known.
    pub fn expect(&mut self, listed: Fields) {
        self.listed = listed;
    }

    /// Whether a field is there, be it null.
    pub fn mentions(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    pub fn positive(&mut self, key: &str) -> Result<f64, CheckpointError> {
        let value = self.positive_or_none(key)?;
        self.required(key, value)
    }

    pub fn positive_or_none(&mut self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.parsed(key, "a finite number above 0", |value| value.as_f64().filter(|n| n.is_finite() && *n > 0.0))
    }

    /// Numbers above 0.
    pub fn positives(&mut self, key: &str) -> Result<Vec<f64>, CheckpointError> {
        let parse = |value: &Value| {
            let numbers = value.as_array()?.iter();
            numbers.map(|n| n.as_f64().filter(|n| n.is_finite() && *n > 0.0)).collect::<Option<Vec<f64>>>()
        };
        let values = self.parsed(key, "a list of finite numbers above 0", parse)?;
        self.required(key, values)
    }

    pub fn texts_or_none(&mut self, key: &str) -> Result<Option<Vec<String>>, CheckpointError> {
        let parse = |value: &Value| {
            value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
        };
        self.parsed(key, "a list of texts", parse)
    }

    pub fn number(&mut self, key: &str) -> Result<f64, CheckpointError> {
        let value = self.number_or_none(key)?;
        self.required(key, value)
    }

    pub fn number_or_none(&mut self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.parsed(key, "a finite number", |value| value.as_f64().filter(|n| n.is_finite()))
    }

    /// A switch; where it is neither in the file nor among the defaults, or null, it is off.
    pub fn flag(&mut self, key: &str) -> Result<bool, CheckpointError> {
        Ok(self.flag_or_none(key)?.unwrap_or(false))
    }

    pub fn flag_or_none(&mut self, key: &str) -> Result<Option<bool>, CheckpointError> {
        self.parsed(key, "true or false", Value::as_bool)
    }

    /// The id of a special token.
    pub fn token(&mut self, key: &str) -> Result<Option<i64>, CheckpointError> {
        Ok(self.parsed(key, "a token id", Value::as_i64)?.filter(|&id| id >= 0))
    }

    /// A nested object, with a path of its own in messages.
    pub fn object(&mut self, key: &str) -> Result<Option<Config>, CheckpointError> {
        let fields = self.parsed(key, "an object", |value| value.as_object().cloned())?;
        let path = PathBuf::from(format!("{}: {key}", self.path.display()));
        let place = format!("{}{key}.", self.place);
        Ok(fields.map(|fields| Config {
            path,
            place,
            fields,
            listed: Fields::new(),
            read: BTreeSet::new(),
            ignored: Vec::new(),
        }))
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

    /// Looks at what nobody read. A field that the reference implementation reads is refused, unless it is harmless or at
    /// its default; one that it does not read changes nothing, and is noted.
    pub fn finish(&mut self) -> Result<(), CheckpointError> {
        let silent = |value: &Value| match value {
            Value::Null => true,
            Value::Object(fields) => fields.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        let mut problems = Vec::new();
        for (key, value) in self.fields.iter().filter(|(key, value)| !self.read.contains(*key) && !silent(value)) {
            match self.listed.get(key) {
                None => self.ignored.push(format!("{}{key}", self.place)),
                Some(field) if field.harmless.is_some() => {}
                Some(field) if field.default.as_ref().is_some_and(|default| fields::equal(default, value)) => {}
                Some(field) => problems.push(unsupported(key, value, field.default.as_ref())),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(self.problem(problems.join("; "))) }
    }

    /// [`Config::finish`] for an object in the file, whose ignored fields become this one's.
    pub fn finish_inner(&mut self, mut inner: Config) -> Result<(), CheckpointError> {
        inner.finish()?;
        self.ignored.append(&mut inner.ignored);
        Ok(())
    }
}

/// What is wrong with a field that changes the result in a way that is not built, and what to do.
fn unsupported(key: &str, value: &Value, default: Option<&Value>) -> String {
    match key {
        "quantization_config" => {
            let method = value.get("quant_method").and_then(Value::as_str);
            let method = method.map_or_else(String::new, |method| format!(" by {method}"));
            format!(
                "'{key}' says that the weights are quantised{method}: bake the model they were made from, or load this \
                 one with transformers, call its `dequantize()` and save it with `save_pretrained`"
            )
        }
        "configuration_files" => {
            format!(
                "'{key}' names other configuration files, by version of transformers: put the contents of the newest in here"
            )
        }
        _ => {
            let only = default.filter(|default| !default.is_null());
            let only = only.map_or_else(String::new, |default| format!(", and only {default} is supported"));
            format!(
                "'{key}' is {}{only}; it changes what the model computes, so remove it if it should not be there, or export \
                 the model to an .onnx file and bake that",
                shortened(value)
            )
        }
    }
}

/// A value as JSON, its end cut off where it is long.
fn shortened(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
