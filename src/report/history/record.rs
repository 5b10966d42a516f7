//! `history.csv`: a row for each metric of a method on a task, and run.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::report::atomic::Pending;
use crate::report::error::ReportError;
use crate::report::spreadsheet;

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{}: cannot be read: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: this is no history that this program wrote ({why}); move it away to start a new one", path.display())]
    Record { path: PathBuf, why: String },
    #[error("{}: these are no results that this program wrote ({why}); make them again with `gim-harness report`", path.display())]
    Results { path: PathBuf, why: String },
    #[error("{} holds no finished run of a name like demo-20261125-094335", folder.display())]
    Nothing { folder: PathBuf },
    #[error(transparent)]
    Report(#[from] ReportError),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `2026-11-25T09:43:35`, in UTC.
    pub date: String,
    /// The run's folder.
    pub run: String,
    pub program: String,
    pub model: String,
    pub task: String,
    pub method: String,
    pub metric: String,
    pub higher_is_better: bool,
    pub n: usize,
    pub mean: f64,
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
}

/// One run of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Night {
    pub date: String,
    /// Its folder.
    pub run: String,
    pub program: String,
}

/// A run's folder by its name.
pub struct Named {
    pub name: String,
    date: String,
}

/// What is read of a `results.json`.
#[derive(Deserialize)]
struct Results {
    complete: bool,
    identity: std::collections::BTreeMap<String, String>,
    metrics: Vec<Metric>,
    summaries: Vec<Summary>,
}

#[derive(Deserialize)]
struct Metric {
    name: String,
    higher_is_better: bool,
}

#[derive(Deserialize)]
struct Summary {
    model: String,
    task: String,
    method: String,
    metric: String,
    n: usize,
    mean: Option<f64>,
    ci_low: Option<f64>,
    ci_high: Option<f64>,
}

const RESULTS: &str = "results.json";
const RESULTS_KIND: files::Kind = files::Kind { what: "a run's results", most: 256 << 20 };
const RECORD_KIND: files::Kind = files::Kind { what: "a history", most: 1 << 30 };

/// The record; empty where there is none yet.
pub fn read(path: &Path) -> Result<Vec<Row>, HistoryError> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(Vec::new());
    }
    let text =
        files::read_text(path, RECORD_KIND).map_err(|source| HistoryError::Io { path: path.to_path_buf(), source })?;
    let rows = csv::Reader::from_reader(text.as_bytes()).deserialize().collect::<Result<Vec<Row>, csv::Error>>();
    let rows = rows.map_err(|error| HistoryError::Record { path: path.to_path_buf(), why: error.to_string() })?;
    Ok(rows.into_iter().map(unguarded).collect())
}

/// Names as they were before they were written.
fn unguarded(mut row: Row) -> Row {
    for name in names(&mut row) {
        *name = spreadsheet::unguarded(name);
    }
    row
}

/// Cells that strangers named.
fn names(row: &mut Row) -> [&mut String; 6] {
    [&mut row.run, &mut row.program, &mut row.model, &mut row.task, &mut row.method, &mut row.metric]
}

pub fn write(parent: &Path, name: &'static str, rows: &[Row]) -> Result<Pending, ReportError> {
    let mut pending = Pending::create(parent, name)?;
    let path = pending.target().to_path_buf();
    let fail = |source: std::io::Error| ReportError::Io { path: path.clone(), source };
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        let mut row = row.clone();
        for name in names(&mut row) {
            *name = spreadsheet::guarded_exactly(name).into_owned();
        }
        writer.serialize(row).map_err(|error| fail(error.into()))?;
    }
    let bytes = writer.into_inner().map_err(|error| fail(error.into_error()))?;
    pending.write_all(&bytes).map_err(fail)?;
    Ok(pending)
}

/// Folders that are called as runs are, in order of time.
pub fn runs(parent: &Path) -> Result<Vec<Named>, HistoryError> {
    let fail = |source| HistoryError::Io { path: parent.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(date) = date_of(&name)
            && entry.path().join(RESULTS).is_file()
            && !entry.path().is_symlink()
        {
            found.push(Named { name, date });
        }
    }
    found.sort_by(|a, b| (&a.date, &a.name).cmp(&(&b.date, &b.name)));
    Ok(found)
}

/// "demo-20261125-094335" or "demo-20261125-094335-2": when the run began.
pub fn date_of(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = name.split('-').collect();
    if parts.last()?.len() < 6 {
        parts.pop();
    }
    let (time, day) = (parts.pop()?, parts.pop()?);
    let is_number = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if parts.is_empty() || !is_number(day, 8) || !is_number(time, 6) {
        return None;
    }
    let date = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]);
    date.parse::<crate::date::Date>().ok()?;
    Some(format!("{date}T{}:{}:{}", &time[..2], &time[2..4], &time[4..]))
}

/// The rows of a run; none where it is not finished.
pub fn of_run(parent: &Path, run: &Named) -> Result<Vec<Row>, HistoryError> {
    let path = parent.join(&run.name).join(RESULTS);
    let text =
        files::read_text(&path, RESULTS_KIND).map_err(|source| HistoryError::Io { path: path.clone(), source })?;
    let results: Results = serde_json::from_str(&text)
        .map_err(|error| HistoryError::Results { path: path.clone(), why: error.to_string() })?;
    if !results.complete {
        return Ok(Vec::new());
    }
    let program = results.identity.get("program").cloned().unwrap_or_default();
    let rows = results.summaries.into_iter().filter_map(|summary| {
        let metric = results.metrics.iter().find(|metric| metric.name == summary.metric)?;
        Some(Row {
            date: run.date.clone(),
            run: run.name.clone(),
            program: program.clone(),
            model: summary.model,
            task: summary.task,
            method: summary.method,
            metric: summary.metric,
            higher_is_better: metric.higher_is_better,
            n: summary.n,
            mean: summary.mean?,
            ci_low: summary.ci_low,
            ci_high: summary.ci_high,
        })
    });
    Ok(rows.collect())
}

/// Every run once, in order.
pub fn nights(rows: &[Row]) -> Vec<Night> {
    let mut nights: Vec<Night> = Vec::new();
    for row in rows {
        if nights.last().is_none_or(|last| last.run != row.run) {
            nights.push(Night { date: row.date.clone(), run: row.run.clone(), program: row.program.clone() });
        }
    }
    nights
}

#[cfg(test)]
mod tests {
    use super::date_of;

    #[test]
    fn runs_are_known_by_their_names() {
        for name in ["demo-20261125-094335", "a-b-20261125-094335-2"] {
            assert_eq!(date_of(name).as_deref(), Some("2026-11-25T09:43:35"), "{name}");
        }
        for name in
            ["demo", "20261125-094335", "demo-20261325-094335", "demo-20261125", "latest", "demo-2026112é-094335"]
        {
            assert_eq!(date_of(name), None, "{name}");
        }
    }
}
