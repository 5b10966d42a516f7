//! Whether the order of the methods survives another way to take tokens away: the field's best-known trap.

use crate::report::document::{Align, Block, Table};
use crate::report::gather::{Cell, Panel};
use crate::stats::{OrderAgreement, order_agreement};
use crate::store::MetricFacts;

use super::{Source, cells, label};

/// One metric under two settings of its options, on one model and task.
struct Pair<'a> {
    panel: &'a Panel,
    base: &'a MetricFacts,
    other: &'a MetricFacts,
    examples: usize,
    agreement: OrderAgreement,
    /// The methods that come first under each.
    first: [String; 2],
}

impl Source<'_> {
    /// For every metric that was measured under several options, how alike the orders of the methods are.
    pub(super) fn removals(&self) -> Vec<Block> {
        let pairs = self.pairs();
        if pairs.is_empty() {
            return Vec::new();
        }
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("metric", Align::Left),
            ("and", Align::Left),
            ("n", Align::Right),
            ("rank correlation", Align::Right),
            ("best by the one", Align::Left),
            ("best by the other", Align::Left),
        ]);
        for Pair { panel, base, other, examples, agreement, first: [one, two] } in &pairs {
            let OrderAgreement { r, low, high } = agreement;
            let correlation = format!("{r:.2} [{low:.2}, {high:.2}]");
            let names = [panel.model.clone(), panel.task.clone(), label(base).to_owned(), label(other).to_owned()];
            let [model, task, base, other] = names;
            let cells_of = [model, task, base, other, examples.to_string(), correlation, one.clone(), two.clone()];
            table.row(cells(cells_of));
        }
        let turned = pairs.iter().filter(|pair| pair.agreement.high < 0.0).count();
        let unsure = pairs.iter().filter(|pair| pair.agreement.low < 0.5 && pair.agreement.high >= 0.0).count();
        let other_first = pairs.iter().filter(|pair| pair.first[0] != pair.first[1]).count();
        let text = format!(
            "Taking tokens away in another way may turn an order of methods round. Of {} comparisons here another method \
             comes first in {other_first}, the whole order turns round in {turned} (all of the interval is below 0), and {unsure} leave \
             open whether the orders have much in common (the interval reaches below one half). Rank correlations are \
             Spearman's between the methods' means, their intervals from resampled examples.",
            pairs.len()
        );
        vec![
            Block::Heading(2, "Does it hang on how tokens are taken away?".into()),
            self.show(table),
            Block::Paragraph(text.into()),
        ]
    }

    fn pairs(&self) -> Vec<Pair<'_>> {
        let metrics = &self.gathered.declared.metrics;
        let mut pairs = Vec::new();
        for panel in &self.gathered.panels {
            for (place, base) in metrics.iter().enumerate() {
                // A metric with options is called by its name with them in brackets; the first of a name is the one that
                // others are held against.
                let name = |metric: &MetricFacts| metric.name.split('(').next().unwrap_or_default().to_owned();
                if metrics[..place].iter().any(|earlier| name(earlier) == name(base)) {
                    continue;
                }
                for (number, other) in metrics.iter().enumerate().skip(place + 1) {
                    if name(other) == name(base) {
                        pairs.extend(self.pair(panel, [place, number]));
                    }
                }
            }
        }
        pairs
    }

    fn pair<'a>(&'a self, panel: &'a Panel, places: [usize; 2]) -> Option<Pair<'a>> {
        let declared = &self.gathered.declared;
        let value = |metric: usize, method: usize, example: usize| match panel.cells[metric][method].get(example) {
            Some(Cell::Value { mean, .. }) => Some(*mean),
            _ => None,
        };
        let has_any = |&method: &usize| {
            places.iter().all(|&metric| (0..panel.examples).any(|e| value(metric, method, e).is_some()))
        };
        let methods: Vec<usize> = (0..declared.methods.len()).filter(has_any).collect();
        let complete = |&example: &usize| {
            methods.iter().all(|&method| places.iter().all(|&metric| value(metric, method, example).is_some()))
        };
        let examples: Vec<usize> = (0..panel.examples).filter(complete).collect();
        let [base, other] = places.map(|place| &declared.metrics[place]);
        let lists = places.map(|metric| {
            let of_method = |&method: &usize| examples.iter().filter_map(|&e| value(metric, method, e)).collect();
            methods.iter().map(of_method).collect::<Vec<Vec<f64>>>()
        });
        let agreement =
            order_agreement(&lists[0], &lists[1], declared.resamples.min(2000), declared.confidence, declared.seed)?;
        let first = [0, 1].map(|which| {
            let sign = if base.higher_is_better { 1.0 } else { -1.0 };
            let sum = |place: usize| sign * lists[which][place].iter().sum::<f64>();
            let best = (0..methods.len()).max_by(|&a, &b| sum(a).total_cmp(&sum(b)).then(b.cmp(&a)));
            best.map(|best| declared.methods[methods[best]].clone()).unwrap_or_default()
        });
        Some(Pair { panel, base, other, examples: examples.len(), agreement, first })
    }
}
