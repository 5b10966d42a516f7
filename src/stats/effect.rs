//! Effect sizes of paired differences that need no unit.

use super::all_finite;
use super::rank::rank;

/// How many differences are positive, zero and negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinsTiesLosses {
    pub wins: usize,
    pub ties: usize,
    pub losses: usize,
}

/// Counts positive, zero and negative differences. `None` for no differences, or when one is not finite.
pub fn wins_ties_losses(differences: &[f64]) -> Option<WinsTiesLosses> {
    if differences.is_empty() || !all_finite(differences) {
        return None;
    }
    let wins = differences.iter().filter(|&&difference| difference > 0.0).count();
    let losses = differences.iter().filter(|&&difference| difference < 0.0).count();
    Some(WinsTiesLosses { wins, ties: differences.len() - wins - losses, losses })
}

/// Matched-pairs rank-biserial correlation, in [-1, 1]: the share of the rank sum that positive differences have, less
/// that of negative ones (King and Minium 2003; Kerby 2014). Zeros are dropped before ranking, as is usual for this
/// effect size, although the signed-rank test keeps their ranks.
///
/// `None` without a non-zero difference, or when one is not finite.
pub fn rank_biserial(differences: &[f64]) -> Option<f64> {
    if !all_finite(differences) {
        return None;
    }
    let non_zero: Vec<f64> = differences.iter().copied().filter(|&difference| difference != 0.0).collect();
    if non_zero.is_empty() {
        return None;
    }
    let magnitudes: Vec<f64> = non_zero.iter().map(|difference| difference.abs()).collect();
    let signed: f64 = rank(&magnitudes).ranks.iter().zip(&non_zero).map(|(rank, sign)| rank.copysign(*sign)).sum();
    let n = non_zero.len() as f64;
    Some(signed / (n * (n + 1.0) / 2.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::fixtures::{SUMMARY, close, optional, vector};

    #[test]
    fn agree_with_the_definition_in_numpy() {
        for case in SUMMARY.cases() {
            let x = vector(&case["differences"]);
            close(&case["name"], rank_biserial(&x), optional(&case["rank_biserial"]), 1e-10);
            let counted = wins_ties_losses(&x).unwrap();
            for (key, count) in [("wins", counted.wins), ("ties", counted.ties), ("losses", counted.losses)] {
                assert_eq!(case[key].as_u64().unwrap(), count as u64, "{key} of {}", case["name"]);
            }
        }
    }

    #[test]
    fn kerbys_example_of_one_unfavourable_pair() {
        // Ranks 1..=5, the smallest against: (14 - 1) / 15.
        assert_eq!(rank_biserial(&[-1.0, 2.0, 3.0, 4.0, 5.0]), Some(13.0 / 15.0));
        assert_eq!(rank_biserial(&[0.0, 0.0]), None);
        assert_eq!(rank_biserial(&[f64::NAN]), None);
        assert_eq!(wins_ties_losses(&[]), None);
        assert_eq!(wins_ties_losses(&[1.0, f64::NAN]), None);
    }

    proptest! {
        #[test]
        fn flipped_signs_flip_the_sign(x in prop::collection::vec(-9_i32..9, 1..40)) {
            let x: Vec<f64> = x.into_iter().map(f64::from).collect();
            let flipped: Vec<f64> = x.iter().map(|x| -x).collect();
            prop_assert_eq!(rank_biserial(&x), rank_biserial(&flipped).map(|r| -r));
            prop_assert!(rank_biserial(&x).is_none_or(|r| r.abs() <= 1.0));
        }
    }
}
