//! The run store as a run uses it: finished units stay, unfinished ones leave nothing, strangers' files are refused.

#[path = "fixtures/report/synthetic.rs"]
mod synthetic;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gim_harness::store::{NODES, RunIdentity, Store, StoreError, Unit, UnitKey};
use synthetic::{datasets, declared, identity, planned, store, unit, units};

/// Examples a transaction in the test that kills a writer.
const BATCH: usize = 5;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    (folder, path)
}

#[test]
fn what_was_written_comes_back_exactly_and_in_order() {
    let (_folder, path) = folder();
    let declared = declared();
    let facts = datasets(&declared, 12);
    let written = units(&declared, 12);
    let mut shuffled = written.clone();
    shuffled.reverse();
    shuffled.swap(3, 40);
    store(&path, &declared, &facts, &shuffled).close().unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "one file, no log beside it");

    let store = Store::open(&path).unwrap();
    assert_eq!(store.units().unwrap(), written);
    assert_eq!(store.datasets().unwrap(), facts);
    let evidence = |id| store.evidence("small", "sentiment", id).unwrap();
    assert_eq!([evidence("sentiment-3"), evidence("sentiment-4"), evidence("nobody")], [vec![1, 2], vec![], vec![]]);
    assert_eq!(store.declared(), &declared);
    assert_eq!(store.identity(), &identity());
    let (finished, damage) = store.finished().unwrap();
    assert!(damage.is_empty());
    assert_eq!(finished.len(), written.len());
    for unit in &written {
        let known = &finished[&unit.key];
        assert_eq!((&known.depends_on, known.excluded), (&unit.depends_on, unit.excluded.is_some()));
        assert!(unit.metrics.iter().all(|value| known.metrics.contains(&value.metric)));
        let stored = store.unit(&unit.key).unwrap().unwrap();
        assert_eq!(stored, Unit { example_index: 0, ..unit.clone() });
    }
    let key = |model: &str, id: &str| UnitKey {
        model: model.into(),
        task: "sentiment".into(),
        example_id: id.into(),
        method: "gim".into(),
    };
    assert_eq!(store.unit(&key("small", "sentiment-99")).unwrap(), None);
    assert_eq!(store.unit(&key("unheard of", "sentiment-1")).unwrap(), None);
}

#[test]
fn a_unit_written_twice_is_replaced() {
    let (_folder, path) = folder();
    let declared = declared();
    let mut store = store(&path, &declared, &[], &units(&declared, 2));
    let mut again = unit(&declared, 0, 0, 1, 0);
    again.metrics.truncate(1);
    again.curves.clear();
    again.metrics[0].values = vec![0.25];
    store.write(&again).unwrap();
    let all = store.units().unwrap();
    assert_eq!(all.len(), units(&declared, 2).len());
    assert!(all.contains(&again));
}

#[test]
fn a_run_goes_on_only_where_nothing_that_was_there_changed() {
    let (_folder, path) = folder();
    let stored = declared();
    let mut store = store(&path, &stored, &[], &[]);
    store.declare(&identity(), &stored, &[]).unwrap();

    let mut facts = identity();
    facts.facts.insert("configuration".into(), "0".repeat(60) + "f00");
    facts.facts.insert("program".into(), "gim-harness 0.1.1".into());
    facts.facts.insert("model large".into(), "1".into());
    let error = store.declare(&facts, &stored, &[]).unwrap_err();
    let StoreError::OtherRun { differences, .. } = &error else { panic!("{error}") };
    let named: Vec<&str> = differences.iter().map(|difference| difference.fact.as_str()).collect();
    assert_eq!(named, ["configuration", "program"], "what was added is no difference");
    let message = error.to_string().replace(&path.display().to_string(), "run.sqlite");
    insta::assert_snapshot!(message, @"run.sqlite: cannot go on, because this is not the run that was begun: configuration was `5d41402abc4b2a76`, is `000000000000000000000000000000000000000000000000...`; program was `gim-harness 0.1.0`, is `gim-harness 0.1.1`; start over with --fresh, or name another folder with --out");
    assert_eq!(store.identity(), &identity(), "left as it was");
}

