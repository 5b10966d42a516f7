//! Attributions that other programs made: read, laid over a prompt's tokens, judged in a run, refused with the row.

#[path = "support/workplace.rs"]
mod workplace;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gim_harness::config::Score;
use gim_harness::imports::{Format, Given, ImportError, Request, read};
use gim_harness::run::Existing;
use gim_harness::tasks::{Counts, Dataset, Example};
use gim_harness::units::Units;
use predicates::prelude::*;
use serde_json::{Value, json};
use workplace::{plan, program, run_units, workplace};

fn example(id: &str, ids: &[i64], tokens: &[&str]) -> Example {
    Example {
        id: id.to_owned(),
        input_ids: ids.to_vec(),
        tokens: tokens.iter().map(|&token| token.to_owned()).collect(),
        target: 20,
        following: Vec::new(),
        contrast: None,
        options: Vec::new(),
        ranked: Units::tokens(1..ids.len() - 1),
        evidence: Vec::new(),
    }
}

/// Two examples that a run took, of three.
fn dataset() -> Dataset {
    let examples = vec![
        example("a", &[1, 7, 8, 9], &["<s>", "Good", " fi", "lm"]),
        example("b", &[1, 7, 5], &["<s>", "Good", "\n"]),
    ];
    Dataset {
        name: "films".to_owned(),
        version: 1,
        sha256: String::new(),
        score: Score::Logit,
        ids: ["a", "b", "c"].map(str::to_owned).into(),
        examples,
        counts: Counts::default(),
    }
}

fn given(text: &str, format: Format, method: &str) -> Result<Given, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("given");
    fs::write(&path, text).unwrap();
    of_file(&path, format, method, &dataset())
}

