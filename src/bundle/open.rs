//! Opening a bundle: the one place where every command reads one, as something that a stranger may have made and a disk
//! may have damaged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::contract::{Graph, is_bundle_file};
use super::manifest::{FORMAT_VERSION, MANIFEST_FILE, Manifest, OLDEST_VERSION, TOKENIZER_FILE, WEIGHT_FILE};
use super::records::Records;
use super::stamp::Stamp;
use crate::digest::{sha256, sha256_of_reader};
use crate::files;
use crate::lock;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Why a folder is not opened as a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {problem}\n  hint: `gim-harness bake` makes a bundle; a damaged one is best baked anew", .path.display())]
    Unsound { path: PathBuf, problem: String },
    #[error(
        "{} is not the file that was baked: its SHA-256 is {found}, and bundle.json says {expected}\n  hint: bake the \
         bundle anew with `gim-harness bake`, or copy it again from where it is whole", .path.display()
    )]
    Changed { path: PathBuf, expected: String, found: String },
    #[error("the tokenizer {}", .path.display())]
    Tokenizer { path: PathBuf, source: TokenizerError },
}

impl BundleError {
    /// Whether the files are not what was baked, rather than that they cannot be read.
    pub fn is_damage(&self) -> bool {
        match self {
            // Missing, not UTF-8, or no regular file of a size that such files have.
            BundleError::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::FileTooLarge
            ),
            BundleError::Unsound { .. } | BundleError::Changed { .. } | BundleError::Tokenizer { .. } => true,
        }
    }
}

/// How to open bundles.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Where it is kept what the SHA-256 of large files was, so that they are read once and not at every opening;
    /// `None`: nowhere, and they are read.
    pub records: Option<PathBuf>,
    /// Read them all the same.
    pub verify_files: bool,
}

/// A bundle whose files are, by their SHA-256, the ones that were baked. While it lives no other program of this kind
/// replaces or removes it, as far as the file system has locks.
#[derive(Debug)]
pub struct OpenedBundle {
    path: PathBuf,
    pub manifest: Manifest,
    /// The SHA-256 of every file of the bundle by its name, `bundle.json` among them, as it was found on the disk.
    pub files: BTreeMap<String, String>,
    stamps: BTreeMap<String, Stamp>,
    /// `bundle.json`, with a shared lock.
    _in_use: File,
}

impl OpenedBundle {
    /// Opens a folder. Every file that the manifest lists must be one that bundles have, must lie in the folder (a link
    /// may not lead out of it), and must have the size and the SHA-256 stated; the manifest states its own. Everything is
    /// read but for weights of which `opening.records` knows the hash.
    ///
    /// # Errors
    /// [`BundleError`] names the file.
    pub fn open(path: &Path, opening: &Opening) -> Result<OpenedBundle, BundleError> {
        let Listing { real, manifest, sha256: of_manifest, file } = Listing::read(path)?;
        let mut files = BTreeMap::from([(MANIFEST_FILE.to_owned(), of_manifest)]);
        let mut stamps = BTreeMap::new();
        for (name, entry) in &manifest.files {
            let (found, stamp) = match &opening.records {
                Some(records) if name == WEIGHT_FILE => {
                    let trusted = (!opening.verify_files).then_some(entry.sha256.as_str());
                    recorded(&Records(records), path, &real, name, trusted)?
                }
                _ => hash(&path.join(name))?,
            };
            if found != entry.sha256 {
                return Err(BundleError::Changed { path: path.join(name), expected: entry.sha256.clone(), found });
            }
            files.insert(name.clone(), found);
            stamps.insert(name.clone(), stamp);
        }
        Ok(OpenedBundle { path: path.to_owned(), manifest, files, stamps, _in_use: file })
    }

