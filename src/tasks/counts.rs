//! What became of the records of a task's data.

use std::collections::BTreeMap;

use crate::diagnostics::Diagnostic;

/// How many records became what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// In the data file.
    pub records: usize,
    /// Of them, those that can be asked about.
    pub available: usize,
    /// Not of the values that `where` names.
    pub filtered: usize,
    /// Shown before every question, and not asked about.
    pub shown: usize,
    /// Left out by what the format says of them, by the reason.
    pub set_aside: BTreeMap<&'static str, usize>,
    /// Bad ones that were left out, by the reason, with the first mistake of each.
    pub bad: BTreeMap<&'static str, (usize, Diagnostic)>,
    /// Texts that were selected, and stand in the context more than once: the first place is taken for it.
    pub ambiguous: usize,
    /// Tokens of each prompt that was made.
    pub lengths: Vec<usize>,
    /// Prompts whose context was shortened.
    pub shortened: usize,
    /// Prompts that bring the begin token themselves, so that the tokenizer's was left out.
    pub begins_itself: usize,
    /// Prompts to whose record no evidence belongs, although the task has evidence.
    pub without_evidence: usize,
    /// Prompts of whose evidence no token is left.
    pub lost_evidence: usize,
    /// Prompts with a token of evidence that does not compete for a rank.
    pub unranked_evidence: usize,
    /// Whether prompts went through a chat template.
    pub chat: bool,
}

impl Counts {
    pub(super) fn set_aside(&mut self, why: &'static str) {
        *self.set_aside.entry(why).or_default() += 1;
    }

    pub(super) fn bad(&mut self, why: &'static str, mistake: Diagnostic) {
        self.bad.entry(why).or_insert((0, mistake)).0 += 1;
    }

    /// How [`Counts::left_out`] says what is wrong with records.
    pub fn of_bad(why: &str) -> String {
        format!("bad record: {why}")
    }

    /// Records that are no examples, by the reason.
    pub fn left_out(&self) -> impl Iterator<Item = (String, usize)> {
        let bad = self.bad.iter().map(|(why, (count, _))| (Self::of_bad(why), *count));
        let set_aside = self.set_aside.iter().map(|(why, count)| ((*why).to_owned(), *count));
        let filtered = ("not of the values that the task takes".to_owned(), self.filtered);
        let shown = ("shown before every question".to_owned(), self.shown);
        bad.chain(set_aside).chain([filtered, shown]).filter(|(_, count)| *count > 0)
    }
}
