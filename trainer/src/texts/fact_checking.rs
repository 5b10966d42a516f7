//! Fact checking: two pairs of statements, each statement of a pair stated equally often, one to three times. The
//! claim is one of them, or gives its subject what the text says of the other subject of the pair. So every word of a
//! false claim stands in the text, as often as those of a true one: neither presence nor counting answers anything.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::statements::{self, Kind, Statement, statements};
use super::words::OPENINGS;
use super::{Fields, Generator, Level, Question, Text, Writer, fields};

pub struct FactChecking;

impl Generator for FactChecking {
    fn task(&self) -> &'static str {
        "fact_checking"
    }

    fn text(&self, rng: &mut ChaCha8Rng, case: usize, questions: usize, level: Level) -> Text {
        // How often the statements of the first pair, asked about first, and of the second are made.
        let first = case / 2 % 3 + 1;
        let second = (first + rng.random_range(0..2)) % 3 + 1;
        let repeats = [first, first, second, second];
        let mut facts = pairs(rng);
        if level == Level::Easy {
            facts.truncate(2);
        }
        let mut order: Vec<usize> = (0..facts.len()).flat_map(|fact| vec![fact; repeats[fact]]).collect();
        order.shuffle(rng);
        let mut writer = Writer::default();
        let mut spans = vec![Vec::new(); facts.len()];
        for fact in order {
            spans[fact].push(writer.sentence(rng, OPENINGS, &facts[fact].text()));
        }
        let questions = (0..questions)
            .map(|index| {
                let (fact, holds) = if index == 0 {
                    (rng.random_range(0..2), case.is_multiple_of(2))
                } else {
                    (rng.random_range(0..facts.len()), rng.random_bool(0.5))
                };
                // The other statement of a pair has the index that differs in the last bit.
                let does = match holds {
                    true => facts[fact].does,
                    // An easy false claim may say what the text says of nobody.
                    false if level == Level::Easy && rng.random_bool(0.5) => unstated(rng, &facts, facts[fact].kind),
                    false => facts[fact ^ 1].does,
                };
                Question { fields: claim(Statement { does, ..facts[fact] }, holds), evidence: spans[fact].clone() }
            })
            .collect();
        Text { context: writer.context, questions }
    }

    fn words(&self) -> Vec<&'static str> {
        statements::words()
    }
}

/// Four statements; the first two are of one kind, and the last two.
fn pairs(rng: &mut ChaCha8Rng) -> Vec<Statement> {
    let kinds = [Kind::Person, Kind::Thing];
    let (first, second) = (kinds[rng.random_range(0..2)], kinds[rng.random_range(0..2)]);
    if first == second {
        return statements(rng, first, 4);
    }
    let mut facts = statements(rng, first, 2);
    facts.extend(statements(rng, second, 2));
    facts
}

/// What none of `facts` says.
fn unstated(rng: &mut ChaCha8Rng, facts: &[Statement], kind: Kind) -> &'static str {
    loop {
        let does = statements(rng, kind, 1)[0].does;
        if facts.iter().all(|fact| fact.does != does) {
            return does;
        }
    }
}

fn claim(claim: Statement, holds: bool) -> Fields {
    fields([("claim", &claim.text()), ("label", if holds { "supported" } else { "refuted" })])
}
