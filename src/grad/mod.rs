//! Reverse mode on a graph, with the modifications of GIM and its family as run-time knobs.
//!
//! The driver here alone knows reachability, accumulation, un-broadcasting and which scalars wait. A rule ([`rules`]) turns
//! the gradient of one operator's output into those of its inputs, in the output's broadcast shape. What a rule may depart from
//! calculus on is decided by the sites ([`sites`]) that were found before, and all of it is recorded in the [`Audit`].

pub mod audit;
pub mod knobs;
pub mod rules;
pub mod sites;

pub use audit::{Audit, Site, SiteKind};
pub use knobs::{KnobInputs, Knobs};

use std::collections::HashMap;

use crate::onnx::expand::sum_to;
use crate::onnx::op::Binary;
use crate::onnx::{Dim, Graph, GraphError, Id, Op, Tensor};
use rules::Vjp;
use sites::Sites;

#[derive(Debug, thiserror::Error)]
pub enum GradError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(
        "{operator} in '{scope}' has no gradient rule, and needs one: the score depends on the embeddings through it{detail}"
    )]
    NoRule { operator: String, scope: String, detail: String },
    #[error("the score does not depend on the embeddings")]
    Independent,
    #[error(
        "no {kind} was found, so the rule for it would change nothing; \
         a model whose {kind} goes unrecognised would be explained by a different method than its name says"
    )]
    NoSite { kind: SiteKind },
}

/// What [`differentiate`] gives.
pub struct Derivative {
    /// The (modified) gradient, in the shape of what it was taken with respect to.
    pub gradient: Id,
    pub audit: Audit,
}

/// The gradient of `sum(score)` with respect to `source`, by the rules that `knobs` modify.
///
/// `graph` grows by the backward pass. Every kind of site in `required` must occur.
pub fn differentiate(
    graph: &mut Graph,
    score: Id,
    source: Id,
    knobs: &KnobInputs,
    required: &[SiteKind],
) -> Result<Derivative, GradError> {
    let (gradients, audit) = differentiate_at(graph, score, source, &[source], knobs, required)?;
    let gradient = gradients.first().copied().ok_or(GradError::Independent)?;
    Ok(Derivative { gradient, audit })
}

/// The gradients of `sum(score)` with respect to values between `source` and it, in their order, by the same rules; the
/// audit is that of the whole way from `source`.
///
/// # Errors
/// [`GradError::Independent`] also where the score does not depend on one of them, or one not on the source.
pub fn differentiate_at(
    graph: &mut Graph,
    score: Id,
    source: Id,
    targets: &[Id],
    knobs: &KnobInputs,
    required: &[SiteKind],
) -> Result<(Vec<Id>, Audit), GradError> {
    differentiate_around(graph, score, source, targets, knobs, required, &[])
}

/// A way around a part of the graph, for gradients alone.
pub struct Detour {
    /// What enters the part, of the same shape as what leaves it.
    pub before: Id,
    pub behind: Id,
    /// Where the way is taken, bool, of a shape that broadcasts to theirs.
    pub taken: Id,
}

/// The same, where the gradient with respect to what leaves a part of the graph may go around it to what enters it.
///
/// # Errors
/// As [`differentiate_at`].
pub fn differentiate_around(
    graph: &mut Graph,
    score: Id,
    source: Id,
    targets: &[Id],
    knobs: &KnobInputs,
    required: &[SiteKind],
    detours: &[Detour],
) -> Result<(Vec<Id>, Audit), GradError> {
    let depends = graph.descendants(source);
    if !depends[score.index()] {
        return Err(GradError::Independent);
    }
    let path: Vec<Id> = graph.ancestors(&[score]).into_iter().filter(|id| depends[id.index()]).collect();
    let sites = Sites::find(graph, &path);
    for &kind in required {
        if sites.count(kind) == 0 {
            return Err(GradError::NoSite { kind });
        }
    }

    let mut pending: Vec<Vec<Id>> = vec![Vec::new(); graph.len()];
    let one = graph.constant(Tensor::float(1.0, graph.dtype(score)))?;
    let shape = graph.shape(score).to_vec();
    pending[score.index()].push(graph.add(Op::Expand(shape), &[one])?);

    // What lies before the first of them is not walked through.
    let first = targets.iter().min().copied().unwrap_or(source);
    let mut found: HashMap<Id, Id> = HashMap::new();
    for &id in path.iter().rev().take_while(|&&id| id >= first) {
        let Some(mut gradient) = accumulate(graph, &pending[id.index()])? else { continue };
        if targets.contains(&id) {
            found.insert(id, gradient);
        }
        if id == first {
            break;
        }
        let value = graph.value(id).clone();
        graph.set_scope(&format!("gradient/{}", value.scope));
        for detour in detours.iter().filter(|detour| detour.behind == id) {
            let nothing = graph.scalar(0.0, gradient)?;
            let around = graph.choose(detour.taken, gradient, nothing)?;
            pending[detour.before.index()].push(around);
            gradient = graph.choose(detour.taken, nothing, gradient)?;
        }
        let needed: Vec<bool> = value.inputs.iter().map(|input| depends[input.index()]).collect();
        let Some(rule) = rules::rule(&value.op) else {
            return Err(GradError::NoRule {
                operator: value.op.name(),
                scope: value.scope.to_string(),
                detail: String::new(),
            });
        };
        let inputs = value.inputs.clone();
        // A cast would have the scalars cast as well.
        let (gradient, factors) = match value.op {
            Op::Cast(_) => (gradient, Vec::new()),
            _ => without_factors(graph, gradient),
        };
        let results = rule(&mut Vjp { graph, id, value: &value, gradient, needed: &needed, knobs, sites: &sites })?;
        for ((input, needed), result) in inputs.into_iter().zip(needed).zip(results) {
            let (true, Some(result)) = (needed, result) else { continue };
            let shape: Vec<Dim> = graph.shape(input).to_vec();
            let summed = sum_to(graph, result, &shape)?;
            pending[input.index()].push(times_factors(graph, summed, &factors)?);
        }
    }
    let gradients = targets.iter().map(|target| found.get(target).copied().ok_or(GradError::Independent));
    Ok((gradients.collect::<Result<_, _>>()?, sites.into_audit(graph)))
}

