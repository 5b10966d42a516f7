//! The files of a run, from stores of invented numbers.

#[path = "fixtures/report/synthetic.rs"]
mod synthetic;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gim_harness::report;
use gim_harness::store::{Curve, Declared, Store, Unit};
use synthetic::{datasets, declared, metric, names, store, units};

const FILES: [&str; 10] = [
    "examples.csv",
    "curves.csv",
    "attributions.jsonl",
    "summary.csv",
    "comparisons.csv",
    "timings.csv",
    "results.json",
    "report.md",
    "report.html",
    "report.tex",
];

/// A folder with a store, in which a report was made.
struct Run {
    folder: tempfile::TempDir,
    written: report::Written,
}

impl Run {
    fn of(declared: &Declared, examples: usize, units: &[Unit]) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder.path().join("run.sqlite"), declared, &datasets(declared, examples), units);
        let written = report::write(&store, folder.path(), None).unwrap();
        store.close().unwrap();
        Run { folder, written }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn rows(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let mut reader = csv::Reader::from_path(self.folder.path().join(name)).unwrap();
        let head = reader.headers().unwrap().clone();
        reader
            .records()
            .map(|row| head.iter().map(str::to_string).zip(row.unwrap().iter().map(str::to_string)).collect())
            .collect()
    }

    fn head(&self, name: &str) -> String {
        self.text(name).lines().next().unwrap().to_string()
    }
}

fn kept_with_fixtures(assertion: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("fixtures/report");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(assertion);
}

fn small() -> Run {
    let declared = declared();
    Run::of(&declared, 18, &units(&declared, 18))
}

#[test]
fn the_report_reads_well() {
    kept_with_fixtures(|| insta::assert_snapshot!("report", small().text("report.md")));
}

