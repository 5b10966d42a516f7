//! Methods and metrics as a configuration names them: what their options may be, and what the user set.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Vocabulary;

/// What a plan chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Method,
    Metric,
}

impl Sort {
    pub fn word(self) -> &'static str {
        match self {
            Sort::Method => "method",
            Sort::Metric => "metric",
        }
    }

    /// The key of a harness file under which they are listed.
    pub fn key(self) -> &'static str {
        match self {
            Sort::Method => "methods",
            Sort::Metric => "metrics",
        }
    }

    /// How one of them is written with an option.
    pub fn example(self) -> &'static str {
        match self {
            Sort::Method => "`- random: {seeds: 5}`",
            Sort::Metric => "`- comprehensiveness: {removal: mean}`",
        }
    }

    pub fn known<'a>(self, vocabulary: &Vocabulary<'a>) -> &'a [Offered] {
        match self {
            Sort::Method => vocabulary.methods,
            Sort::Metric => vocabulary.metrics,
        }
    }
}

/// A method or a metric, and the options it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offered {
    pub name: &'static str,
    pub options: &'static [OptionInfo],
}

/// An option of a method or a metric: declared beside the method, read by the checker, the JSON Schema and `gim-harness methods`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptionInfo {
    pub name: &'static str,
    pub kind: OptionKind,
    /// What it is when it is not given.
    pub default: OptionValue,
    /// Another option, and what that has to be for this one to mean anything.
    pub only_with: Option<(&'static str, OptionValue)>,
    /// One sentence.
    pub about: &'static str,
}

/// What an option may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionKind {
    /// A whole number, from and up to and including.
    Integer(u64, u64),
    /// The same, or a word in its place.
    IntegerOr(&'static str, u64, u64),
    /// A number strictly between 0 and 1.
    Fraction,
    /// A number, from and up to and including.
    Number(f64, f64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of some of these words, at least so many, in any order.
    Words(&'static [&'static str], usize),
    /// A name; empty where it is not given.
    Name,
    /// An existing file, relative to the one in which it is written; it has to be given.
    File,
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionKind::Integer(least, most) => write!(f, "a whole number from {least} to {most}"),
            OptionKind::IntegerOr(word, least, most) => write!(f, "a whole number from {least} to {most}, or {word}"),
            OptionKind::Fraction => f.write_str("a number between 0 and 1"),
            OptionKind::Number(least, most) => write!(f, "a number from {least} to {most}"),
            OptionKind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            OptionKind::Words(words, least) => write!(f, "a list of {least} or more of {}", words.join(", ")),
            OptionKind::Name => f.write_str("a name"),
            OptionKind::File => f.write_str("a file"),
        }
    }
}

/// What an option is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionValue {
    Integer(u64),
    Number(f64),
    Word(&'static str),
    Words(Words),
    File(WrittenFile),
}

/// A file as it is written, and the folder that this is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    written: &'static str,
    folder: &'static str,
}

impl WrittenFile {
    /// The default of an option that has to be given.
    pub const NONE: WrittenFile = WrittenFile { written: "", folder: "" };

    pub(super) fn new(written: &str) -> Self {
        WrittenFile { written: kept(written), ..Self::NONE }
    }

    pub(super) fn under(self, folder: &Path) -> Self {
        WrittenFile { folder: kept(&folder.to_string_lossy()), ..self }
    }

    pub fn path(self) -> PathBuf {
        Path::new(self.folder).join(self.written)
    }

    /// As it is written.
    pub fn written(self) -> &'static str {
        self.written
    }
}

/// A text of the user's as a value that is copied about. Each is kept once, for as long as the program runs: it reads few
/// configurations, and those are short.
pub(super) fn kept(text: &str) -> &'static str {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(text) {
        return known;
    }
    let new: &'static str = Box::leak(text.to_owned().into_boxed_str());
    all.insert(new);
    new
}

/// Some words of a list, of which each can be there once; in the list's order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    of: &'static [&'static str],
    chosen: u64,
}

impl Words {
    /// Those of `of` that are among `chosen`.
    ///
    /// # Panics
    /// Where `of` has more than 64 words: it is a constant, and so is this in an option's declaration.
    pub const fn of(of: &'static [&'static str], chosen: &[&str]) -> Self {
        assert!(of.len() <= u64::BITS as usize);
        let mut words = Words { of, chosen: 0 };
        let mut i = 0;
        while i < of.len() {
            let mut j = 0;
            while j < chosen.len() {
                if equal(of[i].as_bytes(), chosen[j].as_bytes()) {
                    words.chosen |= 1 << i;
                }
                j += 1;
            }
            i += 1;
        }
        words
    }

    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        self.of.iter().enumerate().filter(move |&(i, _)| (self.chosen >> i) & 1 == 1).map(|(_, &word)| word)
    }
}

/// Comparison of strings, as constants can have it.
const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// "[a b]": no comma in it, as in a method's description.
impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.iter().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::Integer(number) => write!(f, "{number}"),
            OptionValue::Number(number) => write!(f, "{number}"),
            OptionValue::Word(word) => f.write_str(word),
            OptionValue::Words(words) => words.fmt(f),
            OptionValue::File(file) => f.write_str(file.written),
        }
    }
}

impl Offered {
    pub fn option(&self, name: &str) -> Option<&'static OptionInfo> {
        self.options.iter().find(|option| option.name == name)
    }

    /// Every option, those that are not given at their defaults.
    pub fn complete(&self, given: &BTreeMap<String, OptionValue>) -> BTreeMap<String, OptionValue> {
        let value = |option: &OptionInfo| given.get(option.name).copied().unwrap_or(option.default);
        self.options.iter().map(|option| (option.name.to_owned(), value(option))).collect()
    }
}

/// A method to explain with, or a metric to judge by.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// What reports call it; unique in a plan. The name where it stands once and the user gave no label.
    pub label: String,
    /// Known to the vocabulary.
    pub name: String,
    /// Only what the user set.
    pub options: BTreeMap<String, OptionValue>,
}

impl Chosen {
    /// One at its defaults.
    pub fn plain(name: &str) -> Self {
        Chosen { label: name.to_owned(), name: name.to_owned(), options: BTreeMap::new() }
    }

    /// "integrated_gradients", "integrated_gradients(steps=300)": the name and what the user set. No comma in it, so that
    /// it can stand in a list.
    pub fn described(&self) -> String {
        let options: Vec<String> = self.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if options.is_empty() { self.name.clone() } else { format!("{}({})", self.name, options.join(" ")) }
    }
}
