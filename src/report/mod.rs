//! The files of a run, made from its store alone; the same store gives the same bytes, whatever the number of threads.
//!
//! | file | a row or line for each |
//! |---|---|
//! | `examples.csv` | unit, those left out too, with its metrics (means over seeds) |
//! | `curves.csv` | point of a curve |
//! | `attributions.jsonl` | unit that has attributions: the first seed's, and how many seeds there are |
//! | `summary.csv` | model, task, method, metric |
//! | `comparisons.csv` | model, task, metric, pair of methods |
//! | `timings.csv` | model, task, method; alone in depending on when and where the run ran |
//! | `results.json` | summaries and comparisons for programs |
//! | `report.md`, `report.html`, `plots/` | for people |
//! | `report.tex` | for papers |

mod agreement;
mod analysis;
mod atomic;
mod by_step;
pub mod compare;
mod csv_files;
mod curves;
mod document;
mod error;
pub mod export;
mod gather;
pub mod history;
mod inexact;
mod latest;
mod plots;
mod render;
mod results;
mod sections;
mod spreadsheet;

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::store::Store;
use crate::text::shown_json;

pub use analysis::{AcrossPair, AcrossTasks, Comparison, MeanRank, Summary};
pub use error::ReportError;
pub use inexact::Inexact;
pub use latest::{Latest, point_latest};

use atomic::Pending;

/// The style sheet of reports, for other pages that show what they show.
pub(crate) fn page_style() -> &'static str {
    render::html::STYLE
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// In the order in which they appeared.
    pub files: Vec<PathBuf>,
    /// Whether every unit of the run is done.
    pub complete: bool,
    pub units_done: usize,
    /// As far as the datasets are known.
    pub units_expected: usize,
    /// What in the store is not what was written, one line each; the files are made without it.
    pub damaged: Vec<String>,
    /// The beginning of the report, for a terminal: which method is most faithful, and how sure that is.
    pub headline: String,
    pub summaries: Vec<Summary>,
    pub comparisons: Vec<Comparison>,
}

/// Every file that [`write`] makes.
const FILES: [&str; 11] = [
    "examples.csv",
    "curves.csv",
    "attributions.jsonl",
    "summary.csv",
    "comparisons.csv",
    "timings.csv",
    "results.json",
    "manifest.json",
    "report.md",
    "report.html",
    "report.tex",
];

/// Removes what reports left in a folder when they were killed.
pub fn remove_unfinished(folder: &Path) {
    atomic::remove_unfinished(folder, &FILES);
    plots::remove_unfinished(folder);
}

/// Makes every file of a run in `folder`, which must exist, and `manifest.json` where a manifest is given. Each file
/// appears whole, by rename, once all of them are written; on an error none does.
pub fn write(store: &Store, folder: &Path, manifest: Option<&serde_json::Value>) -> Result<Written, ReportError> {
    let declared = store.declared();
    let mut per_unit = csv_files::PerUnit::create(folder, declared)?;
    let gathered = gather::gather(store, |unit, cells| per_unit.add(unit, declared, cells))?;
    let analysis = analysis::analyse(&gathered);
    let document = sections::document(&gathered, &analysis);

    let mut pending: Vec<Pending> = per_unit.finish()?.into();
    pending.push(csv_files::summary(folder, &analysis.summaries)?);
    pending.push(csv_files::comparisons(folder, &analysis.comparisons)?);
    pending.push(csv_files::timings(folder, &gathered)?);
    pending.push(json(folder, "results.json", &results::Results::new(&gathered, &analysis))?);
    if let Some(manifest) = manifest {
        pending.push(json(folder, "manifest.json", manifest)?);
    }
    pending.push(text(folder, "report.md", render::markdown::render(&document, plots::FOLDER).as_bytes())?);
    pending.push(text(folder, "report.html", render::html::render(&document, Some(plots::FOLDER)).as_bytes())?);
    pending.push(text(folder, "report.tex", render::latex::render(&document, plots::FOLDER).as_bytes())?);
    let plots = plots::Pending::create(folder, &document)?;
    let mut files: Vec<PathBuf> = pending.into_iter().map(Pending::publish).collect::<Result<_, _>>()?;
    files.extend(plots.publish()?);
    Ok(Written {
        files,
        complete: gathered.complete(),
        units_done: gathered.units_done(),
        units_expected: gathered.units_expected(),
        damaged: gathered.damaged,
        headline: render::terminal::render_summary(&document),
        summaries: analysis.summaries,
        comparisons: analysis.comparisons,
    })
}

/// JSON Schema (draft 2020-12) of `results.json`.
pub fn results_schema() -> serde_json::Value {
    results::schema().to_value()
}

fn json(folder: &Path, name: &'static str, value: &impl serde::Serialize) -> Result<Pending, ReportError> {
    let written = serde_json::to_string_pretty(value)
        .map_err(|error| ReportError::Io { path: folder.join(name), source: error.into() })?;
    text(folder, name, (shown_json(&written).into_owned() + "\n").as_bytes())
}

fn text(folder: &Path, name: &'static str, bytes: &[u8]) -> Result<Pending, ReportError> {
    let mut pending = Pending::create(folder, name)?;
    let path = pending.target().to_path_buf();
    pending.write_all(bytes).map_err(|source| ReportError::Io { path, source })?;
    Ok(pending)
}
