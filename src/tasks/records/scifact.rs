//! Claims of SciFact (Wadden et al. 2020) with their corpus of abstracts: one row for each abstract that a claim cites.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::documents::{self, Documents, Id};
use super::json::{object, without_place};
use super::lines::JsonLines;
use super::{Flaw, Row, Source, Value, Wanted};
use crate::diagnostics::{Diagnostic, quote};

pub(super) struct SciFact {
    lines: JsonLines,
    corpus: Documents,
    mistakes: Vec<Diagnostic>,
    /// Further rows of the claim that was read last.
    waiting: VecDeque<Row>,
}

#[derive(Deserialize)]
struct Claim {
    id: Id,
    /// By the abstract's id; absent where the answers are kept secret.
    evidence: Option<BTreeMap<String, Vec<Evidence>>>,
    #[serde(default)]
    cited_doc_ids: Vec<Id>,
}

#[derive(Deserialize)]
struct Evidence {
    sentences: Vec<usize>,
    label: String,
}

/// A line of the corpus.
#[derive(Deserialize)]
struct Abstract {
    title: String,
    #[serde(rename = "abstract")]
    sentences: Vec<String>,
}

/// The label of an abstract that is cited and decides nothing.
const NOTHING: &str = "NOT_ENOUGH_INFO";

impl SciFact {
    pub fn new(file: File, corpus: Option<&Path>) -> io::Result<Self> {
        let path = corpus.ok_or_else(|| io::Error::other("no corpus is named"))?;
        let (corpus, mistakes) = Documents::open(path, "doc_id")?;
        Ok(SciFact { lines: JsonLines::new(file), corpus, mistakes, waiting: VecDeque::new() })
    }
}

impl Source for SciFact {
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>> {
        if let Some(row) = documents::said(std::mem::take(&mut self.mistakes), wanted) {
            return Ok(Some(row));
        }
        loop {
            if let Some(row) = self.waiting.pop_front() {
                return Ok(Some(row));
            }
            let Some(line) = self.lines.next()? else { return Ok(None) };
            let Ok(text) = line.text else { return Ok(line.unreadable(wanted)) };
            let row = object(text, "this line", wanted, line.number, &|byte| line.place(byte));
            if !row.flaws.is_empty() {
                return Ok(Some(row));
            }
            let claim: Claim = match serde_json::from_str(text) {
                Ok(claim) => claim,
                Err(error) => {
                    let message = format!("this is no claim of SciFact: {}", without_place(&error));
                    return Ok(Some(wanted.unreadable(row.place, row.number, message)));
                }
            };
            let mut ids: Vec<Id> =
                claim.evidence.iter().flat_map(|evidence| evidence.keys().cloned().map(Id)).collect();
            ids.extend(claim.cited_doc_ids.iter().filter(|id| !ids.contains(id)).cloned().collect::<Vec<Id>>());
            if ids.is_empty() {
                let mut row = row;
                row.set_aside = Some("the claim cites no abstract");
                return Ok(Some(row));
            }
            for id in ids {
                let mut one = Row::new(row.place, row.number, row.cells.clone());
                one.id = Some(format!("{}/{}", claim.id.0, id.0));
                match made(&claim, &id, &mut self.corpus)? {
                    Ok(fields) => wanted.fill(&mut one, fields),
                    Err((why, message)) => {
                        one.flaws.push(Flaw { why, mistake: wanted.mistake(row.place, row.number, "", message) });
                    }
                }
                self.waiting.push_back(one);
            }
        }
    }
}

type Fields = Vec<(&'static str, Value)>;

/// What a claim and one abstract make.
fn made(claim: &Claim, id: &Id, corpus: &mut Documents) -> io::Result<Result<Fields, (&'static str, String)>> {
    let found = match corpus.get(id)? {
        Ok(found) => found,
        Err(problem) => return Ok(Err(("an abstract is not there", problem))),
    };
    let Abstract { title, sentences } = match serde_json::from_str(&found) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("the document {} is no abstract: {}", quote(&id.0), without_place(&error));
            return Ok(Err(("an abstract is not there", message)));
        }
    };
    let mut text = String::new();
    let mut places = Vec::with_capacity(sentences.len());
    let mut length = 0;
    for sentence in &sentences {
        // Sentences of the corpus may end in a line break of their own.
        let sentence = sentence.trim();
        if length > 0 && !sentence.is_empty() {
            text.push(' ');
            length += 1;
        }
        let start = length;
        text.push_str(sentence);
        length += sentence.chars().count();
        places.push((start, length));
    }
    let groups =
        claim.evidence.as_ref().and_then(|evidence| evidence.get(&id.0)).map(Vec::as_slice).unwrap_or_default();
    let mut spans = Vec::new();
    for &sentence in groups.iter().flat_map(|group| &group.sentences) {
        match places.get(sentence) {
            Some(&(start, end)) => spans.extend((start < end).then_some((start, end))),
            None => {
                let message = format!(
                    "sentence {sentence} of the abstract {} is evidence, and it has {} sentences, counted from 0",
                    quote(&id.0),
                    sentences.len()
                );
                return Ok(Err(("evidence is not where it is said to be", message)));
            }
        }
    }
    spans.sort_unstable();
    spans.dedup();
    let label = groups.first().map(|group| group.label.as_str());
    if let Some(other) = groups.iter().find(|group| Some(group.label.as_str()) != label) {
        let (first, other) = (quote(label.unwrap_or_default()), quote(&other.label));
        let message = format!("the abstract {} is said to be both {first} and {other}", quote(&id.0));
        return Ok(Err(("labels contradict each other", message)));
    }
    let label = match (&claim.evidence, label) {
        (None, _) => Value::Null,
        (Some(_), label) => Value::Text(label.unwrap_or(NOTHING).to_owned()),
    };
    Ok(Ok(vec![
        ("doc_id", Value::Text(id.0.clone())),
        ("title", Value::Text(title.trim().to_owned())),
        ("context", Value::Text(text)),
        ("label", label),
        ("evidence", Value::Spans(spans)),
    ]))
}
