//! How prompts are made: families, chat templates, shown examples, shortened contexts, begin tokens; and which tokens
//! spans of characters are.

use super::*;
use gim_harness::units::Aggregate;
use proptest::prelude::*;

const ROWS: &str = concat!(
    "{\"id\": \"a\", \"c\": \" The sky is blue. \", \"e\": [[5, 8]], \"q\": \"One\", \"l\": \"y\"}\n",
    "{\"id\": \"b\", \"c\": \"Rain falls.\", \"e\": [[0, 4]], \"q\": \"Two\", \"l\": \"n\"}\n",
    "{\"id\": \"c\", \"c\": \"Snow falls.\", \"e\": [[5, 10]], \"q\": \"Six\", \"l\": \"y\"}\n",
    "{\"id\": \"d\", \"c\": \"Café.\", \"e\": [], \"q\": \"Ten\", \"l\": \"n\"}\n",
);

fn written(more: &str) -> Written {
    let task = format!(
        "data: {{file: d.jsonl, id: id}}\nprompt: \"{{c}} {{q}}?\"\ncontext: c\nevidence: e\nanswer: \"{{l}}\"\n\
         options: {{y: \" Yes\", n: \" No\"}}\n{more}"
    );
    Written::new(&task, &[("d.jsonl", ROWS.as_bytes())])
}

fn chatting(template: &str) -> Model {
    Model { chat: Some(chat::template(template)), ..Model::bytes() }
}

