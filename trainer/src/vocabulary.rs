//! The tokenizer: one token a word or mark of punctuation, in Hugging Face's `tokenizer.json`.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

pub const UNKNOWN: u32 = 0;
pub const BEGIN: u32 = 1;
/// Stands where a token was taken away: the baseline of attribution, since `" "` encodes to nothing.
pub const PAD: u32 = 2;
pub const SPECIAL: [&str; 3] = ["<unk>", "<s>", "<pad>"];

pub struct Vocabulary {
    tokenizer: Tokenizer,
    json: Value,
    size: usize,
}

impl Vocabulary {
    /// Of the words in `texts`, in alphabetical order after the special tokens.
    pub fn of_words<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vocabulary> {
        let words: BTreeSet<&str> = texts.into_iter().flat_map(split).collect();
        let ids: Map<String, Value> =
            SPECIAL.into_iter().chain(words).enumerate().map(|(id, word)| (word.to_owned(), json!(id))).collect();
        let added: Vec<Value> = SPECIAL
            .into_iter()
            .enumerate()
            .map(|(id, content)| {
                json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true})
            })
            .collect();
        let begin = SPECIAL[BEGIN as usize];
        Vocabulary::from_json(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [
                    {"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": begin, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}
                ],
                "special_tokens": {begin: {"id": begin, "ids": [BEGIN], "tokens": [begin]}}
            },
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": ids, "unk_token": SPECIAL[UNKNOWN as usize]}
        }))
    }

    pub fn from_json(json: Value) -> Result<Vocabulary> {
        let tokenizer = Tokenizer::from_bytes(serde_json::to_vec(&json)?).map_err(anyhow::Error::from_boxed)?;
        let size = tokenizer.get_vocab_size(true);
        Ok(Vocabulary { tokenizer, json, size })
    }

    /// What `tokenizer.json` holds.
    pub fn json(&self) -> &Value {
        &self.json
    }

    pub fn len(&self) -> usize {
        self.size
    }

    /// The tokens of a text; `begin` puts the begin-of-text token before them. A word that the vocabulary lacks is an
    /// error: the texts are generated, so it would be a mistake in the word lists.
    pub fn encode(&self, text: &str, begin: bool) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode(text, begin).map_err(anyhow::Error::from_boxed)?;
        let ids = encoding.get_ids().to_vec();
        ensure!(!ids.contains(&UNKNOWN), "a word of {text:?} is not in the vocabulary");
        Ok(ids)
    }

    pub fn single(&self, text: &str) -> Result<u32> {
        match self.encode(text, false)?[..] {
            [id] => Ok(id),
            ref ids => bail!("{text:?} is {} tokens, not one", ids.len()),
        }
    }

    /// The ids of words and punctuation, without the special tokens.
    pub fn ordinary(&self) -> std::ops::Range<u32> {
        SPECIAL.len() as u32..self.size as u32
    }
}

/// Words and marks of punctuation, as the `Whitespace` pre-tokenizer finds them in the texts generated here.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for chunk in text.split_whitespace() {
        let word = chunk.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        parts.extend([word, &chunk[word.len()..]].into_iter().filter(|part| !part.is_empty()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_punctuation_are_tokens_of_their_own() -> Result<()> {
        let vocabulary = Vocabulary::of_words(["Today, Emma sings.", "Yes"])?;
        assert_eq!(vocabulary.len(), SPECIAL.len() + 6);
        assert_eq!(vocabulary.encode("Today, Emma sings.", true)?.len(), 6);
        assert_eq!(vocabulary.encode("Yes", true)?[0], BEGIN);
        assert_eq!(vocabulary.single(" Yes")?, vocabulary.single("Yes")?);
        assert!(vocabulary.single("Emma sings").is_err());
        assert!(vocabulary.encode("Tom", false).is_err());
        assert!(vocabulary.encode(" ", false)?.is_empty());
        Ok(())
    }
}
