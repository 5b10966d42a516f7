//! The keys of `harness.yaml`, of a task and of a model file: one table for checking, defaults and JSON Schema.

use std::path::Path;

use serde_json::{Value, json};

use super::Vocabulary;
use super::chosen::{OptionInfo, OptionKind, OptionValue, Sort, Words, WrittenFile, kept};
use super::data::Format;
use super::form::{Chat, FAMILIES};
use super::task::LabelRef;
use super::yaml::{Atom, Content, Node};
use crate::device::Device;
use crate::diagnostics::{Diagnostic, list, nearest, quote};
use crate::labels::MAX_LABELS;
use crate::text::acts;
use crate::tokenizer::SpecialTokens;
use crate::units::{Aggregate, Granularity};

/// A mapping: the keys it may have.
#[derive(Debug)]
pub(super) struct Table {
    pub title: &'static str,
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub needed: Needed,
    /// For the JSON Schema, hence for the user's editor.
    pub about: &'static str,
}

#[derive(Debug)]
pub(super) enum Needed {
    Required,
    Optional,
    /// What it is when it is not given.
    Integer(u64),
    Fraction(f64),
    Text(&'static str),
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Text that is not empty.
    Text,
    /// Text, a number or a truth value, as it is written.
    Scalar,
    /// Text that can stand in a table and in a comma-separated list.
    Name,
    /// A file or folder, relative to the file in which it is written.
    Path,
    /// From and up to and including.
    Integer(u64, u64),
    /// Strictly between 0 and 1.
    Fraction,
    /// A number that is 0 or more, or `N %`.
    Margin,
    /// `YYYY-MM-DD`.
    Date,
    Choice(&'static [&'static str]),
    /// Not empty.
    List(&'static Kind),
    Mapping(&'static Table),
    /// A device, or a list of some of one kind.
    Devices,
    /// A path, or a mapping of [`MODEL`].
    Model,
    /// A name, or one name with a mapping of options.
    Chosen(Sort),
    /// A list of texts, or label: text.
    Options,
    /// answer: the name or the number of a model's label.
    Labels,
    /// field: a value, or a list of them.
    Values,
    /// family of models: a mapping.
    Families(&'static Table),
}

use Kind::*;
use Needed::{Optional, Required};

// What sizes memory or time is bounded, so that no file of a stranger's can ask for more than a machine has.

/// Examples of a task. Each takes some kilobytes.
pub(super) const MOST_EXAMPLES: u64 = 1 << 20;
/// Threads inside an operator. Each takes a stack.
pub const MOST_THREADS: u64 = 1024;
/// Each holds a model of its own.
const MOST_WORKERS: u64 = 64;
/// Tokens in a batch: 512 MiB for one tensor of 2,048 features.
const MOST_BATCH_TOKENS: u64 = 1 << 16;
/// Resamples: 8 MB of statistics for each of the numbers that are made at the same time.
const MOST_RESAMPLES: u64 = 1_000_000;
/// Tokens of a prompt.
const MOST_TOKENS: u64 = 1 << 20;
/// Answered examples before a question.
const MOST_SHOTS: u64 = 64;
/// Remembered scores: 64 GiB.
const MOST_REUSE_MIB: u64 = 1 << 16;

pub(super) static HARNESS: Table = Table {
    title: "gim-harness: what to run",
    fields: &[
        Field { name: "name", kind: Name, needed: Optional, about: "Name of the run; default: the folder's." },
        Field {
            name: "models",
            kind: List(&Model),
            needed: Required,
            about: "Folders with config.json (Hugging Face) or bundle.json (a bundle), model files, or mappings.",
        },
        Field { name: "tasks", kind: List(&Path), needed: Required, about: "Task files." },
        Field { name: "methods", kind: List(&Chosen(Sort::Method)), needed: Required, about: "Attribution methods." },
        Field {
            name: "metrics",
            kind: List(&Chosen(Sort::Metric)),
            needed: Optional,
            about: "Metrics; default: the paper's.",
        },
        Field {
            name: "limit",
            kind: Integer(1, MOST_EXAMPLES),
            needed: Optional,
            about: "Examples a task, the first ones; default: all.",
        },
        Field {
            name: "sample",
            kind: Integer(1, MOST_EXAMPLES),
            needed: Optional,
            about: "Examples a task, drawn at random by the seed: the same ones for every model and method.",
        },
        Field {
            name: "granularity",
            kind: Choice(&Granularity::NAMES),
            needed: Optional,
            about: "What is ranked in tasks that do not say it themselves; default: tokens.",
        },
        Field {
            name: "aggregate",
            kind: Choice(&Aggregate::NAMES),
            needed: Optional,
            about: "How attributions of tokens become one of a word, sentence, field or group, in tasks that do not say it themselves; default: sum.",
        },
        Field {
            name: "seed",
            kind: Integer(0, u64::MAX),
            needed: Needed::Integer(0),
            about: "Seed of everything random.",
        },
        Field {
            name: "device",
            kind: Devices,
            needed: Needed::Text("cpu"),
            about: "cpu, cuda, cuda:INDEX, or another of ONNX Runtime's execution providers (openvino, rocm ...); a list of several of one kind: one worker each.",
        },
        Field {
            name: "threads",
            kind: Integer(1, MOST_THREADS),
            needed: Optional,
            about: "Threads inside an operator, shared out among workers; default: the runtime's choice.",
        },
        Field {
            name: "workers",
            kind: Integer(1, MOST_WORKERS),
            needed: Optional,
            about: "Examples are worked on by so many at a time, each with a model of its own; default: one a device, of a small model one a thread of the CPU.",
        },
        Field {
            name: "batch_tokens",
            kind: Integer(1, MOST_BATCH_TOKENS),
            needed: Needed::Integer(4096),
            about: "Upper bound of rows times sequence length in one batch.",
        },
        Field {
            name: "reuse_mib",
            kind: Integer(0, MOST_REUSE_MIB),
            needed: Optional,
            about: "Memory in MiB for the scores of rows that were run before, 0 for none; default: 256, or an eighth of the memory available where that is less.",
        },
        Field {
            name: "prefix_cache",
            kind: Choice(&["auto", "always", "never"]),
            needed: Needed::Text("auto"),
            about: "Compute what rows have in common with their prompt once: auto (where that is faster), always, never.",
        },
        Field { name: "output", kind: Path, needed: Needed::Text("reports"), about: "Parent folder of runs." },
        Field { name: "statistics", kind: Mapping(&STATISTICS), needed: Optional, about: "How intervals are made." },
        Field { name: "runtime", kind: Mapping(&RUNTIME), needed: Optional, about: "Which ONNX Runtime to load." },
    ],
};

pub(super) static STATISTICS: Table = Table {
    title: "Statistics",
    fields: &[
        Field {
            name: "resamples",
            kind: Integer(1, MOST_RESAMPLES),
            needed: Needed::Integer(10_000),
            about: "Bootstrap and permutation resamples.",
        },
        Field {
            name: "confidence",
            kind: Fraction,
            needed: Needed::Fraction(0.95),
            about: "Confidence level of intervals.",
        },
    ],
};

pub(super) static RUNTIME: Table = Table {
    title: "ONNX Runtime",
    fields: &[Field {
        name: "library",
        kind: Path,
        needed: Optional,
        about: "Shared library of ONNX Runtime; default: found or installed.",
    }],
};

pub(super) static MODEL: Table = Table {
    title: "gim-harness: a model",
    fields: &[
        Field { name: "name", kind: Name, needed: Optional, about: "Default: the folder's last component." },
        Field {
            name: "path",
            kind: Path,
            needed: Required,
            about: "Folder with config.json (Hugging Face) or bundle.json (a bundle).",
        },
        Field {
            name: "baseline",
            kind: Text,
            needed: Optional,
            about: "Text of the token that stands for \"nothing here\"; default: the first token of \" \", else padding, else unknown.",
        },
        Field {
            name: "special_tokens",
            kind: Choice(SpecialTokens::NAMES),
            needed: Needed::Text("tokenizer"),
            about: "What prompts get around them: what the tokenizer puts there, only what it puts before them (begin), or none.",
        },
    ],
};

pub(super) static TASK: Table = Table {
    title: "gim-harness: a task",
    fields: &[
        Field { name: "task", kind: Name, needed: Optional, about: "Name; default: that of the file." },
        Field {
            name: "version",
            kind: Integer(1, u32::MAX as u64),
            needed: Needed::Integer(1),
            about: "Raise it when results before and after a change are not to be compared.",
        },
        Field { name: "description", kind: Text, needed: Optional, about: "One sentence." },
        Field { name: "data", kind: Mapping(&DATA), needed: Required, about: "Where the records are." },
        Field {
            name: "prompt",
            kind: Text,
            needed: Required,
            about: "Template: {field} is filled from the record, {{ and }} are literal braces.",
        },
        Field { name: "opening", kind: Text, needed: Optional, about: OPENING },
        Field { name: "chat", kind: Choice(Chat::NAMES), needed: Needed::Text("never"), about: CHAT },
        Field { name: "system", kind: Text, needed: Optional, about: SYSTEM },
        Field {
            name: "families",
            kind: Families(&FORM),
            needed: Optional,
            about: "What is another way for a family of models (llama, qwen, gemma ...: how the model's `model_type` begins).",
        },
        Field {
            name: "few_shot",
            kind: Mapping(&FEW_SHOT),
            needed: Optional,
            about: "Answered examples before the question.",
        },
        Field {
            name: "max_tokens",
            kind: Integer(8, MOST_TOKENS),
            needed: Optional,
            about: "Longer prompts are shortened: words of the context that are farthest from the evidence go. Default: none are, and those that are too long for the model are left out.",
        },
        Field {
            name: "context",
            kind: Text,
            needed: Optional,
            about: "Field whose tokens `rank: context` keeps to and that evidence spans index.",
        },
        Field {
            name: "evidence",
            kind: Text,
            needed: Optional,
            about: "Field with a list of [start, end) spans, in Unicode characters of the context field.",
        },
        Field {
            name: "selection",
            kind: Text,
            needed: Optional,
            about: "Field with a text that stands in the context and is the evidence, instead of spans.",
        },
        Field {
            name: "answer",
            kind: Text,
            needed: Required,
            about: "Template of the right answer: its label with options, else its text, which must be one token or name a classifier's label.",
        },
        Field {
            name: "options",
            kind: Options,
            needed: Optional,
            about: "The possible answers: texts, or label: text. Each text must be one token; for a classifier the label or the text names a label of the model.",
        },
        Field {
            name: "labels",
            kind: Labels,
            needed: Optional,
            about: "For classifiers whose labels are named otherwise than the answers: answer: the label's name, or its number.",
        },
        Field {
            name: "contrast",
            kind: Text,
            needed: Optional,
            about: "Template of the answer to compare with; default: none, or the strongest other option for logit_difference.",
        },
        Field {
            name: "score",
            kind: Choice(&["logit", "probability", "logit_difference", "log_probability"]),
            needed: Needed::Text("logit"),
            about: "What is explained. With log_probability answers and options may be several tokens: the sum over them, each behind those before it.",
        },
        Field {
            name: "rank",
            kind: Choice(&["interior", "context", "all"]),
            needed: Needed::Text("interior"),
            about: "Tokens that compete: all but first and last, those of the context field, or all.",
        },
        Field {
            name: "granularity",
            kind: Choice(&Granularity::NAMES),
            needed: Optional,
            about: "What competes for a rank and is taken away whole: tokens (default), words, sentences, the fields and shown examples that fill the prompt, or the groups that `groups` names.",
        },
        Field {
            name: "aggregate",
            kind: Choice(&Aggregate::NAMES),
            needed: Optional,
            about: "How attributions of tokens become one: sum (default), mean, max, or signed_max (the one farthest from zero).",
        },
        Field {
            name: "groups",
            kind: Text,
            needed: Optional,
            about: "Field with a list of [start, end) spans of the context: with `granularity: groups`, which it makes the default, each is one.",
        },
        Field {
            name: "metrics",
            kind: List(&Chosen(Sort::Metric)),
            needed: Optional,
            about: "Metrics of this task instead of the run's.",
        },
    ],
};

/// What a task asks, and how.
pub(super) static FORM: Table = Table {
    title: "A family's own form of a task; what is not given here is as for all",
    fields: &[
        Field { name: "prompt", kind: Text, needed: Optional, about: "Template of the prompt." },
        Field { name: "opening", kind: Text, needed: Optional, about: OPENING },
        Field { name: "chat", kind: Choice(Chat::NAMES), needed: Optional, about: CHAT },
        Field { name: "system", kind: Text, needed: Optional, about: SYSTEM },
        Field { name: "options", kind: Options, needed: Optional, about: "The same answers with other texts." },
    ],
};

const OPENING: &str =
    "Text with which the answer begins: it ends the prompt. Behind a chat template without white space before it.";
const CHAT: &str = "Whether the prompt goes through the tokenizer's chat template, as a user's message: never, always, or if_there is one.";
const SYSTEM: &str = "With a chat template: the system's message.";

pub(super) static FEW_SHOT: Table = Table {
    title: "Answered examples before the question, the same ones for every example, model and method",
    fields: &[
        Field {
            name: "count",
            kind: Integer(1, MOST_SHOTS),
            needed: Optional,
            about: "How many are drawn from the data, as many of each answer as that allows; they are asked no more.",
        },
        Field { name: "seed", kind: Integer(0, u64::MAX), needed: Needed::Integer(0), about: "Seed of the draw." },
        Field {
            name: "ids",
            kind: List(&Scalar),
            needed: Optional,
            about: "Which ones, in this order, instead of `count`.",
        },
        Field {
            name: "separator",
            kind: Text,
            needed: Needed::Text("\n\n"),
            about: "What stands between two of them; a chat template makes turns of them instead.",
        },
    ],
};

pub(super) static DATA: Table = Table {
    title: "Data",
    fields: &[
        Field {
            name: "file",
            kind: Path,
            needed: Required,
            about: "The records: a .jsonl, .json, .csv, .tsv or .parquet file, or what `format` names.",
        },
        Field {
            name: "format",
            kind: Choice(Format::NAMES),
            needed: Optional,
            about: "How the file is to be read; default: as its name ends. eraser, hatexplain and scifact are the forms in which these data sets are published.",
        },
        Field {
            name: "id",
            kind: Text,
            needed: Optional,
            about: "Field with a unique id, or a template of fields; default: that of the format, else the key or the line of the record.",
        },
        Field {
            name: "where",
            kind: Values,
            needed: Optional,
            about: "Take only records in which these fields have this value, or one of these: {label: [yes, no]}.",
        },
        Field {
            name: "bad_rows",
            kind: Choice(&["stop", "leave_out"]),
            needed: Needed::Text("stop"),
            about: "What becomes of a record that cannot be used: it stops everything, or it is left out and counted.",
        },
        Field {
            name: "columns",
            kind: List(&Text),
            needed: Optional,
            about: "csv, tsv: names of the columns of a file without a header row.",
        },
        Field {
            name: "quotes",
            kind: Choice(&["csv", "none"]),
            needed: Optional,
            about: "csv, tsv: whether fields may stand in quotation marks (csv), or these are text like any other (none); default: csv for .csv, none for .tsv.",
        },
        Field {
            name: "documents",
            kind: Path,
            needed: Optional,
            about: "eraser: a folder of documents or docs.jsonl; scifact: the corpus. Default: docs, docs.jsonl, corpus.jsonl beside the file.",
        },
        Field {
            name: "brackets",
            kind: Choice(&["keep", "restore"]),
            needed: Needed::Text("keep"),
            about: "eraser: keep -LRB- and its like in documents, or write the brackets that they stand for.",
        },
        Field {
            name: "split",
            kind: Text,
            needed: Optional,
            about: "hatexplain: take only the posts that `splits` lists under this name.",
        },
        Field {
            name: "splits",
            kind: Path,
            needed: Optional,
            about: "hatexplain: the file of splits; default: post_id_divisions.json beside the file.",
        },
        Field {
            name: "consensus",
            kind: Choice(&["majority", "any", "all"]),
            needed: Needed::Text("majority"),
            about: "hatexplain: a token is evidence where more than half of the rationales mark it, or any, or all.",
        },
    ],
};

impl Table {
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.name)
    }
}

/// Why a value is not of its kind.
#[derive(Debug)]
pub(super) struct Complaint {
    message: String,
    help: String,
    suggestion: Option<String>,
}

impl Complaint {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Complaint { message: message.into(), help: help.into(), suggestion: None }
    }

