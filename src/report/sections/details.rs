//! What was left out, and what the methods say of themselves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::report::document::{Align, Block, Table, Text};
use crate::report::gather::{Cell, Panel};
use crate::stats;

use super::numbers::significant;
use super::{Source, cells, label};

/// More reasons than this on one task are counted together.
const MOST_REASONS: usize = 12;
/// 1 where a method did not reach the tolerance that was asked for, else 0.
const MISSED: &str = "tolerance_missed";

impl Source<'_> {
    pub(super) fn left_out(&self) -> Vec<Block> {
        let heading = Block::Heading(2, "What was left out, and why".into());
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("examples", Align::Right),
            ("of", Align::Right),
            ("why", Align::Left),
        ]);
        for panel in &self.gathered.panels {
            for (examples, of, why) in self.reasons(panel) {
                table.row(cells([panel.model.clone(), panel.task.clone(), examples, of, why]));
            }
        }
        if table.is_empty() {
            let nothing = "Nothing: every example counts for every method and metric.";
            return vec![heading, Block::Paragraph(nothing.into())];
        }
        let mut blocks = vec![heading, self.show(table)];
        let shortened: Vec<String> = self
            .gathered
            .panels
            .iter()
            .filter_map(|panel| Some((panel, panel.dataset.as_ref().filter(|dataset| dataset.shortened > 0)?)))
            .map(|(panel, dataset)| {
                let place = self.place(&panel.model, &panel.task);
                format!("{} of {} on {place}", dataset.shortened, dataset.examples)
            })
            .collect();
        if !shortened.is_empty() {
            let list = shortened.join(", ");
            blocks
                .push(Block::Paragraph(format!("Contexts that were shortened around their evidence: {list}.").into()));
        }
        let note =
            "An example that does not count for one method counts for none, so all means are over the same examples.";
        blocks.push(Block::Paragraph(note.into()));
        blocks
    }

    /// "On words, all 20 examples are left out: 18 answered wrongly, 2 no token to rank."; nothing where some are not.
    pub(super) fn nothing(&self, panel: &Panel) -> Option<Text> {
        let left_out: BTreeSet<usize> = panel.left_out.values().flatten().copied().collect();
        if panel.examples == 0 || left_out.len() < panel.examples {
            return None;
        }
        let mut reasons: Vec<(&String, usize)> =
            panel.left_out.iter().map(|(reason, examples)| (reason, examples.len())).collect();
        reasons.sort_by_key(|(_, examples)| Reverse(*examples));
        let rest = reasons.split_off(reasons.len().min(MOST_REASONS));
        let mut why: Vec<String> = reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        if !rest.is_empty() {
            why.push(format!("{} for other reasons", rest.iter().map(|(_, n)| n).sum::<usize>()));
        }
        let all = if panel.examples == 1 {
            "the only example is".to_string()
        } else {
            format!("all {} examples are", panel.examples)
        };
        let place = self.place(&panel.model, &panel.task);
        let start = Text::from(format!("On {place}, ")).strong(format!("{all} left out"));
        Some(start.plain(format!(", so nothing was measured: {}.", why.join(", "))))
    }

    /// How many examples, of how many, and why.
    fn reasons(&self, panel: &Panel) -> Vec<(String, String, String)> {
        let expected = panel.expected();
        let mut rows = Vec::new();
        let mut counted = Vec::new();
        match &panel.dataset {
            None if panel.examples > 0 => rows.push(("?".into(), "?".into(), "data set not noted".to_string())),
            None => rows.push(("all".into(), "?".into(), "not begun".to_string())),
            Some(dataset) => {
                let no_examples = dataset.left_out.iter();
                counted.extend(no_examples.map(|(why, examples)| (*examples, dataset.records, why.clone())));
                let why = match (dataset.sample, dataset.limit) {
                    (Some(sample), _) => format!("not in the random sample of {sample}"),
                    (None, Some(limit)) => format!("beyond the limit of {limit}"),
                    (None, None) => "not taken from the data".to_string(),
                };
                counted.push((dataset.available.saturating_sub(dataset.examples), dataset.available, why));
                counted.push((expected - panel.examples, expected, "not begun".to_string()));
            }
        }
        for (method, totals) in self.gathered.declared.methods.iter().zip(&panel.methods) {
            let missing = panel.examples - totals.units;
            counted.push((missing, expected, format!("not finished by {method}")));
        }
        let counted = counted.into_iter().filter(|(examples, ..)| *examples > 0);
        rows.extend(counted.map(|(examples, of, why)| (examples.to_string(), of.to_string(), why)));
        let mut add = |mut reasons: Vec<(&str, usize)>, before: &str| {
            reasons.sort_by_key(|(_, examples)| Reverse(*examples));
            let rest = reasons.split_off(reasons.len().min(MOST_REASONS));
            for (reason, examples) in reasons {
                rows.push((examples.to_string(), expected.to_string(), format!("{before}{reason}")));
            }
            if !rest.is_empty() {
                let examples: usize = rest.iter().map(|(_, examples)| examples).sum();
                let why = format!("{before}{} other reasons", rest.len());
                rows.push((examples.to_string(), expected.to_string(), why));
            }
        };
        add(panel.left_out.iter().map(|(reason, examples)| (reason.as_str(), examples.len())).collect(), "");
        for (metric, cells) in self.gathered.declared.metrics.iter().zip(&panel.cells) {
            let only = format!("{} only: ", label(metric));
            let mut reasons: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
            for (example, cell) in cells.iter().flat_map(|cells| cells.iter().enumerate()) {
                if let Cell::NoValue(reason) = cell {
                    reasons.entry(reason).or_default().insert(example);
                }
            }
            add(reasons.iter().map(|(reason, examples)| (*reason, examples.len())).collect(), &only);
        }
        rows
    }

    pub(super) fn diagnostics(&self) -> Vec<Block> {
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("method", Align::Left),
            ("diagnostic", Align::Left),
            ("n", Align::Right),
            ("median", Align::Right),
            ("max", Align::Right),
            ("not finite", Align::Right),
        ]);
        let (mut all_finite, mut has_gap) = (true, false);
        for panel in &self.gathered.panels {
            for (method, totals) in self.gathered.declared.methods.iter().zip(&panel.methods) {
                for (name, values) in totals.diagnostics.iter().filter(|(name, _)| *name != MISSED) {
                    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
                    all_finite &= finite.len() == values.len();
                    has_gap |= name == "completeness_gap";
                    let largest = finite.iter().copied().reduce(f64::max);
                    let show = |value: Option<f64>| value.map_or("-".to_string(), significant);
                    table.row(cells([
                        panel.model.clone(),
                        panel.task.clone(),
                        method.clone(),
                        name.replace('_', " "),
                        finite.len().to_string(),
                        show(stats::median(&finite)),
                        show(largest),
                        (values.len() - finite.len()).to_string(),
                    ]));
                }
            }
        }
        if table.is_empty() {
            return Vec::new();
        }
        let mut blocks = vec![Block::Heading(2, "What the methods say of themselves".into())];
        blocks.push(self.show(if all_finite { table.without("not finite") } else { table }));
        if has_gap {
            blocks.push(Block::Paragraph(Text::prose(
                "*completeness gap*: how far the attributions are from adding up to the change that they explain, f(x) \
                 minus f(baseline); *relative*: in units of that change. *steps*: points on the path. Where the gap stays \
                 large however many there are, the path passes through places at which the gradient is no guide, and the \
                 attributions are not an integral.",
            )));
            let tolerances = self.tolerances();
            if !tolerances.is_empty() {
                blocks.push(Block::Paragraph(tolerances.join(" ").into()));
            }
        }
        blocks
    }

    /// How often methods that were given a tolerance reached it.
    fn tolerances(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for panel in &self.gathered.panels {
            for (method, totals) in self.gathered.declared.methods.iter().zip(&panel.methods) {
                let Some(missed) = totals.diagnostics.get(MISSED) else { continue };
                let reached = missed.iter().filter(|missed| **missed == 0.0).count();
                sentences.push(format!(
                    "On {}, {} came within its tolerance on {reached} of {} examples.",
                    self.place(&panel.model, &panel.task),
                    method,
                    missed.len()
                ));
            }
        }
        sentences
    }
}
