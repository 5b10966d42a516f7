//! Where a series of numbers changes its level.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{all_finite, median, summary::corrected_mean};

/// Chance that a series without any step is said to have one.
const FALSE_ALARM: f64 = 0.001;
/// With fewer numbers no noise can be told from a step.
const FEWEST: usize = 8;
/// Differences below this, in units of the largest number, are rounding.
const ROUNDING: f64 = 1e-6;

/// The places at which the level of a series changes, ascending: each is the first number of the new level.
///
/// Binary segmentation (Scott and Knott 1974): the split with the largest difference of means on its sides, in units of
/// the noise, is a step where that is beyond Student's t at one in a thousand over all splits; then each side by itself.
/// The noise is that of one number to the next (the median of the absolute differences), so that steps and slow drifts
/// do not hide in it. A series that repeats the same number has no noise, and any change is a step.
///
/// None for fewer than two numbers, or where one is not finite; and for fewer than eight that are not nearly all equal.
pub fn steps(series: &[f64]) -> Vec<usize> {
    let mut found = Vec::new();
    if series.len() < 2 || !all_finite(series) {
        return found;
    }
    let differences: Vec<f64> = series.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let largest = series.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    // Of normal noise the median of such differences is 0.954 standard deviations.
    let noise = median(&differences).unwrap_or(0.0) / 0.954;
    let rounding = ROUNDING * largest;
    if noise <= rounding {
        found.extend((1..series.len()).filter(|&i| differences[i - 1] > rounding));
        return found;
    }
    if series.len() >= FEWEST {
        let n = series.len() as f64;
        let level = FALSE_ALARM / (n - 1.0) / 2.0;
        let Ok(t) = StudentsT::new(0.0, 1.0, n - 2.0) else { return found };
        split(series, 0, noise, t.inverse_cdf(1.0 - level), &mut found);
        found.sort_unstable();
    }
    found
}

fn split(series: &[f64], offset: usize, noise: f64, critical: f64, found: &mut Vec<usize>) {
    let n = series.len();
    let apart = |at: usize| {
        let (left, right) = series.split_at(at);
        let error = noise * (1.0 / left.len() as f64 + 1.0 / right.len() as f64).sqrt();
        (corrected_mean(left) - corrected_mean(right)).abs() / error
    };
    let best = (1..n).map(|at| (at, apart(at))).max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
    if let Some((at, distance)) = best
        && distance > critical
    {
        found.push(offset + at);
        let (left, right) = series.split_at(at);
        split(left, offset, noise, critical, found);
        split(right, offset + at, noise, critical, found);
    }
}

/// The level of the series from each step to the next: one more than there are steps.
pub fn levels(series: &[f64], steps: &[usize]) -> Vec<f64> {
    let ends = steps.iter().copied().chain([series.len()]);
    let mut start = 0;
    let mut levels = Vec::new();
    for end in ends.filter(|end| *end <= series.len()) {
        if end > start {
            levels.push(corrected_mean(&series[start..end]));
        }
        start = end;
    }
    levels
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn noise(seed: u64, n: usize) -> Vec<f64> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        // The sum of twelve uniform numbers is nearly normal, with a standard deviation of 1.
        (0..n).map(|_| (0..12).map(|_| generator.random_range(-0.5..0.5)).sum()).collect()
    }

    #[test]
    fn noise_alone_has_no_steps() {
        let with_steps = (0..400).filter(|seed| !steps(&noise(*seed, 20)).is_empty()).count();
        assert!(with_steps <= 8, "{with_steps} of 400");
        assert!(steps(&noise(1, 300)).is_empty());
    }

    #[test]
    fn a_step_and_a_slow_drift_are_found() {
        let mut found_near = 0;
        for seed in 0..50 {
            let series: Vec<f64> =
                noise(seed, 30).iter().enumerate().map(|(i, x)| 100.0 + x + if i >= 18 { 6.0 } else { 0.0 }).collect();
            let steps = steps(&series);
            found_near += usize::from(steps.len() == 1 && steps[0].abs_diff(18) <= 1);
        }
        assert!(found_near >= 48, "{found_near} of 50");
        // Three changes of 4 %, each under a margin of 5 %.
        let drifting: Vec<f64> =
            noise(3, 40).iter().enumerate().map(|(i, x)| 100.0 - 4.0 * (i / 10) as f64 + 0.3 * x).collect();
        let found = steps(&drifting);
        assert_eq!(found, [10, 20, 30]);
        let levels = levels(&drifting, &found);
        assert!((levels[3] / levels[0] - 0.88).abs() < 0.01, "{levels:?}");
        // A ramp without any step.
        let ramp: Vec<f64> = noise(4, 60).iter().enumerate().map(|(i, x)| 100.0 - 0.3 * i as f64 + x).collect();
        assert!(!steps(&ramp).is_empty());
    }

    #[test]
    fn what_repeats_itself_has_no_noise() {
        assert!(steps(&[5.0; 9]).is_empty());
        assert_eq!(steps(&[5.0, 5.0, 4.8, 4.8]), [2]);
        assert!(steps(&[5.0, 5.0 + 1e-9, 5.0]).is_empty(), "rounding");
        assert_eq!(levels(&[5.0, 5.0, 4.0, 4.0], &[2]), [5.0, 4.0]);
        assert!(steps(&[1.0, f64::NAN, 2.0]).is_empty());
        assert!(steps(&[1.0]).is_empty() && levels(&[], &[]).is_empty());
    }
}
