//! Settings of methods and metrics, and the options that several of them share.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{OptionInfo, OptionKind, OptionValue, Words};
use crate::imports::Given;
use crate::probe::Removal;

/// Settings of a method or a metric: those the user gave, and the run's seed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub options: BTreeMap<String, OptionValue>,
    pub seed: u64,
    /// For the method that is read from a file: what that says of the examples at hand.
    pub given: Option<Arc<Given>>,
}

impl Settings {
    /// An option that is a whole number; `None` where it is anything else.
    pub(crate) fn integer(&self, name: &str) -> Option<usize> {
        match self.options.get(name) {
            Some(OptionValue::Integer(number)) => Some(usize::try_from(*number).unwrap_or(usize::MAX)),
            _ => None,
        }
    }

    /// An option that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.options.get(name) {
            Some(&OptionValue::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// An option that is a word; empty where it is anything else.
    pub(crate) fn word(&self, name: &str) -> &'static str {
        match self.options.get(name) {
            Some(OptionValue::Word(word)) => word,
            _ => "",
        }
    }

    /// An option that is a list of words.
    pub(crate) fn words(&self, name: &str) -> impl Iterator<Item = &'static str> + use<> {
        let words = match self.options.get(name) {
            Some(&OptionValue::Words(words)) => Some(words),
            _ => None,
        };
        words.into_iter().flat_map(Words::iter)
    }
}

/// The option of what takes tokens away.
pub(crate) const REMOVAL: OptionInfo = OptionInfo {
    name: "removal",
    kind: OptionKind::Choice(&Removal::NAMES),
    default: OptionValue::Word("replace"),
    only_with: None,
    about: "What stands in the place of a token that is taken away: the baseline token, padding, nothing that attention \
            sees, the mean embedding, or nothing at all.",
};

/// What [`REMOVAL`] is set to.
pub(crate) fn removal(settings: &Settings) -> Removal {
    Removal::named(settings.word(REMOVAL.name)).unwrap_or(Removal::Replace)
}

/// The option of methods that draw random numbers.
pub(super) const SEEDS: OptionInfo = OptionInfo {
    name: "seeds",
    kind: OptionKind::Integer(1, 100),
    default: OptionValue::Integer(1),
    only_with: None,
    about: "How many times random numbers are drawn for each example, each draw judged by itself.",
};

/// The option of how much is drawn.
pub(super) const fn samples(about: &'static str, least: u64, most: u64, default: u64) -> OptionInfo {
    let (kind, default) = (OptionKind::Integer(least, most), OptionValue::Integer(default));
    OptionInfo { name: "samples", kind, default, only_with: None, about }
}
