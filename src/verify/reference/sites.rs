//! Where the knobs act, found in the primitives of a written graph by means of its own: nothing of what chose the sites
//! when the graph was made is used.

use super::array::Value;
use super::program::{Operator, Program};
use crate::grad::SiteKind;
use crate::onnx::op::{Activation, Binary, Logic, Reduction, Unary};

/// What a step is to the knobs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Role {
    #[default]
    Plain,
    /// A softmax whose result weighs another activation.
    AttentionSoftmax,
    /// A product of two activations, and which of them are attention weights; a gate is element-wise, and none of them is.
    Product { attention: [bool; 2], gate: bool },
    /// `1 / sqrt(mean(x^2) + eps)` of a norm.
    Statistic,
    /// `x gate(x)` of an activation, and which input is the gate.
    Gated { gate: usize, kind: Activation },
}

/// The roles of the steps between one input and one output.
#[derive(Debug)]
pub struct Sites {
    pub roles: Vec<Role>,
    /// Attention softmaxes, in order.
    pub attention: Vec<usize>,
    counts: [usize; 4],
}

impl Sites {
    /// `active`: the steps that the source reaches and the score needs.
    pub fn find(program: &Program, active: &[bool]) -> Sites {
        let view = View { program, active };
        let mut roles = vec![Role::Plain; program.steps.len()];
        let mut inside = vec![false; program.steps.len()];
        let mut normed = Vec::new();
        let (mut activations, mut products) = (0, 0);
        for id in view.ids() {
            if let Some(norm) = view.norm(id) {
                roles[norm.statistic] = Role::Statistic;
                inside[norm.square] = true;
                inside[id] = true;
                normed.push(id);
            } else if let Some((gate, kind)) = view.gated(id) {
                inside[id] = true;
                activations += 1;
                roles[id] = Role::Gated { gate, kind };
                if kind == Activation::GeluTanh {
                    view.products_behind(view.step(id).inputs[gate], view.step(id).inputs[1 - gate], &mut inside);
                }
            }
        }
        // Two norms of one value share all but their weights, which is why the weights are counted.
        let norms = normed.iter().map(|&id| view.users(id)).sum();

        // The softmax that a value is the result of, moved, cut, scaled or masked.
        let mut weights: Vec<Option<usize>> = vec![None; program.steps.len()];
        let mut is_attention = vec![false; program.steps.len()];
        for id in view.ids() {
            let step = view.step(id);
            let moving: Vec<usize> = (0..step.inputs.len()).filter(|&i| active[step.inputs[i]]).collect();
            let behind = |i: usize| weights[step.inputs[i]];
            let own = match (&step.operator, &moving[..]) {
                (Operator::Softmax { .. }, [0]) => Some(id),
                (
                    Operator::Same
                    | Operator::Reshape
                    | Operator::Transpose(_)
                    | Operator::Expand
                    | Operator::Cast(_)
                    | Operator::Slice
                    | Operator::Binary(Binary::Div),
                    [0],
                ) => behind(0),
                (Operator::Binary(Binary::Mul), &[one]) => behind(one),
                (Operator::Where, &[one]) if one > 0 => behind(one),
                _ => None,
            };
            if let (Operator::MatMul | Operator::Binary(Binary::Mul), [0, 1], false) =
                (&step.operator, &moving[..], inside[id])
            {
                products += 1;
                let found = [behind(0), behind(1)];
                found.iter().flatten().for_each(|&softmax| is_attention[softmax] = true);
                let attention = found.map(|softmax| softmax.is_some());
                let gate = matches!(step.operator, Operator::Binary(Binary::Mul)) && attention == [false; 2];
                roles[id] = Role::Product { attention, gate };
            }
            weights[id] = own;
        }
        let attention: Vec<usize> = (0..program.steps.len()).filter(|&id| is_attention[id]).collect();
        attention.iter().for_each(|&id| roles[id] = Role::AttentionSoftmax);
        let counts = [attention.len(), norms, products, activations];
        Sites { roles, attention, counts }
    }

    pub fn count(&self, kind: SiteKind) -> usize {
        match kind {
            SiteKind::AttentionSoftmax => self.counts[0],
            SiteKind::Norm => self.counts[1],
            SiteKind::ActivationProduct => self.counts[2],
            SiteKind::Activation => self.counts[3],
        }
    }
}

struct View<'a> {
    program: &'a Program,
    active: &'a [bool],
}

struct Norm {
    statistic: usize,
    square: usize,
}

