//! Markdown that reads alike in a terminal and on GitHub, and in which text stays text.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr as _;

use super::wrap::{WIDTH, wrap};
use crate::report::document::{Align, Block, Document, Inline, Table, Text};
use crate::text::acts;

/// The whole document. `plots`: the folder beside it that holds a file for each plot.
pub fn render(document: &Document, plots: &str) -> String {
    let mut text = format!("# {}\n", line(&document.title));
    for block in document.blocks() {
        render_block(block, plots, &mut text);
    }
    text
}

fn render_block(block: &Block, plots: &str, text: &mut String) {
    let paragraph = |words: &str| wrap(words, "", WIDTH, is_marker);
    match block {
        Block::Heading(level, title) => {
            let _ = writeln!(text, "\n{} {}", "#".repeat(usize::from(*level)), line(title));
        }
        Block::Paragraph(words) => {
            let _ = write!(text, "\n{}", paragraph(&line(words)));
        }
        Block::Notice(kind, words) => {
            let _ = write!(text, "\n{}", paragraph(&format!("**{kind}**: {}", line(words))));
        }
        Block::List(items) if items.is_empty() => {}
        Block::List(items) => {
            text.push('\n');
            for item in items {
                text.push_str(&wrap(&format!("- {}", line(item)), "  ", WIDTH, is_marker));
            }
        }
        Block::Table(table) => {
            text.push('\n');
            render_table(table, text);
        }
        Block::Plot(plot) => {
            let _ = write!(text, "\n![{}]({plots}/{}.svg)\n", escape(&plot.title), plot.name);
        }
        Block::Examples(examples) => {
            let said = format!("{}: {} of {} examples", examples.place, examples.examples.len(), examples.of);
            let _ = write!(text, "\n{}", paragraph(&format!("{}, in [report.html](report.html).", escape(&said))));
        }
    }
}

/// Inlines as one line.
pub fn line(text: &Text) -> String {
    text.0
        .iter()
        .map(|inline| match inline {
            Inline::Plain(text) => escape(text),
            Inline::Strong(text) => format!("**{}**", escape(text)),
            Inline::Emphasis(text) => format!("*{}*", escape(text)),
            Inline::Code(text) if text.contains(['`', '\n']) || text.chars().any(acts) => escape(text),
            Inline::Code(text) => format!("`{}`", text.replace('|', "\\|")),
            Inline::File { text, path } => format!("[{}]({path})", escape(text)),
        })
        .collect()
}

/// Columns as wide as their widest cell.
fn render_table(table: &Table, text: &mut String) {
    let names: Vec<String> = table.columns.iter().map(|(name, _)| escape(name)).collect();
    let rows: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(line).collect()).collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|i| rows.iter().map(|row| row[i].width()).chain([names[i].width(), 3]).max().unwrap_or(3))
        .collect();
    let mut write_row = |cells: &[String]| {
        for ((cell, (_, align)), widest) in cells.iter().zip(&table.columns).zip(&widths) {
            let gap = " ".repeat(widest.saturating_sub(cell.width()));
            let _ = match align {
                Align::Left => write!(text, "| {cell}{gap} "),
                Align::Right => write!(text, "| {gap}{cell} "),
            };
        }
        text.push_str("|\n");
    };
    write_row(&names);
    let rules: Vec<String> = table
        .columns
        .iter()
        .zip(&widths)
        .map(|((_, align), widest)| match align {
            Align::Left => "-".repeat(*widest),
            Align::Right => "-".repeat(widest - 1) + ":",
        })
        .collect();
    write_row(&rules);
    rows.iter().for_each(|row| write_row(row));
}

/// Whether a line that begins with this word would be a list, a heading, a quotation or a table.
fn is_marker(word: &str) -> bool {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(word.chars().next(), Some('-' | '+' | '*' | '=' | '#' | '>' | '|' | '~' | ':')) && !word.starts_with("**")
        || digits.len() < word.len() && digits.starts_with(['.', ')'])
}

/// Text as one line of Markdown that means nothing but itself: nothing in it is markup, breaks a table, or moves a
/// terminal's cursor. What can be no markup where it stands is left bare, because the file is read as it is, too.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let characters: Vec<char> = text.chars().collect();
    for (i, &c) in characters.iter().enumerate() {
        let next = characters.get(i + 1).copied();
        let inside_word = i > 0 && characters[i - 1].is_alphanumeric() && next.is_some_and(char::is_alphanumeric);
        match c {
            '\n' | '\r' => out.push('↵'),
            '\t' => out.push(' '),
            // GitHub and CommonMark leave underscores inside words alone, and `integrated_gradients` reads better bare.
            '_' if inside_word => out.push('_'),
            // "<0.0001" is no tag, and brackets without a target are no link.
            '<' if next.is_some_and(|next| next.is_ascii_digit()) => out.push('<'),
            '[' if next.is_some_and(|next| next.is_ascii_digit() || next == '-' || next == 'n') => out.push('['),
            '\\' | '|' | '`' | '*' | '_' | '~' | '[' | '<' | '&' | '$' => {
                out.push('\\');
                out.push(c);
            }
            ']' if matches!(next, Some('(' | '[' | ':')) => out.push_str("\\]"),
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
        let mut text = String::new();
        render_table(&table.without("same"), &mut text);
        insta::assert_snapshot!(text, @r"
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
        assert_eq!(escape("\u{1b}[31m\u{202e}\0"), r"\\u{1b}[31m\\u{202e}\\u{0}");
        assert_eq!(escape("ünï ✓"), "ünï ✓");
        assert_eq!(escape("1.2 [0.8, 1.7] [-1, 2] <0.0001"), "1.2 [0.8, 1.7] [-1, 2] <0.0001");
        assert_eq!(escape("[1](u) [1][u] [1]: u"), r"[1\](u) [1\]\[u] [1\]: u");
        let code = Text(vec![Inline::Code("a`b|".into()), Inline::Code("c|d".into())]).file("x*", "y.csv");
        assert_eq!(line(&code), r"a\`b\|`c\|d`[x\*](y.csv)");
    }
}
