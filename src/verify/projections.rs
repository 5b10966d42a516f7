//! The check of the projections of attention, and of the gradients behind it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ndarray::{ArrayD, Axis, IxDyn};
use rand_chacha::ChaCha8Rng;

use super::checks::{DERIVATIVE, FAULT, largest, ratio, row_deviation};
use super::exact::{Exact, one};
use super::inside::{Expected, Inside, Of, inputs, movement};
use super::reference::array::Value;
use super::reference::machine::{Edits, Feeds};
use super::reference::program::{Operator, Program};
use super::reference::sites::{Role, Sites};
use super::reference::tangents::{Beginnings, inner};
use super::{Check, VerifyError};
use crate::grad::Knobs;
use crate::onnx::op::Binary;
use crate::runtime::Graph;

impl Inside {
    /// Attention knows nothing but its queries, keys and values: where those of one layer are given to it as they are of another
    /// prompt, its weights, and what it mixes, are that prompt's. And they are products with weights, only cut and moved.
    pub(super) fn projections(&mut self, of: &Of, graph: &Exact, random: &mut ChaCha8Rng) -> Result<(), VerifyError> {
        let names = ["score", "queries", "keys", "values", "heads_gradient", "output_gradient"];
        let found = of.outputs(graph, &of.feeds, &names)?;
        let program = &graph.program;
        let (sites, steps) = (graph.sites()?, Steps::find(graph)?);
        let layers = of.bundle.manifest.dimensions.layers;
        let all = steps.attention.len() == layers && steps.sound(program);
        let mut deviations = vec![row_deviation(&found[0], &of.evidence.scores()[0])];
        if all {
            deviations.extend(exchanged(of, graph, &steps)?);
        }
        self.checks.push(Check {
            name: "projections",
            description: "queries, keys and values of attention_projections.onnx, given to a layer as they are of another \
                          prompt, against that prompt's attention, in double precision",
            measured: if all { largest(deviations) } else { f64::NAN },
            tolerance: of.evidence.exact(),
            advice: FAULT,
        });

        // What the heads give, and what the projection behind makes of it, move by themselves at the scored position.
        let sample = &of.evidence.sample;
        let mut expected = (0.0, 0.0);
        let mut beginnings = Beginnings::new();
        for (ends, gradients) in [(&steps.heads, &found[4]), (&steps.outputs, &found[5])] {
            for (&step, gradient) in ends.iter().zip(gradients.outer_iter()) {
                let gradient = gradient.to_owned();
                let moves = movement(&gradient, random);
                let (sum, terms) = inner(&gradient, &moves);
                (expected.0, expected.1) = (expected.0 + sum, expected.1 + terms);
                let width = gradient.len() / sample.lengths.len();
                let mut placed = ArrayD::zeros(IxDyn(&[sample.lengths.len(), sample.width(), width]));
                for (row, moves) in moves.outer_iter().enumerate() {
                    let place = sample.position[row] as usize;
                    moves.iter().enumerate().for_each(|(at, &x)| placed[[row, place, at]] = x);
                }
                beginnings.insert(step, vec![placed]);
            }
        }
        let moved = graph.moved(&of.machine, &of.feeds, &sites, &beginnings, "score", &of.knobs)?;
        let all = steps.heads.len() == layers && steps.outputs.len() == layers;
        self.checks.push(Check {
            name: "gradient behind attention",
            description: "gradients of what the heads give and of what the projection behind them gives, against the derivative \
                          by forward mode, in double precision",
            measured: if all { ratio((moved.output[0].sum() - expected.0).abs(), expected.1) } else { f64::NAN },
            tolerance: DERIVATIVE + of.evidence.exact(),
            advice: FAULT,
        });
        let knobs = Graph::AttentionProjections.inputs().iter().chain(&Knobs::NAMES).copied();
        self.expected.push(Expected {
            graph: Graph::AttentionProjections,
            inputs: inputs(&of.feeds, &knobs.collect::<Vec<_>>()),
            outputs: of.with_single(graph, &of.feeds, &names, found)?,
        });
        Ok(())
    }
}

/// The steps of attention, by layer.
struct Steps {
    softmax: Vec<usize>,
    attention: Vec<Factors>,
    /// The products of attention weights and values.
    mixed: Vec<usize>,
    /// What is multiplied by the weight behind the heads, and what that gives.
    heads: Vec<usize>,
    outputs: Vec<usize>,
}

/// Queries, keys and values as the outputs of the graph have them, and the factors of the product that becomes scores.
struct Factors {
    queries: usize,
    keys: usize,
    values: usize,
    product: [usize; 2],
}

