//! `gim-harness bake`.

use std::path::PathBuf;

use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::grad::SiteKind;
use gim_harness::run::Progress;

use super::Ended;
use super::progress::Terminal;

#[derive(clap::Args)]
pub struct Arguments {
    /// A Hugging Face folder (config.json, *.safetensors, tokenizer.json) or a forward .onnx file
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// The bundle to write; an earlier bundle there is replaced
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
    /// Another tokenizer.json than the source's
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Operators the graphs may use
    #[arg(long, value_enum, default_value = "standard")]
    ops: Ops,
    /// Element type of the weights
    #[arg(long, value_enum, default_value = "f32")]
    dtype: WeightType,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Ops {
    /// Standard ONNX operators only: runs on any runtime
    Standard,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum WeightType {
    F32,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let (Ops::Standard, WeightType::F32) = (arguments.ops, arguments.dtype);
    let progress = Terminal::new();
    let options = BakeOptions { tokenizer: arguments.tokenizer.clone() };
    let name = arguments.source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let manifest =
        bake(&arguments.source, &arguments.out, &options, &mut |done, total| progress.baking(&name, done, total))?;
    let counts: Vec<String> =
        SiteKind::ALL.iter().map(|&kind| format!("{} {kind} sites", manifest.audit.count(kind))).collect();
    println!("{}", arguments.out.display());
    eprintln!("{}, {} layers: {}", manifest.architecture, manifest.dimensions.layers, counts.join(", "));
    Ok(Ended::Done)
}
