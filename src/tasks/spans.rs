//! Character spans of a prompt to token positions.

/// Half-open, in characters.
pub(super) type Span = (usize, usize);

/// Whether a token belongs to a span.
///
/// Many tokenizers put the space before a word into the word's token, or a token of spaces between words: sharing a
/// space with a span is no reason to belong to it, sharing any other character is.
fn belongs(whitespace: &[bool], token: Span, span: Span) -> bool {
    let (start, end) = (token.0.max(span.0), token.1.min(span.1));
    start < end && whitespace.get(start..end).is_some_and(|shared| shared.iter().any(|&space| !space))
}

/// Which characters of a text are white space.
pub(super) fn whitespace(text: &str) -> Vec<bool> {
    text.chars().map(char::is_whitespace).collect()
}

/// Positions of the tokens that share with one of the spans a character that is not white space, ascending.
pub(super) fn overlapping(whitespace: &[bool], offsets: &[Span], spans: &[Span]) -> Vec<usize> {
    let token = |&(_, &token): &(usize, &Span)| spans.iter().any(|&span| belongs(whitespace, token, span));
    offsets.iter().enumerate().filter(token).map(|(position, _)| position).collect()
}

/// Positions of the tokens of a stretch of the prompt, ascending: those that overlap it, and tokens of white space
/// alone that lie within it (a line break inside the context is one of its tokens).
pub(super) fn within(whitespace: &[bool], offsets: &[Span], stretch: Span) -> Vec<usize> {
    let inside = |token: Span| token.0 < token.1 && stretch.0 <= token.0 && token.1 <= stretch.1;
    let token = |&(_, &token): &(usize, &Span)| inside(token) || belongs(whitespace, token, stretch);
    offsets.iter().enumerate().filter(token).map(|(position, _)| position).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `A  good film.` as ` A` and the like would be split: a special token, `A`, ` `, ` good`, ` film`, `.`
    const OFFSETS: [Span; 6] = [(0, 0), (0, 1), (1, 2), (2, 7), (7, 12), (12, 13)];

    #[test]
    fn a_shared_space_is_not_enough() {
        let space = whitespace("A  good film.");
        assert_eq!(overlapping(&space, &OFFSETS, &[(3, 7)]), [3]);
        assert_eq!(overlapping(&space, &OFFSETS, &[(3, 8)]), [3], "the space before `film`");
        assert_eq!(overlapping(&space, &OFFSETS, &[(6, 9)]), [3, 4], "parts of words");
        assert_eq!(overlapping(&space, &OFFSETS, &[(0, 1), (12, 13)]), [1, 5]);
        assert_eq!(overlapping(&space, &OFFSETS, &[(1, 3), (5, 5)]), [0usize; 0]);
        assert_eq!(overlapping(&space, &OFFSETS, &[(0, 99)]), [1, 3, 4, 5], "cut at the token's end");
    }

    #[test]
    fn white_space_inside_a_stretch_is_part_of_it() {
        let space = whitespace("A  good film.");
        assert_eq!(within(&space, &OFFSETS, (0, 13)), [1, 2, 3, 4, 5]);
        assert_eq!(within(&space, &OFFSETS, (3, 12)), [3, 4]);
        assert_eq!(within(&space, &OFFSETS, (1, 1)), [0usize; 0]);
    }

    proptest! {
        #[test]
        fn ascending_and_in_range(
            text in "[a é]{0,20}",
            offsets in prop::collection::vec((0usize..30, 0usize..30), 0..10),
            spans in prop::collection::vec((0usize..30, 0usize..30), 0..5),
        ) {
            let space = whitespace(&text);
            let found = overlapping(&space, &offsets, &spans);
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(found.iter().all(|&position| position < offsets.len()));
            if let Some(&span) = spans.first() {
                let found = within(&space, &offsets, span);
                prop_assert!(found.iter().all(|&position| position < offsets.len()));
            }
        }
    }
}
