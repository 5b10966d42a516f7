//! Metrics and what they ask of the model, on a small checkpoint, against computations by hand.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

use async_trait::async_trait;
use gim_harness::attribution::{Attribution, Case, Inapplicable, METHODS, Method, Question, Settings, build, explain};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::config::{OptionValue, Score};
use gim_harness::faithfulness::{Evaluated, FAMILIES, Measured, Ranking, measure, metrics};
use gim_harness::grad::Knobs;
use gim_harness::probe::{Driver, Probe, Removal, ask};
use gim_harness::runtime::{GradientRow, Graph, Model, Row, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::units::{Aggregate, Units};

fn bundle() -> PathBuf {
    static BUNDLE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = BUNDLE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-a");
        let folder = tempfile::tempdir().unwrap();
        bake(&source, &folder.path().join("bundle"), &BakeOptions::default(), &mut |_, _| {}).unwrap();
        folder
    });
    folder.path().join("bundle")
}

fn model() -> Model {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    Model::open(&runtime, &bundle(), &SessionOptions::default()).unwrap()
}

/// A prompt whose first and last token are not ranked.
fn case(key: &str, ids: &[i64]) -> Case {
    Case {
        key: key.to_owned(),
        prompt: ids.into(),
        position: ids.len() - 1,
        question: Question { target: 20, contrast: None, score: Score::Logit },
        baseline: 1,
        following: Vec::new(),
        ranked: Units::tokens(1..ids.len() - 1),
    }
}

fn cases() -> Vec<Case> {
    let ids = |number: i64| (0..7 + number % 3).map(|i| 5 + (31 * number + 17 * i) % 100).collect::<Vec<i64>>();
    (0..6).map(|number| case(&format!("e{number}"), &ids(number))).collect()
}

/// Attributions that are there already.
struct Given(Vec<f64>);

#[async_trait(?Send)]
impl Method for Given {
    async fn attribute(&self, _: &Case, _: &Probe) -> Result<Attribution, Inapplicable> {
        Ok(Attribution { values: vec![self.0.clone()], ..Attribution::default() })
    }
}

fn settings(options: &[(&str, OptionValue)]) -> Settings {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    Settings { options, seed: 7, ..Settings::default() }
}

/// What the family of a metric says of attributions.
fn judge(model: &mut Model, metric: &str, options: &[(&str, OptionValue)], case: &Case, values: &[f64]) -> Measured {
    let family = FAMILIES.iter().find(|family| family.metrics.iter().any(|output| output.name == metric)).unwrap();
    let full = scores(model, case, vec![case.row()])[0];
    let evaluated = Evaluated {
        case: Rc::new(case.clone()),
        attribution: Rc::new(Attribution { values: vec![values.to_vec()], ..Attribution::default() }),
        seed: 0,
        ranking: Ranking::new(values, &case.ranked),
        evidence: [2, 3].into(),
        full,
        method: Rc::new(Given(values.to_vec())),
    };
    measure(model, &family.build(&settings(options)), evaluated).unwrap().0
}

fn value(model: &mut Model, metric: &str, options: &[(&str, OptionValue)], case: &Case, values: &[f64]) -> f64 {
    let place =
        FAMILIES.iter().find_map(|family| family.metrics.iter().position(|output| output.name == metric)).unwrap();
    judge(model, metric, options, case, values).values[place].clone().unwrap()
}

fn scores(model: &mut Model, case: &Case, rows: Vec<Row>) -> Vec<f64> {
    ask(model, case.clone(), move |probe| async move { probe.scores(rows).await }).unwrap().0
}

/// The score without places, whatever else the program thinks of removal.
fn without(model: &mut Model, case: &Case, places: &[usize]) -> f64 {
    let mut ids = case.prompt.to_vec();
    places.iter().for_each(|&place| ids[place] = case.baseline);
    f64::from(model.scores(&[Row::new(ids, case.position)], &[20]).unwrap()[0].logits[0])
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{found} is not {expected}");
}

#[test]
fn what_is_asked_together_is_what_is_asked_alone() {
    let (mut together, mut alone) = (model(), model());
    let methods: Vec<(&str, Rc<dyn Method>)> = METHODS
        .iter()
        .map(|entry| entry.info.name)
        .filter(|name| !name.contains('+'))
        .map(|name| (name, build(name, &settings(&[])).unwrap()))
        .collect();
    let mut driver = Driver::new(&mut together);
    for (turn, case) in cases().into_iter().enumerate() {
        let probe = driver.probe(Rc::new(case), turn);
        for (number, (_, method)) in methods.iter().enumerate() {
            let (probe, method) = (probe.clone(), Rc::clone(method));
            driver.take(1000, async move {
                (turn, number, method.attribute(probe.case(), &probe).await.map(|found| found.values))
            });
        }
    }
    let mut found = Vec::new();
    loop {
        let some = driver.finish_some().unwrap();
        if some.is_empty() {
            break;
        }
        found.extend(some);
    }
    assert_eq!(found.len(), methods.len() * cases().len());
    for (turn, number, values) in found {
        let (name, method) = &methods[number];
        let expected = explain(&mut alone, method, &cases()[turn]).unwrap().0.map(|found| found.values);
        assert!(values == expected, "{name} on example {turn}: not the same bits");
    }
}

