//! Where ONNX Runtime is looked for, in order.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::env::Env;
use super::error::RuntimeError;
use super::install::{Flavour, cached};
use super::library::{MINIMUM_VERSION, Version, has_cuda_beside, library_in};
use super::python::{self, Package};

/// How a library was come by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Named by the configuration or the caller.
    Setting,
    /// Named by `ORT_DYLIB_PATH`.
    Variable,
    /// The `onnxruntime` package of this Python interpreter.
    Python(PathBuf),
    /// Installed earlier into this folder of the program's cache.
    Cache(PathBuf),
    /// Installed with pip by this very command.
    Pip,
}

impl Origin {
    /// Whether somebody named this one library; another one is then no substitute.
    pub fn is_explicit(&self) -> bool {
        matches!(self, Origin::Setting | Origin::Variable)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Setting => f.write_str("setting `runtime.library`"),
            Origin::Variable => f.write_str("variable ORT_DYLIB_PATH"),
            Origin::Python(python) => write!(f, "Python package of {}", python.display()),
            Origin::Cache(folder) => write!(f, "cache {}", folder.display()),
            Origin::Pip => f.write_str("installation with pip"),
        }
    }
}

/// One place that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub origin: Origin,
    pub outcome: Outcome,
}

/// What came of looking there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A library, with its version where that can be told without loading it.
    Found { library: PathBuf, version: Option<String> },
    /// Nothing to be used, and why.
    Passed(String),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed(why) => write!(f, "{}: {why}", self.origin),
            Outcome::Found { library, version: Some(version) } => {
                write!(f, "{}: {} (version {version})", self.origin, library.display())
            }
            Outcome::Found { library, version: None } => write!(f, "{}: {}", self.origin, library.display()),
        }
    }
}

/// A library that is there but not loaded yet.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub origin: Origin,
    pub library: PathBuf,
}

enum Stage {
    Setting,
    Variable,
    Python,
    /// What it says is on the way: several are asked at once, as each takes its time to start, and heard in order.
    Interpreter(PathBuf, JoinHandle<Result<Package, String>>),
    Cache,
}

/// The search, one candidate at a time, so that a library that does not load can be passed over.
pub(crate) struct Search<'a> {
    env: &'a Env,
    setting: Option<&'a Path>,
    cuda: bool,
    stages: VecDeque<Stage>,
    pub tried: Vec<Attempt>,
}

impl<'a> Search<'a> {
    pub fn new(env: &'a Env, setting: Option<&'a Path>, cuda: bool) -> Self {
        let stages = [Stage::Setting, Stage::Variable, Stage::Python, Stage::Cache].into();
        Search { env, setting, cuda, stages, tried: Vec::new() }
    }

