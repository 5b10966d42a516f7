//! Bias-corrected and accelerated (BCa) bootstrap intervals.

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::random::{CHUNK, Purpose, below, generator};
use super::summary::{corrected_mean, ratio_of_means};
use super::{all_finite, finite, normal};

/// A confidence interval, in the unit of the statistic; `low <= high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// BCa interval of any statistic of one sample (Efron 1987; SciPy's `bootstrap(method="BCa")`).
///
/// `statistic` is called on `resamples` samples with replacement and on the n samples that leave one out, from several
/// threads; it may return NaN where it is undefined. `confidence` is a share such as 0.95. Use
/// [`bca_mean_interval`](super::bca_mean_interval) and [`bca_hodges_lehmann_interval`](super::bca_hodges_lehmann_interval)
/// for their statistics: same resamples for the same seed, and much faster.
///
/// Numbers that are all equal have the interval from the statistic to itself. `None` for fewer than two numbers, one
/// that is not finite, no resamples, a confidence outside (0, 1), and whenever [`bca_endpoints`] is.
pub fn bca_interval(
    x: &[f64],
    statistic: &(dyn Fn(&[f64]) -> f64 + Sync),
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> Option<Interval> {
    if !resamplable(x) {
        return None;
    }
    let estimate = finite(statistic(x))?;
    if all_equal(x) {
        return degenerate(estimate, resamples, confidence);
    }
    let distribution = resample(resamples, seed, Vec::new, |generator, sample| {
        sample.clear();
        sample.extend((0..x.len()).map(|_| x[below(x.len() as u32, generator)]));
        statistic(sample)
    });
    let mut sample = Vec::with_capacity(x.len());
    let leave_one_out = |i| {
        sample.clear();
        sample.extend_from_slice(&x[..i]);
        sample.extend_from_slice(&x[i + 1..]);
        statistic(&sample)
    };
    bca_endpoints(estimate, &distribution, &[(0..x.len()).map(leave_one_out).collect()], confidence)
}

/// BCa interval of the mean of one sample. As [`bca_interval`], with the jackknife in closed form.
pub fn bca_mean_interval(x: &[f64], resamples: usize, confidence: f64, seed: u64) -> Option<Interval> {
    bca_macro_mean_interval(&[x], resamples, confidence, seed)
}

/// BCa interval of the mean of the means of several samples (tasks), each resampled by itself: the bootstrap stratified
/// by task, in which every task counts alike. With several samples the acceleration sums over all of them, as SciPy's
/// `bootstrap` does (Efron and Tibshirani 1993, equation 15.36).
///
/// `None` as for [`bca_interval`], also when one of the samples alone has fewer than two numbers, or for no samples.
pub fn bca_macro_mean_interval<S: AsRef<[f64]> + Sync>(
    strata: &[S],
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> Option<Interval> {
    let strata: Vec<&[f64]> = strata.iter().map(AsRef::as_ref).collect();
    if strata.is_empty() || !strata.iter().all(|stratum| resamplable(stratum)) {
        return None;
    }
    let share = 1.0 / strata.len() as f64;
    let means: Vec<f64> = strata.iter().map(|stratum| corrected_mean(stratum)).collect();
    let estimate = finite(corrected_mean(&means))?;
    if strata.iter().all(|stratum| all_equal(stratum)) {
        return degenerate(estimate, resamples, confidence);
    }
    let rounding = strata.iter().map(|stratum| rounding_of_a_mean(stratum)).fold(0.0, f64::max);
    let distribution = resample(
        resamples,
        seed,
        || (),
        |generator, ()| {
            let mut mean = 0.0;
            for stratum in &strata {
                let n = stratum.len() as u32;
                let sum: f64 = (0..n).map(|_| stratum[below(n, generator)]).sum();
                mean += sum / f64::from(n) * share;
            }
            if (mean - estimate).abs() <= rounding { estimate } else { mean }
        },
    );
    // Leaving x out moves the mean by (mean - x) / (n - 1). Only differences of these matter: the estimate is left off.
    let jackknife: Vec<Vec<f64>> = strata
        .iter()
        .zip(&means)
        .map(|(stratum, mean)| {
            let weight = share / (stratum.len() - 1) as f64;
            stratum.iter().map(|x| (mean - x) * weight).collect()
        })
        .collect();
    bca_endpoints(estimate, &distribution, &jackknife, confidence)
}

/// BCa interval of the mean over several samples (tasks) of a ratio of means, mean numerator over mean denominator, pairs
/// resampled together and each sample by itself: a ratio estimator in which every task counts alike. As
/// [`bca_interval`] for one sample, with the jackknife in closed form; with denominators of 1 it is
/// [`bca_macro_mean_interval`].
///
/// `None` as for that, and when the denominators of a sample, a resample or one that leaves a pair out add up to 0.
pub fn bca_macro_ratio_interval<S: AsRef<[(f64, f64)]> + Sync>(
    strata: &[S],
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> Option<Interval> {
    struct Stratum<'a> {
        pairs: &'a [(f64, f64)],
        ratio: f64,
        /// Sum of the denominators.
        whole: f64,
        /// What rounding can do to the ratio of a resample.
        rounding: f64,
    }
    let mut known = Vec::with_capacity(strata.len());
    for stratum in strata {
        let pairs = stratum.as_ref();
        let (numerators, denominators): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        if !resamplable(&numerators) || !all_finite(&denominators) {
            return None;
        }
        let ratio = ratio_of_means(pairs)?;
        let whole: f64 = denominators.iter().sum();
        let size: f64 =
            pairs.iter().map(|(numerator, denominator)| numerator.abs() + (ratio * denominator).abs()).sum();
        known.push(Stratum { pairs, ratio, whole, rounding: f64::EPSILON * size / (whole / pairs.len() as f64).abs() });
    }
    if known.is_empty() {
        return None;
    }
    let share = 1.0 / known.len() as f64;
    let estimate = finite(corrected_mean(&known.iter().map(|stratum| stratum.ratio).collect::<Vec<f64>>()))?;
    let rounding = known.iter().map(|stratum| stratum.rounding).fold(0.0, f64::max);
    // What a pair is above or below the ratio, in its numerator.
    let residual = |stratum: &Stratum, (numerator, denominator): (f64, f64)| numerator - stratum.ratio * denominator;
    let is_exact = |stratum: &Stratum| {
        let bound = 2.0 * f64::EPSILON;
        stratum.pairs.iter().all(|&pair| residual(stratum, pair).abs() <= bound * pair.0.abs())
    };
    if known.iter().all(is_exact) {
        return degenerate(estimate, resamples, confidence);
    }
    let distribution = resample(
        resamples,
        seed,
        || (),
        |generator, ()| {
            let mut mean = 0.0;
            for stratum in &known {
                let n = stratum.pairs.len() as u32;
                let (mut numerators, mut denominators) = (0.0, 0.0);
                for _ in 0..n {
                    let (numerator, denominator) = stratum.pairs[below(n, generator)];
                    numerators += numerator;
                    denominators += denominator;
                }
                mean += numerators / denominators * share;
            }
            if (mean - estimate).abs() <= rounding { estimate } else { mean }
        },
    );
    // Leaving a pair out moves the ratio by minus its residual over the rest of the denominators.
    let jackknife: Vec<Vec<f64>> = known
        .iter()
        .map(|stratum| {
            let moved = |&pair: &(f64, f64)| -residual(stratum, pair) / (stratum.whole - pair.1) * share;
            stratum.pairs.iter().map(moved).collect()
        })
        .collect();
    bca_endpoints(estimate, &distribution, &jackknife, confidence)
}

/// The arithmetic of the BCa interval: from the statistic of the sample, of its resamples, and of the samples that leave
/// one number out (one list a stratum; one list for one sample) to the endpoints. The level of an endpoint is
/// `Phi(z0 + (z0 + z) / (1 - a (z0 + z)))` with the bias correction z0 (resamples equal to the estimate count half), the
/// acceleration a, and z the normal quantile of the nominal level; the endpoint is that quantile of the resampled
/// statistics, linearly interpolated (definition 7 of Hyndman and Fan 1996). These are SciPy's choices.
///
/// `None` when SciPy's interval is NaN: a number that is not finite, all resampled statistics on one side of the
/// estimate, a jackknife without spread (there is no acceleration; SciPy falls back on nothing, and neither do we). Also
/// `None` where SciPy returns numbers without meaning: `a (z0 + z) >= 1`, beyond the pole of the correction.
pub fn bca_endpoints(estimate: f64, distribution: &[f64], jackknife: &[Vec<f64>], confidence: f64) -> Option<Interval> {
    if distribution.is_empty()
        || !estimate.is_finite()
        || !all_finite(distribution)
        || !jackknife.iter().all(|values| all_finite(values))
        || !is_share(confidence)
    {
        return None;
    }
    let less = distribution.iter().filter(|&&value| value < estimate).count();
    let equal = distribution.iter().filter(|&&value| value == estimate).count();
    let bias = finite(normal::quantile((2 * less + equal) as f64 / (2 * distribution.len()) as f64))?;
    let acceleration = acceleration(jackknife)?;
    let mut sorted = distribution.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let endpoint = |z: f64| {
        let shifted = bias + z;
        let shrink = 1.0 - acceleration * shifted;
        (shrink > 0.0).then(|| quantile(&sorted, normal::cdf(bias + shifted / shrink)))
    };
    let z = normal::quantile((1.0 - confidence) / 2.0);
    Some(Interval { low: endpoint(z)?, high: endpoint(-z)? })
}

/// A sixth of the skewness of the influence of one number. `None` when no number has any.
fn acceleration(jackknife: &[Vec<f64>]) -> Option<f64> {
    let (mut squares, mut cubes) = (0.0, 0.0);
    for values in jackknife {
        let n = values.len() as f64;
        let mean = corrected_mean(values);
        let influence = |value: &f64| (n - 1.0) * (mean - value) / n;
        squares += values.iter().map(|value| influence(value).powi(2)).sum::<f64>();
        cubes += values.iter().map(|value| influence(value).powi(3)).sum::<f64>();
    }
    finite(cubes / squares.powf(1.5) / 6.0)
}

/// Quantile of ascending numbers by linear interpolation between them.
pub(super) fn quantile(sorted: &[f64], level: f64) -> f64 {
    let last = sorted.len() - 1;
    let position = level * last as f64;
    let index = (position as usize).min(last);
    let (low, high) = (sorted[index], sorted[(index + 1).min(last)]);
    let share = position - index as f64;
    // Equal neighbours are themselves, whatever rounding would make of them.
    if low == high { low } else { (1.0 - share) * low + share * high }
}

/// `resamples` values of a function of random numbers, in an order and with bits that do not depend on threads.
pub(super) fn resample<T>(
    resamples: usize,
    seed: u64,
    scratch: impl Fn() -> T + Sync,
    statistic: impl Fn(&mut ChaCha8Rng, &mut T) -> f64 + Sync,
) -> Vec<f64> {
    let mut values = vec![0.0; resamples];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        let mut generator = generator(Purpose::Bootstrap, seed, chunk);
        let mut scratch = scratch();
        for value in values {
            *value = statistic(&mut generator, &mut scratch);
        }
    });
    values
}