#[test]
fn where_nodes_ran_is_kept_and_hinders_no_later_run() {
    let (folder, path) = folder();
    let declared = declared();
    let mut run = store(&path, &declared, &datasets(&declared, 2), &units(&declared, 2));
    let nodes = |said: &str| RunIdentity::from_iter([(format!("{NODES}forward.onnx of small"), said.to_owned())]);
    run.add_facts(&nodes("9 by CUDA")).unwrap();
    run.add_facts(&nodes("812 by CUDA, 3 by CPU")).unwrap();
    run.close().unwrap();

    let mut run = Store::open(&path).unwrap();
    assert_eq!(run.identity(), &identity(), "no fact of the plan");
    assert!(run.finished().unwrap().1.is_empty(), "no damage");
    let plan = planned(&declared, &datasets(&declared, 2), &units(&declared, 2));
    run.declare(&identity(), &declared, &plan).unwrap();
    let report = |run: &Store| {
        gim_harness::report::write(run, folder.path(), None).unwrap();
        fs::read_to_string(folder.path().join("report.md")).unwrap()
    };
    assert!(report(&run).contains("forward.onnx of small: 812 by CUDA, 3 by CPU."));
    run.close().unwrap();
    let bare = store(&folder.path().join("bare.sqlite"), &declared, &datasets(&declared, 2), &units(&declared, 2));
    assert!(!report(&bare).contains("Which nodes"));
}

#[test]
fn a_larger_plan_and_a_smaller_one_see_what_is_theirs() {
    let (_folder, path) = folder();
    let all = declared();
    let units = units(&all, 6);
    // First without the last method, and three examples a task.
    let mut fewer = all.clone();
    fewer.methods.pop();
    let is_in = |unit: &&Unit, examples: usize| unit.example_index < examples && unit.key.method != "random";
    let small: Vec<Unit> = units.iter().filter(|unit| is_in(unit, 3)).cloned().collect();
    let mut store = store(&path, &fewer, &[], &small);
    assert_eq!(store.units().unwrap(), small);

    let planned = planned(&all, &[], &units);
    store.declare(&identity(), &all, &planned).unwrap();
    assert_eq!(store.units().unwrap(), small, "all that there is of the larger plan");
    let missing: Vec<Unit> = units.iter().filter(|unit| !is_in(unit, 3)).cloned().collect();
    store.write_all(&missing).unwrap();
    assert_eq!(store.units().unwrap(), units);

    // Other examples, in another order, by fewer methods in another order: nothing of the rest is shown, or lost.
    let mut turned = all.clone();
    turned.methods = vec!["integrated_gradients".into(), "gim".into()];
    turned.metrics.remove(0);
    let mut part = planned.clone();
    for dataset in &mut part {
        dataset.examples = vec![dataset.examples[5].clone(), dataset.examples[1].clone()];
        dataset.facts.examples = 2;
    }
    store.declare(&identity(), &turned, &part).unwrap();
    assert_eq!(store.declared(), &turned);
    let shown: Vec<(usize, String, String)> = store
        .units()
        .unwrap()
        .into_iter()
        .map(|unit| (unit.example_index, unit.key.example_id, unit.key.method))
        .collect();
    let expected = |task: &str| {
        [(0, 5, "integrated_gradients"), (0, 5, "gim"), (1, 1, "integrated_gradients"), (1, 1, "gim")]
            .map(|(place, example, method)| (place, format!("{task}-{example}"), method.to_owned()))
    };
    assert_eq!(shown, [expected("sentiment"), expected("fact_checking")].concat());
    store.declare(&identity(), &all, &planned).unwrap();
    assert_eq!(store.units().unwrap(), units);
}

