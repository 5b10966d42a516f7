//! Contexts that are too long, shortened around their evidence.

use std::ops::Range;

use super::spans::Span;

/// What stands where something was left out between two parts that are kept.
const GAP: &str = " ... ";

/// A shortened context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shortened {
    pub text: String,
    /// The parts of the context that are kept, in its characters, and where each begins in the text.
    kept: Vec<(Range<usize>, usize)>,
}

impl Shortened {
    /// What is left of a span of the context, in characters of the text.
    pub fn left_of(&self, (start, end): Span) -> impl Iterator<Item = Span> {
        self.kept.iter().filter_map(move |(part, at)| {
            let (from, to) = (start.max(part.start), end.min(part.end));
            (from < to).then(|| (at + from - part.start, at + to - part.start))
        })
    }
}

/// The longest form of a context that fits: words that are evidence, and as many around each piece of it as there is room
/// for; without evidence, as many words from the beginning on. `None` where not even the evidence (or one word) fits.
///
/// # Errors
/// That of `fits`.
pub(super) fn shorten<E>(
    context: &str,
    evidence: &[Span],
    mut fits: impl FnMut(&str) -> Result<bool, E>,
) -> Result<Option<Shortened>, E> {
    let words = words(context);
    let distances = distances(&words, evidence);
    let has_evidence = distances.contains(&0);
    let least = if has_evidence { 0 } else { 1 };
    let at = |radius: usize| cut(context, &words, &distances, radius);
    if words.is_empty() || !fits(&at(least).text)? {
        return Ok(None);
    }
    // The longest is known not to fit, the shortest to fit.
    let (mut good, mut bad) = (least, words.len() + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(&at(middle).text)? { good = middle } else { bad = middle }
    }
    Ok(Some(at(good)))
}

/// Where words are, in characters and bytes: what stands between white space.
fn words(context: &str) -> Vec<(Range<usize>, Range<usize>)> {
    let mut words: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let mut inside = false;
    for (index, (byte, character)) in context.char_indices().enumerate() {
        let is_word = !character.is_whitespace();
        let (end, end_byte) = (index + 1, byte + character.len_utf8());
        match words.last_mut() {
            Some((characters, bytes)) if is_word && inside => (characters.end, bytes.end) = (end, end_byte),
            _ if is_word => words.push((index..end, byte..end_byte)),
            _ => {}
        }
        inside = is_word;
    }
    words
}

/// How many words every word is from the evidence (0: it is evidence); where there is none, its place counted from 1.
fn distances(words: &[(Range<usize>, Range<usize>)], evidence: &[Span]) -> Vec<usize> {
    let mut merged: Vec<Span> = evidence.to_vec();
    merged.sort_unstable();
    let mut is_evidence = vec![false; words.len()];
    let mut reach = 0;
    let mut spans = merged.into_iter().peekable();
    for ((characters, _), is_evidence) in words.iter().zip(&mut is_evidence) {
        // Spans that begin before the word ends; of those only the farthest end counts.
        while let Some((_, end)) = spans.next_if(|(start, end)| *start < characters.end && start < end) {
            reach = reach.max(end);
        }
        *is_evidence = reach > characters.start;
    }
    if !is_evidence.contains(&true) {
        return (1..=words.len()).collect();
    }
    let mut distances = vec![usize::MAX; words.len()];
    let mut nearest = usize::MAX;
    for (distance, &is_evidence) in distances.iter_mut().zip(&is_evidence) {
        nearest = if is_evidence { 0 } else { nearest.saturating_add(1) };
        *distance = nearest;
    }
    nearest = usize::MAX;
    for (distance, &is_evidence) in distances.iter_mut().zip(&is_evidence).rev() {
        nearest = if is_evidence { 0 } else { nearest.saturating_add(1) };
        *distance = nearest.min(*distance);
    }
    distances
}

