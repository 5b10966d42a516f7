//! What is stored stays right: runs are extended, go on where they were killed, have one writer, and notice damage.

#[path = "support/workplace.rs"]
mod workplace;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use gim_harness::config::{OptionValue, Plan};
use gim_harness::run::{Existing, RunError};
use gim_harness::store::{FILE_NAME, Glance, RunLock};
use predicates::prelude::*;
use workplace::{FILES, plan, program, run_units, workplace};

/// That every file of two runs that does not say when and how long it ran is the same.
fn assert_same_files(a: &Path, b: &Path) {
    for name in FILES.into_iter().filter(|name| !["timings.csv", "manifest.json"].contains(name)) {
        assert!(
            fs::read(a.join(name)).unwrap() == fs::read(b.join(name)).unwrap(),
            "{name} differs: {}\n{}",
            fs::read_to_string(a.join(name)).unwrap(),
            fs::read_to_string(b.join(name)).unwrap()
        );
    }
}

fn whole(plan: &Plan, folder: &Path) -> u64 {
    let (done, complete) = run_units(plan, folder, Existing::Continue, u64::MAX).unwrap();
    assert!(complete);
    done
}

#[test]
fn a_run_that_was_extended_ends_as_one_that_began_with_all() {
    let place = workplace();
    let all = plan(place.path());
    let (fresh, grown) = (place.path().join("fresh"), place.path().join("grown"));
    assert_eq!(whole(&all, &fresh), 120);

    // Seven examples by two methods, judged by one metric; then more of each, one after another.
    let mut small = all.clone();
    small.limit = Some(7);
    small.methods.truncate(2);
    small.metrics.truncate(1);
    assert_eq!(whole(&small, &grown), 14);
    small.limit = all.limit;
    assert_eq!(whole(&small, &grown), 26, "only the examples that are new");
    small.methods = all.methods.clone();
    assert_eq!(whole(&small, &grown), 80, "only the methods that are new");
    small.metrics = all.metrics.clone();
    // All but the two examples that are left out, by six methods: their attributions are taken from the store.
    assert_eq!(whole(&small, &grown), 108);
    assert_same_files(&fresh, &grown);
    assert_eq!(whole(&all, &grown), 0);

    // A smaller plan shows its part, and loses nothing.
    let mut part = all.clone();
    part.methods.remove(0);
    part.limit = Some(5);
    let other = place.path().join("part");
    whole(&part, &other);
    assert_eq!(whole(&part, &grown), 0);
    assert_same_files(&other, &grown);
    assert_eq!(whole(&all, &grown), 0);
    assert_same_files(&fresh, &grown);
}

#[test]
fn rows_may_be_added_and_not_changed() {
    let place = workplace();
    let data = place.path().join("words.jsonl");
    let all = fs::read_to_string(&data).unwrap();
    let first: String = all.split_inclusive('\n').take(9).collect();
    fs::write(&data, &first).unwrap();
    let run = place.path().join("run");
    assert_eq!(whole(&plan(place.path()), &run), 9 * 6);
    fs::write(&data, &all).unwrap();
    assert_eq!(whole(&plan(place.path()), &run), 11 * 6);

    fs::write(&data, all.replacen("\"text\": \"w", "\"text\": \"w5 w", 1)).unwrap();
    let error = run_units(&plan(place.path()), &run, Existing::Continue, 1).unwrap_err();
    assert!(matches!(&error, RunError::ExampleChanged { example, .. } if example == "e0"), "{error}");
    fs::write(&data, &all).unwrap();
    let task = place.path().join("words.yaml");
    fs::write(&task, fs::read_to_string(&task).unwrap() + "# another text\n").unwrap();
    let error = run_units(&plan(place.path()), &run, Existing::Continue, 1).unwrap_err().to_string();
    assert!(error.contains("task words was"), "{error}");
    // An option that changes what a method computes.
    let mut other = plan(place.path());
    other.methods.last_mut().unwrap().options.insert("seeds".to_owned(), OptionValue::Integer(4));
    fs::write(&task, fs::read_to_string(&task).unwrap().replace("# another text\n", "")).unwrap();
    let error = run_units(&other, &run, Existing::Continue, 1).unwrap_err().to_string();
    assert!(error.contains("method random was `random(seeds=3)`, is `random(seeds=4)`"), "{error}");
}