    fn expected(what: &str, node: &Node) -> Self {
        let found = match node.atom() {
            Some(Atom::Integer(_) | Atom::Float(_) | Atom::Text(_) | Atom::Bool) => {
                quote(node.scalar_text().unwrap_or_default())
            }
            _ => node.described().to_owned(),
        };
        Complaint::new(format!("expected {what}, found {found}"), "")
    }
}

/// Text that is not empty.
pub(super) fn text(node: &Node) -> Result<&str, Complaint> {
    match node.atom() {
        Some(Atom::Text("")) => Err(Complaint::new("this text is empty", "")),
        Some(Atom::Text(text)) => Ok(text),
        Some(Atom::Integer(_) | Atom::Float(_) | Atom::Bool) => {
            let written = node.scalar_text().unwrap_or_default();
            let message = format!("expected text, found {} {}", node.described(), quote(written));
            Err(Complaint::new(message, format!("in quotes it is text: \"{written}\"")))
        }
        _ => Err(Complaint::expected("text", node)),
    }
}

/// Text that can stand in a table and in a comma-separated list.
pub(super) fn name(node: &Node) -> Result<&str, Complaint> {
    let name = text(node)?;
    if name.trim() != name || name.contains(|character: char| character == ',' || acts(character)) {
        let help = "no comma, no line break, no space at either end, nothing invisible";
        return Err(Complaint::new(format!("{} cannot be a name", quote(name)), help));
    }
    Ok(name)
}

