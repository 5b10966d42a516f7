//! ERASER's files: results in the form that its scorer reads, and what they are scored against.
//!
//! A prompt is a document and its id the document's. Tokens are the model's, so that nothing is lost between them and
//! ERASER's words: what is scored is the same prompt, cut as the model reads it. Classifications are left out: ERASER
//! wants whole distributions over the classes, and a run stores the explained score alone.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::{ExportError, Exported, by_example, damaged};
use crate::report::sections::file_name;
use crate::store::{Store, Unit};
use crate::text::{as_word, shown_json};

/// A line of `docs.jsonl`.
#[derive(Serialize)]
struct Document<'a> {
    docid: &'a str,
    /// One line of tokens between spaces.
    document: String,
}

/// A line of `test.jsonl`.
#[derive(Serialize)]
struct Annotation<'a> {
    annotation_id: &'a str,
    query: &'a str,
    /// One group, of a span each.
    evidences: [Vec<Evidence<'a>>; 1],
    /// Not known here.
    classification: &'a str,
}

#[derive(Serialize)]
struct Evidence<'a> {
    docid: &'a str,
    text: String,
    start_token: usize,
    /// Exclusive.
    end_token: usize,
}

/// A line of `results/METHOD.jsonl`.
#[derive(Serialize)]
struct Prediction<'a> {
    annotation_id: &'a str,
    rationales: [Rationale<'a>; 1],
}

#[derive(Serialize)]
struct Rationale<'a> {
    docid: &'a str,
    /// Spans of as many highest-ranked tokens as there are tokens of evidence.
    hard_rationale_predictions: Vec<Span>,
    /// The attributions.
    soft_rationale_predictions: &'a [f64],
}

#[derive(Serialize)]
struct Span {
    start_token: usize,
    end_token: usize,
}

/// All files of one model on one task, in the making.
struct Part {
    exported: Exported,
    docs: Lines,
    annotations: Lines,
    /// One a declared method.
    results: Vec<Lines>,
}

pub fn write(store: &Store, folder: &Path) -> Result<Vec<Exported>, ExportError> {
    let mut writer = Writer { store, folder, open: None, finished: Vec::new(), left_out: 0 };
    let found = by_example(store, |units| writer.add(units))?;
    writer.finish_part()?;
    damaged(store, found)?;
    if writer.finished.is_empty() {
        return Err(ExportError::NoEvidence { store: store.path().to_path_buf() });
    }
    Ok(writer.finished)
}

struct Writer<'a> {
    store: &'a Store,
    folder: &'a Path,
    /// The model and the task in hand, and its files once there is something to write.
    open: Option<((String, String), Option<Part>)>,
    finished: Vec<Exported>,
    /// Of the task in hand.
    left_out: usize,
}

impl Writer<'_> {
    /// All units of an example.
    fn add(&mut self, units: &[Unit]) -> Result<(), ExportError> {
        let Some(first) = units.first() else { return Ok(()) };
        let place = (first.key.model.clone(), first.key.task.clone());
        if self.open.as_ref().is_none_or(|(open, _)| *open != place) {
            self.finish_part()?;
            self.open = Some((place, None));
        }
        let methods = &self.store.declared().methods;
        let evidence = self.store.evidence(&first.key.model, &first.key.task, &first.key.example_id)?;
        let fits = |unit: &Unit| {
            unit.attributions.first().is_some_and(|vector| vector.iter().all(|value| value.is_finite()))
                && unit.tokens == first.tokens
        };
        let is_whole = units.len() == methods.len() && units.iter().all(fits);
        let is_inside = evidence.iter().all(|place| *place < first.tokens.len());
        if evidence.is_empty() || !is_whole || !is_inside {
            self.left_out += 1;
            return Ok(());
        }
        let Some((_, part)) = &mut self.open else { return Ok(()) };
        let part = match part {
            Some(part) => part,
            None => {
                let number = (self.finished.len() + 1).to_string();
                let name = file_name(&[&number, &first.key.model, &first.key.task]);
                part.insert(Part::create(self.folder, name, first, methods)?)
            }
        };
        part.add(units, &evidence)
    }

    fn finish_part(&mut self) -> Result<(), ExportError> {
        if let Some((_, Some(part))) = self.open.take() {
            let exported = part.finish()?;
            self.finished.push(Exported { left_out: self.left_out, ..exported });
        }
        self.left_out = 0;
        Ok(())
    }
}

