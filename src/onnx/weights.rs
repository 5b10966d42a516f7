//! Where a graph's weights come from, and how they get to a bundle's weight file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::write::WeightLocation;
use super::{Dtype, Tensor};
use crate::files;

/// Tensors start at multiples of this, so that a runtime can map them.
pub const ALIGNMENT: u64 = 4096;
/// Bytes read at once, at most, while copying: a multiple of every element's size.
pub const CHUNK: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the weights")]
    Write(#[source] io::Error),
    #[error(
        "the tensor '{tensor}' holds {value}, and the largest number of {} is {}: keep its weights in bf16, which reaches as far \
         as f32, or in f32", .dtype.name(), half::f16::MAX
    )]
    Range { tensor: String, value: f32, dtype: Dtype },
}

/// A tensor as the weight file holds it.
#[derive(Clone, Debug)]
pub struct WeightTensor {
    pub name: String,
    pub dtype: Dtype,
    pub elements: u64,
    /// Whether it is in the file: not where the graph that was made uses it no more.
    pub is_kept: bool,
}

impl WeightTensor {
    fn bytes(&self) -> u64 {
        self.elements * self.dtype.size() as u64
    }
}

/// The tensors that [`super::op::WeightRef`]s of a graph mean, still in the files they came in.
pub trait WeightSource: std::fmt::Debug + Send + Sync {
    /// Files the tensors come from.
    fn files(&self) -> &[PathBuf];

    /// The tensors, in the order of the weight file.
    fn tensors(&self) -> Vec<WeightTensor>;

    /// Elements `start..start + count` of the tensor of this number, little endian, floating-point numbers as f32.
    ///
    /// # Errors
    /// Where they cannot be read, or not be held in the type that [`WeightSource::tensors`] says.
    fn elements(&self, index: usize, start: u64, count: usize) -> Result<Vec<u8>, CopyError>;

    /// Where each tensor lies in the weight file, and the file's size.
    fn locations(&self) -> (Vec<WeightLocation>, u64) {
        let mut end = 0u64;
        let mut locations = Vec::new();
        for tensor in self.tensors() {
            let offset = if tensor.is_kept { end.next_multiple_of(ALIGNMENT) } else { end };
            if tensor.is_kept {
                end = offset + tensor.bytes();
            }
            locations.push(WeightLocation { name: tensor.name, offset, dtype: tensor.dtype });
        }
        (locations, end)
    }

    /// Copies the tensors, a few megabytes at a time. `written` is told of every part's size in bytes.
    ///
    /// # Errors
    /// As [`WeightSource::elements`], and where `out` cannot be written.
    fn write(&self, out: &mut dyn Write, written: &mut dyn FnMut(u64)) -> Result<(), CopyError> {
        let (locations, _) = self.locations();
        let mut at = 0u64;
        for (index, (tensor, location)) in self.tensors().iter().zip(&locations).enumerate() {
            if !tensor.is_kept {
                continue;
            }
            out.write_all(&vec![0u8; (location.offset - at) as usize]).map_err(CopyError::Write)?;
            at = location.offset;
            let mut start = 0;
            while start < tensor.elements {
                let count = (tensor.elements - start).min((CHUNK / 8) as u64);
                let part = self.elements(index, start, count as usize)?;
                out.write_all(&part).map_err(CopyError::Write)?;
                start += count;
                at += part.len() as u64;
                written(part.len() as u64);
            }
        }
        Ok(())
    }
}

/// Floating-point tensors of a source, rounded to a type of half the size.
#[derive(Debug)]
pub struct Narrowed {
    pub inner: Box<dyn WeightSource>,
    /// [`Dtype::F16`] or [`Dtype::BF16`].
    pub dtype: Dtype,
}

impl WeightSource for Narrowed {
    fn files(&self) -> &[PathBuf] {
        self.inner.files()
    }