/// How much worse something may be.
pub(super) fn margin(node: &Node) -> Result<super::gate::Margin, Complaint> {
    use super::gate::Margin;
    let expected = || Complaint::expected("a number that is 0 or more, or a percentage such as `5 %`", node);
    let is_fine = |number: &f64| number.is_finite() && *number >= 0.0;
    match node.atom() {
        Some(Atom::Integer(number)) => Some(number as f64).filter(is_fine).map(Margin::Absolute).ok_or_else(expected),
        Some(Atom::Float(number)) => Some(number).filter(is_fine).map(Margin::Absolute).ok_or_else(expected),
        Some(Atom::Text(text)) => {
            let number = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
            number.filter(is_fine).map(|percent| Margin::Relative(percent / 100.0)).ok_or_else(expected)
        }
        _ => Err(expected()),
    }
}

/// A day.
pub(super) fn date(node: &Node) -> Result<crate::date::Date, Complaint> {
    let expected = || Complaint::expected("a day such as 2026-12-31", node);
    node.scalar_text().and_then(|text| text.parse().ok()).ok_or_else(expected)
}

/// A whole number within bounds.
pub(super) fn integer(node: &Node, least: u64, most: u64) -> Result<u64, Complaint> {
    match node.atom() {
        Some(Atom::Integer(number)) => match u64::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ if number < i128::from(least) && least == 1 => {
                Err(Complaint::new(format!("expected a positive number, found `{number}`"), ""))
            }
            _ => Err(Complaint::new(format!("{number} is not between {least} and {most}"), "")),
        },
        Some(Atom::Text(typed)) if typed.parse::<u64>().is_ok() => {
            Err(Complaint::new("expected a whole number, found text", format!("without quotes it is one: {typed}")))
        }
        _ => Err(Complaint::expected("a whole number", node)),
    }
}

