//! The registries of methods and metrics are whole, and docs/reference.md is what they say.

use std::collections::BTreeSet;
use std::path::Path;

use gim_harness::attribution::{METHODS, Settings, build};
use gim_harness::config::{OptionInfo, OptionKind, OptionValue, WrittenFile};
use gim_harness::{faithfulness, reference};

#[test]
fn the_committed_page_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == reference::page(), "run `gim-harness reference > docs/reference.md`");
}

#[test]
fn every_method_says_what_it_is() {
    let page = reference::page();
    let mut names = BTreeSet::new();
    for entry in METHODS {
        let name = entry.info.name;
        assert!(names.insert(name), "{name} stands twice");
        for text in [entry.description, entry.source, entry.cost] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{name}: {text}");
        }
        assert!(page.contains(&format!("\n| `{name}` | ")), "{name} has no row");
        check_options(name, entry.info.options);
        // What a cost names in code is an option.
        for option in entry.cost.split('`').skip(1).step_by(2) {
            assert!(entry.info.option(option).is_some(), "{name}: {option}");
        }
        assert!(build(name, &Settings::default()).is_some());
    }
    for name in ["attn_lrp", "transformer_lrp", "relp"] {
        let entry = METHODS.iter().find(|entry| entry.info.name == name).unwrap();
        assert!(entry.description.contains("patented"), "{name}");
    }
}

#[test]
fn every_metric_says_what_it_is() {
    let page = reference::page();
    let mut names = BTreeSet::new();
    for (family, metric) in faithfulness::metrics() {
        let name = metric.name;
        assert!(names.insert(name), "{name} stands twice");
        assert!(!family.source.is_empty() && !family.cost.is_empty() && !metric.label.is_empty(), "{name}");
        assert!(metric.description.ends_with('.'), "{name}: {}", metric.description);
        assert!(page.contains(&format!("\n| `{name}`")), "{name} has no row");
        check_options(name, family.options);
    }
}

fn check_options(of: &str, options: &[OptionInfo]) {
    let mut names = BTreeSet::new();
    for option in options {
        let what = format!("{of}.{}", option.name);
        assert!(names.insert(option.name), "{what} stands twice");
        assert!(option.about.ends_with('.'), "{what}: {}", option.about);
        let default_is_allowed = match (option.kind, option.default) {
            (OptionKind::Integer(least, most), OptionValue::Integer(number)) => (least..=most).contains(&number),
            (OptionKind::IntegerOr(word, least, most), default) => match default {
                OptionValue::Integer(number) => (least..=most).contains(&number),
                default => default == OptionValue::Word(word),
            },
            (OptionKind::Fraction, OptionValue::Number(number)) => number > 0.0 && number < 1.0,
            (OptionKind::Number(least, most), OptionValue::Number(number)) => (least..=most).contains(&number),
            (OptionKind::Choice(words), OptionValue::Word(word)) => words.contains(&word),
            (OptionKind::Words(words, least), OptionValue::Words(chosen)) => {
                chosen.iter().count() >= least && chosen.iter().all(|word| words.contains(&word))
            }
            (OptionKind::Name, OptionValue::Word(word)) => word.is_empty(),
            (OptionKind::File, OptionValue::File(file)) => file == WrittenFile::NONE,
            _ => false,
        };
        assert!(default_is_allowed, "{what}: {}", option.default);
        let bounds_are_in_order = match option.kind {
            OptionKind::Integer(least, most) | OptionKind::IntegerOr(_, least, most) => least < most,
            OptionKind::Number(least, most) => least < most,
            OptionKind::Choice(words) => words.len() > 1,
            OptionKind::Words(words, least) => words.len() > least,
            OptionKind::Fraction | OptionKind::Name | OptionKind::File => true,
        };
        assert!(bounds_are_in_order, "{what}: {}", option.kind);
        if let Some((other, value)) = option.only_with {
            let other = options.iter().find(|option| option.name == other);
            assert!(other.is_some_and(|other| other.kind.to_string().contains(&value.to_string())), "{what}");
        }
    }
}
