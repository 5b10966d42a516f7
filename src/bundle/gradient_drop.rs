//! The gradient without what flows through one layer: GradDrop of AtP* (Kramar et al., arXiv 2403.00745).

use super::contract::Graph as Contract;
use super::graphs::{Asked, Baked, from_embeds};
use super::inside::{Made, is_number};
use super::residual::Stream;
use super::source::ForwardModel;
use crate::grad::{Detour, GradError, KnobInputs, SiteKind, differentiate_around};
use crate::onnx::dim::BATCH;
use crate::onnx::op::{Binary, Op};
use crate::onnx::{Dim, Dtype, Graph, Id};

/// `gradient_drop.onnx`: as `gradient.onnx`, where in the backward pass the layer that the input `dropped`, i64 `[batch]`, names
/// hands on only what goes around it: the gradient of what it gives is that of what enters it. -1 drops none.
pub fn graph(source: &ForwardModel, stream: &Stream) -> Result<Made, GradError> {
    let Some(end) = stream.end else {
        return Ok(Err("where the model's last layer ends is not found: it has one layer".to_owned()));
    };
    let stream: Vec<Id> = stream.entries.iter().copied().chain([end]).collect();
    let is_sum = |pair: &[Id]| adds(&source.graph, pair[0], pair[1]);
    if let Some(layer) = stream.windows(2).position(|pair| !is_sum(pair)) {
        return Ok(Err(format!(
            "what layer {layer} gives is no sum of what enters it and what it makes of that, so nothing goes around it"
        )));
    }
    let (mut graph, mut scored, inputs_embeds, stream) = from_embeds(source, &stream)?;
    // The score hangs on one token's alone.
    scored.whole = stream.last().copied().into_iter().collect();
    let mut dropped = None;
    let asked = Asked::with(&mut graph, source, &scored, inputs_embeds, |graph, dtype| {
        let knobs = KnobInputs::declare(graph, dtype)?;
        let input = graph.input("dropped", Dtype::I64, vec![Dim::symbol(BATCH)])?;
        dropped = Some(input);
        Ok((knobs, knobs.ids().into_iter().chain([input]).collect()))
    })?;
    let Asked { score, knobs, inputs } = asked;
    let mut detours = Vec::with_capacity(stream.len());
    for (layer, (pair, dropped)) in stream.windows(2).zip(dropped.iter().cycle()).enumerate() {
        graph.set_scope(&format!("dropped/{layer}"));
        let taken = is_number(&mut graph, *dropped, layer, 3)?;
        detours.push(Detour { before: pair[0], behind: pair[1], taken });
    }
    let (gradients, _) =
        differentiate_around(&mut graph, score, inputs_embeds, &[inputs_embeds], &knobs, &SiteKind::ALL, &detours)?;
    let gradient = gradients.first().copied().ok_or(GradError::Independent)?;
    let outputs = vec![("score", score), ("gradient", gradient)];
    Ok(Ok(Baked { file: Contract::GradientDrop.file(), graph, inputs, outputs }))
}

/// Whether a value is a sum of which another one is a term.
fn adds(graph: &Graph, term: Id, sum: Id) -> bool {
    let mut open = vec![sum];
    while let Some(id) = open.pop() {
        if id == term {
            return true;
        }
        let value = graph.value(id);
        if matches!(value.op, Op::Binary(Binary::Add) | Op::Reshape(_) | Op::Cast(_)) && id > term {
            open.extend(&value.inputs);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::op::Unary;

    #[test]
    fn a_stream_is_a_sum_or_it_is_not() {
        let mut g = Graph::new();
        let x = g.input("x", Dtype::F32, vec![2.into(), 3.into()]).unwrap();
        let attended = g.unary(Unary::Tanh, x).unwrap();
        let middle = g.plus(attended, x).unwrap();
        let fed = g.unary(Unary::Exp, middle).unwrap();
        let end = g.plus(middle, fed).unwrap();
        assert!(adds(&g, x, end) && adds(&g, middle, end));
        // A norm behind the sum, or the sum scaled.
        let normed = g.unary(Unary::Sqrt, end).unwrap();
        let scaled = g.scaled(end, 0.5).unwrap();
        assert!(!adds(&g, x, normed) && !adds(&g, x, scaled) && !adds(&g, end, x));
    }
}
