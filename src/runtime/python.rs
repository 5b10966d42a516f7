//! Python interpreters, and the `onnxruntime` package that one of them may hold.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::env::{Env, is_program};
use super::library::{Version, library_in};
use super::process;

/// Long enough for a cold start from a network disk.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// Prints the folders of the package without importing it. `sys.path` loses its empty entry, the folder the command was
/// run from, before anything is imported: what lies there must not be run.
const PROBE: &str = r#"
import sys
sys.path = [entry for entry in sys.path if entry]
import importlib.util, json
try:
    spec = importlib.util.find_spec("onnxruntime")
except (ImportError, ValueError):
    spec = None
print("gim-harness " + json.dumps([str(p) for p in (spec.submodule_search_locations or [])] if spec else []))
"#;

/// The interpreters to ask, in order: of the active virtual or conda environment, then on `PATH`.
pub(crate) fn interpreters(env: &Env) -> Vec<PathBuf> {
    let inside = |folder: &str, below: &Path| {
        let folder = PathBuf::from(env.get(folder)?);
        let python = folder.join(below);
        (folder.is_absolute() && is_program(&python)).then_some(python)
    };
    let (virtual_env, conda) =
        if cfg!(windows) { ("Scripts/python.exe", "python.exe") } else { ("bin/python", "bin/python") };
    let mut found: Vec<PathBuf> = Vec::new();
    let candidates = [
        inside("VIRTUAL_ENV", Path::new(virtual_env)),
        inside("CONDA_PREFIX", Path::new(conda)),
        env.program("python3"),
        env.program("python"),
    ];
    for python in candidates.into_iter().flatten() {
        // `python` and `python3` of one folder are one interpreter. Links into another folder are not followed: which
        // packages an interpreter sees hangs on the path it is started by.
        let same = |other: &PathBuf| {
            other.parent() == python.parent()
                && matches!((other.canonicalize(), python.canonicalize()), (Ok(a), Ok(b)) if a == b)
        };
        if !found.iter().any(same) {
            found.push(python);
        }
    }
    found
}

/// Where to run an interpreter: Python may import what lies in the working folder, so one that is trusted as much as the
/// interpreter itself.
pub(crate) fn folder(python: &Path) -> &Path {
    python.parent().unwrap_or(Path::new("/"))
}

/// The `onnxruntime` package of one interpreter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Package {
    pub library: PathBuf,
    pub version: Option<Version>,
}

/// Asks an interpreter where `onnxruntime` is.
///
/// # Errors
/// Why nothing came of it, as the end of a sentence.
pub(crate) fn package(python: &Path, env: &Env) -> Result<Package, String> {
    let ended = process::run(python, ["-c", PROBE], folder(python), env, PROBE_LIMIT, None)?;
    if !ended.status.success() {
        return Err(ended.problem());
    }
    let folders: Vec<PathBuf> = ended
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("gim-harness "))
        .and_then(|line| serde_json::from_str(line).ok())
        .ok_or("it did not answer like a Python interpreter")?;
    let Some(folder) = folders.first() else { return Err("it has no package `onnxruntime`".to_owned()) };
    let library = library_in(&folder.join("capi"))
        .ok_or_else(|| format!("its package in {} holds no library of ONNX Runtime", folder.display()))?;
    let version = declared_version(folder).or_else(|| Version::of_file(&library));
    Ok(Package { library, version })
}

/// `__version__` of a package, without running it.
pub(crate) fn declared_version(folder: &Path) -> Option<Version> {
    let text = crate::files::read_text(&folder.join("__init__.py"), crate::files::FACTS).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("__version__")?.trim_start().strip_prefix('='))?;
    value.trim().trim_matches(['"', '\'']).parse().ok()
}
