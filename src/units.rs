//! What is ranked: single tokens, or groups of them.

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

/// What competes for a rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// The model's tokens, one by one.
    #[default]
    Tokens,
    /// Words of the text, each mark of punctuation by itself (Unicode's UAX 29).
    Words,
    /// Sentences of the text (UAX 29).
    Sentences,
    /// What a prompt is filled with: each field of the record, and each of the examples that are shown before it.
    Fields,
    /// Stretches of the context that the record names.
    Groups,
}

impl Granularity {
    pub const ALL: [Granularity; 5] =
        [Granularity::Tokens, Granularity::Words, Granularity::Sentences, Granularity::Fields, Granularity::Groups];
    /// In the order of [`Granularity::ALL`].
    pub const NAMES: [&'static str; 5] = ["tokens", "words", "sentences", "fields", "groups"];

    pub fn named(name: &str) -> Option<Granularity> {
        Granularity::NAMES.iter().position(|&known| known == name).map(|at| Granularity::ALL[at])
    }
}

/// How the attributions of a group's tokens become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// Their sum: attributions add up.
    #[default]
    Sum,
    /// Their mean: long groups have no advantage.
    Mean,
    /// The largest of them.
    Max,
    /// The one that is farthest from zero, with its sign.
    SignedMax,
}

impl Aggregate {
    pub const ALL: [Aggregate; 4] = [Aggregate::Sum, Aggregate::Mean, Aggregate::Max, Aggregate::SignedMax];
    /// In the order of [`Aggregate::ALL`].
    pub const NAMES: [&'static str; 4] = ["sum", "mean", "max", "signed_max"];

    pub fn named(name: &str) -> Option<Aggregate> {
        Aggregate::NAMES.iter().position(|&known| known == name).map(|at| Aggregate::ALL[at])
    }

    /// Of at least one value; not a number where one of them is none.
    fn of(self, values: impl Iterator<Item = f64>) -> f64 {
        let values: Vec<f64> = values.collect();
        if values.iter().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        let farther = |a: f64, b: f64| if b.abs() > a.abs() { b } else { a };
        match self {
            Aggregate::Sum => values.iter().sum(),
            Aggregate::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Aggregate::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Aggregate::SignedMax => values.iter().copied().reduce(farther).unwrap_or(f64::NAN),
        }
    }

    /// What each of so many tokens gets, that together they come to `value`.
    fn share(self, value: f64, tokens: usize) -> f64 {
        match self {
            Aggregate::Sum => value / tokens as f64,
            Aggregate::Mean | Aggregate::Max | Aggregate::SignedMax => value,
        }
    }
}

/// Groups of a prompt's tokens that compete for a rank, and are taken away whole: each holds a token or more, and none is
/// in two of them. They stand in the order of their first tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Units {
    /// The tokens' places, unit after unit, ascending in each.
    places: Vec<usize>,
    /// Where each unit ends in `places`.
    ends: Vec<usize>,
    aggregate: Aggregate,
}

impl Units {
    /// Each of these places, ascending, by itself.
    pub fn tokens(places: impl IntoIterator<Item = usize>) -> Self {
        let places: Vec<usize> = places.into_iter().collect();
        Units { ends: (1..=places.len()).collect(), places, aggregate: Aggregate::default() }
    }

    /// One unit for every number: `group` says which group the token at a place belongs to, if any.
    pub fn grouped(tokens: usize, aggregate: Aggregate, group: impl Fn(usize) -> Option<usize>) -> Self {
        let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
        let mut known = std::collections::HashMap::new();
        for place in 0..tokens {
            let Some(number) = group(place) else { continue };
            let at = *known.entry(number).or_insert_with(|| {
                groups.push((number, Vec::new()));
                groups.len() - 1
            });
            groups[at].1.push(place);
        }
        let mut units = Units { places: Vec::new(), ends: Vec::new(), aggregate };
        groups.into_iter().for_each(|(_, places)| units.push(&places));
        units
    }

