//! `dataset.json` of HateXplain (Mathew et al. 2021): posts as tokens, with the labels and rationales of three annotators.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::json::{JsonFile, object, without_place};
use super::{Place, Row, Source, Value, Wanted};
use crate::config::Consensus;
use crate::diagnostics::{Diagnostic, Located, quote};
use crate::files;

pub(super) struct HateXplain {
    file: JsonFile,
    consensus: Consensus,
    /// The posts that are taken.
    split: Option<Result<HashSet<String>, Diagnostic>>,
}

#[derive(Deserialize)]
struct Post {
    annotators: Vec<Annotator>,
    #[serde(default)]
    rationales: Option<Vec<Vec<i8>>>,
    post_tokens: Vec<String>,
    post_id: Option<String>,
}

#[derive(Deserialize)]
struct Annotator {
    label: String,
}

const NO_MAJORITY: &str = "no label has a majority of the annotators";
const OTHER_SPLIT: &str = "of another split";

impl HateXplain {
    pub fn new(
        file: File,
        consensus: Consensus,
        split: Option<&Located<String>>,
        splits: Option<&Path>,
    ) -> io::Result<Self> {
        let split = match (split, splits) {
            (Some(split), Some(path)) => Some(read_split(split, path)?),
            _ => None,
        };
        Ok(HateXplain { file: JsonFile::new(file)?, consensus, split })
    }
}

/// The posts of a split, or the mistake that there is no such split.
fn read_split(split: &Located<String>, path: &Path) -> io::Result<Result<HashSet<String>, Diagnostic>> {
    const SPLITS: files::Kind = files::Kind { what: "a file of splits", most: 64 << 20 };
    let bytes = files::read(path, SPLITS)?;
    let mistake = |message: String| {
        let width = split.value.chars().count();
        split.mistake("data.split", message).with_width(width)
    };
    let named = quote(&path.display().to_string()).to_string();
    let splits: std::collections::BTreeMap<String, HashSet<String>> = match serde_json::from_slice(&bytes) {
        Ok(splits) => splits,
        Err(error) => {
            return Ok(Err(mistake(format!("{named} is no object of lists of ids: {error}"))));
        }
    };
    let names: Vec<String> = splits.keys().cloned().collect();
    match splits.into_iter().find(|(name, _)| *name == split.value) {
        Some((_, posts)) => Ok(Ok(posts)),
        None => {
            let mistake = mistake(format!("{named} has no split {}", quote(&split.value)));
            Ok(Err(mistake.with_nearest(&split.value, names.iter().map(String::as_str))))
        }
    }
}

impl Source for HateXplain {
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>> {
        if let Some(row) = self.file.problem(wanted) {
            return Ok(Some(row));
        }
        if let Some(Err(mistake)) = &self.split {
            let mut row = wanted.unreadable(Place { line: 0, column: 0 }, 1, String::new()).ending();
            row.flaws.iter_mut().for_each(|flaw| flaw.mistake = mistake.clone());
            return Ok(Some(row));
        }
        let mut key = None;
        let Some(record) = self.file.next(&mut key) else { return Ok(None) };
        let mut row = object(record.text, "this post", wanted, record.number, &|byte| record.place(byte));
        if !row.flaws.is_empty() {
            return Ok(Some(row));
        }
        let post: Post = match serde_json::from_str(record.text) {
            Ok(post) => post,
            Err(error) => {
                let message = format!("this is no post of HateXplain: {}", without_place(&error));
                return Ok(Some(wanted.unreadable(row.place, row.number, message)));
            }
        };
        row.id = record.key.map(str::to_owned).or_else(|| post.post_id.clone());
        if let (Some(Ok(posts)), Some(id)) = (&self.split, &row.id)
            && !posts.contains(id)
        {
            row.set_aside = Some(OTHER_SPLIT);
            return Ok(Some(row));
        }
        let votes: Vec<&str> = post.annotators.iter().map(|annotator| annotator.label.as_str()).collect();
        let label = votes.iter().find(|label| 2 * votes.iter().filter(|vote| vote == label).count() > votes.len());
        let Some(label) = label else {
            row.set_aside = Some(NO_MAJORITY);
            return Ok(Some(row));
        };
        let evidence = match evidence(&post, self.consensus) {
            Ok(evidence) => evidence,
            Err(message) => {
                return Ok(Some(wanted.flawed(row.place, row.number, "a rationale does not fit the post", message)));
            }
        };
        wanted.fill(
            &mut row,
            vec![
                ("text", Value::Text(post.post_tokens.join(" "))),
                ("label", Value::Text((*label).to_owned())),
                ("votes", Value::Text(votes.join(" "))),
                ("evidence", Value::Spans(evidence)),
            ],
        );
        Ok(Some(row))
    }
}

/// The tokens that the annotators agree on, as spans of the text; neighbours are one span.
fn evidence(post: &Post, consensus: Consensus) -> Result<Vec<(usize, usize)>, String> {
    let tokens = post.post_tokens.len();
    let mut marked = vec![0usize; tokens];
    let mut given = 0;
    for (number, rationale) in post.rationales.iter().flatten().enumerate() {
        if rationale.len() != tokens {
            let length = rationale.len();
            return Err(format!("rationale {} has {length} marks, and the post {tokens} tokens", number + 1));
        }
        if let Some(other) = rationale.iter().find(|mark| !matches!(mark, -1..=1)) {
            return Err(format!("rationale {} has the mark {other}; 0 and 1 are known", number + 1));
        }
        // An annotator who marked nothing (or to whom -1 says so) gave no rationale.
        if rationale.contains(&1) {
            given += 1;
            rationale.iter().zip(&mut marked).filter(|(mark, _)| **mark == 1).for_each(|(_, marked)| *marked += 1);
        }
    }
    let agreed = |marks: usize| match consensus {
        Consensus::Majority => 2 * marks > given,
        Consensus::Any => marks > 0,
        Consensus::All => marks > 0 && marks == given,
    };
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    let mut goes_on = false;
    for (token, &marks) in post.post_tokens.iter().zip(&marked) {
        let end = start + token.chars().count();
        let is_evidence = agreed(marks) && start < end;
        match spans.last_mut() {
            Some(last) if is_evidence && goes_on => last.1 = end,
            _ if is_evidence => spans.push((start, end)),
            _ => {}
        }
        goes_on = is_evidence;
        start = end + 1;
    }
    Ok(spans)
}
