//! `gate.yaml`: which changes from one run to another are regressions, and which of them somebody has looked at.

use std::path::{Path, PathBuf};

use super::schema::{self, Checker, Field, Kind, Needed, Table};
use super::written::View;
use super::{ConfigError, Vocabulary, finish, read, text, yaml};
use crate::date::Date;
use crate::diagnostics::{Diagnostic, Located};

/// Of all intervals of a comparison together.
const CONFIDENCE: f64 = 0.99;

pub(super) static GATE: Table = Table {
    title: "gim-harness: what a new run may be worse by",
    fields: &[
        Field {
            name: "rules",
            kind: Kind::List(&Kind::Mapping(&RULE)),
            needed: Needed::Required,
            about: "What may change by how much; the first rule that fits a metric of a method on a task decides.",
        },
        Field {
            name: "confidence",
            kind: Kind::Fraction,
            needed: Needed::Fraction(CONFIDENCE),
            about: "Of all intervals together: a gate without any real change fails with the rest of the probability.",
        },
        Field {
            name: "acknowledged",
            kind: Kind::Path,
            needed: Needed::Optional,
            about: "File of changes that somebody has looked at: they fail no gate until they expire.",
        },
    ],
};

static RULE: Table = Table {
    title: "A rule",
    fields: &[
        Field { name: "model", kind: Kind::Text, needed: Needed::Optional, about: "Default: every model." },
        Field { name: "task", kind: Kind::Text, needed: Needed::Optional, about: "Default: every task." },
        Field {
            name: "method",
            kind: Kind::Text,
            needed: Needed::Optional,
            about: "Its label; default: every method.",
        },
        Field { name: "metric", kind: Kind::Text, needed: Needed::Optional, about: "Default: every metric." },
        Field {
            name: "margin",
            kind: Kind::Margin,
            needed: Needed::Optional,
            about: "Fails where the metric is shown to be worse by more than this, a number in the metric's unit or a \
                    percentage of the old mean.",
        },
        Field {
            name: "no_worse_than",
            kind: Kind::Margin,
            needed: Needed::Optional,
            about: "Fails unless the metric is shown to be worse by no more than this, so also where too few examples tell.",
        },
    ],
};

pub(super) static ACKNOWLEDGED: Table = Table {
    title: "gim-harness: changes that somebody has looked at",
    fields: &[Field {
        name: "changes",
        kind: Kind::List(&Kind::Mapping(&CHANGE)),
        needed: Needed::Required,
        about: "Each with its reason and the last day on which it counts.",
    }],
};

static CHANGE: Table = Table {
    title: "A change",
    fields: &[
        Field { name: "model", kind: Kind::Text, needed: Needed::Optional, about: "Default: every model." },
        Field { name: "task", kind: Kind::Text, needed: Needed::Optional, about: "Default: every task." },
        Field {
            name: "method",
            kind: Kind::Text,
            needed: Needed::Optional,
            about: "Its label; default: every method.",
        },
        Field { name: "metric", kind: Kind::Text, needed: Needed::Optional, about: "Default: every metric." },
        Field { name: "reason", kind: Kind::Text, needed: Needed::Required, about: "Why it is all right." },
        Field { name: "until", kind: Kind::Date, needed: Needed::Required, about: "The last day on which it counts." },
    ],
};

/// How much worse something may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// In the metric's unit.
    Absolute(f64),
    /// A share of the old mean's size.
    Relative(f64),
}

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// A regression has to be shown.
    Margin(Margin),
    /// That there is none has to be shown.
    NoWorseThan(Margin),
}

/// What a rule is about; what is absent fits all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matcher {
    pub model: Option<Located<String>>,
    pub task: Option<Located<String>>,
    pub method: Option<Located<String>>,
    pub metric: Option<Located<String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub fits: Matcher,
    pub allowed: Allowed,
    /// Where it stands: "gate.yaml:3".
    pub place: String,
}

/// A change that somebody has looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    pub fits: Matcher,
    pub reason: String,
    /// The last day on which it counts.
    pub until: Date,
}

/// `gate.yaml`, and the file of acknowledged changes that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    pub rules: Vec<Rule>,
    /// Of all intervals together.
    pub confidence: f64,
    pub acknowledged: Vec<Acknowledged>,
}

impl Default for Gate {
    /// No rule at all.
    fn default() -> Gate {
        Gate { rules: Vec::new(), confidence: CONFIDENCE, acknowledged: Vec::new() }
    }
}

impl Matcher {
    pub fn fits(&self, model: &str, task: &str, method: &str, metric: &str) -> bool {
        let fits = |wanted: &Option<Located<String>>, name: &str| wanted.as_ref().is_none_or(|w| w.value == name);
        fits(&self.model, model) && fits(&self.task, task) && fits(&self.method, method) && fits(&self.metric, metric)
    }
}