#[test]
fn families_have_forms_of_their_own() {
    let task = "opening: \" So:\"\nfamilies:\n  qwen: {prompt: \"{q} of {c}?\"}\n  qwen3: {options: {n: \"No\", y: \"Yes\"}, opening: \"!\"}\n";
    let model = |architecture| Model { architecture, ..Model::bytes() };
    let first = |architecture| prompts(&written(task).load(&model(architecture)).unwrap())[0].clone();
    assert_eq!(first("llama"), "<s> The sky is blue.  One? So:");
    assert_eq!(first("qwen2"), "<s>One of  The sky is blue. ? So:");
    assert_eq!(first("qwen3"), "<s> The sky is blue.  One?!", "the longest name counts");
    let (plain, own) = (written(task).load(&model("llama")).unwrap(), written(task).load(&model("qwen3_moe")).unwrap());
    let id = |text: &str| model("").tokenizer.id_of_single_token(text).unwrap();
    assert_eq!(plain.examples[0].options, [[id(" Yes")], [id(" No")]]);
    assert_eq!(own.examples[0].options, [[id("Yes")], [id("No")]], "in the order of the task");
    assert_eq!(evidence(&plain)[0], "sky");
    for (more, expected) in [
        ("families: {lama: {chat: always}}\n", "did you mean `llama`?"),
        ("families: {llama: {options: {y: \" Yes\", m: \" No\"}}}\n", "`m` is not one of the options of the task"),
        ("families: {llama: {options: {y: \" Yes\", m: \" No\"}}}\n", "the options of the family `llama` lack `n`"),
        ("families: {llama: {prompt: \"{q}\"}}\n", "evidence spans index the context, but the prompt has no `{c}`"),
        ("families: {llama: {prompt: \"{c} {z}\"}}\n", "the data have no field `z`"),
        ("families: {llama: {propmt: \"{c}\"}}\n", "did you mean `prompt`?"),
        ("families: {}\n", "this mapping is empty"),
        ("families: [llama]\n", "expected a mapping"),
    ] {
        let said = written(more).load(&Model::bytes()).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn chat_templates_surround_the_question() {
    let task = "chat: always\nsystem: Be brief.\nopening: \"\\nSo:\"\nrank: context\n";
    let data = written(task).load(&chatting("chatml")).unwrap();
    assert_eq!(
        prompts(&data)[0],
        "<|start|>system\nBe brief.<|end|>\n<|start|>user\n The sky is blue.  One?<|end|>\n<|start|>assistant\nSo:"
    );
    assert!(data.counts.chat);
    // The template cuts white space off; the context is followed all the same.
    let data = written(task).load(&chatting("trims")).unwrap();
    assert_eq!(prompts(&data)[0], "<s>[Q] Be brief.The sky is blue.  One? [/Q]\nSo:");
    let first = &data.examples[0];
    assert_eq!(evidence(&data), ["sky", "Rain", "falls", ""]);
    assert_eq!(words(first, first.ranked.places()), "The|sky|is|blue.");
    assert_eq!(data.counts.begins_itself, 0, "the template's begin token is the only one");
    assert_eq!(first.input_ids.iter().filter(|&&id| id == first.input_ids[0]).count(), 1);

    let plain = written("chat: if_there\n").load(&Model::bytes()).unwrap();
    assert!(!plain.counts.chat && prompts(&plain)[0].starts_with("<s> The sky"));
    for (template, expected) in [
        (None, "the model `model` has no chat template"),
        (Some("no_system"), "System role not supported"),
        (Some("drops"), "writes the question otherwise than it is"),
        (Some("unending"), "more steps than any template needs"),
    ] {
        let model = Model { chat: template.map(chat::template), ..Model::bytes() };
        let said = written(task).load(&model).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn shown_examples_are_the_same_for_all_and_asked_no_more() {
    let task = "few_shot: {count: 2}\nopening: \" So:\"\n";
    let data = written(task).load(&Model::bytes()).unwrap();
    assert_eq!((data.examples.len(), data.counts.shown, data.counts.available), (2, 2, 2));
    let shown: Vec<String> = prompts(&data).iter().map(|p| p.rsplitn(2, "\n\n").last().unwrap().to_owned()).collect();
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0].matches(" So: Yes").count(), 1, "as many of each answer: {}", shown[0]);
    assert_eq!(shown[0].matches(" So: No").count(), 1);
    assert!(prompts(&data).iter().all(|prompt| prompt.ends_with(" So:")));
    // The evidence is that of the question.
    for (example, found) in data.examples.iter().zip(evidence(&data)) {
        let expected = match example.id.as_str() {
            "a" => "sky",
            "b" => "Rain",
            "c" => "falls",
            _ => "",
        };
        assert_eq!(found, expected);
        let shown = shown[0].chars().count();
        assert!(example.evidence.iter().all(|&at| at > shown / 2));
    }
    // Another family, another tokenizer, another order of the data: the same ones.
    let turned: String = ROWS.lines().rev().map(|line| format!("{line}\n")).collect();
    let other = written(task);
    std::fs::write(other.0.path().join("d.jsonl"), turned).unwrap();
    let mut turned = ids(&other.load(&chatting("chatml")).unwrap()).into_iter().map(str::to_owned).collect::<Vec<_>>();
    turned.reverse();
    assert_eq!(turned, ids(&data));

    let named = written("few_shot: {ids: [c, a], separator: \" | \"}\n").load(&Model::bytes()).unwrap();
    assert_eq!(prompts(&named)[0], "<s>Snow falls. Six? Yes |  The sky is blue.  One? Yes | Rain falls. Two?");
    let turns = written("few_shot: {ids: [b]}\nchat: always\nopening: \"So:\"\n").load(&chatting("chatml")).unwrap();
    assert!(
        prompts(&turns)[1].ends_with(
            "<|start|>user\nRain falls. Two?<|end|>\n<|start|>assistant\nSo: No<|end|>\n<|start|>user\nSnow falls. Six?<|end|>\n<|start|>assistant\nSo:"
        ),
        "{}",
        prompts(&turns)[1]
    );
    for (more, expected) in [
        ("few_shot: {count: 5}\n", "5 examples are to be shown, and the data have 4"),
        ("few_shot: {count: 4}\n", "none of the 4 records"),
        ("few_shot: {ids: [z]}\n", "the data have no example `z` that can be used"),
        ("few_shot: {ids: [a, a]}\n", "the example `a` is already listed"),
        ("few_shot: {ids: [a], count: 1}\n", "give one of them"),
        ("few_shot: {}\n", "says neither `count` nor `ids`"),
        ("few_shot: {count: 65}\n", "65 is not between 1 and 64"),
    ] {
        let said = written(more).load(&Model::bytes()).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

/// What is ranked as one, of the first example.
fn units(data: &Dataset) -> Vec<String> {
    let first = &data.examples[0];
    let text = |places: &[usize]| places.iter().map(|&place| first.tokens[place].as_str()).collect::<String>();
    first.ranked.iter().map(text).collect()
}

#[test]
fn words_and_sentences_compete_whole() {
    let words = written("granularity: words\nrank: context\naggregate: signed_max\n").load(&Model::bytes()).unwrap();
    let first = &words.examples[0];
    assert_eq!(first.ranked.aggregate(), Aggregate::SignedMax);
    // The space behind the context belongs to the word behind it, which is not ranked.
    assert_eq!(units(&words).iter().map(|unit| unit.trim()).collect::<Vec<_>>(), ["The", "sky", "is", "blue", ".", ""]);
    let sentences = written("granularity: sentences\n").load(&Model::bytes()).unwrap();
    let found: Vec<String> = units(&sentences).iter().map(|unit| unit.trim().to_owned()).collect();
    assert!(found.contains(&"The sky is blue.".to_owned()) && found.contains(&"One".to_owned()), "{found:?}");
    // The last token, where the score is taken, is not ranked: of the last sentence the rest is.
    let last = first.input_ids.len() - 1;
    assert!(!sentences.examples[0].ranked.places().contains(&last));
    let tokens = written("").load(&Model::bytes()).unwrap();
    assert_eq!(tokens.examples[0].ranked.len(), last - 1);
}

#[test]
fn fields_and_shown_examples_compete_whole() {
    let task = "granularity: fields\nfew_shot: {ids: [b, c]}\nopening: \" So:\"\n";
    let plain = written(task).load(&Model::bytes()).unwrap();
    assert_eq!(
        units(&plain).iter().map(|unit| unit.trim()).collect::<Vec<_>>(),
        ["Rain falls. Two? So: No", "Snow falls. Six? So: Yes", "The sky is blue.", "One"]
    );
    let turns = "granularity: fields\nfew_shot: {ids: [b, c]}\nchat: always\nopening: \"So:\"\n";
    let turns = written(turns).load(&chatting("chatml")).unwrap();
    let found = units(&turns);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[1].starts_with("Snow falls. Six?<|end|>") && found[1].ends_with("So: Yes"), "{found:?}");
    assert_eq!(found[3].trim(), "One");
}

#[test]
fn a_record_names_groups_of_its_context() {
    let written = |groups: &str, more: &str| {
        let task = format!(
            "data: {{file: d.jsonl}}\nprompt: \"{{c}} {{q}}?\"\ncontext: c\ngroups: g\nanswer: \"{{l}}\"\n\
             options: {{y: \" Yes\", n: \" No\"}}\n{more}"
        );
        let rows = format!(
            "{{\"c\": \"One passage. Another one, with hay hay hay hay hay hay. The third.\", \"g\": {groups}, \"q\": \"Is it\", \"l\": \"y\"}}\n"
        );
        Written::new(&task, &[("d.jsonl", rows.as_bytes())])
    };
    let three = "[[0, 12], [56, 66], [13, 55]]";
    let data = written(three, "").load(&Model::bytes()).unwrap();
    let found: Vec<String> = units(&data).iter().map(|unit| unit.trim().to_owned()).collect();
    assert_eq!(found, ["One passage.", "Another one, with hay hay hay hay hay hay.", "The third."]);
    // What a shortened context leaves of them.
    let data = written(three, "max_tokens: 42\n").load(&Model::bytes()).unwrap();
    let found: Vec<String> = units(&data).iter().map(|unit| unit.trim().to_owned()).collect();
    assert_eq!((data.counts.shortened, found.len(), found[0].as_str()), (1, 2, "One passage."), "{found:?}");
    assert_eq!(
        written(three, "granularity: tokens\n").load(&Model::bytes()).unwrap().examples[0].ranked.of(0).len(),
        1
    );
    let ungrouped = Written::new(
        "data: {file: d.jsonl}\nprompt: \"{c}\"\nanswer: \" Yes\"\ngranularity: groups\n",
        &[("d.jsonl", b"{\"c\": \"x\"}\n")],
    );
    for (said, expected) in [
        (
            written("[[0, 9], [5, 12]]", "").load(&Model::bytes()).unwrap_err(),
            "the groups [0, 9) and [5, 12) share characters",
        ),
        (written("[[0, 99]]", "").load(&Model::bytes()).unwrap_err(), "ends past the context"),
        (ungrouped.plan().unwrap_err(), "`granularity: groups` has no groups"),
        (written(three, "granularity: wrods\n").plan().unwrap_err(), "did you mean `words`?"),
        (written(three, "metrics: [sufficency]\n").plan().unwrap_err(), "unknown metric"),
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn long_contexts_are_shortened_around_their_evidence() {
    let context = format!("{} needle {}", "hay ".repeat(50), "straw ".repeat(50));
    let at = context.find("needle").unwrap();
    let row = |evidence: String| {
        format!("{{\"c\": \"{context}\", \"e\": {evidence}, \"q\": \"Is it there\", \"l\": \"y\"}}\n")
    };
    let read = |most: usize, evidence: String, more: &str| {
        let task = format!(
            "data: {{file: d.jsonl{more}}}\nprompt: \"{{c}} {{q}}?\"\ncontext: c\nevidence: e\nanswer: \"{{l}}\"\n\
             options: {{y: \" Yes\", n: \" No\"}}\nmax_tokens: {most}\n"
        );
        let short = "{\"c\": \"short\", \"e\": [], \"q\": \"Is it\", \"l\": \"n\"}\n";
        Written::new(&task, &[("d.jsonl", format!("{}{short}", row(evidence)).as_bytes())])
    };
    let model = Model::bytes();
    let spans = format!("[[{at}, {}]]", at + 6);
    let data = read(60, spans.clone(), "").load(&model).unwrap();
    assert_eq!(data.counts.shortened, 1);
    assert_eq!(prompts(&data)[0], "<s>hay hay hay hay  needle straw straw straw straw Is it there?");
    assert_eq!(evidence(&data)[0], "needle");
    assert!(data.examples[0].input_ids.len() <= 60);
    // Without evidence, the beginning.
    let data = read(40, "[]".to_owned(), "").load(&model).unwrap();
    assert!(prompts(&data)[0].starts_with("<s>hay hay hay") && data.examples[0].input_ids.len() <= 40);
    // Two places.
    let data = read(60, format!("[[0, 3], [{at}, {}]]", at + 6), "").load(&model).unwrap();
    assert_eq!(evidence(&data)[0], "hay|needle");
    assert!(prompts(&data)[0].contains(" ... "), "{}", prompts(&data)[0]);
    // What cannot be shortened is a mistake, or left out if the task says so.
    let said = read(15, spans.clone(), "").said(&model);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("d.jsonl:1:1 the prompt of this record has"), "{said:?}");
    let data = read(15, spans.clone(), ", bad_rows: leave_out").load(&model).unwrap();
    let left_out: Vec<(String, usize)> = data.counts.left_out().collect();
    assert_eq!(left_out, [("bad record: the evidence does not fit into the prompt".to_owned(), 1)]);
    // The model's own limit counts where it is smaller.
    let small = Model { max_tokens: Some(60), ..Model::bytes() };
    let length = read(600, spans, "").load(&small).unwrap().examples[0].input_ids.len();
    assert!((50..=60).contains(&length), "{length}");
}

#[test]
fn no_prompt_begins_twice() {
    let task = "data: {file: d.jsonl}\nprompt: \"{w}\"\nanswer: \" Yes\"\n";
    let rows = b"{\"w\": \"<s>Is it?\"}\n{\"w\": \"Is it?\"}\n";
    let data = Written::new(task, &[("d.jsonl", rows)]).load(&Model::bytes()).unwrap();
    assert_eq!(data.examples[0].input_ids, data.examples[1].input_ids);
    assert_eq!(data.counts.begins_itself, 1);
}

/// The bytes of a token of a byte-level vocabulary: GPT-2's letters for bytes.
fn bytes_of(token: &str) -> Vec<u8> {
    let printable: Vec<u32> = (33..=126).chain(161..=172).chain(174..=255).collect();
    let mut others = 256..;
    let mut table = std::collections::HashMap::new();
    for byte in 0u32..256 {
        let letter = if printable.contains(&byte) { byte } else { others.next().unwrap() };
        table.insert(char::from_u32(letter).unwrap(), byte as u8);
    }
    token.chars().map(|letter| table[&letter]).collect()
}

/// Which tokens hold a byte of a character of a span that is no white space, by the bytes of the tokens alone.
fn by_bytes(text: &str, tokens: &[Vec<u8>], span: (usize, usize)) -> Vec<usize> {
    let mut is_inside = Vec::new();
    for (index, character) in text.chars().enumerate() {
        let counts = (span.0..span.1).contains(&index) && !character.is_whitespace();
        is_inside.extend(std::iter::repeat_n(counts, character.len_utf8()));
    }
    let mut at = 0;
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        if is_inside[at..at + token.len()].contains(&true) {
            found.push(index);
        }
        at += token.len();
    }
    assert_eq!(at, is_inside.len(), "the tokens are the text");
    found
}

fn vocabulary(file: &str) -> (Model, std::collections::HashMap<i64, String>) {
    let path = root().join(file);
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut names = std::collections::HashMap::new();
    match &json["model"]["vocab"] {
        serde_json::Value::Object(ids) => {
            names.extend(ids.iter().map(|(name, id)| (id.as_i64().unwrap(), name.clone())))
        }
        pieces => {
            let pieces = pieces.as_array().unwrap().iter().zip(0..);
            names.extend(pieces.map(|(piece, id)| (id, piece[0].as_str().unwrap().to_owned())));
        }
    }
    for added in json["added_tokens"].as_array().unwrap() {
        names.insert(added["id"].as_i64().unwrap(), added["content"].as_str().unwrap().to_owned());
    }
    (Model::with(&path), names)
}

/// One example with these spans of this context.
fn spanned(model: &Model, context: &str, span: (usize, usize)) -> Example {
    let answer = if model.tokenizer.id_of_single_token("Yes").is_ok() { "Yes" } else { "." };
    let task = "data: {file: d.jsonl}\nprompt: \"{c}\"\ncontext: c\nevidence: e\nanswer: \"{a}\"\n";
    let row = serde_json::json!({"c": context, "e": [[span.0, span.1]], "a": answer}).to_string();
    let data = Written::new(task, &[("d.jsonl", row.as_bytes())]).load(model).unwrap_or_else(|error| panic!("{error}"));
    data.examples.into_iter().next().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn spans_are_exact_for_byte_level_tokenizers(
        context in "(the|is|Yes| |  |\n|é|日|👍|e\u{301}|\t|[a-z]){1,20}\\.", start in 0usize..20, size in 1usize..8,
    ) {
        let (model, names) = vocabulary("tests/fixtures/tasks/tokenizer.json");
        let length = context.chars().count();
        let span = (start.min(length - 1), (start + size).min(length).max(start.min(length - 1) + 1));
        let example = spanned(&model, &context, span);
        let tokens: Vec<Vec<u8>> = example.input_ids.iter().skip(1).map(|id| bytes_of(&names[id])).collect();
        // The begin token comes first, and is no part of the text.
        let expected: Vec<usize> = by_bytes(&context, &tokens, span).into_iter().map(|at| at + 1).collect();
        prop_assert_eq!(example.evidence, expected);
    }

    #[test]
    fn spans_are_exact_for_metaspace_tokenizers(
        words in prop::collection::vec(prop::sample::select(vec!["The", "café", "films", "film", "."]), 1..8),
        start in 0usize..30, size in 1usize..8,
    ) {
        let (model, names) = vocabulary("tests/fixtures/config/metaspace.json");
        let context = format!("{} .", words.join(" "));
        let length = context.chars().count();
        let span = (start.min(length - 1), (start + size).min(length).max(start.min(length - 1) + 1));
        let example = spanned(&model, &context, span);
        // The first token has a space of its own, which is not in the text.
        let mut tokens: Vec<Vec<u8>> =
            example.input_ids.iter().skip(1).map(|id| names[id].replace('▁', " ").into_bytes()).collect();
        tokens[0].remove(0);
        let expected: Vec<usize> = by_bytes(&context, &tokens, span).into_iter().map(|at| at + 1).collect();
        prop_assert_eq!(example.evidence, expected);
    }

    #[test]
    fn spans_are_exact_for_word_pieces(
        words in prop::collection::vec(prop::sample::select(vec!["Good", "GOOD", "film", "a", "bad", "  "]), 1..8),
        start in 0usize..30, size in 1usize..8,
    ) {
        let (model, names) = vocabulary("tests/fixtures/classifier/tokenizer.json");
        let context = format!("{} .", words.join(" "));
        let characters: Vec<char> = context.chars().collect();
        let length = characters.len();
        let span = (start.min(length - 1), (start + size).min(length).max(start.min(length - 1) + 1));
        let example = spanned(&model, &context, span);
        // Pieces are the text without white space, in lower case; the first and the last token are special.
        let solid: Vec<usize> = (0..length).filter(|&at| !characters[at].is_whitespace()).collect();
        let mut at = 0;
        let mut expected = Vec::new();
        let last = example.input_ids.len() - 1;
        for (index, id) in example.input_ids.iter().enumerate().take(last).skip(1) {
            let name = &names[id];
            prop_assume!(name != "[UNK]");
            let size = name.trim_start_matches("##").chars().count();
            if solid[at..at + size].iter().any(|place| (span.0..span.1).contains(place)) {
                expected.push(index);
            }
            at += size;
        }
        prop_assert_eq!(at, solid.len());
        prop_assert_eq!(example.evidence, expected);
    }
}