/// The value of a method's option.
pub(super) fn option(node: &Node, name: &str, kind: OptionKind) -> Result<OptionValue, Complaint> {
    match kind {
        OptionKind::Integer(least, most) => integer(node, least, most).map(OptionValue::Integer),
        OptionKind::IntegerOr(word, ..) if node.scalar_text() == Some(word) => Ok(OptionValue::Word(word)),
        OptionKind::IntegerOr(word, least, most) => match node.atom() {
            Some(Atom::Integer(_)) => integer(node, least, most).map(OptionValue::Integer),
            _ => Err(Complaint::expected(&format!("a whole number or {}", quote(word)), node)),
        },
        OptionKind::Name => self::name(node).map(|name| OptionValue::Word(kept(name))),
        OptionKind::File => text(node).map(|file| OptionValue::File(WrittenFile::new(file))),
        OptionKind::Fraction => fraction(node).map(OptionValue::Number),
        OptionKind::Number(least, most) => number(node, least, most).map(OptionValue::Number),
        OptionKind::Choice(words) => {
            let chosen = choice(node, name, words)?;
            Ok(OptionValue::Word(words.iter().find(|word| **word == chosen).copied().unwrap_or_default()))
        }
        OptionKind::Words(words, least) => {
            let Content::List(items) = &node.content else {
                let help = node.scalar_text().map_or(String::new(), |text| format!("in brackets it is one: [{text}]"));
                return Err(Complaint { help, ..Complaint::expected("a list", node) });
            };
            let typed: Vec<&str> = items.iter().map(|item| choice(item, name, words)).collect::<Result<_, _>>()?;
            let twice = typed.iter().enumerate().find(|(i, word)| typed[..*i].contains(word));
            match twice {
                Some((_, word)) => Err(Complaint::new(format!("{} stands twice", quote(word)), "")),
                None if typed.len() < least => {
                    Err(Complaint::new(format!("expected {least} or more {name}, found {}", typed.len()), ""))
                }
                None => Ok(OptionValue::Words(Words::of(words, &typed))),
            }
        }
    }
}