#[test]
fn a_search_waits_in_a_loop() {
    let mut model = model();
    // Takes away, one after another, the token without which the score is lowest.
    let greedy = |probe: Probe| async move {
        let mut gone: Vec<usize> = Vec::new();
        while gone.len() < probe.case().ranked.len() {
            let left: Vec<usize> =
                probe.case().ranked.places().iter().copied().filter(|place| !gone.contains(place)).collect();
            let sets = left.iter().map(|&place| [gone.as_slice(), &[place]].concat());
            let scores = probe.without(Removal::Replace, sets.collect::<Vec<_>>()).await;
            let lowest = (0..left.len()).min_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
            gone.push(left[lowest]);
        }
        gone
    };
    let case = &cases()[2];
    let (order, cost) = ask(&mut model, case.clone(), greedy).unwrap();
    let n = case.ranked.len() as u64;
    assert_eq!(cost.forward_rows + cost.forward_rows_saved, n * (n + 1) / 2);
    let single: Vec<f64> = case.ranked.iter().map(|place| without(&mut model, case, place)).collect();
    let lowest = (0..single.len()).min_by(|&a, &b| single[a].total_cmp(&single[b])).unwrap();
    assert_eq!(order[0], case.ranked.of(lowest)[0]);
}

#[test]
fn who_waits_without_asking_is_an_error() {
    let error = ask(&mut model(), case("x", &[3, 4, 5]), |_| std::future::pending::<()>()).unwrap_err();
    assert!(error.to_string().contains("fault of gim-harness"), "{error}");
}

#[test]
fn what_cannot_be_scored_is_an_error_and_not_a_hang() {
    let rows = vec![Row::new(vec![3, 4_000_000, 5], 2)];
    let error = ask(&mut model(), case("x", &[3, 4, 5]), |probe| async move { probe.scores(rows).await }).unwrap_err();
    assert!(error.to_string().contains("4000000"), "{error}");
}

#[test]
fn removals_do_what_they_say() {
    let mut model = model();
    let case = &cases()[1];
    let places = [2usize, 4];
    let mut removed = |removal: Removal| {
        let sets = vec![places.to_vec()];
        ask(&mut model, case.clone(), move |probe| async move {
            assert!(probe.has(Graph::ForwardEmbeds));
            removal.applies(&probe)?;
            Ok::<f64, String>(probe.without(removal, sets).await[0])
        })
        .unwrap()
        .0
    };
    let [replaced, padded, masked, averaged, deleted] = Removal::ALL.map(&mut removed);
    close(replaced.unwrap(), without(&mut model, case, &places));
    assert!(padded.is_ok() || padded.unwrap_err().contains("no padding token"));

    // Deleted: the prompt of the others.
    let ids: Vec<i64> = (0..case.length()).filter(|place| !places.contains(place)).map(|i| case.prompt[i]).collect();
    let last = ids.len() - 1;
    close(deleted.unwrap(), f64::from(model.scores(&[Row::new(ids, last)], &[20]).unwrap()[0].logits[0]));

    // The mean embedding and the mask, put into the graphs by hand.
    let embeds = model.embed(&case.prompt).unwrap();
    let mean = embeds.mapv(f64::from).mean_axis(ndarray::Axis(0)).unwrap().mapv(|x| x as f32);
    let mut changed = embeds.clone();
    places.iter().for_each(|&place| changed.row_mut(place).assign(&mean));
    let length = case.length();
    let (ones, mut hidden) = (ndarray::Array2::<i64>::ones((1, length)), ndarray::Array2::<i64>::ones((1, length)));
    places.iter().for_each(|&place| hidden[[0, place]] = 0);
    let mut by_hand = |embeds: &ndarray::Array2<f32>, mask: &ndarray::Array2<i64>| {
        let inputs = [
            ("inputs_embeds", embeds.clone().insert_axis(ndarray::Axis(0)).into()),
            ("attention_mask", mask.clone().into()),
            ("position", ndarray::Array1::from_elem(1, case.position as i64).into()),
        ];
        let vocab = model.manifest().outputs();
        let mut outputs = model.load(Graph::ForwardEmbeds).unwrap().run(&inputs).unwrap();
        f64::from(outputs.take_f32("logits", &[1, vocab]).unwrap()[[0, 20]])
    };
    close(averaged.unwrap(), by_hand(&changed, &ones));
    close(masked.unwrap(), by_hand(&embeds, &hidden));
}

