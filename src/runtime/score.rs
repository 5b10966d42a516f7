//! What is kept of a row's logits.

/// The logits of a row, reduced to what scores are made of: keeping them whole would take a megabyte a row for a
/// vocabulary of 256,000.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The logits of the token ids that were asked for, in that order.
    pub logits: Vec<f32>,
    /// `ln(sum(exp(logit)))` over the vocabulary, in double precision.
    pub log_sum_exp: f64,
    /// The token id of the highest logit; of equal ones the smallest.
    pub argmax: i64,
}

impl Score {
    /// Whether all that is kept of the row is finite.
    pub fn is_finite(&self) -> bool {
        self.log_sum_exp.is_finite() && self.logits.iter().all(|logit| logit.is_finite())
    }

    /// The logarithm of the probability of the `index`-th token id that was asked for.
    ///
    /// # Panics
    /// When no more than `index` ids were asked for.
    pub fn log_probability(&self, index: usize) -> f64 {
        f64::from(self.logits[index]) - self.log_sum_exp
    }

    /// The probability, over the whole vocabulary, of the `index`-th token id that was asked for.
    ///
    /// # Panics
    /// As [`Score::log_probability`].
    pub fn probability(&self, index: usize) -> f64 {
        self.log_probability(index).exp()
    }
}

/// The logarithm of the sum of exponentials, and the index of the highest logit. Not a number among the logits makes the
/// first one; it never is the highest.
pub(crate) fn reduce(logits: &[f32]) -> (f64, i64) {
    let mut argmax = 0;
    let mut highest = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > highest {
            (argmax, highest) = (id, logit);
        }
    }
    let log_sum_exp = if highest.is_infinite() {
        // All of them minus infinity, or one of them plus infinity: the differences below would not be numbers.
        if logits.iter().any(|logit| logit.is_nan()) { f64::NAN } else { f64::from(highest) }
    } else {
        let highest = f64::from(highest);
        highest + logits.iter().map(|&logit| (f64::from(logit) - highest).exp()).sum::<f64>().ln()
    };
    (log_sum_exp, i64::try_from(argmax).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduces() {
        let (log_sum_exp, argmax) = reduce(&[1.0, 3.0, 3.0, -2.0]);
        let expected = (1f64.exp() + 2.0 * 3f64.exp() + (-2f64).exp()).ln();
        assert!((log_sum_exp - expected).abs() < 1e-14);
        assert_eq!(argmax, 1);
        let score = Score { logits: vec![3.0], log_sum_exp, argmax };
        assert!((score.probability(0) - (3.0 - expected).exp()).abs() < 1e-14);
    }

    #[test]
    fn survives_extremes() {
        assert_eq!(reduce(&[1e30, 0.0]), (f64::from(1e30f32), 0));
        assert_eq!(reduce(&[f32::NEG_INFINITY; 2]), (f64::NEG_INFINITY, 0));
        assert_eq!(reduce(&[0.0, f32::INFINITY]), (f64::INFINITY, 1));
        assert!(reduce(&[f32::NAN, 1.0]).0.is_nan());
        assert_eq!(reduce(&[f32::NAN, 1.0]).1, 1);
    }
}
