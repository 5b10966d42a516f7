//! Text for a terminal: no markup, and nothing that moves a cursor.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr as _;

use super::wrap::{WIDTH, wrap};
use crate::report::document::{Align, Block, Document, Table, Text};
use crate::text::shown;

/// Columns between two columns of a table.
const GAP: &str = "  ";

/// The document's title and answer.
pub fn render_summary(document: &Document) -> String {
    let mut text = String::new();
    underlined(&document.title, '=', &mut text);
    document.summary.iter().for_each(|block| render_block(block, &mut text));
    text
}

fn render_block(block: &Block, text: &mut String) {
    let mut paragraph = |words: &str, indent: &str| text.push_str(&wrap(words, indent, WIDTH, |_| false));
    match block {
        Block::Heading(_, title) => {
            text.push('\n');
            underlined(title, '-', text);
        }
        Block::Paragraph(words) => {
            paragraph("", "");
            paragraph(&line(words), "");
        }
        Block::Notice(kind, words) => {
            paragraph("", "");
            paragraph(&format!("{}: {}", kind.to_uppercase(), line(words)), "  ");
        }
        Block::List(items) if items.is_empty() => {}
        Block::List(items) => {
            paragraph("", "");
            items.iter().for_each(|item| paragraph(&format!("- {}", line(item)), "  "));
        }
        Block::Table(table) => {
            text.push('\n');
            render_table(table, text);
        }
        // A page shows these.
        Block::Plot(_) | Block::Examples(_) => {}
    }
}

fn line(text: &Text) -> String {
    shown(&text.words()).into_owned()
}

fn underlined(title: &Text, with: char, text: &mut String) {
    let title = line(title);
    let _ = writeln!(text, "{title}\n{}", with.to_string().repeat(title.width()));
}

/// Columns as wide as their widest cell, between rules; where a table is wider than the terminal may be, a terminal
/// breaks its lines.
fn render_table(table: &Table, text: &mut String) {
    let names: Vec<String> = table.columns.iter().map(|(name, _)| shown(name).into_owned()).collect();
    let rows: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(line).collect()).collect();
    let widths: Vec<usize> = (0..names.len())
        .map(|i| rows.iter().map(|row| row[i].width()).chain([names[i].width()]).max().unwrap_or(0))
        .collect();
    let mut write_row = |cells: &[String]| {
        let mut written = String::new();
        for (i, ((cell, (_, align)), widest)) in cells.iter().zip(&table.columns).zip(&widths).enumerate() {
            let gap = " ".repeat(widest.saturating_sub(cell.width()));
            let between = if i == 0 { "" } else { GAP };
            let _ = match align {
                Align::Left => write!(written, "{between}{cell}{gap}"),
                Align::Right => write!(written, "{between}{gap}{cell}"),
            };
        }
        let _ = writeln!(text, "{}", written.trim_end());
    };
    write_row(&names);
    let rules: Vec<String> = widths.iter().map(|widest| "─".repeat(*widest)).collect();
    write_row(&rules);
    rows.iter().for_each(|row| write_row(row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_text_and_no_marks() {
        let mut table = Table::new(&[("method", Align::Left), ("n", Align::Right)]);
        table.row(vec!["a|b\u{1b}[31m".into(), "7".into()]);
        table.row(vec!["日本".into(), Text::new().emphasis("1234")]);
        let document = Document {
            title: "t\u{202e}itle".into(),
            summary: vec![
                Block::Notice("Warning", "careful".into()),
                Block::Heading(2, "First".into()),
                Block::Paragraph(Text::prose("*all* of **it** in `report.md`")),
                Block::Table(table),
                Block::List(vec!["one".into(), "two".into()]),
            ],
            rest: vec![Block::Paragraph("not in a summary".into())],
        };
        insta::assert_snapshot!(render_summary(&document), @r"
        t\u{202e}itle
        =============

        WARNING: careful

        First
        -----

        all of it in report.md

        method            n
        ─────────────  ────
        a|b\u{1b}[31m     7
        日本           1234

        - one
        - two
        ");
    }
}
