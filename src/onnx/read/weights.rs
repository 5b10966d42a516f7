//! The tensors of an ONNX file, inside it or in files beside it.
//!
//! Threats: a location that leads out of the folder (by `..`, an absolute path or a link), ranges past the end of a
//! file or over another tensor, sizes that overflow. Nothing is allocated by a size before the file was seen to be
//! that large, and tensors stay in their files until they are copied.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::onnx::proto::TensorProto;
use crate::onnx::proto::tensor_proto::{DataLocation, DataType};
use crate::onnx::weights::{CopyError, WeightSource, WeightTensor, byte_size, convert, converted, read_part};
use crate::onnx::{Dtype, Tensor};
use crate::{files, lfs};

/// Where the elements of a tensor are.
#[derive(Clone, Debug)]
enum Place {
    /// A file by number, and the first byte.
    File(usize, u64),
    /// Decoded from typed fields, little endian.
    Memory(Arc<[u8]>),
}

/// A tensor that was seen to be where it says.
#[derive(Clone, Debug)]
pub struct Stored {
    pub name: String,
    pub dtype: Dtype,
    pub dims: Vec<usize>,
    pub length: u64,
    place: Place,
}

impl Stored {
    pub fn elements(&self) -> u64 {
        self.length / self.dtype.size() as u64
    }
}

/// The tensors that a graph uses, in the order of their first use.
#[derive(Debug)]
pub struct FileWeights {
    /// The model file, then the files beside it that it names.
    files: Vec<PathBuf>,
    /// The same without links, so that a file under two names is one.
    real: Vec<Option<PathBuf>>,
    lengths: Vec<u64>,
    by_location: HashMap<String, usize>,
    /// Folders that external data may lie in: the model's, and that of the file it links to.
    homes: Vec<PathBuf>,
    used: Vec<Stored>,
    by_place: HashMap<(usize, u64, Vec<usize>, Dtype), usize>,
    /// Indices that the finished graph mentions; all until [`FileWeights::keep`] says otherwise.
    kept: Option<Vec<bool>>,
}

impl FileWeights {
    /// `model`: the .onnx file, `length` bytes long.
    pub fn new(model: &Path, length: u64) -> Self {
        let folder = |path: &Path| {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            parent.canonicalize().ok()
        };
        let real = model.canonicalize().ok();
        let homes = [folder(model), real.as_deref().and_then(folder)].into_iter().flatten().collect();
        let real = vec![real];
        FileWeights {
            files: vec![model.to_owned()],
            real,
            lengths: vec![length],
            by_location: HashMap::new(),
            homes,
            used: Vec::new(),
            by_place: HashMap::new(),
            kept: None,
        }
    }

    /// Checks a tensor against the file it says it is in.
    pub fn locate(&mut self, proto: &TensorProto, raw: Option<Range<usize>>) -> Result<Stored, String> {
        let (dtype, dims, length) = declared(proto)?;
        let name = proto.name().to_owned();
        let place = if proto.data_location() == DataLocation::External {
            self.external(proto, length)?
        } else if let Some(raw) = raw {
            if raw.len() as u64 != length {
                return Err(format!("holds {} bytes, where its shape needs {length}", raw.len()));
            }
            Place::File(0, raw.start as u64)
        } else {
            Place::Memory(typed(proto, dtype, length)?)
        };
        Ok(Stored { name, dtype, dims, length, place })
    }

