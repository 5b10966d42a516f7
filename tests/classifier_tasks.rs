//! Tasks put to classifiers: answers as names of labels, and what is said where there is no such label.

use std::path::Path;

use gim_harness::config::{ConfigError, TaskPlan, Vocabulary, load_task};
use gim_harness::labels::Labels;
use gim_harness::tasks::{self, Dataset, Subject, Taken, TaskError};
use gim_harness::tokenizer::{SpecialTokens, Tokenizer};

fn tokenizer(path: &str) -> Tokenizer {
    // Relative, so that what is rendered is the same on every machine.
    Tokenizer::from_file(&Path::new("tests/fixtures").join(path)).unwrap()
}

fn labels(names: &[&str]) -> Labels {
    Labels::named(names.iter().map(|&name| name.to_owned()).collect()).unwrap()
}

fn put(plan: &TaskPlan, labels: &Labels) -> Result<Dataset, TaskError> {
    let tokenizer = tokenizer("classifier/tokenizer.json");
    tasks::load(
        plan,
        &Subject {
            model: "bert",
            architecture: "llama",
            chat: None,
            max_tokens: None,
            tokenizer: &tokenizer,
            labels: Some(labels),
            special_tokens: SpecialTokens::Tokenizer,
            vocab: usize::MAX >> 1,
        },
        Taken::All,
    )
}

fn said<T: std::fmt::Debug>(result: Result<T, TaskError>) -> String {
    match result.unwrap_err() {
        TaskError::Invalid(mistakes) => mistakes.to_string(),
        error => panic!("{error}"),
    }
}

/// A task of one's own, with its data.
fn written(yaml: &str, data: &str) -> (tempfile::TempDir, TaskPlan) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("d.jsonl"), data).unwrap();
    std::fs::write(folder.path().join("t.yaml"), format!("data: {{file: d.jsonl}}\n{yaml}")).unwrap();
    let plan = load_task(&folder.path().join("t.yaml"), &Vocabulary::EMPTY).unwrap();
    (folder, plan)
}

#[test]
fn one_task_file_serves_decoders_and_classifiers() {
    let plan = load_task(Path::new("tests/fixtures/config/good/tasks/sentiment.yaml"), &Vocabulary::EMPTY).unwrap();
    let decoder = tokenizer("config/bytelevel.json");
    let subject = Subject {
        model: "decoder",
        architecture: "llama",
        chat: None,
        max_tokens: None,
        tokenizer: &decoder,
        labels: None,
        special_tokens: SpecialTokens::Tokenizer,
        vocab: usize::MAX >> 1,
    };
    let first = tasks::load(&plan, &subject, Taken::All).unwrap().examples.remove(0);
    let [yes, no] = [" Yes", " No"].map(|text| decoder.id_of_single_token(text).unwrap());
    assert_eq!((first.target, first.contrast, first.options), (yes, Some(no), vec![vec![yes], vec![no]]));

    // The same labels in other letters and in another order.
    let names = labels(&["NEUTRAL", "NEGATIVE", "POSITIVE"]);
    let first = put(&plan, &names).unwrap().examples.remove(0);
    assert_eq!((first.target, first.contrast, first.options), (2, Some(1), vec![vec![2], vec![1]]));
    let last = first.input_ids.len() - 1;
    assert_eq!((first.input_ids[0], first.input_ids[last]), (2, 3), "[CLS] and [SEP]");
    assert!(!first.ranked.is_empty() && !first.ranked.places().contains(&0) && !first.ranked.places().contains(&last));
}

#[test]
fn answers_are_mapped_matched_by_label_or_matched_by_text() {
    let data = "{\"t\": \"good\", \"a\": \"1\"}\n{\"t\": \"bad\", \"a\": \"0\"}\n";
    let targets = |yaml: &str, names: &[&str]| -> Vec<i64> {
        let (_folder, plan) = written(&format!("prompt: \"{{t}}\"\nanswer: \"{{a}}\"\n{yaml}"), data);
        put(&plan, &labels(names)).unwrap().examples.iter().map(|example| example.target).collect()
    };
    let named = ["negative", "positive"];
    assert_eq!(targets("options: {1: \" positive\", 0: \" negative\"}\n", &named), [1, 0], "by text");
    assert_eq!(targets("options: {1: \" a\", 0: \" b\"}\n", &["1", "0"]), [0, 1], "a name, not a number");
    assert_eq!(targets("options: {1: \" a\", 0: \" b\"}\nlabels: {1: positive, 0: 0}\n", &named), [1, 0], "mapped");
    assert_eq!(targets("options: {1: negative, 0: positive}\nlabels: {1: 1, 0: 0}\n", &named), [1, 0], "mapped first");
    assert_eq!(targets("labels: {1: Positive, 0: 0}\n", &named), [1, 0], "without options");
    assert_eq!(targets("", &["1", "0", "2"]), [0, 1], "without anything");
    // Numbers that look alike are told apart by quotation marks.
    assert_eq!(targets("labels: {1: 1, 0: \"1\"}\n", &["1", "x"]), [1, 0]);
}

#[test]
fn special_tokens_are_not_ranked() {
    let yaml = "prompt: \"{a} [SEP] {b}\"\nanswer: yes!\nlabels: {yes!: 0}\n";
    let data = "{\"a\": \"The film was unseen\", \"b\": \"A great film\"}\n";
    let ranked = |rank: &str| {
        let (_folder, plan) = written(&format!("{yaml}context: a\nrank: {rank}\n"), data);
        let example = put(&plan, &labels(&["a", "b"])).unwrap().examples.remove(0);
        let tokens: Vec<String> = example.ranked.places().iter().map(|&place| example.tokens[place].clone()).collect();
        tokens.join(" ")
    };
    assert_eq!(ranked("interior"), "The film was unseen A great film", "an unknown word is a word");
    assert_eq!(ranked("context"), "The film was unseen");
    assert_eq!(ranked("all"), "[CLS] The film was unseen [SEP] A great film [SEP]");
}

#[test]
fn mistakes_about_labels_are_reported_at_once() {
    let task = |name: &str| load_task(&Path::new("tests/fixtures/config/labels").join(name), &Vocabulary::EMPTY);
    let names = labels(&["negative", "neutral", "positive", "twin", "twin"]);
    insta::assert_snapshot!("labels_options", said(put(&task("options.yaml").unwrap(), &names)));
    insta::assert_snapshot!("labels_answers", said(put(&task("answers.yaml").unwrap(), &names)));
    let unnamed = Labels::unnamed(2).unwrap();
    insta::assert_snapshot!("labels_unnamed", said(put(&task("answers.yaml").unwrap(), &unnamed)));
    let Err(ConfigError::Invalid(mistakes)) = task("shape.yaml") else { panic!("shape.yaml is accepted") };
    insta::assert_snapshot!("labels_shape", mistakes.to_string());
}

#[test]
fn a_decoder_does_not_heed_labels() {
    let yaml = "prompt: \"{t}\"\nanswer: w9\nlabels: {w9: 12345}\n";
    let (_folder, plan) = written(yaml, "{\"t\": \"w3 w4 w5\"}\n");
    let tokenizer = tokenizer("config/wordlevel.json");
    let subject = Subject {
        model: "decoder",
        architecture: "llama",
        chat: None,
        max_tokens: None,
        tokenizer: &tokenizer,
        labels: None,
        special_tokens: SpecialTokens::Tokenizer,
        vocab: usize::MAX >> 1,
    };
    let example = tasks::load(&plan, &subject, Taken::All).unwrap().examples.remove(0);
    assert_eq!(example.target, tokenizer.id_of_single_token("w9").unwrap());
}
