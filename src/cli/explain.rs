//! `gim-harness explain`.

use std::collections::HashMap;
use std::path::PathBuf;

use gim_harness::attribution::{self, Case, Question};
use gim_harness::bundle::Manifest;
use gim_harness::config::{self, Chosen, Score};
use gim_harness::diagnostics::{Diagnostics, list, nearest};
use gim_harness::labels::{LabelError, Labels};
use gim_harness::probe;
use gim_harness::runtime::{Model, Row};
use gim_harness::tokenizer::{Encoding, SpecialTokens, Tokenizer, TokenizerError};
use gim_harness::units::{Aggregate, Granularity, Units};

use super::explanation::{Explained, Explanation};
use super::model::ModelOptions;
use super::output;
use super::progress::Terminal;
use super::signals::{self, STOPPING};
use super::{Ended, Usage};

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("input").required(true))]
pub struct Arguments {
    /// A bundle, or a Hugging Face folder, which is baked on the way
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The prompt
    #[arg(long, group = "input", value_name = "TEXT")]
    prompt: Option<String>,
    /// What the prompt gets around it: what the tokenizer puts there, only what it puts before it, or nothing
    #[arg(long, value_enum, default_value = "tokenizer", value_name = "WHICH", conflicts_with = "input_ids")]
    special_tokens: Special,
    /// The prompt as token ids, taken as they are
    #[arg(long, group = "input", value_delimiter = ',', value_name = "0,5,9")]
    input_ids: Option<Vec<i64>>,
    /// The answer to explain: text, or a classifier's label; of several tokens the logarithm of their probability
    /// [default: what the model answers]
    #[arg(long, value_name = "TOKEN", conflicts_with = "target_id")]
    target: Option<String>,
    /// The answer to explain, as a token id or a label's number
    #[arg(long, value_name = "N")]
    target_id: Option<i64>,
    /// Without a target: so many tokens that the model goes on with, each the most probable, up to a special one
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), conflicts_with_all = ["target", "target_id"])]
    max_new: u16,
    /// Explain why the target rather than this token or label
    #[arg(long, value_name = "TOKEN", conflicts_with = "contrast_id")]
    contrast: Option<String>,
    /// The same as a token id or a label's number
    #[arg(long, value_name = "N")]
    contrast_id: Option<i64>,
    /// The attribution method (see `gim-harness methods`), options in braces: 'integrated_gradients{steps: auto}'; give it
    /// more than once for several side by side
    #[arg(long, default_value = "gim", value_name = "NAME{OPTION: VALUE}")]
    method: Vec<String>,
    /// What is looked at as one, and by perturbation taken away as one
    #[arg(long, value_enum, default_value = "tokens", value_name = "WHAT", conflicts_with = "input_ids")]
    granularity: Grain,
    /// How attributions of tokens become one of a word or a sentence
    #[arg(long, value_enum, default_value = "sum", value_name = "HOW")]
    aggregate: Joined,
    /// The token that stands for nothing [default: the bundle's]
    #[arg(long, value_name = "N")]
    baseline_id: Option<i64>,
    /// Of random methods
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    model: ModelOptions,
}

/// [`SpecialTokens`] on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Special {
    Tokenizer,
    Begin,
    None,
}

impl From<Special> for SpecialTokens {
    fn from(special: Special) -> Self {
        match special {
            Special::Tokenizer => SpecialTokens::Tokenizer,
            Special::Begin => SpecialTokens::Begin,
            Special::None => SpecialTokens::None,
        }
    }
}

/// [`Granularity`] of a text that is nothing but a text.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Grain {
    Tokens,
    Words,
    Sentences,
}

impl From<Grain> for Granularity {
    fn from(grain: Grain) -> Self {
        match grain {
            Grain::Tokens => Granularity::Tokens,
            Grain::Words => Granularity::Words,
            Grain::Sentences => Granularity::Sentences,
        }
    }
}

/// [`Aggregate`] on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Joined {
    Sum,
    Mean,
    Max,
    /// The one that is farthest from zero
    SignedMax,
}

