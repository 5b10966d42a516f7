//! Right bundles of models with weights that no ordinary model has. Every check must pass.

use std::path::{Path, PathBuf};

use gim_harness::bundle::bake::BakeOptions;
use gim_harness::verify::{Check, bake};
use safetensors::{Dtype, SafeTensors, serialize};

use super::{runtime, source};

/// What becomes of a tensor, by its name and sizes.
type Change = fn(&str, &[usize], &mut [f32]);

/// Weights as they are found in real models, or might be.
const EXTREMES: &[(&str, Change)] = &[
    ("as they are", |_, _, _| {}),
    ("outlier channels, a hundred times as large", |name, dims, numbers| {
        if is_embedding(name, dims) || name.contains("norm") || name.contains("Norm") || name.contains("ln_") {
            let width = *dims.last().unwrap();
            numbers.iter_mut().enumerate().filter(|(i, _)| i % width == 3).for_each(|(_, x)| *x = *x * 100.0 + 1.0);
        }
    }),
    ("embeddings that are zero, but for a few", |name, dims, numbers| {
        if is_embedding(name, dims) {
            numbers.chunks_exact_mut(dims[1]).step_by(2).for_each(|row| row.fill(0.0));
        }
    }),
    ("saturated attention", |name, _, numbers| {
        if ["q_proj", "query", "c_attn"].iter().any(|part| name.contains(part)) {
            numbers.iter_mut().for_each(|x| *x *= 3e3);
        }
    }),
    ("saturated activations", |name, _, numbers| {
        if ["gate_proj", "intermediate", "c_fc"].iter().any(|part| name.contains(part)) {
            numbers.iter_mut().for_each(|x| *x *= 1e3);
        }
    }),
    ("a layer of zeros", |name, _, numbers| {
        if name.contains(".1.") {
            numbers.fill(0.0);
        }
    }),
    ("norms that let nothing through", |name, _, numbers| {
        if name.contains("norm") || name.contains("Norm") || name.contains("ln_") {
            numbers.fill(0.0);
        }
    }),
    ("all weights tiny", |_, _, numbers| numbers.iter_mut().for_each(|x| *x *= 1e-6)),
    ("all weights large", |_, _, numbers| numbers.iter_mut().for_each(|x| *x *= 30.0)),
    ("embeddings of every size", |name, dims, numbers| {
        if is_embedding(name, dims) {
            let rows = numbers.chunks_exact_mut(dims[1]).enumerate();
            rows.for_each(|(i, row)| row.iter_mut().for_each(|x| *x *= 10f32.powi(i as i32 % 9 - 4)));
        }
    }),
];

fn is_embedding(name: &str, dims: &[usize]) -> bool {
    dims.len() == 2 && (name.contains("embed") || name.contains("wte"))
}

fn changed(model: &str, folder: &Path, change: Change) -> PathBuf {
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(source(model).join(name), folder.join(name)).unwrap();
    }
    let bytes = std::fs::read(source(model).join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let changed = tensors.iter().map(|(name, view)| {
        assert_eq!(view.dtype(), Dtype::F32);
        let (numbers, _) = view.data().as_chunks::<4>();
        let mut numbers: Vec<f32> = numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        change(name, view.shape(), &mut numbers);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        (name.to_owned(), view.shape().to_vec(), bytes)
    });
    let changed: Vec<(String, Vec<usize>, Vec<u8>)> = changed.collect();
    let views = changed.iter().map(|(name, dims, bytes)| {
        (name, safetensors::tensor::TensorView::new(Dtype::F32, dims.clone(), bytes).unwrap())
    });
    let written = serialize(views, None).unwrap();
    std::fs::write(folder.join("model.safetensors"), written).unwrap();
    folder.to_owned()
}

/// Bakes with all checks; says how much of what they may be off they are.
fn passes(what: &str, source: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let baked = bake(&runtime(), source, &folder.path().join("bundle"), &BakeOptions::default(), &|_| {});
    let (_, checks) = baked.unwrap_or_else(|error| panic!("{what}: {error}"));
    let figures = checks.iter().filter(|check| check.tolerance > 0.0);
    let figures: Vec<String> = figures
        .map(|Check { name, measured, tolerance, .. }| format!("{name} {measured:.0e}/{tolerance:.0e}"))
        .collect();
    println!("{what}: {}", figures.join(", "));
}

#[test]
fn right_bundles_pass_whatever_their_weights() {
    for model in ["llama-a", "gemma2-a", "bert-a", "gpt2-a"] {
        for (weights, change) in EXTREMES {
            let folder = tempfile::tempdir().unwrap();
            passes(&format!("{model}, {weights}"), &changed(model, folder.path(), *change));
        }
    }
}

/// Rerankers and regression heads have one output, so that there is nothing to contrast it with.
#[test]
fn a_classifier_with_one_output_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed("bert-a", folder.path(), |_, _, _| {});
    let config = std::fs::read_to_string(path.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let fields = config.as_object_mut().unwrap();
    fields.remove("label2id");
    fields.insert("id2label".to_owned(), serde_json::json!({"0": "LABEL_0"}));
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    let bytes = std::fs::read(path.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views = tensors.iter().map(|(name, view)| {
        let mut dims = view.shape().to_vec();
        let mut data = view.data();
        if name.starts_with("classifier.") {
            data = &data[..data.len() / dims[0]];
            dims[0] = 1;
        }
        (name.to_owned(), safetensors::tensor::TensorView::new(view.dtype(), dims, data).unwrap())
    });
    let written = serialize(views, None).unwrap();
    std::fs::write(path.join("model.safetensors"), written).unwrap();
    passes("bert-a with one label", &path);
}