impl Steps {
    fn find(graph: &Exact) -> Result<Steps, VerifyError> {
        let program = &graph.program;
        let sites = graph.sites()?;
        let score = graph.output("score")?;
        let forwards = program.needed(&[score]);
        let queries = graph.layers("queries")?.into_iter().map(|row| {
            // A row of them is a product with zeros and a one.
            let product = uncast(program, row);
            let all = match program.steps[product].operator {
                Operator::MatMul => program.steps[product].inputs[1],
                _ => row,
            };
            unmoved(program, all)
        });
        let of_tokens = |name| Ok::<_, VerifyError>(graph.layers(name)?.into_iter().map(|id| unmoved(program, id)));
        let parts = queries.zip(of_tokens("keys")?).zip(of_tokens("values")?);
        let softmax = sites.attention.clone();
        let attention = parts.zip(&softmax).filter_map(|(((queries, keys), values), &softmax)| {
            Some(Factors { queries, keys, values, product: scores(program, &sites, softmax)? })
        });
        let attention = attention.collect();
        let is_mixed = |id: &usize| matches!(sites.roles[*id], Role::Product { attention: [true, false], .. });
        let mixed: Vec<usize> = (0..program.steps.len()).filter(is_mixed).collect();
        let (heads, outputs) = mixed.iter().filter_map(|&id| projected(program, &forwards, id)).unzip();
        Ok(Steps { softmax, attention, mixed, heads, outputs })
    }

    /// Whether queries, keys and values are products with weights, and each is where its name says.
    fn sound(&self, program: &Program) -> bool {
        self.mixed.len() == self.attention.len()
            && self.attention.iter().all(|Factors { queries, keys, values, product }| {
                let [left, right] = product.map(|factor| program.needed(&[factor]));
                [queries, keys, values].into_iter().all(|&id| is_projection(program, id))
                    && (left[*queries], left[*keys], right[*queries], right[*keys]) == (true, false, false, true)
            })
    }
}

/// How far attention is from that of another prompt when it is given that one's projections.
fn exchanged(of: &Of, graph: &Exact, steps: &Steps) -> Result<Vec<f64>, VerifyError> {
    let mut other = of.by_layer.clone();
    let embeds = other.get("inputs_embeds").and_then(|lanes| lanes.first()).cloned();
    let embeds = embeds.as_ref().and_then(|embeds| embeds.real().ok());
    let mut embeds = embeds.cloned().unwrap_or_default();
    // The same tokens from behind, padding and all, which the mask still hides.
    embeds.invert_axis(Axis(1));
    other.insert("inputs_embeds", one(Value::Real(embeds.as_standard_layout().into_owned())));
    let parts = |of: fn(&Factors) -> usize| steps.attention.iter().map(of).collect::<Vec<usize>>();
    let (queries, keys, values) = (parts(|part| part.queries), parts(|part| part.keys), parts(|part| part.values));
    let (softmax, mixed) = (&steps.softmax[..], &steps.mixed[..]);
    let none = Rows::new();
    let theirs = rows_by_layer(of, graph, &other, &[], &none, &[&queries, &keys, &values, softmax, mixed])?;
    let weights = rows_by_layer(of, graph, &of.by_layer, &[&queries, &keys], &theirs, &[softmax])?;
    let mixed = rows_by_layer(of, graph, &of.by_layer, &[softmax, &values], &theirs, &[mixed])?;
    let deviation = |(step, own): (&usize, &Vec<f64>)| theirs.get(step).map_or(f64::NAN, |their| relative(own, their));
    let deviations: Vec<f64> = weights.iter().chain(&mixed).map(deviation).collect();
    // One of every layer and kind.
    Ok(if deviations.len() == 2 * steps.attention.len() { deviations } else { vec![f64::NAN] })
}

/// Of steps, one for each layer, the row of that layer's prompt.
type Rows = BTreeMap<usize, Vec<f64>>;

/// The rows of `kept` when those of `given` are what `rows` has. No more is held: a deep model has as many prompts as layers.
fn rows_by_layer(
    of: &Of,
    graph: &Exact,
    feeds: &Feeds,
    given: &[&[usize]],
    rows: &Rows,
    kept: &[&[usize]],
) -> Result<Rows, VerifyError> {
    let found = RefCell::new(Rows::new());
    let mut edits = Edits::new();
    for ids in given {
        for (layer, id) in ids.iter().enumerate() {
            let Some(row) = rows.get(id) else { continue };
            edits.insert(*id, Box::new(move |own: &ArrayD<f64>| with_row(own, row, layer, ids.len())));
        }
    }
    for ids in kept {
        for (layer, &id) in ids.iter().enumerate() {
            let found = &found;
            let keep = move |own: &ArrayD<f64>| {
                found.borrow_mut().insert(id, row_of(own, layer, ids.len()));
                own.clone()
            };
            edits.insert(id, Box::new(keep));
        }
    }
    let last: Vec<usize> = kept.iter().filter_map(|ids| ids.last().copied()).collect();
    graph.edited(&of.machine, feeds, &last, &edits)?;
    drop(edits);
    Ok(found.into_inner())
}

