//! Ensembles of methods by mean rank.

use std::rc::Rc;

use async_trait::async_trait;
use futures::future::join_all;

use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue, SINGLE, Settings};
use crate::config::{Offered, Words};
use crate::probe::Probe;

/// The methods that others can be made of: all that are not made of others themselves.
pub(super) const MEMBERS: &[&str] = &{
    let mut names = [""; SINGLE.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = SINGLE[i].info.name;
        i += 1;
    }
    names
};

const METHODS: OptionInfo = OptionInfo {
    name: "methods",
    kind: OptionKind::Words(MEMBERS, 2),
    default: OptionValue::Words(Words::of(MEMBERS, &["gim", "integrated_gradients", "ablation"])),
    only_with: None,
    about: "The methods whose ranks are averaged, each with its options at their defaults.",
};

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "ensemble", options: &[METHODS] },
    description: "the mean rank of a token among the ranked ones, over several methods",
    source: "mean ranks: Borda 1781",
    cost: "what its `methods` cost",
    build: |settings| Rc::new(Ensemble::new(settings)),
};

/// The rank of a token among the ranked ones, from 1 for the lowest attribution, as a share of their number, averaged over
/// methods; ties have the mean of their ranks. Of a method with several seeds the mean over them counts. Tokens that are not
/// ranked get 0. Where one of the methods does not apply, neither does the ensemble.
pub struct Ensemble {
    members: Vec<(&'static str, Rc<dyn Method>)>,
}

impl Ensemble {
    fn new(settings: &Settings) -> Self {
        let names = settings.words(METHODS.name);
        let own = |name| Some((name, super::build(name, &Settings { seed: settings.seed, ..Settings::default() })?));
        Ensemble { members: names.filter_map(own).collect() }
    }
}

#[async_trait(?Send)]
impl Method for Ensemble {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        // All at once, so that what they ask shares batches.
        let all = join_all(self.members.iter().map(|(_, member)| super::attribute(&**member, probe))).await;
        let mut sum = vec![0.0; case.ranked.len()];
        for ((name, _), found) in self.members.iter().zip(all) {
            let found = found.map_err(|reason| Inapplicable(format!("{name}: {reason}")))?;
            for values in &found.values {
                let ranked = case.ranked.values(values);
                if let Some(bad) = ranked.iter().position(|value| !value.is_finite()) {
                    let place = case.ranked.of(bad)[0];
                    let sentence = format!("{name}: the attribution of token {place} is not a finite number");
                    return Err(Inapplicable(probe.because(sentence)));
                }
                let share = 1.0 / (ranked.len() * found.values.len() * self.members.len()) as f64;
                sum.iter_mut().zip(mean_ranks(&ranked)).for_each(|(sum, rank)| *sum += share * rank);
            }
        }
        Ok(Attribution::deterministic(case.ranked.spread(&sum, case.length())))
    }
}

/// Ranks from 1 for the lowest, equal values at the mean of theirs.
fn mean_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    // Zeros of either sign are equal.
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|&place| ranks[place] = rank);
        before += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(mean_ranks(&[3.0, -1.0, 3.0, 0.0, -0.0]), [4.5, 1.0, 4.5, 2.5, 2.5]);
        assert_eq!(mean_ranks(&[]), [0.0; 0]);
    }
}
