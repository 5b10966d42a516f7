//! Rules that integrate over `[0, 1]` by points and weights.

use std::f64::consts::PI;

/// Points and weights of Gauss and Legendre, exact for polynomials up to degree `2 n - 1`. The roots of the Legendre
/// polynomial by Newton's method from Tricomi's estimate.
pub fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let legendre = |x: f64| {
        let (mut previous, mut current) = (1.0, x);
        for k in 2..=n {
            let k = k as f64;
            (previous, current) = (current, ((2.0 * k - 1.0) * x * current - (k - 1.0) * previous) / k);
        }
        let derivative = n as f64 * (x * current - previous) / (x * x - 1.0);
        (current, derivative)
    };
    (0..n)
        .map(|i| {
            let mut x = -(PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..100 {
                let (value, derivative) = legendre(x);
                slope = derivative;
                let step = value / derivative;
                x -= step;
                if step.abs() < 1e-16 {
                    break;
                }
            }
            (0.5 * (x + 1.0), 1.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

/// Points and weights of Fejér's second rule, exact for polynomials up to degree `n - 1`, ascending: the inner extrema
/// of a Chebyshev polynomial. The points of n are those of `2 n + 1` at odd places, so a rule can be doubled and every
/// value used again; neither end of the interval is among them. Weights by the closed form of Davis and Rabinowitz
/// (Methods of Numerical Integration, 1984, section 2.5.5).
pub fn fejer(n: usize) -> Vec<(f64, f64)> {
    let parts = n + 1;
    (1..=n)
        .map(|i| {
            // The number of terms is that of the odd numbers up to n.
            let angle = PI * i as f64 / parts as f64;
            let sum: f64 = (1..=parts / 2).map(|k| 2 * k - 1).map(|odd| (odd as f64 * angle).sin() / odd as f64).sum();
            let weight = 4.0 * angle.sin() / parts as f64 * sum;
            (0.5 * (1.0 - angle.cos()), 0.5 * weight)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integral(points: &[(f64, f64)], f: impl Fn(f64) -> f64) -> f64 {
        points.iter().map(|(x, w)| w * f(*x)).sum()
    }

    #[test]
    fn rules_are_exact_for_polynomials() {
        for n in [1, 2, 5, 20, 50] {
            for (points, degrees) in [(gauss_legendre(n), 2 * n), (fejer(n), n)] {
                assert_eq!(points.len(), n);
                for degree in 0..degrees {
                    let sum = integral(&points, |x| x.powi(degree as i32));
                    let exact = 1.0 / (degree as f64 + 1.0);
                    assert!((sum - exact).abs() < 1e-13, "{n} points, degree {degree}: {sum} is not {exact}");
                }
            }
        }
    }

    #[test]
    fn doubling_fejers_rule_keeps_its_points() {
        for n in [1, 3, 15, 31, 255] {
            let (rule, doubled) = (fejer(n), fejer(2 * n + 1));
            for (i, (x, _)) in rule.iter().enumerate() {
                assert!((x - doubled[2 * i + 1].0).abs() < 1e-15, "{n}: point {i}");
            }
            assert!(rule.iter().all(|(x, w)| *x > 0.0 && *x < 1.0 && *w > 0.0), "{n}");
        }
    }

    #[test]
    fn both_converge_where_the_integrand_is_smooth() {
        let exact = (5.0f64).atan() / 5.0;
        let error = |points: Vec<(f64, f64)>| (integral(&points, |x| 1.0 / (1.0 + 25.0 * x * x)) - exact).abs();
        assert!(error(gauss_legendre(31)) < 1e-10);
        assert!(error(fejer(31)) < 1e-6);
        assert!(error(fejer(63)) < 1e-10);
    }
}
