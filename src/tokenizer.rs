//! Text to token ids and back, by a Hugging Face `tokenizer.json`.
//!
//! What the file says about truncation, padding and BPE dropout is ignored: a prompt is encoded whole, as itself, and
//! the same way every time. Offsets count characters (Unicode scalar values), not bytes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::models::ModelWrapper;

/// A tokenizer file longer than this is refused; the largest in use are about 35 MB.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Why text cannot be encoded as asked.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("cannot read the tokenizer {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
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

/// A Hugging Face tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    unknown: Option<i64>,
    max_id: i64,
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
    /// [`TokenizerError::Read`] or [`TokenizerError::Invalid`].
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let read = |source| TokenizerError::Read { path: path.to_path_buf(), source };
        let metadata = path.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(read(io::Error::new(io::ErrorKind::InvalidInput, "not a file")));
        }
        if metadata.len() > MAX_FILE_BYTES {
            return Err(read(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 GiB")));
        }
        let bytes = std::fs::read(path).map_err(read)?;
        Self::from_bytes(&bytes).map_err(|message| TokenizerError::Invalid { path: path.to_path_buf(), message })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
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
        Ok(Tokenizer { inner, unknown, max_id })
    }

    /// Encodes a text; with `special`, with the tokens that the tokenizer puts around a sequence.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], as when a word is unknown and there is no token for that.
    pub fn encode(&self, text: &str, special: bool) -> Result<Encoding, TokenizerError> {
        let encoding = self
            .inner
            .encode_char_offsets(text, special)
            .map_err(|error| TokenizerError::Encode { message: error.to_string() })?;
        let starts: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
        let last = starts.len() - 1;
        let offsets: Vec<(usize, usize)> = encoding
            .get_offsets()
            .iter()
            .map(|&(start, end)| (start.min(last), end.clamp(start.min(last), last)))
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
        match self.inner.decode(&[small], false) {
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

    /// The largest id that encoding can produce; -1 for a tokenizer without tokens.
    pub fn max_id(&self) -> i64 {
        self.max_id
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
