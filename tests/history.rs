//! Night after night: runs of invented numbers in a folder, as a schedule leaves them.

#[path = "fixtures/report/synthetic.rs"]
mod synthetic;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use gim_harness::config::Margin;
use gim_harness::report;
use gim_harness::report::history::History;
use gim_harness::store::{Declared, Unit};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use synthetic::{datasets, declared, store, units};

const EXAMPLES: usize = 12;

fn small() -> Declared {
    let mut declared = declared();
    declared.tasks.truncate(1);
    declared.metrics.truncate(1);
    declared.resamples = 50;
    declared
}

/// A finished run of the given night, in a folder of its own.
fn night(parent: &Path, number: usize, change: impl Fn(&mut Unit)) {
    let declared = small();
    let mut units = units(&declared, EXAMPLES);
    units.iter_mut().for_each(change);
    let folder = parent.join(format!("demo-202611{:02}-040000", number + 1));
    fs::create_dir_all(&folder).unwrap();
    let store = store(&folder.join("run.sqlite"), &declared, &datasets(&declared, EXAMPLES), &units);
    report::write(&store, &folder, None).unwrap();
    store.close().unwrap();
}

fn shift(unit: &mut Unit, method: &str, by: impl FnOnce(f64) -> f64 + Copy) {
    if unit.key.method == method {
        unit.metrics.iter_mut().flat_map(|value| &mut value.values).for_each(|number| *number = by(*number));
    }
}

fn history(parent: &Path) -> History {
    let history = History::read(parent, Margin::Relative(0.05)).unwrap();
    history.write(parent).unwrap();
    history
}

