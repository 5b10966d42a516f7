//! A graph as a list of steps, read from an ONNX file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use prost::Message as _;

use super::ReferenceError;
use super::array::{Computed, Shared, Value};
use super::stored::{Stored, WeightFile};
use crate::bundle::bake::COMPUTE;
use crate::onnx::op::{Activation, Binary, Logic, Reduction, Unary};
use crate::onnx::proto::tensor_proto::DataLocation;
use crate::onnx::proto::{AttributeProto, ModelProto, NodeProto, TensorProto};
use crate::onnx::read::weights::{attribute_tensor, element_type};
use crate::onnx::{Dtype, Tensor};

/// What a step does: ONNX's primitives, as its specification has them, and the composites of the library's graphs, by
/// their definitions.
#[derive(Clone, Debug)]
pub enum Operator {
    Input(String),
    Known(Shared),
    Same,
    Unary(Unary),
    Binary(Binary),
    Logic(Logic),
    Not,
    IsNan,
    Where,
    Cast(Dtype),
    MatMul,
    Gemm {
        transpose_b: bool,
    },
    Softmax {
        axis: i64,
    },
    /// x, axes.
    Reduce {
        kind: Reduction,
        keep: bool,
    },
    /// x, sizes.
    Reshape,
    Transpose(Vec<usize>),
    /// x, sizes.
    Expand,
    Concat {
        axis: i64,
    },
    /// x, starts, ends, axes.
    Slice,
    /// x, pads.
    Pad,
    Gather {
        axis: i64,
    },
    GatherElements {
        axis: i64,
    },
    ScatterElements {
        axis: i64,
    },
    Shape {
        start: i64,
        end: Option<i64>,
    },
    Range,
    /// x, weight, maybe bias; `out_in`: the weight is `[out, in]`.
    Linear {
        out_in: bool,
    },
    RmsNorm {
        eps: f64,
    },
    LayerNorm {
        eps: f64,
    },
    Activation(Activation),
    SoftCap {
        cap: f64,
    },
    Rotary,
    /// An operator of masks and positions that only the runtime knows.
    Other(Box<NodeProto>),
}

impl Operator {
    pub fn name(&self) -> String {
        match self {
            Operator::Other(node) => node.op_type().to_owned(),
            Operator::Unary(kind) => format!("{kind:?}"),
            Operator::Binary(kind) => format!("{kind:?}"),
            Operator::Logic(kind) => format!("{kind:?}"),
            Operator::Activation(kind) => format!("{kind:?}"),
            Operator::Known(_) => "constant".to_owned(),
            other => {
                let text = format!("{other:?}");
                text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
            }
        }
    }
}

/// One value, made by an operator from earlier ones.
#[derive(Clone, Debug)]
pub struct Step {
    pub operator: Operator,
    pub inputs: Vec<usize>,
    /// What its node is called, for messages.
    pub name: String,
}

/// A graph's steps in order, and its outputs by name.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub steps: Vec<Step>,
    pub outputs: HashMap<String, usize>,
}

