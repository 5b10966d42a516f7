//! The operators of the graph: ONNX primitives, and composites that expand to them when a file is written.

use std::sync::Arc;

use super::dim::{Dim, Shape};
use super::tensor::{Dtype, Tensor};

/// A number that can be compared and hashed by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Real(u64);

impl Real {
    pub fn new(value: f64) -> Self {
        Real(value.to_bits())
    }

    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    Neg,
    Abs,
    Sqrt,
    Reciprocal,
    Exp,
    Log,
    Tanh,
    Sigmoid,
    Erf,
    Sin,
    Cos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// The exponent is a constant.
    Pow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Logic {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    Sum,
    Mean,
    Max,
}

/// How a `Linear`'s weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// `[out, in]`: `x W^T`, as PyTorch's `nn.Linear` stores it.
    OutIn,
    /// `[in, out]`: `x W`, as GPT-2's `Conv1D` and most ONNX files store it.
    InOut,
}

impl WeightLayout {
    pub fn transposed(self) -> Self {
        match self {
            WeightLayout::OutIn => WeightLayout::InOut,
            WeightLayout::InOut => WeightLayout::OutIn,
        }
    }
}

/// An element-wise nonlinearity with `act(x) / x` of its own, so that the secant needs no division.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// `x Phi(x)`, with the error function.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    Relu,
}

/// A tensor of the shared weight file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WeightRef {
    /// Index into the checkpoint's table of weights.
    pub index: usize,
    /// First element, counted in elements of the stored tensor (parts of fused projections start inside it).
    pub start: usize,
    pub dims: Vec<usize>,
    pub dtype: Dtype,
}

/// What a value is made by. Every operator has exactly one output; ONNX operators with several are split on reading.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Input {
        name: String,
        dtype: Dtype,
        shape: Shape,
    },
    Constant(Tensor),
    Weight(WeightRef),

    Unary(Unary),
    Binary(Binary),
    Logic(Logic),
    Not,
    /// condition, value where true, value where false.
    Where,
    Cast(Dtype),
    MatMul,
    Softmax {
        axis: usize,
    },
    Reduce {
        kind: Reduction,
        axes: Vec<usize>,
        keep: bool,
    },
    Reshape(Shape),
    Transpose(Vec<usize>),
    Expand(Shape),
    Concat {
        axis: usize,
    },
    /// Elements `start..end` of an axis.
    Slice {
        axis: usize,
        start: usize,
        end: usize,
    },
    /// Zeros before and after, on one axis.
    Pad {
        axis: usize,
        before: usize,
        after: usize,
    },
    /// data, indices.
    Gather {
        axis: usize,
    },
    /// A size at run time, as i64 `[1]`.
    DimSize(Dim),
    /// `0, 1, ...` as i64.
    Arange(Dim),

    /// A product of two matrices, the second one transposed if said so, and maybe a bias: what `Linear` comes to.
    Gemm {
        transpose_b: bool,
    },

    /// x, weight, and maybe bias `[out]`.
    Linear(WeightLayout),
    /// x, weight `[d]`: over the last axis (Zhang and Sennrich, arXiv 1910.07467).
    RmsNorm {
        eps: Real,
    },
    /// x, weight `[d]`, bias `[d]`: over the last axis (Ba et al., arXiv 1607.06450).
    LayerNorm {
        eps: Real,
    },
    Activation(Activation),
    /// `cap * tanh(x / cap)`.
    SoftCap {
        cap: Real,
    },
    /// x `[.., seq, d]`, cos and sin `[.., seq, r / 2]` with `r <= d`: of the first `r` elements, the halves rotated
    /// against each other (RoFormer, arXiv 2104.09864).
    Rotary,

    /// A standard operator that is carried through as it stands in a foreign file.
    Opaque(Arc<Opaque>),
}

/// A standard ONNX operator of which nothing is known but its result's type and shape. It serves masks, positions and
/// other values that the score does not depend on through the embeddings: it has no gradient.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Opaque {
    /// In the form that it has at [`super::write::OPSET`].
    pub op_type: String,
    pub attributes: Vec<(String, Attribute)>,
    pub dtype: Dtype,
    pub shape: Shape,
}

/// An attribute of an [`Opaque`] operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(Real),
    Text(String),
}

impl Op {
    /// The name a reader of ONNX files would look for.
    pub fn name(&self) -> String {
        match self {
            Op::Unary(kind) => format!("{kind:?}"),
            Op::Binary(kind) => format!("{kind:?}"),
            Op::Logic(kind) => format!("{kind:?}"),
            Op::Reduce { kind, .. } => format!("Reduce{kind:?}"),
            Op::Activation(kind) => format!("{kind:?}"),
            Op::Opaque(opaque) => opaque.op_type.clone(),
            other => {
                let text = format!("{other:?}");
                text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
            }
        }
    }
}
