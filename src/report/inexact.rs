//! Methods that approximate an integral, and how far they are from it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::attribution::LARGE_GAP;
use crate::stats;

use super::gather::{Gathered, MethodTotals};

/// A method whose completeness gap is large on half of a task's examples or more: its attributions are no integral,
/// whatever else they are.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Inexact {
    pub model: String,
    pub task: String,
    /// Its label.
    pub method: String,
    /// Examples.
    pub n: usize,
    /// Median of the completeness gap over the change of the score that is explained; absent where most examples have no
    /// change at all.
    pub gap: Option<f64>,
    /// Median of the points on the path.
    pub steps: Option<f64>,
}

impl Inexact {
    /// "the completeness gap is 2.9 times the change that is explained (median of 40 examples, 30 points)"
    pub fn described(&self) -> String {
        let gap = match self.gap {
            Some(gap) => format!("{gap:.2} times the change that is explained"),
            None => "large, and the change that is explained 0".to_owned(),
        };
        let steps = self.steps.map_or(String::new(), |steps| format!(", {steps:.0} points"));
        format!("the completeness gap is {gap} (median of {} examples{steps})", self.n)
    }
}

pub fn find(gathered: &Gathered) -> Vec<Inexact> {
    let mut found = Vec::new();
    for panel in &gathered.panels {
        for (method, totals) in gathered.declared.methods.iter().zip(&panel.methods) {
            let Some((median, _)) = median_gap(totals).filter(|(_, upper)| *upper > LARGE_GAP) else { continue };
            found.push(Inexact {
                model: panel.model.clone(),
                task: panel.task.clone(),
                method: method.clone(),
                n: totals.gaps.len(),
                gap: median.is_finite().then_some(median),
                steps: totals.diagnostics.get("steps").and_then(|steps| stats::median(steps)),
            });
        }
    }
    found
}

/// The median in units of the change that is explained, and the upper of the middle two, which half of the examples or
/// more reach. Both may be infinite.
fn median_gap(totals: &MethodTotals) -> Option<(f64, f64)> {
    let mut gaps = totals.gaps.clone();
    gaps.sort_by(f64::total_cmp);
    let upper = *gaps.get(gaps.len() / 2)?;
    let lower = *gaps.get((gaps.len() - 1) / 2)?;
    Some((if upper.is_finite() { lower.midpoint(upper) } else { upper }, upper))
}

/// What to say beside numbers that rest on some methods.
pub fn warning(inexact: &[Inexact], model: &str, task: &str, methods: &[&str]) -> Option<String> {
    let about = |one: &&Inexact| one.model == model && one.task == task && methods.contains(&one.method.as_str());
    let said: Vec<String> =
        inexact.iter().filter(about).map(|one| format!("{}: {}", one.method, one.described())).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_gap_is_between_the_middle_two() {
        let of = |gaps: &[f64]| median_gap(&MethodTotals { gaps: gaps.to_vec(), ..MethodTotals::default() });
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some((2.0, 2.0)));
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]), Some((2.5, 3.0)));
        assert_eq!(of(&[0.01, f64::INFINITY]), Some((f64::INFINITY, f64::INFINITY)));
    }
}
