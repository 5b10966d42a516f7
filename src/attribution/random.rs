//! Random attributions: the floor.

use std::rc::Rc;

use async_trait::async_trait;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::ensemble::MEMBERS;
use super::options::SEEDS;
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue, Settings};
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

const OF: OptionInfo = OptionInfo {
    name: "of",
    kind: OptionKind::Choice(MEMBERS),
    default: OptionValue::Word("gim"),
    only_with: None,
    about: "The method whose numbers are shuffled, with its options at their defaults.",
};

pub(super) const MATCHED: Entry = Entry {
    info: Offered { name: "matched_random", options: &[OF, OptionInfo { default: OptionValue::Integer(5), ..SEEDS }] },
    description: "a method's own numbers in a random order among what is ranked: as sparse and as uneven, and blind",
    source: "no method",
    cost: "what the method `of` costs",
    build: |settings| {
        let of = super::build(settings.word(OF.name), &Settings { seed: settings.seed, ..Settings::default() });
        Rc::new(Matched { of, seeds: settings.integer("seeds").unwrap_or(1), seed: settings.seed })
    },
};

/// The first seed of another method's attributions, one for each of what is ranked, shuffled anew for every seed.
struct Matched {
    of: Option<Rc<dyn Method>>,
    seeds: usize,
    seed: u64,
}

#[async_trait(?Send)]
impl Method for Matched {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let Some(of) = &self.of else { return Err(Inapplicable("there is no such method".to_owned())) };
        let found = super::attribute(&**of, probe).await?;
        let own = case.ranked.values(found.values.first().map_or(&[], Vec::as_slice));
        let draw = |index: usize| {
            let mut shuffled = own.clone();
            shuffled.shuffle(&mut generator_for(Purpose::Order, self.seed, index as u64, case));
            case.ranked.spread(&shuffled, case.length())
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
    Order = 3,
}

/// [`generator`], for a purpose of its own.
pub(super) fn generator_for(purpose: Purpose, seed: u64, draw: u64, case: &Case) -> ChaCha8Rng {
    let mut generator = generator(seed, draw, case);
    generator.set_stream(purpose as u64);
    generator
}
