//! Paragraphs that fit a terminal.

/// Columns of a line of prose.
pub const WIDTH: usize = 110;

/// Breaks a paragraph into lines of at most `columns`, the ones after the first behind `indent`; none of them begins with
/// a word that `is_marker`, i.e. that would mean something there.
pub fn wrap(paragraph: &str, indent: &str, columns: usize, is_marker: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut used = 0;
    for (i, word) in paragraph.split(' ').filter(|word| !word.is_empty()).enumerate() {
        let length = word.chars().count();
        if i == 0 {
            used = length;
        } else if used + 1 + length > columns && !is_marker(word) {
            text.push('\n');
            text.push_str(indent);
            used = indent.len() + length;
        } else {
            text.push(' ');
            used += 1 + length;
        }
        text.push_str(word);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, wrap};

    #[test]
    fn lines_break_where_nothing_changes() {
        let text = wrap(&format!("{} - b 1. c **d**", "word ".repeat(21).trim()), "  ", WIDTH, |word| {
            word == "-" || word == "1."
        });
        assert_eq!(text, format!("{} - b 1.\n  c **d**\n", "word ".repeat(21).trim()));
        assert_eq!(wrap("short", "", WIDTH, |_| false), "short\n");
    }
}