    fn tensors(&self) -> Vec<WeightTensor> {
        let mut tensors = self.inner.tensors();
        for tensor in tensors.iter_mut().filter(|tensor| tensor.dtype == Dtype::F32) {
            tensor.dtype = self.dtype;
        }
        tensors
    }

    fn elements(&self, index: usize, start: u64, count: usize) -> Result<Vec<u8>, CopyError> {
        let wide = self.inner.elements(index, start, count)?;
        let tensor = &self.inner.tensors()[index];
        if tensor.dtype != Dtype::F32 {
            return Ok(wide);
        }
        narrowed(&wide, self.dtype).map_err(|value| CopyError::Range {
            tensor: tensor.name.clone(),
            value,
            dtype: self.dtype,
        })
    }
}

/// Little-endian f32 rounded to the nearest, of two equally near ones to the even one.
///
/// # Errors
/// The first finite number that would become infinite.
fn narrowed(wide: &[u8], dtype: Dtype) -> Result<Vec<u8>, f32> {
    let mut out = Vec::with_capacity(wide.len() / 2);
    for &bytes in wide.as_chunks::<4>().0 {
        let value = f32::from_le_bytes(bytes);
        let (bytes, is_finite) = match dtype {
            Dtype::BF16 => (half::bf16::from_f32(value).to_le_bytes(), half::bf16::from_f32(value).is_finite()),
            _ => (half::f16::from_f32(value).to_le_bytes(), half::f16::from_f32(value).is_finite()),
        };
        if value.is_finite() && !is_finite {
            return Err(value);
        }
        out.extend_from_slice(&bytes);
    }
    Ok(out)
}

/// A part of a file.
pub fn read_part(path: &Path, offset: u64, size: usize) -> Result<Vec<u8>, CopyError> {
    let read = |source| CopyError::Read { path: path.to_owned(), source };
    let mut file: File = files::open(path, files::WEIGHTS).map_err(read)?;
    file.seek(SeekFrom::Start(offset)).map_err(read)?;
    let mut part = vec![0u8; size];
    file.read_exact(&mut part).map_err(read)?;
    Ok(part)
}

/// Little-endian numbers as f32 in place of any floating-point type; others as they are. `raw` holds whole elements.
pub fn convert(raw: &[u8], dtype: Dtype, out: &mut Vec<u8>) {
    out.clear();
    let mut push = |value: f32| out.extend_from_slice(&value.to_le_bytes());
    match dtype {
        Dtype::F16 => raw.chunks_exact(2).for_each(|b| push(half::f16::from_le_bytes([b[0], b[1]]).to_f32())),
        Dtype::BF16 => raw.chunks_exact(2).for_each(|b| push(half::bf16::from_le_bytes([b[0], b[1]]).to_f32())),
        Dtype::F64 => raw.chunks_exact(8).for_each(|b| {
            push(f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32);
        }),
        Dtype::F32 | Dtype::I32 | Dtype::I64 | Dtype::Bool => out.extend_from_slice(raw),
    }
}

/// The type that [`convert`] gives.
pub fn converted(dtype: Dtype) -> Dtype {
    if dtype.is_float() { Dtype::F32 } else { dtype }
}

/// Bytes of a tensor with these sizes; `None` when no file could hold them. A size of 0 does not make up for absurd ones
/// beside it, so that the product of any of the sizes is known to fit.
pub fn byte_size(dims: &[usize], dtype: Dtype) -> Option<u64> {
    let size = dims.iter().try_fold(dtype.size() as u64, |n, &d| n.checked_mul(d.max(1) as u64));
    let size = size.filter(|&n| n <= i64::MAX as u64)?;
    Some(if dims.contains(&0) { 0 } else { size })
}

impl Tensor {
    /// Whether the bytes are as many as the sizes say.
    pub fn is_sound(&self) -> bool {
        byte_size(&self.dims, self.dtype) == Some(self.bytes.len() as u64)
    }
}
