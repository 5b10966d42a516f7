//! The standard normal distribution, to full precision.
//!
//! statrs has its density, but its distribution function and quantile only to about 1e-10, while it has the chi-squared
//! distribution to 1e-15; and the square of a standard normal is chi-squared with one degree of freedom.

use statrs::distribution::{Continuous, ContinuousCDF, Normal};
use statrs::function::gamma::checked_gamma_ur;

/// Probability that a standard normal is farther from 0 than z, on either side: the upper regularized incomplete gamma
/// function of 1/2 at z^2 / 2. NaN for NaN.
pub(super) fn two_tails(z: f64) -> f64 {
    let half_square = z * z / 2.0;
    match half_square {
        0.0 => 1.0,
        f64::INFINITY => 0.0,
        _ => checked_gamma_ur(0.5, half_square).unwrap_or(f64::NAN),
    }
}

/// Probability that a standard normal is at most z.
pub(super) fn cdf(z: f64) -> f64 {
    let tail = two_tails(z) / 2.0;
    if z > 0.0 { 1.0 - tail } else { tail }
}

/// Density of the standard normal.
pub(super) fn pdf(z: f64) -> f64 {
    Normal::standard().pdf(z)
}

/// The z below which a standard normal lies with probability p; infinite at 0 and 1, NaN outside [0, 1].
pub(super) fn quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    let z = Normal::standard().inverse_cdf(p);
    // One step of Newton's method squares an error of 1e-10. It works on the nearer tail, which keeps its digits.
    let step = if z > 0.0 { two_tails(z) / 2.0 - (1.0 - p) } else { p - cdf(z) } / pdf(z);
    if step.is_finite() { z + step } else { z }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        // scipy.special.ndtr and ndtri.
        for (z, p) in [
            (-8.0, 6.220960574271785e-16),
            (-1.959963984540054, 0.025),
            (-0.3, 0.3820885778110474),
            (0.0, 0.5),
            (1.0, 0.8413447460685429),
        ] {
            assert!((cdf(z) / p - 1.0).abs() < 1e-13, "{z}: {}", cdf(z));
            assert!((quantile(p) - z).abs() < 1e-13, "{p}: {}", quantile(p));
        }
        assert_eq!([quantile(0.0), quantile(1.0)], [f64::NEG_INFINITY, f64::INFINITY]);
        assert!(quantile(1.5).is_nan() && quantile(f64::NAN).is_nan() && cdf(f64::NAN).is_nan());
        assert_eq!([cdf(f64::NEG_INFINITY), cdf(-1e200), cdf(f64::INFINITY)], [0.0, 0.0, 1.0]);
    }
}
