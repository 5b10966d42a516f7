//! A forward `.onnx` file that is anything, its large weights in a file beside it (4 MiB of zeros), as in the seeds. Two
//! thirds of the changes are made to the decoded model, so that it stays one: changed bytes alone mostly end in the
//! protobuf reader.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use gim_harness::onnx::proto::tensor_proto::DataType;
use gim_harness::onnx::proto::tensor_shape_proto::dimension;
use gim_harness::onnx::proto::{GraphProto, ModelProto, TensorProto, type_proto};
use gim_harness_fuzz::{Random, bake_anything, folder};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use prost::Message;

fn home() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = folder();
        let weights = std::fs::File::create(folder.join("weights.data")).expect("the folder can be written");
        weights.set_len(4 << 20).expect("the file can grow");
        folder
    })
}

fuzz_target!(|data: &[u8]| {
    let folder = home();
    let file = folder.join("model.onnx");
    std::fs::write(&file, data).expect("the folder can be written");
    bake_anything(&file, folder);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed);
    let model = if random.chance(3) { None } else { ModelProto::decode(&data[..size]).ok() };
    let Some(mut model) = model else { return fuzzer_mutate(data, size, max_size) };
    for _ in 0..1 + random.below(3) {
        change(&mut model, &mut random);
    }
    let bytes = model.encode_to_vec();
    if bytes.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
});

/// Operators that files are made of, and a few that are refused.
const OPERATORS: &[&str] = &[
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Sqrt",
    "Neg",
    "Exp",
    "Erf",
    "Tanh",
    "Sigmoid",
    "Softmax",
    "LayerNormalization",
    "MatMul",
    "Gemm",
    "Reshape",
    "Transpose",
    "Unsqueeze",
    "Squeeze",
    "Concat",
    "Split",
    "Slice",
    "Gather",
    "GatherND",
    "GatherElements",
    "Expand",
    "Tile",
    "Where",
    "Range",
    "Shape",
    "Size",
    "ConstantOfShape",
    "Cast",
    "ReduceSum",
    "ReduceMean",
    "Trilu",
    "Equal",
    "Less",
    "Greater",
    "And",
    "Not",
    "Max",
    "Min",
    "Mod",
    "CumSum",
    "Identity",
    "Dropout",
    "Flatten",
    "Pad",
    "Attention",
    "RotaryEmbedding",
    "RMSNormalization",
    "Gelu",
    "Einsum",
    "SkipLayerNormalization",
    "SimplifiedLayerNormalization",
    "GroupQueryAttention",
    "MultiHeadAttention",
    "FastGelu",
    "BiasGelu",
    "QuickGelu",
    "If",
    "Loop",
    "ScatterND",
    "TopK",
    "Clip",
    "IsNaN",
    "ReduceMax",
    "ReduceProd",
    "LogSoftmax",
    "HardSwish",
];

/// One change of a model that keeps it a protobuf.
fn change(model: &mut ModelProto, random: &mut Random) {
    if random.chance(40) {
        for set in &mut model.opset_import {
            set.version = Some(random.number());
        }
    }
    if random.chance(20)
        && let Some(function) = {
            let n = model.functions.len();
            model.functions.get_mut(random.below(n))
        }
    {
        let nodes = function.node.len();
        if nodes > 0 {
            let (i, j) = (random.below(nodes), random.below(nodes));
            function.node[i].op_type = function.node[j].op_type.clone();
            function.node[i].input = function.node[j].input.clone();
        }
    }
    let Some(graph) = model.graph.as_mut() else { return };
    match random.below(4) {
        0 => change_tensor(graph, random),
        1 if random.chance(4) => change_port(graph, random),
        _ => change_node(graph, random),
    }
}

