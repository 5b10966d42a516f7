use std::collections::{BTreeMap, HashSet};

use rand::SeedableRng;

use super::*;

const COUNT: usize = 240;

fn records(task: &str) -> Vec<Fields> {
    let generator = generators().into_iter().find(|generator| generator.task() == task).expect("a task");
    test_records(generator, &mut ChaCha8Rng::seed_from_u64(3), COUNT)
}

fn text<'a>(record: &'a Fields, field: &str) -> &'a str {
    record[field].as_str().expect("a text")
}

/// The annotated text, in lower case.
fn evidence(record: &Fields) -> Vec<String> {
    let letters: Vec<char> = text(record, "context").chars().collect();
    let spans: Vec<[usize; 2]> = serde_json::from_value(record["evidence"].clone()).expect("spans");
    spans.iter().map(|&[start, end]| letters[start..end].iter().collect::<String>().to_lowercase()).collect()
}

fn sentences(record: &Fields) -> Vec<String> {
    text(record, "context").trim_end_matches('.').split(". ").map(str::to_lowercase).collect()
}

fn labels(records: &[Fields]) -> BTreeMap<&str, usize> {
    let mut labels = BTreeMap::new();
    for record in records {
        *labels.entry(text(record, "label")).or_default() += 1;
    }
    labels
}

#[test]
fn no_context_stands_twice_and_ids_are_unique() {
    for generator in generators() {
        let records = records(generator.task());
        let contexts: HashSet<_> = records.iter().map(|record| text(record, "context")).collect();
        let ids: HashSet<_> = records.iter().map(|record| text(record, "id")).collect();
        assert_eq!((contexts.len(), ids.len()), (COUNT, COUNT));
    }
}

#[test]
fn labels_are_balanced() {
    let expected = |a, b| BTreeMap::from([(a, COUNT / 2), (b, COUNT / 2)]);
    assert_eq!(labels(&records("sentiment")), expected("positive", "negative"));
    assert_eq!(labels(&records("fact_checking")), expected("supported", "refuted"));
    let things = records("lookup").iter().filter(|record| text(record, "subject").starts_with("the ")).count();
    assert_eq!(things, COUNT / 2);
}

#[test]
fn lookup_evidence_is_the_fact_asked_for() {
    for record in records("lookup") {
        let fact = format!("{} {}", text(&record, "subject"), text(&record, "does")).to_lowercase();
        assert_eq!(evidence(&record), [fact]);
        assert_eq!(text(&record, "opening").to_lowercase(), text(&record, "subject").to_lowercase());
    }
}

#[test]
fn fact_checking_evidence_is_every_statement_about_the_subject() {
    let mut repeats = BTreeMap::new();
    for record in records("fact_checking") {
        let claim = text(&record, "claim").to_lowercase();
        let (subject, _) = claim.rsplit_once(' ').expect("a verb");
        let evidence = evidence(&record);
        let stated = sentences(&record).iter().filter(|sentence| sentence.contains(&format!("{subject} "))).count();
        assert_eq!(evidence.len(), stated);
        for statement in &evidence {
            assert!(statement.starts_with(subject));
            assert_eq!(*statement == claim, text(&record, "label") == "supported");
        }
        *repeats.entry(stated).or_insert(0) += 1;
    }
    assert_eq!(repeats, BTreeMap::from([(1, COUNT / 3), (2, COUNT / 3), (3, COUNT / 3)]));
}

#[test]
fn a_claimed_word_stands_in_the_context_as_often_as_its_subject() {
    for record in records("fact_checking") {
        let claim = text(&record, "claim").to_lowercase();
        let (subject, does) = claim.rsplit_once(' ').expect("a verb");
        let sentences = sentences(&record);
        let count = |word: &str| sentences.iter().filter(|sentence| format!("{sentence} ").contains(word)).count();
        assert!(count(&format!(" {does} ")) > 0);
        assert_eq!(count(&format!(" {does} ")), count(&format!("{subject} ")));
    }
}

#[test]
fn sentiment_evidence_has_the_polarity_of_the_label_and_half_the_text_the_other() {
    let likes = |sentence: &str| {
        let has = |words: &[&str]| sentence.split([' ', ',']).any(|word| words.contains(&word));
        has(words::GOOD) != has(words::NEGATIONS)
    };
    for record in records("sentiment") {
        let evidence = evidence(&record);
        assert_eq!(evidence.len(), 1);
        assert!(evidence[0].starts_with(&format!("the {} was ", text(&record, "subject"))));
        assert_eq!(likes(&evidence[0]), text(&record, "label") == "positive");
        assert_eq!(sentences(&record).iter().filter(|sentence| likes(sentence)).count(), sentiment::JUDGEMENTS / 2);
    }
}

#[test]
fn easy_texts_answer_their_questions_too() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for generator in generators() {
        for case in 0..50 {
            let text = generator.text(&mut rng, case, 6, Level::Easy);
            assert_eq!(text.questions.len(), 6);
            for question in &text.questions {
                assert!(question.evidence.iter().all(|span| span.end <= text.context.chars().count()));
            }
        }
    }
}
