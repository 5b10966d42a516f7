//! The names of a classifier's labels.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diagnostics::quote;

/// More labels than this are refused wherever they are counted rather than named.
pub const MAX_LABELS: usize = 1 << 20;

/// One name a label, in the order of the logits; at least one. Names need not be unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    names: Vec<String>,
}

/// Why a text names no label, as the rest of a sentence that begins with the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error("has no label {}", quote(.name))]
    Unknown { name: String },
    #[error("has several labels {}: the numbers {} and {}", quote(.name), .numbers.0, .numbers.1)]
    Ambiguous {
        name: String,
        /// The first two.
        numbers: (usize, usize),
    },
}

impl Labels {
    /// Labels that have names; `None` for an empty list.
    pub fn named(names: Vec<String>) -> Option<Self> {
        Some(Labels { names }).filter(|labels| !labels.names.is_empty())
    }

    /// Labels that nobody named: `LABEL_0`, `LABEL_1`, ... as `transformers` calls them. `None` for none, or for more
    /// than [`MAX_LABELS`].
    pub fn unnamed(count: usize) -> Option<Self> {
        let count = Some(count).filter(|&count| count <= MAX_LABELS)?;
        Labels::named((0..count).map(|number| format!("LABEL_{number}")).collect())
    }

    /// The field `id2label` of a `config.json`: an object with the keys `"0"` to `"n - 1"`.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence that begins with the field's name.
    pub fn from_id2label(value: &Value) -> Result<Self, String> {
        let fields = value.as_object().ok_or_else(|| format!("should be an object, and is {value}"))?;
        if fields.is_empty() {
            return Err("names no label".to_owned());
        }
        let names = (0..fields.len()).map(|number| match fields.get(&number.to_string()) {
            Some(Value::String(name)) => Ok(name.clone()),
            Some(Value::Number(name)) => Ok(name.to_string()),
            Some(other) => Err(format!("names the label {number} {other}, which is no text")),
            None => Err(format!("has {} labels, and none with the number {number}", fields.len())),
        });
        Ok(Labels { names: names.collect::<Result<_, _>>()? })
    }

    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// In the order of the logits.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The name of a label, by its number.
    pub fn name(&self, number: i64) -> Option<&str> {
        usize::try_from(number).ok().and_then(|number| self.names.get(number)).map(String::as_str)
    }

    /// The number of the label that has this name; where none has, of the one that has it but for upper and lower case
    /// and spaces at either end (decoders' answers often begin with a space).
    ///
    /// # Errors
    /// [`LabelError::Unknown`], [`LabelError::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<i64, LabelError> {
        let unknown = || LabelError::Unknown { name: name.to_owned() };
        let only = |is_meant: &dyn Fn(&str) -> bool| {
            let mut found = self.names.iter().enumerate().filter(|(_, name)| is_meant(name)).map(|(number, _)| number);
            match (found.next(), found.next()) {
                (None, _) => Ok(None),
                (Some(number), None) => Ok(Some(i64::try_from(number).map_err(|_| unknown())?)),
                (Some(first), Some(second)) => {
                    Err(LabelError::Ambiguous { name: name.to_owned(), numbers: (first, second) })
                }
            }
        };
        if let Some(number) = only(&|known| known == name)? {
            return Ok(number);
        }
        let folded = |text: &str| text.trim().to_lowercase();
        let wanted = folded(name);
        only(&|known| folded(known) == wanted)?.ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(names: &[&str]) -> Labels {
        Labels::named(names.iter().map(|&name| name.to_owned()).collect()).unwrap()
    }

    #[test]
    fn names_are_found_exactly_before_they_are_found_nearly() {
        let sentiment = labels(&["NEGATIVE", "NEUTRAL", "positive", "Positive"]);
        assert_eq!(sentiment.find("positive"), Ok(2));
        assert_eq!(sentiment.find("Positive"), Ok(3));
        assert_eq!(sentiment.find(" negative"), Ok(0));
        let error = sentiment.find("POSITIVE").unwrap_err();
        assert_eq!(error.to_string(), "has several labels `POSITIVE`: the numbers 2 and 3");
        assert_eq!(sentiment.find("good").unwrap_err().to_string(), "has no label `good`");
        assert_eq!((sentiment.name(1), sentiment.name(4), sentiment.name(-1)), (Some("NEUTRAL"), None, None));
        assert!(matches!(labels(&["a", "a"]).find("a"), Err(LabelError::Ambiguous { numbers: (0, 1), .. })));
    }

    #[test]
    fn labels_without_names_are_numbered() {
        let labels = Labels::unnamed(3).unwrap();
        assert_eq!(labels.names().collect::<Vec<_>>(), ["LABEL_0", "LABEL_1", "LABEL_2"]);
        assert_eq!(labels.find("label_2"), Ok(2));
        assert!(Labels::unnamed(0).is_none() && Labels::unnamed(usize::MAX).is_none());
    }

    #[test]
    fn id2label_has_every_number_once() {
        let read = |value: Value| Labels::from_id2label(&value);
        // Ten and more labels: the numbers count, not the order of the keys.
        let many: serde_json::Map<String, Value> = (0..12).map(|n| (n.to_string(), json!(format!("l{n}")))).collect();
        assert_eq!(read(many.into()).unwrap().name(10), Some("l10"));
        assert_eq!(read(json!({"0": 5, "1": "x"})).unwrap(), labels(&["5", "x"]));
        for (value, words) in [
            (json!({}), "names no label"),
            (json!(["a"]), "should be an object"),
            (json!({"0": "a", "2": "b"}), "has 2 labels, and none with the number 1"),
            (json!({"0": "a", "1": null}), "names the label 1 null, which is no text"),
        ] {
            assert!(read(value.clone()).unwrap_err().contains(words), "{value}");
        }
    }
}
