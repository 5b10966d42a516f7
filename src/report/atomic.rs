//! Files that appear whole, by rename.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

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
