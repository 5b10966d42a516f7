//! The reference page: every method and every metric, as the registries declare them.

use std::fmt::Write as _;

use crate::attribution::METHODS;
use crate::config::OptionInfo;
use crate::faithfulness::{self, Unit};

/// The page in Markdown, docs/reference.md.
pub fn page() -> String {
    let mut page = "# Reference: methods and metrics\n\nMade by `gim-harness reference` from what the program declares; do \
                    not edit it by hand. [methods.md](methods.md) says more of some.\n\nCosts are for one example, in rows \
                    through the forward graph and the gradient graph, before rows that were asked for twice are left \
                    out: a prompt of n tokens, r of them ranked; names in code are options.\n"
        .to_owned();
    // Writing to a string cannot fail.
    let _ = write_methods(&mut page).and_then(|()| write_metrics(&mut page));
    page
}

fn write_methods(page: &mut String) -> std::fmt::Result {
    writeln!(page, "\n## Methods\n\n| method | what it is | cost | source |\n|---|---|---|---|")?;
    for entry in METHODS {
        writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            entry.info.name,
            cell(entry.description),
            cell(entry.cost),
            cell(entry.source)
        )?;
    }
    writeln!(page, "\n### Options of methods")?;
    for entry in METHODS.iter().filter(|entry| !entry.info.options.is_empty()) {
        write_options(page, &format!("`{}`", entry.info.name), entry.info.options)?;
    }
    Ok(())
}

fn write_metrics(page: &mut String) -> std::fmt::Result {
    writeln!(
        page,
        "\n## Metrics\n\nA plan that names none has those marked *standard*.\n\n\
         | metric | what it is | better | in | cost | source |\n|---|---|---|---|---|---|"
    )?;
    for (family, metric) in faithfulness::metrics() {
        let standard = if family.standard { " (*standard*)" } else { "" };
        let better = if metric.higher_is_better { "higher" } else { "lower" };
        let unit = match metric.unit {
            Unit::Score => "the task's score",
            Unit::OfScore => "f(x)",
            Unit::Number => "no unit",
        };
        let (what, cost, source) = (cell(metric.description), cell(family.cost), cell(family.source));
        writeln!(page, "| `{}`{standard} | {what} | {better} | {unit} | {cost} | {source} |", metric.name)?;
    }
    writeln!(page, "\n### Options of metrics")?;
    for family in faithfulness::FAMILIES.iter().filter(|family| !family.options.is_empty()) {
        let names: Vec<String> = family.metrics.iter().map(|metric| format!("`{}`", metric.name)).collect();
        write_options(page, &names.join(", "), family.options)?;
    }
    Ok(())
}

fn write_options(page: &mut String, of: &str, options: &[OptionInfo]) -> std::fmt::Result {
    writeln!(page, "\n{of}\n\n| option | may be | default | what it is |\n|---|---|---|---|")?;
    for option in options {
        let OptionInfo { name, kind, default, about, .. } = option;
        let only = option.only_with.map(|(other, value)| format!(" Only with `{other}: {value}`.")).unwrap_or_default();
        let default = match default.to_string() {
            none if none.is_empty() => String::new(),
            default => format!("`{default}`"),
        };
        writeln!(page, "| `{name}` | {} | {default} | {}{only} |", cell(&kind.to_string()), cell(about))?;
    }
    Ok(())
}

/// Text in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
