//! Graphs made from graphs.

use super::graph::{Graph, GraphError, Id};
use super::op::Op;

/// A copy with one value replaced by an input of the graph, cut off from what made it. Gives the copy, the outputs as
/// they are numbered there, and the input.
pub fn cut(graph: &Graph, at: Id, name: &str, outputs: &[Id]) -> Result<(Graph, Vec<Id>, Id), GraphError> {
    let mut out = Graph::new();
    let mut renamed: Vec<Option<Id>> = vec![None; graph.len()];
    let input = out.input(name, graph.dtype(at), graph.shape(at).to_vec())?;
    renamed[at.index()] = Some(input);
    let mut needed = vec![false; graph.len()];
    for id in outputs {
        needed[id.index()] = true;
    }
    for id in graph.ids().rev() {
        if needed[id.index()] && id != at {
            for input in &graph.value(id).inputs {
                needed[input.index()] = true;
            }
        }
    }
    for id in graph.ids().filter(|&id| needed[id.index()] && id != at) {
        let value = graph.value(id);
        let inputs: Vec<Id> = value.inputs.iter().filter_map(|input| renamed[input.index()]).collect();
        out.set_scope(&value.scope);
        renamed[id.index()] = Some(out.add(value.op.clone(), &inputs)?);
    }
    let outputs = outputs.iter().filter_map(|id| renamed[id.index()]).collect();
    Ok((out, outputs, input))
}

/// A copy with some values replaced by what is made of them: `replace` is told each value's number in the original and in
/// the copy, and gives what stands for it from there on. Gives the copy, which `into` is the beginning of, and the outputs as
/// they are numbered there.
pub fn edited(
    graph: &Graph,
    into: Graph,
    outputs: &[Id],
    mut replace: impl FnMut(&mut Graph, Id, Id) -> Result<Id, GraphError>,
) -> Result<(Graph, Vec<Id>), GraphError> {
    let mut out = into;
    let mut renamed: Vec<Option<Id>> = vec![None; graph.len()];
    for id in graph.ancestors(outputs) {
        let value = graph.value(id);
        let inputs: Vec<Id> = value.inputs.iter().filter_map(|input| renamed[input.index()]).collect();
        out.set_scope(&value.scope);
        let copy = out.add(value.op.clone(), &inputs)?;
        renamed[id.index()] = Some(replace(&mut out, id, copy)?);
    }
    let outputs = outputs.iter().filter_map(|id| renamed[id.index()]).collect();
    Ok((out, outputs))
}

/// Whether an operator treats every element by itself, so that taking some elements before it or after it is the same.
pub fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Activation(_) | Op::SoftCap { .. } | Op::Cast(_) | Op::Not)
}
