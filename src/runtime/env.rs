//! The environment of the process, as a value that a test can make up.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Environment variables. What is started from here (Python, pip) gets these and no others.
#[derive(Clone, Debug)]
pub struct Env(BTreeMap<OsString, OsString>);

impl Env {
    /// The variables of this process.
    pub fn of_process() -> Self {
        Self::from_pairs(std::env::vars_os())
    }

    pub fn from_pairs<K: Into<OsString>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Env(pairs.into_iter().map(|(name, value)| (spelling(name.into()), value.into())).collect())
    }

    /// The value of a variable; one that is set to nothing counts as not set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }

    pub(crate) fn with<const N: usize>(&self, pairs: [(&str, &str); N]) -> Env {
        let mut env = self.clone();
        env.0.extend(pairs.map(|(name, value)| (spelling(name.into()), value.into())));
        env
    }

    /// The first program of this name on `PATH`. Relative entries are passed over: what stands in the folder that the
    /// command happens to be run from must not be picked up.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        std::env::split_paths(self.get("PATH")?)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&file))
            .find(|path| is_program(path))
    }

    /// Where the program keeps what it can fetch again: `$GIM_HARNESS_CACHE`, else the folder that the platform has for
    /// it. `None` when there is neither that variable nor a home folder.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        let absolute = |name: &str| self.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(folder) = self.get("GIM_HARNESS_CACHE") {
            // A relative one is meant from where the command is run.
            return std::path::absolute(folder).ok();
        }
        let parent = if cfg!(windows) {
            absolute("LOCALAPPDATA").or_else(|| Some(absolute("USERPROFILE")?.join("AppData").join("Local")))
        } else if cfg!(target_os = "macos") {
            absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join("Library").join("Caches")))
        } else {
            absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
        };
        Some(parent?.join("gim-harness"))
    }
}

impl Default for Env {
    fn default() -> Self {
        Env::of_process()
    }
}

/// Windows does not tell `Path` from `PATH`.
fn spelling(name: OsString) -> OsString {
    if cfg!(windows) { name.to_ascii_uppercase() } else { name }
}

#[cfg(unix)]
pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
pub(crate) fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn cache_folder_in_order() {
        let cache = |pairs: &[(&str, &str)]| Env::from_pairs(pairs.iter().copied()).cache_folder();
        let all = [("GIM_HARNESS_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(cache(&all), Some("/a".into()));
        assert_eq!(cache(&all[1..]), Some("/b/gim-harness".into()));
        assert_eq!(cache(&all[2..]), Some("/c/.cache/gim-harness".into()));
        assert_eq!(
            cache(&[("GIM_HARNESS_CACHE", ""), ("XDG_CACHE_HOME", "relative"), ("HOME", "/c")]).unwrap().to_str(),
            Some("/c/.cache/gim-harness")
        );
        assert_eq!(cache(&[]), None);
    }

    #[test]
    fn programs_of_relative_folders_are_passed_over() {
        let env = Env::from_pairs([("PATH", "bin::.:/bin:/usr/bin")]);
        assert!(env.program("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(env.program("no-such-program"), None);
    }
}
