//! All methods in order, with intervals: over all tasks, or on the only one.

use crate::report::document::{Block, Estimate, Plot, Row, Shape};
use crate::store::MetricFacts;

use super::numbers::Digits;
use super::pictures::file_name;
use super::standing::unit;
use super::{Source, title};

/// A method's name, mean and interval.
type Ranked = (String, f64, Option<(f64, f64)>);

impl Source<'_> {
    /// A plot for each model and headline metric whose means can be averaged.
    pub(super) fn rankings(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for (number, model) in self.gathered.declared.models.iter().enumerate() {
            blocks.extend(self.headline_metrics().iter().filter_map(|metric| self.ranking(number, model, metric)));
        }
        blocks
    }

    fn ranking(&self, number: usize, model: &str, metric: &MetricFacts) -> Option<Block> {
        let panel = self.gathered.panels.iter().find(|panel| panel.model == model && !unit(panel, metric).is_empty());
        let (ranked, where_) = self.over_tasks(model, metric).or_else(|| self.on_one_task(model, metric))?;
        if ranked.len() < 2 {
            return None;
        }
        let digits = Digits::of(ranked.iter().filter_map(|(.., i)| *i), ranked.iter().map(|(_, mean, _)| *mean));
        let shown = |mean: f64, interval| digits.estimate(Some(mean), interval);
        let said: Vec<String> =
            ranked.iter().map(|(method, mean, interval)| format!("{method} {}", shown(*mean, *interval))).collect();
        let of_model = if self.several_models() { format!(" ({model})") } else { String::new() };
        let unit = panel.map_or(String::new(), |panel| format!(", {}", unit(panel, metric)));
        let row = |(label, value, interval): Ranked| Row {
            label,
            value: Estimate { shown: shown(value, interval), value, interval, stands_out: true },
        };
        Some(Block::Plot(Box::new(Plot {
            name: file_name(&["ranking", &(number + 1).to_string(), &metric.name]),
            title: format!("{}, {where_}{of_model}", title(metric)),
            description: format!("From the most faithful: {}.", said.join("; ")),
            shape: Shape::Forest {
                rows: ranked.into_iter().map(row).collect(),
                axis: format!("mean with {} % interval{unit}", self.confidence()),
                about_zero: false,
            },
        })))
    }

    fn over_tasks(&self, model: &str, metric: &MetricFacts) -> Option<(Vec<Ranked>, String)> {
        let across = self.analysis.across.iter().find(|a| a.model == model && a.metric == metric.name)?;
        let ranked = |rank: &crate::report::analysis::MeanRank| {
            Some((self.method(model, None, &rank.method), rank.mean?, rank.ci_low.zip(rank.ci_high)))
        };
        let mut ranked: Vec<Ranked> = across.methods.iter().filter_map(ranked).collect();
        // By what is shown.
        ranked.sort_by(|a, b| if metric.higher_is_better { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
        (!ranked.is_empty()).then(|| (ranked, format!("mean over {} tasks", across.tasks.len())))
    }

    fn on_one_task(&self, model: &str, metric: &MetricFacts) -> Option<(Vec<Ranked>, String)> {
        let panels: Vec<_> = self.gathered.panels.iter().filter(|panel| panel.model == model).collect();
        let [panel] = panels.as_slice() else { return None };
        let standing = self.standing(panel, metric)?;
        let ranked = [&standing.best].into_iter().chain(&standing.others).filter_map(|place| {
            let summary = place.summary;
            Some((place.name.clone(), summary.mean?, summary.ci_low.zip(summary.ci_high)))
        });
        Some((ranked.collect(), panel.task.clone()))
    }
}
