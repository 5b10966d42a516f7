//! Attributions that another program made, matched to a task's examples.
//!
//! Three forms, one file each: lines of JSON ([`lines`]), ERASER's results ([`eraser`]) and what inseq saves ([`inseq`]). What is
//! imported has one number for every token of the prompt as the model reads it; what cannot be brought into that form
//! without guessing is refused, with the row.

mod align;
mod eraser;
mod inseq;
mod lines;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostics::{Capped, Diagnostic, Diagnostics, quote};
use crate::files;
use crate::tasks::{Dataset, Example};

/// Mistakes of one file that are shown.
const SHOWN: usize = 20;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Jsonl,
    Eraser,
    Inseq,
}

impl Format {
    pub const ALL: [Format; 3] = [Format::Jsonl, Format::Eraser, Format::Inseq];
    /// In the order of [`Format::ALL`].
    pub const NAMES: [&'static str; 3] = ["jsonl", "eraser", "inseq"];

    pub fn named(name: &str) -> Option<Format> {
        Format::NAMES.iter().position(|&known| known == name).map(|at| Format::ALL[at])
    }
}

/// What is to be read.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub path: &'a Path,
    pub format: Format,
    /// Of a file with several methods, which one; empty: there is one.
    pub method: &'a str,
    /// What lines that name a model or a task have to name.
    pub model: &'a str,
    pub dataset: &'a Dataset,
    /// All tasks of the model, whose examples the file may speak of, too.
    pub all: &'a [Dataset],
}

/// What a file says of the examples of one task for one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// By the example's id: one vector a seed, one number a token.
    values: HashMap<String, Vec<Vec<f64>>>,
    /// Why the file has none for an example that it speaks of.
    without: HashMap<String, String>,
    /// That it says nothing at all of the task, and what it speaks of instead.
    nothing: Option<Diagnostic>,
    /// Of the file, hexadecimal.
    sha256: String,
}

impl Given {
    /// That there are no attributions at all, as a mistake of the file: for where it has none for other tasks, either.
    pub fn nothing(&self) -> Option<&Diagnostic> {
        self.nothing.as_ref()
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The attributions of an example, one vector a seed.
    ///
    /// # Errors
    /// Why there are none: a sentence without a full stop.
    pub fn of(&self, example: &str) -> Result<&[Vec<f64>], String> {
        match (self.values.get(example), self.without.get(example)) {
            (Some(values), _) => Ok(values),
            (None, Some(reason)) => Err(reason.clone()),
            (None, None) => Err("the imported file has no attributions of it".to_owned()),
        }
    }
}

/// Why attributions cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Mistakes in the file.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

/// Reads a file's attributions of a task's examples.
///
/// A file may speak of examples that the run did not take (a sample of the data), never of examples that the data do not
/// have.
///
/// # Errors
/// [`ImportError::Invalid`] with the file's mistakes: wrong lengths, unknown ids, other tokens, the same example twice.
pub fn read(request: &Request) -> Result<Given, ImportError> {
    let text = files::read_text(request.path, files::ATTRIBUTIONS)
        .map_err(|source| ImportError::Io { path: request.path.to_owned(), source })?;
    let mut reading = Reading::new(request);
    reading.given.sha256 = crate::digest::sha256(text.as_bytes());
    match request.format {
        Format::Jsonl => lines::read(&text, &mut reading),
        Format::Eraser => eraser::read(&text, &mut reading)?,
        Format::Inseq => inseq::read(&text, &mut reading),
    }
    reading.finish()
}

/// What has been read so far.
struct Reading<'a> {
    request: &'a Request<'a>,
    examples: HashMap<&'a str, &'a Example>,
    given: Given,
    /// The line at which an example was met.
    met: HashMap<String, usize>,
    mistakes: Capped,
    /// How many rows were about something else, by what they were about.
    passed: BTreeMap<String, usize>,
}

impl<'a> Reading<'a> {
    fn new(request: &'a Request<'a>) -> Self {
        Reading {
            request,
            examples: request.dataset.examples.iter().map(|example| (example.id.as_str(), example)).collect(),
            given: Given::default(),
            met: HashMap::new(),
            mistakes: Capped::new(SHOWN),
            passed: BTreeMap::new(),
        }
    }

    fn mistake(&mut self, line: usize, column: usize, key: &str, message: impl Into<String>) {
        self.mistakes.push(Diagnostic::new(self.request.path, line, column, key, message));
    }

    /// A row that is about something else.
    fn pass(&mut self, about: String) {
        *self.passed.entry(about).or_default() += 1;
    }

    /// The example that a row speaks of; `None` where the run did not take it, or with a mistake.
    fn example(&mut self, line: usize, key: &str, id: &str) -> Option<&'a Example> {
        if !self.request.dataset.ids.contains(id) {
            if self.request.all.iter().any(|other| other.ids.contains(id)) {
                self.pass("an example of another task".to_owned());
                return None;
            }
            let known = self.request.dataset.examples.iter().map(|example| example.id.as_str());
            let message =
                format!("the data of the task {} have no example {}", quote(&self.request.dataset.name), quote(id));
            let mistake = Diagnostic::new(self.request.path, line, 1, key, message);
            // Hundreds of ids are no help.
            let mistake = if known.clone().count() <= 1000 { mistake.with_nearest(id, known) } else { mistake };
            self.mistakes.push(mistake);
            return None;
        }
        if let Some(first) = self.met.insert(id.to_owned(), line) {
            self.mistake(line, 1, key, format!("the example {} was already given in line {first}", quote(id)));
            return None;
        }
        let found = self.examples.get(id).copied();
        if found.is_none() {
            self.pass("an example that is not taken".to_owned());
        }
        found
    }

    fn take(&mut self, example: &Example, values: Vec<Vec<f64>>) {
        self.given.values.insert(example.id.clone(), values);
    }

    fn finish(mut self) -> Result<Given, ImportError> {
        if self.given.values.is_empty() && self.mistakes.is_empty() {
            let Request { model, dataset, .. } = self.request;
            let message = format!(
                "there are no attributions here of any of the {} examples of {} for {}",
                dataset.examples.len(),
                quote(&dataset.name),
                quote(model)
            );
            let passed: Vec<String> = self.passed.iter().map(|(about, rows)| format!("{rows} of {about}")).collect();
            let reasons = self.given.without.values().next().map(|reason| format!("of the first, {reason}"));
            let help = passed.into_iter().chain(reasons).collect::<Vec<_>>().join(", ");
            let mistake = Diagnostic::new(self.request.path, 1, 1, "", message);
            let help = if help.is_empty() { "it is empty".to_owned() } else { format!("it has {help}") };
            self.given.nothing = Some(mistake.with_help(help));
        }
        match self.mistakes.is_empty() {
            true => Ok(self.given),
            false => Err(Diagnostics(self.mistakes.finish()).finished().into()),
        }
    }
}
