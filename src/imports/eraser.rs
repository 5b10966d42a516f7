//! Results of the ERASER benchmark (DeYoung et al., arXiv 1911.03429): scores of a document's words.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::align::{align, shared_out};
use super::lines::Id;
use super::{ImportError, Reading};
use crate::diagnostics::quote;
use crate::files;
use crate::tasks::Example;
use crate::text::as_word;

/// A line of results.
#[derive(Deserialize)]
struct Line {
    annotation_id: Id,
    #[serde(default)]
    rationales: Vec<Rationale>,
}

#[derive(Deserialize)]
struct Rationale {
    docid: Id,
    /// One number a word of the document.
    soft_rationale_predictions: Option<Vec<Option<f64>>>,
    /// Words that are chosen: 1, and all others 0.
    hard_rationale_predictions: Option<Vec<Span>>,
}

#[derive(Deserialize)]
struct Span {
    start_token: usize,
    /// Exclusive.
    end_token: usize,
}

/// A line of `docs.jsonl`.
#[derive(Deserialize)]
struct Document {
    docid: Id,
    document: String,
}

pub(super) fn read(text: &str, reading: &mut Reading) -> Result<(), ImportError> {
    let mut documents = Documents::beside(reading.request.path)?;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let line: Line = match serde_json::from_str(line.trim_start_matches('\u{feff}')) {
            Ok(line) => line,
            Err(error) => {
                let message = format!("this line is none of ERASER's results: {error}");
                reading.mistake(number, error.column().max(1), "", message);
                continue;
            }
        };
        let Some(example) = reading.example(number, "annotation_id", &line.annotation_id.text()) else { continue };
        let mut values = vec![0.0; example.tokens.len()];
        let mut wrong = line.rationales.is_empty().then(|| "it has no rationales".to_owned());
        for rationale in line.rationales {
            match placed(example, rationale, &mut documents) {
                Ok(own) => values.iter_mut().zip(own).for_each(|(value, own)| *value += own),
                Err(message) => wrong = wrong.or(Some(message)),
            }
        }
        match wrong {
            None => reading.take(example, vec![values]),
            Some(message) => reading.mistake(number, 1, "rationales", format!("{}: {message}", quote(&example.id))),
        }
    }
    Ok(())
}

/// A rationale's scores as numbers of the prompt's tokens.
fn placed(example: &Example, rationale: Rationale, documents: &mut Documents) -> Result<Vec<f64>, String> {
    let id = rationale.docid.text();
    let Some(document) = documents.get(&id)? else {
        return Err(format!("there is no document {} beside the results (docs.jsonl, or a folder docs)", quote(&id)));
    };
    let words: Vec<&str> = document.split_whitespace().collect();
    let scores = match (rationale.soft_rationale_predictions, rationale.hard_rationale_predictions) {
        (Some(soft), _) => soft.into_iter().map(|score| score.unwrap_or(f64::NAN)).collect(),
        (None, Some(hard)) => chosen(&hard, words.len())?,
        (None, None) => return Err("a rationale has neither soft nor hard predictions".to_owned()),
    };
    if scores.len() != words.len() {
        return Err(format!("{} scores, and the document {} has {} words", scores.len(), quote(&id), words.len()));
    }
    // Written by `export`: a word is a token.
    if words.len() == example.tokens.len()
        && words.iter().zip(&example.tokens).all(|(word, token)| **word == as_word(token))
    {
        return Ok(scores);
    }
    let places = align(&words, &example.tokens).map_err(|misfit| {
        format!("the words of the document {} {} (is it shortened there?)", quote(&id), misfit.said())
    })?;
    Ok(shared_out(&scores, &places, example.tokens.len()))
}

fn chosen(spans: &[Span], words: usize) -> Result<Vec<f64>, String> {
    let mut scores = vec![0.0; words];
    for &Span { start_token, end_token } in spans {
        let Some(own) = scores.get_mut(start_token..end_token) else {
            return Err(format!("the span [{start_token}, {end_token}) is none of a document of {words} words"));
        };
        own.fill(1.0);
    }
    Ok(scores)
}

/// Documents by their ids.
struct Documents {
    known: HashMap<String, String>,
    /// Where there is a file a document.
    folder: Option<PathBuf>,
}

impl Documents {
    /// Those that lie in a results file's folder, or in the one that holds this.
    fn beside(results: &Path) -> Result<Documents, ImportError> {
        let mut documents = Documents { known: HashMap::new(), folder: None };
        for folder in results.ancestors().skip(1).take(2) {
            let (file, docs) = (folder.join("docs.jsonl"), folder.join("docs"));
            if file.is_file() {
                let text = files::read_text(&file, files::ATTRIBUTIONS)
                    .map_err(|source| ImportError::Io { path: file.clone(), source })?;
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    // A document that cannot be read is missed where it is needed.
                    if let Ok(Document { docid, document }) = serde_json::from_str(line) {
                        documents.known.insert(docid.text(), document);
                    }
                }
                return Ok(documents);
            }
            if docs.is_dir() {
                documents.folder = Some(docs);
                return Ok(documents);
            }
        }
        Ok(documents)
    }

    fn get(&mut self, id: &str) -> Result<Option<&str>, String> {
        if let (Some(folder), false) = (&self.folder, self.known.contains_key(id)) {
            if !crate::config::stays_inside(id) {
                return Err(format!("the document's id {} leads out of the folder of documents", quote(id)));
            }
            let path = folder.join(id);
            if path.is_file() {
                let text = files::read_text(&path, files::ATTRIBUTIONS)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                self.known.insert(id.to_owned(), text);
            }
        }
        Ok(self.known.get(id).map(String::as_str))
    }
}
