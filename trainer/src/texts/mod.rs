//! The generated texts: one file a task, behind one trait.
//!
//! A text is a context and several questions about it. Training asks them all, one after the other; a test example is
//! a context with its first question, so tests are drawn from what training draws from.

mod fact_checking;
mod lookup;
mod sentiment;
mod statements;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashSet;
use std::ops::Range;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// The fields of a record that the task's prompt and answer templates are filled from.
pub type Fields = Map<String, Value>;

/// One question about a context, and the
/// spans (in Unicode characters of the context) of the text that decides the answer.
#[derive(Debug, Clone)]
pub struct Question {
    pub fields: Fields,
    pub evidence: Vec<Range<usize>>,
}

#[derive(Debug, Clone)]
pub struct Text {
    pub context: String,
    pub questions: Vec<Question>,
}

/// `Easy` texts are for the first part of training only: on full ones alone, models stay at chance for thousands of
/// steps wherever two things have to be found before either is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Easy,
    Full,
}

pub trait Generator: Sync {
    /// Stem of the task file in `tasks/`.
    fn task(&self) -> &'static str;

    /// A context with `questions` questions. `case` counts the texts asked for: the first question's label (and, for
    /// fact checking, how often its evidence is stated) is chosen by it, which keeps the test set balanced exactly.
    fn text(&self, rng: &mut ChaCha8Rng, case: usize, questions: usize, level: Level) -> Text;

    /// Every word that the texts can hold, beside those of the prompt template.
    fn words(&self) -> Vec<&'static str>;
}

pub fn generators() -> [&'static dyn Generator; 3] {
    [&sentiment::Sentiment, &fact_checking::FactChecking, &lookup::Lookup]
}

/// `count` records as the task's JSONL file holds them, each with a context of its own.
pub fn test_records(generator: &dyn Generator, rng: &mut ChaCha8Rng, count: usize) -> Vec<Fields> {
    let mut seen = HashSet::new();
    let mut records = Vec::with_capacity(count);
    while records.len() < count {
        let text = generator.text(rng, records.len(), 1, Level::Full);
        if seen.insert(text.context.clone()) {
            let id = format!("{}-{:03}", generator.task(), records.len() + 1);
            records.push(record(&id, &text));
        }
    }
    records
}

fn record(id: &str, text: &Text) -> Fields {
    let question = &text.questions[0];
    let mut record = Map::new();
    record.insert("id".into(), json!(id));
    record.insert("context".into(), json!(text.context));
    record.extend(question.fields.clone());
    let spans: Vec<_> = question.evidence.iter().map(|span| [span.start, span.end]).collect();
    record.insert("evidence".into(), json!(spans));
    record
}

/// Builds a context sentence by sentence, and remembers where each one's statement stands.
#[derive(Default)]
struct Writer {
    context: String,
}

impl Writer {
    /// Adds `statement` as a sentence, after an opening word in three cases of ten, and returns the statement's span
    /// without the opening word and the full stop.
    fn sentence(&mut self, rng: &mut ChaCha8Rng, openings: &[&str], statement: &str) -> Range<usize> {
        if !self.context.is_empty() {
            self.context.push(' ');
        }
        let statement = if rng.random_bool(0.3) {
            self.context.push_str(pick(rng, openings));
            self.context.push_str(", ");
            statement.to_owned()
        } else {
            capitalised(statement)
        };
        let start = self.context.chars().count();
        self.context.push_str(&statement);
        let end = self.context.chars().count();
        self.context.push('.');
        start..end
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn pick<'a>(rng: &mut ChaCha8Rng, words: &[&'a str]) -> &'a str {
    words[rng.random_range(0..words.len())]
}

/// `count` different words in random order.
fn pick_many<'a>(rng: &mut ChaCha8Rng, words: &[&'a str], count: usize) -> Vec<&'a str> {
    let mut words = words.to_vec();
    words.partial_shuffle(rng, count).0.to_vec()
}

fn fields<const N: usize>(pairs: [(&str, &str); N]) -> Fields {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}
