//! Loading ONNX Runtime, once per process.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::environment::Environment;
use ort::logging::{LogLevel, LoggerFunction};
use ort::session::builder::SessionBuilder;

use super::elf;
use super::env::Env;
use super::error::RuntimeError;
use super::install::{Flavour, InstallOptions, PINNED_VERSION, install};
use super::locate::{Attempt, Candidate, Origin, Outcome, Search};
use super::placement::Listener;
use super::session;
use super::watch::Watch;
use crate::device::Device;

/// Major and minor number of the oldest ONNX Runtime that serves: the C interface that is asked of the library.
pub const MINIMUM_VERSION: (u32, u32) = (1, ort::MINOR_VERSION);

/// How to come by ONNX Runtime.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// The shared library to use (or a folder that holds it), and no other.
    pub library: Option<PathBuf>,
    /// For a CUDA device, a library without its provider is passed over.
    pub device: Device,
    /// Whether to install the pinned wheel when nothing is found.
    pub install: bool,
    pub env: Env,
    /// What every model that is opened with this runtime writes its progress to, and is stopped by.
    pub watch: Option<Arc<Watch>>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions { library: None, device: Device::Cpu, install: true, env: Env::of_process(), watch: None }
    }
}

/// ONNX Runtime, loaded: a handle to the one library of the process.
#[derive(Clone)]
pub struct Runtime {
    loaded: Arc<Loaded>,
    /// Of who opened this handle, and of its copies.
    watch: Option<Arc<Watch>>,
}

struct Loaded {
    environment: Environment,
    library: PathBuf,
    origin: Origin,
    version: String,
    providers: Vec<String>,
    tried: Vec<Attempt>,
    complaints: Complaints,
}

