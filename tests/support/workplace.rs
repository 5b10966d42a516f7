//! A folder with a small model, a task and a harness, and runs in it, for the tests of runs.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use assert_cmd::Command;
use gim_harness::bundle::Opening;
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::config::{Overrides, Plan, load_plan};
use gim_harness::run::{Bundles, Existing, Job, Outcome, PlanData, Progress, RunError, run, vocabulary};
use gim_harness::runtime::{Model, Row, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::tokenizer::Tokenizer;

pub const FILES: [&str; 9] = [
    "attributions.jsonl",
    "comparisons.csv",
    "curves.csv",
    "examples.csv",
    "manifest.json",
    "report.md",
    "results.json",
    "summary.csv",
    "timings.csv",
];

pub fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-a")
}

pub fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

/// The program, with a cache of its own.
pub fn program() -> Command {
    let mut command = Command::cargo_bin("gim-harness").unwrap();
    command.env("GIM_HARNESS_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command
}

/// A folder with a harness of one bundle and one task of 20 examples. The right answers are those that the model gives,
/// but for the last two.
pub fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    bake(&checkpoint(), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let tokenizer = Tokenizer::from_file(&bundle.join("tokenizer.json")).unwrap();
    let mut model = Model::open(&runtime(), &bundle, &SessionOptions::default()).unwrap();
    let options = ["w20", "w21"].map(|word| tokenizer.id_of_single_token(word).unwrap());
    let mut data = String::new();
    for number in 0..20usize {
        let words: Vec<String> = (0..5 + number % 4).map(|i| format!("w{}", 3 + (7 * number + 13 * i) % 120)).collect();
        let text = words.join(" ");
        let input_ids = tokenizer.encode(&format!("{text} w9"), true).unwrap().ids;
        let position = input_ids.len() - 1;
        let score = model.scores(&[Row::new(input_ids, position)], &options).unwrap().remove(0);
        let first = score.logits[0] > score.logits[1];
        let right = if first == (number < 18) { "w20" } else { "w21" };
        data += &format!("{{\"id\": \"e{number}\", \"text\": \"{text}\", \"label\": \"{right}\"}}\n");
    }
    fs::write(folder.path().join("words.jsonl"), data).unwrap();
    let task = "task: words\ndata: {file: words.jsonl, id: id}\nprompt: \"{text} w9\"\ncontext: text\n\
                answer: \"{label}\"\noptions: [w20, w21]\n";
    fs::write(folder.path().join("words.yaml"), task).unwrap();
    let harness = "name: small\nmodels: [bundle]\ntasks: [words.yaml]\nmethods:\n  - gim\n  - gradient\n\
                   \u{20} - integrated_gradients: {steps: 10}\n  - attention_rollout\n  - ablation\n\
                   \u{20} - random: {seeds: 3}\nstatistics: {resamples: 500}\nworkers: 1\n";
    fs::write(folder.path().join("harness.yaml"), harness).unwrap();
    folder
}

pub fn plan(folder: &Path) -> Plan {
    load_plan(&folder.join("harness.yaml"), &vocabulary(), &Overrides::default()).unwrap()
}

/// Stops a run after some units.
struct Stop<'a> {
    interrupted: &'a AtomicBool,
    left: Cell<u64>,
    done: Cell<u64>,
}

impl Progress for Stop<'_> {
    fn note(&self, _: &str) {}
    fn baking(&self, _: &str, _: u64, _: u64) {}
    fn begin(&self, _: &str, _: &str, _: u64) {}
    fn advance(&self, _: &str, units: u64) {
        self.done.set(self.done.get() + units);
        self.left.set(self.left.get().saturating_sub(units));
        self.interrupted.store(self.left.get() == 0, Ordering::Relaxed);
    }
    fn end(&self, _: &str, _: &str, _: usize, _: usize) {}
}

/// Runs until so many units are done. Gives the number that were, and whether the run is complete.
pub fn run_units(plan: &Plan, folder: &Path, existing: Existing, units: u64) -> Result<(u64, bool), RunError> {
    let interrupted = AtomicBool::new(false);
    let progress = Stop { interrupted: &interrupted, left: Cell::new(units), done: Cell::new(0) };
    let begun = || Ok(());
    let bundles = Bundles { folder, opening: &Opening::default() };
    let job = Job { plan, folder, existing, interrupted: &interrupted, bundles, begun: &begun };
    let complete = matches!(run(&job, &PlanData::read(plan)?, &runtime(), &progress)?, Outcome::Complete(_));
    Ok((progress.done.get(), complete))
}
