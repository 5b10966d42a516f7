//! Forward ONNX files that PyTorch's exporters wrote, against numbers that an independent PyTorch implementation
//! computed: logits, gradients at every setting of the knobs, contrast, attention rollout.

mod foreign_support;

use foreign_support::{agrees_with, fixtures};

fn agrees(file: &str) {
    let path = fixtures().join("foreign").join(format!("{file}.onnx"));
    agrees_with(file, &path, file.split('.').next().unwrap());
}

#[test]
fn torchscript_17_sdpa_classifier() {
    agrees("bert-a.ts17.sdpa");
}

#[test]
fn dynamo_23_single_operators_classifier() {
    agrees("bert-a.dynamo23.sdpa");
}

#[test]
fn torchscript_17_eager_gpt2() {
    agrees("gpt2-a.ts17.eager");
}

#[test]
fn torchscript_17_sdpa_llama() {
    agrees("llama-a.ts17.sdpa");
}

#[test]
fn dynamo_18_eager_llama() {
    agrees("llama-a.dynamo18.eager");
}

#[test]
fn dynamo_23_single_operators_llama() {
    agrees("llama-a.dynamo23.sdpa");
}

/// As onnxruntime-genai's model builder writes it: grouped-query attention with rotation inside, skip norms, and a cache
/// that is empty at the start.
#[test]
fn contrib_operators_and_an_empty_cache() {
    agrees("llama-a.genai21.gqa");
}