    fn external(&mut self, proto: &TensorProto, length: u64) -> Result<Place, String> {
        let entry = |key: &str| proto.external_data.iter().find(|e| e.key() == key).map(|e| e.value());
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("has the {key} '{text}'")),
        };
        let location = entry("location").ok_or("lies in another file and does not say in which")?;
        let offset = number("offset")?.unwrap_or(0);
        if let Some(stated) = number("length")?
            && stated != length
        {
            return Err(format!("takes {stated} bytes of '{location}', where its shape needs {length}"));
        }
        let file = self.open(location)?;
        if lfs::is_pointer_file(&self.files[file]) {
            return Err(format!("lies in '{location}', which {}", lfs::PROBLEM));
        }
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.lengths[file]) {
            return Err(format!(
                "needs {length} bytes from {offset} on of '{location}', which has {}",
                self.lengths[file]
            ));
        }
        Ok(Place::File(file, offset))
    }

    fn open(&mut self, location: &str) -> Result<usize, String> {
        if let Some(&file) = self.by_location.get(location) {
            return Ok(file);
        }
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !plain || location.is_empty() || location.contains('\\') {
            return Err(format!("lies in '{location}', which is not a file in this folder"));
        }
        let folder = self.files[0].parent().map(Path::to_owned).unwrap_or_default();
        let path = folder.join(relative);
        let real =
            path.canonicalize().map_err(|error| format!("lies in '{location}', which cannot be read: {error}"))?;
        if !self.homes.iter().any(|home| real.starts_with(home)) {
            return Err(format!("lies in '{location}', which is a link out of this folder"));
        }
        let facts = std::fs::metadata(&real).map_err(|error| format!("lies in '{location}': {error}"))?;
        if !facts.is_file() {
            return Err(format!("lies in '{location}', which is no file"));
        }
        let known = self.real.iter().position(|known| known.as_ref() == Some(&real));
        let file = known.unwrap_or_else(|| {
            self.files.push(path);
            self.real.push(Some(real));
            self.lengths.push(facts.len());
            self.files.len() - 1
        });
        self.by_location.insert(location.to_owned(), file);
        Ok(file)
    }

    /// No two tensors may share some of their bytes; they may share all.
    pub fn check_overlaps<'a>(&self, tensors: impl Iterator<Item = &'a Stored>) -> Result<(), String> {
        let mut ranges: BTreeMap<(usize, u64), (u64, &str)> = BTreeMap::new();
        for tensor in tensors.filter(|tensor| tensor.length > 0) {
            let Place::File(file, offset) = tensor.place else { continue };
            if let Some((length, other)) = ranges.insert((file, offset), (tensor.length, &tensor.name))
                && length != tensor.length
            {
                return Err(overlap(&tensor.name, other));
            }
        }
        for (((file, start), (length, a)), ((next_file, next), (_, b))) in ranges.iter().zip(ranges.iter().skip(1)) {
            if file == next_file && start + length > *next {
                return Err(overlap(a, b));
            }
        }
        Ok(())
    }

    /// The number by which the graph means a tensor. The same bytes in the same shape get one number.
    pub fn index(&mut self, tensor: &Stored) -> usize {
        let next = self.used.len();
        if let Place::File(file, offset) = tensor.place {
            let key = (file, offset, tensor.dims.clone(), tensor.dtype);
            if let Some(&index) = self.by_place.get(&key) {
                return index;
            }
            self.by_place.insert(key, next);
        }
        self.used.push(tensor.clone());
        next
    }

    /// Reads a small tensor into memory.
    pub fn load(&self, tensor: &Stored) -> Result<Tensor, String> {
        let bytes: Arc<[u8]> = match &tensor.place {
            Place::Memory(bytes) => bytes.clone(),
            Place::File(file, offset) => {
                let failed = |error: std::io::Error| format!("cannot be read: {error}");
                let mut file = files::open(&self.files[*file], files::WEIGHTS).map_err(failed)?;
                file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
                let size = usize::try_from(tensor.length).map_err(|_| "is too large".to_owned())?;
                let mut bytes = vec![0; size];
                file.read_exact(&mut bytes).map_err(failed)?;
                bytes.into()
            }
        };
        Ok(Tensor { dtype: tensor.dtype, dims: tensor.dims.clone(), bytes })
    }

    /// The tensor that a graph means by this number, if it takes no more than so many bytes and can be read.
    pub fn small(&self, index: usize, bytes: u64) -> Option<Tensor> {
        let tensor = self.used.get(index).filter(|tensor| tensor.length <= bytes)?;
        self.load(tensor).ok()
    }

    /// Says which tensors the finished graph mentions; the others are not copied.
    pub fn keep(&mut self, indices: impl IntoIterator<Item = usize>) {
        let mut kept = vec![false; self.used.len()];
        for index in indices {
            if let Some(flag) = kept.get_mut(index) {
                *flag = true;
            }
        }
        self.kept = Some(kept);
    }

    fn is_kept(&self, index: usize) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept[index])
    }
}

fn overlap(a: &str, b: &str) -> String {
    format!("the tensors '{a}' and '{b}' overlap in the file")
}

impl WeightSource for FileWeights {
    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn tensors(&self) -> Vec<WeightTensor> {
        let tensor = |(index, tensor): (usize, &Stored)| WeightTensor {
            name: tensor.name.clone(),
            dtype: converted(tensor.dtype),
            elements: tensor.elements(),
            is_kept: self.is_kept(index),
        };
        self.used.iter().enumerate().map(tensor).collect()
    }

