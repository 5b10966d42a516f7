//! Attention weights times their gradients.

use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{Array1, Array2, ArrayView3, Axis};

use super::gradients::{RULES, named_rules, positive};
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue};
use crate::config::Offered;
use crate::grad::Knobs;
use crate::probe::Probe;
use crate::runtime::Graph;

const COMBINE: OptionInfo = OptionInfo {
    name: "combine",
    kind: OptionKind::Choice(&["sum", "relevance"]),
    default: OptionValue::Word("sum"),
    only_with: None,
    about: "sum: over all layers, heads and queries, by key. relevance: positive parts, averaged over heads and handed on from \
            layer to layer.",
};

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "attention_x_gradient", options: &[COMBINE, RULES] },
    description: "attention weights times the score's gradient with respect to them",
    source: "`combine: relevance`: arXiv 2103.15679",
    cost: "1 gradient, and 1 forward with attention weights",
    build: |settings| {
        Rc::new(AttentionGradient {
            relevance: settings.word(COMBINE.name) == "relevance",
            knobs: named_rules(settings.word(RULES.name)),
        })
    },
};

/// `A * dL/dA`. Summed, what each token loses to first order when nothing attends to it any more. As relevance,
/// `R <- R + mean_heads(max(A * dL/dA, 0)) R` from the first layer on, beginning with the identity; the row of the scored
/// position.
pub struct AttentionGradient {
    relevance: bool,
    knobs: Knobs,
}

#[async_trait(?Send)]
impl Method for AttentionGradient {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let weights = probe.attention(case.row()).await;
        let found = probe.attention_scores(self.knobs).await;
        let products = weights.mapv(f64::from) * found.attention_gradient.mapv(f64::from);
        let values = if self.relevance {
            // Only one row is wanted, so it is multiplied through from the last layer down.
            let mut row = Array1::<f64>::zeros(case.length());
            row[case.position] = 1.0;
            for layer in products.axis_iter(Axis(0)).rev() {
                row = &row + &row.dot(&positive_mean(layer));
            }
            row.to_vec()
        } else {
            products.sum_axis(Axis(0)).sum_axis(Axis(0)).sum_axis(Axis(0)).to_vec()
        };
        Ok(Attribution::deterministic(values))
    }

    fn rules(&self) -> Option<Knobs> {
        Some(self.knobs)
    }

    fn needs(&self) -> &'static [Graph] {
        &[Graph::Attention, Graph::ScoreGradient]
    }
}

/// The mean over heads of positive parts, `[seq, seq]`.
fn positive_mean(heads: ArrayView3<f64>) -> Array2<f64> {
    let (_, rows, columns) = heads.dim();
    heads.mapv(positive).mean_axis(Axis(0)).unwrap_or_else(|| Array2::zeros((rows, columns)))
}
