//! Runs from end to end on a small checkpoint: what they leave, interruption and resumption, bad input.

#[path = "support/workplace.rs"]
mod workplace;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gim_harness::config::{Overrides, PRESETS, preset_with_mistakes};
use gim_harness::run::{Existing, RunError, vocabulary};
use gim_harness::units::Granularity;
use predicates::prelude::*;
use workplace::{FILES, checkpoint, plan, program, run_units, workplace};

#[test]
fn an_interrupted_run_resumes_and_ends_as_if_nothing_had_been() {
    let place = workplace();
    let plan = plan(place.path());
    let (whole, parts) = (place.path().join("whole"), place.path().join("parts"));
    let units = 20 * 6;
    assert_eq!(run_units(&plan, &whole, Existing::Continue, u64::MAX).unwrap(), (units, true));

    let (done, complete) = run_units(&plan, &parts, Existing::Continue, 30).unwrap();
    assert!(!complete && done >= 30 && done < units, "{done}");
    assert!(parts.join("report.md").is_file(), "what is done is reported");
    let (rest, complete) = run_units(&plan, &parts, Existing::Resume, u64::MAX).unwrap();
    assert!(complete);
    assert_eq!(done + rest, units, "a finished unit was worked on again");
    for name in FILES.into_iter().filter(|name| !["timings.csv", "manifest.json"].contains(name)) {
        let (a, b) = (fs::read(whole.join(name)).unwrap(), fs::read(parts.join(name)).unwrap());
        assert!(a == b, "{name} is not what an uninterrupted run writes");
    }
    // A finished run has nothing left to do.
    assert_eq!(run_units(&plan, &whole, Existing::Continue, u64::MAX).unwrap(), (0, true));
    assert_eq!(run_units(&plan, &whole, Existing::Fresh, u64::MAX).unwrap(), (units, true));
}

/// One metric of four, one method twice, and a sample.
#[test]
fn only_what_was_chosen_is_done() {
    let place = workplace();
    let harness = |lines: &str| {
        let text =
            format!("name: small\nmodels: [bundle]\ntasks: [words.yaml]\nstatistics: {{resamples: 50}}\n{lines}");
        fs::write(place.path().join("harness.yaml"), text).unwrap();
        let folder = place.path().join("run");
        run_units(&plan(place.path()), &folder, Existing::Fresh, u64::MAX).unwrap();
        ["curves.csv", "examples.csv", "timings.csv", "report.md"]
            .map(|name| fs::read_to_string(folder.join(name)).unwrap())
    };
    let methods =
        "methods:\n  - gim\n  - integrated_gradients: {steps: 3, label: few}\n  - integrated_gradients: {steps: 4}\n";
    let rows = |timings: &str| -> u64 {
        let asked = |line: &str| line.split(',').skip(6).take(2).map(|cell| cell.parse::<u64>().unwrap()).sum::<u64>();
        timings.lines().skip(1).map(asked).sum()
    };
    let column = |text: &str, place: usize| -> BTreeSet<String> {
        text.lines().skip(1).map(|line| line.split(',').nth(place).unwrap().to_owned()).collect()
    };
    let [curves, examples, timings, _] = harness(methods);
    assert_eq!(column(&curves, 4), BTreeSet::from(["comprehensiveness".to_owned(), "sufficiency".to_owned()]));
    let labels = ["few", "gim", "integrated_gradients"].map(str::to_owned);
    assert_eq!(column(&examples, 3), BTreeSet::from(labels));
    let all = rows(&timings);

    let [curves, examples, timings, report] =
        harness(&format!("{methods}metrics: [sufficiency_normalized]\nsample: 7\n"));
    assert_eq!(column(&curves, 4), BTreeSet::from(["sufficiency".to_owned()]));
    assert!(
        examples.starts_with("model,task,example_id,method,n_tokens,n_ranked,score,sufficiency_normalized,excluded\n")
    );
    let drawn = column(&examples, 2);
    assert_eq!(drawn.len(), 7);
    assert!(report.contains("not in the random sample of 7"), "{report}");
    let sampled = rows(&timings);

    let [_, examples, timings, _] = harness(&format!("{methods}sample: 7\n"));
    assert_eq!(column(&examples, 2), drawn);
    // Five perturbed prompts for sufficiency, and as many again as there are ranked tokens for comprehensiveness.
    assert!(sampled < rows(&timings) && rows(&timings) < all, "{sampled} {} {all}", rows(&timings));
}

