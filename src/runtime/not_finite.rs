//! Where numbers come from that are not finite.
//!
//! A graph is loaded a second time, as it is written, with a sum beside each of its values that is 0 where all of the value is
//! finite and NaN where it is not. Among the values that led to what came out, the first that was made of finite ones alone is
//! the origin.

use std::collections::{HashMap, HashSet};

use prost::Message as _;

use super::error::RuntimeError;
use super::library::Runtime;
use super::model::Model;
use super::row::Row;
use super::session::{Optimization, Outputs, Session, SessionOptions, Tensor};
use crate::bundle::{Graph, OpenedBundle};
use crate::onnx::proto::tensor_proto::{DataLocation, DataType};
use crate::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

/// Before the names of what is added to a graph.
const ADDED: &str = "gim_harness.finite";

/// What a model knows of it.
#[derive(Debug, Default)]
pub(super) struct Tracing {
    /// Nothing for a graph of which that cannot be had.
    tracers: HashMap<Graph, Option<Tracer>>,
    /// Whether what comes out that is not finite is traced, and what was found.
    on: bool,
    cause: Option<String>,
}

impl Tracing {
    /// Lets go of the graphs.
    pub fn clear(&mut self) {
        self.tracers.clear();
    }
}

impl Model {
    /// Runs `asks`, and says beside what they give what first made numbers of it that are not finite, where there are any, as a
    /// clause. Not of scores, which are many: [`Model::cause_of`] says it of one.
    pub fn with_cause<T>(&mut self, asks: impl FnOnce(&mut Model) -> T) -> (T, Option<String>) {
        (self.tracing.on, self.tracing.cause) = (true, None);
        let found = asks(self);
        self.tracing.on = false;
        (found, self.tracing.cause.take())
    }

    /// What first makes numbers that are not finite of a row, as a clause; nothing where all are, or where that cannot be found
    /// out.
    pub fn cause_of(&mut self, row: &Row) -> Option<String> {
        self.check_rows(std::slice::from_ref(row)).ok()?;
        let graph = row.graph();
        let inputs = self.forward_inputs(graph, &[row], row.length()).ok()?;
        self.trace(graph, &inputs)
    }

    /// Traces what came out of a graph, where that was asked for and it is not finite.
    pub(super) fn look_at(&mut self, graph: Graph, inputs: &[(&str, Tensor)], outputs: &Outputs) {
        let is_forward = graph.outputs().contains(&"logits");
        // Masked scores may be infinite.
        let mut looked_at = outputs.iter().filter(|(name, _)| *name != "scores");
        if self.tracing.on
            && !is_forward
            && self.tracing.cause.is_none()
            && looked_at.any(|(_, output)| holds_other_than_finite(output))
        {
            self.tracing.cause = self.trace(graph, inputs);
        }
    }

    /// Runs a graph node by node. That this cannot be done says nothing of the numbers, and is no error.
    fn trace(&mut self, graph: Graph, inputs: &[(&str, Tensor)]) -> Option<String> {
        if !self.tracing.tracers.contains_key(&graph) {
            let tracer = Tracer::open(&self.runtime, self.bundle(), graph, &self.options);
            let tracer = tracer.inspect_err(|error| tracing::warn!(%error, "cannot trace {}", graph.file())).ok();
            self.tracing.tracers.insert(graph, tracer);
        }
        let found = self.tracing.tracers.get_mut(&graph)?.as_mut()?.find(inputs);
        found.inspect_err(|error| tracing::warn!(%error, "cannot trace {}", graph.file())).ok()?
    }
}

/// A graph that tells of each of its values whether it is finite.
#[derive(Debug)]
struct Tracer {
    session: Session,
    graph: Graph,
    watched: Watched,
}

impl Tracer {
    /// # Errors
    /// Those of reading a file of the bundle; [`RuntimeError::Graph`] where ONNX Runtime does not take the graph with what is
    /// added to it.
    fn open(
        runtime: &Runtime,
        bundle: &OpenedBundle,
        graph: Graph,
        options: &SessionOptions,
    ) -> Result<Tracer, RuntimeError> {
        let file = bundle.path().join(graph.file());
        let problem = |problem: String| RuntimeError::Bundle { path: file.clone(), problem };
        let bytes = bundle.read(graph.file())?;
        super::external::check(&bytes, bundle.weights()).map_err(problem)?;
        let model = ModelProto::decode(&*bytes).map_err(|error| problem(error.to_string()))?;
        let (model, watched) = watch(model);
        // Node by node, and without copies of weights: it is run once or twice.
        let options =
            SessionOptions { optimization: Optimization::Disable, prepacking: Some(false), ..options.clone() };
        let session = Session::from_memory_beside(runtime, &file, &model.encode_to_vec(), &options)?;
        Ok(Tracer { session, graph, watched })
    }

