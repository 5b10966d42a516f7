//! Rows that do not fit into memory even by themselves: what asked for them is left out, and all else goes on.

#[path = "support/workplace.rs"]
mod workplace;

use std::fs;
use std::path::Path;
use std::rc::Rc;

use gim_harness::attribution::{self, Settings};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::config::Score;
use gim_harness::grad::Knobs;
use gim_harness::probe::{Case, DoesNotFit, Driver, Question};
use gim_harness::runtime::{GradientRow, Graph, Model, Row, RuntimeError, SessionOptions};
use gim_harness::units::Units;
use workplace::{checkpoint, runtime};

/// The small model with so many positions that a prompt can be too long for a machine.
fn long_checkpoint(folder: &Path) -> std::path::PathBuf {
    let long = folder.join("checkpoint");
    fs::create_dir(&long).unwrap();
    for file in fs::read_dir(checkpoint()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), long.join(file.file_name())).unwrap();
    }
    let config = fs::read_to_string(long.join("config.json")).unwrap();
    let raised = config.replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 100000");
    assert_ne!(raised, config);
    fs::write(long.join("config.json"), raised).unwrap();
    long
}

fn open(folder: &Path, row_bytes: Option<u64>) -> Model {
    let bundle = folder.join("bundle");
    if !bundle.exists() {
        bake(&long_checkpoint(folder), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    }
    Model::open(&runtime(), &bundle, &SessionOptions { threads: Some(1), row_bytes, ..Default::default() }).unwrap()
}

fn ids(length: usize) -> Vec<i64> {
    (0..length).map(|place| (place * 7 % 100 + 20) as i64).collect()
}

fn case(length: usize) -> Case {
    Case {
        key: format!("of {length}"),
        prompt: ids(length).into(),
        position: length - 1,
        question: Question { target: 30, contrast: None, score: Score::Logit },
        following: Vec::new(),
        baseline: 25,
        ranked: Units::tokens(1..length - 1),
    }
}

#[test]
fn a_row_that_is_estimated_at_more_than_it_may_take_is_not_tried() {
    let folder = tempfile::tempdir().unwrap();
    let mut free = open(folder.path(), None);
    // Between a row of 40 tokens and one of 41.
    let limit = free.row_bytes(Graph::Forward, 40);
    let mut held = open(folder.path(), Some(limit));
    let rows = [40, 12].map(|length| Row::new(ids(length), length - 1));
    let expected = free.scores(&rows, &[30, 31]).unwrap();
    assert_eq!(held.scores(&rows, &[30, 31]).unwrap(), expected);
    let before = held.counters();
    let error = held.scores(&[Row::new(ids(41), 40)], &[30]).unwrap_err();
    let RuntimeError::Memory { tokens, estimate, ref graph, .. } = error else { panic!("{error}") };
    assert_eq!((tokens, estimate), (41, held.row_bytes(Graph::Forward, 41)));
    assert!(estimate > limit && graph.ends_with("forward.onnx"), "{error}");
    // Nothing was run, so nothing counts as run.
    assert_eq!(held.counters(), before);
    // A gradient keeps all layers, so it ends earlier; what fits is not in its way.
    let embeds = held.embed(&ids(40)).unwrap();
    let point = GradientRow { embeds, position: 39, target: 30, contrast: None };
    let error = held.gradients(std::slice::from_ref(&point), &Knobs::GIM).unwrap_err();
    assert!(
        matches!(&error, RuntimeError::Memory { graph, tokens: 40, .. } if graph.ends_with("gradient.onnx")),
        "{error}"
    );
    assert!(free.gradients(&[point], &Knobs::GIM).is_ok());
}

#[test]
fn who_asked_for_too_much_is_told_and_the_others_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut free = open(folder.path(), None);
    let limit = free.row_bytes(Graph::Forward, 40);
    let mut held = open(folder.path(), Some(limit));
    let lengths = [9, 60, 40, 50, 9];
    let mut driver: Driver<(usize, Result<f64, DoesNotFit>)> = Driver::new(&mut held);
    for (turn, length) in lengths.into_iter().enumerate() {
        let probe = driver.probe(Rc::new(case(length)), turn);
        driver.take(0, async move {
            let work = |probe: gim_harness::probe::Probe| async move {
                // Two asks at once: both of those that are too long are dropped.
                let row = probe.case().row();
                let both = futures::future::join(probe.scores(vec![row.clone()]), probe.scores(vec![row])).await;
                both.0[0] + both.1[0]
            };
            (turn, probe.within_memory(work).await)
        });
    }
    let mut found = Vec::new();
    loop {
        let some = driver.finish_some().unwrap();
        if some.is_empty() {
            break;
        }
        found.extend(some);
    }
    found.sort_by_key(|(turn, _)| *turn);
    assert_eq!(found.len(), lengths.len());
    for ((_, found), length) in found.into_iter().zip(lengths) {
        if length <= 40 {
            let row = Row::new(ids(length), length - 1);
            let score = free.scores(&[row], &[30]).unwrap().remove(0);
            assert_eq!(found.unwrap(), 2.0 * f64::from(score.logits[0]));
        } else {
            let DoesNotFit(reason) = found.unwrap_err();
            let begins = format!("a row of {length} tokens does not fit into memory: forward.onnx takes about ");
            assert!(reason.starts_with(&begins) && reason.ends_with(" KiB for it"), "{reason}");
        }
    }

    // Work that does not say that it would hear of it: the driver fails, as with any other error of the runtime.
    let mut driver: Driver<Vec<f64>> = Driver::new(&mut held);
    let probe = driver.probe(Rc::new(case(60)), 0);
    driver.take(0, async move { probe.scores(vec![probe.case().row()]).await });
    assert!(matches!(driver.finish_some(), Err(RuntimeError::Memory { tokens: 60, .. })));
}