    /// The folder it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn has(&self, name: &str) -> bool {
        self.manifest.files.contains_key(name)
    }

    /// Bytes of `weights.bin`.
    pub fn weights(&self) -> u64 {
        self.manifest.files.get(WEIGHT_FILE).map_or(0, |entry| entry.bytes)
    }

    /// Bytes that its weights have in the type that they are computed with.
    pub fn wide_weights(&self) -> u64 {
        let compute = self.manifest.compute_type().unwrap_or_default();
        compute.wide(self.weights(), self.manifest.weight_type().unwrap_or_default())
    }

    /// What should be known of a bundle that was baked before manifests stated their own hash.
    pub fn caution(&self) -> Option<String> {
        self.manifest.manifest_sha256.is_none().then(|| {
            format!(
                "{} was baked before {MANIFEST_FILE} stated its own SHA-256, so damage to that file may go unnoticed; \
                 `gim-harness bake` makes one that does",
                self.path.display()
            )
        })
    }

    /// The contents of one of its files, which are those that were baked.
    ///
    /// # Errors
    /// [`BundleError`] where they no longer are.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, BundleError> {
        read(&self.path, &self.manifest, name)
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// [`BundleError`] where the file is missing, not the one that was baked, or no tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer, BundleError> {
        tokenizer(&self.path, &self.manifest)
    }

    /// That a file is still what it was when the bundle was opened. It is read again only where its stamp is another.
    ///
    /// # Errors
    /// [`BundleError::Changed`] where its contents are others.
    pub fn check_unchanged(&self, name: &str) -> Result<(), BundleError> {
        let (Some(stamp), Some(expected)) = (self.stamps.get(name), self.files.get(name)) else { return Ok(()) };
        let path = self.path.join(name);
        let metadata = fs::metadata(&path).map_err(io_error(&path))?;
        if Stamp::of(&metadata) == *stamp {
            return Ok(());
        }
        let (found, _) = hash(&path)?;
        if found == *expected { Ok(()) } else { Err(BundleError::Changed { path, expected: expected.clone(), found }) }
    }
}

/// The manifest of a bundle and its tokenizer, without a look at its graphs and weights.
///
/// # Errors
/// As [`OpenedBundle::open`].
pub fn described(path: &Path) -> Result<(Manifest, Tokenizer), BundleError> {
    let manifest = Listing::read(path)?.manifest;
    let tokenizer = tokenizer(path, &manifest)?;
    Ok((manifest, tokenizer))
}

fn tokenizer(folder: &Path, manifest: &Manifest) -> Result<Tokenizer, BundleError> {
    let bytes = read(folder, manifest, TOKENIZER_FILE)?;
    let path = folder.join(TOKENIZER_FILE);
    Tokenizer::from_bytes(&path, &bytes).map_err(|source| BundleError::Tokenizer { path, source })
}

fn read(folder: &Path, manifest: &Manifest, name: &str) -> Result<Vec<u8>, BundleError> {
    let path = folder.join(name);
    let Some(entry) = manifest.files.get(name) else {
        return Err(unsound(&path, "the bundle has no such file".to_owned()));
    };
    let bytes = files::read(&path, files::GRAPH).map_err(io_error(&path))?;
    let found = sha256(&bytes);
    if found != entry.sha256 {
        return Err(BundleError::Changed { path, expected: entry.sha256.clone(), found });
    }
    Ok(bytes)
}

/// A manifest, and files of the names and sizes that it says.
struct Listing {
    /// The folder, without links.
    real: PathBuf,
    manifest: Manifest,
    sha256: String,
    /// `bundle.json`, with a shared lock.
    file: File,
}

impl Listing {
    fn read(path: &Path) -> Result<Listing, BundleError> {
        let real = path.canonicalize().map_err(io_error(path))?;
        if !real.is_dir() {
            return Err(unsound(path, "it is not a folder".to_owned()));
        }
        let manifest_path = path.join(MANIFEST_FILE);
        let mut file = lock::shared(&manifest_path).map_err(io_error(&manifest_path))?;
        let (manifest, sha256) = read_manifest(&mut file, &manifest_path)?;
        for (name, entry) in &manifest.files {
            let file = path.join(name);
            let inside = file.canonicalize().map_err(io_error(&file))?;
            if inside.parent() != Some(&real) {
                return Err(unsound(&file, "it is a link out of the bundle".to_owned()));
            }
            let data = inside.metadata().map_err(io_error(&file))?;
            if !data.is_file() {
                return Err(unsound(&file, "it is not a file".to_owned()));
            }
            if data.len() != entry.bytes {
                let text = format!("it has {} bytes, and {MANIFEST_FILE} says {}", data.len(), entry.bytes);
                return Err(unsound(&file, text));
            }
        }
        for graph in Graph::ALL.into_iter().filter(|graph| graph.is_needed()).map(Graph::file) {
            if !manifest.files.contains_key(graph) {
                return Err(unsound(&manifest_path, format!("it lists no `{graph}`")));
            }
        }
        Ok(Listing { real, manifest, sha256, file })
    }
}

