//! Gradient times input, at any setting of the knobs: GIM and its whole family.

use async_trait::async_trait;
use ndarray::{Array2, ArrayView1, Axis};

use super::{Attribution, Case, Inapplicable, Method, OptionInfo, OptionKind, OptionValue};
use crate::grad::Knobs;
use crate::probe::Probe;

/// `attribution[i] = sum_d (e[i, d] - b[d]) grad[i, d]`, with `b` the embedding of the baseline token.
pub struct GradientTimesInput {
    pub knobs: Knobs,
}

#[async_trait(?Send)]
impl Method for GradientTimesInput {
    fn differentiates(&self) -> bool {
        true
    }

    async fn attribute(&self, _: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let gradient = probe.gradient(self.knobs).await;
        let difference = probe.embeddings().await.difference();
        Ok(Attribution::deterministic(sum_over_features(&difference, &gradient)))
    }

    fn knobs(&self) -> Option<Knobs> {
        Some(self.knobs)
    }
}

/// Settings of the knobs by name, as options say them.
const SETTINGS: [(&str, Knobs); 11] = [
    ("gradient", Knobs::GRADIENT),
    ("gim", Knobs::GIM),
    ("tsg", Knobs { softmax_temperature: Knobs::GIM.softmax_temperature, ..Knobs::GRADIENT }),
    ("norm_freeze", Knobs { norm_freeze: Knobs::GIM.norm_freeze, ..Knobs::GRADIENT }),
    ("product_share", Knobs { product_share: Knobs::GIM.product_share, ..Knobs::GRADIENT }),
    ("tsg+norm_freeze", Knobs { product_share: Knobs::GRADIENT.product_share, ..Knobs::GIM }),
    ("tsg+product_share", Knobs { norm_freeze: Knobs::GRADIENT.norm_freeze, ..Knobs::GIM }),
    ("norm_freeze+product_share", Knobs { softmax_temperature: Knobs::GRADIENT.softmax_temperature, ..Knobs::GIM }),
    ("attn_lrp", Knobs::ATTN_LRP),
    ("transformer_lrp", Knobs::TRANSFORMER_LRP),
    ("relp", Knobs::RELP),
];

/// The names of all settings of the knobs.
const NAMES: &[&str] = &{
    let mut names = [""; SETTINGS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = SETTINGS[i].0;
        i += 1;
    }
    names
};

/// The option of methods that take several gradients.
pub(crate) const RULES: OptionInfo = OptionInfo {
    name: "rules",
    kind: OptionKind::Choice(NAMES),
    default: OptionValue::Word("gradient"),
    only_with: None,
    about: "How the gradients are taken.",
};

/// The setting of a name; calculus for any other.
pub(crate) fn named_rules(name: &str) -> Knobs {
    SETTINGS.iter().find(|(known, _)| *known == name).map_or(Knobs::GRADIENT, |(_, knobs)| *knobs)
}

/// Bytes of points, and of their gradients, that are held at once.
const IN_HAND: usize = 64 << 20;

/// How many points of so many numbers are asked about at once. It hangs on their size alone, so that the last digits of
/// their gradients do too.
pub(super) fn together(numbers: usize) -> usize {
    (IN_HAND / (2 * size_of::<f32>() * numbers).max(1)).max(1)
}

/// A number where it is positive, else 0; but what is not a number stays so, which [`f64::max`] would make 0.
pub(super) fn positive(number: f64) -> f64 {
    if number < 0.0 { 0.0 } else { number }
}

/// One number a token, `[seq]`, from a difference and a gradient `[seq, hidden]`.
pub(super) fn sum_over_features(difference: &Array2<f64>, gradient: &Array2<f64>) -> Vec<f64> {
    let dot = |(a, b): (ArrayView1<f64>, ArrayView1<f64>)| a.dot(&b);
    difference.axis_iter(Axis(0)).zip(gradient.axis_iter(Axis(0))).map(dot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positive_parts_hide_no_number_that_is_none() {
        assert_eq!([-1.0, -f64::INFINITY, 0.0, 2.0].map(positive), [0.0, 0.0, 0.0, 2.0]);
        assert!(positive(f64::NAN).is_nan() && positive(f64::INFINITY).is_infinite());
    }
}
