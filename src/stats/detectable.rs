//! What a sample could have shown.

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::gamma::ln_gamma;

use super::{finite, normal};

/// The smallest difference of means, in the unit of `sd`, that a two-sided paired t-test of `n` pairs whose differences
/// have this standard deviation shows at level `alpha` with probability `power`: the answer to "could this sample have
/// told them apart at all?". From the noncentral t distribution, without an approximation.
///
/// `None` for fewer than two pairs, a standard deviation that is negative or not finite, or an `alpha` or a `power`
/// that is not between 0 and 1 or a power below `alpha`. 0 for a standard deviation of 0.
pub fn smallest_detectable_difference(n: usize, sd: f64, alpha: f64, power: f64) -> Option<f64> {
    let is_share = |share: f64| share > 0.0 && share < 1.0;
    let has_answer = is_share(alpha) && is_share(power) && power > alpha;
    if n < 2 || !sd.is_finite() || sd < 0.0 || !has_answer {
        return None;
    }
    let freedom = (n - 1) as f64;
    let critical = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(1.0 - alpha / 2.0);
    let chi = Chi::new(freedom, critical);
    // The power grows with the noncentrality; beyond the upper end it is 1 to all digits.
    let (mut low, mut high) = (0.0_f64, critical + 10.0);
    while power_at(&chi, critical, high) < power {
        high *= 2.0;
        if !high.is_finite() {
            return None;
        }
    }
    while high - low > 1e-10 * high {
        let middle = low.midpoint(high);
        if power_at(&chi, critical, middle) < power {
            low = middle;
        } else {
            high = middle;
        }
    }
    finite(high * sd / (n as f64).sqrt())
}

/// Probability that |t| exceeds the critical value, t being noncentral: the mean over s, a chi variable over the root of
/// its degrees of freedom, of the probability that a normal variable about `noncentrality` is beyond `critical * s`.
fn power_at(chi: &Chi, critical: f64, noncentrality: f64) -> f64 {
    let beyond = |s: f64| normal::cdf(noncentrality - critical * s) + normal::cdf(-noncentrality - critical * s);
    chi.nodes.iter().map(|(s, weight)| beyond(*s) * weight).sum()
}

/// The distribution of a sample's standard deviation over the true one, as points with weights.
struct Chi {
    nodes: Vec<(f64, f64)>,
}

impl Chi {
    /// Points close enough for [`power_at`], which turns from 0 to 1 within about `1 / critical`.
    fn new(freedom: f64, critical: f64) -> Chi {
        // Density of s: 2 (v/2)^(v/2) / Gamma(v/2) s^(v-1) exp(-v s^2 / 2). Integrated over ln s, where it vanishes
        // smoothly at both ends, the trapezoidal rule converges exponentially.
        let scale = 2.0_f64.ln() + freedom / 2.0 * (freedom / 2.0).ln() - ln_gamma(freedom / 2.0);
        let density = |t: f64| (scale + freedom * t - freedom / 2.0 * (2.0 * t).exp()).exp();
        // Standard deviation of ln s is about 1 / sqrt(2 v); for one degree of freedom the left tail falls as s itself.
        let width = 1.0 / (2.0 * freedom).sqrt();
        let (from, to, step) =
            (-(40.0 / freedom).max(14.0 * width), (8.0 * width).min(4.0), (width / 12.0).min(0.25 / critical));
        let steps = ((to - from) / step).ceil() as usize;
        let nodes = (0..=steps)
            .map(|i| from + step * i as f64)
            .map(|t| (t.exp(), density(t) * step))
            .filter(|(_, weight)| *weight > 1e-18)
            .collect();
        Chi { nodes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixtures::{DETECTABLE, close, optional};

    #[test]
    fn agrees_with_scipys_noncentral_t() {
        for case in DETECTABLE.cases() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let n = case["n"].as_u64().unwrap() as usize;
            let ours = smallest_detectable_difference(n, number("sd"), number("alpha"), number("power"));
            let theirs = optional(&case["difference"]);
            close(&case, ours, theirs, 1e-6 * theirs.unwrap_or(1.0));
        }
    }

    #[test]
    fn edges() {
        assert_eq!(smallest_detectable_difference(1, 1.0, 0.05, 0.8), None);
        assert_eq!(smallest_detectable_difference(9, f64::NAN, 0.05, 0.8), None);
        assert_eq!(smallest_detectable_difference(9, 1.0, 0.9, 0.8), None);
        assert_eq!(smallest_detectable_difference(9, 0.0, 0.05, 0.8), Some(0.0));
        let of = |n| smallest_detectable_difference(n, 2.0, 0.05, 0.8).unwrap();
        assert!([2, 3, 5, 25, 26, 500, 5000].map(of).windows(2).all(|pair| pair[0] > pair[1]));
    }
}
