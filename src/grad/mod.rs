//! Reverse mode on a graph, with the modifications of GIM and its family as run-time knobs.
//!
//! The driver here alone knows reachability, accumulation and un-broadcasting. A rule ([`rules`]) turns the gradient of
//! one operator's output into those of its inputs, in the output's broadcast shape. What a rule may depart from
//! calculus on is decided by the sites ([`sites`]) that were found before, and all of it is recorded in the [`Audit`].

pub mod audit;
pub mod knobs;
pub mod rules;
pub mod sites;

pub use audit::{Audit, Site, SiteKind};
pub use knobs::{KnobInputs, Knobs};

use std::collections::HashMap;

use crate::onnx::expand::sum_to;
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
        let results = rule(&mut Vjp { graph, id, value: &value, gradient, needed: &needed, knobs, sites: &sites })?;
        for ((input, needed), result) in inputs.into_iter().zip(needed).zip(results) {
            let (true, Some(result)) = (needed, result) else { continue };
            let shape: Vec<Dim> = graph.shape(input).to_vec();
            let summed = sum_to(graph, result, &shape)?;
            pending[input.index()].push(summed);
        }
    }
    let gradients = targets.iter().map(|target| found.get(target).copied().ok_or(GradError::Independent));
    Ok((gradients.collect::<Result<_, _>>()?, sites.into_audit(graph)))
}

/// The sum of what flows into one value, from all that uses it.
fn accumulate(graph: &mut Graph, parts: &[Id]) -> Result<Option<Id>, GraphError> {
    if let Some(joined) = joined(graph, parts)? {
        return Ok(Some(joined));
    }
    let Some((&first, rest)) = parts.split_first() else { return Ok(None) };
    rest.iter().try_fold(first, |sum, &part| graph.plus(sum, part)).map(Some)
}

/// Slices that make up the whole of a value (fused projections) give gradients that are zero outside of them: put side
/// by side rather than padded and added.
fn joined(graph: &mut Graph, parts: &[Id]) -> Result<Option<Id>, GraphError> {
    let mut axis = None;
    let mut pieces = Vec::with_capacity(parts.len());
    for &part in parts {
        let value = graph.value(part);
        let Op::Pad { axis: own, before, after } = value.op else { return Ok(None) };
        if *axis.get_or_insert(own) != own {
            return Ok(None);
        }
        let Some(size) = value.shape[own].value() else { return Ok(None) };
        pieces.push((before, size - after, size, value.inputs[0]));
    }
    pieces.sort_unstable();
    let (Some(axis), Some(&(.., size, _))) = (axis, pieces.first()) else { return Ok(None) };
    let end = pieces.iter().try_fold(0, |at, &(start, end, ..)| (start == at).then_some(end));
    if pieces.len() < 2 || end != Some(size) {
        return Ok(None);
    }
    let pieces: Vec<Id> = pieces.into_iter().map(|(.., piece)| piece).collect();
    graph.concat(&pieces, axis).map(Some)
}
