//! A graph of primitives to an ONNX file, its weights in a file beside it.

use std::collections::{HashMap, HashSet};

use super::dim::{Dim, Shape, show};
use super::expand::expand;
use super::graph::{Graph, GraphError, Id};
use super::op::{Attribute, Op, Reduction, Unary};
use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_proto::DataLocation;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use super::tensor::{Dtype, Tensor};

/// The operator set that files are written for: the oldest with all we use, so that old runtimes can read them.
pub const OPSET: i64 = 18;
/// The version of the file format that came with [`OPSET`].
pub const IR_VERSION: i64 = 8;

/// Where a tensor of the checkpoint lies in the weight file.
#[derive(Clone, Debug)]
pub struct WeightLocation {
    pub name: String,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// The type that it has there. Where a graph computes with another, a `Cast` stands behind it.
    pub dtype: Dtype,
}

/// A graph to be written: what it is called, what goes in and out, and the facts it carries.
pub struct Export<'a> {
    pub name: &'a str,
    pub graph: &'a Graph,
    pub inputs: &'a [Id],
    pub outputs: &'a [(&'a str, Id)],
    pub weights: &'a [WeightLocation],
    /// The weight file's name, beside the graph.
    pub weight_file: &'a str,
    pub metadata: &'a [(String, String)],
}

/// The ONNX model of a graph, composites expanded.
pub fn to_model(export: &Export) -> Result<ModelProto, GraphError> {
    let roots: Vec<Id> = export.outputs.iter().map(|(_, id)| *id).chain(export.inputs.iter().copied()).collect();
    let (graph, roots) = expand(export.graph, &roots)?;
    let (outputs, inputs) = roots.split_at(export.outputs.len());
    let mut writer = Writer::new(&graph, inputs, export);
    for id in graph.ancestors(outputs) {
        writer.write(id)?;
    }
    for ((name, _), &id) in export.outputs.iter().zip(outputs) {
        // An output has the name of the contract, whatever the value that it is was called.
        let source = writer.operand(id);
        writer.node("Identity", &[source], name, Vec::new(), id);
        writer.proto.output.push(port(name, graph.dtype(id), graph.shape(id)));
    }
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(writer.proto),
        metadata_props: export.metadata.iter().map(|(key, value)| entry(key, value)).collect(),
        ..ModelProto::default()
    })
}

