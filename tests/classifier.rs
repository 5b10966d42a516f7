//! Classifiers from end to end: a run against what PyTorch computes, `explain`, files of other exporters, old bundles.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use gim_harness::bundle::Manifest;
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::runtime::{Model, Row, Runtime, RuntimeOptions, SessionOptions};
use serde_json::Value;

/// Accepted relative error of attributions, as elsewhere.
const TOLERANCE: f64 = 1e-4;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The program, with a cache of its own.
fn program() -> Command {
    let mut command = Command::cargo_bin("gim-harness").unwrap();
    command.env("GIM_HARNESS_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command
}

fn baked(source: &Path, out: &Path, tokenizer: Option<PathBuf>) -> Manifest {
    bake(source, out, &BakeOptions { tokenizer, ..BakeOptions::default() }, &mut |_, _| {}).unwrap()
}

fn run(folder: &Path, harness: &str) -> Output {
    fs::write(folder.join("harness.yaml"), harness).unwrap();
    program().current_dir(folder).args(["run", "--out", "out"]).output().unwrap()
}

fn succeeds(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(output: Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

type Key = (String, String, String, String);

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// `attributions.jsonl`, by model, task, example and method.
fn attributions(out: &Path) -> HashMap<Key, Vec<f64>> {
    let lines = fs::read_to_string(out.join("attributions.jsonl")).unwrap();
    let entry = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let key = (text(&line["model"]), text(&line["task"]), text(&line["example_id"]), text(&line["method"]));
        (key, numbers(&line["attributions"]))
    };
    lines.lines().map(entry).collect()
}

/// `examples.csv`, by model, task, example and method; columns by their names.
fn examples(out: &Path) -> HashMap<Key, HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(out.join("examples.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let entry = |row: csv::StringRecord| {
        let at = |column: usize| row[column].to_owned();
        let cells = header.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect();
        ((at(0), at(1), at(2), at(3)), cells)
    };
    reader.records().map(|row| entry(row.unwrap())).collect()
}

fn relative_error(found: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(wanted).map(|(a, b)| a - b)) / norm(&mut wanted.iter().copied())
}

#[test]
fn a_run_finds_what_pytorch_computes() {
    let place = tempfile::tempdir().unwrap();
    let folder = fixture("classifier").display().to_string();
    let methods = "gradient, gim, integrated_gradients, ablation, attention_rollout";
    let harness = format!(
        "models: [{{path: \"{folder}\", name: bert}}]\ntasks: [\"{folder}/sentiment.yaml\", \"{folder}/margin.yaml\"]\n\
         methods: [{methods}]\nstatistics: {{resamples: 200}}\n"
    );
    succeeds(run(place.path(), &harness));
    let out = place.path().join("out");
    let (examples, attributions) = (examples(&out), attributions(&out));
    let golden: Value = serde_json::from_slice(&fs::read(fixture("classifier/golden.json")).unwrap()).unwrap();
    let mut most = 0.0f64;
    let mut compared = 0;
    for wanted in golden["examples"].as_array().unwrap() {
        for (task, score) in [("sentiment", "logit"), ("margin", "logit_difference")] {
            for method in methods.split(", ") {
                let key = ("bert".to_owned(), task.to_owned(), text(&wanted["id"]), method.to_owned());
                let found = &examples[&key];
                let tokens = wanted["input_ids"].as_array().unwrap().len();
                assert_eq!(found["n_tokens"], tokens.to_string(), "{key:?}");
                assert_eq!(found["n_ranked"], (tokens - 2).to_string(), "{key:?}: all but [CLS] and [SEP]");
                let Some(wanted) = wanted[score].as_object() else {
                    assert_eq!(found["excluded"], "answered wrongly", "{key:?}");
                    continue;
                };
                // The cell may also say why a normalised metric has no value.
                assert!(!found["excluded"].starts_with("answered"), "{key:?}");
                let cell = |column: &str| found[column].parse::<f64>().unwrap();
                let by_method = &wanted["methods"][method];
                for (column, wanted) in [
                    ("score", &wanted["score"]),
                    ("comprehensiveness", &by_method["comprehensiveness"]),
                    ("sufficiency", &by_method["sufficiency"]),
                ] {
                    let (found, wanted) = (cell(column), wanted.as_f64().unwrap());
                    assert!((found - wanted).abs() < TOLERANCE, "{key:?}: {column} is {found}, not {wanted}");
                }
                let error = relative_error(&attributions[&key], &numbers(&by_method["attributions"]));
                assert!(error < TOLERANCE, "{key:?}: relative error {error:.1e}");
                most = most.max(error);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 12 * 2 * 5);
    println!("largest relative error of {compared} attributions: {most:.1e}");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(report.contains("attention_rollout") && report.contains("margin"), "{report}");
}

#[test]
fn a_label_that_the_model_does_not_have_is_found_before_anything_runs() {
    let place = tempfile::tempdir().unwrap();
    let source = fixture("classifier");
    fs::copy(source.join("sentiment.jsonl"), place.path().join("sentiment.jsonl")).unwrap();
    let task = fs::read_to_string(source.join("sentiment.yaml")).unwrap();
    let task = task.replace("options: [negative, neutral, positive]\n", "labels: {neutral: netural}\n");
    fs::write(place.path().join("task.yaml"), task).unwrap();
    let harness = format!("models: [{{path: \"{}\", name: bert}}]\n", source.display());
    let harness = format!("{harness}tasks: [task.yaml]\nmethods: [gim]\n");
    let said = fails(run(place.path(), &harness), 2);
    // Before it there may be a line that says that ONNX Runtime is being installed.
    assert!(said.contains("error: the model `bert` has no label `netural`\n"), "{said}");
    assert!(said.contains("task.yaml:5:19") && said.contains("did you mean `neutral`?"), "{said}");
    assert!(!place.path().join("out").exists());

    // Together with mistakes of the harness file.
    let said = fails(run(place.path(), &harness.replace("[gim]", "[gmi]")), 2);
    assert!(said.contains("did you mean `gim`?") && said.contains("did you mean `neutral`?"), "{said}");
}

#[test]
fn explain_takes_and_shows_labels() {
    let folder = fixture("classifier");
    let explain = |arguments: &[&str]| {
        let prompt = ["--prompt", "The film was good."];
        program().arg("explain").arg(&folder).args(prompt).args(arguments).output().unwrap()
    };
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&succeeds(explain(&[arguments, &["--format", "json"]].concat()))).unwrap()
    };
    let golden: Value = serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let golden = &golden["examples"][0];

    let found = json(&[]);
    assert_eq!((found["target"].as_str(), found["target_id"].as_i64()), (Some("positive"), Some(2)), "the argmax");
    assert_eq!((found["position"].as_i64(), found["baseline_id"].as_i64()), (Some(0), Some(0)));
    assert_eq!(found["input_ids"], golden["input_ids"]);
    assert_eq!(found["tokens"][0], "[CLS]");
    let wanted = numbers(&golden["logit"]["methods"]["gim"]["attributions"]);
    assert!(relative_error(&numbers(&found["attributions"]), &wanted) < TOLERANCE, "{found}");

    let found = json(&["--target", "Negative", "--method", "gradient"]);
    assert_eq!((found["target"].as_str(), found["target_id"].as_i64()), (Some("negative"), Some(0)));
    assert!((found["score"].as_f64().unwrap() - golden["logits"][0].as_f64().unwrap()).abs() < TOLERANCE);
    assert_eq!(json(&["--target-id", "1"])["target"], "neutral");
    // The strongest other label, as the task of margins takes it.
    let found = json(&["--contrast", "neutral", "--method", "integrated_gradients"]);
    assert_eq!(found["contrast_id"].as_i64(), Some(1));
    let wanted = &golden["logit_difference"];
    assert!((found["score"].as_f64().unwrap() - wanted["score"].as_f64().unwrap()).abs() < TOLERANCE);
    let wanted = numbers(&wanted["methods"]["integrated_gradients"]["attributions"]);
    assert!(relative_error(&numbers(&found["attributions"]), &wanted) < TOLERANCE, "{found}");

    let page = succeeds(explain(&["--contrast", "negative", "--format", "html"]));
    assert!(page.contains("why &#39;positive&#39; rather than &#39;negative&#39;?"), "{page}");
    assert!(succeeds(explain(&["--target-id", "0"])).starts_with("why 'negative'? (gim, logit "));

    for (arguments, words) in [
        (["--target", "positve"], "--target: the model has no label `positve`; did you mean 'positive'?"),
        (["--contrast", "joy"], "its labels are `negative`, `neutral`, `positive`"),
        (["--target-id", "3"], "--target-id: the model has the labels 0 to 2, not 3"),
        (["--contrast-id", "99"], "--contrast-id: the model has the labels 0 to 2, not 99"),
    ] {
        let said = fails(explain(&arguments), 2);
        assert!(said.contains(words), "{said}");
    }
}

/// A task for `bert-a`, whose tokenizer has words `w3`, `w4`, .. and no special tokens, with the answers that it gives.
fn task_of_numbered_labels(folder: &Path, bundle: &Path, labels: &str) {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    let mut model = Model::open(&runtime, bundle, &SessionOptions::default()).unwrap();
    let mut data = String::new();
    for number in 0..12i64 {
        let input_ids: Vec<i64> = (0..5 + number % 4).map(|i| 3 + (7 * number + 13 * i) % 120).collect();
        let words: Vec<String> = input_ids.iter().map(|id| format!("w{id}")).collect();
        let argmax = model.scores(&[Row::new(input_ids, 0)], &[]).unwrap()[0].argmax;
        let answer = ["bad", "so-so", "good"][argmax as usize];
        data += &format!("{{\"text\": \"{}\", \"label\": \"{answer}\"}}\n", words.join(" "));
    }
    fs::write(folder.join("words.jsonl"), data).unwrap();
    let task = "data: {file: words.jsonl}\nprompt: \"{text}\"\nanswer: \"{label}\"\noptions: [bad, so-so, good]\n";
    fs::write(folder.join("words.yaml"), format!("{task}{labels}")).unwrap();
}

#[test]
fn a_classifier_of_another_exporter_gives_the_same_as_its_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let (own, foreign) = (place.path().join("own"), place.path().join("foreign"));
    let folder = fixture("architectures/bert-a");
    baked(&folder, &own, None);
    let file = fixture("foreign/bert-a.ts17.sdpa.onnx");
    let manifest = baked(&file, &foreign, Some(folder.join("tokenizer.json")));
    let names: Vec<String> = manifest.labels().unwrap().unwrap().names().map(str::to_owned).collect();
    assert_eq!(names, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    // The file does not say which token is padding; the checkpoint does.
    let harness = "models: [{path: own, baseline: _}, {path: foreign, baseline: _}]\ntasks: [words.yaml]\n\
                   methods: [gim, gradient, {integrated_gradients: {steps: 10}}, ablation, attention_rollout]\n\
                   statistics: {resamples: 100}\n";

    task_of_numbered_labels(place.path(), &own, "");
    let said = fails(run(place.path(), harness), 2);
    assert!(said.contains("the model `foreign` has no label `so-so`"), "{said}");
    assert!(said.contains("`labels` in the task file says which of them an answer is"), "{said}");

    task_of_numbered_labels(place.path(), &own, "labels: {bad: LABEL_0, so-so: label_1, good: 2}\n");
    succeeds(run(place.path(), harness));
    let out = place.path().join("out");
    assert!(examples(&out).values().all(|cells| !cells["excluded"].starts_with("answered")));
    let attributions = attributions(&out);
    assert_eq!(attributions.len(), 2 * 12 * 5);
    for (key, found) in attributions.iter().filter(|(key, _)| key.0 == "foreign") {
        let twin = ("own".to_owned(), key.1.clone(), key.2.clone(), key.3.clone());
        let error = relative_error(found, &attributions[&twin]);
        assert!(error < TOLERANCE, "{key:?}: {error:.1e}");
    }
}

#[test]
fn labels_beside_a_foreign_file_are_read() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("model.onnx");
    fs::copy(fixture("foreign/bert-a.ts17.sdpa.onnx"), &file).unwrap();
    fs::copy(fixture("architectures/bert-a/tokenizer.json"), place.path().join("tokenizer.json")).unwrap();
    let without = baked(&file, &place.path().join("without"), None);

    let config = "{\"model_type\": \"bert\", \"id2label\": {\"0\": \"bad\", \"1\": \"so-so\", \"2\": \"good\"}}";
    fs::write(place.path().join("config.json"), config).unwrap();
    let manifest = baked(&file, &place.path().join("with"), None);
    assert_eq!(manifest.labels().unwrap().unwrap().find("good"), Ok(2));
    assert_ne!(manifest.source.sha256, without.source.sha256, "other names are another model");

    fs::write(place.path().join("config.json"), config.replace(", \"2\": \"good\"", "")).unwrap();
    let output = program().arg("bake").arg(&file).arg("--out").arg(place.path().join("bad")).output().unwrap();
    let said = fails(output, 1);
    assert!(said.contains("config.json") && said.contains("'id2label' names 2 labels, and the model has 3"), "{said}");
}

