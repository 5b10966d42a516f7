//! What became of a metric of a method on a task.

use std::collections::HashMap;

use serde::Serialize;

use super::Runs;
use super::inputs::{asks_the_same, panels, same_kind};
use crate::config::{Allowed, Gate, Margin};
use crate::report::analysis::faithful;
use crate::report::gather::{Cell, Panel};
use crate::stats::{self, Moments};
use crate::store::MetricFacts;

/// With fewer examples nothing is said.
const FEWEST: usize = 6;
/// Changes smaller than this, in units of what is compared, are rounding: scores are f32.
const ROUNDING: f64 = 1e-6;
/// With which the smallest detectable change would be shown.
const POWER: f64 = 0.8;

/// What is said of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Equal on every example up to rounding, or shown to be within the margin.
    Unchanged,
    Better,
    Worse,
    /// The interval holds both no change and one beyond the margin.
    CannotTell,
    /// One of the runs does not have it, or not all of it.
    Incomplete,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Unchanged => "unchanged",
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::CannotTell => "cannot tell",
            Verdict::Incomplete => "incomplete",
        }
    }
}

/// A metric of a method on a task, in both runs. Differences are new minus base; of a fraction of f(x) they are weighed
/// by f(x) as the base run has it, so that no example with a small one decides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub model: String,
    pub task: String,
    pub method: String,
    pub metric: String,
    pub higher_is_better: bool,
    /// Examples with a value in both.
    pub n: usize,
    /// Examples that count in one of the runs only.
    pub one_sided: usize,
    /// Over the examples that are compared.
    pub base: Option<f64>,
    pub new: Option<f64>,
    pub difference: Option<f64>,
    /// Of the difference; all intervals of a comparison together have the gate's confidence.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Changes up to this do not matter; 0 where no rule says so.
    pub margin: f64,
    /// The smallest change that these examples would have shown with 80 % power.
    pub detectable: Option<f64>,
    pub verdict: Verdict,
    /// Why it is incomplete.
    pub why: Option<String>,
}

/// A metric of a method on a task, before it is judged.
pub struct Paired<'a> {
    pub metric: &'a MetricFacts,
    pub method: &'a str,
    pub now: &'a Panel,
    /// Places of the compared examples in the two panels, and what changed, weighed.
    pub differences: Vec<(usize, usize, f64)>,
    base: Vec<f64>,
    new: Vec<f64>,
    one_sided: usize,
    why: Option<String>,
}

/// All that both runs could be asked for, in the order of the new run. Empty where no example can be compared.
pub fn pair(runs: &Runs) -> Vec<Paired<'_>> {
    let mut all = Vec::new();
    for (old, now) in panels(runs) {
        let score = |panel: &Panel| panel.dataset.as_ref().map(|dataset| dataset.score.clone());
        if score(old) != score(now) {
            continue;
        }
        let places: HashMap<&str, usize> = old.ids.iter().map(String::as_str).zip(0..).collect();
        let both: Vec<(usize, usize)> = now
            .ids
            .iter()
            .enumerate()
            .filter_map(|(j, id)| Some((*places.get(id.as_str())?, j)))
            .filter(|(i, j)| asks_the_same(old, *i, now, *j))
            .collect();
        if both.is_empty() {
            continue;
        }
        for (new_metric, metric) in runs.new.declared.metrics.iter().enumerate() {
            let known = runs.base.declared.metrics.iter().position(|other| other.name == metric.name);
            let Some(base_metric) = known.filter(|&i| same_kind(&runs.base.declared.metrics[i], metric)) else {
                continue;
            };
            for (new_method, method) in runs.new.declared.methods.iter().enumerate() {
                let Some(base_method) = runs.base.declared.methods.iter().position(|other| other == method) else {
                    continue;
                };
                let (before, after) = (&old.cells[base_metric][base_method], &now.cells[new_metric][new_method]);
                all.push(pair_one(metric, method, (old, before), (now, after), &both));
            }
        }
    }
    all
}