#[test]
fn every_metric_says_something_of_every_method() {
    let mut model = model();
    let case = &cases()[5];
    for name in ["gim", "gradient", "integrated_gradients", "attention_rollout", "ablation"] {
        let method = build(name, &settings(&[])).unwrap();
        let found = explain(&mut model, &method, case).unwrap().0.unwrap();
        for (family, output) in metrics() {
            let place = family.metrics.iter().position(|other| other.name == output.name).unwrap();
            let value = judge(&mut model, output.name, &[], case, &found.values[0]).values[place].clone();
            match output.name {
                "seed_stability" => assert!(value.unwrap_err().contains("one seed")),
                _ => assert!(value.as_ref().is_ok_and(|value| value.is_finite()) || value.is_err(), "{}", output.name),
            }
        }
    }
}

/// All orders of some tokens.
fn orders(tokens: &[usize]) -> Vec<Vec<usize>> {
    if tokens.is_empty() {
        return vec![Vec::new()];
    }
    let rest = |i: usize| [&tokens[..i], &tokens[i + 1..]].concat();
    (0..tokens.len())
        .flat_map(|i| orders(&rest(i)).into_iter().map(move |order| [&[tokens[i]], order.as_slice()].concat()))
        .collect()
}

#[test]
fn naopc_of_the_best_order_is_one_and_of_the_worst_nought() {
    let mut model = model();
    for case in [&cases()[0], &cases()[3]] {
        assert_eq!(case.ranked.len(), 5);
        let full = without(&mut model, case, &[]);
        let mut falls = |order: &[usize]| {
            let fall = |k: usize| full - without(&mut model, case, &order[..k]);
            (1..=order.len()).map(fall).sum::<f64>() / order.len() as f64
        };
        let mut all: Vec<(f64, Vec<usize>)> =
            orders(case.ranked.places()).iter().map(|o| (falls(o), o.clone())).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let attributions = |order: &[usize]| {
            let mut values = vec![0.0; case.length()];
            order.iter().enumerate().for_each(|(rank, &place)| values[place] = -(rank as f64));
            values
        };
        let (low, high) = (all[0].clone(), all[all.len() - 1].clone());
        let beams = [("exact", OptionValue::Integer(1)), ("beam", OptionValue::Integer(20))];
        for options in [&[][..], &beams] {
            close(value(&mut model, "naopc", options, case, &attributions(&high.1)), 1.0);
            close(value(&mut model, "naopc", options, case, &attributions(&low.1)), 0.0);
            let (middle, order) = &all[40];
            let expected = (middle - low.0) / (high.0 - low.0);
            close(value(&mut model, "naopc", options, case, &attributions(order)), expected);
        }
        let found = judge(&mut model, "naopc", &[], case, &attributions(&low.1));
        close(value(&mut model, "aopc", &[], case, &attributions(&low.1)), low.0);
        let best = found.curves.iter().find(|curve| curve.curve == "naopc_best").unwrap();
        close(best.score[1..].iter().map(|score| full - score).sum::<f64>() / 5.0, high.0);
    }
    let many = value_error(&mut model, "naopc", &[("most", OptionValue::Integer(4))], &cases()[0]);
    assert!(many.contains("5 tokens are ranked, more than the 4"), "{many}");
}

fn value_error(model: &mut Model, metric: &str, options: &[(&str, OptionValue)], case: &Case) -> String {
    let values: Vec<f64> = (0..case.length()).map(|i| i as f64).collect();
    judge(model, metric, options, case, &values).values[0].clone().unwrap_err()
}

#[test]
fn areas_are_those_of_the_curves_by_hand() {
    let mut model = model();
    let case = &cases()[4];
    let values: Vec<f64> = (0..case.length()).map(|i| ((7 * i) % 5) as f64 - 2.0).collect();
    let mut order = case.ranked.places().to_vec();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let n = order.len();
    let curve = |model: &mut Model, order: &[usize]| -> Vec<f64> {
        (0..=n).map(|k| without(model, case, &order[..k])).collect()
    };
    let area = |scores: &[f64]| scores.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).sum::<f64>() / n as f64;
    let deleted = curve(&mut model, &order);
    let reversed: Vec<usize> = order.iter().rev().copied().collect();
    let least_first = curve(&mut model, &reversed);
    let found = judge(&mut model, "srg", &[], case, &values);
    let numbers: Vec<f64> = found.values.iter().map(|value| value.clone().unwrap()).collect();
    close(numbers[0], area(&deleted));
    close(numbers[1], area(&least_first));
    close(numbers[2], area(&least_first) - area(&deleted));
    let insertion = found.curves.iter().find(|curve| curve.curve == "insertion").unwrap();
    close(insertion.score[0], without(&mut model, case, case.ranked.places()));
    close(insertion.score[1], least_first[n - 1]);
}

