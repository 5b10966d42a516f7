//! `gim-harness verify`.

use std::path::PathBuf;
use std::sync::Arc;

use gim_harness::runtime::{Runtime, SessionOptions};
use gim_harness::verify::{Check, Effort, Original, verify_against, verify_opened};

use super::model::{ModelOptions, open_bundle};
use super::progress::Terminal;
use super::signals::{self, STOPPING};
use super::{Ended, output};

#[derive(clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// What it was baked from: checks its weights and layers against that, too
    #[arg(long, value_name = "SOURCE")]
    source: Option<PathBuf>,
    /// Of the random inputs
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    model: ModelOptions,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let watch = signals::watch(STOPPING)?;
    let progress = Terminal::new(&watch);
    let runtime = arguments.model.open_runtime(&progress)?;
    let session = arguments.model.session();
    let checks = checks(arguments, &runtime, &session, &progress);
    progress.stop();
    let checks = checks?;
    let mut text = format!("{:24} {:>10} {:>10}\n", "check", "measured", "at most");
    for check in &checks {
        let verdict = if check.passed() { "ok" } else { "FAILED" };
        text += &format!(
            "{:24} {:>10.2e} {:>10.0e}  {verdict:6}  {}\n",
            check.name, check.measured, check.tolerance, check.description
        );
    }
    output::result(text)?;
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed()).collect();
    if !failed.is_empty() {
        for check in &failed {
            output::note(format_args!("{}: {}", check.name, check.advice));
        }
        output::note(format_args!(
            "{} of {} checks failed: do not trust what this bundle explains",
            failed.len(),
            checks.len()
        ));
        return Ok(Ended::Negative);
    }
    Ok(Ended::Done)
}

fn checks(
    arguments: &Arguments,
    runtime: &Runtime,
    session: &SessionOptions,
    progress: &Terminal,
) -> anyhow::Result<Vec<Check>> {
    progress.checking("hashes of the files");
    // What is checked is what is there now, whatever was found earlier.
    let bundle = Arc::new(open_bundle(&arguments.bundle, true, progress)?);
    let next = |next: &str| progress.checking(next);
    let effort = Effort::for_weights(bundle.wide_weights());
    Ok(match &arguments.source {
        Some(source) => {
            let original = Original { path: source, tokenizer: None };
            verify_against(runtime, original, &bundle, session, effort, arguments.seed, &next)?
        }
        None => verify_opened(runtime, &bundle, session, effort, arguments.seed, &next)?,
    })
}
