//! Installing the pinned wheel of ONNX Runtime with pip, into the program's cache.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::env::Env;
use super::error::RuntimeError;
use super::library::{Version, library_in};
use super::watch::Watch;
use super::{process, python};
use crate::workfolder::{WorkFolder, empty_wholly, remove_abandoned};

/// The version of the wheels that are installed.
pub const PINNED_VERSION: &str = "1.31.1";

/// The GPU wheel has some hundred megabytes; a stalled pip should still end some day.
const PIP_LIMIT: Duration = Duration::from_secs(60 * 60);
const PIP_PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Which wheel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    #[default]
    Cpu,
    /// With the CUDA provider.
    Gpu,
}

impl Flavour {
    /// The name of its package on the Python package index.
    pub fn package(self) -> &'static str {
        match self {
            Flavour::Cpu => "onnxruntime",
            Flavour::Gpu => "onnxruntime-gpu",
        }
    }

    /// The folder of an installation. A cache in a home folder may be shared by machines of different kinds.
    fn folder(self) -> String {
        let kind = match self {
            Flavour::Cpu => "cpu",
            Flavour::Gpu => "gpu",
        };
        format!("{PINNED_VERSION}-{kind}-{}-{}", std::env::consts::OS, std::env::consts::ARCH)
    }
}

/// How to install.
#[derive(Clone, Debug, Default)]
pub struct InstallOptions {
    pub flavour: Flavour,
    /// Install again over an installation that is there.
    pub replace: bool,
    pub env: Env,
    /// Ends pip when it is interrupted.
    pub watch: Option<Arc<Watch>>,
}

/// What [`install`] left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The shared library.
    pub library: PathBuf,
    /// It was there before.
    pub already: bool,
}

/// The library that an earlier [`install`] left in a cache folder.
pub(crate) fn cached(cache: &Path, flavour: Flavour) -> Option<(PathBuf, Version)> {
    let library = library_of(&parent(cache).join(flavour.folder()))?;
    Some((library, PINNED_VERSION.parse().ok()?))
}

fn parent(cache: &Path) -> PathBuf {
    cache.join("onnxruntime")
}

fn library_of(installation: &Path) -> Option<PathBuf> {
    library_in(&installation.join("onnxruntime").join("capi"))
}

/// Installs the pinned wheel into the program's cache, or finds it installed.
///
/// pip works in a folder of its own that is renamed when it is done, so an interrupted installation leaves nothing that
/// could be taken for a whole one; a lock keeps a second process waiting and then finding what the first installed.
/// `progress` gets a line for what takes long.
///
/// # Errors
/// [`RuntimeError::NoCache`], [`RuntimeError::Io`], or [`RuntimeError::Install`] with the last lines of pip.
pub fn install(options: &InstallOptions, progress: &dyn Fn(&str)) -> Result<Installed, RuntimeError> {
    let InstallOptions { flavour, replace, ref env, ref watch } = *options;
    let cache = env.cache_folder().ok_or(RuntimeError::NoCache)?;
    let parent = parent(&cache);
    let target = parent.join(flavour.folder());
    fs::create_dir_all(&parent).map_err(RuntimeError::io(&parent))?;
    // Held until it is dropped, which the system does for a process that is killed.
    let _lock = lock(&parent.join(".lock"), progress)?;
    if !replace && let Some(library) = library_of(&target) {
        return Ok(Installed { library, already: true });
    }
    remove_abandoned(&parent, PARTIAL, &|path, _| empty_wholly(path));

    let failed = |problem: String| RuntimeError::Install { flavour, problem };
    let python = python_with_pip(env).map_err(failed)?;
    progress(&format!("installing {}=={PINNED_VERSION} with pip into {} (once)", flavour.package(), target.display()));
    let work = WorkFolder::new(&parent, PARTIAL, b"", empty_wholly).map_err(RuntimeError::io(&parent))?;
    let wheel = work.path().join("wheel");
    pip(&python, flavour, &wheel, work.path(), env, watch.as_deref()).map_err(failed)?;
    if library_of(&wheel).is_none() {
        return Err(failed(format!("pip left no library of ONNX Runtime in {}", wheel.display())));
    }
    if fs::symlink_metadata(&target).is_ok() {
        // Set aside rather than deleted in place: a process that runs from it keeps its files.
        let aside = work.path().join("replaced");
        fs::rename(&target, &aside).map_err(RuntimeError::io(&target))?;
    }
    match fs::rename(&wheel, &target) {
        Ok(()) => {}
        // On a file system without locks another process may have been faster; its installation is as good.
        Err(_) if library_of(&target).is_some() => {}
        Err(error) => return Err(RuntimeError::io(&target)(error)),
    }
    let library = library_of(&target).ok_or_else(|| failed(format!("{} was emptied meanwhile", target.display())))?;
    Ok(Installed { library, already: false })
}

