//! Several models in one report: method by model.

use crate::report::analysis::faithful;
use crate::report::document::{Align, Block, Table, Text};
use crate::stats;

use super::numbers::Digits;
use super::{Source, label, title};

impl Source<'_> {
    pub(super) fn over_models(&self) -> Vec<Block> {
        if !self.several_models() {
            return Vec::new();
        }
        let declared = &self.gathered.declared;
        let mut blocks = Vec::new();
        let mut orders = Vec::new();
        for task in &declared.tasks {
            for metric in self.headline_metrics() {
                let confidence = self.confidence();
                let mut columns = vec![("method".to_owned(), Align::Left)];
                columns
                    .extend(declared.models.iter().map(|model| (format!("{model} [{confidence} % CI]"), Align::Right)));
                let mut table = Table { columns, rows: Vec::new() };
                // By model: the means in declared order of methods.
                let mut means: Vec<Vec<Option<f64>>> = Vec::new();
                let mut columns_of = Vec::new();
                for model in &declared.models {
                    let key = [model.as_str(), task.as_str(), metric.name.as_str()];
                    let summaries = self.summaries.get(&key).map_or(&[][..], Vec::as_slice);
                    let of = |method: &String| summaries.iter().find(|summary| summary.method == *method).copied();
                    let column: Vec<_> = declared.methods.iter().map(of).collect();
                    means.push(column.iter().map(|summary| summary.and_then(|s| s.mean)).collect());
                    columns_of.push(column);
                }
                if means.iter().flatten().all(Option::is_none) {
                    continue;
                }
                for (i, method) in declared.methods.iter().enumerate() {
                    let mut row = vec![Text::from(method.as_str())];
                    for column in &columns_of {
                        let digits = Digits::of(
                            column.iter().flatten().filter_map(|summary| summary.ci_low.zip(summary.ci_high)),
                            column.iter().flatten().filter_map(|summary| summary.mean),
                        );
                        row.push(match column[i] {
                            Some(summary) => digits.estimate(summary.mean, summary.ci_low.zip(summary.ci_high)).into(),
                            None => "-".into(),
                        });
                    }
                    table.row(row);
                }
                blocks.push(Block::Heading(3, format!("{task}: {}", title(metric)).into()));
                blocks.push(Block::Table(table));
                for (a, first) in means.iter().enumerate() {
                    for (b, second) in means.iter().enumerate().skip(a + 1) {
                        let both: Vec<(f64, f64)> = first
                            .iter()
                            .zip(second)
                            .filter_map(|(x, y)| Some((faithful(metric, (*x)?), faithful(metric, (*y)?))))
                            .collect();
                        let (x, y): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
                        // Two methods can only agree or not.
                        if let Some(r) = stats::spearman(&x, &y).filter(|_| x.len() > 2) {
                            orders.push(Text::from(format!(
                                "On {task}, by {}, {} and {} order {} methods with a rank correlation of {r:.2}.",
                                label(metric),
                                declared.models[a],
                                declared.models[b],
                                x.len()
                            )));
                        }
                    }
                }
            }
        }
        if blocks.is_empty() {
            return blocks;
        }
        let mut all = vec![
            Block::Heading(2, "Method by model".into()),
            Block::Paragraph(
                "Means of one model are over the examples that count for it, so two columns may rest on different ones, and \
                 their units are each model's own scores: compare the order of the methods rather than the numbers."
                    .into(),
            ),
        ];
        if !orders.is_empty() {
            all.push(Block::List(orders));
        }
        all.extend(blocks);
        all
    }
}
