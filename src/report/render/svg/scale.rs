//! From numbers to places, and the numbers that stand at an axis.

use super::canvas::{Anchor, Canvas};

/// A range of numbers on a range of places.
#[derive(Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    /// Holds all finite ones of the numbers, with some room at both ends; `from` and `to`: where the ends are.
    pub fn holding(numbers: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Scale {
        let (mut low, mut high) = ends(numbers);
        let room = if high > low { (high - low) * 0.05 } else { high.abs().max(1.0) * 0.05 };
        (low, high) = (low - room, high + room);
        Scale { low, high, from, to, logarithmic: false }.usable()
    }

    /// As [`Scale::holding`], of numbers that are 0 or more, by the logarithm of one more, from 0 on.
    pub fn logarithmic(numbers: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Scale {
        let (_, high) = ends(numbers.into_iter().filter(|number| *number >= 0.0).map(|number| (1.0 + number).log10()));
        let high = if high > 0.0 { high } else { 1.0 };
        Scale { low: -high * 0.05, high: high * 1.08, from, to, logarithmic: true }.usable()
    }

    /// A range without width, or too wide for its difference to be a number, is no range.
    fn usable(self) -> Scale {
        let width = self.high - self.low;
        if width > 0.0 && width.is_finite() { self } else { Scale { low: 0.0, high: 1.0, ..self } }
    }

    /// Where a number is; `None` where it is not finite or outside.
    pub fn at(self, number: f64) -> Option<f64> {
        let number = if self.logarithmic { (1.0 + number).log10() } else { number };
        let share = (number - self.low) / (self.high - self.low);
        (-0.001..=1.001).contains(&share).then_some(self.from + share * (self.to - self.from))
    }

    /// As [`Scale::at`], at the end that is nearer where a number is outside.
    pub fn near(self, number: f64) -> f64 {
        let number = if self.logarithmic { (1.0 + number.max(0.0)).log10() } else { number };
        let share = ((number - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + if share.is_finite() { share } else { 0.0 } * (self.to - self.from)
    }

    /// Round numbers within the range: as texts, with their places.
    fn ticks(self, most: usize) -> Vec<(String, f64)> {
        if self.logarithmic {
            let numbers = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 1e6, 1e7, 1e8, 1e9];
            let within: Vec<(String, f64)> =
                numbers.into_iter().filter_map(|number| Some((number.to_string(), self.at(number)?))).collect();
            let step = within.len().div_ceil(most).max(1);
            return within.into_iter().step_by(step).collect();
        }
        let rough = (self.high - self.low) / most as f64;
        let magnitude = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * magnitude).into_iter().find(|step| *step >= rough);
        let Some(step) = step.filter(|step| step.is_normal()) else { return Vec::new() };
        let first = (self.low / step).ceil();
        let places = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let text = |number: f64| {
            if (1e-9..1e6).contains(&step) { format!("{number:.places$}") } else { format!("{number:.1e}") }
        };
        (0..=most)
            .map(|i| (first + i as f64) * step)
            .filter_map(|number| Some((text(number + 0.0), self.at(number)?)))
            .collect()
    }

    /// Draws it along the bottom: rules up to `top`, numbers, and what they are.
    pub fn draw_below(self, canvas: &mut Canvas, top: f64, bottom: f64, label: &str) {
        for (text, x) in self.ticks(6) {
            canvas.rule((x, top), (x, bottom), 0.15);
            canvas.text(x, bottom + 16.0, Anchor::Middle, &text);
        }
        canvas.rule((self.from, bottom), (self.to, bottom), 0.6);
        let room = super::canvas::WIDTH - 16.0;
        let middle = (self.from + self.to) / 2.0;
        // Long ones are centred on the whole drawing.
        let half = super::canvas::width_of(label).min(room) / 2.0;
        let middle = middle.clamp(half + 8.0, super::canvas::WIDTH - 8.0 - half);
        canvas.label(middle, bottom + 34.0, Anchor::Middle, room, label);
    }

    /// Draws it along the left: rules to `right`, numbers.
    pub fn draw_left(self, canvas: &mut Canvas, left: f64, right: f64) {
        for (text, y) in self.ticks(5) {
            canvas.rule((left, y), (right, y), 0.15);
            canvas.text(left - 6.0, y + 4.0, Anchor::End, &text);
        }
        canvas.rule((left, self.from), (left, self.to), 0.6);
    }
}

/// The smallest and the largest finite number; 0 and 0 where there is none.
fn ends(numbers: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = numbers.into_iter().filter(|number| number.is_finite());
    let ends = finite.fold(None, |ends: Option<(f64, f64)>, number| {
        Some(ends.map_or((number, number), |(low, high)| (low.min(number), high.max(number))))
    });
    ends.unwrap_or((0.0, 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let of = |low, high| -> Vec<String> {
            Scale::holding([low, high], 0.0, 100.0).ticks(6).into_iter().map(|(text, _)| text).collect()
        };
        assert_eq!(of(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(of(-3.0, 2.0), ["-3", "-2", "-1", "0", "1", "2"]);
        assert_eq!(of(0.001, 0.0023), ["0.0010", "0.0015", "0.0020"]);
        assert!(of(f64::MIN, f64::MAX).len() < 8);
        let logarithmic = Scale::logarithmic([0.0, 51.0], 0.0, 100.0);
        let texts: Vec<String> = logarithmic.ticks(6).into_iter().map(|(text, _)| text).collect();
        assert_eq!(texts, ["0", "1", "3", "10", "30"]);
    }

    #[test]
    fn numbers_outside_have_no_place() {
        let scale = Scale::holding([0.0, 10.0], 0.0, 100.0);
        assert!(scale.at(5.0).is_some_and(|place| (place - 50.0).abs() < 1e-9));
        assert_eq!([scale.at(11.0), scale.at(f64::NAN)], [None, None]);
        assert_eq!((scale.near(1e9), scale.near(f64::NAN)), (100.0, 0.0));
    }
}
