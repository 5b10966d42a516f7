//! `gim-harness export`.

use std::path::PathBuf;

use gim_harness::report::export;
use gim_harness::store::{self, Store};

use super::Ended;
use super::output::say;

#[derive(clap::Args)]
pub struct Arguments {
    /// A run's folder, with its run.sqlite
    #[arg(value_name = "RUN_DIR")]
    folder: PathBuf,
    /// In whose form
    #[arg(long, value_enum)]
    format: Format,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Rationales as results of the ERASER benchmark, with the annotations and documents to score them against
    Eraser,
    /// Attributions as inseq saves them, for its tables and views
    Inseq,
    /// How much of the score the best share of the tokens keeps, in the form of MIB's circuit track
    Mib,
}

impl Format {
    /// What an example has to have.
    fn needs(self) -> &'static str {
        match self {
            Format::Eraser => "evidence or attributions",
            Format::Inseq => "attributions by every method, or ids of tokens",
            Format::Mib => "insertion curves",
        }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let store = Store::open_read_only(&arguments.folder.join(store::FILE_NAME))?;
    let exported = match arguments.format {
        Format::Eraser => export::eraser(&store, &arguments.out)?,
        Format::Inseq => export::inseq(&store, &arguments.out)?,
        Format::Mib => export::mib(&store, &arguments.out)?,
    };
    for part in exported {
        let left_out = match part.left_out {
            0 => String::new(),
            n => format!("; {n} without {} left out", arguments.format.needs()),
        };
        say(format_args!(
            "{}: {} on {}, {} examples{left_out}",
            arguments.out.join(&part.place).display(),
            part.model,
            part.task,
            part.examples
        ));
    }
    Ok(Ended::Done)
}
