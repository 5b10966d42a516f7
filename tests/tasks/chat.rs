//! Chat templates, against what transformers makes of them.

use super::*;
use gim_harness::chat::{Message, Role};

#[derive(serde::Deserialize)]
struct Fixture {
    tokens: std::collections::BTreeMap<String, String>,
    conversations: std::collections::BTreeMap<String, Vec<(Role, String)>>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    template: String,
    /// By conversation; `None` where the template refuses it.
    written: std::collections::BTreeMap<String, Option<String>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(&std::fs::read_to_string(root().join("tests/fixtures/tasks/chat.json")).unwrap()).unwrap()
}

pub(super) fn template(name: &str) -> ChatTemplate {
    let fixture = fixture();
    let case = fixture.cases.into_iter().find(|case| case.name == name).unwrap();
    ChatTemplate { template: case.template, tokens: fixture.tokens }
}

#[test]
fn templates_write_what_transformers_makes_of_them() {
    let Fixture { tokens, conversations, cases } = fixture();
    let mut compared = 0;
    for case in cases {
        let template = ChatTemplate { template: case.template, tokens: tokens.clone() };
        for (conversation, expected) in &case.written {
            let said = conversations[conversation].iter();
            let messages: Vec<Message> =
                said.map(|(role, content)| Message { role: *role, content: content.clone() }).collect();
            let found = template.render(&messages);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{} {conversation}: {found:?}", case.name);
            compared += 1;
        }
    }
    assert_eq!(compared, 27);
}

#[test]
fn templates_that_cannot_be_used_say_why() {
    let user = [Message { role: Role::User, content: "x".to_owned() }];
    let system = [Message { role: Role::System, content: "x".to_owned() }];
    let said = |name: &str, messages: &[Message]| template(name).render(messages).unwrap_err().to_string();
    assert!(said("no_system", &system).contains("System role not supported"), "{}", said("no_system", &system));
    assert!(said("unending", &user).contains("more steps than any template needs"));
    assert!(said("broken", &user).contains("syntax error"), "{}", said("broken", &user));
    for template in [
        "{{ 'a' * 10000000000 }}",
        "{% for i in range(10000) %}{{ 'a' * 100000 }}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% include 'etc/passwd' %}",
        "{{ strftime_now('%Q') }}",
    ] {
        let template = ChatTemplate { template: template.to_owned(), tokens: Default::default() };
        assert!(template.render(&user).is_err(), "{}", template.template);
    }
}

#[test]
fn where_templates_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let found = || ChatTemplate::beside(&tokenizer).map(|found| found.map(|(template, files)| (template, files.len())));
    assert!(found().unwrap().is_none());
    write("tokenizer_config.json", "{\"bos_token\": \"<s>\"}");
    assert!(found().unwrap().is_none());
    write(
        "tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<s>\"}, \"chat_template\": \"A\", \"pad_token\": null}",
    );
    let (template, files) = found().unwrap().unwrap();
    assert_eq!((template.template.as_str(), files), ("A", 1));
    assert_eq!(template.tokens.into_iter().collect::<Vec<_>>(), [("bos_token".to_owned(), "<s>".to_owned())]);
    let several = "[{\"name\": \"tool_use\", \"template\": \"T\"}, {\"name\": \"default\", \"template\": \"D\"}]";
    write("tokenizer_config.json", &format!("{{\"chat_template\": {several}}}"));
    assert_eq!(found().unwrap().unwrap().0.template, "D");
    write("chat_template.jinja", "J");
    assert_eq!(found().unwrap().unwrap().0.template, "J");
    write("tokenizer_config.json", "{");
    let error = found().unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json has a chat template that cannot be read"), "{error}");
}
