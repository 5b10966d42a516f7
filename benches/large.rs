//! What a model of real size costs: baking it, and one GIM gradient.
//!
//! ```text
//! python scripts/make_shaped_checkpoint.py llama-3.2-1b /some/folder
//! cargo bench --bench large -- /some/folder [--tokens 256] [--runs 3]
//! ```
//!
//! Every measurement runs in a process of its own, so that its peak of memory is its own. Anonymous memory is what the
//! process has to itself; the rest of resident memory is mapped pages of `weights.bin`, which the system can drop.
//! Linux only (memory is read from `/proc/self/status`).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gim_harness::bundle::bake::{self, BakeOptions};
use gim_harness::bundle::manifest::WEIGHT_FILE;
use gim_harness::grad::Knobs;
use gim_harness::runtime::{GradientRow, Model, Row, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::verify::{self, Check};

const MEGABYTE: u64 = 1_000_000;

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["measure-write", source, out] => measure(|| write(source.as_ref(), out.as_ref())),
        ["measure-bake", source, out] => measure(|| bake_and_verify(source.as_ref(), out.as_ref())),
        ["measure-gradient", bundle, tokens, runs, prepacking] => {
            measure(|| gradient(bundle.as_ref(), tokens.parse()?, runs.parse()?, prepacking == "packed"))
        }
        [] => {
            println!("large: no checkpoint named; see the head of benches/large.rs");
            Ok(())
        }
        _ => benchmark(&words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn benchmark(words: &[&str]) -> anyhow::Result<()> {
    let (mut tokens, mut runs, mut folders) = ("256", "3", Vec::new());
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "--tokens" => tokens = words.next().context("--tokens N")?,
            "--runs" => runs = words.next().context("--runs N")?,
            folder => folders.push(PathBuf::from(folder)),
        }
    }
    for folder in folders {
        println!("{}", folder.display());
        let beside = folder.parent().context("the checkpoint's folder has a parent")?;
        let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(beside)?;
        let bundle = scratch.path().join("bundle");
        let (source, out) = (folder.display().to_string(), bundle.display().to_string());
        child(&["measure-write", &source, &out])?;
        child(&["measure-bake", &source, &out])?;
        println!("weights: {} MB", std::fs::metadata(bundle.join(WEIGHT_FILE))?.len() / MEGABYTE);
        child(&["measure-gradient", &out, tokens, runs, "mapped"])?;
        // Takes several times the weights, which a machine may not have: then the system ends it.
        if let Err(error) = child(&["measure-gradient", &out, tokens, runs, "packed"]) {
            println!("GIM gradient, {tokens} tokens, weights prepacked: not measured, {error}");
        }
    }
    Ok(())
}

fn child(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(std::env::current_exe()?).args(arguments).status()?;
    if !status.success() {
        bail!("{} ended with {status}", arguments[0]);
    }
    Ok(())
}

/// Does the work and prints what it says, then the peaks of memory.
fn measure(work: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let peak = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let watch = {
        let (peak, done) = (Arc::clone(&peak), Arc::clone(&done));
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(status("RssAnon:").unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let said = work()?;
    done.store(true, Ordering::Relaxed);
    watch.join().ok().context("the watching thread")?;
    let resident = status("VmHWM:").context("/proc/self/status")? / MEGABYTE;
    println!("{said}; at most {resident} MB resident, {} MB anonymous", peak.load(Ordering::Relaxed) / MEGABYTE);
    Ok(())
}

/// Bytes that a line of `/proc/self/status` names.
fn status(line: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = text.lines().find_map(|found| found.strip_prefix(line))?.trim().strip_suffix(" kB")?;
    kilobytes.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn write(source: &Path, out: &Path) -> anyhow::Result<String> {
    let start = Instant::now();
    bake::bake(source, out, &BakeOptions::default(), &mut |_, _| {})?;
    Ok(format!("bake --no-verify: {:.1} s", start.elapsed().as_secs_f64()))
}

fn bake_and_verify(source: &Path, out: &Path) -> anyhow::Result<String> {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}"))?;
    let start = Instant::now();
    let (_, checks) = verify::bake(&runtime, source, out, &BakeOptions::default(), &|_| {})?;
    let passed = checks.iter().filter(|check| Check::passed(check)).count();
    Ok(format!("bake: {:.1} s, {passed} of {} checks passed", start.elapsed().as_secs_f64(), checks.len()))
}

/// Forward passes and GIM gradients by turns, after one of each that is not counted.
fn gradient(bundle: &Path, tokens: usize, runs: usize, prepacking: bool) -> anyhow::Result<String> {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}"))?;
    // Nothing is remembered: the same row is run again and again.
    let options = SessionOptions { prepacking: Some(prepacking), reuse_bytes: 0, ..SessionOptions::default() };
    let mut model = Model::open(&runtime, bundle, &options)?;
    let vocab = model.manifest().dimensions.vocab;
    let input_ids: Vec<i64> = (0..tokens).map(|i| ((i * 7919 + 13) % vocab) as i64).collect();
    let start = Instant::now();
    let embeds = model.embed(&input_ids)?;
    let rows = [GradientRow { embeds, position: tokens - 1, target: 1, contrast: None }];
    model.gradients(&rows, &Knobs::GIM)?;
    let first = start.elapsed().as_secs_f64();
    let after_gradient = status("VmHWM:").unwrap_or(0) / MEGABYTE;
    // Twins: a row alone is run twice over where weights are not packed.
    let forward = [Row::new(input_ids.clone(), tokens - 1)];
    model.logits(&forward)?;
    let (mut gradients, mut forwards) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let start = Instant::now();
        model.logits(&forward)?;
        forwards.push(start.elapsed().as_secs_f64() / if prepacking { 1.0 } else { 2.0 });
        let start = Instant::now();
        model.gradients(&rows, &Knobs::GIM)?;
        gradients.push(start.elapsed().as_secs_f64());
    }
    let (gradient, forward) = (median(&mut gradients), median(&mut forwards));
    Ok(format!(
        "GIM gradient, {tokens} tokens, weights {}: {gradient:.2} s ({:.2} forward passes of {forward:.2} s), first with \
         loading {first:.1} s; at most {after_gradient} MB resident with that graph alone; with forward.onnx too",
        if prepacking { "prepacked" } else { "mapped" },
        gradient / forward
    ))
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