impl From<Joined> for Aggregate {
    fn from(joined: Joined) -> Self {
        match joined {
            Joined::Sum => Aggregate::Sum,
            Joined::Mean => Aggregate::Mean,
            Joined::Max => Aggregate::Max,
            Joined::SignedMax => Aggregate::SignedMax,
        }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Coloured tokens in a terminal, a table elsewhere
    Text,
    /// One object
    Json,
    /// One page that needs no network
    Html,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let methods = attribution::build_all(&methods(&arguments.method)?, arguments.seed, &HashMap::new());
    let watch = signals::watch(STOPPING)?;
    let progress = Terminal::new(&watch);
    let (mut model, tokenizer) = arguments.model.open(&arguments.bundle, &progress)?;
    let labels = model.manifest().labels().map_err(anyhow::Error::msg)?;
    let answers = Answers { tokenizer: &tokenizer, labels: labels.as_ref() };
    notes(arguments, model.manifest(), &tokenizer).iter().for_each(|note| progress.line(&format!("note: {note}")));
    let asked = asked(arguments, answers.tokenizer)?;
    let case = case(arguments, &mut model, &answers, &asked)?;
    let row = case.row();
    let (score, _) = probe::ask(&mut model, case.clone(), |probe| async move {
        let score = probe.scores(vec![row]).await.first().copied().unwrap_or(f64::NAN);
        if score.is_finite() { Ok(score) } else { Err(probe.because("the score is not a finite number")) }
    })?;
    let score = score.map_err(anyhow::Error::msg)?;
    let tokens: Vec<String> = case.tokens().iter().map(|&id| tokenizer.token(id)).collect();
    let mut explained = Vec::with_capacity(methods.len());
    for (label, method) in methods {
        progress.explaining(&label);
        let found = attribution::explain(&mut model, &method, &case);
        progress.stop();
        let (found, _) = found?;
        let found = found.map_err(|reason| anyhow::anyhow!("{label} gives no attribution here: {reason}"))?;
        // Or else not what was baked, but what it was changed to meanwhile, is explained.
        model.check_weights()?;
        let one = Explained::new(label, found, &case.ranked);
        explained.push(one);
    }
    let explanation = Explanation {
        parts: asked.parts(&tokens),
        tokens,
        units: case.ranked.clone(),
        position: case.position,
        target_id: case.question.target,
        target: case.answer().map(|id| answers.name(id)).collect(),
        target_ids: case.answer().collect(),
        contrast_id: case.question.contrast,
        contrast: case.question.contrast.map(|id| answers.name(id)),
        score,
        unit: case.question.score,
        baseline_id: case.baseline,
        input_ids: case.tokens().to_vec(),
        explained,
    };
    match arguments.format {
        Format::Json => output::json(&explanation.json(), false)?,
        Format::Html => output::result(explanation.html())?,
        Format::Text => explanation.text().print()?,
    }
    Ok(Ended::Done)
}

/// The methods that were typed, under labels that tell them apart.
fn methods(typed: &[String]) -> Result<Vec<Chosen>, Diagnostics> {
    let known = attribution::infos();
    let mut plans = Vec::new();
    let mut mistakes = Diagnostics(Vec::new());
    for typed in typed {
        match config::method(typed, "--method", known) {
            Ok(plan) => plans.push(plan),
            Err(found) => mistakes.extend(found),
        }
    }
    if !mistakes.0.is_empty() {
        return Err(mistakes);
    }
    let twice = |plan: &Chosen| plans.iter().filter(|other| other.label == plan.label).count() > 1;
    let labels: Vec<String> =
        plans.iter().map(|plan| if twice(plan) { plan.described() } else { plan.label.clone() }).collect();
    for (plan, label) in plans.iter_mut().zip(labels) {
        plan.label = label;
    }
    Ok(plans)
}

/// What the model has logits for: a decoder's tokens, or a classifier's labels.
struct Answers<'a> {
    tokenizer: &'a Tokenizer,
    labels: Option<&'a Labels>,
}

