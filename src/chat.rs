//! Chat templates: how a tokenizer writes messages as the text that its model was trained on.
//!
//! Published templates are Jinja programs, as the transformers library runs them: white space around blocks is trimmed,
//! loops may be left, undefined variables are empty. What is the same here, and compared with it, is the text; the day is
//! not: `strftime_now` always says 26 July 2024, which is the date that templates of Llama 3 fall back on, as a prompt must
//! not hang on the day on which a run is made.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::panics::guarded;

/// The file that is looked for first, and then this field of `tokenizer_config.json`.
const TEMPLATE_FILE: &str = "chat_template.jinja";
const FIELD: &str = "chat_template";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// The longest that is read; published ones have some 20 kB.
const TEMPLATE: files::Kind = files::Kind { what: "a chat template", most: 1 << 20 };
/// Steps of a template, some of which a message and a word of text take.
const FUEL: u64 = 2_000_000;
/// The longest text that a template may make, in bytes.
const MOST_TEXT: usize = 16 << 20;

/// A tokenizer's chat template, with the tokens that it may name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatTemplate {
    pub template: String,
    /// `bos_token`, `eos_token` and so on, by their names.
    #[serde(default)]
    pub tokens: BTreeMap<String, String>,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// What is said in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// Why a chat template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("cannot read {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} has a chat template that cannot be read: {message}", .path.display())]
    Invalid { path: PathBuf, message: String },
    /// With what the template itself says, where it refuses messages.
    #[error("the chat template cannot write these messages: {message}")]
    Render { message: String },
}

