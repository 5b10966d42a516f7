//! What the report says: the answer first, then what it rests on.

mod across;
mod answer;
mod by_step;
mod cost;
mod details;
mod examples;
mod models;
mod numbers;
mod pictures;
mod ranking;
mod reading;
mod removals;
mod reproduce;
mod standing;
mod verdict;

pub use examples::colouring;
pub use numbers::{Digits, significant};
pub use pictures::file_name;

use std::collections::{BTreeMap, BTreeSet};

use crate::stats::Distribution;
use crate::store::MetricFacts;

use super::analysis::{Analysis, Comparison, Summary};
use super::document::{Block, Document, Table, Text};
use super::gather::{Gathered, Panel};
use super::inexact::Inexact;

/// Marks methods whose attributions are not the integrals that they approximate.
const MARK: &str = "†";

/// The column of the smallest differences that would have shown.
const COULD_SHOW: &str = "could show";

/// What the report reads from.
struct Source<'a> {
    gathered: &'a Gathered,
    analysis: &'a Analysis,
    /// By model, task and metric.
    summaries: BTreeMap<[&'a str; 3], Vec<&'a Summary>>,
    comparisons: BTreeMap<[&'a str; 3], Vec<(&'a Comparison, Option<&'a Distribution>)>>,
}

/// The report of a run.
pub fn document(gathered: &Gathered, analysis: &Analysis) -> Document {
    let source = Source::new(gathered, analysis);
    let mut summary = source.opening();
    summary.extend(source.answer());
    let rest = [
        source.over_all_tasks(),
        source.over_models(),
        source.tasks(),
        source.removals(),
        source.cost(),
        source.examples(),
        source.left_out(),
        source.diagnostics(),
        source.how_to_read(),
        source.made_from(),
        source.reproduce(),
    ];
    let title = format!("{}: how faithful are the attributions?", gathered.declared.name).into();
    Document { title, summary, rest: rest.into_iter().flatten().collect() }
}

/// By task and metric: the methods that are the most faithful, or cannot be told from the first, by name.
pub fn leaders(gathered: &Gathered, analysis: &Analysis) -> Vec<(String, Vec<String>)> {
    let source = Source::new(gathered, analysis);
    let mut all = Vec::new();
    for panel in &gathered.panels {
        for metric in &gathered.declared.metrics {
            let Some(standing) = source.standing(panel, metric) else { continue };
            let mut leaders = standing.leaders();
            leaders.sort_unstable();
            all.push((format!("{} ({}), {}", panel.task, panel.model, label(metric)), leaders));
        }
    }
    all
}

impl<'a> Source<'a> {
    fn new(gathered: &'a Gathered, analysis: &'a Analysis) -> Source<'a> {
        let mut summaries: BTreeMap<_, Vec<&Summary>> = BTreeMap::new();
        for s in &analysis.summaries {
            summaries.entry([&s.model, &s.task, &s.metric].map(String::as_str)).or_default().push(s);
        }
        let mut comparisons: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (c, differences) in analysis.comparisons.iter().zip(&analysis.differences) {
            let of = comparisons.entry([&c.model, &c.task, &c.metric].map(String::as_str)).or_default();
            of.push((c, differences.as_ref()));
        }
        Source { gathered, analysis, summaries, comparisons }
    }

    fn opening(&self) -> Vec<Block> {
        let declared = &self.gathered.declared;
        let panels = &self.gathered.panels;
        let model = match declared.models.as_slice() {
            [model] => format!("Model {model}"),
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
        let mut blocks = vec![Block::Paragraph(sentence.into())];
        if !self.analysis.inexact.is_empty() {
            let all = self.analysis.inexact.iter().map(|one| {
                let place = self.place(&one.model, &one.task);
                let are = if one.steps.is_some() { "are not an integral" } else { "do not add up" };
                format!("on {place}, the attributions of {} {are}: {}", one.method, one.described())
            });
            let all: Vec<String> = all.collect();
            let said = format!("{}. What rests on them is marked {MARK}.", all.join("; "));
            blocks.push(Block::Notice("Warning", said.into()));
        }
        if !self.gathered.complete() {
            let (done, expected) = (self.gathered.units_done(), self.gathered.units_expected());
            let not_begun = match panels.iter().filter(|panel| panel.dataset.is_none()).count() {
                0 => "",
                1 => ", and one task is not begun",
                _ => ", and some tasks are not begun",
            };
            let said = format!(
                "{done} of {expected} units of work are done{not_begun}. What follows rests on what there is; resume the \
                 run for the rest."
            );
            blocks.push(Block::Notice("Incomplete", said.into()));
        }
        let damaged = &self.gathered.damaged;
        if let Some(first) = damaged.first() {
            let said = format!(
                "{} in the store {} not what was written (the first: {first}). What follows was made without; run the \
                 harness file again on this folder, and what is damaged is done anew.",
                if damaged.len() == 1 { "an entry".to_owned() } else { format!("{} entries", damaged.len()) },
                if damaged.len() == 1 { "is" } else { "are" },
            );
            blocks.push(Block::Notice("Damaged", said.into()));
        }
        blocks
    }

    /// Every method on every task, by every metric.
    fn tasks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for (number, panel) in self.gathered.panels.iter().enumerate() {
            blocks.push(Block::Heading(2, self.place(&panel.model, &panel.task).into()));
            for metric in &self.gathered.declared.metrics {
                let Some(standing) = self.standing(panel, metric) else {
                    blocks.push(Block::Heading(3, title(metric).into()));
                    blocks.push(Block::Paragraph("No values.".into()));
                    continue;
                };
                blocks.push(Block::Heading(3, format!("{} ({})", title(metric), standing.size()).into()));
                blocks.push(Block::Table(standing.table(&self.confidence())));
                blocks.extend(standing.pictures(number));
            }
            blocks.extend(self.curves(panel, number));
            blocks.extend(self.by_step(panel, number));
            blocks.extend(self.agreement(panel, number));
        }
        blocks
    }

    /// A method's label, marked where its attributions are not what they approximate.
    fn method(&self, model: &str, task: Option<&str>, method: &str) -> String {
        let about =
            |one: &Inexact| one.model == model && one.method == method && task.is_none_or(|task| one.task == task);
        let mark = if self.analysis.inexact.iter().any(about) { MARK } else { "" };
        format!("{method}{mark}")
    }

    /// What the mark means, where it is used.
    fn footnote(&self) -> Option<Text> {
        (!self.analysis.inexact.is_empty()).then(|| {
            Text::from(MARK).then(Text::prose(
                " These attributions do not add up to the change that they explain: the completeness gap is more than a \
                 tenth of it on half of the examples or more. Read them as an average of gradients, and a comparison \
                 with them as one with that, not with the integral. `steps: auto` takes as many points as are needed, \
                 where any number is enough; *What the methods say of themselves* has the gaps.",
            ))
            .then(Text::prose(match self.analysis.inexact.iter().all(|one| one.steps.is_some()) {
                true => "",
                false => {
                    " Of a method without points, such as DeepLIFT, the gap is what products, norms and softmaxes leave over."
                }
            }))
        })
    }

    fn several_models(&self) -> bool {
        self.gathered.declared.models.len() > 1
    }

    /// The table, without its column of models where there is but one.
    fn show(&self, table: Table) -> Block {
        Block::Table(if self.several_models() { table } else { table.without("model") })
    }

    /// "sentiment", or "sentiment (small)" where there are several models.
    fn place(&self, model: &str, task: &str) -> String {
        if self.several_models() { format!("{task} ({model})") } else { task.to_owned() }
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
pub fn title(metric: &MetricFacts) -> String {
    format!("{} {}", label(metric), if metric.higher_is_better { "↑" } else { "↓" })
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Cells that are text as it is.
fn cells<const N: usize>(cells: [String; N]) -> Vec<Text> {
    cells.map(Text::from).into()
}
