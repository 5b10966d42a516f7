//! The walk through a data file: rows to examples, and everything that is wrong on the way.

use std::collections::HashMap;

use super::answers::{Answers, Wrong};
use super::records::{Cell, Records, Row, Value, without_place};
use super::sample::Sample;
use super::spans::{self, Span};
use super::{Example, Subject, Taken, TaskError};
use crate::config::{Part, Rank, TaskPlan, Template, sha256_of_file};
use crate::diagnostics::{Capped, Diagnostic, Diagnostics, Located, quote};

/// Mistakes of one data file that are shown.
const SHOWN: usize = 20;

/// A place in the task file where a field of the data is named.
struct Use<'a> {
    field: &'a str,
    key: &'static str,
    line: usize,
    column: usize,
    width: usize,
}

/// Reads all rows; makes examples of those that are taken where there is a model to make them for.
pub(super) fn read(
    plan: &TaskPlan,
    subject: Option<&Subject>,
    taken: Taken,
) -> Result<(Vec<Example>, usize), TaskError> {
    let path = &plan.data.value;
    let io = |source| TaskError::Io { path: path.clone(), source };
    if sha256_of_file(path).map_err(io)? != plan.data_sha256 {
        return Err(TaskError::Changed { path: path.clone() });
    }
    let uses = uses(plan);
    let mut fields: Vec<&str> = Vec::new();
    for used in &uses {
        if !fields.contains(&used.field) {
            fields.push(used.field);
        }
    }
    let mut records = Records::open(path, fields.iter().map(|&field| field.to_owned()).collect()).map_err(io)?;
    let mut in_task = Vec::new();
    let mut reader = Reader {
        plan,
        answers: Answers::new(plan, subject, &mut in_task),
        columns: fields.iter().enumerate().map(|(index, &field)| (field, index)).collect(),
        seen: vec![0; fields.len()],
        absent: fields.iter().map(|_| Capped::new(SHOWN)).collect(),
        ids: HashMap::new(),
        mistakes: Capped::new(SHOWN),
    };
    let mut examples = Vec::new();
    let mut available = 0;
    let mut sample = match taken {
        Taken::Sample { size, seed } => Some(Sample::new(size, seed, &plan.name)),
        Taken::All | Taken::First(_) => None,
    };
    while let Some(row) = records.next().map_err(io)? {
        available += 1;
        let Some(asked) = reader.asked(row) else { continue };
        let Some(subject) = subject else { continue };
        match (taken, &mut sample) {
            (Taken::First(limit), _) if available > limit => {}
            (Taken::Sample { .. }, Some(sample)) => sample.offer(asked.id.clone(), available, asked),
            _ => examples.extend(reader.example(asked, subject)),
        }
    }
    if let (Some(subject), Some(sample)) = (subject, sample) {
        for asked in sample.in_order() {
            examples.extend(reader.example(asked, subject));
        }
    }
    let Reader { seen, absent, mut mistakes, .. } = reader;
    if available == 0 {
        let message = format!("{} holds no records", quote(&path.display().to_string()));
        in_task.push(plan.data.mistake("data.file", message));
    }
    for ((&field, absent), seen) in fields.iter().zip(absent).zip(seen) {
        if seen > 0 {
            mistakes.absorb(absent);
        } else if !absent.is_empty() {
            // No record has it: the name in the task file is wrong, not the records.
            for used in uses.iter().filter(|used| used.field == field) {
                let message = format!("the data have no field {}", quote(field));
                let mistake = Diagnostic::new(&plan.file, used.line, used.column, used.key, message);
                in_task.push(mistake.with_width(used.width).with_nearest(field, records.names()));
            }
        }
    }
    in_task.extend(mistakes.finish());
    if in_task.is_empty() { Ok((examples, available)) } else { Err(Diagnostics(in_task).finished().into()) }
}

