//! Prompts: a task's template filled and put to one model, as plain text or through its chat template.

use super::shots::Shot;
use super::spans::Span;
use super::{Subject, trim};
use crate::chat::{ChatTemplate, Message, Role};
use crate::config::{Chat, Form, TaskPlan};
use crate::diagnostics::{Diagnostic, quote};
use crate::tokenizer::{Encoding, SpecialTokens, TokenizerError};
use crate::units::Granularity;

/// A filled template, in the parts that are treated apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub before: String,
    /// The context field, where evidence indexes it; what is before and behind it is all there is without one.
    pub context: Option<String>,
    pub behind: String,
    /// What was filled in from other fields, in characters of `before` and of `behind`.
    pub fields: [Vec<Span>; 2],
}

impl Filled {
    pub fn text(&self) -> String {
        format!("{}{}{}", self.before, self.context.as_deref().unwrap_or_default(), self.behind)
    }

    fn with_context(&self, context: &str) -> Filled {
        Filled { context: Some(context.to_owned()), ..self.clone() }
    }
}

/// A prompt as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    pub text: String,
    pub encoding: Encoding,
    /// Where the context stands, in characters of the text.
    pub context: Option<Span>,
    /// In characters of the text.
    pub evidence: Vec<Span>,
    /// Stretches of the text that are ranked as one, each a number of a group and a part of it; for granularities that are
    /// not the text's own.
    pub groups: Vec<(usize, Span)>,
    pub is_shortened: bool,
    /// It brought the begin token itself, and the tokenizer's was left out.
    pub begins_itself: bool,
}

/// Why there is no prompt.
pub(super) struct Problem {
    pub why: &'static str,
    pub message: String,
}

/// Makes prompts for one model.
pub(super) struct Prompter<'a> {
    form: &'a Form,
    subject: &'a Subject<'a>,
    chat: Option<&'a ChatTemplate>,
    /// What stands before the question.
    shots: &'a [Shot],
    separator: &'a str,
    granularity: Granularity,
    /// The most tokens of a prompt.
    most: Option<usize>,
}