fn pair_one<'a>(
    metric: &'a MetricFacts,
    method: &'a str,
    (old, before): (&'a Panel, &[Cell]),
    (now, after): (&'a Panel, &[Cell]),
    both: &[(usize, usize)],
) -> Paired<'a> {
    let mut found: Vec<(usize, usize, f64, f64)> = Vec::new();
    let mut one_sided = 0;
    for &(i, j) in both {
        match (&before[i], &after[j]) {
            (Cell::Value { mean: x, .. }, Cell::Value { mean: y, .. }) => found.push((i, j, *x, *y)),
            (Cell::Value { .. }, _) | (_, Cell::Value { .. }) => one_sided += 1,
            _ => {}
        }
    }
    // What the mean of a fraction of f(x) is: the same weights for both runs.
    let weight = |i: usize| old.scores[i].filter(|score| score.is_finite() && *score > 0.0);
    let whole: f64 = found.iter().filter_map(|(i, ..)| weight(*i)).sum();
    let weigh = |i: usize, value: f64| match weight(i) {
        Some(score) if metric.over_score => value * score * found.len() as f64 / whole,
        _ => value,
    };
    let differences = found.iter().map(|&(i, j, x, y)| (i, j, weigh(i, y - x))).collect();
    let missing = |cells: &[Cell], panel: &Panel| {
        let unfinished = cells.iter().filter(|cell| matches!(cell, Cell::Unfinished)).count();
        unfinished + panel.expected() - panel.examples
    };
    let why = match (missing(before, old), missing(after, now), found.len()) {
        (0, 0, 0) => Some("no example has a value in both runs".to_owned()),
        (0, 0, _) => None,
        (0, new, _) => Some(format!("{new} examples are not finished in the new run")),
        (base, 0, _) => Some(format!("{base} examples are not finished in the base run")),
        (base, new, _) => Some(format!("{base} examples are not finished in the base run, {new} in the new one")),
    };
    Paired {
        metric,
        method,
        now,
        differences,
        base: found.iter().map(|&(i, _, x, _)| weigh(i, x)).collect(),
        new: found.iter().map(|&(i, _, _, y)| weigh(i, y)).collect(),
        one_sided,
        why,
    }
}

impl Paired<'_> {
    /// Of the base run, one a compared example, weighed.
    pub fn base(&self) -> &[f64] {
        &self.base
    }

    /// Of one compared example in both runs, weighed.
    pub fn values(&self, at: usize) -> (f64, f64) {
        (self.base[at], self.new[at])
    }

    /// Whether nothing moved by more than rounding.
    pub fn is_equal(&self) -> bool {
        self.differences
            .iter()
            .zip(&self.base)
            .zip(&self.new)
            .all(|(((.., change), x), y)| change.abs() <= ROUNDING * x.abs().max(y.abs()))
    }
}

/// Judges every pair. Those that are equal are no members of the family that the intervals are for: nothing can be said
/// of them by chance.
pub fn changes(runs: &Runs, paired: &[Paired], gate: &Gate) -> Vec<Change> {
    let members = paired.iter().filter(|pair| pair.n() >= FEWEST && !pair.is_equal()).count().max(1);
    let confidence = 1.0 - (1.0 - gate.confidence) / members as f64;
    let mut changes: Vec<Change> = paired.iter().map(|pair| pair.judged(gate, confidence)).collect();
    // What only the base run has.
    let old = &runs.base.declared;
    for model in &old.models {
        for task in &old.tasks {
            for metric in &old.metrics {
                for method in &old.methods {
                    let is_there = changes.iter().any(|change| {
                        [&change.model, &change.task, &change.metric, &change.method]
                            == [model, task, &metric.name, method]
                    });
                    if !is_there {
                        changes.push(absent(model, task, method, metric));
                    }
                }
            }
        }
    }
    changes
}

fn absent(model: &str, task: &str, method: &str, metric: &MetricFacts) -> Change {
    Change {
        model: model.to_owned(),
        task: task.to_owned(),
        method: method.to_owned(),
        metric: metric.name.clone(),
        higher_is_better: metric.higher_is_better,
        n: 0,
        one_sided: 0,
        base: None,
        new: None,
        difference: None,
        low: None,
        high: None,
        margin: 0.0,
        detectable: None,
        verdict: Verdict::Incomplete,
        why: Some("the new run does not have it, or it cannot be compared".to_owned()),
    }
}

