//! Numbers as people read them.

/// How many digits stand after the point, so that half an interval is three units of the last one or more; one for a
/// whole table.
#[derive(Clone, Copy)]
pub struct Digits(usize);

impl Digits {
    /// From what is shown together: intervals, and, where none has a width, the values.
    pub fn of(intervals: impl IntoIterator<Item = (f64, f64)>, values: impl IntoIterator<Item = f64>) -> Digits {
        let mut widths: Vec<f64> =
            intervals.into_iter().map(|(low, high)| (high - low) / 2.0).filter(|width| *width > 0.0).collect();
        widths.sort_by(f64::total_cmp);
        let scale = match widths.get(widths.len() / 2) {
            Some(width) => *width,
            None => values.into_iter().map(f64::abs).fold(0.0, f64::max) / 10.0,
        };
        if !(scale > 0.0 && scale.is_finite()) {
            return Digits(2);
        }
        Digits((-(scale / 3.0).log10().floor()).clamp(0.0, 9.0) as usize)
    }

    pub fn show(self, value: f64) -> String {
        let text = format!("{value:.0$}", self.0);
        // No negative zero.
        match text.strip_prefix('-') {
            Some(rest) if rest.bytes().all(|b| b == b'0' || b == b'.') => rest.to_string(),
            _ => text,
        }
    }

    pub fn interval(self, interval: Option<(f64, f64)>) -> String {
        match interval {
            Some((low, high)) => format!("[{}, {}]", self.show(low), self.show(high)),
            None => "[no interval]".to_string(),
        }
    }

    /// More digits where an end of the interval, or the value, would read 0 and is not: which side of 0 it is on matters.
    pub fn beside_zero(self, value: Option<f64>, interval: Option<(f64, f64)>) -> Digits {
        let ends = interval.map(|(low, high)| [low, high]);
        let vanishes = |digits: usize| {
            let half_unit = 0.5 * 10f64.powi(-(digits as i32));
            ends.into_iter().flatten().chain(value).any(|number| number != 0.0 && number.abs() <= half_unit)
        };
        Digits((self.0..self.0 + 3).find(|digits| !vanishes(*digits)).unwrap_or(self.0))
    }

    /// "1.20 [0.80, 1.70]"
    pub fn estimate(self, value: Option<f64>, interval: Option<(f64, f64)>) -> String {
        match value {
            Some(value) => {
                let digits = self.beside_zero(Some(value), interval);
                format!("{} {}", digits.show(value), digits.interval(interval))
            }
            None => "-".to_string(),
        }
    }
}

/// A p-value.
pub fn p_value(p: Option<f64>) -> String {
    match p {
        None => "-".to_string(),
        Some(p) if p < 0.0001 => "<0.0001".to_string(),
        Some(p) if p < 0.001 => format!("{p:.4}"),
        Some(p) if p < 0.1 => format!("{p:.3}"),
        Some(p) => format!("{p:.2}"),
    }
}

/// Three digits that matter.
pub fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    match value.abs().log10().floor() {
        magnitude if (-4.0..6.0).contains(&magnitude) => format!("{value:.0$}", (2.0 - magnitude).max(0.0) as usize),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_follow_the_intervals() {
        let digits = Digits::of([(0.251, 0.349), (0.1, 0.2)], []);
        assert_eq!(digits.show(0.31234), "0.31");
        assert_eq!(digits.show(-0.0001), "0.00");
        assert_eq!(digits.interval(Some((-0.25, 0.35))), "[-0.25, 0.35]");
        assert_eq!(digits.estimate(Some(0.05), Some((0.0012, 0.1))), "0.050 [0.001, 0.100]");
        assert_eq!(digits.estimate(Some(0.0), Some((0.0, 0.1))), "0.00 [0.00, 0.10]");
        assert_eq!(digits.estimate(Some(1.0), None), "1.00 [no interval]");
        assert_eq!(Digits::of([], [123.0]).show(123.4), "123");
        assert_eq!(Digits::of([], [0.0]).show(0.0), "0.00");
        assert_eq!(Digits::of([(1000.0, 9000.0)], []).show(5000.4), "5000");
        assert_eq!(Digits::of([(0.0, 1e-30)], []).show(1e-30), "0.000000000");
    }

    #[test]
    fn p_values_and_magnitudes() {
        assert_eq!(
            [Some(0.5), Some(0.0456), Some(0.00034), Some(1e-9), Some(1.0), None].map(p_value),
            ["0.50", "0.046", "0.0003", "<0.0001", "1.00", "-"]
        );
        assert_eq!(
            [0.0, 0.001234, 12.345, -123456.0, 1e-9, 1e12].map(significant),
            ["0", "0.00123", "12.3", "-123456", "1.00e-9", "1.00e12"]
        );
    }
}
