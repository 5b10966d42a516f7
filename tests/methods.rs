//! Methods against captum and SALib on the same model, the same prompt and the same subsets (scripts/make_method_fixtures.py).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

use gim_harness::attribution::{Attribution, Case, Question, Settings, build, explain};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::config::{OptionValue, Score, Words};
use gim_harness::probe::Cost;
use gim_harness::runtime::{Model, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::units::Units;
use serde::Deserialize;

/// Relative errors: the norm of the difference over the norm of the reference.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    prompt: Vec<i64>,
    target: i64,
    baseline: i64,
    ranked: Vec<usize>,
    noise: f64,
    kernel_width: f64,
    regularization: f64,
    attributions: BTreeMap<String, Vec<f64>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn golden() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        serde_json::from_slice(&std::fs::read(fixtures().join("methods/golden.json")).unwrap()).unwrap()
    })
}

fn model() -> Model {
    static BUNDLE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = BUNDLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        bake(&fixtures().join("llama-a"), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
        folder
    });
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    Model::open(&runtime, &folder.path().join("bundle"), &SessionOptions::default()).unwrap()
}

fn case() -> Case {
    let golden = golden();
    Case {
        key: "golden".to_owned(),
        prompt: golden.prompt.as_slice().into(),
        position: golden.prompt.len() - 1,
        question: Question { target: golden.target, contrast: None, score: Score::Logit },
        baseline: golden.baseline,
        following: Vec::new(),
        ranked: Units::tokens(golden.ranked.iter().copied()),
    }
}

