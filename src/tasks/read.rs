//! The walk through a data file: rows to examples, and everything that is wrong on the way.

use std::collections::{HashMap, HashSet};

use super::answers::{Answers, Wrong};
use super::counts::Counts;
use super::prompt::{Filled, Problem, Prompt, Prompter};
use super::records::{Cell, Flaw, Place, Records, Row, Value, without_place};
use super::sample::Sample;
use super::shots::{Chooser, Shot};
use super::spans::{self, Span};
use super::{Example, Subject, Taken, TaskError, selection};
use crate::config::{BadRows, Form, Part, Rank, TaskPlan, Template};
use crate::diagnostics::{Capped, Diagnostic, Diagnostics, Located, quote};
use crate::units::{Granularity, Units};

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
) -> Result<(Vec<Example>, HashSet<String>, Counts), TaskError> {
    let path = &plan.data.file.value;
    let io = |source| TaskError::Io { path: path.clone(), source };
    if plan.data.hash().map_err(|(path, source)| TaskError::Io { path, source })? != plan.data.sha256 {
        return Err(TaskError::Changed { path: path.clone() });
    }
    let uses = uses(plan);
    let mut fields: Vec<&str> = Vec::new();
    for used in &uses {
        if !fields.contains(&used.field) {
            fields.push(used.field);
        }
    }
    let owned = || fields.iter().map(|&field| field.to_owned()).collect();
    let form = subject.map_or(&plan.form, |subject| plan.form(subject.architecture));
    let mut in_task = Vec::new();
    let mut reader = Reader {
        plan,
        form,
        answers: Answers::new(plan, subject, &mut in_task),
        columns: fields.iter().enumerate().map(|(index, &field)| (field, index)).collect(),
        seen: vec![0; fields.len()],
        absent: fields.iter().map(|_| Capped::new(SHOWN)).collect(),
        ids: HashMap::new(),
        mistakes: Capped::new(SHOWN),
        flaws: Vec::new(),
        counts: Counts::default(),
    };
    let shots = match &plan.few_shot {
        None => Vec::new(),
        Some(few_shot) => {
            let mut records = Records::open(&plan.data, owned()).map_err(io)?;
            let mut chooser = Chooser::new(few_shot, &plan.name);
            reader.choose(&mut records, &mut chooser).map_err(io)?;
            chooser.finish(&mut in_task)
        }
    };
    let prompter = subject.map(|subject| (subject, Prompter::new(plan, subject, &shots, &mut in_task)));
    let mut records = Records::open(&plan.data, owned()).map_err(io)?;
    let mut examples = Vec::new();
    let mut sample = match taken {
        Taken::Sample { size, seed } => Some(Sample::new(size, seed, &plan.name)),
        Taken::All | Taken::First(_) => None,
    };
    while let Some(row) = records.next().map_err(io)? {
        reader.counts.records += 1;
        let Some(asked) = reader.usable(row) else { continue };
        if shots.iter().any(|shot| shot.id == asked.id) {
            reader.counts.shown += 1;
            continue;
        }
        reader.counts.available += 1;
        let Some((subject, prompter)) = &prompter else { continue };
        match (taken, &mut sample) {
            (Taken::First(limit), _) if examples.len() >= limit => {}
            (Taken::Sample { .. }, Some(sample)) => {
                sample.offer(asked.id.clone(), reader.counts.available, asked);
            }
            _ => examples.extend(reader.example(asked, subject, prompter)),
        }
    }
    if let (Some((subject, prompter)), Some(sample)) = (&prompter, sample) {
        for asked in sample.in_order() {
            examples.extend(reader.example(asked, subject, prompter));
        }
    }
    let Reader { seen, absent, mut mistakes, mut counts, ids, .. } = reader;
    let ids = ids.into_keys().collect();
    counts.chat = prompter.as_ref().is_some_and(|(_, prompter)| prompter.uses_chat());
    for ((&field, absent), seen) in fields.iter().zip(absent).zip(seen) {
        if seen > 0 {
            if plan.data.bad_rows == BadRows::Stop {
                mistakes.absorb(absent);
            }
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
    if in_task.is_empty() || counts.records == 0 {
        in_task.extend(nothing_left(plan, &counts, subject.map(|_| examples.len())));
    }
    if in_task.is_empty() { Ok((examples, ids, counts)) } else { Err(Diagnostics(in_task).finished().into()) }
}

/// That no record of the data can be asked about.
fn nothing_left(plan: &TaskPlan, counts: &Counts, examples: Option<usize>) -> Option<Diagnostic> {
    if counts.available > 0 && examples != Some(0) {
        return None;
    }
    let file = quote(&plan.data.file.value.display().to_string()).to_string();
    if counts.records == 0 {
        return Some(plan.data.file.mistake("data.file", format!("{file} holds no records")));
    }
    let message = format!("none of the {} records of {file} can be used", counts.records);
    let mistake = plan.data.file.mistake("data.file", message);
    Some(
        mistake
            .with_help(counts.left_out().map(|(why, count)| format!("{count}: {why}")).collect::<Vec<_>>().join(", ")),
    )
}

fn uses(plan: &TaskPlan) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    let named = [
        (&plan.context, "context"),
        (&plan.evidence, "evidence"),
        (&plan.selection, "selection"),
        (&plan.groups, "groups"),
    ];
    let named = named.into_iter().filter_map(|(named, key)| named.as_ref().map(|named| (named, key)));
    let filtered = plan.data.filter.iter().map(|(field, _)| (field, "data.where"));
    uses.extend(named.chain(filtered).map(|(Located { value, line, column, .. }, key)| Use {
        field: value,
        key,
        line: *line,
        column: *column,
        width: value.chars().count(),
    }));
    let prompts = plan.forms().map(|form| (Some(&form.prompt), "prompt"));
    let others =
        [(plan.data.id.as_ref(), "data.id"), (Some(&plan.answer), "answer"), (plan.contrast.as_ref(), "contrast")];
    for (template, key) in prompts.chain(others) {
        let Some(template) = template else { continue };
        for placeholder in template.value.placeholders() {
            // A field that is named alone has no braces.
            let braces =
                if key == "data.id" && (template.line, template.column) == (placeholder.line, placeholder.column) {
                    0
                } else {
                    2
                };
            let width = placeholder.name.chars().count() + braces;
            let (line, column) = (placeholder.line, placeholder.column);
            let used = Use { field: &placeholder.name, key, line, column, width };
            // Families mostly have the prompt of all.
            let is_known =
                |other: &Use| (other.field, other.line, other.column, other.key) == (used.field, line, column, key);
            if !uses.iter().any(is_known) {
                uses.push(used);
            }
        }
    }
    uses
}

struct Reader<'a> {
    plan: &'a TaskPlan,
    form: &'a Form,
    answers: Answers<'a>,
    /// The place of a field in a row's cells.
    columns: HashMap<&'a str, usize>,
    /// How many rows have a field.
    seen: Vec<usize>,
    /// Rows that do not, as mistakes of theirs.
    absent: Vec<Capped>,
    /// Where an id was met.
    ids: HashMap<String, Met>,
    mistakes: Capped,
    /// Of the row that is looked at.
    flaws: Vec<Flaw>,
    counts: Counts,
}

