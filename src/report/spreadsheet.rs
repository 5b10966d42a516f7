//! Cells of CSV files that a spreadsheet does not carry out.
//!
//! Names, ids and reasons come from whoever made the data set. A spreadsheet takes a cell that begins with `=`, `+`, `-` or
//! `@` for a formula, so such a cell has an apostrophe before it, which spreadsheets take for "what follows is text". Where a
//! spreadsheet separates cells by semicolons or tabs, quotes inside of a line mean nothing to it, and cells begin behind
//! these and behind line breaks, too.

use std::borrow::Cow;

const SEPARATORS: [char; 4] = [';', '\t', '\n', '\r'];

/// The cell with an apostrophe before each of its parts that a spreadsheet would carry out.
pub fn guarded(cell: &str) -> Cow<'_, str> {
    guard(cell, is_formula)
}

/// As [`guarded`], and a part that begins with an apostrophe gets another, so that [`unguarded`] gives the cell back.
pub fn guarded_exactly(cell: &str) -> Cow<'_, str> {
    guard(cell, |part| is_formula(part) || part.starts_with('\''))
}

/// What was given to [`guarded_exactly`].
pub fn unguarded(cell: &str) -> String {
    cell.split_inclusive(SEPARATORS).map(|part| part.strip_prefix('\'').unwrap_or(part)).collect()
}

fn guard(cell: &str, acts: impl Fn(&str) -> bool) -> Cow<'_, str> {
    // A cell is looked at whole, too: spreadsheets skip blanks, and the separators are some.
    let parts = || cell.split_inclusive(SEPARATORS);
    if !acts(cell) && !parts().any(&acts) {
        return Cow::Borrowed(cell);
    }
    let mut out = String::with_capacity(cell.len() + 4);
    for (i, part) in parts().enumerate() {
        if acts(part) || i == 0 && acts(cell) {
            out.push('\'');
        }
        out.push_str(part);
    }
    Cow::Owned(out)
}

/// Whether a spreadsheet might carry a cell out: it begins as a formula does, also behind characters that spreadsheets skip,
/// and is no number.
fn is_formula(cell: &str) -> bool {
    let begins = |c: char| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    let is_number = || cell.trim_end_matches(SEPARATORS).parse::<f64>().is_ok_and(f64::is_finite);
    cell.trim_start_matches(|c: char| c.is_whitespace() || c == '\0').starts_with(begins) && !is_number()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_spreadsheet_would_carry_out_has_an_apostrophe() {
        for cell in ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "-inf", "\u{a0}=1"]
        {
            assert!(guarded(cell).starts_with('\''), "{cell:?}");
        }
        for cell in ["", "a=1", "-5", "+1.5e3", "-0.25", "'=1", "id-1", "a; b", "a;-5;b", "https://a.example/?b=c"] {
            assert_eq!(guarded(cell), cell);
        }
        // Where semicolons or tabs separate, cells begin behind them.
        assert_eq!(guarded("a;=1+1"), "a;'=1+1");
        assert_eq!(guarded("a; =1;b\n@x\t-y"), "a;' =1;b\n'@x\t'-y");
        assert_eq!(guarded("=1;=2"), "'=1;'=2");
    }

    proptest! {
        #[test]
        fn nothing_is_carried_out_and_nothing_lost(cell in "[ab1;\t\n\r '=+@-]{0,12}|\\PC{0,12}") {
            for guarded in [guarded(&cell), guarded_exactly(&cell)] {
                prop_assert!(!is_formula(&guarded), "{guarded:?}");
                prop_assert!(!guarded.split(SEPARATORS).any(is_formula), "{guarded:?}");
            }
            prop_assert_eq!(unguarded(&guarded_exactly(&cell)), cell);
        }
    }
}
