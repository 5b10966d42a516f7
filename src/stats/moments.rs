//! Mean and spread of numbers that come one by one.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Interval, finite};

/// Count, mean and sum of squares about it, without the numbers themselves (Welford 1962).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    n: usize,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Takes one more number; it must be finite.
    pub fn push(&mut self, value: f64) {
        self.n += 1;
        let apart = value - self.mean;
        self.mean += apart / self.n as f64;
        self.squares += apart * (value - self.mean);
    }

    pub fn n(&self) -> usize {
        self.n
    }

    /// `None` for no numbers, or when they overflowed.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then_some(self.mean).and_then(finite)
    }

    /// Student's interval of the mean. `None` for fewer than two numbers or a confidence outside (0, 1).
    pub fn mean_interval(&self, confidence: f64) -> Option<Interval> {
        if self.n < 2 || !(confidence > 0.0 && confidence < 1.0) {
            return None;
        }
        let n = self.n as f64;
        let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.5 + confidence / 2.0);
        let reach = t * (self.squares / (n - 1.0) / n).sqrt();
        Some(Interval { low: finite(self.mean - reach)?, high: finite(self.mean + reach)? })
    }
}

#[cfg(test)]
mod tests {
    use super::Moments;
    use crate::stats::fixtures::{MEAN_INTERVAL, close, optional, vector};

    #[test]
    fn intervals_agree_with_scipy() {
        for case in MEAN_INTERVAL.cases() {
            let mut moments = Moments::default();
            vector(&case["values"]).into_iter().for_each(|value| moments.push(value));
            let interval = moments.mean_interval(0.95);
            close(&case["name"], moments.mean(), optional(&case["mean"]), 1e-12);
            close(&case["name"], interval.map(|i| i.low), optional(&case["low"]), 1e-9);
            close(&case["name"], interval.map(|i| i.high), optional(&case["high"]), 1e-9);
        }
        assert_eq!(Moments::default().mean(), None);
    }
}
