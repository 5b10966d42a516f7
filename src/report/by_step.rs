//! Curves whose points are things of their own, such as layers: means are taken at each, and nothing is read between them.

use std::collections::BTreeMap;

use crate::stats::Moments;
use crate::store::{Curve, Unit};

/// What the points of a curve are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Points {
    /// Layers, counted from 0.
    Layers,
    /// Percentages of rows of attention, each with a quantile.
    Quantiles,
    /// Percentages of the ranked tokens' embeddings that stay.
    Shares,
}

impl Points {
    /// By the name of the curve; `None` for curves over the fraction of what was taken away.
    pub fn of(curve: &str) -> Option<Points> {
        let kinds = [("layer_", Points::Layers), ("self_repair", Points::Quantiles), ("pi_soft_", Points::Shares)];
        kinds.into_iter().find(|(start, _)| curve.starts_with(start)).map(|(_, points)| points)
    }
}

/// Values over examples, at each point.
pub type Means = BTreeMap<usize, Moments>;

/// The curves of one model on one task.
#[derive(Clone, Debug, Default)]
pub struct BySteps {
    /// By name and by the methods that have it on the example: means are compared over the same examples only.
    by_methods: BTreeMap<(String, Vec<usize>), Vec<Means>>,
}

/// One curve of several methods over the same examples.
pub struct Compared<'a> {
    pub curve: &'a str,
    pub points: Points,
    pub examples: usize,
    /// Places among the declared methods, and the values at each point.
    pub methods: Vec<(usize, &'a Means)>,
}

impl BySteps {
    /// Takes the units of one example, with the places of their methods.
    pub fn add(&mut self, units: &[(usize, Unit)]) {
        let mut found: BTreeMap<&str, Vec<(usize, &Curve)>> = BTreeMap::new();
        for (method, unit) in units {
            for curve in unit.curves.iter().filter(|curve| Points::of(&curve.curve).is_some()) {
                found.entry(&curve.curve).or_default().push((*method, curve));
            }
        }
        for (name, curves) in found {
            let methods: Vec<usize> = curves.iter().map(|(method, _)| *method).collect();
            let means = self.by_methods.entry((name.to_owned(), methods));
            let means = means.or_insert_with(|| vec![Means::new(); curves.len()]);
            for (mean, (_, curve)) in means.iter_mut().zip(&curves) {
                for (&step, &score) in curve.step.iter().zip(&curve.score).filter(|(_, score)| score.is_finite()) {
                    mean.entry(step).or_default().push(score);
                }
            }
        }
    }

    /// Every curve, by name, over the set of methods with the most values.
    pub fn compared(&self) -> Vec<Compared<'_>> {
        let mut best: BTreeMap<&str, Compared> = BTreeMap::new();
        for ((curve, methods), means) in &self.by_methods {
            let Some(points) = Points::of(curve) else { continue };
            let examples = means.iter().flat_map(BTreeMap::values).map(Moments::n).max().unwrap_or(0);
            let size = |compared: &Compared| compared.examples * compared.methods.len();
            let compared = Compared { curve, points, examples, methods: methods.iter().copied().zip(means).collect() };
            if best.get(curve.as_str()).is_none_or(|other| size(other) < size(&compared)) {
                best.insert(curve, compared);
            }
        }
        best.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_told_apart_by_their_names() {
        assert_eq!(Points::of("layer_sufficiency(every=2)"), Some(Points::Layers));
        assert_eq!(Points::of("self_repair"), Some(Points::Quantiles));
        assert_eq!(Points::of("pi_soft_sufficiency(shares=4)"), Some(Points::Shares));
        assert_eq!(Points::of("comprehensiveness"), None);
    }
}