/// A random order beats half of the random orders: over many, the mean is within its interval of one half, and the worst and
/// the best order are below and above.
#[test]
fn the_win_rate_of_chance_is_one_half() {
    let mut model = model();
    let random = build("random", &settings(&[("seeds", OptionValue::Integer(30))])).unwrap();
    let mut rates = Vec::new();
    for case in &cases() {
        let found = explain(&mut model, &random, case).unwrap().0.unwrap();
        for values in &found.values {
            rates.push(value(&mut model, "random_win_rate", &[], case, values));
        }
        let ablation = build("ablation", &settings(&[])).unwrap();
        let good = explain(&mut model, &ablation, case).unwrap().0.unwrap().values.remove(0);
        let bad: Vec<f64> = good.iter().map(|value| -value).collect();
        let [good, bad] = [&good, &bad].map(|values| value(&mut model, "random_win_rate", &[], case, values));
        assert!(good > 0.5 && bad < 0.5, "{good} {bad}");
    }
    let n = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / n;
    let deviation = (rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    println!("{n} random orders win {mean:.3} of the time, standard error {:.3}", deviation / n.sqrt());
    assert!((mean - 0.5).abs() < 3.0 * deviation / n.sqrt(), "{mean}");
}

#[test]
fn eraser_is_about_probabilities() {
    let mut model = model();
    let case = &cases()[2];
    let values: Vec<f64> = (0..case.length()).map(|i| -(i as f64)).collect();
    let n = case.ranked.len();
    let probability = |model: &mut Model, gone: &[usize]| {
        let row = case.without(gone);
        model.scores(&[row], &[20]).unwrap()[0].probability(0)
    };
    let full = probability(&mut model, &[]);
    let (mut comprehensiveness, mut sufficiency) = (0.0, 0.0);
    for bin in [0.01, 0.05, 0.1, 0.2, 0.5f64] {
        let k = (bin * n as f64).ceil() as usize;
        // The first ranked are the first in the prompt.
        comprehensiveness += (full - probability(&mut model, &case.ranked.places()[..k])) / 5.0;
        sufficiency += (full - probability(&mut model, &case.ranked.places()[k..])) / 5.0;
    }
    close(value(&mut model, "eraser_comprehensiveness", &[], case, &values), comprehensiveness);
    close(value(&mut model, "eraser_sufficiency", &[], case, &values), sufficiency);
}

#[test]
fn baselines_do_not_matter_to_who_has_none() {
    let mut model = model();
    let case = &cases()[5];
    let values: Vec<f64> = (0..case.length()).map(|i| ((7 * i) % 5) as f64).collect();
    // `Given` says the same whatever the baseline.
    close(value(&mut model, "baseline_stability", &[], case, &values), 1.0);
}

/// A case whose ranked tokens are three words: of two tokens, of one, of three.
fn worded(aggregate: Aggregate) -> Case {
    let group = [None, Some(0), Some(0), Some(1), Some(2), Some(2), Some(2), None];
    let ids: Vec<i64> = (0..8).map(|i| 5 + 13 * i).collect();
    Case { ranked: Units::grouped(8, aggregate, |place| group[place]), ..case("words", &ids) }
}

#[test]
fn words_are_ranked_and_taken_away_whole() {
    let mut model = model();
    let case = worded(Aggregate::Sum);
    let full = without(&mut model, &case, &[]);
    // By sums: 3, 4, 1.5; by the largest: 2, 4, 1; so the order is the same, and by the mean, too.
    let values = [9.0, 1.0, 2.0, 4.0, 0.5, 1.0, 0.0, 9.0];
    let falls: Vec<f64> = [&[3][..], &[3, 1, 2], &[3, 1, 2, 4, 5, 6]]
        .iter()
        .map(|places| full - without(&mut model, &case, places))
        .collect();
    close(value(&mut model, "comprehensiveness", &[], &case, &values), falls.iter().sum::<f64>() / 3.0);
    close(value(&mut model, "aopc", &[], &case, &values), falls.iter().sum::<f64>() / 3.0);
    // int(0.5 * 3) is 1, the others are 2.
    let kept = [&[4, 5, 6][..], &[4, 5, 6, 1, 2]].map(|places| full - without(&mut model, &case, places));
    close(value(&mut model, "sufficiency", &[], &case, &values), (kept[0] + 4.0 * kept[1]) / 5.0);
    // Six orders rather than 720.
    let all = judge(&mut model, "naopc", &[], &case, &values);
    assert_eq!(all.curves[0].score.len(), 4);
    // The evidence, places 2 and 3, touches the first two words.
    assert_eq!(value(&mut model, "evidence_auprc", &[], &case, &values), 1.0);
    assert_eq!(value(&mut model, "evidence_f1", &[], &case, &[0.0, 0.0, 0.0, 4.0, 1.0, 1.0, 1.0, 0.0]), 0.5);
    let tau = value(&mut model, "tau_leave_one_out", &[], &case, &values);
    let lost = [&[1, 2][..], &[3], &[4, 5, 6]].map(|places| full - without(&mut model, &case, places));
    let agree = |a: usize, b: usize| {
        let own = [3.0, 4.0, 1.5];
        f64::signum((own[a] - own[b]) * (lost[a] - lost[b]))
    };
    close(tau, (agree(0, 1) + agree(0, 2) + agree(1, 2)) / 3.0);
}

#[test]
fn how_a_words_tokens_are_joined_decides_its_rank() {
    let mut model = model();
    // Sums 3, 2.9, 3.3; means 1.5, 2.9, 1.1; largest 4, 2.9, 3; farthest from zero 4, 2.9, -6.7.
    let values = [0.0, 4.0, -1.0, 2.9, 3.0, 7.0, -6.7, 0.0];
    let first = |aggregate| Ranking::new(&values, &worded(aggregate).ranked).order()[0];
    assert_eq!(Aggregate::ALL.map(first), [2, 1, 2, 2]);
    let case = worded(Aggregate::SignedMax);
    let falls = [&[4, 5, 6][..], &[4, 5, 6, 1, 2], &[1, 2, 3, 4, 5, 6]].map(|places| {
        let full = without(&mut model, &case, &[]);
        full - without(&mut model, &case, places)
    });
    close(value(&mut model, "comprehensiveness", &[], &case, &values), falls.iter().sum::<f64>() / 3.0);
}

#[test]
fn perturbation_methods_take_words_away_whole() {
    let mut model = model();
    let case = worded(Aggregate::Sum);
    let full = without(&mut model, &case, &[]);
    let lost: Vec<f64> = [&[0][..], &[1, 2], &[3], &[4, 5, 6], &[7]]
        .iter()
        .map(|places| full - without(&mut model, &case, places))
        .collect();
    let of = |model: &mut Model, method: &str, options: &[(&str, OptionValue)], case: &Case| {
        explain(model, &build(method, &settings(options)).unwrap(), case).unwrap().0.unwrap().values[0].clone()
    };
    let found = of(&mut model, "ablation", &[], &case);
    for (place, unit, size) in [(0, 0, 1.0), (1, 1, 2.0), (2, 1, 2.0), (3, 2, 1.0), (5, 3, 3.0), (7, 4, 1.0)] {
        close(found[place], lost[unit] / size);
    }
    let farthest = worded(Aggregate::SignedMax);
    close(of(&mut model, "ablation", &[], &farthest)[5], lost[3]);
    // Two words at a time: the second is in two windows.
    let pairs = [&[0, 1, 2][..], &[1, 2, 3]].map(|places| full - without(&mut model, &case, places));
    let windows = of(&mut model, "ablation", &[("window", OptionValue::Integer(2))], &case);
    close(windows[1], (pairs[0] + pairs[1]) / 2.0 / 2.0);
    // Shapley values add up to the change between all words and none, over the words alone.
    let shap = of(&mut model, "kernel_shap", &[], &case);
    close(shap.iter().sum::<f64>(), full - without(&mut model, &case, &[1, 2, 3, 4, 5, 6]));
    assert_eq!((shap[0], shap[7]), (0.0, 0.0));
    close(shap[4], shap[6]);
    // Long words have no better chance in random numbers: their sums are uniform.
    let seeds = [("seeds", OptionValue::Integer(50))];
    let random = build("random", &settings(&seeds)).unwrap();
    let drawn = explain(&mut model, &random, &case).unwrap().0.unwrap().values;
    let wins = drawn.iter().filter(|values| Ranking::new(values, &case.ranked).order()[0] == 2).count();
    assert!((5..=30).contains(&wins), "{wins} of 50 for the word of three tokens, a third expected");
}

/// log p of an answer behind some tokens, by the model's logits and nothing else of the program's.
fn log_probability(model: &mut Model, prompt: &[i64], answer: &[i64]) -> f64 {
    let mut all = prompt.to_vec();
    let mut sum = 0.0;
    for &token in answer {
        let logits = model.logits(&[Row::new(all.clone(), all.len() - 1)]).unwrap().remove(0);
        let most = logits.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(f64::from(x)));
        let log_sum = most + logits.iter().map(|&x| (f64::from(x) - most).exp()).sum::<f64>().ln();
        sum += f64::from(logits[token as usize]) - log_sum;
        all.push(token);
    }
    sum
}

