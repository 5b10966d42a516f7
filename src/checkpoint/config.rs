//! `config.json`, read so that nothing in it that matters can be overlooked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::CheckpointError;

/// Fields that cannot change what the forward pass computes at inference: identity, generation, training, caching.
/// Classifiers read what is here about labels.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_dropout",
    "attn_implementation",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "classifier_dropout_prob",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_dropout",
    "embd_pdrop",
    "embedding_dropout",
    "encoder_no_repeat_ngram_size",
    "eos_token",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "language",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "min_length",
    "mlp_dropout",
    "model_max_length",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_dropout",
    "resid_pdrop",
    "residual_dropout",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_first_dropout",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "token_healing",
    "tokenizer_class",
    "tokenizer_model_max_length",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "transformers_weights",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
];

/// Counts above this (layers, heads, elements of a head) are refused before anything is made by them.
const COUNT_LIMIT: usize = 1 << 16;

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

    /// Fills in the fields that the file leaves out. A field that is there stays as it is, null too: null often says
    /// "none" where absence means a default.
    pub fn with_defaults(mut self, defaults: Value) -> Self {
        if let Value::Object(defaults) = defaults {
            for (key, value) in defaults {
                self.fields.entry(key).or_insert(value);
            }
        }
        self
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
