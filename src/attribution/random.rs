//! Random attributions: the floor.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::{Attribution, Case, Method, OptionInfo, OptionKind, OptionValue};
use crate::runtime::{Model, RuntimeError};

pub(super) const OPTIONS: &[OptionInfo] = &[OptionInfo {
    name: "seeds",
    kind: OptionKind::Integer(1, 100),
    default: OptionValue::Integer(5),
    only_with: None,
    about: "How many times numbers are drawn for each example, each draw judged by itself.",
}];

/// Uniform numbers on `[0, 1)`, drawn anew for every seed. They hang on the run's seed, the example's name and the
/// number of the draw, and on nothing else: not on the order in which examples are worked on.
pub struct Random {
    pub seeds: usize,
    pub seed: u64,
}

impl Method for Random {
    fn attribute(&self, _: &mut Model, cases: &[Case]) -> Result<Vec<Attribution>, RuntimeError> {
        let draw = |case: &Case, index: usize| {
            let mut hasher = Sha256::new();
            hasher.update(self.seed.to_le_bytes());
            hasher.update((index as u64).to_le_bytes());
            hasher.update(case.key.as_bytes());
            let mut random = ChaCha8Rng::from_seed(hasher.finalize().into());
            case.input_ids.iter().map(|_| random.random::<f64>()).collect::<Vec<f64>>()
        };
        Ok(cases
            .iter()
            .map(|case| Attribution {
                values: (0..self.seeds).map(|index| draw(case, index)).collect(),
                ..Attribution::default()
            })
            .collect())
    }
}
