//! What a report says, before it is known where: blocks of text, tables, plots and examples.
//!
//! Sections fill a [`Document`], renderers write it down. Nothing in a document is markup: every string is text as it
//! came, strangers' names included, and a renderer writes it so that it means nothing but itself.

mod examples;
mod plot;
mod table;
mod text;

pub use examples::{Colouring, Example, Examples};
pub use plot::{Axis, Estimate, Matrix, Plot, Point, Row, Series, Shape, Spread};
pub use table::{Align, Table};
pub use text::{Inline, Text};

/// A whole report.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub title: Text,
    /// The answer: what a terminal shows, and what stands on the first screen of a page.
    pub summary: Vec<Block>,
    /// What it rests on.
    pub rest: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Level 2 or deeper; the title is level 1.
    Heading(u8, Text),
    Paragraph(Text),
    /// Something that readers must not miss, after the word that says of what kind it is ("Warning").
    Notice(&'static str, Text),
    List(Vec<Text>),
    Table(Table),
    Plot(Box<Plot>),
    Examples(Examples),
}

impl Document {
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.summary.iter().chain(&self.rest)
    }

    /// In order of appearance.
    pub fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.blocks().filter_map(|block| if let Block::Plot(plot) = block { Some(&**plot) } else { None })
    }
}
