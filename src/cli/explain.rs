//! `gim-harness explain`.

use std::path::PathBuf;

use anstyle::{Color, RgbColor, Style};
use anyhow::bail;
use gim_harness::attribution::{self, Case, Question, Settings};
use gim_harness::config::Score;
use gim_harness::diagnostics::{list, nearest};
use gim_harness::labels::{LabelError, Labels};
use gim_harness::runtime::{Model, Row};
use gim_harness::text::shown;
use gim_harness::tokenizer::Tokenizer;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::model::ModelOptions;
use super::output::{self, Styled};
use super::progress::Terminal;
use super::signals::{self, STOPPING};
use super::{Ended, Usage};

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("input").required(true))]
pub struct Arguments {
    /// A bundle, or a Hugging Face folder, which is baked on the way
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The prompt, encoded with the tokenizer's special tokens
    #[arg(long, group = "input", value_name = "TEXT")]
    prompt: Option<String>,
    /// The prompt as token ids, taken as they are
    #[arg(long, group = "input", value_delimiter = ',', value_name = "0,5,9")]
    input_ids: Option<Vec<i64>>,
    /// The answer to explain: one token of text, or a classifier's label [default: what the model answers]
    #[arg(long, value_name = "TOKEN", conflicts_with = "target_id")]
    target: Option<String>,
    /// The answer to explain, as a token id or a label's number
    #[arg(long, value_name = "N")]
    target_id: Option<i64>,
    /// Explain why the target rather than this token or label
    #[arg(long, value_name = "TOKEN", conflicts_with = "contrast_id")]
    contrast: Option<String>,
    /// The same as a token id or a label's number
    #[arg(long, value_name = "N")]
    contrast_id: Option<i64>,
    /// The attribution method (see `gim-harness methods`)
    #[arg(long, default_value = "gim", value_name = "NAME")]
    method: String,
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

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Coloured tokens in a terminal, a table elsewhere
    Text,
    /// One object
    Json,
    /// One page that needs no network
    Html,
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Explanation {
    method: String,
    input_ids: Vec<i64>,
    tokens: Vec<String>,
    position: usize,
    target_id: i64,
    /// Text of a decoder's token, name of a classifier's label.
    target: String,
    contrast_id: Option<i64>,
    /// f(x): the target's logit, or its difference from the contrast's.
    score: f64,
    baseline_id: i64,
    attributions: Vec<f64>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let settings = Settings { seed: arguments.seed, ..Settings::default() };
    let Some(method) = attribution::build(&arguments.method, &settings) else {
        let names = attribution::METHODS.iter().map(|entry| entry.info.name);
        let hint = nearest(&arguments.method, names).map(|name| format!("; did you mean '{name}'?"));
        let hint = hint.unwrap_or_else(|| "; `gim-harness methods` lists them".to_owned());
        return Err(Usage(format!("there is no method '{}'{hint}", arguments.method)).into());
    };
    let watch = signals::watch(STOPPING)?;
    let progress = Terminal::new(&watch);
    let mut model = arguments.model.open(&arguments.bundle, &progress)?;
    let tokenizer = model.bundle().tokenizer()?;
    let labels = model.manifest().labels().map_err(anyhow::Error::msg)?;
    let answers = Answers { tokenizer: &tokenizer, labels: labels.as_ref() };
    let case = case(arguments, &mut model, &answers)?;
    let needed: Vec<i64> = case.question.tokens().collect();
    let scores = model.scores(&[case.row()], &needed)?;
    let attributions = method.attribute(&mut model, std::slice::from_ref(&case))?;
    let explanation = Explanation {
        method: arguments.method.clone(),
        tokens: case.input_ids.iter().map(|&id| tokenizer.token(id)).collect(),
        position: case.position,
        target_id: case.question.target,
        target: answers.name(case.question.target),
        contrast_id: case.question.contrast,
        score: case.question.value(&needed, &scores[0]),
        baseline_id: case.baseline,
        attributions: attributions.into_iter().flat_map(|found| found.values).next().unwrap_or_default(),
        input_ids: case.input_ids,
    };
    if let Some(bad) = explanation.attributions.iter().position(|value| !value.is_finite()) {
        bail!("the attribution of token {bad} ('{}') is not a finite number", explanation.tokens[bad]);
    }
    let contrast = explanation.contrast_id.map(|id| answers.name(id));
    match arguments.format {
        Format::Json => output::json(&explanation, false)?,
        Format::Html => output::result(html(&explanation, contrast.as_deref()))?,
        Format::Text => text(&explanation, contrast.as_deref()).print()?,
    }
    Ok(Ended::Done)
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

    /// An id that the model has a logit for.
    fn check(&self, id: i64, outputs: i64) -> Result<i64, String> {
        match (0..outputs).contains(&id) {
            true => Ok(id),
            false if self.labels.is_some() => Err(format!("the model has the labels 0 to {}, not {id}", outputs - 1)),
            false => Err(format!("the model has logits for 0 to {}, not for {id}", outputs - 1)),
        }
    }
}

/// The prompt and the question; what the model answers where no target is named.
fn case(arguments: &Arguments, model: &mut Model, answers: &Answers) -> anyhow::Result<Case> {
    let input_ids = match (&arguments.prompt, &arguments.input_ids) {
        (Some(prompt), _) => answers.tokenizer.encode(prompt, true)?.ids,
        (None, ids) => ids.clone().unwrap_or_default(),
    };
    if input_ids.is_empty() {
        return Err(Usage("the prompt has no tokens".to_owned()).into());
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
    let target = match named(&arguments.target, arguments.target_id, "--target")? {
        Some(target) => target,
        None => model.scores(&[Row { input_ids: input_ids.clone(), position }], &[])?[0].argmax,
    };
    let Some(baseline) = arguments.baseline_id.or(model.manifest().baseline_token_id) else {
        return Err(Usage("this bundle has no baseline token; name one with --baseline-id".to_owned()).into());
    };
    let score = if contrast.is_some() { Score::LogitDifference } else { Score::Logit };
    Ok(Case { key: String::new(), input_ids, position, question: Question { target, contrast, score }, baseline })
}

fn heading(explanation: &Explanation, contrast: Option<&str>) -> String {
    let rather = contrast.map(|contrast| format!(" rather than '{contrast}'")).unwrap_or_default();
    let unit = if contrast.is_some() { "logit difference" } else { "logit" };
    format!("why '{}'{rather}? ({}, {unit} {:.3})", explanation.target, explanation.method, explanation.score)
}

/// The largest attribution by size, for scaling colours.
fn largest(explanation: &Explanation) -> f64 {
    explanation.attributions.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}

/// White to red for what speaks for the answer, to blue for what speaks against it.
fn colour(value: f64, largest: f64) -> (u8, u8, u8) {
    let share = if largest > 0.0 { (value / largest).clamp(-1.0, 1.0) } else { 0.0 };
    let mix = |full: f64| (255.0 - share.abs() * (255.0 - full)).round() as u8;
    if share >= 0.0 { (mix(214.0), mix(72.0), mix(60.0)) } else { (mix(52.0), mix(118.0), mix(200.0)) }
}

fn text(explanation: &Explanation, contrast: Option<&str>) -> Styled {
    let most = largest(explanation);
    let mut out = Styled::default();
    out.plain(shown(&heading(explanation, contrast)));
    out.plain("\n\n");
    for (token, &value) in explanation.tokens.iter().zip(&explanation.attributions) {
        let (r, g, b) = colour(value, most);
        let style =
            Style::new().bg_color(Some(Color::Rgb(RgbColor(r, g, b)))).fg_color(Some(Color::Rgb(RgbColor(20, 20, 20))));
        out.styled(style, token.trim());
        out.beside_styles(" ");
    }
    out.beside_styles("\n\n");
    let tokens: Vec<String> = explanation.tokens.iter().map(|token| shown(token).into_owned()).collect();
    let width = tokens.iter().map(|token| token.width()).max().unwrap_or(0).min(40);
    for (place, (token, &value)) in tokens.iter().zip(&explanation.attributions).enumerate() {
        let bar = "#".repeat((20.0 * value.abs() / most.max(f64::MIN_POSITIVE)).round() as usize);
        let sign = if value < 0.0 { "-" } else { "+" };
        let bar = if bar.is_empty() { String::new() } else { format!("  {sign}{bar}") };
        let padding = width.saturating_sub(token.width());
        out.plain(format_args!("{place:4}  {token}{:padding$}  {value:>+10.4}{bar}\n", ""));
    }
    out.plain("\n+ speaks for the answer, - against it; in units of the score\n");
    out
}

fn html(explanation: &Explanation, contrast: Option<&str>) -> String {
    let most = largest(explanation);
    // An escape is as good in a page as in a terminal: a bidirectional mark would turn the words around it.
    let escape = |text: &str| {
        shown(text)
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    };
    let title = escape(&heading(explanation, contrast));
    let mut spans = String::new();
    for (token, &value) in explanation.tokens.iter().zip(&explanation.attributions) {
        let (r, g, b) = colour(value, most);
        spans += &format!(
            "<span style=\"background:rgb({r},{g},{b})\" title=\"{value:+.4}\">{}</span>\n",
            escape(token.trim())
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font:16px/2 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#141414;\
         background:#fff}}h1{{font-size:1.1rem}}span{{padding:.15em .3em;border-radius:.25em}}\
         p.note{{color:#555;font-size:.85rem}}</style></head>\n<body><h1>{title}</h1>\n<p>\n{spans}</p>\n\
         <p class=\"note\">Red speaks for the answer, blue against it; the strongest token is {most:.4} in units of the \
         score. Point at a token for its number.</p>\n</body></html>\n"
    )
}