/// Reads a gate file and the file of acknowledged changes that it names.
///
/// # Errors
/// [`ConfigError::Io`] if one of them cannot be read; [`ConfigError::Invalid`] with every mistake in both.
pub fn load_gate(path: &Path) -> Result<Gate, ConfigError> {
    let bytes = read(path).map_err(|source| ConfigError::Io { path: path.to_path_buf(), source })?;
    let mut mistakes = Vec::new();
    let written = text(path, &bytes, &mut mistakes).and_then(|text| gate(path, text, &mut mistakes));
    let Some((mut gate, acknowledged)) = written else { return finish(None, mistakes, path) };
    if let Some(named) = acknowledged {
        let file = path.parent().unwrap_or(Path::new("")).join(named);
        let bytes = read(&file).map_err(|source| ConfigError::Io { path: file.clone(), source })?;
        gate.acknowledged =
            text(&file, &bytes, &mut mistakes).map(|text| changes(&file, text, &mut mistakes)).unwrap_or_default();
    }
    finish(Some(gate), mistakes, path)
}

fn gate(file: &Path, text: &str, mistakes: &mut Vec<Diagnostic>) -> Option<(Gate, Option<PathBuf>)> {
    let root = yaml::parse(file, text, mistakes)?;
    Checker { file, vocabulary: &Vocabulary::EMPTY, mistakes }.mapping(&root, &GATE, "");
    let view = View { file, node: Some(&root), table: &GATE };
    let mut rules = Vec::new();
    for (i, item) in view.items("rules").enumerate() {
        let rule = View { file, node: Some(item), table: &RULE };
        let margin = |key: &str| rule.given(key).and_then(|node| schema::margin(node).ok());
        let allowed = match (rule.given("margin"), rule.given("no_worse_than")) {
            (Some(_), None) => margin("margin").map(Allowed::Margin),
            (None, Some(_)) => margin("no_worse_than").map(Allowed::NoWorseThan),
            _ if !matches!(item.content, yaml::Content::Mapping(_)) => None,
            (given, _) => {
                let message = if given.is_some() {
                    "a rule has either `margin` or `no_worse_than`, and this has both"
                } else {
                    "a rule has `margin` or `no_worse_than`, and this has none"
                };
                mistakes.push(Diagnostic::new(file, item.line, item.column, format!("rules[{i}]"), message));
                None
            }
        };
        let place = format!("{}:{}", file.display(), item.line);
        rules.extend(allowed.map(|allowed| Rule { fits: matcher(&rule), allowed, place }));
    }
    let confidence = view.fraction("confidence").unwrap_or(CONFIDENCE);
    let acknowledged = view.text("acknowledged").map(|path| PathBuf::from(path.value));
    Some((Gate { rules, confidence, acknowledged: Vec::new() }, acknowledged))
}

fn changes(file: &Path, text: &str, mistakes: &mut Vec<Diagnostic>) -> Vec<Acknowledged> {
    let Some(root) = yaml::parse(file, text, mistakes) else { return Vec::new() };
    Checker { file, vocabulary: &Vocabulary::EMPTY, mistakes }.mapping(&root, &ACKNOWLEDGED, "");
    let view = View { file, node: Some(&root), table: &ACKNOWLEDGED };
    let change = |item| {
        let change = View { file, node: Some(item), table: &CHANGE };
        Some(Acknowledged {
            fits: matcher(&change),
            reason: change.text("reason")?.value,
            until: change.given("until").and_then(|node| schema::date(node).ok())?,
        })
    };
    view.items("changes").filter_map(change).collect()
}

fn matcher(view: &View) -> Matcher {
    Matcher {
        model: view.text("model"),
        task: view.text("task"),
        method: view.text("method"),
        metric: view.text("metric"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(gate: &str, acknowledged: &str) -> Result<Gate, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gate.yaml"), gate).unwrap();
        std::fs::write(folder.path().join("seen.yaml"), acknowledged).unwrap();
        let place = format!("{}/", folder.path().display());
        load_gate(&folder.path().join("gate.yaml")).map_err(|error| error.to_string().replace(&place, ""))
    }

    #[test]
    fn a_gate_is_read_with_what_was_acknowledged() {
        let gate = load(
            "rules:\n  - {metric: sufficiency, method: gim, no_worse_than: 5 %}\n  - margin: 0.25\nacknowledged: seen.yaml\n",
            "changes:\n  - {method: gim, reason: a new tokenizer, until: 2026-12-31}\n",
        )
        .unwrap();
        assert_eq!(gate.rules[0].allowed, Allowed::NoWorseThan(Margin::Relative(0.05)));
        assert_eq!(gate.rules[1].allowed, Allowed::Margin(Margin::Absolute(0.25)));
        assert!(gate.rules[0].fits.fits("m", "t", "gim", "sufficiency"));
        assert!(!gate.rules[0].fits.fits("m", "t", "gradient", "sufficiency"));
        assert!(gate.rules[1].fits.fits("m", "t", "gradient", "any"));
        assert!(gate.rules[1].place.ends_with("gate.yaml:3"), "{}", gate.rules[1].place);
        assert_eq!((gate.confidence, gate.acknowledged[0].until.to_string()), (0.99, "2026-12-31".to_owned()));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let error = load(
            "rules:\n  - {metrc: a, margin: -1}\n  - {metric: b}\n  - {margin: 1, no_worse_than: 2}\n  - no\n\
             confidence: 95\nacknowledged: seen.yaml\n",
            "changes:\n  - {until: 2026-02-30}\n",
        )
        .unwrap_err();
        insta::assert_snapshot!(error);
    }
}
