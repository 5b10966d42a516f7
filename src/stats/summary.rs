//! Mean, median and standard deviation.

use super::{all_finite, finite};

/// Arithmetic mean, in the unit of the numbers; of equal numbers exactly that number.
///
/// `None` for no numbers, or when one is not finite.
pub fn mean(x: &[f64]) -> Option<f64> {
    if x.is_empty() || !all_finite(x) {
        return None;
    }
    finite(corrected_mean(x))
}

/// Mean in two passes: the second adds the mean of what the rounding of the first left over.
pub(super) fn corrected_mean(x: &[f64]) -> f64 {
    let n = x.len() as f64;
    let first = x.iter().sum::<f64>() / n;
    first + x.iter().map(|value| value - first).sum::<f64>() / n
}

/// The mean of the first numbers over the mean of the second: pairs of numerator and denominator.
///
/// `None` for no pairs, when a number is not finite, or when the denominators add up to 0.
pub fn ratio_of_means(pairs: &[(f64, f64)]) -> Option<f64> {
    let (numerators, denominators): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    finite(mean(&numerators)? / mean(&denominators)?)
}

/// Median, in the unit of the numbers: the mean of the middle two when their number is even.
///
/// `None` for no numbers, or when one is not finite.
pub fn median(x: &[f64]) -> Option<f64> {
    if x.is_empty() || !all_finite(x) {
        return None;
    }
    let mut values = x.to_vec();
    let upper = values.len() / 2;
    let (below, &mut high, _) = values.select_nth_unstable_by(upper, f64::total_cmp);
    if x.len() % 2 == 1 {
        return Some(high);
    }
    let low = below.iter().copied().max_by(f64::total_cmp)?;
    Some(low.midpoint(high))
}

/// Standard deviation of a sample (denominator n - 1), in the unit of the numbers.
///
/// `None` for fewer than two numbers, or when one is not finite.
pub fn sd(x: &[f64]) -> Option<f64> {
    if x.len() < 2 {
        return None;
    }
    let mean = mean(x)?;
    let squares = x.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    finite((squares / (x.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixtures::{SUMMARY, close, optional, vector};

    #[test]
    fn agree_with_numpy() {
        for case in SUMMARY.cases() {
            let x = vector(&case["differences"]);
            close(&case["name"], mean(&x), optional(&case["mean"]), 1e-12);
            close(&case["name"], median(&x), optional(&case["median"]), 1e-12);
            close(&case["name"], sd(&x), optional(&case["sd"]), 1e-12);
        }
    }

    #[test]
    fn a_ratio_of_means_weighs_by_the_denominator() {
        // One small denominator makes the mean of ratios 34.
        let pairs = [(1.0, 100.0), (2.0, 100.0), (1.0, 0.01)];
        assert!((ratio_of_means(&pairs).unwrap() - 4.0 / 200.01).abs() < 1e-15);
        assert_eq!(ratio_of_means(&[]), None);
        assert_eq!(ratio_of_means(&[(1.0, 1.0), (1.0, -1.0)]), None);
        assert_eq!(ratio_of_means(&[(f64::NAN, 1.0)]), None);
    }

    #[test]
    fn are_undefined_rather_than_wrong() {
        for x in [&[][..], &[f64::NAN], &[1.0, f64::INFINITY], &[f64::MAX, f64::MAX, f64::MAX]] {
            assert_eq!(mean(x), None, "{x:?}");
        }
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[0.0, f64::NAN]), None);
        assert_eq!(sd(&[1.0]), None);
        assert_eq!(sd(&[1.0, f64::NEG_INFINITY]), None);
    }

    #[test]
    fn equal_numbers_have_exactly_themselves_for_mean_and_no_spread() {
        let x = [0.1; 1001];
        assert_eq!(mean(&x), Some(0.1));
        assert_eq!(median(&x), Some(0.1));
        assert_eq!(sd(&x), Some(0.0));
    }
}
