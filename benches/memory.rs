//! What rows take of memory, and whether a long run takes more and more of it.
//!
//! ```text
//! cargo bench --bench memory -- rows BUNDLE 256 512 1024     # one row of so many tokens through each graph, against the estimate
//! cargo bench --bench memory -- growth BUNDLE [--rows 10000] [--reuse-mib 256]
//! ```
//!
//! The first runs every measurement in a process of its own and prints the most anonymous memory beside that of a row of 8 tokens,
//! weights not prepacked. The second works on made examples of mixed length with the driver that runs use: perturbed rows of every
//! kind, gradients and attention weights, until so many rows were scored. Linux only (memory is read from `/proc/self/status`).

use std::path::Path;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use gim_harness::config::Score;
use gim_harness::grad::Knobs;
use gim_harness::probe::{Case, Driver, Probe, Question, Removal};
use gim_harness::runtime::{
    Change, GradientRow, Graph, Model, PrefixCache, Row, Runtime, RuntimeOptions, SessionOptions,
};
use gim_harness::units::Units;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const MIB: f64 = 1_048_576.0;
/// Examples in hand at once, as in a run.
const TOGETHER: usize = 16;
/// What is run once for a look at memory.
const LOOKS: u64 = 10;

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["rows", bundle, ref lengths @ ..] if !lengths.is_empty() => rows(bundle, lengths),
        ["measure-row", bundle, graph, tokens] => measure_row(bundle.as_ref(), graph, tokens),
        ["growth", bundle, ref options @ ..] => growth(bundle.as_ref(), options),
        [] => {
            println!("memory: no bundle named; see the head of benches/memory.rs");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("see the head of benches/memory.rs")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Bytes that a line of `/proc/self/status` names.
fn status(line: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = text.lines().find_map(|found| found.strip_prefix(line))?.trim().strip_suffix(" kB")?;
    kilobytes.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn rows(bundle: &str, lengths: &[&str]) -> anyhow::Result<()> {
    println!("{:<30} {:>7} {:>13} {:>13} {:>6}", "graph", "tokens", "measured MiB", "estimate MiB", "ratio");
    for graph in Graph::ALL.into_iter().filter(|&graph| Path::new(bundle).join(graph.file()).exists()) {
        for length in lengths {
            let status =
                Command::new(std::env::current_exe()?).args(["measure-row", bundle, graph.file(), length]).status()?;
            if !status.success() {
                bail!("{} with {length} tokens ended with {status}", graph.file());
            }
        }
    }
    Ok(())
}

fn measure_row(bundle: &Path, graph: &str, tokens: &str) -> anyhow::Result<()> {
    let graph = Graph::ALL.into_iter().find(|known| known.file() == graph).context("no such graph")?;
    let tokens: usize = tokens.parse()?;
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}"))?;
    let options = SessionOptions {
        prepacking: Some(false),
        reuse_bytes: 0,
        prefix_cache: if graph == Graph::ForwardCached { PrefixCache::Always } else { PrefixCache::Never },
        ..SessionOptions::default()
    };
    let mut model = Model::open(&runtime, bundle, &options)?;
    if !one_row(&mut model, graph, 8)? {
        return Ok(());
    }
    let before = status("RssAnon:").context("/proc/self/status")?;
    let (peak, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watch = {
        let (peak, done) = (Arc::clone(&peak), Arc::clone(&done));
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(status("RssAnon:").unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            }
        })
    };
    one_row(&mut model, graph, tokens)?;
    done.store(true, Ordering::Relaxed);
    watch.join().ok().context("the watching thread")?;
    let taken = peak.load(Ordering::Relaxed).saturating_sub(before) as f64;
    let estimate = model.row_bytes(graph, tokens) as f64;
    let [measured, estimated] = [taken, estimate].map(|bytes| bytes / MIB);
    println!("{:<30} {tokens:>7} {measured:>13.1} {estimated:>13.1} {:>6.2}", graph.file(), estimate / taken);
    Ok(())
}

