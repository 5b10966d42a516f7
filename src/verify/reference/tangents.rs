//! Derivatives by forward mode: how a score moves when its input moves in one direction, and what the knobs make of it.
//!
//! A backward rule is the transpose of how its operator hands on a movement. Here movements are handed on from the
//! embeddings to the score, in double precision, by rules written from the papers and in the opposite direction to the
//! graph's own. Both must give the same number: `sum(gradient * direction)`. Unlike a difference of two scores, a
//! derivative of this kind has no step, so that neither the curvature of a model nor its rounding comes into it.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{ArrayD, Axis, Zip, concatenate};

use super::array::{
    Computed, Shared, Value, axis_of, choose, matmul, pairwise, reshaped, softmax, stretch, sum_keeping,
};
use super::machine::{Feeds, Lanes, Machine, Stopped};
use super::operators::{self, Expanded, Movement as _, Reshaped, Sliced, Transposed, padded};
use super::program::{Operator, Program, Step};
use super::sites::{Role, Sites};
use crate::grad::Knobs;
use crate::grad::rules::NEAR;
use crate::onnx::op::{Activation, Binary, Reduction, Unary};

/// Where movements begin, by step: what is added there to what comes from elsewhere, one direction for each movement, of the
/// step's shape or of as many elements.
pub type Beginnings = HashMap<usize, Vec<ArrayD<f64>>>;

/// How much the output moves in each of the movements, and the values of the attention softmaxes.
pub struct Moved {
    pub output: Vec<ArrayD<f64>>,
    pub attention: Vec<Shared>,
}

/// A value, and how it moves in each of the movements; empty where it does not.
#[derive(Clone)]
struct Dual {
    value: Shared,
    moves: Vec<ArrayD<f64>>,
}

/// Runs the steps that `output` needs, while what `beginnings` names moves; each movement is subject to knobs of its own.
pub fn movements(
    machine: &Machine,
    program: &Program,
    feeds: &Feeds,
    beginnings: &Beginnings,
    output: usize,
    sites: &Sites,
    knobs: &[Knobs],
) -> Result<Moved, Stopped> {
    // In a graph of DeepLIFT's multipliers each row says which other one it is compared with.
    let rows = feeds.get("baseline_row").and_then(|lanes| lanes.first()).map(|rows| rows.numbers()).transpose();
    let rows = rows.map_err(|problem| (output, problem))?;
    let rows: Option<Vec<usize>> = rows.map(|rows| rows.into_iter().map(|row| row.max(0) as usize).collect());
    let needed = program.needed(&[output]);
    let mut uses = vec![0usize; program.steps.len()];
    for (step, _) in program.steps.iter().zip(&needed).filter(|(_, needed)| **needed) {
        step.inputs.iter().for_each(|&input| uses[input] += 1);
    }
    uses[output] += 1;
    let mut duals: Vec<Option<Dual>> = vec![None; program.steps.len()];
    let mut attention = Vec::new();
    for (id, step) in program.steps.iter().enumerate().filter(|(id, _)| needed[*id]) {
        machine.go_on()?;
        let fail = |problem: String| (id, problem);
        let mut dual = match &step.operator {
            Operator::Input(name) => {
                let value = feeds.get(name.as_str()).and_then(|lanes| lanes.first()).cloned();
                Dual { value: value.ok_or_else(|| fail(format!("'{name}' is not fed")))?, moves: Vec::new() }
            }
            _ => advance(machine, step, sites.roles[id], &duals, knobs, rows.as_deref()).map_err(fail)?,
        };
        if let Some(begun) = beginnings.get(&id) {
            let shape = dual.value.real().map_err(fail)?.shape();
            let begun = begun.iter().map(|begun| reshaped(begun, shape)).collect::<Computed<Vec<_>>>().map_err(fail)?;
            dual.moves = match dual.moves.is_empty() {
                true => begun,
                false => dual.moves.iter().zip(begun).map(|(moves, begun)| moves + begun).collect(),
            };
        }
        if sites.roles[id] == Role::AttentionSoftmax {
            attention.push(Arc::clone(&dual.value));
        }
        duals[id] = Some(dual);
        for &input in &step.inputs {
            uses[input] -= 1;
            if uses[input] == 0 {
                duals[input] = None;
            }
        }
    }
    let dual = duals[output].take().ok_or((output, "was not computed".to_owned()))?;
    let still = || Ok(ArrayD::zeros(dual.value.real()?.raw_dim()));
    let output = match dual.moves.is_empty() {
        true => knobs.iter().map(|_| still()).collect::<Computed<_>>().map_err(|problem| (output, problem))?,
        false => dual.moves,
    };
    Ok(Moved { output, attention })
}

