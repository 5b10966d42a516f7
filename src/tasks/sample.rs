//! A random choice of examples that is the same whoever asks.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The examples whose hashes are smallest, as many as were asked for. An example's hash hangs on the seed, the task's name
/// and the example's id alone, so the choice does not depend on the order of the examples, and is part of any larger one.
pub(super) struct Sample<T> {
    size: usize,
    /// Of the seed and the task.
    hasher: Sha256,
    /// By hash; a place in the data after it, in case two ids are the same. At most `size` of them.
    chosen: BTreeMap<([u8; 32], usize), T>,
}

impl<T> Sample<T> {
    pub fn new(size: usize, seed: u64, task: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"gim-harness sample\0");
        hasher.update(seed.to_le_bytes());
        hasher.update((task.len() as u64).to_le_bytes());
        hasher.update(task.as_bytes());
        Sample { size, hasher, chosen: BTreeMap::new() }
    }

    /// `place` is the example's in the data.
    pub fn offer(&mut self, id: impl AsRef<[u8]>, place: usize, example: T) {
        let mut hasher = self.hasher.clone();
        hasher.update(id);
        self.chosen.insert((hasher.finalize().into(), place), example);
        if self.chosen.len() > self.size {
            self.chosen.pop_last();
        }
    }

    /// What was chosen, in the order of the data.
    pub fn in_order(self) -> impl Iterator<Item = T> {
        let mut chosen: Vec<(usize, T)> =
            self.chosen.into_iter().map(|((_, place), example)| (place, example)).collect();
        chosen.sort_unstable_by_key(|(place, _)| *place);
        chosen.into_iter().map(|(_, example)| example)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(size: usize, seed: u64, task: &str, ids: &[String]) -> Vec<String> {
        let mut sample = Sample::new(size, seed, task);
        for (place, id) in ids.iter().enumerate() {
            sample.offer(id, place, id.clone());
        }
        sample.in_order().collect()
    }

    fn sorted(mut ids: Vec<String>) -> Vec<String> {
        ids.sort();
        ids
    }

    #[test]
    fn a_sample_hangs_on_seed_task_and_ids_alone() {
        let ids: Vec<String> = (0..200).map(|i| format!("id-{i:03}")).collect();
        let sample = drawn(20, 7, "t", &ids);
        assert_eq!(sample.len(), 20);
        assert!(sample.is_sorted(), "data order");
        let backwards: Vec<String> = ids.iter().rev().cloned().collect();
        assert_eq!(sorted(drawn(20, 7, "t", &backwards)), sample);
        // Examples that are not drawn may go: the rest stays.
        let fewer: Vec<String> = ids.iter().filter(|id| sample.contains(id) || id.ends_with('3')).cloned().collect();
        assert_eq!(drawn(20, 7, "t", &fewer), sample);
        assert_ne!(drawn(20, 8, "t", &ids), sample);
        assert_ne!(drawn(20, 7, "u", &ids), sample);
        assert_eq!(drawn(500, 7, "t", &ids), ids);
        assert!(drawn(0, 7, "t", &ids).is_empty());
    }

    #[test]
    fn a_larger_sample_holds_the_smaller() {
        let ids: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        for size in 1..100 {
            let (small, large) = (drawn(size, 0, "t", &ids), drawn(size + 1, 0, "t", &ids));
            assert!(small.iter().all(|id| large.contains(id)), "{size}");
        }
    }

    #[test]
    fn every_example_is_drawn_alike() {
        // How often each of 50 is among 10 of them, over 400 seeds: 80 on average, with a standard deviation of 8.
        let ids: Vec<String> = (0..50).map(|i| i.to_string()).collect();
        let mut times = vec![0; 50];
        for seed in 0..400 {
            for id in drawn(10, seed, "t", &ids) {
                times[id.parse::<usize>().unwrap()] += 1;
            }
        }
        assert!(times.iter().all(|times| (45..=115).contains(times)), "{times:?}");
    }
}
