//! Tasks on data as they are published, for models as they are: readers, prompts, chat templates, the paper's task files.

mod chat;
mod paper;
mod prompts;
mod readers;

use std::path::{Path, PathBuf};

use gim_harness::chat::ChatTemplate;
use gim_harness::config::{ConfigError, TaskPlan, Vocabulary, load_task};
use gim_harness::tasks::{self, Dataset, Example, Subject, Taken, TaskError};
use gim_harness::tokenizer::{SpecialTokens, Tokenizer};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A model of a family, as far as tasks look at one.
struct Model {
    tokenizer: Tokenizer,
    chat: Option<ChatTemplate>,
    architecture: &'static str,
    max_tokens: Option<usize>,
}

impl Model {
    /// Nearly every byte is a token of its own; a begin token is put before a text.
    fn bytes() -> Model {
        Model::with(&root().join("tests/fixtures/tasks/tokenizer.json"))
    }

    fn with(tokenizer: &Path) -> Model {
        let tokenizer = Tokenizer::from_file(tokenizer).unwrap();
        Model { tokenizer, chat: None, architecture: "llama", max_tokens: None }
    }

    fn load(&self, plan: &TaskPlan) -> Result<Dataset, TaskError> {
        let subject = Subject {
            model: "model",
            architecture: self.architecture,
            tokenizer: &self.tokenizer,
            chat: self.chat.as_ref(),
            labels: None,
            special_tokens: SpecialTokens::Tokenizer,
            vocab: 1 << 20,
            max_tokens: self.max_tokens,
        };
        tasks::load(plan, &subject, Taken::All)
    }
}

/// A folder with a task of these files.
struct Written(tempfile::TempDir);

impl Written {
    fn new(task: &str, files: &[(&str, &[u8])]) -> Written {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        std::fs::write(folder.path().join("t.yaml"), task).unwrap();
        Written(folder)
    }

    fn plan(&self) -> Result<TaskPlan, String> {
        match load_task(&self.0.path().join("t.yaml"), &Vocabulary::EMPTY) {
            Ok(plan) => Ok(plan),
            Err(ConfigError::Invalid(mistakes)) => Err(self.shown(&mistakes.to_string())),
            Err(error) => panic!("{error}"),
        }
    }

    /// The examples, or all that is wrong.
    fn load(&self, model: &Model) -> Result<Dataset, String> {
        model.load(&self.plan()?).map_err(|error| match error {
            TaskError::Invalid(mistakes) => self.shown(&mistakes.to_string()),
            error => panic!("{error}"),
        })
    }

    fn shown(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }

    /// What is said of it, without the lines that show where.
    fn said(&self, model: &Model) -> Vec<String> {
        let said = self.load(model).unwrap_err();
        let mut found: Vec<String> = Vec::new();
        for line in said.lines() {
            if let Some(message) = line.strip_prefix("error: ") {
                found.push(message.to_owned());
            } else if let (Some(place), Some(last)) = (line.strip_prefix("  --> "), found.last_mut()) {
                *last = format!("{place} {last}");
            }
        }
        found
    }
}

fn example(name: &str) -> PathBuf {
    root().join("tasks/examples").join(name)
}

fn load(path: &Path, model: &Model) -> Dataset {
    model
        .load(&load_task(path, &Vocabulary::EMPTY).unwrap_or_else(|error| panic!("{error}")))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The words of some of an example's tokens; some tokens have the space before a word in them, others do not.
fn words(example: &Example, positions: &[usize]) -> String {
    let mut text = String::new();
    for (index, &position) in positions.iter().enumerate() {
        if index > 0 && positions[index - 1] + 1 != position {
            text.push(' ');
        }
        text.push_str(&example.tokens[position]);
    }
    text.split_whitespace().collect::<Vec<_>>().join("|")
}

fn evidence(data: &Dataset) -> Vec<String> {
    data.examples.iter().map(|example| words(example, &example.evidence)).collect()
}

fn prompts(data: &Dataset) -> Vec<String> {
    data.examples.iter().map(|example| example.tokens.concat()).collect()
}

fn ids(data: &Dataset) -> Vec<&str> {
    data.examples.iter().map(|example| example.id.as_str()).collect()
}
