//! How to read the report, and what it was made from.

use std::collections::BTreeSet;

use crate::report::document::{Align, Block, Table, Text};

use super::verdict::RULE;
use super::{Source, cells, label};

/// Below this many examples BCa intervals are noticeably too narrow (`benches/calibration.rs`).
const FEW: usize = 25;

impl Source<'_> {
    pub(super) fn how_to_read(&self) -> Vec<Block> {
        let declared = &self.gathered.declared;
        let mut items: Vec<Text> = Vec::new();
        for metric in &declared.metrics {
            let better = if metric.higher_is_better { "Higher is better." } else { "Lower is better." };
            let description = metric.description.split_whitespace().collect::<Vec<_>>().join(" ");
            items.push(Text::new().strong(label(metric)).plain(format!(": {description} {better}")));
        }
        if declared.metrics.iter().any(|metric| metric.over_score) {
            items.push(Text::prose(
                "**Fractions of f(x)**: their means are ratios of means, the mean of the metric over the mean of f(x) on \
                 the same examples, resampled together; a mean of the examples' own fractions would be made by the few \
                 examples with the smallest f(x). Differences between methods are in units of that mean f(x), so within a \
                 task they say what the undivided metric says; what the fraction adds is a scale that tasks and models \
                 share. *median* and *sd* are of the examples' own fractions.",
            ));
        }
        items.push(
            Text::prose("**Intervals**: ")
                .plain(format!(
                    "{} % BCa bootstrap intervals over examples ({} resamples, seed {}).",
                    self.confidence(),
                    declared.resamples,
                    declared.seed
                ))
                .then(Text::prose(
                    " Run again on other examples of the same kind, most such intervals would hold the true mean. A method \
                     that draws random numbers is repeated over seeds: its value on an example is the mean over them, and \
                     how far the seeds are apart is `seed_sd` in `summary.csv`.",
                )),
        );
        if self.analysis.summaries.iter().any(|summary| (2..FEW).contains(&summary.n)) {
            items.push(Text::prose(
                "**Few examples**: with fewer than 25 of them such intervals are too narrow. In simulations 95 % intervals \
                 of normal numbers held the true mean for 86 % of samples of 6 and for 90 % of samples of 12; of skewed \
                 numbers for 77 and 84 %. The tests keep their level where two methods are alike, and no method is \
                 called ahead by its interval alone.",
            ));
        }
        items.push(Text::prose(
            "**p**: Wilcoxon's signed-rank test on the paired differences, corrected by Holm's method for all pairs of \
             methods on that task and metric: how often such lopsided differences would come about if the two methods \
             were equally faithful. Over all tasks: a sign-flip permutation test of the mean over tasks, corrected \
             alike. A small p says nothing of how large a difference is; *ahead by* does.",
        ));
        items.push(Text::prose("**How sure**: ").then(Text::prose(RULE)));
        items.push(Text::prose(
            "**could show**: the smallest mean difference that this many examples, with differences as spread as these, \
             would have shown with 80 % power: by a paired t-test at the level that the correction asks of the clearest \
             pair, .05 over the number of pairs. A smaller one may well be there.",
        ));
        items.push(Text::prose(
            "**wins / ties / losses**: the examples on which the first method is better than, equal to, or worse than \
             the one in the row.",
        ));
        items.push(Text::prose(
            "Every number with all its digits: `summary.csv`, `comparisons.csv` (every pair, with the permutation test, \
             the rank-biserial correlation, and the Hodges-Lehmann difference with the interval that belongs to the \
             signed-rank test), `examples.csv`, `curves.csv`.",
        ));
        vec![Block::Heading(2, "How to read this".into()), Block::List(items)]
    }

    pub(super) fn made_from(&self) -> Vec<Block> {
        let mut table = Table::new(&[("what", Align::Left), ("which", Align::Left)]);
        for (fact, value) in &self.gathered.identity.facts {
            table.row(cells([fact.clone(), value.clone()]));
        }
        let mut seen = BTreeSet::new();
        for dataset in self.gathered.panels.iter().filter_map(|panel| panel.dataset.as_ref()) {
            if seen.insert((&dataset.task, &dataset.sha256)) {
                let what = format!("data of {}, version {}", dataset.task, dataset.version);
                table.row(cells([what, dataset.sha256.clone()]));
            }
        }
        vec![Block::Heading(2, "What it was made from".into()), Block::Table(table)]
    }
}
