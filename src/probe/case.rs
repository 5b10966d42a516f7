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
            (Score::LogProbability, _) => logit(self.target) - score.log_sum_exp,
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
    ///
    /// Behind the prompt itself stand those tokens of an answer of several that others follow: as many as there are
    /// `following`.
    pub prompt: Prompt,
    /// The scored position: where the answer, or its first token, is given.
    pub position: usize,
    /// With `following`, of the answer's first token.
    pub question: Question,
    /// The answer's other tokens, each asked for one position farther on; none but with a score that is a probability or
    /// its logarithm.
    pub following: Vec<i64>,
    /// The token that stands for a removed one.
    pub baseline: i64,
    /// What competes for a rank, and is taken away whole.
    pub ranked: Units,
}

impl Case {
    /// How many tokens the prompt has, without those of an answer of several.
    pub fn length(&self) -> usize {
        self.prompt.len() - self.following.len().min(self.prompt.len())
    }

    /// The tokens of the prompt, without those of an answer of several.
    pub fn tokens(&self) -> &[i64] {
        &self.prompt.ids()[..self.length()]
    }

    /// All tokens of the answer.
    pub fn answer(&self) -> impl Iterator<Item = i64> + '_ {
        std::iter::once(self.question.target).chain(self.following.iter().copied())
    }

    /// The question that gradients explain. In several saturated softmaxes there is no single logit to fall back on, so
    /// the probability of an answer of several tokens is explained by its logarithm.
    pub fn differentiated(&self) -> Question {
        match (self.question.score, self.following.is_empty()) {
            (Score::Probability, false) => Question { score: Score::LogProbability, contrast: None, ..self.question },
            _ => self.question.differentiated(),
        }
    }

    /// The same prompt with this answer, one token or more, asked for its probability.
    pub fn answered(&self, answer: &[i64], score: Score) -> Case {
        let (target, following) =
            answer.split_first().map_or((self.question.target, &[][..]), |(&first, rest)| (first, rest));
        // All but the last are followed by one.
        let prompt: Vec<i64> = self.tokens().iter().chain(&answer[..following.len()]).copied().collect();
        Case {
            prompt: prompt.into(),
            question: Question { target, contrast: None, score },
            following: following.to_vec(),
            ..self.clone()
        }
    }

    pub fn row(&self) -> Row {
        Row::new(self.prompt.clone(), self.position)
    }

    /// The prompt with the tokens at `places` replaced by the baseline token.
    pub fn without(&self, places: &[usize]) -> Row {
        self.row().changed(places, Change::Token(self.baseline))
    }
}