impl Answers<'_> {
    /// For display.
    fn name(&self, id: i64) -> String {
        match self.labels {
            Some(labels) => labels.name(id).map_or_else(|| format!("[{id}]"), str::to_owned),
            None => self.tokenizer.token(id),
        }
    }

    /// The id of what the user typed.
    fn id(&self, text: &str) -> Result<i64, String> {
        let Some(labels) = self.labels else {
            return self.tokenizer.id_of_single_token(text).map_err(|error| error.to_string());
        };
        labels.find(text).map_err(|error| {
            let names: Vec<&str> = labels.names().collect();
            let hint = match (&error, nearest(text, names.iter().copied())) {
                (LabelError::Ambiguous { .. }, _) => "; name one by its number".to_owned(),
                (LabelError::Unknown { .. }, Some(name)) => format!("; did you mean '{name}'?"),
                (LabelError::Unknown { .. }, None) => format!("; its labels are {}", list(&names)),
            };
            format!("the model {error}{hint}")
        })
    }

    /// The tokens of a text that is more than one, of a decoder.
    fn several(&self, text: Option<&str>, outputs: i64) -> Result<Option<Vec<i64>>, Usage> {
        let (Some(text), None) = (text, self.labels) else { return Ok(None) };
        let Err(TokenizerError::NotOneToken { .. }) = self.tokenizer.id_of_single_token(text) else { return Ok(None) };
        let said = |problem: String| Usage(format!("--target: {problem}"));
        let ids = self.tokenizer.ids_of_answer(text).map_err(|error| said(error.to_string()))?;
        ids.iter().try_for_each(|&id| self.check(id, outputs).map(drop)).map_err(said)?;
        Ok(Some(ids).filter(|ids| ids.len() > 1))
    }

    /// An id that the model has a logit for.
    fn check(&self, id: i64, outputs: i64) -> Result<i64, String> {
        match (0..outputs).contains(&id) {
            true => Ok(id),
            false if self.labels.is_some() => Err(format!("the model has the labels 0 to {}, not {id}", outputs - 1)),
            false => Err(format!("the model has logits for 0 to {}, not for {id}", outputs - 1)),
        }
    }
}

/// What the user should know of the model and of the prompt.
fn notes(arguments: &Arguments, manifest: &Manifest, tokenizer: &Tokenizer) -> Vec<String> {
    let special = arguments.special_tokens.into();
    // It has its effect only where the tokenizer does what it does by itself.
    let ends = tokenizer.note_on_ends().filter(|_| special != SpecialTokens::Tokenizer || arguments.prompt.is_none());
    let mut notes: Vec<String> = manifest.notes.iter().filter(|note| Some(*note) != ends.as_ref()).cloned().collect();
    let encoding = arguments.prompt.as_ref().and_then(|prompt| tokenizer.encode_prompt(prompt, special).ok());
    if let Some(token) = encoding.and_then(|encoding| tokenizer.begins_twice(&encoding.ids)) {
        notes.push(format!(
            "the prompt begins with '{}' twice, as the tokenizer puts it before a text that has it already; \
             --special-tokens none leaves that to the prompt",
            tokenizer.token(token)
        ));
    }
    notes
}

/// A prompt, and what of it stands by itself.
struct Asked {
    text: String,
    ids: Vec<i64>,
    /// Start and end of every token, in characters of the text.
    offsets: Vec<(usize, usize)>,
    units: Units,
}

fn asked(arguments: &Arguments, tokenizer: &Tokenizer) -> anyhow::Result<Asked> {
    let Some(prompt) = &arguments.prompt else {
        let ids = arguments.input_ids.clone().unwrap_or_default();
        let (offsets, units) = (vec![(0, 0); ids.len()], Units::tokens(0..ids.len()));
        return Ok(Asked { text: String::new(), ids, offsets, units });
    };
    let Encoding { ids, offsets, .. } = tokenizer.encode_prompt(prompt, arguments.special_tokens.into())?;
    let all: Vec<usize> = (0..ids.len()).collect();
    let (granularity, aggregate) = (arguments.granularity.into(), arguments.aggregate.into());
    let units = Units::of_text(prompt, &offsets, &all, granularity, aggregate);
    Ok(Asked { text: prompt.clone(), ids, offsets, units })
}

