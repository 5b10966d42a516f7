//! A file of the ERASER benchmark (DeYoung et al. 2020): questions about documents, with evidence as token offsets.
//!
//! Offsets count the tokens of the document as the benchmark's own loader cuts it: lines without the white space at
//! their ends, blank ones left out, cut at spaces, nothing between two spaces. The context is made of these tokens, one
//! space between two and a line break between lines, so nothing that shifts offsets is left in it. Where an offset does
//! not hold the text that is written beside it, the place where that text stands is taken, if there is one alone.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::documents::{self, Documents, Id};
use super::json::{object, without_place};
use super::lines::JsonLines;
use super::{Flaw, Row, Source, Value, Wanted};
use crate::diagnostics::{Diagnostic, quote};

pub(super) struct Eraser {
    lines: JsonLines,
    documents: Documents,
    mistakes: Vec<Diagnostic>,
    brackets: bool,
}

/// What a record says beside the fields that are text.
#[derive(Deserialize)]
struct Record {
    annotation_id: Option<Id>,
    #[serde(default)]
    docids: Option<Vec<Id>>,
    /// Groups, each of which is enough to answer.
    #[serde(default)]
    evidences: Option<Vec<Vec<Evidence>>>,
}

#[derive(Deserialize)]
struct Evidence {
    docid: Id,
    /// In tokens, half-open.
    start_token: Option<i64>,
    end_token: Option<i64>,
    text: Option<String>,
}

/// A line of `docs.jsonl`.
#[derive(Deserialize)]
struct Document {
    document: String,
}

const NO_DOCUMENT: &str = "a document is not there";
const NO_EVIDENCE: &str = "evidence is not where it is said to be";

impl Eraser {
    pub fn new(file: File, documents: Option<&Path>, brackets: bool) -> io::Result<Self> {
        let path = documents.ok_or_else(|| io::Error::other("no documents are named"))?;
        let (documents, mistakes) = Documents::open(path, "docid")?;
        Ok(Eraser { lines: JsonLines::new(file), documents, mistakes, brackets })
    }
}

impl Source for Eraser {
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>> {
        if let Some(row) = documents::said(std::mem::take(&mut self.mistakes), wanted) {
            return Ok(Some(row));
        }
        let Some(line) = self.lines.next()? else { return Ok(None) };
        let Ok(text) = line.text else { return Ok(line.unreadable(wanted)) };
        let mut row = object(text, "this line", wanted, line.number, &|byte| line.place(byte));
        if !row.flaws.is_empty() {
            return Ok(Some(row));
        }
        let record: Record = match serde_json::from_str(text) {
            Ok(record) => record,
            Err(error) => {
                let message = format!("this is no record of ERASER: {}", without_place(&error));
                return Ok(Some(wanted.unreadable(row.place, row.number, message)));
            }
        };
        row.id = record.annotation_id.as_ref().map(|id| id.0.clone());
        match context(&record, &mut self.documents, self.brackets)? {
            Ok((context, spans)) => {
                wanted.fill(&mut row, vec![("context", Value::Text(context)), ("evidence", Value::Spans(spans))]);
            }
            Err(found) => {
                let flaw = |(why, message)| Flaw { why, mistake: wanted.mistake(row.place, row.number, "", message) };
                row.flaws = found.into_iter().map(flaw).collect();
            }
        }
        Ok(Some(row))
    }
}