impl Program {
    /// Reads a graph of a bundle, of which `bytes` are the contents; `weights` is the file that its external data is in.
    pub fn read(path: &Path, bytes: &[u8], weights: &Arc<WeightFile>) -> Result<Program, ReferenceError> {
        let fail = |problem: String| ReferenceError { graph: path.to_owned(), node: String::new(), problem };
        let model = ModelProto::decode(bytes).map_err(|error| fail(format!("is no ONNX file: {error}")))?;
        let computes_in = |dtype: Dtype| {
            model.metadata_props.iter().any(|fact| fact.key() == COMPUTE && fact.value() == dtype.name())
        };
        let (is_half, is_double) = (computes_in(Dtype::F16), computes_in(Dtype::F64));
        let graph = model.graph.ok_or_else(|| fail("holds no graph".to_owned()))?;
        let mut program = Program::default();
        let mut named: HashMap<&str, usize> = HashMap::new();
        for tensor in &graph.initializer {
            let known =
                initializer(tensor, weights).map_err(|problem| fail(format!("'{}' {problem}", tensor.name())))?;
            named.insert(tensor.name(), program.push(Operator::Known(Arc::new(known)), Vec::new(), tensor.name()));
        }
        for input in &graph.input {
            named
                .entry(input.name())
                .or_insert_with(|| program.push(Operator::Input(input.name().to_owned()), Vec::new(), input.name()));
        }
        for node in &graph.node {
            let fail =
                |problem: String| ReferenceError { graph: path.to_owned(), node: node.name().to_owned(), problem };
            let operator = operator(node).map_err(fail)?;
            let inputs = node.input.iter().filter(|name| !name.is_empty()).map(|name| {
                named.get(name.as_str()).copied().ok_or_else(|| fail(format!("uses '{name}', which nothing makes")))
            });
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            let [output] = &node.output[..] else { return Err(fail("has not one output".to_owned())) };
            // A weight of less precision is the same numbers in more.
            if let (Operator::Cast(Dtype::F32 | Dtype::F64), [weight]) = (&operator, &inputs[..])
                && let Operator::Known(value) = &program.steps[*weight].operator
                && matches!(&**value, Value::Stored(stored) if stored.is_float())
            {
                named.insert(output, *weight);
                continue;
            }
            // What products in half precision mean is what they are products of, and the error function in single precision
            // that of what stands in double.
            if let (Operator::Cast(to), &[input]) = (&operator, &inputs[..])
                && match &program.steps[input].operator {
                    Operator::MatMul | Operator::Gemm { .. } => is_half,
                    Operator::Unary(Unary::Erf) => is_double,
                    _ => is_half && *to == Dtype::F16,
                }
            {
                named.insert(output, input);
                continue;
            }
            let inputs = match (&operator, &inputs[..]) {
                (Operator::Unary(Unary::Erf), &[input])
                    if is_double && matches!(program.steps[input].operator, Operator::Cast(Dtype::F32)) =>
                {
                    program.steps[input].inputs.clone()
                }
                _ => inputs,
            };
            named.insert(output, program.push(operator, inputs, node.name()));
        }
        for output in &graph.output {
            let made = named.get(output.name()).copied();
            let made = made.ok_or_else(|| fail(format!("its output '{}' is not made", output.name())))?;
            program.outputs.insert(output.name().to_owned(), made);
        }
        Ok(program)
    }

    pub fn push(&mut self, operator: Operator, inputs: Vec<usize>, name: &str) -> usize {
        self.steps.push(Step { operator, inputs, name: name.to_owned() });
        self.steps.len() - 1
    }

    /// For each step, whether one of `roots` is made from it.
    pub fn needed(&self, roots: &[usize]) -> Vec<bool> {
        let mut needed = vec![false; self.steps.len()];
        roots.iter().for_each(|&root| needed[root] = true);
        for (id, step) in self.steps.iter().enumerate().rev() {
            if needed[id] {
                step.inputs.iter().for_each(|&input| needed[input] = true);
            }
        }
        needed
    }

    /// For each step, whether it is made from the numbers of the input of this name, not only from its size.
    pub fn made_from(&self, name: &str) -> Vec<bool> {
        let mut made = vec![false; self.steps.len()];
        for (id, step) in self.steps.iter().enumerate() {
            made[id] = match &step.operator {
                Operator::Input(input) => input == name,
                Operator::Shape { .. } => false,
                _ => step.inputs.iter().any(|&input| made[input]),
            };
        }
        made
    }
}

fn initializer(tensor: &TensorProto, weights: &Arc<WeightFile>) -> Computed<Value> {
    if tensor.data_location() != DataLocation::External {
        return Value::of_tensor(&attribute_tensor(tensor)?);
    }
    let offset = tensor.external_data.iter().find(|entry| entry.key() == "offset");
    let offset = offset.map_or(Ok(0), |entry| entry.value().parse()).map_err(|_| "has no sound offset".to_owned())?;
    let dims = tensor.dims.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| format!("has the shape {:?}", tensor.dims))?;
    let stored = Stored::new(weights, offset, element_type(tensor.data_type())?, dims)?;
    Ok(Value::Stored(stored))
}

struct Attributes<'a>(&'a [AttributeProto]);

impl Attributes<'_> {
    fn find(&self, name: &str) -> Option<&AttributeProto> {
        self.0.iter().find(|attribute| attribute.name() == name)
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.find(name).map(AttributeProto::i)
    }
}