/// The place of a row, for messages about another one.
#[derive(Clone, Copy, Debug)]
struct Met {
    line: usize,
    number: usize,
}

impl std::fmt::Display for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 { write!(f, "row {}", self.number) } else { write!(f, "line {}", self.line) }
    }
}

/// A row that says what it has to say, not yet encoded.
struct Asked {
    place: Place,
    number: usize,
    id: String,
    filled: Filled,
    /// In characters of the context.
    evidence: Vec<Span>,
    groups: Vec<Span>,
    /// A selection stands in the context more than once.
    is_ambiguous: bool,
    /// The answer's label or text.
    answer: String,
    target: Option<Vec<i64>>,
    contrast: Option<i64>,
}

const MISSING_FIELD: &str = "a field is missing";
const NOT_TEXT: &str = "a field is not text";
const BAD_ID: &str = "it has no id";
const SAME_ID: &str = "another record has the same id";
const EMPTY_CONTEXT: &str = "the context is empty";
const BAD_ANSWER: &str = "the answer cannot be given";
const BAD_EVIDENCE: &str = "evidence is not where it is said to be";
const BAD_GROUPS: &str = "groups are not where they are said to be";
const NO_PROMPT: &str = "the prompt has no token";
const NO_EMBEDDING: &str = "the model has no embedding for a token";

impl<'a> Reader<'a> {
    fn flaw(&mut self, row: &Row, place: Place, key: &str, why: &'static str, message: String) {
        self.flaws.push(Flaw { why, mistake: self.mistake(place, row.number, key, message) });
    }

