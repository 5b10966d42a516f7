//! One page that needs nothing but itself.
//!
//! It is readable with no scripts and no style sheet at all, as under a content policy that blocks both where they stand
//! inline (mail programs and CI servers have such): headings, tables with borders, plots that carry their colours as
//! attributes, tokens in `mark`, `em` and `u`. Styles make it look good in light and dark, on phones and on paper; the
//! script sorts tables, filters examples, and keeps both in the address.

mod examples;
mod table;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::svg;
use crate::report::document::{Block, Document, Inline, Text};
use crate::text::shown;

pub(crate) const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole document. `plots`: the folder beside it that holds a file for each plot, if there is one.
pub fn render(document: &Document, plots: Option<&str>) -> String {
    let mut page = Page { plots, numbers: Numbers::default() };
    let title = shown(&document.title.words()).into_owned();
    let summary = page.sections(&document.summary);
    let rest = page.sections(&document.rest);
    let names = document.blocks().filter_map(|block| match block {
        Block::Heading(2, title) => Some(title),
        _ => None,
    });
    let contents = html! {
        nav aria-label="Contents" {
            ul { @for (i, name) in names.enumerate() { li { a href={ "#s" (i + 1) } { (inlines(name)) } } } }
        }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#main" { "To the answer" }
                header { h1 { (title) } }
                main #main {
                    (summary)
                    (contents)
                    (rest)
                }
                footer { p { "Made by gim-harness " (env!("CARGO_PKG_VERSION")) " from " code { "run.sqlite" } ", without a network." } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// What tells parts of a page from each other.
#[derive(Default)]
struct Numbers {
    sections: usize,
    tables: usize,
    plots: usize,
    examples: usize,
}

struct Page<'a> {
    plots: Option<&'a str>,
    numbers: Numbers,
}

impl Page<'_> {
    /// Blocks, each heading of the second level with what follows it in a section.
    fn sections(&mut self, blocks: &[Block]) -> Markup {
        let is_start = |block: &Block| matches!(block, Block::Heading(2, _));
        let mut rest = blocks;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let end = rest[1..].iter().position(is_start).map_or(rest.len(), |end| end + 1);
            let (part, after) = rest.split_at(end);
            let starts = is_start(&part[0]);
            if starts {
                self.numbers.sections += 1;
            }
            let id = format!("s{}", self.numbers.sections);
            let inside = self.blocks(part);
            parts.push(if starts {
                html! { section #(id) { (inside) } }
            } else {
                inside
            });
            rest = after;
        }
        html! { @for part in parts { (part) "\n" } }
    }

    fn blocks(&mut self, blocks: &[Block]) -> Markup {
        let is_plot = |block: &Block| matches!(block, Block::Plot(_));
        let mut parts = Vec::new();
        for run in blocks.chunk_by(|a, b| is_plot(a) && is_plot(b)) {
            if is_plot(&run[0]) {
                let plots: Vec<Markup> = run.iter().map(|block| self.block(block)).collect();
                parts.push(html! { div .plots { @for plot in plots { (plot) "\n" } } });
            } else {
                parts.extend(run.iter().map(|block| self.block(block)));
            }
        }
        html! { @for part in parts { (part) "\n" } }
    }

    fn block(&mut self, block: &Block) -> Markup {
        match block {
            Block::Heading(2, title) => html! { h2 { (inlines(title)) } },
            Block::Heading(3, title) => html! { h3 { (inlines(title)) } },
            Block::Heading(_, title) => html! { h4 { (inlines(title)) } },
            Block::Paragraph(text) => html! { p { (inlines(text)) } },
            Block::Notice(kind, text) => html! { p .notice { strong { (kind) } ": " (inlines(text)) } },
            Block::List(items) if items.is_empty() => html! {},
            Block::List(items) => html! { ul { @for item in items { li { (inlines(item)) } } } },
            Block::Table(table) => {
                self.numbers.tables += 1;
                table::render(table, self.numbers.tables)
            }
            Block::Plot(plot) => {
                self.numbers.plots += 1;
                let drawing = svg::inline(plot, &format!("p{}", self.numbers.plots));
                html! {
                    figure {
                        figcaption { (shown(&plot.title)) }
                        (PreEscaped(drawing))
                        details .words {
                            summary { "In words" }
                            p {
                                (shown(&plot.description))
                                @if let Some(plots) = self.plots {
                                    " " a href={ (plots) "/" (plot.name) ".svg" } { "The plot as a file." }
                                }
                            }
                        }
                    }
                }
            }
            Block::Examples(examples) => {
                let first = self.numbers.examples + 1;
                self.numbers.examples += examples.examples.len();
                examples::render(examples, first)
            }
        }
    }
}

fn inlines(text: &Text) -> Markup {
    html! {
        @for inline in &text.0 {
            @match inline {
                Inline::Plain(text) => (shown(text)),
                Inline::Strong(text) => strong { (shown(text)) },
                Inline::Emphasis(text) => em { (shown(text)) },
                Inline::Code(text) => code { (shown(text)) },
                Inline::File { text, path } => a href=(path) { (shown(text)) },
            }
        }
    }
}