/// What is wrong with the value of an option, and where: of a list with its items.
fn complaints<'a>(node: &'a Node, known: &OptionInfo) -> Vec<(&'a Node, Complaint)> {
    let items: Vec<(&Node, Complaint)> = match (known.kind, &node.content) {
        (OptionKind::Words(words, _), Content::List(items)) => {
            items.iter().filter_map(|item| Some((&**item, choice(item, known.name, words).err()?))).collect()
        }
        _ => Vec::new(),
    };
    if items.is_empty() {
        option(node, known.name, known.kind).err().map(|found| (node, found)).into_iter().collect()
    } else {
        items
    }
}

/// A label of a classifier: a whole number is a label's number, text its name.
pub(super) fn label_ref(node: &Node) -> Result<LabelRef, Complaint> {
    match node.atom() {
        Some(Atom::Integer(_)) => integer(node, 0, MAX_LABELS as u64).map(LabelRef::Number),
        Some(Atom::Text(_)) => text(node).map(|name| LabelRef::Name(name.to_owned())),
        _ => Err(Complaint::expected("the name of a label, or its number", node)),
    }
}

/// A number with bounds, both of them allowed.
fn number(node: &Node, least: f64, most: f64) -> Result<f64, Complaint> {
    let number = match node.atom() {
        Some(Atom::Integer(number)) => Some(number as f64),
        Some(Atom::Float(number)) => Some(number),
        _ => None,
    };
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| Complaint::expected(&format!("a number from {least} to {most}"), node))
}

/// A number strictly between 0 and 1.
pub(super) fn fraction(node: &Node) -> Result<f64, Complaint> {
    let number = match node.atom() {
        Some(Atom::Integer(number)) => number as f64,
        Some(Atom::Float(number)) => number,
        _ => return Err(Complaint::expected("a number between 0 and 1", node)),
    };
    if number > 0.0 && number < 1.0 {
        return Ok(number);
    }
    let percent = if (1.0..100.0).contains(&number) { format!("{number} % is {}", number / 100.0) } else { "".into() };
    let written = node.scalar_text().unwrap_or_default();
    Err(Complaint::new(format!("expected a number between 0 and 1, found {}", quote(written)), percent))
}

fn choice<'a>(node: &'a Node, key: &str, valid: &'static [&'static str]) -> Result<&'a str, Complaint> {
    let typed = text(node)?;
    if valid.contains(&typed) {
        return Ok(typed);
    }
    let what = key.rsplit('.').next().unwrap_or(key);
    let mut complaint = Complaint::new(format!("unknown {what} {}", quote(typed)), "");
    complaint.suggestion = nearest(typed, valid.iter().copied()).map(str::to_owned);
    if complaint.suggestion.is_none() {
        complaint.help = format!("valid here: {}", list(valid));
    }
    Err(complaint)
}

/// A device, or several: of one kind, since which example runs where is left to chance, and kinds differ in last digits.
fn devices(node: &Node) -> Result<(), Complaint> {
    let Content::List(items) = &node.content else { return text(node).and_then(device).map(drop) };
    let kind = |typed: &str| typed.split(':').next().unwrap_or_default().to_owned();
    let mut kinds = Vec::new();
    for item in items {
        kinds.push(kind(text(item).and_then(device)?));
    }
    match (kinds.first(), kinds.iter().find(|kind| Some(*kind) != kinds.first())) {
        (None, _) => Err(Complaint::new("this list is empty", "")),
        (Some(_), None) => Ok(()),
        (Some(first), Some(other)) => {
            let message = format!("{} and {} differ in last digits", quote(first), quote(other));
            Err(Complaint::new(message, "name devices of one kind: [cuda:0, cuda:1]"))
        }
    }
}

/// A device, as the command line reads it too.
pub(super) fn device(typed: &str) -> Result<&str, Complaint> {
    let Err(error) = typed.parse::<crate::device::Device>() else { return Ok(typed) };
    let mut complaint = Complaint::new(error.to_string(), "");
    let kind = typed.split(':').next().unwrap_or_default();
    complaint.suggestion =
        nearest(kind, ["cpu", "cuda"]).filter(|&near| near != kind).map(|near| match typed.split_once(':') {
            Some((_, index)) if near == "cuda" && !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) => {
                format!("cuda:{index}")
            }
            _ => near.to_owned(),
        });
    Err(complaint)
}

impl Complaint {
    /// The complaint as a mistake at a place.
    pub fn at(self, diagnostic: impl FnOnce(String) -> Diagnostic) -> Diagnostic {
        let mut diagnostic = diagnostic(self.message).with_help(self.help);
        diagnostic.suggestion = self.suggestion;
        diagnostic
    }
}

