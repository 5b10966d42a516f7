//! Where a task's records are, and how they are to be read.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::plan::{Want, find};
use super::template::Template;
use super::written::Data;
use crate::diagnostics::{Diagnostic, Located, list, quote};
use crate::files;

/// The records of a task: existing files, and what is taken of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPlan {
    /// An existing file of at most [`files::DATA`].
    pub file: Located<PathBuf>,
    pub format: Format,
    /// `None`: the id of the format, else the key or the line of a record.
    pub id: Option<Located<Template>>,
    /// Fields and the values of them that are taken.
    pub filter: Vec<(Located<String>, Vec<String>)>,
    pub bad_rows: BadRows,
    /// What else is read: documents, or the file of splits.
    pub beside: Option<PathBuf>,
    /// SHA-256 over all of it, hexadecimal; of the file alone where nothing is read beside it.
    pub sha256: String,
}

/// How records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// An object a line.
    Jsonl,
    /// One list of objects, or an object of objects by their ids.
    Json,
    /// Fields between commas or tabs.
    Separated {
        separator: u8,
        /// Whether a field may stand in quotation marks.
        quotes: bool,
        /// Of a file without a header row.
        columns: Option<Vec<String>>,
    },
    Parquet,
    /// A file of the ERASER benchmark, with its documents.
    Eraser {
        /// Write brackets for `-LRB-` and its like.
        brackets: bool,
    },
    /// `dataset.json` of HateXplain.
    HateXplain {
        consensus: Consensus,
        split: Option<Located<String>>,
    },
    /// Claims of SciFact, with their corpus.
    SciFact,
}

impl Format {
    /// As task files write them.
    pub(super) const NAMES: &'static [&'static str] =
        &["jsonl", "json", "csv", "tsv", "parquet", "eraser", "hatexplain", "scifact"];

    /// As task files write it.
    pub fn name(&self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Json => "json",
            Format::Separated { separator: b'\t', .. } => "tsv",
            Format::Separated { .. } => "csv",
            Format::Parquet => "parquet",
            Format::Eraser { .. } => "eraser",
            Format::HateXplain { .. } => "hatexplain",
            Format::SciFact => "scifact",
        }
    }
}

/// Which tokens are evidence, of those that several annotators marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consensus {
    /// Marked by more than half of those who marked any.
    Majority,
    Any,
    All,
}

/// What becomes of records that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRows {
    /// They are mistakes like any other.
    Stop,
    /// They are left out, and counted.
    LeaveOut,
}

impl DataPlan {
    /// SHA-256 over the files as they are now.
    ///
    /// # Errors
    /// With the file that cannot be read.
    pub(crate) fn hash(&self) -> Result<String, (PathBuf, io::Error)> {
        hash(&self.file.value, self.beside.as_deref())
    }
}

/// Documents of a folder are hashed by their names and contents, in the order of the names.
fn hash(file: &Path, beside: Option<&Path>) -> Result<String, (PathBuf, io::Error)> {
    let one = |path: &Path| super::sha256_of_file(path).map_err(|error| (path.to_path_buf(), error));
    let of_file = one(file)?;
    let Some(beside) = beside else { return Ok(of_file) };
    if !beside.is_dir() {
        return Ok(super::sha256(format!("{of_file}\n{}\n", one(beside)?).as_bytes()));
    }
    let mut documents = Vec::new();
    list_documents(beside, Path::new(""), &mut documents)?;
    documents.sort();
    let mut all = of_file;
    for name in documents {
        let hash = one(&beside.join(&name))?;
        all = super::sha256(format!("{all}\n{}\n{hash}\n", name.display()).as_bytes());
    }
    Ok(all)
}

/// The most documents of a folder.
const MOST_DOCUMENTS: usize = 1 << 20;

fn list_documents(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let folder = root.join(below);
    let entries = std::fs::read_dir(&folder).map_err(|error| (folder.clone(), error))?;
    for entry in entries {
        let entry = entry.map_err(|error| (folder.clone(), error))?;
        let name = below.join(entry.file_name());
        let path = entry.path();
        // Links to folders are not followed: they may lead in a circle.
        let kind = entry.file_type().map_err(|error| (path.clone(), error))?;
        if kind.is_dir() && name.components().count() < 8 {
            list_documents(root, &name, found)?;
        } else if path.is_file() {
            found.push(name);
        }
        if found.len() > MOST_DOCUMENTS {
            let message = format!("it holds more than {MOST_DOCUMENTS} documents");
            return Err((folder, io::Error::new(io::ErrorKind::FileTooLarge, message)));
        }
    }
    Ok(())
}

