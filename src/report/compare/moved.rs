//! The examples that moved most, with their attributions in both runs.

use std::collections::BTreeSet;

use super::cells::Paired;
use crate::report::error::ReportError;
use crate::stats;
use crate::store::{Store, Unit, UnitKey};

/// How many are shown.
const SHOWN: usize = 5;

/// An example on which a metric of a method moved.
pub struct Moved {
    pub key: UnitKey,
    /// As people call it.
    pub metric: String,
    pub base: f64,
    pub new: f64,
    /// The change, in standard deviations of the metric between examples.
    pub size: f64,
    pub units: [Option<Unit>; 2],
}

/// Those that moved most, each example and method once, in units of how far examples are apart.
pub fn find(paired: &[Paired], base: &Store, new: &Store) -> Result<Vec<Moved>, ReportError> {
    let mut all: Vec<(f64, &Paired, usize)> = Vec::new();
    for pair in paired.iter().filter(|pair| !pair.is_equal()) {
        let scale = stats::sd(pair.base()).filter(|sd| *sd > 0.0).unwrap_or(1.0);
        all.extend(pair.differences.iter().enumerate().map(|(at, (.., change))| (change.abs() / scale, pair, at)));
    }
    // Equal ones in the order in which they came.
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut seen = BTreeSet::new();
    let mut moved = Vec::new();
    for (size, pair, at) in all {
        let (_, place, change) = pair.differences[at];
        let key = UnitKey {
            model: pair.now.model.clone(),
            task: pair.now.task.clone(),
            example_id: pair.now.ids[place].clone(),
            method: pair.method.to_owned(),
        };
        if change == 0.0 || moved.len() == SHOWN {
            break;
        }
        if seen.insert(key.clone()) {
            let units = [base.unit(&key)?, new.unit(&key)?];
            let label = if pair.metric.label.trim().is_empty() { &pair.metric.name } else { &pair.metric.label };
            let (base, new) = pair.values(at);
            moved.push(Moved { key, metric: label.clone(), base, new, size, units });
        }
    }
    Ok(moved)
}
