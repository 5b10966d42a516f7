//! Value zeroing (Mohebbi et al., arXiv 2301.12971).

use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{Array1, Array3, Axis};

use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue};
use crate::config::Offered;
use crate::probe::Probe;
use crate::runtime::Graph;

const COMBINE: OptionInfo = OptionInfo {
    name: "combine",
    kind: OptionKind::Choice(&["mean", "rollout"]),
    default: OptionValue::Word("mean"),
    only_with: None,
    about: "mean: of the scored position's row over layers, as inseq has it. rollout: the rows multiplied through the layers.",
};

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "value_zeroing", options: &[COMBINE] },
    description: "how far the scored position's vector turns in each layer when the values of a token are zero there",
    source: "arXiv 2301.12971",
    cost: "n forward, each with every layer twice",
    build: |settings| Rc::new(ValueZeroing { rollout: settings.word(COMBINE.name) == "rollout" }),
};

/// `1 - cos` between what a layer gives at a place with and without the values of another, rows divided by their sums. Sizes: it
/// says where information comes from, not for what it speaks.
pub struct ValueZeroing {
    rollout: bool,
}

#[async_trait(?Send)]
impl Method for ValueZeroing {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let layers = normalised(probe.value_zeroing(case.row()).await);
        let seq = case.length();
        let mut row = Array1::<f64>::zeros(seq);
        if self.rollout {
            row[case.position] = 1.0;
            for layer in layers.axis_iter(Axis(0)).rev() {
                row = row.dot(&layer);
            }
        } else if let Some(mean) = layers.index_axis(Axis(1), case.position).mean_axis(Axis(0)) {
            row = mean;
        }
        Ok(Attribution::deterministic(row.to_vec()))
    }

    fn needs(&self) -> &'static [Graph] {
        &[Graph::ValueZeroing]
    }
}

/// Rows that sum to 1, but for those of zeros.
fn normalised(distances: Array3<f32>) -> Array3<f64> {
    let mut layers = distances.mapv(f64::from);
    for mut row in layers.lanes_mut(Axis(2)) {
        let sum = row.sum();
        if sum > 0.0 {
            row /= sum;
        }
    }
    layers
}
