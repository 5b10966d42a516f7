//! Element-wise arithmetic.

use super::rescale::rescaled;
use super::{GradError, Gradients, Vjp};
use crate::grad::SiteKind;
use crate::onnx::Id;
use crate::onnx::expand::soft_cap_tanh;
use crate::onnx::op::{Logic, Op, Unary};

/// One factor, times the gradient.
fn chain(v: &mut Vjp, derivative: Id) -> Gradients {
    Ok(vec![Some(v.graph.times(v.gradient, derivative)?)])
}

pub fn negation(v: &mut Vjp) -> Gradients {
    Ok(vec![Some(v.graph.unary(Unary::Neg, v.gradient)?)])
}

/// `1 / (2 sqrt(x))`.
pub fn square_root(v: &mut Vjp) -> Gradients {
    let twice = v.graph.scaled(v.id, 2.0)?;
    Ok(vec![Some(v.graph.divided(v.gradient, twice)?)])
}

/// `-1 / x^2`.
pub fn reciprocal(v: &mut Vjp) -> Gradients {
    let square = v.graph.times(v.id, v.id)?;
    let derivative = v.graph.unary(Unary::Neg, square)?;
    chain(v, derivative)
}

pub fn exponential(v: &mut Vjp) -> Gradients {
    chain(v, v.id)
}

pub fn logarithm(v: &mut Vjp) -> Gradients {
    Ok(vec![Some(v.graph.divided(v.gradient, v.input(0))?)])
}

/// `1 - tanh(x)^2`.
pub fn tanh(v: &mut Vjp) -> Gradients {
    let derivative = one_minus_square(v, v.id)?;
    let derivative = rescaled(v, derivative)?;
    chain(v, derivative)
}

fn one_minus_square(v: &mut Vjp, x: Id) -> Result<Id, GradError> {
    let square = v.graph.times(x, x)?;
    let one = v.graph.scalar(1.0, x)?;
    Ok(v.graph.minus(one, square)?)
}

/// `s (1 - s)`.
pub fn sigmoid(v: &mut Vjp) -> Gradients {
    let one = v.graph.scalar(1.0, v.id)?;
    let rest = v.graph.minus(one, v.id)?;
    let derivative = v.graph.times(v.id, rest)?;
    let derivative = rescaled(v, derivative)?;
    chain(v, derivative)
}

/// `2 / sqrt(pi) exp(-x^2)`.
pub fn erf(v: &mut Vjp) -> Gradients {
    let square = v.graph.times(v.input(0), v.input(0))?;
    let negative = v.graph.unary(Unary::Neg, square)?;
    let bell = v.graph.unary(Unary::Exp, negative)?;
    let derivative = v.graph.scaled(bell, std::f64::consts::FRAC_2_SQRT_PI)?;
    chain(v, derivative)
}

pub fn sine(v: &mut Vjp) -> Gradients {
    let derivative = v.graph.unary(Unary::Cos, v.input(0))?;
    chain(v, derivative)
}

pub fn cosine(v: &mut Vjp) -> Gradients {
    let sine = v.graph.unary(Unary::Sin, v.input(0))?;
    let derivative = v.graph.unary(Unary::Neg, sine)?;
    chain(v, derivative)
}

/// The sign of x, 0 at 0.
pub fn absolute(v: &mut Vjp) -> Gradients {
    let x = v.input(0);
    let zero = v.graph.scalar(0.0, x)?;
    let dtype = v.graph.dtype(x);
    let above = v.graph.logic(Logic::Greater, x, zero)?;
    let below = v.graph.logic(Logic::Less, x, zero)?;
    let (above, below) = (v.graph.cast(above, dtype)?, v.graph.cast(below, dtype)?);
    let sign = v.graph.minus(above, below)?;
    chain(v, sign)
}

pub fn sum(v: &mut Vjp) -> Gradients {
    Ok(vec![Some(v.gradient), Some(v.gradient)])
}

pub fn difference(v: &mut Vjp) -> Gradients {
    let negative = if v.needed[1] { Some(v.graph.unary(Unary::Neg, v.gradient)?) } else { None };
    Ok(vec![Some(v.gradient), negative])
}

/// A product of two activations shares its gradient between them (GIM, section 3; AttnLRP's uniform rule; at gates alone,
/// RelP's half-rule). The two may
/// be one: of `x * x` each factor takes its share, so that the gradient is `2 share x`, and at a share of one half `x`
/// times it is the square itself, as it is for two factors.
pub fn product(v: &mut Vjp) -> Gradients {
    let share = match v.sites.kind(v.id) {
        Some(SiteKind::ActivationProduct) if v.sites.is_gate(v.graph, v.id) => Some(v.knobs.gate_share),
        Some(SiteKind::ActivationProduct) => Some(v.knobs.product_share),
        _ => None,
    };
    let mut results = vec![None, None];
    for side in [0, 1] {
        if v.needed[side] {
            let mut own = v.graph.times(v.gradient, v.input(1 - side))?;
            if let Some(share) = share {
                own = v.graph.times(own, share)?;
            }
            if v.sites.is_attention_factor(v.id, side) {
                own = v.graph.times(own, v.knobs.attention_path)?;
            }
            results[side] = Some(own);
        }
    }
    Ok(results)
}

/// `g / b` and `-g a / b^2`.
pub fn quotient(v: &mut Vjp) -> Gradients {
    let above = v.graph.divided(v.gradient, v.input(1))?;
    let below = if v.needed[1] {
        let product = v.graph.times(above, v.id)?;
        Some(v.graph.unary(Unary::Neg, product)?)
    } else {
        None
    };
    Ok(vec![Some(above), below])
}

/// `p x^(p - 1)`, for an exponent that is a constant.
pub fn power(v: &mut Vjp) -> Gradients {
    let (x, exponent) = (v.input(0), v.input(1));
    let (false, Some(p)) = (v.needed[1], v.graph.as_scalar(exponent)) else {
        return Err(GradError::NoRule {
            operator: "Pow".to_owned(),
            scope: v.value.scope.to_string(),
            detail: " (its exponent is not a constant)".to_owned(),
        });
    };
    // A constant, at 0 too, where the formula would come to 0 times infinity.
    if p == 0.0 {
        return Ok(vec![None, None]);
    }
    let lower = v.graph.scalar(p - 1.0, x)?;
    let lowered = v.graph.binary(crate::onnx::op::Binary::Pow, x, lower)?;
    let derivative = v.graph.scaled(lowered, p)?;
    chain(v, derivative)
}

pub fn choice(v: &mut Vjp) -> Gradients {
    let zero = v.graph.scalar(0.0, v.gradient)?;
    let condition = v.input(0);
    let chosen = if v.needed[1] { Some(v.graph.choose(condition, v.gradient, zero)?) } else { None };
    let other = if v.needed[2] { Some(v.graph.choose(condition, zero, v.gradient)?) } else { None };
    Ok(vec![None, chosen, other])
}

/// `1 - tanh(x / cap)^2`.
pub fn soft_cap(v: &mut Vjp) -> Gradients {
    let Op::SoftCap { cap } = v.value.op else { return Ok(vec![None]) };
    let squashed = soft_cap_tanh(v.graph, v.value.inputs[0], cap.get())?;
    let derivative = one_minus_square(v, squashed)?;
    let derivative = rescaled(v, derivative)?;
    chain(v, derivative)
}
