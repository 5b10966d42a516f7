//! A bundle that is written and not yet where it was asked for.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::bake::BakeError;
use super::manifest::Manifest;
use super::target::{Standing, check_contents, remove_bundle, standing};
use crate::workfolder::{WorkFolder, remove_abandoned};

const PREFIX: &str = ".baking-";
/// In the work folder: the bundle that is made, and for a moment the one that it replaces.
const BUNDLE: &str = "bundle";
const FORMER: &str = "former";

/// A finished bundle in a folder beside the one asked for, to be looked at first. It is removed unless
/// [`Unpublished::publish`] puts it in its place; after a kill by the next bake beside it.
#[derive(Debug)]
pub struct Unpublished {
    work: WorkFolder,
    bundle: PathBuf,
    out: PathBuf,
    /// See [`standing`].
    damaged: bool,
    manifest: Manifest,
}

/// An empty folder for the files of a bundle, beside the place where it is to appear.
pub(super) struct Space {
    work: WorkFolder,
    bundle: PathBuf,
}

impl Space {
    /// Makes the folder, so that a rename can move it to `out`, and removes what killed bakes left beside it.
    pub fn beside(out: &Path) -> Result<Space, BakeError> {
        let parent = out.parent().unwrap_or(Path::new("/"));
        let io = |source| BakeError::Write { path: parent.to_owned(), source };
        fs::create_dir_all(parent).map_err(io)?;
        clean(parent);
        let name = out.file_name().unwrap_or_default().as_encoded_bytes();
        let work = WorkFolder::new(parent, PREFIX, name, empty).map_err(io)?;
        let bundle = work.path().join(BUNDLE);
        fs::create_dir(&bundle).map_err(io)?;
        Ok(Space { work, bundle })
    }

    pub fn path(&self) -> &Path {
        &self.bundle
    }

    pub fn filled(self, out: &Path, damaged: bool, manifest: Manifest) -> Unpublished {
        Unpublished { work: self.work, bundle: self.bundle, out: out.to_owned(), damaged, manifest }
    }
}

impl Unpublished {
    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.bundle
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Puts the folder in its place by a rename. An earlier bundle there changes places with it and is then removed.
    ///
    /// # Errors
    /// [`BakeError::Write`], [`BakeError::Occupied`] and [`BakeError::InUse`]; what was there is then where it was.
    pub fn publish(self) -> Result<Manifest, BakeError> {
        let Unpublished { work, bundle, out, damaged, manifest } = self;
        let write = |source| BakeError::Write { path: out.clone(), source };
        sync_folder(&bundle).map_err(write)?;
        // A second time: weights take long to write.
        match standing(&out, damaged)? {
            Standing::Free => {
                if cfg!(windows) {
                    // There a folder is not renamed onto an empty one; where this fails there is none.
                    let _ = fs::remove_dir(&out);
                }
                fs::rename(&bundle, &out).map_err(write)?;
            }
            Standing::Bundle { held: _held } => {
                let former = match replace(&bundle, &out, work.path()) {
                    Ok(former) => former,
                    Err(error) => return Err(stranded(work, FORMER, &out).unwrap_or_else(|| write(error))),
                };
                // Somebody may have put a file there just now.
                if let Err(error) = check_contents(&former, damaged) {
                    let error = match replace(&former, &out, work.path()) {
                        Ok(_) => None,
                        Err(_) => stranded(work, former.file_name().unwrap_or_default(), &out),
                    }
                    .unwrap_or_else(|| named(error, &out));
                    return Err(error);
                }
                remove_bundle(&former);
            }
        }
        if let Some(parent) = out.parent() {
            // It is there; that the system might forget it in a power failure is no error of this bake.
            let _ = sync_folder(parent);
        }
        Ok(manifest)
    }
}

/// Keeps a folder of this name in the work folder, if there is one: what was at `out` before and could not be put back.
fn stranded(work: WorkFolder, name: impl AsRef<Path>, out: &Path) -> Option<BakeError> {
    let path = work.path().join(name);
    path.symlink_metadata().ok()?;
    work.leave();
    Some(BakeError::Stranded { out: out.to_owned(), path })
}

/// An error of the folder that was moved aside, as one of the place that the user knows.
fn named(error: BakeError, out: &Path) -> BakeError {
    match error {
        BakeError::Occupied { problem, .. } => BakeError::Occupied { path: out.to_owned(), problem },
        error => error,
    }
}

