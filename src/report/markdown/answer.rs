//! The first table: which method is most faithful, on what, by how much, how sure.

use crate::store::MetricFacts;

use super::prose::wrap;
use super::table::{Align, Table, escape};
use super::verdict::RULE;
use super::{Source, title};

impl<'a> Source<'a> {
    pub(super) fn answer(&self, text: &mut String) {
        text.push_str("\n## Which method is most faithful\n\n");
        let confidence = self.confidence();
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("metric", Align::Left),
            ("most faithful", Align::Left),
            (&format!("mean [{confidence} % CI]"), Align::Right),
            ("runner-up", Align::Left),
            (&format!("ahead by [{confidence} % CI]"), Align::Right),
            ("p", Align::Right),
            ("n", Align::Right),
            ("how sure", Align::Left),
        ]);
        let mut sentences = Vec::new();
        let mut nothing = Vec::new();
        for model in &self.gathered.declared.models {
            for panel in self.gathered.panels.iter().filter(|panel| panel.model == *model) {
                for metric in self.headline_metrics() {
                    let mut row = vec![escape(model), escape(&panel.task), title(metric)];
                    match self.standing(panel, metric) {
                        Some(standing) => {
                            row.extend(standing.cells());
                            sentences.push(standing.sentence(&self.place(model, &panel.task)));
                        }
                        None => {
                            row.extend(["-", "-", "-", "-", "-", "0", "no values"].map(str::to_string));
                            nothing.extend(self.nothing(panel));
                        }
                    }
                    table.row(row);
                }
            }
            for metric in self.headline_metrics() {
                if let Some(overall) = self.overall(model, metric) {
                    let mut row = vec![escape(model), format!("*all {} tasks*", overall.tasks()), title(metric)];
                    row.extend(overall.cells());
                    table.row(row);
                    let tasks = format!("Over all {} tasks", overall.tasks());
                    let place = if self.several_models() { format!("{tasks} ({})", escape(model)) } else { tasks };
                    sentences.push(overall.sentence(&place));
                }
            }
        }
        if table.is_empty() {
            text.push_str("Nothing was measured.\n");
            return;
        }
        self.show(table, text);
        text.push('\n');
        text.push_str(&wrap(
            &format!("↑ higher is better, ↓ lower is better; *ahead by* is positive where the most faithful method is the better \
             one. {RULE}"),
            "",
        ));
        if let Some(note) = self.footnote() {
            text.push('\n');
            text.push_str(&wrap(&note, ""));
        }
        text.push('\n');
        nothing.dedup();
        for sentence in nothing.into_iter().chain(sentences) {
            text.push_str(&wrap(&format!("- {sentence}"), "  "));
        }
    }

    /// Comprehensiveness and sufficiency, or the first two metrics that there are.
    fn headline_metrics(&self) -> Vec<&'a MetricFacts> {
        let metrics = &self.gathered.declared.metrics;
        let find = |name: &&str| metrics.iter().find(|metric| metric.name == **name);
        let known: Vec<&MetricFacts> = ["comprehensiveness", "sufficiency"].iter().filter_map(find).collect();
        if known.is_empty() { metrics.iter().take(2).collect() } else { known }
    }
}