const ANSWER: [i64; 3] = [20, 33, 7];

#[test]
fn an_answer_of_several_tokens_is_worth_its_probability() {
    let mut model = model();
    let plain = cases().remove(1);
    let case = plain.answered(&ANSWER, Score::LogProbability);
    assert_eq!((case.length(), case.tokens()), (plain.length(), plain.tokens()));
    assert_eq!(case.prompt.len(), case.length() + 2);
    let full = log_probability(&mut model, case.tokens(), &ANSWER);
    close(scores(&mut model, &case, vec![case.row()])[0], full);
    let probable = plain.answered(&ANSWER, Score::Probability);
    close(scores(&mut model, &probable, vec![case.row()])[0], full.exp());
    // One token, too.
    let single = plain.answered(&ANSWER[..1], Score::LogProbability);
    close(scores(&mut model, &single, vec![single.row()])[0], log_probability(&mut model, case.tokens(), &ANSWER[..1]));

    let removed = |model: &mut Model, places: &[usize]| {
        let mut ids = case.tokens().to_vec();
        places.iter().for_each(|&place| ids[place] = case.baseline);
        log_probability(model, &ids, &ANSWER)
    };
    let values: Vec<f64> = (0..case.length()).map(|place| (place as f64 * 1.7).sin()).collect();
    let order = Ranking::new(&values, &case.ranked).highest(usize::MAX).to_vec();
    let falls: Vec<f64> = (1..=order.len()).map(|k| full - removed(&mut model, &order[..k])).collect();
    let expected = falls.iter().sum::<f64>() / falls.len() as f64;
    close(value(&mut model, "comprehensiveness", &[], &case, &values), expected);
    // Deleted tokens are gone, and the answer stays.
    let ids: Vec<i64> =
        (0..case.length()).filter(|place| ![1, 3].contains(place)).map(|place| case.prompt[place]).collect();
    let deleted = Removal::Delete.without(&case, &[1, 3], None);
    close(scores(&mut model, &case, vec![deleted])[0], log_probability(&mut model, &ids, &ANSWER));
    let ablation = explain(&mut model, &build("ablation", &settings(&[])).unwrap(), &case).unwrap().0.unwrap();
    assert_eq!(ablation.values[0].len(), case.length());
    close(ablation.values[0][2], full - removed(&mut model, &[2]));
    // ERASER's are about the probability of all of it.
    let eraser = value(&mut model, "eraser_sufficiency", &[], &case, &values);
    assert!((-1.0..=1.0).contains(&eraser), "{eraser}");
}