impl<'a> Prompter<'a> {
    /// Mistakes of the task file that this model shows: a chat template that is asked for and not there, or that cannot
    /// write a plain question.
    pub fn new(
        plan: &'a TaskPlan,
        subject: &'a Subject<'a>,
        shots: &'a [Shot],
        mistakes: &mut Vec<Diagnostic>,
    ) -> Prompter<'a> {
        let form = plan.form(subject.architecture);
        let chat = match form.chat.value {
            Chat::Never => None,
            Chat::IfThere => subject.chat.filter(|_| subject.labels.is_none()),
            Chat::Always => {
                let missing = match (subject.labels.is_some(), subject.chat.is_none()) {
                    (true, _) => Some("is a classifier, and classifiers have no chat templates"),
                    (false, true) => Some("has no chat template"),
                    (false, false) => None,
                };
                mistakes.extend(missing.map(|missing| {
                    let message = format!("the model {} {missing}", quote(subject.model));
                    let help = "`chat: if_there` takes the plain prompt then; a bundle that was baked before bundles kept \
                                chat templates has to be baked anew";
                    form.chat.mistake("chat", message).with_help(help)
                }));
                subject.chat.filter(|_| missing.is_none())
            }
        };
        let separator = plan.few_shot.as_ref().map_or("", |few_shot| few_shot.separator.as_str());
        let most = plan.max_tokens.map(|most| subject.max_tokens.map_or(most, |longest| most.min(longest)));
        let granularity = plan.granularity;
        let prompter = Prompter { form, subject, chat, shots, separator, granularity, most };
        if chat.is_some()
            && let Err(problem) = prompter.text(&Filled { before: "Is it so?".to_owned(), ..Filled::default() })
        {
            mistakes.push(form.chat.mistake("chat", format!("for {}, {}", quote(subject.model), problem.message)));
        }
        prompter
    }

    pub fn uses_chat(&self) -> bool {
        self.chat.is_some()
    }

    /// The prompt of a filled template, shortened where it is too long. `evidence` and `groups` are in characters of the
    /// context.
    pub fn prompt(&self, filled: &Filled, evidence: &[Span], groups: &[Span]) -> Result<Prompt, Problem> {
        let numbered: Vec<(usize, Span)> = groups.iter().copied().enumerate().collect();
        let whole = self.encoded(filled, evidence, &numbered, false)?;
        let Some(most) = self.most.filter(|&most| whole.encoding.ids.len() > most) else { return Ok(whole) };
        let length = whole.encoding.ids.len();
        let Some(context) = &filled.context else {
            return Err(Problem {
                why: "the prompt is too long",
                message: format!(
                    "the prompt of this record has {length} tokens, of at most {most}, and no context to shorten"
                ),
            });
        };
        let fits = |context: &str| {
            self.encoded(&filled.with_context(context), &[], &[], true).map(|prompt| prompt.encoding.ids.len() <= most)
        };
        match trim::shorten(context, evidence, fits)? {
            Some(short) => {
                let evidence: Vec<Span> = evidence.iter().flat_map(|&span| short.left_of(span)).collect();
                let left = |&(number, span): &(usize, Span)| short.left_of(span).map(move |span| (number, span));
                let groups: Vec<(usize, Span)> = numbered.iter().flat_map(left).collect();
                self.encoded(&filled.with_context(&short.text), &evidence, &groups, true)
            }
            None => {
                let what = if evidence.is_empty() { "one word of its context" } else { "its evidence" };
                Err(Problem {
                    why: "the evidence does not fit into the prompt",
                    message: format!(
                        "the prompt of this record has {length} tokens, and with no more than {what} still more than {most}"
                    ),
                })
            }
        }
    }

    fn encoded(
        &self,
        filled: &Filled,
        evidence: &[Span],
        groups: &[(usize, Span)],
        is_shortened: bool,
    ) -> Result<Prompt, Problem> {
        let Written { text, question, shots } = self.text(filled)?;
        let special = if self.chat.is_some() { SpecialTokens::None } else { self.subject.special_tokens };
        let failed =
            |error: TokenizerError| Problem { why: "the prompt cannot be encoded", message: error.to_string() };
        let mut encoding = self.subject.tokenizer.encode_prompt(&text, special).map_err(failed)?;
        let begins_itself = self.subject.tokenizer.begins_twice(&encoding.ids).is_some();
        if begins_itself {
            // The tokenizer's own goes; the one in the text stays.
            encoding.drop_first(self.subject.tokenizer.around().0.len());
        }
        let before = filled.before.chars().count();
        let place = |start: usize, end: usize| question.place(before + start, before + end);
        let length = filled.context.as_ref().map(|context| context.chars().count());
        let context = length.map(|length| place(0, length));
        let length = length.unwrap_or_default();
        let inside = |&(start, end): &Span| place(start.min(length), end.min(length));
        let evidence = evidence.iter().map(inside).collect();
        let groups = match self.granularity {
            Granularity::Groups => groups.iter().map(|(number, span)| (*number, inside(span))).collect(),
            Granularity::Fields => {
                let [in_front, behind] = &filled.fields;
                let behind = behind.iter().map(|&(start, end)| place(length + start, length + end));
                let in_front = in_front.iter().map(|&(start, end)| question.place(start, end));
                shots.into_iter().chain(in_front).chain(context).chain(behind).enumerate().collect()
            }
            Granularity::Tokens | Granularity::Words | Granularity::Sentences => Vec::new(),
        };
        Ok(Prompt { text, encoding, context, evidence, groups, is_shortened, begins_itself })
    }

    /// The text of a prompt, and where the question and the shown examples stand in it.
    fn text(&self, filled: &Filled) -> Result<Written, Problem> {
        let opening = self.form.opening.as_ref().map_or("", |opening| opening.value.as_str());
        // What parts it from the question in plain text, a template's turn does.
        let opening = if self.chat.is_some() { opening.trim_start() } else { opening };
        let mut written = match self.chat {
            Some(chat) => self.conversation(chat, filled, opening)?,
            None => {
                let (mut text, mut shots, mut length) = (String::new(), Vec::new(), 0);
                for shot in self.shots {
                    let shown = format!("{}{opening}{}", shot.filled.text(), shot.answer);
                    let end = length + shown.chars().count();
                    shots.push((length, end));
                    text.push_str(&shown);
                    text.push_str(self.separator);
                    length = end + self.separator.chars().count();
                }
                text.push_str(&filled.text());
                let question = Question { begins: length, cut: 0, length: filled.text().chars().count() };
                Written { text, question, shots }
            }
        };
        written.text.push_str(opening);
        Ok(written)
    }

    /// Through the chat template.
    ///
    /// Templates may cut white space off a message. Where the question stands is found by writing another one in its
    /// place: what is the same in both surrounds it.
    fn conversation(&self, chat: &ChatTemplate, filled: &Filled, opening: &str) -> Result<Written, Problem> {
        let problem = |message: String| Problem { why: "the chat template cannot write the prompt", message };
        let shown: Vec<[String; 2]> = self
            .shots
            .iter()
            // A template puts nothing before an answer, where a space would stand in a text that goes on.
            .map(|shot| [shot.filled.text(), format!("{opening}{}", shot.answer).trim().to_owned()])
            .collect();
        let render = |question: &str| {
            let mut messages = Vec::with_capacity(2 * self.shots.len() + 2);
            let mut say = |role, content: String| messages.push(Message { role, content });
            if let Some(system) = &self.form.system {
                say(Role::System, system.value.clone());
            }
            for [asked, answered] in &shown {
                say(Role::User, asked.clone());
                say(Role::Assistant, answered.clone());
            }
            say(Role::User, question.to_owned());
            chat.render(&messages).map_err(|error| problem(error.to_string()))
        };
        const OTHER: &str = "Q7f3xZ9kQ";
        let question = filled.text();
        let (text, other) = (render(&question)?, render(OTHER)?);
        let place = other.rfind(OTHER).and_then(|at| {
            let (before, behind) = (&other[..at], &other[at + OTHER.len()..]);
            let written = text.strip_prefix(before)?.strip_suffix(behind)?;
            let cut = match written {
                written if written == question => 0,
                written if written == question.trim() => question.len() - question.trim_start().len(),
                written if written == question.trim_end() => 0,
                _ => return None,
            };
            let cut = question[..cut].chars().count();
            Some(Question { begins: before.chars().count(), cut, length: written.chars().count() })
        });
        let Some(question) = place else {
            let message = "the chat template writes the question otherwise than it is, so its words cannot be followed";
            return Err(problem(message.to_owned()));
        };
        match stretches(&text, &shown) {
            Some(shots) => Ok(Written { text, question, shots }),
            None if self.granularity == Granularity::Fields => {
                let message =
                    "the chat template writes the shown examples otherwise than they are, so they cannot be ranked";
                Err(problem(message.to_owned()))
            }
            None => Ok(Written { text, question, shots: Vec::new() }),
        }
    }
}

