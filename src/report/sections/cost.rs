//! What it cost, and what that bought.

use crate::report::document::{Align, Axis, Block, Plot, Point, Row, Shape, Table, Text};
use crate::store::{Cost, MetricFacts};

use super::pictures::file_name;
use super::{Source, cells, label, title};

impl Source<'_> {
    /// Rows asked for, whether computed or remembered: how many were remembered depends on where a run was interrupted,
    /// and these files may not.
    pub(super) fn cost(&self) -> Vec<Block> {
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("method", Align::Left),
            ("forward rows an example", Align::Right),
            ("gradient rows an example", Align::Right),
            ("of them for the attribution", Align::Right),
        ]);
        for model in &self.gathered.declared.models {
            for (i, method) in self.gathered.declared.methods.iter().enumerate() {
                let Some(cost) = self.rows(model, i) else { continue };
                let [forward, gradient, attribution] = [cost.forward, cost.gradient, cost.attribution];
                let show = |rows: f64| format!("{rows:.1}");
                table.row(cells([model.clone(), method.clone(), show(forward), show(gradient), show(attribution)]));
            }
        }
        if table.is_empty() {
            return Vec::new();
        }
        let mut blocks = vec![
            Block::Heading(2, "What it cost".into()),
            self.show(table),
            Block::Paragraph(Text::prose(
                "A row is one prompt through one graph, for the attribution or for its evaluation; examples left out do \
                 not count, and neither do passes that only read attention. Seconds, and how many rows did not have to be computed again, are in `timings.csv`.",
            )),
        ];
        for (number, model) in self.gathered.declared.models.iter().enumerate() {
            for metric in self.headline_metrics() {
                blocks.extend(self.cost_against(number, model, metric));
            }
        }
        blocks
    }

    /// What a method costs on an example, on average over a model's tasks.
    fn rows(&self, model: &str, method: usize) -> Option<Rows> {
        let (mut explained, mut all, mut attribution) = (0, Cost::default(), Cost::default());
        for totals in self.gathered.panels.iter().filter(|p| p.model == model).map(|p| &p.methods[method]) {
            explained += totals.explained;
            all += totals.cost();
            attribution += totals.attribution;
        }
        let mean = |rows: u64| rows as f64 / explained as f64;
        let (forward, gradient) =
            (|c: &Cost| c.forward_rows + c.forward_rows_saved, |c: &Cost| c.gradient_rows + c.gradient_rows_saved);
        (explained > 0).then(|| Rows {
            forward: mean(forward(&all)),
            gradient: mean(gradient(&all)),
            attribution: mean(forward(&attribution) + gradient(&attribution)),
        })
    }

    /// The mean rank of a method, or on a single task its mean, against the rows of its attributions.
    fn cost_against(&self, number: usize, model: &str, metric: &MetricFacts) -> Option<Block> {
        let methods = &self.gathered.declared.methods;
        let across = self.analysis.across.iter().find(|a| a.model == model && a.metric == metric.name);
        let (axis, values): (String, Vec<Height>) = match across {
            Some(across) => {
                let of = |rank: &crate::report::analysis::MeanRank| {
                    Some((methods.iter().position(|method| *method == rank.method)?, rank.mean_rank, None))
                };
                let name = format!("mean rank over {} tasks, {} (1 is best)", across.tasks.len(), label(metric));
                (name, across.methods.iter().filter_map(of).collect())
            }
            None => {
                let panel = self.gathered.panels.iter().find(|panel| panel.model == model)?;
                let key = [model, panel.task.as_str(), metric.name.as_str()];
                let of = |summary: &&crate::report::analysis::Summary| {
                    let place = methods.iter().position(|method| *method == summary.method)?;
                    Some((place, summary.mean?, summary.ci_low.zip(summary.ci_high)))
                };
                (title(metric), self.summaries.get(&key)?.iter().filter_map(of).collect())
            }
        };
        let mut points = Vec::new();
        for (method, y, interval) in values {
            let x = self.rows(model, method)?.attribution;
            points.push(Row { label: self.method(model, None, &methods[method]), value: Point { x, y, interval } });
        }
        if points.len() < 2 {
            return None;
        }
        let said: Vec<String> =
            points.iter().map(|row| format!("{}: {:.1} rows, {:.2}", row.label, row.value.x, row.value.y)).collect();
        Some(Block::Plot(Box::new(Plot {
            name: file_name(&["cost", &(number + 1).to_string(), &metric.name]),
            title: match self.several_models() {
                true => format!("Cost against {} ({model})", label(metric)),
                false => format!("Cost against {}", label(metric)),
            },
            description: said.join("; "),
            shape: Shape::Scatter {
                points,
                x: Axis { label: "rows an attribution takes, an example".to_owned(), logarithmic: true },
                y: Axis::new(axis),
            },
        })))
    }
}

/// A method's place, its rank or mean, and an interval.
type Height = (usize, f64, Option<(f64, f64)>);

/// Prompts through a graph, an example.
struct Rows {
    forward: f64,
    gradient: f64,
    /// Both kinds, without the evaluation.
    attribution: f64,
}
