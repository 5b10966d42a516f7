//! Tokens by attribution.

use crate::units::Units;

/// The ranked units of a prompt, the highest attribution first; ties keep the order of the tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// The units' places, the highest unit's first.
    places: Vec<usize>,
    /// Where each unit ends in `places`.
    ends: Vec<usize>,
    /// The units' numbers.
    order: Vec<usize>,
}

impl Ranking {
    /// Ranks units by the attributions of a prompt's tokens. Attributions that are not numbers rank last.
    pub fn new(by_token: &[f64], units: &Units) -> Self {
        Ranking::of(&units.values(by_token), units)
    }

    /// Ranks units by one number each.
    pub fn of(by_unit: &[f64], units: &Units) -> Self {
        let value = |&unit: &usize| {
            let value = by_unit.get(unit).copied().unwrap_or(f64::NAN);
            if value.is_nan() { f64::NEG_INFINITY } else { value + 0.0 }
        };
        let mut order: Vec<usize> = (0..units.len()).collect();
        order.sort_by(|a, b| value(b).total_cmp(&value(a)));
        let mut ranking = Ranking { places: Vec::new(), ends: Vec::new(), order };
        for &unit in &ranking.order {
            ranking.places.extend_from_slice(units.of(unit));
            ranking.ends.push(ranking.places.len());
        }
        ranking
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where the first `k` units end.
    fn end(&self, k: usize) -> usize {
        if k == 0 { 0 } else { self.ends.get(k - 1).or(self.ends.last()).copied().unwrap_or(0) }
    }

    /// The places of the `k` highest.
    pub fn highest(&self, k: usize) -> &[usize] {
        &self.places[..self.end(k)]
    }

    /// The places of the `k` lowest.
    pub fn lowest(&self, k: usize) -> &[usize] {
        &self.places[self.end(self.len().saturating_sub(k))..]
    }

    /// The numbers of the units, the highest first.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Aggregate;

    #[test]
    fn ties_keep_token_order_and_what_is_no_number_comes_last() {
        let ranking = Ranking::new(&[9.0, 1.0, f64::NAN, 2.0, 1.0, 2.0, 9.0], &Units::tokens(1..6));
        assert_eq!(ranking.highest(9), [3, 5, 1, 4, 2]);
        assert_eq!(ranking.highest(2), [3, 5]);
        assert_eq!(ranking.lowest(2), [4, 2]);
        assert_eq!(ranking.lowest(0), [0usize; 0]);
        assert_eq!(ranking.order(), [2, 4, 0, 3, 1]);
    }

    #[test]
    fn zeros_of_either_sign_are_a_tie() {
        assert_eq!(Ranking::new(&[-0.0, 0.0], &Units::tokens(0..2)).highest(2), [0, 1]);
    }

    #[test]
    fn groups_are_taken_whole() {
        let group = [Some(0), Some(0), None, Some(1), Some(2), Some(2), Some(2)];
        let units = Units::grouped(7, Aggregate::Sum, |place| group[place]);
        let ranking = Ranking::new(&[1.0, 1.0, 9.0, 3.0, 1.0, 1.0, 0.5], &units);
        assert_eq!((ranking.len(), ranking.order()), (3, &[1, 2, 0][..]));
        assert_eq!(ranking.highest(2), [3, 4, 5, 6]);
        assert_eq!(ranking.lowest(1), [0, 1]);
        assert_eq!((ranking.highest(0).len(), ranking.highest(5).len(), ranking.lowest(5).len()), (0, 6, 6));
    }
}
