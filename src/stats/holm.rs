//! Correction for several tests of one family.

/// Holm's step-down adjusted p-values (Holm 1979), in the order of the input: with ascending `p`, the running maximum of
/// `(m - i) * p[i]`, at most 1. They hold the family-wise error rate whatever the dependence among the tests.
///
/// A test without a p-value (NaN, or a number outside [0, 1]) is no member of the family: NaN comes back in its place
/// and `m` does not count it.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|&i| (0.0..=1.0).contains(&p[i])).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut largest = 0.0_f64;
    for (i, &index) in order.iter().enumerate() {
        largest = largest.max((order.len() - i) as f64 * p[index]).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::holm;

    #[test]
    fn agrees_with_p_adjust_of_r() {
        // p.adjust(c(0.04, 0.01, 0.03, 0.005, 0.5), "holm")
        let expected = [0.09, 0.04, 0.09, 0.025, 0.5];
        for (ours, theirs) in holm(&[0.04, 0.01, 0.03, 0.005, 0.5]).iter().zip(expected) {
            assert!((ours - theirs).abs() < 1e-15, "{ours} {theirs}");
        }
    }

    #[test]
    fn ties_are_adjusted_alike_and_nothing_exceeds_one() {
        assert_eq!(holm(&[0.5, 0.02, 0.02, 0.9]), [1.0, 0.08, 0.08, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_missing_p_value_does_not_enlarge_the_family() {
        let adjusted = holm(&[f64::NAN, 0.01, 0.5, 1.5]);
        assert!(adjusted[0].is_nan() && adjusted[3].is_nan());
        assert_eq!(adjusted[1..3], [0.02, 0.5]);
    }

    proptest! {
        #[test]
        fn keeps_the_order_and_never_lowers(p in prop::collection::vec(0.0_f64..=1.0, 1..30)) {
            let adjusted = holm(&p);
            for i in 0..p.len() {
                prop_assert!(adjusted[i] >= p[i] && adjusted[i] <= (p.len() as f64 * p[i]).min(1.0));
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
                }
            }
        }
    }
}
