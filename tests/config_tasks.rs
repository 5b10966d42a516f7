//! Data as a user writes them, for real tokenizers: the examples they become, and what is said about mistakes.

use std::path::{Path, PathBuf};

use gim_harness::config::{TaskPlan, Vocabulary, load_task};
use gim_harness::tasks::{self, Dataset, Subject, Taken, TaskError};
use gim_harness::tokenizer::{SpecialTokens, Tokenizer};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    // Relative, so that what is rendered is the same on every machine.
    Path::new("tests/fixtures/config").join(name)
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_file(&fixture(name)).unwrap()
}

fn task(name: &str) -> TaskPlan {
    load_task(&fixture(name), &Vocabulary::EMPTY).unwrap()
}

/// The examples of a decoder.
fn load_for(plan: &TaskPlan, tokenizer: &Tokenizer, limit: Option<usize>) -> Result<Dataset, TaskError> {
    tasks::load(
        plan,
        &Subject {
            model: "decoder",
            architecture: "llama",
            chat: None,
            max_tokens: None,
            tokenizer,
            labels: None,
            special_tokens: SpecialTokens::Tokenizer,
            vocab: usize::MAX >> 1,
        },
        limit.map_or(Taken::All, Taken::First),
    )
}

fn load(name: &str, with: &str) -> Dataset {
    load_for(&task(name), &tokenizer(with), None).unwrap_or_else(|error| panic!("{error}"))
}

fn said<T: std::fmt::Debug>(result: Result<T, TaskError>) -> String {
    match result.unwrap_err() {
        TaskError::Invalid(mistakes) => mistakes.to_string(),
        error => panic!("{error}"),
    }
}

#[test]
fn examples_of_a_byte_level_tokenizer() {
    let data = load("good/tasks/sentiment.yaml", "bytelevel.json");
    let tokenizer = tokenizer("bytelevel.json");
    let id = |text: &str| tokenizer.id_of_single_token(text).unwrap();
    assert_eq!((data.counts.available, data.examples.len(), data.version), (3, 3, 2));

    let first = &data.examples[0];
    assert_eq!((first.id.as_str(), first.target, first.contrast), ("a", id(" Yes"), Some(id(" No"))));
    assert_eq!(first.options, [[id(" Yes")], [id(" No")]]);
    assert_eq!(first.tokens[..4], ["The", " film", " was", " good"]);
    assert_eq!((first.ranked.places(), first.evidence.as_slice()), (&[0, 1, 2, 3][..], &[3][..]));

    // `Café: bad  film\nThe`: a space, a line break and characters of several bytes inside the context.
    let second = &data.examples[1];
    let of = |positions: &[usize]| -> Vec<&str> { positions.iter().map(|&at| second.tokens[at].as_str()).collect() };
    assert_eq!(of(second.ranked.places()), ["C", "a", "f", "é", ":", " bad", " ", " film", "\n", "The"]);
    assert_eq!(of(&second.evidence), [" bad", " film"]);
    assert_eq!(data.examples[2].evidence, [0usize; 0]);
}

#[test]
fn examples_of_a_sentence_piece_tokenizer() {
    let tokenizer = tokenizer("metaspace.json");
    let data = load_for(&task("good/tasks/sentiment.yaml"), &tokenizer, Some(2)).unwrap();
    assert_eq!((data.counts.available, data.examples.len()), (3, 2));
    let first = &data.examples[0];
    assert_eq!(first.tokens[..5], ["<s>", "The", " film", " was", " good"]);
    assert_eq!((first.ranked.places(), first.evidence.as_slice()), (&[1, 2, 3, 4][..], &[4][..]));
    assert_eq!((first.target, first.contrast), (9, Some(10)));
}