impl View<'_> {
    fn ids(&self) -> impl Iterator<Item = usize> {
        (0..self.program.steps.len()).filter(|&id| self.active[id])
    }

    fn step(&self, id: usize) -> &super::program::Step {
        &self.program.steps[id]
    }

    fn users(&self, id: usize) -> usize {
        self.ids().filter(|&user| self.step(user).inputs.contains(&id)).count()
    }

    /// The inputs of a step with this operator.
    fn binary(&self, id: usize, kind: Binary) -> Option<[usize; 2]> {
        match (&self.step(id).operator, &self.step(id).inputs[..]) {
            (Operator::Binary(found), &[a, b]) if *found == kind => Some([a, b]),
            _ => None,
        }
    }

    fn unary(&self, id: usize, kind: Unary) -> Option<usize> {
        match (&self.step(id).operator, &self.step(id).inputs[..]) {
            (Operator::Unary(found), &[x]) if *found == kind => Some(x),
            _ => None,
        }
    }

    fn constant(&self, id: usize) -> Option<f64> {
        match &self.step(id).operator {
            Operator::Known(value) => match &**value {
                Value::Real(array) if array.len() == 1 => array.first().copied(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it is a number, but for its rounding to f32.
    fn is(&self, id: usize, number: f64) -> bool {
        self.constant(id).is_some_and(|found| (found - number).abs() <= 1e-7 * number.abs())
    }

    /// x of `kind(x, number)`, in either order.
    fn with(&self, id: usize, kind: Binary, number: f64) -> Option<usize> {
        let [a, b] = self.binary(id, kind)?;
        [(a, b), (b, a)].into_iter().find(|&(_, other)| self.is(other, number)).map(|(x, _)| x)
    }

    /// x of `x x`.
    fn square(&self, id: usize) -> Option<usize> {
        self.binary(id, Binary::Mul).and_then(|[a, b]| (a == b).then_some(a))
    }

    /// `x / sqrt(mean(x^2) + eps)`.
    fn norm(&self, id: usize) -> Option<Norm> {
        let [a, b] = self.binary(id, Binary::Mul)?;
        [(a, b), (b, a)].into_iter().find_map(|(x, statistic)| {
            let root = self.unary(statistic, Unary::Reciprocal)?;
            let shifted = self.unary(root, Unary::Sqrt)?;
            let [mean, eps] = self.binary(shifted, Binary::Add)?;
            self.constant(eps)?;
            let (Operator::Reduce { kind: Reduction::Mean, keep: true }, &[square, _]) =
                (&self.step(mean).operator, &self.step(mean).inputs[..])
            else {
                return None;
            };
            (self.square(square)? == x).then_some(Norm { statistic, square })
        })
    }

    /// Which input of `x gate(x)` is the gate, and of which activation.
    fn gated(&self, id: usize) -> Option<(usize, Activation)> {
        let [a, b] = self.binary(id, Binary::Mul)?;
        if a == b {
            return None;
        }
        [(a, b, 1), (b, a, 0)].into_iter().find_map(|(x, gate, side)| Some((side, self.gate(x, gate)?)))
    }

    /// The activation whose `act(x) / x` this is.
    fn gate(&self, x: usize, gate: usize) -> Option<Activation> {
        if let Some(inner) = self.unary(gate, Unary::Sigmoid) {
            let quick = || self.with(inner, Binary::Mul, 1.702) == Some(x);
            return match inner == x {
                true => Some(Activation::Silu),
                false => quick().then_some(Activation::QuickGelu),
            };
        }
        if let Operator::Cast(_) = self.step(gate).operator {
            let truth = *self.step(gate).inputs.first()?;
            let positive = matches!(self.step(truth).operator, Operator::Logic(Logic::Greater));
            let of_x = matches!(self.step(truth).inputs[..], [a, zero] if a == x && self.constant(zero) == Some(0.0));
            return (positive && of_x).then_some(Activation::Relu);
        }
        let squashed = self.with(self.with(gate, Binary::Add, 0.5)?, Binary::Mul, 0.5)?;
        if let Some(inner) = self.unary(squashed, Unary::Erf) {
            let of_x = self.with(inner, Binary::Mul, std::f64::consts::FRAC_1_SQRT_2) == Some(x);
            return of_x.then_some(Activation::Gelu);
        }
        let inner = self.unary(squashed, Unary::Tanh)?;
        let argument = self.with(inner, Binary::Mul, (2.0 / std::f64::consts::PI).sqrt())?;
        let [a, b] = self.binary(argument, Binary::Mul)?;
        let factor = if a == x { b } else { a };
        let cubic = self.with(self.with(factor, Binary::Add, 1.0)?, Binary::Mul, 0.044715)?;
        (self.square(cubic)? == x && (a == x || b == x)).then_some(Activation::GeluTanh)
    }

    /// Marks the products between a value and x.
    fn products_behind(&self, id: usize, x: usize, inside: &mut [bool]) {
        if id == x || !self.active[id] {
            return;
        }
        inside[id] |= matches!(self.step(id).operator, Operator::Binary(Binary::Mul));
        for &input in &self.step(id).inputs {
            self.products_behind(input, x, inside);
        }
    }
}
