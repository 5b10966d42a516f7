//! Queries, keys and values as their projections give them, before norms and rotation, and the gradient of what attention
//! makes of them: found in the graph's structure, so that it makes no difference who built it.
//!
//! A value that all ways to a factor of attention's product lead through holds everything that the factor knows. Behind the
//! last product with a weight such values are the projection, moved, cut to its part, normed, rotated and repeated for groups
//! of heads; the first of them with as few numbers a token as any is the projection.

use std::collections::BinaryHeap;

use super::contract::Graph as Contract;
use super::graphs::{Asked, Baked, from_embeds};
use super::inside::{Made, Values, stacked, values};
use super::select::row_of;
use super::source::ForwardModel;
use crate::grad::sites::Sites;
use crate::grad::{GradError, SiteKind, differentiate_at};
use crate::onnx::dim::{BATCH, SEQ, show};
use crate::onnx::op::{Binary, Op};
use crate::onnx::{Dim, Graph, GraphError, Id};

/// The attention of one layer. All hold `[batch, seq, ..]` in some shape.
struct Attention {
    queries: Projection,
    keys: Projection,
    values: Projection,
    /// What the heads give, side by side, and what the projection behind them makes of it.
    heads: Projection,
    output: Projection,
}

/// A value of every token, and how many heads of how many numbers that is.
#[derive(Clone, Copy)]
struct Projection {
    value: Id,
    heads: usize,
    size: usize,
}

/// `attention_projections.onnx`: of each layer the queries at `position`, `[layers, batch, heads, size]`, the keys and values
/// of all tokens, `[layers, batch, seq, key_heads, size]` each, as their projections give them; and the (modified) gradients at
/// `position` with respect to what the heads give, `[layers, batch, heads, size]`, and to what the projection behind them makes
/// of that, `[layers, batch, 1, hidden]`.
pub fn graph(source: &ForwardModel) -> Result<Made, GradError> {
    if source.labels.is_some() {
        return Ok(Err(
            "it is of queries at the token that is followed by the answer, and a classifier has no such token"
                .to_owned(),
        ));
    }
    let layers = match find(source).and_then(alike) {
        Ok(layers) => layers,
        Err(reason) => return Ok(Err(reason)),
    };
    let parts = |of: fn(&Attention) -> Projection| layers.iter().map(of).collect::<Vec<Projection>>();
    let all = [
        parts(|layer| layer.queries),
        parts(|layer| layer.keys),
        parts(|layer| layer.values),
        parts(|layer| layer.heads),
        parts(|layer| layer.output),
    ];
    let others: Vec<Id> = all.iter().flatten().map(|part| part.value).collect();
    let (mut graph, mut scored, inputs_embeds, found) = from_embeds(source, &others)?;
    let mut copies = found.into_iter();
    let [queries, keys, values, heads, output] = all.map(|parts| placed(&parts, copies.by_ref()));
    // In the last layer the score hangs on one token's alone.
    scored.whole = output.iter().map(|part| part.value).collect();
    let Asked { score, knobs, inputs } = Asked::declare(&mut graph, source, &scored, inputs_embeds)?;
    let targets: Vec<Id> = heads.iter().chain(&output).map(|part| part.value).collect();
    let (gradients, _) = differentiate_at(&mut graph, score, inputs_embeds, &targets, &knobs, &SiteKind::ALL)?;
    let mut gradients = gradients.into_iter();
    let [of_heads, of_output] = [heads, output].map(|parts| placed(&parts, gradients.by_ref()));
    let position = inputs[2];
    let outputs = vec![
        ("score", score),
        ("queries", stack(&mut graph, &queries, Some(position))?),
        ("keys", stack(&mut graph, &keys, None)?),
        ("values", stack(&mut graph, &values, None)?),
        ("heads_gradient", stack(&mut graph, &of_heads, Some(position))?),
        ("output_gradient", stack(&mut graph, &of_output, Some(position))?),
    ];
    Ok(Ok(Baked { file: Contract::AttentionProjections.file(), graph, inputs, outputs }))
}

