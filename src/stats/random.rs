//! Seeded random numbers whose values depend on this file and on ChaCha8 alone, and not on the sampling code of a crate.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Resamples that one stream of random numbers makes; part of what a seed means, so never tuned to a machine.
pub(super) const CHUNK: usize = 256;

/// What the numbers are for: two uses of one seed get unrelated numbers.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Bootstrap = 1,
    SignFlip = 2,
}

/// The generator of one chunk of resamples.
pub(super) fn generator(purpose: Purpose, seed: u64, chunk: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8;
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(chunk as u64);
    generator
}

/// A number below `n`, every one equally likely (Lemire 2019, "Fast random integer generation in an interval").
#[inline]
pub(super) fn below(n: u32, generator: &mut ChaCha8Rng) -> usize {
    let mut product = u64::from(generator.next_u32()) * u64::from(n);
    if (product as u32) < n {
        let unfair = n.wrapping_neg() % n;
        while (product as u32) < unfair {
            product = u64::from(generator.next_u32()) * u64::from(n);
        }
    }
    (product >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_n_are_all_there_and_equally_often() {
        let mut generator = generator(Purpose::Bootstrap, 7, 0);
        let mut seen = [0; 7];
        for _ in 0..70_000 {
            seen[below(7, &mut generator)] += 1;
        }
        // Six standard deviations of a binomial count with p = 1/7.
        assert!(seen.iter().all(|&count| (count - 10_000_i32).abs() < 560), "{seen:?}");
        assert_eq!(below(1, &mut generator), 0);
    }

    #[test]
    fn seed_chunk_and_purpose_each_give_other_numbers() {
        let first = |purpose, seed, chunk| generator(purpose, seed, chunk).next_u64();
        let base = first(Purpose::Bootstrap, 0, 0);
        assert_eq!(base, first(Purpose::Bootstrap, 0, 0));
        assert_ne!(base, first(Purpose::Bootstrap, 1, 0));
        assert_ne!(base, first(Purpose::Bootstrap, 0, 1));
        assert_ne!(base, first(Purpose::SignFlip, 0, 0));
    }
}
