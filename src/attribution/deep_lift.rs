//! DeepLIFT by its rescale rule (Shrikumar et al., arXiv 1704.02685).

use std::rc::Rc;

use async_trait::async_trait;

use super::gradients::sum_over_features;
use super::{Attribution, Case, Entry, Inapplicable, Method};
use crate::config::Offered;
use crate::probe::Probe;
use crate::runtime::Graph;

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "deep_lift", options: &[] },
    description: "DeepLIFT's rescale rule at element-wise nonlinearities, gradients at the prompt elsewhere, against the baseline",
    source: "arXiv 1704.02685",
    cost: "2 gradient",
    build: |_| Rc::new(DeepLift),
};

/// `sum_d (e - b)[i, d] m[i, d]`, with `m` the multipliers: what calculus makes of the score at the prompt, but for activations,
/// tanh, sigmoid and soft-caps, which count with `(f(x) - f(x0)) / (x - x0)`, `x0` being what the baseline token at every position
/// comes to there.
///
/// DeepLIFT leaves open what becomes of products of two activations, norms and softmaxes. Here, as in captum, they are
/// differentiated at the prompt, so the attributions do not add up: `completeness_gap` says how far they are from
/// `score(e) - score(b)`, in units of the score, `completeness_gap_relative` in units of that change (absent where there is none).
pub struct DeepLift;

#[async_trait(?Send)]
impl Method for DeepLift {
    async fn attribute(&self, _: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let difference = probe.embeddings().await.difference();
        let found = probe.multipliers().await;
        let values = sum_over_features(&difference, &found.own.gradient.mapv(f64::from));
        let change = f64::from(found.own.score) - f64::from(found.baseline);
        let gap = (values.iter().sum::<f64>() - change).abs();
        let mut attribution = Attribution::deterministic(values);
        attribution.diagnostics.insert("completeness_gap".to_owned(), gap);
        if change != 0.0 {
            attribution.diagnostics.insert("completeness_gap_relative".to_owned(), gap / change.abs());
        }
        Ok(attribution)
    }

    fn needs(&self) -> &'static [Graph] {
        &[Graph::DeepLift]
    }
}
