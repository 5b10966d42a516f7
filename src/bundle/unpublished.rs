//! A bundle that is written and not yet where it was asked for.

use std::path::{Path, PathBuf};

use super::bake::BakeError;
use super::manifest::Manifest;

/// A finished bundle in a folder beside the one asked for, to be looked at first. It is removed unless
/// [`Unpublished::publish`] puts it in its place.
#[derive(Debug)]
pub struct Unpublished {
    partial: tempfile::TempDir,
    out: PathBuf,
    manifest: Manifest,
}

impl Unpublished {
    /// Makes the empty folder, beside `out`, so that a rename can move it.
    pub(super) fn folder(out: &Path) -> Result<tempfile::TempDir, BakeError> {
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let io = |source| BakeError::Write { path: parent.to_owned(), source };
        std::fs::create_dir_all(parent).map_err(io)?;
        tempfile::Builder::new().prefix(".baking-").tempdir_in(parent).map_err(io)
    }

    pub(super) fn new(partial: tempfile::TempDir, out: &Path, manifest: Manifest) -> Self {
        Unpublished { partial, out: out.to_owned(), manifest }
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        self.partial.path()
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Puts the folder in its place by a rename. An earlier bundle there is moved aside first and then removed.
    ///
    /// # Errors
    /// [`BakeError::Write`]; an earlier bundle is then where it was.
    pub fn publish(self) -> Result<Manifest, BakeError> {
        let Unpublished { partial, out, manifest } = self;
        let io = |source| BakeError::Write { path: out.clone(), source };
        let former = partial.path().with_extension("former");
        let replaces = out.exists();
        // A temporary folder is private; a bundle is not.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(partial.path(), std::fs::Permissions::from_mode(0o755)).map_err(io)?;
        }
        if replaces {
            std::fs::rename(&out, &former).map_err(io)?;
        }
        if let Err(error) = std::fs::rename(partial.path(), &out) {
            if replaces {
                std::fs::rename(&former, &out).map_err(io)?;
            }
            return Err(io(error));
        }
        // The folder is no longer where the guard would remove it.
        let _moved = partial.keep();
        if replaces {
            std::fs::remove_dir_all(&former).map_err(io)?;
        }
        Ok(manifest)
    }
}
