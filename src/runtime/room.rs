//! What a single row takes, and room for it.

use super::error::RuntimeError;
use super::memory::{Bytes, Memory};
use super::model::Model;
use crate::bundle::Graph;
use crate::bundle::manifest::Dimensions;
use crate::device::Device;

/// Numbers that a forward pass holds at once for a token, in units of the width, and for a pair of tokens, in units of heads:
/// scores, masked scores and weights of one layer.
const PASSING: u64 = 8;
const PASSING_SQUARES: u64 = 3;
/// The same where a score is replaced, which keeps what it is replaced by.
const REPLACING_SQUARES: u64 = 14;
/// The same of a gradient, in units of layers times width and layers times heads. Fewer than what bounds batches, which was taken
/// from models with wider feed-forwards: who is left out for an estimate is not to be left out for a guess.
const KEPT: u64 = 16;
const KEPT_SQUARES: u64 = 3;
/// Rows that are estimated at less are run without asking what there is.
const SMALL: u64 = 256 << 20;

/// Bytes that a graph takes for one row of so many tokens, weights apart. An estimate, by what was measured
/// (`benches/memory.rs`).
fn row_bytes(graph: Graph, model: &Dimensions, tokens: usize) -> u64 {
    let [tokens, hidden, layers, heads] = [tokens, model.hidden, model.layers, model.heads].map(|size| size as u64);
    // What an output of every layer takes: its parts before they are joined, itself, and a copy.
    const OUTPUTS: u64 = 3;
    let (token, squares) = (tokens.saturating_mul(hidden), tokens.saturating_mul(tokens).saturating_mul(heads));
    let numbers = |tokens: u64, pairs: u64| {
        token
            .saturating_mul(tokens)
            .saturating_add(squares.saturating_mul(pairs))
            .saturating_mul(size_of::<f32>() as u64)
    };
    let (kept, kept_squares) = (layers.saturating_mul(KEPT), layers.saturating_mul(KEPT_SQUARES));
    let of_outputs = layers.saturating_mul(OUTPUTS);
    match graph {
        Graph::Embed => numbers(2, 0),
        Graph::Forward
        | Graph::ForwardEmbeds
        | Graph::ForwardResidual
        | Graph::ForwardCached
        | Graph::AttentionRollout
        | Graph::ValueZeroing => numbers(PASSING, PASSING_SQUARES),
        Graph::ForwardScores => numbers(PASSING, REPLACING_SQUARES),
        Graph::Attention => numbers(PASSING, of_outputs.saturating_add(PASSING_SQUARES)),
        Graph::Gradient | Graph::GradientLogProbability | Graph::GradientDrop => numbers(kept, kept_squares),
        // Keys and values of every layer go out.
        Graph::AttentionProjections => numbers(kept.saturating_add(of_outputs.saturating_mul(2)), kept_squares),
        Graph::ResidualGradient => numbers(kept.saturating_add(of_outputs.saturating_mul(2)), kept_squares),
        Graph::ScoreGradient => numbers(kept, kept_squares.saturating_add(of_outputs.saturating_mul(3))),
        // The row and its baseline, of which less is kept.
        Graph::DeepLift => numbers(kept.saturating_add(kept / 2), kept_squares.saturating_add(kept_squares / 2)),
    }
}

impl Model {
    /// Bytes that a graph takes for one row of so many tokens, besides the weights, by estimate.
    pub fn row_bytes(&self, graph: Graph, tokens: usize) -> u64 {
        let one = row_bytes(graph, &self.manifest().dimensions, tokens);
        let with_twin = self.never_alone()
            && matches!(
                graph,
                Graph::Forward
                    | Graph::ForwardEmbeds
                    | Graph::ForwardResidual
                    | Graph::ForwardScores
                    | Graph::ForwardCached
            );
        if with_twin { one.saturating_mul(2) } else { one }
    }

    /// That a row of so many tokens may be tried, as far as that is known before; what is not needed for it is let go of first
    /// where that decides.
    ///
    /// # Errors
    /// [`RuntimeError::Memory`].
    pub(super) fn check_room(&mut self, graph: Graph, tokens: usize) -> Result<(), RuntimeError> {
        let estimate = self.row_bytes(graph, tokens);
        let available = match self.row_limit() {
            Some(limit) => limit,
            // Memory of other devices is not known.
            None if estimate < SMALL || self.device() != Device::Cpu => return Ok(()),
            None => {
                let available = || Memory::of_machine().map_or(u64::MAX, |memory| memory.available);
                let now = available();
                if estimate > now {
                    self.make_room();
                    available()
                } else {
                    now
                }
            }
        };
        if estimate <= available {
            return Ok(());
        }
        Err(self.does_not_fit(graph, tokens, format!("there are {}", Bytes(available))))
    }

    pub(super) fn does_not_fit(&self, graph: Graph, tokens: usize, problem: String) -> RuntimeError {
        let estimate = self.row_bytes(graph, tokens);
        RuntimeError::Memory { graph: self.bundle().path().join(graph.file()), tokens, estimate, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_grow_with_tokens_and_their_squares() {
        let model = Dimensions {
            layers: 30,
            hidden: 576,
            heads: 9,
            vocab: 49_152,
            labels: None,
            scores_last: true,
            max_positions: None,
        };
        // Attention weights of all layers and heads, of 512 tokens: 270 MiB, three times, and a pass besides.
        let squares = 30 * 9 * 512 * 512 * 4;
        let found = row_bytes(Graph::Attention, &model, 512);
        assert!(found > 3 * squares && found < 4 * squares, "{found}");
        for graph in Graph::ALL {
            let [one, two] = [1000, 2000].map(|tokens| row_bytes(graph, &model, tokens));
            assert!(two >= 2 * one && two <= 4 * one, "{}: {one} {two}", graph.file());
            assert_eq!(row_bytes(graph, &model, 0), 0);
            // No overflow, whatever a stranger's model and data are.
            let vast = Dimensions { layers: usize::MAX, heads: usize::MAX, ..model.clone() };
            assert!(row_bytes(graph, &vast, usize::MAX) > one);
        }
        assert!(row_bytes(Graph::Gradient, &model, 512) > row_bytes(Graph::Forward, &model, 512));
    }
}
