//! What looks inside the network, against PyTorch on the same models and prompts (scripts/make_inside_fixtures.py).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

use gim_harness::attribution::{Attribution, Case, Method, Question, Settings, build, explain};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::config::{OptionValue, Score};
use gim_harness::faithfulness::{Evaluated, FAMILIES, Measured, Ranking, measure};
use gim_harness::grad::Knobs;
use gim_harness::runtime::{Change, GradientRow, Graph, Model, Row, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::units::Units;
use ndarray::Axis;
use serde::Deserialize;

/// Relative errors: the norm of the difference over the norm of the reference. The runtime computes in f32.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    prompt: Vec<i64>,
    target: i64,
    baseline: i64,
    ranked: Vec<usize>,
    llama: Llama,
    streams: BTreeMap<String, Stream>,
}

#[derive(Deserialize)]
struct Llama {
    score: f64,
    layers: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    attention_x_gradient: Vec<f64>,
    attention_x_gradient_relevance: Vec<f64>,
    attention_x_gradient_gim: Vec<f64>,
    attention_flow: Vec<f64>,
    value_zeroing: Vec<f64>,
    value_zeroing_rollout: Vec<f64>,
    self_repair: SelfRepair,
}

#[derive(Deserialize)]
struct SelfRepair {
    threshold: f64,
    rows: usize,
    least: f64,
    largest: f64,
    interaction: f64,
    share: BTreeMap<String, f64>,
    error: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Stream {
    prompt: Vec<i64>,
    target: i64,
    /// By method, layer and token.
    attributions: BTreeMap<String, Vec<Vec<f64>>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn golden() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN
        .get_or_init(|| serde_json::from_slice(&std::fs::read(fixtures().join("inside/golden.json")).unwrap()).unwrap())
}

fn open(bundle: &Path) -> Model {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    Model::open(&runtime, bundle, &SessionOptions::default()).unwrap()
}

fn llama() -> Model {
    static BUNDLE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = BUNDLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        bake(&fixtures().join("llama-a"), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
        folder
    });
    open(&folder.path().join("bundle"))
}

fn case() -> Case {
    let golden = golden();
    Case {
        key: "golden".to_owned(),
        prompt: golden.prompt.as_slice().into(),
        position: golden.prompt.len() - 1,
        question: Question { target: golden.target, contrast: None, score: Score::Logit },
        following: Vec::new(),
        baseline: golden.baseline,
        ranked: Units::tokens(golden.ranked.iter().copied()),
    }
}

type Options<'a> = &'a [(&'a str, OptionValue)];

fn settings(options: Options) -> Settings {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    Settings { options, seed: 3, ..Settings::default() }
}

fn method(name: &str, options: Options) -> Rc<dyn Method> {
    build(name, &settings(options)).unwrap()
}

#[track_caller]
fn assert_close(found: &[f64], reference: &[f64]) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(reference).map(|(a, b)| a - b)) / norm(&mut reference.iter().copied());
    assert!(found.len() == reference.len() && error < TOLERANCE, "{error:e}: {found:?} {reference:?}");
}

fn metric(model: &mut Model, name: &str, options: Options, method: &Rc<dyn Method>) -> Measured {
    let family = FAMILIES.iter().find(|family| family.metrics.iter().any(|metric| metric.name == name)).unwrap();
    let values = vec![0.0; golden().prompt.len()];
    let evaluated = Evaluated {
        case: Rc::new(case()),
        attribution: Rc::new(Attribution { values: vec![values.clone()], diagnostics: BTreeMap::new() }),
        seed: 0,
        ranking: Ranking::new(&values, &case().ranked),
        evidence: Rc::new([]),
        full: golden().llama.score,
        method: Rc::clone(method),
    };
    measure(model, &family.build(&settings(options)), evaluated).unwrap().0
}