fn uses(plan: &TaskPlan) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    let named = [(&plan.id, "data.id"), (&plan.context, "context"), (&plan.evidence, "evidence")];
    for (named, key) in named {
        uses.extend(named.as_ref().map(|Located { value, line, column, .. }| Use {
            field: value,
            key,
            line: *line,
            column: *column,
            width: value.chars().count(),
        }));
    }
    let templates =
        [(Some(&plan.prompt), "prompt"), (Some(&plan.answer), "answer"), (plan.contrast.as_ref(), "contrast")];
    for (template, key) in templates {
        for placeholder in template.into_iter().flat_map(|template| template.value.placeholders()) {
            let width = placeholder.name.chars().count() + 2;
            let (line, column) = (placeholder.line, placeholder.column);
            uses.push(Use { field: &placeholder.name, key, line, column, width });
        }
    }
    uses
}

struct Reader<'a> {
    plan: &'a TaskPlan,
    answers: Answers<'a>,
    /// The place of a field in a row's cells.
    columns: HashMap<&'a str, usize>,
    /// How many rows have a field.
    seen: Vec<usize>,
    /// Rows that do not, as mistakes of theirs.
    absent: Vec<Capped>,
    ids: HashMap<String, usize>,
    mistakes: Capped,
}

/// A row that says what it has to say, not yet encoded.
struct Asked {
    line: usize,
    id: String,
    prompt: String,
    /// Where the context field stands in the prompt, in characters.
    context: Option<Span>,
    /// In characters of the prompt.
    evidence: Vec<Span>,
    target: Option<i64>,
    contrast: Option<i64>,
}

impl<'a> Reader<'a> {
    fn mistake(&mut self, line: usize, column: usize, key: &str, message: String) {
        self.mistakes.push(Diagnostic::new(&self.plan.data.value, line, column, key, message));
    }

    /// What a row asks; `None` where it has a mistake.
    fn asked(&mut self, row: Row) -> Option<Asked> {
        if !row.mistakes.is_empty() {
            row.mistakes.into_iter().for_each(|mistake| self.mistakes.push(mistake));
            return None;
        }
        // Everything is looked at before anything is given up: all mistakes at once.
        let complete = self.complete(&row);
        let id = self.id(&row);
        let evidence = self.evidence(&row);
        let texts = self.texts(&row);
        let answer = self.answer(&row, &self.plan.answer.value, "answer");
        let contrast = match &self.plan.contrast {
            Some(template) => self.answer(&row, &template.value, "contrast").map(Some),
            None => Some(None),
        };
        let ((answer, target), contrast) = (answer?, contrast?);
        let same = |(other, id): &(String, Option<i64>)| *other == answer || (id.is_some() && *id == target);
        if contrast.as_ref().is_some_and(same) {
            let message = format!("answer and contrast are the same, {}", quote(&answer));
            self.mistake(row.line, 1, "contrast", message);
            return None;
        }
        let (id, evidence, (), ()) = (id?, evidence?, texts?, complete?);
        let (prompt, context) = self.prompt(&row);
        let shift = context.map_or(0, |(start, _)| start);
        let evidence = evidence.into_iter().map(|(start, end)| (shift + start, shift + end)).collect();
        let contrast = contrast.and_then(|(_, token)| token);
        Some(Asked { line: row.line, id, prompt, context, evidence, target, contrast })
    }