/// What a gradient is made of, and the scalars that it is multiplied by, ascending.
///
/// Every rule is linear in the gradient, so a scalar (a share, a scale) can wait until gradients with different ones meet. It is
/// then multiplied by once, after a product that makes a wide gradient narrow, and after an attention that is left in both
/// directions, rather than at each operator that has one. By a power of two, as all named settings have, the bits are the same.
fn without_factors(graph: &Graph, gradient: Id) -> (Id, Vec<Id>) {
    let (mut rest, mut factors) = (gradient, Vec::new());
    while let Some((x, factor)) = scalar_product(graph, rest) {
        let Some(of_it) = scalars_of(graph, factor, MOST_FACTORS - factors.len()) else { break };
        rest = x;
        factors.extend(of_it);
    }
    factors.sort_unstable();
    (rest, factors)
}

/// No more scalars than this wait: in a file made by others, the number of them may double at every operator.
const MOST_FACTORS: usize = 8;

/// `x` and `s` of an element-wise product that is `x s` with a scalar `s`, in the shape of `x`.
fn scalar_product(graph: &Graph, id: Id) -> Option<(Id, Id)> {
    let value = graph.value(id);
    let (Op::Binary(Binary::Mul), &[a, b]) = (&value.op, &value.inputs[..]) else { return None };
    let is_scalar = |id: Id| graph.shape(id).is_empty();
    match (is_scalar(a), is_scalar(b)) {
        (false, true) => Some((a, b)),
        (true, false) => Some((b, a)),
        _ => None,
    }
}

/// The scalars that a scalar is the product of, but for 1; none where they are more than so many.
fn scalars_of(graph: &Graph, scalar: Id, most: usize) -> Option<Vec<Id>> {
    let (mut found, mut open) = (Vec::new(), vec![scalar]);
    while let Some(scalar) = open.pop() {
        let value = graph.value(scalar);
        match (&value.op, &value.inputs[..]) {
            (Op::Binary(Binary::Mul), &[a, b]) => open.extend([a, b]),
            _ if graph.as_scalar(scalar) == Some(1.0) => {}
            _ => found.push(scalar),
        }
        if found.len() + open.len() > most {
            return None;
        }
    }
    Some(found)
}

/// The product with scalars, which are multiplied by each other first: once a graph, since equal products are one value.
fn times_factors(graph: &mut Graph, x: Id, factors: &[Id]) -> Result<Id, GraphError> {
    let Some((&first, rest)) = factors.split_first() else { return Ok(x) };
    let product = rest.iter().try_fold(first, |product, &factor| graph.times(product, factor))?;
    graph.times(x, product)
}

/// The sum of what flows into one value, from all that uses it.
fn accumulate(graph: &mut Graph, parts: &[Id]) -> Result<Option<Id>, GraphError> {
    let mut bare: Vec<(Id, Vec<Id>)> = parts.iter().map(|&part| without_factors(graph, part)).collect();
    let Some((_, shared)) = bare.first().cloned() else { return Ok(None) };
    let alike = bare.iter().all(|(_, factors)| *factors == shared);
    if alike {
        bare.iter_mut().for_each(|(_, factors)| factors.clear());
    }
    let sum = match joined(graph, &bare)? {
        Some(joined) => joined,
        None => {
            let parts = bare.iter().map(|(part, factors)| times_factors(graph, *part, factors));
            let parts: Vec<Id> = parts.collect::<Result<_, _>>()?;
            parts[1..].iter().try_fold(parts[0], |sum, &part| graph.plus(sum, part))?
        }
    };
    times_factors(graph, sum, if alike { &shared } else { &[] }).map(Some)
}