#[test]
fn gradients_of_an_answer_of_several_tokens_are_those_of_its_log_probability() {
    let mut model = model();
    let case = cases().remove(1).answered(&ANSWER, Score::LogProbability);
    let embeddings = ask(&mut model, case.clone(), |probe| async move { probe.embeddings().await }).unwrap().0;
    assert_eq!((embeddings.inputs.nrows(), embeddings.following.nrows()), (case.length(), 2));
    // What the program says of each token by itself..
    let mut sum = ndarray::Array2::<f64>::zeros(embeddings.inputs.raw_dim());
    for (behind, target) in case.answer().enumerate() {
        let all =
            ndarray::concatenate(ndarray::Axis(0), &[embeddings.inputs.view(), embeddings.following.view()]).unwrap();
        let embeds = all.slice(ndarray::s![..case.length() + behind, ..]).to_owned();
        let row = GradientRow { position: embeds.nrows() - 1, embeds, target, contrast: None };
        let found = model.gradients_by(Graph::GradientLogProbability, &[row], &Knobs::GRADIENT).unwrap().remove(0);
        sum += &found.gradient.slice(ndarray::s![..case.length(), ..]).mapv(f64::from);
    }
    let found = ask(&mut model, case.clone(), |probe| async move { probe.gradient(Knobs::GRADIENT).await }).unwrap().0;
    let size = sum.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert!(found.iter().zip(&sum).all(|(a, b)| (a - b).abs() < 1e-4 * size));
    // .. and integrated along the path they add up to the change of the log-probability.
    let gradients = build("integrated_gradients", &settings(&[("steps", OptionValue::Integer(300))])).unwrap();
    let found = explain(&mut model, &gradients, &case).unwrap().0.unwrap();
    let change = log_probability(&mut model, case.tokens(), &ANSWER)
        - log_probability(&mut model, &vec![case.baseline; case.length()], &ANSWER);
    assert!(change.abs() > 0.1, "{change}");
    assert!((found.values[0].iter().sum::<f64>() - change).abs() < 0.02 * change.abs(), "{change} {found:?}");
    // A probability is explained by its logarithm; rollout looks back from the first token.
    let probable = case.answered(&ANSWER, Score::Probability);
    let of = |model: &mut Model, name: &str, case: &Case| {
        explain(model, &build(name, &settings(&[])).unwrap(), case).unwrap().0.map(|found| found.values)
    };
    assert_eq!(of(&mut model, "gim", &probable), of(&mut model, "gim", &case));
    let plain = cases().remove(1);
    assert_eq!(of(&mut model, "attention_rollout", &case), of(&mut model, "attention_rollout", &plain));
}

