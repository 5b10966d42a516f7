//! Which tokens a prompt becomes, from the command line to the result: what the tokenizer puts around it, and tokens that
//! the model has no embedding for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

/// A folder with a bundle of a small decoder, `bundle`.
struct Place(tempfile::TempDir);

impl Place {
    /// With a tokenizer of its own.
    fn new(checkpoint: &str, tokenizer: &Value) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        place.write("tokenizer.json", &tokenizer.to_string());
        let source = fixture("architectures").join(checkpoint);
        let source = source.to_str().unwrap();
        let baked = place.run(&["bake", source, "--out", "bundle", "--no-verify", "--tokenizer", "tokenizer.json"]);
        assert!(baked.status.success(), "{}", String::from_utf8_lossy(&baked.stderr));
        place
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.path().join(file), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut program = Command::new(assert_cmd::cargo::cargo_bin("gim-harness"));
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
        program.current_dir(self.0.path()).env("GIM_HARNESS_CACHE", cache).stdin(Stdio::null());
        program.args(arguments).output().unwrap()
    }

    /// A run of these prompts with each of two answers, one of which the model gives. `model` is its entry in harness.yaml.
    fn run_prompts(&self, model: &str, prompts: &[&str], options: [&str; 2]) -> Output {
        let row = |prompt: &&str| options.map(|option| format!("{}\n", json!({"text": prompt, "label": option})));
        self.write("rows.jsonl", &prompts.iter().flat_map(row).collect::<String>());
        let [one, other] = options;
        let task = "data: {file: rows.jsonl}\nprompt: \"{text}\"\nanswer: \"{label}\"\n";
        self.write("task.yaml", &format!("{task}options: [{one}, {other}]\n"));
        let harness =
            format!("models: [{model}]\ntasks: [task.yaml]\nmethods: [gradient]\nstatistics: {{resamples: 100}}\n");
        self.write("harness.yaml", &harness);
        self.run(&["run", "--out", "report", "--fresh"])
    }

    /// The ids that `explain` explains.
    fn explained(&self, prompt: &str, more: &[&str]) -> Vec<i64> {
        let output = self.run(&[&["explain", "bundle", "--format", "json", "--prompt", prompt], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["attributions"].as_array().unwrap().len(), object["input_ids"].as_array().unwrap().len());
        serde_json::from_value(object["input_ids"].clone()).unwrap()
    }
}

fn json_of(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn assert_refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    for part in parts {
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
}

#[test]
fn prompts_with_a_token_that_has_no_embedding_are_refused_by_name() {
    let mut tokenizer = json_of(fixture("architectures/gemma3-a/tokenizer.json"));
    tokenizer["added_tokens"] = json!([{"id": 131, "content": "<image>", "single_word": false, "lstrip": false,
                                        "rstrip": false, "normalized": false, "special": true}]);
    let place = Place::new("gemma3-a", &tokenizer);
    let explain = |prompt: &str| place.run(&["explain", "bundle", "--prompt", prompt]);
    assert_refused(&explain("w3 <image> w9"), &["'<image>'", "131", "embeddings for 0 to 130"]);
    assert_refused(&place.run(&["explain", "bundle", "--input-ids", "3,131"]), &["'<image>'", "131"]);
    assert_refused(
        &place.run_prompts("bundle", &["w3 w9", "w3 <image> w9"], ["w20", "w21"]),
        &["rows.jsonl:3", "`<image>`", "no embedding"],
    );
    assert!(!place.0.path().join("report").exists());
    // Others are explained as ever.
    assert_eq!(place.explained("w3 w4 w9", &[]), [3, 4, 9]);
    let run = place.run_prompts("bundle", &["w3 w9", "w4 w5 w9"], ["w20", "w21"]);
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn special_tokens_are_those_that_were_asked_for() {
    // It puts `[CLS]` before a text and `[SEP]` behind it.
    let place = Place::new("gpt2-a", &json_of(fixture("classifier/tokenizer.json")));
    let (whole, begin, none) = ([2, 7, 8, 16, 22, 3], [2, 7, 8, 16, 22], [7, 8, 16, 22]);
    assert_eq!(place.explained("this film was good", &[]), whole);
    assert_eq!(place.explained("this film was good", &["--special-tokens", "tokenizer"]), whole);
    assert_eq!(place.explained("this film was good", &["--special-tokens", "begin"]), begin);
    assert_eq!(place.explained("this film was good", &["--special-tokens", "none"]), none);
    // Written in the prompt they are the prompt's own.
    assert_eq!(place.explained("[CLS] this film was good", &["--special-tokens", "none"]), begin);
    let twice = place.run(&["explain", "bundle", "--prompt", "[CLS] this film was good"]);
    let said = String::from_utf8_lossy(&twice.stderr);
    assert!(said.contains("begins with '[CLS]' twice") && said.contains("--special-tokens none"), "{said}");

    for (special, tokens) in [
        ("tokenizer", vec!["[CLS]", "this", "film", "was", "good", "[SEP]"]),
        ("begin", vec!["[CLS]", "this", "film", "was", "good"]),
        ("none", vec!["this", "film", "was", "good"]),
    ] {
        let model = format!("{{path: bundle, special_tokens: {special}}}");
        let run = place.run_prompts(&model, &["this film was good"], ["play", "actor"]);
        assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
        let line = fs::read_to_string(place.0.path().join("report/attributions.jsonl")).unwrap();
        let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        assert_eq!(line["tokens"], json!(tokens), "{special}");
    }
    let wrong = place.run_prompts("{path: bundle, special_tokens: bigin}", &["this film was good"], ["play", "actor"]);
    assert_refused(&wrong, &["harness.yaml:1", "`bigin`", "did you mean `begin`"]);
}
