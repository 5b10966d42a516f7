//! Code that a checkpoint brings along (`auto_map`), which nobody runs here.

use serde_json::Value;

use super::CheckpointError;
use super::config::Config;

/// Checks that the model is what transformers' own class computes, whatever code comes with it.
///
/// Many checkpoints are older than their architecture's place in transformers and still name the code of that time:
/// `modeling_phi3.Phi3ForCausalLM` for a `phi3`. That is accepted, with a note; classes or files of other names are not.
pub fn check(config: &mut Config, model_type: &str, classes: &[&str]) -> Result<Option<String>, CheckpointError> {
    let Some(map) = config.get("auto_map").cloned() else { return Ok(None) };
    let entries: Vec<(String, String)> = match &map {
        Value::Object(map) => map.iter().filter_map(|(key, value)| Some((key.clone(), reference(value)?))).collect(),
        _ => return Err(config.problem(format!("'auto_map' should be an object, and is {map}"))),
    };
    let mut own = None;
    for (key, reference) in entries {
        let Some(place) = Place::of(&key, classes) else { continue };
        if !place.accepts(&reference, model_type, classes) {
            return Err(config.problem(format!(
                "'auto_map' says that code of the model's own computes it ('{key}' is {reference}), which is not run here; \
                 if transformers' {} computes the same, remove 'auto_map', else export the model to an .onnx file with its \
                 code and bake that",
                classes.first().copied().unwrap_or_default()
            )));
        }
        if place == Place::Model {
            own = Some(reference);
        }
    }
    Ok(own.map(|reference| {
        format!(
            "the checkpoint brings code of its own ({reference}); what was baked is transformers' class of that name"
        )
    }))
}

/// `modeling_x.Class`, without the repository that may stand before it.
fn reference(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    Some(text.rsplit_once("--").map_or(text, |(_, reference)| reference).to_owned())
}

/// What an entry is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Configuration,
    Model,
}

impl Place {
    /// `None` for tokenizers and processors, and for other heads.
    fn of(key: &str, classes: &[&str]) -> Option<Self> {
        if key == "AutoConfig" {
            return Some(Place::Configuration);
        }
        let head = key.strip_prefix("AutoModel")?;
        classes
            .iter()
            .any(|class| class.ends_with(head) || head == "ForCausalLM" && class.ends_with("LMHeadModel"))
            .then_some(Place::Model)
    }

    fn accepts(self, reference: &str, model_type: &str, classes: &[&str]) -> bool {
        let Some((file, class)) = reference.split_once('.') else { return false };
        match self {
            Place::Configuration => file == format!("configuration_{model_type}"),
            // The bare model of a classifier, which `AutoModel` gives, is not among the classes.
            Place::Model => {
                let bare = |known: &&str| known.split("For").next().is_some_and(|stem| class == format!("{stem}Model"));
                file == format!("modeling_{model_type}") && (classes.contains(&class) || classes.iter().any(bare))
            }
        }
    }
}
