//! Scores of rows that were run before.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::model::Row;
use super::score::Score;

/// What is remembered of a row: its reduced logits, and those of some token ids.
#[derive(Clone, Debug)]
struct Entry {
    /// By token id, ascending.
    logits: Vec<(i64, f32)>,
    log_sum_exp: f64,
    argmax: i64,
    used: u64,
}

/// Scores by row, the least recently used of which go first when they outgrow `limit` bytes.
#[derive(Debug)]
pub(crate) struct Reuse {
    limit: usize,
    bytes: usize,
    clock: u64,
    entries: HashMap<Arc<Row>, Entry>,
    by_use: BTreeMap<u64, Arc<Row>>,
}

impl Reuse {
    pub fn new(limit: usize) -> Self {
        Reuse { limit, bytes: 0, clock: 0, entries: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// The score of a row, if it is remembered with the logits of all these token ids.
    pub fn get(&mut self, row: &Row, tokens: &[i64]) -> Option<Score> {
        let entry = self.entries.get_mut(row)?;
        let logit = |id: &i64| Some(entry.logits[entry.logits.binary_search_by_key(id, |&(known, _)| known).ok()?].1);
        let logits = tokens.iter().map(logit).collect::<Option<Vec<f32>>>()?;
        self.clock += 1;
        if let Some(key) = self.by_use.remove(&entry.used) {
            self.by_use.insert(self.clock, key);
        }
        entry.used = self.clock;
        Some(Score { logits, log_sum_exp: entry.log_sum_exp, argmax: entry.argmax })
    }

    /// The token ids whose logits are worth keeping when a row is run: those asked for, and those remembered before;
    /// ascending.
    pub fn worth_keeping(&self, row: &Row, tokens: &[i64]) -> Vec<i64> {
        let before = self.entries.get(row).into_iter().flat_map(|entry| entry.logits.iter().map(|&(id, _)| id));
        let mut ids: Vec<i64> = tokens.iter().copied().chain(before).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Remembers what was found for a row, in place of what was remembered before. `logits` ascend by token id.
    pub fn insert(&mut self, row: &Row, logits: Vec<(i64, f32)>, log_sum_exp: f64, argmax: i64) {
        if let Some((key, old)) = self.entries.remove_entry(row) {
            self.by_use.remove(&old.used);
            self.bytes -= size(&key, &old.logits);
        }
        let size_of_new = size(row, &logits);
        if size_of_new > self.limit {
            return;
        }
        while self.bytes + size_of_new > self.limit {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= size(&oldest, &entry.logits);
            }
        }
        self.clock += 1;
        let key = Arc::new(row.clone());
        self.by_use.insert(self.clock, Arc::clone(&key));
        self.entries.insert(key, Entry { logits, log_sum_exp, argmax, used: self.clock });
        self.bytes += size_of_new;
    }

    pub fn clear(&mut self) {
        *self = Reuse::new(self.limit);
    }
}

/// About what an entry takes, with its share of both maps.
fn size(row: &Row, logits: &[(i64, f32)]) -> usize {
    192 + row.input_ids.len() * 8 + logits.len() * 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64) -> Row {
        Row { input_ids: vec![id], position: 0 }
    }

    #[test]
    fn remembers_the_ids_it_was_given() {
        let mut reuse = Reuse::new(10_000);
        assert_eq!(reuse.get(&row(1), &[]), None);
        reuse.insert(&row(1), vec![(4, 0.5), (7, -1.0)], 2.0, 7);
        assert_eq!(reuse.get(&row(1), &[7, 4, 7]).unwrap().logits, [-1.0, 0.5, -1.0]);
        assert_eq!(reuse.get(&row(1), &[4, 5]), None);
        assert_eq!(reuse.get(&Row { position: 1, ..row(1) }, &[4]), None);
        assert_eq!(reuse.worth_keeping(&row(1), &[5, 4]), [4, 5, 7]);
        assert_eq!(reuse.worth_keeping(&row(2), &[5, 4, 5]), [4, 5]);
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let one = size(&row(1), &[(0, 0.0)]);
        let mut reuse = Reuse::new(3 * one);
        for id in 0..3 {
            reuse.insert(&row(id), vec![(0, id as f32)], 0.0, 0);
        }
        assert!(reuse.get(&row(0), &[0]).is_some());
        reuse.insert(&row(3), vec![(0, 3.0)], 0.0, 0);
        let kept: Vec<bool> = (0..4).map(|id| reuse.get(&row(id), &[0]).is_some()).collect();
        assert_eq!(kept, [true, false, true, true]);
        // Again under another set of ids: replaced, not counted twice.
        reuse.insert(&row(3), vec![(0, 3.0)], 0.0, 0);
        assert_eq!((reuse.bytes, reuse.entries.len(), reuse.by_use.len()), (3 * one, 3, 3));
        reuse.clear();
        assert_eq!((reuse.bytes, reuse.entries.len(), reuse.by_use.len()), (0, 0, 0));
    }

    #[test]
    fn nothing_is_kept_without_room() {
        let mut reuse = Reuse::new(0);
        reuse.insert(&row(1), vec![], 0.0, 0);
        assert_eq!(reuse.get(&row(1), &[]), None);
    }
}