/// Options by name.
type Options<'a> = &'a [(&'a str, OptionValue)];

fn attributed(model: &mut Model, name: &str, options: Options, case: &Case) -> (Attribution, Cost) {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let method = build(name, &Settings { options, seed: 3, ..Settings::default() }).unwrap();
    let (found, cost) = explain(model, &method, case).unwrap();
    (found.unwrap(), cost)
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

#[track_caller]
fn error(found: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    norm(found.iter().zip(reference).map(|(a, b)| a - b)) / norm(reference.iter().copied())
}

/// One number a token of the prompt, from one a ranked token.
fn spread(players: &[f64]) -> Vec<f64> {
    let mut all = vec![0.0; golden().prompt.len()];
    golden().ranked.iter().zip(players).for_each(|(&place, &value)| all[place] = value);
    all
}

#[test]
fn what_can_be_enumerated_agrees_with_captum_and_salib() {
    let (golden, mut model) = (golden(), model());
    let integer = OptionValue::Integer;
    let lime = [
        ("samples", integer(64)),
        ("kernel_width", OptionValue::Number(golden.kernel_width)),
        ("regularization", OptionValue::Number(golden.regularization)),
    ];
    let checks: [(&str, &str, Options); 8] = [
        ("ablation", "ablation", &[]),
        ("ablation_window_2", "ablation", &[("window", integer(2))]),
        ("ablation_window_3", "ablation", &[("window", integer(3))]),
        ("integrated_gradients", "integrated_gradients", &[]),
        ("kernel_shap", "kernel_shap", &[("samples", integer(64))]),
        ("shapley", "kernel_shap", &[("samples", integer(64))]),
        ("lime", "lime", &lime),
        ("sobol", "sobol", &[("designs", integer(10))]),
    ];
    for (reference, name, options) in checks {
        let expected = &golden.attributions[reference];
        let whole = expected.len() == golden.prompt.len();
        let expected = if whole { expected.clone() } else { spread(expected) };
        let (found, _) = attributed(&mut model, name, options, &case());
        let error = error(&found.values[0], &expected);
        assert!(error < TOLERANCE, "{reference}: relative error {error:.2e}");
        println!("{reference}: relative error {error:.2e}");
        if let Some(&exact) = found.diagnostics.get("exact") {
            assert_eq!(exact, 1.0, "{name}");
        }
    }
}

#[test]
fn noisy_gradients_agree_with_captum_within_their_error() {
    let (golden, mut model) = (golden(), model());
    // Eight draws tell how much one is off, and their mean is off by a third of that.
    let options = [
        ("samples", OptionValue::Integer(100)),
        ("seeds", OptionValue::Integer(8)),
        ("noise", OptionValue::Number(golden.noise)),
    ];
    for name in ["smooth_grad", "square_grad", "var_grad"] {
        let (found, cost) = attributed(&mut model, name, &options, &case());
        assert_eq!(cost.gradient_rows + cost.gradient_rows_saved, 800);
        let seeds = found.values.len() as f64;
        for (place, reference) in golden.attributions[name].iter().enumerate() {
            let mean = found.values.iter().map(|values| values[place]).sum::<f64>() / seeds;
            let squares = found.values.iter().map(|values| (values[place] - mean).powi(2)).sum::<f64>();
            let standard_error = (squares / (seeds - 1.0) / seeds).sqrt();
            let off = (mean - reference).abs();
            println!("{name} {place}: {mean:.4} for {reference:.4}, standard error {standard_error:.4}");
            // Student's t with 7 degrees of freedom exceeds 6 once in 2,000 times.
            assert!(
                off < 6.0 * standard_error,
                "{name} {place}: {mean} for {reference}, standard error {standard_error}"
            );
        }
    }
}

#[test]
fn without_noise_smooth_grad_is_the_gradient() {
    let mut model = model();
    let (gim, _) = attributed(&mut model, "gim", &[], &case());
    let options = [
        ("samples", OptionValue::Integer(3)),
        ("noise", OptionValue::Number(0.0)),
        ("rules", OptionValue::Word("gim")),
    ];
    let (smooth, _) = attributed(&mut model, "smooth_grad", &options, &case());
    assert!(error(&smooth.values[0], &gim.values[0]) < 1e-6);
    let (variance, _) = attributed(&mut model, "var_grad", &options, &case());
    assert!(variance.values[0].iter().all(|value| value.abs() < 1e-6), "{variance:?}");
}

#[test]
fn sampled_subsets_come_near_the_exact_values() {
    let (golden, mut model) = (golden(), model());
    let integer = OptionValue::Integer;
    // Fewer samples than the 64 subsets, so that they are drawn; the mean over many draws is near what all subsets say.
    for (name, options, allowed) in [
        ("kernel_shap", [("samples", integer(48)), ("seeds", integer(100))], 0.1),
        ("sobol", [("designs", integer(8)), ("seeds", integer(100))], 0.1),
    ] {
        let (found, _) = attributed(&mut model, name, &options, &case());
        assert_eq!((found.diagnostics["exact"], found.values.len()), (0.0, 100), "{name}");
        assert_ne!(found.values[0], found.values[1], "{name}: seeds differ");
        let mean: Vec<f64> = (0..golden.prompt.len())
            .map(|place| found.values.iter().map(|values| values[place]).sum::<f64>() / 100.0)
            .collect();
        let error = error(&mean, &spread(&golden.attributions[name]));
        println!("{name}: relative error of the mean of 100 draws {error:.3}");
        assert!(error < allowed, "{name}: {error}");
        // The same numbers again, whatever was asked before.
        assert_eq!(attributed(&mut model, name, &options, &case()).0, found, "{name}");
        let another = Case { key: "another".to_owned(), ..case() };
        assert_ne!(attributed(&mut model, name, &options, &another).0.values, found.values, "{name}: examples differ");
    }
}

#[test]
fn shapley_values_add_up_and_what_is_not_ranked_gets_nothing() {
    let mut model = model();
    // Too many tokens for all subsets, and fewer subsets than tokens: the sum holds even then.
    let prompt: Vec<i64> = (0..40).map(|i| 3 + 2 * i % 100).collect();
    let case = Case { prompt: prompt.into(), position: 39, ranked: Units::tokens(2..38), ..case() };
    for samples in [16, 200] {
        let (found, cost) = attributed(&mut model, "kernel_shap", &[("samples", OptionValue::Integer(samples))], &case);
        let ends = model.scores(&[case.row(), case.without(case.ranked.places())], &[case.question.target]).unwrap();
        let change = f64::from(ends[0].logits[0]) - f64::from(ends[1].logits[0]);
        let sum: f64 = found.values[0].iter().sum();
        assert!((sum - change).abs() < 1e-5 * change.abs().max(1.0), "{sum} for {change}");
        assert!([0, 1, 38, 39].iter().all(|&place| found.values[0][place] == 0.0));
        assert_eq!(cost.forward_rows + cost.forward_rows_saved, samples);
        assert_eq!(found.diagnostics.contains_key("ridge"), samples == 16, "{:?}", found.diagnostics);
    }
}

#[derive(Deserialize)]
struct Compared {
    folder: String,
    prompt: Vec<i64>,
    baseline: i64,
    target: i64,
    attributions: Vec<f64>,
    change: f64,
    from_gradient: f64,
}

#[derive(Deserialize)]
struct DeepLifted {
    examples: BTreeMap<String, Compared>,
}

/// captum, and a rule written out by hand where captum sees no module (scripts/make_deep_lift_fixtures.py).
#[test]
fn deep_lift_agrees_with_captum() {
    let file = std::fs::read(fixtures().join("methods/deep_lift.json")).unwrap();
    let reference: DeepLifted = serde_json::from_slice(&file).unwrap();
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    assert_eq!(reference.examples.len(), 5);
    for (name, of) in reference.examples {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        bake(&fixtures().join(&of.folder), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
        let mut model = Model::open(&runtime, &bundle, &SessionOptions::default()).unwrap();
        let position = model.manifest().dimensions.scored_position(of.prompt.len());
        let case = Case {
            prompt: of.prompt.as_slice().into(),
            position,
            question: Question { target: of.target, contrast: None, score: Score::Logit },
            baseline: of.baseline,
            ranked: Units::tokens(0..of.prompt.len()),
            ..case()
        };
        let (found, cost) = attributed(&mut model, "deep_lift", &[], &case);
        let off = error(&found.values[0], &of.attributions);
        println!("{name}: relative error {off:.2e}, the gradient's {:.2}", of.from_gradient);
        assert!(off < TOLERANCE && off < of.from_gradient / 100.0, "{name}: relative error {off:.2e}");
        assert_eq!(cost.gradient_rows, 2);
        let gap = (of.attributions.iter().sum::<f64>() - of.change).abs();
        let (own, relative) = (found.diagnostics["completeness_gap"], found.diagnostics["completeness_gap_relative"]);
        assert!((own - gap).abs() < 1e-4 * (gap + of.change.abs()), "{name}: {own} for {gap}");
        assert!((relative - gap / of.change.abs()).abs() < 1e-3, "{name}: {relative}");
        // There is no graph of a logarithm's multipliers.
        let question = Question { score: Score::LogProbability, ..case.question };
        let method = build("deep_lift", &Settings::default()).unwrap();
        let refused = explain(&mut model, &method, &Case { question, ..case }).unwrap().0.unwrap_err();
        assert!(refused.0.contains("logarithm of a probability"), "{refused}");
    }
}

/// A bundle of before there was a share for gates.
#[test]
fn relp_needs_the_share_of_gates() {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    let mut model = Model::open(&runtime, &fixtures().join("runtime/bundle"), &SessionOptions::default()).unwrap();
    let prompt: Vec<i64> = vec![1, 2, 3];
    let case = Case {
        prompt: prompt.as_slice().into(),
        position: 2,
        question: Question { target: 4, contrast: None, score: Score::Logit },
        baseline: 0,
        ranked: Units::tokens(0..3),
        ..case()
    };
    let of = |model: &mut Model, name: &str, options: Options| {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let method = build(name, &Settings { options, seed: 0, ..Settings::default() }).unwrap();
        explain(model, &method, &case).unwrap().0
    };
    let rules = [("rules", OptionValue::Word("relp"))];
    for (name, options) in [("relp", &[][..]), ("integrated_gradients", &rules), ("smooth_grad", &rules)] {
        let refused = of(&mut model, name, options).unwrap_err();
        assert!(refused.0.contains("before there was the knob `gate_share`"), "{name}: {refused}");
    }
    let refused = of(&mut model, "deep_lift", &[]).unwrap_err();
    assert!(refused.0.contains("without deep_lift.onnx"), "{refused}");
    for name in ["gim", "attn_lrp", "transformer_lrp"] {
        assert!(of(&mut model, name, &[]).is_ok(), "{name}");
    }
}

#[test]
fn windows_longer_than_the_prompt_take_all_of_it() {
    let mut model = model();
    let (found, cost) = attributed(&mut model, "ablation", &[("window", OptionValue::Integer(1000))], &case());
    assert!(found.values[0].iter().all(|&value| value == found.values[0][0]));
    assert_eq!(cost.forward_rows + cost.forward_rows_saved, 2);
}

#[test]
fn removals_are_other_questions() {
    let mut model = model();
    let by = |model: &mut Model, removal: &'static str| {
        let options = [("removal", OptionValue::Word(removal)), ("samples", OptionValue::Integer(64))];
        let (ablation, _) = attributed(model, "ablation", &options[..1], &case());
        let (shap, _) = attributed(model, "kernel_shap", &options, &case());
        (ablation.values[0].clone(), shap.values[0].clone())
    };
    let replaced = by(&mut model, "replace");
    for removal in ["mask", "mean", "delete"] {
        let other = by(&mut model, removal);
        assert!(error(&other.0, &replaced.0) > 0.01 && error(&other.1, &replaced.1) > 0.01, "{removal}");
    }
    // This model names no padding token.
    let options = [("removal".to_owned(), OptionValue::Word("pad"))].into();
    let method: Rc<_> = build("lime", &Settings { options, seed: 0, ..Settings::default() }).unwrap();
    let refused = explain(&mut model, &method, &case()).unwrap().0.unwrap_err();
    assert!(refused.0.contains("padding token"), "{refused}");
}

#[test]
fn an_ensemble_is_the_mean_of_ranks() {
    let mut model = model();
    let names = ["gim", "gradient", "ablation"];
    let words = Words::of(&["ablation", "gim", "gradient", "random"], &names);
    let (found, _) = attributed(&mut model, "ensemble", &[("methods", OptionValue::Words(words))], &case());
    let ranked = &golden().ranked;
    let mut expected = vec![0.0; golden().prompt.len()];
    for name in names {
        let (one, _) = attributed(&mut model, name, &[], &case());
        for &place in ranked {
            let below = ranked.iter().filter(|&&other| one.values[0][other] <= one.values[0][place]).count();
            expected[place] += below as f64 / ranked.len() as f64 / names.len() as f64;
        }
    }
    assert!(error(&found.values[0], &expected) < 1e-12, "{found:?}");
}
