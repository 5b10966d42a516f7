//! `gim-harness history`.

use std::path::PathBuf;

use gim_harness::config::Margin;
use gim_harness::report::history::{History, HistoryError};

use super::output::{note, say};
use super::{Ended, Usage};

#[derive(clap::Args)]
pub struct Arguments {
    /// The folder that holds the runs
    #[arg(value_name = "DIR", default_value = "reports")]
    folder: PathBuf,
    /// How much worse the last level of a metric may be than its first, a number or a percentage; exit code 3 where it is
    /// worse by more
    #[arg(long, value_name = "N or 'N %'", default_value = "5 %", value_parser = margin)]
    margin: Margin,
    /// Remove all finished runs but the newest N once they are in the record
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
}

fn margin(typed: &str) -> Result<Margin, String> {
    let (number, percent) = match typed.strip_suffix('%') {
        Some(number) => (number.trim_end(), true),
        None => (typed, false),
    };
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => {
            Ok(if percent { Margin::Relative(number / 100.0) } else { Margin::Absolute(number) })
        }
        _ => Err("expected a number that is 0 or more, or a percentage such as '5 %'".to_owned()),
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let history = match History::read(&arguments.folder, arguments.margin) {
        Err(error @ HistoryError::Nothing { .. }) => return Err(Usage(error.to_string()).into()),
        result => result?,
    };
    history.write(&arguments.folder)?;
    say(history.summary().trim_end());
    note(format_args!("\nthe whole history: {}", arguments.folder.join("history.html").display()));
    if let Some(keep) = arguments.keep {
        for gone in history.retain(&arguments.folder, keep as usize)? {
            note(format_args!("removed {}", gone.display()));
        }
    }
    Ok(if history.is_worse() { Ended::Regression } else { Ended::Done })
}
