//! `gim-harness runtime show` and `gim-harness runtime install`.

use std::path::PathBuf;

use gim_harness::runtime::{
    Device, Env, Flavour, InstallOptions, PINNED_VERSION, Runtime, RuntimeOptions, install as install_wheel,
};

use super::{Ended, output};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Say which ONNX Runtime would be used, how it was found, and what was looked at (the default)
    Show {
        /// The library to use
        #[arg(long, value_name = "FILE")]
        runtime: Option<PathBuf>,
        /// The device it has to serve: cpu, cuda, cuda:1, openvino ...
        #[arg(long, default_value = "cpu", value_name = "DEVICE")]
        device: Device,
    },
    /// Install the pinned wheel with pip into the program's cache
    Install {
        /// The wheel with CUDA
        #[arg(long)]
        gpu: bool,
        /// Install again over an installation that is there
        #[arg(long)]
        replace: bool,
    },
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    match &arguments.action {
        None => show(&RuntimeOptions::default())?,
        Some(Action::Show { runtime, device }) => {
            show(&RuntimeOptions { library: runtime.clone(), device: *device, ..RuntimeOptions::default() })?;
        }
        Some(Action::Install { gpu, replace }) => {
            let flavour = if *gpu { Flavour::Gpu } else { Flavour::Cpu };
            install(&InstallOptions { flavour, replace: *replace, env: Env::of_process(), watch: None })?;
        }
    }
    Ok(Ended::Done)
}

/// Prints which ONNX Runtime a command would use, how it was found, what it offers, and what was looked at before it.
/// Nothing is installed.
fn show(options: &RuntimeOptions) -> anyhow::Result<()> {
    let options = RuntimeOptions { install: false, ..options.clone() };
    let runtime = Runtime::open(&options, &|line| output::note(line))?;
    let cache = options.env.cache_folder();
    let mut text = format!(
        "ONNX Runtime {}\n  library    {}\n  found by   {}\n  providers  {}\n  cache      {}\nlooked at, in order\n",
        runtime.version(),
        runtime.library().display(),
        runtime.origin(),
        runtime.providers().join(", "),
        cache.map_or_else(|| "none (set GIM_HARNESS_CACHE)".to_owned(), |cache| cache.display().to_string()),
    );
    for attempt in runtime.tried() {
        text.push_str(&format!("  {}\n", attempt.to_string().replace('\n', "\n    ")));
    }
    output::result(text)
}

/// Installs the pinned wheel into the program's cache and prints the path of the library.
fn install(options: &InstallOptions) -> anyhow::Result<()> {
    let installed = install_wheel(options, &|line| output::note(line))?;
    if installed.already {
        output::note(format_args!("{}=={PINNED_VERSION} is installed already", options.flavour.package()));
    }
    output::say(installed.library.display());
    Ok(())
}
