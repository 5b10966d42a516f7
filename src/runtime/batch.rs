//! Which rows run together.

use std::ops::Range;

use crate::bundle::manifest::Dimensions;

/// What bounds a batch; each bound lets at least one row through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Rows times the longest of them.
    pub tokens: usize,
    /// Rows, for outputs whose size does not hang on the length.
    pub rows: usize,
    /// Rows times the square of the longest of them, for attention weights.
    pub squares: usize,
    /// Whether rows of different length may share a batch.
    pub mixed: bool,
    /// Whether last digits hang on what shares a batch, so that batches are made as if memory were without end.
    pub fixed: bool,
}

/// What the activations of a batch of gradients may take, by the estimate that follows. Larger batches are not faster on a
/// CPU: products of some hundred rows are as fast as they get.
const GRADIENT_BYTES: usize = 1 << 30;
/// Numbers that a gradient holds at once for a token, in units of layers times width: 28 and 24 were measured, at the shapes
/// of Llama 3.2 1B and Gemma 2 2B.
const KEPT: usize = 28;
/// The same for a pair of tokens, in units of layers times heads: masked scores, weights, and what flows back into them.
const KEPT_SQUARES: usize = 3;

impl Bounds {
    pub fn of_tokens(tokens: usize, mixed: bool) -> Self {
        Bounds { tokens, rows: usize::MAX, squares: usize::MAX, mixed, fixed: false }
    }

    /// Tighter where a backward pass keeps so much of the forward pass that it would not fit into memory: a batch of
    /// [`GRADIENT_BYTES`], whatever the model. It hangs on the model alone, so that the same rows share a batch everywhere.
    pub fn for_gradients(self, model: &Dimensions) -> Self {
        let numbers = GRADIENT_BYTES / size_of::<f32>();
        let tokens = numbers / (KEPT * model.layers.saturating_mul(model.hidden)).max(1);
        let squares = numbers / (KEPT_SQUARES * model.layers.saturating_mul(model.heads)).max(1);
        Bounds { tokens: self.tokens.min(tokens), squares: self.squares.min(squares), fixed: true, ..self }
    }

    /// Rows are padded to the longest of their batch, so rows of very different length are kept apart.
    fn mix(&self, shortest: usize, longest: usize) -> bool {
        shortest == longest || self.mixed && longest <= shortest + shortest / 4 + 8
    }

    fn allow(&self, rows: usize, longest: usize) -> bool {
        rows <= self.rows
            && rows.saturating_mul(longest) <= self.tokens
            && rows.saturating_mul(longest).saturating_mul(longest) <= self.squares
    }
}

/// Batches over rows of these lengths: the order to take the rows in (by length), and ranges of that order.
pub(crate) fn batches(lengths: &[usize], bounds: Bounds) -> (Vec<usize>, Vec<Range<usize>>) {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&row| lengths[row]);
    let mut ranges = Vec::new();
    let mut start = 0;
    for end in 1..=order.len() {
        let fits = order.get(end).is_some_and(|&next| {
            let (shortest, longest) = (lengths[order[start]], lengths[next]);
            bounds.allow(end + 1 - start, longest) && bounds.mix(shortest, longest)
        });
        if !fits {
            ranges.push(start..end);
            start = end;
        }
    }
    (order, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gradients_of_deep_models_run_in_smaller_batches() {
        let dimensions = |layers, hidden, heads| Dimensions {
            layers,
            hidden,
            heads,
            vocab: 100,
            labels: None,
            scores_last: false,
            max_positions: None,
        };
        let rows_of = |model: Dimensions, length: usize| {
            let bounds = Bounds::of_tokens(4096, false).for_gradients(&model);
            batches(&vec![length; 64], bounds).1.into_iter().map(|range| range.len()).max().unwrap()
        };
        // A small model is not held back, and one row always runs.
        assert_eq!(rows_of(dimensions(5, 64, 4), 64), 64);
        assert_eq!(rows_of(dimensions(30, 576, 9), 64), 8);
        assert_eq!(rows_of(dimensions(80, 8192, 64), 64), 1);
        // Of long rows the attention weights are what counts.
        assert_eq!(rows_of(dimensions(24, 16, 16), 1000), 1);
    }

    #[test]
    fn rows_of_very_different_length_are_kept_apart() {
        let (order, ranges) = batches(&[100, 10, 110, 12, 10], Bounds::of_tokens(10_000, true));
        assert_eq!(order, [1, 4, 3, 0, 2]);
        assert_eq!(ranges, [0..3, 3..5]);
        let (_, ranges) = batches(&[100, 10, 110, 12, 10], Bounds::of_tokens(10_000, false));
        assert_eq!(ranges, [0..2, 2..3, 3..4, 4..5]);
        assert!(batches(&[], Bounds::of_tokens(1, true)).1.is_empty());
    }

    proptest! {
        #[test]
        fn every_row_once_and_within_bounds(
            lengths in prop::collection::vec(1usize..60, 0..80),
            tokens in 0usize..300, rows in 0usize..20, squares in 0usize..20_000,
            mixed: bool,
        ) {
            let bounds = Bounds { tokens, rows, squares, mixed, fixed: false };
            let (order, ranges) = batches(&lengths, bounds);
            let mut seen = order.clone();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            let mut next = 0;
            for range in ranges {
                prop_assert_eq!(range.start, next);
                prop_assert!(!range.is_empty());
                next = range.end;
                let longest = order[range.clone()].iter().map(|&row| lengths[row]).max().unwrap();
                prop_assert!(range.len() == 1 || bounds.allow(range.len(), longest));
                prop_assert!(mixed || order[range].iter().all(|&row| lengths[row] == longest));
            }
            prop_assert_eq!(next, lengths.len());
        }
    }
}