    /// The ranked tokens of a text as its words or sentences: a token belongs where its first character stands that is no
    /// white space, a token of white space alone to the word behind it, and one that is not in the text stands by itself.
    /// Any other granularity: each token by itself.
    ///
    /// `offsets`: start and end of every token, in characters of the text; `ranked`: places of tokens, ascending.
    pub fn of_text(
        text: &str,
        offsets: &[(usize, usize)],
        ranked: &[usize],
        granularity: Granularity,
        aggregate: Aggregate,
    ) -> Self {
        let parts: Vec<&str> = match granularity {
            Granularity::Words => text.split_word_bounds().collect(),
            Granularity::Sentences => text.split_sentence_bounds().collect(),
            Granularity::Tokens | Granularity::Fields | Granularity::Groups => {
                return Units::tokens(ranked.iter().copied());
            }
        };
        // White space between words is parts of its own.
        let mut belongs: Vec<usize> = (0..parts.len()).collect();
        for part in (1..parts.len()).rev().filter(|_| granularity == Granularity::Words) {
            if parts[part - 1].trim().is_empty() {
                belongs[part - 1] = belongs[part];
            }
        }
        let part_of = |(of, &part): (&&str, &usize)| of.chars().map(|_| Some(part)).collect::<Vec<_>>();
        let part_of: Vec<Option<usize>> = parts.iter().zip(&belongs).flat_map(part_of).collect();
        let whitespace: Vec<bool> = text.chars().map(char::is_whitespace).collect();
        let own = Units::of_parts(offsets, &part_of, &whitespace);
        Units::grouped(offsets.len(), aggregate, |place| {
            ranked.binary_search(&place).ok()?;
            Some(own[place].unwrap_or(parts.len() + place))
        })
    }

    /// The ranked tokens of a text by the part that every character of it belongs to, if any: that of a token's first
    /// character that is no white space, or of its first where all of it is. Tokens of no part are not ranked.
    ///
    /// `part_of`, `whitespace`: one a character.
    pub fn of_stretches(
        offsets: &[(usize, usize)],
        ranked: &[usize],
        part_of: &[Option<usize>],
        whitespace: &[bool],
        aggregate: Aggregate,
    ) -> Self {
        let own = Units::of_parts(offsets, part_of, whitespace);
        Units::grouped(offsets.len(), aggregate, |place| ranked.binary_search(&place).ok().and(own[place]))
    }

    /// The part of each token.
    fn of_parts(offsets: &[(usize, usize)], part_of: &[Option<usize>], whitespace: &[bool]) -> Vec<Option<usize>> {
        let of = |&(start, end): &(usize, usize)| {
            let mut solid = (start..end.min(whitespace.len())).filter(|&at| !whitespace[at]);
            let at = solid.next().or((start < end).then_some(start))?;
            part_of.get(at).copied().flatten()
        };
        offsets.iter().map(of).collect()
    }

