//! Text to token ids and back, by a Hugging Face `tokenizer.json`.
//!
//! What the file says about truncation, padding and BPE dropout is ignored: a prompt is encoded whole, as itself, and
//! the same way every time. Offsets count characters (Unicode scalar values), not bytes.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::models::ModelWrapper;

use crate::{files, lfs};

/// Runs code of the tokenizer library, which panics on some files that contradict themselves (a merge of tokens that are
/// not in the vocabulary, a special token without an id).
fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    crate::panics::guarded("tokenizer", code)
}

/// Which of the tokens that a tokenizer puts around a text a prompt gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpecialTokens {
    /// All of them, as `tokenizer.json` has it.
    #[default]
    Tokenizer,
    /// Those before the text: a begin token, and nothing where a decoder's score is taken.
    Begin,
    /// None: the prompt has what it needs.
    None,
}

impl SpecialTokens {
    /// The names that users type, in order.
    pub const NAMES: &[&str] = &["tokenizer", "begin", "none"];

    const ALL: [Self; 3] = [SpecialTokens::Tokenizer, SpecialTokens::Begin, SpecialTokens::None];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            SpecialTokens::Tokenizer => "tokenizer",
            SpecialTokens::Begin => "begin",
            SpecialTokens::None => "none",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|special| special.name() == name)
    }
}

/// Why text cannot be encoded as asked.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("cannot read the tokenizer {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is missing; {beside}", .path.display())]
    Missing { path: PathBuf, beside: String },
    #[error("{} is not a tokenizer.json: {message}", .path.display())]
    Invalid { path: PathBuf, message: String },
    #[error("the tokenizer cannot encode this text: {message}")]
    Encode { message: String },
    #[error("{} is not one token but {}{}", crate::diagnostics::quote(.text), split(.pieces), hint(.alternative))]
    NotOneToken {
        text: String,
        /// What it was split into, as displayed.
        pieces: Vec<String>,
        /// The same text with or without a space before it, if that is one token.
        alternative: Option<String>,
    },
    #[error("{} is not in the vocabulary (it becomes {}){}",
        crate::diagnostics::quote(.text), crate::diagnostics::quote(.unknown), hint(.alternative))]
    Unknown {
        text: String,
        /// The token that stands for everything unknown.
        unknown: String,
        /// The same text with or without a space before it, if that is one token.
        alternative: Option<String>,
    },
}

fn split(pieces: &[String]) -> String {
    let names: Vec<&str> = pieces.iter().map(String::as_str).collect();
    match pieces.len() {
        0 => "none at all".to_owned(),
        count => format!("{count}: {}", crate::diagnostics::list(&names)),
    }
}

fn hint(alternative: &Option<String>) -> String {
    alternative.as_ref().map_or_else(String::new, |text| format!("; {} is one token", crate::diagnostics::quote(text)))
}

/// Text as a model sees it. The three vectors are of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub ids: Vec<i64>,
    /// For display: the text that a token covers; the vocabulary's name of it where it covers none (special tokens) or
    /// shares a character with its neighbour (bytes of one character).
    pub tokens: Vec<String>,
    /// Start and end in characters of the text; an empty span for tokens that are not in it.
    pub offsets: Vec<(usize, usize)>,
}

impl Encoding {
    /// Without so many of the tokens at its beginning.
    pub fn drop_first(&mut self, count: usize) {
        self.ids.drain(..count);
        self.tokens.drain(..count);
        self.offsets.drain(..count);
    }
}

/// A Hugging Face tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    unknown: Option<i64>,
    /// Ids of the tokens that the file calls special.
    special: HashSet<i64>,
    max_id: i64,
    /// The largest id of the vocabulary itself, without the tokens that were added to it.
    max_own_id: i64,
    /// What it puts before a text, and after it.
    around: (Vec<i64>, Vec<i64>),
}