#[test]
fn a_run_has_one_writer() {
    let place = workplace();
    let plan = plan(place.path());
    let run = place.path().join("run");
    run_units(&plan, &run, Existing::Continue, 1).unwrap();
    let before = fs::read(run.join(FILE_NAME)).unwrap();
    let lock = RunLock::take(&run).unwrap().unwrap();
    for existing in [Existing::Continue, Existing::Resume, Existing::Fresh] {
        let error = run_units(&plan, &run, existing, 1).unwrap_err();
        assert!(matches!(error, RunError::Held(_)), "{error}");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    }
    assert!(fs::read(run.join(FILE_NAME)).unwrap() == before, "left alone");
    drop(lock);
    whole(&plan, &run);
}

#[test]
fn a_fresh_run_removes_no_other_programs_database() {
    let place = workplace();
    let plan = plan(place.path());
    let run = place.path().join("run");
    fs::create_dir(&run).unwrap();
    let database = run.join(FILE_NAME);
    rusqlite::Connection::open(&database).unwrap().execute_batch("CREATE TABLE cookies (a)").unwrap();
    for content in [fs::read(&database).unwrap(), b"notes".to_vec(), Vec::new()] {
        fs::write(&database, &content).unwrap();
        let error = run_units(&plan, &run, Existing::Fresh, 1).unwrap_err();
        assert!(matches!(error, RunError::NotOurs { .. }), "{error}");
        assert!(fs::read(&database).unwrap() == content, "left alone");
    }
}

#[test]
fn a_damaged_unit_is_named_and_done_again() {
    let place = workplace();
    let plan = plan(place.path());
    let (run, copy) = (place.path().join("run"), place.path().join("copy"));
    whole(&plan, &run);
    fs::create_dir(&copy).unwrap();
    for name in FILES.into_iter().chain([FILE_NAME]) {
        fs::copy(run.join(name), copy.join(name)).unwrap();
    }
    // A bit in the first digit of a metric's first value.
    let store = run.join(FILE_NAME);
    let mut bytes = fs::read(&store).unwrap();
    let found: String = rusqlite::Connection::open(&store)
        .unwrap()
        .query_row("SELECT by_seed FROM metric_value WHERE length(by_seed) > 12 LIMIT 1", [], |row| row.get(0))
        .unwrap();
    let at = bytes.windows(found.len()).position(|window| window == found.as_bytes()).unwrap();
    let digit = at + found.find(|c: char| c.is_ascii_digit()).unwrap();
    bytes[digit] ^= 1;
    fs::write(&store, &bytes).unwrap();

    program()
        .arg("report")
        .arg(&run)
        .assert()
        .code(1)
        .stderr(predicate::str::contains("damaged, 1 of its entries is not what was written"))
        .stderr(predicate::str::contains("of words (bundle)"));
    let (done, complete) = run_units(&plan, &run, Existing::Resume, u64::MAX).unwrap();
    assert_eq!((done, complete), (1, true), "the one unit, and nothing else");
    assert_same_files(&copy, &run);
}

/// Waits until something is so, for a minute at most.
fn wait(until: impl Fn() -> bool) {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_killed_run_is_found_and_goes_on() {
    let place = workplace();
    let reports = place.path().join("reports");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(program().get_program());
        command.env("GIM_HARNESS_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command.current_dir(place.path()).arg("run").args(arguments);
        command
    };
    assert!(run(&["--limit", "2"]).status().unwrap().success());
    let first = reports.join("latest").canonicalize().unwrap();

    let mut killed = run(&[]).spawn().unwrap();
    let latest = || reports.join("latest").canonicalize().unwrap();
    let begun = || Glance::at(&latest().join(FILE_NAME)).is_ok_and(|run| run.units_done > 0);
    wait(|| latest() != first && begun());
    killed.kill().unwrap();
    killed.wait().unwrap();
    let interrupted = latest();
    let glance = Glance::at(&interrupted.join(FILE_NAME)).unwrap();
    assert_eq!(glance.units_expected, 120, "what is due is known from the start");
    assert!(!glance.is_complete(), "killed too late for this test to mean anything");
    program().arg("report").arg(reports.join("latest")).assert().code(4);

    // A whole run in between does not hide it.
    assert!(run(&["--limit", "3"]).status().unwrap().success());
    let output = run(&["--resume"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(latest(), interrupted);
    assert!(Glance::at(&interrupted.join(FILE_NAME)).unwrap().is_complete());
    let uninterrupted = place.path().join("whole");
    whole(&plan(place.path()), &uninterrupted);
    for name in ["examples.csv", "curves.csv", "summary.csv", "comparisons.csv", "attributions.jsonl"] {
        assert!(fs::read(uninterrupted.join(name)).unwrap() == fs::read(interrupted.join(name)).unwrap(), "{name}");
    }
    assert!(!interrupted.join(".run.lock").exists());
}
