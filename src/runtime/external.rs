//! Where a graph looks for its weights.
//!
//! Threat: a graph file can name any path as the file of an initializer ("external data"), and the runtime would read
//! it. Newer versions of ONNX Runtime refuse paths that leave the folder of the graph, older ones do not, and both would
//! read another file of the folder. A bundle's graphs keep weights in `weights.bin` and nowhere else, so everything else
//! is refused here, before the runtime sees the file. Only the fields that lead to external data are decoded.

use prost::Message;

use crate::bundle::manifest::WEIGHT_FILE as WEIGHTS;

/// Checks a serialised `ModelProto`: all external data is in `weights.bin`, and within its `weights` bytes.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn check(model: &[u8], weights: u64) -> Result<(), String> {
    let model = Model::decode(model).map_err(|error| format!("it is no ONNX file: {error}"))?;
    let Some(graph) = &model.graph else { return Err("it is no ONNX file: it holds no graph".to_owned()) };
    check_graph(graph, weights)?;
    if model.training_info.is_empty() {
        model.functions.iter().try_for_each(|function| check_nodes(&function.node, weights))
    } else {
        Err("it holds training information, which the graphs of a bundle have no use for".to_owned())
    }
}

fn check_graph(graph: &Graph, weights: u64) -> Result<(), String> {
    graph.initializer.iter().try_for_each(|tensor| check_tensor(tensor, weights))?;
    graph.sparse_initializer.iter().try_for_each(|tensor| check_sparse(tensor, weights))?;
    check_nodes(&graph.node, weights)
}

fn check_nodes(nodes: &[Node], weights: u64) -> Result<(), String> {
    for attribute in nodes.iter().flat_map(|node| &node.attribute) {
        attribute.t.iter().chain(&attribute.tensors).try_for_each(|tensor| check_tensor(tensor, weights))?;
        attribute
            .sparse_tensor
            .iter()
            .chain(&attribute.sparse_tensors)
            .try_for_each(|tensor| check_sparse(tensor, weights))?;
        attribute.g.iter().chain(&attribute.graphs).try_for_each(|graph| check_graph(graph, weights))?;
    }
    Ok(())
}

fn check_sparse(tensor: &SparseTensor, weights: u64) -> Result<(), String> {
    tensor.values.iter().chain(&tensor.indices).try_for_each(|tensor| check_tensor(tensor, weights))
}

fn check_tensor(tensor: &Tensor, weights: u64) -> Result<(), String> {
    const EXTERNAL: i32 = 1;
    if tensor.data_location != EXTERNAL && tensor.external_data.is_empty() {
        return Ok(());
    }
    let name = &tensor.name;
    let (mut location, mut offset, mut length) = (None, 0, 0);
    for entry in &tensor.external_data {
        let number = || {
            entry.value.parse::<u64>().map_err(|_| format!("weight `{name}` has the {} `{}`", entry.key, entry.value))
        };
        match entry.key.as_str() {
            "location" => location = Some(entry.value.as_str()),
            "offset" => offset = number()?,
            "length" => length = number()?,
            _ => {}
        }
        // A second location would be checked in place of the first.
        if tensor.external_data.iter().filter(|other| other.key == entry.key).count() > 1 {
            return Err(format!("weight `{name}` names its {} twice", entry.key));
        }
    }
    match location {
        Some(WEIGHTS) => {}
        Some(other) => return Err(format!("weight `{name}` is in `{other}`; only `{WEIGHTS}` may hold weights")),
        None => return Err(format!("weight `{name}` is outside the file, but does not say where")),
    }
    match offset.checked_add(length) {
        Some(end) if end <= weights => Ok(()),
        _ => Err(format!(
            "weight `{name}` is said to be at {offset}, {length} bytes long; `{WEIGHTS}` has {weights} bytes"
        )),
    }
}

// Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(bytes = "vec", repeated, tag = "20")]
    training_info: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializer: Vec<SparseTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(message, repeated, tag = "7")]
    node: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(message, optional, tag = "5")]
    t: Option<Tensor>,
    #[prost(message, optional, tag = "6")]
    g: Option<Graph>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<Graph>,
    #[prost(message, optional, tag = "22")]
    sparse_tensor: Option<SparseTensor>,
    #[prost(message, repeated, tag = "23")]
    sparse_tensors: Vec<SparseTensor>,
}

