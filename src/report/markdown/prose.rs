//! Paragraphs that fit a terminal.

/// Columns of a line of prose.
const WIDTH: usize = 110;

/// Breaks a paragraph into lines, the ones after the first behind `indent`; a line never begins with what Markdown would
/// take for a list, a heading or a quotation.
pub fn wrap(paragraph: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut used = 0;
    for (i, word) in paragraph.split(' ').filter(|word| !word.is_empty()).enumerate() {
        let length = word.chars().count();
        if i == 0 {
            used = length;
        } else if used + 1 + length > WIDTH && !is_marker(word) {
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

fn is_marker(word: &str) -> bool {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(word.chars().next(), Some('-' | '+' | '*' | '=' | '#' | '>' | '|' | '~' | ':')) && !word.starts_with("**")
        || digits.len() < word.len() && digits.starts_with(['.', ')'])
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_break_where_nothing_changes() {
        let text = wrap(&format!("{} - b 1. c **d**", "word ".repeat(21).trim()), "  ");
        assert_eq!(text, format!("{} - b 1.\n  c **d**\n", "word ".repeat(21).trim()));
        assert_eq!(wrap("short", ""), "short\n");
    }
}
