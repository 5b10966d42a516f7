//! Attributions in the form that inseq saves (0.7.1), which `FeatureAttributionOutput.load` reads.
//!
//! A sequence is a prompt and the token that answers it, as of a decoder without an encoder: inseq's matrix has a row a token
//! and a column a generated one, and what stands for a token of which nothing can be known is not a number.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::{ExportError, Exported, by_example, damaged};
use crate::report::sections::file_name;
use crate::store::{Prompt, Store, Unit};
use crate::text::shown_json;

/// The name that inseq gives the matrix.
const TENSOR: &str = "attribution";

/// A model on a task.
struct Part {
    exported: Exported,
    /// One a declared method, in it one a sequence.
    sequences: Vec<Vec<Value>>,
    prompts: Vec<Value>,
    texts: Vec<Value>,
    /// The longest sequence, and where its answer begins.
    ends: (usize, usize),
}

pub fn write(store: &Store, folder: &Path) -> Result<Vec<Exported>, ExportError> {
    let methods = &store.declared().methods;
    let mut parts: Vec<Part> = Vec::new();
    let found = by_example(store, |units| {
        let key = &units[0].key;
        if parts.last().is_none_or(|part| (&part.exported.model, &part.exported.task) != (&key.model, &key.task)) {
            let (model, task) = (key.model.clone(), key.task.clone());
            let exported = Exported { place: String::new(), model, task, examples: 0, left_out: 0 };
            let sequences = vec![Vec::new(); methods.len()];
            parts.push(Part { exported, sequences, prompts: Vec::new(), texts: Vec::new(), ends: (0, 0) });
        }
        let Some(part) = parts.last_mut() else { return Ok(()) };
        let prompt = store.prompt(&key.model, &key.task, &key.example_id)?;
        match prompt.filter(|prompt| is_whole(prompt, units, methods.len())) {
            Some(prompt) => part.add(&prompt, units),
            None => part.exported.left_out += 1,
        }
        Ok(())
    })?;
    damaged(store, found)?;
    parts.retain(|part| part.exported.examples > 0);
    if parts.is_empty() {
        return Err(ExportError::NoPrompts { store: store.path().to_path_buf() });
    }
    for (number, part) in parts.iter_mut().enumerate() {
        part.exported.place = file_name(&[&(number + 1).to_string(), &part.exported.model, &part.exported.task]);
        let of_part = folder.join(&part.exported.place);
        fs::create_dir(&of_part).map_err(|source| ExportError::Io { path: of_part.clone(), source })?;
        for (place, (method, sequences)) in methods.iter().zip(std::mem::take(&mut part.sequences)).enumerate() {
            // Numbered, because two labels may differ in nothing that a file name holds.
            let path = of_part.join(file_name(&[&(place + 1).to_string(), method])).with_extension("json");
            let text = part.output(method, sequences).to_string();
            fs::write(&path, format!("{}\n", shown_json(&text)))
                .map_err(|source| ExportError::Io { path: path.clone(), source })?;
        }
    }
    Ok(parts.into_iter().map(|part| part.exported).collect())
}

/// Whether all methods have finite attributions of just these tokens, and the answer is one token.
fn is_whole(prompt: &Prompt, units: &[Unit], methods: usize) -> bool {
    let fits = |unit: &Unit| {
        unit.tokens.len() == prompt.ids.len()
            && unit
                .attributions
                .first()
                .is_some_and(|values| values.len() == prompt.ids.len() && values.iter().all(|value| value.is_finite()))
    };
    prompt.answer.len() == 1 && units.len() == methods && units.iter().all(fits)
}

impl Part {
    /// An example: one unit a method, in declared order.
    fn add(&mut self, prompt: &Prompt, units: &[Unit]) {
        let tokens = &units[0].tokens;
        let named = |id: i64, token: &str| {
            let attributes = json!({"id": id, "token": token});
            json!({"__instance_type__": ["inseq.utils.typing", "TokenWithId"], "attributes": attributes})
        };
        let source: Vec<Value> = prompt.ids.iter().zip(tokens).map(|(&id, token)| named(id, token)).collect();
        let answer = prompt.answer.iter().map(|(id, token)| named(*id, token));
        let target: Vec<Value> = source.iter().cloned().chain(answer).collect();
        let (start, end) = (source.len(), target.len());
        for (unit, sequences) in units.iter().zip(&mut self.sequences) {
            let matrix = unit.attributions.first().map(|values| matrix(values, end));
            sequences.push(json!({
                "__instance_type__": ["inseq.data.attribution", "GranularFeatureAttributionSequenceOutput"],
                "attributes": {
                    "attr_pos_start": start,
                    "attr_pos_end": end,
                    "source": source,
                    "target": target,
                    "source_attributions": null,
                    "target_attributions": matrix,
                    "sequence_scores": {},
                    "step_scores": {},
                },
            }));
        }
        let text: String = tokens.concat();
        self.texts.push(text.clone().into());
        let answer: String = prompt.answer.iter().map(|(_, token)| token.as_str()).collect();
        self.prompts.push((text + &answer).into());
        self.ends = (self.ends.0.max(start), self.ends.1.max(end));
        self.exported.examples += 1;
    }

    /// Everything of one method.
    fn output(&self, method: &str, sequences: Vec<Value>) -> Value {
        json!({
            "__instance_type__": ["inseq.data.attribution", "FeatureAttributionOutput"],
            "attributes": {
                "info": {
                    "attribution_method": method,
                    "attr_pos_start": self.ends.0,
                    "attr_pos_end": self.ends.1,
                    "attribute_target": false,
                    "constrained_decoding": true,
                    "generated_texts": self.prompts,
                    "input_texts": self.texts,
                    "model_name": self.exported.model,
                    "task": self.exported.task,
                    "made_by": concat!("gim-harness ", env!("CARGO_PKG_VERSION")),
                    "output_step_attributions": false,
                    "step_scores": [],
                },
                "sequence_attributions": sequences,
                "step_attributions": null,
            },
        })
    }
}

/// `[tokens, 1]` as safetensors in base64; the answer's own row is not a number.
fn matrix(values: &[f64], tokens: usize) -> String {
    let rows = values.iter().map(|&value| value as f32).chain(std::iter::repeat(f32::NAN)).take(tokens);
    let bytes: Vec<u8> = rows.flat_map(f32::to_le_bytes).collect();
    // The shape is that of the bytes.
    let view = TensorView::new(Dtype::F32, vec![tokens, 1], &bytes);
    let written = view.and_then(|view| safetensors::serialize([(TENSOR, view)], None));
    STANDARD.encode(written.unwrap_or_default())
}
