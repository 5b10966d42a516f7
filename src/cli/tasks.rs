//! `gim-harness tasks`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use gim_harness::config::{ConfigError, TaskPlan, load_task};
use gim_harness::diagnostics::{Diagnostics, quote};
use gim_harness::run::Reads;
use gim_harness::tasks::{self, Counts, Subject, Taken, TaskError};
use gim_harness::tokenizer::SpecialTokens;

use super::list::print_table;
use super::{Ended, Usage};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Names and descriptions of the task files
    List {
        /// Task files, or folders of them
        #[arg(default_value = "tasks", value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Check task files and all of their data; with a model, also how it reads them
    Validate {
        /// Task files, or folders of them
        #[arg(default_value = "tasks", value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// A bundle or a Hugging Face folder: make every prompt for it
        #[arg(long, value_name = "DIR")]
        model: Option<PathBuf>,
        /// A tokenizer.json instead of a model, as of a decoder
        #[arg(long, value_name = "FILE", conflicts_with = "model")]
        tokenizer: Option<PathBuf>,
        /// With --tokenizer: the family of models whose prompts are made
        #[arg(long, value_name = "NAME", requires = "tokenizer", default_value = "")]
        family: String,
        /// Show the prompt of the first example
        #[arg(long)]
        show: bool,
    },
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    match &arguments.action {
        None => list(&[PathBuf::from("tasks")]),
        Some(Action::List { paths }) => list(paths),
        Some(Action::Validate { paths, model, tokenizer, family, show }) => {
            let reads = match (model, tokenizer) {
                (Some(model), _) => Some(Reads::open(model, &name_of(model))?),
                (None, Some(tokenizer)) => Some(Reads::of_tokenizer(tokenizer, family)?),
                (None, None) if *show => {
                    return Err(Usage("--show needs --model or --tokenizer, to make a prompt for".to_owned()).into());
                }
                (None, None) => None,
            };
            let name = model.as_deref().or(tokenizer.as_deref()).map(name_of).unwrap_or_default();
            let subject = reads.as_ref().map(|reads| reads.subject(&name, SpecialTokens::default()));
            validate(paths, subject.as_ref(), *show)
        }
    }
}

fn name_of(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn list(paths: &[PathBuf]) -> anyhow::Result<Ended> {
    let mut rows = Vec::new();
    let mut mistakes = Diagnostics(Vec::new());
    for file in task_files(paths)? {
        rows.extend(load(&file, &mut mistakes)?.map(|plan| (plan.name, plan.description.unwrap_or_default())));
    }
    print_table(rows.into_iter())?;
    finish(mistakes)
}

fn validate(paths: &[PathBuf], subject: Option<&Subject>, show: bool) -> anyhow::Result<Ended> {
    let mut mistakes = Diagnostics(Vec::new());
    let mut rows = Vec::new();
    for file in task_files(paths)? {
        let Some(plan) = load(&file, &mut mistakes)? else { continue };
        let found = match subject {
            None => tasks::validate(&plan).map(|counts| (counts, None)),
            Some(subject) => tasks::load(&plan, subject, Taken::All)
                .map(|data| (data.counts, data.examples.first().map(|example| example.tokens.concat()))),
        };
        match found {
            Ok((counts, first)) => {
                let said = said(&plan, &counts, subject).into_iter().chain(first.filter(|_| show));
                let name = std::iter::once(plan.name.clone()).chain(std::iter::repeat(String::new()));
                rows.extend(name.zip(said));
            }
            Err(TaskError::Invalid(found)) => mistakes.extend(found),
            Err(error) => return Err(error.into()),
        }
    }
    print_table(rows.into_iter())?;
    finish(mistakes)
}

/// What became of a task's records, a line each.
fn said(plan: &TaskPlan, counts: &Counts, subject: Option<&Subject>) -> Vec<String> {
    let examples = if subject.is_some() { counts.lengths.len() } else { counts.available };
    let mut lines = vec![match counts.left_out().next().is_none() {
        true => format!("{examples} examples, no mistakes"),
        false => format!("{examples} examples of {} records", counts.records),
    }];
    for (why, count) in counts.left_out() {
        lines.push(format!("  {count} left out: {why}"));
        // The first of its kind.
        let bad = counts.bad.iter().find(|(kind, _)| why == Counts::of_bad(kind));
        lines.extend(bad.map(|(_, (_, mistake))| match mistake.line {
            0 => format!("    {}", mistake.message),
            line => format!("    line {line}: {}", mistake.message),
        }));
    }
    let count = |lines: &mut Vec<String>, count: usize, one: &str| {
        if count > 0 {
            lines.push(format!("  {count} {one}"));
        }
    };
    count(
        &mut lines,
        counts.ambiguous,
        "of the selected texts stand in their context more than once; the first counts",
    );
    if let Some(subject) = subject {
        let mut lengths = counts.lengths.clone();
        lengths.sort_unstable();
        if let (Some(least), Some(most)) = (lengths.first(), lengths.last()) {
            let median = lengths[lengths.len() / 2];
            lines.push(format!("  tokens a prompt: {least} to {most}, median {median}"));
            let positions = subject.max_tokens.unwrap_or(usize::MAX);
            let too_long = lengths.iter().filter(|&&length| length > positions).count();
            count(&mut lines, too_long, "prompts are longer than the model has positions for, and will be left out");
        }
        let family = plan.families.iter().map(|(name, _)| &name.value);
        if let Some(family) =
            family.filter(|name| subject.architecture.starts_with(*name)).max_by_key(|name| name.len())
        {
            lines.push(format!("  in the form for the family {}", quote(family)));
        }
        if counts.chat {
            lines.push("  through the tokenizer's chat template".to_owned());
        }
        count(&mut lines, counts.shortened, "contexts are shortened");
        count(&mut lines, counts.begins_itself, "prompts begin with the begin token themselves, and get no second one");
        count(&mut lines, counts.without_evidence, "examples have no evidence");
        count(&mut lines, counts.lost_evidence, "examples have evidence of which no token is left");
        count(&mut lines, counts.unranked_evidence, "examples have tokens of evidence that do not compete for a rank");
    }
    lines
}

fn load(file: &Path, mistakes: &mut Diagnostics) -> anyhow::Result<Option<TaskPlan>> {
    match load_task(file, &gim_harness::run::vocabulary()) {
        Ok(plan) => Ok(Some(plan)),
        Err(ConfigError::Invalid(found)) => {
            mistakes.extend(found);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn finish(mistakes: Diagnostics) -> anyhow::Result<Ended> {
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