impl Paired<'_> {
    fn n(&self) -> usize {
        self.differences.len()
    }

    fn judged(&self, gate: &Gate, confidence: f64) -> Change {
        let differences: Vec<f64> = self.differences.iter().map(|(.., change)| *change).collect();
        let difference = stats::mean(&differences);
        let interval = stats::skewed_mean_interval(&differences, confidence);
        let base = stats::mean(&self.base);
        let (model, task) = (&self.now.model, &self.now.task);
        let rule = gate.rules.iter().find(|rule| rule.fits.fits(model, task, self.method, &self.metric.name));
        let margin = rule.map_or(0.0, |rule| match rule.allowed {
            Allowed::Margin(Margin::Absolute(margin)) | Allowed::NoWorseThan(Margin::Absolute(margin)) => margin,
            Allowed::Margin(Margin::Relative(share)) | Allowed::NoWorseThan(Margin::Relative(share)) => {
                share * base.unwrap_or(0.0).abs()
            }
        });
        let ends = interval.map(|interval| (interval.low, interval.high));
        let verdict = match (&self.why, ends) {
            (Some(_), _) => Verdict::Incomplete,
            (None, _) if self.is_equal() => Verdict::Unchanged,
            (None, Some(ends)) if self.n() >= FEWEST => {
                let size = base.unwrap_or(0.0).abs().max(stats::mean(&self.new).unwrap_or(0.0).abs());
                verdict(self.metric, ends, margin, ROUNDING * size)
            }
            _ => Verdict::CannotTell,
        };
        let detectable = detectable(&differences, confidence, ends);
        Change {
            n: differences.len(),
            one_sided: self.one_sided,
            base,
            new: stats::mean(&self.new),
            difference,
            low: ends.map(|(low, _)| low),
            high: ends.map(|(_, high)| high),
            margin,
            detectable,
            verdict,
            why: self.why.clone(),
            ..absent(model, task, self.method, self.metric)
        }
    }
}

/// What Student's interval would have shown with [`POWER`], and what an interval that allows for skewness is wider by.
fn detectable(differences: &[f64], confidence: f64, ends: Option<(f64, f64)>) -> Option<f64> {
    let mut moments = Moments::default();
    differences.iter().for_each(|change| moments.push(*change));
    let student = moments.mean_interval(confidence)?;
    let difference =
        stats::smallest_detectable_difference(differences.len(), stats::sd(differences)?, 1.0 - confidence, POWER)?;
    let (low, high) = ends?;
    Some(difference + (student.low - low).max(high - student.high).max(0.0))
}

/// From the interval alone: wholly within the margin, wholly on one side of 0 (and not within), or neither.
fn verdict(metric: &MetricFacts, (low, high): (f64, f64), margin: f64, rounding: f64) -> Verdict {
    if low >= -margin && high <= margin && margin > 0.0 {
        return Verdict::Unchanged;
    }
    if low > rounding || high < -rounding {
        return if faithful(metric, low + high) > 0.0 { Verdict::Better } else { Verdict::Worse };
    }
    Verdict::CannotTell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_words_follow_from_the_interval() {
        let metric = |higher_is_better| MetricFacts {
            name: "m".into(),
            higher_is_better,
            in_score_units: true,
            over_score: false,
            label: "m".into(),
            description: String::new(),
        };
        let of = |low, high, margin| verdict(&metric(true), (low, high), margin, 1e-9);
        assert_eq!(of(-0.1, 0.2, 0.0), Verdict::CannotTell);
        assert_eq!(of(-0.1, 0.2, 0.3), Verdict::Unchanged);
        assert_eq!(of(-0.1, 0.2, 0.15), Verdict::CannotTell);
        assert_eq!(of(0.1, 0.2, 0.0), Verdict::Better);
        assert_eq!(of(-0.2, -0.1, 0.0), Verdict::Worse);
        assert_eq!(of(-0.2, -0.1, 0.3), Verdict::Unchanged, "worse, but not so that it matters");
        assert_eq!(of(1e-12, 0.2, 0.0), Verdict::CannotTell, "an end that is rounding");
        assert_eq!(verdict(&metric(false), (0.1, 0.2), 0.0, 0.0), Verdict::Worse);
    }
}
