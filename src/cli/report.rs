//! `gim-harness report`.

use std::path::PathBuf;

use gim_harness::report::write;
use gim_harness::store::{self, Store};

use super::Ended;
use super::output::{note, say};

#[derive(clap::Args)]
pub struct Arguments {
    /// A run's folder, with its run.sqlite
    #[arg(value_name = "RUN_DIR")]
    folder: PathBuf,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let store = Store::open_read_only(&arguments.folder.join(store::FILE_NAME))?;
    let written = write(&store, &arguments.folder, None)?;
    say(written.headline.trim_end());
    note(format_args!("\nthe whole report: {}", arguments.folder.join("report.md").display()));
    if !written.complete {
        note(format_args!(
            "the run is incomplete: {} of {} units are done",
            written.units_done, written.units_expected
        ));
        return Ok(Ended::Incomplete);
    }
    Ok(Ended::Done)
}