struct Writer<'a> {
    graph: &'a Graph,
    weights: &'a [WeightLocation],
    weight_file: &'a str,
    proto: GraphProto,
    names: HashMap<Id, String>,
    /// Initializers of another type than the graph computes with; their values are in `names` once something needs them.
    stored: HashMap<Id, String>,
    /// Names that come from elsewhere: of inputs, outputs and weights.
    reserved: HashSet<String>,
    /// Those of inputs and outputs alone.
    ports: HashSet<String>,
    /// Where a symbol's size can be read at run time: a graph input and the axis.
    sizes: HashMap<String, (String, usize)>,
    /// Names of what was written once and is used again: sizes, shapes, small constants.
    shared: HashMap<String, String>,
    /// The most elements from the first one on of each weight that is used: a use of fewer is of a part.
    whole: HashMap<usize, usize>,
    /// Names of weights that are written: one may be computed with in two types.
    written: HashSet<String>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph, inputs: &[Id], export: &Export<'a>) -> Self {
        let mut writer = Writer {
            graph,
            weights: export.weights,
            weight_file: export.weight_file,
            proto: GraphProto { name: Some(export.name.to_owned()), ..GraphProto::default() },
            names: HashMap::new(),
            stored: HashMap::new(),
            reserved: export.outputs.iter().map(|(name, _)| (*name).to_owned()).collect(),
            ports: export.outputs.iter().map(|(name, _)| (*name).to_owned()).collect(),
            sizes: HashMap::new(),
            shared: HashMap::new(),
            whole: HashMap::new(),
            written: HashSet::new(),
        };
        for id in graph.ids() {
            if let Op::Weight(weight) = &graph.value(id).op
                && weight.start == 0
            {
                let most = writer.whole.entry(weight.index).or_default();
                *most = weight.dims.iter().product::<usize>().max(*most);
            }
        }
        writer.reserved.extend(export.weights.iter().map(|weight| weight.name.clone()));
        for &id in inputs {
            let Op::Input { name, dtype, shape } = &graph.value(id).op else { continue };
            writer.reserved.insert(name.clone());
            writer.ports.insert(name.clone());
            writer.proto.input.push(port(name, *dtype, shape));
            writer.names.insert(id, name.clone());
            for (axis, dim) in shape.iter().enumerate() {
                if let ([symbol], 1) = (dim.symbols(), dim.factor()) {
                    writer.sizes.entry(symbol.to_string()).or_insert_with(|| (name.clone(), axis));
                }
            }
        }
        writer
    }

    fn fail<T>(&self, id: Id, problem: String) -> Result<T, GraphError> {
        let value = self.graph.value(id);
        Err(GraphError { op: value.op.name(), scope: value.scope.to_string(), problem })
    }

    fn write(&mut self, id: Id) -> Result<(), GraphError> {
        if self.names.contains_key(&id) {
            return Ok(());
        }
        let graph = self.graph;
        let value = graph.value(id);
        if let Op::Gather { axis } = &value.op
            && let Some(table) = self.stored.get(&value.inputs[0]).cloned()
        {
            // Of a table of embeddings some rows are wanted, and only those are cast.
            let indices = self.names[&value.inputs[1]].clone();
            let rows = self.helper("Gather", &[table, indices], vec![attribute_int("axis", *axis as i64)], id);
            let rows = self.cast(rows, graph.dtype(id), id);
            self.names.insert(id, rows);
            return Ok(());
        }
        let mut inputs: Vec<String> = value.inputs.iter().map(|&input| self.operand(input)).collect();
        if let (Op::Unary(Unary::Erf), Dtype::F64) = (&value.op, value.dtype) {
            // ONNX Runtime has no other on the CPU.
            let single = self.cast(inputs.remove(0), Dtype::F32, id);
            let erf = self.helper("Erf", &[single], vec![], id);
            let double = self.cast(erf, Dtype::F64, id);
            self.names.insert(id, double);
            return Ok(());
        }
        let ints = |name: &str, values: &[usize]| attribute_ints(name, values);
        let (operator, attributes): (&str, Vec<AttributeProto>) = match &value.op {
            Op::Input { name, .. } => return self.fail(id, format!("'{name}' is used but is no input of this graph")),
            Op::Constant(tensor) => {
                let name = self.constant(tensor, None);
                self.names.insert(id, name);
                return Ok(());
            }
            Op::Weight(weight) => {
                let Some(place) = self.weights.get(weight.index) else {
                    return self.fail(id, format!("names weight {}, of {}", weight.index, self.weights.len()));
                };
                let elements: usize = weight.dims.iter().product();
                let name = match weight.start {
                    0 if self.whole.get(&weight.index) != Some(&elements) => format!("{}[..{elements}]", place.name),
                    // Somebody's weight may be called as a port of ours is.
                    0 if self.ports.contains(&place.name) => self.unreserved(place.name.clone()),
                    0 => place.name.clone(),
                    start => format!("{}[{start}..]", place.name),
                };
                let stored = place.dtype;
                let size = stored.size() as u64;
                let length = elements as u64 * size;
                if self.written.insert(name.clone()) {
                    self.proto.initializer.push(TensorProto {
                        dims: weight.dims.iter().map(|&d| d as i64).collect(),
                        data_type: Some(stored.code()),
                        name: Some(name.clone()),
                        data_location: Some(DataLocation::External as i32),
                        external_data: vec![
                            entry("location", self.weight_file),
                            entry("offset", &(place.offset + weight.start as u64 * size).to_string()),
                            entry("length", &length.to_string()),
                        ],
                        ..TensorProto::default()
                    });
                }
                let names = if stored == weight.dtype { &mut self.names } else { &mut self.stored };
                names.insert(id, name);
                return Ok(());
            }
            Op::DimSize(dim) => {
                let name = self.size(dim, id)?;
                self.names.insert(id, name);
                return Ok(());
            }
            Op::Arange(dim) => {
                let end = self.size(dim, id)?;
                let zero = self.constant(&Tensor::i64(0), None);
                // A Reshape to no axes would do, but for a constant without elements, by which ONNX Runtime's OpenVINO
                // provider makes a graph that is not acyclic.
                let end = self.helper("Gather", &[end, zero.clone()], vec![attribute_int("axis", 0)], id);
                let one = self.constant(&Tensor::i64(1), None);
                inputs = vec![zero, end, one];
                ("Range", vec![])
            }
            Op::Unary(_) | Op::Binary(_) | Op::Logic(_) | Op::Not | Op::Where | Op::MatMul => ("", vec![]),
            Op::Cast(dtype) => ("Cast", vec![attribute_int("to", dtype.code().into())]),
            Op::Softmax { axis } => ("Softmax", vec![attribute_int("axis", *axis as i64)]),
            Op::Reduce { kind, axes, keep } => {
                let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
                inputs.push(self.constant(&Tensor::i64s(&axes), None));
                let operator = match kind {
                    Reduction::Sum => "ReduceSum",
                    Reduction::Mean => "ReduceMean",
                    Reduction::Max => "ReduceMax",
                };
                (operator, vec![attribute_int("keepdims", i64::from(*keep))])
            }
            Op::Reshape(shape) => {
                inputs.push(self.reshape_target(shape, graph.shape(value.inputs[0]), id)?);
                ("Reshape", vec![])
            }
            Op::Expand(shape) => {
                inputs.push(self.shape_at_run_time(shape, id)?);
                ("Expand", vec![])
            }
            Op::Transpose(order) => ("Transpose", vec![ints("perm", order)]),
            Op::Concat { axis } => ("Concat", vec![attribute_int("axis", *axis as i64)]),
            Op::Slice { axis, start, end } => {
                for number in [*start, *end, *axis] {
                    inputs.push(self.constant(&Tensor::i64s(&[number as i64]), None));
                }
                ("Slice", vec![])
            }
            Op::Pad { axis, before, after } => {
                let rank = value.shape.len();
                let mut pads = vec![0; 2 * rank];
                pads[*axis] = *before as i64;
                pads[rank + axis] = *after as i64;
                inputs.push(self.constant(&Tensor::i64s(&pads), None));
                ("Pad", vec![])
            }
            Op::Gather { axis } => ("Gather", vec![attribute_int("axis", *axis as i64)]),
            Op::Gemm { transpose_b } => ("Gemm", vec![attribute_int("transB", i64::from(*transpose_b))]),
            Op::Opaque(opaque) => ("", opaque.attributes.iter().map(opaque_attribute).collect()),
            Op::Linear(_)
            | Op::RmsNorm { .. }
            | Op::LayerNorm { .. }
            | Op::Activation(_)
            | Op::SoftCap { .. }
            | Op::Rotary => return self.fail(id, "is a composite that was not expanded".to_owned()),
        };
        let operator = if operator.is_empty() { value.op.name() } else { operator.to_owned() };
        let name = self.fresh(&operator, id);
        self.node(&operator, &inputs, &name, attributes, id);
        // Stated, since a runtime that infers shapes loses the symbols behind a Reshape. ONNX Runtime then finds no two buffers
        // of one size and compares each with all that are free: of SmolLM2's gradient for nine seconds at every start.
        self.proto.value_info.push(port(&name, graph.dtype(id), graph.shape(id)));
        self.names.insert(id, name);
        Ok(())
    }

    /// The name of a value that was written, a weight's in the type that it is computed with.
    fn operand(&mut self, id: Id) -> String {
        if let (None, Some(stored)) = (self.names.get(&id), self.stored.get(&id).cloned()) {
            let wide = self.cast(stored, self.graph.dtype(id), id);
            self.names.insert(id, wide);
        }
        self.names[&id].clone()
    }

    fn cast(&mut self, value: String, dtype: Dtype, id: Id) -> String {
        self.helper("Cast", &[value], vec![attribute_int("to", dtype.code().into())], id)
    }

    fn fresh(&self, operator: &str, id: Id) -> String {
        let scope = &self.graph.value(id).scope;
        let number = self.proto.node.len();
        self.unreserved(match scope.is_empty() {
            true => format!("{operator}_{number}"),
            false => format!("{scope}/{operator}_{number}"),
        })
    }

    /// A made-up name, changed if it is taken already.
    fn unreserved(&self, mut name: String) -> String {
        while self.reserved.contains(&name) {
            name.push('_');
        }
        name
    }

    fn node(&mut self, operator: &str, inputs: &[String], output: &str, attribute: Vec<AttributeProto>, id: Id) {
        let name = self.fresh(operator, id);
        self.proto.node.push(NodeProto {
            input: inputs.to_vec(),
            output: vec![output.to_owned()],
            name: Some(name),
            op_type: Some(operator.to_owned()),
            attribute,
            ..NodeProto::default()
        });
    }

    fn helper(&mut self, operator: &str, inputs: &[String], attribute: Vec<AttributeProto>, id: Id) -> String {
        let key = format!("{operator}({inputs:?}, {attribute:?})");
        if let Some(name) = self.shared.get(&key) {
            return name.clone();
        }
        let name = self.unreserved(format!("{operator}_{}", self.proto.node.len()));
        self.node(operator, inputs, &name, attribute, id);
        self.shared.insert(key, name.clone());
        name
    }

    fn constant(&mut self, tensor: &Tensor, name: Option<String>) -> String {
        let key = format!("{tensor:?}");
        if let Some(name) = self.shared.get(&key) {
            return name.clone();
        }
        let name = name.unwrap_or_else(|| self.unreserved(format!("constant_{}", self.proto.initializer.len())));
        self.proto.initializer.push(TensorProto {
            dims: tensor.dims.iter().map(|&d| d as i64).collect(),
            data_type: Some(tensor.dtype.code()),
            name: Some(name.clone()),
            raw_data: Some(tensor.bytes.to_vec()),
            ..TensorProto::default()
        });
        self.shared.insert(key, name.clone());
        name
    }

    /// A size as an i64 `[1]`.
    fn size(&mut self, dim: &Dim, id: Id) -> Result<String, GraphError> {
        if dim.symbols().is_empty() {
            return Ok(self.constant(&Tensor::i64s(&[dim.factor() as i64]), None));
        }
        let mut parts = Vec::new();
        if dim.factor() != 1 {
            parts.push(self.constant(&Tensor::i64s(&[dim.factor() as i64]), None));
        }
        for symbol in dim.symbols() {
            let Some((input, axis)) = self.sizes.get(&**symbol).cloned() else {
                return self.fail(id, format!("needs the size '{symbol}', which no input of this graph has"));
            };
            let range = vec![attribute_int("start", axis as i64), attribute_int("end", axis as i64 + 1)];
            parts.push(self.helper("Shape", &[input], range, id));
        }
        let mut product = parts[0].clone();
        for part in &parts[1..] {
            product = self.helper("Mul", &[product, part.clone()], Vec::new(), id);
        }
        Ok(product)
    }

    /// The shape operand of a Reshape. ONNX lets one size be inferred (-1) and sizes be copied from the same axis (0);
    /// only what that does not cover is computed at run time.
    fn reshape_target(&mut self, target: &Shape, source: &[Dim], id: Id) -> Result<String, GraphError> {
        let mut inferred = false;
        let mut plain = Vec::with_capacity(target.len());
        for (axis, dim) in target.iter().enumerate() {
            plain.push(match dim.value() {
                // A true size of 0 would be read as "copy".
                Some(0) => return self.fail(id, format!("has the empty shape {}", show(target))),
                Some(size) => size as i64,
                None if source.get(axis) == Some(dim) => 0,
                None if !inferred => {
                    inferred = true;
                    -1
                }
                None => return self.shape_at_run_time(target, id),
            });
        }
        Ok(self.constant(&Tensor::i64s(&plain), None))
    }

    fn shape_at_run_time(&mut self, target: &Shape, id: Id) -> Result<String, GraphError> {
        if let Some(sizes) = target.iter().map(|dim| dim.value().map(|v| v as i64)).collect::<Option<Vec<_>>>() {
            return Ok(self.constant(&Tensor::i64s(&sizes), None));
        }
        let parts = target.iter().map(|dim| self.size(dim, id)).collect::<Result<Vec<_>, _>>()?;
        Ok(match &parts[..] {
            [one] => one.clone(),
            _ => self.helper("Concat", &parts, vec![attribute_int("axis", 0)], id),
        })
    }
}

