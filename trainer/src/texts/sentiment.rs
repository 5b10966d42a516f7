//! Sentiment: four things judged, two well and two badly, each with or without a negation ("The plot was not very
//! good."). The question names one of them, so two or three sentences say the opposite about something else.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::words::{ASIDES, BAD, DEGREES, GOOD, JUDGED, NEGATIONS};
use super::{Generator, Level, Question, Text, Writer, fields, pick, pick_many};

pub(super) const JUDGEMENTS: usize = 4;

pub struct Sentiment;

impl Generator for Sentiment {
    fn task(&self) -> &'static str {
        "sentiment"
    }

    fn text(&self, rng: &mut ChaCha8Rng, case: usize, questions: usize, level: Level) -> Text {
        // An easy text judges one thing, or two, and seldom negates: a negation in half the cases would leave the
        // adjective alone without any bearing on the answer, and nothing to begin with.
        let (judgements, negated) = match level {
            Level::Easy => (rng.random_range(1..=2), 0.15),
            Level::Full => (JUDGEMENTS, 0.5),
        };
        let mut liked: Vec<bool> = (0..judgements).map(|index| index % 2 == case % 2).collect();
        liked.shuffle(rng);
        let mut writer = Writer::default();
        let mut judged: Vec<_> = pick_many(rng, JUDGED, judgements)
            .into_iter()
            .zip(liked)
            .map(|(subject, liked)| {
                let judgement = judgement(rng, subject, liked, negated);
                let span = writer.sentence(rng, ASIDES, &judgement);
                (subject, liked, span)
            })
            .collect();
        judged.shuffle(rng);
        let first = case.is_multiple_of(2);
        judged.sort_by_key(|&(_, liked, _)| liked != first);
        judged[1..].shuffle(rng);
        let questions = (0..questions)
            .map(|index| {
                let (subject, liked, span) = &judged[index % judgements];
                let label = if *liked { "positive" } else { "negative" };
                Question { fields: fields([("subject", subject), ("label", label)]), evidence: vec![span.clone()] }
            })
            .collect();
        Text { context: writer.context, questions }
    }

    fn words(&self) -> Vec<&'static str> {
        let mut words = vec!["the", "The", "was"];
        for list in [JUDGED, GOOD, BAD, NEGATIONS, DEGREES, ASIDES] {
            words.extend_from_slice(list);
        }
        words
    }
}

/// Negated with the probability `negated`, whichever way it comes out.
fn judgement(rng: &mut ChaCha8Rng, subject: &str, liked: bool, negated: f64) -> String {
    let negated = rng.random_bool(negated);
    let adjective = pick(rng, if liked != negated { GOOD } else { BAD });
    let mut words = vec!["the", subject, "was"];
    if negated {
        words.push(pick(rng, NEGATIONS));
    }
    if rng.random_bool(0.3) {
        words.push(pick(rng, DEGREES));
    }
    words.push(adjective);
    words.join(" ")
}