impl Part {
    fn create(parent: &Path, name: String, first: &Unit, methods: &[String]) -> Result<Part, ExportError> {
        let folder = parent.join(&name);
        let results = folder.join("results");
        fs::create_dir_all(&results).map_err(|source| ExportError::Io { path: results.clone(), source })?;
        // Numbered, because two labels may differ in nothing that a file name holds.
        let of_method = |(i, method): (usize, &String)| {
            Lines::create(&results.join(file_name(&[&(i + 1).to_string(), method])).with_extension("jsonl"))
        };
        Ok(Part {
            docs: Lines::create(&folder.join("docs.jsonl"))?,
            annotations: Lines::create(&folder.join("test.jsonl"))?,
            results: methods.iter().enumerate().map(of_method).collect::<Result<_, _>>()?,
            exported: Exported {
                place: name,
                model: first.key.model.clone(),
                task: first.key.task.clone(),
                examples: 0,
                left_out: 0,
            },
        })
    }

    /// An example: one unit a method, in declared order; `evidence` is ascending.
    fn add(&mut self, units: &[Unit], evidence: &[usize]) -> Result<(), ExportError> {
        let Some(first) = units.first() else { return Ok(()) };
        let id = first.key.example_id.as_str();
        let words: Vec<String> = first.tokens.iter().map(|token| as_word(token)).collect();
        let spans = spans(evidence).into_iter().map(|Span { start_token, end_token }| Evidence {
            docid: id,
            text: words[start_token..end_token].join(" "),
            start_token,
            end_token,
        });
        self.annotations.write(&Annotation {
            annotation_id: id,
            query: "",
            evidences: [spans.collect()],
            classification: "",
        })?;
        self.docs.write(&Document { docid: id, document: words.join(" ") })?;
        for (unit, results) in units.iter().zip(&mut self.results) {
            let Some(attributions) = unit.attributions.first() else { continue };
            results.write(&Prediction {
                annotation_id: id,
                rationales: [Rationale {
                    docid: id,
                    hard_rationale_predictions: spans_of_highest(attributions, evidence.len()),
                    soft_rationale_predictions: attributions,
                }],
            })?;
        }
        self.exported.examples += 1;
        Ok(())
    }

    fn finish(self) -> Result<Exported, ExportError> {
        for lines in [self.docs, self.annotations].into_iter().chain(self.results) {
            lines.finish()?;
        }
        Ok(self.exported)
    }
}

/// Spans of the tokens with the highest attributions; of equal ones the first.
fn spans_of_highest(attributions: &[f64], count: usize) -> Vec<Span> {
    let mut order: Vec<usize> = (0..attributions.len()).collect();
    order.sort_by(|a, b| attributions[*b].total_cmp(&attributions[*a]));
    order.truncate(count);
    order.sort_unstable();
    spans(&order)
}

/// Runs of neighbouring places.
fn spans(places: &[usize]) -> Vec<Span> {
    let ends = |run: &[usize]| Span { start_token: run[0], end_token: run[run.len() - 1] + 1 };
    places.chunk_by(|a, b| a + 1 == *b).map(ends).collect()
}

/// A file of JSON, an object a line.
struct Lines(BufWriter<File>, std::path::PathBuf);

impl Lines {
    fn create(path: &Path) -> Result<Lines, ExportError> {
        let file = File::create_new(path).map_err(|source| ExportError::Io { path: path.to_path_buf(), source })?;
        Ok(Lines(BufWriter::new(file), path.to_path_buf()))
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), ExportError> {
        let fail = |source: std::io::Error| ExportError::Io { path: self.1.clone(), source };
        let line = serde_json::to_string(value).map_err(|error| fail(error.into()))?;
        writeln!(self.0, "{}", shown_json(&line)).map_err(fail)
    }

    fn finish(mut self) -> Result<(), ExportError> {
        self.0.flush().map_err(|source| ExportError::Io { path: self.1, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_as_word() {
        for (token, expected) in [
            (" clock", "clock"),
            ("clock", "clock"),
            (" ", "␣"),
            ("", "␣"),
            ("a b", "a␣b"),
            ("\n", r"\n"),
            ("\u{a0}x", "␣x"),
            ("\u{202e}", r"\u{202e}"),
        ] {
            assert_eq!(as_word(token), expected);
        }
    }

    #[test]
    fn rationales_are_spans_of_the_highest() {
        let found = |attributions: &[f64], count| -> Vec<(usize, usize)> {
            spans_of_highest(attributions, count).into_iter().map(|span| (span.start_token, span.end_token)).collect()
        };
        assert_eq!(found(&[0.1, 3.0, 2.0, -5.0, 1.0], 3), [(1, 3), (4, 5)]);
        assert_eq!(found(&[1.0, 1.0, 1.0], 2), [(0, 2)]);
        assert_eq!(found(&[1.0], 5), [(0, 1)]);
    }
}
