//! Many runs of one plan, night after night: what moved, and since when.
//!
//! `history.csv` grows by the runs that it does not have yet, so that old runs may go; the page is made from it.

mod pages;
mod record;
mod retention;

use std::path::{Path, PathBuf};

use super::atomic::Pending;
use super::document::Document;
use super::error::ReportError;
use super::render;
use crate::config::Margin;
use crate::stats;

pub use record::{HistoryError, Night};

/// One metric of a method on a task by a model, over the nights that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub model: String,
    pub task: String,
    pub method: String,
    pub metric: String,
    pub higher_is_better: bool,
    /// Numbers of the nights, and what they have.
    pub nights: Vec<usize>,
    pub means: Vec<f64>,
    pub intervals: Vec<Option<(f64, f64)>>,
    /// Places among `nights` at which a new level begins.
    pub steps: Vec<usize>,
    /// One more than there are steps.
    pub levels: Vec<f64>,
    /// Whether the last level is worse than the first by more than the margin.
    pub is_worse: bool,
}

/// What many runs come to.
#[derive(Debug)]
pub struct History {
    /// Folders of the runs with their dates, in order of time.
    pub nights: Vec<Night>,
    pub series: Vec<Series>,
    /// Runs that were not in the record before.
    pub added: usize,
    rows: Vec<record::Row>,
    document: Document,
}

const CSV: &str = "history.csv";
const PAGE: &str = "history.html";

impl History {
    /// Reads the record in a folder of runs, and those of its runs that the record does not have. `margin`: how much worse
    /// the last level of a series may be than its first.
    ///
    /// # Errors
    /// [`HistoryError`] for a record or results that cannot be read, or a folder without any run.
    pub fn read(parent: &Path, margin: Margin) -> Result<History, HistoryError> {
        let path = parent.join(CSV);
        let mut rows = record::read(&path)?;
        let before = rows.len();
        let mut added = 0;
        for run in record::runs(parent)? {
            if !rows[..before].iter().any(|row| row.run == run.name) {
                let new = record::of_run(parent, &run)?;
                added += usize::from(!new.is_empty());
                rows.extend(new);
            }
        }
        if rows.is_empty() {
            return Err(HistoryError::Nothing { folder: parent.to_path_buf() });
        }
        // By time; rows of one run stay in their order.
        rows.sort_by(|a, b| (&a.date, &a.run).cmp(&(&b.date, &b.run)));
        let nights = record::nights(&rows);
        let series = series(&rows, &nights, margin);
        let document = pages::document(&nights, &series, margin);
        Ok(History { nights, series, added, rows, document })
    }

    /// Writes `history.csv` and `history.html` into the folder.
    pub fn write(&self, parent: &Path) -> Result<Vec<PathBuf>, ReportError> {
        let pending = [
            record::write(parent, CSV, &self.rows)?,
            super::text(parent, PAGE, render::html::render(&self.document, None).as_bytes())?,
        ];
        pending.into_iter().map(Pending::publish).collect()
    }

    /// Removes all runs but the newest `keep`: only folders of finished runs that the record has, that nobody writes to,
    /// and that `latest` does not lead to. Gives the folders that are gone.
    pub fn retain(&self, parent: &Path, keep: usize) -> std::io::Result<Vec<PathBuf>> {
        retention::retain(parent, &self.nights, keep)
    }

    /// For a terminal.
    pub fn summary(&self) -> String {
        render::terminal::render_summary(&self.document)
    }

    /// Whether any series is worse than it was at first by more than the margin.
    pub fn is_worse(&self) -> bool {
        self.series.iter().any(|series| series.is_worse)
    }
}

fn series(rows: &[record::Row], nights: &[Night], margin: Margin) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for row in rows {
        let Some(night) = nights.iter().position(|night| night.run == row.run) else { continue };
        let key = (row.model.clone(), row.task.clone(), row.method.clone(), row.metric.clone());
        let place = *places.entry(key).or_insert_with(|| {
            all.push(Series {
                model: row.model.clone(),
                task: row.task.clone(),
                method: row.method.clone(),
                metric: row.metric.clone(),
                higher_is_better: row.higher_is_better,
                nights: Vec::new(),
                means: Vec::new(),
                intervals: Vec::new(),
                steps: Vec::new(),
                levels: Vec::new(),
                is_worse: false,
            });
            all.len() - 1
        });
        let series = &mut all[place];
        series.nights.push(night);
        series.means.push(row.mean);
        series.intervals.push(row.ci_low.zip(row.ci_high));
    }
    for series in &mut all {
        series.steps = stats::steps(&series.means);
        series.levels = stats::levels(&series.means, &series.steps);
        let (Some(first), Some(last)) = (series.levels.first(), series.levels.last()) else { continue };
        let worse_by = if series.higher_is_better { first - last } else { last - first };
        let allowed = match margin {
            Margin::Absolute(margin) => margin,
            Margin::Relative(share) => share * first.abs(),
        };
        series.is_worse = series.levels.len() > 1 && worse_by > allowed;
    }
    all
}