    /// The next library there is.
    ///
    /// # Errors
    /// When a library was named and is not there; it is never replaced by another.
    pub fn next(&mut self) -> Result<Option<Candidate>, RuntimeError> {
        while let Some(stage) = self.stages.pop_front() {
            let found = match stage {
                Stage::Setting => {
                    self.named(Origin::Setting, "the setting `runtime.library`", self.setting, "not given")?
                }
                Stage::Variable => {
                    let path = self.env.get("ORT_DYLIB_PATH").map(Path::new);
                    self.named(Origin::Variable, "ORT_DYLIB_PATH", path, "not set")?
                }
                Stage::Python => {
                    let interpreters = python::interpreters(self.env);
                    if interpreters.is_empty() {
                        self.pass(Origin::Python("python3".into()), "there is no python3 on PATH");
                    }
                    for interpreter in interpreters.into_iter().rev() {
                        let (python, env) = (interpreter.clone(), self.env.clone());
                        let asked = std::thread::spawn(move || python::package(&python, &env));
                        self.stages.push_front(Stage::Interpreter(interpreter, asked));
                    }
                    None
                }
                Stage::Interpreter(interpreter, asked) => {
                    let package = asked.join().unwrap_or_else(|_| Err("it could not be asked".to_owned()));
                    self.package(interpreter, package)
                }
                Stage::Cache => self.cached(),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Takes back the last candidate.
    pub fn reject(&mut self, why: &RuntimeError) {
        if let Some(attempt) = self.tried.last_mut() {
            attempt.outcome = Outcome::Passed(why.to_string());
        }
    }

    fn named(
        &mut self,
        origin: Origin,
        setting: &'static str,
        path: Option<&Path>,
        otherwise: &str,
    ) -> Result<Option<Candidate>, RuntimeError> {
        let Some(path) = path else {
            self.pass(origin, otherwise);
            return Ok(None);
        };
        let refuse = |problem: &str| {
            Err(RuntimeError::NoLibrary { setting, path: path.to_owned(), problem: problem.to_owned() })
        };
        let path = std::path::absolute(path).map_err(RuntimeError::io(path))?;
        let library = match path.metadata() {
            Ok(data) if data.is_dir() => match library_in(&path) {
                Some(library) => library,
                None => return refuse("that folder holds no file of such a name"),
            },
            Ok(_) => path,
            Err(error) => return refuse(&error.to_string()),
        };
        let version = Version::of_file(&library);
        Ok(Some(self.found(origin, library, version)))
    }

    fn package(&mut self, interpreter: PathBuf, package: Result<Package, String>) -> Option<Candidate> {
        let origin = Origin::Python(interpreter);
        match package {
            Err(why) => self.pass(origin, why),
            Ok(package) => match package.version {
                Some(version) if !version.serves() => {
                    let (major, minor) = MINIMUM_VERSION;
                    self.pass(
                        origin,
                        format!("its ONNX Runtime {version} is too old, {major}.{minor} or newer is needed"),
                    )
                }
                _ if self.cuda && !has_cuda_beside(&package.library) => {
                    self.pass(origin, "its ONNX Runtime has no CUDA provider")
                }
                version => Some(self.found(origin, package.library, version)),
            },
        }
    }

    fn cached(&mut self) -> Option<Candidate> {
        let Some(cache) = self.env.cache_folder() else {
            return self.pass(
                Origin::Cache("?".into()),
                "there is no folder for it (neither GIM_HARNESS_CACHE nor HOME is set)",
            );
        };
        let flavours: &[Flavour] = if self.cuda { &[Flavour::Gpu] } else { &[Flavour::Cpu, Flavour::Gpu] };
        for &flavour in flavours {
            if let Some((library, version)) = cached(&cache, flavour) {
                return Some(self.found(Origin::Cache(cache), library, Some(version)));
            }
        }
        self.pass(Origin::Cache(cache), "nothing is installed there")
    }

    fn found(&mut self, origin: Origin, library: PathBuf, version: Option<Version>) -> Candidate {
        let outcome = Outcome::Found { library: library.clone(), version: version.map(|version| version.to_string()) };
        self.tried.push(Attempt { origin: origin.clone(), outcome });
        Candidate { origin, library }
    }

    fn pass(&mut self, origin: Origin, why: impl Into<String>) -> Option<Candidate> {
        self.tried.push(Attempt { origin, outcome: Outcome::Passed(why.into()) });
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A folder with made-up interpreters, packages and a cache.
    struct World {
        folder: tempfile::TempDir,
        vars: Vec<(&'static str, String)>,
    }

    impl World {
        fn new() -> World {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name).display().to_string();
            let vars = vec![("PATH", path("bin")), ("GIM_HARNESS_CACHE", path("cache"))];
            World { folder, vars }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }

        fn script(&self, name: &str, body: &str) -> PathBuf {
            let path = self.file(name, &format!("#!/bin/sh\n{body}\n"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        /// An interpreter that has a package of this version.
        fn python(&self, name: &str, version: &str) -> PathBuf {
            let package = self.path(&format!("{name}-site/onnxruntime"));
            let relative = format!("{name}-site/onnxruntime");
            self.file(&format!("{relative}/__init__.py"), &format!("x = 1\n__version__ = \"{version}\"\n"));
            self.file(&format!("{relative}/capi/libonnxruntime.so.{version}"), "");
            self.script(name, &format!("echo noise; echo 'gim-harness [\"{}\"]'", package.display()))
        }

        fn installed(&self, flavour: &str) -> PathBuf {
            let arch = std::env::consts::ARCH;
            let folder = format!("cache/onnxruntime/1.31.1-{flavour}-linux-{arch}/onnxruntime/capi");
            self.file(&format!("{folder}/libonnxruntime.so.1.31.1"), "")
        }

        /// What the search comes by, one after another, and what it says of each place.
        fn search(&self, setting: Option<&Path>, cuda: bool) -> (Vec<PathBuf>, Vec<String>) {
            let env = Env::from_pairs(self.vars.iter().map(|(name, value)| (*name, value)));
            let mut search = Search::new(&env, setting, cuda);
            let mut found = Vec::new();
            while let Some(candidate) = search.next().unwrap() {
                found.push(candidate.library);
            }
            let root = format!("{}/", self.folder.path().display());
            (found, search.tried.iter().map(|attempt| attempt.to_string().replace(&root, "")).collect())
        }
    }

    #[test]
    fn places_are_looked_at_in_order() {
        let mut world = World::new();
        let setting = world.file("setting/libonnxruntime.so.1.30.0", "");
        let variable = world.file("variable/libonnxruntime.so", "");
        world.vars.push(("ORT_DYLIB_PATH", variable.display().to_string()));
        world.vars.push(("VIRTUAL_ENV", world.path("venv").display().to_string()));
        world.python("venv/bin/python", "1.22.0");
        world.python("bin/python3", "1.23.1");
        world.python("bin/python", "1.24.0");
        let cached = world.installed("cpu");
        let (found, tried) = world.search(Some(setting.parent().unwrap()), false);
        let package = |name: &str, version: &str| {
            world.path(&format!("{name}-site/onnxruntime/capi/libonnxruntime.so.{version}"))
        };
        let expected = [
            setting,
            variable,
            package("venv/bin/python", "1.22.0"),
            package("bin/python3", "1.23.1"),
            package("bin/python", "1.24.0"),
            cached,
        ];
        assert_eq!(found, expected);
        let places: Vec<&str> = tried.iter().map(|line| line.split_once(": ").unwrap().0).collect();
        let expected = [
            "setting `runtime.library`",
            "variable ORT_DYLIB_PATH",
            "Python package of venv/bin/python",
            "Python package of bin/python3",
            "Python package of bin/python",
            "cache cache",
        ];
        assert_eq!(places, expected);
        assert!(tried[3].ends_with("libonnxruntime.so.1.23.1 (version 1.23.1)"), "{}", tried[3]);
    }

    #[test]
    fn interpreters_without_use_are_passed_over_with_a_reason() {
        let mut world = World::new();
        world.vars.push(("CONDA_PREFIX", world.path("conda").display().to_string()));
        world.python("conda/bin/python", "1.9.0");
        world.script("bin/python3", "echo 'gim-harness []'");
        world.script("bin/python", "echo oops >&2; exit 1");
        let (found, tried) = world.search(None, false);
        assert_eq!(found, Vec::<PathBuf>::new());
        let expected = [
            "setting `runtime.library`: not given",
            "variable ORT_DYLIB_PATH: not set",
            "Python package of conda/bin/python: its ONNX Runtime 1.9.0 is too old, 1.17 or newer is needed",
            "Python package of bin/python3: it has no package `onnxruntime`",
            "Python package of bin/python: it ended with exit status: 1:\n  oops",
            "cache cache: nothing is installed there",
        ];
        assert_eq!(tried, expected);

        world.script("bin/python3", "echo hello");
        world.script("bin/python", "echo \"gim-harness [\\\"$0-site\\\"]\"");
        let (_, tried) = world.search(None, false);
        assert!(tried[3].ends_with("it did not answer like a Python interpreter"), "{}", tried[3]);
        assert!(tried[4].ends_with("holds no library of ONNX Runtime"), "{}", tried[4]);
        world.vars = vec![("PATH", "/nowhere".to_owned())];
        let (_, tried) = world.search(None, false);
        assert_eq!(tried[2], "Python package of python3: there is no python3 on PATH");
        assert!(tried[3].contains("neither GIM_HARNESS_CACHE nor HOME is set"));
    }

    #[test]
    fn one_interpreter_under_two_names_is_asked_once() {
        let world = World::new();
        let python = world.python("bin/python3", "1.23.0");
        std::os::unix::fs::symlink(python, world.path("bin/python")).unwrap();
        assert_eq!(world.search(None, false).0.len(), 1);
    }

    #[test]
    fn cuda_wants_a_library_with_its_provider() {
        let world = World::new();
        world.python("bin/python3", "1.23.0");
        world.installed("cpu");
        let (found, tried) = world.search(None, true);
        assert_eq!(found, Vec::<PathBuf>::new());
        assert!(tried[2].ends_with("its ONNX Runtime has no CUDA provider"));
        let gpu = world.installed("gpu");
        assert_eq!(world.search(None, true).0, std::slice::from_ref(&gpu));
        // It serves the CPU as well.
        fs::remove_dir_all(world.installed("cpu").parent().unwrap()).unwrap();
        assert_eq!(world.search(None, false).0[1..], [gpu]);
        world.file("bin/python3-site/onnxruntime/capi/libonnxruntime_providers_cuda.so", "");
        assert_eq!(world.search(None, true).0.len(), 2);
    }

    #[test]
    fn a_library_that_was_named_is_not_replaced() {
        let mut world = World::new();
        world.installed("cpu");
        let empty = world.file("empty/readme", "").parent().unwrap().to_owned();
        for (path, expected) in [(world.path("absent.so"), "No such file"), (empty, "holds no file of such a name")] {
            let env = Env::from_pairs([("GIM_HARNESS_CACHE", world.path("cache"))]);
            let error = Search::new(&env, Some(&path), false).next().unwrap_err().to_string();
            assert!(error.contains("setting `runtime.library`") && error.contains(expected), "{error}");
            world.vars = vec![("ORT_DYLIB_PATH", path.display().to_string())];
            let env = Env::from_pairs(world.vars.iter().map(|(name, value)| (*name, value)));
            let error = Search::new(&env, None, false).next().unwrap_err().to_string();
            assert!(error.contains("ORT_DYLIB_PATH") && error.contains(expected), "{error}");
        }
    }

    /// The probe itself, in the Python that is here: a package is found without being run, and what lies in the working
    /// folder is not.
    #[test]
    fn the_probe_runs_nothing_of_the_package() {
        let Some(python) = Env::of_process().program("python3") else { return };
        let world = World::new();
        world.file("site/onnxruntime/__init__.py", "__version__ = '1.25.3'\nraise SystemExit(3)\n");
        let library = world.file("site/onnxruntime/capi/libonnxruntime.so.1.25.3", "");
        let env = Env::of_process().with([("PYTHONPATH", world.path("site").to_str().unwrap())]);
        let package = python::package(&python, &env).unwrap();
        assert_eq!(package.library, library);
        assert_eq!(package.version.unwrap().to_string(), "1.25.3");
    }
}
