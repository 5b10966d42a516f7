//! Methods as a configuration names them: what their options may be, and what the user set.

use std::collections::BTreeMap;
use std::fmt;

/// A method and the options it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MethodInfo {
    pub name: &'static str,
    pub options: &'static [OptionInfo],
}

/// An option of a method: declared beside the method, read by the checker, the JSON Schema and `gim-harness methods`.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A whole number, from and up to and including.
    Integer(u64, u64),
    /// The same, or a word in its place.
    IntegerOr(&'static str, u64, u64),
    /// A number strictly between 0 and 1.
    Fraction,
}

/// What an option is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionValue {
    Integer(u64),
    Number(f64),
    Word(&'static str),
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::Integer(number) => write!(f, "{number}"),
            OptionValue::Number(number) => write!(f, "{number}"),
            OptionValue::Word(word) => f.write_str(word),
        }
    }
}

impl MethodInfo {
    pub fn option(&self, name: &str) -> Option<&'static OptionInfo> {
        self.options.iter().find(|option| option.name == name)
    }

    /// Every option, those that are not given at their defaults.
    pub fn complete(&self, given: &BTreeMap<String, OptionValue>) -> BTreeMap<String, OptionValue> {
        let value = |option: &OptionInfo| given.get(option.name).copied().unwrap_or(option.default);
        self.options.iter().map(|option| (option.name.to_owned(), value(option))).collect()
    }
}

/// A method to explain with.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodPlan {
    /// What reports call it; unique in a plan. The method's name where it stands once and the user gave no label.
    pub label: String,
    /// Known to the vocabulary.
    pub name: String,
    /// Only what the user set.
    pub options: BTreeMap<String, OptionValue>,
}

impl MethodPlan {
    /// A method at its defaults.
    pub fn plain(name: &str) -> Self {
        MethodPlan { label: name.to_owned(), name: name.to_owned(), options: BTreeMap::new() }
    }

    /// "integrated_gradients", "integrated_gradients(steps=300)": the name and what the user set. No comma in it, so that
    /// it can stand in a list.
    pub fn described(&self) -> String {
        let options: Vec<String> = self.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if options.is_empty() { self.name.clone() } else { format!("{}({})", self.name, options.join(" ")) }
    }
}
