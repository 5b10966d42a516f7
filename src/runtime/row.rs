//! What is scored: a prompt, or a prompt with something taken away from it.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::bundle::Graph;

/// What a row is known by: the first half of a SHA-256. The ids themselves would take most of the room where rows are
/// remembered, and two rows with one such key will not be met.
pub(crate) type Key = [u8; 16];

/// Token ids that many rows share.
#[derive(Clone)]
pub struct Prompt(Arc<Shared>);

struct Shared {
    ids: Box<[i64]>,
    key: Key,
}

impl Prompt {
    pub fn new(ids: Vec<i64>) -> Self {
        let ids = ids.into_boxed_slice();
        let mut hash = Sha256::new();
        for part in ids.chunks(512) {
            let bytes: Vec<u8> = part.iter().flat_map(|id| id.to_le_bytes()).collect();
            hash.update(&bytes);
        }
        Prompt(Arc::new(Shared { key: half(hash), ids }))
    }

    pub fn ids(&self) -> &[i64] {
        &self.0.ids
    }
}

impl std::ops::Deref for Prompt {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        self.ids()
    }
}

impl From<Vec<i64>> for Prompt {
    fn from(ids: Vec<i64>) -> Self {
        Prompt::new(ids)
    }
}

impl From<&[i64]> for Prompt {
    fn from(ids: &[i64]) -> Self {
        Prompt::new(ids.to_vec())
    }
}

impl<const N: usize> From<[i64; N]> for Prompt {
    fn from(ids: [i64; N]) -> Self {
        Prompt::new(ids.to_vec())
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.ids().fmt(f)
    }
}

impl PartialEq for Prompt {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.key == other.0.key
    }
}

impl Eq for Prompt {}

impl std::hash::Hash for Prompt {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

/// What stands at a place of a prompt in place of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Another token.
    Token(i64),
    /// The mean of the embeddings of the prompt's tokens.
    Mean,
    /// Its embedding, of which each number stays with the probability `kept` / 65535 and else is 0, by random numbers that hang on
    /// `draw` and the place: what stays at a low probability stays at any higher one.
    Thinned { kept: u16, draw: u32 },
    /// Its token, which attention does not see: the mask says that there is nothing.
    Masked,
    /// The mean over the prompt of what enters a layer, in the place of what enters it there.
    Residual { layer: u16 },
    /// The mean score of one row of attention, in the place of the score that its query has for this place as a key.
    Score { layer: u16, head: u16, query: u32 },
}

/// A sequence to be scored, and the position whose logits are meant: a prompt that many rows share, and what is changed of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    prompt: Prompt,
    /// Ascending by place, each place once; no change that changes nothing.
    changes: Box<[(u32, Change)]>,
    position: u32,
}

impl Row {
    /// Token ids as they are; `position` is an index into them, for a decoder the last one.
    pub fn new(prompt: impl Into<Prompt>, position: usize) -> Self {
        Row { prompt: prompt.into(), changes: Box::default(), position: u32::try_from(position).unwrap_or(u32::MAX) }
    }

    /// The prompt of this row with `change` at each of `places`, in any order. Places beyond its end are not heeded.
    pub fn changed(&self, places: &[usize], change: Change) -> Self {
        let ids = self.prompt.ids();
        let changes_something = |&&place: &&usize| ids.get(place).is_some_and(|&id| change != Change::Token(id));
        let mut changes: Vec<(u32, Change)> =
            places.iter().filter(changes_something).map(|&place| (place as u32, change)).collect();
        changes.sort_unstable();
        changes.dedup_by_key(|(place, _)| *place);
        Row { prompt: self.prompt.clone(), changes: changes.into(), position: self.position }
    }

    /// The prompt of this row with each of `places` [thinned](Change::Thinned) to a share of its own. A share of all changes
    /// nothing; places beyond the end are not heeded.
    pub fn thinned(&self, places: impl IntoIterator<Item = (usize, u16)>, draw: u32) -> Self {
        let changes_something = |&(place, kept): &(usize, u16)| place < self.length() && kept < u16::MAX;
        let thin = |(place, kept)| (place as u32, Change::Thinned { kept, draw });
        let mut changes: Vec<(u32, Change)> = places.into_iter().filter(changes_something).map(thin).collect();
        changes.sort_unstable();
        changes.dedup_by_key(|(place, _)| *place);
        Row { prompt: self.prompt.clone(), changes: changes.into(), position: self.position }
    }

    /// The same, asked so many positions farther on.
    pub fn moved(&self, behind: usize) -> Self {
        let behind = u32::try_from(behind).unwrap_or(u32::MAX);
        Row { position: self.position.saturating_add(behind), ..self.clone() }
    }

    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    pub fn changes(&self) -> &[(u32, Change)] {
        &self.changes
    }

    pub fn position(&self) -> usize {
        self.position as usize
    }

