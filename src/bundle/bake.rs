//! Writing a bundle.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use prost::Message;
use sha2::{Digest, Sha256};

use super::cached;
use super::contract::Graph as Contract;
use super::graphs::{self, Baked};
use super::manifest::{
    ComputeType, Dimensions, FORMAT_VERSION, FileEntry, GraphPorts, MANIFEST_FILE, Manifest, Port, Source,
    TOKENIZER_FILE, WEIGHT_FILE, WeightType,
};
use super::source::{ForwardModel, SourceError};
use super::target;
use super::unpublished::{Space, Unpublished};
use super::{inside, rollout};
use crate::chat::{ChatError, ChatTemplate};
use crate::digest::hexadecimal;
use crate::files;
use crate::grad::{Audit, GradError, SiteKind};
use crate::labels::Labels;
use crate::onnx::weights::CopyError;
use crate::onnx::write::{Export, WeightLocation, to_model};
use crate::onnx::{Dtype, Graph, GraphError, Id};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// The fact of a graph file that says what it computes in.
pub const COMPUTE: &str = "gim_harness.compute_dtype";

#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{path}")]
    Tokenizer { path: PathBuf, source: TokenizerError },
    #[error(
        "{path} makes token ids up to {max_id}, and the model in {folder} has embeddings for 0 to {}: \
         this tokenizer belongs to another model", vocab.saturating_sub(1)
    )]
    Vocabulary { path: PathBuf, folder: PathBuf, max_id: i64, vocab: usize },
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("the gradient graph of {folder} could not be made")]
    Gradient { folder: PathBuf, source: GradError },
    #[error("a graph of {folder} could not be written")]
    Graph { folder: PathBuf, source: GraphError },
    #[error(
        "{folder} has {layers} attention layers, and only {found} places for {kind} were recognised: \
         the gradients would not be what they are called (--allow-missing-sites bakes it all the same)"
    )]
    TooFewSites { folder: PathBuf, kind: SiteKind, found: usize, layers: usize },
    #[error("{path} {problem}; name another folder, or move away what is there")]
    Occupied { path: PathBuf, problem: String },
    #[error(
        "the folder of the bundle, {out}, is, holds or lies in {source_path}, which it is to be baked from; name another \
         folder"
    )]
    Overlap { out: PathBuf, source_path: PathBuf },
    #[error("another program is using the bundle {path}; wait until it has ended, or name another folder")]
    InUse { path: PathBuf },
    #[error("what was at {out} was moved aside and could not be put back; it is in {path}")]
    Stranded { out: PathBuf, path: PathBuf },
    #[error(transparent)]
    Range(CopyError),
    #[error("interrupted; nothing was written")]
    Interrupted,
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// What `bake` may be told.
#[derive(Clone, Debug, Default)]
pub struct BakeOptions<'a> {
    /// Another tokenizer than the one in the folder or beside the file.
    pub tokenizer: Option<PathBuf>,
    /// What the weights are stored as.
    pub weights: WeightType,
    /// What the graphs compute in.
    pub compute: ComputeType,
    /// Bake also where a rule found fewer sites than the model has attention layers. The audit says what was found.
    pub allow_missing_sites: bool,
    /// The bundle goes to a folder that is the program's own: what is damaged there is replaced, too.
    pub replace_damaged: bool,
    /// Becomes true when baking is to stop; nothing is left behind then.
    pub interrupted: Option<&'a AtomicBool>,
}

impl BakeOptions<'_> {
    /// Whether baking is to stop.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

