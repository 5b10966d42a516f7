//! `harness.yaml` and task files: first as written, then as a plan in which every name is resolved.
//!
//! Three steps, one file each. `yaml` reads text into a tree that knows where everything stands; `schema` is the table
//! of keys and types against which the tree is checked, and from which the JSON Schema is made; `written` is what the
//! user typed. From that, [`plan`] and [`task`] build what the program will do: nothing after them validates again.
//! No step stops at the first mistake, so all of them are reported at once.

mod chosen;
mod data;
mod form;
mod gate;
mod plan;
mod presets;
pub mod schema;
mod task;
mod template;
mod written;
mod yaml;

use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::files;

pub(crate) use crate::digest::{sha256, sha256_of_file};

pub use chosen::{Chosen, Offered, OptionInfo, OptionKind, OptionValue, Words, WrittenFile};
pub(crate) use data::stays_inside;
pub use data::{BadRows, Consensus, DataPlan, Format};
pub use form::{Chat, Family, FewShot, Form, Shots};
pub use gate::{Acknowledged, Allowed, Gate, Margin, Matcher, Rule, load_gate};
pub use plan::{ModelPlan, Plan};
pub use presets::{PRESETS, Preset};
pub use task::{LabelRef, Rank, Score, TaskPlan};
pub use template::{Part, Placeholder, Template};

/// The names that a harness file may use; given by the caller, because methods and metrics live in later rooms.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    pub methods: &'a [Offered],
    /// In the order in which they are reported.
    pub metrics: &'a [Offered],
    /// The metrics of a plan that names none.
    pub standard_metrics: &'a [&'a str],
}

impl Vocabulary<'_> {
    /// For files that name neither methods nor metrics.
    pub const EMPTY: Vocabulary<'static> = Vocabulary { methods: &[], metrics: &[], standard_metrics: &[] };
}

/// What the command line says instead of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Parent folder of runs, relative to the working directory.
    pub out: Option<PathBuf>,
    /// Examples a task, the first ones.
    pub limit: Option<usize>,
    /// Examples a task, drawn at random.
    pub sample: Option<usize>,
    pub device: Option<String>,
    /// Names of tasks of the file, in the order of the file whatever the order here.
    pub tasks: Option<Vec<String>>,
    /// Labels or names of methods, whether the file lists them or not; those it lists keep its options.
    pub methods: Option<Vec<String>>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Mistakes in it or in the files it names, all of them.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

/// Reads a harness file and the task files it names.
///
/// # Errors
/// [`ConfigError::Io`] if `path` cannot be read; [`ConfigError::Invalid`] with every mistake in it, in the task files it
/// names and in the overrides.
pub fn load_plan(path: &Path, vocabulary: &Vocabulary, overrides: &Overrides) -> Result<Plan, ConfigError> {
    let (plan, mistakes) = load_with_mistakes(path, vocabulary, overrides)?;
    finish(plan, mistakes, path)
}

/// A plan together with the mistakes in it: with any, it is good for nothing but looking for more of them.
///
/// # Errors
/// [`ConfigError::Io`] if `path` cannot be read.
pub fn load_with_mistakes(
    path: &Path,
    vocabulary: &Vocabulary,
    overrides: &Overrides,
) -> Result<(Option<Plan>, Vec<Diagnostic>), ConfigError> {
    let bytes = read(path).map_err(|source| ConfigError::Io { path: path.to_path_buf(), source })?;
    Ok(of_bytes(path, &bytes, vocabulary, overrides))
}

/// The plan of a preset for these models and tasks, which are relative to the working directory; as [`load_with_mistakes`].
pub fn preset_with_mistakes(
    preset: &Preset,
    models: &[PathBuf],
    tasks: &[PathBuf],
    vocabulary: &Vocabulary,
    overrides: &Overrides,
) -> (Option<Plan>, Vec<Diagnostic>) {
    let file = PathBuf::from(format!("preset {}", preset.name));
    of_bytes(&file, preset.with(models, tasks).as_bytes(), vocabulary, overrides)
}

fn of_bytes(
    path: &Path,
    bytes: &[u8],
    vocabulary: &Vocabulary,
    overrides: &Overrides,
) -> (Option<Plan>, Vec<Diagnostic>) {
    let mut mistakes = Vec::new();
    let written =
        text(path, bytes, &mut mistakes).and_then(|text| written::harness(path, text, vocabulary, &mut mistakes));
    let resolver = plan::Resolver { file: path, vocabulary, overrides };
    let plan = resolver.resolve(written, sha256(bytes), &mut mistakes);
    (plan, mistakes)
}

/// A method as it is typed on the command line: `NAME`, or `NAME{option: value, ..}` as in a harness file.
///
/// # Errors
/// Every mistake in it, as one of `option` (e.g. `--method`).
pub fn method(typed: &str, option: &str, known: &[Offered]) -> Result<Chosen, Diagnostics> {
    let mut mistakes = Vec::new();
    let vocabulary = Vocabulary { methods: known, ..Vocabulary::EMPTY };
    let written = written::typed_method(typed, &vocabulary, &mut mistakes);
    let plan = written.and_then(|written| plan::chosen(&written, chosen::Sort::Method, known, &mut mistakes));
    let on_command_line = |mistake: Diagnostic| {
        let mut said = Diagnostic::on_command_line(option, mistake.message);
        (said.suggestion, said.help) = (mistake.suggestion, mistake.help);
        said
    };
    match plan {
        Some(plan) if mistakes.is_empty() => Ok(plan),
        _ => Err(Diagnostics(mistakes.into_iter().map(on_command_line).collect()).finished()),
    }
}

/// Reads a task file.
///
/// # Errors
/// [`ConfigError::Io`] if `path` cannot be read; [`ConfigError::Invalid`] with every mistake in it.
pub fn load_task(path: &Path, vocabulary: &Vocabulary) -> Result<TaskPlan, ConfigError> {
    let mut mistakes = Vec::new();
    let bytes = read(path).map_err(|source| ConfigError::Io { path: path.to_path_buf(), source })?;
    let given = task::Given { vocabulary, granularity: None, aggregate: None };
    let plan = task::resolve(path, &bytes, &given, &mut mistakes);
    finish(plan, mistakes, path)
}

fn finish<T>(plan: Option<T>, mistakes: Vec<Diagnostic>, path: &Path) -> Result<T, ConfigError> {
    match plan {
        Some(plan) if mistakes.is_empty() => Ok(plan),
        _ if mistakes.is_empty() => {
            let unsaid = Diagnostic::new(path, 1, 1, "", "this file is incomplete in a way that no check names");
            Err(ConfigError::Invalid(Diagnostics(vec![unsaid])))
        }
        _ => Err(ConfigError::Invalid(Diagnostics(mistakes).finished())),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    files::read(path, files::YAML)
}

/// The bytes as UTF-8, or a mistake where they stop being that.
fn text<'a>(file: &Path, bytes: &'a [u8], mistakes: &mut Vec<Diagnostic>) -> Option<&'a str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            mistakes.push(Diagnostic::new(file, line, column, "", "this is not UTF-8 text"));
            None
        }
    }
}