fn of_file(path: &Path, format: Format, method: &str, dataset: &Dataset) -> Result<Given, String> {
    let all = std::slice::from_ref(dataset);
    read(&Request { path, format, method, model: "small", dataset, all }).map_err(|error| match error {
        ImportError::Invalid(mistakes) => {
            mistakes.to_string().replace(&format!("{}/", path.parent().unwrap().display()), "")
        }
        error => panic!("{error}"),
    })
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn lines_of_json_are_read_as_they_come() {
    let rows = [
        json!({"example_id": "a", "attributions": [0.5, -1.0, 2.0, null], "what else": {"there": "is"}}),
        json!({"id": "c", "attributions": [1.0]}),
        json!({"id": "b", "task": "films", "model": "small", "tokens": ["<s>", "ĠGood", "Ċ"], "attributions": [[1, 2, 3], [4, 5, 6]]}),
        json!({"id": "b", "task": "songs", "attributions": [1]}),
        json!({"id": "b", "model": "large", "attributions": [1]}),
    ];
    let found = given(&format!("\u{feff}{}\n\n", lines(&rows)), Format::Jsonl, "").unwrap();
    let a = found.of("a").unwrap();
    assert_eq!((a.len(), &a[0][..3]), (1, &[0.5, -1.0, 2.0][..]));
    assert!(a[0][3].is_nan());
    assert_eq!(found.of("b").unwrap(), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    // A word's number is shared out among its tokens.
    let words = json!({"id": "a", "words": ["Good", "film"], "attributions": [3.0, -1.0]});
    let found = given(&lines(&[words]), Format::Jsonl, "").unwrap();
    assert_eq!(found.of("a").unwrap(), [[0.0, 3.0, -0.5, -0.5]]);
    assert_eq!(found.of("b").unwrap_err(), "the imported file has no attributions of it");
    // Of several methods, one.
    let two = [
        json!({"id": "a", "method": "mine", "attributions": [1, 1, 1, 1]}),
        json!({"id": "a", "method": "yours", "attributions": [2, 2, 2, 2]}),
    ];
    assert_eq!(given(&lines(&two), Format::Jsonl, "yours").unwrap().of("a").unwrap(), [[2.0; 4]]);
}

#[test]
fn what_does_not_fit_is_refused_with_its_row() {
    let one = |row: Value| {
        given(&lines(&[json!({"id": "b", "attributions": [1, 2, 3]}), row]), Format::Jsonl, "").unwrap_err()
    };
    for (row, expected) in [
        (json!({"id": "a", "attributions": [1, 2, 3]}), "`a`: 3 numbers, and the prompt has 4 tokens"),
        (json!({"id": "aa", "attributions": [1]}), "the data of the task `films` have no example `aa`"),
        (json!({"id": "b", "attributions": [1, 2, 3]}), "the example `b` was already given in line 1"),
        (
            json!({"id": "a", "tokens": ["<s>", "Bad", " fi", "lm"], "attributions": [1, 2, 3, 4]}),
            "`a`: token 1 is `Bad`, and the prompt's is `Good`",
        ),
        (
            json!({"id": "a", "tokens": ["Good", " fi", "lm"], "attributions": [1, 2, 3]}),
            "token 0 is `Good`, and the prompt's is `<s>`; what is not the prompt's tokens stands under `words`",
        ),
        (
            json!({"id": "a", "input_ids": [1, 7, 8], "attributions": [1, 2, 3]}),
            "token 3 is missing, and the prompt's is 9",
        ),
        (json!({"id": "a", "words": ["Good", "song"], "attributions": [1, 2]}), "its words do not stand in the prompt"),
        (json!({"id": "a", "words": ["Good"], "attributions": [1, 2]}), "2 numbers, and it has 1 words"),
        (json!({"id": "a", "words": [" "], "attributions": [1]}), "its words hold no character"),
        (json!({"id": "a"}), "this line is no attribution: missing field `attributions`"),
        (json!({"attributions": [1]}), "`example_id` is missing"),
        (json!({"id": "a", "attributions": ["x"]}), "this line is no attribution"),
        (json!({"id": "a", "attributions": []}), "`a`: 0 numbers, and the prompt has 4 tokens"),
    ] {
        let said = one(row);
        assert!(said.contains(expected) && said.contains("given:2:"), "{said}");
    }
    assert!(given("{\"id\": \"a\", \"attributions\": [NaN]}\n", Format::Jsonl, "").unwrap_err().contains("write null"));
    let two = [
        json!({"id": "a", "method": "mine", "attributions": [1, 1, 1, 1]}),
        json!({"id": "a", "method": "yours", "attributions": [2, 2, 2, 2]}),
    ];
    let said = given(&lines(&two), Format::Jsonl, "").unwrap_err();
    assert!(said.contains("by several methods (`mine`, `yours`); name one"), "{said}");
    // Nothing for this task is no mistake as long as there is something for another.
    let nothing = given(&lines(&[json!({"id": "c", "attributions": [1]})]), Format::Jsonl, "").unwrap();
    let said = nothing.nothing().unwrap();
    assert!(said.message.contains("no attributions here of any of the 2 examples of `films` for `small`"), "{said:?}");
    assert_eq!(said.help.as_deref(), Some("it has 1 of an example that is not taken"));
    // Twenty are shown.
    let many: Vec<Value> = (0..50).map(|row| json!({"id": format!("x{row}"), "attributions": [1]})).collect();
    assert!(given(&lines(&many), Format::Jsonl, "").unwrap_err().contains("30 more mistakes"));
}

#[test]
fn eraser_scores_words_of_documents() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("docs")).unwrap();
    fs::create_dir_all(place.path().join("results")).unwrap();
    fs::write(place.path().join("docs/d1"), "Good\n\nfilm\n").unwrap();
    fs::write(place.path().join("docs/d2"), "Good").unwrap();
    let results = place.path().join("results/mine.jsonl");
    let of = |rows: &[Value]| {
        fs::write(&results, lines(rows)).unwrap();
        of_file(&results, Format::Eraser, "", &dataset())
    };
    let soft = json!({"annotation_id": "a", "rationales": [{"docid": "d1", "soft_rationale_predictions": [2.0, 1.0], "hard_rationale_predictions": []}]});
    let hard = json!({"annotation_id": "b", "rationales": [{"docid": "d2", "hard_rationale_predictions": [{"start_token": 0, "end_token": 1}]}]});
    let found = of(&[soft, hard]).unwrap();
    assert_eq!(found.of("a").unwrap(), [[0.0, 2.0, 0.5, 0.5]]);
    assert_eq!(found.of("b").unwrap(), [[0.0, 1.0, 0.0]]);
    let rationale = |rationale: Value| json!({"annotation_id": "a", "rationales": [rationale]});
    for (row, expected) in [
        (
            rationale(json!({"docid": "d3", "soft_rationale_predictions": [1]})),
            "there is no document `d3` beside the results",
        ),
        (rationale(json!({"docid": "../docs/d1", "soft_rationale_predictions": [1, 1]})), "leads out of the folder"),
        (
            rationale(json!({"docid": "d1", "soft_rationale_predictions": [1]})),
            "1 scores, and the document `d1` has 2 words",
        ),
        (rationale(json!({"docid": "d1"})), "neither soft nor hard"),
        (
            rationale(json!({"docid": "d1", "hard_rationale_predictions": [{"start_token": 1, "end_token": 3}]})),
            "the span [1, 3) is none",
        ),
        (json!({"annotation_id": "a", "rationales": []}), "it has no rationales"),
        (json!({"annotation": "a"}), "this line is none of ERASER's results"),
    ] {
        let said = of(&[row]).unwrap_err();
        assert!(said.contains(expected) && said.contains("mine.jsonl:1:"), "{said}");
    }
}

