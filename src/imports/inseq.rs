//! What inseq's `FeatureAttributionOutput.save` writes (inseq 0.7.1): sequences of tokens with their ids, and matrices as
//! safetensors in base64. Sequences have no names, so an example is known by its tokens.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::Reading;
use crate::diagnostics::quote;
use crate::tasks::Example;

#[derive(Deserialize)]
struct File {
    attributes: Output,
}

#[derive(Deserialize)]
struct Output {
    sequence_attributions: Vec<Sequence>,
}

#[derive(Deserialize)]
struct Sequence {
    attributes: Attributed,
}

#[derive(Deserialize)]
struct Attributed {
    /// Of a model with an encoder: what it reads.
    source: Vec<Token>,
    source_attributions: Option<String>,
    /// Of a decoder: the prompt and, from `attr_pos_start` on, what follows.
    target: Vec<Token>,
    target_attributions: Option<String>,
    #[serde(default)]
    attr_pos_start: usize,
}

#[derive(Deserialize)]
struct Token {
    attributes: Named,
}

#[derive(Deserialize)]
struct Named {
    id: i64,
    token: String,
}

pub(super) fn read(text: &str, reading: &mut Reading) {
    let file: File = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let message = format!("this is no attribution that inseq saved: {error}");
            return reading.mistake(error.line().max(1), error.column().max(1), "", message);
        }
    };
    let mut by_tokens: HashMap<&[i64], Vec<&Example>> = HashMap::new();
    for example in &reading.request.dataset.examples {
        by_tokens.entry(&example.input_ids).or_default().push(example);
    }
    for (number, Sequence { attributes: sequence }) in file.attributes.sequence_attributions.into_iter().enumerate() {
        let said = |message: String| format!("sequence {number}: {message}");
        let (prompt, tensor, begins) = match (&sequence.source_attributions, &sequence.target_attributions) {
            (Some(tensor), _) => (&sequence.source[..], tensor, sequence.attr_pos_start),
            (None, Some(tensor)) => {
                (sequence.target.get(..sequence.attr_pos_start).unwrap_or_default(), tensor, sequence.attr_pos_start)
            }
            (None, None) => {
                reading.mistake(1, 1, "", said("it has no attributions".to_owned()));
                continue;
            }
        };
        let matrix = match Matrix::decoded(tensor) {
            Ok(matrix) if matrix.rows >= prompt.len() => matrix,
            Ok(matrix) => {
                let message = format!("attributions of {} tokens, and the prompt has {}", matrix.rows, prompt.len());
                reading.mistake(1, 1, "", said(message));
                continue;
            }
            Err(message) => {
                reading.mistake(1, 1, "", said(message));
                continue;
            }
        };
        let ids: Vec<i64> = prompt.iter().map(|token| token.attributes.id).collect();
        let Some(examples) = by_tokens.get(ids.as_slice()) else {
            let text: String = prompt.iter().take(8).map(|token| token.attributes.token.as_str()).collect();
            reading.pass(format!("a prompt whose tokens are those of no example that is taken ({}..)", quote(&text)));
            continue;
        };
        for example in examples {
            let answers = sequence.target.get(begins..).unwrap_or_default();
            match answers.iter().take(matrix.columns).position(|token| token.attributes.id == example.target) {
                Some(step) => {
                    let values = (0..ids.len()).map(|token| matrix.at(token, step)).collect();
                    reading.take(example, vec![values]);
                }
                None => {
                    let other = answers
                        .first()
                        .map_or("nothing".to_owned(), |token| quote(&token.attributes.token).to_string());
                    let reason = format!("the imported file explains another answer, {other}");
                    reading.given.without.insert(example.id.clone(), reason);
                }
            }
        }
    }
}

/// `[tokens, steps]`.
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn decoded(text: &str) -> Result<Matrix, String> {
        let bytes = STANDARD.decode(text).map_err(|error| format!("its attributions are not base64: {error}"))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| format!("its attributions are no tensor: {error}"))?;
        let tensor =
            tensors.tensor("attribution").map_err(|error| format!("its attributions are no tensor: {error}"))?;
        let &[rows, columns] = tensor.shape() else {
            return Err(format!(
                "its attributions have {} dimensions; save them aggregated, `out.aggregate(\"sum\").save(..)`",
                tensor.shape().len()
            ));
        };
        let values = match tensor.dtype() {
            Dtype::F32 => {
                tensor.data().as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
            }
            Dtype::F64 => tensor.data().as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
            other => return Err(format!("its attributions are {other:?}, neither F32 nor F64")),
        };
        Ok(Matrix { rows, columns, values })
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.values.get(row * self.columns + column).copied().unwrap_or(f64::NAN)
    }
}
