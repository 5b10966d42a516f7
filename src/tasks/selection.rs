//! Evidence that is given as a text of the context instead of a place in it.

use super::spans::Span;

/// Where a selected text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// In characters of the context.
    pub span: Span,
    /// It stands there more than once, and nothing says which one was meant.
    pub is_ambiguous: bool,
}

/// Where a text stands in a context. Where it stands more than once, whole words come before parts of words, and then
/// the first counts. `None` where it does not stand there.
pub(super) fn find(context: &str, selection: &str) -> Option<Selected> {
    let selection = selection.trim();
    if selection.is_empty() {
        return None;
    }
    // Occurrences may overlap: in "aaa", "aa" stands twice.
    let mut found = context.char_indices().map(|(byte, _)| byte).filter(|&byte| context[byte..].starts_with(selection));
    let first = found.next()?;
    let others: Vec<usize> = found.take(MOST_PLACES).collect();
    let is_whole = |&byte: &usize| {
        let (before, behind) = (&context[..byte], &context[byte + selection.len()..]);
        let joined = |outside: Option<char>, inside: Option<char>| {
            outside.is_some_and(char::is_alphanumeric) && inside.is_some_and(char::is_alphanumeric)
        };
        !joined(before.chars().next_back(), selection.chars().next())
            && !joined(behind.chars().next(), selection.chars().next_back())
    };
    let places: Vec<usize> = std::iter::once(first).chain(others).collect();
    let whole: Vec<usize> = places.iter().copied().filter(is_whole).collect();
    let meant = if whole.is_empty() { &places } else { &whole };
    let start = context[..meant[0]].chars().count();
    let span = (start, start + selection.chars().count());
    Some(Selected { span, is_ambiguous: meant.len() > 1 })
}

/// Places of a text that are compared.
const MOST_PLACES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_of_published_tweets() {
        for (context, selection, expected) in [
            (" Sooo SAD, é I miss you", "SAD", Some((6, 9, false))),
            ("é good, really good", "good", Some((2, 6, true))),
            ("Ham: I am here", "am", Some((7, 9, false))),
            ("unhappy happiness", "happ", Some((2, 6, true))),
            ("so  sad today", "o  sad", Some((1, 7, false))),
            ("a good day", " good ", Some((2, 6, false))),
            ("a good day", "bad", None),
            ("", "", None),
            ("aaa", "aa", Some((0, 2, true))),
            ("good! good", "good", Some((0, 4, true))),
        ] {
            let found = find(context, selection).map(|s| (s.span.0, s.span.1, s.is_ambiguous));
            assert_eq!(found, expected, "{context:?} {selection:?}");
        }
    }
}
