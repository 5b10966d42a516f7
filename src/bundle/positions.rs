//! How many tokens there are positions for.

use crate::onnx::dim::SEQ;
use crate::onnx::op::{Binary, Op};
use crate::onnx::{Dim, Dtype, Graph, Id, Tensor};

/// How deep the arithmetic that makes positions is followed.
const MAX_DEPTH: usize = 24;

/// The longest text for which every lookup in a table of positions finds a row; `None` if there is no such table.
pub fn longest(graph: &Graph, used: &[Id], attention_mask: Id) -> Option<usize> {
    let limits = used.iter().filter_map(|&id| {
        let value = graph.value(id);
        let (Op::Gather { axis: 0 }, &[table, indices]) = (&value.op, &value.inputs[..]) else { return None };
        if graph.shape(table).len() != 2 || !graph.dtype(table).is_float() {
            return None;
        }
        let rows = i64::try_from(graph.shape(table)[0].value()?).ok()?;
        match largest(graph, indices, attention_mask, MAX_DEPTH)? {
            // The largest index of a text of n tokens is n + offset.
            Bound { by_length: true, offset } => usize::try_from(rows.checked_sub(1)?.checked_sub(offset)?).ok(),
            _ => None,
        }
    });
    limits.min()
}

/// The largest of whole numbers that are 0 at least, or all of them the same: `offset`, plus the length of the text if
/// `by_length`.
#[derive(Clone, Copy)]
struct Bound {
    by_length: bool,
    offset: i64,
}

fn largest(graph: &Graph, id: Id, attention_mask: Id, depth: usize) -> Option<Bound> {
    let constant = |offset| Some(Bound { by_length: false, offset });
    let value = graph.value(id);
    if id == attention_mask {
        return constant(1);
    }
    let part = |i: usize| largest(graph, value.inputs[i], attention_mask, depth.checked_sub(1)?);
    let is_one = |bound: Option<Bound>| matches!(bound, Some(Bound { by_length: false, offset: 0 | 1 }));
    match &value.op {
        Op::Arange(dim) if *dim == Dim::symbol(SEQ) => Some(Bound { by_length: true, offset: -1 }),
        Op::Constant(tensor) => constant(*numbers(tensor)?.iter().max()?),
        Op::Reshape(_) | Op::Expand(_) => part(0),
        Op::Cast(_) if graph.dtype(value.inputs[0]) == Dtype::Bool => constant(1),
        Op::Cast(Dtype::I64 | Dtype::I32) => part(0),
        Op::Binary(Binary::Add) => {
            let (a, b) = (part(0)?, part(1)?);
            let offset = a.offset.checked_add(b.offset)?;
            (!(a.by_length && b.by_length)).then_some(Bound { by_length: a.by_length || b.by_length, offset })
        }
        Op::Binary(Binary::Sub) => {
            let (a, b) = (part(0)?, scalar(graph, value.inputs[1])?);
            Some(Bound { offset: a.offset.checked_sub(b)?, ..a })
        }
        // A product with zeros and ones.
        Op::Binary(Binary::Mul) => match (part(0), part(1)) {
            (a, b) if is_one(b) => a,
            (a, b) if is_one(a) => b,
            _ => None,
        },
        Op::Opaque(opaque) => match opaque.op_type.as_str() {
            "CumSum" if is_one(part(0)) => Some(Bound { by_length: true, offset: 0 }),
            // The first places of a constant 0, 1, 2, ... : as many as there are tokens.
            "Slice" => {
                let counted = matches!(&graph.value(unmoved(graph, value.inputs[0])).op, Op::Constant(tensor)
                    if numbers(tensor)?.iter().enumerate().all(|(i, &number)| number == i as i64));
                counted.then_some(Bound { by_length: true, offset: -1 })
            }
            _ => None,
        },
        _ => None,
    }
}

fn unmoved(graph: &Graph, mut id: Id) -> Id {
    while let Op::Reshape(_) | Op::Cast(Dtype::I64 | Dtype::I32) = graph.value(id).op {
        id = graph.value(id).inputs[0];
    }
    id
}

/// A number, whatever shape of ones it has.
fn scalar(graph: &Graph, id: Id) -> Option<i64> {
    match &graph.value(unmoved(graph, id)).op {
        Op::Constant(tensor) => match numbers(tensor)?[..] {
            [only] => Some(only),
            _ => None,
        },
        _ => None,
    }
}

fn numbers(tensor: &Tensor) -> Option<Vec<i64>> {
    let (words, rest) = match tensor.dtype {
        Dtype::I64 => tensor.bytes.as_chunks::<8>(),
        _ => return None,
    };
    rest.is_empty().then(|| words.iter().map(|&word| i64::from_le_bytes(word)).collect())
}
