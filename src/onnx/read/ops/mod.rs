//! The operators that are understood, one file a family.
//!
//! Every operator is one line: its name, all attributes that it may have in the operator sets that are read, and what
//! converts it. A converter that serves several operators is told which one by its line, never by a name it compares: what
//! has no line, and an attribute that its line does not list, is an error.

mod attention;
mod contrib;
mod einsum;
mod indexing;
mod movement;
mod norms;
mod opaque;
mod pointwise;
mod products;

use movement::Over;

use super::attributes::Kind::{self, Float, Floats, Int, Ints, Tensor, Text};
use super::convert::{Call, Converter, Outcome, Val};
use super::fold::fold;
use crate::onnx::op::{Activation, Binary, Logic, Unary};

/// Converts one node: its outputs in order. Outputs that nothing uses may be left out at the end.
type Convert = fn(&mut Converter, &Call) -> Outcome<Vec<Val>>;

/// An operator that is understood.
pub(super) struct Operator {
    pub name: &'static str,
    /// All attributes that it may have.
    pub attributes: &'static [(&'static str, Kind)],
    convert: Convert,
}

const fn op(name: &'static str, attributes: &'static [(&'static str, Kind)], convert: Convert) -> Operator {
    Operator { name, attributes, convert }
}

/// The outputs of a node.
pub fn convert(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    if let Some(name) = call.attributes.graph() {
        return Err(format!("is control flow (its attribute '{name}' is a graph), which is not supported").into());
    }
    let standard = call.domain.is_empty();
    let found = if standard { standard_operator(&call.op) } else { contrib::operator(&call.domain, &call.op)? };
    let Some(operator) = found else { return Err("is an operator that is not supported".into()) };
    call.attributes.check(operator.attributes)?;
    // What is known when the file is read needs no node.
    if standard && call.used.iter().skip(1).all(|used| !used) {
        let known: Vec<_> = call.inputs.iter().map(|input| input.as_ref().map(Val::known)).collect();
        let all = known.iter().flatten().all(Option::is_some);
        let inputs: Vec<_> = known.into_iter().map(Option::flatten).collect();
        if all && let Some(result) = fold(&call.op, &inputs, &call.attributes) {
            return Ok(vec![result.into()]);
        }
    }
    (operator.convert)(c, call)
}

fn standard_operator(name: &str) -> Option<&'static Operator> {
    OPERATORS.iter().chain(opaque::OPERATORS).find(|operator| operator.name == name)
}

const NONE: &[(&str, Kind)] = &[];
const AXIS: &[(&str, Kind)] = &[("axis", Int)];
const REDUCTION: &[(&str, Kind)] = &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)];
const NORM: &[(&str, Kind)] = &[("axis", Int), ("epsilon", Float), ("stash_type", Int)];