    fn cell<'r>(&self, row: &'r Row, field: &str) -> Option<&'r Cell> {
        row.cells.get(*self.columns.get(field)?)?.as_ref()
    }

    fn text<'r>(&self, row: &'r Row, field: &str) -> &'r str {
        match self.cell(row, field) {
            Some(Cell { value: Value::Text(text), .. }) => text,
            _ => "",
        }
    }

    /// Whether a row has every field that the task names.
    fn complete(&mut self, row: &Row) -> Option<()> {
        let mut complete = Some(());
        for (&field, &index) in &self.columns {
            match row.cells.get(index) {
                Some(Some(_)) => self.seen[index] += 1,
                _ => {
                    complete = None;
                    let message = format!("this record has no field {}", quote(field));
                    self.absent[index].push(Diagnostic::new(&self.plan.data.value, row.line, 1, field, message));
                }
            }
        }
        complete
    }

    fn id(&mut self, row: &Row) -> Option<String> {
        let Some(field) = self.plan.id.as_ref().map(|id| id.value.as_str()) else { return Some(row.line.to_string()) };
        let cell = self.cell(row, field)?;
        let column = cell.column;
        let id = match &cell.value {
            Value::Text(id) if !id.trim().is_empty() => id.clone(),
            other => {
                let message = format!("expected an id in {}, found {}", quote(field), described(other));
                self.mistake(row.line, column, field, message);
                return None;
            }
        };
        match self.ids.insert(id.clone(), row.line) {
            None => Some(id),
            Some(line) => {
                self.mistake(row.line, column, field, format!("the id {} is already that of line {line}", quote(&id)));
                self.ids.insert(id, line);
                None
            }
        }
    }

    /// Whether every field that a template or the context names is text.
    fn texts(&mut self, row: &Row) -> Option<()> {
        let plan = self.plan;
        let templates = [Some(&plan.prompt), Some(&plan.answer), plan.contrast.as_ref()];
        let mut fields: Vec<&str> = templates
            .into_iter()
            .flatten()
            .flat_map(|template| template.value.placeholders())
            .map(|p| p.name.as_str())
            .collect();
        fields.extend(plan.context.as_ref().map(|context| context.value.as_str()));
        fields.sort_unstable();
        fields.dedup();
        let mut all = Some(());
        for field in fields {
            let Some(Cell { value, column }) = self.cell(row, field) else { continue };
            if !matches!(value, Value::Text(_)) {
                let message = format!("expected text in {}, found {}", quote(field), described(value));
                self.mistake(row.line, *column, field, message);
                all = None;
            }
        }
        all
    }

    /// The prompt, and where the context field stands in it, in characters.
    fn prompt(&self, row: &Row) -> (String, Option<Span>) {
        let context = self.plan.context.as_ref().map(|context| context.value.as_str());
        let mut prompt = String::new();
        let mut length = 0;
        let mut span = None;
        for part in self.plan.prompt.value.parts() {
            let text = match part {
                Part::Text(text) => text,
                Part::Field(placeholder) => self.text(row, &placeholder.name),
            };
            let start = length;
            length += text.chars().count();
            prompt.push_str(text);
            if matches!(part, Part::Field(placeholder) if Some(placeholder.name.as_str()) == context) {
                span = span.or(Some((start, length)));
            }
        }
        (prompt, span)
    }

    /// An answer's label or text, and its token or the model's label.
    fn answer(&mut self, row: &Row, template: &Template, key: &str) -> Option<(String, Option<i64>)> {
        let mut answer = String::new();
        for part in template.parts() {
            match part {
                Part::Text(text) => answer.push_str(text),
                Part::Field(placeholder) => match self.cell(row, &placeholder.name) {
                    Some(Cell { value: Value::Text(text), .. }) => answer.push_str(text),
                    // Reported by `texts`.
                    _ => return None,
                },
            }
        }
        let first = template.placeholders().next();
        let column = first.and_then(|first| self.cell(row, &first.name)).map_or(1, |cell| cell.column);
        match self.answers.target(&answer) {
            Ok(target) => Some((answer, target)),
            Err(Wrong::Option(labels)) => {
                let message = format!("the {key} {} is not one of the options", quote(&answer));
                let mistake = Diagnostic::new(&self.plan.data.value, row.line, column, key, message);
                self.mistakes.push(mistake.with_nearest(&answer, labels));
                None
            }
            Err(Wrong::Text(message)) => {
                self.mistake(row.line, column, key, format!("the {key} {message}"));
                None
            }
            Err(Wrong::Label(error)) => {
                let place = |message: String| Diagnostic::new(&self.plan.data.value, row.line, column, key, message);
                self.mistakes.push(self.answers.not_a_label(&error, place));
                None
            }
        }
    }

    /// Evidence spans in characters of the context field.
    fn evidence(&mut self, row: &Row) -> Option<Vec<Span>> {
        let (Some(evidence), Some(context)) = (&self.plan.evidence, &self.plan.context) else {
            return Some(Vec::new());
        };
        let field = evidence.value.as_str();
        let Cell { value, column } = self.cell(row, field)?.clone();
        let length = match self.cell(row, &context.value).map(|cell| &cell.value) {
            Some(Value::Text(text)) => Some(text.chars().count()),
            // Reported by `complete` or `texts`.
            _ => None,
        };
        let json = match value {
            Value::Null => return Some(Vec::new()),
            Value::Text(text) if text.trim().is_empty() => return Some(Vec::new()),
            Value::Text(json) | Value::Json(json) => json,
        };
        let listed = match serde_json::from_str::<serde_json::Value>(&json) {
            Ok(serde_json::Value::Array(listed)) => Ok(listed),
            Ok(_) => Err("something else".to_owned()),
            Err(error) => Err(format!("no JSON ({})", without_place(&error))),
        };
        let listed = match listed {
            Ok(listed) => listed,
            Err(found) => {
                let message = format!("expected a list of [start, end) spans in {}, found {found}", quote(field));
                self.mistake(row.line, column, field, message);
                return None;
            }
        };
        let mut spans = length.map(|_| Vec::with_capacity(listed.len()));
        let length = length.unwrap_or(usize::MAX);
        for item in &listed {
            let ends = item.as_array().and_then(|ends| match ends.as_slice() {
                [start, end] => Some((start.as_u64()?, end.as_u64()?)),
                _ => None,
            });
            let message = match ends {
                None => format!("the span {} is not a pair [start, end) of whole numbers", quote(&item.to_string())),
                Some((start, end)) if start >= end => format!("the span [{start}, {end}) holds no character"),
                Some((start, end)) if end > length as u64 => {
                    format!("the span [{start}, {end}) ends past the context, which has {length} characters")
                }
                Some((start, end)) => {
                    // Both are at most `length`, which is a usize.
                    if let Some(spans) = &mut spans {
                        spans.push((start as usize, end as usize));
                    }
                    continue;
                }
            };
            self.mistake(row.line, column, field, message);
            spans = None;
        }
        spans
    }

    fn example(&mut self, asked: Asked, subject: &Subject) -> Option<Example> {
        let encoding = match subject.tokenizer.encode_prompt(&asked.prompt, subject.special_tokens) {
            Ok(encoding) => encoding,
            Err(error) => {
                self.mistake(asked.line, 1, "prompt", error.to_string());
                return None;
            }
        };
        let Some(last) = encoding.ids.len().checked_sub(1) else {
            self.mistake(asked.line, 1, "prompt", "the prompt of this record has no token".to_owned());
            return None;
        };
        if let Some(place) = encoding.ids.iter().position(|&id| id >= subject.vocab as i64) {
            let token = quote(&encoding.tokens[place]);
            let message =
                format!("the prompt of this record has the token {token}, which the model has no embedding for");
            self.mistake(asked.line, 1, "prompt", message);
            return None;
        }
        let whitespace = spans::whitespace(&asked.prompt);
        let mut ranked: Vec<usize> = match (self.plan.rank, asked.context) {
            (Rank::Interior, _) => (1..last).collect(),
            (Rank::All, _) => (0..=last).collect(),
            (Rank::Context, Some(context)) => spans::within(&whitespace, &encoding.offsets, context),
            (Rank::Context, None) => Vec::new(),
        };
        if subject.labels.is_some() && self.plan.rank != Rank::All {
            // A separator that is written in the prompt.
            ranked.retain(|&place| !subject.tokenizer.is_special(encoding.ids[place]));
        }
        Some(Example {
            id: asked.id,
            target: asked.target?,
            contrast: asked.contrast,
            options: self.answers.options(),
            ranked,
            evidence: spans::overlapping(&whitespace, &encoding.offsets, &asked.evidence),
            input_ids: encoding.ids,
            tokens: encoding.tokens,
        })
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "blank text",
        Value::Null => "null",
        Value::Json(json) if json.starts_with('[') => "a list",
        Value::Json(_) => "an object",
    }
}