pub(super) fn resamplable(x: &[f64]) -> bool {
    x.len() >= 2 && u32::try_from(x.len()).is_ok() && all_finite(x)
}

pub(super) fn all_equal(x: &[f64]) -> bool {
    x.windows(2).all(|pair| pair[0] == pair[1])
}

/// The interval of numbers that are all equal.
pub(super) fn degenerate(value: f64, resamples: usize, confidence: f64) -> Option<Interval> {
    (resamples > 0 && is_share(confidence)).then_some(Interval { low: value, high: value })
}

fn is_share(confidence: f64) -> bool {
    confidence > 0.0 && confidence < 1.0
}

/// What rounding can do to the mean of a resample. A resample whose mean differs by less has the same mean, and that
/// counts: on numbers with few distinct values many resamples do, and each is half a resample below the estimate.
fn rounding_of_a_mean(x: &[f64]) -> f64 {
    f64::EPSILON * x.iter().map(|value| value.abs()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::fixtures::{BOOTSTRAP_ENDPOINTS, BOOTSTRAP_REPEATED, SUMMARY, close, optional, vector, vectors};
    use crate::stats::{bca_hodges_lehmann_interval, mean, median};

    #[test]
    fn endpoints_agree_with_scipy_on_its_own_resamples() {
        let mut defined = 0;
        for case in BOOTSTRAP_ENDPOINTS.cases() {
            let interval = bca_endpoints(
                case["estimate"].as_f64().unwrap(),
                &vector(&case["distribution"]),
                &vectors(&case["jackknife"]),
                case["confidence"].as_f64().unwrap(),
            );
            let name = &case["name"];
            close(name, interval.map(|interval| interval.low), optional(&case["low"]), 1e-10);
            close(name, interval.map(|interval| interval.high), optional(&case["high"]), 1e-10);
            defined += usize::from(interval.is_some());
        }
        assert!(defined > 12, "{defined}");
    }

    #[test]
    fn intervals_agree_with_scipy_within_monte_carlo_error() {
        for case in BOOTSTRAP_REPEATED.cases() {
            let strata = vectors(&case["strata"]);
            let resamples = case["resamples"].as_u64().unwrap() as usize;
            let interval = match case["statistic"].as_str().unwrap() {
                "mean" => bca_mean_interval(&strata[0], resamples, 0.95, 1),
                "macro_mean" => bca_macro_mean_interval(&strata, resamples, 0.95, 1),
                "median" => {
                    let statistic = |x: &[f64]| median(x).unwrap_or(f64::NAN);
                    bca_interval(&strata[0], &statistic, resamples, 0.95, 1)
                }
                "hodges_lehmann" => bca_hodges_lehmann_interval(&strata[0], resamples, 0.95, 1),
                other => panic!("{other}"),
            };
            let number = |key: &str| case[key].as_f64().unwrap();
            // Theirs is a mean over `runs` seeds, ours one more seed: the difference has this standard deviation, the
            // spread over seeds being itself estimated. Where every seed hits the same value there is no spread.
            let sds = 5.0 * (1.0 + 1.0 / number("runs")).sqrt();
            for (key, end) in [("low", interval.map(|i| i.low)), ("high", interval.map(|i| i.high))] {
                let tolerance = sds * number(&format!("{key}_sd")) + 1e-10;
                close(format!("{}, {key}", case["name"]), end, Some(number(key)), tolerance);
            }
        }
    }

    #[test]
    fn the_fast_path_of_the_mean_is_the_general_one() {
        for name in ["n12", "n12_tenths", "n60_skewed", "n400_skewed"] {
            let x = vector(&SUMMARY.case(name)["differences"]);
            let statistic = |x: &[f64]| mean(x).unwrap_or(f64::NAN);
            let general = bca_interval(&x, &statistic, 2_000, 0.95, 3).unwrap();
            let fast = bca_mean_interval(&x, 2_000, 0.95, 3).unwrap();
            // On tenths some resampled means differ from the estimate by rounding alone: the fast path knows.
            let tolerance = if name == "n12_tenths" { 5e-3 } else { 1e-10 };
            close(name, Some(fast.low), Some(general.low), tolerance);
            close(name, Some(fast.high), Some(general.high), tolerance);
        }
    }

    #[test]
    fn the_fast_path_of_a_ratio_is_the_general_one() {
        // The general bootstrap draws places; the statistic looks up the pairs that stand there.
        for (name, seed) in [("n12", 3), ("n60_skewed", 4), ("n400_skewed", 5)] {
            let x = vector(&SUMMARY.case(name)["differences"]);
            let pairs: Vec<(f64, f64)> =
                x.iter().enumerate().map(|(i, x)| (*x, 0.2 + ((i * 7) % 11) as f64 + x.abs())).collect();
            let places: Vec<f64> = (0..x.len()).map(|i| i as f64).collect();
            let statistic = |places: &[f64]| {
                let chosen: Vec<(f64, f64)> = places.iter().map(|place| pairs[*place as usize]).collect();
                ratio_of_means(&chosen).unwrap_or(f64::NAN)
            };
            let general = bca_interval(&places, &statistic, 2_000, 0.95, seed).unwrap();
            let fast = bca_macro_ratio_interval(&[&pairs[..]], 2_000, 0.95, seed).unwrap();
            close(name, Some(fast.low), Some(general.low), 1e-10);
            close(name, Some(fast.high), Some(general.high), 1e-10);
        }
    }

    #[test]
    fn a_ratio_over_ones_is_a_mean() {
        let strata: Vec<Vec<f64>> = ["n12", "n60_skewed"].map(|name| vector(&SUMMARY.case(name)["differences"])).into();
        let ones: Vec<Vec<(f64, f64)>> = strata.iter().map(|x| x.iter().map(|x| (*x, 1.0)).collect()).collect();
        for count in [1, 2] {
            let mean = bca_macro_mean_interval(&strata[..count], 1_000, 0.95, 8).unwrap();
            let ratio = bca_macro_ratio_interval(&ones[..count], 1_000, 0.95, 8).unwrap();
            close(count, Some(ratio.low), Some(mean.low), 1e-12);
            close(count, Some(ratio.high), Some(mean.high), 1e-12);
        }
        let proportional = [(0.1, 1.0), (0.3, 3.0), (0.7, 7.0)];
        let point = bca_macro_ratio_interval(&[proportional], 100, 0.95, 0).unwrap();
        assert!((point.low - 0.1).abs() < 1e-15 && point.low == point.high);
        assert_eq!(bca_macro_ratio_interval(&[[(1.0, 1.0), (2.0, -1.0)]], 100, 0.95, 0), None);
        assert_eq!(bca_macro_ratio_interval(&[[(1.0, 1.0)]], 100, 0.95, 0), None);
        assert_eq!(bca_macro_ratio_interval(&[[(1.0, 1.0), (2.0, f64::NAN)]], 100, 0.95, 0), None);
        assert_eq!(bca_macro_ratio_interval::<Vec<(f64, f64)>>(&[], 100, 0.95, 0), None);
    }

    #[test]
    fn equal_numbers_have_a_degenerate_interval() {
        let point = Some(Interval { low: 0.1, high: 0.1 });
        assert_eq!(bca_mean_interval(&[0.1; 20], 100, 0.95, 0), point);
        assert_eq!(bca_interval(&[0.1; 20], &|x| x[0], 100, 0.95, 0), point);
        assert_eq!(bca_macro_mean_interval(&[[0.1; 2], [0.1; 2]], 100, 0.95, 0), point);
    }

    #[test]
    fn what_is_undefined_is_none() {
        let x = [1.0, 2.0, 4.0, 8.0];
        for bad in [&[][..], &[1.0], &[1.0, f64::NAN], &[f64::INFINITY, 1.0]] {
            assert_eq!(bca_mean_interval(bad, 100, 0.95, 0), None, "{bad:?}");
            assert_eq!(bca_interval(bad, &|x| x[0], 100, 0.95, 0), None, "{bad:?}");
            assert_eq!(bca_macro_mean_interval(&[&x[..], bad], 100, 0.95, 0), None, "{bad:?}");
        }
        assert_eq!(bca_macro_mean_interval::<Vec<f64>>(&[], 100, 0.95, 0), None);
        for confidence in [0.0, 1.0, -0.5, f64::NAN] {
            assert_eq!(bca_mean_interval(&x, 100, confidence, 0), None);
            assert_eq!(bca_mean_interval(&[0.1; 4], 100, confidence, 0), None);
        }
        assert_eq!(bca_mean_interval(&x, 0, 0.95, 0), None);
        assert_eq!(bca_mean_interval(&[0.1; 4], 0, 0.95, 0), None);
        assert_eq!(bca_mean_interval(&[f64::MAX, f64::MAX, 0.0], 100, 0.95, 0), None);
        // A constant has no acceleration, and a statistic may be undefined on some resamples.
        assert_eq!(bca_interval(&x, &|_| 1.0, 100, 0.95, 0), None);
        assert_eq!(bca_interval(&x, &|x| if x[0] == 8.0 { f64::NAN } else { x[0] }, 100, 0.95, 0), None);
        assert_eq!(bca_endpoints(0.0, &[], &[vec![0.0, 1.0]], 0.95), None);
        assert_eq!(bca_endpoints(0.0, &[-1.0, 1.0], &[], 0.95), None);
        // All on one side of the estimate.
        assert_eq!(bca_endpoints(0.0, &[1.0, 2.0], &[vec![0.0, 1.0]], 0.95), None);
        assert_eq!(bca_endpoints(0.0, &[-1.0, -2.0], &[vec![0.0, 1.0]], 0.95), None);
    }

    #[test]
    fn beyond_the_pole_of_the_correction_there_is_no_interval() {
        // The acceleration is nearly 1/6, the most that one sample can have: the pole is at six standard deviations.
        let mut x = [0.0; 100];
        x[0] = 1.0;
        assert!(bca_mean_interval(&x, 1_000, 0.95, 0).is_some());
        assert_eq!(bca_mean_interval(&x, 1_000, 1.0 - 1e-11, 0), None);
    }

    #[test]
    fn equal_seeds_give_equal_bits_on_any_number_of_threads() {
        let x: Vec<f64> = (0..80).map(|i| (i as f64).sin() + 0.2).collect();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let statistic = |x: &[f64]| median(x).unwrap_or(f64::NAN);
            pool.install(|| {
                [
                    bca_mean_interval(&x, 1_000, 0.95, 9),
                    bca_hodges_lehmann_interval(&x, 1_000, 0.95, 9),
                    bca_interval(&x, &statistic, 1_000, 0.95, 9),
                ]
            })
        };
        assert_eq!(on(1), on(7));
        assert_ne!(bca_mean_interval(&x, 1_000, 0.95, 9), bca_mean_interval(&x, 1_000, 0.95, 10));
    }

    #[test]
    fn a_seed_means_the_same_resamples_for_ever() {
        // Recorded seeds must reproduce published intervals: if this fails, the random numbers have changed.
        let Interval { low, high } = bca_mean_interval(&[0.5, -1.0, 2.25, 3.0, 0.75, -0.25], 1_000, 0.95, 42).unwrap();
        close("low", Some(low), Some(-0.125), 1e-12);
        close("high", Some(high), Some(2.0), 1e-12);
    }

    #[test]
    fn quantiles_are_linearly_interpolated() {
        let x = [1.0, 2.0, 4.0, 8.0];
        let levels = [0.0, 0.25, 0.5, 0.75, 1.0];
        assert_eq!(levels.map(|level| quantile(&x, level)), [1.0, 1.75, 3.0, 5.0, 8.0]);
        assert_eq!(quantile(&[3.0], 0.7), 3.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn interval_of_the_mean_moves_and_scales_with_the_numbers(
            x in prop::collection::vec(-2.0_f64..3.0, 5..40), by in -10.0_f64..10.0, seed: u64
        ) {
            let ends = |x: &[f64]| bca_mean_interval(x, 300, 0.9, seed).map(|i| (i.low, i.high));
            if let Some((low, high)) = ends(&x) {
                prop_assert!(low <= high);
                let (l, h) = ends(&x.iter().map(|x| x + by).collect::<Vec<_>>()).unwrap();
                prop_assert!((l - low - by).abs() < 1e-9 && (h - high - by).abs() < 1e-9);
                let (l, h) = ends(&x.iter().map(|x| x * by).collect::<Vec<_>>()).unwrap();
                let (scaled_low, scaled_high) = if by < 0.0 { (high * by, low * by) } else { (low * by, high * by) };
                prop_assert!((l - scaled_low).abs() < 1e-9 && (h - scaled_high).abs() < 1e-9);
            }
        }

        #[test]
        fn tenths_have_the_interval_of_whole_numbers(x in prop::collection::vec(-5_i32..6, 5..40), seed: u64) {
            let whole: Vec<f64> = x.iter().copied().map(f64::from).collect();
            let tenths: Vec<f64> = whole.iter().map(|x| x / 10.0).collect();
            for interval in [bca_mean_interval, bca_hodges_lehmann_interval] {
                let (whole, tenths) = (interval(&whole, 300, 0.9, seed), interval(&tenths, 300, 0.9, seed));
                prop_assert_eq!(whole.is_some(), tenths.is_some());
                if let (Some(whole), Some(tenths)) = (whole, tenths) {
                    prop_assert!((whole.low / 10.0 - tenths.low).abs() < 1e-12);
                    prop_assert!((whole.high / 10.0 - tenths.high).abs() < 1e-12);
                }
            }
        }
    }
}
