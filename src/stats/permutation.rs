//! Sign-flip permutation test of a mean.

use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use super::all_finite;
use super::random::{CHUNK, Purpose, generator};

/// Up to this many non-zero differences all `2^n` signs are counted: two halves of at most `2^15` sums each.
const EXACT_UP_TO: usize = 30;

/// Two-sided p-value of the mean of paired differences against random flips of their signs (Fisher 1935).
///
/// The p-value is the share of sign vectors whose mean is at least as far from 0 as the one observed. All of them are
/// counted, and neither `resamples` nor `seed` matters, for up to 30 non-zero differences; beyond that it is estimated
/// from `resamples` random ones and the observed one, `(count + 1) / (resamples + 1)` (Phipson and Smyth 2010). SciPy's
/// `permutation_test(permutation_type="samples")` gives the same where it enumerates; where it samples, its
/// `alternative="two-sided"` doubles the smaller tail instead, which differs by Monte Carlo error and by at most
/// `1 / (resamples + 1)`. Means that differ by no more than rounding count as equal.
///
/// `None` for no differences, when one is not finite, when their sum overflows, or when samples are needed and
/// `resamples` is 0. Differences that are all zero have p = 1.
pub fn sign_flip_permutation(differences: &[f64], resamples: usize, seed: u64) -> Option<f64> {
    if differences.is_empty() || !all_finite(differences) {
        return None;
    }
    // Flipping a zero changes nothing, so the share is the same without it.
    let non_zero: Vec<f64> = differences.iter().copied().filter(|&difference| difference != 0.0).collect();
    let total: f64 = non_zero.iter().map(|difference| difference.abs()).sum();
    // Twice the bound on the error of a sum in any order: each of the two sums compared has one.
    let rounding = total * (non_zero.len() as f64) * f64::EPSILON;
    if !rounding.is_finite() {
        return None;
    }
    let threshold = non_zero.iter().sum::<f64>().abs() - rounding;
    if threshold <= 0.0 {
        Some(1.0)
    } else if non_zero.len() <= EXACT_UP_TO {
        Some(exact_p(&non_zero, threshold))
    } else if resamples == 0 {
        None
    } else {
        Some(monte_carlo_p(&non_zero, threshold, resamples, seed))
    }
}

/// Share of the `2^n` signed sums whose magnitude reaches a positive threshold. Every sum is one of each half, so sorted
/// halves are walked against each other (Horowitz and Sahni 1974).
fn exact_p(differences: &[f64], threshold: f64) -> f64 {
    let (left, right) = differences.split_at(differences.len() / 2);
    let (left, right) = (signed_sums(left), signed_sums(right));
    let mut reached = right.len();
    let mut count = 0_u64;
    for low in &left {
        while reached > 0 && low + right[reached - 1] >= threshold {
            reached -= 1;
        }
        count += (right.len() - reached) as u64;
    }
    // The sums are symmetric about 0: as many lie below minus the threshold.
    2.0 * count as f64 / 2.0_f64.powi(differences.len() as i32)
}

/// The sums of the differences under all signs, ascending.
fn signed_sums(differences: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for difference in differences {
        sums = sums.iter().flat_map(|sum| [sum - difference, sum + difference]).collect();
    }
    sums.sort_unstable_by(f64::total_cmp);
    sums
}

fn monte_carlo_p(differences: &[f64], threshold: f64, resamples: usize, seed: u64) -> f64 {
    let count: usize = (0..resamples.div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let mut generator = generator(Purpose::SignFlip, seed, chunk);
            let flips = CHUNK.min(resamples - chunk * CHUNK);
            (0..flips).filter(|_| flipped_sum(differences, &mut generator).abs() >= threshold).count()
        })
        .sum();
    (count + 1) as f64 / (resamples + 1) as f64
}

