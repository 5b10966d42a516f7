//! Tokens by attribution.

/// The ranked positions of a prompt, the highest attribution first; ties keep the order of the tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking(Vec<usize>);

impl Ranking {
    /// Ranks `eligible` positions by their attributions. Attributions that are not numbers rank last.
    pub fn new(attributions: &[f64], eligible: &[usize]) -> Self {
        let value = |&place: &usize| {
            let value = attributions.get(place).copied().unwrap_or(f64::NAN);
            if value.is_nan() { f64::NEG_INFINITY } else { value + 0.0 }
        };
        let mut places = eligible.to_vec();
        places.sort_by(|a, b| value(b).total_cmp(&value(a)));
        Ranking(places)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The `k` highest.
    pub fn highest(&self, k: usize) -> &[usize] {
        &self.0[..k.min(self.0.len())]
    }

    /// The `k` lowest.
    pub fn lowest(&self, k: usize) -> &[usize] {
        &self.0[self.0.len().saturating_sub(k)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_keep_token_order_and_what_is_no_number_comes_last() {
        let ranking = Ranking::new(&[9.0, 1.0, f64::NAN, 2.0, 1.0, 2.0, 9.0], &[1, 2, 3, 4, 5]);
        assert_eq!(ranking.highest(9), [3, 5, 1, 4, 2]);
        assert_eq!(ranking.highest(2), [3, 5]);
        assert_eq!(ranking.lowest(2), [4, 2]);
        assert_eq!(ranking.lowest(0), [0usize; 0]);
    }

    #[test]
    fn zeros_of_either_sign_are_a_tie() {
        assert_eq!(Ranking::new(&[-0.0, 0.0], &[0, 1]).highest(2), [0, 1]);
    }
}