/// Checks a tree against a table: unknown and missing keys, values of the wrong kind.
pub(super) struct Checker<'a> {
    pub file: &'a Path,
    /// Whose options are known.
    pub vocabulary: &'a Vocabulary<'a>,
    pub mistakes: &'a mut Vec<Diagnostic>,
}

impl Checker<'_> {
    /// `key` is the path to the mapping, empty for the whole file.
    pub fn mapping(&mut self, node: &Node, table: &'static Table, key: &str) {
        let Content::Mapping(entries) = &node.content else {
            let valid: Vec<&str> = table.names().collect();
            let help = format!("write `key: value` lines; keys: {}", list(&valid));
            let found = Complaint::expected("a mapping", node).message;
            self.mistakes.push(self.at(node, key, found).with_help(help));
            return;
        };
        // A key that was meant and mistyped is one mistake, not two.
        let mut meant = Vec::new();
        let free: Vec<&str> = table.names().filter(|name| node.get(name).is_none()).collect();
        for (found, value) in entries {
            let path = join(key, &found.text);
            match table.field(&found.text) {
                None => {
                    let message = format!("unknown key {}", quote(&found.text));
                    let mistake = Diagnostic::new(self.file, found.line, found.column, path, message)
                        .with_width(found.width)
                        .with_nearest(&found.text, free.iter().copied());
                    meant.extend(mistake.suggestion.clone());
                    self.mistakes.push(mistake);
                }
                Some(field) if value.is_null() => {
                    if matches!(field.needed, Required) {
                        let message = format!("{} has no value", quote(&found.text));
                        let mistake = Diagnostic::new(self.file, found.line, found.column, path, message);
                        self.mistakes.push(mistake.with_width(found.width).with_help(field.about));
                    }
                }
                Some(field) => self.value(value, &field.kind, &path),
            }
        }
        for field in table.fields.iter().filter(|field| matches!(field.needed, Required)) {
            if node.get(field.name).is_none() && !meant.iter().any(|name| name == field.name) {
                let within = if key.is_empty() { String::new() } else { format!(" in {}", quote(key)) };
                let message = format!("the key {}{within} is missing", quote(field.name));
                let mistake = self.at(node, &join(key, field.name), message).with_help(field.about);
                self.mistakes.push(mistake);
            }
        }
    }

    fn value(&mut self, node: &Node, kind: &'static Kind, key: &str) {
        let checked = match kind {
            Text | Path => text(node).map(drop),
            Name => name(node).map(drop),
            Integer(least, most) => integer(node, *least, *most).map(drop),
            Fraction => fraction(node).map(drop),
            Margin => margin(node).map(drop),
            Date => date(node).map(drop),
            Choice(valid) => choice(node, key, valid).map(drop),
            Devices => devices(node),
            Mapping(table) => return self.mapping(node, table, key),
            Model if matches!(node.content, Content::Mapping(_)) => return self.mapping(node, &MODEL, key),
            Model => text(node).map(drop),
            Chosen(sort) => return self.chosen(node, *sort, key),
            Options => return self.options(node, key),
            Labels => return self.labels(node, key),
            Values => return self.values(node, key),
            Scalar => return self.scalar(node, key),
            Families(table) => return self.families(node, table, key),
            List(kind) => return self.list(node, kind, key),
        };
        if let Err(complaint) = checked {
            let mistake = complaint.at(|message| self.at(node, key, message));
            self.mistakes.push(mistake);
        }
    }

    fn list(&mut self, node: &Node, kind: &'static Kind, key: &str) {
        let Content::List(items) = &node.content else {
            let help = node.scalar_text().map_or(String::new(), |text| format!("in brackets it is one: [{text}]"));
            let found = Complaint::expected("a list", node).message;
            self.mistakes.push(self.at(node, key, found).with_help(help));
            return;
        };
        if items.is_empty() {
            self.mistakes.push(self.at(node, key, "this list is empty".to_owned()));
        }
        for (index, item) in items.iter().enumerate() {
            self.value(item, kind, &format!("{key}[{index}]"));
        }
    }

    /// Shapes, and the values of options that are known; whether names are known is seen when they are resolved.
    pub fn chosen(&mut self, node: &Node, sort: Sort, key: &str) {
        let word = sort.word();
        let Content::Mapping(entries) = &node.content else {
            if let Err(complaint) = text(node) {
                let mistake = complaint.at(|message| self.at(node, key, message));
                self.mistakes.push(mistake);
            }
            return;
        };
        if entries.is_empty() {
            self.mistakes.push(self.at(node, key, format!("expected a {word}, found an empty mapping")));
        }
        if let [_, second, ..] = entries.as_slice() {
            let message = format!("{} stands beside a {word}, not inside its options", quote(&second.0.text));
            let help = format!("one {word} an item, its options in braces: {}", sort.example());
            let path = join(key, &second.0.text);
            let mistake = Diagnostic::new(self.file, second.0.line, second.0.column, path, message);
            self.mistakes.push(mistake.with_width(second.0.width).with_help(help));
            return;
        }
        for (chosen, options) in entries {
            let path = join(key, &chosen.text);
            match &options.content {
                _ if options.is_null() => {}
                Content::Mapping(options) => {
                    let info = sort.known(self.vocabulary).iter().find(|info| info.name == chosen.text);
                    for (given, value) in options {
                        let path = join(&path, &given.text);
                        if given.text == LABEL {
                            self.value(value, &Name, &path);
                        } else if let Some(known) = info.and_then(|info| info.option(&given.text)) {
                            for (node, complaint) in complaints(value, known) {
                                let mistake = complaint.at(|message| self.at(node, &path, message));
                                self.mistakes.push(mistake.with_option(known));
                            }
                        }
                    }
                }
                _ => {
                    let found = Complaint::expected("options", options).message;
                    let help = format!("e.g. {}", sort.example());
                    self.mistakes.push(self.at(options, &path, found).with_help(help));
                }
            }
        }
    }

    fn options(&mut self, node: &Node, key: &str) {
        let count = match &node.content {
            Content::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.label(item, &format!("{key}[{index}]"));
                }
                items.len()
            }
            Content::Mapping(entries) => {
                for (label, text) in entries {
                    let path = join(key, &label.text);
                    if text.is_null() && text.scalar_text() == Some("") {
                        let message = format!("the option {} has no text", quote(&label.text));
                        let mistake = Diagnostic::new(self.file, label.line, label.column, path, message);
                        self.mistakes.push(mistake.with_width(label.width));
                    } else {
                        self.label(text, &path);
                    }
                }
                entries.len()
            }
            Content::Scalar(_) => {
                let found = Complaint::expected("a list of texts, or `label: text` lines", node).message;
                self.mistakes.push(self.at(node, key, found));
                return;
            }
        };
        if count < 2 {
            let message = "a choice needs at least two options".to_owned();
            self.mistakes.push(self.at(node, key, message));
        }
    }

    /// Names and numbers of labels; whether a model has them is seen when the model is known.
    fn labels(&mut self, node: &Node, key: &str) {
        let Content::Mapping(entries) = &node.content else {
            let found = Complaint::expected("a mapping", node).message;
            let help = "e.g. `labels: {positive: LABEL_1, negative: LABEL_0}`";
            self.mistakes.push(self.at(node, key, found).with_help(help));
            return;
        };
        if entries.is_empty() {
            self.mistakes.push(self.at(node, key, "this mapping is empty".to_owned()));
        }
        for (answer, label) in entries {
            if let Err(complaint) = label_ref(label) {
                let path = join(key, &answer.text);
                let mistake = complaint.at(|message| self.at(label, &path, message));
                self.mistakes.push(mistake);
            }
        }
    }

    /// Values of fields, one or a list of them each.
    fn values(&mut self, node: &Node, key: &str) {
        let Content::Mapping(entries) = &node.content else {
            let found = Complaint::expected("a mapping", node).message;
            self.mistakes.push(self.at(node, key, found).with_help("e.g. `where: {label: [positive, negative]}`"));
            return;
        };
        if entries.is_empty() {
            self.mistakes.push(self.at(node, key, "this mapping is empty".to_owned()));
        }
        for (field, value) in entries {
            let path = join(key, &field.text);
            match &value.content {
                Content::List(items) if items.is_empty() => {
                    self.mistakes.push(self.at(value, &path, "this list is empty".to_owned()));
                }
                Content::List(items) => items.iter().for_each(|item| self.scalar(item, &path)),
                _ => self.scalar(value, &path),
            }
        }
    }

    /// Mappings by the names of families.
    fn families(&mut self, node: &Node, table: &'static Table, key: &str) {
        let Content::Mapping(entries) = &node.content else {
            let found = Complaint::expected("a mapping", node).message;
            self.mistakes.push(self.at(node, key, found).with_help("e.g. `families: {gemma: {chat: always}}`"));
            return;
        };
        if entries.is_empty() {
            self.mistakes.push(self.at(node, key, "this mapping is empty".to_owned()));
        }
        for (name, form) in entries {
            let path = join(key, &name.text);
            if !FAMILIES.iter().any(|known| name.text.starts_with(known)) {
                let message = format!("unknown family of models {}", quote(&name.text));
                let mistake = Diagnostic::new(self.file, name.line, name.column, path.clone(), message);
                self.mistakes.push(mistake.with_width(name.width).with_nearest(&name.text, FAMILIES.iter().copied()));
            }
            self.mapping(form, table, &path);
        }
    }

    fn scalar(&mut self, node: &Node, key: &str) {
        if node.scalar_text().is_none() {
            let found = Complaint::expected("text", node).message;
            self.mistakes.push(self.at(node, key, found));
        }
    }

    /// A label or its text: any scalar will do, since `1` and `true` are answers too.
    fn label(&mut self, node: &Node, key: &str) {
        let text = node.scalar_text();
        if text.is_none() || text == Some("") {
            let found = match text {
                Some(_) => "this text is empty".to_owned(),
                None => Complaint::expected("text", node).message,
            };
            self.mistakes.push(self.at(node, key, found));
        }
    }

    fn at(&self, node: &Node, key: &str, message: String) -> Diagnostic {
        Diagnostic::new(self.file, node.line, node.column, key, message).with_width(node.width)
    }
}

