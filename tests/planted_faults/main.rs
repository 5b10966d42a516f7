//! Whether the checks find what they are there for: mistakes of all kinds are planted in bundles that are right, one at a
//! time, and each must be found. `cargo test --test planted_faults -- --nocapture` shows which check found what.

mod extremes;
mod faults;
mod surgeon;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use faults::{EXPANSIONS, Fault, INSIDE, RULES};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::bundle::{Manifest, OpenedBundle, Opening};
use gim_harness::runtime::{Runtime, RuntimeOptions, SessionOptions};
use gim_harness::verify::{Check, Effort, Original, verify_against};
use sha2::{Digest as _, Sha256};
use surgeon::Surgeon;

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

fn source(model: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    match model {
        "llama-a" => fixtures.join(model),
        file if file.ends_with(".onnx") => fixtures.join("foreign").join(file),
        other => fixtures.join("architectures").join(other),
    }
}

/// A right bundle of a model, baked once.
fn right(model: &str) -> PathBuf {
    static BAKED: OnceLock<Mutex<BTreeMap<String, tempfile::TempDir>>> = OnceLock::new();
    let mut baked = BAKED.get_or_init(Mutex::default).lock().unwrap();
    let folder = baked.entry(model.to_owned()).or_insert_with(|| {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = model.ends_with(".onnx").then(|| source("llama-a").join("tokenizer.json"));
        let options = BakeOptions { tokenizer, ..BakeOptions::default() };
        bake(&source(model), &folder.path().join("bundle"), &options, &mut |_, _| {}).unwrap();
        folder
    });
    folder.path().join("bundle")
}

/// A copy of a right bundle in which one thing is wrong, and whose hashes are right again.
struct Copy {
    folder: tempfile::TempDir,
    manifest: Manifest,
}

impl Copy {
    fn of(model: &str) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(right(model)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join("bundle.json")).unwrap();
        let mut manifest: Manifest = serde_json::from_str(&text).unwrap();
        // Version 1 did not state the hash of the manifest itself.
        (manifest.format_version, manifest.manifest_sha256) = (1, None);
        Copy { folder, manifest }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let path = self.folder.path().join(name);
        let before = std::fs::read(&path).unwrap();
        let after = change(before.clone());
        assert!(after != before, "nothing was changed in {name}");
        let entry = self.manifest.files.get_mut(name).unwrap();
        entry.sha256 = Sha256::digest(&after).iter().map(|byte| format!("{byte:02x}")).collect();
        entry.bytes = after.len() as u64;
        std::fs::write(&path, after).unwrap();
    }

    fn checks(&self, model: &str) -> Vec<Check> {
        let text = serde_json::to_string(&self.manifest).unwrap();
        std::fs::write(self.folder.path().join("bundle.json"), text).unwrap();
        let bundle = Arc::new(OpenedBundle::open(self.folder.path(), &Opening::default()).unwrap());
        let options = SessionOptions { threads: Some(1), ..SessionOptions::default() };
        let original = Original { path: &source(model), tokenizer: None };
        verify_against(&runtime(), original, &bundle, &options, Effort::FULL, 0, &|_| {}).unwrap()
    }
}

/// Says which checks found a fault, and that the one did that should.
fn found(what: &str, checks: &[Check], by: &str) {
    let failed: Vec<&str> = checks.iter().filter(|check| !check.passed()).map(|check| check.name).collect();
    println!("{what:60} {}", failed.join(", "));
    assert!(failed.contains(&by), "{what}: found by {failed:?}, and should be by {by}: {checks:#?}");
}

fn all(faults: &[Fault]) {
    for fault in faults {
        let mut copy = Copy::of(fault.model);
        for file in fault.files {
            copy.change(file, |bytes| {
                let mut surgeon = Surgeon::new(&bytes);
                (fault.plant)(&mut surgeon);
                surgeon.finish()
            });
        }
        found(fault.what, &copy.checks(fault.model), fault.by);
    }
}

#[test]
fn what_is_right_passes() {
    for model in ["llama-a", "gemma2-a", "bert-a", "llama-a.dynamo18.eager.onnx"] {
        for check in Copy::of(model).checks(model) {
            assert!(check.passed(), "{model}: {check:?}");
        }
    }
}

#[test]
fn wrong_rules_are_found() {
    all(RULES);
}

#[test]
fn wrong_expansions_are_found() {
    all(EXPANSIONS);
}

#[test]
fn wrong_looks_inside_are_found() {
    all(INSIDE);
}

/// Where a tensor lies in `weights.bin`: by the place that the forward graph reads it from.
fn place(model: &str, tensor: &str) -> std::ops::Range<usize> {
    let bytes = std::fs::read(right(model).join("forward.onnx")).unwrap();
    let mut surgeon = Surgeon::new(&bytes);
    let found = surgeon.graph().initializer.iter().find(|initializer| initializer.name() == tensor).unwrap();
    let number = |key: &str| -> usize {
        found.external_data.iter().find(|entry| entry.key() == key).unwrap().value().parse().unwrap()
    };
    number("offset")..number("offset") + number("length")
}

#[test]
fn wrong_weights_are_found() {
    let model = "llama-a";
    let (up, gate) =
        (place(model, "model.layers.1.mlp.up_proj.weight"), place(model, "model.layers.1.mlp.gate_proj.weight"));
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let faults: [(&str, Damage); 4] = [
        ("weights: a block of them negated", &|bytes| {
            bytes[up.start..up.start + 512].chunks_exact_mut(4).for_each(|number| number[3] ^= 0x80);
        }),
        ("weights: two tensors interchanged", &|bytes| {
            let (a, b) = (bytes[up.clone()].to_vec(), bytes[gate.clone()].to_vec());
            bytes[up.clone()].copy_from_slice(&b);
            bytes[gate.clone()].copy_from_slice(&a);
        }),
        ("weights: two rows interchanged", &|bytes| {
            let row = bytes[gate.start..gate.start + 256].to_vec();
            bytes.copy_within(gate.start + 256..gate.start + 512, gate.start);
            bytes[gate.start + 256..gate.start + 512].copy_from_slice(&row);
        }),
        ("weights: one bit", &|bytes| bytes[up.start + 40] ^= 1),
    ];
    for (what, plant) in faults {
        let mut copy = Copy::of(model);
        copy.change("weights.bin", |mut bytes| {
            plant(&mut bytes);
            bytes
        });
        found(what, &copy.checks(model), "weights");
    }
    let mut copy = Copy::of(model);
    copy.change("weights.bin", |mut bytes| {
        bytes[up.start..up.start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes
    });
    found("weights: not a number", &copy.checks(model), "finite");
}

#[test]
fn an_audit_that_is_not_the_graphs_is_found() {
    for kind in gim_harness::grad::SiteKind::ALL {
        let mut copy = Copy::of("llama-a");
        let at = copy.manifest.audit.sites.iter().position(|site| site.kind == kind).unwrap();
        copy.manifest.audit.sites.remove(at);
        found(&format!("audit: {kind} left out"), &copy.checks("llama-a"), "sites");
    }
}
