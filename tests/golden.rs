//! A Llama checkpoint against numbers that an independent PyTorch implementation computed: forward pass, gradients at
//! every setting of the knobs, attributions by every method, and faithfulness curves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gim_harness::attribution::{Case, METHODS, Question, Settings, build};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::config::Score;
use gim_harness::faithfulness::{FAMILIES, Judged, Ranking};
use gim_harness::grad::{Knobs, SiteKind};
use gim_harness::runtime::{GradientRow, Model, Row, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::verify::{Effort, verify};
use safetensors::SafeTensors;
use serde::Deserialize;

/// Relative errors: the norm of the difference over the norm of the reference.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    baseline_token_id: i64,
    examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Example {
    index: usize,
    input_ids: Vec<i64>,
    target: i64,
    contrast: i64,
    attribution: BTreeMap<String, Vec<f64>>,
    faithfulness: BTreeMap<String, Faithfulness>,
}

#[derive(Deserialize)]
struct Faithfulness {
    full: f64,
    comprehensiveness_curve: Vec<f64>,
    sufficiency_curve: Vec<f64>,
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-a")
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(fixture().join("golden.json")).unwrap()).unwrap()
}

/// The bundle, baked once for all tests of this file.
fn bundle() -> &'static Path {
    static BUNDLE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = BUNDLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        bake(&fixture(), &folder.path().join("bundle"), &BakeOptions::default(), &mut |_, _| {}).unwrap();
        folder
    });
    Box::leak(folder.path().join("bundle").into_boxed_path())
}

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

fn model() -> Model {
    Model::open(&runtime(), bundle(), &SessionOptions::default()).unwrap()
}

struct Reference(Vec<u8>);

impl Reference {
    fn read() -> Self {
        Reference(std::fs::read(fixture().join("golden.safetensors")).unwrap())
    }

    fn tensor(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
    }
}

#[track_caller]
fn assert_close(what: &str, found: impl IntoIterator<Item = f64>, reference: &[f64]) {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), reference.len(), "{what}: length");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut reference.iter().copied());
    let error = norm(&mut found.iter().zip(reference).map(|(a, b)| a - b)) / size;
    assert!(error < TOLERANCE, "{what}: relative error {error:.2e}");
    println!("{what}: relative error {error:.2e}");
}

fn case(golden: &Golden, example: &Example) -> Case {
    Case {
        key: example.index.to_string(),
        input_ids: example.input_ids.clone(),
        position: example.input_ids.len() - 1,
        question: Question { target: example.target, contrast: None, score: Score::Logit },
        baseline: golden.baseline_token_id,
    }
}

#[test]
fn logits() {
    let (golden, reference, mut model) = (golden(), Reference::read(), model());
    let rows: Vec<Row> = golden.examples.iter().map(|example| case(&golden, example).row()).collect();
    for (example, logits) in golden.examples.iter().zip(model.logits(&rows).unwrap()) {
        let name = format!("{}.logits_last", example.index);
        assert_close(&name, logits.iter().map(|&x| f64::from(x)), &reference.tensor(&name));
    }
}

#[test]
fn gradients_at_every_knob_setting() {
    let (golden, reference, mut model) = (golden(), Reference::read(), model());
    let settings = [
        ("gradient", Knobs::GRADIENT),
        ("gim", Knobs::GIM),
        ("tsg", Knobs { softmax_temperature: 2.0, ..Knobs::GRADIENT }),
        ("norm_freeze", Knobs { norm_freeze: 1.0, ..Knobs::GRADIENT }),
        ("grad_norm", Knobs { product_share: 0.5, ..Knobs::GRADIENT }),
        ("attn_lrp", Knobs::ATTN_LRP),
        ("transformer_lrp", Knobs::TRANSFORMER_LRP),
    ];
    for example in &golden.examples {
        let embeds = model.embed(&example.input_ids).unwrap();
        let mut row =
            GradientRow { embeds, position: example.input_ids.len() - 1, target: example.target, contrast: None };
        for (name, knobs) in settings {
            let found = model.gradients(std::slice::from_ref(&row), &knobs).unwrap().remove(0);
            let name = format!("{}.grad.{name}", example.index);
            assert_close(&name, found.gradient.iter().map(|&x| f64::from(x)), &reference.tensor(&name));
            let full = example.faithfulness["gim"].full;
            assert!((f64::from(found.score) - full).abs() < 1e-4 * full.abs(), "{name}: score {}", found.score);
        }
        row.contrast = Some(example.contrast);
        let found = model.gradients(&[row], &Knobs::GIM).unwrap().remove(0);
        let name = format!("{}.grad_contrast.gim", example.index);
        assert_close(&name, found.gradient.iter().map(|&x| f64::from(x)), &reference.tensor(&name));
    }
}

