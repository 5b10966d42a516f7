//! `gim-harness methods`, `metrics` and `schema`.

use std::fmt::Write as _;

use gim_harness::config::{PRESETS, Preset, schema};
use gim_harness::diagnostics::list;
use gim_harness::run::vocabulary;
use gim_harness::text::shown;
use gim_harness::{attribution, faithfulness};
use unicode_width::UnicodeWidthStr as _;

use super::{Ended, Usage, output};

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
    /// What a run leaves for programs
    Results,
}

#[derive(clap::Args)]
pub struct PresetsArguments {
    /// Print this one, a harness file without models and tasks
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub fn presets(arguments: &PresetsArguments) -> anyhow::Result<Ended> {
    let Some(name) = &arguments.name else {
        return print_table(PRESETS.iter().map(|preset| (preset.name.to_owned(), preset.about.to_owned())));
    };
    let Some(preset) = Preset::named(name) else {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        return Err(Usage(format!("there is no preset '{name}'; there are {}", list(&names))).into());
    };
    output::result(preset.text.to_owned())?;
    Ok(Ended::Done)
}

pub fn methods(arguments: &ListArguments) -> anyhow::Result<Ended> {
    let (None | Some(ListAction::List)) = arguments.action;
    // Options stand below their method, as one writes them, with their defaults.
    let rows = attribution::METHODS.iter().flat_map(|entry| {
        let options = entry.info.options.iter();
        let options = options.map(|option| {
            (
                format!("  {}: {}", option.name, option.default),
                format!("  {} ({})", option.about.trim_end_matches('.'), option.kind),
            )
        });
        let about = format!("{} ({}; {})", entry.description, entry.source, entry.cost);
        std::iter::once((entry.info.name.to_owned(), about)).chain(options)
    });
    print_table(rows)
}

pub fn reference() -> anyhow::Result<Ended> {
    output::result(gim_harness::reference::page())?;
    Ok(Ended::Done)
}

pub fn metrics(arguments: &ListArguments) -> anyhow::Result<Ended> {
    let (None | Some(ListAction::List)) = arguments.action;
    print_table(
        faithfulness::metrics().into_iter().map(|(_, metric)| (metric.name.to_owned(), metric.description.to_owned())),
    )
}

pub fn schema(arguments: &SchemaArguments) -> anyhow::Result<Ended> {
    let schema = match arguments.of {
        SchemaOf::Harness => schema::harness(&vocabulary()),
        SchemaOf::Task => schema::task(&vocabulary()),
        SchemaOf::Gate => schema::gate(),
        SchemaOf::Acknowledged => schema::acknowledged(),
        SchemaOf::Results => gim_harness::report::results_schema(),
    };
    output::json(&schema, true)?;
    Ok(Ended::Done)
}

/// Two columns, the first as wide as its longest cell.
pub(super) fn print_table(rows: impl Iterator<Item = (String, String)>) -> anyhow::Result<Ended> {
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