const PARTIAL: &str = ".partial-";

fn pip(
    python: &Path,
    flavour: Flavour,
    target: &Path,
    work: &Path,
    env: &Env,
    watch: Option<&Watch>,
) -> Result<(), String> {
    let requirement = format!("{}=={PINNED_VERSION}", flavour.package());
    let mut arguments: Vec<&std::ffi::OsStr> = Vec::new();
    for argument in [
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-input",
        "--no-compile",
        "--no-warn-script-location",
        "--disable-pip-version-check",
        "--quiet",
        // The library is the same in the wheel of every Python version, so it need not be the one of this interpreter,
        // which may be too old or too new to have one.
        "--only-binary=:all:",
        "--implementation=cp",
        "--python-version=3.12",
        "--target",
    ] {
        arguments.push(argument.as_ref());
    }
    arguments.push(target.as_os_str());
    arguments.push(requirement.as_ref());
    // Settings that contradict `--target`.
    let mut env = env.with([("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0"), ("PIP_ROOT_USER_ACTION", "ignore")]);
    if let Some(work) = work.to_str() {
        // What a kill leaves is then found by the next installation.
        env = env.with([("TMPDIR", work)]);
    }
    let ended = process::run(python, arguments, work, &env, PIP_LIMIT, watch)
        .map_err(|problem| format!("{} -m pip: {problem}", python.display()))?;
    if ended.status.success() { Ok(()) } else { Err(format!("{} -m pip: {}", python.display(), ended.problem())) }
}

fn python_with_pip(env: &Env) -> Result<PathBuf, String> {
    let mut problems = Vec::new();
    for python in python::interpreters(env) {
        match process::run(&python, ["-m", "pip", "--version"], python::folder(&python), env, PIP_PROBE_LIMIT, None) {
            Ok(ended) if ended.status.success() => return Ok(python),
            Ok(ended) => problems.push(format!("{} -m pip: {}", python.display(), ended.problem())),
            Err(problem) => problems.push(format!("{} -m pip: {problem}", python.display())),
        }
    }
    if problems.is_empty() {
        problems.push("there is no python3 on PATH".to_owned());
    }
    Err(problems.join("\n  "))
}