#[test]
fn sensitivity_grows_with_the_radius_and_is_of_gradients_alone() {
    let mut model = model();
    let case = cases().remove(2);
    let mut of = |name: &str, options: &[(&str, OptionValue)]| {
        let method = build(name, &settings(&[])).unwrap();
        let attribution = explain(&mut model, &method, &case).unwrap().0.unwrap();
        let full = scores(&mut model, &case, vec![case.row()])[0];
        let family = FAMILIES.iter().find(|family| family.metrics[0].name == "max_sensitivity").unwrap();
        let evaluated = Evaluated {
            case: Rc::new(case.clone()),
            ranking: Ranking::new(&attribution.values[0], &case.ranked),
            attribution: Rc::new(attribution),
            seed: 0,
            evidence: [].into(),
            full,
            method,
        };
        let measured = measure(&mut model, &family.build(&settings(options)), evaluated).unwrap();
        (measured.0.values[0].clone(), measured.1.gradient_rows)
    };
    let radius = |radius: f64| [("radius", OptionValue::Number(radius)), ("samples", OptionValue::Integer(4))];
    let (small, rows) = of("gradient", &radius(1e-3));
    // Near the prompt attributions move as far as it does: ten times the radius, ten times the movement.
    let (large, _) = of("gradient", &radius(1e-2));
    let ratio = large.unwrap() / small.clone().unwrap();
    assert!((8.0..12.0).contains(&ratio), "{ratio}");
    assert_eq!(rows, 4);
    assert_eq!(of("gradient", &radius(1e-3)).0, small, "the same draws");
    assert!(of("ablation", &radius(1e-3)).0.unwrap_err().contains("does not differentiate"));
}

#[test]
fn matched_random_has_the_numbers_and_not_their_places() {
    let mut model = model();
    for case in [cases().remove(2), worded(Aggregate::SignedMax)] {
        let of = |model: &mut Model, name: &str, options: &[(&str, OptionValue)]| {
            explain(model, &build(name, &settings(options)).unwrap(), &case).unwrap().0.unwrap().values
        };
        let sorted = |values: &[f64]| {
            let mut values = case.ranked.values(values);
            values.sort_by(f64::total_cmp);
            values
        };
        let own = of(&mut model, "gradient", &[]).remove(0);
        let options = [("of", OptionValue::Word("gradient")), ("seeds", OptionValue::Integer(8))];
        let shuffled = of(&mut model, "matched_random", &options);
        assert_eq!(shuffled.len(), 8);
        assert!(shuffled.iter().all(|values| sorted(values) == sorted(&own)));
        assert!(shuffled.iter().any(|values| case.ranked.values(values) != case.ranked.values(&own)));
        assert_eq!(shuffled, of(&mut model, "matched_random", &options));
    }
}

/// A prompt of tests/fixtures/methods/golden.json, the answer being another token.
fn golden_case(target: i64) -> Case {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/methods/golden.json");
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let ids: Vec<i64> = serde_json::from_value(golden["prompt"].clone()).unwrap();
    let question = Question { target, contrast: None, score: Score::Logit };
    Case { question, baseline: golden["baseline"].as_i64().unwrap(), ..case("golden", &ids) }
}

fn fixture(name: &str) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/methods").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// scripts/make_quantus_fixtures.py.
#[test]
fn correlation_and_monotonicity_agree_with_quantus() {
    let (mut model, case) = (model(), golden_case(8));
    for (name, of) in fixture("quantus.json")["examples"].as_object().unwrap() {
        let values = case.ranked.spread(&numbers(&of["attributions"]), case.length());
        for (size, expected) in of["correlations"].as_object().unwrap() {
            let size: f64 = size.parse().unwrap();
            // Sets are drawn here, and all there: 10,000 of 15 or 20.
            let options = [("samples", OptionValue::Integer(10_000)), ("share", OptionValue::Number(size / 6.0))];
            let found = value(&mut model, "faithfulness_correlation", &options, &case, &values);
            let expected = expected.as_f64().unwrap();
            println!("{name}, sets of {size}: {found:.3} for {expected:.3}");
            // A correlation r of 10,000 is off by (1 - r^2) / 100.
            assert!((found - expected).abs() < 0.05 * (1.0 - expected * expected), "{found} for {expected}");
        }
        // Quantus begins at one token, and we at none.
        let scores = numbers(&of["scores"]);
        let held = scores.windows(2).filter(|pair| pair[1] >= pair[0]).count();
        let found = value(&mut model, "monotonicity", &[], &case, &values);
        close(found, held as f64 / 6.0);
        assert_eq!(of["monotone"].as_bool().unwrap(), scores[1..].is_sorted(), "{name}");
    }
}

