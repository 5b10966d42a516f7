//! What a gate says of the changes.

use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use super::CompareError;
use super::cells::{Change, Verdict};
use crate::config::{Allowed, Gate, Matcher};
use crate::date::Date;
use crate::report::sections::significant;
use crate::text::shown;

/// What a rule comes to on one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "judgement", content = "why")]
pub enum Judgement {
    Passed,
    Failed(String),
    /// It would fail, and somebody has looked at it.
    Acknowledged(String),
    Incomplete(String),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    pub model: String,
    pub task: String,
    pub method: String,
    pub metric: String,
    /// Where the rule stands.
    pub rule: String,
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// Every change by the first rule that fits it.
///
/// # Errors
/// [`CompareError::Unfitting`] for a rule that fits nothing: a name in it is mistyped, or what it guarded is gone.
pub fn judge(gate: &Gate, changes: &[Change], today: Date) -> Result<Vec<Judged>, CompareError> {
    let fits = |matcher: &Matcher, c: &Change| matcher.fits(&c.model, &c.task, &c.method, &c.metric);
    for rule in &gate.rules {
        if !changes.iter().any(|change| fits(&rule.fits, change)) {
            return Err(CompareError::Unfitting { place: rule.place.clone(), known: known(&rule.fits, changes) });
        }
    }
    let judged = changes.iter().filter_map(|change| {
        let rule = gate.rules.iter().find(|rule| fits(&rule.fits, change))?;
        let judgement = match judge_one(change, rule.allowed) {
            Judgement::Failed(why) => match gate.acknowledged.iter().find(|known| fits(&known.fits, change)) {
                Some(known) if today <= known.until => {
                    Judgement::Acknowledged(format!("{why}; acknowledged until {}: {}", known.until, known.reason))
                }
                Some(known) => Judgement::Failed(format!(
                    "{why}; it was acknowledged until {} ({}), which is over",
                    known.until, known.reason
                )),
                None => Judgement::Failed(why),
            },
            judgement => judgement,
        };
        Some(Judged {
            model: change.model.clone(),
            task: change.task.clone(),
            method: change.method.clone(),
            metric: change.metric.clone(),
            rule: rule.place.clone(),
            judgement,
        })
    });
    Ok(judged.collect())
}

fn judge_one(change: &Change, allowed: Allowed) -> Judgement {
    if change.verdict == Verdict::Incomplete {
        let why = change.why.clone().unwrap_or_else(|| "it is incomplete".to_owned());
        return Judgement::Incomplete(why);
    }
    if change.verdict == Verdict::Unchanged {
        return Judgement::Passed;
    }
    // By how much it is better: at least, and at most.
    let ends = change
        .low
        .zip(change.high)
        .map(|(low, high)| if change.higher_is_better { (low, high) } else { (-high, -low) });
    let said = |what: &str| {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), significant);
        format!(
            "{what}: from {} to {}, a change of {} [{}, {}] over {} examples, where {} is allowed",
            number(change.base),
            number(change.new),
            number(change.difference),
            number(change.low),
            number(change.high),
            change.n,
            significant(change.margin),
        )
    };
    match (allowed, ends) {
        (Allowed::Margin(_), Some((_, at_best))) if at_best < -change.margin => {
            Judgement::Failed(said("worse by more than the margin"))
        }
        (Allowed::Margin(_), _) => Judgement::Passed,
        (Allowed::NoWorseThan(_), Some((at_worst, _))) if at_worst >= -change.margin => Judgement::Passed,
        (Allowed::NoWorseThan(_), _) => Judgement::Failed(said("not shown to be no worse")),
    }
}

/// The names that a rule that fits nothing could have meant.
fn known(matcher: &Matcher, changes: &[Change]) -> String {
    let wanted = [
        ("model", &matcher.model, changes.iter().map(|c| c.model.as_str()).collect::<Vec<_>>()),
        ("task", &matcher.task, changes.iter().map(|c| c.task.as_str()).collect()),
        ("method", &matcher.method, changes.iter().map(|c| c.method.as_str()).collect()),
        ("metric", &matcher.metric, changes.iter().map(|c| c.metric.as_str()).collect()),
    ];
    for (what, wanted, mut names) in wanted {
        let Some(wanted) = wanted else { continue };
        if !names.contains(&wanted.value.as_str()) {
            names.sort_unstable();
            names.dedup();
            let near = crate::diagnostics::nearest(&wanted.value, names.iter().copied());
            return match near {
                Some(near) => format!("no {what} is called {}; did you mean `{near}`?", shown(&wanted.value)),
                None => format!("no {what} is called {}; there are {}", shown(&wanted.value), names.join(", ")),
            };
        }
    }
    "no run has all of its names together".to_owned()
}

/// The form that CI servers read: a test for each change that a rule fits.
pub fn junit(judged: &[Judged]) -> String {
    let count = |is: fn(&Judgement) -> bool| judged.iter().filter(|one| is(&one.judgement)).count();
    let failures = count(|judgement| matches!(judgement, Judgement::Failed(_)));
    let errors = count(|judgement| matches!(judgement, Judgement::Incomplete(_)));
    let skipped = count(|judgement| matches!(judgement, Judgement::Acknowledged(_)));
    let cases = html! {
        testsuites name="gim-harness gate" tests=(judged.len()) failures=(failures) errors=(errors) {
            "\n"
            testsuite name="gate" tests=(judged.len()) failures=(failures) errors=(errors) skipped=(skipped) {
                "\n"
                @for one in judged { (case(one)) "\n" }
            }
            "\n"
        }
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", cases.into_string())
}

fn case(judged: &Judged) -> Markup {
    let class = format!("{}.{}", shown(&judged.model), shown(&judged.task));
    let name = format!("{} {}", shown(&judged.method), shown(&judged.metric));
    html! {
        testcase classname=(class) name=(name) {
            @match &judged.judgement {
                Judgement::Passed => (PreEscaped("")),
                Judgement::Failed(why) => failure message=(shown(why)) { (shown(&judged.rule)) },
                Judgement::Incomplete(why) => error message=(shown(why)) { (shown(&judged.rule)) },
                Judgement::Acknowledged(why) => skipped message=(shown(why)) {},
            }
        }
    }
}
