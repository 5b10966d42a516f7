//! `gim-harness bake`.

use std::path::PathBuf;

use gim_harness::bundle::bake::BakeOptions;
use gim_harness::bundle::manifest::{ComputeType, WeightType};
use gim_harness::bundle::{self, Manifest};
use gim_harness::grad::SiteKind;
use gim_harness::run::Progress;
use gim_harness::runtime::Device;
use gim_harness::verify::{Check, Step, VerifiedBakeError, bake};

use super::Ended;
use super::model::open_runtime;
use super::output::{note, say};
use super::progress::Terminal;
use super::signals::{self, STOPPING};

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
    /// Bake also where a rule found fewer sites than the model has attention layers
    #[arg(long)]
    allow_missing_sites: bool,
    /// Leave out the checks on random inputs at the end, which need ONNX Runtime
    #[arg(long)]
    no_verify: bool,
    /// The ONNX Runtime library to verify with [default: found or installed]
    #[arg(long, value_name = "FILE", conflicts_with = "no_verify")]
    runtime: Option<PathBuf>,
    /// Operators the graphs may use
    #[arg(long, value_enum, default_value = "standard")]
    ops: Ops,
    /// What the graphs compute in
    #[arg(long, value_enum, default_value = "f32", value_name = "TYPE")]
    dtype: Computed,
    /// What the weights are stored as, whatever is computed in [default: f32; f16 with --dtype f16]
    #[arg(long, value_enum, value_name = "TYPE")]
    weights: Option<Stored>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Ops {
    /// Standard ONNX operators only: runs on any runtime
    Standard,
}

/// [`ComputeType`] on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Computed {
    F32,
    /// Double precision, for what f32 cannot tell: on the CPU, twice the memory and more than twice the time
    F64,
    /// Matrix products in half precision, the rest in f32: for devices with units for it
    F16,
}

impl From<Computed> for ComputeType {
    fn from(computed: Computed) -> Self {
        match computed {
            Computed::F32 => ComputeType::F32,
            Computed::F64 => ComputeType::F64,
            Computed::F16 => ComputeType::F16,
        }
    }
}

/// [`WeightType`] on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Stored {
    F32,
    /// Half the file, 8 bits of a number; reaches as far as f32
    Bf16,
    /// Half the file, 11 bits of a number; up to 65504
    F16,
}

impl From<Stored> for WeightType {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::F32 => WeightType::F32,
            Stored::Bf16 => WeightType::BF16,
            Stored::F16 => WeightType::F16,
        }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let Ops::Standard = arguments.ops;
    let watch = signals::watch(STOPPING)?;
    let options = BakeOptions {
        tokenizer: arguments.tokenizer.clone(),
        weights: arguments
            .weights
            .unwrap_or(match arguments.dtype {
                Computed::F16 => Stored::F16,
                Computed::F32 | Computed::F64 => Stored::F32,
            })
            .into(),
        compute: arguments.dtype.into(),
        allow_missing_sites: arguments.allow_missing_sites,
        replace_damaged: false,
        interrupted: Some(&watch.interrupted),
    };
    let progress = Terminal::new(&watch);
    let (manifest, checks) = match made(arguments, &options, &progress) {
        Err(error) if error.is_interruption() => {
            note(error);
            return Ok(Ended::Incomplete);
        }
        result => result?,
    };
    say(arguments.out.display());
    let counts: Vec<String> =
        SiteKind::ALL.iter().map(|&kind| format!("{} {kind} sites", manifest.audit.count(kind))).collect();
    note(format_args!("{}, {} layers: {}", manifest.architecture, manifest.dimensions.layers, counts.join(", ")));
    for decided in &manifest.notes {
        note(format_args!("note: {decided}"));
    }
    note(verdict(&checks));
    Ok(Ended::Done)
}

fn made(
    arguments: &Arguments,
    options: &BakeOptions<'_>,
    progress: &Terminal,
) -> Result<(Manifest, Vec<Check>), VerifiedBakeError> {
    let Arguments { source, out, .. } = arguments;
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if arguments.no_verify {
        let manifest =
            bundle::bake::bake(source, out, options, &mut |done, total| progress.baking(&name, done, total))?;
        return Ok((manifest, Vec::new()));
    }
    // First, so that nobody waits for a bake that cannot be verified.
    let runtime = open_runtime(arguments.runtime.clone(), Device::Cpu, progress)?;
    let made = bake(&runtime, source, out, options, &|step| match step {
        Step::Writing { done, total } => progress.baking(&name, done, total),
        Step::Checking(next) => progress.checking(next),
    });
    progress.stop();
    made
}

fn verdict(checks: &[Check]) -> String {
    if checks.is_empty() {
        return "not verified; gim-harness verify does it".to_owned();
    }
    let figures: Vec<String> = checks
        .iter()
        .filter(|check| check.tolerance > 0.0)
        .map(|check| format!("{} {:.0e}", check.name, check.measured))
        .collect();
    format!("verified on random inputs, {} checks passed: {}", checks.len(), figures.join(", "))
}