/// Operators of the default domain; those that are carried through have a table of their own.
static OPERATORS: &[Operator] = &[
    op(
        "Constant",
        &[
            ("value", Tensor),
            ("value_int", Int),
            ("value_ints", Ints),
            ("value_float", Float),
            ("value_floats", Floats),
        ],
        pointwise::constant,
    ),
    op("Identity", NONE, pointwise::identity),
    op("Dropout", &[("seed", Int)], pointwise::dropout),
    op("Cast", &[("to", Int), ("saturate", Int)], pointwise::cast),
    op("CastLike", &[("saturate", Int)], pointwise::cast_like),
    op("Neg", NONE, |c, call| pointwise::unary(c, call, Unary::Neg)),
    op("Abs", NONE, |c, call| pointwise::unary(c, call, Unary::Abs)),
    op("Sqrt", NONE, |c, call| pointwise::unary(c, call, Unary::Sqrt)),
    op("Reciprocal", NONE, |c, call| pointwise::unary(c, call, Unary::Reciprocal)),
    op("Exp", NONE, |c, call| pointwise::unary(c, call, Unary::Exp)),
    op("Log", NONE, |c, call| pointwise::unary(c, call, Unary::Log)),
    op("Tanh", NONE, |c, call| pointwise::unary(c, call, Unary::Tanh)),
    op("Sigmoid", NONE, |c, call| pointwise::unary(c, call, Unary::Sigmoid)),
    op("Erf", NONE, |c, call| pointwise::unary(c, call, Unary::Erf)),
    op("Sin", NONE, |c, call| pointwise::unary(c, call, Unary::Sin)),
    op("Cos", NONE, |c, call| pointwise::unary(c, call, Unary::Cos)),
    op("Add", NONE, |c, call| pointwise::arithmetic(c, call, Binary::Add)),
    op("Sum", NONE, |c, call| pointwise::arithmetic(c, call, Binary::Add)),
    op("Sub", NONE, |c, call| pointwise::arithmetic(c, call, Binary::Sub)),
    op("Mul", NONE, |c, call| pointwise::arithmetic(c, call, Binary::Mul)),
    op("Div", NONE, |c, call| pointwise::arithmetic(c, call, Binary::Div)),
    op("Pow", NONE, |c, call| pointwise::arithmetic(c, call, Binary::Pow)),
    op("Equal", NONE, |c, call| pointwise::logic(c, call, Logic::Equal)),
    op("Less", NONE, |c, call| pointwise::logic(c, call, Logic::Less)),
    op("LessOrEqual", NONE, |c, call| pointwise::logic(c, call, Logic::LessOrEqual)),
    op("Greater", NONE, |c, call| pointwise::logic(c, call, Logic::Greater)),
    op("GreaterOrEqual", NONE, |c, call| pointwise::logic(c, call, Logic::GreaterOrEqual)),
    op("And", NONE, |c, call| pointwise::logic(c, call, Logic::And)),
    op("Or", NONE, |c, call| pointwise::logic(c, call, Logic::Or)),
    op("Not", NONE, pointwise::not),
    op("Where", NONE, pointwise::choose),
    op("Max", NONE, |c, call| pointwise::extreme(c, call, Logic::GreaterOrEqual)),
    op("Min", NONE, |c, call| pointwise::extreme(c, call, Logic::LessOrEqual)),
    op("Clip", NONE, pointwise::clip),
    op("Relu", NONE, |c, call| pointwise::activation(c, call, Activation::Relu)),
    op("Gelu", &[("approximate", Text)], pointwise::gelu),
    op("Softmax", AXIS, pointwise::softmax),
    op("LogSoftmax", AXIS, pointwise::log_softmax),
    op("MatMul", NONE, products::matmul),
    op("Gemm", &[("alpha", Float), ("beta", Float), ("transA", Int), ("transB", Int)], products::gemm),
    op("Einsum", &[("equation", Text)], einsum::einsum),
    op("Shape", &[("start", Int), ("end", Int)], movement::shape),
    op("Size", NONE, movement::size),
    op("Reshape", &[("allowzero", Int)], movement::reshape),
    op("Flatten", AXIS, movement::flatten),
    op("Squeeze", NONE, movement::squeeze),
    op("Unsqueeze", NONE, movement::unsqueeze),
    op("Transpose", &[("perm", Ints)], movement::transpose),
    op("Expand", NONE, movement::expand),
    op("ConstantOfShape", &[("value", Tensor)], movement::constant_of_shape),
    op("Range", NONE, movement::range),
    op("Concat", AXIS, movement::concat),
    op("Pad", &[("mode", Text)], movement::pad),
    op("Tile", NONE, movement::tile),
    op("ReduceSum", REDUCTION, |c, call| movement::reduce(c, call, Over::Sum)),
    op("ReduceMean", REDUCTION, |c, call| movement::reduce(c, call, Over::Mean)),
    op("ReduceMax", REDUCTION, |c, call| movement::reduce(c, call, Over::Max)),
    op("ReduceMin", REDUCTION, |c, call| movement::reduce(c, call, Over::Min)),
    op("ReduceProd", REDUCTION, |c, call| movement::reduce(c, call, Over::Prod)),
    op("ReduceSumSquare", REDUCTION, |c, call| movement::reduce(c, call, Over::SumSquare)),
    op("ReduceL1", REDUCTION, |c, call| movement::reduce(c, call, Over::L1)),
    op("ReduceL2", REDUCTION, |c, call| movement::reduce(c, call, Over::L2)),
    op("ReduceLogSum", REDUCTION, |c, call| movement::reduce(c, call, Over::LogSum)),
    op("ReduceLogSumExp", REDUCTION, |c, call| movement::reduce(c, call, Over::LogSumExp)),
    op("Slice", NONE, indexing::slice),
    op("Split", &[("axis", Int), ("num_outputs", Int)], indexing::split),
    op("Gather", AXIS, indexing::gather),
    op("GatherND", &[("batch_dims", Int)], indexing::gather_nd),
    op("LayerNormalization", NORM, norms::layer_norm),
    op("RMSNormalization", NORM, norms::rms_norm),
    // ONNX Runtime's optimizer writes this one into the standard domain.
    op("SimplifiedLayerNormalization", NORM, norms::rms_norm),
    op(
        "RotaryEmbedding",
        &[("interleaved", Int), ("num_heads", Int), ("rotary_embedding_dim", Int)],
        attention::rotary_embedding,
    ),
    op(
        "Attention",
        &[
            ("is_causal", Int),
            ("kv_num_heads", Int),
            ("q_num_heads", Int),
            ("qk_matmul_output_mode", Int),
            ("scale", Float),
            ("softcap", Float),
            ("softmax_precision", Int),
        ],
        attention::attention,
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;
    use crate::onnx::read::attributes::Attributes;
    use crate::onnx::read::convert::Problem;
    use crate::onnx::read::weights::FileWeights;
    use crate::onnx::{Dim, Dtype, Graph};

    fn all() -> impl Iterator<Item = (&'static str, &'static Operator)> {
        let standard = OPERATORS.iter().chain(opaque::OPERATORS).map(|operator| ("", operator));
        standard.chain(contrib::OPERATORS.iter().map(|operator| ("com.microsoft", operator)))
    }

    fn converter() -> Converter {
        Converter { graph: Graph::new(), weights: FileWeights::new(Path::new("model.onnx"), 0) }
    }

    fn call(domain: &str, op: &str, inputs: Vec<Option<Val>>, attributes: Attributes) -> Call {
        let (name, op, domain) = ("y".to_owned(), op.to_owned(), domain.to_owned());
        Call { name, op, domain, inputs, attributes, used: vec![true] }
    }

    #[test]
    fn every_operator_has_one_line() {
        let mut seen = HashSet::new();
        for (domain, operator) in all() {
            assert!(seen.insert((domain, operator.name)), "{} stands twice", operator.name);
            let names: HashSet<&str> = operator.attributes.iter().map(|(name, _)| *name).collect();
            assert_eq!(names.len(), operator.attributes.len(), "{}", operator.name);
        }
    }

    #[test]
    fn attributes_that_are_not_listed_or_of_another_type_are_refused() {
        for (domain, operator) in all() {
            let refused = |name: &str, attributes: Attributes| {
                let error = convert(&mut converter(), &call(domain, operator.name, Vec::new(), attributes));
                let Err(Problem(problem)) = error else { panic!("{}: '{name}' was taken", operator.name) };
                assert!(problem.contains(&format!("the attribute '{name}'")), "{}: {problem}", operator.name);
            };
            refused("colour", Attributes::of_ints("colour", &[1]));
            for (name, kind) in operator.attributes {
                match kind {
                    Ints => refused(name, Attributes::of_text(name, "1")),
                    Int | Float | Floats | Text | Tensor => refused(name, Attributes::of_ints(name, &[1])),
                }
            }
        }
    }

    /// What an operator of one or two inputs is in the graph, where it is one operator there. Those that are written out, or
    /// that take shapes, are listed by name, so that a new line of the tables is met here first.
    fn expected(name: &str) -> Option<(Dtype, usize, &str)> {
        Some(match name {
            "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Tanh" | "Sigmoid" | "Erf" | "Sin" | "Cos"
            | "Relu" | "Gelu" | "Softmax" | "Floor" | "Ceil" | "Round" | "Sign" | "Softplus" | "Softsign"
            | "HardSwish" | "HardSigmoid" | "Mish" | "Elu" | "Selu" | "Celu" | "LeakyRelu" | "ThresholdedRelu"
            | "Tan" | "Asin" | "Acos" | "Atan" | "Sinh" | "Cosh" | "Asinh" | "Acosh" | "Atanh" | "Hardmax"
            | "IsNaN" | "IsInf" | "ArgMax" | "ArgMin" | "Trilu" | "ReduceSum" | "ReduceMean" | "ReduceMax"
            | "ReduceProd" | "Transpose" => (Dtype::F32, 1, name),
            "Not" => (Dtype::Bool, 1, name),
            "BitwiseNot" => (Dtype::I64, 1, name),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "PRelu" | "Less" | "LessOrEqual" | "Greater"
            | "GreaterOrEqual" | "Equal" | "MatMul" => (Dtype::F32, 2, name),
            "Sum" => (Dtype::F32, 2, "Add"),
            "And" | "Or" | "Xor" => (Dtype::Bool, 2, name),
            "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitShift" => (Dtype::I64, 2, name),
            "Max" | "Min" => (Dtype::F32, 2, "Where"),
            "LogSoftmax" => (Dtype::F32, 1, "Sub"),
            "ReduceMin" => (Dtype::F32, 1, "Neg"),
            "ReduceL2" => (Dtype::F32, 1, "Sqrt"),
            "ReduceSumSquare" | "ReduceL1" => (Dtype::F32, 1, "ReduceSum"),
            "ReduceLogSum" => (Dtype::F32, 1, "Log"),
            "ReduceLogSumExp" => (Dtype::F32, 1, "Add"),
            "BiasGelu" => (Dtype::F32, 2, "Gelu"),
            "FastGelu" => (Dtype::F32, 1, "GeluTanh"),
            "QuickGelu" => (Dtype::F32, 1, "QuickGelu"),
            "Constant"
            | "Identity"
            | "Dropout"
            | "Cast"
            | "CastLike"
            | "Where"
            | "Clip"
            | "Gemm"
            | "Einsum"
            | "Shape"
            | "Size"
            | "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Expand"
            | "ConstantOfShape"
            | "Range"
            | "Concat"
            | "Pad"
            | "Tile"
            | "Slice"
            | "Split"
            | "Gather"
            | "GatherND"
            | "LayerNormalization"
            | "RMSNormalization"
            | "SimplifiedLayerNormalization"
            | "RotaryEmbedding"
            | "Attention"
            | "CumSum"
            | "ScatterND"
            | "ScatterElements"
            | "GatherElements"
            | "SkipSimplifiedLayerNormalization"
            | "SkipLayerNormalization"
            | "FusedMatMul"
            | "FusedGemm"
            | "GroupQueryAttention"
            | "MultiHeadAttention"
            | "EmbedLayerNormalization" => {
                return None;
            }
            other => panic!("say what {other} becomes"),
        })
    }

    #[test]
    fn operators_become_what_they_are_called() {
        for (domain, operator) in all() {
            let Some((dtype, count, wanted)) = expected(operator.name) else { continue };
            let mut c = converter();
            let inputs: Vec<Option<Val>> = (0..count)
                .map(|i| {
                    let shape = vec![Dim::known(3), Dim::known(3)];
                    let bias = operator.name == "BiasGelu" && i == 1;
                    let shape = if bias { vec![Dim::known(3)] } else { shape };
                    Some(c.graph.input(&format!("x{i}"), dtype, shape).unwrap().into())
                })
                .collect();
            let attributes = Attributes::default();
            let Ok(made) = convert(&mut c, &call(domain, operator.name, inputs, attributes)) else {
                panic!("{} was not converted", operator.name)
            };
            let [Val::Node(id)] = made[..] else { panic!("{} makes no node", operator.name) };
            assert_eq!(c.graph.value(id).op.name(), wanted, "{}", operator.name);
        }
    }
}
