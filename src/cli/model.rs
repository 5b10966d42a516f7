//! Opening a bundle, or a checkpoint that is baked on the way.

use std::path::{Path, PathBuf};

use anyhow::Context;
use gim_harness::run::resolve_bundle;
use gim_harness::runtime::{Device, Env, Model, Runtime, RuntimeOptions, SessionOptions};

use super::progress::Terminal;

/// Options that every verb takes that runs a model.
#[derive(clap::Args)]
pub struct ModelOptions {
    /// Where to run: cpu, cuda, cuda:1
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: Device,
    /// Threads inside an operator [default: as many as there are cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// The ONNX Runtime library to use [default: found or installed]
    #[arg(long, value_name = "FILE")]
    pub runtime: Option<PathBuf>,
}

impl ModelOptions {
    pub fn open_runtime(&self, progress: &Terminal) -> anyhow::Result<Runtime> {
        open_runtime(self.runtime.clone(), self.device, progress)
    }

    pub fn session(&self) -> SessionOptions {
        SessionOptions { device: self.device, threads: self.threads, ..SessionOptions::default() }
    }

    /// A bundle, or a Hugging Face folder, which is baked into the program's cache.
    pub fn open(&self, path: &Path, progress: &Terminal) -> anyhow::Result<Model> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !path.join("config.json").is_file() && !path.join("bundle.json").is_file() {
            anyhow::bail!(
                "{} is neither a bundle (no bundle.json) nor a Hugging Face folder (no config.json)",
                path.display()
            );
        }
        let runtime = self.open_runtime(progress)?;
        let bundle = resolve_bundle(&runtime, path, &name, &bundle_cache()?, None, progress)?;
        Ok(Model::open(&runtime, &bundle, &self.session())?)
    }
}

pub fn open_runtime(library: Option<PathBuf>, device: Device, progress: &Terminal) -> anyhow::Result<Runtime> {
    let options = RuntimeOptions { library, device, ..RuntimeOptions::default() };
    Ok(Runtime::open(&options, &|line| progress.line(line))?)
}

/// Where bundles that are baked on the way are kept.
pub fn bundle_cache() -> anyhow::Result<PathBuf> {
    let cache = Env::of_process()
        .cache_folder()
        .context("there is no folder for the program's cache; set GIM_HARNESS_CACHE (or HOME) to one")?;
    Ok(cache.join("bundles"))
}
