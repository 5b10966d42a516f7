//! The files of npm packages that a page computes with. The user fetches the packages; nothing is downloaded here.

use std::path::{Path, PathBuf};

use super::WebError;
use crate::files;

/// What the page runs graphs with, and the version that it was tried with.
pub const ORT: &str = "onnxruntime-web@1.30.0";
/// What cuts its prompts into tokens, likewise.
pub const TOKENIZERS: &str = "@huggingface/tokenizers@0.2.0";

/// A package, the version that was found, and its files.
pub(super) struct Package {
    pub name: &'static str,
    pub version: String,
    pub files: Vec<PackageFile>,
}

pub(super) struct PackageFile {
    pub path: PathBuf,
    /// In the page's folder.
    pub name: &'static str,
}

/// As `page.json` names them.
pub(super) const ORT_SCRIPT: &str = "runtime/ort.wasm.min.mjs";
pub(super) const ORT_GLUE: &str = "runtime/ort-wasm-simd-threaded.mjs";
pub(super) const ORT_BINARY: &str = "runtime/ort-wasm-simd-threaded.wasm";
pub(super) const TOKENIZER_SCRIPT: &str = "runtime/tokenizers.min.mjs";

/// A package's files, by their place in it and in the page; the last of them only where it exists.
type Files = [(&'static str, &'static str)];
const PACKAGES: [(&str, &Files, (&str, &str)); 2] = [
    (
        ORT,
        &[
            ("dist/ort.wasm.min.mjs", ORT_SCRIPT),
            ("dist/ort-wasm-simd-threaded.mjs", ORT_GLUE),
            ("dist/ort-wasm-simd-threaded.wasm", ORT_BINARY),
        ],
        ("LICENSE", "runtime/onnxruntime-web.LICENSE.txt"),
    ),
    (TOKENIZERS, &[("dist/tokenizers.min.mjs", TOKENIZER_SCRIPT)], ("LICENSE", "runtime/tokenizers.LICENSE.txt")),
];

#[derive(serde::Deserialize)]
struct Described {
    version: String,
}

/// Looks for the packages in a folder `node_modules`.
///
/// # Errors
/// [`WebError::NoPackage`] and [`WebError::OtherPackage`].
pub(super) fn find(folder: &Path) -> Result<Vec<Package>, WebError> {
    PACKAGES.iter().map(|&(wanted, parts, licence)| one(folder, wanted, parts, licence)).collect()
}

fn one(folder: &Path, wanted: &'static str, parts: &Files, licence: (&str, &'static str)) -> Result<Package, WebError> {
    let name = wanted.rsplit_once('@').map_or(wanted, |(name, _)| name);
    let package = folder.join(name);
    let described = package.join("package.json");
    if !described.is_file() {
        return Err(WebError::NoPackage { folder: folder.to_owned(), package: name });
    }
    let text = files::read_text(&described, files::FACTS)
        .map_err(|source| WebError::Read { path: described.clone(), source })?;
    let version = serde_json::from_str::<Described>(&text).map_or_else(|_| "?".to_owned(), |found| found.version);
    let mut found = Vec::new();
    for &(part, name_there) in parts {
        let path = package.join(part);
        if !path.is_file() {
            return Err(WebError::OtherPackage { path, package: name, version, wanted });
        }
        found.push(PackageFile { path, name: name_there });
    }
    let (part, name_there) = licence;
    let path = package.join(part);
    if path.is_file() {
        found.push(PackageFile { path, name: name_there });
    }
    Ok(Package { name, version, files: found })
}
