//! The operators that are understood, one file a family.

mod attention;
mod contrib;
mod einsum;
mod indexing;
mod movement;
mod norms;
mod opaque;
mod pointwise;
mod products;

use super::convert::{Call, Converter, Outcome, Val};
use super::fold::fold;

/// Converts one node: its outputs in order. Outputs that nothing uses may be left out at the end.
type Convert = fn(&mut Converter, &Call) -> Outcome<Vec<Val>>;

/// The outputs of a node.
pub fn convert(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    if let Some(name) = call.attributes.graph() {
        return Err(format!("is control flow (its attribute '{name}' is a graph), which is not supported").into());
    }
    let standard = call.domain.is_empty();
    // What is known when the file is read needs no node.
    if standard && call.used.iter().skip(1).all(|used| !used) {
        let known: Vec<_> = call.inputs.iter().map(|input| input.as_ref().map(Val::known)).collect();
        let all = known.iter().flatten().all(Option::is_some);
        let inputs: Vec<_> = known.into_iter().map(Option::flatten).collect();
        if all && let Some(result) = fold(&call.op, &inputs, &call.attributes) {
            return Ok(vec![result.into()]);
        }
    }
    let found = if standard { standard_operator(&call.op) } else { contrib::operator(&call.domain, &call.op)? };
    match found {
        Some(convert) => convert(c, call),
        None => Err("is an operator that is not supported".into()),
    }
}

fn standard_operator(op: &str) -> Option<Convert> {
    Some(match op {
        "Constant" => pointwise::constant,
        "Identity" => pointwise::identity,
        "Dropout" => pointwise::dropout,
        "Cast" | "CastLike" => pointwise::cast,
        "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Tanh" | "Sigmoid" | "Erf" | "Sin" | "Cos" => {
            pointwise::unary
        }
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Sum" => pointwise::arithmetic,
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" => pointwise::logic,
        "Not" => pointwise::not,
        "Where" => pointwise::choose,
        "Max" | "Min" => pointwise::extreme,
        "Clip" => pointwise::clip,
        "Relu" | "Gelu" => pointwise::activation,
        "Softmax" => pointwise::softmax,
        "LogSoftmax" => pointwise::log_softmax,

        "MatMul" => products::matmul,
        "Gemm" => products::gemm,
        "Einsum" => einsum::einsum,

        "Shape" => movement::shape,
        "Size" => movement::size,
        "Reshape" => movement::reshape,
        "Flatten" => movement::flatten,
        "Squeeze" => movement::squeeze,
        "Unsqueeze" => movement::unsqueeze,
        "Transpose" => movement::transpose,
        "Expand" => movement::expand,
        "ConstantOfShape" => movement::constant_of_shape,
        "Range" => movement::range,
        "Concat" => movement::concat,
        "Pad" => movement::pad,
        "Tile" => movement::tile,
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceSumSquare" | "ReduceL1"
        | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" => movement::reduce,

        "Slice" => indexing::slice,
        "Split" => indexing::split,
        "Gather" => indexing::gather,
        "GatherND" => indexing::gather_nd,

        "LayerNormalization" => norms::layer_norm,
        "RMSNormalization" => norms::rms_norm,
        // ONNX Runtime's optimizer writes this one into the standard domain.
        "SimplifiedLayerNormalization" => norms::rms_norm,
        "RotaryEmbedding" => attention::rotary_embedding,
        "Attention" => attention::attention,
        _ => return opaque::operator(op),
    })
}