    fn mistake(&self, place: Place, number: usize, key: &str, message: String) -> Diagnostic {
        let message = if place.line == 0 { format!("row {number}: {message}") } else { message };
        Diagnostic::new(&self.plan.data.file.value, place.line, place.column, key, message)
    }

    /// Looks through the data for examples to show, without a word about what is wrong with them: that is said later.
    fn choose(&mut self, records: &mut Records, chooser: &mut Chooser) -> std::io::Result<()> {
        while let Some(row) = records.next()? {
            if row.set_aside.is_some() || !row.flaws.is_empty() || !self.matches(&row) {
                continue;
            }
            if let Some(asked) = self.asked(&row)
                && self.flaws.is_empty()
            {
                let answer = self.answers.text(&asked.answer).to_owned();
                let shot = || Shot { id: asked.id.clone(), filled: asked.filled.clone(), answer };
                chooser.offer(&asked.answer, shot, &asked.id);
            }
            self.flaws.clear();
        }
        self.ids.clear();
        self.seen.fill(0);
        self.absent.iter_mut().for_each(|absent| *absent = Capped::new(SHOWN));
        Ok(())
    }

    /// What a row asks, if it is one of those that are taken and nothing is wrong with it.
    fn usable(&mut self, mut row: Row) -> Option<Asked> {
        if row.is_last && !row.flaws.is_empty() {
            // What follows cannot be read, so this is more than one bad row.
            row.flaws.into_iter().for_each(|flaw| self.mistakes.push(flaw.mistake));
            return None;
        }
        if let Some(why) = row.set_aside {
            self.counts.set_aside(why);
            return None;
        }
        if !row.flaws.is_empty() {
            self.flaws.append(&mut row.flaws);
            self.give_up();
            return None;
        }
        if !self.matches(&row) {
            self.counts.filtered += 1;
            // It is no example, but it has the fields that it has.
            for (seen, cell) in self.seen.iter_mut().zip(&row.cells) {
                *seen += usize::from(cell.is_some());
            }
            return None;
        }
        let asked = self.asked(&row);
        if !self.flaws.is_empty() {
            self.give_up();
            return None;
        }
        if asked.as_ref().is_some_and(|asked| asked.is_ambiguous) {
            self.counts.ambiguous += 1;
        }
        asked
    }

    /// The row that is looked at is not used.
    fn give_up(&mut self) {
        let flaws = std::mem::take(&mut self.flaws);
        match self.plan.data.bad_rows {
            BadRows::Stop => {
                for Flaw { why, mistake } in flaws {
                    match self.columns.get(mistake.key.as_str()).filter(|_| why == MISSING_FIELD) {
                        Some(&index) => self.absent[index].push(mistake),
                        None => self.mistakes.push(mistake),
                    }
                }
            }
            BadRows::LeaveOut => {
                for Flaw { mistake, .. } in flaws.iter().filter(|flaw| flaw.why == MISSING_FIELD) {
                    if let Some(&index) = self.columns.get(mistake.key.as_str()) {
                        self.absent[index].push(mistake.clone());
                    }
                }
                if let Some(first) = flaws.into_iter().next() {
                    self.counts.bad(first.why, first.mistake);
                }
            }
        }
    }

    /// Whether a row is one of those that the task takes. A row without the field is: that it lacks it is said later.
    fn matches(&self, row: &Row) -> bool {
        self.plan.data.filter.iter().all(|(field, values)| match self.cell(row, &field.value).map(|cell| &cell.value) {
            Some(Value::Text(text)) => values.iter().any(|value| value == text),
            Some(Value::Json(json)) => values.iter().any(|value| value == json),
            Some(Value::Null | Value::Spans(_)) => false,
            None => true,
        })
    }