#[test]
fn methods_agree_with_pytorch() {
    let (mut model, golden) = (llama(), &golden().llama);
    let word = |name, word| (name, OptionValue::Word(word));
    let cases: [(&str, Options, &[f64]); 6] = [
        ("attention_flow", &[], &golden.attention_flow),
        ("attention_x_gradient", &[], &golden.attention_x_gradient),
        ("attention_x_gradient", &[word("combine", "relevance")], &golden.attention_x_gradient_relevance),
        ("attention_x_gradient", &[word("rules", "gim")], &golden.attention_x_gradient_gim),
        ("value_zeroing", &[], &golden.value_zeroing),
        ("value_zeroing", &[word("combine", "rollout")], &golden.value_zeroing_rollout),
    ];
    for (name, options, reference) in cases {
        let (found, _) = explain(&mut model, &method(name, options), &case()).unwrap();
        println!("{name} {options:?}");
        assert_close(&found.unwrap().values[0], reference);
    }
}

#[test]
fn layer_wise_faithfulness_agrees_with_pytorch() {
    let mut model = llama();
    for (name, references) in &golden().llama.layers {
        let method = method(name, &[]);
        let mean = [("baseline", OptionValue::Word("mean"))];
        let cases: [(&str, &str, Options); 3] = [
            ("layer_comprehensiveness", "comprehensiveness", &[]),
            ("layer_comprehensiveness", "comprehensiveness_from_mean", &mean),
            ("layer_sufficiency", "sufficiency", &[]),
        ];
        for (wanted, reference, options) in cases {
            let found = metric(&mut model, wanted, options, &method);
            let curve = &found.curves[0];
            println!("{name} {reference}");
            assert_close(&curve.score, &references[reference]);
            assert_eq!(curve.step, (0..curve.score.len()).collect::<Vec<usize>>());
            assert_eq!(
                (curve.curve.as_str(), curve.fraction.first(), curve.fraction.last()),
                (wanted, Some(&0.0), Some(&1.0))
            );
            let mean = curve.score.iter().sum::<f64>() / curve.score.len() as f64;
            assert!((found.values[0].clone().unwrap() - mean).abs() < 1e-12);
        }
        let every = metric(&mut model, "layer_sufficiency", &[("every", OptionValue::Integer(2))], &method);
        let all: Vec<f64> = references["sufficiency"].iter().step_by(2).copied().collect();
        assert_close(&every.curves[0].score, &all);
    }
}

#[test]
fn self_repair_agrees_with_pytorch() {
    let (mut model, golden) = (llama(), &golden().llama.self_repair);
    for name in ["gradient", "tsg"] {
        let options = [("threshold", OptionValue::Number(golden.threshold)), ("most", OptionValue::Integer(100_000))];
        let found = metric(&mut model, "self_repair", &options, &method(name, &[]));
        let values: Vec<f64> = found.values.iter().map(|value| value.clone().unwrap()).collect();
        println!("{name}: {} rows, {values:?}", golden.rows);
        // D are differences of scores in f32.
        for (found, reference) in values.iter().zip([golden.interaction, golden.share[name], golden.error[name]]) {
            assert!((found - reference).abs() < 1e-3 * reference.abs().max(0.1), "{found} {reference}");
        }
        let curve = &found.curves[0].score;
        for (found, reference) in [(curve[0], golden.least), (curve[20], golden.largest)] {
            assert!((found - reference).abs() < 1e-3 * reference.abs().max(1.0), "{found} {reference}");
        }
    }
}