    fn push(&mut self, places: &[usize]) {
        self.places.extend_from_slice(places);
        self.ends.push(self.places.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The places of one of them.
    ///
    /// # Panics
    /// Where there are not so many.
    pub fn of(&self, unit: usize) -> &[usize] {
        let begin = if unit == 0 { 0 } else { self.ends[unit - 1] };
        &self.places[begin..self.ends[unit]]
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[usize]> + ExactSizeIterator {
        (0..self.len()).map(|unit| self.of(unit))
    }

    /// The places of all of them.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// The places of some of them.
    pub fn places_of(&self, units: impl IntoIterator<Item = usize>) -> Vec<usize> {
        units.into_iter().flat_map(|unit| self.of(unit)).copied().collect()
    }

    /// How the attributions of their tokens become one number.
    pub fn aggregate(&self) -> Aggregate {
        self.aggregate
    }

    /// One number a unit, of one a token; not a number where one of its tokens has none.
    pub fn values(&self, by_token: &[f64]) -> Vec<f64> {
        let value = |&place: &usize| by_token.get(place).copied().unwrap_or(f64::NAN);
        self.iter().map(|places| self.aggregate.of(places.iter().map(value))).collect()
    }

    /// One number a token of a prompt of so many, of which [`Units::values`] makes these again; 0 for tokens of no unit.
    pub fn spread(&self, by_unit: &[f64], tokens: usize) -> Vec<f64> {
        let mut values = vec![0.0; tokens];
        for (places, &value) in self.iter().zip(by_unit) {
            for &place in places.iter().filter(|&&place| place < tokens) {
                values[place] = self.aggregate.share(value, places.len());
            }
        }
        values
    }

    /// Which of them hold one of these places, ascending.
    pub fn holding(&self, places: &[usize]) -> Vec<usize> {
        let holds = |unit: &usize| self.of(*unit).iter().any(|place| places.binary_search(place).is_ok());
        (0..self.len()).filter(holds).collect()
    }

    /// All tokens of a prompt of so many: these units, and every other token as one of its own.
    pub fn and_the_rest(&self, tokens: usize) -> Units {
        let mut unit_of: Vec<Option<usize>> = vec![None; tokens];
        for (unit, places) in self.iter().enumerate() {
            places.iter().filter(|&&place| place < tokens).for_each(|&place| unit_of[place] = Some(unit));
        }
        Units::grouped(tokens, self.aggregate, |place| Some(unit_of[place].unwrap_or(self.len() + place)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `a b` `c` `d e f`, and a token before and one behind that are not ranked.
    fn words(aggregate: Aggregate) -> Units {
        let group = [None, Some(7), Some(7), Some(3), Some(9), Some(9), Some(9), None];
        Units::grouped(8, aggregate, |place| group[place])
    }

    #[test]
    fn tokens_are_units_of_their_own() {
        let units = Units::tokens([2, 5]);
        assert_eq!((units.len(), units.of(1), units.places()), (2, &[5][..], &[2, 5][..]));
        assert_eq!(units.values(&[9.0, 9.0, 1.5]).len(), 2);
        assert!(units.values(&[9.0, 9.0, 1.5])[1].is_nan());
        assert_eq!(units.spread(&[1.0, -2.0], 6), [0.0, 0.0, 1.0, 0.0, 0.0, -2.0]);
    }

    #[test]
    fn groups_have_one_number() {
        let by_token = [50.0, 1.0, -3.0, 4.0, 2.0, 2.0, -1.0, 50.0];
        let values = |aggregate| words(aggregate).values(&by_token);
        assert_eq!(values(Aggregate::Sum), [-2.0, 4.0, 3.0]);
        assert_eq!(values(Aggregate::Mean), [-1.0, 4.0, 1.0]);
        assert_eq!(values(Aggregate::Max), [1.0, 4.0, 2.0]);
        assert_eq!(values(Aggregate::SignedMax), [-3.0, 4.0, 2.0]);
        let mut broken = by_token;
        broken[5] = f64::NAN;
        assert!(Aggregate::ALL.iter().all(|&aggregate| words(aggregate).values(&broken)[2].is_nan()));
    }

    #[test]
    fn units_are_found_by_what_they_hold_and_completed_by_the_rest() {
        let units = words(Aggregate::Sum);
        assert_eq!(units.holding(&[0, 2, 4, 6]), [0, 2]);
        assert_eq!(units.places_of([2, 0]), [4, 5, 6, 1, 2]);
        let all = units.and_the_rest(8);
        let groups: Vec<&[usize]> = all.iter().collect();
        assert_eq!(groups, [&[0][..], &[1, 2], &[3], &[4, 5, 6], &[7]]);
        assert_eq!(Units::tokens([1, 2]).and_the_rest(4), Units::tokens(0..4));
    }

    #[test]
    fn words_and_sentences_are_those_of_the_text() {
        // A special token, ` It`, ` isn`, `'t`, `\n`, ` good`, `.`, ` An`, `yway`, `!`
        let text = " It isn't\n good. Anyway!";
        let offsets = [(0, 0), (0, 3), (3, 7), (7, 9), (9, 10), (10, 15), (15, 16), (16, 19), (19, 23), (23, 24)];
        let ranked: Vec<usize> = (0..10).collect();
        let groups = |granularity, ranked: &[usize]| -> Vec<Vec<usize>> {
            let units = Units::of_text(text, &offsets, ranked, granularity, Aggregate::Sum);
            units.iter().map(<[usize]>::to_vec).collect()
        };
        // The line break belongs to the word behind it.
        let words = vec![vec![0], vec![1], vec![2, 3], vec![4, 5], vec![6], vec![7, 8], vec![9]];
        assert_eq!(groups(Granularity::Words, &ranked), words);
        assert_eq!(groups(Granularity::Words, &[2, 8]), [[2], [8]]);
        // A line break ends a sentence.
        let sentences = vec![vec![0], vec![1, 2, 3, 4], vec![5, 6], vec![7, 8, 9]];
        assert_eq!(groups(Granularity::Sentences, &ranked), sentences);
        assert_eq!(groups(Granularity::Tokens, &[3, 5]), [[3], [5]]);
    }

    #[test]
    fn names_are_those_of_the_kinds() {
        for (granularity, name) in Granularity::ALL.into_iter().zip(Granularity::NAMES) {
            assert_eq!(Granularity::named(name), Some(granularity));
            assert_eq!(serde_json::to_value(granularity).unwrap(), name);
        }
        for (aggregate, name) in Aggregate::ALL.into_iter().zip(Aggregate::NAMES) {
            assert_eq!(Aggregate::named(name), Some(aggregate));
            assert_eq!(serde_json::to_value(aggregate).unwrap(), name);
        }
    }

    proptest! {
        #[test]
        fn what_is_spread_comes_together_again(
            groups in prop::collection::vec(prop::option::of(0usize..5), 0..20),
            values in prop::collection::vec(-1e3..1e3f64, 5),
        ) {
            for aggregate in Aggregate::ALL {
                let units = Units::grouped(groups.len(), aggregate, |place| groups[place]);
                let own = &values[..units.len()];
                let found = units.values(&units.spread(own, groups.len()));
                prop_assert!(found.iter().zip(own).all(|(found, own)| (found - own).abs() <= 1e-12 * own.abs()));
            }
        }
    }
}