    /// What a row asks; `None` where it has a flaw.
    fn asked(&mut self, row: &Row) -> Option<Asked> {
        // Everything is looked at before anything is given up: all mistakes at once.
        let complete = self.complete(row);
        let id = self.id(row);
        let evidence = self.evidence(row);
        let groups = self.groups(row);
        let texts = self.texts(row);
        let answer = self.answer(row, &self.plan.answer.value, "answer");
        let contrast = match &self.plan.contrast {
            Some(template) => self.answer(row, &template.value, "contrast").map(Some),
            None => Some(None),
        };
        let ((answer, target), contrast) = (answer?, contrast?);
        let same = |(other, ids): &(String, Option<Vec<i64>>)| *other == answer || (ids.is_some() && *ids == target);
        if contrast.as_ref().is_some_and(same) {
            let message = format!("answer and contrast are the same, {}", quote(&answer));
            self.flaw(row, row.place, "contrast", BAD_ANSWER, message);
            return None;
        }
        let (id, (evidence, is_ambiguous), groups, (), ()) = (id?, evidence?, groups?, texts?, complete?);
        let filled = self.filled(row);
        // With a contrast, answers are single tokens.
        let contrast = contrast.and_then(|(_, tokens)| tokens).and_then(|tokens| tokens.first().copied());
        let (place, number) = (row.place, row.number);
        Some(Asked { place, number, id, filled, evidence, groups, is_ambiguous, answer, target, contrast })
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
        let mut absent = Vec::new();
        for (&field, &index) in &self.columns {
            match row.cells.get(index) {
                Some(Some(_)) => self.seen[index] += 1,
                _ => absent.push(field),
            }
        }
        absent.sort_unstable();
        for field in absent {
            complete = None;
            self.flaw(row, row.place, field, MISSING_FIELD, format!("this record has no field {}", quote(field)));
        }
        complete
    }

    fn id(&mut self, row: &Row) -> Option<String> {
        let met = Met { line: row.place.line, number: row.number };
        let (id, place, field) = match &self.plan.data.id {
            None => match &row.id {
                Some(id) => (id.clone(), row.place, ""),
                // Lines and rows are never the same twice.
                None => return Some(if met.line == 0 { met.number } else { met.line }.to_string()),
            },
            Some(template) => {
                let mut id = String::new();
                let mut place = None;
                let field = template.value.placeholders().next().map_or("", |first| first.name.as_str());
                for part in template.value.parts() {
                    let name = match part {
                        Part::Text(text) => {
                            id.push_str(text);
                            continue;
                        }
                        Part::Field(placeholder) => &placeholder.name,
                    };
                    let cell = self.cell(row, name)?;
                    match &cell.value {
                        Value::Text(text) if !text.trim().is_empty() => id.push_str(text),
                        other => {
                            let message = format!("expected an id in {}, found {}", quote(name), described(other));
                            self.flaw(row, cell.place, name, BAD_ID, message);
                            return None;
                        }
                    }
                    place = place.or(Some(cell.place));
                }
                (id, place.unwrap_or(row.place), field)
            }
        };
        match self.ids.insert(id.clone(), met) {
            None => Some(id),
            Some(first) => {
                let message = format!("the id {} is already that of {first}", quote(&id));
                self.flaw(row, place, field, SAME_ID, message);
                self.ids.insert(id, first);
                None
            }
        }
    }

    /// Whether every field that a template or the context names is text, and the context not blank.
    fn texts(&mut self, row: &Row) -> Option<()> {
        let plan = self.plan;
        let templates = [Some(&self.form.prompt), Some(&plan.answer), plan.contrast.as_ref()];
        let mut fields: Vec<&str> = templates
            .into_iter()
            .flatten()
            .flat_map(|template| template.value.placeholders())
            .map(|p| p.name.as_str())
            .collect();
        let context = plan.context.as_ref().map(|context| context.value.as_str());
        fields.extend(context);
        fields.sort_unstable();
        fields.dedup();
        let mut all = Some(());
        for field in fields {
            let Some(Cell { value, place }) = self.cell(row, field) else { continue };
            let (why, message) = match value {
                Value::Text(text) if Some(field) == context && text.trim().is_empty() => {
                    (EMPTY_CONTEXT, format!("the context {} is empty", quote(field)))
                }
                Value::Text(_) => continue,
                other => (NOT_TEXT, format!("expected text in {}, found {}", quote(field), described(other))),
            };
            self.flaw(row, *place, field, why, message);
            all = None;
        }
        all
    }

    /// The prompt's template, filled.
    fn filled(&self, row: &Row) -> Filled {
        let context = self.plan.context.as_ref().map(|context| context.value.as_str());
        let mut filled = Filled::default();
        for part in self.form.prompt.value.parts() {
            let (text, is_field) = match part {
                Part::Text(text) => (text.as_str(), false),
                Part::Field(placeholder) => {
                    let text = self.text(row, &placeholder.name);
                    // Where nothing indexes the context, it may stand there more than once; the first counts.
                    if Some(placeholder.name.as_str()) == context && filled.context.is_none() {
                        filled.context = Some(text.to_owned());
                        continue;
                    }
                    (text, true)
                }
            };
            let [before, behind] = &mut filled.fields;
            let (side, fields) = match filled.context.is_some() {
                true => (&mut filled.behind, behind),
                false => (&mut filled.before, before),
            };
            if is_field && !text.is_empty() {
                let begins = side.chars().count();
                fields.push((begins, begins + text.chars().count()));
            }
            side.push_str(text);
        }
        filled
    }

