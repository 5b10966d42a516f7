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

/// A dataset of the invented run whose prompts are known by their ids; every fourth example's answer has two tokens.
fn with_prompts(declared: &Declared, all: &[Unit]) -> Vec<gim_harness::store::PlannedDataset> {
    let mut planned = planned(declared, &datasets(declared, EXAMPLES), all);
    for dataset in &mut planned {
        for (number, example) in dataset.examples.iter_mut().enumerate() {
            let of = |unit: &&Unit| unit.key.example_id == example.id && !unit.tokens.is_empty();
            let tokens = all.iter().find(of).map_or(0, |unit| unit.tokens.len());
            let ids = (0..tokens as i64).map(|place| 100 * number as i64 + place).collect();
            let mut answer = vec![(7, " Yes".to_owned())];
            answer.extend((number % 4 == 3).then(|| (8, "!".to_owned())));
            example.prompt = gim_harness::store::Prompt { ids, answer };
        }
    }
    planned
}

#[test]
fn attributions_stand_as_inseq_saves_them() {
    use base64::Engine as _;
    let declared = declared();
    let all = units(&declared, EXAMPLES);
    let folder = tempfile::tempdir().unwrap();
    let identity = gim_harness::store::RunIdentity::default();
    let planned = with_prompts(&declared, &all);
    let path = folder.path().join("run.sqlite");
    let mut store = gim_harness::store::Store::create(&path, &identity, &declared, &planned).unwrap();
    store.write_all(&all).unwrap();
    let out = folder.path().join("out");
    let parts = export::inseq(&store, &out).unwrap();
    // Two of 18 are left out by the run, and a fourth of the others have answers of two tokens.
    let places: Vec<(&str, usize)> = parts.iter().map(|part| (part.place.as_str(), part.examples)).collect();
    assert_eq!(places.len(), 2);
    assert!(places.iter().all(|(_, examples)| (10..=13).contains(examples)), "{places:?}");
    for part in &parts {
        assert_eq!(part.examples + part.left_out, EXAMPLES);
        for (method, file) in declared.methods.iter().zip(1..) {
            let name = format!("{file}-{}.json", method.replace('_', "-"));
            let text = fs::read_to_string(out.join(&part.place).join(name)).unwrap();
            let saved: Value = serde_json::from_str(&text).unwrap();
            let sequences = saved["attributes"]["sequence_attributions"].as_array().unwrap();
            assert_eq!(sequences.len(), part.examples);
            for sequence in sequences {
                let sequence = &sequence["attributes"];
                let target = sequence["target"].as_array().unwrap();
                let start = sequence["attr_pos_start"].as_u64().unwrap() as usize;
                assert_eq!((target.len(), &target[start]["attributes"]["id"]), (start + 1, &Value::from(7)));
                let first = target[0]["attributes"]["id"].as_i64().unwrap();
                let planned = planned.iter().find(|dataset| dataset.facts.task == part.task).unwrap();
                let id = &planned.examples[(first / 100) as usize].id;
                let unit = all.iter().find(|unit| unit.key.example_id == *id && unit.key.method == *method).unwrap();
                let matrix = sequence["target_attributions"].as_str().unwrap();
                let matrix = base64::engine::general_purpose::STANDARD.decode(matrix).unwrap();
                let tensors = safetensors::SafeTensors::deserialize(&matrix).unwrap();
                let tensor = tensors.tensor("attribution").unwrap();
                assert_eq!(tensor.shape(), [start + 1, 1]);
                let values: Vec<f32> =
                    tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
                let expected: Vec<f32> = unit.attributions[0].iter().map(|&value| value as f32).collect();
                assert_eq!(&values[..start], &expected[..]);
                assert!(values[start].is_nan());
            }
        }
    }
}

#[test]
fn prompts_that_are_not_known_or_not_what_was_written_are_not_exported() {
    let declared = declared();
    let all = units(&declared, EXAMPLES);
    let folder = tempfile::tempdir().unwrap();
    let identity = gim_harness::store::RunIdentity::default();
    let path = folder.path().join("run.sqlite");
    let planned = with_prompts(&declared, &all);
    let mut store = gim_harness::store::Store::create(&path, &identity, &declared, &planned).unwrap();
    store.write_all(&all).unwrap();
    store.close().unwrap();
    let sql = |text: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(text).unwrap();
    let made = || {
        let store = gim_harness::store::Store::open_read_only(&path).unwrap();
        export::inseq(&store, &folder.path().join("out"))
    };
    sql("UPDATE prompt SET ids = replace(ids, '1', '2') WHERE example_id LIKE '%-5'");
    let error = made().unwrap_err();
    assert!(error.to_string().contains("is not what was written"), "{error}");
    // As in a store of before there were prompts.
    sql("DROP TABLE prompt");
    let error = made().unwrap_err();
    assert!(matches!(error, ExportError::NoPrompts { .. }), "{error}");
    assert!(!folder.path().join("out").exists());
}
