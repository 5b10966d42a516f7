//! The graphs of a bundle that look inside: at the residual stream and at attention scores, or put something in their place.
//!
//! Not every model lets them be made: a file of somebody else's may hide its layers. Then the bundle goes without, and says
//! why.

use super::contract::Graph as Contract;
use super::deep_lift;
use super::gradient_drop;
use super::graphs::{Asked, Baked, Scored, from_embeds, scored_row};
use super::projections;
use super::residual::Stream;
use super::source::ForwardModel;
use crate::grad::sites::Sites;
use crate::grad::{GradError, SiteKind, differentiate_at};
use crate::labels::Labels;
use crate::onnx::dim::{BATCH, SEQ, show};
use crate::onnx::op::{Binary, Logic, Op, Reduction, Unary};
use crate::onnx::rewrite::edited;
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id, Tensor};

/// A graph, or why it cannot be made of this model: a sentence without a full stop.
pub type Made = Result<Baked, String>;

/// A score that is lower is a mask's. Exporters write anything from -1e4 to -inf for what a token may not look at; the scores
/// of trained models stay within some hundreds.
pub const MASKED_BELOW: f64 = -5000.0;

/// All graphs of this file, where they can be made.
///
/// # Errors
/// Those of building a graph, which are faults of this program.
pub fn graphs(source: &ForwardModel) -> Result<Vec<(Contract, Made)>, GradError> {
    let stream = Stream::find(&source.graph, source.inputs_embeds, source.logits, source.hidden)
        .map_err(|reason| format!("the model's residual stream is not found: {reason}"));
    let of_stream = |make: fn(&ForwardModel, &Stream) -> Result<Made, GradError>| match &stream {
        Ok(stream) => make(source, stream),
        Err(reason) => Ok(Err(reason.clone())),
    };
    Ok(vec![
        (Contract::ResidualGradient, of_stream(residual_gradient)?),
        (Contract::ForwardResidual, of_stream(forward_residual)?),
        (Contract::ScoreGradient, score_gradient(source)?),
        (Contract::ForwardScores, forward_scores(source)?),
        (Contract::ValueZeroing, of_stream(value_zeroing)?),
        (Contract::DeepLift, deep_lift::graph(source)?),
        (Contract::AttentionProjections, projections::graph(source)?),
        (Contract::GradientDrop, of_stream(gradient_drop::graph)?),
    ])
}

/// Values of the layers, one above another: `[layers, ..]`.
pub(super) fn stacked(graph: &mut Graph, layers: &[Id]) -> Result<Id, GraphError> {
    let layers = layers.iter().map(|&layer| graph.unsqueeze(layer, 0)).collect::<Result<Vec<Id>, _>>()?;
    graph.concat(&layers, 0)
}

/// `residual_gradient.onnx`: what enters each layer, and the (modified) gradient with respect to it,
/// `[layers, batch, seq, hidden]` each.
fn residual_gradient(source: &ForwardModel, stream: &Stream) -> Result<Made, GradError> {
    let (mut graph, scored, inputs_embeds, entries) = from_embeds(source, &stream.entries)?;
    let Asked { score, knobs, inputs } = Asked::declare(&mut graph, source, &scored, inputs_embeds)?;
    let (gradients, _) = differentiate_at(&mut graph, score, inputs_embeds, &entries, &knobs, &SiteKind::ALL)?;
    graph.set_scope("residual");
    let residual = stacked(&mut graph, &entries)?;
    let gradient = stacked(&mut graph, &gradients)?;
    let outputs = vec![("score", score), ("residual", residual), ("residual_gradient", gradient)];
    Ok(Ok(Baked { file: Contract::ResidualGradient.file(), graph, inputs, outputs }))
}

/// The inputs of a forward graph in which something is replaced, beside those of `forward.onnx`.
struct Replacing {
    graph: Graph,
    input_ids: Id,
    attention_mask: Id,
    position: Id,
    /// i64 `[batch]` each.
    numbers: Vec<Id>,
    /// bool `[batch, seq]`, from an i64 input.
    here: Id,
    places: Id,
}

