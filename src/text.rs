//! Text of strangers, made fit to show: tokens, field names, paths and model types come from files that anybody wrote,
//! and none of them may move a cursor, ring a bell, colour a line or turn the order of what stands around it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Text on one line, in which every character that does something rather than show something is an escape: `\n`,
/// `\u{1b}`, `\u{202e}`.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// As [`shown`], but line breaks stay: for text of several lines, and for a program's own layout.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character == '\n')
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let acts = |character: char| acts(character) && !keep(character);
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            character if !acts(character) => out.push(character),
            '\n' | '\r' | '\t' => out.extend(character.escape_default()),
            _ => out.extend(character.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// A token as one word that is not empty and holds no white space, for forms that keep words apart by spaces.
pub fn as_word(token: &str) -> String {
    let bare = token.strip_prefix(' ').filter(|rest| !rest.is_empty()).unwrap_or(token);
    let word: String = shown(bare).chars().map(|c| if c.is_whitespace() { '␣' } else { c }).collect();
    if word.is_empty() { "␣".to_owned() } else { word }
}

/// JSON in which the same characters are escaped inside strings; it means the same, and outside of strings JSON has none
/// of them but line breaks.
pub fn shown_json(json: &str) -> Cow<'_, str> {
    let acts = |character: char| acts(character) && character != '\n';
    if !json.chars().any(acts) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if acts(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing into a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Whether a character does something where it is shown, or nothing that can be seen: controls, line and paragraph
/// separators, and what Unicode's `Default_Ignorable_Code_Point` holds (bidirectional marks, joiners, spaces of no width,
/// fillers, tags) but for variation selectors, which choose a glyph.
pub fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{34F}'
                | '\u{61C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{3164}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFFB}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

/// A number of bytes, for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 30 => write!(f, "{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
            bytes if bytes >= 1 << 20 => write!(f, "{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            bytes if bytes >= 1 << 10 => write!(f, "{:.1} KiB", bytes as f64 / 1024.0),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_acts_is_an_escape_and_the_rest_stays() {
        for (text, expected) in [
            ("plain é 漢字 👍\u{FE0F}", "plain é 漢字 👍\u{FE0F}"),
            ("a\u{1b}[31mb\u{7}", r"a\u{1b}[31mb\u{7}"),
            ("a\nb\tc\rd", r"a\nb\tc\rd"),
            ("\u{85}\u{9b}2J\u{7f}", r"\u{85}\u{9b}2J\u{7f}"),
            ("x\u{202e}y\u{2066}z\u{200f}", r"x\u{202e}y\u{2066}z\u{200f}"),
            ("a\u{2028}b\u{2029}c", r"a\u{2028}b\u{2029}c"),
            ("a\u{200b}\u{200d}\u{feff}\u{ad}\u{e0041}", r"a\u{200b}\u{200d}\u{feff}\u{ad}\u{e0041}"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown_lines("a\nb\r\n"), "a\nb\\r\n");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in any::<String>()) {
            prop_assert!(!shown(&text).chars().any(acts));
            prop_assert!(!shown_lines(&text).chars().any(|c| acts(c) && c != '\n'));
        }

        #[test]
        fn json_means_the_same(text in "[\\PC\u{0}-\u{20}\u{200b}-\u{202e}\u{e0000}-\u{e0100}]*") {
            for json in [serde_json::to_string(&text).unwrap(), serde_json::to_string_pretty(&[&text]).unwrap()] {
                let safe = shown_json(&json);
                prop_assert!(!safe.chars().any(|c| acts(c) && c != '\n'));
                let (before, after): (serde_json::Value, serde_json::Value) =
                    (serde_json::from_str(&json).unwrap(), serde_json::from_str(&safe).unwrap());
                prop_assert_eq!(before, after);
            }
        }
    }
}
