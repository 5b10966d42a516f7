//! `gim-harness runtime show` and `gim-harness runtime install`.

use std::io::{self, Write};

use anyhow::Context;
use gim_harness::runtime::{InstallOptions, PINNED_VERSION, Runtime, RuntimeOptions, install as install_wheel};

/// Prints which ONNX Runtime a command would use, how it was found, what it offers, and what was looked at before it.
/// Nothing is installed.
pub fn show(options: &RuntimeOptions) -> anyhow::Result<()> {
    show_to(options, &mut io::stdout().lock())
}

/// Installs the pinned wheel into the program's cache and prints the path of the library.
pub fn install(options: &InstallOptions) -> anyhow::Result<()> {
    install_to(options, &mut io::stdout().lock())
}

fn show_to(options: &RuntimeOptions, out: &mut impl Write) -> anyhow::Result<()> {
    let options = RuntimeOptions { install: false, ..options.clone() };
    let runtime = Runtime::open(&options, &progress)?;
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
    out.write_all(text.as_bytes()).context("cannot write to standard output")
}

fn install_to(options: &InstallOptions, out: &mut impl Write) -> anyhow::Result<()> {
    let installed = install_wheel(options, &progress)?;
    if installed.already {
        progress(&format!("{}=={PINNED_VERSION} is installed already", options.flavour.package()));
    }
    writeln!(out, "{}", installed.library.display()).context("cannot write to standard output")
}

fn progress(line: &str) {
    eprintln!("{line}");
}
