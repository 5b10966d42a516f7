//! Examples with coloured tokens.

use crate::report::agreement::Kept;
use crate::report::document::{Block, Colouring, Example, Examples, Text};
use crate::report::gather::{Cell, Panel};

use super::numbers::significant;
use super::{Source, label};

/// Coloured tokens (of all methods together) that a report shows at most: pages stay small.
const MOST_COLOURED: usize = 200_000;
/// Tokens of one prompt that are shown at most.
const MOST_TOKENS: usize = 1_500;
/// Strongest tokens that are named.
const NAMED: usize = 5;

impl Source<'_> {
    pub(super) fn examples(&self) -> Vec<Block> {
        let panels: Vec<&Panel> =
            self.gathered.panels.iter().filter(|panel| !panel.agreement.kept().is_empty()).collect();
        if panels.is_empty() {
            return Vec::new();
        }
        let mut blocks = vec![
            Block::Heading(2, "Examples".into()),
            Block::Paragraph(Text::prose(
                "Of each task the examples on which the methods agree least, by the mean rank correlation between the \
                 attributions of two methods (random ones left out). All examples are in ",
            ).file("attributions.jsonl", "attributions.jsonl").plain(".")),
        ];
        let share = MOST_COLOURED / panels.len();
        for panel in panels {
            let mut left = share;
            let mut examples = Vec::new();
            for kept in panel.agreement.kept() {
                let size = kept.tokens.len().min(MOST_TOKENS) * kept.attributions.len();
                if size > left && !examples.is_empty() {
                    break;
                }
                left = left.saturating_sub(size);
                examples.push(self.example(panel, kept));
            }
            blocks.push(Block::Examples(Examples {
                place: self.place(&panel.model, &panel.task),
                of: panel.agreement.examples(),
                examples,
            }));
        }
        blocks
    }

    fn example(&self, panel: &Panel, kept: &Kept) -> Example {
        let declared = &self.gathered.declared;
        let shown = kept.tokens.len().min(MOST_TOKENS);
        let of_method = |(method, vector): &(usize, Vec<f64>)| {
            let metrics = declared.metrics.iter().zip(&panel.cells).filter_map(|(facts, cells)| {
                match cells[*method].get(kept.place) {
                    Some(Cell::Value { mean, .. }) => Some((label(facts).to_owned(), significant(*mean))),
                    _ => None,
                }
            });
            let label = self.method(&panel.model, Some(&panel.task), &declared.methods[*method]);
            let whole = colouring(label, &kept.tokens, vector, metrics.collect());
            Colouring { shares: whole.shares[..shown.min(whole.shares.len())].to_vec(), ..whole }
        };
        Example {
            id: kept.id.clone(),
            score: kept.score.filter(|score| score.is_finite()),
            agreement: kept.agreement,
            tokens: kept.tokens[..shown].to_vec(),
            cut: kept.tokens.len() - shown,
            evidence: kept.evidence.iter().copied().filter(|place| *place < shown).collect(),
            methods: kept.attributions.iter().map(of_method).collect(),
        }
    }
}

/// What a method says of a prompt's tokens: shares of the largest attribution, and the strongest tokens.
pub fn colouring(method: String, tokens: &[String], vector: &[f64], metrics: Vec<(String, String)>) -> Colouring {
    let largest = vector.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let share = |value: &f64| if largest > 0.0 { value / largest } else { 0.0 };
    let mut order: Vec<usize> = (0..vector.len()).filter(|&i| vector[i] != 0.0).collect();
    order.sort_by(|&a, &b| vector[b].abs().total_cmp(&vector[a].abs()).then(a.cmp(&b)));
    let strongest = order.into_iter().take(NAMED);
    Colouring {
        method,
        shares: vector.iter().map(share).collect(),
        strongest: strongest.filter_map(|i| Some((tokens.get(i)?.trim().to_owned(), vector[i]))).collect(),
        metrics,
    }
}
