//! Operators on a sequence that an exporter has flattened to one row a token.
//!
//! `[batch, seq, d]` is often brought to `[batch*seq, d]` for a matrix product and back. What treats rows one by one is
//! moved before the flattening, so that the two reshapes meet and vanish, and sequences are seen as sequences.

use super::pattern::is_static;
use crate::onnx::op::Op;
use crate::onnx::rewrite::is_elementwise;
use crate::onnx::{Dim, Graph, GraphError, Id, Shape};

/// The operator on what was flattened, and then flattened.
pub fn before_flattening(g: &mut Graph, op: &Op, inputs: &[Id]) -> Result<Option<Id>, GraphError> {
    let last_of_two = |axes: &[usize]| axes == [1];
    let rows: &[Id] = match op {
        Op::Reduce { axes, keep: true, .. } if last_of_two(axes) => inputs,
        op if is_elementwise(op) => inputs,
        Op::Linear(_) | Op::RmsNorm { .. } | Op::LayerNorm { .. } => &inputs[..1],
        Op::Binary(_) => inputs,
        _ => return Ok(None),
    };
    let Some((leading, _)) = rows.iter().find_map(|&x| flattened(g, x)) else { return Ok(None) };
    let mut sources = inputs.to_vec();
    for (i, &x) in rows.iter().enumerate() {
        match flattened(g, x) {
            Some((other, source)) if other == leading => sources[i] = source,
            // A number or a row that is the same for all tokens.
            _ if matches!(op, Op::Binary(_)) && is_one_row(g, x) && is_static(g, x) => {}
            _ => return Ok(None),
        }
    }
    let op = match op {
        Op::Reduce { kind, .. } => Op::Reduce { kind: *kind, axes: vec![leading.len()], keep: true },
        op => op.clone(),
    };
    let result = super::add(g, op, &sources)?;
    let (Some(last), Some(count)) = (g.shape(result).last().cloned(), Dim::product(&leading)) else {
        return Ok(None);
    };
    g.reshape(result, vec![count, last]).map(Some)
}

/// Whether a value broadcasts to every row of a matrix.
fn is_one_row(g: &Graph, x: Id) -> bool {
    match g.shape(x) {
        [] | [_] => true,
        [one, _] => one.is_one(),
        _ => false,
    }
}

/// The axes that were flattened into rows, and the value that had them.
fn flattened(g: &Graph, x: Id) -> Option<(Shape, Id)> {
    let value = g.value(x);
    let Op::Reshape(_) = value.op else { return None };
    let source = value.inputs[0];
    let (last, leading) = g.shape(source).split_last()?;
    let [_, kept] = &value.shape[..] else { return None };
    (leading.len() >= 2 && kept == last).then(|| (leading.to_vec(), source))
}
