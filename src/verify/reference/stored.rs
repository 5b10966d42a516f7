//! Weights that stay in their file: read a block at a time, so that no model is too large to be checked.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array2, ArrayD, ArrayView2, Axis, Slice, concatenate};
use rayon::prelude::*;

use super::array::{Computed, Value, count, dot, from_vec, index_of};
use crate::files;
use crate::onnx::weights::WeightSource;
use crate::onnx::{Dtype, Tensor};

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;
/// Parts that a sum over rows is split into, whatever the number of threads: so it is added up in one order.
const PARTS: usize = 4;

/// An open weight file, or what would be in one.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    place: Place,
    bytes: u64,
}

#[derive(Debug)]
enum Place {
    File(File),
    /// Tensors of a checkpoint, and where each would begin: those that would be there, in order.
    Source(Box<dyn WeightSource>, Vec<(u64, usize)>),
}

impl WeightFile {
    pub fn open(path: &Path) -> io::Result<Arc<WeightFile>> {
        let file = files::open(path, files::WEIGHTS)?;
        let bytes = file.metadata()?.len();
        Ok(Arc::new(WeightFile { path: path.to_owned(), place: Place::File(file), bytes }))
    }

    /// The file that would be written of a source, which is read instead; `path` stands for it in messages.
    pub fn of_source(path: &Path, weights: Box<dyn WeightSource>) -> Arc<WeightFile> {
        let (locations, bytes) = weights.locations();
        let tensors = weights.tensors();
        let there =
            locations.iter().zip(&tensors).enumerate().filter(|(_, (_, tensor))| tensor.is_kept && tensor.elements > 0);
        let begins = there.map(|(index, (location, _))| (location.offset, index)).collect();
        Arc::new(WeightFile { path: path.to_owned(), place: Place::Source(weights, begins), bytes })
    }

    fn read(&self, offset: u64, size: usize) -> Computed<Vec<u8>> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", self.path.display());
        match &self.place {
            Place::File(file) => {
                let mut bytes = vec![0; size];
                read_exact_at(file, &mut bytes, offset).map_err(|error| failed(&error))?;
                Ok(bytes)
            }
            Place::Source(weights, begins) => {
                let after = begins.partition_point(|&(begin, _)| begin <= offset);
                let Some(&(begin, index)) = after.checked_sub(1).and_then(|at| begins.get(at)) else {
                    return Err(failed(&"no tensor is there"));
                };
                let element = weights.tensors()[index].dtype.size();
                weights
                    .elements(index, (offset - begin) / element as u64, size / element)
                    .map_err(|error| failed(&error))
            }
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(())
}

/// A tensor of the weight file.
#[derive(Clone, Debug)]
pub struct Stored {
    file: Arc<WeightFile>,
    offset: u64,
    dtype: Dtype,
    pub dims: Vec<usize>,
}

impl Stored {
    /// A tensor that lies within the file.
    pub fn new(file: &Arc<WeightFile>, offset: u64, dtype: Dtype, dims: Vec<usize>) -> Computed<Stored> {
        let size = dims.iter().try_fold(dtype.size() as u64, |n, &d| n.checked_mul(d as u64));
        let end = size.and_then(|size| size.checked_add(offset));
        if end.is_none_or(|end| end > file.bytes) {
            return Err(format!("reads weights {dims:?} at byte {offset} of a file of {} bytes", file.bytes));
        }
        Ok(Stored { file: Arc::clone(file), offset, dtype, dims })
    }

    /// Whether it is left where it is until something is multiplied with it.
    pub fn is_matrix(&self) -> bool {
        self.dtype.is_float() && self.dims.len() == 2
    }

    pub fn is_float(&self) -> bool {
        self.dtype.is_float()
    }

    /// All of it.
    pub fn load(&self) -> Computed<Value> {
        let bytes = self.file.read(self.offset, count(&self.dims)? * self.dtype.size())?;
        Value::of_tensor(&Tensor { dtype: self.dtype, dims: self.dims.clone(), bytes: bytes.into() })
    }