/// Runs a row of so many tokens through a graph; whether anything is known of it alone.
fn one_row(model: &mut Model, graph: Graph, tokens: usize) -> anyhow::Result<bool> {
    let vocab = model.manifest().dimensions.vocab;
    let ids: Vec<i64> = (0..tokens).map(|i| ((i * 7919 + 13) % vocab) as i64).collect();
    let row = Row::new(ids.clone(), tokens - 1);
    let point = |model: &mut Model| -> anyhow::Result<GradientRow> {
        Ok(GradientRow { embeds: model.embed(&ids)?, position: tokens - 1, target: 1, contrast: None })
    };
    match graph {
        Graph::Embed => drop(model.embed(&ids)?),
        Graph::Forward => drop(model.scores(&[row], &[1])?),
        Graph::ForwardEmbeds => drop(model.scores(&[row.changed(&[1], Change::Mean)], &[1])?),
        Graph::ForwardResidual => drop(model.scores(&[row.changed(&[1], Change::Residual { layer: 0 })], &[1])?),
        Graph::ForwardScores => {
            let change = Change::Score { layer: 0, head: 0, query: tokens as u32 - 1 };
            drop(model.scores(&[row.changed(&[1], change)], &[1])?);
        }
        Graph::Gradient | Graph::GradientLogProbability => {
            let point = point(model)?;
            drop(model.gradients_by(graph, &[point], &Knobs::GIM)?);
        }
        Graph::ResidualGradient => {
            let point = point(model)?;
            drop(model.residuals(&[point], &Knobs::GIM)?);
        }
        Graph::ScoreGradient => {
            let point = point(model)?;
            drop(model.attention_scores(&[point], &Knobs::GIM)?);
        }
        Graph::AttentionProjections => {
            let point = point(model)?;
            drop(model.projections(&[point], &Knobs::GIM)?);
        }
        Graph::DeepLift => {
            let point = point(model)?;
            let baseline = ndarray::Array2::zeros(point.embeds.dim());
            drop(model.multipliers(&point, baseline)?);
        }
        Graph::Attention => drop(model.attention(&[row])?),
        Graph::AttentionRollout => drop(model.attention_rollout(&row)?),
        // Those take batches of many rows, whatever is asked.
        Graph::ForwardCached | Graph::ValueZeroing | Graph::GradientDrop => return Ok(false),
    }
    Ok(true)
}

fn growth(bundle: &Path, options: &[&str]) -> anyhow::Result<()> {
    let (mut wanted, mut reuse) = (10_000u64, None);
    for pair in options.chunks(2) {
        match pair {
            ["--rows", number] => wanted = number.parse()?,
            ["--reuse-mib", number] => reuse = Some(number.parse::<usize>()? << 20),
            _ => bail!("see the head of benches/memory.rs"),
        }
    }
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}"))?;
    let mut options = SessionOptions::default();
    options.reuse_bytes = reuse.unwrap_or(options.reuse_bytes);
    let mut model = Model::open(&runtime, bundle, &options)?;
    let dimensions = model.manifest().dimensions.clone();
    let longest = dimensions.max_positions.unwrap_or(512).min(512);
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut driver: Driver<()> = Driver::new(&mut model);
    let (mut turn, mut open, mut next_look) = (0, 0, 0);
    println!("{:>8} {:>10} {:>10} {:>12} {:>13}", "rows", "gradients", "attention", "resident MiB", "anonymous MiB");
    loop {
        let counters = driver.model().counters();
        let rows = counters.forward_rows + counters.forward_rows_saved;
        if rows >= next_look {
            let [resident, anonymous] = ["VmRSS:", "RssAnon:"].map(|line| status(line).unwrap_or(0) as f64 / MIB);
            let (gradients, attention) = (counters.gradient_rows, counters.attention_rows);
            println!("{rows:>8} {gradients:>10} {attention:>10} {resident:>12.1} {anonymous:>13.1}");
            next_look = rows + wanted / LOOKS;
        }
        if rows >= wanted {
            break;
        }
        while open < TOGETHER && driver.has_room() {
            let length = random.random_range(4..=longest);
            let ids: Vec<i64> = (0..length).map(|_| random.random_range(0..dimensions.vocab as i64)).collect();
            let case = Case {
                key: turn.to_string(),
                prompt: ids.into(),
                position: dimensions.scored_position(length),
                question: Question { target: 1, contrast: None, score: Score::Logit },
                following: Vec::new(),
                baseline: 0,
                ranked: Units::tokens(1..length - 1),
            };
            let seed = random.random_range(0..u64::MAX);
            let bytes = driver.estimate(length);
            driver.take(bytes, work(driver.probe(Rc::new(case), turn), seed));
            turn += 1;
            open += 1;
        }
        open -= driver.finish_some()?.len();
    }
    Ok(())
}

/// What methods and metrics ask of one example, in small: a few rows of each kind, a path of gradients, attention weights.
async fn work(probe: Probe, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let length = probe.case().length();
    let mut sets = |count: usize| -> Vec<Vec<usize>> {
        let mut set = || (0..length).filter(|_| random.random_range(0..4) == 0).collect();
        (0..count).map(|_| set()).collect()
    };
    let removals = [Removal::Replace, Removal::Delete, Removal::Mean, Removal::Mask];
    for removal in removals {
        probe.without(removal, sets(8)).await;
    }
    probe.gradient(Knobs::GIM).await;
    if probe.has(Graph::Attention) {
        let row = probe.case().row();
        probe.attention(row).await;
    }
}