/// A task with metrics of its own, and what is ranked.
#[test]
fn tasks_choose_their_metrics_and_what_is_ranked() {
    let place = workplace();
    let words = fs::read_to_string(place.path().join("words.yaml")).unwrap().replace("task: words\n", "");
    let more = "task: others\nmetrics: [srg, comprehensiveness]\ngranularity: words\naggregate: mean\n";
    fs::write(place.path().join("others.yaml"), format!("{more}{words}")).unwrap();
    let harness = |lines: &str| {
        let text = format!(
            "name: small\nmodels: [bundle]\ntasks: [words.yaml, others.yaml]\nstatistics: {{resamples: 50}}\n\
             methods: [gim, random, ablation]\nmetrics: [comprehensiveness, sufficiency]\nlimit: 8\n{lines}"
        );
        fs::write(place.path().join("harness.yaml"), text).unwrap();
        plan(place.path())
    };
    let plan = harness("");
    let labels: Vec<String> = plan.all_metrics().into_iter().map(|metric| metric.label).collect();
    assert_eq!(labels, ["comprehensiveness", "sufficiency", "srg"]);
    let (whole, parts) = (place.path().join("whole"), place.path().join("parts"));
    assert!(run_units(&plan, &whole, Existing::Continue, u64::MAX).unwrap().1);
    assert!(!run_units(&plan, &parts, Existing::Continue, 30).unwrap().1);
    assert!(run_units(&plan, &parts, Existing::Resume, u64::MAX).unwrap().1);
    assert_eq!(run_units(&plan, &whole, Existing::Continue, u64::MAX).unwrap(), (0, true), "nothing is left");
    for name in ["examples.csv", "summary.csv", "comparisons.csv", "report.md", "report.html"] {
        assert!(fs::read(whole.join(name)).unwrap() == fs::read(parts.join(name)).unwrap(), "{name}");
    }
    // Every task has its own, and nothing is said of the others.
    let measured: BTreeSet<(String, String)> = csv::Reader::from_path(whole.join("summary.csv"))
        .unwrap()
        .records()
        .map(|row| row.map(|row| (row[1].to_owned(), row[3].to_owned())).unwrap())
        .collect();
    let expected =
        [("others", "comprehensiveness"), ("others", "srg"), ("words", "comprehensiveness"), ("words", "sufficiency")];
    assert_eq!(measured, expected.map(|(task, metric)| (task.to_owned(), metric.to_owned())).into());
    let mut examples = csv::Reader::from_path(whole.join("examples.csv")).unwrap();
    for row in examples.records().map(Result::unwrap) {
        let (task, excluded) = (&row[1], &row[row.len() - 1]);
        assert!(excluded.is_empty() || excluded == "answered wrongly", "{row:?}");
        if excluded.is_empty() {
            assert_eq!((row[8].is_empty(), row[9].is_empty()), (task == "others", task == "words"), "{row:?}");
        }
    }
    assert!(!fs::read_to_string(whole.join("report.md")).unwrap().contains("does not measure it"));
    // What is ranked belongs to what numbers hang on.
    let plan = harness("granularity: sentences\n");
    assert_eq!(
        plan.tasks.iter().map(|task| task.granularity).collect::<Vec<_>>(),
        [Granularity::Sentences, Granularity::Words]
    );
    let error = run_units(&plan, &whole, Existing::Continue, 1).unwrap_err().to_string();
    assert!(error.contains("granularity of words"), "{error}");
    // One label is one metric.
    fs::write(
        place.path().join("others.yaml"),
        format!("task: others\nmetrics: [{{aopc: {{removal: mask, label: fall}}}}]\n{words}"),
    )
    .unwrap();
    let text = fs::read_to_string(place.path().join("harness.yaml")).unwrap();
    fs::write(place.path().join("harness.yaml"), text.replace("sufficiency]", "{aopc: {label: fall}}]")).unwrap();
    program()
        .current_dir(place.path())
        .args(["run"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("the label `fall` stands for something else"));
}

/// Answers of several tokens, with options and without.
#[test]
fn answers_may_be_several_tokens() {
    let place = workplace();
    let rows = fs::read_to_string(place.path().join("words.jsonl")).unwrap();
    let long = rows.replace("\"w20\"", "\"long\"").replace("\"w21\"", "\"short\"");
    fs::write(place.path().join("long.jsonl"), long).unwrap();
    let task = |more: &str| {
        format!(
            "data: {{file: long.jsonl, id: id}}\nprompt: \"{{text}} w9\"\ncontext: text\nanswer: \"{{label}}\"\n{more}"
        )
    };
    fs::write(
        place.path().join("words.yaml"),
        task("options: {long: \"w20 w30 w40\", short: \"w21\"}\nscore: log_probability\n"),
    )
    .unwrap();
    let harness = "name: small\nmodels: [bundle]\ntasks: [words.yaml]\nmethods: [gim, attention_rollout, ablation]\n\
                   metrics: [comprehensiveness, srg]\nstatistics: {resamples: 50}\n";
    fs::write(place.path().join("harness.yaml"), harness).unwrap();
    let (whole, parts) = (place.path().join("whole"), place.path().join("parts"));
    assert!(run_units(&plan(place.path()), &whole, Existing::Continue, u64::MAX).unwrap().1);
    assert!(!run_units(&plan(place.path()), &parts, Existing::Continue, 20).unwrap().1);
    assert!(run_units(&plan(place.path()), &parts, Existing::Resume, u64::MAX).unwrap().1);
    let mut reader = csv::Reader::from_path(whole.join("examples.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let explained: Vec<&csv::StringRecord> = rows.iter().filter(|row| row[row.len() - 1].is_empty()).collect();
    assert!(!explained.is_empty() && explained.len() < rows.len(), "{rows:?}");
    for row in explained {
        let score: f64 = row[6].parse().unwrap();
        assert!(score < 0.0, "a probability's logarithm: {row:?}");
        assert!(row[7].parse::<f64>().is_ok() && row[8].parse::<f64>().is_ok(), "{row:?}");
    }
    assert!(fs::read_to_string(whole.join("report.md")).unwrap().contains(" nats"));
    for name in ["examples.csv", "curves.csv", "attributions.jsonl", "summary.csv"] {
        assert!(fs::read(whole.join(name)).unwrap() == fs::read(parts.join(name)).unwrap(), "{name}");
    }
    let refused = |more: &str, expected: &str| {
        fs::write(place.path().join("words.yaml"), task(more)).unwrap();
        let run = program().current_dir(place.path()).args(["run", "--fresh"]).assert().code(2);
        run.stderr(predicate::str::contains(expected));
    };
    refused("options: {long: \"w20 w30\", short: \"w21\"}\n", "must be one token, but for `score: log_probability`");
    refused("options: {long: w20, short: w21}\ncontrast: short\nscore: log_probability\n", "`contrast` stands beside");
    refused("options: {long: w20 w30, short: w20 w30}\nscore: log_probability\n", "has the text");
}

/// Experiments that come with the program, for anybody's model and task.
#[test]
fn presets_are_harness_files_without_models_and_tasks() {
    let place = workplace();
    for preset in PRESETS {
        let (plan, mistakes) = preset_with_mistakes(
            preset,
            &[place.path().join("bundle")],
            &[place.path().join("words.yaml")],
            &vocabulary(),
            &Overrides::default(),
        );
        assert!(mistakes.is_empty(), "{}: {mistakes:?}", preset.name);
        let plan = plan.unwrap();
        assert_eq!((plan.name.as_str(), plan.models.len(), plan.tasks.len()), (preset.name, 1, 1));
        let out = place.path().join(preset.name);
        let run = |more: &[&str]| {
            let mut command = program();
            command.current_dir(place.path()).args(["run", "--preset", preset.name, "--model", "bundle", "--task"]);
            command
                .arg("words.yaml")
                .args(["--limit", "2", "--methods", "gradient,random", "--out"])
                .arg(&out)
                .args(more);
            command.assert()
        };
        run(&[]).success();
        run(&["--resume"]).success();
        let text = program().args(["presets", preset.name]).assert().success();
        assert_eq!(String::from_utf8_lossy(&text.get_output().stdout), preset.text);
    }
    let refused = |arguments: &[&str], expected: &str| {
        program()
            .current_dir(place.path())
            .arg("run")
            .args(arguments)
            .assert()
            .code(2)
            .stderr(predicate::str::contains(expected));
    };
    refused(
        &["--preset", "feature-atribution", "--model", "bundle", "--task", "words.yaml"],
        "did you mean 'feature-attribution'?",
    );
    refused(&["--preset", "feature-attribution", "--model", "bundle"], "--task");
    refused(&["--model", "bundle"], "--preset");
    refused(
        &["--preset", "feature-attribution", "--model", "bundel", "--task", "words.yaml"],
        "did you mean `bundle`?",
    );
}

#[test]
fn several_tokens_are_explained_together() {
    let place = workplace();
    let explain = |more: &[&str]| {
        let output = program()
            .current_dir(place.path())
            .args(["explain", "bundle", "--prompt", "w3 w4 w5", "--format", "json"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let three = explain(&["--max-new", "3"]);
    let ids: Vec<i64> = serde_json::from_value(three["target_ids"].clone()).unwrap();
    assert_eq!(
        (ids.len(), three["attributions"].as_array().unwrap().len()),
        (3, 3),
        "one number a token of the prompt"
    );
    assert_eq!(explain(&[])["target_id"], three["target_id"], "the first is what the model answers");
    let text: Vec<String> = ids.iter().map(|id| format!("w{id}")).collect();
    let named = explain(&["--target", &text.join(" ")]);
    assert_eq!((&named["target_ids"], &named["attributions"]), (&three["target_ids"], &three["attributions"]));
    assert!(named["score"].as_f64().unwrap() < 0.0);
    program()
        .current_dir(place.path())
        .args(["explain", "bundle", "--prompt", "w3 w4", "--target", "w5 w6", "--contrast", "w7"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("an answer of several tokens is compared with all others"));
}

#[test]
fn another_run_is_not_resumed() {
    let place = workplace();
    let mut plan = plan(place.path());
    let folder = place.path().join("run");
    run_units(&plan, &folder, Existing::Continue, 1).unwrap();
    plan.seed = 1;
    let error = run_units(&plan, &folder, Existing::Resume, 1).unwrap_err().to_string();
    assert!(error.contains("seed"), "{error}");
    let error = run_units(&plan, &place.path().join("none"), Existing::Resume, 1).unwrap_err();
    assert!(matches!(error, RunError::NothingToResume { .. }), "{error}");
}

#[test]
fn what_a_run_leaves() {
    let place = workplace();
    let out = place.path().join("out");
    program()
        .current_dir(place.path())
        .args(["run", "--out"])
        .arg(&out)
        .assert()
        .success()
        .stdout(predicate::str::contains("words"));
    let found: BTreeSet<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for name in FILES.into_iter().chain(["run.sqlite"]) {
        assert!(found.contains(name), "{name} is missing of {found:?}");
    }

    let mut examples = csv::Reader::from_path(out.join("examples.csv")).unwrap();
    let header: Vec<String> = examples.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(header[..7], ["model", "task", "example_id", "method", "n_tokens", "n_ranked", "score"]);
    assert_eq!(header.last().unwrap(), "excluded");
    let rows: Vec<csv::StringRecord> = examples.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 20 * 6);
    // The cell also says why a single metric has no value, such as f(x) below 0 where something is divided by it.
    let wrong: Vec<&csv::StringRecord> = rows.iter().filter(|row| row[row.len() - 1] == *"answered wrongly").collect();
    assert_eq!(wrong.len(), 2 * 6, "the two examples with wrong labels");
    assert!(wrong.iter().all(|row| row[7].is_empty()));

    let comparisons = fs::read_to_string(out.join("comparisons.csv")).unwrap();
    let columns = "model,task,metric,method_a,method_b,n,mean_diff,hl_diff,ci_low,ci_high,p_wilcoxon,p_holm,\
                   p_permutation,rank_biserial,wins,ties,losses";
    assert!(comparisons.starts_with(columns), "columns may be added, at the end only: {comparisons:.300}");

    let report = fs::read_to_string(out.join("report.md")).unwrap();
    for method in ["gim", "integrated_gradients", "attention_rollout", "random"] {
        assert!(report.contains(method), "{method} is missing in the report");
    }
    let timings = fs::read_to_string(out.join("timings.csv")).unwrap();
    assert!(timings.starts_with("model,task,method,n,"), "{timings}");

    // The same again: nothing to do, the same files; and the reports alone.
    let before = fs::read(out.join("summary.csv")).unwrap();
    program().args(["report"]).arg(&out).assert().success();
    assert!(fs::read(out.join("summary.csv")).unwrap() == before);
}

#[test]
fn the_default_folder_is_new_and_latest_points_at_it() {
    let place = workplace();
    let arguments = ["run", "--limit", "2", "--methods", "gim,random"];
    program().current_dir(place.path()).args(arguments).assert().success();
    let latest = place.path().join("reports/latest");
    let first = latest.canonicalize().unwrap();
    assert!(latest.join("examples.csv").is_file());
    program().current_dir(place.path()).args(arguments).assert().success();
    assert_ne!(latest.canonicalize().unwrap(), first, "the second run has a folder of its own");
}

#[test]
fn mistakes_are_all_reported_and_nothing_is_run() {
    let place = workplace();
    let harness = "models: [bundle]\ntasks: [words.yaml, wrods.yaml]\nmetods: [gim]\nmethods: [gmi, random]\n";
    fs::write(place.path().join("harness.yaml"), harness).unwrap();
    let task = fs::read_to_string(place.path().join("words.yaml")).unwrap();
    fs::write(place.path().join("words.yaml"), task.replace("[w20, w21]", "[w20, w22, \"two words\"]")).unwrap();
    program()
        .current_dir(place.path())
        .arg("run")
        .assert()
        .code(2)
        .stdout("")
        .stderr(predicate::str::contains("harness.yaml:3:1"))
        .stderr(predicate::str::contains("did you mean `gim`?"))
        .stderr(predicate::str::contains("did you mean `words.yaml`?"))
        .stderr(predicate::str::contains("is not one token"))
        .stderr(predicate::str::contains("words.jsonl:"));
    assert!(!place.path().join("reports").exists());
}

#[test]
fn a_missing_harness_file_is_a_configuration_mistake() {
    let place = tempfile::tempdir().unwrap();
    program().current_dir(place.path()).arg("run").assert().code(2).stderr(predicate::str::contains("harness.yaml"));
}

#[test]
fn explain_prints_one_object() {
    let place = workplace();
    let bundle = place.path().join("bundle");
    let output = program()
        .arg("explain")
        .arg(&bundle)
        .args(["--input-ids", "0,14,84,73,66,90", "--target-id", "7", "--baseline-id", "1", "--format", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["method"], "gim");
    assert_eq!(found["input_ids"].as_array().unwrap().len(), 6);
    assert_eq!(found["attributions"].as_array().unwrap().len(), 6);
    assert_eq!((found["target_id"].as_i64(), found["target"].as_str()), (Some(7), Some("w7")));
    assert!(found["contrast_id"].is_null());
    assert!((found["score"].as_f64().unwrap() + 8.608_97).abs() < 1e-3, "{found}");
    assert!((found["attributions"][0].as_f64().unwrap() + 4.777_47).abs() < 1e-3, "{found}");

    let several = program()
        .arg("explain")
        .arg(&bundle)
        .args(["--input-ids", "0,14,84,73,66,90", "--baseline-id", "1", "--format", "json"])
        .args(["--method", "gim", "--method", "integrated_gradients{steps: auto, tolerance: 0.001}"])
        .args(["--method", "integrated_gradients{steps: 2}"])
        .output()
        .unwrap();
    let several: serde_json::Value = serde_json::from_slice(&several.stdout).unwrap();
    let labels: Vec<&str> =
        several["explanations"].as_array().unwrap().iter().map(|one| one["method"].as_str().unwrap()).collect();
    assert_eq!(labels, ["gim", "integrated_gradients(steps=auto tolerance=0.001)", "integrated_gradients(steps=2)"]);
    let auto = &several["explanations"][1]["diagnostics"];
    assert!(auto["completeness_gap_relative"].as_f64().unwrap() < 0.001 && auto["tolerance_missed"] == 0.0, "{auto}");
    assert_eq!(several["explanations"][2]["diagnostics"]["steps"], 2.0);

    let page = program()
        .arg("explain")
        .arg(&bundle)
        .args(["--prompt", "w5 w9", "--contrast", "w7", "--format", "html"])
        .output()
        .unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("&#39;w7&#39;") && !page.contains("http"), "{page}");
}

#[test]
fn explain_refuses_what_it_cannot_answer() {
    let place = workplace();
    let bundle = place.path().join("bundle");
    let refused = |arguments: &[&str], code: i32, words: &str| {
        let assert = program().arg("explain").arg(&bundle).args(arguments).assert();
        assert.code(code).stdout("").stderr(predicate::str::contains(words));
    };
    refused(&["--input-ids", "0,5", "--method", "gimm"], 2, "did you mean `gim`?");
    refused(&["--input-ids", "0,5", "--method", "random{seeds: 0}"], 2, "positive number");
    refused(&["--input-ids", "0,5", "--target", "two words"], 2, "--target");
    refused(&["--input-ids", "0,5", "--target-id", "131"], 2, "0 to 130");
    refused(&["--input-ids", "0,99999"], 2, "99999");
    refused(&[], 2, "--prompt");
}

/// A copy of the checkpoint with one thing changed.
fn damaged(change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(checkpoint().join(name), folder.path().join(name)).unwrap();
    }
    change(folder.path());
    folder
}

#[test]
fn a_damaged_checkpoint_ends_in_one_error_and_no_bundle() {
    fn edit(folder: &Path, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains(from), "{name} does not contain {from}");
        fs::write(folder.join(name), text.replacen(from, to, 1)).unwrap();
    }
    let weights = |change: fn(&mut Vec<u8>)| {
        move |folder: &Path| {
            let path = folder.join("model.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            change(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
    };
    let config = |from: &'static str, to: &'static str| move |folder: &Path| edit(folder, "config.json", from, to);
    type Change = Box<dyn FnOnce(&Path)>;
    let cases: Vec<(&str, Change, &str)> = vec![
        ("truncated weights", Box::new(weights(|b| b.truncate(b.len() / 2))), "model.safetensors"),
        ("empty weights", Box::new(weights(Vec::clear)), "model.safetensors"),
        ("a header longer than the file", Box::new(weights(|b| b[..8].fill(0xff))), "model.safetensors"),
        ("overlapping tensors", Box::new(overlapping_tensors), "model.safetensors"),
        ("no weights", Box::new(|f: &Path| fs::remove_file(f.join("model.safetensors")).unwrap()), "model.safetensors"),
        ("another architecture", Box::new(config("\"llama\"", "\"mamba\"")), "mamba"),
        ("another activation", Box::new(config("\"silu\"", "\"relu6\"")), "relu6"),
        ("another size", Box::new(config("\"hidden_size\": 64", "\"hidden_size\": 65")), "model."),
        ("more layers", Box::new(config("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4")), "layers.3"),
        (
            "absurdly many layers",
            Box::new(config("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1000000000")),
            "num_hidden_layers",
        ),
        ("absurd heads", Box::new(config("\"head_dim\": 8", "\"head_dim\": 1000000000000000")), "head_dim"),
        (
            "a field that matters",
            Box::new(config("{", "{\"quantization_config\": {\"bits\": 4},")),
            "quantization_config",
        ),
        ("no JSON", Box::new(config("{", "")), "config.json"),
        (
            "a tokenizer of another model",
            Box::new(|f: &Path| edit(f, "tokenizer.json", "\"w130\": 130", "\"w130\": 131")),
            "another model",
        ),
        ("no tokenizer", Box::new(|f: &Path| fs::remove_file(f.join("tokenizer.json")).unwrap()), "tokenizer.json"),
    ];
    for (name, change, words) in cases {
        let folder = damaged(change);
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("bundles/out");
        let output = program().arg("bake").arg(folder.path()).arg("--out").arg(&out).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
        // Before it there may be a word on ONNX Runtime, which another test is installing.
        assert!(said.lines().any(|line| line.starts_with("error: ")), "{name}: {said}");
        assert!(!said.contains("panicked"), "{name}: {said}");
        let left = fs::read_dir(place.path().join("bundles")).map_or(0, |entries| entries.count());
        assert_eq!(left, 0, "{name}: something was left behind");
    }
}

/// Makes the second tensor's data begin inside the first's.
fn overlapping_tensors(folder: &Path) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let name = header.keys().find(|name| name.contains("layers.1.mlp.up_proj")).unwrap().clone();
    let offsets = &mut header[&name]["data_offsets"];
    let (start, end) = (offsets[0].as_u64().unwrap(), offsets[1].as_u64().unwrap());
    *offsets = serde_json::json!([start - 4, end - 4]);
    let header = serde_json::to_vec(&header).unwrap();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(&header);
    changed.extend(&bytes[8 + length..]);
    fs::write(path, changed).unwrap();
}

#[test]
fn a_bundle_does_not_replace_what_is_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
    program()
        .arg("bake")
        .arg(checkpoint())
        .arg("--out")
        .arg(folder.path())
        .assert()
        .code(1)
        .stderr(predicate::str::contains("is not a bundle"));
    assert_eq!(fs::read_to_string(folder.path().join("thesis.txt")).unwrap(), "precious");
}

#[test]
fn lists_and_schemas() {
    program().args(["methods", "list"]).assert().success().stdout(predicate::str::contains("tsg+norm_freeze"));
    program().args(["metrics", "list"]).assert().success().stdout(predicate::str::contains("comprehensiveness"));
    for of in ["harness", "task"] {
        let output = program().args(["schema", of]).output().unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(schema["properties"].is_object());
    }
    let place = workplace();
    program()
        .current_dir(place.path())
        .args(["tasks", "validate", "words.yaml"])
        .assert()
        .success()
        .stdout(predicate::str::contains("20 examples"));
}
