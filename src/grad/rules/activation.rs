//! Nonlinearities with a secant.

use super::rescale::rescaled;
use super::{GradError, Gradients, Vjp};
use crate::onnx::expand::{gate, gelu_tanh};
use crate::onnx::op::{Activation, Op, Unary};
use crate::onnx::{Graph, Id};

/// `gate + (1 - secant) (act' - gate)` with `gate = act(x) / x`: calculus at 0, AttnLRP's secant at 1.
pub fn activation(v: &mut Vjp) -> Gradients {
    let Op::Activation(kind) = v.value.op else { return Ok(vec![None]) };
    let x = v.input(0);
    let gate = gate(v.graph, kind, x)?;
    let mut slope = gate;
    if let Some(rest) = x_times_gate_derivative(v.graph, kind, x, gate)? {
        let one = v.graph.scalar(1.0, x)?;
        let calculus = v.graph.minus(one, v.knobs.activation_secant)?;
        let rest = v.graph.times(rest, calculus)?;
        slope = v.graph.plus(gate, rest)?;
    }
    let slope = rescaled(v, slope)?;
    Ok(vec![Some(v.graph.times(v.gradient, slope)?)])
}

/// `x gate'(x)`, which is `act'(x) - gate(x)`; `None` where the gate is constant.
fn x_times_gate_derivative(g: &mut Graph, kind: Activation, x: Id, gate: Id) -> Result<Option<Id>, GradError> {
    let derivative = match kind {
        Activation::Relu => return Ok(None),
        // x s (1 - s), of which x s is there.
        Activation::Silu => return Ok(Some(silu_rest(g, x, gate)?)),
        Activation::QuickGelu => {
            let rest = silu_rest(g, x, gate)?;
            return Ok(Some(g.scaled(rest, 1.702)?));
        }
        // The normal density.
        Activation::Gelu => {
            let square = g.times(x, x)?;
            let exponent = g.scaled(square, -0.5)?;
            let bell = g.unary(Unary::Exp, exponent)?;
            g.scaled(bell, 1.0 / (2.0 * std::f64::consts::PI).sqrt())?
        }
        // 1/2 (1 - tanh^2) sqrt(2/pi) (1 + 3 * 0.044715 x^2).
        Activation::GeluTanh => {
            let tanh = gelu_tanh(g, x)?;
            let tanh_square = g.times(tanh, tanh)?;
            let one = g.scalar(1.0, x)?;
            let slope = g.minus(one, tanh_square)?;
            let square = g.times(x, x)?;
            let cubic = g.scaled(square, 3.0 * 0.044715)?;
            let inner = g.plus(cubic, one)?;
            let product = g.times(slope, inner)?;
            g.scaled(product, 0.5 * (2.0 / std::f64::consts::PI).sqrt())?
        }
    };
    Ok(Some(g.times(x, derivative)?))
}

/// `(x s) (1 - s)`: the first factor is the activation itself.
fn silu_rest(g: &mut Graph, x: Id, sigmoid: Id) -> Result<Id, GradError> {
    let activated = g.times(x, sigmoid)?;
    let one = g.scalar(1.0, sigmoid)?;
    let rest = g.minus(one, sigmoid)?;
    Ok(g.times(activated, rest)?)
}
