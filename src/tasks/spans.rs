//! Character spans of a prompt to token positions.

/// Half-open, in characters.
pub(super) type Span = (usize, usize);

/// Which characters of a text are white space.
pub(super) fn whitespace(text: &str) -> Vec<bool> {
    text.chars().map(char::is_whitespace).collect()
}

/// Positions of the tokens that share with one of the spans a character that is not white space, ascending.
///
/// Many tokenizers put the space before a word into the word's token, or a token of spaces between words: sharing a
/// space with a span is no reason to belong to it, sharing any other character is.
pub(super) fn overlapping(whitespace: &[bool], offsets: &[Span], spans: &[Span]) -> Vec<usize> {
    let counted = counted(whitespace, spans);
    let token = |&(start, end): &Span| counted.get(start..end).is_some_and(|shared| shared.contains(&true));
    positions(offsets, token)
}

/// Positions of the tokens of a stretch of the prompt, ascending: those that overlap it, and tokens of white space
/// alone that lie within it (a line break inside the context is one of its tokens).
pub(super) fn within(whitespace: &[bool], offsets: &[Span], stretch: Span) -> Vec<usize> {
    let counted = counted(whitespace, &[stretch]);
    let token = |&(start, end): &Span| {
        let inside = start < end && stretch.0 <= start && end <= stretch.1;
        inside || counted.get(start..end).is_some_and(|shared| shared.contains(&true))
    };
    positions(offsets, token)
}

fn positions(offsets: &[Span], token: impl Fn(&Span) -> bool) -> Vec<usize> {
    offsets.iter().enumerate().filter(|(_, offset)| token(offset)).map(|(position, _)| position).collect()
}

/// The characters in one of the spans that are not white space; linear however many spans there are.
fn counted(whitespace: &[bool], spans: &[Span]) -> Vec<bool> {
    let length = whitespace.len();
    let mut begins = vec![0usize; length + 1];
    let mut ends = vec![0usize; length + 1];
    for &(start, end) in spans.iter().filter(|(start, end)| start < end) {
        begins[start.min(length)] += 1;
        ends[end.min(length)] += 1;
    }
    let mut open = 0;
    let character = |(index, &space): (usize, &bool)| {
        open = open + begins[index] - ends[index];
        open > 0 && !space
    };
    whitespace.iter().enumerate().map(character).collect()
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
        assert_eq!(overlapping(&space, &OFFSETS, &[(0, 99)]), [1, 3, 4, 5], "cut at the text's end");
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
