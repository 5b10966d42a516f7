//! Tables that read alike in a terminal and on GitHub, and text that stays text.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr as _;

use crate::text::acts;

#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    Left,
    Right,
}

/// A table in the making; cells are Markdown already.
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[(&str, Align)]) -> Table {
        Table { columns: columns.iter().map(|(name, align)| (name.to_string(), *align)).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Leaves a column out, e.g. one that says the same in every row.
    pub fn without(mut self, column: &str) -> Table {
        if let Some(i) = self.columns.iter().position(|(name, _)| name == column) {
            self.columns.remove(i);
            self.rows.iter_mut().for_each(|row| drop(row.remove(i)));
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Columns as wide as their widest cell.
    pub fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                self.rows.iter().map(|row| row[i].width()).chain([self.columns[i].0.width(), 3]).max().unwrap_or(3)
            })
            .collect();
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            for ((cell, (_, align)), widest) in cells.zip(&self.columns).zip(&widths) {
                let gap = " ".repeat(widest.saturating_sub(cell.width()));
                let _ = match align {
                    Align::Left => write!(text, "| {cell}{gap} "),
                    Align::Right => write!(text, "| {gap}{cell} "),
                };
            }
            text.push_str("|\n");
        };
        line(&mut self.columns.iter().map(|(name, _)| name.as_str()));
        let rules: Vec<String> = self
            .columns
            .iter()
            .zip(&widths)
            .map(|((_, align), widest)| match align {
                Align::Left => "-".repeat(*widest),
                Align::Right => "-".repeat(widest - 1) + ":",
            })
            .collect();
        line(&mut rules.iter().map(String::as_str));
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str));
        }
        text
    }
}

/// A stranger's text as one line of Markdown that means nothing but itself: nothing in it is markup, breaks a table, or
/// moves a terminal's cursor.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let characters: Vec<char> = text.chars().collect();
    for (i, &c) in characters.iter().enumerate() {
        let inside_word = i > 0
            && characters[i - 1].is_alphanumeric()
            && characters.get(i + 1).is_some_and(|next| next.is_alphanumeric());
        match c {
            '\n' | '\r' => out.push('↵'),
            '\t' => out.push(' '),
            // GitHub and CommonMark leave underscores inside words alone, and `integrated_gradients` reads better bare.
            '_' if inside_word => out.push('_'),
            '\\' | '|' | '`' | '*' | '_' | '~' | '[' | ']' | '<' | '&' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // An address would turn into a link.
            ':' if characters[i + 1..].starts_with(&['/', '/']) => out.push_str("\\:"),
            c if acts(c) => {
                out.push('\\');
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("method", Align::Left), ("n", Align::Right), ("same", Align::Left)]);
        table.row(vec!["gim".into(), "7".into(), "x".into()]);
        table.row(vec!["日本".into(), "1234".into(), "x".into()]);
        insta::assert_snapshot!(table.without("same").render(), @r"
        | method |    n |
        | ------ | ---: |
        | gim    |    7 |
        | 日本   | 1234 |
        ");
    }

    #[test]
    fn strangers_text_is_text() {
        assert_eq!(escape("integrated_gradients+tsg"), "integrated_gradients+tsg");
        assert_eq!(escape("a|b`c`\nd\r\te"), r"a\|b\`c\`↵d↵ e");
        assert_eq!(escape("_x_ *y* <script> [l](u) \\"), r"\_x\_ \*y\* \<script> \[l\](u) \\");
        assert_eq!(escape("https://a.example: b"), r"https\://a.example: b");
        assert_eq!(escape("\u{1b}[31m\u{202e}\0"), r"\\u{1b}\[31m\\u{202e}\\u{0}");
        assert_eq!(escape("ünï ✓"), "ünï ✓");
    }
}
