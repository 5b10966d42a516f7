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
    let error = off(found, reference);
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

#[derive(Deserialize)]
#[serde(untagged)]
enum Layers {
    Last(u64),
    All(String),
}

#[derive(Deserialize)]
struct GradEllm {
    position: usize,
    form: String,
    layers: Layers,
    weights: String,
    rules: String,
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct OfModel {
    folder: String,
    rows: Vec<GradEllm>,
}

#[derive(Deserialize)]
struct OfGradEllm {
    prompt: Vec<i64>,
    target: i64,
    models: BTreeMap<String, OfModel>,
}

/// scripts/make_grad_ellm_fixtures.py: groups of heads, fused projections, norms of queries and keys, soft-caps, biases.
#[test]
fn grad_ellm_agrees_with_pytorch() {
    let file = std::fs::read(fixtures().join("inside/grad_ellm.json")).unwrap();
    let reference: OfGradEllm = serde_json::from_slice(&file).unwrap();
    assert_eq!(reference.models.len(), 6);
    // The same models as exporters write them.
    let exported = [
        ("llama-a", "foreign/llama-a.ts17.sdpa.onnx"),
        ("llama-a", "foreign/llama-a.genai21.gqa.onnx"),
        ("llama-a", "foreign/llama-a.dynamo18.eager.onnx"),
        ("gpt2-a", "foreign/gpt2-a.ts17.eager.onnx"),
    ];
    let written = reference.models.iter().map(|(name, of)| (name.as_str(), of.folder.as_str()));
    for (name, source) in written.chain(exported) {
        let of = &reference.models[name];
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        let tokenizer = source.ends_with(".onnx").then(|| fixtures().join("llama-a/tokenizer.json"));
        let options = BakeOptions { tokenizer, ..BakeOptions::default() };
        bake(&fixtures().join(source), &bundle, &options, &mut |_, _| {}).unwrap();
        let mut model = open(&bundle);
        let case = |position| Case {
            prompt: reference.prompt.as_slice().into(),
            position,
            question: Question { target: reference.target, contrast: None, score: Score::Logit },
            ranked: Units::tokens(0..reference.prompt.len()),
            ..case()
        };
        let mut worst: f64 = 0.0;
        for row in &of.rows {
            let word =
                |word: &str, of: &[&'static str]| OptionValue::Word(of.iter().find(|known| **known == word).unwrap());
            let layers = match &row.layers {
                Layers::Last(count) => OptionValue::Integer(*count),
                Layers::All(all) => word(all, &["all"]),
            };
            let options = [
                ("layers", layers),
                ("weights", word(&row.weights, &["loosened", "softmax"])),
                ("form", word(&row.form, &["published", "aligned"])),
                ("rules", word(&row.rules, &["gradient", "gim"])),
            ];
            let (found, cost) = explain(&mut model, &method("grad_ellm", &options), &case(row.position)).unwrap();
            let found = found.unwrap().values.remove(0);
            if row.values.iter().all(|&value| value == 0.0) {
                assert_eq!(found, row.values);
            } else {
                worst = worst.max(off(&found, &row.values));
                assert_close(&found, &row.values);
            }
            assert!(found[row.position + 1..].iter().all(|&value| value == 0.0));
            assert_eq!((cost.gradient_rows, cost.forward_rows), (1, 0));
        }
        println!("{source}: {} rows, relative error at most {worst:.1e}", of.rows.len());
        // As it was published it multiplies numbers of two vectors that need not have one length.
        let published = explain(&mut model, &method("grad_ellm", &[]), &case(7)).unwrap().0;
        let some = of.rows.iter().any(|row| row.form == "published");
        assert_eq!(published.is_ok(), some, "{name}");
        if let Err(reason) = published {
            assert!(reason.0.contains("`form: aligned`"), "{reason}");
        }
        let question = Question { score: Score::LogProbability, ..case(7).question };
        let refused = explain(&mut model, &method("grad_ellm", &[]), &Case { question, ..case(7) }).unwrap().0;
        assert!(refused.unwrap_err().0.contains("logarithm of a probability"));
    }
}

#[derive(Deserialize)]
struct WithoutLayers {
    folder: String,
    attributions: BTreeMap<String, Vec<f64>>,
    /// What the gradient times the difference, of no layer left out, is off by.
    from_gradient: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct OfAtpStar {
    prompt: Vec<i64>,
    target: i64,
    baseline: i64,
    models: BTreeMap<String, WithoutLayers>,
}

/// scripts/make_atp_star_fixtures.py: attention and feed-forward one after the other and side by side, and norms behind them.
#[test]
fn atp_star_agrees_with_pytorch() {
    let file = std::fs::read(fixtures().join("inside/atp_star.json")).unwrap();
    let reference: OfAtpStar = serde_json::from_slice(&file).unwrap();
    assert_eq!(reference.models.len(), 6);
    let exported = [
        ("llama-a", "foreign/llama-a.ts17.sdpa.onnx"),
        ("llama-a", "foreign/llama-a.dynamo23.sdpa.onnx"),
        ("gpt2-a", "foreign/gpt2-a.ts17.eager.onnx"),
    ];
    let written = reference.models.iter().map(|(name, of)| (name.as_str(), of.folder.as_str()));
    for (name, source) in written.chain(exported) {
        let of = &reference.models[name];
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        let tokenizer = source.ends_with(".onnx").then(|| fixtures().join("llama-a/tokenizer.json"));
        let options = BakeOptions { tokenizer, ..BakeOptions::default() };
        bake(&fixtures().join(source), &bundle, &options, &mut |_, _| {}).unwrap();
        let mut model = open(&bundle);
        let case = Case {
            prompt: reference.prompt.as_slice().into(),
            position: reference.prompt.len() - 1,
            question: Question { target: reference.target, contrast: None, score: Score::Logit },
            baseline: reference.baseline,
            ranked: Units::tokens(0..reference.prompt.len()),
            ..case()
        };
        for (rules, values) in &of.attributions {
            let rules = OptionValue::Word(["gradient", "gim"].into_iter().find(|known| known == rules).unwrap());
            let (found, cost) = explain(&mut model, &method("atp_star", &[("rules", rules)]), &case).unwrap();
            let found = found.unwrap().values.remove(0);
            println!("{source} {rules:?}: relative error {:.1e}", off(&found, values));
            assert_close(&found, values);
            assert_eq!((cost.gradient_rows as usize, cost.forward_rows), (model.manifest().dimensions.layers, 0));
        }
        assert!(of.from_gradient.values().all(|&off| off > 0.1), "{source}");
    }
}

/// Where a norm stands behind the sum, nothing goes around a layer; where an answer is a label, no token is followed by it.
#[test]
fn models_without_the_graphs_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    bake(&fixtures().join("architectures/bert-a"), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let mut model = open(&bundle);
    let case = Case { position: 0, question: Question { target: 1, contrast: None, score: Score::Logit }, ..case() };
    for (name, reason) in [
        ("atp_star", "what layer 0 gives is no sum of what enters it"),
        ("grad_ellm", "a classifier has no such token"),
    ] {
        let (found, cost) = explain(&mut model, &method(name, &[]), &case).unwrap();
        let said = found.unwrap_err().to_string();
        assert!(said.contains(reason), "{name}: {said}");
        assert_eq!(cost.gradient_rows, 0);
    }
}

/// Relative error: the norm of the difference over the norm of the reference.
fn off(found: &[f64], reference: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(reference).map(|(a, b)| a - b)) / norm(&mut reference.iter().copied())
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
    for (name, lacks) in [
        ("value_zeroing", "value_zeroing.onnx"),
        ("attention_x_gradient", "score_gradient.onnx"),
        ("grad_ellm", "attention_projections.onnx"),
        ("atp_star", "gradient_drop.onnx"),
    ] {
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
