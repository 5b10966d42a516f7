//! The check of DeepLIFT's multipliers.

use ndarray::Array1;
use rand_chacha::ChaCha8Rng;

use super::checks::{DERIVATIVE, FAULT, largest, ratio, row_deviation};
use super::exact::{Exact, asked, one};
use super::inside::{Expected, Inside, Of, inputs, movement};
use super::reference::array::Value;
use super::reference::tangents::inner;
use super::{Check, VerifyError};
use crate::grad::Knobs;
use crate::runtime::Graph;

impl Inside {
    /// A movement of the embeddings that is handed on by rises over runs, times the multipliers, is how the score moves. Every
    /// prompt is compared with the next one, as it could be with any.
    pub(super) fn deep_lift(&mut self, of: &Of, graph: &Exact, random: &mut ChaCha8Rng) -> Result<(), VerifyError> {
        let names = ["score", "gradient"];
        let sample = &of.evidence.sample;
        let rows = sample.lengths.len() as i64;
        let mut feeds = asked(sample, &of.evidence.embeds, &[]);
        feeds.retain(|name, _| !Knobs::NAMES.contains(name));
        let next: Array1<i64> = (0..rows).map(|row| (row + 1) % rows).collect();
        feeds.insert("baseline_row", one(Value::Whole(next.into_dyn())));
        let found = of.outputs(graph, &feeds, &names)?;
        let directions = [movement(&found[1], random)];
        let beginnings = graph.beginning_at_embeddings(&directions)?;
        let moved = graph.moved(&of.machine, &feeds, &graph.sites()?, &beginnings, "score", &[Knobs::GRADIENT])?;
        let (sum, terms) = inner(&found[1], &directions[0]);
        let scores = row_deviation(&found[0], &of.evidence.scores()[0]);
        self.checks.push(Check {
            name: "multipliers",
            description: "score of deep_lift.onnx against that of gradient.onnx, and its multipliers against movements handed on \
                          by rises over runs between prompts, in double precision",
            measured: largest([ratio((sum - moved.output[0].sum()).abs(), terms), scores]),
            tolerance: DERIVATIVE + of.evidence.exact(),
            advice: FAULT,
        });
        self.expected.push(Expected {
            graph: Graph::DeepLift,
            inputs: inputs(&feeds, Graph::DeepLift.inputs()),
            outputs: of.with_single(graph, &feeds, &names, found)?,
        });
        Ok(())
    }
}