    fn elements(&self, index: usize, start: u64, count: usize) -> Result<Vec<u8>, CopyError> {
        let tensor = &self.used[index];
        let size = tensor.dtype.size();
        let (start, length) = (start * size as u64, count * size);
        let mut numbers = Vec::new();
        match &tensor.place {
            Place::Memory(bytes) => {
                convert(&bytes[start as usize..start as usize + length], tensor.dtype, &mut numbers);
            }
            Place::File(file, offset) => {
                convert(&read_part(&self.files[*file], offset + start, length)?, tensor.dtype, &mut numbers);
            }
        }
        Ok(numbers)
    }
}

/// Type, sizes and bytes that a tensor says it has.
fn declared(proto: &TensorProto) -> Result<(Dtype, Vec<usize>, u64), String> {
    let dtype = element_type(proto.data_type.unwrap_or(0))?;
    let dims = proto.dims.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| format!("has the shape {:?}", proto.dims))?;
    if proto.segment.is_some() {
        return Err("comes in segments, which is not supported".to_owned());
    }
    let length = byte_size(&dims, dtype).ok_or_else(|| format!("has the absurd shape {dims:?}"))?;
    Ok((dtype, dims, length))
}

/// The element type with a number of ONNX.
pub fn element_type(code: i32) -> Result<Dtype, String> {
    Ok(match DataType::try_from(code) {
        Ok(DataType::Float) => Dtype::F32,
        Ok(DataType::Float16) => Dtype::F16,
        Ok(DataType::Bfloat16) => Dtype::BF16,
        Ok(DataType::Double) => Dtype::F64,
        Ok(DataType::Int64) => Dtype::I64,
        Ok(DataType::Int32) => Dtype::I32,
        Ok(DataType::Bool) => Dtype::Bool,
        Ok(
            other @ (DataType::Int8
            | DataType::Uint8
            | DataType::Int4
            | DataType::Uint4
            | DataType::Int2
            | DataType::Uint2),
        ) => {
            return Err(format!("has elements of type {}: a quantised model; bake the original", other.as_str_name()));
        }
        Ok(other) => return Err(format!("has elements of type {}, which is not supported", other.as_str_name())),
        Err(_) => return Err(format!("has elements of an unknown type ({code})")),
    })
}

/// Elements from the typed fields, which are as many as the shape says.
fn typed(proto: &TensorProto, dtype: Dtype, length: u64) -> Result<Arc<[u8]>, String> {
    let mut bytes = Vec::new();
    match dtype {
        Dtype::F32 => proto.float_data.iter().for_each(|v| bytes.extend(v.to_le_bytes())),
        Dtype::F64 => proto.double_data.iter().for_each(|v| bytes.extend(v.to_le_bytes())),
        Dtype::I64 => proto.int64_data.iter().for_each(|v| bytes.extend(v.to_le_bytes())),
        Dtype::I32 => proto.int32_data.iter().for_each(|v| bytes.extend(v.to_le_bytes())),
        Dtype::Bool => proto.int32_data.iter().for_each(|v| bytes.push(u8::from(*v != 0))),
        Dtype::F16 | Dtype::BF16 => proto.int32_data.iter().for_each(|v| bytes.extend((*v as u16).to_le_bytes())),
    }
    if bytes.len() as u64 != length {
        return Err(format!("holds {} bytes, where its shape needs {length}", bytes.len()));
    }
    Ok(bytes.into())
}

/// A tensor that is the value of an attribute, all of it in memory.
pub fn attribute_tensor(proto: &TensorProto) -> Result<Tensor, String> {
    let (dtype, dims, length) = declared(proto)?;
    if proto.data_location() == DataLocation::External {
        return Err("is the value of an attribute and lies in another file, which is not supported".to_owned());
    }
    let bytes: Arc<[u8]> = match &proto.raw_data {
        Some(raw) if raw.len() as u64 == length => Arc::from(&raw[..]),
        Some(raw) => return Err(format!("holds {} bytes, where its shape needs {length}", raw.len())),
        None => typed(proto, dtype, length)?,
    };
    Ok(Tensor { dtype, dims, bytes })
}

/// Puts a tensor that is in memory among the weights.
impl FileWeights {
    pub fn index_of_tensor(&mut self, name: &str, tensor: &Tensor) -> usize {
        self.index(&Stored {
            name: name.to_owned(),
            dtype: tensor.dtype,
            dims: tensor.dims.clone(),
            length: tensor.bytes.len() as u64,
            place: Place::Memory(tensor.bytes.clone()),
        })
    }
}
