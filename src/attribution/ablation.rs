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
                about: "Neighbouring tokens (or words, sentences, groups, where these are ranked) that are taken away \
                        together; the window slides by one, and each gets the mean over the windows that hold it.",
            },
        ],
    },
    description: "the score lost when tokens are taken away (occlusion; leave one out)",
    source: "arXiv 1311.2901",
    cost: "n - `window` + 2 forward",
    build: |settings| Rc::new(Ablation { removal: removal(settings), window: settings.integer("window").unwrap_or(1) }),
};

/// `f(x) - f(x without a window of units)`, for a unit the mean over all windows that hold it. Tokens that are not ranked are
/// units of their own.
///
/// A window longer than the prompt takes all of it.
pub struct Ablation {
    pub removal: Removal,
    /// Units that are taken away together, at least 1.
    pub window: usize,
}

#[async_trait(?Send)]
impl Method for Ablation {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        self.removal.applies(probe).map_err(Inapplicable)?;
        let units = case.ranked.and_the_rest(case.length());
        let window = self.window.clamp(1, units.len().max(1));
        let windows = (0..=units.len().saturating_sub(window)).map(|first| units.places_of(first..first + window));
        let sets: Vec<Vec<usize>> = std::iter::once(Vec::new()).chain(windows).collect();
        let scores = probe.without(self.removal, sets).await;
        let lost: Vec<f64> = scores.iter().skip(1).map(|score| scores[0] - score).collect();
        let mean = |unit: usize| {
            let holding = &lost[(unit + 1).saturating_sub(window)..=unit.min(units.len() - window)];
            holding.iter().sum::<f64>() / holding.len() as f64
        };
        let lost: Vec<f64> = (0..units.len()).map(mean).collect();
        Ok(Attribution::deterministic(units.spread(&lost, case.length())))
    }
}
