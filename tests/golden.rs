//! A Llama checkpoint against numbers that an independent PyTorch implementation computed: forward pass, gradients at
//! every setting of the knobs, attributions by every method, and faithfulness curves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

use gim_harness::attribution::{Attribution, Case, METHODS, Method, Question, Settings, build, explain};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::config::{OptionValue, Score};
use gim_harness::faithfulness::{Evaluated, FAMILIES, Ranking, measure};
use gim_harness::grad::{Knobs, SiteKind};
use gim_harness::runtime::{GradientRow, Model, Row, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::units::Units;
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
        prompt: example.input_ids.as_slice().into(),
        position: example.input_ids.len() - 1,
        question: Question { target: example.target, contrast: None, score: Score::Logit },
        baseline: golden.baseline_token_id,
        following: Vec::new(),
        ranked: Units::tokens(1..example.input_ids.len() - 1),
    }
}

/// What a method says of cases, one after another.
fn attributed(method: &Rc<dyn Method>, model: &mut Model, cases: &[Case]) -> Vec<Attribution> {
    cases.iter().map(|case| explain(model, method, case).unwrap().0.unwrap()).collect()
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
        let found = attributed(&method, &mut model, &cases);
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
        for (reference, expected) in &example.faithfulness {
            let name = if reference == "occlusion" { "ablation" } else { reference };
            let method = build(name, &Settings::default()).unwrap();
            let found = Rc::new(attributed(&method, &mut model, std::slice::from_ref(&case)).remove(0));
            let full = expected.full;
            let what = format!("{}.{reference}", example.index);
            let curves = [&expected.comprehensiveness_curve, &expected.sufficiency_curve];
            for (family, expected) in FAMILIES.iter().zip(curves) {
                let evaluated = Evaluated {
                    case: Rc::new(case.clone()),
                    attribution: Rc::clone(&found),
                    seed: 0,
                    ranking: Ranking::new(&found.values[0], &case.ranked),
                    evidence: [].into(),
                    full,
                    method: Rc::clone(&method),
                };
                let metric = family.build(&Settings::default());
                let (judgement, cost) = measure(&mut model, &metric, evaluated).unwrap();
                assert_eq!(cost.forward_rows + cost.forward_rows_saved, expected.len() as u64);
                let [curve] = judgement.curves.as_slice() else { panic!("{what}: one curve a family") };
                // Step 0 is the whole prompt, which the reference leaves out.
                let falls = curve.score[1..].iter().map(|score| full - score);
                assert_close(&format!("{what}.{}", curve.curve), falls, expected);
                let mean = expected.iter().sum::<f64>() / expected.len() as f64;
                let value = judgement.values[0].clone().unwrap();
                assert_close(&format!("{what}.{} mean", curve.curve), std::iter::once(value), &[mean]);
            }
        }
    }
}

#[test]
fn integrated_gradients_report_their_completeness() {
    let (golden, mut model) = (golden(), model());
    let cases: Vec<Case> = golden.examples.iter().map(|example| case(&golden, example)).collect();
    let method = build("integrated_gradients", &Settings::default()).unwrap();
    for found in attributed(&method, &mut model, &cases) {
        let gap = found.diagnostics["completeness_gap_relative"];
        assert!(gap < 0.02, "completeness gap {gap}");
        println!("completeness gap {gap:.1e}");
    }
}

#[test]
fn integrated_gradients_double_their_points_until_they_add_up() {
    let (golden, mut model) = (golden(), model());
    let cases: Vec<Case> = golden.examples.iter().map(|example| case(&golden, example)).collect();
    let mut within = |tolerance: f64, most: u64| {
        let options = [
            ("steps", OptionValue::Word("auto")),
            ("tolerance", OptionValue::Number(tolerance)),
            ("max_steps", OptionValue::Integer(most)),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value)).into();
        let method = build("integrated_gradients", &Settings { options, ..Settings::default() }).unwrap();
        let before = model.counters().gradient_rows;
        let found = attributed(&method, &mut model, &cases);
        (found, model.counters().gradient_rows - before)
    };
    let exact = build("integrated_gradients", &Settings::default()).unwrap();
    let mut last = 0.0;
    for tolerance in [0.1, 1e-4] {
        let (found, rows) = within(tolerance, 1023);
        let steps: f64 = found.iter().map(|one| one.diagnostics["steps"]).sum();
        for one in &found {
            let (steps, gap) = (one.diagnostics["steps"], one.diagnostics["completeness_gap_relative"]);
            assert!([15.0, 31.0, 63.0, 127.0, 255.0, 511.0, 1023.0].contains(&steps), "{steps}");
            assert!(gap <= tolerance && one.diagnostics["tolerance_missed"] == 0.0, "{steps} points: {gap}");
        }
        assert_eq!(rows as f64, steps, "every point is computed once, however often they are doubled");
        assert!(steps > last, "a smaller tolerance takes more points");
        last = steps;
    }
    // Two rules for one integral.
    let (auto, _) = within(1e-6, 1023);
    for (auto, fixed) in auto.iter().zip(attributed(&exact, &mut self::model(), &cases)) {
        let size = fixed.values[0].iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        for (a, b) in auto.values[0].iter().zip(&fixed.values[0]) {
            assert!((a - b).abs() < 0.02 * size, "{a} is not {b}");
        }
    }
    // The cap holds, and says so.
    let (capped, rows) = within(1e-12, 31);
    assert_eq!(rows as usize, 31 * cases.len());
    for one in capped {
        assert_eq!((one.diagnostics["steps"], one.diagnostics["tolerance_missed"]), (31.0, 1.0));
    }
}

#[test]
fn where_nothing_changes_the_doubling_ends() {
    let (golden, mut model) = (golden(), model());
    // The prompt is the baseline itself: no change, no gap.
    let mut case = case(&golden, &golden.examples[0]);
    case.prompt = vec![case.baseline; 5].into();
    case.position = 4;
    let options = [("steps".to_owned(), OptionValue::Word("auto"))].into();
    let method = build("integrated_gradients", &Settings { options, ..Settings::default() }).unwrap();
    let found = attributed(&method, &mut model, &[case]).remove(0);
    assert_eq!(found.values[0], [0.0; 5]);
    assert_eq!((found.diagnostics["steps"], found.diagnostics["tolerance_missed"]), (15.0, 0.0));
    assert_eq!(gim_harness::attribution::relative_gap(&found.diagnostics), Some(0.0));
}

#[test]
fn the_bundle_verifies() {
    let checks = verify(&runtime(), bundle(), &SessionOptions::default(), Effort::FULL, 0, &|_| {}).unwrap();
    assert_eq!(checks.len(), 25);
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
