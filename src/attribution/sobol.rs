//! Total Sobol indices (Fel et al., arXiv 2111.04138): the share of the score's variance in which a token has a part.

use std::rc::Rc;

use async_trait::async_trait;

use super::options::{REMOVAL, SEEDS, removal};
use super::subsets::{AT_ONCE, Game, Subset, count, every};
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue};
use crate::config::Offered;
use crate::probe::{Probe, Removal};

const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "designs",
        kind: OptionKind::Integer(2, 4096),
        default: OptionValue::Integer(32),
        only_with: None,
        about: "Random subsets of the ranked tokens, each scored as it is and with every token switched.",
    },
    REMOVAL,
    SEEDS,
];

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "sobol", options: OPTIONS },
    description: "total Sobol indices: the share of the score's variance, while tokens come and go by chance, in which a \
                  token has a part; sizes, no direction",
    source: "arXiv 2111.04138; Jansen's estimator: doi 10.1016/S0010-4655(98)00154-4",
    cost: "min(2^r, `designs` x `seeds` x (r + 1)) forward",
    build: |settings| {
        Rc::new(Sobol {
            designs: settings.integer("designs").unwrap_or(32),
            removal: removal(settings),
            seeds: settings.integer(SEEDS.name).unwrap_or(1),
            seed: settings.seed,
        })
    },
};

/// Each ranked token stays with probability one half, independently; the index of a token is the share of the variance of
/// the score that is left while all others are known. Tokens that are not ranked always stay, and get 0, as does every token
/// where the score does not vary.
///
/// Jansen's estimator takes half the mean square of what drawing the token anew changes. Of a token that is there or not,
/// drawing anew changes nothing half of the time, so switching it, and halving once more, is the same with half the noise.
/// Where the tokens have no more subsets than that would score, all are, and the indices are exact.
///
/// Says `exact`, 0 or 1, `variance` of the score, and `total`, the sum of the indices: what it is above 1 is interaction.
pub struct Sobol {
    designs: usize,
    removal: Removal,
    seeds: usize,
    seed: u64,
}

#[async_trait(?Send)]
impl Method for Sobol {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let game = Game::new(case, probe, self.removal, usize::MAX)?;
        let tokens = game.tokens();
        let exact = count(tokens, self.designs.saturating_mul(tokens + 1));
        let mut attribution = Attribution::default();
        for draw in 0..self.seeds {
            let mut sums = Sums::new(tokens);
            if let Some(count) = exact {
                if draw > 0 {
                    // All seeds say the same.
                    attribution.values.extend(attribution.values.first().cloned());
                    continue;
                }
                let worth = game.worth(&every(tokens, count).collect::<Vec<Subset>>()).await;
                for (bits, &own) in worth.iter().enumerate() {
                    let switched: Vec<f64> = (0..tokens).map(|token| worth[bits ^ (1 << token)]).collect();
                    sums.add(own, &switched);
                }
            } else {
                let mut random = game.random(self.seed, draw);
                let designs: Vec<Subset> = (0..self.designs).map(|_| Subset::drawn(tokens, &mut random)).collect();
                for some in designs.chunks((AT_ONCE / (tokens + 1)).max(1)) {
                    let rows: Vec<Subset> = some.iter().flat_map(with_each_switched(tokens)).collect();
                    for worth in game.worth(&rows).await.chunks_exact(tokens + 1) {
                        sums.add(worth[0], &worth[1..]);
                    }
                }
            }
            let (indices, variance) = sums.indices(exact.is_some());
            if draw == 0 {
                let total = indices.iter().sum();
                let said = [("exact", f64::from(u8::from(exact.is_some()))), ("variance", variance), ("total", total)];
                attribution.diagnostics = said.map(|(name, value)| (name.to_owned(), value)).into();
            }
            attribution.values.push(game.spread(&indices));
        }
        Ok(attribution)
    }
}

/// A subset, and the same with each of so many tokens switched.
fn with_each_switched(tokens: usize) -> impl Fn(&Subset) -> Vec<Subset> {
    move |subset| {
        let switched = (0..tokens).map(|token| {
            let mut other = subset.clone();
            other.flip(token);
            other
        });
        std::iter::once(subset.clone()).chain(switched).collect()
    }
}

/// Sums over designs.
struct Sums {
    designs: f64,
    /// Squares of what switching each token changes.
    squares: Vec<f64>,
    /// The scores of the designs, and of their switched rows.
    own: Spread,
    switched: Spread,
}

impl Sums {
    fn new(tokens: usize) -> Self {
        Sums { designs: 0.0, squares: vec![0.0; tokens], own: Spread::default(), switched: Spread::default() }
    }

    fn add(&mut self, own: f64, switched: &[f64]) {
        self.designs += 1.0;
        self.own.add(own);
        for (sum, &worth) in self.squares.iter_mut().zip(switched) {
            *sum += (own - worth).powi(2);
            self.switched.add(worth);
        }
    }

    /// The indices, and the variance of the score. Where not every subset is a design, the switched rows, which are drawn from
    /// the same distribution, tell more of the variance than the few designs do.
    fn indices(&self, exact: bool) -> (Vec<f64>, f64) {
        let variance = if exact { self.own.variance() } else { self.switched.variance() };
        let index = |sum: &f64| if *sum == 0.0 { 0.0 } else { sum / self.designs / 4.0 / variance };
        (self.squares.iter().map(index).collect(), variance)
    }
}

/// Mean and squared deviations, by Welford's recurrence.
#[derive(Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean;
        self.mean += before / self.count;
        self.squares += before * (value - self.mean);
    }

    fn variance(&self) -> f64 {
        self.squares / self.count
    }
}
