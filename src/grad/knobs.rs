//! The six scalar inputs of a gradient graph, and the settings that have names.

use serde::{Deserialize, Serialize};

use crate::onnx::{Dtype, Graph, GraphError, Id, Tensor};

/// How the backward pass departs from calculus; the forward pass never changes.
///
/// Sources: GIM (arXiv 2505.17630) for temperature, frozen statistics and shared products; AttnLRP (arXiv 2402.05602)
/// for the secant; TransformerLRP (arXiv 2202.07304) for the closed attention path; RelP (arXiv 2508.21258) for a share at
/// gates alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knobs {
    /// Attention softmax: `dL/ds = p_T * (g - sum(p_T * g))` with `p_T = softmax(s / T)`; 1 is calculus.
    pub softmax_temperature: f32,
    /// 0: the statistic of a norm (rms, standard deviation) is differentiated; 1: it is a constant; linear between.
    pub norm_freeze: f32,
    /// Multiplies the gradient to each factor of a product of two activations; 1 is calculus.
    pub product_share: f32,
    /// Multiplies the gradient that flows into the attention weights; 1 is calculus, 0 keeps the value path alone.
    pub attention_path: f32,
    /// 0: `act'(x)`; 1: `act(x) / x`; linear between.
    pub activation_secant: f32,
    /// What stands in the place of `product_share` at gates, element-wise products of two activations neither of which is
    /// attention weights; none: the same as there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_share: Option<f32>,
}

impl Knobs {
    /// Plain calculus.
    pub const GRADIENT: Knobs = Knobs {
        softmax_temperature: 1.0,
        norm_freeze: 0.0,
        product_share: 1.0,
        attention_path: 1.0,
        activation_secant: 0.0,
        gate_share: None,
    };
    pub const GIM: Knobs = Knobs { softmax_temperature: 2.0, norm_freeze: 1.0, product_share: 0.5, ..Knobs::GRADIENT };
    pub const ATTN_LRP: Knobs =
        Knobs { norm_freeze: 1.0, product_share: 0.5, activation_secant: 1.0, ..Knobs::GRADIENT };
    pub const TRANSFORMER_LRP: Knobs = Knobs { norm_freeze: 1.0, attention_path: 0.0, ..Knobs::GRADIENT };
    /// LN-rule, AH-rule, Identity-rule and Half-rule, the last at gates alone: with attention weights held constant there is
    /// nothing to share in attention.
    pub const RELP: Knobs = Knobs { activation_secant: 1.0, gate_share: Some(0.5), ..Knobs::TRANSFORMER_LRP };

    /// The settings in the order of [`Knobs::NAMES`], which is the order of the graph's inputs.
    pub fn values(&self) -> [f32; 6] {
        let gate_share = self.gate_share.unwrap_or(self.product_share);
        let Knobs { softmax_temperature, norm_freeze, product_share, attention_path, activation_secant, .. } = *self;
        [softmax_temperature, norm_freeze, product_share, attention_path, activation_secant, gate_share]
    }

    /// The names of the scalar graph inputs. Bundles of before version 5 lack the last.
    pub const NAMES: [&'static str; 6] =
        ["softmax_temperature", "norm_freeze", "product_share", "attention_path", "activation_secant", "gate_share"];

    /// The settings of a graph that has the inputs of which `has` says so. What it lacks must stand where the graph of before
    /// that knob left it: at calculus, or a gate's share at that of all products.
    ///
    /// # Errors
    /// The name of a knob that it lacks and that stands elsewhere.
    pub fn known_to(&self, has: impl Fn(&str) -> bool) -> Result<Vec<(&'static str, f32)>, &'static str> {
        let mut before = Knobs::GRADIENT.values();
        before[5] = self.product_share;
        let mut known = Vec::with_capacity(Knobs::NAMES.len());
        for ((name, value), before) in Knobs::NAMES.into_iter().zip(self.values()).zip(before) {
            if has(name) {
                known.push((name, value));
            } else if value != before {
                return Err(name);
            }
        }
        Ok(known)
    }
}

/// The knobs as values of a graph.
#[derive(Clone, Copy, Debug)]
pub struct KnobInputs {
    pub softmax_temperature: Id,
    pub norm_freeze: Id,
    pub product_share: Id,
    pub attention_path: Id,
    pub activation_secant: Id,
    pub gate_share: Id,
    /// i64 `[batch]`, the row that is each row's baseline, in a graph of DeepLIFT's multipliers; else none, and derivatives stand
    /// in their place.
    pub baseline_row: Option<Id>,
}

impl KnobInputs {
    /// Declares the scalar inputs, in the order of [`Knobs::NAMES`].
    pub fn declare(graph: &mut Graph, dtype: Dtype) -> Result<Self, GraphError> {
        let mut input = |name: &str| graph.input(name, dtype, Vec::new());
        Ok(KnobInputs {
            softmax_temperature: input(Knobs::NAMES[0])?,
            norm_freeze: input(Knobs::NAMES[1])?,
            product_share: input(Knobs::NAMES[2])?,
            attention_path: input(Knobs::NAMES[3])?,
            activation_secant: input(Knobs::NAMES[4])?,
            gate_share: input(Knobs::NAMES[5])?,
            baseline_row: None,
        })
    }

    /// Plain calculus, without inputs, in a graph whose rows have baselines.
    pub fn calculus(graph: &mut Graph, dtype: Dtype, baseline_row: Id) -> Result<Self, GraphError> {
        let mut constant = |value: f32| graph.constant(Tensor::float(value.into(), dtype));
        Ok(KnobInputs {
            softmax_temperature: constant(Knobs::GRADIENT.softmax_temperature)?,
            norm_freeze: constant(Knobs::GRADIENT.norm_freeze)?,
            product_share: constant(Knobs::GRADIENT.product_share)?,
            attention_path: constant(Knobs::GRADIENT.attention_path)?,
            activation_secant: constant(Knobs::GRADIENT.activation_secant)?,
            gate_share: constant(Knobs::GRADIENT.product_share)?,
            baseline_row: Some(baseline_row),
        })
    }

    pub fn ids(&self) -> [Id; 6] {
        let KnobInputs {
            softmax_temperature,
            norm_freeze,
            product_share,
            attention_path,
            activation_secant,
            gate_share,
            ..
        } = *self;
        [softmax_temperature, norm_freeze, product_share, attention_path, activation_secant, gate_share]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_of_before_a_knob_is_asked_only_for_what_it_can_do() {
        let before_gates = |name: &str| name != "gate_share";
        assert_eq!(Knobs::RELP.known_to(before_gates), Err("gate_share"));
        assert_eq!(Knobs::RELP.known_to(|_| true).unwrap()[5], ("gate_share", 0.5));
        // Of GIM a gate's share is that of all products, which such a graph has.
        let known = Knobs::GIM.known_to(before_gates).unwrap();
        assert_eq!(known.len(), 5);
        assert_eq!(known[2], ("product_share", 0.5));
        assert_eq!(Knobs { gate_share: Some(1.0), ..Knobs::GIM }.known_to(before_gates), Err("gate_share"));
        assert_eq!(Knobs::ATTN_LRP.known_to(|name| name != "activation_secant"), Err("activation_secant"));
    }
}
