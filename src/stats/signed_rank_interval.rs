//! The interval that belongs to the signed-rank test and to the Hodges-Lehmann estimate.

use super::bootstrap::Interval;
use super::hodges_lehmann::walsh_average;
use super::{all_finite, finite, normal};

/// With fewer differences the distribution of the rank sum is counted out, as in the test.
const EXACT_BELOW: usize = 26;

/// The shifts of paired differences that Wilcoxon's signed-rank test does not reject at level `1 - confidence`: an
/// interval about [`hodges_lehmann`](super::hodges_lehmann), in the unit of the differences, from two of the Walsh
/// averages (Tukey 1949; Hollander and Wolfe 1999, section 3.3). It assumes differences that are symmetric about their
/// centre, and no normality; with ties it holds the centre more often than it says.
///
/// Exact below 26 differences, otherwise by the normal approximation with continuity correction. `None` where the test
/// cannot reject anything (fewer than six differences at 95 %), for a confidence outside (0, 1), or when a number is not
/// finite.
pub fn hodges_lehmann_interval(differences: &[f64], confidence: f64) -> Option<Interval> {
    if differences.is_empty() || !all_finite(differences) || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let n = differences.len();
    let tail = (1.0 - confidence) / 2.0;
    let outside = if n < EXACT_BELOW { rejected(n, tail) } else { rejected_normal(n, tail) };
    let outside = outside.filter(|outside| *outside > 0)?;
    let pairs = (n * (n + 1) / 2) as u64;
    let low = walsh_average(differences, outside)?;
    let high = walsh_average(differences, pairs + 1 - outside)?;
    Some(Interval { low: finite(low)?, high: finite(high)? })
}

/// How many of the smallest values of the rank sum of n differences have together a probability of at most `tail`.
fn rejected(n: usize, tail: f64) -> Option<u64> {
    let largest = n * (n + 1) / 2;
    let mut subsets = vec![0_u64; largest + 1];
    subsets[0] = 1;
    for rank in 1..=n {
        for sum in (rank..=largest).rev() {
            subsets[sum] += subsets[sum - rank];
        }
    }
    let all = 2.0_f64.powi(n as i32);
    let mut below = 0;
    let is_rejected = |count: &&u64| {
        below += **count;
        below as f64 / all <= tail
    };
    Some(subsets.iter().take_while(is_rejected).count() as u64)
}

/// The same by the normal approximation.
fn rejected_normal(n: usize, tail: f64) -> Option<u64> {
    let n = n as f64;
    let (mean, variance) = (n * (n + 1.0) / 4.0, n * (n + 1.0) * (2.0 * n + 1.0) / 24.0);
    let last = (mean - 0.5 + normal::quantile(tail) * variance.sqrt()).floor();
    (last >= 0.0).then_some(last as u64 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::fixtures::{SIGNED_RANK_INTERVAL, close, optional, vector};
    use crate::stats::{hodges_lehmann, wilcoxon_signed_rank};

    #[test]
    fn agrees_with_numpy() {
        for case in SIGNED_RANK_INTERVAL.cases() {
            let confidence = case["confidence"].as_f64().unwrap();
            let ours = hodges_lehmann_interval(&vector(&case["differences"]), confidence);
            close(&case["name"], ours.map(|i| i.low), optional(&case["low"]), 1e-12);
            close(&case["name"], ours.map(|i| i.high), optional(&case["high"]), 1e-12);
        }
        assert_eq!(hodges_lehmann_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), None);
        assert_eq!(hodges_lehmann_interval(&[1.0; 6], 0.95), Some(Interval { low: 1.0, high: 1.0 }));
    }

    proptest! {
        /// The interval leaves out 0 exactly where the test rejects, as long as nothing is tied.
        #[test]
        fn interval_and_test_never_contradict(
            x in prop::collection::vec(-1.0_f64..1.4, 2..60), confidence in 0.5_f64..0.99
        ) {
            let p = wilcoxon_signed_rank(&x).unwrap().p;
            let Some(Interval { low, high }) = hodges_lehmann_interval(&x, confidence) else {
                prop_assert!(p > 1.0 - confidence);
                return Ok(());
            };
            prop_assert!((1.0 - confidence - p).abs() < 1e-9 || (low > 0.0 || high < 0.0) == (p < 1.0 - confidence));
            let centre = hodges_lehmann(&x).unwrap();
            prop_assert!(low <= centre && centre <= high);
        }
    }
}