/// Bakes a Hugging Face folder or a forward `.onnx` file into a bundle. The bundle appears at `out` complete or not at all.
///
/// `progress` is told how many bytes of weights are written, and how many there will be. Nothing is run: see
/// [`verify::bake`](crate::verify::bake) for a bundle that was checked before it appears.
pub fn bake(
    folder: &Path,
    out: &Path,
    options: &BakeOptions<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Manifest, BakeError> {
    write(folder, out, options, progress)?.publish()
}

/// As [`bake`], but for the last step.
pub fn write(
    folder: &Path,
    out: &Path,
    options: &BakeOptions<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Unpublished, BakeError> {
    let out = &target::resolve(out)?;
    target::check_apart(out, [folder].into_iter().chain(options.tokenizer.as_deref()))?;
    // Looked at here so that nobody waits for a bake in vain, and again when the bundle is to appear.
    drop(target::standing(out, options.replace_damaged)?);
    let source = ForwardModel::open(folder, options.tokenizer.as_deref())?.stored_as(options.weights.dtype());
    let tokenizer_path = options.tokenizer.clone().unwrap_or_else(|| source.tokenizer());
    let files = source.weights.files().iter().chain(&source.described_by).chain([&tokenizer_path]);
    target::check_apart(out, files.map(PathBuf::as_path))?;
    let tokenizer = Tokenizer::from_file(&tokenizer_path)
        .map_err(|source| BakeError::Tokenizer { path: tokenizer_path.clone(), source })?;
    // Tokens that were added to a vocabulary may be without embeddings (Gemma 3's tokenizer has one for images); a
    // vocabulary that is larger than the table was made for another one.
    let max_id = tokenizer.max_own_id();
    if max_id >= source.vocab as i64 {
        let folder = folder.to_owned();
        return Err(BakeError::Vocabulary { path: tokenizer_path, folder, max_id, vocab: source.vocab });
    }
    let chat = ChatTemplate::beside(&tokenizer_path)?;
    let (chat_template, described_by) = chat.map_or((None, Vec::new()), |(chat, files)| (Some(chat), files));
    let gradient_error = |source| BakeError::Gradient { folder: folder.to_owned(), source };
    let (gradient, audit) = graphs::gradient(&source).map_err(gradient_error)?;
    if !options.allow_missing_sites {
        check_sites(folder, &audit, source.layers)?;
    }
    let mut baked = vec![
        graphs::embed(&source),
        graphs::forward(&source).map_err(gradient_error)?,
        graphs::forward_embeds(&source).map_err(gradient_error)?,
        gradient,
        graphs::gradient_log_probability(&source).map_err(gradient_error)?,
        graphs::attention(&source).map_err(gradient_error)?,
        rollout::attention_rollout(&source).map_err(gradient_error)?,
    ];
    let mut absent = BTreeMap::new();
    let cached = (Contract::ForwardCached, cached::forward_cached(&source).map_err(gradient_error)?);
    for (graph, made) in inside::graphs(&source).map_err(gradient_error)?.into_iter().chain([cached]) {
        match made {
            Ok(made) => baked.push(made),
            Err(reason) => drop(absent.insert(graph.file().to_owned(), reason)),
        }
    }
    for graph in &mut baked {
        graph.compute_in(options.compute).map_err(|source| BakeError::Graph { folder: folder.to_owned(), source })?;
    }
    let pad = source.pad_token_id.filter(|&id| (id as usize) < source.vocab);
    let mut manifest = Manifest {
        format_version: FORMAT_VERSION,
        source: Source {
            name: name_of(folder),
            kind: source.kind.to_owned(),
            sha256: source_sha256(&tokenizer_path, &described_by, &source)?,
        },
        architecture: source.architecture.clone(),
        dimensions: Dimensions {
            layers: source.layers,
            hidden: source.hidden,
            heads: source.heads,
            vocab: source.vocab,
            labels: source.labels.as_ref().map(Labels::count),
            scores_last: source.scores_last,
            max_positions: source.max_positions,
        },
        labels: source.labels.clone(),
        dtype: options.weights.dtype().name().to_owned(),
        compute_dtype: match options.compute {
            ComputeType::F32 => None,
            other => Some(other.dtype().name().to_owned()),
        },
        baseline_token_id: tokenizer.baseline(pad, None),
        pad_token_id: pad,
        chat_template,
        notes: [source.notes.clone(), notes_on_tokenizer(&tokenizer, &source)].concat(),
        ignored_fields: source.ignored_fields.clone(),
        files: BTreeMap::new(),
        graphs: BTreeMap::new(),
        absent,
        audit,
        manifest_sha256: None,
    };

    let space = Space::beside(out)?;
    write_files(space.path(), &source, &tokenizer_path, &baked, &mut manifest, options, progress)?;
    Ok(space.filled(out, options.replace_damaged, manifest))
}

/// What a user should know of how the tokenizer goes with the model.
fn notes_on_tokenizer(tokenizer: &Tokenizer, source: &ForwardModel) -> Vec<String> {
    let mut notes = Vec::new();
    let last = source.vocab as i64 - 1;
    if tokenizer.max_id() > last {
        let first = tokenizer.token(last + 1);
        notes.push(format!(
            "the tokenizer has ids up to {}, such as that of '{first}', and the model embeddings for 0 to {last}: a prompt \
             with one beyond is refused",
            tokenizer.max_id()
        ));
    }
    // Tables are padded by some rows, rarely by a fifth of them.
    if tokenizer.max_id().saturating_mul(5) < last.saturating_mul(4) {
        notes.push(format!(
            "the tokenizer has ids up to {}, and the model embeddings for 0 to {last}: make sure that they belong together",
            tokenizer.max_id()
        ));
    }
    if source.labels.is_none() {
        notes.extend(tokenizer.note_on_ends());
    }
    notes
}

fn name_of(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Every layer has at least one site of every kind.
fn check_sites(folder: &Path, audit: &Audit, layers: usize) -> Result<(), BakeError> {
    for kind in SiteKind::ALL {
        let found = audit.count(kind);
        if found < layers {
            return Err(BakeError::TooFewSites { folder: folder.to_owned(), kind, found, layers });
        }
    }
    Ok(())
}

/// SHA-256 over names, sizes and contents of the files that a bundle is made from.
fn source_sha256(tokenizer: &Path, chat: &[PathBuf], source: &ForwardModel) -> Result<String, BakeError> {
    let mut files = source.described_by.clone();
    files.push(tokenizer.to_owned());
    files.extend(chat.iter().cloned());
    files.extend(source.weights.files().iter().cloned());
    fingerprint(&files).map_err(|(path, source)| BakeError::Read { path, source })
}

/// SHA-256 over names, sizes and contents of files, hexadecimal.
pub fn fingerprint(files: &[PathBuf]) -> Result<String, (PathBuf, io::Error)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    for path in files {
        let io = |source| (path.clone(), source);
        let mut file = files::open(path, files::WEIGHTS).map_err(io)?;
        hasher.update(name_of(path).as_bytes());
        hasher.update(file.metadata().map_err(io)?.len().to_le_bytes());
        loop {
            let read = file.read(&mut buffer).map_err(io)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
    }
    Ok(hexadecimal(&hasher.finalize()))
}

fn write_files(
    folder: &Path,
    source: &ForwardModel,
    tokenizer: &Path,
    baked: &[Baked],
    manifest: &mut Manifest,
    options: &BakeOptions<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), BakeError> {
    let (locations, total) = source.weights.locations();
    let path = folder.join(WEIGHT_FILE);
    let mut done = 0;
    let entry = write_hashed(&path, |out| {
        let out = &mut Stoppable { inner: out, options };
        source
            .weights
            .write(out, &mut |bytes| {
                done += bytes;
                progress(done, total);
            })
            .map_err(|error| match error {
                CopyError::Read { path, source } => BakeError::Read { path, source },
                CopyError::Write(_) if options.is_interrupted() => BakeError::Interrupted,
                CopyError::Write(source) => BakeError::Write { path: path.clone(), source },
                error @ CopyError::Range { .. } => BakeError::Range(error),
            })
    })?;
    // Tensors are aligned, so the bytes of all of them are a little less than the file's.
    progress(total, total);
    manifest.files.insert(WEIGHT_FILE.to_owned(), entry);

    let text = files::read(tokenizer, files::TOKENIZER)
        .map_err(|source| BakeError::Read { path: tokenizer.to_owned(), source })?;
    write_bytes(folder, TOKENIZER_FILE, &text, manifest)?;

    for graph in baked {
        manifest.graphs.insert(graph.file.to_owned(), ports(graph));
        let model = encode(graph, &locations, manifest)
            .map_err(|error| BakeError::Graph { folder: source.path.clone(), source: error })?;
        write_bytes(folder, graph.file, &model, manifest)?;
    }
    let path = folder.join(MANIFEST_FILE);
    let text = manifest.seal().map_err(|error| BakeError::Write { path: path.clone(), source: error.into() })?;
    write_hashed(&path, |out| out.write_all(&text).map_err(|source| BakeError::Write { path: path.clone(), source }))?;
    Ok(())
}

fn write_bytes(folder: &Path, name: &str, bytes: &[u8], manifest: &mut Manifest) -> Result<(), BakeError> {
    let path = folder.join(name);
    let entry = write_hashed(&path, |out| {
        out.write_all(bytes).map_err(|source| BakeError::Write { path: path.clone(), source })
    })?;
    manifest.files.insert(name.to_owned(), entry);
    Ok(())
}

fn encode(baked: &Baked, locations: &[WeightLocation], manifest: &Manifest) -> Result<Vec<u8>, GraphError> {
    let metadata = [
        ("gim_harness.format_version", manifest.format_version.to_string()),
        ("gim_harness.architecture", manifest.architecture.clone()),
        ("gim_harness.source", manifest.source.name.clone()),
        ("gim_harness.source_sha256", manifest.source.sha256.clone()),
        ("gim_harness.dtype", manifest.dtype.clone()),
        (COMPUTE, manifest.compute_dtype.clone().unwrap_or_else(|| Dtype::F32.name().to_owned())),
        ("gim_harness.dimensions", serde_json::to_string(&manifest.dimensions).unwrap_or_default()),
        ("gim_harness.labels", serde_json::to_string(&manifest.labels).unwrap_or_default()),
        ("gim_harness.baseline_token_id", manifest.baseline_token_id.map(|id| id.to_string()).unwrap_or_default()),
        ("gim_harness.audit", serde_json::to_string(&manifest.audit).unwrap_or_default()),
    ]
    .map(|(key, value)| (key.to_owned(), value));
    let model = to_model(&Export {
        name: baked.file.trim_end_matches(".onnx"),
        graph: &baked.graph,
        inputs: &baked.inputs,
        outputs: &baked.outputs,
        weights: locations,
        weight_file: WEIGHT_FILE,
        metadata: &metadata,
    })?;
    Ok(model.encode_to_vec())
}

fn ports(baked: &Baked) -> GraphPorts {
    let port = |name: &str, id: Id, graph: &Graph| Port {
        name: name.to_owned(),
        dtype: graph.dtype(id).name().to_owned(),
        shape: graph.shape(id).iter().map(|dim| dim.to_string()).collect(),
    };
    let input_name = |id: Id| match &baked.graph.value(id).op {
        crate::onnx::Op::Input { name, .. } => name.clone(),
        other => other.name(),
    };
    GraphPorts {
        inputs: baked.inputs.iter().map(|&id| port(&input_name(id), id, &baked.graph)).collect(),
        outputs: baked.outputs.iter().map(|&(name, id)| port(name, id, &baked.graph)).collect(),
    }
}

/// Writes a file through a hash, and to the disk.
fn write_hashed(
    path: &Path,
    fill: impl FnOnce(&mut Hashing<BufWriter<File>>) -> Result<(), BakeError>,
) -> Result<FileEntry, BakeError> {
    let io = |source| BakeError::Write { path: path.to_owned(), source };
    let file = File::create(path).map_err(io)?;
    let mut out = Hashing { inner: BufWriter::new(file), hasher: Sha256::new(), bytes: 0 };
    fill(&mut out)?;
    let file = out.inner.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    Ok(FileEntry { sha256: hexadecimal(&out.hasher.finalize()), bytes: out.bytes })
}

struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Fails to write once the flag is up.
struct Stoppable<'a, W> {
    inner: &'a mut W,
    options: &'a BakeOptions<'a>,
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // Not `ErrorKind::Interrupted`: that asks writers to try again.
        if self.options.is_interrupted() {
            return Err(io::Error::other("interrupted"));
        }
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
