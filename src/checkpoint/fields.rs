//! What Hugging Face transformers reads of a `config.json`.
//!
//! `read_fields.json` is made by `scripts/list_read_fields.py` from the source of a pinned version, and
//! `scripts/check_read_fields.py` tries it: a field that it calls harmless changes no logit there, and one that it does
//! not list is read by nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

static LISTED: LazyLock<Listed> = LazyLock::new(|| {
    // A file of the project's own; the tests below read it.
    serde_json::from_str(include_str!("read_fields.json")).unwrap_or_else(|error| panic!("read_fields.json: {error}"))
});

#[derive(Debug, Deserialize)]
struct Listed {
    transformers: String,
    every: Fields,
    architectures: BTreeMap<String, Fields>,
    rope_parameters: BTreeMap<String, Vec<String>>,
}

/// Fields by name.
pub type Fields = BTreeMap<String, Field>;

/// One that transformers reads.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Field {
    /// What its absence means; `None` where absence means nothing, or null.
    #[serde(default)]
    pub default: Option<Value>,
    /// Why it changes neither logits nor gradients.
    #[serde(default)]
    pub harmless: Option<String>,
    /// The field that this is another name of.
    #[serde(default)]
    pub means: Option<String>,
}

/// The version of transformers that was read.
pub fn version() -> &'static str {
    &LISTED.transformers
}

/// The fields that are read for a `model_type`; those that all architectures have in common for one that is not listed.
pub fn of(model_type: &str) -> Fields {
    let mut fields = LISTED.every.clone();
    fields.extend(LISTED.architectures.get(model_type).cloned().unwrap_or_default());
    fields
}

/// The entries of `rope_parameters` that a kind of rotation computes with.
pub fn of_rotation(kind: &str) -> Fields {
    let names = LISTED.rope_parameters.get(kind).map_or(&[][..], Vec::as_slice);
    names.iter().map(|name| (name.clone(), Field::default())).collect()
}

/// What the absence of fields means, of those that matter.
pub fn defaults(fields: &Fields) -> Map<String, Value> {
    let mattering = fields.iter().filter(|(_, field)| field.harmless.is_none());
    mattering.filter_map(|(name, field)| Some((name.clone(), field.default.clone()?))).collect()
}

/// Whether two values are one: 1 is 1.0.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_is_listed_and_nothing_else() {
        let known: Vec<&str> = LISTED.architectures.keys().map(String::as_str).collect();
        let mut built: Vec<&str> = super::super::ARCHITECTURES.iter().map(|known| known.model_type).collect();
        built.sort_unstable();
        assert_eq!(known, built);
    }

    #[test]
    fn what_a_field_means() {
        let gpt2 = of("gpt2");
        assert_eq!(gpt2["hidden_size"].means.as_deref(), Some("n_embd"));
        assert_eq!(gpt2["n_embd"].default, Some(768.into()));
        assert!(gpt2["summary_type"].harmless.is_some() && gpt2["quantization_config"].harmless.is_none());
        assert_eq!(of("llama")["is_causal"].default, Some(true.into()));
        assert_eq!(of("bert")["is_causal"].default, Some(false.into()));
        assert!(!of("llama").contains_key("unsloth_version"));
        assert_eq!(defaults(&of("qwen3"))["head_dim"], 128);
        assert!(of_rotation("yarn").contains_key("beta_fast") && !of_rotation("linear").contains_key("beta_fast"));
        assert!(version().starts_with("5."));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        use serde_json::json;
        assert!(equal(&json!({"a": [1, 2.0]}), &json!({"a": [1.0, 2]})));
        assert!(!equal(&json!({"a": 1}), &json!({"a": 1, "b": 2})) && !equal(&json!("1"), &json!(1)));
    }
}
