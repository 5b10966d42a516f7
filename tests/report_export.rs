//! A run in ERASER's form and in MIB's, from a store of invented numbers.

#[path = "fixtures/report/synthetic.rs"]
mod synthetic;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use gim_harness::report::export::{self, ExportError, Exported};
use gim_harness::store::{Curve, Declared, Unit};
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
            part.place
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
        let place = folder.path().join("out").join(&part.place);
        let doc = fs::read_to_string(place.join("docs.jsonl")).unwrap();
        assert!(doc.contains("a␣b") && !doc.contains(['\u{1b}', '\u{202e}']), "{doc}");
        for (document, unit) in lines(&place.join("docs.jsonl")).iter().zip(&all) {
            assert!(document["document"].as_str().unwrap().split(' ').count() >= unit.n_tokens.min(6));
        }
        assert_eq!(fs::read_dir(place.join("results")).unwrap().count(), 3);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the store and the folder");
}

#[test]
fn what_the_best_tokens_keep_is_read_off_insertion_curves() {
    let declared = declared();
    let mut all = units(&declared, EXAMPLES);
    for unit in &mut all {
        // Ten tokens. The first method has all of the score back with the first, the others come back evenly.
        let score: Vec<f64> = match unit.key.method.as_str() {
            "gim" => std::iter::once(2.0).chain([12.0; 10]).collect(),
            _ => (0..=10).map(|k| 2.0 + f64::from(k)).collect(),
        };
        unit.curves = vec![Curve {
            curve: "insertion".into(),
            step: (0..=10).collect(),
            fraction: (0..=10).map(|k| f64::from(k) / 10.0).collect(),
            score,
        }];
        if unit.excluded.is_some() {
            unit.curves.clear();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("run.sqlite"), &declared, &datasets(&declared, EXAMPLES), &all);
    let made = export::mib(&store, &folder.path().join("out")).unwrap();
    assert_eq!(made.len(), 2);
    let excluded = all.iter().filter(|unit| unit.excluded.is_some() && unit.key.task == declared.tasks[0]);
    let left_out = excluded.map(|unit| &unit.key.example_id).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((made[0].examples, made[0].left_out), (EXAMPLES - left_out, left_out));
    let read = |method: &str| -> Value {
        let path = folder.path().join(format!("out/{method}/1-small-sentiment.json"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    let (gim, gradient) = (read("1-gim"), read("2-gradient"));
    assert_eq!(numbers(&gim["weighted_edge_counts"]), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 5.0, 10.0]);
    assert_eq!(numbers(&gim["faithfulnesses"]), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(numbers(&gradient["faithfulnesses"]), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.5, 1.0]);
    // From .05 to .1 half of it, then all; evenly: trapezoids of x itself, from .1 on, and one from .05.
    let close = |value: &Value, expected: f64| assert!((value.as_f64().unwrap() - expected).abs() < 1e-12, "{value}");
    close(&gim["area_under"], 0.05 * 0.5 + 0.9);
    close(&gim["area_from_1"], 0.049 + 0.05 * 0.5);
    close(&gim["average"], 0.4);
    close(&gradient["area_under"], 0.05 * 0.05 + 0.015 + 0.105 + 0.375);
    assert_eq!((&gim["baseline"], &gim["corrupted_baseline"]), (&12.0.into(), &2.0.into()));
    assert_eq!(gim["components"], "tokens");

    // Nothing to read, and nothing left behind.
    all.iter_mut().for_each(|unit| unit.curves.clear());
    let folder = tempfile::tempdir().unwrap();
    let store = synthetic::store(&folder.path().join("run.sqlite"), &declared, &datasets(&declared, EXAMPLES), &all);
    let error = export::mib(&store, &folder.path().join("out")).unwrap_err();
    assert!(error.to_string().contains("insertion_auc"), "{error}");
    assert!(!folder.path().join("out").exists());
}