impl Replacing {
    fn declare(source: &ForwardModel, names: &[&str]) -> Result<Replacing, GraphError> {
        let mut graph = Graph::new();
        let (batch, tokens) = (vec![Dim::symbol(BATCH)], vec![Dim::symbol(BATCH), Dim::symbol(SEQ)]);
        // The same inputs as the source has, so that a copy of its graph finds them here.
        let mut input = |id: Id| match &source.graph.value(id).op {
            op @ Op::Input { .. } => graph.add(op.clone(), &[]),
            other => Err(GraphError { op: other.name(), scope: String::new(), problem: "is no input".to_owned() }),
        };
        let (input_ids, attention_mask) = (input(source.input_ids)?, input(source.attention_mask)?);
        let position = graph.input("position", Dtype::I64, batch.clone())?;
        let numbers = names.iter().map(|name| graph.input(name, Dtype::I64, batch.clone()));
        let numbers = numbers.collect::<Result<Vec<Id>, _>>()?;
        let places = graph.input("places", Dtype::I64, tokens)?;
        let zero = graph.constant(Tensor::i64(0))?;
        let here = graph.logic(Logic::Greater, places, zero)?;
        Ok(Replacing { graph, input_ids, attention_mask, position, numbers, here, places })
    }

    /// The whole graph, `replace` being told the number of every value of the source and of its copy.
    fn finish(
        self,
        source: &ForwardModel,
        file: Contract,
        replace: impl FnMut(&mut Graph, Id, Id) -> Result<Id, GraphError>,
    ) -> Result<Baked, GradError> {
        let Replacing { graph, input_ids, attention_mask, position, numbers, places, .. } = self;
        let (mut graph, roots) = edited(&source.graph, graph, &Scored::roots(source), replace)?;
        let (scored, _) = Scored::of_roots(source, &roots);
        let row = scored_row(&mut graph, source, &scored, position)?;
        let outputs = source.labels.as_ref().map_or(source.vocab, Labels::count);
        let logits = graph.reshape(row, vec![Dim::symbol(BATCH), Dim::known(outputs)])?;
        let inputs = [input_ids, attention_mask, position].into_iter().chain(numbers).chain([places]).collect();
        Ok(Baked { file: file.file(), graph, inputs, outputs: vec![("logits", logits)] })
    }
}

/// Whether a number of each row, i64 `[batch]`, is this one: bool of a shape with the batch first, all else 1.
pub(super) fn is_number(graph: &mut Graph, number: Id, of: usize, rank: usize) -> Result<Id, GraphError> {
    let of = graph.constant(Tensor::i64(of as i64))?;
    let equal = graph.logic(Logic::Equal, number, of)?;
    let mut shape = vec![Dim::known(1); rank];
    shape[0] = Dim::symbol(BATCH);
    graph.reshape(equal, shape)
}

/// `forward_residual.onnx`: the logits, where what enters `layer` is at `places` its mean over the prompt's tokens.
fn forward_residual(source: &ForwardModel, stream: &Stream) -> Result<Made, GradError> {
    let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
    let mut replacing = Replacing::declare(source, &["layer"])?;
    let graph = &mut replacing.graph;
    graph.set_scope("replaced");
    let dtype = source.graph.dtype(source.inputs_embeds);
    let column = vec![batch, seq, one];
    let here = graph.reshape(replacing.here, column.clone())?;
    let present = graph.cast(replacing.attention_mask, dtype)?;
    let present = graph.reshape(present, column)?;
    let count = graph.reduce(Reduction::Sum, present, &[1], true)?;
    let number = replacing.numbers[0];
    let baked = replacing.finish(source, Contract::ForwardResidual, |graph, id, copy| {
        let Some(layer) = stream.entries.iter().position(|&entry| entry == id) else { return Ok(copy) };
        let scope = graph.value(copy).scope.to_string();
        graph.set_scope(&format!("replaced/{layer}"));
        let own = graph.times(copy, present)?;
        let sum = graph.reduce(Reduction::Sum, own, &[1], true)?;
        let mean = graph.divided(sum, count)?;
        let meant = is_number(graph, number, layer, 3)?;
        let here = graph.logic(Logic::And, meant, here)?;
        let replaced = graph.choose(here, mean, copy)?;
        graph.set_scope(&scope);
        Ok(replaced)
    })?;
    Ok(Ok(baked))
}