/// `ort` cannot take a second library, nor the same one again.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Finds, or installs, and loads ONNX Runtime. It is looked for in this order:
    ///
    /// 1. the library that `options` names,
    /// 2. the library (or its folder) that the variable `ORT_DYLIB_PATH` names,
    /// 3. an installed `onnxruntime` Python package: of `$VIRTUAL_ENV`, `$CONDA_PREFIX`, `python3`, `python`,
    /// 4. the program's cache,
    /// 5. the pinned wheel, installed with pip into that cache, which `progress` gets a line about.
    ///
    /// A library that was named (1, 2) is used or is an error; the others are passed over when they are too old, do not
    /// load, or lack the provider of the device. A wheel with CUDA is never installed unasked.
    ///
    /// A process loads one library; a later call gets it again, and is an error when it names another one.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] lists what was tried and the ways to provide it; also [`RuntimeError::NoLibrary`],
    /// [`RuntimeError::Load`], [`RuntimeError::TooOld`], [`RuntimeError::AlreadyLoaded`], [`RuntimeError::NoProvider`].
    pub fn open(options: &RuntimeOptions, progress: &dyn Fn(&str)) -> Result<Runtime, RuntimeError> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = match &*loaded {
            Some(runtime) => runtime.again(options)?,
            None => {
                let runtime = find_and_load(options, progress)?;
                *loaded = Some(runtime.clone());
                session::first(&runtime);
                runtime
            }
        };
        runtime.check_device(options.device)?;
        Ok(runtime)
    }

    /// The shared library.
    pub fn library(&self) -> &Path {
        &self.loaded.library
    }

    /// How it was found.
    pub fn origin(&self) -> &Origin {
        &self.loaded.origin
    }

    /// What it says of itself, e.g. `1.31.1`.
    pub fn version(&self) -> &str {
        &self.loaded.version
    }

    /// The execution providers it was built with, e.g. `CPUExecutionProvider`.
    pub fn providers(&self) -> &[String] {
        &self.loaded.providers
    }

    /// The places that were looked at, in order; the last one is where it was found.
    pub fn tried(&self) -> &[Attempt] {
        &self.loaded.tried
    }

    /// An error unless the library has the provider of this device. Whether there is such a device shows when a session
    /// is opened.
    pub(crate) fn check_device(&self, device: Device) -> Result<(), RuntimeError> {
        if device == Device::Cpu || self.providers().iter().any(|name| name == device.provider()) {
            return Ok(());
        }
        Err(RuntimeError::NoProvider {
            device,
            library: self.library().to_owned(),
            version: self.version().to_owned(),
            providers: self.providers().to_vec(),
        })
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.loaded.environment
    }

    /// What ONNX Runtime logged as errors since [`Runtime::forget_complaints`]: reasons that its status does not give.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.loaded.complaints.lock().iter().cloned().collect()
    }

    /// A session whose loading says, too, which nodes run where.
    pub(super) fn heard_by(&self, builder: SessionBuilder, listener: Listener) -> Result<SessionBuilder, String> {
        let others = self.loaded.complaints.logger();
        let logger: LoggerFunction = Arc::new(move |level, category, id, location, message| match level {
            LogLevel::Verbose => listener.hear(message),
            LogLevel::Info => {}
            _ => others(level, category, id, location, message),
        });
        let text = |error: ort::Error<SessionBuilder>| error.to_string();
        builder.with_logger(logger).map_err(text)?.with_log_level(LogLevel::Verbose).map_err(text)
    }

    pub(crate) fn forget_complaints(&self) {
        self.loaded.complaints.lock().clear();
    }

    pub(crate) fn watch(&self) -> Option<&Arc<Watch>> {
        self.watch.as_ref()
    }

    fn again(&self, options: &RuntimeOptions) -> Result<Runtime, RuntimeError> {
        let handle = Runtime { loaded: Arc::clone(&self.loaded), watch: options.watch.clone() };
        let Some(wanted) = &options.library else { return Ok(handle) };
        let loaded = self.library();
        let same = |a: &Path| matches!((a.canonicalize(), loaded.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if same(wanted) || library_in(wanted).is_some_and(|library| same(&library)) {
            Ok(handle)
        } else {
            Err(RuntimeError::AlreadyLoaded { loaded: loaded.to_owned(), wanted: wanted.clone() })
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("library", &self.loaded.library)
            .field("origin", &self.loaded.origin)
            .field("version", &self.loaded.version)
            .field("providers", &self.loaded.providers)
            .finish_non_exhaustive()
    }
}

fn find_and_load(options: &RuntimeOptions, progress: &dyn Fn(&str)) -> Result<Runtime, RuntimeError> {
    let cuda = matches!(options.device, Device::Cuda(_));
    let mut search = Search::new(&options.env, options.library.as_deref(), cuda);
    let mut cache_is_broken = false;
    while let Some(candidate) = search.next()? {
        match check(&candidate.library) {
            Ok(version) => return load(candidate, version, search.tried, options.watch.clone()),
            Err(error) if candidate.origin.is_explicit() => return Err(error),
            Err(error) => {
                cache_is_broken |= matches!(candidate.origin, Origin::Cache(_));
                search.reject(&error);
            }
        }
    }
    let mut tried = search.tried;
    if options.install && !cuda {
        let wanted = InstallOptions {
            flavour: Flavour::Cpu,
            replace: cache_is_broken,
            env: options.env.clone(),
            watch: options.watch.clone(),
        };
        let result = install(&wanted, progress).and_then(|installed| {
            let version = check(&installed.library)?;
            Ok((installed.library, version))
        });
        match result {
            Ok((library, version)) => {
                let outcome = Outcome::Found { library: library.clone(), version: Some(PINNED_VERSION.to_owned()) };
                tried.push(Attempt { origin: Origin::Pip, outcome });
                return load(Candidate { origin: Origin::Pip, library }, version, tried, options.watch.clone());
            }
            Err(_) if options.watch.as_ref().is_some_and(|watch| watch.is_interrupted()) => {
                return Err(RuntimeError::Interrupted);
            }
            Err(error) => tried.push(Attempt { origin: Origin::Pip, outcome: Outcome::Passed(error.to_string()) }),
        }
    }
    Err(RuntimeError::NotFound { tried, cache: options.env.cache_folder(), cuda })
}

/// Loads a library far enough to ask for its version and its interface, which `ort` itself would panic about.
fn check(path: &Path) -> Result<String, RuntimeError> {
    let failed = |problem: String| RuntimeError::Load { path: path.to_owned(), problem };
    elf::check(path).map_err(failed)?;
    // SAFETY: loading a library runs its initialisers. Which library that is, is the user's choice (a setting, a
    // package that is installed, or the program's own cache), as with any shared library.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| failed(error.to_string()))?;
    // SAFETY: the type is that of the function of this name in ONNX Runtime's C interface.
    let base = unsafe { library.get::<unsafe extern "system" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase") }
        .map_err(|_| failed("it is a library, but not ONNX Runtime (it has no `OrtGetApiBase`)".to_owned()))?;
    // SAFETY: it takes nothing, and gives null or a pointer to static data of the library, which is still loaded.
    let base = unsafe { base().as_ref() }.ok_or_else(|| failed("`OrtGetApiBase` gave nothing".to_owned()))?;
    // SAFETY: as above; the text is static and ends with a zero byte.
    let version = unsafe {
        let text: *const c_char = (base.GetVersionString)();
        if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    // SAFETY: any number may be asked for; null says that the library does not have that interface.
    let interface = unsafe { (base.GetApi)(ort::sys::ORT_API_VERSION) };
    if !version.parse::<Version>().is_ok_and(|version| version.serves()) || interface.is_null() {
        return Err(RuntimeError::TooOld { path: path.to_owned(), version });
    }
    Ok(version)
}

fn load(
    candidate: Candidate,
    version: String,
    tried: Vec<Attempt>,
    watch: Option<Arc<Watch>>,
) -> Result<Runtime, RuntimeError> {
    let Candidate { origin, library } = candidate;
    let failed = |problem: String| RuntimeError::Load { path: library.clone(), problem };
    let complaints = Complaints::default();
    let environment = ort::init_from(&library)
        .map_err(|error| failed(error.to_string()))?
        .with_name("gim-harness")
        .with_telemetry(false)
        .with_logger(complaints.logger())
        .build()
        .map_err(|error| failed(error.to_string()))?;
    // A logger of one's own is otherwise told everything, at a price.
    environment.set_log_level(LogLevel::Warning);
    let providers = providers().map_err(|error| failed(error.to_string()))?;
    tracing::debug!(library = %library.display(), %origin, version, "loaded ONNX Runtime");
    let loaded = Loaded { environment, library, origin, version, providers, tried, complaints };
    Ok(Runtime { loaded: Arc::new(loaded), watch })
}

/// The execution providers the loaded library was built with. `ort` only answers for one name at a time.
fn providers() -> ort::Result<Vec<String>> {
    let mut names: *mut *mut c_char = std::ptr::null_mut();
    let mut count = 0;
    // SAFETY: both arguments point to variables of the right type, which the call fills.
    unsafe { ort::Error::result_from_status((ort::api().GetAvailableProviders)(&mut names, &mut count)) }?;
    if names.is_null() {
        return Ok(Vec::new());
    }
    let count_of_names = usize::try_from(count).unwrap_or(0);
    // SAFETY: the call gave `count` pointers to texts that end with a zero byte, ours until they are released.
    let found = unsafe { std::slice::from_raw_parts(names, count_of_names) }
        .iter()
        .map(|&name| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
        .collect();
    // SAFETY: released once, as given.
    unsafe { ort::Error::result_from_status((ort::api().ReleaseAvailableProviders)(names, count)) }?;
    Ok(found)
}

/// The last errors that ONNX Runtime logged. Why a provider cannot be used, for one, it only logs.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<VecDeque<String>>>);

impl Complaints {
    const KEPT: usize = 8;

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logger(&self) -> LoggerFunction {
        let complaints = self.clone();
        Arc::new(move |level, _category, _id, location, message| {
            tracing::debug!(target: "onnxruntime", ?level, location, "{message}");
            if matches!(level, LogLevel::Error | LogLevel::Fatal) {
                let mut kept = complaints.lock();
                if kept.len() == Self::KEPT {
                    kept.pop_front();
                }
                kept.push_back(message.to_owned());
            }
        })
    }
}

/// A version of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// Whether it is recent enough.
    pub fn serves(self) -> bool {
        (self.major, self.minor) >= MINIMUM_VERSION
    }

    /// From a file name such as `libonnxruntime.so.1.31.1` or `libonnxruntime.1.31.1.dylib`, or of what a link with a
    /// plainer name points to.
    pub fn of_file(library: &Path) -> Option<Version> {
        let of_name = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            let rest = name.strip_prefix("libonnxruntime.")?;
            rest.strip_prefix("so.").or_else(|| rest.strip_suffix(".dylib"))?.parse().ok()
        };
        of_name(library).or_else(|| of_name(&library.canonicalize().ok()?))
    }
}

impl FromStr for Version {
    type Err = ();

    /// Reads two or three numbers; what follows the third (`1.20.0rc1`, `1.20.0.dev3`) is passed over.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.trim().splitn(3, '.');
        let mut number = || parts.next().ok_or(())?.parse::<u32>().map_err(|_| ());
        let (major, minor) = (number()?, number()?);
        let patch = parts.next().unwrap_or("0");
        let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
        Ok(Version { major, minor, patch: patch[..digits].parse().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The library of ONNX Runtime in a folder, by the name it has on this platform; of several versions the newest.
pub(crate) fn library_in(folder: &Path) -> Option<PathBuf> {
    let is_library = |name: &str| {
        if cfg!(windows) {
            name.eq_ignore_ascii_case("onnxruntime.dll")
        } else if cfg!(target_os = "macos") {
            name == "libonnxruntime.dylib" || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
        } else {
            name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
        }
    };
    std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_library))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        // The name decides between links to one version, so that the order of the folder does not.
        .max_by_key(|path| (Version::of_file(path), path.clone()))
}

/// Whether the library has its CUDA provider beside it, where it loads it from.
pub(crate) fn has_cuda_beside(library: &Path) -> bool {
    let name = if cfg!(windows) { "onnxruntime_providers_cuda.dll" } else { "libonnxruntime_providers_cuda.so" };
    library.parent().is_some_and(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let version = |text: &str| text.parse::<Version>().ok().map(|version| version.to_string());
        assert_eq!(version("1.31.1").as_deref(), Some("1.31.1"));
        assert_eq!(version("1.20.0rc1").as_deref(), Some("1.20.0"));
        assert_eq!(version("1.20.0.dev20240101").as_deref(), Some("1.20.0"));
        assert_eq!(version("1.9").as_deref(), Some("1.9.0"));
        assert_eq!(version("one"), None);
        assert_eq!(version("1"), None);
        assert!("1.17.0".parse::<Version>().unwrap().serves());
        assert!("2.0.0".parse::<Version>().unwrap().serves());
        assert!(!"1.9.1".parse::<Version>().unwrap().serves());
        assert_eq!(Version::of_file(Path::new("/x/libonnxruntime.so.1.31.1")).map(|v| v.minor), Some(31));
        assert_eq!(Version::of_file(Path::new("/x/libonnxruntime.1.31.1.dylib")).map(|v| v.patch), Some(1));
        assert_eq!(Version::of_file(Path::new("/x/libonnxruntime.so")), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn takes_the_newest_library_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.20.1", "libonnxruntime_providers_shared.so", "a.txt"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(library_in(folder.path()), Some(folder.path().join("libonnxruntime.so.1.20.1")));
        assert_eq!(library_in(&folder.path().join("absent")), None);
    }
}
