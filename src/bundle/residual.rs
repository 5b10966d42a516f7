//! The residual stream: what enters each layer, found in the graph's structure, so that it makes no difference who built it.
//!
//! A value that all ways from the embeddings to the logits lead through holds everything that the model still knows of the
//! prompt. The residual stream is made of such values: a norm, an attention or a feed-forward has a way around it. What
//! enters a layer is the last of them before the layer's attention.

use crate::grad::sites::Sites;
use crate::onnx::dim::{BATCH, SEQ, show};
use crate::onnx::{Dim, Graph, Id, Op};

/// The residual stream, `[batch, seq, hidden]` each.
#[derive(Clone, Debug)]
pub struct Stream {
    /// What enters each layer.
    pub entries: Vec<Id>,
    /// What the last layer gives, where layers are alike enough to tell: a model with one layer has nothing to tell it by.
    pub end: Option<Id>,
}

impl Stream {
    /// The stream between `embeds` and `logits`.
    ///
    /// # Errors
    /// Why it is not found: half a sentence after "its residual stream is not found: ".
    pub fn find(graph: &Graph, embeds: Id, logits: Id, hidden: usize) -> Result<Stream, String> {
        let depends = graph.descendants(embeds);
        let path: Vec<Id> = graph.ancestors(&[logits]).into_iter().filter(|id| depends[id.index()]).collect();
        let gates = gates(graph, &path);
        let shape = [Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(hidden)];
        let is_stream = |id: Id| *graph.shape(id) == shape && graph.dtype(id).is_float();
        let mut entries: Vec<Id> = Vec::new();
        for softmax in Sites::find(graph, &path).attention() {
            let before = &gates[..gates.partition_point(|&gate| gate < softmax)];
            // Of a value that was only moved since, the one before.
            let mut found = before.iter().rev().copied();
            let entry = loop {
                let Some(gate) = found.next() else {
                    return Err(format!("no single value leads to the attention in '{}'", graph.value(softmax).scope));
                };
                match graph.value(gate).op {
                    _ if is_stream(gate) => break gate,
                    Op::Reshape(_) | Op::Transpose(_) | Op::Cast(_) | Op::Expand(_) => {}
                    _ => {
                        return Err(format!(
                            "what leads to the attention in '{}' is of shape {}",
                            graph.value(softmax).scope,
                            show(graph.shape(gate))
                        ));
                    }
                }
            };
            if entries.last().is_some_and(|&last| last >= entry) {
                return Err(format!("the attention in '{}' has no entry of its own", graph.value(softmax).scope));
            }
            entries.push(entry);
        }
        // A layer has as many such values as any other, so the last one ends as many behind its beginning.
        let stream: Vec<Id> = gates.into_iter().filter(|&gate| is_stream(gate)).collect();
        let places: Vec<usize> = entries.iter().map(|entry| stream.partition_point(|gate| gate < entry)).collect();
        let mut sizes = places.windows(2).map(|pair| pair[1] - pair[0]);
        let size = sizes.next();
        if sizes.any(|other| Some(other) != size) {
            return Err("its layers are not alike".to_owned());
        }
        let end = size.zip(places.last()).and_then(|(size, last)| stream.get(last + size)).copied();
        Ok(Stream { entries, end })
    }
}

/// The values of a path that all ways from its first to its last lead through, ascending.
fn gates(graph: &Graph, path: &[Id]) -> Vec<Id> {
    let mut place = vec![None; graph.len()];
    path.iter().enumerate().for_each(|(at, id)| place[id.index()] = Some(at));
    // The last user of each value on the path.
    let mut last_user: Vec<usize> = (0..path.len()).collect();
    for (at, &id) in path.iter().enumerate() {
        for input in graph.value(id).inputs.iter().filter_map(|input| place[input.index()]) {
            last_user[input] = last_user[input].max(at);
        }
    }
    // Nothing that was made before it is used behind it.
    let mut reached = 0;
    let mut gates = Vec::new();
    for (at, &id) in path.iter().enumerate() {
        if reached <= at {
            gates.push(id);
        }
        reached = reached.max(last_user[at]);
    }
    gates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::op::Unary;
    use crate::onnx::{Dtype, GraphError};

    /// What attention to itself makes of a value.
    fn attended(g: &mut Graph, x: Id) -> Result<Id, GraphError> {
        let keys = g.transpose_last(x)?;
        let scores = g.matmul(x, keys)?;
        let weights = g.add(Op::Softmax { axis: 2 }, &[scores])?;
        g.matmul(weights, x)
    }

    fn embeddings(g: &mut Graph) -> Id {
        g.input("x", Dtype::F32, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), 4.into()]).unwrap()
    }

    #[test]
    fn layers_one_after_another_have_entries_and_an_end() {
        let mut g = Graph::new();
        let x = embeddings(&mut g);
        let mut values = vec![x];
        for _ in 0..3 {
            let last = values[values.len() - 1];
            let normed = g.unary(Unary::Tanh, last).unwrap();
            let added = attended(&mut g, normed).unwrap();
            let middle = g.plus(last, added).unwrap();
            let fed = g.unary(Unary::Exp, middle).unwrap();
            values.push(g.plus(middle, fed).unwrap());
        }
        let logits = g.unary(Unary::Neg, values[3]).unwrap();
        let found = Stream::find(&g, x, logits, 4).unwrap();
        assert_eq!((&found.entries[..], found.end), (&values[..3], Some(values[3])));
    }

    #[test]
    fn what_is_no_stack_of_layers_is_said() {
        let mut g = Graph::new();
        let x = embeddings(&mut g);
        let doubled = g.scaled(x, 2.0).unwrap();
        let (a, b) = (attended(&mut g, x).unwrap(), attended(&mut g, doubled).unwrap());
        let side_by_side = g.plus(a, b).unwrap();
        let error = Stream::find(&g, x, side_by_side, 4).unwrap_err();
        assert!(error.contains("no entry of its own"), "{error}");
        let changed = g.unary(Unary::Exp, x).unwrap();
        let one = attended(&mut g, changed).unwrap();
        let error = Stream::find(&g, x, one, 5).unwrap_err();
        assert!(error.contains("is of shape [batch, seq, 4]"), "{error}");
    }

    #[test]
    fn gates_are_what_has_no_way_around_it() {
        let mut g = Graph::new();
        let x = g.input("x", Dtype::F32, vec![2.into()]).unwrap();
        let a = g.unary(Unary::Exp, x).unwrap();
        let b = g.plus(x, a).unwrap();
        let c = g.unary(Unary::Tanh, b).unwrap();
        let d = g.unary(Unary::Neg, c).unwrap();
        let e = g.plus(c, d).unwrap();
        assert_eq!(gates(&g, &[x, a, b, c, d, e]), [x, b, c, e]);
    }
}
