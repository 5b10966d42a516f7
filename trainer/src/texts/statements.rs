//! Statements about people and things ("Emma sings", "the lamp leaks"), shared by look-up and fact checking.
//!
//! Verbs without an object, so that what is said follows directly whom it is said of: small models learn to look up
//! the next token thousands of steps before they learn to look up the one after it.

use rand_chacha::ChaCha8Rng;

use super::pick_many;
use super::words::{OPENINGS, PEOPLE, PEOPLE_DO, THINGS, THINGS_DO};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    Thing,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Statement {
    pub kind: Kind,
    pub who: &'static str,
    pub does: &'static str,
}

impl Statement {
    /// "Emma" or "the lamp".
    pub fn subject(&self) -> String {
        match self.kind {
            Kind::Person => self.who.to_owned(),
            Kind::Thing => format!("the {}", self.who),
        }
    }

    /// "Emma sings" or "the lamp leaks".
    pub fn text(&self) -> String {
        format!("{} {}", self.subject(), self.does)
    }
}

/// Statements about different people or things, no two of which do the same.
pub(super) fn statements(rng: &mut ChaCha8Rng, kind: Kind, count: usize) -> Vec<Statement> {
    let (who, does) = match kind {
        Kind::Person => (PEOPLE, PEOPLE_DO),
        Kind::Thing => (THINGS, THINGS_DO),
    };
    let (who, does) = (pick_many(rng, who, count), pick_many(rng, does, count));
    who.into_iter().zip(does).map(|(who, does)| Statement { kind, who, does }).collect()
}

pub(super) fn words() -> Vec<&'static str> {
    let mut words = vec!["the", "The"];
    for list in [PEOPLE, PEOPLE_DO, THINGS, THINGS_DO, OPENINGS] {
        words.extend_from_slice(list);
    }
    words
}
