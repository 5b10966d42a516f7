//! AtP* (Kramar et al., arXiv 2403.00745), with tokens as its nodes.

use std::rc::Rc;

use async_trait::async_trait;

use super::gradients::{RULES, named_rules, sum_over_features};
use super::{Attribution, Case, Entry, Inapplicable, Method};
use crate::config::Offered;
use crate::grad::Knobs;
use crate::probe::Probe;
use crate::runtime::Graph;

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "atp_star", options: &[RULES] },
    description: "AtP*, of which GradDrop is what concerns tokens: sizes of gradient times difference from the baseline, each \
                  layer left out of the backward pass in turn, averaged",
    source: "arXiv 2403.00745",
    cost: "1 gradient a layer",
    build: |settings| Rc::new(AtpStar { knobs: named_rules(settings.word(RULES.name)) }),
};

/// The mean over layers of `|sum_d (b - e)[i, d] g[i, d]|`, with `g` the gradient in whose backward pass the layer's attention
/// and feed-forward hand on nothing, and only the residual stream goes through. What the ways through one layer cancel is seen in the
/// gradient that leaves that layer out.
///
/// The other part of AtP*, softmaxes computed anew where a query or a key is replaced, has no meaning for tokens: an embedding is
/// neither. The mean is over all layers; another divisor ranks tokens the same.
pub struct AtpStar {
    knobs: Knobs,
}

#[async_trait(?Send)]
impl Method for AtpStar {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let difference = probe.embeddings().await.difference();
        let found = probe.gradients_without_layers(self.knobs).await;
        let mut mean = vec![0.0; case.length()];
        for layer in &found {
            let products = sum_over_features(&difference, &layer.gradient.mapv(f64::from));
            mean.iter_mut().zip(products).for_each(|(mean, product)| *mean += product.abs() / found.len() as f64);
        }
        Ok(Attribution::deterministic(mean))
    }

    fn rules(&self) -> Option<Knobs> {
        Some(self.knobs)
    }

    fn needs(&self) -> &'static [Graph] {
        &[Graph::GradientDrop]
    }
}
