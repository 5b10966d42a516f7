//! Forward ONNX files in forms that need more than a rule for each operator: padding looked for in the ids, no mask,
//! operators that ONNX Runtime fused, and single operators in unusual forms. `scripts/make_foreign_fixtures.py` made them.

use std::error::Error;
use std::path::{Path, PathBuf};

use gim_harness::bundle::Manifest;
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::grad::{Knobs, SiteKind};
use gim_harness::runtime::{GradientRow, Model, Row, Runtime, RuntimeOptions, Session, SessionOptions, Tensor};
use gim_harness::verify::{Effort, verify};
use ndarray::{Array2, Axis};
use safetensors::SafeTensors;
use serde_json::Value;

/// Relative errors: the norm of the difference over the norm of the reference.
const TOLERANCE: f64 = 1e-4;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foreign/small").join(name)
}

fn options() -> BakeOptions<'static> {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-a/tokenizer.json");
    BakeOptions { tokenizer: Some(tokenizer), ..BakeOptions::default() }
}

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

#[track_caller]
fn assert_close(what: &str, found: &[f32], reference: &[f32]) {
    assert_eq!(found.len(), reference.len(), "{what}: length");
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(reference).map(|(a, b)| a - b)) / norm(&mut reference.iter().copied());
    assert!(error < TOLERANCE, "{what}: relative error {error:.2e}");
    println!("{what}: relative error {error:.2e}");
}

/// Softmaxes, norms, products and activations.
fn sites(manifest: &Manifest) -> [usize; 4] {
    [SiteKind::AttentionSoftmax, SiteKind::Norm, SiteKind::ActivationProduct, SiteKind::Activation]
        .map(|kind| manifest.audit.count(kind))
}

