//! Several methods over several tasks: Friedman's test and Nemenyi's critical difference.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::rank::rank;
use super::{all_finite, finite, normal};

/// Outcome of Friedman's test.
#[derive(Clone, Debug, PartialEq)]
pub struct Friedman {
    /// Friedman's chi-squared, corrected for ties.
    pub statistic: f64,
    /// Upper tail of the chi-squared distribution with k - 1 degrees of freedom.
    pub p: f64,
    /// Mean over blocks of the rank of each treatment; rank 1 is the smallest number of a block.
    pub mean_ranks: Vec<f64>,
    /// Nemenyi's critical difference of mean ranks at the 5 % level.
    pub critical_difference: f64,
}

/// Friedman's test that k treatments (methods) rank alike over n blocks (tasks, or examples), with ties (Friedman 1937;
/// SciPy's `friedmanchisquare`), and Nemenyi's critical difference (Demšar 2006). `blocks[i][j]` is treatment j in
/// block i.
///
/// `None` for fewer than two blocks or three treatments, blocks of unequal length, numbers that are not finite, or when
/// every block is one tie.
pub fn friedman(blocks: &[Vec<f64>]) -> Option<Friedman> {
    let treatments = blocks.first()?.len();
    if blocks.len() < 2 || treatments < 3 || blocks.iter().any(|block| block.len() != treatments || !all_finite(block))
    {
        return None;
    }
    let (n, k) = (blocks.len() as f64, treatments as f64);
    let mut rank_sums = vec![0.0; treatments];
    let mut tie_term = 0.0;
    for block in blocks {
        let ranks = rank(block);
        tie_term += ranks.tie_term;
        for (sum, rank) in rank_sums.iter_mut().zip(ranks.ranks) {
            *sum += rank;
        }
    }
    let untied = 1.0 - tie_term / (k * (k * k - 1.0) * n);
    if untied <= 0.0 {
        return None;
    }
    // As squares about the expected sum n (k + 1) / 2, and not as SciPy's difference of two large numbers.
    let expected = n * (k + 1.0) / 2.0;
    let squares: f64 = rank_sums.iter().map(|sum| (sum - expected).powi(2)).sum();
    let statistic = 12.0 * squares / (k * n * (k + 1.0)) / untied;
    let p = ChiSquared::new(k - 1.0).ok()?.sf(statistic);
    Some(Friedman {
        statistic,
        p,
        mean_ranks: rank_sums.iter().map(|sum| sum / n).collect(),
        critical_difference: nemenyi_critical_difference(treatments, blocks.len(), 0.05)?,
    })
}

