//! Ways to take tokens away.

use super::{Case, Probe};
use crate::runtime::{Change, Graph, Row};

/// What "without these tokens" means. Rankings of methods may turn round between one meaning and another, so metrics can be
/// had under each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removal {
    /// The baseline token stands in their place.
    Replace,
    /// The padding token does.
    Pad,
    /// Attention does not see them; their places stay.
    Mask,
    /// The mean embedding of the prompt's tokens stands in their place.
    Mean,
    /// They are gone, and what follows moves up.
    Delete,
}

impl Removal {
    pub const ALL: [Removal; 5] = [Removal::Replace, Removal::Pad, Removal::Mask, Removal::Mean, Removal::Delete];
    /// In the order of [`Removal::ALL`].
    pub const NAMES: [&'static str; 5] = ["replace", "pad", "mask", "mean", "delete"];

    pub fn named(name: &str) -> Option<Removal> {
        Removal::NAMES.iter().position(|&known| known == name).map(|at| Removal::ALL[at])
    }

    /// Whether it can be had of this model.
    ///
    /// # Errors
    /// Why not: a sentence without a full stop.
    pub fn applies(self, probe: &Probe) -> Result<(), String> {
        match self {
            Removal::Pad if probe.pad().is_none() => Err("the model names no padding token".to_owned()),
            Removal::Mean if !probe.has(Graph::ForwardEmbeds) => Err(probe.lacks(Graph::ForwardEmbeds)),
            Removal::Delete if !probe.may_delete() => {
                Err("the model is an encoder with an embedding for each position, so deleting a token would move all \
                     that follow"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The prompt without the tokens at `places`. `pad`: the padding token, for [`Removal::Pad`].
    ///
    /// The scored position is never deleted or hidden: without it there is nothing to score.
    pub fn without(self, case: &Case, places: &[usize], pad: Option<i64>) -> Row {
        let others = || places.iter().copied().filter(|&place| place != case.position).collect::<Vec<usize>>();
        match self {
            Removal::Replace => case.without(places),
            Removal::Pad => case.row().changed(places, Change::Token(pad.unwrap_or(case.baseline))),
            Removal::Mask => case.row().changed(&others(), Change::Masked),
            Removal::Mean => case.row().changed(places, Change::Mean),
            Removal::Delete => {
                let gone = others();
                let stays = |place: &usize| !gone.contains(place);
                let ids: Vec<i64> = (0..case.prompt.len()).filter(stays).map(|place| case.prompt[place]).collect();
                let before = gone.iter().filter(|&&place| place < case.position).count();
                Row::new(ids, case.position - before)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Score;
    use crate::probe::Question;
    use crate::units::Units;

    #[test]
    fn each_takes_away_what_it_says() {
        let case = Case {
            key: String::new(),
            prompt: vec![10, 11, 12, 13].into(),
            position: 3,
            question: Question { target: 0, contrast: None, score: Score::Logit },
            following: Vec::new(),
            baseline: 7,
            ranked: Units::tokens(0..3),
        };
        let without = |removal: Removal| removal.without(&case, &[2, 0, 3], Some(9));
        assert_eq!(without(Removal::Replace).ids(), [7, 11, 7, 7]);
        assert_eq!(without(Removal::Pad).ids(), [9, 11, 9, 9]);
        assert_eq!(without(Removal::Mean).changes().len(), 3);
        // The scored position stays.
        assert_eq!(without(Removal::Mask).changes(), [(0, Change::Masked), (2, Change::Masked)]);
        let deleted = without(Removal::Delete);
        assert_eq!((deleted.ids(), deleted.position()), (vec![11, 13], 1));
    }

    #[test]
    fn names_are_those_of_the_kinds() {
        for removal in Removal::ALL {
            let name = Removal::NAMES[Removal::ALL.iter().position(|&other| other == removal).unwrap()];
            assert_eq!(Removal::named(name), Some(removal));
            assert_eq!(format!("{removal:?}").to_lowercase(), name);
        }
        assert_eq!(Removal::named("cut"), None);
    }
}