/// Whatever is changed behind the store's back, it is noticed: the unit counts as not done, or the store is refused.
#[test]
fn damage_is_noticed() {
    let (_folder, path) = folder();
    let declared = declared();
    let units = units(&declared, 3);
    store(&path, &declared, &[], &units).close().unwrap();
    let whole = fs::read(&path).unwrap();
    let alter = |statement: &str| {
        fs::write(&path, &whole).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        assert!(connection.execute(statement, []).unwrap() > 0 || statement.starts_with("ALTER"), "{statement}");
    };
    for (statement, damaged) in [
        ("UPDATE metric_value SET by_seed = '[1.5]' WHERE unit = 1 AND metric = 1", 1),
        ("UPDATE attribution SET vector = replace(vector, '0.', '1.')", 24),
        ("UPDATE curve SET scores = replace(scores, '2', '3') WHERE unit = 2", 1),
        ("UPDATE diagnostic SET value = value + 1", 6),
        ("UPDATE unit SET score = -score WHERE id = 3", 1),
        ("UPDATE unit SET tokens = replace(tokens, 'token1', 'token2')", 24),
        ("UPDATE unit SET depends_on = 'x' WHERE id = 3", 1),
        ("UPDATE unit SET example_id = 'other' WHERE id = 3", 1),
        ("UPDATE unit SET evaluation_cost = '[0.5,[1,0,0,0]]' WHERE id = 3", 1),
        ("DELETE FROM metric_value WHERE unit = 1", 1),
        ("DELETE FROM curve WHERE unit = 1 AND position = 1", 1),
        ("DELETE FROM attribution WHERE unit = 1", 1),
        ("DELETE FROM diagnostic", 6),
        ("DELETE FROM unit WHERE id = 1", 3), // one line a table that has rows of it
    ] {
        alter(statement);
        let mut store = Store::open(&path).unwrap();
        let (finished, damage) = store.finished().unwrap();
        assert_eq!(damage.len(), damaged, "{statement}: {damage:?}");
        // A unit that lost its name is missing rather than damaged to whoever reads by name.
        assert!(store.units().map_or(true, |found| found.len() < units.len()), "{statement}");
        store.remove(&damage).unwrap();
        let (after, none) = store.finished().unwrap();
        assert!(none.is_empty() && after == finished && after.len() < units.len(), "{statement}");
        let missing: Vec<Unit> = units.iter().filter(|unit| !after.contains_key(&unit.key)).cloned().collect();
        store.write_all(&missing).unwrap();
        assert_eq!(store.units().unwrap(), units, "{statement}: made whole again");
    }
    for statement in [
        "ALTER TABLE model RENAME TO modem",
        "DELETE FROM method WHERE id = 1",
        "DELETE FROM task WHERE id = 1",
        "DELETE FROM metric WHERE id = 1",
        "DELETE FROM example WHERE position = 1",
        "DELETE FROM dataset",
        "DELETE FROM identity WHERE fact = 'program'",
        "UPDATE method SET name = 'gradiant' WHERE name = 'gradient'",
        "UPDATE method SET place = 1 - place WHERE place < 2",
        "UPDATE metric SET higher_is_better = 1 - higher_is_better",
        "UPDATE run SET resamples = 9000000000000",
        "UPDATE run SET seed = '8'",
        "UPDATE run SET confidence = 0.5",
        "UPDATE example SET id = 'other' WHERE position = 1",
        "UPDATE example SET evidence = '[2]' WHERE position = 1",
    ] {
        alter(statement);
        let error = Store::open(&path).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("run.sqlite"), "{statement}: {error}");
    }
    // A setting that sizes memory has a bound, also where the checksum is right.
    let mut vast = declared.clone();
    vast.resamples = 9_000_000_000_000;
    fs::remove_file(&path).unwrap();
    let error = Store::create(&path, &identity(), &vast, &[]).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn a_run_is_not_overwritten_and_names_must_be_declared() {
    let (_folder, path) = folder();
    let declared = declared();
    let mut store = store(&path, &declared, &[], &[]);
    let before = fs::read(&path).unwrap();
    let error = Store::create(&path, &identity(), &declared, &[]).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);

    let good = unit(&declared, 0, 0, 0, 0);
    let mut stranger = unit(&declared, 0, 0, 1, 0);
    stranger.key.method = "gmi".into();
    let error = store.write_all(&[good.clone(), stranger]).unwrap_err();
    assert_eq!(error.to_string(), "method `gmi` is not one that the run declared");
    assert_eq!(store.unit(&good.key).unwrap(), None, "all or nothing");

    let mut twice = declared.clone();
    twice.tasks.push("sentiment".into());
    let error = Store::create(&path.with_file_name("other.sqlite"), &identity(), &twice, &[]).unwrap_err();
    assert_eq!(error.to_string(), "task `sentiment` is declared twice");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().filter_map(leftover).count(), 0);
}

