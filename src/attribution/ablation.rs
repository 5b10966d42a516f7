//! Ablation: one token at a time is taken away.

use async_trait::async_trait;

use super::{Attribution, Case, Inapplicable, Method};
use crate::probe::{Probe, Removal};

/// `f(x) - f(x without token i)`.
pub struct Ablation {
    pub removal: Removal,
}

#[async_trait(?Send)]
impl Method for Ablation {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        self.removal.applies(probe).map_err(Inapplicable)?;
        let sets = std::iter::once(Vec::new()).chain((0..case.length()).map(|place| vec![place]));
        let scores = probe.without(self.removal, sets).await;
        Ok(Attribution::deterministic(scores[1..].iter().map(|score| scores[0] - score).collect()))
    }
}
