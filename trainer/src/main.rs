//! Generates the demo texts and trains the demo checkpoint, a small Llama decoder, on others like them.
//!
//! ```text
//! cargo run --release -p gim-harness-trainer -- generate    # tasks/*.jsonl
//! cargo run --release -p gim-harness-trainer -- train       # models/demo, then its accuracy on tasks/*.jsonl
//! cargo run --release -p gim-harness-trainer -- evaluate    # the accuracy alone
//! ```
//!
//! All three are deterministic: the same seed gives the same texts, and on the same kind of processor the same weights
//! (the matrix kernels are chosen by processor, and round differently). Two threads are used, however many cores there
//! are.
//!
//! What makes so small a model learn in minutes:
//! - copying repeated random words comes first, alone (`batch::copy_row`);
//! - one head a layer starts out looking at the previous token (`model::look_back`);
//! - texts are easy at first (`texts::Level`);
//! - what is said follows directly whom it is said of (`texts::statements`), and a look-up ends in whom it asks about;
//! - six questions follow every context.
//!
//! Without the first two, look-up stayed at a guess among the right kind of words for 1,300 steps; without the third,
//! fact checking and sentiment stayed at chance for 1,100 steps after look-up was at 100 %.

mod batch;
mod causal_softmax;
mod evaluate;
mod export;
mod model;
mod task;
mod texts;
mod train;
mod vocabulary;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::batch::Source;
use crate::evaluate::{Example, accuracy, example};
use crate::model::Config;
use crate::task::{Task, literal};
use crate::texts::{Fields, Generator, generators, test_records};
use crate::train::{Recipe, train};
use crate::vocabulary::Vocabulary;

/// glibc's allocator gives arrays of this size back to the system after every operation, which took half the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TEST_EXAMPLES: usize = 400;
const TEST_SEED: u64 = 20_261_123;
/// Progress is shown on texts of their own, so that nothing is ever chosen by the test set.
const PROBE_EXAMPLES: usize = 60;
const PROBE_SEED: u64 = 7;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Folder of the task files
    #[arg(long, global = true, default_value = "tasks")]
    tasks: PathBuf,
    /// Folder of the checkpoint
    #[arg(long, global = true, default_value = "models/demo")]
    model: PathBuf,
}

#[derive(Subcommand)]
enum Verb {
    /// Write the test texts, one JSONL file a task
    Generate,
    /// Train the checkpoint, write it, and measure it on the test texts
    Train {
        /// Of the weights that training starts from, and of the training texts
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Measure the checkpoint on the test texts
    Evaluate,
}

fn recipe(seed: u64) -> Recipe {
    Recipe {
        seed,
        steps: 4000,
        copying: 600,
        copying_rows: 32,
        copying_length: 40,
        easy_until: 1100,
        full_from: 2300,
        blank_from: 2000,
        blank_rows: 0.3,
        blank_share: 0.3,
        questions: 6,
        other: 0.1,
        learning_rate: 2e-3,
        warm_up: 200,
        clip: 1.0,
        initial_scale: 0.06,
    }
}

fn config(vocabulary: &Vocabulary) -> Config {
    Config {
        vocab: vocabulary.len(),
        hidden: 96,
        feed_forward: 256,
        layers: 4,
        heads: 4,
        max_positions: 256,
        // Low, since texts are short: more of a head's pairs then tell near positions apart.
        rope_theta: 100.0,
        norm_epsilon: 1e-5,
    }
}

/// Rows of a task in a training step; the more, the harder it is to learn.
fn rows(task: &str) -> usize {
    match task {
        "fact_checking" => 16,
        "sentiment" => 8,
        _ => 4,
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // SAFETY: no other thread exists yet. Candle would otherwise split every small matrix product between threads,
    // which costs more than it gains beside `train`'s own two.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    match arguments.verb {
        Verb::Generate => generate(&arguments.tasks),
        Verb::Train { seed } => {
            train_demo(&arguments.tasks, &arguments.model, &recipe(seed))?;
            evaluate(&arguments.tasks, &arguments.model)
        }
        Verb::Evaluate => evaluate(&arguments.tasks, &arguments.model),
    }
}

fn generate(tasks: &Path) -> Result<()> {
    for generator in generators() {
        let path = tasks.join(format!("{}.jsonl", generator.task()));
        let mut file = fs::File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        for record in test_set(generator) {
            writeln!(file, "{}", serde_json::to_string(&record)?)?;
        }
        eprintln!("{}: {TEST_EXAMPLES} examples", path.display());
    }
    Ok(())
}

fn test_set(generator: &dyn Generator) -> Vec<Fields> {
    test_records(generator, &mut ChaCha8Rng::seed_from_u64(TEST_SEED), TEST_EXAMPLES)
}

fn sources(tasks: &Path) -> Result<Vec<Source>> {
    let source = |generator: &'static dyn Generator| {
        let task = Task::read(tasks, generator.task())?;
        let context =
            |record: &Fields| record["context"].as_str().map(str::to_owned).context("a record has no context");
        let held_out = task.records(tasks)?.iter().map(context).collect::<Result<_>>()?;
        Ok(Source { generator, task, held_out, rows: rows(generator.task()) })
    };
    generators().into_iter().map(source).collect()
}

fn vocabulary(sources: &[Source]) -> Result<Vocabulary> {
    let mut words = vec![".".to_owned(), ",".to_owned()];
    for Source { generator, task, .. } in sources {
        words.push(literal(&task.prompt));
        words.extend(task.options().map(str::to_owned));
        words.extend(generator.words().into_iter().map(str::to_owned));
    }
    Vocabulary::of_words(words.iter().map(String::as_str))
}

fn train_demo(tasks: &Path, folder: &Path, recipe: &Recipe) -> Result<()> {
    let sources = sources(tasks)?;
    let vocabulary = vocabulary(&sources)?;
    let probe = |source: &Source| {
        let records = test_records(source.generator, &mut ChaCha8Rng::seed_from_u64(PROBE_SEED), PROBE_EXAMPLES);
        let examples =
            records.iter().map(|record| example(&source.task, record, &vocabulary)).collect::<Result<_>>()?;
        Ok((source.generator.task(), examples))
    };
    let probes: Vec<(&str, Vec<Example>)> = sources.iter().map(probe).collect::<Result<_>>()?;
    let started = Instant::now();
    let model = train(recipe, config(&vocabulary), &sources, &vocabulary, &probes)?;
    eprintln!("trained in {:.1} minutes", started.elapsed().as_secs_f64() / 60.0);
    export::write(folder, &model, &vocabulary)
}

fn evaluate(tasks: &Path, folder: &Path) -> Result<()> {
    let (model, vocabulary) = export::read(folder)?;
    for generator in generators() {
        let task = Task::read(tasks, generator.task())?;
        let examples: Vec<Example> =
            task.records(tasks)?.iter().map(|record| example(&task, record, &vocabulary)).collect::<Result<_>>()?;
        println!("{}: {:.4} of {} right", generator.task(), accuracy(&model, &examples)?, examples.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