    /// Elements `start..start + count`, whatever the shape.
    fn elements(&self, start: usize, count: usize) -> Computed<Vec<f64>> {
        let size = self.dtype.size();
        let bytes = self.file.read(self.offset + (start * size) as u64, count * size)?;
        if self.dtype == Dtype::F32 {
            // Nearly all weights are, and this is where the time goes.
            let (numbers, _) = bytes.as_chunks::<4>();
            return Ok(numbers.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect());
        }
        let tensor = Tensor { dtype: self.dtype, dims: vec![count], bytes: bytes.into() };
        Ok(Value::of_tensor(&tensor)?.real()?.iter().copied().collect())
    }

    /// Rows and columns.
    fn size(&self) -> Computed<(usize, usize)> {
        match self.dims[..] {
            [rows, columns] => Ok((rows, columns)),
            _ => Err(format!("takes a matrix, not weights {:?}", self.dims)),
        }
    }

    fn block(&self, start: usize, end: usize) -> Computed<Array2<f64>> {
        let (_, columns) = self.size()?;
        let elements = self.elements(start * columns, (end - start) * columns)?;
        Array2::from_shape_vec((end - start, columns), elements).map_err(|error| error.to_string())
    }

    /// Ranges of rows that are read at once.
    fn blocks(&self) -> Computed<Vec<(usize, usize)>> {
        let (rows, columns) = self.size()?;
        let step = (BLOCK / (columns * self.dtype.size()).max(1)).max(1);
        Ok((0..rows).step_by(step).map(|start| (start, rows.min(start + step))).collect())
    }

    /// `x W`, or `x W^T`, for several x at once, so that the weights are read once.
    pub fn products(&self, xs: &[ArrayView2<f64>], transposed: bool, single: bool) -> Computed<Vec<Array2<f64>>> {
        let (rows, columns) = self.size()?;
        let inner = if transposed { columns } else { rows };
        if let Some(x) = xs.iter().find(|x| x.ncols() != inner) {
            return Err(format!("has inner sizes {} and {inner}", x.ncols()));
        }
        let x = concatenate(Axis(0), xs).map_err(|error| error.to_string())?;
        let blocks = self.blocks()?;
        let product = if transposed {
            let columns: Vec<Array2<f64>> = blocks
                .par_iter()
                .map(|&(start, end)| Ok(dot(&x.view(), &self.block(start, end)?.t(), single)))
                .collect::<Computed<_>>()?;
            let mut product = Array2::zeros((x.nrows(), rows));
            for (&(start, end), part) in blocks.iter().zip(columns) {
                product.slice_axis_mut(Axis(1), Slice::from(start..end)).assign(&part);
            }
            product
        } else {
            let parts: Vec<Array2<f64>> = blocks
                .par_chunks(blocks.len().div_ceil(PARTS).max(1))
                .map(|blocks| {
                    let mut sum = Array2::zeros((x.nrows(), columns));
                    for &(start, end) in blocks {
                        let x = x.slice_axis(Axis(1), Slice::from(start..end));
                        sum += &dot(&x, &self.block(start, end)?.view(), single);
                    }
                    Ok(sum)
                })
                .collect::<Computed<_>>()?;
            parts.into_iter().fold(Array2::zeros((x.nrows(), columns)), |sum, part| sum + part)
        };
        let mut start = 0;
        Ok(xs
            .iter()
            .map(|x| {
                let own = product.slice_axis(Axis(0), Slice::from(start..start + x.nrows())).to_owned();
                start += x.nrows();
                own
            })
            .collect())
    }

    /// Rows or columns of a matrix, as ONNX's `Gather` takes them.
    pub fn gather(&self, axis: usize, indices: &ArrayD<i64>) -> Computed<ArrayD<f64>> {
        let (rows, columns) = self.size()?;
        let wanted =
            |size: usize| indices.iter().map(move |&index| index_of(index, size)).collect::<Computed<Vec<_>>>();
        let mut elements = Vec::new();
        let shape = if axis == 0 {
            let shape = [indices.shape(), &[columns]].concat();
            count(&shape)?;
            for row in wanted(rows)? {
                elements.extend(self.elements(row * columns, columns)?);
            }
            shape
        } else {
            let shape = [&[rows], indices.shape()].concat();
            count(&shape)?;
            let wanted = wanted(columns)?;
            for (start, end) in self.blocks()? {
                for row in self.block(start, end)?.rows() {
                    elements.extend(wanted.iter().map(|&column| row[column]));
                }
            }
            shape
        };
        from_vec(&shape, elements)
    }
}
