//! Agreement of two orders.

use super::rank::rank;
use super::{all_finite, corrected_mean, finite};

/// Spearman's rank correlation of paired numbers, in [-1, 1]: Pearson's of their midranks (SciPy's `spearmanr`).
///
/// `None` for lists of unequal length or fewer than two pairs, when a number is not finite, or when all numbers of a list
/// are equal.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.len() < 2 || !all_finite(x) || !all_finite(y) {
        return None;
    }
    let (a, b) = (rank(x).ranks, rank(y).ranks);
    let middle = corrected_mean(&a);
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        both += (a - middle) * (b - middle);
        of_a += (a - middle).powi(2);
        of_b += (b - middle).powi(2);
    }
    finite(both / (of_a * of_b).sqrt()).map(|r| r.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::spearman;
    use crate::stats::fixtures::{SPEARMAN, close, optional, vector};

    #[test]
    fn agrees_with_scipy() {
        for case in SPEARMAN.cases() {
            let ours = spearman(&vector(&case["x"]), &vector(&case["y"]));
            close(&case["name"], ours, optional(&case["r"]), 1e-12);
        }
        assert_eq!(spearman(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    }
}
