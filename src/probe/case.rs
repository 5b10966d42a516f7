//! What is explained.

use crate::config::Score;
use crate::runtime::{self, Change, Prompt, Row};
use crate::units::Units;

/// The number that is explained, at one position of the model's output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Token of the answer, or number of a classifier's label.
    pub target: i64,
    /// Token or label it is compared with, where the score is a difference of logits.
    pub contrast: Option<i64>,
    pub score: Score,
}

impl Question {
    /// The tokens or labels whose logits are needed for the score.
    pub fn tokens(&self) -> impl Iterator<Item = i64> {
        std::iter::once(self.target).chain(self.contrast)
    }

    /// f(x), from the logits of `tokens`, which hold those of the question.
    pub fn value(&self, tokens: &[i64], score: &runtime::Score) -> f64 {
        let logit = |id: i64| {
            let at = tokens.iter().position(|&token| token == id);
            at.map_or(f64::NAN, |at| f64::from(score.logits[at]))
        };
        match (self.score, self.contrast) {
            (Score::Probability, _) => (logit(self.target) - score.log_sum_exp).exp(),
            (Score::LogitDifference, Some(contrast)) => logit(self.target) - logit(contrast),
            (Score::Logit | Score::LogitDifference, _) => logit(self.target),
        }
    }

    /// What gradients explain of this question: the logit where the perturbations are measured in probability, since in a
    /// saturated softmax the gradient of the probability is nothing but rounding.
    pub fn differentiated(self) -> Question {
        let score = if self.score == Score::Probability { Score::Logit } else { self.score };
        let contrast = self.contrast.filter(|_| score == Score::LogitDifference);
        Question { score, contrast, ..self }
    }
}

/// One prompt to explain.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What sets its random numbers apart from those of others: the example's name.
    pub key: String,
    pub prompt: Prompt,
    /// The scored position.
    pub position: usize,
    pub question: Question,
    /// The token that stands for a removed one.
    pub baseline: i64,
    /// What competes for a rank, and is taken away whole.
    pub ranked: Units,
}

impl Case {
    /// How many tokens it has.
    pub fn length(&self) -> usize {
        self.prompt.len()
    }

    pub fn row(&self) -> Row {
        Row::new(self.prompt.clone(), self.position)
    }

    /// The prompt with the tokens at `places` replaced by the baseline token.
    pub fn without(&self, places: &[usize]) -> Row {
        self.row().changed(places, Change::Token(self.baseline))
    }
}
