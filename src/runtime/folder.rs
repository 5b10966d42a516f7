//! A bundle's folder, seen as something that a stranger may have made.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use super::external::{self, WEIGHTS};
use super::model::Graph;
use crate::bundle::Manifest;

const MANIFEST: &str = "bundle.json";
/// The format that is understood.
const FORMAT_VERSION: u32 = 1;
/// A manifest holds an audit of some lines per layer; this is far beyond any.
const MANIFEST_LIMIT: u64 = 64 << 20;

/// A folder whose manifest was read and whose files are there, of the sizes that the manifest says.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    pub manifest: Manifest,
    /// Size of `weights.bin`.
    pub weights: u64,
}

impl Folder {
    /// Opens a folder. Every file the manifest lists must be one that bundles have, must lie in the folder (a link may
    /// not lead out of it), and must have the size stated.
    pub fn open(path: &Path) -> Result<Folder, RuntimeError> {
        let real = path.canonicalize().map_err(RuntimeError::io(path))?;
        if !real.is_dir() {
            return Err(problem(path, "it is not a folder".to_owned()));
        }
        let manifest = read_manifest(&path.join(MANIFEST))?;
        for (name, entry) in &manifest.files {
            let file = path.join(name);
            if !is_bundle_file(name) {
                let text = format!("it lists a file `{}`, which bundles do not have", name.escape_default());
                return Err(problem(&path.join(MANIFEST), text));
            }
            let inside = file.canonicalize().map_err(RuntimeError::io(&file))?;
            if inside.parent() != Some(&real) {
                return Err(problem(&file, "it is a link out of the bundle".to_owned()));
            }
            let data = inside.metadata().map_err(RuntimeError::io(&file))?;
            if !data.is_file() {
                return Err(problem(&file, "it is not a file".to_owned()));
            }
            if data.len() != entry.bytes {
                let text = format!("it has {} bytes, and {MANIFEST} says {}", data.len(), entry.bytes);
                return Err(problem(&file, text));
            }
        }
        for graph in [Graph::Embed, Graph::Forward, Graph::Gradient] {
            if !manifest.files.contains_key(graph.file()) {
                return Err(problem(&path.join(MANIFEST), format!("it lists no `{}`", graph.file())));
            }
        }
        let weights = manifest.files.get(WEIGHTS).map_or(0, |entry| entry.bytes);
        Ok(Folder { path: path.to_owned(), manifest, weights })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn has(&self, graph: Graph) -> bool {
        self.manifest.files.contains_key(graph.file())
    }

    /// The file of a graph, after checking where it looks for weights.
    pub fn graph(&self, graph: Graph) -> Result<PathBuf, RuntimeError> {
        let file = self.path.join(graph.file());
        if !self.has(graph) {
            return Err(problem(&file, "this bundle has no such graph".to_owned()));
        }
        let bytes = fs::read(&file).map_err(RuntimeError::io(&file))?;
        external::check(&bytes, self.weights).map_err(|text| problem(&file, text))?;
        Ok(file)
    }
}

fn is_bundle_file(name: &str) -> bool {
    name == WEIGHTS || name == "tokenizer.json" || Graph::ALL.iter().any(|graph| graph.file() == name)
}

fn read_manifest(path: &Path) -> Result<Manifest, RuntimeError> {
    let mut text = String::new();
    let file = File::open(path).map_err(RuntimeError::io(path))?;
    let read = file.take(MANIFEST_LIMIT + 1).read_to_string(&mut text).map_err(RuntimeError::io(path))?;
    if read as u64 > MANIFEST_LIMIT {
        return Err(problem(path, format!("it has more than {MANIFEST_LIMIT} bytes")));
    }
    // The version comes first: another one may have other fields.
    #[derive(serde::Deserialize)]
    struct Versioned {
        format_version: u32,
    }
    let not_read = |error: serde_json::Error| problem(path, format!("it cannot be read: {error}"));
    let version = serde_json::from_str::<Versioned>(&text).map_err(not_read)?.format_version;
    if version != FORMAT_VERSION {
        let text = format!("its format version is {version}; this program reads version {FORMAT_VERSION}");
        return Err(problem(path, text));
    }
    let manifest: Manifest = serde_json::from_str(&text).map_err(not_read)?;
    let sizes = &manifest.dimensions;
    for (name, size) in
        [("hidden", sizes.hidden), ("vocab", sizes.vocab), ("max_positions", sizes.max_positions.unwrap_or(1))]
    {
        if size == 0 || i32::try_from(size).is_err() {
            return Err(problem(path, format!("its dimension `{name}` is {size}")));
        }
    }
    manifest.labels().map_err(|text| problem(path, text))?;
    Ok(manifest)
}

fn problem(path: &Path, problem: String) -> RuntimeError {
    RuntimeError::Bundle { path: path.to_owned(), problem }
}
