//! Ablation: tokens are taken away, one or a few neighbours at a time.

use std::rc::Rc;

use async_trait::async_trait;

use super::options::{REMOVAL, removal};
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue};
use crate::config::Offered;
use crate::probe::{Probe, Removal};

pub(super) const METHOD: Entry = Entry {
    info: Offered {
        name: "ablation",
        options: &[
            REMOVAL,
            OptionInfo {
                name: "window",
                kind: OptionKind::Integer(1, 1024),
                default: OptionValue::Integer(1),
                only_with: None,
                about: "Neighbouring tokens that are taken away together; the window slides by one token, and a token gets \
                        the mean over the windows that hold it.",
            },
        ],
    },
    description: "the score lost when tokens are taken away (occlusion; leave one out)",
    source: "arXiv 1311.2901",
    cost: "n - `window` + 2 forward",
    build: |settings| Rc::new(Ablation { removal: removal(settings), window: settings.integer("window").unwrap_or(1) }),
};

/// `f(x) - f(x without a window of tokens)`, for a token the mean over all windows that hold it.
///
/// A window longer than the prompt takes all of it.
pub struct Ablation {
    pub removal: Removal,
    /// Tokens that are taken away together, at least 1.
    pub window: usize,
}

#[async_trait(?Send)]
impl Method for Ablation {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        self.removal.applies(probe).map_err(Inapplicable)?;
        let length = case.length();
        let window = self.window.clamp(1, length.max(1));
        let windows = (0..=length.saturating_sub(window)).map(|first| (first..first + window).collect());
        let sets: Vec<Vec<usize>> = std::iter::once(Vec::new()).chain(windows).collect();
        let scores = probe.without(self.removal, sets).await;
        let lost: Vec<f64> = scores.iter().skip(1).map(|score| scores[0] - score).collect();
        let mean = |place: usize| {
            let holding = &lost[(place + 1).saturating_sub(window)..=place.min(length - window)];
            holding.iter().sum::<f64>() / holding.len() as f64
        };
        Ok(Attribution::deterministic((0..length).map(mean).collect()))
    }
}