fn advance(
    machine: &Machine,
    step: &Step,
    role: Role,
    duals: &[Option<Dual>],
    knobs: &[Knobs],
    rows: Option<&[usize]>,
) -> Computed<Dual> {
    let inputs = step.inputs.iter().map(|&input| duals[input].as_ref().ok_or("uses what was not computed"));
    let inputs = inputs.collect::<Result<Vec<&Dual>, _>>()?;
    let values: Vec<&Shared> = inputs.iter().map(|dual| &dual.value).collect();
    let moving: Vec<bool> = inputs.iter().map(|dual| !dual.moves.is_empty()).collect();
    // A product with a weight in the file: the value and all that it moves by in one reading.
    let linear = matches!(step.operator, Operator::Gemm { .. } | Operator::MatMul)
        && moving.first() == Some(&true)
        && matches!(values.get(1).map(|x| &***x), Some(Value::Stored(_)));
    if linear {
        return through_weight(machine, step, &inputs);
    }
    let mut results: Lanes = machine.apply(&step.operator, &[values])?;
    let value = results.pop().ok_or("gives nothing")?;
    if !moving.iter().any(|&moving| moving) {
        return Ok(Dual { value, moves: Vec::new() });
    }
    // Truth values and integers do not move.
    if !matches!(&*value, Value::Real(_)) {
        return Ok(Dual { value, moves: Vec::new() });
    }
    let moves = knobs.iter().enumerate().map(|(lane, knobs)| {
        let operands = Operands { inputs: &inputs, lane, output: value.real()?, rows };
        let moved = operands.moved(&step.operator, role, knobs)?;
        // Steps may hand on a movement in a shape that is still to be broadcast.
        stretch(&moved, value.shape())
    });
    Ok(Dual { moves: moves.collect::<Computed<_>>()?, value })
}

fn through_weight(machine: &Machine, step: &Step, inputs: &[&Dual]) -> Computed<Dual> {
    let (x, weight) = (inputs[0], &inputs[1].value);
    // Movements do not meet the bias; the value does.
    let moves = x.moves.iter().map(|moves| Arc::new(Value::Real(moves.clone())));
    let all: Vec<Shared> = [Arc::clone(&x.value)].into_iter().chain(moves).collect();
    let lanes: Vec<Vec<&Shared>> = all.iter().map(|x| vec![x, weight]).collect();
    let mut results = machine.apply(&step.operator, &lanes)?.into_iter();
    let mut value = results.next().ok_or("gives nothing")?;
    if let Some(bias) = inputs.get(2) {
        let sum = machine.apply(&Operator::Binary(Binary::Add), &[vec![&value, &bias.value]])?;
        value = sum.into_iter().next().ok_or("gives nothing")?;
    }
    let moves = results.map(|moved| moved.real().cloned()).collect::<Computed<_>>()?;
    Ok(Dual { value, moves })
}

/// The inputs of one step in one movement.
struct Operands<'a> {
    inputs: &'a [&'a Dual],
    lane: usize,
    output: &'a ArrayD<f64>,
    /// Of each row the one it is compared with, where movements go by DeepLIFT's multipliers.
    rows: Option<&'a [usize]>,
}

