//! Bundles that compute in another type than f32: nearer to the truth in f64, near enough in f16, and asked in the same way.

use std::fs;
use std::path::{Path, PathBuf};

use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::bundle::manifest::{ComputeType, WeightType};
use gim_harness::bundle::{Manifest, OpenedBundle, Opening};
use gim_harness::grad::Knobs;
use gim_harness::onnx::proto::ModelProto;
use gim_harness::onnx::proto::tensor_proto::DataType;
use gim_harness::runtime::{Gradient, GradientRow, Model, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::verify::{Check, Effort, Original, verify_against};
use prost::Message as _;

/// Norms, gates, positions and heads of every kind.
const FOLDERS: [&str; 6] = [
    "llama-a",
    "architectures/gemma3-a",
    "architectures/gpt2-a",
    "architectures/gpt_neox-a",
    "architectures/bert-a",
    "architectures/qwen3-a",
];

/// Those with the error function.
const WITH_ERF: [&str; 2] = ["architectures/gpt_neox-a", "architectures/bert-a"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

struct Baked {
    source: PathBuf,
    bundle: PathBuf,
    manifest: Manifest,
    _place: tempfile::TempDir,
}

fn baked(name: &str, compute: ComputeType, weights: WeightType) -> Baked {
    let place = tempfile::tempdir().unwrap();
    let (source, bundle) = (fixture(name), place.path().join("bundle"));
    let options = BakeOptions { compute, weights, ..BakeOptions::default() };
    let manifest = bake(&source, &bundle, &options, &mut |_, _| {}).unwrap();
    Baked { source, bundle, manifest, _place: place }
}

fn verified(baked: &Baked) -> Vec<Check> {
    let opened = OpenedBundle::open(&baked.bundle, &Opening::default()).unwrap();
    let effort = Effort::for_weights(opened.wide_weights());
    let original = Original { path: &baked.source, tokenizer: None };
    verify_against(&runtime(), original, &opened.into(), &SessionOptions::default(), effort, 0, &|_| {}).unwrap()
}

fn runtime_off(checks: &[Check]) -> f64 {
    checks.iter().find(|check| check.name == "runtime").map(|check| check.measured).unwrap()
}

fn gradient(baked: &Baked) -> Gradient {
    let mut model = Model::open(&runtime(), &baked.bundle, &SessionOptions::default()).unwrap();
    let ids: Vec<i64> = vec![3, 9, 4, 12, 7];
    let position = baked.manifest.dimensions.scored_position(ids.len());
    let embeds = model.embed(&ids).unwrap();
    let row = GradientRow { embeds, position, target: 1, contrast: None };
    model.gradients(&[row], &Knobs::GIM).unwrap().remove(0)
}

fn off(found: &Gradient, exact: &Gradient) -> f64 {
    let norm = |x: &ndarray::Array2<f32>| x.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
    norm(&(&found.gradient - &exact.gradient)) / norm(&exact.gradient)
}

#[test]
fn double_precision_is_nearer_to_what_the_graphs_mean() {
    for name in FOLDERS {
        let (single, double) =
            (baked(name, ComputeType::F32, WeightType::F32), baked(name, ComputeType::F64, WeightType::F32));
        let checks = verified(&double);
        let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed()).collect();
        assert!(failed.is_empty(), "{name}: {failed:#?}");
        // What is left is that results are f32, and so is the error function, of which small differences are taken.
        // Where a model has one, it may be off by more than all that single precision adds.
        let (wide, narrow) = (runtime_off(&checks), runtime_off(&verified(&single)));
        let most = if WITH_ERF.contains(&name) { 5e-6 } else { 3e-7 };
        assert!(wide < most && (wide < narrow || WITH_ERF.contains(&name)), "{name}: {wide} and {narrow}");
        let deviation = off(&gradient(&single), &gradient(&double));
        assert!(deviation > 0.0 && deviation < 1e-4, "{name}: {deviation}");
    }
}

#[test]
fn half_precision_is_near_and_its_products_are_of_that_type() {
    for name in FOLDERS {
        let (single, half) =
            (baked(name, ComputeType::F32, WeightType::F32), baked(name, ComputeType::F16, WeightType::F16));
        let checks = verified(&half);
        let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed()).collect();
        assert!(failed.is_empty(), "{name}: {failed:#?}");
        let deviation = off(&gradient(&half), &gradient(&single));
        assert!(deviation > 1e-5 && deviation < 0.05, "{name}: {deviation}");
    }
}

#[test]
fn ports_stay_what_they_are_and_weights_stand_there_once() {
    for (compute, weights) in [
        (ComputeType::F64, WeightType::F32),
        (ComputeType::F16, WeightType::F16),
        (ComputeType::F16, WeightType::F32),
        (ComputeType::F64, WeightType::BF16),
    ] {
        let other = baked("llama-a", compute, weights);
        let plain = baked("llama-a", ComputeType::F32, WeightType::F32);
        assert_eq!(other.manifest.graphs, plain.manifest.graphs);
        assert_eq!(other.manifest.compute_dtype.as_deref(), Some(compute.dtype().name()));
        assert_eq!(plain.manifest.compute_dtype, None);
        for file in other.manifest.graphs.keys() {
            let model = ModelProto::decode(&*fs::read(other.bundle.join(file)).unwrap()).unwrap();
            let graph = model.graph.unwrap();
            let mut names: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{file}");
            for port in graph.input.iter().chain(&graph.output) {
                let Some(gim_harness::onnx::proto::type_proto::Value::TensorType(tensor)) =
                    port.r#type.as_ref().and_then(|kind| kind.value.as_ref())
                else {
                    panic!("{file}: {} is no tensor", port.name())
                };
                let kinds = [DataType::Float as i32, DataType::Int64 as i32];
                assert!(kinds.contains(&tensor.elem_type()), "{file}: {}", port.name());
            }
        }
    }
}