#[test]
fn attributions_of_every_method() {
    let (golden, mut model) = (golden(), model());
    let cases: Vec<Case> = golden.examples.iter().map(|example| case(&golden, example)).collect();
    let mut compared = 0;
    for entry in METHODS {
        // The reference has two methods under older names.
        let reference = match entry.info.name {
            "ablation" => "occlusion",
            "product_share" => "grad_norm",
            name => name,
        };
        if !golden.examples[0].attribution.contains_key(reference) {
            continue;
        }
        let method = build(entry.info.name, &Settings::default()).unwrap();
        let found = method.attribute(&mut model, &cases).unwrap();
        for (example, found) in golden.examples.iter().zip(found) {
            let name = format!("{}.{reference}", example.index);
            assert_close(&name, found.values[0].iter().copied(), &example.attribution[reference]);
        }
        compared += 1;
    }
    assert_eq!(compared, golden.examples[0].attribution.len(), "a method of the reference was not compared");
}

#[test]
fn faithfulness_curves() {
    let (golden, mut model) = (golden(), model());
    for example in &golden.examples {
        let case = case(&golden, example);
        let interior: Vec<usize> = (1..case.input_ids.len() - 1).collect();
        for (reference, expected) in &example.faithfulness {
            let name = if reference == "occlusion" { "ablation" } else { reference };
            let method = build(name, &Settings::default()).unwrap();
            let found = method.attribute(&mut model, std::slice::from_ref(&case)).unwrap().remove(0);
            let ranking = Ranking::new(&found.values[0], &interior);
            let full = expected.full;
            let judged = Judged { case: &case, ranking: &ranking, full };
            let scores = model.scores(&FAMILIES[0].rows(&judged), &[case.question.target]).unwrap();
            let scores: Vec<f64> = scores.iter().map(|score| f64::from(score.logits[0])).collect();
            let judgement = FAMILIES[0].judge(&judged, &scores);
            let what = format!("{}.{reference}", example.index);
            for (curve, expected) in
                judgement.curves.iter().zip([&expected.comprehensiveness_curve, &expected.sufficiency_curve])
            {
                // Step 0 is the whole prompt, which the reference leaves out.
                let falls = curve.score[1..].iter().map(|score| full - score);
                assert_close(&format!("{what}.{}", curve.curve), falls, expected);
            }
            let mean = |curve: &[f64]| curve.iter().sum::<f64>() / curve.len() as f64;
            assert_close(
                &format!("{what} metrics"),
                judgement.values[..2].iter().map(|value| value.clone().unwrap()),
                &[mean(&expected.comprehensiveness_curve), mean(&expected.sufficiency_curve)],
            );
        }
    }
}

#[test]
fn integrated_gradients_report_their_completeness() {
    let (golden, mut model) = (golden(), model());
    let cases: Vec<Case> = golden.examples.iter().map(|example| case(&golden, example)).collect();
    let method = build("integrated_gradients", &Settings::default()).unwrap();
    for found in method.attribute(&mut model, &cases).unwrap() {
        let gap = found.diagnostics["completeness_gap_relative"];
        assert!(gap < 0.02, "completeness gap {gap}");
        println!("completeness gap {gap:.1e}");
    }
}

#[test]
fn the_bundle_verifies() {
    let checks = verify(&runtime(), bundle(), &SessionOptions::default(), Effort::FULL, 0, &|_| {}).unwrap();
    assert_eq!(checks.len(), 10);
    for check in checks {
        assert!(check.passed(), "{check:?}");
    }
}

#[test]
fn verify_notices_a_changed_file() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("bundle");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(bundle()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let weights = copy.join("weights.bin");
    let mut bytes = std::fs::read(&weights).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error =
        verify(&runtime(), &copy, &SessionOptions::default(), Effort::FULL, 0, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("weights.bin") && error.contains("SHA-256"), "{error}");
}

#[test]
fn the_audit_counts_what_the_architecture_has() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = bake(&fixture(), &folder.path().join("bundle"), &BakeOptions::default(), &mut |_, _| {}).unwrap();
    for layer in 0..3 {
        let counts = SiteKind::ALL.map(|kind| manifest.audit.count_in(kind, Some(layer)));
        assert_eq!(counts, [1, 2, 3, 1], "softmax, norms, products, activations of layer {layer}");
    }
    assert_eq!(manifest.audit.count_in(SiteKind::Norm, None), 1, "the final norm");
    assert_eq!(manifest.audit.sites.len(), 22);
}

#[test]
fn baking_twice_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    bake(&fixture(), &out, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    for entry in std::fs::read_dir(bundle()).unwrap() {
        let path = entry.unwrap().path();
        let again = std::fs::read(out.join(path.file_name().unwrap())).unwrap();
        assert!(again == std::fs::read(&path).unwrap(), "{} differs", path.display());
    }
}