/// Of an incomplete run of two models in which nothing is clear.
#[test]
fn an_unclear_run_is_called_unclear() {
    let mut declared = declared();
    declared.models = names(&["small", "large"]);
    declared.tasks.push("unseen".into());
    declared.metrics.truncate(2);
    let mut units: Vec<Unit> = units(&declared, 9);
    units.retain(|unit| {
        unit.key.task != "unseen"
            && !(unit.key.model == "large" && unit.key.task == "fact_checking" && unit.example_index > 3)
            && !(unit.key.model == "large" && unit.key.method == "gim" && unit.key.task == "sentiment")
    });
    for unit in &mut units {
        let (model, method) = (unit.key.model.clone(), unit.key.method.clone());
        for value in &mut unit.metrics {
            match (value.metric.as_str(), model.as_str()) {
                // Equal on every example.
                ("comprehensiveness", "small") if method == "gradient" || method == "gim" => value.values = vec![1.0],
                ("sufficiency", "small") => {
                    value.values.iter_mut().for_each(|v| *v = (*v * 1000.0).rem_euclid(1.0) - 0.5);
                }
                _ => {}
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut facts = datasets(&declared, 9);
    facts.retain(|facts| facts.task != "unseen");
    facts[0].score = "probability".into();
    let store = store(&folder.path().join("run.sqlite"), &declared, &facts, &units);
    let written = report::write(&store, folder.path(), None).unwrap();
    assert!(!written.complete);
    assert_eq!((written.units_done, written.units_expected), (units.len(), 4 * 9 * 4));
    let text = fs::read_to_string(folder.path().join("report.md")).unwrap();
    let left_out = text.split("\n## ").find(|section| section.starts_with("What was left out")).unwrap();
    let text = written.headline + "\n---\n\n## " + left_out;
    kept_with_fixtures(|| insta::assert_snapshot!("unclear", text));
}

/// Integrated gradients that do not add up on one task.
#[test]
fn a_method_that_is_no_integral_is_marked_wherever_it_stands() {
    let declared = declared();
    let mut units = units(&declared, 18);
    let sentiment = |unit: &&mut Unit| unit.key.task == "sentiment" && !unit.diagnostics.is_empty();
    for (i, unit) in units.iter_mut().filter(sentiment).enumerate() {
        let relative = unit.diagnostics.entry("completeness_gap_relative".into()).or_default();
        // Half of them: the others add up.
        *relative = if i % 2 == 0 { 2.9 } else { 0.01 };
        unit.diagnostics.insert("tolerance_missed".into(), if i % 2 == 0 { 1.0 } else { 0.0 });
    }
    let run = Run::of(&declared, 18, &units);
    let report = run.text("report.md");
    let first = report.lines().nth(4).unwrap();
    assert!(
        first.starts_with("**Warning**: on sentiment, the attributions of integrated_gradients are not an"),
        "{first}"
    );
    assert!(run.written.headline.contains("1.45 times the change that is explained (median of 16 examples, 50"));
    assert!(report.contains("| integrated_gradients† |") && report.contains("\n† These"));
    assert!(run.written.headline.contains("  integrated_gradients†  ") && run.written.headline.contains("\n† These"));
    assert!(report.contains("integrated_gradients came within its tolerance on 8 of 16 examples."));
    assert!(!report.contains("tolerance missed"));
    for row in run.rows("comparisons.csv").iter().chain(&run.rows("summary.csv")) {
        let about = [row.get("method"), row.get("method_a"), row.get("method_b")];
        let about = about.into_iter().flatten().any(|method| method == "integrated_gradients");
        assert_eq!(row["warning"].contains("1.45 times"), about && row["task"] == "sentiment", "{row:?}");
    }
    let results: serde_json::Value = serde_json::from_str(&run.text("results.json")).unwrap();
    let inexact = results["inexact"].as_array().unwrap();
    assert_eq!(inexact.len(), 1);
    assert_eq!(
        (inexact[0]["task"].as_str(), inexact[0]["gap"].as_f64()),
        (Some("sentiment"), Some(0.01f64.midpoint(2.9)))
    );
    // A gap without any change to explain is no integral either; no gap is none.
    for (gap, marked) in [(0.3, true), (0.0, false)] {
        for unit in units.iter_mut().filter(sentiment) {
            unit.diagnostics.remove("completeness_gap_relative");
            unit.diagnostics.insert("completeness_gap".into(), gap);
        }
        assert_eq!(Run::of(&declared, 18, &units).text("report.md").contains("†"), marked, "{gap}");
    }
}

#[test]
fn a_mean_over_the_score_is_a_ratio_of_means() {
    let mut declared = declared();
    declared.tasks.truncate(1);
    let mut units = units(&declared, 18);
    // A tiny f(x) on one example, whose fraction is then huge.
    for unit in units.iter_mut().filter(|unit| unit.excluded.is_none()) {
        let score = if unit.example_index == 2 { 0.01 } else { 2.0 + unit.example_index as f64 / 10.0 };
        unit.score = Some(score);
        let whole = unit.metrics[0].values.clone();
        if unit.metrics[2].excluded.is_none() {
            unit.metrics[2].values = whole.iter().map(|value| value / score).collect();
        }
    }
    let run = Run::of(&declared, 18, &units);
    let counted = |method: &str| -> Vec<(f64, f64)> {
        let of = |unit: &&Unit| unit.key.method == method && unit.metrics.get(2).is_some_and(|m| m.excluded.is_none());
        let pair = |unit: &Unit| (gim_harness::stats::mean(&unit.metrics[0].values).unwrap(), unit.score.unwrap());
        units.iter().filter(of).map(pair).collect()
    };
    let rows = run.rows("summary.csv");
    let number = |row: &BTreeMap<String, String>, name: &str| row[name].parse::<f64>().unwrap();
    for method in &declared.methods {
        let row = |metric: &str| rows.iter().find(|r| r["method"] == *method && r["metric"] == metric).unwrap();
        let (ratio, pairs) = (row("comprehensiveness_normalized"), counted(method));
        let expected = pairs.iter().map(|(value, _)| value).sum::<f64>() / pairs.iter().map(|(_, f)| f).sum::<f64>();
        assert!((number(ratio, "mean") - expected).abs() < 1e-12);
        let interval = gim_harness::stats::bca_macro_ratio_interval(&[&pairs[..]], 2000, 0.95, 7).unwrap();
        assert!((number(ratio, "ci_low") - interval.low).abs() < 1e-9);
        assert!((number(ratio, "ci_high") - interval.high).abs() < 1e-9);
        let fractions: Vec<f64> = pairs.iter().map(|(value, f)| value / f).collect();
        let of_fractions = gim_harness::stats::mean(&fractions).unwrap();
        assert!(method != "gim" || of_fractions > 5.0 * number(ratio, "mean"), "what the ratio cures: {of_fractions}");
    }
    // Tests of the difference of two ratios are those of the undivided metric, on the same examples.
    let gim = counted("gim");
    let differences: Vec<f64> = gim.iter().zip(counted("gradient")).map(|(a, b)| a.0 - b.0).collect();
    let rows = run.rows("comparisons.csv");
    let row =
        rows.iter().find(|r| r["metric"] == "comprehensiveness_normalized" && r["method_b"] == "gradient").unwrap();
    let mean_score = gim.iter().map(|(_, f)| f).sum::<f64>() / gim.len() as f64;
    let expected = gim_harness::stats::mean(&differences).unwrap() / mean_score;
    assert!((number(row, "mean_diff") - expected).abs() < 1e-12);
    let test = gim_harness::stats::wilcoxon_signed_rank(&differences).unwrap();
    assert!((number(row, "p_wilcoxon") - test.p).abs() < 1e-9);
    assert!(number(row, "ci_low") <= expected && expected <= number(row, "ci_high"));
}

/// Curves over layers and over quantiles stand on axes of their own.
#[test]
fn what_was_measured_inside_has_its_own_plots() {
    let declared = declared();
    let mut units = units(&declared, 9);
    for unit in units.iter_mut().filter(|unit| unit.excluded.is_none() && unit.key.task == "sentiment") {
        let shift = unit.example_index as f64 / 10.0;
        let curve = |name: &str, places: usize, step: usize| Curve {
            curve: name.into(),
            step: (0..places).map(|place| place * step).collect(),
            fraction: (0..places).map(|place| place as f64 / (places - 1) as f64).collect(),
            score: (0..places).map(|place| place as f64 + shift).collect(),
        };
        if unit.key.method != "random" {
            unit.curves.push(curve("layer_sufficiency", 3, 2));
        }
        unit.curves.push(curve("self_repair", 21, 5));
    }
    let run = Run::of(&declared, 9, &units);
    let layers = run.text("plots/curve-1-layer-sufficiency.svg");
    assert!(layers.contains("layer, 0 the first") && layers.contains("fall of f(x), logit"), "{layers}");
    assert!(layers.contains(">4<") && !layers.contains("random"), "the last layer is 4: {layers}");
    assert!(run.text("report.md").contains("layer sufficiency, layer by layer: sentiment"));
    // It is the model's, and drawn once.
    let repair = run.text("plots/curve-1-self-repair.svg");
    assert!(
        repair.contains("rows of attention") && repair.contains("all methods") && !repair.contains("gradient"),
        "{repair}"
    );
    assert!(!run.folder.path().join("plots/curve-2-self-repair.svg").exists());
}

#[test]
fn when_everything_is_left_out_the_headline_says_why() {
    let declared = declared();
    let mut units = units(&declared, 9);
    for unit in units.iter_mut().filter(|unit| unit.key.task == "sentiment") {
        let reason = if unit.example_index < 7 { "answered wrongly" } else { "no token to rank" };
        unit.excluded = Some(reason.into());
        (unit.attributions, unit.metrics, unit.curves) = (vec![], vec![], vec![]);
    }
    let headline = Run::of(&declared, 9, &units).written.headline.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        headline.contains(
            "On sentiment, all 9 examples are left out, so nothing was measured: 7 answered wrongly, 2 no token to rank."
        ),
        "{headline}"
    );
    assert!(!headline.contains("On fact_checking, all 9"));
}

#[test]
fn the_columns_are_those_of_the_interface() {
    let run = small();
    let examples = "model,task,example_id,method,n_tokens,n_ranked,score,\
                    comprehensiveness,sufficiency,comprehensiveness_normalized,excluded";
    assert_eq!(run.head("examples.csv"), examples);
    assert_eq!(run.head("curves.csv"), "model,task,example_id,method,curve,step,fraction,score");
    let summary = "model,task,method,metric,n,mean,median,sd,ci_low,ci_high";
    assert_eq!(run.head("summary.csv"), format!("{summary},seed_sd,excluded,reasons,note,warning"));
    let comparisons = "model,task,metric,method_a,method_b,n,mean_diff,hl_diff,ci_low,ci_high,\
                       p_wilcoxon,p_holm,p_permutation,rank_biserial,wins,ties,losses";
    assert_eq!(run.head("comparisons.csv"), format!("{comparisons},note,warning,hl_low,hl_high,sd,detectable"));
    let timings = "model,task,method,n,attribution_seconds,evaluation_seconds,\
                   forward_rows,forward_rows_saved,gradient_rows,gradient_rows_saved,\
                   forward_rows_asked,gradient_rows_asked,prefix_tokens,prefix_tokens_saved";
    assert_eq!(run.head("timings.csv"), timings);
    let line: serde_json::Value = serde_json::from_str(&run.head("attributions.jsonl")).unwrap();
    let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
    let mut expected = ["model", "task", "example_id", "method", "tokens", "attributions", "seeds"];
    expected.sort();
    assert_eq!(keys, expected);
    let order =
        ["\"model\"", "\"task\"", "\"example_id\"", "\"method\"", "\"tokens\"", "\"attributions\"", "\"seeds\""];
    let head = run.head("attributions.jsonl");
    assert!(order.map(|key| head.find(key).unwrap()).is_sorted());
}

#[test]
fn the_same_store_gives_the_same_bytes() {
    let declared = declared();
    let mut shuffled = units(&declared, 18);
    shuffled.reverse();
    for unit in &mut shuffled {
        // Another day, another machine: seconds, and what was remembered after an interruption.
        unit.timing.attribution.seconds *= 3.0;
        unit.timing.evaluation.forward_rows += 5;
        unit.timing.evaluation.forward_rows_saved -= 5;
    }
    let first = small();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let second = pool.install(|| Run::of(&declared, 18, &shuffled));
    for name in FILES {
        assert_eq!(first.text(name) == second.text(name), name != "timings.csv", "{name}");
    }
    // And again over what is there.
    let before: Vec<String> = FILES.map(|name| first.text(name)).into();
    let store = Store::open_read_only(&first.folder.path().join("run.sqlite")).unwrap();
    let plots = store_files(&first.folder.path().join("plots"));
    assert!(plots.len() > 20, "{plots:?}");
    for plot in &plots {
        let other = second.folder.path().join("plots").join(plot.file_name().unwrap());
        assert_eq!(fs::read(plot).unwrap(), fs::read(other).unwrap(), "{}", plot.display());
    }
    assert_eq!(report::write(&store, first.folder.path(), None).unwrap(), first.written);
    assert_eq!(before, FILES.map(|name| first.text(name)));
    let mut found: Vec<String> =
        fs::read_dir(first.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    let mut expected: Vec<String> =
        FILES.iter().map(|name| name.to_string()).chain(["run.sqlite".into(), "plots".into()]).collect();
    expected.sort();
    assert_eq!(found, expected, "nothing else, nothing temporary");
}

#[test]
fn every_unit_has_a_row_and_left_out_ones_say_why() {
    let run = small();
    let declared = declared();
    let units = units(&declared, 18);
    let rows = run.rows("examples.csv");
    assert_eq!(rows.len(), units.len());
    for (row, unit) in rows.iter().zip(&units) {
        assert_eq!(row["example_id"], unit.key.example_id);
        assert_eq!(row["method"], unit.key.method);
        assert_eq!(row["score"].parse::<f64>().ok(), unit.score);
        match &unit.excluded {
            Some(reason) => {
                assert_eq!(&row["excluded"], reason);
                assert_eq!(row["comprehensiveness"], "");
            }
            None => {
                let values = &unit.metrics[0].values;
                let mean: f64 = row["comprehensiveness"].parse().unwrap();
                assert!((mean - values.iter().sum::<f64>() / values.len() as f64).abs() < 1e-12);
                let normalized = row["comprehensiveness_normalized"].is_empty();
                assert_eq!(
                    row["excluded"],
                    if normalized { "comprehensiveness_normalized: f(x) is too near 0 to divide by" } else { "" }
                );
            }
        }
    }
    let points: usize = units.iter().flat_map(|unit| &unit.curves).map(|curve| curve.step.len()).sum();
    assert_eq!(run.rows("curves.csv").len(), points);

    let lines: Vec<serde_json::Value> =
        run.text("attributions.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let explained: Vec<&Unit> = units.iter().filter(|unit| unit.excluded.is_none()).collect();
    assert_eq!(lines.len(), explained.len());
    for ((line, unit), written) in lines.iter().zip(explained).zip(run.text("attributions.jsonl").lines()) {
        assert_eq!(line["example_id"], unit.key.example_id.as_str());
        assert_eq!(line["seeds"], unit.attributions.len());
        assert_eq!(line["tokens"].as_array().unwrap().len(), line["attributions"].as_array().unwrap().len());
        let text = serde_json::to_string(&unit.attributions[0]).unwrap();
        assert!(written.contains(&text), "the first seed's vector, exactly");
    }
}

#[test]
fn summaries_are_of_the_examples_that_all_methods_have() {
    let mut declared = declared();
    declared.metrics.truncate(2);
    let mut units = units(&declared, 18);
    // One method lacks one example's value, and has a seed that came to nothing on another.
    let of = |unit: &&mut Unit, example| unit.example_index == example && unit.key.task == "sentiment";
    let lacks = units.iter_mut().find(|unit| of(unit, 3) && unit.key.method == "gradient").unwrap();
    lacks.metrics[0].values.clear();
    lacks.metrics[0].excluded = Some("the reason".into());
    let broken = units.iter_mut().find(|unit| of(unit, 5) && unit.key.method == "random").unwrap();
    broken.metrics[0].values[1] = f64::INFINITY;
    let run = Run::of(&declared, 18, &units);

    let rows = run.rows("summary.csv");
    assert_eq!(rows.len(), 2 * 4 * 2);
    let row = |method: &str, metric: &str| {
        rows.iter().find(|r| r["task"] == "sentiment" && r["method"] == method && r["metric"] == metric).unwrap()
    };
    for method in &declared.methods {
        assert_eq!((row(method, "comprehensiveness")["n"].as_str(), &*row(method, "sufficiency")["n"]), ("14", "16"));
        assert_eq!(row(method, "comprehensiveness")["excluded"], "4");
    }
    let why = |method| row(method, "comprehensiveness")["reasons"].as_str();
    assert_eq!(why("gim"), "2 no value for another method; 2 the model answers wrongly");
    assert_eq!(why("gradient"), "1 no value for another method; 2 the model answers wrongly; 1 the reason");
    assert_eq!(why("random"), "1 no value for another method; 1 not a finite number; 2 the model answers wrongly");

    let values: Vec<Vec<f64>> = units
        .iter()
        .filter(|u| u.key.task == "sentiment" && u.key.method == "random" && u.excluded.is_none())
        .map(|u| u.metrics[1].values.clone())
        .collect();
    let random = row("random", "sufficiency");
    let number = |name: &str| random[name].parse::<f64>().unwrap();
    let means: Vec<f64> = values.iter().map(|v| gim_harness::stats::mean(v).unwrap()).collect();
    assert_eq!(Some(number("mean")), gim_harness::stats::mean(&means));
    assert_eq!(Some(number("sd")), gim_harness::stats::sd(&means));
    let interval = gim_harness::stats::bca_mean_interval(&means, 2000, 0.95, 7).unwrap();
    assert_eq!((number("ci_low"), number("ci_high")), (interval.low, interval.high));
    let by_seed: Vec<f64> =
        (0..3).map(|s| gim_harness::stats::mean(&values.iter().map(|v| v[s]).collect::<Vec<_>>()).unwrap()).collect();
    assert_eq!(Some(number("seed_sd")), gim_harness::stats::sd(&by_seed));
    assert_eq!(row("gim", "sufficiency")["seed_sd"], "");
}

#[test]
fn comparisons_are_paired_signed_and_corrected() {
    let run = small();
    let rows = run.rows("comparisons.csv");
    assert_eq!(rows.len(), 2 * 3 * 6);
    let family: Vec<_> =
        rows.iter().filter(|row| row["task"] == "fact_checking" && row["metric"] == "sufficiency").collect();
    assert_eq!(family.len(), 6);
    let units: Vec<Unit> = units(&declared(), 18);
    let values = |method: &str| -> Vec<f64> {
        units
            .iter()
            .filter(|u| u.key.task == "fact_checking" && u.key.method == method && u.excluded.is_none())
            .map(|u| gim_harness::stats::mean(&u.metrics[1].values).unwrap())
            .collect()
    };
    let mut raw = Vec::new();
    for row in &family {
        let number = |name: &str| row[name].parse::<f64>().unwrap();
        let differences: Vec<f64> =
            values(&row["method_a"]).iter().zip(values(&row["method_b"])).map(|(a, b)| a - b).collect();
        assert_eq!(Some(number("mean_diff")), gim_harness::stats::mean(&differences));
        assert_eq!(Some(number("hl_diff")), gim_harness::stats::hodges_lehmann(&differences));
        assert_eq!(number("p_wilcoxon"), gim_harness::stats::wilcoxon_signed_rank(&differences).unwrap().p);
        // Lower is better: a wins where the difference is negative.
        assert_eq!(number("wins"), differences.iter().filter(|d| **d < 0.0).count() as f64);
        assert_eq!(number("n"), number("wins") + number("ties") + number("losses"));
        assert!(number("ci_low") <= number("mean_diff") && number("mean_diff") <= number("ci_high"));
        raw.push(number("p_wilcoxon"));
    }
    let adjusted: Vec<f64> = family.iter().map(|row| row["p_holm"].parse().unwrap()).collect();
    assert_eq!(adjusted, gim_harness::stats::holm(&raw));
    let pairs: Vec<_> = family.iter().map(|row| (row["method_a"].as_str(), row["method_b"].as_str())).collect();
    assert_eq!(
        &pairs[..4],
        [("gim", "gradient"), ("gim", "integrated_gradients"), ("gim", "random"), ("gradient", "integrated_gradients")]
    );
}

#[test]
fn results_say_what_the_tables_say() {
    let run = small();
    let text_of_results = run.text("results.json");
    let results: serde_json::Value = serde_json::from_str(&text_of_results).unwrap();
    assert_eq!(results["run"], "demo");
    assert_eq!(results["complete"], true);
    assert_eq!(results["identity"]["program"], "gim-harness 0.1.0");
    assert_eq!(results["statistics"]["seed"], 7);
    assert_eq!(results["tasks"][0]["excluded"]["the model answers wrongly"], 2);
    assert_eq!(results["across_tasks"][0]["methods"][0]["method"], "gim");
    for (file, key) in [("summary.csv", "summaries"), ("comparisons.csv", "comparisons")] {
        let rows = run.rows(file);
        let objects = results[key].as_array().unwrap();
        assert_eq!(rows.len(), objects.len());
        for (row, object) in rows.iter().zip(objects) {
            for (name, value) in object.as_object().unwrap() {
                let text = match value {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text.clone(),
                    serde_json::Value::Object(_) => continue,
                    serde_json::Value::Number(number) if number.is_f64() => {
                        // Written with all its digits, though serde_json reads some of them a bit off.
                        let cell: f64 = row[name].parse().unwrap();
                        assert!((cell - number.as_f64().unwrap()).abs() <= cell.abs() * f64::EPSILON, "{name}");
                        assert!(text_of_results.contains(&format!("\"{name}\": {}", row[name])), "{name}");
                        continue;
                    }
                    other => other.to_string(),
                };
                assert_eq!(row[name], text, "{name}");
            }
        }
    }
}

#[test]
fn no_file_holds_what_is_not_a_number() {
    let declared = declared();
    let mut units = units(&declared, 12);
    let nonsense = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 0.0];
    for (i, unit) in units.iter_mut().enumerate() {
        unit.score = Some(nonsense[i % 6]);
        unit.timing.evaluation.seconds = nonsense[i % 5];
        unit.diagnostics.insert("completeness_gap".into(), nonsense[i % 3]);
        for vector in &mut unit.attributions {
            vector[0] = nonsense[i % 6];
        }
        for curve in &mut unit.curves {
            curve.score[1] = nonsense[i % 6];
        }
        for value in unit.metrics.iter_mut().filter(|value| value.excluded.is_none()) {
            match value.metric.as_str() {
                "comprehensiveness" => value.values[0] = nonsense[i % 6],
                "sufficiency" => value.values.iter_mut().for_each(|v| *v = 0.5),
                _ => value.values.iter_mut().for_each(|v| *v = f64::NAN),
            }
        }
    }
    let run = Run::of(&declared, 12, &units);
    for name in FILES {
        let text = run.text(name);
        // The script of the page knows the word.
        let text = text.split("<script>").next().unwrap().to_owned();
        for cell in text.split(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-' || c == '+')) {
            let number = cell.parse::<f64>();
            assert!(number.is_err() || number.unwrap().is_finite(), "{name}: {cell}");
        }
        for line in text.lines().filter(|_| name.ends_with(".jsonl")) {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
    let summary = run.rows("summary.csv");
    let normalized = summary.iter().find(|row| row["metric"] == "comprehensiveness_normalized").unwrap();
    assert_eq!((normalized["n"].as_str(), normalized["mean"].as_str(), &*normalized["note"]), ("0", "", "no value"));
    assert!(normalized["reasons"].contains("not a finite number"), "{normalized:?}");
    let equal = run.rows("comparisons.csv").into_iter().find(|row| row["metric"] == "sufficiency").unwrap();
    assert_eq!(equal["mean_diff"], "0.0");
    assert_eq!((equal["p_wilcoxon"].as_str(), equal["p_holm"].as_str(), &*equal["ties"]), ("", "", &*equal["n"]));
    assert_eq!(equal["note"], "no test: the two are equal on every example");
}

#[test]
fn odd_names_stay_names() {
    let odd = [
        "../../etc/passwd",
        "/absolute",
        "a,b \"quoted\"\nnew line\r\n| pipe `code` **bold** <img src=x>",
        "=HYPERLINK(\"http://x\")",
        "日本語 ✓ \u{202e}esrever\u{1b}[31m",
        "",
    ];
    let mut declared = declared();
    declared.name = odd[2].into();
    declared.models = names(&odd[..2]);
    declared.tasks = names(&[odd[2], odd[4], odd[5]]);
    declared.methods = names(&[odd[0], odd[3], odd[4]]);
    declared.metrics = vec![metric(odd[2], true, false, odd[2]), metric(odd[0], false, true, odd[4])];
    let mut all = units(&declared, 7);
    for unit in &mut all {
        unit.key.example_id = format!("{}{}", odd[2], unit.example_index);
        unit.tokens[0] = odd[2].into();
    }
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("deep/run");
    fs::create_dir_all(&folder).unwrap();
    let store = store(&folder.join("run.sqlite"), &declared, &datasets(&declared, 7), &all);
    report::write(&store, &folder, None).unwrap();
    store.close().unwrap();
    let (plots, files): (Vec<_>, Vec<_>) =
        store_files(outer.path()).into_iter().partition(|file| file.starts_with(folder.join("plots")));
    assert_eq!(files.len(), FILES.len() + 1, "{files:?}");
    assert!(plots.iter().all(|plot| plot.parent() == Some(&folder.join("plots"))), "{plots:?}");

    let mut reader = csv::Reader::from_path(folder.join("examples.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    for (row, unit) in rows.iter().zip(&all) {
        assert_eq!(row[2], unit.key.example_id);
        // A spreadsheet would carry this one out.
        assert_eq!(row[3].strip_prefix('\'').unwrap_or(&row[3]), unit.key.method);
        assert_eq!(row[3].starts_with('\''), unit.key.method.starts_with('='));
    }
    assert_eq!(rows.len(), all.len());

    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for text in plots.iter().map(|plot| fs::read_to_string(plot).unwrap()).chain([page]) {
        assert!(!text.contains(['\r', '\u{1b}', '\u{202e}']));
        assert!(!text.contains("<img"), "markup");
    }
    // For programs, which get it as it came; whoever looks at the files sees escapes.
    for name in ["attributions.jsonl", "results.json"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(!text.contains(['\r', '\u{1b}', '\u{202e}']) && text.contains("\\u202e"), "{name}");
    }
    let results: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("results.json")).unwrap()).unwrap();
    assert_eq!(results["methods"], serde_json::json!([odd[0], odd[3], odd[4]]));

    // Nothing in it is a command, a comment, or ends a cell: a row has as many cells as its head.
    let tex = fs::read_to_string(folder.join("report.tex")).unwrap();
    assert!(!tex.contains(['\r', '\u{1b}', '\u{202e}']));
    assert!(tex.contains(r"a,b \textquotedbl{}quoted\textquotedbl{}") && tex.contains(r"\uc{日}{65E5}"));
    for table in tex.split(r"\toprule").skip(1) {
        let rows = table.split(r"\bottomrule").next().unwrap().lines().filter(|line| line.ends_with(r"\\"));
        let ends: Vec<usize> = rows.map(|row| row.replace(r"\&", "").matches('&').count()).collect();
        assert!(ends.len() > 1 && ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
    }

    let text = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(!text.contains(['\r', '\u{1b}', '\u{202e}']));
    assert!(!text.contains("<img") || text.contains("\\<img"));
    // Every line of a table has as many cells as its head.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair.iter().all(|line| line.starts_with('|'))) {
        assert_eq!(cells(pair[0]), cells(pair[1]), "{}\n{}", pair[0], pair[1]);
    }
}

fn store_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(store_files(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn little_is_enough_for_a_report() {
    let whole = declared();
    // Nothing declared, nothing done, one example, one method, one metric.
    let empty = Declared { models: vec![], tasks: vec![], methods: vec![], metrics: vec![], ..whole.clone() };
    assert!(Run::of(&empty, 0, &[]).text("report.md").contains("Nothing was measured."));
    let nothing = Run::of(&whole, 18, &[]);
    assert!(!nothing.written.complete);
    assert!(nothing.written.headline.contains("0 of 144 units of work are done"));
    assert_eq!(nothing.rows("summary.csv")[0]["reasons"], "18 not finished");

    let one_example: Vec<Unit> = units(&whole, 1);
    let run = Run::of(&whole, 1, &one_example);
    assert!(run.written.complete);
    assert_eq!(run.rows("summary.csv")[0]["note"], "fewer than two examples");
    assert!(run.written.headline.contains("1 example cannot tell"), "{}", run.written.headline);

    let mut one = whole.clone();
    one.tasks.truncate(1);
    one.methods.truncate(1);
    one.metrics.truncate(1);
    let run = Run::of(&one, 9, &units(&one, 9));
    assert!(run.rows("comparisons.csv").is_empty());
    assert!(run.written.headline.contains("gim is the only method with values"), "{}", run.written.headline);
}

#[test]
fn a_manifest_is_written_and_errors_leave_the_old_report() {
    let declared = declared();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let store = store(&path, &declared, &datasets(&declared, 9), &units(&declared, 9));
    let manifest = serde_json::json!({"device": "cpu", "seconds": 1.5});
    let written = report::write(&store, folder.path(), Some(&manifest)).unwrap();
    let order: Vec<&str> = written.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(order[..7], FILES[..7]);
    assert_eq!(order[7..], ["manifest.json", "report.md", "report.html", "report.tex", "plots"]);
    let text = fs::read_to_string(folder.path().join("manifest.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), manifest);
    store.close().unwrap();

    let before = store_files(folder.path()).len();
    let alter = |statement: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(statement).unwrap();
    alter("UPDATE curve SET steps = 'x' WHERE unit = (SELECT max(unit) FROM curve)");
    let store = Store::open_read_only(&path).unwrap();
    let written = report::write(&store, folder.path(), None).unwrap();
    assert_eq!(written.damaged, ["random on example `fact_checking-8` of fact_checking (small)"]);
    assert!(!written.complete, "what is damaged is not done");
    let report = fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(report.contains("**Damaged**: an entry in the store is not what was written"), "{report}");
    let examples = fs::read_to_string(folder.path().join("examples.csv")).unwrap();
    assert!(!examples.contains("fact_checking-8,random"), "nothing is made of it");

    // What is damaged beyond telling units apart leaves the old report.
    alter("DROP TABLE diagnostic");
    let report = fs::read(folder.path().join("report.md")).unwrap();
    let error = report::write(&store, folder.path(), Some(&serde_json::json!({}))).unwrap_err().to_string();
    assert!(error.contains("run.sqlite"), "{error}");
    assert_eq!(fs::read(folder.path().join("report.md")).unwrap(), report);
    assert_eq!(fs::read_to_string(folder.path().join("manifest.json")).unwrap(), text);
    assert_eq!(store_files(folder.path()).len(), before, "nothing temporary is left");

    let error = report::write(&store, &folder.path().join("missing"), None).unwrap_err().to_string();
    assert!(error.contains("examples.csv"), "{error}");
}
