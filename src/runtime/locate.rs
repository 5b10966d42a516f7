//! Where ONNX Runtime is looked for, in order.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::error::RuntimeError;
use super::install::{Flavour, cached};
use super::library::{MINIMUM_VERSION, Version, has_cuda_beside, library_in};
use super::python;

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
    Interpreter(PathBuf),
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
                        self.stages.push_front(Stage::Interpreter(interpreter));
                    }
                    None
                }
                Stage::Interpreter(interpreter) => self.package(interpreter),
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

    fn package(&mut self, interpreter: PathBuf) -> Option<Candidate> {
        let package = python::package(&interpreter, self.env);
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
                version => return Some(self.found(origin, package.library, version)),
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
