//! What was asked for, and what that took.

use std::cell::Cell;

/// What a piece of work cost. Rows count the sequences that went through a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub seconds: f64,
    pub forward_rows: u64,
    /// Rows that were asked for but remembered from before.
    pub forward_rows_saved: u64,
    pub gradient_rows: u64,
    pub gradient_rows_saved: u64,
    /// Tokens whose keys and values were computed for rows that begin alike, and tokens of those rows that were spared.
    pub prefix_tokens: u64,
    pub prefix_tokens_saved: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.seconds += other.seconds;
        self.forward_rows += other.forward_rows;
        self.forward_rows_saved += other.forward_rows_saved;
        self.gradient_rows += other.gradient_rows;
        self.gradient_rows_saved += other.gradient_rows_saved;
        self.prefix_tokens += other.prefix_tokens;
        self.prefix_tokens_saved += other.prefix_tokens_saved;
    }
}

/// Where the cost of somebody's asks is added up.
#[derive(Debug, Default)]
pub struct Account(Cell<Cost>);

impl Account {
    pub fn total(&self) -> Cost {
        self.0.get()
    }

    pub(super) fn charge(&self, cost: Cost) {
        let mut total = self.0.get();
        total += cost;
        self.0.set(total);
    }
}

/// What each of several asks cost that were answered together: seconds by the rows they asked for, and of the rows that had
/// to be computed its part of those it asked for.
pub(super) fn shares(together: Cost, asked: &[u64]) -> Vec<Cost> {
    let all = u128::from(asked.iter().sum::<u64>().max(1));
    let part = |of: u64, asked: u64| (u128::from(asked) * u128::from(of) / all) as u64;
    let mut before = 0;
    let share = |&own: &u64| {
        // Differences of sums, so that the parts add up.
        let between = |of: u64| part(of, before + own) - part(of, before);
        // What was asked for is known exactly; only which of it had to be computed is shared out.
        let split = |computed: u64, saved: u64| {
            let (all, computed) = (between(computed + saved), between(computed));
            (computed, all.saturating_sub(computed))
        };
        let (forward_rows, forward_rows_saved) = split(together.forward_rows, together.forward_rows_saved);
        let (gradient_rows, gradient_rows_saved) = split(together.gradient_rows, together.gradient_rows_saved);
        let (prefix_tokens, prefix_tokens_saved) =
            (between(together.prefix_tokens), between(together.prefix_tokens_saved));
        before += own;
        let seconds = together.seconds * own as f64 / all as f64;
        Cost {
            seconds,
            forward_rows,
            forward_rows_saved,
            gradient_rows,
            gradient_rows_saved,
            prefix_tokens,
            prefix_tokens_saved,
        }
    };
    asked.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        let together =
            Cost { seconds: 2.0, forward_rows: 10, forward_rows_saved: 5, prefix_tokens_saved: 7, ..Cost::default() };
        let shares = shares(together, &[7, 0, 7, 1]);
        let mut total = Cost::default();
        shares.iter().for_each(|share| total += *share);
        assert_eq!((total.forward_rows, total.forward_rows_saved), (10, 5));
        assert_eq!(total.prefix_tokens_saved, 7);
        assert!((total.seconds - 2.0).abs() < 1e-12);
        assert_eq!(shares[1], Cost::default());
        for (share, asked) in shares.iter().zip([7, 0, 7, 1]) {
            assert_eq!(share.forward_rows + share.forward_rows_saved, asked);
        }
    }
}
