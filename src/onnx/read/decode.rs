//! An ONNX file as plain structures, its weights left in the file.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use prost::Message;

use super::wire::{Budget, Field, decode_without, fields};
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
    /// Of an `If`: what is computed where its condition holds, and where it does not.
    pub branches: Option<[Rc<Branch>; 2]>,
}

/// One of the graphs of an `If`: it takes no inputs, and may use what the graphs around it have made.
#[derive(Debug)]
pub struct Branch {
    pub nodes: Vec<Node>,
    pub initializers: Vec<Initializer>,
    pub outputs: Vec<String>,
}

/// A tensor, and where its raw data lies in the file, if there.
#[derive(Debug)]
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
    pub const MODEL_FUNCTION: u32 = 25;
    /// Graph, functions, training information; and notes, which nothing that is read needs.
    pub const MODEL_HEAVY: [u32; 6] = [MODEL_GRAPH, MODEL_FUNCTION, 20, 6, 14, 26];
    pub const GRAPH_NODE: u32 = 1;
    pub const GRAPH_INITIALIZER: u32 = 5;
    pub const GRAPH_SPARSE: u32 = 15;
    /// With shapes of values, quantisation and notes.
    pub const GRAPH_HEAVY: [u32; 7] = [GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE, 13, 14, 10, 16];
    pub const NODE_ATTRIBUTE: u32 = 5;
    pub const NODE_METADATA: u32 = 9;
    /// With notes and devices.
    pub const NODE_HEAVY: [u32; 4] = [NODE_ATTRIBUTE, NODE_METADATA, 6, 10];
    pub const FUNCTION_NODE: u32 = 7;
    pub const FUNCTION_ATTRIBUTE: u32 = 11;
    /// With shapes of values and notes.
    pub const FUNCTION_HEAVY: [u32; 5] = [FUNCTION_NODE, FUNCTION_ATTRIBUTE, 12, 8, 14];
    pub const TENSOR_FLOATS: u32 = 4;
    pub const TENSOR_RAW: u32 = 9;
    pub const TENSOR_DOUBLES: u32 = 10;
    /// What takes as much memory as it has bytes; and notes.
    pub const TENSOR_HEAVY: [u32; 5] = [TENSOR_RAW, TENSOR_FLOATS, TENSOR_DOUBLES, 12, 16];
    pub const ATTRIBUTE_TENSOR: u32 = 5;
    pub const ATTRIBUTE_GRAPH: u32 = 6;
    /// With `graphs`, `sparse_tensor`, `sparse_tensors`, `tp`, `type_protos`, `tensors` and notes: nothing that is read
    /// needs them.
    pub const ATTRIBUTE_HEAVY: [u32; 9] = [ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, 11, 22, 23, 14, 15, 10, 13];
}

/// Where PyTorch's exporter notes which module a node is from.
pub const NAME_SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// Nodes of a model, those of its functions and branches included.
const MAX_NODES: usize = 1 << 17;
/// Branches within branches, at most.
const MAX_DEPTH: usize = 16;

