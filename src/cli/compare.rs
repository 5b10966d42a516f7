//! `gim-harness compare`.

use std::path::{Path, PathBuf};

use gim_harness::config::load_gate;
use gim_harness::date::Date;
use gim_harness::report::compare::{CompareError, Comparing, compare};
use gim_harness::store::{self, Store};

use super::output::{note, say};
use super::{Ended, Usage};

#[derive(clap::Args)]
pub struct Arguments {
    /// The run that is compared with, a folder with run.sqlite
    #[arg(value_name = "BASE")]
    base: PathBuf,
    /// The new run
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// What the new run may be worse by; exit code 3 where it is worse by more
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// Compare scores and attributions number by number, and say whether a conclusion changes
    #[arg(long)]
    drift: bool,
    /// Where compare.html, compare.json and junit.xml go [default: NEW]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let gate = arguments.gate.as_deref().map(load_gate).transpose()?;
    let (base, new) = (open(&arguments.base)?, open(&arguments.new)?);
    let how = Comparing { gate: gate.as_ref(), drift: arguments.drift, today: Date::today() };
    let compared = match compare(&base, &new, &how) {
        Err(error @ CompareError::Unfitting { .. }) => return Err(Usage(error.to_string()).into()),
        result => result?,
    };
    let folder = arguments.out.as_ref().unwrap_or(&arguments.new);
    std::fs::create_dir_all(folder)?;
    compared.write(folder)?;
    say(compared.summary().trim_end());
    note(format_args!("\nthe whole comparison: {}", folder.join("compare.html").display()));
    Ok(if compared.has_regression() {
        Ended::Regression
    } else if compared.is_incomplete() {
        Ended::Incomplete
    } else {
        Ended::Done
    })
}

fn open(folder: &Path) -> anyhow::Result<Store> {
    Ok(Store::open_read_only(&folder.join(store::FILE_NAME))?)
}