    /// What first makes numbers that are not finite of these inputs, as a clause; nothing where all that comes out is finite
    /// when the nodes are run one by one.
    ///
    /// # Errors
    /// Those of running a graph.
    fn find(&mut self, inputs: &[(&str, Tensor)]) -> Result<Option<String>, RuntimeError> {
        if let Some((name, _)) = inputs.iter().find(|(_, tensor)| holds_other_than_finite(tensor)) {
            return Ok(Some(format!("{name} of {} is not finite already", self.graph.file())));
        }
        let sums = self.session.run_for(inputs, |name| name.starts_with(ADDED))?;
        let unsound: HashSet<&str> =
            sums.iter().filter(|(_, sum)| holds_other_than_finite(sum)).map(|(name, _)| name).collect();
        Ok(self
            .watched
            .origin(&unsound)
            .map(|node| format!("the first that is not comes from {node} of {}", self.graph.file())))
    }
}

/// Whether there is a NaN or an infinity among the numbers of an array.
fn holds_other_than_finite(tensor: &Tensor) -> bool {
    match tensor {
        Tensor::F32(array) => array.iter().any(|number| !number.is_finite()),
        Tensor::F64(array) => array.iter().any(|number| !number.is_finite()),
        Tensor::I64(_) | Tensor::I32(_) | Tensor::Bool(_) => false,
    }
}

/// The nodes of a graph, and the sums that tell of what they make.
#[derive(Debug, Default)]
struct Watched {
    nodes: Vec<Node>,
    /// The nodes that make the graph's outputs.
    ends: Vec<usize>,
}

#[derive(Debug)]
struct Node {
    /// Its name, its operator and the weights that go into it.
    label: String,
    /// The nodes whose values go into it.
    inputs: Vec<usize>,
    /// A constant that is not finite goes into it, such as what masks are made of.
    of_infinity: bool,
    /// The sums beside what it makes.
    sums: Vec<String>,
}

impl Watched {
    fn origin(&self, unsound: &HashSet<&str>) -> Option<&str> {
        let is_unsound = |node: &usize| self.nodes[*node].sums.iter().any(|sum| unsound.contains(sum.as_str()));
        let mut waiting: Vec<usize> = self.ends.iter().copied().filter(is_unsound).collect();
        let mut seen: HashSet<usize> = waiting.iter().copied().collect();
        let mut origins = Vec::new();
        while let Some(node) = waiting.pop() {
            let mut before = self.nodes[node].inputs.iter().copied().filter(is_unsound).peekable();
            if before.peek().is_none() {
                origins.push(node);
            }
            waiting.extend(before.filter(|node| seen.insert(*node)));
        }
        // Infinities that are meant, in masks, are followed only where there is nothing else.
        let first = origins.into_iter().min_by_key(|&node| (self.nodes[node].of_infinity, node))?;
        Some(&self.nodes[first].label)
    }
}

/// Adds the sums to a graph.
fn watch(mut model: ModelProto) -> (ModelProto, Watched) {
    let Some(graph) = &mut model.graph else { return (model, Watched::default()) };
    let mut types = types_of_ports(graph);
    let constants: HashMap<&str, &TensorProto> =
        graph.initializer.iter().filter_map(|tensor| Some((tensor.name.as_deref()?, tensor))).collect();
    let mut made_by: HashMap<String, usize> = HashMap::new();
    let (mut nodes, mut file, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for node in &graph.node {
        let of_tensors = node.input.iter().filter_map(|name| constants.get(name.as_str()).copied());
        let of_infinity = of_tensors.clone().any(is_infinite) || node.attribute.iter().any(holds_infinity);
        let weights = of_tensors.filter(|tensor| tensor.data_location == Some(DataLocation::External.into()));
        let weights: Vec<String> = weights.map(|tensor| format!(" `{}`", tensor.name())).collect();
        let mut label = format!("`{}` ({}", called(node), node.op_type());
        if !weights.is_empty() {
            label.push_str(&format!(", weight{}", weights.join(",")));
        }
        label.push(')');
        let inputs = node.input.iter().filter_map(|name| made_by.get(name).copied()).collect();
        file.push(node.clone());
        let mut own = Vec::new();
        for (place, output) in node.output.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
            made_by.insert(output.clone(), nodes.len());
            let Some(kind) = type_of(node, place, &types, &constants) else { continue };
            types.insert(output.clone(), kind);
            if let Some(added) = sum_of(output, kind, sums.len()) {
                file.extend(added);
                own.push(format!("{ADDED}.{}", sums.len()));
                sums.push(kind);
            }
        }
        nodes.push(Node { label, inputs, of_infinity, sums: own });
    }
    let ends = graph.output.iter().filter_map(|port| made_by.get(port.name()).copied()).collect();
    graph.node = file;
    graph.initializer.extend([DataType::Float, DataType::Double].map(zero));
    graph.output.extend((0..sums.len()).map(|number| ValueInfoProto {
        // ONNX Runtime knows the type by itself.
        name: Some(format!("{ADDED}.{number}")),
        ..ValueInfoProto::default()
    }));
    (model, Watched { nodes, ends })
}