#[derive(Clone, PartialEq, Message)]
struct SparseTensor {
    #[prost(message, optional, tag = "1")]
    values: Option<Tensor>,
    #[prost(message, optional, tag = "2")]
    indices: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "8")]
    name: String,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> Entry {
        Entry { key: key.into(), value: value.into() }
    }

    fn tensor(entries: &[(&str, &str)]) -> Tensor {
        let external_data = entries.iter().map(|(key, value)| entry(key, value)).collect();
        Tensor { name: "w".into(), external_data, data_location: 1 }
    }

    fn graph(tensor: Tensor) -> Graph {
        Graph { initializer: vec![tensor], ..Graph::default() }
    }

    fn problem(graph: Graph) -> Option<String> {
        check(&Model { graph: Some(graph), ..Model::default() }.encode_to_vec(), 100).err()
    }

    #[test]
    fn weights_of_the_bundle_are_let_through() {
        assert_eq!(problem(graph(tensor(&[("location", WEIGHTS), ("offset", "90"), ("length", "10")]))), None);
        assert_eq!(problem(graph(Tensor { name: "inside".into(), ..Tensor::default() })), None);
    }

    #[test]
    fn everything_else_is_refused() {
        for (entries, expected) in [
            (&[("location", "../weights.bin")][..], "only `weights.bin`"),
            (&[("location", "/etc/passwd")], "`/etc/passwd`"),
            (&[("location", "tokenizer.json")], "`tokenizer.json`"),
            (&[("location", "./weights.bin")], "only `weights.bin`"),
            (&[("offset", "0")], "does not say where"),
            (&[], "does not say where"),
            (&[("location", WEIGHTS), ("location", "/etc/passwd")], "names its location twice"),
            (&[("location", WEIGHTS), ("offset", "-1")], "offset `-1`"),
            (&[("location", WEIGHTS), ("offset", "91"), ("length", "10")], "has 100 bytes"),
            (&[("location", WEIGHTS), ("offset", "18446744073709551615"), ("length", "2")], "has 100 bytes"),
        ] {
            let problem = problem(graph(tensor(entries))).unwrap();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn weights_may_hide() {
        let outside = || tensor(&[("location", "/etc/passwd")]);
        let of = |attribute| Graph { node: vec![Node { attribute: vec![attribute] }], ..Graph::default() };
        let sparse = || SparseTensor { values: None, indices: Some(outside()) };
        for graph in [
            of(Attribute { t: Some(outside()), ..Attribute::default() }),
            of(Attribute { tensors: vec![outside()], ..Attribute::default() }),
            of(Attribute { g: Some(graph(outside())), ..Attribute::default() }),
            of(Attribute { graphs: vec![graph(outside())], ..Attribute::default() }),
            of(Attribute { sparse_tensor: Some(sparse()), ..Attribute::default() }),
            of(Attribute { sparse_tensors: vec![sparse()], ..Attribute::default() }),
            Graph { sparse_initializer: vec![sparse()], ..Graph::default() },
            graph(Tensor { data_location: 0, ..outside() }),
        ] {
            assert!(problem(graph).unwrap().contains("/etc/passwd"));
        }
        let node = Node { attribute: vec![Attribute { t: Some(outside()), ..Attribute::default() }] };
        let model =
            Model { graph: Some(Graph::default()), functions: vec![Function { node: vec![node] }], ..Model::default() };
        assert!(check(&model.encode_to_vec(), 100).unwrap_err().contains("/etc/passwd"));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(check(b"", 0).unwrap_err().contains("no graph"));
        assert!(check(b"{\"a\": 1}", 0).unwrap_err().contains("no ONNX file"));
    }

    #[test]
    fn graphs_in_graphs_end_somewhere() {
        let deep = (0..200).fold(Graph::default(), |inner, _| Graph {
            node: vec![Node { attribute: vec![Attribute { g: Some(inner), ..Attribute::default() }] }],
            ..Graph::default()
        });
        assert!(problem(deep).unwrap().contains("no ONNX file"));
    }
}
