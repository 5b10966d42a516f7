//! Answered examples that stand before every question.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::prompt::Filled;
use crate::config::{FewShot, Shots};
use crate::diagnostics::{Diagnostic, quote};

/// An answered example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shot {
    pub id: String,
    pub filled: Filled,
    /// The text of the answer.
    pub answer: String,
}

/// Chooses examples of a task, by their ids alone: neither the order of the data nor the model matters.
pub(super) struct Chooser<'a> {
    few_shot: &'a FewShot,
    /// Of the seed and the task.
    hasher: Sha256,
    /// By the answer's text in the data: those with the smallest hashes, as many as may be needed.
    drawn: BTreeMap<String, BTreeMap<[u8; 32], Shot>>,
    named: Vec<Option<Shot>>,
}

/// Different answers that are kept apart while examples are drawn.
const MOST_ANSWERS: usize = 1000;

impl<'a> Chooser<'a> {
    pub fn new(few_shot: &'a FewShot, task: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"gim-harness few shot\0");
        if let Shots::Drawn { seed, .. } = &few_shot.choice {
            hasher.update(seed.to_le_bytes());
        }
        hasher.update(task.as_bytes());
        hasher.update([0]);
        let named = match &few_shot.choice {
            Shots::Named(ids) => vec![None; ids.len()],
            Shots::Drawn { .. } => Vec::new(),
        };
        Chooser { few_shot, hasher, drawn: BTreeMap::new(), named }
    }

    /// `label`: the answer, as far as examples of each are wanted.
    pub fn offer(&mut self, label: &str, shot: impl FnOnce() -> Shot, id: &str) {
        match &self.few_shot.choice {
            Shots::Named(ids) => {
                if let Some(place) = ids.iter().position(|named| named.value == id) {
                    self.named[place].get_or_insert_with(shot);
                }
            }
            Shots::Drawn { count, .. } => {
                let mut hasher = self.hasher.clone();
                hasher.update(id);
                let hash: [u8; 32] = hasher.finalize().into();
                // Where every example has an answer of its own, they are of one kind.
                let label = if self.drawn.len() < MOST_ANSWERS || self.drawn.contains_key(label) { label } else { "" };
                let of_label = self.drawn.entry(label.to_owned()).or_default();
                if of_label.len() < count.value || of_label.last_key_value().is_some_and(|(last, _)| hash < *last) {
                    of_label.insert(hash, shot());
                    if of_label.len() > count.value {
                        of_label.pop_last();
                    }
                }
            }
        }
    }

    /// The chosen ones; what the task file asks for and the data do not have is a mistake.
    pub fn finish(self, mistakes: &mut Vec<Diagnostic>) -> Vec<Shot> {
        match &self.few_shot.choice {
            Shots::Named(ids) => {
                let mut shots = Vec::with_capacity(ids.len());
                for (id, shot) in ids.iter().zip(self.named) {
                    match shot {
                        Some(shot) => shots.push(shot),
                        None => {
                            let message = format!("the data have no example {} that can be used", quote(&id.value));
                            let width = id.value.chars().count();
                            mistakes.push(id.mistake("few_shot.ids", message).with_width(width));
                        }
                    }
                }
                shots
            }
            Shots::Drawn { count, .. } => {
                let mut by_rank: Vec<(usize, [u8; 32], Shot)> = Vec::new();
                for of_label in self.drawn.into_values() {
                    by_rank.extend(of_label.into_iter().enumerate().map(|(rank, (hash, shot))| (rank, hash, shot)));
                }
                // The first of each answer, then the second of each.
                by_rank.sort_by_key(|(rank, hash, _)| (*rank, *hash));
                if by_rank.len() < count.value {
                    let message =
                        format!("{} examples are to be shown, and the data have {}", count.value, by_rank.len());
                    mistakes.push(count.mistake("few_shot.count", message));
                }
                by_rank.truncate(count.value);
                // In an order that says nothing of the answer.
                by_rank.sort_by_key(|(_, hash, _)| *hash);
                by_rank.into_iter().map(|(_, _, shot)| shot).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Located;
    use std::path::PathBuf;

    fn located<T>(value: T) -> Located<T> {
        Located { value, file: PathBuf::from("t.yaml"), line: 1, column: 1 }
    }

    fn drawn(count: usize, seed: u64, ids: &[(&str, &str)]) -> (Vec<String>, usize) {
        let few_shot = FewShot { choice: Shots::Drawn { count: located(count), seed }, separator: String::new() };
        chosen(&few_shot, ids)
    }

    fn chosen(few_shot: &FewShot, ids: &[(&str, &str)]) -> (Vec<String>, usize) {
        let mut chooser = Chooser::new(few_shot, "t");
        for (id, label) in ids {
            let shot = || Shot { id: (*id).to_owned(), filled: Filled::default(), answer: (*label).to_owned() };
            chooser.offer(label, shot, id);
        }
        let mut mistakes = Vec::new();
        (chooser.finish(&mut mistakes).into_iter().map(|shot| shot.id).collect(), mistakes.len())
    }

    #[test]
    fn as_many_of_each_answer_whatever_the_order() {
        let data: Vec<(String, &str)> =
            (0..40).map(|n| (format!("e{n}"), if n % 8 == 0 { "rare" } else { "often" })).collect();
        let data: Vec<(&str, &str)> = data.iter().map(|(id, label)| (id.as_str(), *label)).collect();
        let (found, mistakes) = drawn(4, 0, &data);
        assert_eq!((found.len(), mistakes), (4, 0));
        let rare = |ids: &[String]| ids.iter().filter(|id| id[1..].parse::<usize>().unwrap() % 8 == 0).count();
        assert_eq!(rare(&found), 2);
        let backwards: Vec<(&str, &str)> = data.iter().rev().copied().collect();
        assert_eq!(drawn(4, 0, &backwards).0, found);
        assert_ne!(drawn(4, 1, &data).0, found);
        assert_eq!(rare(&drawn(20, 0, &data).0), 5, "all that there are");
        assert_eq!(drawn(41, 0, &data).1, 1, "too few");
    }

    #[test]
    fn named_ones_come_in_their_order() {
        let named = |ids: &[&str]| FewShot {
            choice: Shots::Named(ids.iter().map(|id| located((*id).to_owned())).collect()),
            separator: String::new(),
        };
        let data = [("a", "x"), ("b", "y"), ("c", "x")];
        assert_eq!(chosen(&named(&["c", "a"]), &data), (vec!["c".to_owned(), "a".to_owned()], 0));
        assert_eq!(chosen(&named(&["d", "a"]), &data), (vec!["a".to_owned()], 1));
    }
}
