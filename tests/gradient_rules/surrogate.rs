//! Central differences, of the function itself and of what the knobs put in its place.
//!
//! A modified gradient at `x0` is the ordinary gradient of a surrogate that has the same values at `x0`: a product
//! `a b` becomes `a0 b0 + c ((a - a0) b0 + a0 (b - b0))`, a frozen statistic is the one at `x0`, and so on. The
//! surrogate is written here from the papers, works forwards only, and finds its sites by its own means.

use gim_harness::onnx::op::{Activation, Binary};
use gim_harness::onnx::{Graph, Id, Op};
use ndarray::{ArrayD, Axis};

use super::evaluator::{
    Data, Feeds, Sizes, Values, activation, compute, deviation, evaluate, matmul, pairwise, softmax,
};

/// The knobs, in f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub temperature: f64,
    pub freeze: f64,
    pub share: f64,
    pub path: f64,
    pub secant: f64,
    /// In the place of `share` at gates; none: the same.
    pub gate: Option<f64>,
}

pub const CALCULUS: Settings =
    Settings { temperature: 1.0, freeze: 0.0, share: 1.0, path: 1.0, secant: 0.0, gate: None };
pub const GIM: Settings = Settings { temperature: 2.0, freeze: 1.0, share: 0.5, ..CALCULUS };
pub const ATTN_LRP: Settings = Settings { freeze: 1.0, share: 0.5, secant: 1.0, ..CALCULUS };
pub const TRANSFORMER_LRP: Settings = Settings { freeze: 1.0, path: 0.0, ..CALCULUS };
pub const RELP: Settings = Settings { secant: 1.0, gate: Some(0.5), ..TRANSFORMER_LRP };

/// A score as a function of one input of its graph, at one point.
pub struct Function<'a> {
    graph: &'a Graph,
    source: Id,
    score: Id,
    feeds: &'a Feeds,
    sizes: &'a Sizes,
    /// Everything at the point.
    at: Values,
    /// What lies between the source and the score, in order.
    path: Vec<Id>,
    /// For each value, whether it changes with the source.
    moves: Vec<bool>,
    /// For each value, the softmax that it is the result of, rearranged, scaled or masked.
    weights: Vec<Option<Id>>,
    attention: Vec<bool>,
}

impl<'a> Function<'a> {
    pub fn new(graph: &'a Graph, source: Id, score: Id, feeds: &'a Feeds, sizes: &'a Sizes) -> Self {
        let at = evaluate(graph, &[score], feeds, sizes);
        let mut moves = vec![false; graph.len()];
        let mut weights = vec![None; graph.len()];
        let mut attention = vec![false; graph.len()];
        let mut path = Vec::new();
        moves[source.index()] = true;
        for id in graph.ancestors(&[score]) {
            let value = graph.value(id);
            if !value.inputs.iter().any(|input| moves[input.index()]) {
                continue;
            }
            moves[id.index()] = true;
            path.push(id);
            match value.op {
                Op::Softmax { .. } => weights[id.index()] = Some(id),
                Op::Reshape(_) | Op::Transpose(_) | Op::Expand(_) | Op::Cast(_) | Op::Slice { .. } => {
                    weights[id.index()] = weights[value.inputs[0].index()];
                }
                Op::MatMul | Op::Binary(Binary::Mul) if value.inputs.iter().all(|i| moves[i.index()]) => {
                    for softmax in value.inputs.iter().filter_map(|input| weights[input.index()]) {
                        attention[softmax.index()] = true;
                    }
                }
                // Scaled or masked by constants.
                Op::Binary(Binary::Mul | Binary::Div) | Op::Where => {
                    let moving: Vec<usize> =
                        (0..value.inputs.len()).filter(|&i| moves[value.inputs[i].index()]).collect();
                    let denominator = value.op == Op::Binary(Binary::Div) && moving == [1];
                    if let ([one], false) = (&moving[..], denominator) {
                        weights[id.index()] = weights[value.inputs[*one].index()];
                    }
                }
                _ => {}
            }
        }
        Function { graph, source, score, feeds, sizes, at, path, moves, weights, attention }
    }

    pub fn value(&self) -> f64 {
        self.at.real(self.score).sum()
    }

    pub fn point(&self) -> &ArrayD<f64> {
        self.at.real(self.source)
    }