/// An operator of the default domain as opset 18 has it.
fn operator(node: &NodeProto) -> Computed<Operator> {
    let attributes = Attributes(&node.attribute);
    let axis = |default: i64| attributes.int("axis").unwrap_or(default);
    let reduce = |kind| {
        if node.input.len() != 2 {
            return Err("reduces over axes that it does not name".to_owned());
        }
        Ok(Operator::Reduce { kind, keep: attributes.int("keepdims").unwrap_or(1) != 0 })
    };
    if !node.domain().is_empty() {
        return Ok(Operator::Other(Box::new(node.clone())));
    }
    Ok(match node.op_type() {
        "Identity" => Operator::Same,
        "Neg" => Operator::Unary(Unary::Neg),
        "Abs" => Operator::Unary(Unary::Abs),
        "Sqrt" => Operator::Unary(Unary::Sqrt),
        "Reciprocal" => Operator::Unary(Unary::Reciprocal),
        "Exp" => Operator::Unary(Unary::Exp),
        "Log" => Operator::Unary(Unary::Log),
        "Tanh" => Operator::Unary(Unary::Tanh),
        "Sigmoid" => Operator::Unary(Unary::Sigmoid),
        "Erf" => Operator::Unary(Unary::Erf),
        "Sin" => Operator::Unary(Unary::Sin),
        "Cos" => Operator::Unary(Unary::Cos),
        "Add" => Operator::Binary(Binary::Add),
        "Sub" => Operator::Binary(Binary::Sub),
        "Mul" => Operator::Binary(Binary::Mul),
        "Div" => Operator::Binary(Binary::Div),
        "Pow" => Operator::Binary(Binary::Pow),
        "Equal" => Operator::Logic(Logic::Equal),
        "Less" => Operator::Logic(Logic::Less),
        "LessOrEqual" => Operator::Logic(Logic::LessOrEqual),
        "Greater" => Operator::Logic(Logic::Greater),
        "GreaterOrEqual" => Operator::Logic(Logic::GreaterOrEqual),
        "And" => Operator::Logic(Logic::And),
        "Or" => Operator::Logic(Logic::Or),
        "Not" => Operator::Not,
        "IsNaN" => Operator::IsNan,
        "Where" => Operator::Where,
        "Cast" => {
            let to = attributes.int("to").and_then(|to| i32::try_from(to).ok()).unwrap_or(0);
            Operator::Cast(element_type(to)?)
        }
        "MatMul" => Operator::MatMul,
        "Gemm" => {
            let factor = |name: &str| attributes.find(name).map_or(1.0, AttributeProto::f);
            if attributes.int("transA").unwrap_or(0) != 0 || factor("alpha") != 1.0 || factor("beta") != 1.0 {
                return Err("has transA, alpha or beta".to_owned());
            }
            Operator::Gemm { transpose_b: attributes.int("transB").unwrap_or(0) != 0 }
        }
        "Softmax" => Operator::Softmax { axis: axis(-1) },
        "ReduceSum" => reduce(Reduction::Sum)?,
        "ReduceMean" => reduce(Reduction::Mean)?,
        "ReduceMax" => reduce(Reduction::Max)?,
        "Reshape" if attributes.int("allowzero").unwrap_or(0) == 0 => Operator::Reshape,
        "Transpose" => {
            let order = attributes.find("perm").ok_or("has no perm")?.ints.iter();
            let order = order.map(|&axis| usize::try_from(axis)).collect::<Result<Vec<_>, _>>();
            Operator::Transpose(order.map_err(|_| "has a negative axis".to_owned())?)
        }
        "Expand" => Operator::Expand,
        "Concat" => Operator::Concat { axis: axis(0) },
        "Slice" if node.input.len() == 4 => Operator::Slice,
        "Pad" if node.input.len() == 2 && attributes.find("mode").is_none() => Operator::Pad,
        "Gather" => Operator::Gather { axis: axis(0) },
        "GatherElements" => Operator::GatherElements { axis: axis(0) },
        "ScatterElements" if attributes.find("reduction").is_some_and(|text| text.s() == b"add") => {
            Operator::ScatterElements { axis: axis(0) }
        }
        "Shape" => Operator::Shape { start: attributes.int("start").unwrap_or(0), end: attributes.int("end") },
        "Range" => Operator::Range,
        _ => Operator::Other(Box::new(node.clone())),
    })
}

/// A constant of a program that is built rather than read.
pub fn known(tensor: &Tensor) -> Computed<Operator> {
    Ok(Operator::Known(Arc::new(Value::of_tensor(tensor)?)))
}
