//! Where a bundle goes, and whether what is there may make room for it.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::bake::BakeError;
use super::contract::is_bundle_file;
use super::manifest::{MANIFEST_FILE, Manifest};
use super::open::read_manifest;
use crate::files;
use crate::lock::{Hold, exclusive, is_same};

/// A path without links, whether or not all of it exists yet: so that a link to a folder and the folder are one place.
///
/// # Errors
/// Where it ends at a link to nothing, which a bundle would have to replace.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, BakeError> {
    let read = |source| BakeError::Read { path: path.to_owned(), source };
    let mut real = PathBuf::new();
    for component in std::path::absolute(path).map_err(read)?.components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            Component::CurDir => {}
            component => {
                real.push(component);
                match real.canonicalize() {
                    Ok(found) => real = found,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if real.is_symlink() {
                            return Err(BakeError::Occupied { path: real, problem: "is a link to nothing".to_owned() });
                        }
                    }
                    Err(error) => return Err(read(error)),
                }
            }
        }
    }
    Ok(real)
}

/// That the bundle's folder is not one of the sources, and neither holds one nor lies in one. `out` is without links.
///
/// # Errors
/// [`BakeError::Overlap`] with the first source of which that is not so.
pub(super) fn check_apart<'a>(out: &Path, sources: impl IntoIterator<Item = &'a Path>) -> Result<(), BakeError> {
    for source in sources {
        let overlap = || Err(BakeError::Overlap { out: out.to_owned(), source_path: source.to_owned() });
        // Both where it leads and, should it be a link, where that lies.
        let parent = source.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let named = parent.canonicalize().ok().zip(source.file_name()).map(|(parent, name)| parent.join(name));
        for real in source.canonicalize().ok().into_iter().chain(named) {
            if is_within(&real, out) || is_within(out, &real) {
                return overlap();
            }
        }
    }
    Ok(())
}

/// Whether a path is a folder or lies in it, by names or by what the file system says: a folder can be mounted twice.
fn is_within(path: &Path, folder: &Path) -> bool {
    let same = |one: &Metadata, other: &Metadata| is_same(one, other).unwrap_or(false);
    path.starts_with(folder)
        || fs::metadata(folder)
            .is_ok_and(|folder| path.ancestors().any(|part| fs::metadata(part).is_ok_and(|part| same(&part, &folder))))
}

/// What stands where a bundle is to go.
#[derive(Debug)]
pub(super) enum Standing {
    /// Nothing, or an empty folder.
    Free,
    /// A bundle and nothing else; its manifest is held against other programs where there are locks.
    Bundle { held: Option<File> },
}

/// Looks at what is there. `damaged`: it is in a folder of the program's own, so that files named like a bundle's are
/// one, whatever its manifest says.
///
/// # Errors
/// [`BakeError::Occupied`] where something would be lost that is no part of a bundle, [`BakeError::InUse`] where another
/// program uses the bundle.
pub(super) fn standing(out: &Path, damaged: bool) -> Result<Standing, BakeError> {
    let read = |source| BakeError::Read { path: out.to_owned(), source };
    match fs::symlink_metadata(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Free),
        Err(error) => return Err(read(error)),
        Ok(data) if !data.is_dir() => {
            let problem = "exists and is not a bundle (it is no folder)".to_owned();
            return Err(BakeError::Occupied { path: out.to_owned(), problem });
        }
        Ok(_) => {}
    }
    if fs::read_dir(out).map_err(read)?.next().is_none() {
        return Ok(Standing::Free);
    }
    let held = match exclusive(&out.join(MANIFEST_FILE)) {
        Ok(Hold::Mine(file)) => Some(file),
        Ok(Hold::Taken) => return Err(BakeError::InUse { path: out.to_owned() }),
        Ok(Hold::NoLocks) | Err(_) => None,
    };
    check_contents(out, damaged)?;
    Ok(Standing::Bundle { held })
}

/// That a folder holds the files of a bundle and nothing else.
///
/// # Errors
/// [`BakeError::Occupied`].
pub(super) fn check_contents(folder: &Path, damaged: bool) -> Result<(), BakeError> {
    let read = |source| BakeError::Read { path: folder.to_owned(), source };
    let occupied = |problem: String| Err(BakeError::Occupied { path: folder.to_owned(), problem });
    let manifest = match manifest(&folder.join(MANIFEST_FILE)) {
        Ok(manifest) => Some(manifest),
        Err(_) if damaged => None,
        Err(problem) => return occupied(format!("exists and is not a bundle ({problem})")),
    };
    let is_part = |name: &str| {
        name == MANIFEST_FILE
            || manifest.as_ref().map_or_else(|| is_bundle_file(name), |manifest| manifest.files.contains_key(name))
    };
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name();
        if !entry.file_type().map_err(read)?.is_file() || !name.to_str().is_some_and(is_part) {
            let name = name.to_string_lossy().escape_default().to_string();
            return occupied(format!("holds `{name}`, which is no part of the bundle there and would be lost"));
        }
    }
    Ok(())
}

/// A manifest as this program writes them, now or in earlier versions.
fn manifest(path: &Path) -> Result<Manifest, String> {
    if !fs::symlink_metadata(path).is_ok_and(|data| data.is_file()) {
        return Err(format!("it has no file {MANIFEST_FILE}"));
    }
    let mut file =
        files::open(path, files::MANIFEST).map_err(|error| format!("its {MANIFEST_FILE} cannot be opened: {error}"))?;
    match read_manifest(&mut file, path) {
        Ok((manifest, _)) => Ok(manifest),
        Err(_) => Err(format!("its {MANIFEST_FILE} is not one that this program wrote")),
    }
}

/// Removes the files of a bundle in `folder`, and the folder if nothing else is in it.
pub(super) fn remove_bundle(folder: &Path) {
    // Not what a link leads to.
    if !fs::symlink_metadata(folder).is_ok_and(|data| data.is_dir()) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name == MANIFEST_FILE || is_bundle_file(name));
        if ours && entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
