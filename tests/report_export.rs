//! A run in ERASER's form, from a store of invented numbers.

#[path = "fixtures/report/synthetic.rs"]
mod synthetic;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use gim_harness::report::export::{self, ExportError, Exported};
use gim_harness::store::{Declared, Unit};
use serde_json::Value;
use synthetic::{datasets, declared, names, planned, store, units};

const EXAMPLES: usize = 18;

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn exported(declared: &Declared, units: &[Unit]) -> (tempfile::TempDir, Result<Vec<Exported>, ExportError>) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("run.sqlite"), declared, &datasets(declared, EXAMPLES), units);
    let made = export::eraser(&store, &folder.path().join("out"));
    (folder, made)
}

#[test]
fn rationales_stand_beside_what_they_are_scored_against() {
    let declared = declared();
    let all = units(&declared, EXAMPLES);
    let (folder, made) = exported(&declared, &all);
    // Every third example is annotated, and two of 18 are left out by the run, one of them annotated.
    let names: Vec<String> = made
        .unwrap()
        .into_iter()
        .map(|part| {
            assert_eq!((part.model.as_str(), part.examples, part.left_out), ("small", 6, 12));
            part.folder
        })
        .collect();
    assert_eq!(names, ["1-small-sentiment", "2-small-fact-checking"]);
    let place = folder.path().join("out/1-small-sentiment");
    let (docs, annotations) = (lines(&place.join("docs.jsonl")), lines(&place.join("test.jsonl")));
    assert_eq!((docs.len(), annotations.len()), (6, 6));
    for (method, file) in ["gim", "gradient", "integrated-gradients", "random"].iter().zip(1..) {
        let results = lines(&place.join(format!("results/{file}-{method}.jsonl")));
        for ((result, doc), annotation) in results.iter().zip(&docs).zip(&annotations) {
            let id = result["annotation_id"].as_str().unwrap();
            let unit =
                all.iter().find(|unit| unit.key.example_id == id && unit.key.method.replace('_', "-") == *method);
            let unit = unit.unwrap();
            assert_eq!([&doc["docid"], &annotation["annotation_id"]], [id, id]);
            let words: Vec<&str> = doc["document"].as_str().unwrap().split(' ').collect();
            assert_eq!(words.len(), unit.n_tokens);
            let rationale = &result["rationales"][0];
            let soft: Vec<f64> = serde_json::from_value(rationale["soft_rationale_predictions"].clone()).unwrap();
            assert!(soft.iter().zip(&unit.attributions[0]).all(|(a, b)| (a - b).abs() <= b.abs() * f64::EPSILON));
            // As many tokens as are annotated, and the highest ones.
            let spans = rationale["hard_rationale_predictions"].as_array().unwrap();
            let chosen: Vec<usize> = spans
                .iter()
                .flat_map(|span| {
                    span["start_token"].as_u64().unwrap() as usize..span["end_token"].as_u64().unwrap() as usize
                })
                .collect();
            assert_eq!(chosen.len(), 2);
            let least = chosen.iter().map(|place| soft[*place]).fold(f64::INFINITY, f64::min);
            assert!((0..soft.len()).filter(|place| !chosen.contains(place)).all(|place| soft[place] <= least));
            let evidence = &annotation["evidences"][0][0];
            assert_eq!([&evidence["start_token"], &evidence["end_token"]], [1, 3]);
            assert_eq!(evidence["text"], words[1..3].join(" "));
        }
    }
}

#[test]
fn what_cannot_be_exported_says_why_and_leaves_nothing() {
    let declared = declared();
    let all = units(&declared, EXAMPLES);
    // Nobody annotated anything.
    let folder = tempfile::tempdir().unwrap();
    let mut plan = planned(&declared, &datasets(&declared, EXAMPLES), &all);
    plan.iter_mut().flat_map(|dataset| &mut dataset.examples).for_each(|example| example.evidence.clear());
    let path = folder.path().join("run.sqlite");
    let mut bare = gim_harness::store::Store::create(&path, &synthetic::identity(), &declared, &plan).unwrap();
    bare.write_all(&all).unwrap();
    let error = export::eraser(&bare, &folder.path().join("out")).unwrap_err();
    assert!(matches!(error, ExportError::NoEvidence { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count(), 0);

    // What is there stays.
    fs::create_dir(folder.path().join("out")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gim-harness"))
        .current_dir(folder.path())
        .args(["export", ".", "--format", "eraser", "--out", "out"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("out: this is there already"));
}

#[test]
fn strangers_names_are_no_paths_and_their_tokens_are_words() {
    let mut odd = declared();
    odd.tasks = names(&["../../up", "b\u{202e}"]);
    odd.methods = names(&["/etc/passwd", "=1+1", "=1-1"]);
    let mut all = units(&odd, EXAMPLES);
    for unit in &mut all {
        unit.tokens[0] = "a b\n\u{1b}".into();
        unit.tokens[1] = " ".into();
    }
    let (folder, made) = exported(&odd, &all);
    for part in made.unwrap() {
        let place = folder.path().join("out").join(&part.folder);
        let doc = fs::read_to_string(place.join("docs.jsonl")).unwrap();
        assert!(doc.contains("a␣b") && !doc.contains(['\u{1b}', '\u{202e}']), "{doc}");
        for (document, unit) in lines(&place.join("docs.jsonl")).iter().zip(&all) {
            assert!(document["document"].as_str().unwrap().split(' ').count() >= unit.n_tokens.min(6));
        }
        assert_eq!(fs::read_dir(place.join("results")).unwrap().count(), 3);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the store and the folder");
}
