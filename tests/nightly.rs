//! The night that .github/workflows/nightly.yml describes: its baseline can be read by this program and held against runs of
//! it, and what its steps name is there. Whoever changes the store's format makes the baseline anew (docs/nights.md).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use gim_harness::config::{Gate, Overrides, load_gate, load_plan};
use gim_harness::report::compare::{Compared, Comparing, Judgement, Verdict, compare};
use gim_harness::run::vocabulary;
use gim_harness::store::{PlannedDataset, PlannedExample, Store, Unit};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn gate() -> Gate {
    load_gate(&repository().join(".github/nightly/gate.yaml")).unwrap()
}

/// The baseline, unpacked into a folder.
fn baseline(folder: &Path) -> PathBuf {
    let packed = fs::read(repository().join(".github/nightly/baseline.sqlite.gz")).unwrap();
    assert!(packed.len() < 300_000, "{} bytes are much for a repository", packed.len());
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    let path = folder.join("run.sqlite");
    fs::write(&path, bytes).unwrap();
    path
}

/// A store of the same plan with other units.
fn like(base: &Store, path: &Path, units: &[Unit]) -> Store {
    let datasets = base.datasets().unwrap().into_iter().map(|facts| {
        let mut examples: Vec<PlannedExample> = Vec::new();
        for unit in units.iter().filter(|unit| (&unit.key.model, &unit.key.task) == (&facts.model, &facts.task)) {
            let id = unit.key.example_id.clone();
            if examples.last().is_none_or(|last| last.id != id) {
                let evidence = base.evidence(&unit.key.model, &unit.key.task, &id).unwrap();
                examples.push(PlannedExample { id, evidence, ..PlannedExample::default() });
            }
        }
        PlannedDataset { facts, examples }
    });
    let planned: Vec<PlannedDataset> = datasets.collect();
    let mut store = Store::create(path, base.identity(), base.declared(), &planned).unwrap();
    store.write_all(units).unwrap();
    store
}

fn compared(base: &Store, new: &Store) -> Compared {
    compare(base, new, &Comparing { gate: Some(&gate()), drift: false, today: "2026-11-30".parse().unwrap() }).unwrap()
}

#[test]
fn the_baseline_is_read_and_its_like_passes() {
    let folder = tempfile::tempdir().unwrap();
    let base = Store::open_read_only(&baseline(folder.path())).unwrap();
    let units = base.units().unwrap();
    // Enough examples for an interval to decide anything.
    assert_eq!(units.len(), 3 * 10 * 6);
    let again = compared(&base, &base);
    assert!(again.inputs.differences.is_empty() && !again.has_regression() && !again.is_incomplete());
    assert!(again.changes.iter().all(|change| change.verdict == Verdict::Unchanged));
    assert!(again.judged.len() == again.changes.len(), "every change has a rule");
    assert!(again.judged.iter().all(|judged| judged.judgement == Judgement::Passed));
}

#[test]
fn a_worse_night_fails_at_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    let base = Store::open_read_only(&baseline(folder.path())).unwrap();
    for method in ["gim", "ablation"] {
        let mut units = base.units().unwrap();
        for unit in units.iter_mut().filter(|unit| unit.key.task == "lookup" && unit.key.method == method) {
            for value in unit.metrics.iter_mut().filter(|value| value.metric == "comprehensiveness") {
                value.values.iter_mut().for_each(|number| *number *= 0.8);
            }
        }
        let worse = like(&base, &folder.path().join(format!("{method}.sqlite")), &units);
        let night = compared(&base, &worse);
        let failed: Vec<_> =
            night.judged.iter().filter(|judged| matches!(judged.judgement, Judgement::Failed(_))).collect();
        assert!(
            failed.len() == 1 && failed[0].method == method && failed[0].metric == "comprehensiveness",
            "{failed:?}"
        );
    }
}

/// What the demo would measure today has the same names and asks the same: otherwise every night would be incomplete.
#[test]
fn the_baseline_is_one_of_the_demo_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let base = Store::open_read_only(&baseline(folder.path())).unwrap();
    let plan = load_plan(&repository().join("harness.yaml"), &vocabulary(), &Overrides::default()).unwrap();
    let declared = base.declared();
    assert_eq!(declared.methods, plan.methods.iter().map(|method| method.label.clone()).collect::<Vec<_>>());
    assert_eq!(declared.tasks, plan.tasks.iter().map(|task| task.name.clone()).collect::<Vec<_>>());
    assert_eq!(declared.seed, plan.seed);
    for task in &plan.tasks {
        let version =
            base.datasets().unwrap().into_iter().find(|facts| facts.task == task.name).map(|facts| facts.version);
        assert_eq!(version, Some(task.version), "{}", task.name);
    }
}

#[test]
fn what_the_steps_name_is_there() {
    let text = fs::read_to_string(repository().join(".github/workflows/nightly.yml")).unwrap();
    let workflow: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let steps = workflow["jobs"]["demo"]["steps"].as_sequence().unwrap();
    let commands: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).flat_map(str::lines).collect();
    // Every verb and option is one of the program's, every file of the repository exists.
    let mut verbs = Vec::new();
    for words in commands.iter().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        for word in words.iter().filter(|word| word.starts_with(".github/") || word.ends_with(".yaml")) {
            assert!(repository().join(word).is_file(), "{word}");
        }
        if words[0] == "target/release/gim-harness" {
            verbs.push(words[1].to_owned());
            let help = assert_cmd::Command::new(env!("CARGO_BIN_EXE_gim-harness")).args([words[1], "--help"]).output();
            let help = String::from_utf8(help.unwrap().stdout).unwrap();
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(&format!("{option} ")), "{option} of {}", words[1]);
            }
        }
    }
    assert_eq!(verbs, ["run", "compare", "history"]);
}
