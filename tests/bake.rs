//! Baking with the checks at its end: what is wrong does not appear, and what was there stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use assert_cmd::Command;
use gim_harness::bundle::bake::{BakeError, BakeOptions, write};
use gim_harness::grad::SiteKind;
use gim_harness::onnx::proto::ModelProto;
use gim_harness::runtime::{Runtime, RuntimeOptions, Watch};
use gim_harness::verify::{Step, VerifiedBakeError, bake};
use prost::Message as _;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The Llama checkpoint with its last weights not a number.
fn broken_checkpoint(folder: &Path) -> PathBuf {
    let broken = folder.join("broken");
    std::fs::create_dir(&broken).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(fixtures().join("llama-a").join(name), broken.join(name)).unwrap();
    }
    let mut bytes = std::fs::read(fixtures().join("llama-a/model.safetensors")).unwrap();
    let end = bytes.len();
    bytes[end - 64..].copy_from_slice(&f32::NAN.to_le_bytes().repeat(16));
    std::fs::write(broken.join("model.safetensors"), bytes).unwrap();
    broken
}

#[test]
fn every_check_is_made_before_the_bundle_appears() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let checked = std::cell::RefCell::new(Vec::new());
    let (manifest, checks) =
        bake(&runtime(), &fixtures().join("llama-a"), &out, &BakeOptions::default(), &|step| match step {
            Step::Writing { done, total } => assert!(done <= total),
            Step::Checking(next) => {
                assert!(!out.exists());
                checked.borrow_mut().push(next.to_owned());
            }
        })
        .unwrap();
    for step in ["hashes of the files", "weights", "double precision", "padding", "attention", "runtime", "definition"]
    {
        assert!(checked.borrow().iter().any(|next| next == step), "{step} did not come");
    }
    let first = ["weights", "sites", "knobs leave the score", "forward equality", "gradient", "gradient of gim"];
    for name in first.into_iter().chain(["padding", "attention", "finite", "runtime", "definition"]) {
        assert!(checks.iter().any(|check| check.name == name && check.passed()), "{name} has no outcome");
    }
    assert_eq!(names(folder.path()), ["bundle"]);
    assert_eq!(manifest.audit.count(SiteKind::Norm), 7);
}

#[test]
fn a_model_that_computes_nonsense_does_not_appear_and_what_was_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let broken = broken_checkpoint(folder.path());
    let out = folder.path().join("bundle");
    bake(&runtime(), &fixtures().join("llama-a"), &out, &BakeOptions::default(), &|_| {}).unwrap();
    let before = std::fs::read(out.join("bundle.json")).unwrap();
    let error = bake(&runtime(), &broken, &out, &BakeOptions::default(), &|_| {}).unwrap_err();
    assert!(matches!(error, VerifiedBakeError::Failed { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("was not kept") && text.contains("finite: "), "{text}");
    assert_eq!(names(folder.path()), ["broken", "bundle"]);
    assert!(std::fs::read(out.join("bundle.json")).unwrap() == before);
}

#[test]
fn an_interrupted_bake_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let interrupted = AtomicBool::new(true);
    let options = BakeOptions { interrupted: Some(&interrupted), ..BakeOptions::default() };
    let error =
        write(&fixtures().join("llama-a"), &folder.path().join("bundle"), &options, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, BakeError::Interrupted), "{error}");
    assert!(names(folder.path()).is_empty());
}

/// One layer of a file by others has its SiLU's sigmoid left out: what is left is a product and no activation.
#[test]
fn the_checks_stop_where_they_are_when_they_are_interrupted() {
    for step in ["weights", "double precision", "padding", "definition"] {
        let watch = Arc::new(Watch::default());
        let options = RuntimeOptions { watch: Some(Arc::clone(&watch)), ..RuntimeOptions::default() };
        let runtime = Runtime::open(&options, &|line| eprintln!("{line}")).unwrap();
        let last = std::cell::RefCell::new(String::new());
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("bundle");
        // The flag that signals set is raised when a check begins, so its own passes have to look at it.
        let stopped = bake(&runtime, &fixtures().join("llama-a"), &out, &BakeOptions::default(), &|at| {
            if let Step::Checking(next) = at {
                next.clone_into(&mut last.borrow_mut());
                watch.interrupted.fetch_or(next == step, Ordering::Relaxed);
            }
        });
        assert!(stopped.is_err_and(|error| error.is_interruption()), "{step}");
        assert_eq!(last.take(), step);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}

#[test]
fn fewer_sites_than_layers_are_an_error_unless_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    let bytes = std::fs::read(fixtures().join("foreign/llama-a.dynamo18.eager.onnx")).unwrap();
    let mut model = ModelProto::decode(bytes.as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let sigmoid = graph.node.iter_mut().find(|node| node.op_type() == "Sigmoid").unwrap();
    sigmoid.op_type = Some("Identity".to_owned());
    std::fs::write(&file, model.encode_to_vec()).unwrap();

    let bake = |out: &str, more: &[&str]| {
        let mut command = Command::cargo_bin("gim-harness").unwrap();
        command.arg("bake").arg(&file).arg("--out").arg(folder.path().join(out)).args(more);
        command.arg("--tokenizer").arg(fixtures().join("llama-a/tokenizer.json"));
        command.output().unwrap()
    };
    let refused = bake("refused", &[]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(
        text.contains("3 attention layers, and only 2 places for activation") && text.contains("--allow-missing-sites")
    );
    let allowed = bake("allowed", &["--allow-missing-sites"]);
    let text = String::from_utf8_lossy(&allowed.stderr);
    assert_eq!(allowed.status.code(), Some(0), "{text}");
    assert!(
        text.contains("2 activation sites") && text.contains("verified on random inputs, 27 checks passed"),
        "{text}"
    );
    let unverified = bake("unverified", &["--allow-missing-sites", "--no-verify"]);
    assert!(String::from_utf8_lossy(&unverified.stderr).contains("not verified"));
    assert_eq!(names(folder.path()), ["allowed", "model.onnx", "unverified"]);
}
