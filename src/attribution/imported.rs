//! Attributions that another program made.

use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue};
use crate::config::{Chosen, Offered, WrittenFile};
use crate::imports::{Format, Given};
use crate::probe::Probe;

const FILE: OptionInfo = OptionInfo {
    name: "file",
    kind: OptionKind::File,
    default: OptionValue::File(WrittenFile::NONE),
    only_with: None,
    about: "The file with the attributions.",
};
const FORMAT: OptionInfo = OptionInfo {
    name: "format",
    kind: OptionKind::Choice(&Format::NAMES),
    default: OptionValue::Word("jsonl"),
    only_with: None,
    about: "How it is written: lines of JSON with an example's id and its numbers, results of the ERASER benchmark with \
            their documents beside them, or what inseq saves.",
};
const METHOD_OF_FILE: OptionInfo = OptionInfo {
    name: "method",
    kind: OptionKind::Name,
    default: OptionValue::Word(""),
    only_with: Some(("format", OptionValue::Word("jsonl"))),
    about: "Of a file with several methods, which one.",
};

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "imported", options: &[FILE, FORMAT, METHOD_OF_FILE] },
    description: "attributions that another program made, read from a file",
    source: "no method",
    cost: "nothing",
    build: |settings| Rc::new(Imported { given: settings.given.clone() }),
};

/// A file of attributions that a plan names.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedFile {
    pub file: WrittenFile,
    pub format: Format,
    /// Empty: the file has one method only.
    pub method: &'static str,
}

/// The file that a method of a plan reads; `None` for methods that compute.
pub fn imported_file(method: &Chosen) -> Option<ImportedFile> {
    if method.name != METHOD.info.name {
        return None;
    }
    let complete = METHOD.info.complete(&method.options);
    let word = |info: &OptionInfo| match complete.get(info.name) {
        Some(OptionValue::Word(word)) => word,
        _ => "",
    };
    let Some(&OptionValue::File(file)) = complete.get(FILE.name) else { return None };
    Some(ImportedFile { file, format: Format::named(word(&FORMAT))?, method: word(&METHOD_OF_FILE) })
}

/// What a file says.
struct Imported {
    given: Option<Arc<Given>>,
}

#[async_trait(?Send)]
impl Method for Imported {
    async fn attribute(&self, case: &Case, _: &Probe) -> Result<Attribution, Inapplicable> {
        let Some(given) = &self.given else {
            return Err(Inapplicable("attributions are imported for the examples of a run".to_owned()));
        };
        let values = given.of(&case.key).map_err(Inapplicable)?;
        Ok(Attribution { values: values.to_vec(), ..Attribution::default() })
    }
}
