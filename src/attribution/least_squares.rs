//! Weighted least squares, small and in double precision.

use ndarray::{Array1, Array2};

/// A symmetric positive semidefinite matrix as `L L'` (Cholesky).
pub(super) struct Factor {
    lower: Array2<f64>,
    /// What had to be added to the diagonal because the matrix is singular, or nearly so.
    pub ridge: f64,
}

impl Factor {
    /// Where a pivot is lost in rounding the diagonal is raised, at first by a trillionth of its mean, until none is.
    /// A matrix with a number in it that is none gives a factor whose solutions are none.
    pub fn of(matrix: &Array2<f64>) -> Self {
        let size = matrix.nrows();
        let mean = matrix.diag().sum() / size.max(1) as f64;
        let least = f64::EPSILON * size as f64 * mean;
        let step = if mean > 0.0 { 1e-12 * mean } else { 1.0 };
        let ridges = std::iter::once(0.0).chain((0..12).map(|i| step * f64::powi(10.0, i)));
        let factored = |ridge: f64| Some(Factor { lower: cholesky(matrix, ridge, least)?, ridge });
        ridges
            .into_iter()
            .find_map(factored)
            .unwrap_or_else(|| Factor { lower: Array2::from_elem(matrix.dim(), f64::NAN), ridge: f64::NAN })
    }

    /// `x` with `L L' x = right`.
    pub fn solve(&self, right: &Array1<f64>) -> Array1<f64> {
        let (lower, mut x) = (&self.lower, right.clone());
        for row in 0..x.len() {
            for column in 0..row {
                x[row] -= lower[[row, column]] * x[column];
            }
            x[row] /= lower[[row, row]];
        }
        for row in (0..x.len()).rev() {
            for column in row + 1..x.len() {
                x[row] -= lower[[column, row]] * x[column];
            }
            x[row] /= lower[[row, row]];
        }
        x
    }
}

/// The lower factor; `None` where a pivot is no more than `least`.
fn cholesky(matrix: &Array2<f64>, ridge: f64, least: f64) -> Option<Array2<f64>> {
    let size = matrix.nrows();
    let mut lower = Array2::<f64>::zeros((size, size));
    for row in 0..size {
        for column in 0..=row {
            let (left, right) = (lower.row(row), lower.row(column));
            let done: f64 = (0..column).map(|k| left[k] * right[k]).sum();
            let rest = matrix[[row, column]] - done;
            lower[[row, column]] = if row == column {
                // Also false where it is not a number.
                if rest + ridge > least { (rest + ridge).sqrt() } else { return None }
            } else {
                rest / lower[[column, column]]
            };
        }
    }
    Some(lower)
}

/// How well a fit describes values, each with its weight.
pub(super) struct Fit {
    /// Square root of the weighted mean square of what is left, in units of the values.
    pub residual: f64,
    /// The share of the weighted variance that is described; absent where there is none.
    pub r_squared: Option<f64>,
}

impl Fit {
    /// `points`: a weight, the value, and what the fit says.
    pub fn of(points: impl Iterator<Item = (f64, f64, f64)> + Clone) -> Self {
        let sum = |of: &dyn Fn((f64, f64, f64)) -> f64| points.clone().map(of).sum::<f64>();
        let weight = sum(&|(weight, ..)| weight);
        let mean = sum(&|(weight, value, _)| weight * value) / weight;
        let left = sum(&|(weight, value, fitted)| weight * (value - fitted).powi(2)) / weight;
        let all = sum(&|(weight, value, _)| weight * (value - mean).powi(2)) / weight;
        Fit { residual: left.sqrt(), r_squared: (all > 0.0).then(|| 1.0 - left / all) }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_regular_system_is_solved_as_it_is() {
        let matrix = array![[4.0, 2.0, 0.5], [2.0, 5.0, -1.0], [0.5, -1.0, 3.0]];
        let solution = array![1.0, -2.0, 0.25];
        let factor = Factor::of(&matrix);
        assert_eq!(factor.ridge, 0.0);
        let error = (factor.solve(&matrix.dot(&solution)) - solution).mapv(f64::abs).sum();
        assert!(error < 1e-14, "{error}");
    }

    #[test]
    fn a_singular_system_gets_the_least_ridge_and_a_solution() {
        // Two tokens that never come apart share what they do.
        let matrix = array![[1.0, 1.0], [1.0, 1.0]];
        let factor = Factor::of(&matrix);
        assert!(factor.ridge > 0.0 && factor.ridge < 1e-9, "{}", factor.ridge);
        let found = factor.solve(&array![2.0, 2.0]);
        assert!(found.iter().all(|x| (x - 1.0).abs() < 1e-3), "{found}");
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let factor = Factor::of(&array![[1.0, f64::NAN], [f64::NAN, 1.0]]);
        assert!(factor.solve(&array![1.0, 1.0]).iter().all(|x| x.is_nan()));
        assert!(Factor::of(&Array2::zeros((2, 2))).solve(&array![0.0, 0.0]).iter().all(|&x| x == 0.0));
    }

    #[test]
    fn a_fit_is_measured() {
        let exact = Fit::of([(1.0, 2.0, 2.0), (3.0, 4.0, 4.0)].into_iter());
        assert_eq!((exact.residual, exact.r_squared), (0.0, Some(1.0)));
        let mean = Fit::of([(1.0, 1.0, 2.5), (3.0, 3.0, 2.5)].into_iter());
        assert_eq!((mean.residual, mean.r_squared), (0.75_f64.sqrt(), Some(0.0)));
        assert_eq!(Fit::of([(1.0, 3.0, 3.0)].into_iter()).r_squared, None);
    }
}