/// The attention softmaxes of the source.
fn softmaxes(source: &ForwardModel) -> Vec<Id> {
    let depends = source.graph.descendants(source.inputs_embeds);
    let path = source.graph.ancestors(&[source.logits]).into_iter().filter(|id| depends[id.index()]);
    Sites::find(&source.graph, &path.collect::<Vec<Id>>()).attention().collect()
}

/// The shape of scores by batch, head, query and key.
fn by_heads(source: &ForwardModel) -> Vec<Dim> {
    let (batch, seq) = (Dim::symbol(BATCH), Dim::symbol(SEQ));
    vec![batch, Dim::known(source.heads), seq.clone(), seq]
}

/// `score_gradient.onnx`: attention scores, masks added, and the (modified) gradients of scores and of weights,
/// `[layers, batch, heads, seq, seq]` each.
fn score_gradient(source: &ForwardModel) -> Result<Made, GradError> {
    let softmaxes = softmaxes(source);
    let scores: Vec<Id> = softmaxes.iter().map(|&id| source.graph.value(id).inputs[0]).collect();
    let (mut graph, scored, inputs_embeds, found) = from_embeds(source, &[&scores[..], &softmaxes[..]].concat())?;
    let Asked { score, knobs, inputs } = Asked::declare(&mut graph, source, &scored, inputs_embeds)?;
    let (gradients, _) = differentiate_at(&mut graph, score, inputs_embeds, &found, &knobs, &SiteKind::ALL)?;
    graph.set_scope("scores");
    let layers = softmaxes.len();
    let mut outputs = vec![("score", score)];
    for (name, values) in [
        ("scores", &found[..layers]),
        ("score_gradient", &gradients[..layers]),
        ("attention_gradient", &gradients[layers..]),
    ] {
        let values = values.iter().map(|&value| graph.reshape(value, by_heads(source)));
        let values = values.collect::<Result<Vec<Id>, _>>()?;
        outputs.push((name, stacked(&mut graph, &values)?));
    }
    Ok(Ok(Baked { file: Contract::ScoreGradient.file(), graph, inputs, outputs }))
}