/// Slices that make up the whole of a value (fused projections) give gradients that are zero outside of them: put side
/// by side rather than padded and added.
fn joined(graph: &mut Graph, parts: &[(Id, Vec<Id>)]) -> Result<Option<Id>, GraphError> {
    let mut axis = None;
    let mut pieces = Vec::with_capacity(parts.len());
    for (part, factors) in parts {
        let value = graph.value(*part);
        let Op::Pad { axis: own, before, after } = value.op else { return Ok(None) };
        if *axis.get_or_insert(own) != own {
            return Ok(None);
        }
        let Some(size) = value.shape[own].value() else { return Ok(None) };
        pieces.push((before, size - after, size, value.inputs[0], factors));
    }
    pieces.sort_unstable();
    let (Some(axis), Some(&(_, _, size, ..))) = (axis, pieces.first()) else { return Ok(None) };
    let end = pieces.iter().try_fold(0, |at, &(start, end, ..)| (start == at).then_some(end));
    if pieces.len() < 2 || end != Some(size) {
        return Ok(None);
    }
    let pieces = pieces.into_iter().map(|(.., piece, factors)| times_factors(graph, piece, factors));
    let pieces: Vec<Id> = pieces.collect::<Result<_, _>>()?;
    graph.concat(&pieces, axis).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Dtype;

    /// A graph with two values `[2, 3]` and two scalars.
    fn parts() -> (Graph, [Id; 4]) {
        let mut graph = Graph::new();
        let mut input = |name, shape: &[usize]| {
            graph.input(name, Dtype::F32, shape.iter().copied().map(Dim::known).collect()).unwrap()
        };
        let ids = [input("a", &[2, 3]), input("b", &[2, 3]), input("s", &[]), input("t", &[])];
        (graph, ids)
    }

    #[test]
    fn a_scalar_of_all_parts_multiplies_their_sum() {
        let (mut graph, [a, b, s, t]) = parts();
        // The same two scalars in another order, and one that changes nothing.
        let one = graph.scalar(1.0, a).unwrap();
        let (sa, tb) = (graph.times(a, s).unwrap(), graph.times(t, b).unwrap());
        let (sa, tb) = (graph.times(sa, t).unwrap(), graph.times(tb, s).unwrap());
        let tb = graph.times(tb, one).unwrap();
        let sum = accumulate(&mut graph, &[sa, tb]).unwrap().unwrap();
        let bare = graph.plus(a, b).unwrap();
        assert_eq!(without_factors(&graph, sum), (bare, vec![s, t]));
        let both = graph.times(s, t).unwrap();
        assert_eq!(graph.value(sum).inputs, [bare, both], "by one product of the scalars");
    }

    #[test]
    fn scalars_that_differ_stay_with_their_parts() {
        let (mut graph, [a, b, s, t]) = parts();
        let (sa, tb) = (graph.times(a, s).unwrap(), graph.times(b, t).unwrap());
        let sum = accumulate(&mut graph, &[sa, tb]).unwrap().unwrap();
        assert_eq!(graph.value(sum).inputs, [sa, tb]);
        assert_eq!(without_factors(&graph, sum), (sum, vec![]));
        // Nor does the product of two activations have a scalar.
        let product = graph.times(a, b).unwrap();
        assert_eq!(without_factors(&graph, product), (product, vec![]));
    }

    #[test]
    fn products_of_many_scalars_are_left_as_they_are() {
        let (mut graph, [a, _, s, t]) = parts();
        let mut power = s;
        for _ in 0..64 {
            power = graph.times(power, power).unwrap();
        }
        let product = graph.times(a, power).unwrap();
        assert_eq!(without_factors(&graph, product), (product, vec![]));
        let again = graph.times(product, t).unwrap();
        assert_eq!(without_factors(&graph, again), (product, vec![t]));
        let chain = (0..100).fold(a, |x, _| graph.times(x, t).unwrap());
        let (rest, factors) = without_factors(&graph, chain);
        assert_eq!((rest == a, factors), (false, vec![t; MOST_FACTORS]));
    }

    #[test]
    fn slices_of_a_fused_projection_are_joined_whatever_their_shares() {
        let (mut graph, [a, b, s, t]) = parts();
        let mut padded = |piece, before| graph.add(Op::Pad { axis: 1, before, after: 3 - before }, &[piece]).unwrap();
        let (first, second) = (padded(a, 0), padded(b, 3));
        let (sa, tb) = (graph.times(a, s).unwrap(), graph.times(b, t).unwrap());
        let parts = [graph.times(second, t).unwrap(), graph.times(first, s).unwrap()];
        let whole = accumulate(&mut graph, &parts).unwrap().unwrap();
        assert_eq!(graph.value(whole).op, Op::Concat { axis: 1 });
        assert_eq!(graph.value(whole).inputs, [sa, tb]);
        let parts = [graph.times(second, s).unwrap(), graph.times(first, s).unwrap()];
        let whole = accumulate(&mut graph, &parts).unwrap().unwrap();
        let joined = graph.concat(&[a, b], 1).unwrap();
        assert_eq!(graph.value(whole).inputs, [joined, s]);
    }
}