/// Puts the folder `new` in the place of the folder `old`, and says where `old` is then. In one step where the system can
/// do that; else `old` is in `work` for a moment, from where [`clean`] brings it back after a kill.
fn replace(new: &Path, old: &Path, work: &Path) -> io::Result<PathBuf> {
    if exchange(new, old).is_ok() { Ok(new.to_owned()) } else { two_renames(new, old, work) }
}

fn two_renames(new: &Path, old: &Path, work: &Path) -> io::Result<PathBuf> {
    let former = if new == work.join(FORMER) { work.join(BUNDLE) } else { work.join(FORMER) };
    fs::rename(old, &former)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(&former, old)?;
        return Err(error);
    }
    Ok(former)
}

#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Writes the entries of a folder to the disk; only where folders can be opened.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::options().read(true).open(folder)?.sync_all() } else { Ok(()) }
}

fn empty(work: &Path) {
    remove_bundle(&work.join(BUNDLE));
    remove_bundle(&work.join(FORMER));
}

/// Removes what killed bakes left in `parent`, and puts back what one of them had moved aside to replace it.
pub fn clean(parent: &Path) {
    remove_abandoned(parent, PREFIX, &|work, name| {
        restore(work, parent, name);
        empty(work);
    });
}

/// Removes a bundle from a folder of the program's own, unless another program uses it or may be using it.
pub fn evict(bundle: &Path) {
    let Some(parent) = bundle.parent() else { return };
    if let Ok(Standing::Bundle { held: Some(_held) }) = standing(bundle, true)
        && let Ok(work) = WorkFolder::new(parent, PREFIX, b"", empty)
    {
        // In one step, so that a kill leaves no half of it.
        let _ = fs::rename(bundle, work.path().join(BUNDLE));
    }
}

fn restore(work: &Path, parent: &Path, name: &[u8]) {
    let former = work.join(FORMER);
    // On systems without an exchange the name is one that can be written down.
    let Ok(name) = std::str::from_utf8(name) else { return };
    let out = parent.join(name);
    if former.is_dir() && out.file_name() == Some(OsStr::new(name)) && fs::symlink_metadata(&out).is_err() {
        let _ = fs::rename(former, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A work folder with a new folder in it, and an old one beside it.
    fn place() -> (tempfile::TempDir, WorkFolder, PathBuf, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let work = WorkFolder::new(parent.path(), PREFIX, b"out", empty).unwrap();
        let (new, old) = (work.path().join(BUNDLE), parent.path().join("out"));
        for (folder, text) in [(&new, "new"), (&old, "old")] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("bundle.json"), text).unwrap();
        }
        (parent, work, new, old)
    }

    fn text(folder: &Path) -> String {
        fs::read_to_string(folder.join("bundle.json")).unwrap()
    }

    #[test]
    fn folders_change_places_and_back() {
        for by in [replace, two_renames] {
            let (_parent, work, new, old) = place();
            let former = by(&new, &old, work.path()).unwrap();
            assert_eq!((text(&old).as_str(), text(&former).as_str()), ("new", "old"));
            let made = by(&former, &old, work.path()).unwrap();
            assert_eq!((text(&old).as_str(), text(&made).as_str()), ("old", "new"));
        }
    }

    #[test]
    fn what_cannot_take_the_place_leaves_it() {
        for by in [replace, two_renames] {
            let (_parent, work, _, old) = place();
            assert!(by(&work.path().join("absent"), &old, work.path()).is_err());
            assert_eq!(text(&old), "old");
        }
    }

    #[test]
    fn what_cannot_be_put_back_is_kept_and_named() {
        let (parent, work, _, old) = place();
        let former = work.path().join(FORMER);
        fs::rename(&old, &former).unwrap();
        let error = stranded(work, FORMER, &old).unwrap();
        assert!(error.to_string().ends_with(&format!("it is in {}", former.display())), "{error}");
        clean(parent.path());
        assert_eq!(text(&former), "old");
        let (_parent, work, _, old) = place();
        assert!(stranded(work, FORMER, &old).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn links_in_a_work_folder_are_not_followed() {
        let (parent, work, _, old) = place();
        std::os::unix::fs::symlink(&old, work.path().join(FORMER)).unwrap();
        drop(work);
        clean(parent.path());
        assert_eq!(text(&old), "old");
    }
}
