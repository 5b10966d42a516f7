//! The tensors of a checkpoint: looked up by name, and copied once, to the bundle's weight file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype as StoredDtype;

use super::folder::{self, Shard, Shards};
use super::{CheckpointError, leftovers};
use crate::onnx::op::WeightRef;
use crate::onnx::weights::{CHUNK, CopyError, WeightSource, WeightTensor, read_part};
use crate::onnx::{Dtype, Graph, Id, Op};
use crate::{files, lfs};

#[derive(Clone, Debug)]
struct Stored {
    shard: usize,
    dtype: StoredDtype,
    dims: Vec<usize>,
    /// Bytes from the start of the shard.
    offset: u64,
    length: u64,
}

/// All tensors of a checkpoint, and the table of those that the graph uses.
#[derive(Debug)]
pub struct Weights {
    shards: Vec<PathBuf>,
    stored: HashMap<String, Stored>,
    used: Vec<(String, Stored)>,
    by_name: HashMap<String, usize>,
    /// What the user should know of where the weights come from.
    notes: Vec<String>,
    index_aside: Option<PathBuf>,
}

impl Weights {
    /// Reads the headers of the files that the weights are in: see [`folder::shards`]. `named` is the file that
    /// `config.json` names.
    pub fn open(folder: &Path, named: Option<&str>) -> Result<Self, CheckpointError> {
        let Shards { shards, notes, index_aside } = folder::shards(folder, named)?;
        let mut weights = Weights {
            shards: Vec::new(),
            stored: HashMap::new(),
            used: Vec::new(),
            by_name: HashMap::new(),
            notes,
            index_aside,
        };
        for shard in &shards {
            weights.read_shard(shard)?;
        }
        Ok(weights)
    }

