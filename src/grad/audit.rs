//! The record of which rule was applied where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The places at which the backward pass may depart from calculus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// A softmax whose result weighs another activation.
    AttentionSoftmax,
    /// RMSNorm or LayerNorm.
    Norm,
    /// A product of two activations: scores, weighted values, gates.
    ActivationProduct,
    /// An element-wise nonlinearity such as SiLU or GELU.
    Activation,
}

impl SiteKind {
    pub const ALL: [SiteKind; 4] =
        [SiteKind::AttentionSoftmax, SiteKind::Norm, SiteKind::ActivationProduct, SiteKind::Activation];

    /// What is done there, and the knobs that steer it.
    pub fn rule(self) -> &'static str {
        match self {
            SiteKind::AttentionSoftmax => "temperature-adjusted softmax (softmax_temperature, attention_path)",
            SiteKind::Norm => "frozen statistics (norm_freeze)",
            SiteKind::ActivationProduct => "shared product (product_share)",
            SiteKind::Activation => "secant (activation_secant)",
        }
    }
}

impl fmt::Display for SiteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SiteKind::AttentionSoftmax => "attention softmax",
            SiteKind::Norm => "norm",
            SiteKind::ActivationProduct => "activation product",
            SiteKind::Activation => "activation",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    pub kind: SiteKind,
    /// The layer, counted from 0; none outside the layers (the final norm).
    pub layer: Option<usize>,
    /// Where in the model.
    pub scope: String,
    pub operator: String,
    pub rule: String,
}

/// All sites of a gradient graph, in the order of the forward pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    pub sites: Vec<Site>,
}

impl Audit {
    /// The rule of a product of two activations that is a gate.
    pub const GATE: &str = "shared product (gate_share)";

    pub fn count(&self, kind: SiteKind) -> usize {
        self.sites.iter().filter(|site| site.kind == kind).count()
    }

    /// The number of sites of a kind in one layer (`None`: outside the layers).
    pub fn count_in(&self, kind: SiteKind, layer: Option<usize>) -> usize {
        self.sites.iter().filter(|site| site.kind == kind && site.layer == layer).count()
    }
}
