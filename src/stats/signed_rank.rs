//! Wilcoxon's signed-rank test.

use super::rank::rank;
use super::{all_finite, finite, normal};

/// Outcome of the two-sided signed-rank test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wilcoxon {
    /// The smaller of the sum of the ranks of positive differences and that of negative ones.
    pub statistic: f64,
    /// Two-sided p-value under the null hypothesis that the differences are symmetric about 0.
    pub p: f64,
    /// Whether `p` comes from the exact null distribution rather than from the normal approximation.
    pub exact: bool,
    /// Number of non-zero differences.
    pub n: usize,
}

/// Below this many differences, none zero and no two of one magnitude, the null distribution is enumerated.
const EXACT_BELOW: usize = 26;

/// Two-sided Wilcoxon signed-rank test of paired differences (Wilcoxon 1945).
///
/// Exact for fewer than 26 differences of which none is zero and no two have the same magnitude. Else the normal
/// approximation with continuity correction 1/2 and tie correction; zeros are ranked and then left out of the sums
/// (Pratt 1959, with the moments of Cureton 1967). These are SciPy's `wilcoxon(zero_method="pratt", correction=True)`
/// with `method="exact"` and `method="asymptotic"`.
///
/// `None` without a non-zero difference, or when one is not finite.
pub fn wilcoxon_signed_rank(differences: &[f64]) -> Option<Wilcoxon> {
    if !all_finite(differences) {
        return None;
    }
    let magnitudes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    let ranks = rank(&magnitudes);
    let (mut plus, mut minus) = (0.0, 0.0);
    for (difference, rank) in differences.iter().zip(&ranks.ranks) {
        if *difference > 0.0 {
            plus += rank;
        } else if *difference < 0.0 {
            minus += rank;
        }
    }
    let zeros = magnitudes.iter().filter(|&&magnitude| magnitude == 0.0).count();
    let n = differences.len() - zeros;
    if n == 0 {
        return None;
    }
    let statistic = plus.min(minus);
    let exact = n < EXACT_BELOW && zeros == 0 && ranks.tie_term == 0.0;
    let p = if exact {
        // Untied ranks are whole numbers, so their sum is one.
        exact_p(n, statistic as usize)
    } else {
        approximate_p(plus, differences.len() as f64, zeros as f64, ranks.tie_term)?
    };
    Some(Wilcoxon { statistic, p, exact, n })
}

/// Twice the probability that the ranks 1..=n with random signs have a positive sum of at most `statistic`.
fn exact_p(n: usize, statistic: usize) -> f64 {
    // counts[s]: how many subsets of the ranks so far sum to s. At most 2^25 in all, so exact.
    let mut counts = vec![0_u32; n * (n + 1) / 2 + 1];
    counts[0] = 1;
    let mut largest = 0;
    for rank in 1..=n {
        for sum in (0..=largest).rev() {
            counts[sum + rank] += counts[sum];
        }
        largest += rank;
    }
    let tail: u32 = counts[..=statistic].iter().sum();
    (2.0 * f64::from(tail) / 2.0_f64.powi(n as i32)).min(1.0)
}

fn approximate_p(plus: f64, count: f64, zeros: f64, tie_term: f64) -> Option<f64> {
    let mean = (count * (count + 1.0) - zeros * (zeros + 1.0)) / 4.0;
    let squares = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0);
    // The zeros are a group of ties as well, but they are gone from the sums and hence from the correction.
    let ties = tie_term - (zeros.powi(3) - zeros);
    let variance = (squares(count) - squares(zeros) - ties / 2.0) / 24.0;
    let distance = plus - mean;
    let correction = if distance == 0.0 { 0.0 } else { 0.5_f64.copysign(distance) };
    let z = (distance - correction) / variance.sqrt();
    finite(normal::two_tails(z))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::fixtures::{WILCOXON, close, optional, vector};

    #[test]
    fn agrees_with_scipy() {
        for case in WILCOXON.cases() {
            let result = wilcoxon_signed_rank(&vector(&case["differences"]));
            let name = &case["name"];
            close(name, result.map(|result| result.p), optional(&case["p"]), 1e-10);
            if let Some(result) = result {
                close(name, Some(result.statistic), optional(&case["statistic"]), 1e-10);
                assert_eq!(result.exact, case["exact"].as_bool().unwrap(), "{name}");
                assert_eq!(result.n as u64, case["n"].as_u64().unwrap(), "{name}");
            }
        }
    }

    #[test]
    fn is_exact_below_26_differences_only() {
        let untied = |n: usize| (1..=n).map(|i| i as f64 - 3.5).collect::<Vec<_>>();
        // 0.5, 1.5 and 2.5 occur with both signs; squares make every magnitude its own.
        let squared = |n| untied(n).iter().map(|x| x * x * x.signum() + 0.01).collect::<Vec<_>>();
        assert!(wilcoxon_signed_rank(&squared(25)).unwrap().exact);
        assert!(!wilcoxon_signed_rank(&squared(26)).unwrap().exact);
        assert!(!wilcoxon_signed_rank(&untied(10)).unwrap().exact);
        assert!(!wilcoxon_signed_rank(&[0.0, 1.0, 2.0]).unwrap().exact);
    }

    #[test]
    fn is_undefined_without_a_finite_non_zero_difference() {
        for x in [&[][..], &[0.0, -0.0], &[1.0, f64::NAN], &[f64::INFINITY, 1.0]] {
            assert_eq!(wilcoxon_signed_rank(x), None, "{x:?}");
        }
    }

    proptest! {
        #[test]
        fn neither_sign_nor_order_nor_scale_matters(
            x in prop::collection::vec(-20_i32..20, 1..60), by in 1_u32..5
        ) {
            let x: Vec<f64> = x.into_iter().map(f64::from).collect();
            let result = wilcoxon_signed_rank(&x);
            prop_assert_eq!(result, wilcoxon_signed_rank(&x.iter().map(|x| -x).collect::<Vec<_>>()));
            prop_assert_eq!(result, wilcoxon_signed_rank(&x.iter().rev().copied().collect::<Vec<_>>()));
            prop_assert_eq!(result, wilcoxon_signed_rank(&x.iter().map(|x| x * f64::from(by)).collect::<Vec<_>>()));
            if let Some(result) = result {
                prop_assert!(result.p > 0.0 && result.p <= 1.0);
            }
        }
    }
}
