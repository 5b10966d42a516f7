//! Scores of rows that were run before.

use std::collections::HashMap;

use super::memory::Memory;
use super::row::{Key, Row};
use super::score::Score;

/// What is remembered of a row: its reduced logits, and those of some token ids.
#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    /// By token id, ascending.
    logits: Box<[(i64, f32)]>,
    log_sum_exp: f64,
    argmax: i64,
    /// The entries that were used next before and after this one; `NONE` at either end.
    older: u32,
    newer: u32,
}

const NONE: u32 = u32::MAX;

/// Scores by row, the least recently used of which go first when they outgrow `limit` bytes.
#[derive(Debug)]
pub(crate) struct Reuse {
    limit: usize,
    /// In no order; what was evicted last is overwritten first.
    entries: Vec<Entry>,
    by_key: HashMap<Key, u32>,
    oldest: u32,
    newest: u32,
    /// What the logits take.
    logit_bytes: usize,
}

/// 256 MiB, or an eighth of the memory available where that is less.
pub(crate) fn standard_limit() -> usize {
    limit_for(Memory::of_machine())
}

fn limit_for(memory: Option<Memory>) -> usize {
    const MOST: u64 = 256 << 20;
    let limit = memory.map_or(MOST, |memory| MOST.min(memory.available / 8));
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl Reuse {
    pub fn new(limit: usize) -> Self {
        Reuse { limit, entries: Vec::new(), by_key: HashMap::new(), oldest: NONE, newest: NONE, logit_bytes: 0 }
    }

    /// The score of a row, if it is remembered with the logits of all these token ids.
    pub fn get(&mut self, row: &Row, tokens: &[i64]) -> Option<Score> {
        if self.entries.is_empty() {
            return None;
        }
        let at = *self.by_key.get(&row.key())?;
        let entry = &self.entries[at as usize];
        let logit = |id: &i64| Some(entry.logits[entry.logits.binary_search_by_key(id, |&(known, _)| known).ok()?].1);
        let logits = tokens.iter().map(logit).collect::<Option<Vec<f32>>>()?;
        let score = Score { logits, log_sum_exp: entry.log_sum_exp, argmax: entry.argmax };
        self.unlink(at);
        self.link_newest(at);
        Some(score)
    }

    /// The token ids whose logits are worth keeping when a row is run: those asked for, and those remembered before;
    /// ascending.
    pub fn worth_keeping(&self, row: &Row, tokens: &[i64]) -> Vec<i64> {
        let known = if self.entries.is_empty() { None } else { self.by_key.get(&row.key()) };
        let before = known.into_iter().flat_map(|&at| self.entries[at as usize].logits.iter().map(|&(id, _)| id));
        let mut ids: Vec<i64> = tokens.iter().copied().chain(before).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Remembers what was found for a row, in place of what was remembered before. `logits` ascend by token id.
    pub fn insert(&mut self, row: &Row, logits: Vec<(i64, f32)>, log_sum_exp: f64, argmax: i64) {
        let key = row.key();
        let new = logits_size(logits.len());
        if let Some(&at) = self.by_key.get(&key) {
            self.remove(at);
        }
        while self.size_with_one_more() + self.logit_bytes + new > self.limit {
            if self.oldest == NONE {
                return;
            }
            self.remove(self.oldest);
        }
        let at = self.entries.len() as u32;
        let logits = logits.into_boxed_slice();
        self.logit_bytes += new;
        self.entries.push(Entry { key, logits, log_sum_exp, argmax, older: NONE, newer: NONE });
        self.by_key.insert(key, at);
        self.link_newest(at);
    }

    pub fn clear(&mut self) {
        *self = Reuse::new(self.limit);
    }

    /// What the table of entries and the map would take at most while an entry more is put in. Both grow by doubling, and
    /// while they do, they are there twice.
    fn size_with_one_more(&self) -> usize {
        let more = self.entries.len() + 1;
        let held = self.entries.capacity();
        let entries = if more <= held { held } else { held + more.next_power_of_two().max(4) };
        // A map of hashbrown's has a power of two of places and fills seven eighths of them; places of removed keys may
        // make it double once more than the keys alone would.
        let places = (more * 8 / 7 + 1).next_power_of_two() * 2;
        entries * size_of::<Entry>() + places * (size_of::<(Key, u32)>() + 1)
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let entry = self.entries.swap_remove(at as usize);
        self.by_key.remove(&entry.key);
        self.logit_bytes -= logits_size(entry.logits.len());
        // The last one has taken its place.
        let moved_from = self.entries.len() as u32;
        if at != moved_from {
            let Entry { key, older, newer, .. } = self.entries[at as usize];
            self.by_key.insert(key, at);
            *self.newer_of(older) = at;
            *self.older_of(newer) = at;
        }
    }

    fn unlink(&mut self, at: u32) {
        let Entry { older, newer, .. } = self.entries[at as usize];
        *self.newer_of(older) = newer;
        *self.older_of(newer) = older;
    }

    fn link_newest(&mut self, at: u32) {
        let before = self.newest;
        let entry = &mut self.entries[at as usize];
        (entry.older, entry.newer) = (before, NONE);
        *self.newer_of(before) = at;
        self.newest = at;
    }

    /// The link to the entry after this one; where there is none before, the link to the first of all.
    fn newer_of(&mut self, at: u32) -> &mut u32 {
        if at == NONE { &mut self.oldest } else { &mut self.entries[at as usize].newer }
    }

    fn older_of(&mut self, at: u32) -> &mut u32 {
        if at == NONE { &mut self.newest } else { &mut self.entries[at as usize].older }
    }
}

/// What an allocation of so many logits takes: an allocator keeps some bytes of its own before it, and has sizes that are
/// multiples of 16.
fn logits_size(count: usize) -> usize {
    if count == 0 { 0 } else { (count * size_of::<(i64, f32)>() + 8).next_multiple_of(16).max(32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64) -> Row {
        Row::new(vec![id, 2], 0)
    }

    #[test]
    fn remembers_what_was_asked_for() {
        let mut reuse = Reuse::new(10_000);
        assert_eq!(reuse.get(&row(1), &[]), None);
        reuse.insert(&row(1), vec![(4, 0.5), (7, -1.0)], 2.0, 7);
        assert_eq!(reuse.get(&row(1), &[7, 4, 7]).unwrap().logits, [-1.0, 0.5, -1.0]);
        assert_eq!(reuse.get(&row(1), &[4, 5]), None);
        assert_eq!(reuse.get(&Row::new(vec![1, 2], 1), &[4]), None);
        assert_eq!(reuse.worth_keeping(&row(1), &[5, 4]), [4, 5, 7]);
        assert_eq!(reuse.worth_keeping(&row(2), &[5, 4, 5]), [4, 5]);
        // Again under another set of ids: replaced, not counted twice.
        let before = reuse.logit_bytes;
        reuse.insert(&row(1), vec![(4, 0.5), (7, -1.0)], 2.0, 7);
        assert_eq!((reuse.logit_bytes, reuse.entries.len(), reuse.by_key.len()), (before, 1, 1));
        reuse.clear();
        assert_eq!((reuse.logit_bytes, reuse.entries.len(), reuse.by_key.len()), (0, 0, 0));
    }

    /// The order of use against a list that is kept by hand, over thousands of steps.
    #[test]
    fn the_least_recently_used_go_first() {
        let mut reuse = Reuse::new(4_000);
        let mut order: Vec<i64> = Vec::new();
        let mut number = 7u64;
        for step in 0..5_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = (number >> 33) as i64 % 40;
            if step % 3 == 0 {
                let found = reuse.get(&row(id), &[0]);
                assert_eq!(found.is_some(), order.contains(&id), "step {step}");
                if let Some(score) = found {
                    assert_eq!(score.logits, [id as f32]);
                    order.retain(|&other| other != id);
                    order.push(id);
                }
            } else {
                reuse.insert(&row(id), vec![(0, id as f32)], 0.0, 0);
                order.retain(|&other| other != id);
                order.push(id);
                assert!(order.len() >= reuse.entries.len());
                order.drain(..order.len() - reuse.entries.len());
            }
            assert_eq!(reuse.entries.len(), reuse.by_key.len());
        }
        assert!((10..40).contains(&reuse.entries.len()), "{}", reuse.entries.len());
    }

    #[test]
    fn nothing_is_kept_without_room() {
        let mut reuse = Reuse::new(0);
        reuse.insert(&row(1), vec![], 0.0, 0);
        assert_eq!(reuse.get(&row(1), &[]), None);
    }

    #[test]
    fn small_machines_keep_less() {
        let limit = |available| limit_for(Some(Memory { available }));
        assert_eq!(limit_for(None), 256 << 20);
        assert_eq!(limit(24 << 30), 256 << 20);
        assert_eq!(limit(800 << 20), 100 << 20);
        assert_eq!(limit(0), 0);
    }

    /// Bytes that the process has more of, after a million rows, than before.
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "measures the whole process, so it runs by itself: cargo test --lib reuse -- --ignored"]
    fn takes_no_more_than_it_may() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        for limit in [16 << 20, 64 << 20] {
            let mut reuse = Reuse::new(limit);
            let before = resident();
            let mut most = 0;
            for id in 0..1_000_000 {
                reuse.insert(&row(id), vec![(0, 0.5), (1, 0.25)], 0.0, 0);
                if id % 1000 == 0 {
                    most = most.max(resident().saturating_sub(before));
                }
            }
            println!("at most {limit} bytes: {} rows, {most} bytes more resident", reuse.entries.len());
            assert!(most <= limit + (1 << 20));
        }
    }
}
