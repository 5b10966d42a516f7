//! Prompts and answers with `{field}` placeholders.

use std::fmt;

/// A template has no more placeholders than twice this (with text between them: than this).
const MAX_PLACEHOLDERS: usize = 1000;

/// Text in which `{field}` stands for a field of a record; `{{` and `}}` are literal braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

/// A stretch of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that is the same in every example, braces resolved.
    Text(String),
    /// The value of a field.
    Field(Placeholder),
}

/// The name of a field, and the place in the task file where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    pub name: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters; that of the opening brace.
    pub column: usize,
}

/// What is wrong with a template, at a character of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TemplateMistake {
    /// Counted from 0.
    pub character: usize,
    pub message: &'static str,
    pub help: &'static str,
}

impl Template {
    /// Reads a template; `position` gives line and column of its n-th character.
    pub(super) fn parse(
        source: &str,
        position: impl Fn(usize) -> (usize, usize),
    ) -> Result<Template, Vec<TemplateMistake>> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut mistakes = Vec::new();
        let mut characters = source.chars().enumerate().peekable();
        while let Some((at, character)) = characters.next() {
            let doubled = characters.peek().is_some_and(|&(_, next)| next == character);
            match character {
                '{' | '}' if doubled => {
                    characters.next();
                    text.push(character);
                }
                '}' => mistakes.push(TemplateMistake {
                    character: at,
                    message: "`}` without `{`",
                    help: "write `}}` for a literal brace",
                }),
                '{' => {
                    let mut name = String::new();
                    while let Some((_, next)) = characters.next_if(|&(_, next)| next != '}' && next != '{') {
                        name.push(next);
                    }
                    if characters.next_if(|&(_, next)| next == '}').is_none() {
                        let (message, help) = ("`{` without `}`", "write `{{` for a literal brace");
                        mistakes.push(TemplateMistake { character: at, message, help });
                    } else if name.trim().is_empty() {
                        let (message, help) = ("a placeholder without a name", "write `{{}}` for literal braces");
                        mistakes.push(TemplateMistake { character: at, message, help });
                    } else if parts.len() >= 2 * MAX_PLACEHOLDERS {
                        let (message, help) = ("more placeholders than any prompt needs", "");
                        mistakes.push(TemplateMistake { character: at, message, help });
                        break;
                    } else {
                        if !text.is_empty() {
                            parts.push(Part::Text(std::mem::take(&mut text)));
                        }
                        let (line, column) = position(at);
                        parts.push(Part::Field(Placeholder { name, line, column }));
                    }
                }
                character => text.push(character),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if mistakes.is_empty() { Ok(Template { source: source.to_owned(), parts }) } else { Err(mistakes) }
    }

    /// One field and nothing else, named at a place of its own.
    pub(super) fn field(name: &str, line: usize, column: usize) -> Template {
        let placeholder = Placeholder { name: name.to_owned(), line, column };
        Template { source: format!("{{{name}}}"), parts: vec![Part::Field(placeholder)] }
    }

    /// The stretches in their order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The placeholders in their order; a field may stand in it more than once.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(placeholder) => Some(placeholder),
            Part::Text(_) => None,
        })
    }

    /// The text, where it is the same in every example.
    pub fn fixed(&self) -> Option<String> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Field(_) => None,
            })
            .collect()
    }
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(source: &str) -> Result<Template, Vec<(usize, &'static str)>> {
        Template::parse(source, |at| (1, at + 1))
            .map_err(|mistakes| mistakes.iter().map(|mistake| (mistake.character, mistake.message)).collect())
    }

    #[test]
    fn placeholders_and_braces() {
        let template = parse("é {{x}} {context}?{a b}").unwrap();
        let names: Vec<(&str, usize)> = template.placeholders().map(|p| (p.name.as_str(), p.column)).collect();
        assert_eq!(names, [("context", 9), ("a b", 19)]);
        assert_eq!(template.parts()[0], Part::Text("é {x} ".to_owned()));
        assert_eq!(template.fixed(), None);
        assert_eq!(parse("{{yes}}").unwrap().fixed().as_deref(), Some("{yes}"));
    }

    #[test]
    fn every_mistake_is_found() {
        assert_eq!(
            parse("a } {} {b").unwrap_err(),
            [(2, "`}` without `{`"), (4, "a placeholder without a name"), (7, "`{` without `}`"),]
        );
        assert_eq!(parse("{a{b}").unwrap_err(), [(0, "`{` without `}`")]);
    }

    proptest! {
        #[test]
        fn literal_text_survives(text in any::<String>()) {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(parse(&escaped).unwrap().fixed(), Some(text));
        }

        #[test]
        fn never_panics(text in "[{}a é]*") {
            let _ = parse(&text);
        }
    }
}