type Problems = Vec<(&'static str, String)>;
type Context = (String, Vec<(usize, usize)>);

/// The documents of a record as one text, and its evidence in characters of it.
fn context(record: &Record, documents: &mut Documents, brackets: bool) -> io::Result<Result<Context, Problems>> {
    let evidences = || record.evidences.iter().flatten().flatten();
    let named = record.docids.iter().flatten().chain(evidences().map(|evidence| &evidence.docid));
    let mut seen = HashSet::new();
    let mut ids: Vec<&Id> = named.filter(|id| seen.insert(*id)).collect();
    // A record that names no document, and is called like one, is about that one.
    ids.extend(record.annotation_id.as_ref().filter(|id| seen.is_empty() && documents.has(id)));
    if ids.is_empty() {
        let message = "this record names no document: `docids` and `evidences` are empty".to_owned();
        return Ok(Err(vec![(NO_DOCUMENT, message)]));
    }
    let mut problems = Problems::new();
    let mut text = String::new();
    let mut spans = Vec::new();
    let mut length = 0;
    for id in ids {
        let found = match documents.get(id)? {
            Ok(found) => found,
            Err(problem) => {
                problems.push((NO_DOCUMENT, problem));
                continue;
            }
        };
        let found = match documents {
            Documents::Folder(_) => found,
            Documents::Lines { .. } => match serde_json::from_str::<Document>(&found) {
                Ok(document) => document.document,
                Err(error) => {
                    let message = format!("the document {} is not one: {}", quote(&id.0), without_place(&error));
                    problems.push((NO_DOCUMENT, message));
                    continue;
                }
            },
        };
        let tokens = tokens(&found);
        let mut places = Vec::with_capacity(tokens.len());
        for token in &tokens {
            let between = match (length > 0, token.first) {
                (false, _) => "",
                (true, true) => "\n",
                (true, false) => " ",
            };
            let shown = if brackets { restored(token.text) } else { token.text };
            text.push_str(between);
            text.push_str(shown);
            let start = length + between.len();
            length = start + shown.chars().count();
            places.push((start, length));
        }
        for evidence in evidences().filter(|evidence| evidence.docid == *id) {
            match located(evidence, &tokens) {
                // One span, so that spaces inside it belong to it.
                Ok(range) => spans.extend(
                    places.get(range.start).zip(places.get(range.end - 1)).map(|(first, last)| (first.0, last.1)),
                ),
                Err(problem) => problems.push((NO_EVIDENCE, problem)),
            }
        }
    }
    spans.sort_unstable();
    spans.dedup();
    Ok(if problems.is_empty() { Ok((text, spans)) } else { Err(problems) })
}

struct Token<'a> {
    text: &'a str,
    /// It begins a line.
    first: bool,
}

fn tokens(document: &str) -> Vec<Token<'_>> {
    let document = document.trim_start_matches('\u{FEFF}');
    let lines = document.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    lines
        .flat_map(|line| {
            let texts = line.split(' ').filter(|text| !text.is_empty());
            texts.enumerate().map(|(index, text)| Token { text, first: index == 0 })
        })
        .collect()
}

/// The tokens of a piece of evidence; not empty.
fn located(evidence: &Evidence, tokens: &[Token]) -> Result<Range<usize>, String> {
    let stated = evidence
        .start_token
        .zip(evidence.end_token)
        .and_then(|(start, end)| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?))
        .filter(|range| range.start < range.end && range.end <= tokens.len());
    let text: Vec<&str> = evidence.text.iter().flat_map(|text| text.split_whitespace()).collect();
    let words = |tokens: &[Token]| -> bool {
        // Tokens may hold white space that is no space.
        tokens.iter().flat_map(|token| token.text.split_whitespace()).eq(text.iter().copied())
    };
    if let Some(range) = &stated
        && (text.is_empty() || words(&tokens[range.clone()]))
    {
        return Ok(range.clone());
    }
    let document = quote(&evidence.docid.0).to_string();
    let offsets = match (evidence.start_token, evidence.end_token) {
        (Some(start), Some(end)) => format!("the tokens {start} to {end} of the document {document}"),
        _ => format!("evidence in the document {document}, without offsets,"),
    };
    if text.is_empty() {
        return Err(format!("{offsets} are none of its {}", tokens.len()));
    }
    let mut found = tokens.windows(text.len()).enumerate().filter(|(_, window)| words(window));
    match (found.next(), found.next()) {
        (Some((start, window)), None) => Ok(start..start + window.len()),
        (None, _) => {
            Err(format!("{offsets} are not the text that is said to stand there, nor does it stand elsewhere"))
        }
        (Some(_), Some(_)) => {
            Err(format!("{offsets} are not the text that is said to stand there, which stands in several other places"))
        }
    }
}

/// The bracket that a token of the Penn treebank stands for.
fn restored(token: &str) -> &str {
    match token {
        "-LRB-" => "(",
        "-RRB-" => ")",
        "-LSB-" => "[",
        "-RSB-" => "]",
        "-LCB-" => "{",
        "-RCB-" => "}",
        other => other,
    }
}