/// The words up to a distance, as they stand in the context.
fn cut(context: &str, words: &[(Range<usize>, Range<usize>)], distances: &[usize], radius: usize) -> Shortened {
    let mut text = String::new();
    let mut length = 0;
    let mut kept: Vec<(Range<usize>, usize)> = Vec::new();
    let mut index = 0;
    while index < words.len() {
        if distances[index] > radius {
            index += 1;
            continue;
        }
        let first = index;
        while index + 1 < words.len() && distances[index + 1] <= radius {
            index += 1;
        }
        let ((start, end), bytes) =
            ((words[first].0.start, words[index].0.end), words[first].1.start..words[index].1.end);
        if length > 0 {
            text.push_str(GAP);
            length += GAP.chars().count();
        }
        text.push_str(&context[bytes]);
        kept.push((start..end, length));
        length += end - start;
        index += 1;
    }
    Shortened { text, kept }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at_most(characters: usize) -> impl FnMut(&str) -> Result<bool, ()> {
        move |text| Ok(text.chars().count() <= characters)
    }

    fn shown(context: &str, evidence: &[Span], characters: usize) -> Option<(String, Vec<String>)> {
        shorten(context, evidence, at_most(characters)).unwrap().map(|shortened| {
            let text: Vec<char> = shortened.text.chars().collect();
            let spans = evidence.iter().flat_map(|&span| shortened.left_of(span));
            (shortened.text.clone(), spans.map(|(start, end)| text[start..end].iter().collect()).collect())
        })
    }

    #[test]
    fn what_is_kept_stands_around_the_evidence() {
        let context = "one two three four  five six seven";
        assert_eq!(shown(context, &[(14, 18)], 20), Some(("three four  five".into(), vec!["four".into()])));
        assert_eq!(shown(context, &[(14, 18)], 4), Some(("four".into(), vec!["four".into()])));
        assert_eq!(shown(context, &[(14, 18)], 3), None, "the evidence does not fit");
        assert_eq!(shown(context, &[(15, 17)], 4), Some(("four".into(), vec!["ou".into()])), "parts of words");
        assert_eq!(shown(context, &[], 14), Some(("one two three".into(), vec![])), "from the beginning");
        assert_eq!(shown(context, &[], 2), None);
        assert_eq!(shown(" \n", &[], 2), None);
        let two = shown(context, &[(0, 3), (29, 34)], 24);
        assert_eq!(two, Some(("one two ... six seven".into(), vec!["one".into(), "seven".into()])));
        let whole = [(8, 24)];
        assert_eq!(shown(context, &whole, 16), Some(("three four  five".into(), vec!["three four  five".into()])));
    }

    proptest! {
        #[test]
        fn evidence_is_kept_whole_and_the_rest_is_a_part_of_the_context(
            context in "[a-cé \n]{0,60}",
            spans in prop::collection::vec((0usize..60, 1usize..10), 0..4),
            most in 0usize..70,
        ) {
            let characters: Vec<char> = context.chars().collect();
            let length = characters.len();
            let spans: Vec<Span> =
                spans.into_iter().map(|(start, size)| (start, (start + size).min(length))).filter(|(s, e)| s < e).collect();
            let solid = |part: &[char]| part.iter().filter(|c| !c.is_whitespace()).collect::<String>();
            if let Some(shortened) = shorten(&context, &spans, at_most(most)).unwrap() {
                prop_assert!(shortened.text.chars().count() <= most);
                let text: Vec<char> = shortened.text.chars().collect();
                let left = spans.iter().flat_map(|&span| shortened.left_of(span));
                let kept: String = left.map(|(s, e)| solid(&text[s..e])).collect();
                let asked: String = spans.iter().map(|&(s, e)| solid(&characters[s..e])).collect();
                prop_assert_eq!(kept, asked);
                for part in shortened.text.split(GAP) {
                    prop_assert!(context.contains(part));
                }
            }
        }
    }
}
