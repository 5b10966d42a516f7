//! Opening a bundle, or a checkpoint that is baked on the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use gim_harness::bundle::manifest::{MANIFEST_FILE, TOKENIZER_FILE};
use gim_harness::bundle::open::described;
use gim_harness::bundle::{Manifest, OpenedBundle, Opening};
use gim_harness::checkpoint::Checkpoint;
use gim_harness::config::schema::MOST_THREADS;
use gim_harness::run::{Bundles, resolve_bundle};
use gim_harness::runtime::{Device, Env, Model, Runtime, RuntimeError, RuntimeOptions, SessionOptions};
use gim_harness::tokenizer::Tokenizer;

use super::progress::Terminal;

/// Options that every verb takes that runs a model.
#[derive(clap::Args)]
pub struct ModelOptions {
    /// Where to run: cpu, cuda, cuda:1, openvino ...
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: Device,
    /// Threads inside an operator [default: as many as there are cores; a small model's gradients have one]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// The ONNX Runtime library to use [default: found or installed]
    #[arg(long, value_name = "FILE")]
    pub runtime: Option<PathBuf>,
    /// Read every file of the bundle, also weights that were read before and seem not to have changed since
    #[arg(long)]
    pub verify_files: bool,
}

impl ModelOptions {
    pub fn open_runtime(&self, progress: &Terminal) -> Result<Runtime, RuntimeError> {
        open_runtime(self.runtime.clone(), self.device, progress)
    }

    pub fn session(&self) -> SessionOptions {
        SessionOptions { device: self.device, threads: self.threads, ..SessionOptions::default() }
    }

    /// A bundle, or a Hugging Face folder, which is baked into the program's cache; with its tokenizer.
    pub fn open(&self, path: &Path, progress: &Terminal) -> anyhow::Result<(Model, Tokenizer)> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.join("adapter_config.json").is_file() {
            // Its own error says more.
            Checkpoint::open(path)?;
        }
        if !path.join("config.json").is_file() && !path.join(MANIFEST_FILE).is_file() {
            anyhow::bail!(
                "{} is neither a bundle (no bundle.json) nor a Hugging Face folder (no config.json)",
                path.display()
            );
        }
        let early = || path.join(MANIFEST_FILE).is_file().then(|| described(path).ok()).flatten();
        let (runtime, early) = meanwhile(|| self.open_runtime(progress), early)?;
        let runtime = runtime?;
        let bundles = Bundles { folder: &bundle_cache()?, opening: &opening(self.verify_files) };
        let bundle = resolve_bundle(&runtime, path, &name, bundles, Some(&progress.watch().interrupted), progress)?;
        // Whatever was wrong with it then, the bundle's own errors say.
        let same = |manifest: &Manifest| {
            let stated = manifest.files.get(TOKENIZER_FILE).map(|entry| &entry.sha256);
            stated.is_some() && stated == bundle.files.get(TOKENIZER_FILE)
        };
        let tokenizer = match early {
            Some((manifest, tokenizer)) if same(&manifest) => tokenizer,
            _ => bundle.tokenizer()?,
        };
        // One prompt is over before copies of the weights have paid for themselves.
        let options = SessionOptions { prepacking: Some(false), ..self.session() };
        Ok((Model::of_bundle(&runtime, bundle, &options)?, tokenizer))
    }
}

fn threads(text: &str) -> Result<usize, String> {
    let most = MOST_THREADS as usize;
    match text.parse() {
        Ok(threads) if (1..=most).contains(&threads) => Ok(threads),
        _ => Err(format!("expected a whole number from 1 to {most}")),
    }
}

/// The stack that the program's own thread usually has.
const STACK: usize = 8 << 20;

/// Opens ONNX Runtime on this thread, as those that compute after it need ([`Runtime::open`]), while `read` is done on another:
/// to find it, Python is asked, which takes as long as to read a large tokenizer.
pub fn meanwhile<T: Send>(
    open: impl FnOnce() -> Result<Runtime, RuntimeError>,
    read: impl FnOnce() -> T + Send,
) -> anyhow::Result<(Result<Runtime, RuntimeError>, T)> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, read);
        let reader = reader.context("the system gives the program no second thread")?;
        let runtime = open();
        Ok((runtime, reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
    })
}

pub fn open_runtime(library: Option<PathBuf>, device: Device, progress: &Terminal) -> Result<Runtime, RuntimeError> {
    let watch = Some(Arc::clone(progress.watch()));
    let options = RuntimeOptions { library, device, watch, ..RuntimeOptions::default() };
    Runtime::open(&options, &|line| progress.line(line))
}

/// How bundles are opened; what is found out about large files is kept in the program's cache, if there is one.
pub fn opening(verify_files: bool) -> Opening {
    Opening { records: Env::of_process().cache_folder().map(|cache| cache.join("verified")), verify_files }
}

/// A folder that has to be a bundle.
pub fn open_bundle(path: &Path, verify_files: bool, progress: &Terminal) -> anyhow::Result<OpenedBundle> {
    if !path.join(MANIFEST_FILE).is_file() {
        anyhow::bail!("{} is no bundle: it holds no bundle.json; make one with `gim-harness bake`", path.display());
    }
    let bundle = OpenedBundle::open(path, &opening(verify_files))?;
    if let Some(caution) = bundle.caution() {
        progress.line(&caution);
    }
    Ok(bundle)
}

/// Where bundles that are baked on the way are kept.
pub fn bundle_cache() -> anyhow::Result<PathBuf> {
    let cache = Env::of_process()
        .cache_folder()
        .context("there is no folder for the program's cache; set GIM_HARNESS_CACHE (or HOME) to one")?;
    Ok(cache.join("bundles"))
}