#[test]
fn bundles_of_before_labels_had_names_are_read() {
    let place = tempfile::tempdir().unwrap();
    let bundle = place.path().join("bundle");
    let manifest = baked(&fixture("classifier"), &bundle, None);
    assert_eq!(manifest.dimensions.labels, Some(3));
    let path = bundle.join("bundle.json");
    let as_baked = fs::read(&path).unwrap();
    let whole: Value = serde_json::from_slice(&as_baked).unwrap();
    assert_eq!(whole["labels"]["names"], serde_json::json!(["negative", "neutral", "positive"]));
    let with = |labels: Option<Value>| {
        let mut changed = whole.clone();
        let fields = changed.as_object_mut().unwrap();
        fields.remove("labels");
        // Those bundles are of the first version, which has no hash of the manifest.
        fields.remove("manifest_sha256");
        fields.insert("format_version".to_owned(), 1.into());
        fields.extend(labels.map(|labels| ("labels".to_owned(), labels)));
        fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
        let arguments = ["--prompt", "the film", "--target-id", "1", "--format", "json"];
        program().arg("explain").arg(&bundle).args(arguments).output().unwrap()
    };
    let found: Value = serde_json::from_str(&succeeds(with(None))).unwrap();
    assert_eq!(found["target"], "LABEL_1");
    let said = fails(with(Some(serde_json::json!({"names": ["a", "b"]}))), 1);
    assert!(said.contains("bundle.json") && said.contains("its dimension `labels` is 3, and it names 2"), "{said}");
    fs::write(&path, serde_json::to_vec(&whole).unwrap()).unwrap();
    let said = fails(program().arg("inspect").arg(&bundle).output().unwrap(), 1);
    assert!(said.contains("bundle.json: it is not as it was written"), "{said}");
    fs::write(&path, as_baked).unwrap();
    let inspected = program().arg("inspect").arg(&bundle).output().unwrap();
    assert!(succeeds(inspected).contains("labels        `negative`, `neutral`, `positive`"));
}