    /// Reads one header. The library checks that offsets lie within the file, in order and without gaps or overlaps.
    fn read_shard(&mut self, Shard { path, tensors: counting }: &Shard) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let fail = |problem: String| CheckpointError::Weights { path: path.to_owned(), problem };
        if lfs::is_pointer_file(path) {
            return Err(fail(lfs::PROBLEM.to_owned()));
        }
        let file = files::open(path, files::WEIGHTS).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(fail("is empty".to_owned()));
        }
        // SAFETY: a file that another process truncates while it is mapped ends this process with a bus error; no
        // portable interface guards against that. The map lives for the reading of the header only.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        let tensors = SafeTensors::deserialize(&map).map_err(|error| {
            fail(format!("is not a sound safetensors file, or was cut off: {error}; download or save it again"))
        })?;
        let shard = self.shards.len();
        self.shards.push(path.to_owned());
        let mut aside = Vec::new();
        for (name, view) in tensors.iter() {
            // The index says in which file a tensor counts; a copy elsewhere may be of another day.
            if counting.as_ref().is_some_and(|counting| !counting.contains(name)) {
                aside.push(name);
                continue;
            }
            let data = view.data();
            let stored = Stored {
                shard,
                dtype: view.dtype(),
                dims: view.shape().to_vec(),
                offset: (data.as_ptr() as usize - map.as_ptr() as usize) as u64,
                length: data.len() as u64,
            };
            self.stored.insert(name.to_owned(), stored);
        }
        aside.sort_unstable();
        if let Some(first) = aside.first() {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let count = aside.len();
            self.notes.push(format!(
                "{file} holds {count} tensor{} that the index does not take from it, such as '{first}'; they were not used",
                if count == 1 { "" } else { "s" }
            ));
        }
        for name in counting.iter().flatten() {
            if self.stored.get(name).is_none_or(|stored| stored.shard != shard) {
                return Err(fail(format!("lacks the tensor '{name}', which the index says it holds")));
            }
        }
        Ok(())
    }

    /// What the user should know of where the weights come from, and of those that were not used.
    ///
    /// # Errors
    /// Where tensors were left over that show that config.json describes another model.
    pub fn finish(&mut self, layers: usize) -> Result<Vec<String>, CheckpointError> {
        let mut unused: Vec<&str> =
            self.stored.keys().filter(|name| !self.by_name.contains_key(*name)).map(String::as_str).collect();
        unused.sort_unstable();
        let mut notes = self.notes.clone();
        match leftovers::look(&unused, layers) {
            Ok(note) => notes.extend(note),
            Err((name, problem)) => {
                let shard = self.stored.get(name).and_then(|stored| self.shards.get(stored.shard));
                let path = shard.cloned().unwrap_or_default();
                let problem = format!("the tensor '{name}' {problem} by config.json{}", self.aside());
                return Err(CheckpointError::Weights { path, problem });
            }
        }
        Ok(notes)
    }

    /// What to add to an error where another file might have been meant.
    fn aside(&self) -> String {
        self.index_aside.as_ref().map_or_else(String::new, |index| {
            format!(
                "; {} stands beside this file, and names others: to use those, move this one away",
                index.file_name().unwrap_or_default().to_string_lossy()
            )
        })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.stored.contains_key(name)
    }

    /// A tensor as a value of the graph, in f32.
    pub fn tensor(&mut self, graph: &mut Graph, name: &str, dims: &[usize]) -> Result<Id, CheckpointError> {
        let index = self.index(name, dims)?;
        let weight = WeightRef { index, start: 0, dims: dims.to_vec(), dtype: Dtype::F32 };
        Ok(graph.add(Op::Weight(weight), &[])?)
    }

    /// Rows `start..start + rows` of a matrix or vector of the shape `dims`, as a value of its own: a part of a fused
    /// projection. Rows lie one after the other, so nothing is copied.
    pub fn rows(
        &mut self,
        graph: &mut Graph,
        name: &str,
        dims: &[usize],
        start: usize,
        rows: usize,
    ) -> Result<Id, CheckpointError> {
        let index = self.index(name, dims)?;
        let outside = || CheckpointError::Weights {
            path: self.shards[self.used[index].1.shard].clone(),
            problem: format!(
                "the tensor '{name}' has the shape {dims:?}, and rows {start} to {start}+{rows} are wanted"
            ),
        };
        let (&all, rest) = dims.split_first().ok_or_else(outside)?;
        if start.checked_add(rows).is_none_or(|end| end > all) {
            return Err(outside());
        }
        let part = [&[rows], rest].concat();
        let start = rest.iter().product::<usize>() * start;
        Ok(graph.add(Op::Weight(WeightRef { index, start, dims: part, dtype: Dtype::F32 }), &[])?)
    }

    /// Whether two tensors hold the same bytes. Reads them a few megabytes at a time.
    pub fn same(&self, a: &str, b: &str) -> Result<bool, CheckpointError> {
        let (Some(a), Some(b)) = (self.stored.get(a), self.stored.get(b)) else { return Ok(false) };
        if (a.dtype, &a.dims) != (b.dtype, &b.dims) {
            return Ok(false);
        }
        let open = |stored: &Stored| {
            let path = self.shards[stored.shard].clone();
            let seek = |mut file: File| file.seek(SeekFrom::Start(stored.offset)).map(|_| file);
            files::open(&path, files::WEIGHTS)
                .and_then(seek)
                .map(|file| (path.clone(), file))
                .map_err(|source| (path, source))
        };
        let io = |(path, source)| CheckpointError::Io { path, source };
        let ((path_a, mut file_a), (path_b, mut file_b)) = (open(a).map_err(io)?, open(b).map_err(io)?);
        let (mut part_a, mut part_b) = (vec![0u8; CHUNK], vec![0u8; CHUNK]);
        let mut left = a.length;
        while left > 0 {
            let size = left.min(CHUNK as u64) as usize;
            file_a.read_exact(&mut part_a[..size]).map_err(|source| io((path_a.clone(), source)))?;
            file_b.read_exact(&mut part_b[..size]).map_err(|source| io((path_b.clone(), source)))?;
            if part_a[..size] != part_b[..size] {
                return Ok(false);
            }
            left -= size as u64;
        }
        Ok(true)
    }

    fn index(&mut self, name: &str, dims: &[usize]) -> Result<usize, CheckpointError> {
        let fail = |shard: usize, problem: String| CheckpointError::Weights {
            path: self.shards.get(shard).cloned().unwrap_or_default(),
            problem: format!("{problem}{}", self.aside()),
        };
        let Some(stored) = self.stored.get(name) else {
            let cause = leftovers::why_missing(name, self.stored.keys().map(String::as_str));
            let cause =
                cause.unwrap_or_else(|| "the weights are not of the model that config.json describes".to_owned());
            return Err(fail(0, format!("the tensor '{name}' is missing: {cause}")));
        };
        let quantised = || leftovers::quantised(self.stored.keys().map(String::as_str));
        if !matches!(stored.dtype, StoredDtype::F32 | StoredDtype::F16 | StoredDtype::BF16 | StoredDtype::F64) {
            let cause = quantised().unwrap_or(leftovers::QUANTISED);
            return Err(fail(
                stored.shard,
                format!("the tensor '{name}' has the type {:?}, which is not supported: {cause}", stored.dtype),
            ));
        }
        if stored.dims != dims {
            let cause = quantised().map_or_else(String::new, |cause| format!(": {cause}"));
            return Err(fail(
                stored.shard,
                format!("the tensor '{name}' has the shape {:?}, where config.json means {dims:?}{cause}", stored.dims),
            ));
        }
        if let Some(&index) = self.by_name.get(name) {
            return Ok(index);
        }
        let index = self.used.len();
        self.by_name.insert(name.to_owned(), index);
        self.used.push((name.to_owned(), stored.clone()));
        Ok(index)
    }

    /// Bytes of the weight file.
    pub fn written_size(&self) -> u64 {
        self.locations().1
    }
}

