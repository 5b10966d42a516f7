//! How to read the report, and what it was made from.

use std::collections::BTreeSet;

use super::prose::wrap;
use super::table::{Align, Table, escape};
use super::verdict::RULE;
use super::{Source, label};

impl Source<'_> {
    pub(super) fn how_to_read(&self, text: &mut String) {
        text.push_str("\n## How to read this\n\n");
        let declared = &self.gathered.declared;
        let mut item = |sentence: &str| text.push_str(&wrap(&format!("- {sentence}"), "  "));
        for metric in &declared.metrics {
            let better = if metric.higher_is_better { "Higher is better." } else { "Lower is better." };
            let description = metric.description.split_whitespace().collect::<Vec<_>>().join(" ");
            item(&format!("**{}**: {} {better}", escape(label(metric)), escape(&description)));
        }
        if declared.metrics.iter().any(|metric| metric.over_score) {
            item(
                "**Fractions of f(x)**: their means are ratios of means, the mean of the metric over the mean of f(x) on \
                 the same examples, resampled together; a mean of the examples' own fractions would be made by the few \
                 examples with the smallest f(x). Differences between methods are in units of that mean f(x), so within a \
                 task they say what the undivided metric says; what the fraction adds is a scale that tasks and models \
                 share. *median* and *sd* are of the examples' own fractions.",
            );
        }
        item(&format!(
            "**Intervals**: {} % BCa bootstrap intervals over examples ({} resamples, seed {}). Run again on other \
             examples of the same kind, most such intervals would hold the true mean. A method that draws random numbers \
             is repeated over seeds: its value on an example is the mean over them, and how far the seeds are apart is \
             `seed_sd` in `summary.csv`.",
            self.confidence(),
            declared.resamples,
            declared.seed
        ));
        item(
            "**p**: Wilcoxon's signed-rank test on the paired differences, corrected by Holm's method for all pairs of \
             methods on that task and metric: how often such lopsided differences would come about if the two methods \
             were equally faithful. Over all tasks: a sign-flip permutation test of the mean over tasks, corrected \
             alike. A small p says nothing of how large a difference is; *ahead by* does.",
        );
        item(&format!("**How sure**: {RULE}"));
        item(
            "**wins / ties / losses**: the examples on which the first method is better than, equal to, or worse than \
             the one in the row.",
        );
        item(
            "Every number with all its digits: `summary.csv`, `comparisons.csv` (every pair, with the permutation test \
             and the Hodges-Lehmann difference), `examples.csv`, `curves.csv`.",
        );
    }

    pub(super) fn made_from(&self, text: &mut String) {
        text.push_str("\n## What it was made from\n\n");
        let mut table = Table::new(&[("what", Align::Left), ("which", Align::Left)]);
        for (fact, value) in &self.gathered.identity.facts {
            table.row(vec![escape(fact), escape(value)]);
        }
        let mut seen = BTreeSet::new();
        for dataset in self.gathered.panels.iter().filter_map(|panel| panel.dataset.as_ref()) {
            if seen.insert((&dataset.task, &dataset.sha256)) {
                let what = format!("data of {}, version {}", escape(&dataset.task), dataset.version);
                table.row(vec![what, escape(&dataset.sha256)]);
            }
        }
        text.push_str(&table.render());
    }
}
