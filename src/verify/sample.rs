//! What the checks run on: prompts of random tokens in one padded batch.

use ndarray::{Array1, Array2};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::bundle::Manifest;

/// Prompts in one batch, padded on the right.
#[derive(Clone, Debug)]
pub struct Sample {
    pub lengths: Vec<usize>,
    /// `[batch, seq]`; 0 in the padding.
    pub ids: Array2<i64>,
    /// `[batch]` each.
    pub position: Array1<i64>,
    pub target: Array1<i64>,
    pub contrast: Array1<i64>,
}

/// How much of the contrast's logit is taken off the target's: no number at which a mistake could cancel.
pub const CONTRAST_WEIGHT: f32 = 0.75;

impl Sample {
    /// Prompts of these lengths, as far as the model has positions for them.
    pub fn random(manifest: &Manifest, lengths: &[usize], seed: u64) -> Sample {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let dimensions = &manifest.dimensions;
        let longest = dimensions.max_positions.unwrap_or(usize::MAX);
        let lengths: Vec<usize> = lengths.iter().map(|&length| length.min(longest).max(1)).collect();
        let (vocab, outputs) = (dimensions.vocab as i64, manifest.outputs() as i64);
        let width = lengths.iter().copied().max().unwrap_or(1);
        let mut ids = Array2::zeros((lengths.len(), width));
        for (mut row, &length) in ids.rows_mut().into_iter().zip(&lengths) {
            row.iter_mut().take(length).for_each(|id| *id = random.random_range(0..vocab));
        }
        // A decoder may be asked at any position; what stands behind it must not matter.
        let position = lengths.iter().enumerate().map(|(row, &length)| match dimensions.labels {
            None if row % 2 == 1 => random.random_range(0..length as i64),
            _ => dimensions.scored_position(length) as i64,
        });
        let position: Array1<i64> = position.collect();
        let target: Array1<i64> = lengths.iter().map(|_| random.random_range(0..outputs)).collect();
        // Another one than the target, where there is another.
        let contrast = target.iter().map(|&target| (target + random.random_range(1..outputs.max(2))) % outputs.max(1));
        let contrast = contrast.collect();
        Sample { lengths, ids, position, target, contrast }
    }

    /// One of the prompts, without its padding.
    pub fn alone(&self, row: usize) -> Sample {
        let length = self.lengths[row];
        let one = |numbers: &Array1<i64>| Array1::from_elem(1, numbers[row]);
        Sample {
            lengths: vec![length],
            ids: Array2::from_shape_fn((1, length), |(_, at)| self.ids[[row, at]]),
            position: one(&self.position),
            target: one(&self.target),
            contrast: one(&self.contrast),
        }
    }

    /// 1 for tokens, 0 for padding.
    pub fn mask(&self) -> Array2<i64> {
        Array2::from_shape_fn(self.ids.raw_dim(), |(row, at)| i64::from(at < self.lengths[row]))
    }

    /// The longest of the prompts.
    pub fn width(&self) -> usize {
        self.ids.ncols()
    }
}