/// The same parts as other values of the same shapes.
fn placed(parts: &[Projection], values: impl Iterator<Item = Id>) -> Vec<Projection> {
    parts.iter().zip(values).map(|(part, value)| Projection { value, ..*part }).collect()
}

/// Those of all layers above one another, `[layers, batch, seq, heads, size]`, or at one position `[layers, batch, heads, size]`.
fn stack(graph: &mut Graph, parts: &[Projection], position: Option<Id>) -> Result<Id, GraphError> {
    let mut layers = Vec::with_capacity(parts.len());
    for part in parts {
        graph.set_scope("projections");
        let all = by_token(graph, *part)?;
        layers.push(match position {
            Some(position) => {
                let row = row_of(graph, all, position)?;
                graph.set_scope("projections");
                graph.reshape(row, vec![Dim::symbol(BATCH), Dim::known(part.heads), Dim::known(part.size)])?
            }
            None => all,
        });
    }
    graph.set_scope("projections");
    stacked(graph, &layers)
}

/// `[batch, seq, heads, size]`, whatever axes it has had.
fn by_token(graph: &mut Graph, Projection { value, heads, size }: Projection) -> Result<Id, GraphError> {
    let shape = graph.shape(value);
    let seq = shape.iter().position(|dim| *dim == Dim::symbol(SEQ)).unwrap_or(1);
    let rank = shape.len();
    let mut moved = value;
    if seq > 1 {
        let order: Vec<usize> = [0, seq].into_iter().chain((1..rank).filter(|&axis| axis != seq)).collect();
        moved = graph.transpose(value, &order)?;
    }
    graph.reshape(moved, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(heads), Dim::known(size)])
}

/// Layers of the same sizes, which can stand above one another.
fn alike(layers: Vec<Attention>) -> Result<Vec<Attention>, String> {
    let sizes = |layer: &Attention| {
        [layer.queries, layer.keys, layer.values, layer.heads, layer.output].map(|part| (part.heads, part.size))
    };
    match layers.windows(2).position(|pair| sizes(&pair[0]) != sizes(&pair[1])) {
        Some(layer) => Err(format!("the projections of layers {layer} and {} are of different sizes", layer + 1)),
        None => Ok(layers),
    }
}

/// The attention of all layers.
fn find(source: &ForwardModel) -> Result<Vec<Attention>, String> {
    let graph = &source.graph;
    let way = Way::between(graph, source.inputs_embeds, source.logits);
    let softmaxes: Vec<Id> = Sites::find(graph, &way.path).attention().collect();
    let products = values(source)?;
    if softmaxes.is_empty() || softmaxes.len() != products.len() {
        return Err("its layers do not have one softmax and one product of attention and values each".to_owned());
    }
    let layers = softmaxes.into_iter().zip(products).map(|(softmax, Values { product, values })| {
        let scope = &graph.value(softmax).scope;
        let missing =
            |what: &str, problem: String| format!("the {what} of the attention in '{scope}' are not found: {problem}");
        let scores = way.scores(softmax).map_err(|problem| missing("queries and keys", problem))?;
        let factors = &graph.value(scores).inputs;
        let size = graph.shape(factors[0]).last().and_then(Dim::value).unwrap_or_default();
        let value_size = graph.shape(values).last().and_then(Dim::value).unwrap_or_default();
        let queries = way.projection(factors[0], size).map_err(|problem| missing("queries", problem))?;
        let keys = way.projection(factors[1], size).map_err(|problem| missing("keys", problem))?;
        let values = way.projection(values, value_size).map_err(|problem| missing("values", problem))?;
        let (heads, output) = way.output(product).map_err(|problem| missing("outputs", problem))?;
        let parts = [queries, keys, values, heads].map(|part| part.heads);
        if parts != [source.heads, keys.heads, keys.heads, source.heads] || !source.heads.is_multiple_of(keys.heads) {
            let parts = parts.map(|heads| heads.to_string()).join(", ");
            return Err(missing("heads", format!("queries, keys, values and outputs have {parts} of them")));
        }
        if output.size != source.hidden {
            return Err(missing("outputs", format!("they have {} numbers a token", output.size)));
        }
        Ok(Attention { queries, keys, values, heads, output })
    });
    layers.collect()
}