fn leftover(entry: std::io::Result<fs::DirEntry>) -> Option<PathBuf> {
    let path = entry.unwrap().path();
    (!path.file_name().unwrap().to_str().unwrap().starts_with("run.sqlite")).then_some(path)
}

#[test]
fn a_unit_without_sense_is_refused() {
    let (_folder, path) = folder();
    let declared = declared();
    let mut store = store(&path, &declared, &[], &[]);
    let good = unit(&declared, 0, 0, 0, 0);
    type Spoil = fn(&mut gim_harness::store::Unit);
    let spoilt: [(Spoil, &str); 5] = [
        (|unit| unit.excluded = Some("wrong".into()), "left out"),
        (|unit| unit.attributions[0].truncate(2), "2 attributions for 6 tokens"),
        (|unit| unit.metrics[1] = unit.metrics[0].clone(), "metric `comprehensiveness` twice"),
        (|unit| unit.metrics[0].values.clear(), "metric `comprehensiveness` needs values or a reason"),
        (|unit| unit.curves[0].score.clear(), "curve `comprehensiveness` differ in length"),
    ];
    for (spoil, expected) in spoilt {
        let mut bad = good.clone();
        spoil(&mut bad);
        let error = store.write(&bad).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("gim on example `sentiment-0`"), "{error}");
    }
    assert!(store.units().unwrap().is_empty());
}

#[test]
fn files_that_are_no_run_store_are_refused_by_name() {
    let (_folder, path) = folder();
    let refuse = |bytes: &[u8], expected: &str| {
        fs::write(&path, bytes).unwrap();
        for result in [Store::open(&path), Store::open_read_only(&path)] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("run.sqlite"), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "left as it was");
    };
    refuse(b"", "it is empty");
    refuse(&b"not a database at all, by no means".repeat(100), "not an SQLite database");

    let missing = Store::open(&path.with_file_name("missing.sqlite")).unwrap_err().to_string();
    assert!(missing.contains("missing.sqlite"), "{missing}");
    assert!(!path.with_file_name("missing.sqlite").exists());

    let foreign = path.with_file_name("foreign.sqlite");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE cookies (a)").unwrap();
    refuse(&fs::read(&foreign).unwrap(), "some other program's database");
}

#[test]
fn a_newer_store_and_a_damaged_one_are_refused() {
    let (_folder, path) = folder();
    let declared = declared();
    store(&path, &declared, &datasets(&declared, 12), &units(&declared, 12)).close().unwrap();
    let whole = fs::read(&path).unwrap();

    let version = |number: i64| {
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", number).unwrap();
        Store::open(&path).unwrap_err().to_string()
    };
    let error = version(5);
    assert!(error.contains("newer gim-harness (store format 5, this program knows up to 4)"), "{error}");
    let error = version(1);
    assert!(error.contains("older gim-harness (store format 1, this program has 4)"), "{error}");

    // Whatever is destroyed, reading ends in an error or in right units, never in a panic.
    for cut in [50, 100, 512, 4096, 5000, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = Store::open(&path).and_then(|store| store.units()).unwrap_err();
        assert!(error.to_string().contains("run.sqlite"), "{error}");
    }
    for start in (4096..whole.len()).step_by(4096 * 3) {
        let mut bytes = whole.clone();
        bytes[start..start + 600].fill(0xa5);
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = Store::open(&path).and_then(|store| store.units()) {
            assert!(error.to_string().contains("run.sqlite"), "{error}");
        }
    }

    // Sound SQLite, senseless content.
    for senseless in [
        "UPDATE attribution SET vector = '[1,two]'",
        "UPDATE unit SET tokens = 'x'",
        "UPDATE unit SET n_tokens = -1",
        "UPDATE run SET seed = 'seven'",
        "DROP TABLE curve",
        "DELETE FROM run",
    ] {
        fs::write(&path, &whole).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute_batch(senseless).unwrap();
        let error = Store::open(&path).and_then(|store| store.units()).unwrap_err().to_string();
        assert!(error.contains("run.sqlite"), "{senseless}: {error}");
    }
}

