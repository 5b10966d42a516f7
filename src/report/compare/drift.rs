//! The same thing computed twice, e.g. on two runtimes, devices or precisions: how far are the numbers apart?

use std::collections::HashMap;

use serde::Serialize;

use super::Runs;
use super::inputs::{asks_the_same, panels};
use crate::report::error::ReportError;
use crate::report::gather::Gathered;
use crate::report::{analysis, sections};
use crate::stats;
use crate::store::{Store, Unit};

/// How far the numbers of a model on a task are apart in two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    pub model: String,
    pub task: String,
    pub method: String,
    /// Examples that both runs explain.
    pub examples: usize,
    /// Largest difference of f(x), over the largest f(x).
    pub score: Option<f64>,
    /// Largest difference of an attribution, over the largest attribution of its prompt: the median and the largest of
    /// all prompts.
    pub attribution_median: Option<f64>,
    pub attribution_most: Option<f64>,
    /// Smallest rank correlation between a prompt's attributions.
    pub rank_least: Option<f64>,
    /// Prompts whose strongest token is another.
    pub other_strongest: usize,
}

pub fn find(runs: &Runs, base: &Store, new: &Store) -> Result<Vec<Drift>, ReportError> {
    // Only what both have is looked at, one unit of each store at a time.
    let mut found: HashMap<(String, String, String), Gathering> = HashMap::new();
    let comparable: HashMap<(&str, &str), HashMap<&str, bool>> = panels(runs)
        .map(|(old, now)| {
            let places: HashMap<&str, usize> = old.ids.iter().map(String::as_str).zip(0..).collect();
            let same = now.ids.iter().enumerate().map(|(j, id)| {
                let same = places.get(id.as_str()).is_some_and(|&i| asks_the_same(old, i, now, j));
                (id.as_str(), same)
            });
            ((now.model.as_str(), now.task.as_str()), same.collect())
        })
        .collect();
    new.visit(|unit| {
        let place = comparable.get(&(unit.key.model.as_str(), unit.key.task.as_str()));
        let is_same = place.and_then(|ids| ids.get(unit.key.example_id.as_str())).is_some_and(|same| *same);
        if is_same
            && unit.excluded.is_none()
            && let Some(old) = base.unit(&unit.key)?
            && old.excluded.is_none()
        {
            let key = (unit.key.model.clone(), unit.key.task.clone(), unit.key.method.clone());
            found.entry(key).or_default().add(&old, &unit);
        }
        Ok::<(), ReportError>(())
    })?;
    let mut all = Vec::new();
    for (_, now) in panels(runs) {
        for method in &runs.new.declared.methods {
            let key = (now.model.clone(), now.task.clone(), method.clone());
            all.extend(found.remove(&key).map(|gathering| gathering.finish(key)));
        }
    }
    Ok(all)
}

/// Which methods are the most faithful on a task by a metric, or cannot be told from the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conclusion {
    /// Task and metric, for people.
    pub about: String,
    /// Of the two runs, by name.
    pub base: Vec<String>,
    pub new: Vec<String>,
}

/// What both runs come to, where both come to something.
pub fn conclusions(runs: &Runs) -> Vec<Conclusion> {
    let leaders = |run: &Gathered| sections::leaders(run, &analysis::analyse(run));
    let (base, new) = (leaders(&runs.base), leaders(&runs.new));
    let both = new.into_iter().filter_map(|(about, new)| {
        let base = base.iter().find(|(other, _)| *other == about)?.1.clone();
        Some(Conclusion { about, base, new })
    });
    both.collect()
}

#[derive(Default)]
struct Gathering {
    examples: usize,
    score_difference: f64,
    largest_score: f64,
    attributions: Vec<f64>,
    ranks: Vec<f64>,
    other_strongest: usize,
}

impl Gathering {
    fn add(&mut self, old: &Unit, new: &Unit) {
        self.examples += 1;
        if let (Some(x), Some(y)) = (old.score, new.score) {
            self.score_difference = self.score_difference.max((x - y).abs());
            self.largest_score = self.largest_score.max(x.abs());
        }
        let (Some(x), Some(y)) = (old.attributions.first(), new.attributions.first()) else { return };
        if x.len() != y.len() || x.is_empty() {
            return;
        }
        let largest = x.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let apart = x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        if largest > 0.0 && apart.is_finite() {
            self.attributions.push(apart / largest);
        }
        self.ranks.extend(stats::spearman(x, y));
        let strongest = |vector: &[f64]| {
            (0..vector.len()).max_by(|&a, &b| vector[a].abs().total_cmp(&vector[b].abs()).then(b.cmp(&a)))
        };
        self.other_strongest += usize::from(strongest(x) != strongest(y));
    }

    fn finish(self, (model, task, method): (String, String, String)) -> Drift {
        let most = self.attributions.iter().copied().reduce(f64::max);
        Drift {
            model,
            task,
            method,
            examples: self.examples,
            score: (self.largest_score > 0.0).then(|| self.score_difference / self.largest_score),
            attribution_median: stats::median(&self.attributions),
            attribution_most: most,
            rank_least: self.ranks.into_iter().reduce(f64::min),
            other_strongest: self.other_strongest,
        }
    }
}
