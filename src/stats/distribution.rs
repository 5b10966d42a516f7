//! The shape of a sample in few numbers.

use super::bootstrap::quantile;
use super::{all_finite, mean};

/// How numbers are distributed.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    pub mean: f64,
    /// 5, 25, 50, 75 and 95 %, linearly interpolated (definition 7 of Hyndman and Fan 1996; numpy's `quantile`).
    pub quantiles: [f64; 5],
    /// The smallest and the largest.
    pub range: (f64, f64),
    /// How many numbers lie in each of equally wide parts of the range; the largest is in the last one.
    pub histogram: Vec<usize>,
}

/// `None` for no numbers, no parts, or when a number is not finite.
pub fn distribution(x: &[f64], parts: usize) -> Option<Distribution> {
    if parts == 0 || !all_finite(x) {
        return None;
    }
    let mean = mean(x)?;
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
    let width = high / parts as f64 - low / parts as f64;
    let mut histogram = vec![0; parts];
    for value in &sorted {
        let part = if width > 0.0 { ((value - low) / width) as usize } else { 0 };
        histogram[part.min(parts - 1)] += 1;
    }
    Some(Distribution {
        mean,
        quantiles: [0.05, 0.25, 0.5, 0.75, 0.95].map(|level| quantile(&sorted, level)),
        range: (low, high),
        histogram,
    })
}

#[cfg(test)]
mod tests {
    use super::distribution;
    use crate::stats::fixtures::{QUANTILES, close, vector};

    #[test]
    fn agrees_with_numpy() {
        for case in QUANTILES.cases() {
            let ours = distribution(&vector(&case["values"]), 12).unwrap();
            for (ours, theirs) in ours.quantiles.into_iter().zip(vector(&case["quantiles"])) {
                close(&case["name"], Some(ours), Some(theirs), 1e-12);
            }
            let counts: Vec<usize> = vector(&case["histogram"]).into_iter().map(|count| count as usize).collect();
            assert_eq!(ours.histogram, counts, "{}", case["name"]);
        }
    }

    #[test]
    fn edges() {
        assert_eq!(distribution(&[], 4), None);
        assert_eq!(distribution(&[1.0, f64::NAN], 4), None);
        assert_eq!(distribution(&[2.0; 3], 4).unwrap().histogram, [3, 0, 0, 0]);
        let vast = distribution(&[f64::MIN / 2.0, f64::MAX / 2.0], 4).unwrap();
        assert_eq!(vast.histogram, [1, 0, 0, 1]);
    }
}
