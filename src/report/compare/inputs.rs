//! What of the inputs changed from one run to the other.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Runs;
use crate::report::gather::Panel;
use crate::store::MetricFacts;

/// A fact of the inputs that is not the same in both runs; absent in a run that does not have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// As people call it: `program`, `device`, `weights.bin of demo`.
    pub fact: String,
    pub base: Option<String>,
    pub new: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inputs {
    pub differences: Vec<Difference>,
    /// What is not compared, and why.
    pub refused: Vec<String>,
}

impl Inputs {
    pub fn why_nothing(&self) -> String {
        if self.refused.is_empty() {
            "they have no model, task, method and metric in common".to_owned()
        } else {
            self.refused.join("; ")
        }
    }
}

pub fn compare(runs: &Runs) -> Inputs {
    let (base, new) = (&runs.base.identity.facts, &runs.new.identity.facts);
    let facts: BTreeSet<&String> = base.keys().chain(new.keys()).collect();
    let mut differences: Vec<Difference> = facts
        .into_iter()
        .filter(|fact| base.get(*fact) != new.get(*fact))
        .map(|fact| Difference { fact: fact.clone(), base: base.get(fact).cloned(), new: new.get(fact).cloned() })
        .collect();
    let mut refused = Vec::new();
    for (old, now) in panels(runs) {
        let (Some(before), Some(after)) = (&old.dataset, &now.dataset) else { continue };
        let place = format!("{} ({})", now.task, now.model);
        let mut differs = |what: &str, base: String, new: String| {
            if base != new {
                let fact = format!("{what} of {place}");
                differences.push(Difference { fact, base: Some(base), new: Some(new) });
            }
        };
        differs("version", before.version.to_string(), after.version.to_string());
        differs("data", before.sha256.clone(), after.sha256.clone());
        differs("examples", before.examples.to_string(), after.examples.to_string());
        differs("score", before.score.clone(), after.score.clone());
        if before.score != after.score {
            refused.push(format!("{place}: one run explains a {}, the other a {}", before.score, after.score));
            continue;
        }
        let other = other_questions(old, now);
        if other > 0 {
            refused.push(format!("{place}: {other} examples of one name ask other things (their tokens differ)"));
        }
    }
    for now in &runs.new.declared.metrics {
        let old = runs.base.declared.metrics.iter().find(|metric| metric.name == now.name);
        if old.is_some_and(|old| !same_kind(old, now)) {
            refused.push(format!("{}: the two runs count it in other units or another direction", now.name));
        }
    }
    refused.dedup();
    Inputs { differences, refused }
}

/// Panels that both runs have, in the order of the new one.
pub fn panels(runs: &Runs) -> impl Iterator<Item = (&Panel, &Panel)> {
    runs.new.panels.iter().filter_map(|now| {
        let old = runs.base.panels.iter().find(|old| old.model == now.model && old.task == now.task)?;
        Some((old, now))
    })
}

pub fn same_kind(a: &MetricFacts, b: &MetricFacts) -> bool {
    (a.higher_is_better, a.in_score_units, a.over_score) == (b.higher_is_better, b.in_score_units, b.over_score)
}

/// Whether an example asks the same in both runs, as far as both say what it asks.
pub fn asks_the_same(old: &Panel, i: usize, now: &Panel, j: usize) -> bool {
    match (old.asked[i], now.asked[j]) {
        (Some(before), Some(after)) => before == after,
        _ => true,
    }
}

fn other_questions(old: &Panel, now: &Panel) -> usize {
    let places: std::collections::HashMap<&str, usize> = old.ids.iter().map(String::as_str).zip(0..).collect();
    let differs =
        |(j, id): &(usize, &String)| places.get(id.as_str()).is_some_and(|&i| !asks_the_same(old, i, now, *j));
    now.ids.iter().enumerate().filter(differs).count()
}
