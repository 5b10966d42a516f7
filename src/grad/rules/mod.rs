//! The table of backward rules.

mod activation;
mod gather;
mod linear;
mod movement;
mod norm;
mod pointwise;
mod rescale;
mod softmax;

pub use rescale::NEAR;

use super::sites::Sites;
use super::{GradError, KnobInputs};
use crate::onnx::op::{Binary, Unary};
use crate::onnx::{Graph, Id, Op, Value};

/// One vector-Jacobian product to be written.
pub struct Vjp<'a> {
    pub graph: &'a mut Graph,
    /// The operator's output in the forward pass.
    pub id: Id,
    pub value: &'a Value,
    /// The gradient of the score with respect to it, in its shape.
    pub gradient: Id,
    /// Which inputs the embeddings reach: the others need no gradient.
    pub needed: &'a [bool],
    pub knobs: &'a KnobInputs,
    pub sites: &'a Sites,
}

impl Vjp<'_> {
    pub fn input(&self, i: usize) -> Id {
        self.value.inputs[i]
    }
}

/// One gradient an input, each in the shape of the output or broadcastable to it; `None` where none flows.
type Gradients = Result<Vec<Option<Id>>, GradError>;

/// A backward rule.
pub type Rule = fn(&mut Vjp) -> Gradients;

/// The rule of an operator; `None` where it has none.
pub fn rule(op: &Op) -> Option<Rule> {
    Some(match op {
        Op::Unary(Unary::Neg) => pointwise::negation,
        Op::Unary(Unary::Sqrt) => pointwise::square_root,
        Op::Unary(Unary::Reciprocal) => pointwise::reciprocal,
        Op::Unary(Unary::Exp) => pointwise::exponential,
        Op::Unary(Unary::Log) => pointwise::logarithm,
        Op::Unary(Unary::Tanh) => pointwise::tanh,
        Op::Unary(Unary::Sigmoid) => pointwise::sigmoid,
        Op::Unary(Unary::Erf) => pointwise::erf,
        Op::Unary(Unary::Sin) => pointwise::sine,
        Op::Unary(Unary::Cos) => pointwise::cosine,
        Op::Unary(Unary::Abs) => pointwise::absolute,
        Op::Binary(Binary::Add) => pointwise::sum,
        Op::Binary(Binary::Sub) => pointwise::difference,
        Op::Binary(Binary::Mul) => pointwise::product,
        Op::Binary(Binary::Div) => pointwise::quotient,
        Op::Binary(Binary::Pow) => pointwise::power,
        Op::Where => pointwise::choice,
        Op::SoftCap { .. } => pointwise::soft_cap,
        Op::Activation(_) => activation::activation,
        Op::MatMul => linear::matmul,
        Op::Linear(_) => linear::linear,
        Op::Softmax { .. } => softmax::softmax,
        Op::RmsNorm { .. } => norm::rms_norm,
        Op::LayerNorm { .. } => norm::layer_norm,
        Op::Rotary => movement::rotary,
        Op::Reduce { .. } => movement::reduction,
        Op::Reshape(_) => movement::reshape,
        Op::Transpose(_) => movement::transpose,
        Op::Expand(_) => movement::expand,
        Op::Cast(_) => movement::cast,
        Op::Concat { .. } => movement::concat,
        Op::Slice { .. } => movement::slice,
        Op::Pad { .. } => movement::pad,
        Op::Gather { .. } => gather::gather,
        Op::Opaque(opaque) if opaque.op_type == "GatherElements" => gather::gather_elements,
        Op::Input { .. }
        | Op::Constant(_)
        | Op::Weight(_)
        | Op::Logic(_)
        | Op::Not
        | Op::DimSize(_)
        | Op::Arange(_)
        | Op::Gemm { .. }
        | Op::Opaque(_) => return None,
    })
}
