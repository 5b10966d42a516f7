//! Lines of JSON, one an example and method: `attributions.jsonl` of a run, and whatever else has an id and numbers.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::align::{align, shared_out};
use super::{Reading, Request};
use crate::diagnostics::quote;
use crate::tasks::Example;

/// What is read of a line; anything else in it is its own.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "id")]
    example_id: Option<Id>,
    model: Option<String>,
    task: Option<String>,
    method: Option<String>,
    /// As the model reads the prompt.
    tokens: Option<Vec<String>>,
    input_ids: Option<Vec<i64>>,
    /// What the numbers are of, where it is not tokens.
    words: Option<Vec<String>>,
    attributions: Numbers,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Text(String),
    Number(i64),
}

impl Id {
    pub fn text(self) -> String {
        match self {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        }
    }
}

/// `null` is what is not a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(Vec<Option<f64>>),
    /// One list a seed.
    Several(Vec<Vec<Option<f64>>>),
}

pub(super) fn read(text: &str, reading: &mut Reading) {
    let Request { model, method, dataset, .. } = *reading.request;
    let mut methods = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = if index == 0 { line.trim_start_matches('\u{feff}') } else { line };
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(error) => {
                let hint = if line.contains("NaN") { "; JSON has no NaN, write null" } else { "" };
                let what = error.to_string();
                let what = what.rsplit_once(" at line").map_or(what.as_str(), |(what, _)| what);
                reading.mistake(
                    number,
                    error.column().max(1),
                    "",
                    format!("this line is no attribution: {what}{hint}"),
                );
                continue;
            }
        };
        let others = [
            ("task", &line.task, dataset.name.as_str()),
            ("model", &line.model, model),
            ("method", &line.method, method),
        ];
        let other = others.into_iter().find_map(|(what, named, wanted)| {
            named
                .as_ref()
                .filter(|named| !wanted.is_empty() && *named != wanted)
                .map(|named| format!("the {what} {}", quote(named)))
        });
        if let Some(other) = other {
            reading.pass(other);
            continue;
        }
        if methods.insert(line.method.clone()) && methods.len() > 1 && method.is_empty() {
            let names: Vec<String> = methods
                .iter()
                .map(|name| name.as_ref().map_or("no name".to_owned(), |name| quote(name).to_string()))
                .collect();
            reading.mistake(
                number,
                1,
                "method",
                format!(
                    "this file has attributions by several methods ({}); name one with the option `method`",
                    names.join(", ")
                ),
            );
            return;
        }
        let Some(id) = line.example_id else {
            reading.mistake(
                number,
                1,
                "example_id",
                "this line does not say which example it is of: `example_id` is missing",
            );
            continue;
        };
        let Some(example) = reading.example(number, "example_id", &id.text()) else { continue };
        let seeds = match line.attributions {
            Numbers::One(one) => vec![one],
            Numbers::Several(several) => several,
        };
        let seeds: Vec<Vec<f64>> = seeds
            .into_iter()
            .map(|values| values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
            .collect();
        let checked = other_tokens(example, line.tokens.as_deref(), line.input_ids.as_deref())
            .map_or_else(|| placed(example, line.words.as_deref(), seeds), |(key, message)| Err((key, message)));
        match checked {
            Ok(values) => reading.take(example, values),
            Err((key, message)) => reading.mistake(number, 1, key, format!("{}: {message}", quote(&example.id))),
        }
    }
}

/// How a line's tokens are others than the prompt's.
fn other_tokens(example: &Example, tokens: Option<&[String]>, ids: Option<&[i64]>) -> Option<(&'static str, String)> {
    if let Some(ids) = ids {
        let differs = |at: &usize| ids.get(*at) != example.input_ids.get(*at);
        let at = (0..ids.len().max(example.input_ids.len())).find(differs);
        if let Some(at) = at {
            let shown = |id: Option<&i64>| id.map_or("missing".to_owned(), i64::to_string);
            let (theirs, own) = (shown(ids.get(at)), shown(example.input_ids.get(at)));
            return Some(("input_ids", format!("token {at} is {theirs}, and the prompt's is {own}")));
        }
    }
    let tokens = tokens?;
    let differs = |at: &usize| match (tokens.get(*at), example.tokens.get(*at)) {
        (Some(theirs), Some(own)) => bare(theirs) != bare(own),
        _ => true,
    };
    let at = (0..tokens.len().max(example.tokens.len())).find(differs)?;
    let shown = |token: Option<&String>| token.map_or("missing".to_owned(), |token| quote(token).to_string());
    let (theirs, own) = (shown(tokens.get(at)), shown(example.tokens.get(at)));
    Some((
        "tokens",
        format!(
            "token {at} is {theirs}, and the prompt's is {own}; what is not the prompt's tokens stands under `words`"
        ),
    ))
}

/// A token without what vocabularies write for white space and for the inside of words.
fn bare(token: &str) -> String {
    let token = token.strip_prefix("##").unwrap_or(token);
    token.replace(['Ġ', '▁'], " ").replace('Ċ', "\n").trim().to_owned()
}

/// Numbers of words or tokens as numbers of the prompt's tokens.
fn placed(
    example: &Example,
    words: Option<&[String]>,
    seeds: Vec<Vec<f64>>,
) -> Result<Vec<Vec<f64>>, (&'static str, String)> {
    let tokens = example.tokens.len();
    if seeds.is_empty() {
        return Err(("attributions", "there are no numbers".to_owned()));
    }
    let (expected, what) = words.map_or((tokens, "tokens"), |words| (words.len(), "words"));
    if let Some(wrong) = seeds.iter().find(|values| values.len() != expected) {
        let whose = if words.is_some() { "it has" } else { "the prompt has" };
        return Err(("attributions", format!("{} numbers, and {whose} {expected} {what}", wrong.len())));
    }
    let Some(words) = words else { return Ok(seeds) };
    let places = align(words, &example.tokens).map_err(|misfit| ("words", format!("its words {}", misfit.said())))?;
    Ok(seeds.iter().map(|values| shared_out(values, &places, tokens)).collect())
}