/// A prompt's text.
struct Written {
    text: String,
    question: Question,
    /// Where the shown examples stand, question and answer, in characters of the text.
    shots: Vec<Span>,
}

/// Where these pairs of texts stand in a text, one behind the other, but for white space at their ends.
fn stretches(text: &str, pairs: &[[String; 2]]) -> Option<Vec<Span>> {
    let mut from = 0;
    let mut next = |part: &str| {
        let at = from + text[from..].find(part)?;
        from = at + part.len();
        Some((at, from))
    };
    let characters = |bytes: usize| text[..bytes].chars().count();
    let pair = |[asked, answered]: &[String; 2]| {
        let ((begins, _), (_, ends)) = (next(asked.trim())?, next(answered.trim())?);
        Some((characters(begins), characters(ends)))
    };
    pairs.iter().map(pair).collect()
}

/// Where the question stands in a prompt, in characters.
struct Question {
    begins: usize,
    /// Characters that were cut off its beginning.
    cut: usize,
    /// Without what was cut off.
    length: usize,
}

impl Question {
    /// A span of the question as one of the prompt.
    fn place(&self, start: usize, end: usize) -> Span {
        let inside = |at: usize| self.begins + at.saturating_sub(self.cut).min(self.length);
        (inside(start), inside(end))
    }
}