impl Operands<'_> {
    fn value(&self, i: usize) -> Computed<&ArrayD<f64>> {
        self.inputs.get(i).ok_or_else(|| format!("lacks input {i}"))?.value.real()
    }

    fn numbers(&self, i: usize) -> Computed<Vec<i64>> {
        self.inputs.get(i).ok_or_else(|| format!("lacks input {i}"))?.value.numbers()
    }

    /// How an input moves, if it does.
    fn movement(&self, i: usize) -> Option<&ArrayD<f64>> {
        self.inputs.get(i)?.moves.get(self.lane)
    }

    /// The same, zeros where it does not.
    fn movement_or_zeros(&self, i: usize) -> Computed<ArrayD<f64>> {
        self.movement(i).map_or_else(|| Ok(ArrayD::zeros(self.value(i)?.raw_dim())), |moves| Ok(moves.clone()))
    }

    /// The movement of the only input that may.
    fn only(&self) -> Computed<&ArrayD<f64>> {
        if self.inputs.iter().skip(1).any(|dual| !dual.moves.is_empty()) {
            return Err("is steered by what should not steer it".to_owned());
        }
        self.movement(0).ok_or_else(|| "does not move".to_owned())
    }

    fn moved(&self, operator: &Operator, role: Role, knobs: &Knobs) -> Computed<ArrayD<f64>> {
        match operator {
            Operator::Same => self.only().cloned(),
            Operator::Unary(kind) => {
                let mut slope = self.slope(*kind)?;
                if let (Some(rows), Unary::Tanh | Unary::Sigmoid) = (self.rows, kind) {
                    slope = multipliers(self.value(0)?, self.output, &slope, rows)?;
                }
                if role == Role::Statistic {
                    slope *= 1.0 - f64::from(knobs.norm_freeze);
                }
                Ok(slope * self.only()?)
            }
            Operator::Binary(kind) => self.binary(*kind, role, knobs),
            Operator::Where => {
                let condition = self.inputs.first().ok_or("lacks its condition")?.value.truth()?;
                // Element by element: what is not chosen may be no number.
                choose(condition, &self.movement_or_zeros(1)?, &self.movement_or_zeros(2)?)
            }
            Operator::Cast(dtype) if dtype.is_float() => self.only().cloned(),
            Operator::MatMul => self.product(role, knobs, |a, b| matmul(a, b, false)),
            Operator::Softmax { axis } => {
                let axis = axis_of(*axis, self.output.ndim())?;
                let own;
                let mut p = self.output;
                if role == Role::AttentionSoftmax {
                    own = softmax(&(self.value(0)? / f64::from(knobs.softmax_temperature)), axis);
                    p = &own;
                }
                let moves = self.only()?;
                let mean = sum_keeping(&(p * moves), axis);
                Ok(p * &(moves - &mean))
            }
            Operator::Reduce { kind, keep } => self.reduced(*kind, *keep),
            Operator::Reshape => Reshaped(&self.numbers(1)?).array(self.only()?),
            Operator::Transpose(order) => Transposed(order).array(self.only()?),
            Operator::Expand => Expanded(&self.numbers(1)?).array(self.only()?),
            Operator::Concat { axis } => {
                let parts = (0..self.inputs.len()).map(|i| self.movement_or_zeros(i)).collect::<Computed<Vec<_>>>()?;
                let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
                concatenate(Axis(axis_of(*axis, self.output.ndim())?), &views).map_err(|error| error.to_string())
            }
            Operator::Slice => {
                let (starts, ends, axes) = (self.numbers(1)?, self.numbers(2)?, self.numbers(3)?);
                Sliced { starts: &starts, ends: &ends, axes: &axes }.array(self.only()?)
            }
            Operator::Pad => padded(self.only()?, &self.numbers(1)?),
            Operator::Gather { axis } => {
                let moves = Value::Real(self.only()?.clone());
                let indices = self.inputs.get(1).ok_or("lacks its indices")?.value.whole()?;
                operators::gather(&moves, indices, *axis)?.real().cloned()
            }
            Operator::GatherElements { axis } => {
                let indices = self.inputs.get(1).ok_or("lacks its indices")?.value.whole()?;
                operators::gather_elements(self.only()?, indices, *axis)
            }
            Operator::Gemm { transpose_b } => {
                let order: &[usize] = if *transpose_b { &[1, 0] } else { &[0, 1] };
                let weight = Transposed(order).array(self.value(1)?)?;
                if self.inputs.iter().skip(1).any(|dual| !dual.moves.is_empty()) {
                    return Err("has a weight that the embeddings move".to_owned());
                }
                matmul(self.movement(0).ok_or("does not move")?, &weight, false)
            }
            Operator::Input(_)
            | Operator::Known(_)
            | Operator::Logic(_)
            | Operator::Not
            | Operator::IsNan
            | Operator::Cast(_)
            | Operator::ScatterElements { .. }
            | Operator::Shape { .. }
            | Operator::Range
            | Operator::Linear { .. }
            | Operator::RmsNorm { .. }
            | Operator::LayerNorm { .. }
            | Operator::Activation(_)
            | Operator::SoftCap { .. }
            | Operator::Rotary
            | Operator::Other(_) => Err("moves with the embeddings, by a rule that is not known".to_owned()),
        }
    }

    fn slope(&self, kind: Unary) -> Computed<ArrayD<f64>> {
        let (x, y) = (self.value(0)?, self.output);
        Ok(match kind {
            Unary::Neg => x.mapv(|_| -1.0),
            Unary::Abs => x.mapv(|x| if x == 0.0 { 0.0 } else { x.signum() }),
            Unary::Sqrt => y.mapv(|y| 0.5 / y),
            Unary::Reciprocal => y.mapv(|y| -y * y),
            Unary::Exp => y.clone(),
            Unary::Log => x.mapv(f64::recip),
            Unary::Tanh => y.mapv(|y| 1.0 - y * y),
            Unary::Sigmoid => y.mapv(|y| y * (1.0 - y)),
            Unary::Erf => x.mapv(|x| std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()),
            Unary::Sin => x.mapv(f64::cos),
            Unary::Cos => x.mapv(|x| -x.sin()),
        })
    }

    fn binary(&self, kind: Binary, role: Role, knobs: &Knobs) -> Computed<ArrayD<f64>> {
        match kind {
            Binary::Add => pairwise(&self.movement_or_zeros(0)?, &self.movement_or_zeros(1)?, |a, b| a + b),
            Binary::Sub => pairwise(&self.movement_or_zeros(0)?, &self.movement_or_zeros(1)?, |a, b| a - b),
            Binary::Mul => match role {
                // The gate is a factor like any other; that it moves with x is what the secant leaves out.
                Role::Gated { gate, kind } if self.rows.is_some() => {
                    let (x, rows) = (self.value(1 - gate)?, self.rows.unwrap_or_default());
                    let slope = x.mapv(|x| slope_of(kind, x));
                    Ok(multipliers(x, self.output, &slope, rows)? * self.movement_or_zeros(1 - gate)?)
                }
                Role::Gated { gate, .. } => {
                    let through_x = self.movement_or_zeros(1 - gate)? * self.value(gate)?;
                    let through_gate = self.movement_or_zeros(gate)? * self.value(1 - gate)?;
                    Ok(through_x + through_gate * (1.0 - f64::from(knobs.activation_secant)))
                }
                _ => self.product(role, knobs, |a, b| pairwise(a, b, |a, b| a * b)),
            },
            Binary::Div => {
                let above = pairwise(&self.movement_or_zeros(0)?, self.value(1)?, |a, b| a / b)?;
                if self.movement(1).is_none() {
                    return Ok(above);
                }
                let relative = &self.movement_or_zeros(1)? / self.value(1)?;
                let below = pairwise(self.output, &relative, |y, relative| y * relative)?;
                pairwise(&above, &below, |a, b| a - b)
            }
            Binary::Pow => {
                if self.movement(1).is_some() {
                    return Err("has an exponent that the embeddings move".to_owned());
                }
                let slope =
                    pairwise(self.value(0)?, self.value(1)?, |x, p| if *p == 0.0 { 0.0 } else { p * x.powf(p - 1.0) })?;
                pairwise(&slope, &self.movement_or_zeros(0)?, |a, b| a * b)
            }
        }
    }

    /// `da b + a db`; each part shared, and closed to the attention weights, as the knobs say.
    fn product(
        &self,
        role: Role,
        knobs: &Knobs,
        times: impl Fn(&ArrayD<f64>, &ArrayD<f64>) -> Computed<ArrayD<f64>>,
    ) -> Computed<ArrayD<f64>> {
        let weight = |side: usize| match role {
            Role::Product { attention, gate } => {
                let path = if attention[side] { f64::from(knobs.attention_path) } else { 1.0 };
                let share = knobs.gate_share.filter(|_| gate).unwrap_or(knobs.product_share);
                f64::from(share) * path
            }
            _ => 1.0,
        };
        let left = self.movement(0).map(|moves| times(moves, self.value(1)?)).transpose()?;
        let right = self.movement(1).map(|moves| times(self.value(0)?, moves)).transpose()?;
        match (left, right) {
            (Some(left), Some(right)) => Ok(left * weight(0) + right * weight(1)),
            (Some(one), None) => Ok(one * weight(0)),
            (None, Some(one)) => Ok(one * weight(1)),
            (None, None) => Err("does not move".to_owned()),
        }
    }

    fn reduced(&self, kind: Reduction, keep: bool) -> Computed<ArrayD<f64>> {
        let (moves, numbers) = (self.only()?, self.numbers(1)?);
        let mut axes = numbers.iter().map(|&axis| axis_of(axis, moves.ndim())).collect::<Computed<Vec<_>>>()?;
        axes.sort_unstable_by(|a, b| b.cmp(a));
        let mut kept = self.output.shape().to_vec();
        if !keep {
            axes.iter().rev().for_each(|&axis| kept.insert(axis, 1));
        }
        let total = |x: &ArrayD<f64>| axes.iter().fold(x.clone(), |x, &axis| sum_keeping(&x, axis));
        let sum = match kind {
            Reduction::Sum => total(moves),
            Reduction::Mean => total(moves) / axes.iter().map(|&axis| moves.shape()[axis] as f64).product::<f64>(),
            // The largest ones move it, in equal shares.
            Reduction::Max => {
                let largest = reshaped(self.output, &kept)?;
                let here = pairwise(self.value(0)?, &largest, |x, largest| f64::from(x == largest))?;
                total(&(&here * moves)) / total(&here)
            }
        };
        reshaped(&sum, self.output.shape())
    }
}