#[test]
fn csv_without_options() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("t.yaml"),
        "data: {file: d.csv}\nprompt: \"{{{claim}}} Answer:\"\nanswer: \"{label}\"\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("d.csv"), "claim,label\r\n\"The film, was\",Yes\r\n\r\n,é\r\n").unwrap();
    let plan = load_task(&folder.path().join("t.yaml"), &Vocabulary::EMPTY).unwrap();
    let data = load_for(&plan, &tokenizer("bytelevel.json"), None).unwrap();
    let ids: Vec<&str> = data.examples.iter().map(|example| example.id.as_str()).collect();
    assert_eq!(ids, ["2", "4"], "line numbers");
    assert_eq!(data.examples[0].tokens.concat(), "{The film, was} Answer:");
    let last = data.examples[0].input_ids.len() - 1;
    assert_eq!(data.examples[0].ranked.places(), (1..last).collect::<Vec<_>>());
    assert!(data.examples[0].options.is_empty() && data.examples[0].contrast.is_none());
    assert_eq!(data.sha256, load_for(&plan, &tokenizer("bytelevel.json"), Some(1)).unwrap().sha256);

    std::fs::write(folder.path().join("d.csv"), "claim,label\nThe,Yes\n").unwrap();
    assert!(matches!(tasks::validate(&plan), Err(TaskError::Changed { .. })));
    std::fs::remove_file(folder.path().join("d.csv")).unwrap();
    assert!(matches!(tasks::validate(&plan), Err(TaskError::Io { .. })));
}

#[test]
fn short_prompts_have_nothing_to_rank() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.yaml"), "data: {file: d.jsonl}\nprompt: \"{w}\"\nanswer: w9\n").unwrap();
    std::fs::write(folder.path().join("d.jsonl"), "{\"w\": \"w3\"}\n{\"w\": \"w3 w4\"}\n{\"w\": \"w3 w4 w5\"}\n")
        .unwrap();
    let plan = load_task(&folder.path().join("t.yaml"), &Vocabulary::EMPTY).unwrap();
    let data = load_for(&plan, &tokenizer("wordlevel.json"), None).unwrap();
    let ranked: Vec<usize> = data.examples.iter().map(|example| example.ranked.len()).collect();
    assert_eq!(ranked, [0, 0, 1]);

    std::fs::write(folder.path().join("d.jsonl"), "{\"w\": \" \"}\n").unwrap();
    let plan = load_task(&folder.path().join("t.yaml"), &Vocabulary::EMPTY).unwrap();
    let message = said(load_for(&plan, &tokenizer("wordlevel.json"), None));
    assert!(message.contains("the prompt of this record has no token"), "{message}");
}

#[test]
fn every_mistake_in_the_data_is_reported_at_once() {
    let tokenizer = tokenizer("bytelevel.json");
    insta::assert_snapshot!("mistakes_jsonl", said(load_for(&task("data/sentiment.yaml"), &tokenizer, Some(1))));
    insta::assert_snapshot!("mistakes_csv", said(load_for(&task("data/facts.yaml"), &tokenizer, None)));
    insta::assert_snapshot!("mistakes_validate", said(tasks::validate(&task("data/sentiment.yaml"))));
}

#[test]
fn mistakes_of_a_word_tokenizer() {
    let message = said(load_for(&task("data/words.yaml"), &tokenizer("wordlevel.json"), None));
    insta::assert_snapshot!("mistakes_words", message);
}

#[test]
fn many_mistakes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.yaml"), "data: {file: d.jsonl}\nprompt: \"{w}\"\nanswer: \"{a}\"\n").unwrap();
    std::fs::write(folder.path().join("d.jsonl"), "{\"w\": \"w3\", \"a\": \"w4 w5\"}\n".repeat(50)).unwrap();
    let plan = load_task(&folder.path().join("t.yaml"), &Vocabulary::EMPTY).unwrap();
    let message = said(load_for(&plan, &tokenizer("wordlevel.json"), None));
    assert!(message.contains("30 more mistakes in this file are not shown"), "{message}");
    assert!(message.ends_with("21 mistakes"), "{message}");

    std::fs::write(folder.path().join("d.jsonl"), "\n\n").unwrap();
    let message = said(tasks::validate(&load_task(&folder.path().join("t.yaml"), &Vocabulary::EMPTY).unwrap()));
    assert!(message.contains("holds no records"), "{message}");
}