/// Reads a manifest and checks what can be told from it alone. Gives its SHA-256, too.
pub(super) fn read_manifest(file: &mut File, path: &Path) -> Result<(Manifest, String), BundleError> {
    let text = files::read_opened_text(file, files::MANIFEST).map_err(io_error(path))?;
    // The version comes first: another one may have other fields.
    #[derive(serde::Deserialize)]
    struct Versioned {
        format_version: u32,
    }
    let not_read = |error: serde_json::Error| unsound(path, format!("it cannot be read: {error}"));
    let version = serde_json::from_str::<Versioned>(&text).map_err(not_read)?.format_version;
    if !(OLDEST_VERSION..=FORMAT_VERSION).contains(&version) {
        return Err(unsound(
            path,
            format!(
                "its format version is {version}; this program reads versions {OLDEST_VERSION} to {FORMAT_VERSION}"
            ),
        ));
    }
    let manifest: Manifest = serde_json::from_str(&text).map_err(not_read)?;
    manifest.check_seal(&text).map_err(|problem| unsound(path, problem))?;
    let sizes = &manifest.dimensions;
    for (name, size) in
        [("hidden", sizes.hidden), ("vocab", sizes.vocab), ("max_positions", sizes.max_positions.unwrap_or(1))]
    {
        if size == 0 || i32::try_from(size).is_err() {
            return Err(unsound(path, format!("its dimension `{name}` is {size}")));
        }
    }
    manifest.labels().map_err(|text| unsound(path, text))?;
    manifest.weight_type().map_err(|text| unsound(path, text))?;
    manifest.compute_type().map_err(|text| unsound(path, text))?;
    if let Some(name) = manifest.files.keys().find(|name| !is_bundle_file(name)) {
        let text = format!("it lists a file `{}`, which bundles do not have", name.escape_default());
        return Err(unsound(path, text));
    }
    Ok((manifest, sha256(text.as_bytes())))
}

/// The hash of a large file as it is known from an earlier reading, if that is the one `trusted`; else as it is read now.
/// A record that says otherwise may itself be damaged, so it condemns no file.
fn recorded(
    records: &Records,
    folder: &Path,
    real: &Path,
    name: &str,
    trusted: Option<&str>,
) -> Result<(String, Stamp), BundleError> {
    let path = folder.join(name);
    let real = real.join(name);
    let stamp = Stamp::of(&fs::metadata(&path).map_err(io_error(&path))?);
    if let Some(trusted) = trusted
        && records.find(&real, &stamp).is_some_and(|found| found == trusted)
    {
        return Ok((trusted.to_owned(), stamp));
    }
    let (found, stamp) = hash(&path)?;
    records.keep(&real, &stamp, &found);
    Ok((found, stamp))
}

/// The SHA-256 of a file, and its stamp, which was the same before and after.
fn hash(path: &Path) -> Result<(String, Stamp), BundleError> {
    let mut file = regular(path)?;
    let before = Stamp::of(&file.metadata().map_err(io_error(path))?);
    let found = sha256_of_reader(&mut file).map_err(io_error(path))?;
    if Stamp::of(&fs::metadata(path).map_err(io_error(path))?) != before {
        return Err(unsound(path, "it was changed while it was read".to_owned()));
    }
    Ok((found, before))
}

/// Opens a file that is one: to open a pipe would wait for somebody to write to it.
fn regular(path: &Path) -> Result<File, BundleError> {
    files::open(path, files::WEIGHTS).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.to_owned();
    move |source| BundleError::Io { path, source }
}

fn unsound(path: &Path, problem: String) -> BundleError {
    BundleError::Unsound { path: path.to_owned(), problem }
}
