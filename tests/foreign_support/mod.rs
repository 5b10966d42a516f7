//! A bundle of a forward ONNX file against numbers that an independent PyTorch implementation computed: logits, gradients
//! at every setting of the knobs, contrast, attention rollout.

use std::path::{Path, PathBuf};

use gim_harness::bundle::Manifest;
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::grad::{Knobs, SiteKind};
use gim_harness::runtime::{GradientRow, Model, Row, Runtime, RuntimeOptions, SessionOptions};
use safetensors::SafeTensors;
use serde_json::Value;

/// Relative errors: the norm of the difference over the norm of the reference.
const TOLERANCE: f64 = 1e-4;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The folder with the reference numbers of a model.
fn reference(model: &str) -> PathBuf {
    match model {
        "llama-a" => fixtures().join("llama-a"),
        other => fixtures().join("foreign").join(other),
    }
}

/// Options with the tokenizer of a model.
pub fn options(model: &str) -> BakeOptions<'static> {
    BakeOptions { tokenizer: Some(reference(model).join("tokenizer.json")), ..BakeOptions::default() }
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], reference: &[f64]) {
    assert_eq!(found.len(), reference.len(), "{what}: length");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(reference).map(|(a, b)| a - b)) / norm(&mut reference.iter().copied());
    assert!(error < TOLERANCE, "{what}: relative error {error:.2e}");
    println!("{what}: relative error {error:.2e}");
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn ints(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect()
}

/// Every site of a model: softmaxes, norms, products, activations.
fn expected_sites(model: &str) -> [(SiteKind, usize); 4] {
    let products = if model == "llama-a" { 9 } else { 6 };
    [
        (SiteKind::AttentionSoftmax, 3),
        (SiteKind::Norm, 7),
        (SiteKind::ActivationProduct, products),
        (SiteKind::Activation, 3),
    ]
}

/// Attention rollout (arXiv 2005.00928): one row of the product over layers of the row-normalised mean over heads plus
/// the identity.
fn rollout(attention: &ndarray::Array4<f32>, row: usize) -> Vec<f64> {
    let (layers, heads, n, _) = attention.dim();
    let mut product: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for layer in 0..layers {
        let mut next = vec![vec![0.0; n]; n];
        for i in 0..n {
            let mut weights: Vec<f64> = (0..n)
                .map(|j| {
                    let mean = (0..heads).map(|h| f64::from(attention[[layer, h, i, j]])).sum::<f64>() / heads as f64;
                    mean + f64::from(u8::from(i == j))
                })
                .collect();
            let total: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= total);
            for (j, weight) in weights.iter().enumerate() {
                for k in 0..n {
                    next[i][k] += weight * product[j][k];
                }
            }
        }
        product = next;
    }
    product.swap_remove(row)
}

/// Bakes a file that computes what `model_name` does and compares everything. `file`: what messages call it.
pub fn agrees_with(file: &str, path: &Path, model_name: &str) -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let manifest =
        bake(path, &out, &options(model_name), &mut |_, _| {}).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(manifest.source.kind, "onnx");
    assert_eq!((manifest.dimensions.layers, manifest.dimensions.vocab), (3, 131));
    for (kind, count) in expected_sites(model_name) {
        assert_eq!(manifest.audit.count(kind), count, "{file}: {kind}");
    }
    for layer in 0..3 {
        assert_eq!(manifest.audit.count_in(SiteKind::AttentionSoftmax, Some(layer)), 1, "{file}: layer {layer}");
        assert_eq!(manifest.audit.count_in(SiteKind::Norm, Some(layer)), 2, "{file}: layer {layer}");
        assert_eq!(manifest.audit.count_in(SiteKind::Activation, Some(layer)), 1, "{file}: layer {layer}");
    }

    let golden: Value =
        serde_json::from_slice(&std::fs::read(reference(model_name).join("golden.json")).unwrap()).unwrap();
    let bytes = std::fs::read(reference(model_name).join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| -> Vec<f64> {
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
    };
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    let mut model = Model::open(&runtime, &out, &SessionOptions::default()).unwrap();
    let settings = [
        ("gradient", Knobs::GRADIENT),
        ("gim", Knobs::GIM),
        ("tsg", Knobs { softmax_temperature: 2.0, ..Knobs::GRADIENT }),
        ("norm_freeze", Knobs { norm_freeze: 1.0, ..Knobs::GRADIENT }),
        ("grad_norm", Knobs { product_share: 0.5, ..Knobs::GRADIENT }),
        ("attn_lrp", Knobs::ATTN_LRP),
        ("transformer_lrp", Knobs::TRANSFORMER_LRP),
    ];
    let examples = golden["examples"].as_array().unwrap();
    // All prompts at once, so that the shorter ones are padded.
    let rows: Vec<Row> = examples
        .iter()
        .map(|example| {
            let input_ids = ints(&example["input_ids"]);
            let position = input_ids.len() - 1;
            Row::new(input_ids, position)
        })
        .collect();
    let logits = model.logits(&rows).unwrap();
    let attention = model.attention(&rows).unwrap();
    for (i, (example, row)) in examples.iter().zip(&rows).enumerate() {
        let scored = if manifest.dimensions.labels.is_some() { 0 } else { row.position() };
        let wanted = &example["attribution"]["attention_rollout"];
        let wanted: Vec<f64> = wanted.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_close(&format!("{file}: {i}.rollout"), &rollout(&attention[i], scored), &wanted);
        assert_close(&format!("{file}: {i}.logits_last"), &wide(&logits[i]), &tensor(&format!("{i}.logits_last")));
        let mut question = GradientRow {
            embeds: model.embed(&row.ids()).unwrap(),
            position: row.position(),
            target: example["target"].as_i64().unwrap(),
            contrast: None,
        };
        for (name, knobs) in settings {
            let found = model.gradients(std::slice::from_ref(&question), &knobs).unwrap().remove(0);
            let name = format!("{i}.grad.{name}");
            assert_close(&format!("{file}: {name}"), &wide(found.gradient.as_slice().unwrap()), &tensor(&name));
        }
        question.contrast = example["contrast"].as_i64();
        let found = model.gradients(&[question], &Knobs::GIM).unwrap().remove(0);
        let name = format!("{i}.grad_contrast.gim");
        assert_close(&format!("{file}: {name}"), &wide(found.gradient.as_slice().unwrap()), &tensor(&name));
    }
    manifest
}
