//! Statistics of paired differences: pure functions on slices of `f64` that know nothing of models, tasks or files.
//!
//! - **Undefined is `None`.** Too few numbers, a NaN or an infinity anywhere in the input, or a statistic that does not
//!   exist (a signed-rank test without a non-zero difference) give `None`; nothing is dropped silently and nothing
//!   panics. [`holm`] alone carries on past undefined p-values, and says how.
//! - **Equal inputs give equal bits.** Whatever is random takes a seed. Resamples come in chunks of fixed size, each
//!   with its own ChaCha8 stream, so the number of threads changes nothing.
//! - **Differences are signed** `ours - theirs`; a caller for whom less is better swaps them.
//!
//! Agreement with SciPy is tested on numbers that `scripts/make_stats_fixtures.py` made.

mod bootstrap;
mod correlation;
mod detectable;
mod distribution;
mod effect;
mod friedman;
mod hodges_lehmann;
mod holm;
mod moments;
mod normal;
mod order_agreement;
mod permutation;
mod random;
mod rank;
mod signed_rank;
mod signed_rank_interval;
mod skewed_mean;
mod steps;
mod summary;

#[cfg(test)]
mod fixtures;

pub use bootstrap::{
    Interval, bca_endpoints, bca_interval, bca_macro_mean_interval, bca_macro_ratio_interval, bca_mean_interval,
};
pub use correlation::{kendall_tau, pearson, spearman};
pub use detectable::smallest_detectable_difference;
pub use distribution::{Distribution, distribution};
pub use effect::{WinsTiesLosses, rank_biserial, wins_ties_losses};
pub use friedman::{Friedman, friedman, nemenyi_critical_difference};
pub use hodges_lehmann::{bca_hodges_lehmann_interval, hodges_lehmann};
pub use holm::holm;
pub use moments::Moments;
pub use order_agreement::{OrderAgreement, order_agreement};
pub use permutation::sign_flip_permutation;
pub use signed_rank::{Wilcoxon, wilcoxon_signed_rank};
pub use signed_rank_interval::hodges_lehmann_interval;
pub use skewed_mean::skewed_mean_interval;
pub use steps::{levels, steps};
pub use summary::{mean, median, ratio_of_means, sd};

use summary::corrected_mean;

/// Whether there is no NaN and no infinity among the numbers.
fn all_finite(x: &[f64]) -> bool {
    x.iter().all(|value| value.is_finite())
}

/// The number, unless it overflowed on the way.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
