//! Mean curves over the examples of a task.

use std::collections::BTreeMap;

use super::by_step::Points;
use crate::stats::Moments;
use crate::store::{Curve, Unit};

/// Curves are read off at these many equal steps of the fraction, and at 0.
pub const STEPS: usize = 20;

/// f(x) at each step of the fraction, over examples; examples that do not reach a step are not in it.
pub type Mean = [Moments; STEPS + 1];

/// The curves of one model on one task.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// By name and by the methods that have it on the example: means are compared over the same examples only.
    by_methods: BTreeMap<(String, Vec<usize>), Vec<Mean>>,
}

/// One curve of several methods over the same examples.
pub struct Compared<'a> {
    pub curve: &'a str,
    pub examples: usize,
    /// Places among the declared methods, and their means.
    pub methods: Vec<(usize, &'a Mean)>,
}

impl Curves {
    /// Takes the units of one example, with the places of their methods.
    pub fn add(&mut self, units: &[(usize, Unit)]) {
        let mut found: BTreeMap<&str, Vec<(usize, &Curve)>> = BTreeMap::new();
        for (method, unit) in units {
            for curve in unit.curves.iter().filter(|curve| Points::of(&curve.curve).is_none()) {
                found.entry(&curve.curve).or_default().push((*method, curve));
            }
        }
        for (name, curves) in found {
            let methods: Vec<usize> = curves.iter().map(|(method, _)| *method).collect();
            let means = self
                .by_methods
                .entry((name.to_owned(), methods))
                .or_insert_with(|| vec![Mean::default(); curves.len()]);
            for (mean, (_, curve)) in means.iter_mut().zip(&curves) {
                for (step, moments) in mean.iter_mut().enumerate() {
                    if let Some(score) = at(curve, step as f64 / STEPS as f64) {
                        moments.push(score);
                    }
                }
            }
        }
    }

    /// Every curve, by name, over the set of methods with the most values.
    pub fn compared(&self) -> Vec<Compared<'_>> {
        let mut best: BTreeMap<&str, Compared> = BTreeMap::new();
        for ((curve, methods), means) in &self.by_methods {
            let examples = means.iter().flatten().map(Moments::n).max().unwrap_or(0);
            let size = |compared: &Compared| compared.examples * compared.methods.len();
            let compared = Compared { curve, examples, methods: methods.iter().copied().zip(means).collect() };
            if best.get(curve.as_str()).is_none_or(|other| size(other) < size(&compared)) {
                best.insert(curve, compared);
            }
        }
        best.into_values().collect()
    }
}

/// The curve at a fraction, linear between its points; `None` beyond its ends, or where a number is not finite.
fn at(curve: &Curve, fraction: f64) -> Option<f64> {
    let mut before: Option<(f64, f64)> = None;
    let mut after: Option<(f64, f64)> = None;
    for (&x, &y) in curve.fraction.iter().zip(&curve.score) {
        if x <= fraction && before.is_none_or(|(nearest, _)| x > nearest) {
            before = Some((x, y));
        }
        if x >= fraction && after.is_none_or(|(nearest, _)| x < nearest) {
            after = Some((x, y));
        }
    }
    let ((x0, y0), (x1, y1)) = (before?, after?);
    let value = if x1 > x0 { y0 + (y1 - y0) * (fraction - x0) / (x1 - x0) } else { y0 };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_linear_between_their_points() {
        let curve = Curve {
            curve: "c".into(),
            step: vec![2, 0, 1],
            fraction: vec![0.5, 0.0, 0.25],
            score: vec![2.0, 8.0, 4.0],
        };
        let read = |fraction| at(&curve, fraction);
        assert_eq!([0.0, 0.125, 0.25, 0.375, 0.5].map(read), [8.0, 6.0, 4.0, 3.0, 2.0].map(Some));
        assert_eq!(read(0.51), None);
        assert_eq!(at(&Curve { score: vec![2.0, f64::NAN, 4.0], ..curve.clone() }, 0.1), None);
    }
}
