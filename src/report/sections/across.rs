//! All tasks together: mean ranks, and how far the first is ahead on average.

use crate::report::analysis::AcrossTasks;
use crate::report::document::{Align, Block, Table, Text};
use crate::store::MetricFacts;

use super::numbers::{Digits, p_value};
use super::verdict::{Lead, Verdict};
use super::{Source, cells, label, title};

/// One model by one metric over its tasks.
pub struct Overall<'a> {
    /// Names of the best and the next as cells.
    names: [String; 2],
    across: &'a AcrossTasks,
    metric: &'a MetricFacts,
    /// Of the method with the best mean rank over the next, where tasks can be averaged.
    lead: Option<Lead>,
    /// Examples of all tasks.
    n: usize,
}

impl<'a> Source<'a> {
    pub(super) fn overall(&self, model: &str, metric: &'a MetricFacts) -> Option<Overall<'a>> {
        let across = self.analysis.across.iter().find(|a| a.model == model && a.metric == metric.name)?;
        let [first, second, ..] = across.methods.as_slice() else { return None };
        let pair = [&first.method, &second.method];
        let lead = across
            .pairs
            .iter()
            .find(|p| pair.contains(&&p.method_a) && pair.contains(&&p.method_b))
            .map(|p| Lead::over_tasks(p, &first.method, metric));
        let n = across
            .tasks
            .iter()
            .filter_map(|task| self.summaries.get(&[across.model.as_str(), task, &metric.name]))
            .filter_map(|summaries| summaries.iter().map(|summary| summary.n).max())
            .sum();
        let names = [first, second].map(|rank| self.method(model, None, &rank.method));
        Some(Overall { names, across, metric, lead, n })
    }

    pub(super) fn over_all_tasks(&self) -> Vec<Block> {
        if self.analysis.across.is_empty() {
            return Vec::new();
        }
        let mut blocks = vec![
            Block::Heading(2, "Over all tasks".into()),
            Block::Paragraph(Text::prose(
                "Mean rank over the tasks: 1 is the most faithful on each. Two mean ranks further apart than the critical \
                 difference differ at the 5 % level (Nemenyi); with few tasks few differences are that large.",
            )),
        ];
        for model in &self.gathered.declared.models {
            let overall: Vec<Overall> =
                self.gathered.declared.metrics.iter().filter_map(|metric| self.overall(model, metric)).collect();
            if overall.is_empty() {
                continue;
            }
            if self.several_models() {
                blocks.push(Block::Heading(3, model.as_str().into()));
            }
            blocks.push(Block::Table(self.ranks(model, &overall)));
        }
        blocks
    }

    fn ranks(&self, model: &str, overall: &[Overall]) -> Table {
        let titles: Vec<String> = overall.iter().map(|overall| title(overall.metric)).collect();
        let columns: Vec<(&str, Align)> = [("method", Align::Left)]
            .into_iter()
            .chain(titles.iter().map(|title| (title.as_str(), Align::Right)))
            .collect();
        let mut table = Table::new(&columns);
        // By the first metric; methods that it does not rank last.
        let mut methods: Vec<&String> = self.gathered.declared.methods.iter().collect();
        methods.sort_by_key(|method| {
            let ranks = overall.first().map(|overall| overall.across.methods.as_slice()).unwrap_or_default();
            ranks.iter().position(|rank| rank.method == **method).unwrap_or(usize::MAX)
        });
        for method in methods {
            let ranks = overall.iter().map(|overall| {
                let rank = overall.across.methods.iter().find(|rank| rank.method == *method);
                rank.map_or("-".to_string(), |rank| {
                    format!("{:.2} (first on {} of {})", rank.mean_rank, rank.first_on, overall.tasks())
                })
            });
            table.row([self.method(model, None, method)].into_iter().chain(ranks).map(Text::from).collect());
        }
        let critical = overall.iter().map(|overall| match overall.across.critical_difference {
            Some(critical) => format!("{critical:.2}"),
            None => "-".to_string(),
        });
        let row = |name: &str, numbers: &mut dyn Iterator<Item = String>| -> Vec<Text> {
            [Text::new().emphasis(name)].into_iter().chain(numbers.map(Text::from)).collect()
        };
        table.row(row("critical difference", &mut critical.into_iter()));
        let mut p = overall.iter().map(|overall| p_value(overall.across.friedman_p));
        table.row(row("p that all rank alike (Friedman)", &mut p));
        table
    }
}

impl Overall<'_> {
    pub fn tasks(&self) -> usize {
        self.across.tasks.len()
    }

    /// The cells of the first table from "most faithful" on.
    pub fn cells(&self) -> Vec<Text> {
        let [first, second, ..] = self.across.methods.as_slice() else { return vec![Text::new(); 8] };
        cells([
            self.names[0].clone(),
            format!("mean rank {:.2}", first.mean_rank),
            format!("{} (rank {:.2})", self.names[1], second.mean_rank),
            self.lead.map_or("-".to_string(), |lead| lead.show(digits(&lead))),
            p_value(self.lead.and_then(|lead| lead.p)),
            self.n.to_string(),
            self.verdict(),
            self.lead.and_then(|lead| lead.could_show(digits(&lead))).unwrap_or_default(),
        ])
    }

    /// Of the method with the best mean rank over the next.
    pub fn lead(&self) -> Option<Lead> {
        self.lead
    }

    /// `place`: "Over all 3 tasks".
    pub fn sentence(&self, place: &str) -> Text {
        let [first, second, ..] = self.across.methods.as_slice() else { return Text::new() };
        let ahead = match self.lead {
            Some(lead) => format!(" and is ahead by {} on average", lead.show(digits(&lead))),
            None => String::new(),
        };
        let (metric, verdict) = (label(self.metric), self.verdict());
        let [a, b] = &self.names;
        let (rank, next) = (first.mean_rank, second.mean_rank);
        if rank == next {
            let ahead = if ahead.is_empty() { ahead } else { format!("; {a}{}", ahead.replacen(" and", "", 1)) };
            format!("{place}, by {metric}, {a} and {b} share the best mean rank ({rank:.2}){ahead}: {verdict}.").into()
        } else {
            format!("{place}, by {metric}, {a} has the best mean rank ({rank:.2}; {b} {next:.2}){ahead}: {verdict}.")
                .into()
        }
    }

    fn verdict(&self) -> String {
        let [first, second, ..] = self.across.methods.as_slice() else { return String::new() };
        match self.lead {
            // First by rank, yet second by the mean.
            Some(lead) if lead.mean.is_some_and(|mean| mean < 0.0) => "rank and mean disagree".to_owned(),
            Some(lead) => lead.words(),
            None => {
                let apart = second.mean_rank - first.mean_rank;
                let told = self.across.critical_difference.is_some_and(|critical| apart >= critical);
                if told { Verdict::Surely.words() } else { Verdict::NotToldApart.words() }.to_owned()
            }
        }
    }
}

fn digits(lead: &Lead) -> Digits {
    Digits::of(lead.interval(), lead.mean)
}
