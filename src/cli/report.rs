//! `gim-harness report`.

use std::path::PathBuf;

use gim_harness::report::{remove_unfinished, write};
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
    remove_unfinished(&arguments.folder);
    let written = write(&store, &arguments.folder, None)?;
    say(written.headline.trim_end());
    note(format_args!("\nthe whole report: {}", arguments.folder.join("report.html").display()));
    if let Some(first) = written.damaged.first() {
        let all: Vec<&str> = written.damaged.iter().map(String::as_str).collect();
        anyhow::bail!(
            "{}: damaged, {} of its entries {} not what was written and left out of the report ({}); run the harness file \
             again with --resume --out {}, and {} done anew",
            store.path().display(),
            all.len(),
            if all.len() == 1 { "is" } else { "are" },
            if all.len() > 3 { format!("the first: {first}") } else { all.join(", ") },
            arguments.folder.display(),
            if all.len() == 1 { "it is" } else { "they are" },
        );
    }
    if !written.complete {
        note(format_args!(
            "the run is incomplete: {} of {} units are done",
            written.units_done, written.units_expected
        ));
        return Ok(Ended::Incomplete);
    }
    Ok(Ended::Done)
}
