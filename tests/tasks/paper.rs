//! The paper's six tasks, on data in the forms in which they are published.

use super::*;

fn copied(name: &str, files: &[(&str, &str)]) -> Written {
    let task = std::fs::read_to_string(root().join(format!("tasks/paper/{name}.yaml"))).unwrap();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_bytes())).collect();
    Written::new(&task, &files)
}

fn eraser(label: &str, other: &str, doc: &str) -> String {
    let row = |id: &str, label: &str| {
        format!(
            "{{\"annotation_id\": \"{id}\", \"classification\": \"{label}\", \"docids\": [\"{doc}\"], \"evidences\": [[{{\"docid\": \"{doc}\", \
             \"start_token\": 1, \"end_token\": 3, \"text\": \"mill stands\"}}]], \"query\": \"the mill stands\", \"query_type\": null}}\n"
        )
    };
    row("1", label) + &row("2", other)
}

/// Every task file with data of its own; of two records one has the label that the paper takes.
fn all() -> Vec<(&'static str, Written)> {
    let text = "The mill stands .\nIt is old .\n";
    let posts = r#"{"1_gab": {"post_id": "1_gab", "annotators": [{"label": "hatespeech", "annotator_id": 1, "target": []}, {"label": "hatespeech", "annotator_id": 2, "target": []}, {"label": "normal", "annotator_id": 3, "target": []}],
        "rationales": [[0, 1, 1, 0], [0, 1, 1, 0]], "post_tokens": ["The", "mill", "stands", "."]},
        "2_gab": {"post_id": "2_gab", "annotators": [{"label": "normal", "annotator_id": 1, "target": []}], "rationales": [], "post_tokens": ["The", "mill"]}}"#;
    let claims = r#"{"id": 1, "claim": "The mill stands.", "evidence": {"5": [{"sentences": [0], "label": "SUPPORT"}]}, "cited_doc_ids": [5]}
{"id": 2, "claim": "The mill fell.", "evidence": {"5": [{"sentences": [0], "label": "CONTRADICT"}]}, "cited_doc_ids": [5]}
"#;
    let corpus =
        r#"{"doc_id": 5, "title": "Mills", "abstract": ["The mill stands.", "It is old."], "structured": false}"#;
    let tweets = "textID,text,selected_text,sentiment\na1, The mill stands!,mill stands!,positive\na2,It fell,fell,negative\na3,,,neutral\n";
    vec![
        (
            "boolq",
            copied(
                "boolq",
                &[("data/boolq/val.jsonl", &eraser("True", "False", "M_1")), ("data/boolq/docs/M_1", text)],
            ),
        ),
        (
            "fever",
            copied(
                "fever",
                &[("data/fever/val.jsonl", &eraser("SUPPORTS", "REFUTES", "M")), ("data/fever/docs/M", text)],
            ),
        ),
        (
            "movies",
            copied(
                "movies",
                &[
                    ("data/movies/val.jsonl", &eraser("POS", "NEG", "posR_1.txt")),
                    ("data/movies/docs/posR_1.txt", text),
                ],
            ),
        ),
        (
            "hatexplain",
            copied(
                "hatexplain",
                &[
                    ("data/hatexplain/dataset.json", posts),
                    (
                        "data/hatexplain/post_id_divisions.json",
                        r#"{"train": [], "val": [], "test": ["1_gab", "2_gab"]}"#,
                    ),
                ],
            ),
        ),
        (
            "scifact",
            copied("scifact", &[("data/scifact/claims_dev.jsonl", claims), ("data/scifact/corpus.jsonl", corpus)]),
        ),
        ("tweets", copied("tweets", &[("data/tweets/train.csv", tweets)])),
    ]
}

#[test]
fn each_is_read_for_each_family_with_and_without_chat_templates() {
    for (name, written) in all() {
        for architecture in ["llama", "qwen2", "gemma3_text", "gpt2"] {
            for template in [None, Some("chatml"), Some("no_system")] {
                // Templates without a system's message are those of Gemma.
                if template == Some("no_system") && architecture != "gemma3_text" {
                    continue;
                }
                let model = Model { architecture, chat: template.map(chat::template), ..Model::bytes() };
                let data = written.load(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(data.examples.len(), 1, "{name}: the paper's label");
                let example = &data.examples[0];
                let id = |text: &str| model.tokenizer.id_of_single_token(text).unwrap();
                assert_eq!((example.target, example.options[0][0]), (id(" Yes"), id(" Yes")), "{name}");
                let prompt = &prompts(&data)[0];
                assert!(prompt.ends_with("Answer:"), "{name}, {architecture}: {prompt}");
                let chats = template.is_some() && architecture != "gpt2";
                assert_eq!(data.counts.chat, chats, "{name}, {architecture}");
                assert_eq!(
                    prompt.contains("Answer with one word."),
                    chats || architecture == "gemma3_text",
                    "{prompt}"
                );
                let found = words(example, &example.evidence).replace('|', "");
                assert!(found.contains("mill") && found.contains("stands"), "{name}: {found}");
            }
        }
    }
}

#[test]
fn each_says_where_to_get_its_data() {
    let folder = root().join("tasks/paper");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert_eq!(names, ["boolq.yaml", "fever.yaml", "hatexplain.yaml", "movies.yaml", "scifact.yaml", "tweets.yaml"]);
    for name in names {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        assert!(text.contains("# Where to get the data:"), "{name}");
        assert!(
            text.contains("families:\n  llama:") && text.contains("  qwen:") && text.contains("  gemma:"),
            "{name}"
        );
    }
}
