//! `reports/latest`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use super::error::ReportError;
use crate::files;

/// How the newest run was pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latest {
    /// A relative symbolic link, `latest`.
    Link(PathBuf),
    /// A text file that holds the relative path, `latest.txt`, where there are no symbolic links.
    TextFile(PathBuf),
}

/// Points `parent/latest` at `run_dir`, in one step, in place of what it pointed at before. Both folders must exist.
pub fn point_latest(parent: &Path, run_dir: &Path) -> Result<Latest, ReportError> {
    let absolute =
        |path: &Path| path.canonicalize().map_err(|source| ReportError::Io { path: path.to_path_buf(), source });
    let target = relative(&absolute(parent)?, &absolute(run_dir)?);
    let link = parent.join("latest");
    match link.symlink_metadata() {
        Ok(found) if !found.is_symlink() => return Err(ReportError::InTheWay { path: link }),
        _ => {}
    }
    let fail = |path: &Path, source| ReportError::Io { path: path.to_path_buf(), source };
    match tempfile::Builder::new().prefix(".latest.").make_in(parent, |path| symlink(&target, path)) {
        Ok(made) => {
            let made = made.into_temp_path();
            // Only a link to a folder on Windows is not replaced by a rename.
            #[cfg(windows)]
            let _ = fs::remove_dir(&link);
            made.persist(&link).map_err(|error| fail(&link, error.error))?;
            let text = parent.join("latest.txt");
            if pointed_at(&text).is_some_and(|run| run.is_dir()) {
                let _ = fs::remove_file(text);
            }
            Ok(Latest::Link(link))
        }
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            let text = parent.join("latest.txt");
            if text.exists() && pointed_at(&text).is_none() {
                return Err(ReportError::InTheWay { path: text });
            }
            let mut made = tempfile::Builder::new()
                .prefix(".latest.")
                .make_in(parent, |path| File::create_new(path))
                .map_err(|source| fail(&text, source))?;
            writeln!(made.as_file_mut(), "{}", target.display()).map_err(|source| fail(&text, source))?;
            made.into_temp_path().persist(&text).map_err(|error| fail(&text, error.error))?;
            Ok(Latest::TextFile(text))
        }
        Err(source) => Err(fail(&link, source)),
    }
}

/// Where a file leads that [`point_latest`] may have written: one line. What else somebody keeps under that name stays.
fn pointed_at(file: &Path) -> Option<PathBuf> {
    const KIND: files::Kind = files::Kind { what: "a way to a folder", most: 1 << 13 };
    if file.is_symlink() {
        return None;
    }
    let text = files::read_text(file, KIND).ok()?;
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(line), None) if !line.is_empty() => Some(file.parent()?.join(line)),
        _ => None,
    }
}

/// The way from one absolute folder to another; absolute where there is none (another drive).
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (mut from, mut rest) = (from.components().peekable(), to.components().peekable());
    if from.peek() != rest.peek() {
        return to.to_path_buf();
    }
    while from.peek().is_some() && from.peek() == rest.peek() {
        from.next();
        rest.next();
    }
    let way: PathBuf = from.map(|_| Component::ParentDir).chain(rest).collect();
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    // Without the privilege this is an error that is not PermissionDenied.
    std::os::windows::fs::symlink_dir(target, link).map_err(|_| ErrorKind::Unsupported.into())
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn latest_moves_on() {
        let folder = tempfile::tempdir().unwrap();
        let (parent, inside) = (folder.path().join("reports"), folder.path().join("reports/run 1"));
        let elsewhere = folder.path().join("elsewhere/run");
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        for (run, target) in [(&inside, "run 1"), (&elsewhere, "../elsewhere/run"), (&inside, "run 1")] {
            assert_eq!(point_latest(&parent, run).unwrap(), Latest::Link(parent.join("latest")));
            assert_eq!(fs::read_link(parent.join("latest")).unwrap(), Path::new(target));
            assert_eq!(parent.join("latest").canonicalize().unwrap(), run.canonicalize().unwrap());
        }
        // A link to a run that was deleted.
        fs::remove_dir(&inside).unwrap();
        point_latest(&parent, &elsewhere).unwrap();
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 1, "nothing left behind");
    }

    #[cfg(unix)]
    #[test]
    fn a_note_of_that_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir_all(&run).unwrap();
        let note = folder.path().join("latest.txt");
        for (text, stays) in [("the latest of my thoughts\n", true), ("run\nand more\n", true), ("run\n", false)] {
            fs::write(&note, text).unwrap();
            point_latest(folder.path(), &run).unwrap();
            assert_eq!(note.exists(), stays, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir_all(&run).unwrap();
        fs::create_dir(folder.path().join("latest")).unwrap();
        fs::write(folder.path().join("latest/precious"), "x").unwrap();
        let error = point_latest(folder.path(), &run).unwrap_err();
        assert!(matches!(error, ReportError::InTheWay { .. }), "{error}");
        assert!(folder.path().join("latest/precious").exists());
        assert!(point_latest(folder.path(), &folder.path().join("missing")).is_err());
    }
}