impl WeightSource for Weights {
    fn files(&self) -> &[PathBuf] {
        &self.shards
    }

    fn tensors(&self) -> Vec<WeightTensor> {
        let tensor = |(name, stored): &(String, Stored)| WeightTensor {
            name: name.clone(),
            dtype: Dtype::F32,
            elements: stored.dims.iter().map(|&d| d as u64).product(),
            is_kept: true,
        };
        self.used.iter().map(tensor).collect()
    }

    fn elements(&self, index: usize, start: u64, count: usize) -> Result<Vec<u8>, CopyError> {
        let stored = &self.used[index].1;
        let size = element_size(stored.dtype);
        let raw = read_part(&self.shards[stored.shard], stored.offset + start * size as u64, count * size)?;
        let mut converted = Vec::with_capacity(count * Dtype::F32.size());
        to_f32(&raw, stored.dtype, &mut converted);
        Ok(converted)
    }
}

/// Bytes an element of the types that [`Weights::index`] lets in.
fn element_size(dtype: StoredDtype) -> usize {
    match dtype {
        StoredDtype::F16 | StoredDtype::BF16 => 2,
        StoredDtype::F64 => 8,
        _ => 4,
    }
}

/// Little-endian numbers of a stored type as f32. Chunks are multiples of every element's size.
fn to_f32(raw: &[u8], dtype: StoredDtype, out: &mut Vec<u8>) {
    out.clear();
    let mut push = |value: f32| out.extend_from_slice(&value.to_le_bytes());
    match dtype {
        StoredDtype::F16 => {
            raw.chunks_exact(2).for_each(|b| push(half::f16::from_le_bytes([b[0], b[1]]).to_f32()));
        }
        StoredDtype::BF16 => {
            raw.chunks_exact(2).for_each(|b| push(half::bf16::from_le_bytes([b[0], b[1]]).to_f32()));
        }
        StoredDtype::F64 => raw.chunks_exact(8).for_each(|b| {
            push(f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32);
        }),
        _ => out.extend_from_slice(raw),
    }
}