#[test]
fn a_method_whose_graph_does_not_fit_says_so_and_others_answer() {
    let folder = tempfile::tempdir().unwrap();
    let limit = open(folder.path(), None).row_bytes(Graph::Forward, 40);
    let mut held = open(folder.path(), Some(limit));
    let of = |held: &mut Model, name: &str| {
        let method = attribution::build(name, &Settings::default()).unwrap();
        attribution::explain(held, &method, &case(40)).unwrap().0
    };
    let reason = of(&mut held, "gim").unwrap_err().0;
    assert!(reason.starts_with("a row of 40 tokens does not fit into memory: gradient.onnx takes"), "{reason}");
    assert_eq!(of(&mut held, "ablation").unwrap().values[0].len(), 40);
}

/// Under a limit of the system's on the process's memory, so that ONNX Runtime's own allocations fail.
#[cfg(target_os = "linux")]
#[test]
fn a_run_goes_on_without_the_example_that_does_not_fit() {
    use std::process::Command;

    let place = workplace::workplace();
    let folder = place.path();
    fs::remove_dir_all(folder.join("bundle")).unwrap();
    bake(&long_checkpoint(folder), &folder.join("bundle"), &BakeOptions::default(), &mut |_, _| {}).unwrap();
    // Third of all, so that work on others is in hand; its attention scores take 8 * 8000^2 * 4 bytes a layer, 2 GB, several times over.
    let data = fs::read_to_string(folder.join("words.jsonl")).unwrap();
    let words: Vec<String> = (0..8_000).map(|place| format!("w{}", 3 + 7 * place % 120)).collect();
    let long = format!("{{\"id\": \"long\", \"text\": \"{}\", \"label\": \"w20\"}}", words.join(" "));
    let mut lines: Vec<&str> = data.lines().take(6).collect();
    fs::write(folder.join("short.jsonl"), lines.join("\n")).unwrap();
    lines.insert(2, &long);
    fs::write(folder.join("words.jsonl"), lines.join("\n")).unwrap();

    let harness = fs::read_to_string(folder.join("harness.yaml")).unwrap().replace("workers: 1\n", "");
    let run = |out: &str, workers: usize| {
        fs::write(folder.join("harness.yaml"), format!("{harness}threads: 2\nworkers: {workers}\n")).unwrap();
        let program = workplace::program();
        // Address space, in kilobytes: what the program and its library map, and 3 GB of work.
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 4000000 && exec \"$0\" \"$@\""])
            .arg(program.get_program())
            .args(["run", "harness.yaml", "--out", out])
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(folder)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", output.status);
        said
    };
    run("one", 1);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let examples = read("one/examples.csv");
    let left_out: Vec<&str> = examples.lines().filter(|line| line.contains(",long,")).collect();
    assert_eq!(left_out.len(), 6, "{examples}");
    for line in left_out {
        assert!(line.contains("a row of 8001 tokens does not fit into memory: forward.onnx takes about "), "{line}");
    }
    assert!(read("one/report.md").contains("does not fit into memory"));
    // Resumed, there is nothing to do, and the files stay.
    let before = read("one/attributions.jsonl");
    run("one", 1);
    assert_eq!((read("one/attributions.jsonl"), read("one/examples.csv")), (before, examples));
    run("two", 2);
    for name in workplace::FILES.into_iter().filter(|name| !["timings.csv", "manifest.json"].contains(name)) {
        assert!(
            fs::read(folder.join("one").join(name)).unwrap() == fs::read(folder.join("two").join(name)).unwrap(),
            "{name}"
        );
    }
    // All others are as they are without it.
    fs::rename(folder.join("short.jsonl"), folder.join("words.jsonl")).unwrap();
    run("short", 1);
    let long_gone: String = read("one/attributions.jsonl")
        .lines()
        .filter(|line| !line.contains("\"long\""))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(long_gone, read("short/attributions.jsonl"));
}