#[test]
fn a_path_that_looks_like_something_else_is_a_path() {
    let (folder, _) = folder();
    for name in ["file:run.sqlite?mode=memory", ":memory:", "näme with spaces?.sqlite"] {
        let path = folder.path().join(name);
        store(&path, &declared(), &[], &[]).close().unwrap();
        assert!(path.is_file());
    }
}

#[test]
fn a_report_reads_while_a_run_writes() {
    let (_folder, path) = folder();
    let declared = declared();
    let mut writer = store(&path, &declared, &datasets(&declared, 6), &units(&declared, 2));
    let reader = Store::open_read_only(&path).unwrap();
    let mut seen = 0;
    reader
        .visit(|_| {
            if seen == 0 {
                writer.write(&unit(&declared, 0, 0, 5, 0))?;
            }
            seen += 1;
            Ok::<(), StoreError>(())
        })
        .unwrap();
    assert_eq!(seen, units(&declared, 2).len(), "as of the moment it began");
    assert_eq!(reader.units().unwrap().len(), seen + 1);
    assert!(Store::open_read_only(&path).unwrap().close().is_ok());
    writer.close().unwrap();
    assert_eq!(reader.units().unwrap().len(), seen + 1, "closed by the writer, open for the reader");
    drop(reader);
    Store::open(&path).unwrap().close().unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

/// Not a test: the writer that `a_killed_writer_...` kills. Does nothing unless told where to write.
#[test]
fn writer_for_the_test_that_kills_it() {
    let Some(path) = std::env::var_os("GIM_TEST_STORE_TO_WRITE") else { return };
    let declared = declared();
    let mut store = Store::open(Path::new(&path)).unwrap();
    let done = store.finished().unwrap().0.len();
    for batch in done / BATCH.. {
        let units: Vec<_> = (0..BATCH).map(|i| unit(&declared, 0, 0, batch * BATCH + i, 0)).collect();
        store.write_all(&units).unwrap();
        println!("written {batch}");
    }
}

#[test]
fn a_killed_writer_leaves_whole_transactions_and_is_resumed() {
    let (_folder, path) = folder();
    let declared = declared();
    store(&path, &declared, &datasets(&declared, 5000), &[]);
    let mut before = 0;
    for announced in [1, 4, 20] {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_for_the_test_that_kills_it", "--nocapture"])
            .env("GIM_TEST_STORE_TO_WRITE", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let last = lines.map_while(Result::ok).filter(|line| line.contains("written ")).nth(announced - 1).unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();

        let last: usize = last.rsplit(' ').next().unwrap().parse().unwrap();
        let store = Store::open(&path).unwrap();
        let units = store.units().unwrap();
        assert_eq!(units.len() % BATCH, 0, "whole transactions");
        assert!(units.len() >= (last + 1) * BATCH, "whatever was announced as done is there");
        assert!(units.len() > before);
        before = units.len();
        for (example, found) in units.iter().enumerate() {
            assert_eq!(found, &unit(&declared, 0, 0, example, 0));
        }
    }
}

#[test]
fn an_identity_is_made_of_pairs() {
    let identity: RunIdentity = [("a", "1"), ("b", "2")].into_iter().collect();
    assert_eq!(identity.facts.len(), 2);
}
