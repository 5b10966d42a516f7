//! The five scalar inputs of a gradient graph, and the settings that have names.

use serde::{Deserialize, Serialize};

use crate::onnx::{Dtype, Graph, GraphError, Id};

/// How the backward pass departs from calculus; the forward pass never changes.
///
/// Sources: GIM (arXiv 2505.17630) for temperature, frozen statistics and shared products; AttnLRP (arXiv 2402.05602)
/// for the secant; TransformerLRP (arXiv 2202.07304) for the closed attention path.
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
}

impl Knobs {
    /// Plain calculus.
    pub const GRADIENT: Knobs = Knobs {
        softmax_temperature: 1.0,
        norm_freeze: 0.0,
        product_share: 1.0,
        attention_path: 1.0,
        activation_secant: 0.0,
    };
    pub const GIM: Knobs = Knobs { softmax_temperature: 2.0, norm_freeze: 1.0, product_share: 0.5, ..Knobs::GRADIENT };
    pub const ATTN_LRP: Knobs =
        Knobs { norm_freeze: 1.0, product_share: 0.5, activation_secant: 1.0, ..Knobs::GRADIENT };
    pub const TRANSFORMER_LRP: Knobs = Knobs { norm_freeze: 1.0, attention_path: 0.0, ..Knobs::GRADIENT };

    /// The settings in the order of [`Knobs::NAMES`], which is the order of the graph's inputs.
    pub fn values(&self) -> [f32; 5] {
        [self.softmax_temperature, self.norm_freeze, self.product_share, self.attention_path, self.activation_secant]
    }

    /// The names of the scalar graph inputs.
    pub const NAMES: [&'static str; 5] =
        ["softmax_temperature", "norm_freeze", "product_share", "attention_path", "activation_secant"];
}

/// The knobs as values of a graph.
#[derive(Clone, Copy, Debug)]
pub struct KnobInputs {
    pub softmax_temperature: Id,
    pub norm_freeze: Id,
    pub product_share: Id,
    pub attention_path: Id,
    pub activation_secant: Id,
}

impl KnobInputs {
    /// Declares the five scalar inputs, in the order of [`Knobs::NAMES`].
    pub fn declare(graph: &mut Graph, dtype: Dtype) -> Result<Self, GraphError> {
        let mut input = |name: &str| graph.input(name, dtype, Vec::new());
        Ok(KnobInputs {
            softmax_temperature: input(Knobs::NAMES[0])?,
            norm_freeze: input(Knobs::NAMES[1])?,
            product_share: input(Knobs::NAMES[2])?,
            attention_path: input(Knobs::NAMES[3])?,
            activation_secant: input(Knobs::NAMES[4])?,
        })
    }

    pub fn ids(&self) -> [Id; 5] {
        [self.softmax_temperature, self.norm_freeze, self.product_share, self.attention_path, self.activation_secant]
    }
}