/// The key among a method's options that says what reports call it.
pub(super) const LABEL: &str = "label";

impl Diagnostic {
    /// What the option is for, unless there is better advice.
    fn with_option(self, option: &OptionInfo) -> Self {
        if self.suggestion.is_some() || self.help.is_some() { self } else { self.with_help(option.about) }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// JSON Schema (draft 2020-12) of `harness.yaml`.
pub fn harness(vocabulary: &Vocabulary) -> Value {
    document(&HARNESS, vocabulary)
}

/// JSON Schema (draft 2020-12) of a task file.
pub fn task(vocabulary: &Vocabulary) -> Value {
    document(&TASK, vocabulary)
}

/// JSON Schema (draft 2020-12) of a gate file.
pub fn gate() -> Value {
    document(&super::gate::GATE, &Vocabulary::EMPTY)
}

/// JSON Schema (draft 2020-12) of a file of acknowledged changes.
pub fn acknowledged() -> Value {
    document(&super::gate::ACKNOWLEDGED, &Vocabulary::EMPTY)
}

/// JSON Schema (draft 2020-12) of a model file.
pub fn model() -> Value {
    document(&MODEL, &Vocabulary::EMPTY)
}

fn document(table: &Table, vocabulary: &Vocabulary) -> Value {
    let mut schema = table_schema(table, vocabulary);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema
}

fn table_schema(table: &Table, vocabulary: &Vocabulary) -> Value {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for field in table.fields {
        let mut schema = kind_schema(&field.kind, vocabulary);
        schema["description"] = json!(field.about);
        match field.needed {
            Required => required.push(field.name),
            Optional => {}
            Needed::Integer(number) => schema["default"] = json!(number),
            Needed::Fraction(number) => schema["default"] = json!(number),
            Needed::Text(text) => schema["default"] = json!(text),
        }
        properties.insert(field.name.to_owned(), schema);
    }
    json!({
        "title": table.title,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn option_schema(option: &OptionInfo) -> Value {
    let integer = |least: u64, most: u64| json!({"type": "integer", "minimum": least, "maximum": most});
    let mut schema = match option.kind {
        OptionKind::Integer(least, most) => integer(least, most),
        OptionKind::IntegerOr(word, least, most) => json!({"anyOf": [integer(least, most), {"const": word}]}),
        OptionKind::Fraction => json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        OptionKind::Number(least, most) => json!({"type": "number", "minimum": least, "maximum": most}),
        OptionKind::Choice(words) => json!({"enum": words}),
        OptionKind::Name | OptionKind::File => json!({"type": "string", "minLength": 1}),
        OptionKind::Words(words, least) => {
            json!({"type": "array", "items": {"enum": words}, "minItems": least, "uniqueItems": true})
        }
    };
    schema["description"] = json!(option.about);
    schema["default"] = match option.default {
        OptionValue::Word("") | OptionValue::File(_) => return schema,
        OptionValue::Integer(number) => json!(number),
        OptionValue::Number(number) => json!(number),
        OptionValue::Word(word) => json!(word),
        OptionValue::Words(words) => json!(words.iter().collect::<Vec<_>>()),
    };
    schema
}

fn kind_schema(kind: &Kind, vocabulary: &Vocabulary) -> Value {
    let scalar = || json!({"type": ["string", "number", "boolean"]});
    match kind {
        Text | Path => json!({"type": "string", "minLength": 1}),
        Name => json!({"type": "string", "pattern": r"^[^\s,]([^,\n\r\t]*[^\s,])?$"}),
        Integer(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Fraction => json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        Margin => json!({"anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$"},
        ]}),
        Date => json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
        Choice(valid) => json!({"enum": valid}),
        List(kind) => json!({"type": "array", "minItems": 1, "items": kind_schema(kind, vocabulary)}),
        Mapping(table) => table_schema(table, vocabulary),
        Devices => {
            let one = json!({"type": "string", "pattern": Device::pattern()});
            json!({"anyOf": [one.clone(), {"type": "array", "minItems": 1, "items": one}]})
        }
        Model => json!({"anyOf": [kind_schema(&Path, vocabulary), table_schema(&MODEL, vocabulary)]}),
        Chosen(sort) => {
            let known = sort.known(vocabulary);
            let names: Vec<&str> = known.iter().map(|info| info.name).collect();
            let mut forms = vec![json!({"enum": names})];
            for info in known {
                let mut options: serde_json::Map<String, Value> =
                    info.options.iter().map(|option| (option.name.to_owned(), option_schema(option))).collect();
                options.insert(LABEL.to_owned(), kind_schema(&Name, vocabulary));
                options[LABEL]["description"] = json!("What reports call it; default: its name.");
                let options = json!({
                    "type": ["object", "null"],
                    "properties": options,
                    "additionalProperties": false,
                });
                forms.push(json!({
                    "type": "object",
                    "properties": {info.name: options},
                    "required": [info.name],
                    "additionalProperties": false,
                }));
            }
            json!({"anyOf": forms})
        }
        Options => json!({"anyOf": [
            {"type": "array", "minItems": 2, "items": scalar()},
            {"type": "object", "minProperties": 2, "additionalProperties": scalar()},
        ]}),
        Scalar => scalar(),
        Families(table) => json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": format!("^({})", FAMILIES.join("|"))},
            "additionalProperties": table_schema(table, vocabulary),
        }),
        Values => json!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"anyOf": [scalar(), {"type": "array", "minItems": 1, "items": scalar()}]},
        }),
        Labels => json!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "integer", "minimum": 0, "maximum": MAX_LABELS},
            ]},
        }),
    }
}