/// DeepLIFT's rescale rule, as [`NEAR`] has it: rises over runs between rows, or the mean of both slopes.
fn multipliers(x: &ArrayD<f64>, y: &ArrayD<f64>, slope: &ArrayD<f64>, rows: &[usize]) -> Computed<ArrayD<f64>> {
    if rows.len() != x.len_of(Axis(0)) || rows.iter().any(|&row| row >= rows.len()) {
        return Err("is of other rows than those that are compared".to_owned());
    }
    let beside = |of: &ArrayD<f64>| of.select(Axis(0), rows);
    let (mut result, rise, run) = ((slope + &beside(slope)) / 2.0, y - &beside(y), x - &beside(x));
    Zip::from(&mut result).and(&rise).and(&run).for_each(|result, rise, run| {
        if run.abs() >= NEAR {
            *result = rise / run;
        }
    });
    Ok(result)
}

/// The slope of an activation, by a difference: only where a row and its baseline all but agree is it looked at.
fn slope_of(kind: Activation, x: f64) -> f64 {
    const STEP: f64 = 1e-5;
    if kind == Activation::Relu {
        return f64::from(x > 0.0);
    }
    (operators::activation(kind, x + STEP) - operators::activation(kind, x - STEP)) / (2.0 * STEP)
}

/// The sum of the products of elements, and of their sizes.
pub fn inner(a: &ArrayD<f64>, b: &ArrayD<f64>) -> (f64, f64) {
    Zip::from(a).and(b).fold((0.0, 0.0), |(sum, sizes), a, b| (sum + a * b, sizes + (a * b).abs()))
}