impl Asked {
    /// The text of each unit: a single token's is the token.
    fn parts(&self, tokens: &[String]) -> Vec<String> {
        let characters: Vec<char> = self.text.chars().collect();
        let part = |places: &[usize]| match places {
            &[one] => tokens.get(one).cloned().unwrap_or_default(),
            several => {
                let spans =
                    several.iter().filter_map(|&place| self.offsets.get(place)).filter(|(start, end)| start < end);
                let (start, end) = spans.fold((usize::MAX, 0), |all, one| (all.0.min(one.0), all.1.max(one.1)));
                characters.get(start..end).map(String::from_iter).unwrap_or_default()
            }
        };
        self.units.iter().map(part).collect()
    }
}

/// The prompt and the question; what the model answers where no target is named.
fn case(arguments: &Arguments, model: &mut Model, answers: &Answers, asked: &Asked) -> anyhow::Result<Case> {
    let (input_ids, ranked) = (asked.ids.clone(), asked.units.clone());
    if input_ids.is_empty() {
        return Err(Usage("the prompt has no tokens".to_owned()).into());
    }
    let vocab = model.manifest().dimensions.vocab;
    if let Some(&id) = input_ids.iter().find(|&&id| !(0..vocab as i64).contains(&id)) {
        let token = answers.tokenizer.token(id);
        return Err(Usage(format!(
            "the prompt has the token '{token}' (id {id}), and the model has embeddings for 0 to {} only",
            vocab.saturating_sub(1)
        ))
        .into());
    }
    let position = model.manifest().dimensions.scored_position(input_ids.len());
    let outputs = model.manifest().outputs() as i64;
    let named = |text: &Option<String>, id: Option<i64>, option: &str| -> Result<Option<i64>, Usage> {
        let option = if text.is_some() { option.to_owned() } else { format!("{option}-id") };
        let id = text.as_deref().map(|text| answers.id(text)).or(id.map(Ok));
        id.map(|id| id.and_then(|id| answers.check(id, outputs)))
            .transpose()
            .map_err(|problem| Usage(format!("{option}: {problem}")))
    };
    let contrast = named(&arguments.contrast, arguments.contrast_id, "--contrast")?;
    let answer = match (answers.several(arguments.target.as_deref(), outputs)?, arguments.target_id) {
        (Some(several), _) => several,
        (None, None) if arguments.target.is_none() => going_on(arguments, model, answers, &input_ids, position)?,
        _ => named(&arguments.target, arguments.target_id, "--target")?.into_iter().collect(),
    };
    let Some(baseline) = arguments.baseline_id.or(model.manifest().baseline_token_id) else {
        return Err(Usage("this bundle has no baseline token; name one with --baseline-id".to_owned()).into());
    };
    let score = if contrast.is_some() { Score::LogitDifference } else { Score::Logit };
    let question = Question { target: answer[0], contrast, score };
    let following = Vec::new();
    let case = Case { key: String::new(), prompt: input_ids.into(), position, question, following, baseline, ranked };
    match (answer.len(), contrast) {
        (1, _) => Ok(case),
        (_, None) => {
            let (length, longest) = (case.prompt.len() + answer.len() - 1, model.manifest().dimensions.max_positions);
            match longest.filter(|&longest| length > longest) {
                None => Ok(case.answered(&answer, Score::LogProbability)),
                Some(longest) => {
                    let problem = format!("prompt and answer have {length} tokens, and the model {longest} positions");
                    Err(Usage(problem).into())
                }
            }
        }
        (_, Some(_)) => {
            Err(Usage("--contrast: an answer of several tokens is compared with all others".to_owned()).into())
        }
    }
}

/// What the model answers: its most probable token, or with `--max-new` some, one after another.
fn going_on(
    arguments: &Arguments,
    model: &mut Model,
    answers: &Answers,
    input_ids: &[i64],
    position: usize,
) -> anyhow::Result<Vec<i64>> {
    let mut answer = vec![model.scores(&[Row::new(input_ids.to_vec(), position)], &[])?[0].argmax];
    while answer.len() < usize::from(arguments.max_new) && answers.labels.is_none() {
        let all = [input_ids, &answer].concat();
        let at = model.manifest().dimensions.scored_position(all.len());
        let next = model.scores(&[Row::new(all, at)], &[])?[0].argmax;
        if answers.tokenizer.is_special(next) {
            break;
        }
        answer.push(next);
    }
    Ok(answer)
}