#[test]
fn hostile_data_end_soon() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "data: {file: d.jsonl}\nprompt: \"{c}\"\ncontext: c\nevidence: e\nanswer: w9\n";
    std::fs::write(folder.path().join("t.yaml"), yaml).unwrap();
    let started = std::time::Instant::now();
    let fields: String = (0..300_000).map(|field| format!("\"f{field}\": 1, ")).collect();
    let spans = vec!["[0, 5]"; 200_000].join(", ");
    let bad_spans = vec!["[5, 0]"; 200_000].join(", ");
    let words = "w3 ".repeat(20_000);
    for (line, good) in [
        (format!("{{{fields}\"c\": \"w3\", \"e\": []}}\n"), true),
        (format!("{{{fields}{fields}\"c\": \"w3\", \"e\": []}}\n"), false),
        (format!("{{\"c\": \"{words}\", \"e\": [{spans}]}}\n"), true),
        (format!("{{\"c\": \"{words}\", \"e\": [{bad_spans}]}}\n"), false),
        (format!("{{\"c\": {}1{}, \"e\": 1}}\n", "[".repeat(100_000), "]".repeat(100_000)), false),
        (format!("{{\"c\": \"w3\", \"e\": {}1{}}}\n", "[".repeat(100_000), "]".repeat(100_000)), false),
    ] {
        std::fs::write(folder.path().join("d.jsonl"), line).unwrap();
        let plan = load_task(&folder.path().join("t.yaml"), &Vocabulary::EMPTY).unwrap();
        assert_eq!(load_for(&plan, &tokenizer("wordlevel.json"), None).is_ok(), good);
    }
    assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn no_data_make_it_panic(
        which in 0usize..3,
        lines in prop::collection::vec(prop::sample::select(vec![
            "{\"id\": \"a\", \"context\": \"The film\", \"evidence\": [[0, 3]], \"label\": \"positive\", \"other\": \"negative\"}\n",
            "{\"id\": 1, \"context\": \"é\", \"evidence\": [[0, 18446744073709551615]], \"label\": \"x\", \"other\": \"\"}\n",
            "{\"context\": \"\", \"evidence\": \"[[0, 1]]\"}\n", "\n", "[]", "context,label,id\n", "\"", "a,b,c\r\n", "\u{FEFF}",
            "{\"context\": \"<s>\\u0000\", \"id\": 1e999, \"label\": -0, \"other\": null, \"evidence\": [[-1, 2.5]]}\n",
        ]), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let name = if which == 2 { "d.csv" } else { "d.jsonl" };
        let yaml = format!(
            "data: {{file: {name}, id: id}}\nprompt: \"{{context}}:\"\ncontext: context\nevidence: evidence\n\
             answer: \"{{label}}\"\noptions: {{positive: \" Yes\", negative: \" No\"}}\nrank: context\n"
        );
        std::fs::write(folder.path().join("t.yaml"), yaml).unwrap();
        let mut content = lines.concat().into_bytes();
        content.extend(noise);
        std::fs::write(folder.path().join(name), content).unwrap();
        let plan = load_task(&folder.path().join("t.yaml"), &Vocabulary::EMPTY).unwrap();
        let tokenizer = tokenizer(["wordlevel.json", "bytelevel.json", "metaspace.json"][which]);
        for result in [load_for(&plan, &tokenizer, None).map(drop), tasks::validate(&plan).map(drop)] {
            if let Err(error) = result {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}

#[test]
fn a_sample_is_drawn_from_all_examples_and_keeps_their_order() {
    let (plan, tokenizer) = (task("good/tasks/sentiment.yaml"), tokenizer("bytelevel.json"));
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
    let ids = |size: usize, seed: u64| -> Vec<String> {
        let data = tasks::load(&plan, &subject, Taken::Sample { size, seed }).unwrap();
        assert_eq!(data.counts.available, 3);
        data.examples.into_iter().map(|example| example.id).collect()
    };
    let all = ids(9, 0);
    assert_eq!(
        all,
        load("good/tasks/sentiment.yaml", "bytelevel.json").examples.iter().map(|e| e.id.as_str()).collect::<Vec<_>>()
    );
    let pairs: Vec<Vec<String>> = (0..20).map(|seed| ids(2, seed)).collect();
    for (seed, pair) in pairs.iter().enumerate() {
        assert_eq!(pair.len(), 2);
        assert!(all.iter().filter(|id| pair.contains(id)).eq(pair.iter()), "{pair:?} is in the order of the data");
        assert!(pair.contains(&ids(1, seed as u64)[0]), "the smaller sample is part of the larger");
    }
    assert!(pairs.iter().any(|pair| *pair != pairs[0]), "the seed draws");
}