    /// An answer's label or text, and its token or the model's label.
    fn answer(&mut self, row: &Row, template: &Template, key: &str) -> Option<(String, Option<Vec<i64>>)> {
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
        let place = first.and_then(|first| self.cell(row, &first.name)).map_or(row.place, |cell| cell.place);
        let mistake = |reader: &Self, message: String| reader.mistake(place, row.number, key, message);
        let mistake = match self.answers.target(&answer) {
            Ok(target) => return Some((answer, target)),
            Err(Wrong::Option(labels)) => {
                let message = format!("the {key} {} is not one of the options", quote(&answer));
                mistake(self, message).with_nearest(&answer, labels)
            }
            Err(Wrong::Text(message)) => mistake(self, format!("the {key} {message}")),
            Err(Wrong::Label(error)) => self.answers.not_a_label(&error, |message| mistake(self, message)),
        };
        self.flaws.push(Flaw { why: BAD_ANSWER, mistake });
        None
    }

    /// Evidence spans in characters of the context field, and whether the text that was selected stands there more than
    /// once.
    fn evidence(&mut self, row: &Row) -> Option<(Vec<Span>, bool)> {
        let Some(context) = &self.plan.context else { return Some((Vec::new(), false)) };
        // What is not text is reported by `complete` or `texts`.
        let text = match self.cell(row, &context.value).map(|cell| &cell.value) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        if let Some(selection) = &self.plan.selection {
            return self.selected(row, &selection.value, text?);
        }
        let Some(evidence) = &self.plan.evidence else { return Some((Vec::new(), false)) };
        Some((self.spans(row, &evidence.value, text.map(|text| text.chars().count()), BAD_EVIDENCE)?, false))
    }

