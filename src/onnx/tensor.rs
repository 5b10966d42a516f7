//! Element types and constants.

use std::sync::Arc;

use super::proto::tensor_proto::DataType;

/// Element types a graph's values may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    F16,
    BF16,
    F32,
    F64,
    I32,
    I64,
    Bool,
}

impl Dtype {
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
    }

    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            Dtype::Bool => 1,
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F64 | Dtype::I64 => 8,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Dtype::F16 => "f16",
            Dtype::BF16 => "bf16",
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
            Dtype::I32 => "i32",
            Dtype::I64 => "i64",
            Dtype::Bool => "bool",
        }
    }

    /// The number that ONNX files use for it.
    pub fn code(self) -> i32 {
        let code = match self {
            Dtype::F16 => DataType::Float16,
            Dtype::BF16 => DataType::Bfloat16,
            Dtype::F32 => DataType::Float,
            Dtype::F64 => DataType::Double,
            Dtype::I32 => DataType::Int32,
            Dtype::I64 => DataType::Int64,
            Dtype::Bool => DataType::Bool,
        };
        code as i32
    }
}

/// A small constant that is written into the graph file itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    pub dtype: Dtype,
    pub dims: Vec<usize>,
    /// Elements in row-major order, little endian.
    pub bytes: Arc<[u8]>,
}

impl Tensor {
    pub fn i64s(values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor { dtype: Dtype::I64, dims: vec![values.len()], bytes: bytes.into() }
    }

    pub fn i64(value: i64) -> Self {
        Tensor { dims: Vec::new(), ..Tensor::i64s(&[value]) }
    }

    /// A scalar of a floating-point type, rounded to it.
    pub fn float(value: f64, dtype: Dtype) -> Self {
        Tensor { dims: Vec::new(), ..Tensor::floats(&[value], dtype) }
    }

    /// A vector of a floating-point type, rounded to it. Integer types hold the truncated values.
    pub fn floats(values: &[f64], dtype: Dtype) -> Self {
        let mut bytes = Vec::with_capacity(values.len() * dtype.size());
        for &value in values {
            match dtype {
                Dtype::F16 => bytes.extend(half::f16::from_f64(value).to_le_bytes()),
                Dtype::BF16 => bytes.extend(half::bf16::from_f64(value).to_le_bytes()),
                Dtype::F32 => bytes.extend((value as f32).to_le_bytes()),
                Dtype::F64 => bytes.extend(value.to_le_bytes()),
                Dtype::I32 => bytes.extend((value as i32).to_le_bytes()),
                Dtype::I64 => bytes.extend((value as i64).to_le_bytes()),
                Dtype::Bool => bytes.push(u8::from(value != 0.0)),
            }
        }
        Tensor { dtype, dims: vec![values.len()], bytes: bytes.into() }
    }

    /// The elements of a tensor of whole numbers; `None` for other types.
    pub fn as_i64s(&self) -> Option<Vec<i64>> {
        match self.dtype {
            Dtype::I64 => Some(self.bytes.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect()),
            Dtype::I32 => Some(self.bytes.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b).into()).collect()),
            Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 | Dtype::Bool => None,
        }
    }

    /// The value of a floating-point scalar or one-element tensor.
    pub fn as_scalar(&self) -> Option<f64> {
        if self.bytes.len() != self.dtype.size() {
            return None;
        }
        Some(match self.dtype {
            Dtype::F16 => half::f16::from_le_bytes(self.bytes[..].try_into().ok()?).to_f64(),
            Dtype::BF16 => half::bf16::from_le_bytes(self.bytes[..].try_into().ok()?).to_f64(),
            Dtype::F32 => f32::from_le_bytes(self.bytes[..].try_into().ok()?).into(),
            Dtype::F64 => f64::from_le_bytes(self.bytes[..].try_into().ok()?),
            Dtype::I32 | Dtype::I64 | Dtype::Bool => return None,
        })
    }
}