fn run(parent: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-harness"));
    let output = command.arg("history").arg(parent).args(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn the_same_night_again_and_again_is_unchanged() {
    let place = tempfile::tempdir().unwrap();
    (0..3).for_each(|number| night(place.path(), number, |_| {}));
    fs::create_dir(place.path().join("notes")).unwrap();
    let first = history(place.path());
    assert_eq!((first.nights.len(), first.added, first.series.len()), (3, 3, 4));
    assert!(first.series.iter().all(|series| series.steps.is_empty()) && !first.is_worse());
    let files = || ["history.csv", "history.html"].map(|name| fs::read(place.path().join(name)).unwrap());
    let before = files();
    assert_eq!(history(place.path()).added, 0);
    assert_eq!(before, files(), "the same bytes");
    let (code, said) = run(place.path(), &[]);
    assert!(code == 0 && said.contains("Nights unchanged: no series has a step."), "{said}");
}

#[test]
fn three_small_changes_do_not_pass_as_none() {
    let place = tempfile::tempdir().unwrap();
    // 4 % worse twice a week each, as much as a margin of 5 % against the night before would let pass.
    for number in 0..12 {
        night(place.path(), number, |unit| shift(unit, "gim", |value| value * 0.96_f64.powi(number as i32 / 3)));
    }
    let found = history(place.path());
    let gim = found.series.iter().find(|series| series.method == "gim").unwrap();
    assert_eq!(gim.steps, [3, 6, 9]);
    assert!(gim.is_worse && (gim.levels[3] / gim.levels[0] - 0.96_f64.powi(3)).abs() < 1e-9);
    assert!(found.series.iter().filter(|series| series.method != "gim").all(|series| series.steps.is_empty()));
    let (code, said) = run(place.path(), &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("2026-11-04") && said.contains("-4.0 %"), "{said}");
    assert_eq!(run(place.path(), &["--margin", "20 %"]).0, 0);
    assert_eq!(run(place.path(), &["--margin", "much"]).0, 2);
}

/// Every night a little worse, with noise from one to the next that hides it: no night stands out from the one before.
#[test]
fn a_slow_drift_is_found() {
    let place = tempfile::tempdir().unwrap();
    for number in 0..28 {
        let mut generator = ChaCha8Rng::seed_from_u64(number as u64);
        let noise: f64 = generator.random_range(-0.01..0.01);
        let drift = 1.0 - 0.005 * number as f64 + noise;
        night(place.path(), number, |unit| shift(unit, "gim", |value| value * drift));
    }
    let found = history(place.path());
    let gim = found.series.iter().find(|series| series.method == "gim").unwrap();
    let largest = gim.means.windows(2).map(|pair| ((pair[1] - pair[0]) / pair[0]).abs()).fold(0.0, f64::max);
    assert!(largest < 0.03, "no night is 3 % from the one before: {largest}");
    assert!(gim.is_worse && !gim.steps.is_empty(), "{:?}", gim.levels);
    let (code, said) = run(place.path(), &[]);
    assert!(code == 3 && said.contains("worse"), "{said}");
}

#[test]
fn nights_of_noise_are_no_steps() {
    let place = tempfile::tempdir().unwrap();
    for number in 0..20 {
        let mut generator = ChaCha8Rng::seed_from_u64(number as u64);
        let noise: f64 = generator.random_range(-0.05..0.05);
        night(place.path(), number, |unit| shift(unit, "random", |value| value + noise));
    }
    let found = history(place.path());
    let alarms: usize = found.series.iter().map(|series| series.steps.len()).sum();
    assert_eq!((alarms, found.is_worse()), (0, false));
}

#[test]
fn old_runs_go_and_the_record_stays() {
    let place = tempfile::tempdir().unwrap();
    (0..5).for_each(|number| night(place.path(), number, |_| {}));
    // What is no run is nobody's to remove.
    fs::remove_file(place.path().join("demo-20261102-040000/run.sqlite")).unwrap();
    // Somebody's notes keep a run that would go.
    let notes = place.path().join("demo-20261101-040000/notes.txt");
    fs::write(&notes, "look at this again").unwrap();
    let (code, said) = run(place.path(), &["--keep", "2"]);
    assert_eq!(code, 0, "{said}");
    assert!(notes.is_file(), "{said}");
    fs::remove_file(&notes).unwrap();
    let (code, said) = run(place.path(), &["--keep", "2"]);
    assert_eq!(code, 0, "{said}");
    let there = |number: usize| place.path().join(format!("demo-202611{:02}-040000", number + 1)).is_dir();
    assert_eq!([0, 1, 2, 3, 4].map(there), [false, true, false, true, true], "{said}");
    let after = history(place.path());
    assert_eq!((after.nights.len(), after.added), (5, 0));
    assert_eq!(run(place.path(), &["--keep", "0"]).0, 2);
}

#[test]
fn strangers_names_are_text_and_come_back_as_they_were() {
    let place = tempfile::tempdir().unwrap();
    let hostile = "=HYPERLINK(\"http://x\");@y\n'z<script>\u{202e}";
    for number in 0..2 {
        let declared = Declared { tasks: vec![hostile.into()], methods: vec!["'gim".into(), "-b".into()], ..small() };
        let folder = place.path().join(format!("demo-202611{:02}-040000", number + 1));
        fs::create_dir_all(&folder).unwrap();
        let units = units(&declared, EXAMPLES);
        let store = store(&folder.join("run.sqlite"), &declared, &datasets(&declared, EXAMPLES), &units);
        report::write(&store, &folder, None).unwrap();
        store.close().unwrap();
    }
    for _ in 0..2 {
        let found = history(place.path());
        let names: Vec<(&str, &str)> = found.series.iter().map(|s| (s.task.as_str(), s.method.as_str())).collect();
        assert_eq!(names, [(hostile, "'gim"), (hostile, "-b")]);
        assert!(found.series.iter().all(|series| series.nights == [0, 1]), "one series, whatever it is called");
    }
    let rows = csv::Reader::from_path(place.path().join("history.csv")).unwrap().into_records();
    for cell in rows.flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()) {
        // Also where a spreadsheet separates by semicolons, and minds no quotes inside of a line.
        for part in cell.split([';', '\n']) {
            assert!(!part.starts_with(['=', '@', '+']), "{cell:?}");
            assert!(!part.starts_with('-') || part.parse::<f64>().is_ok(), "{cell:?}");
        }
    }
    let page = fs::read_to_string(place.path().join("history.html")).unwrap();
    assert!(page.matches("<script").count() == 1 && !page.contains('\u{202e}'));
}

#[test]
fn what_is_no_history_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let (code, said) = run(place.path(), &[]);
    assert!(code == 2 && said.contains("holds no finished run"), "{said}");
    night(place.path(), 0, |_| {});
    fs::write(place.path().join("history.csv"), "my,notes\n1,2\n").unwrap();
    let (code, said) = run(place.path(), &[]);
    assert!(code == 1 && said.contains("history.csv") && said.contains("move it away"), "{said}");
    assert_eq!(fs::read_to_string(place.path().join("history.csv")).unwrap(), "my,notes\n1,2\n");
    fs::remove_file(place.path().join("history.csv")).unwrap();
    fs::write(place.path().join("demo-20261101-040000/results.json"), "{}").unwrap();
    let (code, said) = run(place.path(), &[]);
    assert!(code == 1 && said.contains("results.json"), "{said}");
}
