//! `gim-harness inspect`.

use std::fmt::Write as _;
use std::path::PathBuf;

use gim_harness::bundle::Manifest;
use gim_harness::bundle::manifest::Port;
use gim_harness::diagnostics::list;
use gim_harness::grad::{Knobs, SiteKind};
use gim_harness::runtime::Graph;

use super::model::open_bundle;
use super::progress::Terminal;
use super::signals::{self, STOPPING};
use super::{Ended, output};

#[derive(clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Read every file of the bundle, also weights that were read before and seem not to have changed since
    #[arg(long)]
    verify_files: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let bundle = open_bundle(&arguments.bundle, arguments.verify_files, &Terminal::new(&signals::watch(STOPPING)?))?;
    output::result(describe(&bundle.manifest)?)?;
    Ok(Ended::Done)
}

fn describe(manifest: &Manifest) -> anyhow::Result<String> {
    let mut out = String::new();
    let size = &manifest.dimensions;
    writeln!(
        out,
        "source        {} ({}), SHA-256 {}",
        manifest.source.name, manifest.source.kind, manifest.source.sha256
    )?;
    let computed = manifest.compute_dtype.as_ref().map(|name| format!(", computed in {name}")).unwrap_or_default();
    writeln!(out, "architecture  {}, {} weights{computed}", manifest.architecture, manifest.dtype)?;
    let positions = size.max_positions.map_or("any number of".to_owned(), |n| format!("up to {n}"));
    writeln!(
        out,
        "dimensions    {} layers, {} heads, {} features, {} tokens in the vocabulary, {positions} positions",
        size.layers, size.heads, size.hidden, size.vocab
    )?;
    if let Some(labels) = manifest.labels().map_err(anyhow::Error::msg)? {
        writeln!(out, "labels        {}", list(&labels.names().collect::<Vec<_>>()))?;
    }
    let baseline = manifest.baseline_token_id.map_or("none".to_owned(), |id| id.to_string());
    writeln!(out, "baseline      token {baseline}")?;
    for note in &manifest.notes {
        writeln!(out, "note          {note}")?;
    }
    if !manifest.ignored_fields.is_empty() {
        let fields: Vec<&str> = manifest.ignored_fields.iter().map(String::as_str).collect();
        writeln!(out, "ignored       fields of config.json that change nothing: {}", list(&fields))?;
    }

    writeln!(out, "\ngraphs")?;
    for (file, ports) in &manifest.graphs {
        writeln!(out, "  {file}")?;
        for (direction, ports) in [("in ", &ports.inputs), ("out", &ports.outputs)] {
            for port in ports {
                writeln!(out, "    {direction} {}", describe_port(port))?;
            }
        }
    }

    writeln!(out, "\nknobs                 calculus   GIM")?;
    let settings = Knobs::GRADIENT.values().into_iter().zip(Knobs::GIM.values());
    // Bundles of before a knob lack it.
    let ports = manifest.graphs.get(Graph::Gradient.file()).map_or(&[][..], |ports| &ports.inputs);
    let has = |name: &str| ports.iter().any(|port| port.name == name);
    for (name, (calculus, gim)) in Knobs::NAMES.into_iter().zip(settings).filter(|(name, _)| has(name)) {
        writeln!(out, "  {name:20}{calculus:8}{gim:6}")?;
    }

    writeln!(out, "\naudit: where the backward pass may depart from calculus")?;
    writeln!(out, "  layer  kind                operator     place                                rule")?;
    for site in &manifest.audit.sites {
        let layer = site.layer.map_or("-".to_owned(), |layer| layer.to_string());
        writeln!(
            out,
            "  {layer:>5}  {:18}  {:11}  {:35}  {}",
            site.kind.to_string(),
            site.operator,
            site.scope,
            site.rule
        )?;
    }
    writeln!(out, "\ntotals")?;
    for kind in SiteKind::ALL {
        let by_layer: Vec<usize> = (0..size.layers).map(|layer| manifest.audit.count_in(kind, Some(layer))).collect();
        let outside = manifest.audit.count_in(kind, None);
        let each = match (by_layer.iter().min(), by_layer.iter().max()) {
            (Some(least), Some(most)) if least == most => format!("{most} a layer"),
            (Some(least), Some(most)) => format!("{least} to {most} a layer"),
            _ => "no layers".to_owned(),
        };
        let outside = if outside > 0 { format!(", {outside} outside the layers") } else { String::new() };
        writeln!(out, "  {:18}  {:>4}  ({each}{outside})", kind.to_string(), manifest.audit.count(kind))?;
    }
    Ok(out)
}

fn describe_port(port: &Port) -> String {
    let shape = if port.shape.is_empty() { "scalar".to_owned() } else { format!("[{}]", port.shape.join(", ")) };
    format!("{:20} {} {shape}", port.name, port.dtype)
}
