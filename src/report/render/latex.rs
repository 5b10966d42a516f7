//! LaTeX: a document that any of its engines sets as it is, and from which tables can be taken over into a paper.
//!
//! Text is text: no character of it is a command, an active character or a ligature, and characters that a font lacks
//! are shown by their number instead of stopping pdfTeX.

use std::fmt::Write;

use crate::report::document::{Align, Block, Document, Inline, Table, Text};
use crate::text::shown;

/// Rows of a table that stand together; more go into a table of their own below, with the same head.
const ROWS: usize = 45;
/// A column with a cell of more characters has lines of a fixed width.
const LONG: usize = 40;
/// Characters without a space after which a line may end: hashes are longer than a column.
const UNBROKEN: usize = 24;

const HEAD: &str = r##"% Tables need \usepackage{booktabs} where they are taken over, and none of what is defined here but \uc, for characters
% beyond Latin. \fit makes what is wider than the text as wide as the text; it may be left out.
\documentclass[a4paper]{article}
\usepackage[margin=15mm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\ifdefined\Umathchar\usepackage{fontspec}\else\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}%
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}\fi
\newsavebox\fitted
\newcommand\fit[1]{\par\smallskip\noindent\sbox\fitted{\footnotesize #1}%
  \ifdim\wd\fitted>\linewidth\resizebox{\linewidth}{!}{\usebox\fitted}\else\usebox\fitted\fi\par\smallskip}
\DeclareRobustCommand\uc[2]{\ifdefined\Umathchar\iffontchar\font"#2 #1\else\bynumber{#2}\fi\else\bynumber{#2}\fi}
\newcommand\bynumber[1]{\texttt{\textbackslash u\{#1\}}}
\setlength\parindent{0pt}
\setlength\parskip{.6ex}
\setlength\tabcolsep{3pt}
\raggedright
\begin{document}
"##;

/// The whole document. `plots`: the folder beside it that holds a file for each plot.
pub fn render(document: &Document, plots: &str) -> String {
    let mut text = HEAD.to_owned();
    let _ = writeln!(text, "{{\\Large\\bfseries {}\\par}}", line(&document.title));
    let mut tables = 0;
    for block in document.blocks() {
        render_block(block, plots, &mut tables, &mut text);
    }
    text.push_str("\\end{document}\n");
    text
}

fn render_block(block: &Block, plots: &str, tables: &mut usize, text: &mut String) {
    match block {
        Block::Heading(level, title) => {
            let command = match level {
                2 => "section",
                3 => "subsection",
                _ => "subsubsection",
            };
            let _ = writeln!(text, "\n\\{command}*{{{}}}", line(title));
        }
        Block::Paragraph(words) => {
            let _ = writeln!(text, "\n{}", line(words));
        }
        Block::Notice(kind, words) => {
            let _ = writeln!(text, "\n\\textbf{{{kind}}}: {}", line(words));
        }
        Block::List(items) if items.is_empty() => {}
        Block::List(items) => {
            text.push_str("\n\\begin{itemize}\n");
            for item in items {
                let _ = writeln!(text, "\\item {}", no_argument(&line(item)));
            }
            text.push_str("\\end{itemize}\n");
        }
        Block::Table(table) => {
            *tables += 1;
            render_table(table, *tables, text);
        }
        // LaTeX reads no SVG by itself: the plot is named, and said in words.
        Block::Plot(plot) => {
            let file = escape(&format!("{plots}/{}.svg", plot.name));
            let (title, said) = (escape(&plot.title), escape(&plot.description));
            let _ = writeln!(text, "\n\\textbf{{{title}}} {{\\footnotesize {said} \\texttt{{{file}}}}}");
        }
        Block::Examples(examples) => {
            let said = format!("{}: {} of {} examples", examples.place, examples.examples.len(), examples.of);
            let _ = writeln!(text, "\n{}, in \\texttt{{report.html}}.", escape(&said));
        }
    }
}

fn render_table(table: &Table, number: usize, text: &mut String) {
    let is_long = |i: usize| table.rows.iter().any(|row| row[i].words().chars().count() > LONG);
    let columns: String = table
        .columns
        .iter()
        .enumerate()
        .map(|(i, (_, align))| match align {
            Align::Right => "r",
            Align::Left if is_long(i) => "p{70mm}",
            Align::Left => "l",
        })
        .collect();
    let head: Vec<String> = table.columns.iter().map(|(name, _)| escape(name)).collect();
    let _ = writeln!(text, "\n% Table {number}");
    for rows in table.rows.chunks(ROWS) {
        let _ = writeln!(text, "\\fit{{\\begin{{tabular}}{{{columns}}}\n\\toprule");
        let _ = writeln!(text, "{} \\\\\n\\midrule", head.join(" & "));
        for row in rows {
            let cells: Vec<String> = row.iter().map(line).collect();
            let _ = writeln!(text, "{} \\\\", no_argument(&cells.join(" & ")));
        }
        text.push_str("\\bottomrule\n\\end{tabular}}\n");
    }
}

/// What follows `\\` or `\item` is no argument of it, whatever it begins with.
fn no_argument(text: &str) -> String {
    if text.starts_with(['[', '*']) { format!("{{}}{text}") } else { text.to_owned() }
}

/// Inlines as one line.
fn line(text: &Text) -> String {
    text.0
        .iter()
        .map(|inline| {
            let words = escape(inline.words());
            match inline {
                Inline::Plain(_) => words,
                Inline::Strong(_) => format!("\\textbf{{{words}}}"),
                Inline::Emphasis(_) => format!("\\emph{{{words}}}"),
                Inline::Code(_) | Inline::File { .. } => format!("\\texttt{{{words}}}"),
            }
        })
        .collect()
}

/// Text as one line of LaTeX that is set as it is.
fn escape(text: &str) -> String {
    let text = shown(text);
    let mut out = String::with_capacity(text.len() + 16);
    let mut before = None;
    let mut unbroken = 0;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let next = characters.peek().copied();
        unbroken = if c == ' ' { 0 } else { unbroken + 1 };
        if unbroken > UNBROKEN {
            out.push_str("\\allowbreak{}");
            unbroken = 1;
        }
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '`' => out.push_str("\\textasciigrave{}"),
            '"' => out.push_str("\\textquotedbl{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '{' | '}' | '$' | '&' | '#' | '_' | '%' => out.extend(['\\', c]),
            // A minus, where a hyphen would be none.
            '-' if before.is_none_or(|b: char| b.is_whitespace() || b == '[')
                && next.is_some_and(|next| next.is_ascii_digit()) =>
            {
                out.push_str("$-$");
            }
            // Two of these are set as another character.
            '-' | ',' | '\'' if next == Some(c) => out.extend([c, '{', '}']),
            ' '..='~' => out.push(c),
            '↑' => out.push_str("$\\uparrow$"),
            '↓' => out.push_str("$\\downarrow$"),
            '†' => out.push_str("\\dag{}"),
            '‡' => out.push_str("\\ddag{}"),
            '×' => out.push_str("$\\times$"),
            '≤' => out.push_str("$\\leq$"),
            '≥' => out.push_str("$\\geq$"),
            '…' => out.push_str("\\dots{}"),
            '–' => out.push_str("--"),
            '—' => out.push_str("---"),
            // Letters of Latin-1, which every engine knows.
            'À'..='ÿ' if c != '÷' => out.push(c),
            c => {
                let _ = write!(out, "\\uc{{{c}}}{{{:X}}}", u32::from(c));
            }
        }
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_those_of_booktabs() {
        let mut table = Table::new(&[("method", Align::Left), ("mean [95 % CI]", Align::Right), ("why", Align::Left)]);
        table.row(vec![Text::new().strong("gim"), "-0.1 [-0.3, 0.5]".into(), "a word ".repeat(8).into()]);
        table.row(vec!["[x_1]".into(), "1e-5".into(), "".into()]);
        let mut text = String::new();
        render_table(&table, 3, &mut text);
        insta::assert_snapshot!(text, @r"

        % Table 3
        \fit{\begin{tabular}{lrp{70mm}}
        \toprule
        method & mean [95 \% CI] & why \\
        \midrule
        \textbf{gim} & $-$0.1 [$-$0.3, 0.5] & a word a word a word a word a word a word a word a word  \\
        {}[x\_1] & 1e-5 &  \\
        \bottomrule
        \end{tabular}}
        ");
        let mut long = Table::new(&[("n", Align::Right)]);
        (0..ROWS + 1).for_each(|n| long.row(vec![n.to_string().into()]));
        let mut text = String::new();
        render_table(&long, 1, &mut text);
        assert_eq!(text.matches("\\begin{tabular}").count(), 2);
    }

    #[test]
    fn strangers_text_is_text() {
        assert_eq!(escape(r"\input{/etc/passwd}"), r"\textbackslash{}input\{/etc/passwd\}");
        assert_eq!(
            escape("50 % of $5 & #1 ^^M a_b~"),
            r"50 \% of \$5 \& \#1 \textasciicircum{}\textasciicircum{}M a\_b\textasciitilde{}"
        );
        assert_eq!(
            escape("a -- b --- c, '' ,, `` <<>>"),
            r"a -{}- b -{}-{}- c, '{}' ,{}, \textasciigrave{}\textasciigrave{} \textless{}\textless{}\textgreater{}\textgreater{}"
        );
        assert_eq!(
            escape("a\nb\u{1b}\u{202e}"),
            r"a\textbackslash{}nb\textbackslash{}u\{1b\}\textbackslash{}u\{202e\}"
        );
        assert_eq!(escape("é 日 👍 ↑"), "é \\uc{日}{65E5} \\uc{👍}{1F44D} $\\uparrow$");
        assert_eq!(escape(&"ab".repeat(13)), format!("{}\\allowbreak{{}}ab", "ab".repeat(12)));
        assert_eq!(escape("x-1 -1 [-1, a-b"), "x-1 $-$1 [$-$1, a-b");
    }

    /// Whatever the text is: nothing in it ends a group, a cell, a row or the line, and every command is one of ours.
    #[test]
    fn nothing_in_a_text_acts() {
        let ours = [
            "allowbreak",
            "textbackslash",
            "textasciicircum",
            "textasciitilde",
            "textasciigrave",
            "textquotedbl",
            "textless",
            "textgreater",
            "uparrow",
            "downarrow",
            "dag",
            "ddag",
            "times",
            "leq",
            "geq",
            "dots",
            "uc",
            "{",
            "}",
            "$",
            "&",
            "#",
            "_",
            "%",
        ];
        proptest::proptest!(|(text in proptest::prelude::any::<String>())| {
            let escaped = escape(&text);
            let mut depth = 0_i32;
            let mut rest = escaped.as_str();
            while let Some(c) = rest.chars().next() {
                rest = &rest[c.len_utf8()..];
                match c {
                    '\\' => {
                        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()).max(1);
                        assert!(ours.contains(&&rest[..letters]), "{escaped}");
                        rest = &rest[letters..];
                    }
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    '&' | '%' | '#' | '^' | '_' | '~' | '\n' | '\r' => panic!("{escaped}"),
                    _ => {}
                }
                assert!(depth >= 0, "{escaped}");
            }
            assert_eq!(depth, 0, "{escaped}");
        });
    }
}