impl ChatTemplate {
    /// The template that belongs to a tokenizer: `chat_template.jinja` beside it, else the field of
    /// `tokenizer_config.json`. Also the files that it was read from.
    ///
    /// # Errors
    /// For files that cannot be read; a template with a mistake in it is found when it is used.
    pub fn beside(tokenizer: &Path) -> Result<Option<(Self, Vec<PathBuf>)>, ChatError> {
        let folder = tokenizer.parent().unwrap_or(Path::new(""));
        let (own, config) = (folder.join(TEMPLATE_FILE), folder.join(CONFIG_FILE));
        let read = |path: &Path, kind| match files::read_text(path, kind) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ChatError::Read { path: path.to_path_buf(), source }),
        };
        let invalid = |message: String| ChatError::Invalid { path: config.clone(), message };
        let template = read(&own, TEMPLATE)?;
        let Some(text) = read(&config, files::CONFIG)? else {
            return Ok(template.map(|template| (ChatTemplate { template, tokens: BTreeMap::new() }, vec![own])));
        };
        let fields = match serde_json::from_str(&text) {
            Ok(serde_json::Value::Object(fields)) => fields,
            // Nothing else is read of this file: without a template in it, it is nobody's concern.
            _ if template.is_none() => return Ok(None),
            Ok(_) => return Err(invalid("it is no JSON object".to_owned())),
            Err(error) => return Err(invalid(error.to_string())),
        };
        let mut used = vec![config.clone()];
        let template = match template {
            Some(template) => {
                used.insert(0, own);
                template
            }
            None => match fields.get(FIELD) {
                None | Some(serde_json::Value::Null) => return Ok(None),
                Some(field) => named(field).map_err(invalid)?,
            },
        };
        let token = |(name, value): (&String, &serde_json::Value)| {
            let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
            name.ends_with("_token").then(|| (name.clone(), text.to_owned()))
        };
        Ok(Some((ChatTemplate { template, tokens: fields.iter().filter_map(token).collect() }, used)))
    }

    /// The messages as text, up to where the assistant is to speak.
    ///
    /// # Errors
    /// [`ChatError::Render`] for a template that is none, does not end, or refuses these messages.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        guarded("template", || self.rendered(messages))
            .and_then(|rendered| rendered)
            .map_err(|message| ChatError::Render { message })
    }

    fn rendered(&self, messages: &[Message]) -> Result<String, String> {
        let mut jinja = Environment::new();
        jinja.set_syntax(
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| said(&error))?,
        );
        jinja.set_undefined_behavior(UndefinedBehavior::Lenient);
        jinja.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        jinja.set_recursion_limit(100);
        jinja.set_fuel(Some(FUEL));
        jinja.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        jinja.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        jinja.add_function("strftime_now", |format: String| -> Result<String, minijinja::Error> {
            strftime(&format).map_err(|message| minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        jinja.add_filter("tojson", tojson);
        // In Python nothing is not iterable.
        jinja.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        let source = without_generation(&self.template);
        let template = jinja.template_from_str(&source).map_err(|error| said(&error))?;
        let none = Value::from(());
        let context = context! {
            messages => Value::from(Serde(messages)),
            tools => none.clone(),
            documents => none,
            add_generation_prompt => true,
            ..Value::from(Serde(&self.tokens))
        };
        let mut text = Bounded(Vec::new());
        template.render_captured_to(context, &mut text).map_err(|error| said(&error))?;
        String::from_utf8(text.0).map_err(|error| error.to_string())
    }
}

/// What went wrong and where, in one line.
fn said(error: &minijinja::Error) -> String {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes more steps than any template needs".to_owned(),
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    error.line().map_or(what.clone(), |line| format!("{what} (line {line} of the template)"))
}

/// The template of a field: one text, or several with names, of which `default` counts.
fn named(field: &serde_json::Value) -> Result<String, String> {
    if let Some(template) = field.as_str() {
        return Ok(template.to_owned());
    }
    let templates = field.as_array().into_iter().flatten();
    let named: Vec<(&str, &str)> = templates
        .filter_map(|template| Some((template.get("name")?.as_str()?, template.get("template")?.as_str()?)))
        .collect();
    match named.iter().find(|(name, _)| *name == "default") {
        Some((_, template)) => Ok((*template).to_owned()),
        None => Err(format!("`{FIELD}` is neither text nor a list with a template called `default`")),
    }
}

/// Without the marks that say which part of a text the assistant made: they write nothing.
fn without_generation(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let (before, block) = rest.split_at(start);
        text.push_str(before);
        let Some(end) = block.find("%}") else {
            rest = block;
            break;
        };
        let (block, after) = block.split_at(end + 2);
        let name = block[2..block.len() - 2].trim_matches(['-', '+']).trim();
        if matches!(name, "generation" | "endgeneration") {
            // A block that does nothing keeps the white space control of the one that it stands for.
            text.push_str(&block.replacen(name, "if true", 1));
            text.push_str("{% endif %}");
        } else {
            text.push_str(block);
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

/// JSON as Python writes it: a space behind commas and colons, characters beyond ASCII as they are.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    // What else Python takes changes nothing that a template writes.
    for name in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(name)?;
    }
    options.assert_all_used()?;
    let fail = |error: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut bytes = Vec::new();
    match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(16));
            let format = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format)).map_err(fail)?;
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Spaced)).map_err(fail)?,
    }
    Ok(Value::from(String::from_utf8_lossy(&bytes).into_owned()))
}

/// `{"a": 1, "b": [1, 2]}`.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Friday, 26 July 2024, noon.
fn strftime(format: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        text.push_str(match characters.next() {
            Some('Y') => "2024",
            Some('y') => "24",
            Some('m') => "07",
            Some('d') => "26",
            Some('B') => "July",
            Some('b' | 'h') => "Jul",
            Some('A') => "Friday",
            Some('a') => "Fri",
            Some('H' | 'I') => "12",
            Some('M' | 'S') => "00",
            Some('p') => "PM",
            Some('j') => "208",
            Some('F') => "2024-07-26",
            Some('%') => "%",
            other => {
                return Err(format!("strftime_now does not know %{}", other.map(String::from).unwrap_or_default()));
            }
        });
    }
    Ok(text)
}

/// Text up to a bound.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_TEXT {
            return Err(io::Error::other(format!("it writes more than {} MiB", MOST_TEXT >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        })
    }
}
