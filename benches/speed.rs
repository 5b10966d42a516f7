//! Seconds of single calls, told to another program that times its own by turns.
//!
//! ```text
//! cargo bench --bench speed -- BUNDLE [--threads N] [--mapped]
//! ```
//!
//! Reads a request a line from standard input and answers each with the seconds that it took and the numbers that came out:
//!
//! ```text
//! {"do": "forward",  "ids": [[12, 7, ...], ...]}               logits at the last position of each row
//! {"do": "gradient", "ids": [[12, 7, ...], ...], "target": 3}  the GIM gradient of each row's last logit of the target
//! {"do": "memory"}                                             most resident memory so far, in bytes
//! ```
//!
//! Rows of one request run together; nothing is remembered from one to the next. `--mapped` leaves the weights where they are rather
//! than have a copy that products like better. `scripts/benchmark_against_pytorch.py` is the other program.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use gim_harness::grad::Knobs;
use gim_harness::runtime::{GradientRow, Model, Row, Runtime, RuntimeOptions, SessionOptions};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Request {
    Forward { ids: Vec<Vec<i64>> },
    Gradient { ids: Vec<Vec<i64>>, target: i64 },
    Memory,
}

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.is_empty() {
        println!("speed: no bundle named; see the head of benches/speed.rs");
        return ExitCode::SUCCESS;
    }
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let (mut bundle, mut threads, mut prepacking) = (None, None, true);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--threads" => threads = Some(words.next().context("--threads N")?.parse()?),
            "--mapped" => prepacking = false,
            folder if bundle.is_none() => bundle = Some(PathBuf::from(folder)),
            other => bail!("{other}: see the head of benches/speed.rs"),
        }
    }
    let bundle = bundle.context("no bundle named")?;
    let start = Instant::now();
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}"))?;
    let options = SessionOptions {
        threads,
        prepacking: Some(prepacking),
        // The same rows come again and again.
        reuse_bytes: 0,
        batch_tokens: usize::MAX,
        ..SessionOptions::default()
    };
    let mut model = Model::open(&runtime, &bundle, &options)?;
    let answer = |value: serde_json::Value| -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{value}")?;
        Ok(out.flush()?)
    };
    answer(json!({"seconds": start.elapsed().as_secs_f64(), "runtime": runtime.version()}))?;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let said = match request {
            Request::Forward { ids } => {
                let rows: Vec<Row> = ids
                    .into_iter()
                    .map(|ids| (ids.len().saturating_sub(1), ids))
                    .map(|(last, ids)| Row::new(ids, last))
                    .collect();
                let start = Instant::now();
                let logits = model.logits(&rows)?;
                let seconds = start.elapsed().as_secs_f64();
                let largest: Vec<f32> =
                    logits.iter().map(|row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max)).collect();
                json!({"seconds": seconds, "largest": largest})
            }
            Request::Gradient { ids, target } => {
                // The lookup is counted: it is part of what a gradient takes.
                let start = Instant::now();
                let embeds = model.embed_rows(&ids)?;
                let rows: Vec<GradientRow> = embeds
                    .into_iter()
                    .map(|embeds| GradientRow { position: embeds.nrows() - 1, embeds, target, contrast: None })
                    .collect();
                let found = model.gradients(&rows, &Knobs::GIM)?;
                let seconds = start.elapsed().as_secs_f64();
                let norms: Vec<f32> =
                    found.iter().map(|one| one.gradient.iter().map(|x| x * x).sum::<f32>().sqrt()).collect();
                json!({"seconds": seconds, "norms": norms})
            }
            Request::Memory => json!({"bytes": resident().context("/proc/self/status")?}),
        };
        answer(said)?;
    }
    Ok(())
}

/// The most resident memory that this process had. Linux only.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = text.lines().find_map(|found| found.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    kilobytes.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
