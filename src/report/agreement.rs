//! How alike the methods rank the tokens, and on which examples they do not.

use std::cmp::Ordering;

use crate::stats::{self, Moments};
use crate::store::Unit;

/// Examples that are kept to be shown, of one model on one task.
pub const KEPT: usize = 20;

/// Rank correlations between the attributions of methods on one model and task.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// `pairs[a][b]` for `a < b`: of the examples on which both have one.
    pairs: Vec<Vec<Moments>>,
    /// Those with the least agreement first; equal ones in the order of the data.
    kept: Vec<Kept>,
    /// Examples with attributions.
    examples: usize,
}

/// An example that may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Place in the order of the data.
    pub place: usize,
    pub id: String,
    pub score: Option<f64>,
    /// Mean rank correlation over pairs of methods that do not draw at random.
    pub agreement: Option<f64>,
    pub tokens: Vec<String>,
    /// Positions that annotators marked.
    pub evidence: Vec<usize>,
    /// Places of methods, and the first seed's attributions, one a token.
    pub attributions: Vec<(usize, Vec<f64>)>,
}

impl Agreement {
    pub fn new(methods: usize) -> Agreement {
        Agreement { pairs: vec![vec![Moments::default(); methods]; methods], kept: Vec::new(), examples: 0 }
    }

    /// Takes the units of one example, with the places of their methods. Pairs with a method that `is_random` say nothing
    /// of whether an example is clear.
    pub fn add(&mut self, place: usize, units: &[(usize, Unit)], is_random: impl Fn(usize) -> bool) {
        let explained: Vec<(usize, &Vec<f64>)> = units
            .iter()
            .filter_map(|(method, unit)| Some((*method, unit.attributions.first()?)))
            .filter(|(_, vector)| vector.iter().all(|value| value.is_finite()))
            .collect();
        let Some((_, first)) = units.iter().find(|(method, _)| explained.iter().any(|(m, _)| m == method)) else {
            return;
        };
        self.examples += 1;
        let mut of_example = Moments::default();
        for (i, (a, x)) in explained.iter().enumerate() {
            for (b, y) in &explained[i + 1..] {
                let Some(r) = stats::spearman(x, y) else { continue };
                self.pairs[*a.min(b)][*a.max(b)].push(r);
                if !is_random(*a) && !is_random(*b) {
                    of_example.push(r);
                }
            }
        }
        let agreement = of_example.mean();
        let least = |kept: &Kept| order((agreement, place), (kept.agreement, kept.place)) == Ordering::Less;
        if self.kept.len() == KEPT && !self.kept.last().is_some_and(least) {
            return;
        }
        let at = self.kept.iter().position(least).unwrap_or(self.kept.len());
        self.kept.insert(
            at,
            Kept {
                place,
                id: first.key.example_id.clone(),
                score: first.score,
                agreement,
                tokens: first.tokens.clone(),
                evidence: Vec::new(),
                attributions: explained.into_iter().map(|(method, vector)| (method, vector.clone())).collect(),
            },
        );
        self.kept.truncate(KEPT);
    }

    /// Mean rank correlation of two methods, and over how many examples; 1 of a method with itself.
    pub fn between(&self, a: usize, b: usize) -> Option<(f64, usize)> {
        if a == b {
            return Some((1.0, self.examples));
        }
        let moments = self.pairs.get(a.min(b))?.get(a.max(b))?;
        Some((moments.mean()?, moments.n()))
    }

    /// To fill in what only the kept ones need.
    pub fn kept_mut(&mut self) -> &mut [Kept] {
        &mut self.kept
    }

    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    pub fn examples(&self) -> usize {
        self.examples
    }
}

/// The least agreement first, then what has none; equal ones by place.
fn order(a: (Option<f64>, usize), b: (Option<f64>, usize)) -> Ordering {
    let key = |agreement: Option<f64>| agreement.unwrap_or(f64::INFINITY);
    key(a.0).total_cmp(&key(b.0)).then(a.1.cmp(&b.1))
}