fn change_node(graph: &mut GraphProto, random: &mut Random) {
    let nodes = graph.node.len();
    if nodes == 0 {
        return;
    }
    let (i, j) = (random.below(nodes), random.below(nodes));
    match random.below(12) {
        0 | 1 => {
            let name = graph.node[j].output.first().cloned().unwrap_or_default();
            let inputs = graph.node[i].input.len();
            if let Some(input) = graph.node[i].input.get_mut(random.below(inputs)) {
                *input = name;
            }
        }
        2 => {
            let tensors = graph.initializer.len();
            let name = graph.initializer.get(random.below(tensors)).map(|t| t.name().to_owned()).unwrap_or_default();
            let inputs = graph.node[i].input.len();
            if let Some(input) = graph.node[i].input.get_mut(random.below(inputs)) {
                *input = name;
            }
        }
        3 => graph.node[i].op_type = Some(OPERATORS[random.below(OPERATORS.len())].to_owned()),
        4 => graph.node[i].op_type = graph.node[j].op_type.clone(),
        5 => drop(graph.node[i].input.pop()),
        6 => {
            let more = graph.node[j].input.clone();
            graph.node[i].input.extend(more);
        }
        7 => {
            let more = graph.node[j].attribute.clone();
            graph.node[i].attribute.extend(more);
        }
        8 => graph.node[i].attribute.clear(),
        9 | 10 => {
            for attribute in &mut graph.node[i].attribute {
                if random.chance(2) {
                    attribute.i = attribute.i.map(|_| random.number());
                    attribute.f = attribute.f.map(|_| f32::from_bits(random.bits() as u32));
                }
                for value in &mut attribute.ints {
                    if random.chance(2) {
                        *value = random.number();
                    }
                }
                if random.chance(6) {
                    let value = random.number();
                    attribute.ints.push(value);
                }
                if let Some(tensor) = &mut attribute.t {
                    change_elements(tensor, random);
                }
            }
        }
        _ => {
            let copy = graph.node[j].clone();
            let output = graph.node[i].output.clone();
            graph.node[i] = copy;
            graph.node[i].output = output;
        }
    }
}

fn change_tensor(graph: &mut GraphProto, random: &mut Random) {
    let tensors = graph.initializer.len();
    if tensors == 0 {
        return;
    }
    let i = random.below(tensors);
    let j = random.below(tensors);
    match random.below(3) {
        0 => {
            let name = graph.initializer[i].name.clone();
            graph.initializer[i] = TensorProto { name, ..graph.initializer[j].clone() };
        }
        _ => change_elements(&mut graph.initializer[i], random),
    }
}

/// Changes sizes, type or elements; sizes and elements often together, so that they still fit.
fn change_elements(tensor: &mut TensorProto, random: &mut Random) {
    let size = |tensor: &TensorProto| match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Int64) => 8,
        _ => 4,
    };
    match random.below(6) {
        0 => {
            let dims = tensor.dims.len();
            if let Some(dim) = tensor.dims.get_mut(random.below(dims)) {
                *dim = random.number();
            }
        }
        1 => tensor.dims.push(random.below(3) as i64),
        2 => drop(tensor.dims.pop()),
        3 => tensor.data_type = Some(random.below(18) as i32),
        4 => {
            let width = size(tensor);
            if let Some(raw) = &mut tensor.raw_data {
                let elements = raw.len() / width;
                if elements > 0 {
                    let at = random.below(elements) * width;
                    let value = random.number().to_le_bytes();
                    raw[at..at + width].copy_from_slice(&value[..width]);
                }
            }
        }
        _ => {
            let n = random.below(4);
            let width = size(tensor);
            let raw: Vec<u8> = (0..n).flat_map(|_| random.number().to_le_bytes()[..width].to_vec()).collect();
            tensor.dims = vec![n as i64];
            tensor.raw_data = Some(raw);
        }
    }
}

fn change_port(graph: &mut GraphProto, random: &mut Random) {
    let (inputs, outputs) = (graph.input.len(), graph.output.len());
    if random.chance(2) && outputs > 0 {
        let nodes = graph.node.len();
        if let Some(name) = graph.node.get(random.below(nodes)).and_then(|node| node.output.first()) {
            graph.output[0].name = Some(name.clone());
            graph.output.truncate(1);
        }
        return;
    }
    let Some(port) = graph.input.get_mut(random.below(inputs)) else { return };
    if let Some(type_proto::Value::TensorType(tensor)) = port.r#type.as_mut().and_then(|kind| kind.value.as_mut()) {
        match tensor.shape.as_mut() {
            Some(shape) if !shape.dim.is_empty() && !random.chance(3) => {
                let rank = shape.dim.len();
                shape.dim[random.below(rank)].value = Some(dimension::Value::DimValue(random.number()));
            }
            Some(shape) => drop(shape.dim.pop()),
            None => tensor.elem_type = Some(random.below(18) as i32),
        }
    }
}
