//! `gim-harness verify`.

use std::io::Write as _;
use std::path::PathBuf;

use gim_harness::verify::{Effort, verify};

use super::model::ModelOptions;
use super::progress::Terminal;
use super::{Ended, ignore_closed_pipe};

#[derive(clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Of the random inputs
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    model: ModelOptions,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    if !arguments.bundle.join("bundle.json").is_file() {
        let message = "is no bundle: it holds no bundle.json; make one with `gim-harness bake`";
        anyhow::bail!("{} {message}", arguments.bundle.display());
    }
    let progress = Terminal::new();
    let runtime = arguments.model.open_runtime(&progress)?;
    let session = arguments.model.session();
    let checks = verify(&runtime, &arguments.bundle, &session, Effort::FULL, arguments.seed, &|next| {
        progress.checking(next);
    });
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
    ignore_closed_pipe(std::io::stdout().write_all(text.as_bytes()))?;
    let failed = checks.iter().filter(|check| !check.passed()).count();
    if failed > 0 {
        eprintln!("{failed} of {} checks failed: do not trust what this bundle explains", checks.len());
        return Ok(Ended::Negative);
    }
    Ok(Ended::Done)
}