/// The part of `tokenizer.json` that the library keeps to itself.
#[derive(Deserialize)]
struct File {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    unk_token: Option<String>,
    unk_id: Option<u32>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Missing`], [`TokenizerError::Read`] or [`TokenizerError::Invalid`].
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        if path.parent().is_some_and(Path::is_dir) && !path.exists() {
            return Err(TokenizerError::Missing { path: path.to_path_buf(), beside: beside(path) });
        }
        let read = |source| TokenizerError::Read { path: path.to_path_buf(), source };
        let bytes = files::read(path, files::TOKENIZER).map_err(read)?;
        Self::from_bytes(path, &bytes)
    }

    /// From the contents of a file; `path` stands for it in messages.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::parse(bytes).map_err(|message| TokenizerError::Invalid { path: path.to_path_buf(), message })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if lfs::is_pointer(bytes) {
            return Err(format!("it {}", lfs::PROBLEM));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let file: File = serde_json::from_str(text).map_err(|error| match error.is_eof() {
            true => format!("it ends too early, so it was cut off: {error}"),
            false => error.to_string(),
        })?;
        guarded(|| Self::build(bytes, file)).and_then(|built| built)
    }

    fn build(bytes: &[u8], file: File) -> Result<Self, String> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| error.to_string())?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        if let ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some()
        {
            let mut model = model.clone();
            model.dropout = None;
            inner.with_model(model);
        }
        let named = file.model.unk_token.and_then(|token| inner.token_to_id(&token));
        let unknown = named.or(file.model.unk_id).map(i64::from);
        let special = inner.encode_char_offsets("", true).map_err(|error| error.to_string())?;
        let vocabulary = inner.get_vocab(true);
        let max_id = vocabulary.values().chain(special.get_ids()).copied().max().map_or(-1, i64::from);
        let max_own_id = inner.get_vocab(false).into_values().max().map_or(-1, i64::from);
        let around = around(&inner)?;
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| i64::from(id)).collect();
        Ok(Tokenizer { inner, unknown, special, max_id, max_own_id, around })
    }

    /// Encodes a prompt, with those tokens around it that are asked for.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str, special: SpecialTokens) -> Result<Encoding, TokenizerError> {
        let mut encoding = self.encode(text, special != SpecialTokens::None)?;
        if special == SpecialTokens::Begin && encoding.ids.ends_with(&self.around.1) {
            let kept = encoding.ids.len() - self.around.1.len();
            encoding.ids.truncate(kept);
            encoding.tokens.truncate(kept);
            encoding.offsets.truncate(kept);
        }
        Ok(encoding)
    }

    /// The tokens that are put before a text, and after it.
    pub fn around(&self) -> (&[i64], &[i64]) {
        (&self.around.0, &self.around.1)
    }

    /// What the user of a decoder should know of a tokenizer that puts something behind a text: the score is taken there.
    pub fn note_on_ends(&self) -> Option<String> {
        let last = self.token(*self.around.1.last()?);
        Some(format!(
            "the tokenizer ends every prompt with '{last}', and a decoder's score is taken at the prompt's last token, which is \
             then that one; special tokens `begin` leave it out, `none` all of them (`special_tokens` of a model in \
             harness.yaml, --special-tokens of explain)"
        ))
    }

    /// The token that a prompt begins with twice: the tokenizer put it before a text that has it already.
    pub fn begins_twice(&self, ids: &[i64]) -> Option<i64> {
        let before = &self.around.0;
        let twice = !before.is_empty() && ids.starts_with(before) && ids[before.len()..].starts_with(before);
        twice.then(|| before[0])
    }

    /// Encodes a text; with `special`, with the tokens that the tokenizer puts around a sequence.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], as when a word is unknown and there is no token for that.
    pub fn encode(&self, text: &str, special: bool) -> Result<Encoding, TokenizerError> {
        let encoding = guarded(|| self.inner.encode_char_offsets(text, special).map_err(|error| error.to_string()))
            .and_then(|encoding| encoding)
            .map_err(|message| TokenizerError::Encode { message })?;
        let starts: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
        let last = starts.len() - 1;
        let offsets: Vec<(usize, usize)> = encoding
            .get_offsets()
            .iter()
            .zip(encoding.get_tokens())
            .map(|(&(start, end), name)| {
                let (start, end) = (start.min(last), end.clamp(start.min(last), last));
                // The mark for a space that some tokenizers put before a text, as a token of its own: the library gives it
                // the place of the first character, of which it is no part.
                let is_mark = !name.is_empty() && name.chars().all(|c| c == '▁');
                let covered = &text[starts[start]..starts[end]];
                let is_put_there = is_mark && !covered.contains(|c: char| c.is_whitespace() || c == '▁');
                (start, if is_put_there { start } else { end })
            })
            .collect();
        let shares = |index: usize| {
            let overlap = |a: (usize, usize), b: (usize, usize)| a.0 < b.1 && b.0 < a.1;
            (index > 0 && overlap(offsets[index - 1], offsets[index]))
                || offsets.get(index + 1).is_some_and(|&next| overlap(offsets[index], next))
        };
        let tokens = encoding
            .get_tokens()
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let (start, end) = offsets[index];
                if start == end || shares(index) { name.clone() } else { text[starts[start]..starts[end]].to_owned() }
            })
            .collect();
        let ids = encoding.get_ids().iter().map(|&id| i64::from(id)).collect();
        Ok(Encoding { ids, tokens, offsets })
    }

    /// A token's text for display, its leading space kept; an id that no token has is displayed as `[ID]`.
    pub fn token(&self, id: i64) -> String {
        let Some((small, name)) = u32::try_from(id).ok().and_then(|id| Some((id, self.inner.id_to_token(id)?))) else {
            return format!("[{id}]");
        };
        if self.inner.get_decoder().is_none() {
            return name;
        }
        match guarded(|| self.inner.decode(&[small], false)).unwrap_or(Ok(String::new())) {
            Ok(text) if text.is_empty() || text.contains('\u{FFFD}') => name,
            Ok(text) if name.starts_with('▁') && !text.starts_with(' ') => format!(" {text}"),
            Ok(text) => text,
            Err(_) => name,
        }
    }

    /// The id of a text that is one token, encoded without special tokens.
    ///
    /// # Errors
    /// [`TokenizerError::NotOneToken`] says what it was split into; [`TokenizerError::Unknown`] that no token is it.
    pub fn id_of_single_token(&self, text: &str) -> Result<i64, TokenizerError> {
        match self.single(text)? {
            Single::Token(id) => Ok(id),
            Single::Unknown(unknown) => {
                Err(TokenizerError::Unknown { text: text.to_owned(), unknown, alternative: self.alternative(text) })
            }
            Single::Split(pieces) => {
                Err(TokenizerError::NotOneToken { text: text.to_owned(), pieces, alternative: self.alternative(text) })
            }
        }
    }

    /// The ids of an answer's text, encoded without special tokens; at least one.
    ///
    /// # Errors
    /// [`TokenizerError::Unknown`] where a part of it is in no token; [`TokenizerError::NotOneToken`] where it has none.
    pub fn ids_of_answer(&self, text: &str) -> Result<Vec<i64>, TokenizerError> {
        let encoding = self.encode(text, false)?;
        let text = text.to_owned();
        match self.unknown.filter(|unknown| encoding.ids.contains(unknown) && self.named(&text) != Some(*unknown)) {
            Some(unknown) => Err(TokenizerError::Unknown { text, unknown: self.token(unknown), alternative: None }),
            None if encoding.ids.is_empty() => {
                Err(TokenizerError::NotOneToken { text, pieces: Vec::new(), alternative: None })
            }
            None => Ok(encoding.ids),
        }
    }

    fn single(&self, text: &str) -> Result<Single, TokenizerError> {
        let encoding = self.encode(text, false)?;
        Ok(match encoding.ids[..] {
            [id] if Some(id) == self.unknown && self.named(text) != Some(id) => Single::Unknown(self.token(id)),
            [id] => Single::Token(id),
            _ => Single::Split(encoding.tokens),
        })
    }

    /// The same text with or without a space before it, if that is one token.
    fn alternative(&self, text: &str) -> Option<String> {
        let other = match text.strip_prefix(' ') {
            Some(rest) => rest.to_owned(),
            None => format!(" {text}"),
        };
        matches!(self.single(&other), Ok(Single::Token(_))).then_some(other).filter(|other| !other.trim().is_empty())
    }

    fn named(&self, name: &str) -> Option<i64> {
        self.inner.token_to_id(name).map(i64::from)
    }

    /// Whether a token is punctuation of the model's own, such as `[SEP]` or `</s>`. The unknown token is none: it stands
    /// for a word of the text.
    pub fn is_special(&self, id: i64) -> bool {
        self.special.contains(&id) && Some(id) != self.unknown
    }

    /// The token that stands for everything unknown.
    pub fn unknown(&self) -> Option<i64> {
        self.unknown
    }

    /// The largest id that encoding can produce; -1 for a tokenizer without tokens.
    pub fn max_id(&self) -> i64 {
        self.max_id
    }

    /// The largest id of the vocabulary itself, without the tokens that were added to it; -1 for one without tokens.
    pub fn max_own_id(&self) -> i64 {
        self.max_own_id
    }

    /// The token that stands for "nothing here": the one that the user names (as the vocabulary writes it, or as text);
    /// else the first of encoding `" "` without special tokens; else `pad`; else the unknown token.
    ///
    /// `None` if there is none of these, or if `named` is no token.
    pub fn baseline(&self, pad: Option<i64>, named: Option<&str>) -> Option<i64> {
        if let Some(name) = named {
            return self.named(name).or_else(|| self.id_of_single_token(name).ok());
        }
        let space = self.encode(" ", false).ok().and_then(|encoding| encoding.ids.first().copied());
        space.or(pad).or(self.unknown)
    }
}

/// What a tokenizer puts before a text and after it, found by what it does to one that it knows.
fn around(inner: &tokenizers::Tokenizer) -> Result<(Vec<i64>, Vec<i64>), String> {
    let encode = |text: &str, special| {
        let encoding = inner.encode_char_offsets(text, special).map_err(|error| error.to_string())?;
        Ok::<Vec<i64>, String>(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    };
    for text in ["a", "the", ".", "1", " "] {
        let (Ok(alone), Ok(whole)) = (encode(text, false), encode(text, true)) else { continue };
        if alone.is_empty() {
            continue;
        }
        if let Some(start) = whole.windows(alone.len()).position(|part| part == alone) {
            return Ok((whole[..start].to_vec(), whole[start + alone.len()..].to_vec()));
        }
    }
    Ok((encode("", true)?, Vec::new()))
}

/// What to do where there is no `tokenizer.json`, by what is there instead.
fn beside(path: &Path) -> String {
    let folder = path.parent().unwrap_or(Path::new(""));
    let found = |names: &[&'static str]| names.iter().copied().find(|name| folder.join(name).exists());
    let convert = "in Python, `transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` writes \
                   tokenizer.json from it";
    let older =
        found(&["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "tokenizer.bpe.model"]);
    if let Some(older) = older {
        return format!("{older} is an older form of it: {convert}");
    }
    match (found(&["vocab.json"]), found(&["merges.txt"])) {
        (Some(_), Some(_)) => format!("vocab.json and merges.txt are an older form of it: {convert}"),
        (Some(_), None) => format!(
            "vocab.json is a part of an older form of it, whose merges.txt is missing too: download it, then {convert}"
        ),
        _ => match found(&["tekken.json", "tokenizer_config.json"]) {
            Some(other) => format!(
                "{other} alone does not say how texts are cut up: download tokenizer.json, or name one with --tokenizer"
            ),
            None => "copy the one that belongs to the model there, or name it with --tokenizer".to_owned(),
        },
    }
}

enum Single {
    Token(i64),
    Unknown(String),
    Split(Vec<String>),
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("max_id", &self.max_id)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokenizer(name: &str) -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config");
        Tokenizer::from_file(&folder.join(name)).unwrap()
    }

    #[test]
    fn words() {
        let tokenizer = tokenizer("wordlevel.json");
        let encoding = tokenizer.encode("w3 é w5", true).unwrap();
        assert_eq!(encoding.ids, [3, 2, 5]);
        assert_eq!(encoding.tokens, ["w3", "é", "w5"]);
        assert_eq!(encoding.offsets, [(0, 2), (3, 4), (5, 7)]);
        assert_eq!(
            (tokenizer.max_id(), tokenizer.token(2), tokenizer.token(999)),
            (130, "<unk>".into(), "[999]".into())
        );
        assert_eq!(tokenizer.id_of_single_token("w7").unwrap(), 7);
        assert_eq!(tokenizer.id_of_single_token("<unk>").unwrap(), 2);
        let error = tokenizer.id_of_single_token("banana").unwrap_err();
        assert_eq!(error.to_string(), "`banana` is not in the vocabulary (it becomes `<unk>`)");
        let error = tokenizer.id_of_single_token("w3 w4").unwrap_err();
        assert_eq!(error.to_string(), "`w3 w4` is not one token but 2: `w3`, `w4`");
        assert_eq!(tokenizer.id_of_single_token(" ").unwrap_err().to_string(), "` ` is not one token but none at all");
    }

    #[test]
    fn bytes() {
        let tokenizer = tokenizer("bytelevel.json");
        let text = "The film was good 日é!";
        let encoding = tokenizer.encode(text, true).unwrap();
        assert_eq!(encoding.tokens[..4], ["The", " film", " was", " good"]);
        assert_eq!(encoding.offsets[..4], [(0, 3), (3, 8), (8, 12), (12, 17)]);
        assert_eq!(encoding.tokens[5..], ["æ", "Ĺ", "¥", "é", "!"], "bytes of one character are shown apart");
        assert_eq!(encoding.offsets[5..], [(18, 19), (18, 19), (18, 19), (19, 20), (20, 21)]);
        for _ in 0..20 {
            assert_eq!(tokenizer.encode(text, true).unwrap(), encoding, "dropout is off");
        }
        let long = text.repeat(3);
        assert!(tokenizer.encode(&long, true).unwrap().ids.len() > 16, "no truncation, no padding");
        let id = tokenizer.id_of_single_token(" good").unwrap();
        assert_eq!(tokenizer.token(id), " good");
        let error = tokenizer.id_of_single_token("good").unwrap_err();
        assert_eq!(error.to_string(), "`good` is not one token but 4: `g`, `o`, `o`, `d`; ` good` is one token");
        assert_eq!(tokenizer.token(tokenizer.max_id()), "<|end|>");
    }

    #[test]
    fn sentence_pieces() {
        let tokenizer = tokenizer("metaspace.json");
        let encoding = tokenizer.encode("The café films.", true).unwrap();
        assert_eq!(encoding.tokens, ["<s>", "The", " caf", "é", " film", "s", "."]);
        assert_eq!(encoding.offsets, [(0, 0), (0, 3), (3, 7), (7, 8), (8, 13), (13, 14), (14, 15)]);
        assert_eq!(tokenizer.encode("The", false).unwrap().ids, [4]);
        assert_eq!(tokenizer.token(5), " film");
        assert_eq!(tokenizer.id_of_single_token("Yes").unwrap(), 9);
        assert_eq!(
            tokenizer.id_of_single_token("日").unwrap_err().to_string(),
            "`日` is not one token but 2: `▁`, `日`"
        );
        assert_eq!(tokenizer.max_id(), 17);
    }

    #[test]
    fn baselines() {
        let words = tokenizer("wordlevel.json");
        assert_eq!(words.baseline(None, None), Some(2), "no space, no pad: unknown");
        assert_eq!(words.baseline(Some(1), None), Some(1), "no space: pad");
        assert_eq!(words.baseline(Some(1), Some("<bos>")), Some(0));
        assert_eq!(words.baseline(Some(1), Some("nothing")), None);
        let bytes = tokenizer("bytelevel.json");
        assert_eq!(bytes.baseline(Some(7), None), Some(bytes.id_of_single_token(" ").unwrap()));
        assert_eq!(bytes.baseline(None, Some("<|end|>")), Some(bytes.max_id()));
        assert_eq!(tokenizer("metaspace.json").baseline(None, None), Some(3));
    }

    #[test]
    fn files_that_contradict_themselves() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/metaspace.json");
        let text = std::fs::read_to_string(path)
            .unwrap()
            .replace("{\"SpecialToken\": {\"id\": \"<s>\"", "{\"SpecialToken\": {\"id\": \"<t>\"");
        let error = Tokenizer::parse(text.as_bytes()).unwrap_err();
        assert!(!error.is_empty());
    }

    #[test]
    fn what_is_put_around_a_text() {
        let begin = tokenizer("metaspace.json");
        assert_eq!(begin.around(), (&[1][..], &[][..]));
        let twice = begin.encode("<s>The", true).unwrap().ids;
        assert_eq!(begin.begins_twice(&twice), Some(1));
        assert_eq!(begin.begins_twice(&begin.encode("The", true).unwrap().ids), None);
        assert_eq!(begin.encode_prompt("<s>The", SpecialTokens::None).unwrap().ids, twice[1..]);
        assert_eq!(tokenizer("wordlevel.json").around(), (&[][..], &[][..]));

        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/classifier/tokenizer.json");
        let both = Tokenizer::from_file(&path).unwrap();
        let (before, after) = both.around();
        assert_eq!((before.len(), after.len()), (1, 1));
        let whole = both.encode_prompt("a good film", SpecialTokens::Tokenizer).unwrap();
        let open = both.encode_prompt("a good film", SpecialTokens::Begin).unwrap();
        let bare = both.encode_prompt("a good film", SpecialTokens::None).unwrap();
        assert_eq!(open.ids, whole.ids[..whole.ids.len() - 1]);
        assert_eq!((open.tokens.len(), open.offsets.len()), (open.ids.len(), open.ids.len()));
        assert_eq!(bare.ids, open.ids[1..]);
        assert_eq!(SpecialTokens::NAMES, SpecialTokens::ALL.map(SpecialTokens::name));
        assert!(SpecialTokens::ALL.iter().all(|&special| SpecialTokens::named(special.name()) == Some(special)));
    }

    #[test]
    fn older_forms_are_named_with_the_way_out() {
        for (files, named) in [
            (&["tokenizer.model"][..], "tokenizer.model is an older form"),
            (&["vocab.json", "merges.txt"], "vocab.json and merges.txt"),
            (&["vocab.json"], "merges.txt is missing"),
            (&["vocab.txt"], "vocab.txt"),
            (&["tokenizer_config.json"], "tokenizer_config.json alone"),
            (&[], "--tokenizer"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| std::fs::write(folder.path().join(name), "").unwrap());
            let error = Tokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap_err().to_string();
            assert!(error.contains("tokenizer.json is missing") && error.contains(named), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n").unwrap();
        assert!(Tokenizer::from_file(&path).unwrap_err().to_string().contains("git lfs pull"));
        std::fs::write(&path, "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\"").unwrap();
        assert!(Tokenizer::from_file(&path).unwrap_err().to_string().contains("cut off"));
    }

    #[test]
    fn files_that_are_not_tokenizers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        assert!(matches!(Tokenizer::from_file(&path), Err(TokenizerError::Missing { .. })));
        assert!(matches!(Tokenizer::from_file(folder.path()), Err(TokenizerError::Read { .. })));
        for content in ["", "{}", "{\"model\": {}}", "[1]", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}}}"]
        {
            std::fs::write(&path, content).unwrap();
            assert!(matches!(Tokenizer::from_file(&path), Err(TokenizerError::Invalid { .. })), "{content}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_encoded_within_itself(text in "\\PC{0,40}| [A-Z]é日\u{1F469}\u{200D}\u{1F52C}\n\t ") {
            for name in ["wordlevel.json", "bytelevel.json", "metaspace.json"] {
                let encoding = tokenizer(name).encode(&text, true).unwrap();
                let length = text.chars().count();
                prop_assert!(encoding.offsets.iter().all(|&(start, end)| start <= end && end <= length));
                prop_assert_eq!(encoding.ids.len(), encoding.tokens.len());
                prop_assert_eq!(encoding.ids.len(), encoding.offsets.len());
            }
        }

        #[test]
        fn damaged_files_never_panic(which in 0usize..3, at in 0usize..6000, byte in any::<u8>(), cut in 0usize..20) {
            let name = ["wordlevel.json", "bytelevel.json", "metaspace.json"][which];
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config").join(name);
            let mut bytes = std::fs::read(path).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.drain(at..(at + cut).min(at.max(bytes.len())).min(bytes.len()));
            if let Ok(tokenizer) = Tokenizer::parse(&bytes) {
                let _ = tokenizer.encode("The film w3 é 日", true);
            }
        }
    }
}
