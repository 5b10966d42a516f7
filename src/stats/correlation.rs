//! Agreement of two orders.

use super::rank::rank;
use super::{all_finite, corrected_mean, finite};

/// Pearson's correlation of paired numbers, in [-1, 1] (SciPy's `pearsonr`).
///
/// `None` for lists of unequal length or fewer than two pairs, when a number is not finite, or when all numbers of a list
/// are equal.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.len() < 2 || !all_finite(x) || !all_finite(y) {
        return None;
    }
    // The mean of equal numbers may be another one by rounding.
    if [x, y].into_iter().any(|numbers| numbers.iter().all(|number| *number == numbers[0])) {
        return None;
    }
    let (middle_x, middle_y) = (corrected_mean(x), corrected_mean(y));
    let (mut both, mut of_x, mut of_y) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        both += (x - middle_x) * (y - middle_y);
        of_x += (x - middle_x).powi(2);
        of_y += (y - middle_y).powi(2);
    }
    // One root is exact where the lists are equal; two do not overflow.
    let product = of_x * of_y;
    let size = if product.is_normal() { product.sqrt() } else { of_x.sqrt() * of_y.sqrt() };
    finite(both / size).map(|r| r.clamp(-1.0, 1.0))
}

/// Spearman's rank correlation of paired numbers, in [-1, 1]: Pearson's of their midranks (SciPy's `spearmanr`).
///
/// `None` as for [`pearson`].
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if !all_finite(x) || !all_finite(y) {
        return None;
    }
    pearson(&rank(x).ranks, &rank(y).ranks)
}

/// Kendall's tau-b of paired numbers, in [-1, 1] (SciPy's `kendalltau`); takes time that grows with the square of their
/// number.
///
/// `None` as for [`pearson`].
pub fn kendall_tau(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.len() < 2 || !all_finite(x) || !all_finite(y) {
        return None;
    }
    let order = |a: f64, b: f64| i64::from(a > b) - i64::from(a < b);
    let (mut agree, mut of_x, mut of_y) = (0i64, 0i64, 0i64);
    for i in 0..x.len() {
        for j in 0..i {
            let (in_x, in_y) = (order(x[i], x[j]), order(y[i], y[j]));
            agree += in_x * in_y;
            of_x += in_x * in_x;
            of_y += in_y * in_y;
        }
    }
    finite(agree as f64 / ((of_x as f64).sqrt() * (of_y as f64).sqrt())).map(|tau| tau.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::{kendall_tau, pearson, spearman};
    use crate::stats::fixtures::{SPEARMAN, close, optional, vector};

    #[test]
    fn agrees_with_scipy() {
        for case in SPEARMAN.cases() {
            let (x, y) = (vector(&case["x"]), vector(&case["y"]));
            close(&case["name"], spearman(&x, &y), optional(&case["r"]), 1e-12);
            close(&case["name"], pearson(&x, &y), optional(&case["pearson"]), 1e-12);
            close(&case["name"], kendall_tau(&x, &y), optional(&case["tau"]), 1e-12);
        }
        assert_eq!(spearman(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    }
}
