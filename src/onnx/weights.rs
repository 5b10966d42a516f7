//! Where a graph's weights come from, and how they get to a bundle's weight file.

use std::io::{self, Write};
use std::path::PathBuf;

use super::write::WeightLocation;
use super::{Dtype, Tensor};

/// Tensors start at multiples of this, so that a runtime can map them.
pub const ALIGNMENT: u64 = 4096;
/// Bytes read at once while copying: a multiple of every element's size.
pub const CHUNK: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the weights")]
    Write(#[source] io::Error),
}

/// The tensors that [`super::op::WeightRef`]s of a graph mean, still in the files they came in.
pub trait WeightSource: std::fmt::Debug {
    /// Files the tensors come from.
    fn files(&self) -> &[PathBuf];

    /// Where each tensor lies in the weight file, and the file's size.
    fn locations(&self) -> (Vec<WeightLocation>, u64);

    /// Copies the tensors, a few megabytes at a time, floating-point numbers as f32. `written` is told of every part's
    /// size in bytes.
    fn write(&self, out: &mut dyn Write, written: &mut dyn FnMut(u64)) -> Result<(), CopyError>;
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
