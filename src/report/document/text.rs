//! Running text.

/// A piece of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Inline {
    Plain(String),
    Strong(String),
    Emphasis(String),
    /// A file, a column, a command.
    Code(String),
    /// A file beside the report.
    File {
        text: String,
        path: String,
    },
}

/// Text in pieces, on one line. What is pushed is text as it is; only [`Text::prose`] knows marks, and takes none but the
/// program's own words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text(pub Vec<Inline>);

impl Text {
    pub fn new() -> Text {
        Text::default()
    }

    /// The program's own words, in which `*...*` is emphasis, `**...**` strong and `` `...` `` code.
    pub fn prose(words: &'static str) -> Text {
        let mut text = Text::new();
        let mut rest = words;
        while let Some(start) = rest.find(['*', '`']) {
            let mark = if rest[start..].starts_with("**") { "**" } else { &rest[start..=start] };
            let inside = &rest[start + mark.len()..];
            let Some(end) = inside.find(mark) else { break };
            text = text.plain(&rest[..start]);
            let inner = inside[..end].to_owned();
            text.0.push(match mark {
                "**" => Inline::Strong(inner),
                "*" => Inline::Emphasis(inner),
                _ => Inline::Code(inner),
            });
            rest = &inside[end + mark.len()..];
        }
        text.plain(rest)
    }

    pub fn plain(mut self, text: impl Into<String>) -> Text {
        let text = text.into();
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Inline::Plain(last)) => last.push_str(&text),
            _ => self.0.push(Inline::Plain(text)),
        }
        self
    }

    pub fn strong(mut self, text: impl Into<String>) -> Text {
        self.0.push(Inline::Strong(text.into()));
        self
    }

    pub fn emphasis(mut self, text: impl Into<String>) -> Text {
        self.0.push(Inline::Emphasis(text.into()));
        self
    }

    pub fn file(mut self, text: impl Into<String>, path: impl Into<String>) -> Text {
        self.0.push(Inline::File { text: text.into(), path: path.into() });
        self
    }

    pub fn then(mut self, more: Text) -> Text {
        for piece in more.0 {
            match piece {
                Inline::Plain(text) => self = self.plain(text),
                piece => self.0.push(piece),
            }
        }
        self
    }

    /// Its words alone.
    pub fn words(&self) -> String {
        self.0.iter().map(Inline::words).collect()
    }
}

impl Inline {
    pub fn words(&self) -> &str {
        match self {
            Inline::Plain(text) | Inline::Strong(text) | Inline::Emphasis(text) | Inline::Code(text) => text,
            Inline::File { text, .. } => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::new().plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::new().plain(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_has_marks_and_nothing_else_has() {
        let text = Text::prose("*a* is **b c**, `d*e` and 2 * 3");
        let expected = Text::new()
            .emphasis("a")
            .plain(" is ")
            .strong("b c")
            .plain(", ")
            .then(Text(vec![Inline::Code("d*e".into())]))
            .plain(" and 2 * 3");
        assert_eq!(text, expected);
        assert_eq!(Text::from("*a*").0, [Inline::Plain("*a*".into())]);
        assert_eq!(Text::from("a").then(Text::prose("b *c*")).words(), "ab c");
        assert_eq!(Text::from("a").then("b".into()).0.len(), 1);
    }
}
