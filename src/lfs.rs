//! Git LFS: a clone without it holds small texts where the large files should be.

use std::path::Path;

use crate::files;

const START: &[u8] = b"version https://git-lfs.github.com/spec/";
/// Pointers are shorter than this, by their specification.
const POINTER: files::Kind = files::Kind { what: "a Git LFS pointer", most: MOST_BYTES };
pub const MOST_BYTES: u64 = 1024;

/// What is wrong with such a file, and what to do now; the file's name goes before it.
pub const PROBLEM: &str = "is a Git LFS pointer, not the file itself: the repository was cloned without Git LFS; run \
                           `git lfs install` and `git lfs pull` in it, or download the file";

/// Whether this is the content of a pointer.
pub fn is_pointer(content: &[u8]) -> bool {
    content.starts_with(START) && content.len() as u64 <= POINTER.most
}

/// Whether a file is a pointer. One that cannot be read is none: reading it will say why.
pub fn is_pointer_file(path: &Path) -> bool {
    files::read(path, POINTER).is_ok_and(|content| is_pointer(&content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_from_files() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
        assert!(is_pointer(pointer) && !is_pointer(b"{}") && !is_pointer(b""));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        assert!(!is_pointer_file(&path) && !is_pointer_file(folder.path()));
        std::fs::write(&path, pointer).unwrap();
        assert!(is_pointer_file(&path));
        std::fs::write(&path, [&pointer[..], &[b'x'; 2000]].concat()).unwrap();
        assert!(!is_pointer_file(&path));
    }
}
