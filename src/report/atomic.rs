//! Files that appear whole, by rename.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempPath;

use super::error::ReportError;

/// A file being written under a temporary name beside its own; gone when dropped, there when published.
pub struct Pending {
    file: BufWriter<File>,
    unfinished: TempPath,
    target: PathBuf,
}

impl Pending {
    pub fn create(folder: &Path, name: &'static str) -> Result<Pending, ReportError> {
        let target = folder.join(name);
        let unfinished = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            // Created here rather than by tempfile, whose files only their owner may read.
            .make_in(folder, |path| File::create_new(path))
            .map_err(|source| ReportError::Io { path: target.clone(), source })?;
        let (file, unfinished) = unfinished.into_parts();
        // Tells whoever looks for leftovers that this one has an owner; the lock goes when its owner does. Where there are
        // no locks, age alone tells.
        let _ = file.try_lock();
        Ok(Pending { file: BufWriter::with_capacity(1 << 16, file), unfinished, target })
    }

    /// Gives the file its name, in place of whatever had it.
    pub fn publish(self) -> Result<PathBuf, ReportError> {
        let Pending { file, unfinished, target } = self;
        let fail = |source| ReportError::Io { path: target.clone(), source };
        let file = file.into_inner().map_err(|error| fail(error.into_error()))?;
        file.sync_all().map_err(fail)?;
        drop(file);
        unfinished.persist(&target).map_err(|error| fail(error.error))?;
        Ok(target)
    }

    pub fn target(&self) -> &Path {
        &self.target
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Younger ones may be about to be locked or renamed.
pub const SETTLED: Duration = Duration::from_secs(60);

/// Removes the unfinished files of the given names that killed programs left in a folder: old enough, and locked by
/// nobody.
pub fn remove_unfinished(folder: &Path, names: &[&str]) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_unfinished = names.iter().any(|own| {
            let rest =
                name.strip_prefix('.').and_then(|rest| rest.strip_prefix(own)).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric()))
        });
        let is_old = || {
            let modified = entry.metadata().ok().filter(std::fs::Metadata::is_file)?.modified().ok()?;
            modified.elapsed().ok().filter(|age| *age > SETTLED)
        };
        if is_unfinished
            && is_old().is_some()
            && let Ok(file) = crate::files::open(&entry.path(), crate::files::STORE)
            && file.try_lock().is_ok()
        {
            // What cannot be removed is in nobody's way.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_what_has_an_owner_stays() {
        let folder = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - 2 * SETTLED;
        let age = |path: &Path| File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        for name in [".report.md.Ab3dEf", ".report.md.young1", ".report.md", ".notes.txt.Ab3dEf", "report.md"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
            if name != ".report.md.young1" {
                age(&folder.path().join(name));
            }
        }
        let owned = Pending::create(folder.path(), "report.md").unwrap();
        age(&owned.unfinished);
        remove_unfinished(folder.path(), &["report.md"]);
        assert!(!folder.path().join(".report.md.Ab3dEf").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5, "everything else stays");
        owned.publish().unwrap();
    }
}