/// Decodes a whole file.
pub fn model(bytes: &[u8]) -> Result<Model, String> {
    let mut decoder = Decoder { bytes, budget: Budget::new(), nodes: 0, depth: 0 };
    let (model, left) = decoder.message::<ModelProto>(0..bytes.len(), &tag::MODEL_HEAVY)?;
    let mut graphs = left.iter().filter(|field| field.number == tag::MODEL_GRAPH);
    let (Some(graph), None) = (graphs.next(), graphs.next()) else {
        return Err("does not hold one graph: it is no ONNX model".to_owned());
    };
    let (proto, parts) = decoder.message::<GraphProto>(graph.body.clone(), &tag::GRAPH_HEAVY)?;
    let nodes = decoder.nodes(&parts, tag::GRAPH_NODE)?;
    let initializers = decoder.initializers(&parts)?;
    let mut functions = HashMap::new();
    for part in left.iter().filter(|field| field.number == tag::MODEL_FUNCTION) {
        let function = decoder.function(part)?;
        let key = (domain(function.proto.domain()).to_owned(), function.proto.name().to_owned());
        if functions.insert(key.clone(), function).is_some() {
            return Err(format!("defines the function '{}' twice", key.1));
        }
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

/// A file that is being decoded.
struct Decoder<'a> {
    bytes: &'a [u8],
    budget: Budget,
    /// Nodes so far.
    nodes: usize,
    /// Branches around what is decoded.
    depth: usize,
}

impl Decoder<'_> {
    fn message<M: Message + Default>(&mut self, range: Range<usize>, heavy: &[u32]) -> Result<(M, Vec<Field>), String> {
        decode_without(self.bytes, range, heavy, &mut self.budget)
    }

    fn nodes(&mut self, parts: &[Field], number: u32) -> Result<Vec<Node>, String> {
        let parts: Vec<&Field> = parts.iter().filter(|field| field.number == number).collect();
        self.nodes += parts.len();
        if self.nodes > MAX_NODES {
            return Err(format!("has {} nodes or more; {MAX_NODES} are the most that are read", self.nodes));
        }
        parts.into_iter().map(|part| self.node(part)).collect()
    }

    fn initializers(&mut self, parts: &[Field]) -> Result<Vec<Initializer>, String> {
        let mut initializers = Vec::new();
        for part in parts {
            match part.number {
                tag::GRAPH_INITIALIZER => initializers.push(self.tensor(part)?),
                tag::GRAPH_SPARSE => return Err("has sparse weights, which are not supported".to_owned()),
                _ => {}
            }
        }
        Ok(initializers)
    }

    /// The graphs of an `If`; `None` where one is missing.
    fn branches(&mut self, graphs: Vec<(String, Range<usize>)>) -> Result<Option<[Rc<Branch>; 2]>, String> {
        let of = |name: &str| graphs.iter().find(|(own, _)| own == name).map(|(_, range)| range.clone());
        match (of("then_branch"), of("else_branch")) {
            (Some(then), Some(otherwise)) => Ok(Some([self.branch(then)?.into(), self.branch(otherwise)?.into()])),
            _ => Ok(None),
        }
    }

    fn branch(&mut self, range: Range<usize>) -> Result<Branch, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("has branches within branches, more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let (proto, parts) = self.message::<GraphProto>(range, &tag::GRAPH_HEAVY)?;
        let nodes = self.nodes(&parts, tag::GRAPH_NODE)?;
        let initializers = self.initializers(&parts)?;
        self.depth -= 1;
        Ok(Branch { nodes, initializers, outputs: proto.output.iter().map(|port| port.name().to_owned()).collect() })
    }

    fn node(&mut self, part: &Field) -> Result<Node, String> {
        let (mut proto, parts) = self.message::<NodeProto>(part.body.clone(), &tag::NODE_HEAVY)?;
        let mut graphs = Vec::new();
        for part in parts {
            match part.number {
                tag::NODE_ATTRIBUTE => {
                    let (attribute, graph) = self.attribute(&part)?;
                    graphs.extend(graph.map(|graph| (attribute.name().to_owned(), graph)));
                    proto.attribute.push(attribute);
                }
                // Notes may be long, such as a stack trace for every node.
                tag::NODE_METADATA if self.is_entry(&part, NAME_SCOPES)? => {
                    proto.metadata_props.push(self.message(part.body, &[])?.0);
                }
                _ => {}
            }
        }
        let is_if = proto.op_type() == "If" && domain(proto.domain()).is_empty();
        let branches = if is_if { self.branches(graphs)? } else { None };
        Ok(Node { proto, branches })
    }

    /// Whether a pair of texts has this key.
    fn is_entry(&self, part: &Field, key: &str) -> Result<bool, String> {
        let fields = fields(self.bytes, part.body.clone())?;
        Ok(fields.iter().any(|field| field.number == 1 && &self.bytes[field.body.clone()] == key.as_bytes()))
    }

    /// An attribute, and where the graph that it holds lies, if it holds one.
    fn attribute(&mut self, part: &Field) -> Result<(AttributeProto, Option<Range<usize>>), String> {
        let (mut proto, parts) = self.message::<AttributeProto>(part.body.clone(), &tag::ATTRIBUTE_HEAVY)?;
        for part in parts.iter().filter(|part| part.number == tag::ATTRIBUTE_TENSOR) {
            let Initializer { proto: mut tensor, raw } = self.tensor(part)?;
            tensor.raw_data = raw.map(|raw| self.bytes[raw].to_vec());
            proto.t = Some(tensor);
        }
        let graph = parts.iter().find(|part| part.number == tag::ATTRIBUTE_GRAPH).map(|part| part.body.clone());
        Ok((proto, graph))
    }

    /// A tensor without its raw data.
    fn tensor(&mut self, part: &Field) -> Result<Initializer, String> {
        let (mut proto, parts) = self.message::<TensorProto>(part.body.clone(), &tag::TENSOR_HEAVY)?;
        let mut raw = None;
        for part in parts {
            match part.number {
                tag::TENSOR_RAW => raw = Some(part.body),
                tag::TENSOR_FLOATS => {
                    let numbers = self.bytes[part.body].chunks_exact(4);
                    proto.float_data.extend(numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
                }
                tag::TENSOR_DOUBLES => {
                    let numbers = self.bytes[part.body].chunks_exact(8);
                    let number = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
                    proto.double_data.extend(numbers.map(number));
                }
                _ => {}
            }
        }
        Ok(Initializer { proto, raw })
    }

    fn function(&mut self, part: &Field) -> Result<Function, String> {
        let (mut proto, parts) = self.message::<FunctionProto>(part.body.clone(), &tag::FUNCTION_HEAVY)?;
        for part in parts.iter().filter(|part| part.number == tag::FUNCTION_ATTRIBUTE) {
            proto.attribute_proto.push(self.attribute(part)?.0);
        }
        let nodes = self.nodes(&parts, tag::FUNCTION_NODE)?;
        Ok(Function { proto, nodes })
    }
}