fn port(name: &str, dtype: Dtype, shape: &[Dim]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|dim| Dimension {
            value: Some(match dim.value() {
                Some(size) => dimension::Value::DimValue(size as i64),
                None => dimension::Value::DimParam(dim.to_string()),
            }),
            ..Dimension::default()
        })
        .collect();
    let tensor = type_proto::Tensor { elem_type: Some(dtype.code()), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// An attribute of an operator that is carried through, as files have it.
pub(crate) fn opaque_attribute((name, value): &(String, Attribute)) -> AttributeProto {
    match value {
        Attribute::Int(value) => attribute_int(name, *value),
        Attribute::Ints(values) => AttributeProto {
            name: Some(name.clone()),
            r#type: Some(AttributeType::Ints as i32),
            ints: values.clone(),
            ..AttributeProto::default()
        },
        Attribute::Float(value) => AttributeProto {
            name: Some(name.clone()),
            r#type: Some(AttributeType::Float as i32),
            f: Some(value.get() as f32),
            ..AttributeProto::default()
        },
        Attribute::Text(text) => AttributeProto {
            name: Some(name.clone()),
            r#type: Some(AttributeType::String as i32),
            s: Some(text.clone().into_bytes()),
            ..AttributeProto::default()
        },
    }
}

fn attribute_int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

fn attribute_ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.iter().map(|&v| v as i64).collect(),
        ..AttributeProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::op::Unary;

    fn model(graph: &Graph, inputs: &[Id], output: Id) -> Result<GraphProto, GraphError> {
        let outputs = [("out", output)];
        let export =
            Export { name: "test", graph, inputs, outputs: &outputs, weights: &[], weight_file: "", metadata: &[] };
        Ok(to_model(&export)?.graph.unwrap())
    }

    /// The constant that the first node of a kind has as its second input, if it is one.
    fn second_operand(graph: &GraphProto, operator: &str) -> Option<Vec<i64>> {
        let node = graph.node.iter().find(|node| node.op_type() == operator).unwrap();
        let tensor = graph.initializer.iter().find(|tensor| tensor.name() == node.input[1])?;
        Some(tensor.raw_data().chunks_exact(8).map(|c| i64::from_le_bytes(c.try_into().unwrap())).collect())
    }

    fn symbols() -> [Dim; 2] {
        ["batch", "seq"].map(Dim::symbol)
    }

    #[test]
    fn reshapes_copy_and_infer_sizes_where_they_can() {
        let [batch, seq] = symbols();
        let product = batch.checked_mul(&seq).unwrap();
        let mut graph = Graph::new();
        let x = graph.input("x", Dtype::F32, vec![batch.clone(), seq.clone(), 6.into()]).unwrap();
        let mut target = |shape: Shape| {
            let y = graph.reshape(x, shape).unwrap();
            second_operand(&model(&graph, &[x], y).unwrap(), "Reshape")
        };
        assert_eq!(target(vec![batch.clone(), seq.clone(), 2.into(), 3.into()]), Some(vec![0, 0, 2, 3]));
        assert_eq!(target(vec![product.clone(), 6.into()]), Some(vec![-1, 6]));
        assert_eq!(target(vec![1.into(), product, 6.into()]), Some(vec![1, -1, 6]));
        // Sizes that moved: one is inferred, two must be computed.
        assert_eq!(target(vec![6.into(), seq.clone(), batch.clone()]), Some(vec![6, 0, -1]));
        assert_eq!(target(vec![seq, batch, 6.into()]), None);
    }

    /// What a runtime infers behind a reshape that infers a size is not which one.
    #[test]
    fn shapes_are_stated_in_symbols() {
        let [batch, seq] = symbols();
        let product = batch.checked_mul(&seq).unwrap();
        let mut graph = Graph::new();
        let x = graph.input("x", Dtype::F32, vec![batch.clone(), seq.clone(), 6.into()]).unwrap();
        let flat = graph.reshape(x, vec![product.clone(), 6.into()]).unwrap();
        let same = graph.unary(Unary::Neg, flat).unwrap();
        let back = graph.reshape(same, vec![batch.clone(), seq.clone(), 6.into()]).unwrap();
        let far = graph.cast(back, Dtype::F64).unwrap();
        let proto = model(&graph, &[x], far).unwrap();
        let of = |operator: &str| {
            let node = proto.node.iter().find(|node| node.op_type() == operator).unwrap();
            proto.value_info.iter().find(|stated| stated.name() == node.output[0]).cloned().unwrap()
        };
        let expected = |operator: &str, dtype: Dtype, shape: &[Dim]| port(of(operator).name(), dtype, shape);
        let flat = [product, 6.into()];
        assert_eq!(of("Reshape"), expected("Reshape", Dtype::F32, &flat));
        assert_eq!(of("Neg"), expected("Neg", Dtype::F32, &flat));
        assert_eq!(of("Cast"), expected("Cast", Dtype::F64, &[batch, seq, 6.into()]));
    }

    #[test]
    fn sizes_at_run_time_are_read_from_the_inputs_once() {
        let [batch, seq] = symbols();
        let mut graph = Graph::new();
        let x = graph.input("x", Dtype::F32, vec![batch.clone(), seq.clone()]).unwrap();
        let y = graph.reshape(x, vec![seq.clone(), batch.clone()]).unwrap();
        let y = graph.add(Op::Expand(vec![2.into(), seq, batch]), &[y]).unwrap();
        let proto = model(&graph, &[x], y).unwrap();
        let shapes = proto.node.iter().filter(|node| node.op_type() == "Shape");
        assert_eq!(shapes.count(), 2);
    }

    #[test]
    fn a_size_that_no_input_has_is_an_error() {
        let mut graph = Graph::new();
        let x = graph.input("x", Dtype::F32, vec![1.into()]).unwrap();
        let y = graph.add(Op::Expand(vec![Dim::symbol("seq")]), &[x]).unwrap();
        let error = model(&graph, &[x], y).unwrap_err().to_string();
        assert_eq!(error, "Expand in '' needs the size 'seq', which no input of this graph has");
    }

    #[test]
    fn an_input_that_is_not_declared_is_an_error() {
        let mut graph = Graph::new();
        let x = graph.input("x", Dtype::F32, vec![]).unwrap();
        let y = graph.unary(Unary::Neg, x).unwrap();
        assert_eq!(model(&graph, &[], y).unwrap_err().problem, "'x' is used but is no input of this graph");
    }

    /// Files of others call their weights what they like.
    #[test]
    fn weights_stay_clear_of_inputs_and_outputs() {
        let mut graph = Graph::new();
        let x = graph.input("head", Dtype::F32, vec![2.into()]).unwrap();
        let weights: Vec<WeightLocation> =
            ["head", "out"].map(|name| WeightLocation { name: name.to_owned(), offset: 0, dtype: Dtype::F32 }).into();
        let mut sum = x;
        for index in 0..2 {
            let weight = crate::onnx::op::WeightRef { index, start: 0, dims: vec![2], dtype: Dtype::F32 };
            let weight = graph.add(Op::Weight(weight), &[]).unwrap();
            sum = graph.plus(sum, weight).unwrap();
        }
        let outputs = [("out", sum)];
        let export = Export {
            name: "test",
            graph: &graph,
            inputs: &[x],
            outputs: &outputs,
            weights: &weights,
            weight_file: "weights.bin",
            metadata: &[],
        };
        let proto = to_model(&export).unwrap().graph.unwrap();
        assert_eq!([0, 1].map(|at| proto.initializer[at].name().to_owned()), ["head_", "out_"]);
        assert_eq!(proto.node[0].input, ["head", "head_"]);
    }

    /// Files of others use such names for their inputs.
    #[test]
    fn made_up_names_stay_clear_of_those_of_inputs_and_outputs() {
        let mut graph = Graph::new();
        let inputs = ["constant_0", "Neg_0", "Add_1"].map(|name| graph.input(name, Dtype::F32, vec![]).unwrap());
        let x = graph.unary(Unary::Neg, inputs[0]).unwrap();
        let x = graph.plus(x, inputs[1]).unwrap();
        let x = graph.scaled(x, 3.0).unwrap();
        let x = graph.plus(x, inputs[2]).unwrap();
        let proto = model(&graph, &inputs, x).unwrap();
        let mut names: Vec<&str> = proto.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        names.extend(proto.initializer.iter().map(|tensor| tensor.name()));
        names.extend(proto.input.iter().map(|port| port.name()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
