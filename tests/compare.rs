//! Runs compared, and held to a gate: from stores of invented numbers.

#[path = "fixtures/report/synthetic.rs"]
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use gim_harness::config::load_gate;
use gim_harness::report::compare::{Change, Compared, Comparing, Judgement, Verdict, compare};
use gim_harness::store::{Declared, Store, Unit};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use synthetic::{datasets, declared, store, units};

const EXAMPLES: usize = 27;

/// Folders with a store each, `base` and `new`.
struct Runs(tempfile::TempDir);

impl Runs {
    fn new(base: &[Unit], new: &[Unit]) -> Runs {
        Runs::of(&declared(), base, &declared(), new)
    }

    fn of(old: &Declared, base: &[Unit], now: &Declared, new: &[Unit]) -> Runs {
        let folder = tempfile::tempdir().unwrap();
        for (name, declared, units) in [("base", old, base), ("new", now, new)] {
            let run = folder.path().join(name);
            fs::create_dir(&run).unwrap();
            store(&run.join("run.sqlite"), declared, &datasets(declared, EXAMPLES), units).close().unwrap();
        }
        Runs(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str) -> Store {
        Store::open_read_only(&self.path(name).join("run.sqlite")).unwrap()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn compared(&self, gate: Option<&str>, today: &str, drift: bool) -> Compared {
        let gate = gate.map(|gate| load_gate(&self.write("gate.yaml", gate)).unwrap());
        let how = Comparing { gate: gate.as_ref(), drift, today: today.parse().unwrap() };
        compare(&self.open("base"), &self.open("new"), &how).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gim-harness"));
        let output =
            command.current_dir(self.0.path()).args(["compare", "base", "new"]).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

fn all() -> Vec<Unit> {
    units(&declared(), EXAMPLES)
}

/// The units, with a metric of a method changed.
fn changed(mut units: Vec<Unit>, method: &str, metric: &str, change: impl Fn(usize, f64) -> f64) -> Vec<Unit> {
    for unit in units.iter_mut().filter(|unit| unit.key.method == method) {
        for value in unit.metrics.iter_mut().filter(|value| value.metric == metric) {
            value.values.iter_mut().for_each(|number| *number = change(unit.example_index, *number));
        }
    }
    units
}

fn verdicts(compared: &Compared) -> Vec<(&Change, Verdict)> {
    compared.changes.iter().map(|change| (change, change.verdict)).collect()
}

const GATE: &str =
    "rules:\n  - {metric: comprehensiveness, margin: 0.1}\n  - {metric: sufficiency, no_worse_than: 10 %}\n";

#[test]
fn the_same_run_is_unchanged() {
    let runs = Runs::new(&all(), &all());
    let compared = runs.compared(Some(GATE), "2026-11-25", true);
    assert!(compared.inputs.differences.is_empty() && compared.inputs.refused.is_empty());
    assert_eq!(compared.changes.len(), 2 * 4 * 3);
    for (change, verdict) in verdicts(&compared) {
        assert_eq!((verdict, change.difference), (Verdict::Unchanged, Some(0.0)), "{change:?}");
    }
    assert_eq!(compared.judged.len(), 2 * 4 * 2);
    assert!(compared.judged.iter().all(|judged| judged.judgement == Judgement::Passed));
    assert!(compared.drift.iter().all(|drift| drift.attribution_most == Some(0.0) && drift.other_strongest == 0));
    assert!(compared.conclusions.iter().all(|conclusion| conclusion.base == conclusion.new));
    let (code, stdout, stderr) = runs.run(&["--gate", "gate.yaml"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("The inputs of the two runs are the same.") && stdout.contains("24 unchanged"), "{stdout}");
    assert!(stdout.contains("No regression: 16 of 16 checks pass."), "{stdout}");
}

#[test]
fn a_planted_regression_is_caught_with_its_reason() {
    let noisy = |example: usize, value: f64| value - 0.4 + 0.05 * (example % 3) as f64;
    let runs = Runs::new(&all(), &changed(all(), "gim", "comprehensiveness", noisy));
    let gate = runs.write("gate.yaml", GATE);
    let (code, stdout, _) = runs.run(&["--gate", gate.to_str().unwrap()]);
    assert_eq!(code, 3, "{stdout}");
    assert!(stdout.contains("Regression: 2 of 16 checks fail."), "{stdout}");
    assert!(stdout.contains("worse by more than the margin: from "), "{stdout}");
    let junit = fs::read_to_string(runs.path("new/junit.xml")).unwrap();
    assert!(junit.contains("tests=\"16\" failures=\"2\" errors=\"0\""), "{junit}");
    assert!(
        junit.contains("<testcase classname=\"small.sentiment\" name=\"gim comprehensiveness\"><failure message=\"")
    );
    let written: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(runs.path("new/compare.json")).unwrap()).unwrap();
    let of = |verdict: &str| written["changes"].as_array().unwrap().iter().filter(|c| c["verdict"] == verdict).count();
    assert_eq!([of("worse"), of("unchanged")], [2, 22]);

    // The page has the examples that moved most, in both runs.
    let page = fs::read_to_string(runs.path("new/compare.html")).unwrap();
    assert!(page.contains("What moved most") && page.contains("gim (base)") && page.contains("gim (new)"));

    // The other way round it is better, which no gate minds; and without a gate nothing fails.
    let back = Runs::new(&changed(all(), "gim", "comprehensiveness", noisy), &all());
    let compared = back.compared(Some(GATE), "2026-11-25", false);
    assert_eq!(verdicts(&compared).iter().filter(|(_, verdict)| *verdict == Verdict::Better).count(), 2);
    assert!(!compared.has_regression());
    assert_eq!(runs.run(&[]).0, 0);
    // The same files twice.
    let page =
        |runs: &Runs| ["compare.html", "compare.json"].map(|name| fs::read(runs.path("new").join(name)).unwrap());
    let first = page(&runs);
    runs.run(&[]);
    assert_eq!(first, page(&runs));
}

#[test]
fn an_acknowledged_change_fails_until_nobody_vouches_for_it() {
    let runs = Runs::new(&all(), &changed(all(), "gim", "comprehensiveness", |_, value| value - 0.5));
    runs.write(
        "seen.yaml",
        "changes: [{method: gim, metric: comprehensiveness, reason: new tokenizer, until: 2026-12-01}]\n",
    );
    let gate = format!("acknowledged: seen.yaml\n{GATE}");
    let on = |today| {
        let compared = runs.compared(Some(&gate), today, false);
        let why: Vec<Judgement> =
            compared.judged.iter().map(|j| j.judgement.clone()).filter(|j| *j != Judgement::Passed).collect();
        (compared.has_regression(), why)
    };
    let (fails, why) = on("2026-12-01");
    assert!(!fails);
    assert!(
        why.len() == 2
            && why.iter().all(|j| matches!(j, Judgement::Acknowledged(why) if why.contains("new tokenizer")))
    );
    let (fails, why) = on("2026-12-02");
    assert!(fails);
    assert!(matches!(&why[0], Judgement::Failed(why) if why.contains("which is over")), "{why:?}");
}

#[test]
fn nights_of_seed_noise_raise_at_most_one_alarm() {
    let base = all();
    let gate = "rules: [{margin: 0}]\n";
    let mut alarms = 0;
    for night in 0..20 {
        let mut generator = ChaCha8Rng::seed_from_u64(night);
        let mut new = base.clone();
        for unit in new.iter_mut().filter(|unit| unit.key.method == "random") {
            for value in &mut unit.metrics {
                value.values.iter_mut().for_each(|number| *number += generator.random_range(-0.3..0.3));
            }
        }
        let compared = Runs::new(&base, &new).compared(Some(gate), "2026-11-25", false);
        alarms += usize::from(compared.has_regression());
        let others = compared.changes.iter().filter(|change| change.method != "random");
        assert!(others.into_iter().all(|change| change.verdict == Verdict::Unchanged));
    }
    assert!(alarms <= 1, "{alarms} of 20");
}

#[test]
fn what_is_missing_is_incomplete() {
    let mut new = all();
    new.retain(|unit| !(unit.key.method == "gradient" && unit.key.task == "sentiment" && unit.example_index > 20));
    let runs = Runs::new(&all(), &new);
    let compared = runs.compared(Some(GATE), "2026-11-25", false);
    for (change, verdict) in verdicts(&compared) {
        let is_missing = change.method == "gradient" && change.task == "sentiment";
        assert_eq!(verdict == Verdict::Incomplete, is_missing, "{change:?}");
    }
    assert!(compared.is_incomplete() && !compared.has_regression());
    let (code, stdout, _) = runs.run(&["--gate", "gate.yaml"]);
    assert_eq!(code, 4);
    assert!(stdout.contains("6 examples are not finished in the new run"), "{stdout}");

    // A method that the new run does not have at all.
    let mut fewer = declared();
    fewer.methods.retain(|method| method != "gradient");
    let new: Vec<Unit> = all().into_iter().filter(|unit| unit.key.method != "gradient").collect();
    let runs = Runs::of(&declared(), &all(), &fewer, &new);
    let compared = runs.compared(Some(GATE), "2026-11-25", false);
    let gone: Vec<_> = compared.changes.iter().filter(|change| change.verdict == Verdict::Incomplete).collect();
    assert!(gone.len() == 2 * 3 && gone.iter().all(|change| change.method == "gradient"));
    assert!(compared.is_incomplete());
}

#[test]
fn what_asks_something_else_is_not_compared() {
    let other = |unit: &mut Unit| unit.tokens[0] = " another".into();
    let mut new = all();
    new.iter_mut().filter(|unit| unit.key.task == "sentiment" && unit.example_index < 9).for_each(other);
    let compared = Runs::new(&all(), &new).compared(None, "2026-11-25", false);
    assert_eq!(
        compared.inputs.refused,
        ["sentiment (small): 9 examples of one name ask other things (their tokens differ)"]
    );
    let n = |task: &str| compared.changes.iter().find(|change| change.task == task).unwrap().n;
    // Three of 27 are left out by the runs themselves, one of them among the nine.
    assert_eq!((n("sentiment"), n("fact_checking")), (24 - 8, 24));

    new.iter_mut().for_each(other);
    let runs = Runs::new(&all(), &new);
    let (code, _, stderr) = runs.run(&[]);
    assert_eq!(code, 1);
    assert!(stderr.contains("nothing in") && stderr.contains("ask other things"), "{stderr}");

    // Other names of everything.
    let mut renamed = declared();
    renamed.tasks = vec!["other".into()];
    let runs = Runs::of(&declared(), &all(), &renamed, &units(&renamed, EXAMPLES));
    let (code, _, stderr) = runs.run(&[]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no model, task, method and metric in common"), "{stderr}");
}

#[test]
fn a_rule_that_fits_nothing_is_a_mistake() {
    let runs = Runs::new(&all(), &all());
    runs.write("gate.yaml", "rules: [{method: gimm, margin: 1}]\n");
    let (code, _, stderr) = runs.run(&["--gate", "gate.yaml"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("gate.yaml:1") && stderr.contains("did you mean `gim`?"), "{stderr}");
    assert_eq!(runs.run(&["--gate", "missing.yaml"]).0, 2);
}

#[test]
fn too_small_a_change_cannot_be_told_and_says_what_could() {
    let noise = |example: usize, value: f64| value + if example.is_multiple_of(2) { 0.3 } else { -0.29 };
    let runs = Runs::new(&all(), &changed(all(), "gim", "sufficiency", noise));
    let compared = runs.compared(Some(GATE), "2026-11-25", false);
    let change = compared.changes.iter().find(|c| c.method == "gim" && c.metric == "sufficiency").unwrap();
    assert_eq!(change.verdict, Verdict::CannotTell);
    let could = change.detectable.unwrap();
    assert!(could > 0.2 && could < 0.4, "{could}");
    // `no_worse_than` wants to be shown, a margin does not.
    assert!(compared.has_regression());
    let gate = "rules: [{metric: sufficiency, margin: 0.1}]\n";
    assert!(!runs.compared(Some(gate), "2026-11-25", false).has_regression());
}

#[test]
fn drift_says_how_far_numbers_are_apart_and_whether_it_matters() {
    let mut new = all();
    for unit in &mut new {
        unit.score = unit.score.map(|score| score * (1.0 + 1e-6));
        for vector in &mut unit.attributions {
            vector.iter_mut().enumerate().for_each(|(i, value)| *value *= 1.0 + 1e-7 * (i as f64 - 2.0));
        }
    }
    let runs = Runs::new(&all(), &new);
    let compared = runs.compared(None, "2026-11-25", true);
    assert_eq!(compared.drift.len(), 2 * 4);
    for drift in &compared.drift {
        let score = drift.score.unwrap();
        assert!((score - 1e-6).abs() < 1e-9, "{drift:?}");
        assert!(drift.attribution_most.unwrap() <= 1e-6 && drift.attribution_most.unwrap() > 1e-8, "{drift:?}");
        assert_eq!((drift.rank_least, drift.other_strongest), (Some(1.0), 0));
    }
    // A method that was ahead falls behind.
    let flat = changed(
        changed(all(), "gim", "comprehensiveness", |_, value| value - 0.9),
        "gradient",
        "comprehensiveness",
        |_, v| v + 0.5,
    );
    let compared = Runs::new(&all(), &flat).compared(None, "2026-11-25", true);
    let turned: Vec<_> = compared.conclusions.iter().filter(|conclusion| conclusion.base != conclusion.new).collect();
    assert_eq!(turned.len(), 2, "{turned:?}");
    assert_eq!(
        (turned[0].base.as_slice(), turned[0].new.as_slice()),
        (&["gim".to_owned()][..], &["gradient".to_owned()][..])
    );
}

#[test]
fn strangers_names_are_text() {
    let hostile = "<script>\"&' \u{202e}]]>\u{1b}";
    let mut odd = declared();
    odd.tasks[0] = hostile.into();
    odd.methods[1] = format!("={hostile}");
    let base = units(&odd, EXAMPLES);
    let new = changed(base.clone(), &odd.methods[1], "comprehensiveness", |_, value| value - 1.0);
    let runs = Runs::of(&odd, &base, &odd, &new);
    runs.write("gate.yaml", "rules: [{margin: 0}]\n");
    let (code, stdout, _) = runs.run(&["--gate", "gate.yaml"]);
    assert_eq!(code, 3);
    let read = |name: &str| fs::read_to_string(runs.path("new").join(name)).unwrap();
    for text in [stdout, read("junit.xml"), read("compare.html")] {
        assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text}");
    }
    assert!(!read("junit.xml").contains("<script"));
    assert_eq!(read("compare.html").matches("<script").count(), 1, "its own");
    assert!(Path::new(&runs.path("new/junit.xml")).is_file());
}
