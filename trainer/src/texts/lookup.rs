//! Look-up: six facts about people and things, one of them asked for. The answer is the word of that fact.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::statements::{self, Kind, Statement, statements};
use super::words::OPENINGS;
use super::{Fields, Generator, Level, Question, Text, Writer, capitalised, fields};

const FACTS: usize = 6;

pub struct Lookup;

impl Generator for Lookup {
    fn task(&self) -> &'static str {
        "lookup"
    }

    fn text(&self, rng: &mut ChaCha8Rng, case: usize, questions: usize, _: Level) -> Text {
        let people = rng.random_range(2..=FACTS - 2);
        let mut facts = statements(rng, Kind::Person, people);
        facts.extend(statements(rng, Kind::Thing, FACTS - people));
        facts.shuffle(rng);
        let mut writer = Writer::default();
        let mut facts: Vec<_> = facts
            .into_iter()
            .map(|fact| {
                let span = writer.sentence(rng, OPENINGS, &fact.text());
                (fact, span)
            })
            .collect();
        facts.shuffle(rng);
        // People and things are asked about in turn.
        let first = [Kind::Person, Kind::Thing][case % 2];
        facts.sort_by_key(|(fact, _)| fact.kind != first);
        facts[1..].shuffle(rng);
        let questions = (0..questions)
            .map(|index| {
                let (fact, span) = &facts[index % FACTS];
                Question { fields: question(fact), evidence: vec![span.clone()] }
            })
            .collect();
        Text { context: writer.context, questions }
    }

    fn words(&self) -> Vec<&'static str> {
        statements::words()
    }
}

fn question(fact: &Statement) -> Fields {
    let subject = fact.subject();
    fields([("subject", &subject), ("opening", &capitalised(&subject)), ("does", fact.does)])
}