    /// Groups in characters of the context field, none of which shares a character with another.
    fn groups(&mut self, row: &Row) -> Option<Vec<Span>> {
        let (Some(groups), Some(context)) = (&self.plan.groups, &self.plan.context) else { return Some(Vec::new()) };
        let text = match self.cell(row, &context.value).map(|cell| &cell.value) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let field = groups.value.as_str();
        let groups = self.spans(row, field, text.map(|text| text.chars().count()), BAD_GROUPS)?;
        let mut sorted = groups.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[1].0 < pair[0].1) {
            let [(a, b), (c, d)] = [pair[0], pair[1]];
            let message = format!("the groups [{a}, {b}) and [{c}, {d}) share characters");
            let place = self.cell(row, field).map_or(row.place, |cell| cell.place);
            self.flaw(row, place, field, BAD_GROUPS, message);
            return None;
        }
        Some(groups)
    }

    /// Spans of the context, which has so many characters (`None`: that is not known, and said elsewhere).
    fn spans(&mut self, row: &Row, field: &str, length: Option<usize>, why: &'static str) -> Option<Vec<Span>> {
        let Cell { value, place } = self.cell(row, field)?;
        let listed = match value {
            Value::Null => return Some(Vec::new()),
            Value::Text(text) if text.trim().is_empty() => return Some(Vec::new()),
            Value::Spans(spans) => Ok(spans.iter().map(|&(start, end)| serde_json::json!([start, end])).collect()),
            Value::Text(json) | Value::Json(json) => match serde_json::from_str::<serde_json::Value>(json) {
                Ok(serde_json::Value::Array(listed)) => Ok(listed),
                Ok(_) => Err("something else".to_owned()),
                Err(error) => Err(format!("no JSON ({})", without_place(&error))),
            },
        };
        let listed = match listed {
            Ok(listed) => listed,
            Err(found) => {
                let message = format!("expected a list of [start, end) spans in {}, found {found}", quote(field));
                self.flaw(row, *place, field, why, message);
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
            self.flaw(row, *place, field, why, message);
            spans = None;
        }
        spans
    }

    fn selected(&mut self, row: &Row, field: &str, context: &str) -> Option<(Vec<Span>, bool)> {
        let Cell { value, place } = self.cell(row, field)?;
        let selection = match value {
            Value::Null => return Some((Vec::new(), false)),
            Value::Text(text) if text.trim().is_empty() => return Some((Vec::new(), false)),
            Value::Text(text) => text,
            other => {
                let message = format!("expected text in {}, found {}", quote(field), described(other));
                self.flaw(row, *place, field, NOT_TEXT, message);
                return None;
            }
        };
        match selection::find(context, selection) {
            Some(found) => Some((vec![found.span], found.is_ambiguous)),
            None => {
                let message = format!("{} does not stand in the context", quote(selection));
                self.flaw(row, *place, field, BAD_EVIDENCE, message);
                None
            }
        }
    }

    fn example(&mut self, asked: Asked, subject: &Subject, prompter: &Prompter) -> Option<Example> {
        let made = self.encoded(asked, subject, prompter);
        match made {
            Ok(example) => example,
            Err((place, number, problem)) => {
                let mistake = self.mistake(place, number, "prompt", problem.message);
                self.flaws.push(Flaw { why: problem.why, mistake });
                self.give_up();
                None
            }
        }
    }

    fn encoded(
        &mut self,
        asked: Asked,
        subject: &Subject,
        prompter: &Prompter,
    ) -> Result<Option<Example>, (Place, usize, Problem)> {
        let here = |problem| (asked.place, asked.number, problem);
        let prompt = prompter.prompt(&asked.filled, &asked.evidence, &asked.groups).map_err(here)?;
        let encoding = &prompt.encoding;
        let Some(last) = encoding.ids.len().checked_sub(1) else {
            let message = "the prompt of this record has no token".to_owned();
            return Err(here(Problem { why: NO_PROMPT, message }));
        };
        if let Some(place) = encoding.ids.iter().position(|&id| id >= subject.vocab as i64) {
            let token = quote(&encoding.tokens[place]);
            let message =
                format!("the prompt of this record has the token {token}, which the model has no embedding for");
            return Err(here(Problem { why: NO_EMBEDDING, message }));
        }
        let whitespace = spans::whitespace(&prompt.text);
        let mut ranked: Vec<usize> = match (self.plan.rank, prompt.context) {
            (Rank::Interior, _) => (1..last).collect(),
            (Rank::All, _) => (0..=last).collect(),
            (Rank::Context, Some(context)) => spans::within(&whitespace, &encoding.offsets, context),
            (Rank::Context, None) => Vec::new(),
        };
        if subject.labels.is_some() && self.plan.rank != Rank::All {
            // A separator that is written in the prompt.
            ranked.retain(|&place| !subject.tokenizer.is_special(encoding.ids[place]));
        }
        let Some((&target, following)) = asked.target.as_deref().and_then(<[i64]>::split_first) else {
            return Ok(None);
        };
        let evidence = spans::overlapping(&whitespace, &encoding.offsets, &prompt.evidence);
        self.counts.lengths.push(encoding.ids.len());
        self.counts.shortened += usize::from(prompt.is_shortened);
        self.counts.begins_itself += usize::from(prompt.begins_itself);
        if asked.evidence.is_empty() {
            self.counts.without_evidence += usize::from(self.plan.evidence.is_some() || self.plan.selection.is_some());
        } else if evidence.is_empty() {
            self.counts.lost_evidence += 1;
        } else if evidence.iter().any(|place| ranked.binary_search(place).is_err()) {
            self.counts.unranked_evidence += 1;
        }
        Ok(Some(Example {
            id: asked.id,
            target,
            following: following.to_vec(),
            contrast: asked.contrast,
            options: self.answers.options(),
            ranked: self.units(&prompt, &ranked, &whitespace),
            evidence,
            input_ids: prompt.encoding.ids,
            tokens: prompt.encoding.tokens,
        }))
    }

    /// The ranked tokens, at places in ascending order, as the task would have them ranked.
    fn units(&self, prompt: &Prompt, ranked: &[usize], whitespace: &[bool]) -> Units {
        let (granularity, aggregate) = (self.plan.granularity, self.plan.aggregate);
        let offsets = &prompt.encoding.offsets;
        if !matches!(granularity, Granularity::Fields | Granularity::Groups) {
            return Units::of_text(&prompt.text, offsets, ranked, granularity, aggregate);
        }
        let mut group_of: Vec<Option<usize>> = vec![None; whitespace.len()];
        for &(group, (start, end)) in &prompt.groups {
            group_of.iter_mut().take(end).skip(start).for_each(|of| *of = Some(group));
        }
        Units::of_stretches(offsets, ranked, &group_of, whitespace, aggregate)
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "blank text",
        Value::Null => "null",
        Value::Json(json) if json.starts_with('[') => "a list",
        Value::Json(_) => "an object",
        Value::Spans(_) => "spans",
    }
}
