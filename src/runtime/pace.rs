//! How many tokens of scores run together: found out on the first batches, which have to be run anyway.

use std::collections::BTreeMap;

/// Shares of the most that may run together, as divisors of it; smaller batches fit better into a processor's caches, larger ones have
/// more for its threads to do. The last is 1.
const DIVISORS: [usize; 4] = [8, 4, 2, 1];
/// Batches smaller than this are not worth trying: calls begin to cost.
const LEAST: usize = 256;
/// How often each size is run on rows of one length before one is chosen. The first does not count: it grows arenas.
const ROUNDS: usize = 4;
/// A smaller batch has to be faster by so much; the machine is noisy, and fewer calls are the better default.
const WORTH: f64 = 0.97;

/// Batches' sizes, tried by turns until one is chosen. The scores themselves do not hang on it.
#[derive(Debug)]
pub(crate) struct Pace {
    sizes: Vec<usize>,
    /// Of rows of each length.
    trials: BTreeMap<usize, Trials>,
    chosen: Option<usize>,
}

#[derive(Debug)]
struct Trials {
    /// Seconds a token, by size and round.
    seconds: Vec<Vec<f64>>,
    /// How often each size had its turn, whether or not there were rows enough for it.
    turns: Vec<usize>,
}

impl Pace {
    /// `most`: tokens that may run together. Where `may_try` is not, they always do.
    pub fn new(most: usize, may_try: bool) -> Pace {
        let sizes: Vec<usize> = DIVISORS.iter().map(|divisor| most / divisor).filter(|&size| size >= LEAST).collect();
        let chosen = if may_try && sizes.len() > 1 { None } else { Some(most) };
        Pace { sizes, trials: BTreeMap::new(), chosen }
    }

    /// How many tokens the next batch of rows of this length may have.
    pub fn size(&self, length: usize) -> usize {
        let last = self.sizes.last().copied().unwrap_or(usize::MAX);
        self.chosen.unwrap_or_else(|| {
            let Some(trials) = self.trials.get(&length) else { return self.sizes[0] };
            // The one that had the fewest turns, the smallest first.
            let next = trials.turns.iter().enumerate().min_by_key(|(_, turns)| **turns).map(|(size, _)| size);
            next.map_or(last, |next| self.sizes[next])
        })
    }

    /// The size that was chosen, before that nothing.
    pub fn chosen(&self) -> Option<usize> {
        self.chosen
    }

    /// What a batch took. One that would have fitted into the size below says nothing of its own.
    pub fn note(&mut self, rows: usize, length: usize, seconds: f64) {
        if self.chosen.is_some() || rows == 0 || length == 0 {
            return;
        }
        let size = self.size(length);
        let Some(place) = self.sizes.iter().position(|&known| known == size) else { return };
        let sizes = self.sizes.len();
        let none = || Trials { seconds: vec![Vec::new(); sizes], turns: vec![0; sizes] };
        let trials = self.trials.entry(length).or_insert_with(none);
        trials.turns[place] += 1;
        if 2 * rows > size / length {
            trials.seconds[place].push(seconds / (rows * length) as f64);
        }
        let tried: Vec<(usize, f64)> = (0..sizes)
            .filter(|&size| trials.seconds[size].len() >= ROUNDS)
            .map(|size| (size, trials.seconds[size][1..].iter().copied().fold(f64::INFINITY, f64::min)))
            .collect();
        if trials.turns.iter().any(|&turns| turns < ROUNDS) || tried.len() < 2 {
            return;
        }
        let (Some(fastest), Some(most)) = (tried.iter().min_by(|a, b| a.1.total_cmp(&b.1)), tried.last()) else {
            return;
        };
        let all = self.sizes[sizes - 1];
        let chosen = if fastest.1 < WORTH * most.1 { self.sizes[fastest.0] } else { all };
        tracing::info!(tokens = chosen, of = all, length, "chose how many tokens run together");
        self.chosen = Some(chosen);
        self.trials.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs full batches of a length until a size is chosen; gives it and how many batches that took.
    fn run(most: usize, length: usize, seconds: impl Fn(usize, usize) -> f64) -> (usize, usize) {
        let mut pace = Pace::new(most, true);
        for batch in 0.. {
            if let Some(chosen) = pace.chosen() {
                return (chosen, batch);
            }
            let rows = (pace.size(length) / length).max(1);
            pace.note(rows, length, seconds(rows * length, batch));
        }
        unreachable!()
    }

    #[test]
    fn the_fastest_size_is_chosen_where_it_is_worth_it() {
        // A token takes less the fewer there are.
        assert_eq!(run(4096, 32, |tokens, _| tokens as f64 * (1.0 + tokens as f64 / 8192.0)).0, 512);
        // A call costs as much as a thousand tokens.
        assert_eq!(run(4096, 32, |tokens, _| 1000.0 + tokens as f64).0, 4096);
        // Next to no difference: what needs the fewest calls.
        assert_eq!(run(4096, 32, |tokens, _| tokens as f64 * (1.0 + tokens as f64 / 1e6)).0, 4096);
        // In between.
        let middle = |tokens, _| 200.0 + tokens as f64 * (1.0 + (tokens as f64 / 2048.0).powi(3));
        assert_eq!(run(4096, 32, middle).0, 1024);
        // The first batches are slow, whatever their size.
        let cold = |tokens, batch| if batch < 4 { 1e9 } else { 1000.0 + tokens as f64 };
        assert_eq!(run(4096, 32, cold), (4096, 16));
    }

    #[test]
    fn nothing_is_tried_where_it_must_not_be_or_there_is_no_choice() {
        assert_eq!(Pace::new(4096, false).size(10), 4096);
        assert_eq!(Pace::new(300, true).size(10), 300);
        assert_eq!(Pace::new(usize::MAX, false).size(10), usize::MAX);
    }

    #[test]
    fn sizes_for_which_there_are_never_rows_enough_are_left_out() {
        // No more than 1,300 tokens of one length at a time: 512 and 1,024 can be told apart, and 2,048 as what is more.
        for (per_token, expected) in [(1.0, 512), (-1.0, 4096)] {
            let mut pace = Pace::new(4096, true);
            for _ in 0..40 {
                let rows = (pace.size(26) / 26).min(50);
                let tokens = (rows * 26) as f64;
                pace.note(rows, 26, tokens * (2.0 + per_token * tokens / 4096.0));
            }
            assert_eq!(pace.chosen(), Some(expected));
        }
        // Never two sizes: nothing can be chosen.
        let mut pace = Pace::new(4096, true);
        for _ in 0..100 {
            pace.note(3, 32, 1e-9);
        }
        assert_eq!((pace.chosen(), pace.size(32)), (None, 512));
    }

    #[test]
    fn lengths_are_kept_apart() {
        let mut pace = Pace::new(4096, true);
        // Long rows are slow for another reason than the size of their batches.
        for length in [32, 64, 128] {
            let rows = pace.size(length) / length;
            pace.note(rows, length, (length * length * rows) as f64);
            assert_eq!(pace.size(length), 1024, "{length}");
        }
        assert_eq!(pace.chosen(), None);
        // A row longer than a batch runs all the same.
        pace.note(1, 10_000, 1.0);
        assert_eq!(pace.size(10_000), 1024);
    }
}