/// The numbers of one row of a batch, which is the first axis, or the slower part of it.
fn row_of(array: &ArrayD<f64>, row: usize, rows: usize) -> Vec<f64> {
    let size = array.len() / rows.max(1);
    array.iter().skip(row * size).take(size).copied().collect()
}

/// An array with other numbers in one row of its batch.
fn with_row(own: &ArrayD<f64>, other: &[f64], row: usize, rows: usize) -> ArrayD<f64> {
    let mut own = own.as_standard_layout().into_owned();
    let size = own.len() / rows.max(1);
    own.iter_mut().skip(row * size).take(size).zip(other).for_each(|(own, other)| *own = *other);
    own
}

fn relative(own: &[f64], their: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    ratio(norm(&mut own.iter().zip(their).map(|(a, b)| a - b)), norm(&mut their.iter().copied()))
}

/// The value before it was given other types.
fn uncast(program: &Program, mut id: usize) -> usize {
    while let (Operator::Cast(_), Some(&input)) = (&program.steps[id].operator, program.steps[id].inputs.first()) {
        id = input;
    }
    id
}

/// The value before its axes were split, joined and moved, whatever types it was given on the way.
fn unmoved(program: &Program, mut id: usize) -> usize {
    while let (Operator::Reshape | Operator::Same | Operator::Transpose(_) | Operator::Cast(_), Some(&input)) =
        (&program.steps[id].operator, program.steps[id].inputs.first())
    {
        id = input;
    }
    id
}

/// The factors of the product of which a softmax is taken.
fn scores(program: &Program, sites: &Sites, softmax: usize) -> Option<[usize; 2]> {
    let reached = program.made_from("inputs_embeds");
    let mut id = softmax;
    loop {
        let step = &program.steps[id];
        if let (Role::Product { .. }, &[left, right]) = (sites.roles[id], &step.inputs[..]) {
            return Some([left, right]);
        }
        id = *step.inputs.iter().find(|input| reached[**input])?;
    }
}

/// Whether a value is of a weight alone, whatever was cut and moved in it.
fn is_weight(program: &Program, id: usize) -> bool {
    let step = &program.steps[id];
    match step.operator {
        Operator::Known(_) => true,
        Operator::Reshape | Operator::Same | Operator::Transpose(_) | Operator::Slice | Operator::Cast(_) => {
            step.inputs.first().is_some_and(|&input| is_weight(program, input))
        }
        _ => false,
    }
}

/// Whether a value is a product with a weight, with its bias, cut and moved.
fn is_projection(program: &Program, id: usize) -> bool {
    let step = &program.steps[id];
    let known = |input: &usize| is_weight(program, *input);
    match &step.operator {
        Operator::Gemm { .. } | Operator::MatMul => step.inputs.get(1).is_some_and(known),
        Operator::Reshape | Operator::Same | Operator::Transpose(_) | Operator::Slice | Operator::Cast(_) => {
            step.inputs.first().is_some_and(|&input| is_projection(program, input))
        }
        Operator::Binary(Binary::Add) => match step.inputs[..] {
            [a, b] if known(&b) => is_projection(program, a),
            [a, b] if known(&a) => is_projection(program, b),
            _ => false,
        },
        // A product written as two halves.
        Operator::Concat { .. } => step.inputs.iter().all(|&input| is_projection(program, input)),
        _ => false,
    }
}

/// What is multiplied by the weight behind a product of attention and values, and what that gives.
fn projected(program: &Program, forwards: &[bool], mut id: usize) -> Option<(usize, usize)> {
    loop {
        let users: Vec<usize> = (id..program.steps.len())
            .filter(|&user| forwards[user] && program.steps[user].inputs.contains(&id))
            .collect();
        match (&users[..], users.first().map(|&user| &program.steps[user].operator)?) {
            (&[user], Operator::Reshape | Operator::Same | Operator::Transpose(_) | Operator::Cast(_)) => id = user,
            (&[user], Operator::Gemm { .. } | Operator::MatMul) if is_projection(program, user) => {
                return Some((id, user));
            }
            // Halves of one product, side by side.
            (halves, Operator::Gemm { .. }) => {
                let joined =
                    (0..program.steps.len()).find(|&user| forwards[user] && program.steps[user].inputs == halves)?;
                return Some((id, joined));
            }
            _ => return None,
        }
    }
}
