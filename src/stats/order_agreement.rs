//! Whether an order of methods survives another way to measure them.

use super::random::{CHUNK, Purpose, below, generator};
use super::{all_finite, corrected_mean, spearman};

/// Rank correlation of two orders, with a percentile interval of the bootstrap over examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OrderAgreement {
    /// Spearman's, between the two lists of means.
    pub r: f64,
    pub low: f64,
    pub high: f64,
}

/// Agreement of the orders in which two measures put some methods by their means over the same examples: `a[method][example]`
/// against `b[method][example]`, examples resampled together for all.
///
/// `None` for fewer than three methods or two examples, lists of unequal lengths, what is not finite, or where all means of
/// a measure are equal. A resample in which they are does not count.
pub fn order_agreement(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> Option<OrderAgreement> {
    let n = a.first()?.len();
    let fits = |list: &Vec<f64>| list.len() == n && all_finite(list);
    if a.len() < 3 || a.len() != b.len() || n < 2 || !a.iter().chain(b).all(fits) {
        return None;
    }
    let means = |lists: &[Vec<f64>]| lists.iter().map(|list| corrected_mean(list)).collect::<Vec<f64>>();
    let r = spearman(&means(a), &means(b))?;
    let count = u32::try_from(n).ok()?;
    let mut found = Vec::with_capacity(resamples);
    for chunk in 0..resamples.div_ceil(CHUNK) {
        let mut random = generator(Purpose::Bootstrap, seed, chunk);
        for _ in 0..CHUNK.min(resamples - chunk * CHUNK) {
            let drawn: Vec<usize> = (0..n).map(|_| below(count, &mut random)).collect();
            let mean = |list: &Vec<f64>| drawn.iter().map(|&example| list[example]).sum::<f64>() / n as f64;
            let (x, y): (Vec<f64>, Vec<f64>) = (a.iter().map(mean).collect(), b.iter().map(mean).collect());
            found.extend(spearman(&x, &y));
        }
    }
    if found.is_empty() {
        return None;
    }
    found.sort_by(f64::total_cmp);
    let quantile = |share: f64| found[((share * (found.len() - 1) as f64).round() as usize).min(found.len() - 1)];
    let tail = (1.0 - confidence) / 2.0;
    Some(OrderAgreement { r, low: quantile(tail), high: quantile(1.0 - tail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Means 0, 1, 2.. and examples around them.
    fn methods(order: &[f64], spread: f64) -> Vec<Vec<f64>> {
        order.iter().map(|mean| (0..20).map(|i| mean + spread * f64::from(i % 5 - 2)).collect()).collect()
    }

    #[test]
    fn orders_that_hold_and_orders_that_turn() {
        let forwards = methods(&[0.0, 1.0, 2.0, 3.0], 0.1);
        let same = order_agreement(&forwards, &forwards, 500, 0.95, 1).unwrap();
        assert_eq!(same, OrderAgreement { r: 1.0, low: 1.0, high: 1.0 });
        let turned = order_agreement(&forwards, &methods(&[3.0, 2.0, 1.0, 0.0], 0.1), 500, 0.95, 1).unwrap();
        assert_eq!(turned, OrderAgreement { r: -1.0, low: -1.0, high: -1.0 });
        // Means that examples could easily have put in another order: the interval says so.
        let mut noisy = methods(&[0.0, 0.0, 0.0, 0.0], 0.0);
        let mut state = 1u32;
        for value in noisy.iter_mut().flatten() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = f64::from(state >> 8) / f64::from(1 << 24);
        }
        let unsure = order_agreement(&forwards, &noisy, 500, 0.95, 1).unwrap();
        assert!(unsure.low < 0.0 && unsure.high > 0.0, "{unsure:?}");
        assert_eq!(order_agreement(&forwards, &noisy, 500, 0.95, 1), Some(unsure), "seeded");
    }

    #[test]
    fn nothing_to_order() {
        let three = methods(&[0.0, 1.0, 2.0], 0.1);
        assert_eq!(order_agreement(&three[..2], &three[..2], 10, 0.95, 0), None);
        assert_eq!(order_agreement(&three, &methods(&[1.0, 1.0, 1.0], 0.0), 10, 0.95, 0), None);
        assert_eq!(order_agreement(&three, &[vec![f64::NAN; 20], vec![0.0; 20], vec![1.0; 20]], 10, 0.95, 0), None);
    }
}