#[test]
fn what_inseq_saves_is_known_by_its_tokens() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/imports");
    let expected: Value = serde_json::from_slice(&fs::read(fixtures.join("inseq_expected.json")).unwrap()).unwrap();
    let prompt = |at: usize| -> Vec<i64> { serde_json::from_value(expected[at]["input_ids"].clone()).unwrap() };
    let named = |id: &str, ids: &[i64]| {
        let tokens: Vec<String> = ids.iter().map(|id| format!("w{id}")).collect();
        example(id, ids, &tokens.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut dataset = dataset();
    dataset.examples = vec![named("a", &prompt(1)), named("b", &prompt(0))];
    let found = of_file(&fixtures.join("inseq.json"), Format::Inseq, "", &dataset).unwrap();
    for (id, at) in [("a", 1), ("b", 0)] {
        let expected: Vec<f64> = serde_json::from_value(expected[at]["attributions"].clone()).unwrap();
        assert_eq!(found.of(id).unwrap(), [expected]);
    }
    // Another answer is another question; another prompt is another example.
    dataset.examples[0].target = 21;
    let found = of_file(&fixtures.join("inseq.json"), Format::Inseq, "", &dataset).unwrap();
    assert_eq!(found.of("a").unwrap_err(), "the imported file explains another answer, `w20`");
    dataset.examples = vec![named("a", &[1, 2, 3])];
    let found = of_file(&fixtures.join("inseq.json"), Format::Inseq, "", &dataset).unwrap();
    assert!(found.nothing().unwrap().help.as_ref().unwrap().contains("whose tokens are those of no example"));
    let whole = of_file(&fixtures.join("inseq_not_aggregated.json"), Format::Inseq, "", &dataset).unwrap_err();
    assert!(whole.contains("its attributions have 3 dimensions; save them aggregated"), "{whole}");
    let mut broken: Value = serde_json::from_slice(&fs::read(fixtures.join("inseq.json")).unwrap()).unwrap();
    broken["attributes"]["sequence_attributions"][1]["attributes"]["target_attributions"] = json!("AAAA");
    let said = given(&broken.to_string(), Format::Inseq, "").unwrap_err();
    assert!(said.contains("sequence 1: its attributions are no tensor"), "{said}");
    assert!(given("[]", Format::Inseq, "").unwrap_err().contains("no attribution that inseq saved"));
}

/// What one run found is imported into another, and judged the same.
#[test]
fn a_run_judges_what_was_imported() {
    let place = workplace();
    let harness = |methods: &str| {
        let text = format!(
            "name: small\nmodels: [bundle]\ntasks: [words.yaml]\nmethods: {methods}\nlimit: 6\nstatistics: {{resamples: 50}}\n"
        );
        fs::write(place.path().join("harness.yaml"), text).unwrap();
    };
    let folder = |name: &str| place.path().join(name);
    let rows = |name: &str| -> BTreeMap<(String, String), Vec<String>> {
        let mut examples = csv::Reader::from_path(folder(name).join("examples.csv")).unwrap();
        let rows = examples.records().map(Result::unwrap);
        rows.map(|row| ((row[3].to_owned(), row[2].to_owned()), row.iter().skip(6).map(str::to_owned).collect()))
            .collect()
    };
    harness("[gim, random]");
    run_units(&plan(place.path()), &folder("first"), Existing::Continue, u64::MAX).unwrap();
    // Of another file, so that the imported run does not read what it writes.
    fs::copy(folder("first").join("attributions.jsonl"), folder("theirs.jsonl")).unwrap();
    harness("[gim, {imported: {file: theirs.jsonl, method: gim, label: theirs}}]");
    run_units(&plan(place.path()), &folder("second"), Existing::Continue, u64::MAX).unwrap();
    let (first, second) = (rows("first"), rows("second"));
    assert_eq!(second.len(), 12);
    for ((method, id), row) in &second {
        assert_eq!(row, &first[&("gim".to_owned(), id.clone())], "{method} {id}");
    }
    // The file belongs to what a run's numbers hang on.
    let lines: Vec<String> = fs::read_to_string(folder("theirs.jsonl")).unwrap().lines().map(str::to_owned).collect();
    fs::write(folder("theirs.jsonl"), lines[2..].join("\n")).unwrap();
    let error = run_units(&plan(place.path()), &folder("second"), Existing::Continue, 1).unwrap_err().to_string();
    assert!(error.contains("file of theirs"), "{error}");
    // An example that it lacks is left out for this method, and counted.
    run_units(&plan(place.path()), &folder("third"), Existing::Continue, u64::MAX).unwrap();
    let third = rows("third");
    let without: Vec<&String> =
        third.values().filter_map(|row| row.last()).filter(|why| why.contains("no attributions of it")).collect();
    assert_eq!(without.len(), 1, "{third:?}");

    let refused = |methods: &str, expected: &str| {
        harness(methods);
        program().current_dir(place.path()).arg("run").assert().code(2).stderr(predicate::str::contains(expected));
    };
    refused("[{imported: {file: theirs.jsonl}}]", "by several methods (`gim`, `random`)");
    refused("[imported]", "`imported` needs a `file`");
    refused("[{imported: {file: their.jsonl}}]", "there is no file `their.jsonl`");
    refused("[{imported: {file: theirs.jsonl, method: gin}}]", "there are no attributions here");
    refused(
        "[{imported: {file: theirs.jsonl, format: eraser, method: gim}}]",
        "`method` means something only with `format: jsonl`",
    );
    program()
        .current_dir(place.path())
        .args(["explain", "bundle", "--prompt", "w3 w4", "--method", "imported{file: theirs.jsonl}"])
        .assert()
        .failure()
        .stderr(predicate::str::contains("imported for the examples of a run"));
}