    /// In tokens.
    pub fn length(&self) -> usize {
        self.prompt.len()
    }

    /// The token ids, changed ones in their place.
    pub fn ids(&self) -> Vec<i64> {
        let mut ids = self.prompt.to_vec();
        for &(place, change) in &self.changes {
            if let Change::Token(id) = change {
                ids[place as usize] = id;
            }
        }
        ids
    }

    /// Places that have an effect of this kind.
    pub(crate) fn places(&self, of: Change) -> impl Iterator<Item = usize> {
        self.changes.iter().filter(move |(_, change)| *change == of).map(|&(place, _)| place as usize)
    }

    /// What is changed. The changes of a row are all of one kind, and inside the model all in one layer.
    pub(crate) fn kind(&self) -> Option<Change> {
        self.changes.first().map(|&(_, change)| change)
    }

    /// The graph that it goes through.
    pub(crate) fn graph(&self) -> Graph {
        match self.kind() {
            // It starts from embeddings, since it has some that no token has.
            Some(Change::Mean | Change::Thinned { .. }) => Graph::ForwardEmbeds,
            Some(Change::Residual { .. }) => Graph::ForwardResidual,
            Some(Change::Score { .. }) => Graph::ForwardScores,
            None | Some(Change::Token(_) | Change::Masked) => Graph::Forward,
        }
    }

    pub(crate) fn key(&self) -> Key {
        let mut bytes = Vec::with_capacity(24 + 13 * self.changes.len());
        bytes.extend(self.prompt.0.key);
        bytes.extend(self.position.to_le_bytes());
        for &(place, change) in &self.changes {
            let (kind, id) = match change {
                Change::Token(id) => (0, id),
                Change::Mean => (1, 0),
                Change::Masked => (2, 0),
                Change::Thinned { kept, draw } => (5, i64::from(kept) << 32 | i64::from(draw)),
                Change::Residual { layer } => (3, i64::from(layer)),
                Change::Score { layer, head, query } => {
                    (4, i64::from(layer) << 48 | i64::from(head) << 32 | i64::from(query))
                }
            };
            bytes.extend(place.to_le_bytes());
            bytes.push(kind);
            bytes.extend(id.to_le_bytes());
        }
        let mut hash = Sha256::new();
        hash.update(&bytes);
        half(hash)
    }
}

fn half(hash: Sha256) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_what_it_shows_however_it_was_made() {
        let row = Row::new(vec![5, 6, 7, 6], 3);
        let changed = row.changed(&[3, 1, 1, 9], Change::Token(8));
        assert_eq!(changed.ids(), [5, 8, 7, 8]);
        assert_eq!(changed, row.changed(&[1, 3], Change::Token(8)));
        assert_eq!(changed.key(), row.changed(&[1, 3], Change::Token(8)).key());
        // What changes nothing is no change.
        assert_eq!(row.changed(&[1, 3], Change::Token(6)), row);
        assert_eq!(row.changed(&[1], Change::Token(6)).key(), Row::new(vec![5, 6, 7, 6], 3).key());
    }

    #[test]
    fn rows_that_differ_have_different_keys() {
        let row = Row::new(vec![5, 6, 7], 2);
        let rows = [
            row.clone(),
            Row::new(vec![5, 6, 7], 1),
            Row::new(vec![5, 6], 1),
            row.changed(&[0], Change::Token(1)),
            row.changed(&[1], Change::Token(1)),
            row.changed(&[0], Change::Token(2)),
            row.changed(&[0], Change::Mean),
            row.changed(&[0], Change::Masked),
            row.changed(&[0, 1], Change::Masked),
            row.changed(&[0], Change::Residual { layer: 0 }),
            row.changed(&[0], Change::Residual { layer: 1 }),
            row.changed(&[1], Change::Residual { layer: 1 }),
            row.changed(&[0], Change::Score { layer: 0, head: 0, query: 1 }),
            row.changed(&[0], Change::Score { layer: 0, head: 1, query: 0 }),
            row.changed(&[0], Change::Score { layer: 1, head: 0, query: 0 }),
            row.thinned([(0, 7)], 1),
            row.thinned([(0, 8)], 1),
            row.thinned([(0, 7)], 2),
            row.thinned([(0, 7), (1, 8)], 1),
        ];
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                assert_eq!((a == b, a.key() == b.key()), (i == j, i == j), "{a:?} {b:?}");
            }
        }
        assert_eq!(rows[6].ids(), [5, 6, 7]);
        let graphs =
            [Graph::ForwardEmbeds, Graph::Forward, Graph::Forward, Graph::ForwardResidual, Graph::ForwardScores];
        assert_eq!([6, 7, 0, 9, 12].map(|row| rows[row].graph()), graphs);
        assert_eq!(rows[15].graph(), Graph::ForwardEmbeds);
        assert_eq!(row.thinned([(0, u16::MAX), (9, 0)], 1), row);
    }
}