    /// The gradient at the point as the settings modify it, by central differences; `None` where a kink is near.
    pub fn differences(&self, settings: Settings) -> Vec<Option<f64>> {
        // Of fourth order: at this step neither truncation nor rounding is seen in the first nine digits.
        const STEP: f64 = 1e-4;
        let here = self.moved(settings, 0, 0.0).1;
        (0..self.point().len())
            .map(|element| {
                let at = |steps: f64| self.moved(settings, element, steps * STEP);
                let results = [at(1.0), at(-1.0), at(2.0), at(-2.0)];
                let [(a, _), (b, _), (c, _), (d, _)] = results;
                let smooth = results.iter().all(|(_, decisions)| *decisions == here);
                smooth.then(|| (8.0 * (a - b) - (c - d)) / (12.0 * STEP))
            })
            .collect()
    }

    /// The score's sum, with one element of the source moved, and the decisions on the way.
    fn moved(&self, settings: Settings, element: usize, by: f64) -> (f64, u64) {
        let mut point = self.point().clone();
        *point.iter_mut().nth(element).unwrap() += by;
        let mut values = self.at.clone();
        values.set(self.source, Data::Real(point));
        for &id in &self.path {
            match self.replaced(settings, id, &values) {
                Some(array) => values.set(id, Data::Real(array)),
                None => compute(self.graph, id, self.feeds, self.sizes, &mut values),
            }
        }
        (values.real(self.score).sum(), values.decisions())
    }

    /// What the settings put in the place of an operator; `None` where that is the operator itself.
    fn replaced(&self, settings: Settings, id: Id, now: &Values) -> Option<ArrayD<f64>> {
        let Settings { temperature, freeze, share, path, secant, gate } = settings;
        let value = self.graph.value(id);
        let before = |i: usize| self.at.real(value.inputs[i]);
        let after = |i: usize| now.real(value.inputs[i]);
        match &value.op {
            _ if settings == CALCULUS => None,
            Op::MatMul | Op::Binary(Binary::Mul) if value.inputs.iter().all(|i| self.moves[i.index()]) => {
                let product = |a: &ArrayD<f64>, b: &ArrayD<f64>| match value.op {
                    Op::MatMul => matmul(a, b),
                    _ => pairwise(a, b, |a, b| a * b),
                };
                let is_weights = |i: usize| self.weights[value.inputs[i].index()].is_some();
                let open = |i: usize| if is_weights(i) { path } else { 1.0 };
                let gated = value.op != Op::MatMul && !is_weights(0) && !is_weights(1);
                let share = gate.filter(|_| gated).unwrap_or(share);
                let left = product(&(after(0) - before(0)), before(1)) * (share * open(0));
                let right = product(before(0), &(after(1) - before(1))) * (share * open(1));
                Some(product(before(0), before(1)) + left + right)
            }
            Op::Softmax { axis } if self.attention[id.index()] => {
                let p = softmax(&(before(0) / temperature), *axis);
                let moved = after(0) - before(0);
                let mean = (&p * &moved).sum_axis(Axis(*axis)).insert_axis(Axis(*axis));
                Some(self.at.real(id) + &p * &(moved - mean))
            }
            Op::RmsNorm { eps } => Some(half_frozen(before(0), after(0), before(1), None, eps.get(), freeze)),
            Op::LayerNorm { eps } => {
                Some(half_frozen(before(0), after(0), before(1), Some(before(2)), eps.get(), freeze))
            }
            Op::Activation(kind) => Some(pairwise(before(0), after(0), |&x0, &x| {
                let line = activation(*kind, x0) + ratio(*kind, x0) * (x - x0);
                (1.0 - secant) * activation(*kind, x) + secant * line
            })),
            _ => None,
        }
    }
}

/// `act(x) / x`.
fn ratio(kind: Activation, x: f64) -> f64 {
    match kind {
        _ if x != 0.0 => activation(kind, x) / x,
        Activation::Relu => 0.0,
        _ => 0.5,
    }
}

/// A norm whose scale moves only by `1 - freeze` of what it should.
fn half_frozen(
    before: &ArrayD<f64>,
    after: &ArrayD<f64>,
    weight: &ArrayD<f64>,
    bias: Option<&ArrayD<f64>>,
    eps: f64,
    freeze: f64,
) -> ArrayD<f64> {
    let last = Axis(before.ndim() - 1);
    let center = |x: &ArrayD<f64>| match bias {
        Some(_) => x - &x.mean_axis(last).unwrap().insert_axis(last),
        None => x.clone(),
    };
    let scale = |x: &ArrayD<f64>| x.map_axis(last, |lane| 1.0 / deviation(lane.iter(), eps)).insert_axis(last);
    let (before, after) = (center(before), center(after));
    let scale = scale(&before) * freeze + scale(&after) * (1.0 - freeze);
    let normed = after * &scale * weight;
    match bias {
        Some(bias) => normed + bias,
        None => normed,
    }
}
