//! `gim-harness tasks`, `methods`, `metrics` and `schema`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use gim_harness::config::{ConfigError, load_task, schema};
use gim_harness::diagnostics::Diagnostics;
use gim_harness::run::vocabulary;
use gim_harness::tasks::TaskError;
use gim_harness::text::shown;
use gim_harness::{attribution, faithfulness, tasks};
use unicode_width::UnicodeWidthStr as _;

use super::{Ended, output};

#[derive(clap::Args)]
pub struct ListArguments {
    #[command(subcommand)]
    action: Option<ListAction>,
}

#[derive(clap::Subcommand)]
enum ListAction {
    /// Names, with a line about each
    List,
}

#[derive(clap::Args)]
pub struct TasksArguments {
    #[command(subcommand)]
    action: Option<TasksAction>,
}

#[derive(clap::Subcommand)]
enum TasksAction {
    /// Names and descriptions of the task files
    List {
        /// Task files, or folders of them
        #[arg(default_value = "tasks", value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Check task files and all of their data
    Validate {
        /// Task files, or folders of them
        #[arg(default_value = "tasks", value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

#[derive(clap::Args)]
pub struct SchemaArguments {
    #[arg(value_enum, default_value = "harness")]
    of: SchemaOf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SchemaOf {
    Harness,
    Task,
    Gate,
    Acknowledged,
}

pub fn methods(arguments: &ListArguments) -> anyhow::Result<Ended> {
    let (None | Some(ListAction::List)) = arguments.action;
    // Options stand below their method, as one writes them, with their defaults.
    let rows = attribution::METHODS.iter().flat_map(|entry| {
        let options = entry.info.options.iter();
        let options =
            options.map(|option| (format!("  {}: {}", option.name, option.default), format!("  {}", option.about)));
        let about = format!("{} ({}; {})", entry.description, entry.source, entry.cost);
        std::iter::once((entry.info.name.to_owned(), about)).chain(options)
    });
    print_table(rows)
}

pub fn metrics(arguments: &ListArguments) -> anyhow::Result<Ended> {
    let (None | Some(ListAction::List)) = arguments.action;
    print_table(
        faithfulness::metrics().into_iter().map(|(_, metric)| (metric.name.to_owned(), metric.description.to_owned())),
    )
}

pub fn tasks(arguments: &TasksArguments) -> anyhow::Result<Ended> {
    let standard = [PathBuf::from("tasks")];
    let (paths, validate) = match &arguments.action {
        None => (&standard[..], false),
        Some(TasksAction::List { paths }) => (&paths[..], false),
        Some(TasksAction::Validate { paths }) => (&paths[..], true),
    };
    let mut rows = Vec::new();
    let mut mistakes = Diagnostics(Vec::new());
    for file in task_files(paths)? {
        let plan = match load_task(&file) {
            Ok(plan) => plan,
            Err(ConfigError::Invalid(found)) => {
                mistakes.extend(found);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !validate {
            rows.push((plan.name, plan.description.unwrap_or_default()));
            continue;
        }
        match tasks::validate(&plan) {
            Ok(counts) => rows.push((plan.name, format!("{} examples, no mistakes", counts.available))),
            Err(TaskError::Invalid(found)) => mistakes.extend(found),
            Err(error) => return Err(error.into()),
        }
    }
    print_table(rows.into_iter())?;
    if mistakes.0.is_empty() { Ok(Ended::Done) } else { Err(mistakes.finished().into()) }
}

/// The files themselves, and the YAML files of folders.
fn task_files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let is_yaml = |path: &Path| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut found: Vec<PathBuf> =
            entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| is_yaml(path)).collect();
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

pub fn schema(arguments: &SchemaArguments) -> anyhow::Result<Ended> {
    let schema = match arguments.of {
        SchemaOf::Harness => schema::harness(&vocabulary()),
        SchemaOf::Task => schema::task(),
        SchemaOf::Gate => schema::gate(),
        SchemaOf::Acknowledged => schema::acknowledged(),
    };
    output::json(&schema, true)?;
    Ok(Ended::Done)
}

/// Two columns, the first as wide as its longest cell.
fn print_table(rows: impl Iterator<Item = (String, String)>) -> anyhow::Result<Ended> {
    let rows: Vec<(String, String)> =
        rows.map(|(name, description)| (shown(&name).into_owned(), shown(&description).into_owned())).collect();
    let width = rows.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, description) in rows {
        let padding = width - name.width();
        writeln!(text, "{name}{:padding$}  {description}", "")?;
    }
    output::result(text)?;
    Ok(Ended::Done)
}