/// Bakes a file and compares logits and gradients with PyTorch's, both prompts in one batch, the shorter one padded.
fn agrees(name: &str, expected: [usize; 4], max_positions: Option<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let manifest = bake(&fixture(&format!("{name}.onnx")), &out, &options(), &mut |_, _| {}).unwrap();
    assert_eq!(sites(&manifest), expected, "{name}");
    assert_eq!(manifest.dimensions.labels, Some(3));
    assert_eq!(manifest.dimensions.max_positions, max_positions);

    let golden: Value = serde_json::from_slice(&std::fs::read(fixture(&format!("{name}.json"))).unwrap()).unwrap();
    let bytes = std::fs::read(fixture(&format!("{name}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| -> Vec<f32> {
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let options = SessionOptions { padding: true, ..SessionOptions::default() };
    let mut model = Model::open(&runtime(), &out, &options).unwrap();
    let examples = golden["examples"].as_array().unwrap();
    let rows: Vec<Row> = examples
        .iter()
        .map(|example| {
            let ids = example["input_ids"].as_array().unwrap();
            let input_ids: Vec<i64> = ids.iter().map(|id| id.as_i64().unwrap()).collect();
            {
                let last = input_ids.len() - 1;
                Row::new(input_ids, last)
            }
        })
        .collect();
    for (i, logits) in model.logits(&rows).unwrap().iter().enumerate() {
        assert_close(&format!("{name}: {i}.logits"), logits, &tensor(&format!("{i}.logits")));
    }
    let mut questions = Vec::new();
    for (example, row) in examples.iter().zip(&rows) {
        let embeds = model.embed(&row.ids()).unwrap();
        let target = example["target"].as_i64().unwrap();
        questions.push(GradientRow { embeds, position: row.position(), target, contrast: None });
    }
    for (setting, knobs) in [("gradient", Knobs::GRADIENT), ("gim", Knobs::GIM)] {
        for (i, found) in model.gradients(&questions, &knobs).unwrap().iter().enumerate() {
            let key = format!("{i}.{setting}");
            assert_close(&format!("{name}: {key}"), found.gradient.as_slice().unwrap(), &tensor(&key));
        }
    }
}

/// Positions are counted over the ids that are not the padding token: here, over the mask.
#[test]
fn positions_made_from_ids() {
    agrees("roberta.ts17", [2, 5, 4, 2], Some(38));
}

/// The score is taken at the last id that is not the padding token; there is no mask, and lengths differ.
#[test]
fn a_decoder_that_classifies_without_a_mask() {
    agrees("llama-classifier.dynamo18", [2, 5, 6, 2], None);
}

#[test]
fn attention_and_embeddings_that_onnx_runtime_fused() {
    agrees("bert.ort", [2, 5, 4, 2], Some(40));
}

fn log_softmax(x: &[f32]) -> Vec<f32> {
    let total = x.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln() as f32;
    x.iter().map(|&x| x - total).collect()
}

/// The forward graph against ONNX Runtime on the file as it is, and all of `verify`.
fn computes_the_same(name: &str, inputs: &[&str], expected: [usize; 4]) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let file = fixture(&format!("{name}.onnx"));
    let manifest = bake(&file, &out, &options(), &mut |_, _| {}).unwrap();
    assert_eq!(sites(&manifest), expected, "{name}");

    let ends_in_log_softmax = manifest.notes.iter().any(|note| note.contains("ends in log softmax"));
    assert_eq!(ends_in_log_softmax, name == "operators.einsum");

    let (runtime, options) = (runtime(), SessionOptions::default());
    let ids = Array2::from_shape_fn((2, 9), |(row, i)| (3 + 7 * row + 11 * i) as i64 % 131);
    let places = Array2::from_shape_fn((2, 9), |(_, i)| i as i64);
    let feeds = [("input_ids", ids.clone()), ("attention_mask", Array2::ones((2, 9))), ("position_ids", places)];
    let feeds: Vec<(&str, Tensor)> =
        feeds.into_iter().filter(|(name, _)| inputs.contains(name)).map(|(name, x)| (name, x.into())).collect();
    let outputs = Session::open(&runtime, &file, &options).unwrap().run(&feeds).unwrap();
    let Some(Tensor::F32(wanted)) = outputs.get("logits") else { panic!("no logits") };

    let rows: Vec<Row> = ids.outer_iter().map(|row| Row::new(row.to_vec(), 8)).collect();
    let mut model = Model::open(&runtime, &out, &options).unwrap();
    for (i, logits) in model.logits(&rows).unwrap().iter().enumerate() {
        let wanted: Vec<f32> = wanted.index_axis(Axis(0), i).index_axis(Axis(0), 8).iter().copied().collect();
        let logits = if ends_in_log_softmax { log_softmax(logits) } else { logits.to_vec() };
        assert_close(&format!("{name}: row {i}"), &logits, &wanted);
    }
    for check in verify(&runtime, &out, &options, Effort::FULL, 5, &|_| {}).unwrap() {
        assert!(check.passed(), "{name}: {}: {:.2e} of {:.2e}", check.name, check.measured, check.tolerance);
    }
}

#[test]
fn interleaved_rotation_and_capped_attention_with_shared_heads() {
    computes_the_same("operators.rotary", &["input_ids"], [2, 4, 4, 2]);
}

#[test]
fn attention_by_einsum_and_logarithms_of_probabilities() {
    computes_the_same("operators.einsum", &["input_ids", "attention_mask"], [2, 4, 4, 2]);
}

#[test]
fn positions_given_as_an_input() {
    computes_the_same("operators.positions", &["input_ids", "position_ids"], [2, 4, 4, 2]);
}

/// They are given as 0, 1, 2, ..., which is wrong for models whose positions begin behind a padding row.
#[test]
fn positions_that_do_not_begin_at_0() {
    refusal("operators.positions.onnx", r#"{"model_type": "gpt2"}"#).unwrap();
    let error = refusal("operators.positions.onnx", r#"{"model_type": "xlm-roberta"}"#).unwrap_err();
    assert!(error.contains("xlm-roberta") && error.contains("export it without position_ids"), "{error}");
    let error = refusal("operators.padded_positions.onnx", "{}").unwrap_err();
    for part in ["model.onnx", "row 1 of its table of positions in 'placed' is zero", "export it without position_ids"]
    {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
}

/// Bakes a file beside a config.json; the error with all its causes.
fn refusal(name: &str, config: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::copy(fixture(name), &file).unwrap();
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let out = folder.path().join("bundle");
    bake(&file, &out, &options(), &mut |_, _| {}).map(drop).map_err(|error| {
        assert!(!out.exists());
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    })
}

/// RoBERTa's padding is 1. A token that is known to be something else is none, and the score depends on it.
#[test]
fn a_comparison_with_another_token_than_the_padding() {
    refusal("roberta.ts17.onnx", r#"{"model_type": "roberta", "pad_token_id": 1}"#).unwrap();
    refusal("roberta.ts17.onnx", r#"{"model_type": "roberta"}"#).unwrap();
    let error = refusal("roberta.ts17.onnx", r#"{"model_type": "roberta", "pad_token_id": 7}"#).unwrap_err();
    for part in ["model.onnx", "Equal", "compares input_ids with the token 1", "says that padding is 7"] {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
}