fn called(node: &NodeProto) -> &str {
    let of_output = || node.output.first().map_or("", String::as_str);
    node.name.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(of_output)
}

/// Nodes for the sum of all numbers of a value, each times 0. A sum of halves is one of singles, for which there are kernels.
fn sum_of(value: &str, kind: DataType, number: usize) -> Option<Vec<NodeProto>> {
    let node = |operator: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("{output}.node")),
        ..NodeProto::default()
    };
    let attribute = |name: &str, i: i64| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(crate::onnx::proto::attribute_proto::AttributeType::Int.into()),
        i: Some(i),
        ..AttributeProto::default()
    };
    let [sum, product, wide] = ["", ".zeros", ".wide"].map(|part| format!("{ADDED}.{number}{part}"));
    let mut nodes = Vec::new();
    let (value, kind) = match kind {
        DataType::Float | DataType::Double => (value, kind),
        DataType::Float16 | DataType::Bfloat16 => {
            let mut cast = node("Cast", &[value], &wide);
            cast.attribute.push(attribute("to", DataType::Float as i64));
            nodes.push(cast);
            (wide.as_str(), DataType::Float)
        }
        _ => return None,
    };
    nodes.push(node("Mul", &[value, &zero(kind).name.unwrap_or_default()], &product));
    let mut total = node("ReduceSum", &[&product], &sum);
    total.attribute.push(attribute("keepdims", 0));
    nodes.push(total);
    Some(nodes)
}

fn zero(kind: DataType) -> TensorProto {
    let width = if kind == DataType::Double { 8 } else { 4 };
    TensorProto {
        name: Some(format!("{ADDED}.zero_{width}")),
        data_type: Some(kind.into()),
        raw_data: Some(vec![0; width]),
        ..TensorProto::default()
    }
}

fn types_of_ports(graph: &GraphProto) -> HashMap<String, DataType> {
    let known = |port: &ValueInfoProto| {
        let Some(type_proto::Value::TensorType(tensor)) = port.r#type.as_ref()?.value.as_ref() else { return None };
        Some((port.name().to_owned(), DataType::try_from(tensor.elem_type?).ok()?))
    };
    graph.input.iter().chain(&graph.value_info).filter_map(known).collect()
}

/// The type of an output of a node; nothing where it cannot be known, and then it is not watched.
fn type_of(
    node: &NodeProto,
    place: usize,
    types: &HashMap<String, DataType>,
    constants: &HashMap<&str, &TensorProto>,
) -> Option<DataType> {
    if let Some(&known) = types.get(&node.output[place]) {
        return Some(known);
    }
    if !node.domain().is_empty() || place > 0 && node.op_type() != "Split" {
        return None;
    }
    let of_input = |place: usize| {
        let name = node.input.get(place)?;
        let constant = || constants.get(name.as_str()).and_then(|tensor| kind_of(tensor));
        types.get(name).copied().or_else(constant)
    };
    let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name() == name);
    match node.op_type() {
        "Cast" => DataType::try_from(i32::try_from(attribute("to")?.i()).ok()?).ok(),
        "Constant" | "ConstantOfShape" => match attribute("value") {
            Some(value) => kind_of(value.t.as_ref()?),
            None if node.op_type() == "ConstantOfShape" || attribute("value_float").is_some() => Some(DataType::Float),
            None => None,
        },
        "Where" => of_input(1),
        "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" => Some(DataType::Int64),
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" | "Not" | "IsNaN"
        | "IsInf" => Some(DataType::Bool),
        // Their types are their subgraphs', or an attribute's.
        "If" | "Loop" | "Scan" | "EyeLike" | "OneHot" | "DequantizeLinear" | "QuantizeLinear" => None,
        _ => of_input(0),
    }
}

fn holds_infinity(attribute: &AttributeProto) -> bool {
    attribute.t.as_ref().is_some_and(is_infinite) || attribute.f.is_some_and(|number| !number.is_finite())
}

fn kind_of(tensor: &TensorProto) -> Option<DataType> {
    DataType::try_from(tensor.data_type?).ok()
}

/// Whether a constant that lies in the graph itself is not finite.
fn is_infinite(tensor: &TensorProto) -> bool {
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    let in_raw = match kind_of(tensor) {
        Some(DataType::Float) => raw.as_chunks().0.iter().any(|&bytes| !f32::from_le_bytes(bytes).is_finite()),
        Some(DataType::Double) => raw.as_chunks().0.iter().any(|&bytes| !f64::from_le_bytes(bytes).is_finite()),
        Some(DataType::Float16) => raw.as_chunks().0.iter().any(|&bytes| !half::f16::from_le_bytes(bytes).is_finite()),
        _ => false,
    };
    in_raw
        || tensor.float_data.iter().any(|number| !number.is_finite())
        || tensor.double_data.iter().any(|number| !number.is_finite())
}
