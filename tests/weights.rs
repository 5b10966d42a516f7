//! Bundles whose weights are stored in half the bits: what is in the file, what is said of the difference, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gim_harness::bundle::bake::{BakeError, BakeOptions, bake};
use gim_harness::bundle::manifest::{MANIFEST_FILE, WEIGHT_FILE, WeightType};
use gim_harness::bundle::{BundleError, OpenedBundle, Opening};
use gim_harness::grad::Knobs;
use gim_harness::onnx::proto::{GraphProto, ModelProto};
use gim_harness::runtime::{GradientRow, Model, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::verify::{Check, Effort, Original, verify_against};
use half::{bf16, f16};
use prost::Message as _;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

fn options(weights: WeightType) -> BakeOptions<'static> {
    BakeOptions { weights, ..BakeOptions::default() }
}

/// A bundle of the Llama checkpoint.
fn baked(weights: WeightType) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    bake(&fixture("llama-a"), &place.path().join("bundle"), &options(weights), &mut |_, _| {}).unwrap();
    place
}

fn graph(bundle: &Path, name: &str) -> GraphProto {
    ModelProto::decode(&*fs::read(bundle.join(name)).unwrap()).unwrap().graph.unwrap()
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

fn verified(source: &Path, bundle: &Path) -> Vec<Check> {
    let runtime = runtime();
    let opened = OpenedBundle::open(bundle, &Opening::default()).unwrap();
    let effort = Effort::for_weights(opened.wide_weights());
    let original = Original { path: source, tokenizer: None };
    verify_against(&runtime, original, &opened.into(), &SessionOptions::default(), effort, 0, &|_| {}).unwrap()
}

fn measured(checks: &[Check], name: &str) -> Option<f64> {
    checks.iter().find(|check| check.name == name).map(|check| check.measured)
}

#[test]
fn every_number_is_the_nearest_of_its_type() {
    let bytes = fs::read(fixture("llama-a/model.safetensors")).unwrap();
    let source = SafeTensors::deserialize(&bytes).unwrap();
    for weights in [WeightType::BF16, WeightType::F16] {
        let place = baked(weights);
        let bundle = place.path().join("bundle");
        let stored = fs::read(bundle.join(WEIGHT_FILE)).unwrap();
        let mut compared = 0;
        for tensor in graph(&bundle, "forward.onnx").initializer {
            let Ok(original) = source.tensor(tensor.name()) else { continue };
            assert_eq!(tensor.data_type(), weights.dtype().code(), "{}", tensor.name());
            let number = |key: &str| {
                let entry = tensor.external_data.iter().find(|entry| entry.key() == key).unwrap();
                entry.value().parse::<usize>().unwrap()
            };
            let (offset, length) = (number("offset"), number("length"));
            assert!(offset.is_multiple_of(4096) && length * 2 == original.data().len());
            let wide = original.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            let expected: Vec<u8> = match weights {
                WeightType::BF16 => wide.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect(),
                _ => wide.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect(),
            };
            assert!(stored[offset..offset + length] == expected, "{}", tensor.name());
            compared += 1;
        }
        assert!(compared > 20, "{compared}");
    }
}

#[test]
fn a_table_is_looked_up_in_before_anything_is_cast() {
    let place = baked(WeightType::BF16);
    let bundle = place.path().join("bundle");
    let embed = graph(&bundle, "embed.onnx");
    let operators: Vec<&str> = embed.node.iter().map(|node| node.op_type()).collect();
    assert_eq!(operators, ["Gather", "Cast", "Identity"]);
    assert_eq!(embed.node[0].input[0], embed.initializer[0].name());
    // Forward and backward pass share what was cast.
    let gradient = graph(&bundle, "gradient.onnx");
    let mut cast: Vec<&str> = gradient
        .node
        .iter()
        .filter(|node| node.op_type() == "Cast" && gradient.initializer.iter().any(|w| w.name() == node.input[0]))
        .map(|node| &*node.input[0])
        .collect();
    let all = cast.len();
    cast.sort_unstable();
    cast.dedup();
    assert!(all > 20 && cast.len() == all, "{all} casts of {} weights", cast.len());
}

#[test]
fn what_is_computed_is_near_and_what_is_off_is_said() {
    let runtime = runtime();
    let gradient = |weights| {
        let place = baked(weights);
        let bundle = place.path().join("bundle");
        let mut model = Model::open(&runtime, &bundle, &SessionOptions::default()).unwrap();
        let ids: Vec<i64> = vec![3, 9, 4, 12, 7];
        let embeds = model.embed(&ids).unwrap();
        let row = GradientRow { embeds, position: 4, target: 5, contrast: None };
        let found = model.gradients(&[row], &Knobs::GIM).unwrap().remove(0);
        (place, bundle, f64::from(found.score), found.gradient)
    };
    let (_f32, _, score, exact) = gradient(WeightType::F32);
    for (weights, most) in [(WeightType::BF16, 0.05), (WeightType::F16, 0.005)] {
        let (_place, bundle, rounded, found) = gradient(weights);
        let norm = |x: &ndarray::Array2<f32>| x.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        let off = norm(&(&found - &exact)) / norm(&exact);
        assert!(off > 0.0 && off < most, "{weights:?}: {off}");
        assert!((rounded - score).abs() < most * 10.0, "{weights:?}");

        let checks = verified(&fixture("llama-a"), &bundle);
        assert!(checks.iter().all(Check::passed), "{checks:#?}");
        assert_eq!(measured(&checks, "weights"), Some(0.0));
        for name in ["rounded logits", "rounded attributions"] {
            let off = measured(&checks, name).unwrap();
            assert!(off > 0.0 && off < 10.0 * most, "{name}: {off}");
        }
    }
}

#[test]
fn f32_is_what_it_was_and_is_not_said_to_be_rounded() {
    let (one, other) = (baked(WeightType::F32), tempfile::tempdir().unwrap());
    bake(&fixture("llama-a"), &other.path().join("bundle"), &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let bundle = one.path().join("bundle");
    assert!(contents(&bundle) == contents(&other.path().join("bundle")));
    assert!(graph(&bundle, "embed.onnx").node.iter().all(|node| node.op_type() != "Cast"));
    let checks = verified(&fixture("llama-a"), &bundle);
    assert_eq!(measured(&checks, "rounded logits"), None);
}

/// The Llama checkpoint with one weight of 70,000.
fn large_checkpoint(folder: &Path) -> PathBuf {
    let large = folder.join("large");
    fs::create_dir(&large).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(fixture("llama-a").join(name), large.join(name)).unwrap();
    }
    let mut bytes = fs::read(fixture("llama-a/model.safetensors")).unwrap();
    let at = {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor("model.layers.1.mlp.up_proj.weight").unwrap().data().as_ptr() as usize;
        data - bytes.as_ptr() as usize
    };
    bytes[at..at + 4].copy_from_slice(&70_000f32.to_le_bytes());
    fs::write(large.join("model.safetensors"), bytes).unwrap();
    large
}

#[test]
fn a_weight_that_f16_cannot_hold_is_named_and_nothing_is_left() {
    let place = tempfile::tempdir().unwrap();
    let source = large_checkpoint(place.path());
    let out = place.path().join("bundle");
    let error = bake(&source, &out, &options(WeightType::F16), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, BakeError::Range(_)));
    let said = error.to_string();
    assert!(
        said.contains("'model.layers.1.mlp.up_proj.weight' holds 70000, and the largest number of f16 is 65504"),
        "{said}"
    );
    assert!(said.contains("bf16"), "{said}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "only the checkpoint is there");
    bake(&source, &out, &options(WeightType::BF16), &mut |_, _| {}).unwrap();
}

#[test]
fn a_type_that_bundles_do_not_have_is_refused() {
    let place = baked(WeightType::BF16);
    let bundle = place.path().join("bundle");
    let path = bundle.join(MANIFEST_FILE);
    let text = fs::read_to_string(&path).unwrap().replace("\"dtype\": \"bf16\"", "\"dtype\": \"fp8\"");
    // Sealed as the program does it.
    let start = text.find("\"manifest_sha256\": \"").unwrap() + 20;
    let bare = format!("{}{}", &text[..start], &text[start + 64..]);
    let hash: String = Sha256::digest(&bare).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&path, format!("{}{hash}{}", &text[..start], &text[start + 64..])).unwrap();
    let error = OpenedBundle::open(&bundle, &Opening::default()).unwrap_err();
    assert!(
        matches!(&error, BundleError::Unsound { problem, .. } if problem.contains("its `dtype` is 'fp8'")),
        "{error}"
    );
}