/// The plan of what was written; `None` with at least one mistake.
pub(super) fn resolve(base: &Path, written: Data, mistakes: &mut Vec<Diagnostic>) -> Option<DataPlan> {
    let place = written.file.clone()?;
    let path = find(base, &place, Want::File, "data.file").map_err(|mistake| mistakes.push(*mistake)).ok()?;
    let before = mistakes.len();
    let here = |message: String| place.mistake("data.file", message).with_width(place.value.chars().count());
    // What a stranger's file is, before it is hashed and read.
    if let Err(error) = files::open(&path, files::DATA) {
        mistakes.push(here(format!("{} cannot be read: {error}", quote(&place.value))));
    }
    let Some(name) = written.format.as_ref().map_or_else(|| by_ending(&path), |named| Some(named.value.as_str()))
    else {
        let message = format!("the name {} does not say how it is to be read", quote(&place.value));
        let help = format!("add `format:`, one of {}", list(Format::NAMES));
        mistakes.push(here(message).with_help(help));
        return None;
    };
    check_belongings(name, &written, mistakes);
    let format = format(name, &written);
    let beside = match &format {
        Some(Format::Eraser { .. }) => documents(base, &path, &written, &["docs", "docs.jsonl"], mistakes),
        Some(Format::SciFact) => documents(base, &path, &written, &["corpus.jsonl"], mistakes),
        Some(Format::HateXplain { split: Some(_), .. }) => match &written.splits {
            Some(splits) => {
                find(base, splits, Want::File, "data.splits").map_err(|mistake| mistakes.push(*mistake)).ok()
            }
            None => next_to(&path, &["post_id_divisions.json"]).map_err(|missing| mistakes.push(here(missing))).ok(),
        },
        _ => None,
    };
    if mistakes.len() > before {
        return None;
    }
    let sha256 = hash(&path, beside.as_deref()).map_err(|(path, error)| {
        mistakes.push(here(format!("{} cannot be read: {error}", quote(&path.display().to_string()))));
    });
    Some(DataPlan {
        file: place.with(path),
        format: format?,
        id: written.id,
        filter: written.filter,
        bad_rows: if written.bad_rows == "leave_out" { BadRows::LeaveOut } else { BadRows::Stop },
        beside,
        sha256: sha256.ok()?,
    })
}

fn by_ending(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    Some(match ending.as_str() {
        "jsonl" | "ndjson" => "jsonl",
        "json" => "json",
        "csv" => "csv",
        "tsv" | "tab" => "tsv",
        "parquet" => "parquet",
        _ => return None,
    })
}

/// Keys that say nothing for a format are mistakes: somebody expects them to.
fn check_belongings(format: &str, written: &Data, mistakes: &mut Vec<Diagnostic>) {
    let separated: &[&str] = &["csv", "tsv"];
    let columns = written.columns.as_ref().and_then(|columns| columns.first());
    let brackets = Some(&written.brackets).filter(|brackets| brackets.value != "keep");
    let consensus = Some(&written.consensus).filter(|consensus| consensus.value != "majority");
    for (given, key, formats) in [
        (columns, "columns", separated),
        (written.quotes.as_ref(), "quotes", separated),
        (written.documents.as_ref(), "documents", &["eraser", "scifact"]),
        (brackets, "brackets", &["eraser"]),
        (written.split.as_ref(), "split", &["hatexplain"]),
        (written.splits.as_ref(), "splits", &["hatexplain"]),
        (consensus, "consensus", &["hatexplain"]),
    ] {
        let Some(given) = given else { continue };
        if !formats.contains(&format) {
            let message = format!("`{key}` says nothing of a {format} file, only of {}", list(formats));
            mistakes.push(given.mistake(format!("data.{key}"), message));
        }
    }
    if let Some(columns) = &written.columns {
        for (index, column) in columns.iter().enumerate() {
            if let Some(first) = columns[..index].iter().find(|first| first.value == column.value) {
                let message = format!("the column {} is already named in line {}", quote(&column.value), first.line);
                let width = column.value.chars().count();
                mistakes.push(column.mistake("data.columns", message).with_width(width));
            }
        }
    }
    if let (Some(splits), None) = (&written.splits, &written.split) {
        let message = "`splits` stands without `split`, which names one of them";
        mistakes.push(splits.mistake("data.splits", message));
    }
}

/// `None` for a name that the table of keys has complained about.
fn format(name: &str, written: &Data) -> Option<Format> {
    Some(match name {
        "jsonl" => Format::Jsonl,
        "json" => Format::Json,
        "csv" | "tsv" => Format::Separated {
            separator: if name == "csv" { b',' } else { b'\t' },
            quotes: written.quotes.as_ref().map_or(name, |quotes| quotes.value.as_str()) == "csv",
            columns: written
                .columns
                .as_ref()
                .map(|columns| columns.iter().map(|column| column.value.clone()).collect()),
        },
        "parquet" => Format::Parquet,
        "eraser" => Format::Eraser { brackets: written.brackets.value == "restore" },
        "hatexplain" => Format::HateXplain {
            consensus: match written.consensus.value.as_str() {
                "any" => Consensus::Any,
                "all" => Consensus::All,
                _ => Consensus::Majority,
            },
            split: written.split.clone(),
        },
        "scifact" => Format::SciFact,
        _ => return None,
    })
}

/// What holds the documents: what was named, else the one of these that lies beside the file.
fn documents(
    base: &Path,
    file: &Path,
    written: &Data,
    names: &[&str],
    mistakes: &mut Vec<Diagnostic>,
) -> Option<PathBuf> {
    let key = "data.documents";
    let found = match &written.documents {
        None => next_to(file, names).map_err(|message| {
            let place = written.file.as_ref()?;
            let mistake = place.mistake(key, message).with_width(place.value.chars().count());
            Some(mistake.with_help("`documents:` in `data` says where they are"))
        }),
        Some(named) if base.join(&named.value).is_dir() => Ok(base.join(&named.value)),
        Some(named) => find(base, named, Want::File, key).map_err(|mistake| Some(*mistake)),
    };
    found.map_err(|mistake| mistakes.extend(mistake)).ok()
}

/// The one of these names that is there in the folder of a file.
fn next_to(file: &Path, names: &[&str]) -> Result<PathBuf, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let found: Vec<&&str> = names.iter().filter(|name| folder.join(name).exists()).collect();
    match found[..] {
        [name] => Ok(folder.join(name)),
        [] => Err(format!("none of {} is beside {}", list(names), quote(&name_of(file)))),
        _ => Err(format!("both of {} are beside {}", list(names), quote(&name_of(file)))),
    }
}

fn name_of(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a name stays inside the folder in which it is looked up.
pub(crate) fn stays_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}