fn flipped_sum(differences: &[f64], generator: &mut impl Rng) -> f64 {
    let mut sum = 0.0;
    for word in differences.chunks(64) {
        let mut signs = generator.next_u64();
        for difference in word {
            sum += f64::from_bits(difference.to_bits() ^ (signs << 63));
            signs >>= 1;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::fixtures::{PERMUTATION, close, optional, vector};

    #[test]
    fn agrees_with_scipy() {
        for case in PERMUTATION.cases() {
            let x = vector(&case["differences"]);
            let name = &case["name"];
            if case["exact"] == true {
                close(name, sign_flip_permutation(&x, 0, 0), optional(&case["p"]), 1e-10);
                continue;
            }
            // Both p-values are shares of random sign vectors (at most, where ours is exact): their difference has a
            // standard deviation of at most sqrt(2 p (1 - p) / resamples). Five of them, and one count.
            let resamples = case["resamples"].as_u64().unwrap() as usize;
            let ours = sign_flip_permutation(&x, resamples, 11).unwrap();
            for key in ["p", "p_of_the_smaller_tail_doubled"] {
                let theirs = case[key].as_f64().unwrap();
                let one = 1.0 / (resamples + 1) as f64;
                // A doubled tail has the spread of twice a share p / 2.
                let sd = (4.0 * theirs.max(one) * (1.0 - theirs / 2.0) / resamples as f64).sqrt();
                close(format!("{name}, {key}"), Some(ours), Some(theirs), 5.0 * sd + one);
            }
        }
    }

    #[test]
    fn monte_carlo_agrees_with_the_exact_count() {
        let x: Vec<f64> = (0..30).map(|i| (i as f64 * 1.7).sin() + 0.25).collect();
        let threshold = x.iter().sum::<f64>() * (1.0 - 1e-12);
        let (exact, resamples) = (exact_p(&x, threshold), 50_000);
        let sd = (exact * (1.0 - exact) / resamples as f64).sqrt();
        assert!(exact > 0.01 && exact < 0.2, "{exact}");
        assert!((monte_carlo_p(&x, threshold, resamples, 3) - exact).abs() < 5.0 * sd);
    }

    #[test]
    fn the_smallest_p_value_counts_the_observed_signs() {
        assert_eq!(sign_flip_permutation(&[1.0; 60], 999, 0), Some(1.0 / 1000.0));
        assert_eq!(sign_flip_permutation(&[1.0; 10], 999, 0), Some(2.0 / 1024.0));
    }

    #[test]
    fn rounding_does_not_break_ties_of_sums() {
        // 0.1 + 0.2 - 0.3 is 5.6e-17 as f64: the observed mean is 0 and every sign vector is as extreme.
        assert_eq!(sign_flip_permutation(&[0.1, 0.2, -0.3], 0, 0), Some(1.0));
        // All but the 6 sign vectors of sum 0 tie or exceed |0.1 + 0.1 + 0.1 - 0.1|.
        assert_eq!(sign_flip_permutation(&[0.1, 0.1, 0.1, -0.1], 0, 0), Some(10.0 / 16.0));
    }

    #[test]
    fn edges() {
        assert_eq!(sign_flip_permutation(&[], 99, 0), None);
        assert_eq!(sign_flip_permutation(&[1.0, f64::NAN], 99, 0), None);
        assert_eq!(sign_flip_permutation(&[f64::MAX, f64::MAX], 99, 0), None);
        assert_eq!(sign_flip_permutation(&[1.0; 31], 0, 0), None);
        assert_eq!(sign_flip_permutation(&[0.0; 50], 0, 0), Some(1.0));
        assert_eq!(sign_flip_permutation(&[3.0], 0, 0), Some(1.0));
    }

    #[test]
    fn equal_seeds_give_equal_bits_on_any_number_of_threads() {
        let x: Vec<f64> = (0..60).map(|i| (i as f64).sin() + 0.2).collect();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| sign_flip_permutation(&x, 5_000, 9))
        };
        assert_eq!(on(1), on(5));
        assert_ne!(sign_flip_permutation(&x, 5_000, 9), sign_flip_permutation(&x, 5_000, 10));
    }

    proptest! {
        #[test]
        fn neither_sign_nor_order_nor_scale_matters(x in prop::collection::vec(-3.0_f64..4.0, 1..14)) {
            let p = sign_flip_permutation(&x, 0, 0);
            prop_assert_eq!(p, sign_flip_permutation(&x.iter().map(|x| -x).collect::<Vec<_>>(), 0, 0));
            prop_assert_eq!(p, sign_flip_permutation(&x.iter().rev().copied().collect::<Vec<_>>(), 0, 0));
            prop_assert_eq!(p, sign_flip_permutation(&x.iter().map(|x| 0.3 * x).collect::<Vec<_>>(), 0, 0));
            // Zeros change the mean but not which signs are as extreme.
            prop_assert_eq!(p, sign_flip_permutation(&[&x[..], &[0.0; 40]].concat(), 0, 0));
        }
    }
}