/// Keeps other processes out while this one installs. A file system without locks is no reason to stop: the renaming
/// alone keeps installations whole.
fn lock(path: &Path, progress: &dyn Fn(&str)) -> Result<File, RuntimeError> {
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(RuntimeError::io(path))?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        progress("waiting for another process that is installing ONNX Runtime");
        let _ = file.lock();
    }
    Ok(file)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Mutex;

    /// A `python3` that does `body` when asked to `pip install`, with the folder of `--target` in `$target`.
    fn world(body: &str) -> (tempfile::TempDir, InstallOptions) {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\nif [ \"$3\" = --version ]; then exit 0; fi\n\
             echo \"$@\" >> '{0}/calls'\nwhile [ \"$1\" != --target ]; do shift; done; target=$2; wanted=$3\n{body}\n",
            folder.path().display()
        );
        let python = folder.path().join("bin/python3");
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(&python, script).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::join_paths([folder.path().join("bin")]).unwrap();
        let env = Env::from_pairs([
            ("PATH".into(), path),
            ("GIM_HARNESS_CACHE".into(), folder.path().join("cache").into_os_string()),
        ] as [(std::ffi::OsString, std::ffi::OsString); 2]);
        (folder, InstallOptions { env, ..InstallOptions::default() })
    }

    /// Puts a library where a wheel has it.
    fn wheel() -> String {
        let name = if cfg!(target_os = "macos") { "libonnxruntime.1.31.1.dylib" } else { "libonnxruntime.so.1.31.1" };
        format!("/bin/mkdir -p \"$target/onnxruntime/capi\"; echo \"$wanted\" > \"$target/onnxruntime/capi/{name}\"")
    }

    fn calls(folder: &tempfile::TempDir) -> Vec<String> {
        let text = fs::read_to_string(folder.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn left_in_cache(folder: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder.path().join("cache/onnxruntime"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".lock")
            .collect();
        names.sort();
        names
    }

    #[test]
    fn installs_once() {
        let (folder, options) = world(&wheel());
        let lines = Mutex::new(Vec::new());
        // A process that another test is starting may hold the lock for a moment, which is said, too.
        let progress = |line: &str| {
            if line.starts_with("installing ") {
                lines.lock().unwrap().push(line.to_owned());
            }
        };
        let first = install(&options, &progress).unwrap();
        assert!(!first.already);
        assert_eq!(fs::read_to_string(&first.library).unwrap(), "onnxruntime==1.31.1\n");
        assert!(lines.lock().unwrap()[0].starts_with("installing onnxruntime==1.31.1 with pip into "));
        let second = install(&options, &progress).unwrap();
        assert_eq!(second, Installed { already: true, ..first.clone() });
        assert_eq!(lines.lock().unwrap().len(), 1);
        assert_eq!(left_in_cache(&folder), [Flavour::Cpu.folder()]);
        let calls = calls(&folder);
        assert_eq!(calls.len(), 1);
        for part in ["-m pip install --no-deps", "--target", "onnxruntime==1.31.1"] {
            assert!(calls[0].contains(part), "{}", calls[0]);
        }
        let gpu = install(&InstallOptions { flavour: Flavour::Gpu, ..options.clone() }, &progress).unwrap();
        assert_eq!(fs::read_to_string(&gpu.library).unwrap(), "onnxruntime-gpu==1.31.1\n");
        assert_eq!(left_in_cache(&folder).len(), 2);
        fs::write(&first.library, "broken").unwrap();
        let replaced = install(&InstallOptions { replace: true, ..options }, &progress).unwrap();
        assert_eq!(fs::read_to_string(replaced.library).unwrap(), "onnxruntime==1.31.1\n");
        assert_eq!(left_in_cache(&folder).len(), 2);
    }

    #[test]
    fn two_at_once_do_not_meet() {
        let (folder, options) = world(&format!("/bin/sleep 0.3; {}", wheel()));
        let results: Vec<Installed> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| install(&options, &|_| {}).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(calls(&folder).len(), 1);
        assert_eq!(results.iter().filter(|installed| !installed.already).count(), 1);
        assert_eq!(left_in_cache(&folder), [Flavour::Cpu.folder()]);
    }

    #[test]
    fn what_fails_leaves_nothing() {
        for (body, expected) in [
            ("/bin/mkdir -p \"$target/half\"; echo 'ERROR: no such index' >&2; exit 1", "ERROR: no such index"),
            ("/bin/mkdir -p \"$target/onnxruntime\"", "pip left no library"),
        ] {
            let (folder, options) = world(body);
            let error = install(&options, &|_| {}).unwrap_err().to_string();
            assert!(error.starts_with("cannot install onnxruntime==1.31.1") && error.contains(expected), "{error}");
            assert_eq!(left_in_cache(&folder), Vec::<String>::new());
            assert_eq!(cached(&folder.path().join("cache"), Flavour::Cpu), None);
        }
    }

    /// A pip that never comes back, whose installer is killed.
    #[test]
    fn what_a_kill_leaves_goes_and_nothing_else() {
        let (folder, options) = world(&wheel());
        let parent = folder.path().join("cache/onnxruntime");
        for name in [".partial-abcdefghijkl", ".partial-", "kept"] {
            fs::create_dir_all(parent.join(name).join("wheel")).unwrap();
        }
        let killed = WorkFolder::new(&parent, PARTIAL, b"", |_| {}).unwrap();
        fs::create_dir(killed.path().join("wheel")).unwrap();
        let living = WorkFolder::new(&parent, PARTIAL, b"", empty_wholly).unwrap();
        let name = living.path().file_name().unwrap().to_str().unwrap().to_owned();
        drop(killed);
        install(&options, &|_| {}).unwrap();
        let mut expected = [
            ".partial-".to_owned(),
            ".partial-abcdefghijkl".to_owned(),
            name,
            Flavour::Cpu.folder(),
            "kept".to_owned(),
        ];
        expected.sort();
        assert_eq!(left_in_cache(&folder), expected);
    }

    #[test]
    fn says_what_is_missing() {
        let (folder, mut options) = world("");
        options.env = Env::from_pairs([("GIM_HARNESS_CACHE", folder.path().join("cache"))]);
        assert!(install(&options, &|_| {}).unwrap_err().to_string().contains("there is no python3 on PATH"));
        options.env = Env::from_pairs([("PATH", "/bin")]);
        assert!(matches!(install(&options, &|_| {}), Err(RuntimeError::NoCache)));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        options.env = Env::from_pairs([("GIM_HARNESS_CACHE", &file)]);
        assert!(install(&options, &|_| {}).unwrap_err().to_string().contains("file"));
    }
}
