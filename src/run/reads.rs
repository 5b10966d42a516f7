//! What of a model decides how tasks are read for it, before it is baked or run.

use std::path::Path;

use super::RunError;
use super::bundles::is_bundle;
use crate::bundle::bake::BakeError;
use crate::bundle::manifest::{MANIFEST_FILE, TOKENIZER_FILE};
use crate::bundle::open::described;
use crate::bundle::source::SourceError;
use crate::chat::ChatTemplate;
use crate::checkpoint::Checkpoint;
use crate::labels::Labels;
use crate::tasks::Subject;
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// How a model reads tasks, as its bundle or its checkpoint says it.
#[derive(Debug)]
pub struct Reads {
    pub tokenizer: Tokenizer,
    pub chat: Option<ChatTemplate>,
    /// `model_type` of its configuration.
    pub architecture: String,
    /// Of a classifier.
    pub labels: Option<Labels>,
    /// Token ids that there are embeddings for.
    pub vocab: usize,
    /// The longest sequence that it has positions for, where it says so.
    pub max_positions: Option<usize>,
}

impl Reads {
    /// Of a bundle or a Hugging Face folder; `name` is what errors call it.
    ///
    /// # Errors
    /// [`RunError`] names the file that cannot be read.
    pub fn open(path: &Path, name: &str) -> Result<Reads, RunError> {
        if is_bundle(path) {
            let problem = |problem| RunError::Bundle { path: path.join(MANIFEST_FILE), problem };
            let (manifest, tokenizer) = described(path)?;
            return Ok(Reads {
                tokenizer,
                labels: manifest.labels().map_err(problem)?,
                chat: manifest.chat_template,
                architecture: manifest.architecture,
                vocab: manifest.dimensions.vocab,
                max_positions: manifest.dimensions.max_positions,
            });
        }
        let file = path.join(TOKENIZER_FILE);
        let tokenizer =
            Tokenizer::from_file(&file).map_err(|source| RunError::Tokenizer { path: file.clone(), source })?;
        let refused = |error| {
            let source = Box::new(BakeError::Source(SourceError::Checkpoint(error)).into());
            RunError::Bake { model: name.to_owned(), source }
        };
        let checkpoint = Checkpoint::open(path).map_err(refused)?;
        Ok(Reads {
            tokenizer,
            chat: ChatTemplate::beside(&file)?.map(|(template, _)| template),
            architecture: checkpoint.architecture,
            labels: checkpoint.labels,
            vocab: checkpoint.vocab,
            max_positions: checkpoint.max_positions,
        })
    }

    /// Of a tokenizer alone, as a decoder of a family that takes every token would have it.
    ///
    /// # Errors
    /// As [`Reads::open`].
    pub fn of_tokenizer(file: &Path, architecture: &str) -> Result<Reads, RunError> {
        let path = file.to_path_buf();
        let tokenizer = Tokenizer::from_file(file).map_err(|source| RunError::Tokenizer { path, source })?;
        Ok(Reads {
            chat: ChatTemplate::beside(file)?.map(|(template, _)| template),
            vocab: usize::try_from(tokenizer.max_id() + 1).unwrap_or_default(),
            tokenizer,
            architecture: architecture.to_owned(),
            labels: None,
            max_positions: None,
        })
    }

    /// The model as tasks are put to it.
    pub fn subject<'a>(&'a self, name: &'a str, special_tokens: SpecialTokens) -> Subject<'a> {
        Subject {
            model: name,
            architecture: &self.architecture,
            tokenizer: &self.tokenizer,
            chat: self.chat.as_ref(),
            labels: self.labels.as_ref(),
            special_tokens,
            vocab: self.vocab,
            max_tokens: self.max_positions,
        }
    }
}
