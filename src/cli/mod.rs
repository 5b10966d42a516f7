//! The verbs, one file each, and the exit codes.

mod bake;
mod compare;
mod explain;
mod explanation;
mod export;
mod history;
mod inspect;
mod list;
mod model;
mod output;
mod progress;
mod report;
mod run;
mod runtime;
mod signals;
mod tasks;
mod verify;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gim_harness::config::ConfigError;
use gim_harness::diagnostics::Diagnostics;
use gim_harness::run::RunError;
use gim_harness::runtime::RuntimeError;
use gim_harness::text;
use gim_harness::verify::VerifyError;

/// How far can you trust an explanation of a transformer?
///
/// Bakes GIM's modified gradients into ONNX, explains prompts with it and with the methods it competes with, and
/// measures which of them are faithful.
#[derive(Parser)]
#[command(name = "gim-harness", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 error, 2 usage or invalid configuration, 3 a gate found a regression, 4 incomplete (a run: resumable).
Results go to stdout; progress and messages to stderr.";

#[derive(Subcommand)]
enum Verb {
    /// Carry out a harness file: every method on every task by every model, with statistics
    Run(run::Arguments),
    /// Make a bundle of ONNX graphs from a Hugging Face folder or a forward .onnx file, and verify it
    Bake(bake::Arguments),
    /// Show which tokens of a prompt made the model answer as it does
    Explain(explain::Arguments),
    /// Show what a bundle is, and which gradient rule was applied where
    Inspect(inspect::Arguments),
    /// Check a bundle: that its files are whole, its gradients right at all knobs, and ONNX Runtime equal to it
    Verify(verify::Arguments),
    /// Make a web page of a bundle that explains prompts in the reader's browser
    Web(web::Arguments),
    /// Make the reports of a run again from its store
    Report(report::Arguments),
    /// Compare a run with an earlier one, and hold it to a gate
    Compare(compare::Arguments),
    /// Write a run in the form of another program
    Export(export::Arguments),
    /// Show how the runs in a folder went, night after night, and since when
    History(history::Arguments),
    /// List or check tasks
    Tasks(tasks::Arguments),
    /// List the attribution methods
    Methods(list::ListArguments),
    /// List the metrics
    Metrics(list::ListArguments),
    /// List the experiments that come with the program, or print one as a harness file
    Presets(list::PresetsArguments),
    /// Print docs/reference.md: all methods and metrics with their options, costs and sources
    #[command(hide = true)]
    Reference,
    /// Find or install ONNX Runtime
    Runtime(runtime::Arguments),
    /// Print the JSON Schema of a harness, task or gate file, for editors, or of a run's results.json
    Schema(list::SchemaArguments),
}

/// How a verb that did not fail ended.
pub enum Ended {
    Done,
    /// It did its work, and the answer is no.
    Negative,
    Incomplete,
    /// A gate found that something is worse than it may be.
    Regression,
}

/// Runs the verb of the command line.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("GIM_HARNESS_LOG"))
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(|| output::Log)
        .init();
    let result = match arguments.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Bake(arguments) => bake::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Inspect(arguments) => inspect::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Web(arguments) => web::run(&arguments),
        Verb::Report(arguments) => report::run(&arguments),
        Verb::Compare(arguments) => compare::run(&arguments),
        Verb::Export(arguments) => export::run(&arguments),
        Verb::History(arguments) => history::run(&arguments),
        Verb::Tasks(arguments) => tasks::run(&arguments),
        Verb::Methods(arguments) => list::methods(&arguments),
        Verb::Metrics(arguments) => list::metrics(&arguments),
        Verb::Presets(arguments) => list::presets(&arguments),
        Verb::Reference => list::reference(),
        Verb::Runtime(arguments) => runtime::run(&arguments),
        Verb::Schema(arguments) => list::schema(&arguments),
    };
    match result {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Negative) => ExitCode::from(1),
        Ok(Ended::Incomplete) => ExitCode::from(4),
        Ok(Ended::Regression) => ExitCode::from(3),
        Err(error) if is_interruption(&error) => {
            output::note(error);
            ExitCode::from(4)
        }
        Err(error) => {
            report_error(&error);
            ExitCode::from(if is_configuration(&error) { 2 } else { 1 })
        }
    }
}

/// What clap has to say: help and version on stdout, a mistake on stderr with exit code 2.
fn usage(error: &clap::Error) -> ExitCode {
    // Clap colours its own words, and quotes arguments as they are. Where one of them could act on the terminal, there
    // are no colours.
    let acts = |argument: std::ffi::OsString| argument.to_string_lossy().chars().any(text::acts);
    if std::env::args_os().any(acts) {
        let message = error.render();
        if error.use_stderr() { output::note(message) } else { output::say(message) }
    } else {
        // What cannot be printed is given up, as everywhere.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Whether somebody wanted it to stop, rather than that something went wrong.
fn is_interruption(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(RuntimeError::Interrupted))
            || matches!(cause.downcast_ref(), Some(RunError::Interrupted { .. }))
            || cause.downcast_ref().is_some_and(VerifyError::is_interruption)
    })
}

/// Whether the error is the user's configuration rather than something that happened.
fn is_configuration(error: &anyhow::Error) -> bool {
    let of_run = |cause: &RunError| {
        matches!(cause, RunError::Device(_) | RunError::NoBaseline { .. } | RunError::Baseline { .. })
    };
    mistakes(error).is_some()
        || error
            .chain()
            .any(|cause| cause.is::<ConfigError>() || cause.is::<Usage>() || cause.downcast_ref().is_some_and(of_run))
}

/// The mistakes in the user's files that an error consists of. Errors that are nothing but these are transparent, so
/// that they do not appear as a cause.
fn mistakes(error: &anyhow::Error) -> Option<&Diagnostics> {
    error.chain().find_map(|cause| match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(ConfigError::Invalid(mistakes)), _) | (_, Some(RunError::Invalid(mistakes))) => Some(mistakes),
        _ => cause.downcast_ref(),
    })
}

/// A mistake on the command line that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The error and its causes, each said once: some errors already quote what caused them.
fn report_error(error: &anyhow::Error) {
    if let Some(mistakes) = mistakes(error) {
        output::note(mistakes);
        return;
    }
    let mut said = error.to_string();
    output::note(format_args!("error: {said}"));
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !said.contains(&cause) {
            output::note(format_args!("  because: {cause}"));
        }
        said = cause;
    }
}
