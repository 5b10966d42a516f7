//! An ONNX file as plain structures, its weights left in the file.

use std::collections::HashMap;
use std::ops::Range;

use super::wire::{Field, decode_without};
use crate::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// A model: one graph, and the functions that its nodes may call.
pub struct Model {
    /// Operator-set versions by domain; the default domain is "".
    pub opsets: HashMap<String, i64>,
    pub producer: String,
    pub nodes: Vec<Node>,
    pub initializers: Vec<Initializer>,
    pub inputs: Vec<ValueInfoProto>,
    pub outputs: Vec<ValueInfoProto>,
    /// By domain and name.
    pub functions: HashMap<(String, String), Function>,
}

/// A node; attributes that hold graphs are empty.
#[derive(Clone, Debug)]
pub struct Node {
    pub proto: NodeProto,
}

/// A tensor, and where its raw data lies in the file, if there.
pub struct Initializer {
    pub proto: TensorProto,
    pub raw: Option<Range<usize>>,
}

/// A function of the model: nodes with names of their own.
pub struct Function {
    pub proto: FunctionProto,
    pub nodes: Vec<Node>,
}

mod tag {
    pub const MODEL_GRAPH: u32 = 7;
    pub const MODEL_TRAINING: u32 = 20;
    pub const MODEL_FUNCTION: u32 = 25;
    pub const GRAPH_NODE: u32 = 1;
    pub const GRAPH_INITIALIZER: u32 = 5;
    pub const GRAPH_VALUE_INFO: u32 = 13;
    pub const GRAPH_QUANTIZATION: u32 = 14;
    pub const GRAPH_SPARSE: u32 = 15;
    pub const NODE_ATTRIBUTE: u32 = 5;
    pub const FUNCTION_NODE: u32 = 7;
    pub const FUNCTION_VALUE_INFO: u32 = 12;
    pub const TENSOR_RAW: u32 = 9;
    /// `g`, `graphs`, `sparse_tensor`, `sparse_tensors`, `tp`, `type_protos`: nothing that is read needs them.
    pub const ATTRIBUTE_HEAVY: [u32; 6] = [6, 11, 22, 23, 14, 15];
}

/// Nodes of a model, those of its functions included.
const MAX_NODES: usize = 1 << 18;

/// Decodes a whole file.
pub fn model(bytes: &[u8]) -> Result<Model, String> {
    let heavy = [tag::MODEL_GRAPH, tag::MODEL_TRAINING, tag::MODEL_FUNCTION];
    let (model, left) = decode_without::<ModelProto>(bytes, 0..bytes.len(), &heavy)?;
    let mut graphs = left.iter().filter(|field| field.number == tag::MODEL_GRAPH);
    let (Some(graph), None) = (graphs.next(), graphs.next()) else {
        return Err("does not hold one graph: it is no ONNX model".to_owned());
    };
    let heavy =
        [tag::GRAPH_NODE, tag::GRAPH_INITIALIZER, tag::GRAPH_VALUE_INFO, tag::GRAPH_QUANTIZATION, tag::GRAPH_SPARSE];
    let (proto, parts) = decode_without::<GraphProto>(bytes, graph.body.clone(), &heavy)?;
    let nodes = nodes(bytes, &parts, tag::GRAPH_NODE)?;
    let mut initializers = Vec::new();
    for part in &parts {
        match part.number {
            tag::GRAPH_INITIALIZER => initializers.push(initializer(bytes, part)?),
            tag::GRAPH_SPARSE => return Err("has sparse weights, which are not supported".to_owned()),
            _ => {}
        }
    }
    let mut functions = HashMap::new();
    let mut total = nodes.len();
    for part in left.iter().filter(|field| field.number == tag::MODEL_FUNCTION) {
        let function = function(bytes, part)?;
        total += function.nodes.len();
        let key = (domain(function.proto.domain()).to_owned(), function.proto.name().to_owned());
        if functions.insert(key.clone(), function).is_some() {
            return Err(format!("defines the function '{}' twice", key.1));
        }
    }
    if total > MAX_NODES {
        return Err(format!("has {total} nodes; {MAX_NODES} are the most that are read"));
    }
    let opsets = model.opset_import.iter().map(|set| (domain(set.domain()).to_owned(), set.version())).collect();
    Ok(Model {
        opsets,
        producer: model.producer_name().to_owned(),
        nodes,
        initializers,
        inputs: proto.input,
        outputs: proto.output,
        functions,
    })
}

/// The default domain has two names.
pub fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

fn nodes(bytes: &[u8], parts: &[Field], number: u32) -> Result<Vec<Node>, String> {
    parts.iter().filter(|field| field.number == number).map(|part| node(bytes, part)).collect()
}

fn node(bytes: &[u8], part: &Field) -> Result<Node, String> {
    let (mut proto, attributes) = decode_without::<NodeProto>(bytes, part.body.clone(), &[tag::NODE_ATTRIBUTE])?;
    for attribute in attributes {
        let (attribute, _) = decode_without::<AttributeProto>(bytes, attribute.body, &tag::ATTRIBUTE_HEAVY)?;
        proto.attribute.push(attribute);
    }
    Ok(Node { proto })
}

fn initializer(bytes: &[u8], part: &Field) -> Result<Initializer, String> {
    let (proto, raw) = decode_without::<TensorProto>(bytes, part.body.clone(), &[tag::TENSOR_RAW])?;
    Ok(Initializer { proto, raw: raw.into_iter().next_back().map(|field| field.body) })
}

fn function(bytes: &[u8], part: &Field) -> Result<Function, String> {
    let heavy = [tag::FUNCTION_NODE, tag::FUNCTION_VALUE_INFO];
    let (proto, parts) = decode_without::<FunctionProto>(bytes, part.body.clone(), &heavy)?;
    let nodes = nodes(bytes, &parts, tag::FUNCTION_NODE)?;
    Ok(Function { proto, nodes })
}