/// `forward_scores.onnx`: the logits, where in `layer` and `head` the scores of the keys at `places`, as `query` sees them,
/// are the mean of that row: of all scores that no mask keeps away.
fn forward_scores(source: &ForwardModel) -> Result<Made, GradError> {
    let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
    let scores: Vec<Id> = softmaxes(source).iter().map(|&id| source.graph.value(id).inputs[0]).collect();
    let mut replacing = Replacing::declare(source, &["layer", "head", "query"])?;
    let [layer_number, head, query] = replacing.numbers[..] else {
        return Ok(Err("it has other inputs than it was given".to_owned()));
    };
    let graph = &mut replacing.graph;
    graph.set_scope("replaced");
    // One row of one head, and keys of it.
    let heads = graph.add(Op::Arange(Dim::known(source.heads)), &[])?;
    let heads = graph.reshape(heads, vec![one.clone(), Dim::known(source.heads), one.clone(), one.clone()])?;
    let head = graph.reshape(head, vec![batch.clone(), one.clone(), one.clone(), one.clone()])?;
    let of_head = graph.logic(Logic::Equal, heads, head)?;
    let queries = graph.add(Op::Arange(seq.clone()), &[])?;
    let queries = graph.reshape(queries, vec![one.clone(), one.clone(), seq.clone(), one.clone()])?;
    let query = graph.reshape(query, vec![batch.clone(), one.clone(), one.clone(), one.clone()])?;
    let of_query = graph.logic(Logic::Equal, queries, query)?;
    let of_row = graph.logic(Logic::And, of_head, of_query)?;
    let keys = graph.reshape(replacing.here, vec![batch, one.clone(), one, seq])?;
    let named = graph.logic(Logic::And, of_row, keys)?;
    let dtype = source.graph.dtype(source.inputs_embeds);
    let bound = graph.constant(Tensor::float(MASKED_BELOW, dtype))?;
    let zero = graph.constant(Tensor::float(0.0, dtype))?;
    let least = graph.constant(Tensor::float(1.0, dtype))?;
    let baked = replacing.finish(source, Contract::ForwardScores, |graph, id, copy| {
        let Some(layer) = scores.iter().position(|&score| score == id) else { return Ok(copy) };
        let scope = graph.value(copy).scope.to_string();
        graph.set_scope(&format!("replaced/{layer}"));
        let shape = graph.shape(copy).to_vec();
        let rows = graph.reshape(copy, by_heads(source))?;
        let seen = graph.logic(Logic::Greater, rows, bound)?;
        let own = graph.choose(seen, rows, zero)?;
        let sum = graph.reduce(Reduction::Sum, own, &[3], true)?;
        let count = graph.cast(seen, dtype)?;
        let count = graph.reduce(Reduction::Sum, count, &[3], true)?;
        // A row that sees nothing has a mean of nothing.
        let some = graph.logic(Logic::Greater, count, zero)?;
        let count = graph.choose(some, count, least)?;
        let mean = graph.divided(sum, count)?;
        let meant = is_number(graph, layer_number, layer, 4)?;
        let here = graph.logic(Logic::And, meant, named)?;
        let here = graph.logic(Logic::And, here, seen)?;
        let replaced = graph.choose(here, mean, rows)?;
        let replaced = graph.reshape(replaced, shape)?;
        graph.set_scope(&scope);
        Ok(replaced)
    })?;
    Ok(Ok(baked))
}

/// `value_zeroing.onnx`: how far what each layer makes of its input turns when the values of `places` are zero in it, as
/// `1 - cos`, `[layers, batch, seq]`. A layer's input is what it is without anything zeroed.
fn value_zeroing(source: &ForwardModel, stream: &Stream) -> Result<Made, GradError> {
    let Some(end) = stream.end else {
        return Ok(Err("where the model's last layer ends is not found: it has one layer".to_owned()));
    };
    let products = match values(source) {
        Ok(products) if products.len() == stream.entries.len() => products,
        Ok(_) => return Ok(Err("its layers do not have one product of attention and values each".to_owned())),
        Err(reason) => return Ok(Err(reason)),
    };
    let ends: Vec<Id> = stream.entries[1..].iter().copied().chain([end]).collect();
    let Replacing { graph, input_ids, attention_mask, here, places, .. } = Replacing::declare(source, &[])?;
    // The copy keeps its numbers apart from those of the source.
    let mut copies: Vec<Option<Id>> = vec![None; source.graph.len()];
    let (mut graph, _) = edited(&source.graph, graph, &ends, |_, id, copy| {
        copies[id.index()] = Some(copy);
        Ok(copy)
    })?;
    let copied = |id: Id| {
        let problem = || "is needed, and was not copied".to_owned();
        let missing = || GraphError { op: "value_zeroing".to_owned(), scope: String::new(), problem: problem() };
        copies[id.index()].ok_or_else(missing)
    };
    let dtype = source.graph.dtype(source.inputs_embeds);
    graph.set_scope("zeroed");
    let zeroed = graph.cast(here, dtype)?;
    let one = graph.constant(Tensor::float(1.0, dtype))?;
    let kept = graph.minus(one, zeroed)?;
    let mut layers = Vec::with_capacity(ends.len());
    for (layer, (&Values { product, values }, &end)) in products.iter().zip(&ends).enumerate() {
        let own = copied(values)?;
        let rank = graph.shape(own).len();
        let mut shape = vec![Dim::known(1); rank];
        (shape[0], shape[rank - 2]) = (Dim::symbol(BATCH), Dim::symbol(SEQ));
        graph.set_scope(&format!("zeroed/{layer}"));
        let kept = graph.reshape(kept, shape)?;
        let without = graph.times(own, kept)?;
        // What follows from the product, up to the layer's end, is computed a second time.
        let follows = source.graph.descendants(product);
        let mut second: Vec<Option<Id>> = vec![None; source.graph.len()];
        for id in source.graph.ancestors(&[end]).into_iter().filter(|id| follows[id.index()]) {
            let value = source.graph.value(id);
            let inputs = value.inputs.iter().map(|&input| match second[input.index()] {
                Some(changed) => Ok(changed),
                None if id == product && input == values => Ok(without),
                None => copied(input),
            });
            let inputs = inputs.collect::<Result<Vec<Id>, _>>()?;
            graph.set_scope(&format!("zeroed/{}", value.scope));
            second[id.index()] = Some(graph.add(value.op.clone(), &inputs)?);
        }
        let Some(changed) = second[end.index()] else {
            return Ok(Err(format!("the attention of layer {layer} does not lead to the layer's end")));
        };
        let whole = copied(end)?;
        layers.push(distance(&mut graph, changed, whole)?);
    }
    let distance = stacked(&mut graph, &layers)?;
    Ok(Ok(Baked {
        file: Contract::ValueZeroing.file(),
        graph,
        inputs: vec![input_ids, attention_mask, places],
        outputs: vec![("distance", distance)],
    }))
}

