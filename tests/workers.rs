//! Several workers leave what one leaves, and what one began another number of them may finish.

#[path = "support/workplace.rs"]
mod workplace;

use std::fs;
use std::path::Path;

use gim_harness::config::{Overrides, load_plan};
use gim_harness::run::{Existing, vocabulary};
use workplace::{FILES, plan, run_units, workplace};

/// The harness with these lines added.
fn with(place: &Path, lines: &str) {
    let path = place.join("harness.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let first = text.split("prefix_cache").next().unwrap().replace("workers: 1\n", "");
    fs::write(&path, format!("{first}prefix_cache: always\n{lines}")).unwrap();
}

fn assert_same(a: &Path, b: &Path) {
    for name in FILES.into_iter().filter(|name| !["timings.csv", "manifest.json"].contains(name)) {
        assert!(fs::read(a.join(name)).unwrap() == fs::read(b.join(name)).unwrap(), "{name} differs");
    }
}

#[test]
fn any_number_of_workers_leaves_the_same_bytes() {
    let place = workplace();
    let run = |folder: &str, workers: usize, existing, units| {
        with(place.path(), &format!("workers: {workers}\n"));
        run_units(&plan(place.path()), &place.path().join(folder), existing, units).unwrap()
    };
    let units = 20 * 6;
    assert_eq!(run("one", 1, Existing::Continue, u64::MAX), (units, true));
    assert_eq!(run("two", 2, Existing::Continue, u64::MAX), (units, true));
    assert_eq!(run("many", 7, Existing::Continue, u64::MAX), (units, true));
    assert_same(&place.path().join("one"), &place.path().join("two"));
    assert_same(&place.path().join("one"), &place.path().join("many"));

    // Begun by two, stopped, and finished by one.
    let (done, complete) = run("parts", 2, Existing::Continue, 30);
    assert!(!complete && done >= 30 && done < units, "{done}");
    let (rest, complete) = run("parts", 1, Existing::Resume, u64::MAX);
    assert!(complete);
    assert_eq!(done + rest, units, "a finished unit was worked on again");
    assert_same(&place.path().join("one"), &place.path().join("parts"));

    let timings = fs::read_to_string(place.path().join("one/timings.csv")).unwrap();
    let spared: u64 =
        timings.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(spared > 0, "{timings}");
}

#[test]
fn a_small_model_has_a_worker_a_thread_unless_it_is_said_otherwise() {
    let place = workplace();
    let run = |folder: &str, lines: &str| {
        with(place.path(), lines);
        let done = run_units(&plan(place.path()), &place.path().join(folder), Existing::Continue, u64::MAX).unwrap();
        assert_eq!(done, (20 * 6, true));
        let manifest = fs::read_to_string(place.path().join(folder).join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        (manifest["threads"].as_u64().unwrap(), manifest["models"][0]["workers"].as_u64().unwrap())
    };
    assert_eq!(run("one", "threads: 1\n"), (1, 1));
    assert_eq!(run("three", "threads: 3\n"), (3, 3));
    assert_eq!(run("asked", "threads: 3\nworkers: 2\n"), (3, 2));
    // How many threads there are stands in the report.
    assert_same(&place.path().join("three"), &place.path().join("asked"));
}

#[test]
fn a_worker_a_device() {
    let place = workplace();
    with(place.path(), "device: [cpu, cpu]\n");
    let two = plan(place.path());
    assert_eq!((two.devices.len(), two.workers), (2, None));
    assert!(run_units(&two, &place.path().join("run"), Existing::Continue, u64::MAX).unwrap().1);
    with(place.path(), "device: [cuda:0, cuda:1]\nworkers: 4\n");
    assert_eq!(plan(place.path()).workers, Some(4));
    with(place.path(), "device: [cuda:0, cpu]\n");
    let mistakes = load_plan(&place.path().join("harness.yaml"), &vocabulary(), &Overrides::default()).unwrap_err();
    assert!(mistakes.to_string().contains("`cuda` and `cpu` differ in last digits"), "{mistakes}");
}
