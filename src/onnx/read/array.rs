//! Small tensors whose elements are known while a file is read: constants, shapes, and what is computed from them.

use std::sync::Arc;

use super::size::Size;
use crate::onnx::{Dtype, Tensor};

/// Elements of the largest tensor that is computed with here. Larger ones are left to the runtime.
pub const MAX_ELEMENTS: usize = 1 << 13;

/// Numbers below this stand for "never attend here". They are brought up to it, so that sums of them stay finite and a
/// row of scores without any key stays a row of numbers.
const MASKED: f64 = -1e30;

#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Int(i64),
    /// A number that depends on the input's sizes.
    Size(Size),
    Real(f64),
    Bool(bool),
}

impl Scalar {
    pub fn size(size: Size) -> Self {
        match size.value() {
            Some(value) => Scalar::Int(value),
            None => Scalar::Size(size),
        }
    }

    pub fn as_size(&self) -> Option<Size> {
        match self {
            Scalar::Int(value) => Some(Size::number(*value)),
            Scalar::Size(size) => Some(size.clone()),
            _ => None,
        }
    }

    pub fn as_real(&self) -> Option<f64> {
        match self {
            Scalar::Int(value) => Some(*value as f64),
            Scalar::Real(value) => Some(*value),
            Scalar::Bool(value) => Some(f64::from(*value)),
            Scalar::Size(_) => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Scalar::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The value in another type.
    pub fn cast(&self, dtype: Dtype) -> Option<Scalar> {
        Some(match (self, dtype) {
            (Scalar::Size(size), Dtype::I64 | Dtype::I32) => Scalar::Size(size.clone()),
            // Sizes are 1 at least.
            (Scalar::Size(size), Dtype::Bool) if size.at_least(&Size::number(1)) => Scalar::Bool(true),
            (Scalar::Int(value), Dtype::Bool) => Scalar::Bool(*value != 0),
            (Scalar::Bool(value), Dtype::Bool) => Scalar::Bool(*value),
            (Scalar::Real(value), Dtype::Bool) => Scalar::Bool(*value != 0.0),
            (Scalar::Int(value), Dtype::I64) => Scalar::Int(*value),
            (Scalar::Int(value), Dtype::I32) => Scalar::Int(i64::from(*value as i32)),
            (_, Dtype::I64) => Scalar::Int(self.as_real()? as i64),
            (_, Dtype::I32) => Scalar::Int(i64::from(self.as_real()? as i32)),
            _ => Scalar::real(self.as_real()?),
        })
    }

    /// A number rounded to f32, in which everything is computed.
    pub fn real(value: f64) -> Scalar {
        let value = if value < MASKED { MASKED } else { value };
        Scalar::Real(f64::from(value as f32))
    }
}

/// A small tensor with known elements, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub dtype: Dtype,
    pub dims: Vec<usize>,
    pub data: Vec<Scalar>,
}

impl Array {
    pub fn ints(values: &[i64]) -> Self {
        let data = values.iter().map(|&v| Scalar::Int(v)).collect();
        Array { dtype: Dtype::I64, dims: vec![values.len()], data }
    }

    pub fn sizes(values: Vec<Size>) -> Self {
        let dims = vec![values.len()];
        Array { dtype: Dtype::I64, dims, data: values.into_iter().map(Scalar::size).collect() }
    }

    /// The elements as sizes, whatever the rank.
    pub fn as_sizes(&self) -> Option<Vec<Size>> {
        self.data.iter().map(Scalar::as_size).collect()
    }

    /// The elements as plain whole numbers.
    pub fn as_ints(&self) -> Option<Vec<i64>> {
        self.data.iter().map(|x| if let Scalar::Int(value) = x { Some(*value) } else { None }).collect()
    }

    /// The only element of a scalar or a tensor with one element.
    pub fn only(&self) -> Option<&Scalar> {
        if let [x] = &self.data[..] { Some(x) } else { None }
    }

    /// The elements of a tensor in memory; `None` when they are too many.
    pub fn from_tensor(tensor: &Tensor) -> Option<Self> {
        if !tensor.is_sound() || tensor.bytes.len() / tensor.dtype.size() > MAX_ELEMENTS {
            return None;
        }
        let element = |raw: &[u8]| {
            Some(match tensor.dtype {
                Dtype::Bool => Scalar::Bool(raw[0] != 0),
                Dtype::I32 => Scalar::Int(i32::from_le_bytes(raw.try_into().ok()?).into()),
                Dtype::I64 => Scalar::Int(i64::from_le_bytes(raw.try_into().ok()?)),
                Dtype::F16 => Scalar::real(half::f16::from_le_bytes(raw.try_into().ok()?).to_f64()),
                Dtype::BF16 => Scalar::real(half::bf16::from_le_bytes(raw.try_into().ok()?).to_f64()),
                Dtype::F32 => Scalar::real(f32::from_le_bytes(raw.try_into().ok()?).into()),
                Dtype::F64 => Scalar::real(f64::from_le_bytes(raw.try_into().ok()?)),
            })
        };
        let data = tensor.bytes.chunks_exact(tensor.dtype.size()).map(element).collect::<Option<Vec<_>>>()?;
        let dtype = if tensor.dtype.is_float() { Dtype::F32 } else { tensor.dtype };
        Some(Array { dtype, dims: tensor.dims.clone(), data })
    }

    /// The tensor, unless elements depend on the input's sizes.
    pub fn to_tensor(&self) -> Option<Tensor> {
        let mut bytes = Vec::with_capacity(self.data.len() * self.dtype.size());
        for x in &self.data {
            match (x, self.dtype) {
                (Scalar::Int(value), Dtype::I64) => bytes.extend(value.to_le_bytes()),
                (Scalar::Int(value), Dtype::I32) => bytes.extend((*value as i32).to_le_bytes()),
                (Scalar::Bool(value), Dtype::Bool) => bytes.push(u8::from(*value)),
                (Scalar::Real(value), Dtype::F32) => bytes.extend((*value as f32).to_le_bytes()),
                _ => return None,
            }
        }
        Some(Tensor { dtype: self.dtype, dims: self.dims.clone(), bytes: Arc::from(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_keep_their_elements_and_masks_become_finite() {
        let tensor = Tensor::floats(&[1.5, f64::NEG_INFINITY, -3.4e38], Dtype::F32);
        let array = Array::from_tensor(&tensor).unwrap();
        assert_eq!(array.data[0], Scalar::Real(1.5));
        assert_eq!(array.data[1], array.data[2]);
        assert!(array.data[1].as_real().unwrap().is_finite());
        let ints = Array::ints(&[3, -1]);
        assert_eq!(Array::from_tensor(&ints.to_tensor().unwrap()).unwrap(), ints);
    }

    #[test]
    fn what_does_not_fit_its_shape_is_none() {
        let tensor = Tensor { dims: vec![usize::MAX, 2], ..Tensor::i64s(&[1]) };
        assert_eq!(Array::from_tensor(&tensor), None);
        let tensor = Tensor { dims: vec![2], ..Tensor::i64s(&[1]) };
        assert_eq!(Array::from_tensor(&tensor), None);
    }
}
