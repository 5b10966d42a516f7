//! Words of another program's to the model's tokens.

/// Why words cannot be laid over a prompt's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// They do not stand in the prompt one behind the other.
    Absent,
    /// They do so more than once.
    Ambiguous,
    /// There is nothing to lay over.
    Empty,
}

impl Misfit {
    pub fn said(self) -> &'static str {
        match self {
            Misfit::Absent => "do not stand in the prompt one behind the other",
            Misfit::Ambiguous => "stand in the prompt more than once",
            Misfit::Empty => "hold no character that is no white space",
        }
    }
}

/// The tokens of each word, by the characters that are no white space; a word of white space alone has none.
///
/// `tokens`: the text that each covers. What stands before and behind the words is left alone.
pub(super) fn align(words: &[impl AsRef<str>], tokens: &[String]) -> Result<Vec<Vec<usize>>, Misfit> {
    let solid = |text: &str| text.chars().filter(|character| !character.is_whitespace()).collect::<String>();
    // Bytes, so that a text can be looked for in a text.
    let (mut stream, mut token_of) = (String::new(), Vec::new());
    for (place, token) in tokens.iter().enumerate() {
        let own = solid(token);
        token_of.extend(std::iter::repeat_n(place, own.len()));
        stream.push_str(&own);
    }
    let words: Vec<String> = words.iter().map(|word| solid(word.as_ref())).collect();
    let needle = words.concat();
    if needle.is_empty() {
        return Err(Misfit::Empty);
    }
    let begins = stream.find(&needle).ok_or(Misfit::Absent)?;
    let step = stream[begins..].chars().next().map_or(1, char::len_utf8);
    if stream[begins + step..].contains(&needle) {
        return Err(Misfit::Ambiguous);
    }
    let mut at = begins;
    let place = |word: &String| {
        let mut own = token_of[at..at + word.len()].to_vec();
        own.dedup();
        at += word.len();
        own
    };
    Ok(words.iter().map(place).collect())
}

/// One number a token from one a word: each token of a word has an equal share of its number, so that they add up to it
/// again; a token that several words share has a share of each, and one of no word 0.
pub(super) fn shared_out(values: &[f64], places: &[Vec<usize>], tokens: usize) -> Vec<f64> {
    let mut by_token = vec![0.0; tokens];
    for (value, places) in values.iter().zip(places) {
        places.iter().for_each(|&place| by_token[place] += value / places.len() as f64);
    }
    by_token
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(of: &[&str]) -> Vec<String> {
        of.iter().map(|&token| token.to_owned()).collect()
    }

    #[test]
    fn words_are_found_by_their_characters() {
        let prompt = tokens(&["<s>", "Review", ":", " a", " fi", "lm", " I", "'d", " see", " ", "é!", "\n", "So"]);
        let words = ["a", "film", "I'd", " ", "see", "é", "!"];
        let found = align(&words, &prompt).unwrap();
        assert_eq!(found, [vec![3], vec![4, 5], vec![6, 7], vec![], vec![8], vec![10], vec![10]]);
        let shared = shared_out(&[1.0, 3.0, -1.0, 9.0, 2.0, 0.5, 0.25], &found, prompt.len());
        assert_eq!(shared, [0.0, 0.0, 0.0, 1.0, 1.5, 1.5, -0.5, -0.5, 2.0, 0.0, 0.75, 0.0, 0.0]);
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let prompt = tokens(&["a", "b", "a", "b"]);
        assert_eq!(align(&["a", "b"], &prompt), Err(Misfit::Ambiguous));
        assert_eq!(align(&["b", "b"], &prompt), Err(Misfit::Absent));
        assert_eq!(align(&[" "], &prompt), Err(Misfit::Empty));
        assert_eq!(align(&["b", "a"], &prompt), Ok(vec![vec![1], vec![2]]));
        assert_eq!(align(&["éé"], &tokens(&["é", "éé"])), Err(Misfit::Ambiguous), "they overlap");
    }
}
