//! An interval of a mean that does not lean on symmetry.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::bootstrap::{Interval, all_equal};
use super::{all_finite, finite, mean, sd};

/// Interval of the mean of one sample whose distribution may be skewed: Student's, widened on either side as far as the
/// skewness that these numbers leave possible asks for.
///
/// With `t = (mean - mu) / (sd / sqrt(n))` and the skewness `g`, Hall's transformation (1992, *On the removal of skewness
/// by transformation*) of t, `t + g t^2 / (3 sqrt n) + g^2 t^3 / (27 n) + g / (6 sqrt n)`, is monotone and nearer to
/// Student's distribution than t is; inverted, it is an interval. Few numbers say little of their skewness and make it
/// too small, since the long tail is mostly not among them. So the interval is the hull of four: for the skewness of the
/// sample (bias-corrected), for that plus and minus its standard error (under normality, Cramer 1946), and for none,
/// which is Student's.
///
/// No interval of a mean holds for all distributions (Bahadur and Savage 1956); `cargo bench --bench calibration` says
/// how near this one comes. Numbers that are all equal have the interval from their mean to itself. `None` for fewer than
/// three numbers, one that is not finite, or a confidence outside (0, 1).
pub fn skewed_mean_interval(x: &[f64], confidence: f64) -> Option<Interval> {
    if x.len() < 3 || !all_finite(x) || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    if all_equal(x) {
        return mean(x).map(|mean| Interval { low: mean, high: mean });
    }
    let n = x.len() as f64;
    let (mean, sd) = (mean(x)?, sd(x)?);
    let error = sd / n.sqrt();
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.5 + confidence / 2.0);
    let (skewness, apart) = (skewness(x, mean, sd), skewness_error(n));
    let skews = [0.0, skewness - apart, skewness, skewness + apart];
    let (mut below, mut above) = (0.0_f64, 0.0_f64);
    for skew in skews {
        below = below.max(untransformed(t, skew, n));
        above = above.max(-untransformed(-t, skew, n));
    }
    Some(Interval { low: finite(mean - below * error)?, high: finite(mean + above * error)? })
}

/// The t that Hall's transformation takes to `transformed`.
fn untransformed(transformed: f64, skew: f64, n: f64) -> f64 {
    // The transformation is ((1 + s t)^3 - 1) / (3 s) + skew / (6 sqrt n).
    let s = skew / (3.0 * n.sqrt());
    let cube = 3.0 * s * (transformed - s / 2.0);
    // For a skewness near 0 the difference of the root from 1 would be lost to rounding: its series.
    if cube.abs() < 1e-4 {
        return (transformed - s / 2.0) * (1.0 - cube / 3.0 + 5.0 * cube * cube / 9.0);
    }
    ((1.0 + cube).cbrt() - 1.0) / s
}

/// Of a sample, corrected for its bias under normality (G1 of Joanes and Gill 1998). The numbers must not all be equal.
fn skewness(x: &[f64], mean: f64, sd: f64) -> f64 {
    let n = x.len() as f64;
    let cubes: f64 = x.iter().map(|value| ((value - mean) / sd).powi(3)).sum();
    cubes * n / ((n - 1.0) * (n - 2.0))
}

/// Standard error of that skewness under normality.
fn skewness_error(n: f64) -> f64 {
    (6.0 * n * (n - 1.0) / ((n - 2.0) * (n + 1.0) * (n + 3.0))).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Moments;
    use crate::stats::fixtures::{SKEWED_MEAN, close, optional, vector};

    #[test]
    fn agrees_with_roots_that_scipy_finds() {
        let mut defined = 0;
        for case in SKEWED_MEAN.cases() {
            let x = vector(&case["values"]);
            let interval = skewed_mean_interval(&x, case["confidence"].as_f64().unwrap());
            let size = x.iter().fold(0.0_f64, |size, value| size.max(value.abs()));
            let (low, high) = (optional(&case["low"]), optional(&case["high"]));
            let tolerance = 1e-8 * low.into_iter().chain(high).fold(size, |size, end| size.max(end.abs()));
            close(&case["name"], interval.map(|interval| interval.low), low, tolerance);
            close(&case["name"], interval.map(|interval| interval.high), high, tolerance);
            defined += usize::from(interval.is_some());
        }
        assert!(defined > 20, "{defined}");
    }

    #[test]
    fn is_wider_towards_the_long_tail_and_never_narrower_than_students() {
        let x: Vec<f64> = (1..40).map(|i| 1.0 / f64::from(i)).collect();
        let mut moments = Moments::default();
        x.iter().for_each(|value| moments.push(*value));
        let student = moments.mean_interval(0.99).unwrap();
        let interval = skewed_mean_interval(&x, 0.99).unwrap();
        assert!(interval.high > student.high + 0.5 * (student.high - student.low), "{interval:?} {student:?}");
        assert!(interval.low <= student.low + 1e-12);
        let mirrored = skewed_mean_interval(&x.iter().map(|value| -value).collect::<Vec<_>>(), 0.99).unwrap();
        assert!((mirrored.low + interval.high).abs() < 1e-12 && (mirrored.high + interval.low).abs() < 1e-12);
    }

    #[test]
    fn the_series_meets_the_root() {
        for skew in [1e-6, -1e-6, 3e-4, -3e-4, 1e-3, -1e-3] {
            let t = untransformed(5.0, skew, 25.0);
            let hall = t + skew * t * t / (3.0 * 5.0) + skew * skew * t.powi(3) / (27.0 * 25.0) + skew / (6.0 * 5.0);
            assert!((hall - 5.0).abs() < 1e-9, "{skew}: {hall}");
        }
    }

    #[test]
    fn edges() {
        assert_eq!(skewed_mean_interval(&[1.0, 2.0], 0.95), None);
        assert_eq!(skewed_mean_interval(&[1.0, 2.0, f64::NAN], 0.95), None);
        assert_eq!(skewed_mean_interval(&[1.0, 2.0, 3.0], 1.0), None);
        assert_eq!(skewed_mean_interval(&[2.0; 9], 0.95), Some(Interval { low: 2.0, high: 2.0 }));
        assert_eq!(skewed_mean_interval(&[f64::MAX; 9], 0.95), None, "sums overflow");
    }
}