/// Nemenyi's critical difference: two of `treatments` methods differ over `blocks` tasks at level `alpha` (all pairs
/// together) when their mean ranks are at least this far apart. `q sqrt(k (k + 1) / (6 n))`, with q the upper `alpha`
/// point of the studentized range with infinite degrees of freedom over sqrt 2 (Nemenyi 1963; Demšar 2006).
///
/// `None` for fewer than two treatments, no block, or an `alpha` outside [1e-6, 1).
pub fn nemenyi_critical_difference(treatments: usize, blocks: usize, alpha: f64) -> Option<f64> {
    if treatments < 2 || blocks == 0 || !(1e-6..1.0).contains(&alpha) {
        return None;
    }
    let k = treatments as f64;
    // The tail falls from 1 at 0 to less than any alpha allowed at 40, so halving the bracket finds the quantile.
    let (mut low, mut high) = (0.0_f64, 40.0_f64);
    while high - low > 1e-12 * high {
        let middle = low.midpoint(high);
        if range_tail(treatments, middle) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    finite(high / 2.0_f64.sqrt() * (k * (k + 1.0) / (6.0 * blocks as f64)).sqrt())
}

/// Probability that the range of k independent standard normals exceeds q:
/// `1 - k * integral of phi(z) (Phi(z) - Phi(z - q))^(k-1) dz`, z being the largest of them.
///
/// The integrand is smooth and vanishes at both ends, where the trapezoidal rule converges exponentially.
fn range_tail(k: usize, q: f64) -> f64 {
    const STEP: f64 = 1.0 / 16.0;
    const REACH: i32 = 160;
    let density = |step: i32| {
        let z = f64::from(step) * STEP;
        normal::pdf(z) * (normal::cdf(z) - normal::cdf(z - q)).powf((k - 1) as f64)
    };
    1.0 - k as f64 * STEP * (-REACH..=REACH).map(density).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::fixtures::{FRIEDMAN, STUDENTIZED_RANGE, close, optional, vector, vectors};

    #[test]
    fn agrees_with_scipy() {
        for case in FRIEDMAN.cases() {
            let result = friedman(&vectors(&case["blocks"]));
            let name = &case["name"];
            close(name, result.as_ref().map(|r| r.statistic), optional(&case["statistic"]), 1e-10);
            close(name, result.as_ref().map(|r| r.p), optional(&case["p"]), 1e-10);
            if let Some(result) = result {
                for (ours, theirs) in result.mean_ranks.iter().zip(vector(&case["mean_ranks"])) {
                    close(name, Some(*ours), Some(theirs), 1e-12);
                }
                close(name, Some(result.critical_difference), optional(&case["critical_difference"]), 1e-10);
            }
        }
    }

    #[test]
    fn the_range_of_normals_agrees_with_scipy() {
        for case in STUDENTIZED_RANGE.cases() {
            let ours = range_tail(case["k"].as_u64().unwrap() as usize, case["q"].as_f64().unwrap());
            close(&case, Some(ours), optional(&case["p"]), 1e-10);
        }
    }

    #[test]
    fn critical_values_are_those_of_demsars_table_5() {
        let at_5_percent = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164];
        let at_10_percent = [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920];
        for (alpha, table) in [(0.05, at_5_percent), (0.10, at_10_percent)] {
            for (k, q) in (2..).zip(table) {
                // With k + 1 blocks the square root is sqrt(k / 6).
                let critical = nemenyi_critical_difference(k, k + 1, alpha).unwrap() / (k as f64 / 6.0).sqrt();
                // Some of the printed ones are cut off and not rounded.
                assert!((critical - q).abs() < 1.1e-3, "k = {k}: {critical} {q}");
            }
        }
    }

    #[test]
    fn equal_mean_ranks_are_no_evidence_at_all() {
        let latin_square = friedman(&[vec![1.0, 2.0, 3.0], vec![2.0, 3.0, 1.0], vec![3.0, 1.0, 2.0]]).unwrap();
        assert_eq!((latin_square.statistic, latin_square.p), (0.0, 1.0));
        assert_eq!(latin_square.mean_ranks, [2.0; 3]);
    }

    #[test]
    fn edges() {
        assert_eq!(friedman(&[]), None);
        assert_eq!(friedman(&[vec![1.0, 2.0, 3.0]]), None);
        assert_eq!(friedman(&[vec![1.0, 2.0], vec![1.0, 2.0]]), None);
        assert_eq!(friedman(&[vec![1.0, 2.0, 3.0], vec![1.0, 2.0]]), None);
        assert_eq!(friedman(&[vec![1.0, 2.0, f64::NAN], vec![1.0, 2.0, 3.0]]), None);
        assert_eq!(nemenyi_critical_difference(1, 5, 0.05), None);
        assert_eq!(nemenyi_critical_difference(5, 0, 0.05), None);
        for alpha in [0.0, 1.0, f64::NAN] {
            assert_eq!(nemenyi_critical_difference(5, 5, alpha), None);
        }
    }

    proptest! {
        #[test]
        fn a_monotone_change_of_a_block_and_the_order_of_blocks_do_not_matter(
            blocks in prop::collection::vec(prop::collection::vec(0_i32..9, 4), 2..12)
        ) {
            let blocks: Vec<Vec<f64>> =
                blocks.into_iter().map(|block| block.into_iter().map(f64::from).collect()).collect();
            let cubed: Vec<Vec<f64>> =
                blocks.iter().rev().map(|block| block.iter().map(|x| x * x * x + 1.0).collect()).collect();
            prop_assert_eq!(friedman(&blocks), friedman(&cubed));
        }
    }
}
