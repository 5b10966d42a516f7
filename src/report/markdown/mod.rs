//! `report.md`: the answer first, then what it rests on.

mod across;
mod answer;
mod details;
mod numbers;
mod prose;
mod reading;
mod standing;
mod table;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::store::MetricFacts;

use super::analysis::{Analysis, Comparison, Summary};
use super::gather::{Gathered, Panel};
use super::inexact::Inexact;
use prose::wrap;
use table::{Table, escape};

/// Marks methods whose attributions are not the integrals that they approximate.
const MARK: &str = "†";

/// What the report reads from.
struct Source<'a> {
    gathered: &'a Gathered,
    analysis: &'a Analysis,
    /// By model, task and metric.
    summaries: BTreeMap<[&'a str; 3], Vec<&'a Summary>>,
    comparisons: BTreeMap<[&'a str; 3], Vec<&'a Comparison>>,
}

/// The report, and its beginning: the first table with its sentences.
pub fn document(gathered: &Gathered, analysis: &Analysis) -> (String, String) {
    let source = Source::new(gathered, analysis);
    let mut text = String::new();
    source.opening(&mut text);
    source.answer(&mut text);
    let headline = text.clone();
    source.over_all_tasks(&mut text);
    source.tasks(&mut text);
    source.left_out(&mut text);
    source.diagnostics(&mut text);
    source.cost(&mut text);
    source.how_to_read(&mut text);
    source.made_from(&mut text);
    (text, headline)
}

impl<'a> Source<'a> {
    fn new(gathered: &'a Gathered, analysis: &'a Analysis) -> Source<'a> {
        let mut summaries: BTreeMap<_, Vec<&Summary>> = BTreeMap::new();
        for s in &analysis.summaries {
            summaries.entry([&s.model, &s.task, &s.metric].map(String::as_str)).or_default().push(s);
        }
        let mut comparisons: BTreeMap<_, Vec<&Comparison>> = BTreeMap::new();
        for c in &analysis.comparisons {
            comparisons.entry([&c.model, &c.task, &c.metric].map(String::as_str)).or_default().push(c);
        }
        Source { gathered, analysis, summaries, comparisons }
    }

    fn opening(&self, text: &mut String) {
        let declared = &self.gathered.declared;
        let panels = &self.gathered.panels;
        let _ = writeln!(text, "# {}: how faithful are the attributions?\n", escape(&declared.name));
        let model = match declared.models.as_slice() {
            [model] => format!("Model {}", escape(model)),
            models => count(models.len(), "model"),
        };
        // Left-out examples may differ between models, examples do not but for what was not begun.
        let examples: usize = declared
            .tasks
            .iter()
            .filter_map(|task| panels.iter().filter(|p| p.task == *task).map(Panel::expected).max())
            .sum();
        let left_out: usize = panels.iter().flat_map(|panel| panel.left_out.values()).map(BTreeSet::len).sum();
        let mut sentence = format!(
            "{model}, {}, {}, {}",
            count(declared.tasks.len(), "task"),
            count(declared.methods.len(), "method"),
            count(examples, "example"),
        );
        if !self.several_models() {
            sentence.push_str(&format!(", of which {left_out} left out"));
        }
        sentence.push('.');
        text.push_str(&wrap(&sentence, ""));
        if !self.analysis.inexact.is_empty() {
            text.push('\n');
            let all = self.analysis.inexact.iter().map(|one| {
                let place = self.place(&one.model, &one.task);
                format!(
                    "on {place}, the attributions of {} are not an integral: {}",
                    escape(&one.method),
                    one.described()
                )
            });
            let all: Vec<String> = all.collect();
            text.push_str(&wrap(&format!("**Warning**: {}. What rests on them is marked {MARK}.", all.join("; ")), ""));
        }
        if !self.gathered.complete() {
            let (done, expected) = (self.gathered.units_done(), self.gathered.units_expected());
            let not_begun = match panels.iter().filter(|panel| panel.dataset.is_none()).count() {
                0 => "",
                1 => ", and one task is not begun",
                _ => ", and some tasks are not begun",
            };
            let sentence = format!(
                "**Incomplete**: {done} of {expected} units of work are done{not_begun}. What follows rests on what \
                 there is; resume the run for the rest."
            );
            text.push('\n');
            text.push_str(&wrap(&sentence, ""));
        }
        let damaged = &self.gathered.damaged;
        if let Some(first) = damaged.first() {
            let sentence = format!(
                "**Damaged**: {} in the store {} not what was written (the first: {}). What follows was made without; run \
                 the harness file again on this folder, and what is damaged is done anew.",
                if damaged.len() == 1 { "an entry".to_owned() } else { format!("{} entries", damaged.len()) },
                if damaged.len() == 1 { "is" } else { "are" },
                escape(first),
            );
            text.push('\n');
            text.push_str(&wrap(&sentence, ""));
        }
    }

    /// Every method on every task, by every metric.
    fn tasks(&self, text: &mut String) {
        for panel in &self.gathered.panels {
            let _ = writeln!(text, "\n## {}", self.place(&panel.model, &panel.task));
            for metric in &self.gathered.declared.metrics {
                let Some(standing) = self.standing(panel, metric) else {
                    let _ = writeln!(text, "\n### {}\n\nNo values.", title(metric));
                    continue;
                };
                let _ = writeln!(text, "\n### {} ({})\n", title(metric), standing.size());
                text.push_str(&standing.table(&self.confidence()).render());
            }
        }
    }

    /// A method's label as a cell, marked where its attributions are not what they approximate.
    fn method(&self, model: &str, task: Option<&str>, method: &str) -> String {
        let about =
            |one: &Inexact| one.model == model && one.method == method && task.is_none_or(|task| one.task == task);
        let mark = if self.analysis.inexact.iter().any(about) { MARK } else { "" };
        format!("{}{mark}", escape(method))
    }

    /// What the mark means, where it is used.
    fn footnote(&self) -> Option<String> {
        (!self.analysis.inexact.is_empty()).then(|| {
            format!(
                "{MARK} These attributions do not add up to the change that they explain: the completeness gap is more \
                 than a tenth of it on half of the examples or more. Read them as an average of gradients, and a \
                 comparison with them as one with that, not with the integral. `steps: auto` takes as many points as are \
                 needed, where any number is enough; *What the methods say of themselves* has the gaps."
            )
        })
    }

    fn several_models(&self) -> bool {
        self.gathered.declared.models.len() > 1
    }

    /// The table, without its column of models where there is but one.
    fn show(&self, table: Table, text: &mut String) {
        let table = if self.several_models() { table } else { table.without("model") };
        text.push_str(&table.render());
    }

    /// "sentiment", or "sentiment (small)" where there are several models.
    fn place(&self, model: &str, task: &str) -> String {
        if self.several_models() { format!("{} ({})", escape(task), escape(model)) } else { escape(task) }
    }

    /// Of the intervals, in percent: "95".
    fn confidence(&self) -> String {
        let text = format!("{:.3}", self.gathered.declared.confidence * 100.0);
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    }
}

fn label(metric: &MetricFacts) -> &str {
    if metric.label.trim().is_empty() { &metric.name } else { &metric.label }
}

/// "sufficiency ↓"
fn title(metric: &MetricFacts) -> String {
    format!("{} {}", escape(label(metric)), if metric.higher_is_better { "↑" } else { "↓" })
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