/// The values between the embeddings and the logits.
struct Way<'a> {
    graph: &'a Graph,
    path: Vec<Id>,
    on_path: Vec<bool>,
    /// Of each value those on the path that use it.
    users: Vec<Vec<Id>>,
}

impl<'a> Way<'a> {
    fn between(graph: &'a Graph, embeds: Id, logits: Id) -> Way<'a> {
        let depends = graph.descendants(embeds);
        let path: Vec<Id> = graph.ancestors(&[logits]).into_iter().filter(|id| depends[id.index()]).collect();
        let (mut on_path, mut users) = (vec![false; graph.len()], vec![Vec::new(); graph.len()]);
        for &id in &path {
            on_path[id.index()] = true;
            graph.value(id).inputs.iter().for_each(|input| users[input.index()].push(id));
        }
        Way { graph, path, on_path, users }
    }

    /// The inputs of a value that are on the path.
    fn inputs(&self, id: Id) -> impl Iterator<Item = Id> {
        self.graph.value(id).inputs.iter().copied().filter(|input| self.on_path[input.index()])
    }

    /// The product of queries and keys that a softmax is taken of.
    fn scores(&self, softmax: Id) -> Result<Id, String> {
        let mut id = softmax;
        loop {
            let value = self.graph.value(id);
            let mut inputs = self.inputs(id);
            match (inputs.next(), inputs.next(), &value.op) {
                (Some(_), Some(_), Op::MatMul) => return Ok(id),
                // Rows of the product are queries, as the softmax has them.
                (Some(_), None, Op::Transpose(order)) if order.last() != Some(&(order.len() - 1)) => {
                    return Err("the product that the softmax is taken of is turned".to_owned());
                }
                (Some(input), None, _) => id = input,
                _ => return Err(format!("{} leads to the softmax", value.op.name())),
            }
        }
    }

    /// Whether a value is a product of what is on the path with a weight.
    fn is_projection(&self, id: Id) -> bool {
        let value = self.graph.value(id);
        let on_path = |side: usize| value.inputs.get(side).is_some_and(|input| self.on_path[input.index()]);
        match value.op {
            Op::Linear(_) => on_path(0) && !on_path(1),
            Op::MatMul => on_path(0) && !on_path(1) && self.graph.shape(value.inputs[1]).len() == 2,
            _ => false,
        }
    }

    /// Numbers a token.
    fn width(&self, id: Id) -> Option<usize> {
        let tokens = Dim::symbol(BATCH).checked_mul(&Dim::symbol(SEQ))?;
        Dim::product(self.graph.shape(id))?.checked_div(&tokens)?.value()
    }

    /// What the projection gives that a factor of a product, heads of `size` elements, is made of.
    fn projection(&self, factor: Id, size: usize) -> Result<Projection, String> {
        let mut open = BinaryHeap::from([factor]);
        // From the factor to the product with a weight.
        let mut through = Vec::new();
        while let Some(id) = open.pop() {
            while open.peek() == Some(&id) {
                open.pop();
            }
            if open.is_empty() {
                through.push(id);
            }
            if self.is_projection(id) {
                if !open.is_empty() {
                    return Err("they are made of several products with weights".to_owned());
                }
                return self.among(&through, size);
            }
            open.extend(self.inputs(id));
        }
        Err("they are made of no product with a weight".to_owned())
    }

    /// The one that is nearest to the product with a weight and has no more numbers a token than any; with the bias.
    fn among(&self, through: &[Id], size: usize) -> Result<Projection, String> {
        let widths: Vec<Option<usize>> = through.iter().map(|&id| self.width(id)).collect();
        let width = widths.iter().flatten().min().copied().filter(|width| size > 0 && width.is_multiple_of(size));
        let width = width.ok_or_else(|| format!("they are no heads of {size} elements"))?;
        let at = widths.iter().rposition(|&found| found == Some(width)).unwrap_or_default();
        let mut value = through[at];
        for &id in through[..at].iter().rev() {
            match &self.graph.value(id).op {
                Op::Reshape(_) | Op::Transpose(_) | Op::Cast(_) => {}
                Op::Binary(Binary::Add) if self.graph.value(id).inputs.iter().any(|&id| self.is_bias(id)) => {
                    value = id;
                    break;
                }
                _ => break,
            }
        }
        // Where all numbers of a token are one axis, what splits it says in which order heads and their elements are.
        let split = through[..at].iter().rev().find(|&&id| {
            let numbers = self.graph.shape(id).iter().filter_map(Dim::value).filter(|&dim| dim != 1);
            matches!(self.graph.value(id).op, Op::Reshape(_)) && numbers.count() > 1
        });
        if let Some(shape) = split.map(|&id| self.graph.shape(id))
            && shape.last().and_then(Dim::value) != Some(size)
        {
            return Err(format!("they are split into {}", show(shape)));
        }
        self.laid_out(value, width, size)
    }

    /// A value, if its axes are a batch, tokens, heads and their elements, or some of them as one, in an order that
    /// [`by_token`] knows.
    fn laid_out(&self, value: Id, width: usize, size: usize) -> Result<Projection, String> {
        let (batch, seq) = (Dim::symbol(BATCH), Dim::symbol(SEQ));
        let shape = self.graph.shape(value);
        let tokens = batch.checked_mul(&seq);
        let rest: Option<Vec<usize>> = match shape {
            [first, rest @ ..] if Some(first) == tokens.as_ref() => rest.iter().map(Dim::value).collect(),
            [first, rest @ ..] if *first == batch => rest.iter().filter(|dim| **dim != seq).map(Dim::value).collect(),
            _ => None,
        };
        let rest: Option<Vec<usize>> = rest.map(|rest| rest.into_iter().filter(|&dim| dim != 1).collect());
        let fits = match rest.as_deref() {
            Some([all]) => *all == width && width.is_multiple_of(size.max(1)),
            Some([heads, elements]) => *elements == size && heads * elements == width,
            _ => false,
        };
        match fits {
            true => Ok(Projection { value, heads: width / size, size }),
            false => Err(format!("they are of shape {}", show(shape))),
        }
    }

    /// What the heads give, from the product of attention and values, and what the projection behind makes of it.
    fn output(&self, product: Id) -> Result<(Projection, Projection), String> {
        let size = self.graph.shape(product).last().and_then(Dim::value).unwrap_or_default();
        let only_user = |id: Id| match self.users[id.index()][..] {
            [user] => Ok(user),
            _ => Err("what the heads give is used more than once".to_owned()),
        };
        let mut heads = product;
        let mut output = loop {
            let user = only_user(heads)?;
            match self.graph.value(user).op {
                _ if self.is_projection(user) && self.graph.value(user).inputs[0] == heads => break user,
                Op::Reshape(_) | Op::Transpose(_) | Op::Cast(_) => heads = user,
                _ => return Err(format!("{} takes what the heads give", self.graph.value(user).op.name())),
            }
        };
        // A bias is no other value of one token than of another.
        if let Ok(user) = only_user(output)
            && self.graph.value(user).op == Op::Binary(Binary::Add)
            && self.graph.value(user).inputs.iter().all(|&id| id == output || self.is_bias(id))
        {
            output = user;
        }
        let width = |id: Id| self.width(id).ok_or_else(|| format!("they are of shape {}", show(self.graph.shape(id))));
        let all = width(output)?;
        Ok((self.laid_out(heads, width(heads)?, size)?, self.laid_out(output, all, all)?))
    }

    fn is_bias(&self, id: Id) -> bool {
        !self.on_path[id.index()] && self.graph.shape(id).iter().all(|dim| dim.value().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::op::{Unary, WeightLayout};
    use crate::onnx::{Dtype, Tensor};

    fn embeddings(g: &mut Graph) -> Id {
        g.input("x", Dtype::F32, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), 8.into()]).unwrap()
    }

    fn weight(g: &mut Graph, name: &str, shape: &[usize]) -> Id {
        g.input(name, Dtype::F32, shape.iter().map(|&size| size.into()).collect()).unwrap()
    }

    /// `[batch, seq, heads * 4]` to `[batch, heads, seq, 4]`.
    fn split(g: &mut Graph, x: Id, heads: usize) -> Id {
        let split = g.reshape(x, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), heads.into(), 4.into()]).unwrap();
        g.transpose(split, &[0, 2, 1, 3]).unwrap()
    }

    fn found(g: &Graph, x: Id, factor: Id) -> Result<(Id, usize, usize), String> {
        Way::between(g, x, factor).projection(factor, 4).map(|part| (part.value, part.heads, part.size))
    }

    #[test]
    fn projections_are_what_comes_before_norms_rotation_and_repetition() {
        let mut g = Graph::new();
        let x = embeddings(&mut g);
        let (own, bias) = (weight(&mut g, "w", &[8, 8]), weight(&mut g, "b", &[8]));
        let product = g.linear(x, own, None, WeightLayout::InOut).unwrap();
        let keys = g.plus(product, bias).unwrap();
        let heads = split(&mut g, keys, 2);
        // A norm of each head in primitives, then each repeated for two.
        let square = g.times(heads, heads).unwrap();
        let mean = g.mean_last(square).unwrap();
        let root = g.unary(Unary::Sqrt, mean).unwrap();
        let normed = g.divided(heads, root).unwrap();
        let grouped = g.unsqueeze(normed, 2).unwrap();
        let shape = vec![Dim::symbol(BATCH), 2.into(), 2.into(), Dim::symbol(SEQ), 4.into()];
        let repeated = g.add(Op::Expand(shape), &[grouped]).unwrap();
        let shape = vec![Dim::symbol(BATCH), 4.into(), Dim::symbol(SEQ), 4.into()];
        let repeated = g.reshape(repeated, shape).unwrap();
        assert_eq!(found(&g, x, repeated), Ok((keys, 2, 4)));
    }

    #[test]
    fn parts_of_fused_projections_are_where_they_are_cut() {
        let mut g = Graph::new();
        let x = embeddings(&mut g);
        let own = weight(&mut g, "w", &[8, 24]);
        let fused = g.linear(x, own, None, WeightLayout::InOut).unwrap();
        let keys = g.slice(fused, 2, 8, 16).unwrap();
        let heads = split(&mut g, keys, 2);
        assert_eq!(found(&g, x, heads), Ok((keys, 2, 4)));
        // Head by head.
        let all = split(&mut g, fused, 6);
        let part = g.slice(all, 1, 2, 4).unwrap();
        assert_eq!(found(&g, x, part), Ok((part, 2, 4)));
    }

    #[test]
    fn what_is_no_projection_says_why() {
        let mut g = Graph::new();
        let x = embeddings(&mut g);
        let (a, b) = (weight(&mut g, "a", &[8, 8]), weight(&mut g, "b", &[8, 8]));
        let (one, other) =
            (g.linear(x, a, None, WeightLayout::InOut).unwrap(), g.linear(x, b, None, WeightLayout::InOut).unwrap());
        let sum = g.plus(one, other).unwrap();
        let heads = split(&mut g, sum, 2);
        assert!(found(&g, x, heads).unwrap_err().contains("several products"));
        let two = g.constant(Tensor::float(2.0, Dtype::F32)).unwrap();
        let scaled = g.times(x, two).unwrap();
        assert!(found(&g, x, scaled).unwrap_err().contains("no product with a weight"));
        // Elements before heads.
        let turned = g.reshape(one, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), 4.into(), 2.into()]).unwrap();
        let heads = g.transpose(turned, &[0, 3, 1, 2]).unwrap();
        assert!(found(&g, x, heads).unwrap_err().contains("split into [batch, seq, 4, 2]"));
    }
}