#[test]
fn the_residual_stream_is_where_transformers_has_it() {
    for (name, stream) in &golden().streams {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        bake(&fixtures().join("architectures").join(name), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
        let mut model = open(&bundle);
        let position = model.manifest().dimensions.scored_position(stream.prompt.len());
        let embeds = model.embed(&stream.prompt).unwrap();
        let row = GradientRow { embeds, position, target: stream.target, contrast: None };
        for (method, reference) in &stream.attributions {
            let knobs = if method == "gim" { Knobs::GIM } else { Knobs::GRADIENT };
            let found = model.residuals(std::slice::from_ref(&row), &knobs).unwrap().remove(0);
            let products = found.values.mapv(f64::from) * found.gradient.mapv(f64::from);
            let all: Vec<f64> = products.sum_axis(Axis(2)).iter().copied().collect();
            println!("{name} {method}");
            assert_close(&all, &reference.concat());
        }
    }
}

#[derive(Deserialize)]
struct Zeroing {
    input_ids: Vec<i64>,
    /// Of all layers but the last, the row of the last token.
    layers: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct OfInseq {
    examples: Vec<Zeroing>,
}

/// scripts/make_inseq_fixtures.py. inseq leaves out distances below 1e-5 and computes its cosines in single precision.
#[test]
fn value_zeroing_agrees_with_inseq() {
    let file = std::fs::read(fixtures().join("inside/inseq_value_zeroing.json")).unwrap();
    let reference: OfInseq = serde_json::from_slice(&file).unwrap();
    let mut model = llama();
    for of in reference.examples {
        let last = of.input_ids.len() - 1;
        let found = model.value_zeroing(&Row::new(of.input_ids, last)).unwrap();
        assert_eq!(of.layers.len(), found.len_of(Axis(0)) - 1);
        for (layer, expected) in of.layers.iter().enumerate() {
            let row: Vec<f64> = (0..=last).map(|key| f64::from(found[[layer, last, key]])).collect();
            let sum: f64 = row.iter().sum();
            for (found, expected) in row.iter().zip(expected) {
                assert!((found / sum - expected).abs() < 1e-4, "{layer}: {row:?} {expected:?}");
            }
        }
    }
}

#[test]
fn bundles_of_before_say_what_they_lack() {
    let mut model = open(&fixtures().join("runtime/bundle"));
    let case = Case {
        prompt: [1, 2, 3].as_slice().into(),
        position: 2,
        question: Question { target: 4, contrast: None, score: Score::Logit },
        ranked: Units::tokens(0..2),
        ..case()
    };
    for (name, lacks) in [("value_zeroing", "value_zeroing.onnx"), ("attention_x_gradient", "score_gradient.onnx")] {
        let (found, _) = explain(&mut model, &method(name, &[]), &case).unwrap();
        assert_eq!(found.unwrap_err().to_string(), format!("this bundle was baked without {lacks}; bake it anew"));
    }
    // Rollout is made of all attention weights where there is no graph for it.
    assert!(model.bundle().has("attention.onnx") && !model.bundle().has("attention_rollout.onnx"));
    let (found, _) = explain(&mut model, &method("attention_rollout", &[]), &case).unwrap();
    let sum: f64 = found.unwrap().values[0].iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
}

#[test]
fn what_does_not_apply_says_why() {
    let mut model = llama();
    let random = method("random", &[]);
    let reason = |measured: &Measured, at: usize| measured.values[at].clone().unwrap_err();
    let found = metric(&mut model, "layer_comprehensiveness", &[], &random);
    assert!(reason(&found, 0).contains("no gradient"), "{found:?}");
    let found = metric(&mut model, "self_repair", &[("threshold", OptionValue::Number(0.01))], &random);
    assert!(found.values[0].is_ok() && reason(&found, 1).contains("no gradient"), "{found:?}");
    let found = metric(&mut model, "self_repair", &[("threshold", OptionValue::Number(1e5))], &random);
    assert!(reason(&found, 0).contains("threshold"), "{found:?}");
    let flow = method("attention_flow", &[("most", OptionValue::Integer(7))]);
    let (found, _) = explain(&mut model, &flow, &case()).unwrap();
    assert!(found.unwrap_err().to_string().contains("8 tokens"));

    // Rows that replace something where nothing is.
    let row = case().row();
    for (change, said) in [
        (Change::Residual { layer: 9 }, "layer 9"),
        (Change::Score { layer: 0, head: 99, query: 0 }, "head 99"),
        (Change::Score { layer: 0, head: 0, query: 8 }, "query 8"),
    ] {
        let rows: Vec<Row> = vec![row.changed(&[1], change)];
        let error = model.scores(&rows, &[1]).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert!(!model.is_loaded(Graph::ForwardEmbeds));
}
