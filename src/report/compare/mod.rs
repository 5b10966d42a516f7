//! Two runs compared: the same examples, methods and metrics, before and after.
//!
//! First what of the inputs changed, and what cannot be compared because of it; then what moved. One kind of interval
//! decides throughout: of the mean of paired differences, Student's and as much wider as their skewness asks for, for all
//! changes of a comparison together.

mod cells;
mod drift;
mod gate;
mod inputs;
mod moved;
mod pages;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::atomic::Pending;
use super::document::Document;
use super::error::ReportError;
use super::gather::{self, Gathered};
use super::render;
use crate::config::Gate;
use crate::date::Date;
use crate::store::Store;

pub use cells::{Change, Verdict};
pub use drift::{Conclusion, Drift};
pub use gate::{Judged, Judgement};
pub use inputs::{Difference, Inputs};

/// Two runs side by side.
#[derive(Debug)]
pub struct Compared {
    pub inputs: Inputs,
    /// By model, task, metric and method in the order that the new run declares.
    pub changes: Vec<Change>,
    /// What the gate's rules come to, where there is a gate; one for each change that a rule fits.
    pub judged: Vec<Judged>,
    /// By model and task, where it was asked for.
    pub drift: Vec<Drift>,
    /// By task and metric, where it was asked for.
    pub conclusions: Vec<Conclusion>,
    document: Document,
}

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("nothing in {} can be compared with {}: {why}", new.display(), base.display())]
    Nothing { base: PathBuf, new: PathBuf, why: String },
    /// A rule of the gate fits nothing that either run has.
    #[error("{place}: this rule fits nothing in either run; {known}")]
    Unfitting { place: String, known: String },
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Comparing<'a> {
    /// Absent: no rule, and the confidence of a gate that says none.
    pub gate: Option<&'a Gate>,
    /// Whether scores and attributions are compared number by number, too.
    pub drift: bool,
    /// On which acknowledged changes count or have expired.
    pub today: Date,
}

/// Compares `new` with `base`.
///
/// # Errors
/// [`CompareError::Nothing`] where no example of no task can be compared.
pub fn compare(base: &Store, new: &Store, how: &Comparing) -> Result<Compared, CompareError> {
    let gathered = |store| gather::gather(store, |_, _| Ok(()));
    let runs = Runs { base: gathered(base)?, new: gathered(new)? };
    let inputs = inputs::compare(&runs);
    let gate = how.gate.cloned().unwrap_or_default();
    let paired = cells::pair(&runs);
    if paired.is_empty() {
        let why = inputs.why_nothing();
        return Err(CompareError::Nothing { base: base.path().into(), new: new.path().into(), why });
    }
    let changes = cells::changes(&runs, &paired, &gate);
    let judged = gate::judge(&gate, &changes, how.today)?;
    let moved = moved::find(&paired, base, new)?;
    let (drift, conclusions) =
        if how.drift { (drift::find(&runs, base, new)?, drift::conclusions(&runs)) } else { (Vec::new(), Vec::new()) };
    let document = pages::document(&pages::Source {
        runs: &runs,
        inputs: &inputs,
        changes: &changes,
        judged: &judged,
        moved: &moved,
        drift: how.drift.then_some((&drift, &conclusions)),
        has_gate: how.gate.is_some(),
        confidence: gate.confidence,
    });
    Ok(Compared { inputs, changes, judged, drift, conclusions, document })
}

/// The runs that are compared.
struct Runs {
    base: Gathered,
    new: Gathered,
}

/// `compare.json`.
#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    inputs: &'a Inputs,
    changes: &'a [Change],
    gate: &'a [Judged],
    drift: &'a [Drift],
    conclusions: &'a [Conclusion],
}

/// Goes up when a field of `compare.json` changes its meaning or goes away.
const FORMAT: u32 = 1;

impl Compared {
    /// For a terminal: what changed of the inputs, and every verdict.
    pub fn summary(&self) -> String {
        render::terminal::render_summary(&self.document)
    }

    /// Whether a rule of the gate fails.
    pub fn has_regression(&self) -> bool {
        self.judged.iter().any(|judged| matches!(judged.judgement, Judgement::Failed(_)))
    }

    /// Whether something that a rule of the gate is about is not there.
    pub fn is_incomplete(&self) -> bool {
        self.judged.iter().any(|judged| matches!(judged.judgement, Judgement::Incomplete(_)))
    }

    /// Writes `compare.html`, `compare.json` and, where there is a gate, `junit.xml` into a folder, which must exist. All
    /// of them appear whole, by rename.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
        let written = Written {
            format: FORMAT,
            inputs: &self.inputs,
            changes: &self.changes,
            gate: &self.judged,
            drift: &self.drift,
            conclusions: &self.conclusions,
        };
        let mut pending = vec![
            super::json(folder, "compare.json", &written)?,
            super::text(folder, "compare.html", render::html::render(&self.document, None).as_bytes())?,
        ];
        if !self.judged.is_empty() {
            pending.push(super::text(folder, "junit.xml", gate::junit(&self.judged).as_bytes())?);
        }
        pending.into_iter().map(Pending::publish).collect()
    }
}
