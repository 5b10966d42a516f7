//! Random attributions: the floor.

use std::rc::Rc;

use async_trait::async_trait;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::options::SEEDS;
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionValue};
use crate::config::Offered;
use crate::probe::Probe;

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "random", options: &[OptionInfo { default: OptionValue::Integer(5), ..SEEDS }] },
    description: "random numbers, what any method has to beat",
    source: "no method",
    cost: "nothing",
    build: |settings| Rc::new(Random { seeds: settings.integer("seeds").unwrap_or(1), seed: settings.seed }),
};

/// Uniform numbers on `[0, 1)`, drawn anew for every seed. They hang on the run's seed, the example's name and the
/// number of the draw, and on nothing else: not on the order in which examples are worked on.
pub struct Random {
    pub seeds: usize,
    pub seed: u64,
}

#[async_trait(?Send)]
impl Method for Random {
    async fn attribute(&self, case: &Case, _: &Probe) -> Result<Attribution, Inapplicable> {
        // Sums over the tokens of groups would favour the long ones.
        let units = case.ranked.and_the_rest(case.length());
        let draw = |index: usize| {
            let mut random = generator(self.seed, index as u64, case);
            let drawn: Vec<f64> = (0..units.len()).map(|_| random.random::<f64>()).collect();
            units.spread(&drawn, case.length())
        };
        Ok(Attribution { values: (0..self.seeds).map(draw).collect(), ..Attribution::default() })
    }
}

/// Random numbers that hang on the run's seed, the number of a draw and the example's name alone.
pub(crate) fn generator(seed: u64, draw: u64, case: &Case) -> ChaCha8Rng {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(draw.to_le_bytes());
    hasher.update(case.key.as_bytes());
    ChaCha8Rng::from_seed(hasher.finalize().into())
}

/// What numbers are drawn for: two uses of one draw have nothing to do with each other.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Noise = 1,
    Subsets = 2,
}

/// [`generator`], for a purpose of its own.
pub(super) fn generator_for(purpose: Purpose, seed: u64, draw: u64, case: &Case) -> ChaCha8Rng {
    let mut generator = generator(seed, draw, case);
    generator.set_stream(purpose as u64);
    generator
}