/// A product of attention weights and values, and the values.
pub(super) struct Values {
    pub product: Id,
    pub values: Id,
}

/// Those of all layers, in order, where the values are `[batch, .., seq, size]` on the right.
pub(super) fn values(source: &ForwardModel) -> Result<Vec<Values>, String> {
    let graph = &source.graph;
    let depends = graph.descendants(source.inputs_embeds);
    let path = graph.ancestors(&[source.logits]).into_iter().filter(|id| depends[id.index()]);
    let path: Vec<Id> = path.collect();
    let sites = Sites::find(graph, &path);
    let mut found = Vec::new();
    for &id in &path {
        let value = graph.value(id);
        let sides = [0, 1].map(|side| sites.is_attention_factor(id, side));
        if sides == [false, false] {
            continue;
        }
        let at = || format!("the product of attention and values in '{}'", value.scope);
        let (true, false, Op::MatMul, &[_, values]) = (sides[0], sides[1], &value.op, &value.inputs[..]) else {
            return Err(format!("{} is of another form", at()));
        };
        let shape = graph.shape(values);
        let fits = shape.len() >= 3 && shape[0] == Dim::symbol(BATCH) && shape[shape.len() - 2] == Dim::symbol(SEQ);
        if !fits {
            return Err(format!("{} has values of shape {}", at(), show(shape)));
        }
        found.push(Values { product: id, values });
    }
    Ok(found)
}

/// `1 - cos` of the angle between vectors over the last axis, which goes. Computed as `|u - v|^2 / 2` of the vectors of length 1:
/// in f32 the difference from 1 of a cosine near it would be rounding.
fn distance(graph: &mut Graph, a: Id, b: Id) -> Result<Id, GraphError> {
    let last = graph.shape(a).len() - 1;
    let mut direction = |x: Id| {
        let square = graph.times(x, x)?;
        let sum = graph.reduce(Reduction::Sum, square, &[last], true)?;
        // A vector of zeros has a direction of zeros.
        let least = graph.scalar(f64::from(f32::MIN_POSITIVE), x)?;
        let sum = graph.plus(sum, least)?;
        let length = graph.unary(Unary::Sqrt, sum)?;
        graph.divided(x, length)
    };
    let (a, b) = (direction(a)?, direction(b)?);
    let difference = graph.binary(Binary::Sub, a, b)?;
    let square = graph.times(difference, difference)?;
    let sum = graph.reduce(Reduction::Sum, square, &[last], false)?;
    graph.scaled(sum, 0.5)
}