/// scripts/make_soft_fixtures.py.
#[test]
fn soft_metrics_agree_with_pytorch_within_their_error() {
    let golden = fixture("soft.json");
    let (mut model, case) = (model(), golden_case(golden["target"].as_i64().unwrap()));
    const SAMPLES: u64 = 2000;
    for of in golden["examples"].as_array().unwrap() {
        let values = case.ranked.spread(&numbers(&of["attributions"]), case.length());
        let (metric, option) = match of["shares"].as_u64() {
            Some(shares) => ("pi_soft_comprehensiveness", ("shares", OptionValue::Integer(shares))),
            None => {
                let kept = of["kept"].as_u64().map_or(OptionValue::Word("own"), OptionValue::Integer);
                ("soft_comprehensiveness", ("kept", kept))
            }
        };
        let found = judge(&mut model, metric, &[("samples", OptionValue::Integer(SAMPLES)), option], &case, &values);
        for (value, name) in found.values.iter().zip(["comprehensiveness", "sufficiency"]) {
            let (value, expected) = (value.clone().unwrap(), of[name].as_f64().unwrap());
            let stdev = of[format!("{name}_stdev")].as_f64().unwrap();
            let error = stdev / (SAMPLES as f64).sqrt();
            println!("{metric} {option:?}, {name}: {value:.3} for {expected:.3}, standard error {error:.3}");
            assert!((value - expected).abs() < 4.5 * error, "{name} at {option:?}: {value} for {expected}");
        }
    }
    // The same numbers again, and other ones of another example.
    let values: Vec<f64> = (0..case.length()).map(|place| (place * place) as f64).collect();
    let again = |model: &mut Model, case: &Case| judge(model, "soft_sufficiency", &[], case, &values).values;
    let first = again(&mut model, &case);
    assert_eq!(first, again(&mut model, &case));
    assert_ne!(first, again(&mut model, &Case { key: "another".to_owned(), ..case.clone() }));
    // What says nothing of the ranked tokens has no share to keep.
    let same = judge(&mut model, "soft_sufficiency", &[], &case, &vec![1.0; case.length()]);
    assert!(same.values.iter().all(|value| value.clone().unwrap_err().contains("all the same")), "{same:?}");
}

/// The curves begin without and end with all of the ranked tokens, hold what the soft metrics say of each share by the same random
/// numbers, and their areas are the values.
#[test]
fn areas_of_soft_metrics_are_those_of_their_curves() {
    let (mut model, case) = (model(), golden_case(fixture("soft.json")["target"].as_i64().unwrap()));
    let values: Vec<f64> = (0..case.length()).map(|place| (place * place) as f64).collect();
    let samples = ("samples", OptionValue::Integer(7));
    let options = [samples, ("shares", OptionValue::Integer(4))];
    let found = judge(&mut model, "pi_soft_sufficiency", &options, &case, &values);
    let names = ["pi_soft_comprehensiveness", "pi_soft_sufficiency"];
    assert!(found.curves.iter().map(|curve| curve.curve.as_str()).eq(names), "{found:?}");
    for (place, curve) in found.curves.iter().enumerate() {
        assert_eq!(curve.step, [0, 20, 40, 60, 80, 100]);
        let between = |kept: u64| {
            let options = [samples, ("kept", OptionValue::Integer(kept))];
            judge(&mut model, "soft_sufficiency", &options, &case, &values).values[place].clone().unwrap()
        };
        let between: Vec<f64> = [20, 40, 60, 80].into_iter().map(between).collect();
        let expected: Vec<f64> = std::iter::once(1.0 - place as f64).chain(between).chain([place as f64]).collect();
        assert_eq!(curve.score, expected);
        let area = (expected.iter().sum::<f64>() - 0.5) / 5.0;
        close(found.values[place].clone().unwrap(), area);
    }
}

/// A number stays at any share above one at which it stays, and all or none at the ends.
#[test]
fn thinned_rows_are_what_they_say() {
    let (mut model, case) = (model(), golden_case(8));
    let row = case.row();
    let score = |model: &mut Model, row: Row| f64::from(model.scores(&[row], &[8]).unwrap()[0].logits[0]);
    let whole = score(&mut model, row.clone());
    close(score(&mut model, row.thinned([(2, u16::MAX)], 3)), whole);
    let nothing = score(&mut model, row.thinned([(2, 0)], 3));
    close(score(&mut model, row.thinned([(2, 0)], 4)), nothing);
    assert!((nothing - whole).abs() > 1e-3);
    let half = score(&mut model, row.thinned([(2, 32768)], 3));
    assert_ne!(half, score(&mut model, row.thinned([(2, 32768)], 4)));
    assert!(half != whole && half != nothing);
}
