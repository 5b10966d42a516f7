//! Subsets of what is ranked, for methods that look at many of them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::random::{Purpose, generator_for};
use super::{Case, Inapplicable};
use crate::probe::{Probe, Removal};

/// Rows that are asked for at once: many enough to fill batches, few enough to be small.
pub(super) const AT_ONCE: usize = 512;

/// Which of the ranked tokens stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subset(Box<[u64]>);

impl Subset {
    /// Of so many tokens none.
    pub fn none(tokens: usize) -> Self {
        Subset(vec![0; tokens.div_ceil(64)].into())
    }

    pub fn holds(&self, token: usize) -> bool {
        (self.0[token / 64] >> (token % 64)) & 1 == 1
    }

    pub fn flip(&mut self, token: usize) {
        self.0[token / 64] ^= 1 << (token % 64);
    }

    /// Those of so many tokens that it does not hold.
    pub fn complement(&self, tokens: usize) -> Self {
        let mut other = self.clone();
        (0..tokens).for_each(|token| other.flip(token));
        other
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// The tokens that it holds, ascending.
    pub fn held(&self) -> impl Iterator<Item = usize> {
        (0..64 * self.0.len()).filter(|&token| self.holds(token))
    }

    /// Each token stays with probability one half.
    pub fn drawn(tokens: usize, random: &mut ChaCha8Rng) -> Self {
        let mut subset = Subset::none(tokens);
        (0..tokens)
            .filter(|_| random.random::<f64>() < 0.5)
            .for_each(|token| subset.0[token / 64] |= 1 << (token % 64));
        subset
    }

    /// All subsets of so many tokens are equally likely that hold `size` of them.
    pub fn drawn_of_size(tokens: usize, size: usize, random: &mut ChaCha8Rng) -> Self {
        let mut order: Vec<usize> = (0..tokens).collect();
        let mut subset = Subset::none(tokens);
        for place in 0..size.min(tokens) {
            let other = place + (random.random::<f64>() * (tokens - place) as f64) as usize;
            order.swap(place, other);
            subset.flip(order[place]);
        }
        subset
    }
}

/// How many subsets so many tokens have, where that is no more than `most`.
pub(super) fn count(tokens: usize, most: usize) -> Option<usize> {
    1usize.checked_shl(u32::try_from(tokens).ok()?).filter(|&count| count <= most)
}

/// All subsets of a few tokens: none first, all last.
pub(super) fn every(tokens: usize, count: usize) -> impl Iterator<Item = Subset> {
    (0..count).map(move |bits| {
        let mut subset = Subset::none(tokens);
        subset.0.iter_mut().take(1).for_each(|word| *word = bits as u64);
        subset
    })
}

/// A case as a game: the ranked tokens play, and a subset of them is worth the score of the prompt without the others.
/// Tokens that are not ranked always stay.
pub(super) struct Game<'a> {
    case: &'a Case,
    probe: &'a Probe,
    removal: Removal,
}

impl<'a> Game<'a> {
    /// # Errors
    /// Where the model does not offer the removal, no token is ranked, or more than `most` are.
    pub fn new(case: &'a Case, probe: &'a Probe, removal: Removal, most: usize) -> Result<Self, Inapplicable> {
        removal.applies(probe).map_err(Inapplicable)?;
        match case.ranked.len() {
            0 => Err(Inapplicable("no token is ranked".to_owned())),
            ranked if ranked > most => Err(Inapplicable(format!(
                "{ranked} tokens are ranked, and this method takes at most {most}; a task's `granularity: words` makes fewer"
            ))),
            _ => Ok(Game { case, probe, removal }),
        }
    }

    /// How many tokens play.
    pub fn tokens(&self) -> usize {
        self.case.ranked.len()
    }

    /// What subsets are worth, in order.
    pub async fn worth(&self, subsets: &[Subset]) -> Vec<f64> {
        let mut found = Vec::with_capacity(subsets.len());
        for some in subsets.chunks(AT_ONCE) {
            let gone = some
                .iter()
                .map(|subset| self.case.ranked.places_of((0..self.tokens()).filter(|&token| !subset.holds(token))));
            found.extend(self.probe.without(self.removal, gone).await);
        }
        found
    }

    /// Random numbers of a draw.
    pub fn random(&self, seed: u64, draw: usize) -> ChaCha8Rng {
        generator_for(Purpose::Subsets, seed, draw as u64, self.case)
    }

    /// One number a token of the prompt, from one a player; 0 for those that do not play.
    pub fn spread(&self, players: &[f64]) -> Vec<f64> {
        self.case.ranked.spread(players, self.case.length())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn subsets_hold_what_was_put_in() {
        let mut subset = Subset::none(130);
        [0, 64, 129].iter().for_each(|&token| subset.flip(token));
        assert_eq!((subset.len(), subset.held().collect::<Vec<_>>()), (3, vec![0, 64, 129]));
        assert_eq!(subset.complement(130).len(), 127);
        assert!(subset.complement(130).held().all(|token| !subset.holds(token)));
    }

    #[test]
    fn few_tokens_have_all_their_subsets() {
        assert_eq!(
            (count(3, 8), count(3, 7), count(64, usize::MAX), count(500, usize::MAX)),
            (Some(8), None, None, None)
        );
        let all: Vec<Vec<usize>> = every(3, 8).map(|subset| subset.held().collect()).collect();
        assert_eq!((all[0].len(), all[5].as_slice(), all[7].as_slice()), (0, &[0, 2][..], &[0, 1, 2][..]));
    }

    #[test]
    fn drawn_subsets_hold_every_token_equally_often() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let (mut halves, mut pairs) = ([0_i32; 5], [0_i32; 5]);
        for _ in 0..10_000 {
            Subset::drawn(5, &mut random).held().for_each(|token| halves[token] += 1);
            let pair = Subset::drawn_of_size(5, 2, &mut random);
            assert_eq!(pair.len(), 2);
            pair.held().for_each(|token| pairs[token] += 1);
        }
        // Six standard deviations of a binomial count.
        assert!(halves.iter().all(|count| (count - 5_000).abs() < 300), "{halves:?}");
        assert!(pairs.iter().all(|count| (count - 4_000).abs() < 294), "{pairs:?}");
    }
}
