//! Tables that scroll by themselves where a screen is narrow.

use maud::{Markup, html};

use super::inlines;
use crate::report::document::{Align, Table, Text};
use crate::text::shown;

/// Cells of more characters may be broken into lines.
const LONG: usize = 40;

pub fn render(table: &Table, number: usize) -> Markup {
    // What a row is about: the first column of words.
    let head = table.columns.iter().position(|(_, align)| *align == Align::Left);
    // The attributes are for readers without a style sheet.
    let right = |align: Align| (align == Align::Right).then_some("right");
    html! {
        div .scroll role="region" tabindex="0" aria-label={ "Table " (number) } {
            table id={ "t" (number) } border="1" cellpadding="4" cellspacing="0" {
                thead { tr {
                    @for (name, align) in &table.columns { th scope="col" align=[right(*align)] { (shown(name)) } }
                } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, (cell, (_, align))) in row.iter().zip(&table.columns).enumerate() {
                                @if head == Some(i) {
                                    th scope="row" align="left" { (inlines(cell)) }
                                } @else {
                                    td .long[is_long(cell)] align=[right(*align)] { (inlines(cell)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn is_long(cell: &Text) -> bool {
    cell.words().chars().count() > LONG
}
