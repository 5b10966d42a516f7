//! What lies beside an `.onnx` file: its tokenizer and its configuration.
//!
//! Some repositories keep them in the folder above (`onnx/model.onnx`), and a tokenizer that was named by hand usually has
//! its configuration beside it. What is not found where the file is, is looked for there; which file was used is said.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::foreign::ForeignError;
use crate::files;
use crate::labels::Labels;
use crate::onnx::Dim;
use crate::onnx::dim::show;

/// The folder that a file is in.
fn folder(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

/// The folder above that of a file.
fn above(file: &Path) -> PathBuf {
    let folder = folder(file);
    // Of the working folder, and of one that is written with dots, the name says nothing.
    match folder.file_name() {
        Some(_) => folder.parent().map(Path::to_owned).unwrap_or_default(),
        None => folder.join(".."),
    }
}

/// The tokenizer of a file if nobody names another: beside it, or in the folder above. Where neither is, the first of the two.
pub fn tokenizer(file: &Path) -> PathBuf {
    const NAME: &str = "tokenizer.json";
    let own = folder(file).join(NAME);
    let other = above(file).join(NAME);
    if !own.exists() && other.is_file() { other } else { own }
}

/// What exporters write beside a model. Nothing that the graph computes depends on it.
#[derive(Debug, Default)]
pub struct Config {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    fields: serde_json::Map<String, Value>,
}

impl Config {
    /// Finds and reads the configuration of a file: beside it, beside the tokenizer that was named by hand, or in the folder
    /// above. `table`: the shape of the table of embeddings, which has to be the one that is configured. A tokenizer may be
    /// borrowed from another model; then the configuration beside it is not used, as a note says.
    ///
    /// # Errors
    /// [`ForeignError::Config`] for a file that is no JSON object, or another model's.
    pub fn find(
        file: &Path,
        tokenizer: Option<&Path>,
        table: &[Dim],
        notes: &mut Vec<String>,
    ) -> Result<Self, ForeignError> {
        const NAME: &str = "config.json";
        let own = Some(folder(file).join(NAME));
        let borrowed =
            tokenizer.map(|tokenizer| folder(tokenizer).join(NAME)).filter(|config| Some(config) != own.as_ref());
        let above = Some(above(file).join(NAME));
        for path in [&own, &borrowed, &above].into_iter().flatten() {
            let Some(config) = Config::read(file, path)? else { continue };
            match config.misfit(table) {
                None => {}
                Some(problem) if Some(path) == borrowed.as_ref() => {
                    notes.push(format!("the config.json beside the tokenizer {problem}; it is not used"));
                    continue;
                }
                Some(problem) => {
                    return Err(ForeignError::Config { path: file.to_owned(), config: path.clone(), problem });
                }
            }
            notes.extend(note(file, path));
            return Ok(config);
        }
        Ok(Config::default())
    }

    /// `None` where there is no such file.
    fn read(model: &Path, file: &Path) -> Result<Option<Self>, ForeignError> {
        let problem = |problem| ForeignError::Config { path: model.to_owned(), config: file.to_owned(), problem };
        let text = match files::read(file, files::CONFIG) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(problem(format!("cannot be read: {error}"))),
        };
        match serde_json::from_slice(&text) {
            Ok(Value::Object(fields)) => Ok(Some(Config { file: Some(file.to_owned()), fields })),
            Ok(_) => Err(problem("is no JSON object".to_owned())),
            Err(error) => Err(problem(format!("is no JSON: {error}"))),
        }
    }

    pub fn model_type(&self) -> Option<&str> {
        self.fields.get("model_type")?.as_str()
    }

    pub fn pad_token_id(&self) -> Option<i64> {
        self.fields.get("pad_token_id")?.as_i64()
    }

    /// Whether it gives names to labels.
    pub fn names_labels(&self) -> bool {
        self.fields.get("id2label").is_some_and(|names| !names.is_null())
    }

    /// The names of the labels that a graph has, `LABEL_0` and so on where there are none; `None` for too many.
    ///
    /// # Errors
    /// [`ForeignError::Labels`] where the names do not fit the graph.
    pub fn labels(&self, path: &Path, count: usize) -> Result<Option<Labels>, ForeignError> {
        let (Some(file), Some(names), true) = (&self.file, self.fields.get("id2label"), self.names_labels()) else {
            return Ok(Labels::unnamed(count));
        };
        let problem = |problem| ForeignError::Labels { path: path.to_owned(), config: file.clone(), problem };
        let labels = Labels::from_id2label(names).map_err(problem)?;
        if labels.count() != count {
            return Err(problem(format!("names {} labels, and the model has {count}", labels.count())));
        }
        Ok(Some(labels))
    }

    /// What it states that a table of embeddings of this shape contradicts.
    fn misfit(&self, table: &[Dim]) -> Option<String> {
        // The width of the embeddings, which not all models give the rest of the network.
        const WIDTHS: [&str; 6] = ["embedding_size", "word_embed_proj_dim", "hidden_size", "n_embd", "d_model", "dim"];
        for (names, axis) in [(&WIDTHS[..], 1), (&["vocab_size"], 0)] {
            let found = table.get(axis).and_then(Dim::value)? as u64;
            let stated: Vec<(&str, u64)> =
                names.iter().filter_map(|&name| Some((name, self.fields.get(name)?.as_u64()?))).collect();
            if let Some((name, size)) = stated.first().filter(|_| stated.iter().all(|&(_, size)| size != found)) {
                let table = show(table);
                return Some(format!("says that {name} is {size}, where the table of embeddings is {table}"));
            }
        }
        None
    }

    /// The file, where something was read from it.
    pub fn described_by(&self) -> Vec<PathBuf> {
        let read = self.model_type().is_some() || self.pad_token_id().is_some() || self.names_labels();
        self.file.clone().filter(|_| read).into_iter().collect()
    }
}

/// What is said where a file was not beside the model.
pub fn note(model: &Path, used: &Path) -> Option<String> {
    let (own, other) = (folder(model), folder(used));
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    (own != other).then(|| {
        let place = if other == above(model) { "in the folder above" } else { "beside the tokenizer" };
        format!("{} was not beside {}; the one {place} is used", name(used), name(model))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_above_however_the_path_is_written() {
        for (file, expected) in [
            ("a/onnx/model.onnx", "a"),
            ("onnx/model.onnx", ""),
            ("model.onnx", ".."),
            ("./model.onnx", "./.."),
            ("../model.onnx", "../.."),
            ("/model.onnx", "/.."),
        ] {
            assert_eq!(above(Path::new(file)), Path::new(expected), "{file}");
        }
    }

    #[test]
    fn what_was_not_beside_the_model_is_said() {
        let model = Path::new("m/onnx/model.onnx");
        assert_eq!(note(model, Path::new("m/onnx/config.json")), None);
        let above = note(model, Path::new("m/config.json")).unwrap();
        assert_eq!(above, "config.json was not beside model.onnx; the one in the folder above is used");
        assert!(note(model, Path::new("t/config.json")).unwrap().contains("beside the tokenizer"));
    }
}
