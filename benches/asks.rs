//! What every method and every metric asks of the model: rows through the forward and the gradient graphs, those that were
//! known already, and seconds.
//!
//! ```text
//! cargo bench --bench asks -- [--examples 5] [--task tasks/lookup.yaml]
//! ```
//!
//! Examples of a demo task. A method runs on a fresh model, so nothing is known from others; a metric judges GIM's attributions
//! on a fresh model of its own, and the last column says what it costs behind all the methods, as in a run, where rows that
//! any of them asked for are known. Prints a Markdown table.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, bail};
use gim_harness::attribution::{self, Attribution, Case, METHODS, Question, Settings};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::config::load_task;
use gim_harness::faithfulness::{self, Evaluated, FAMILIES, Ranking};
use gim_harness::probe::Cost;
use gim_harness::run::vocabulary;
use gim_harness::runtime::{Graph, Model, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::tasks::{self, Dataset, Subject, Taken};
use gim_harness::tokenizer::{SpecialTokens, Tokenizer};

fn main() -> anyhow::Result<()> {
    let (mut examples, mut task) = (5, PathBuf::from("tasks/lookup.yaml"));
    // `cargo bench` adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--examples" => examples = arguments.next().context("--examples N")?.parse()?,
            "--task" => task = arguments.next().context("--task FILE")?.into(),
            other => bail!("unknown argument {other}"),
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("bundle");
    bake(&root.join("models/demo"), &bundle, &BakeOptions::default(), &mut |_, _| {})?;
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}"))?;
    // Opening graphs is no part of what is measured.
    let open = || -> anyhow::Result<Model> {
        let mut model = Model::open(&runtime, &bundle, &SessionOptions { threads: Some(1), ..Default::default() })?;
        Graph::ALL.into_iter().try_for_each(|graph| model.load(graph).map(drop))?;
        Ok(model)
    };
    let cases = cases(&root.join(task), &bundle, examples, &open()?)?;
    let tokens = cases.iter().map(|(case, _)| case.length()).sum::<usize>() as f64 / cases.len() as f64;
    println!("{} examples, {tokens:.0} tokens each in the mean; numbers are for one example\n", cases.len());

    println!("| method | forward rows | known | gradient rows | known | ms |\n|---|---|---|---|---|---|");
    for entry in METHODS {
        let Some(method) = attribution::build(entry.info.name, &Settings::default()) else { continue };
        let mut model = open()?;
        let mut total = Cost::default();
        let mut why = None;
        for (case, _) in &cases {
            let (found, cost) = attribution::explain(&mut model, &method, case)?;
            total += cost;
            why = why.or(found.err());
        }
        match why {
            Some(reason) => println!("| `{}` | {reason} | | | | |", entry.info.name),
            None => println!("| `{}` {}", entry.info.name, cells(&total, cases.len())),
        }
    }

    println!(
        "\n| metrics | forward rows | known | gradient rows | known | ms | forward rows behind all methods |\n|---|---|---|---|---|---|---|"
    );
    // What a run has asked already when a metric's turn comes.
    let mut behind = open()?;
    let mut gim = Vec::new();
    for entry in METHODS {
        let Some(method) = attribution::build(entry.info.name, &Settings::default()) else { continue };
        for (case, _) in &cases {
            let found = attribution::explain(&mut behind, &method, case)?.0;
            if entry.info.name == "gim" {
                gim.push(found.map_err(|reason| anyhow::anyhow!("gim does not apply: {reason}"))?);
            }
        }
    }
    let method = attribution::build("gim", &Settings::default()).context("gim")?;
    for family in FAMILIES {
        let metric = family.build(&Settings::default());
        let mut fresh = open()?;
        let (mut alone, mut after) = (Cost::default(), Cost::default());
        for ((case, evidence), found) in cases.iter().zip(&gim) {
            let full = full(&mut fresh, case)?;
            let evaluated = || evaluated(case, found, evidence, full, &method);
            alone += faithfulness::measure(&mut fresh, &metric, evaluated())?.1;
            after += faithfulness::measure(&mut behind, &metric, evaluated())?.1;
        }
        let names: Vec<String> = family.metrics.iter().map(|metric| format!("`{}`", metric.name)).collect();
        let after = after.forward_rows as f64 / cases.len() as f64;
        println!("| {} {} {after:.1} |", names.join(", "), cells(&alone, cases.len()));
    }
    Ok(())
}

/// The first examples of a task, as cases, and the places of their evidence.
fn cases(task: &Path, bundle: &Path, count: usize, model: &Model) -> anyhow::Result<Vec<(Case, Vec<usize>)>> {
    let tokenizer = Tokenizer::from_file(&bundle.join("tokenizer.json"))?;
    let manifest = model.manifest();
    let subject = Subject {
        model: "demo",
        architecture: &manifest.architecture,
        tokenizer: &tokenizer,
        chat: None,
        labels: None,
        special_tokens: SpecialTokens::Tokenizer,
        vocab: manifest.dimensions.vocab,
        max_tokens: manifest.dimensions.max_positions,
    };
    let Dataset { examples, score, .. } = tasks::load(&load_task(task, &vocabulary())?, &subject, Taken::First(count))?;
    let baseline = manifest.baseline_token_id.context("a baseline token")?;
    let case = |example: &tasks::Example| Case {
        key: example.id.clone(),
        prompt: example.input_ids.as_slice().into(),
        position: example.input_ids.len() - 1,
        question: Question { target: example.target, contrast: example.contrast, score },
        following: Vec::new(),
        baseline,
        ranked: example.ranked.clone(),
    };
    Ok(examples.iter().map(|example| (case(example), example.evidence.clone())).collect())
}

fn full(model: &mut Model, case: &Case) -> anyhow::Result<f64> {
    let tokens: Vec<i64> = case.question.tokens().collect();
    let scores = model.scores(&[case.row()], &tokens)?;
    Ok(scores.first().map_or(f64::NAN, |score| case.question.value(&tokens, score)))
}

fn evaluated(
    case: &Case,
    found: &Attribution,
    evidence: &[usize],
    full: f64,
    method: &Rc<dyn attribution::Method>,
) -> Evaluated {
    Evaluated {
        case: Rc::new(case.clone()),
        ranking: Ranking::new(found.values.first().map_or(&[], Vec::as_slice), &case.ranked),
        attribution: Rc::new(found.clone()),
        seed: 0,
        evidence: evidence.into(),
        full,
        method: Rc::clone(method),
    }
}

fn cells(cost: &Cost, examples: usize) -> String {
    let each = |count: u64| count as f64 / examples as f64;
    format!(
        "| {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
        each(cost.forward_rows),
        each(cost.forward_rows_saved),
        each(cost.gradient_rows),
        each(cost.gradient_rows_saved),
        1000.0 * cost.seconds / examples as f64
    )
}
