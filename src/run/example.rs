//! One example, and what is made of it.

use std::rc::Rc;

use futures::future::join_all;

use super::Metrics;
use crate::attribution::{self, Attribution, Case, Method, Question};
use crate::config::Score;
use crate::faithfulness::{Evaluated, Measured, Measurement, Ranking};
use crate::probe::{Account, DoesNotFit, Probe};
use crate::store::{Curve, MetricValue, Timing, Unit, UnitKey};
use crate::tasks::Example;

/// How a metric ends that says that it has no value for a number that is none.
const NOT_FINITE: &str = "is not a finite number";

/// A unit by name, and what its numbers hang on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    pub key: UnitKey,
    pub depends_on: String,
}

/// A unit to be made.
pub struct Wanted {
    pub unit: Identified,
    pub method: Rc<dyn Method>,
    /// The unit as it is in the store: its attribution is taken from there.
    pub known: Option<Unit>,
}

/// An example as the model saw it.
pub enum Seen {
    Explained {
        case: Case,
        /// f(x).
        score: f64,
    },
    LeftOut {
        reason: String,
        /// f(x), where it could be had.
        score: Option<f64>,
    },
}

/// The case of an example before its contrast is known.
pub fn case(example: &Example, position: usize, score: Score, baseline: i64) -> Case {
    let one = Case {
        key: example.id.clone(),
        prompt: example.input_ids.as_slice().into(),
        position,
        question: Question { target: example.target, contrast: example.contrast, score },
        following: Vec::new(),
        baseline,
        ranked: example.ranked.clone(),
    };
    match example.following.is_empty() {
        true => one,
        false => one.answered(&[&[example.target], &example.following[..]].concat(), score),
    }
}

/// Why an example cannot be explained, from its size alone. `longest`: the model's positions.
pub fn unfit(example: &Example, longest: Option<usize>) -> Option<String> {
    match longest {
        Some(longest) if example.input_ids.len() + example.following.len() > longest => {
            Some(format!("longer than the model's {longest} positions"))
        }
        _ if example.ranked.is_empty() => Some("no token to rank".to_owned()),
        _ => None,
    }
}

/// Scores an example's prompt, and leaves out what the model answers wrongly and what does not fit into memory.
pub async fn see(example: Rc<Example>, probe: Probe) -> Seen {
    let seen = probe.within_memory(|probe| look(example, probe)).await;
    seen.unwrap_or_else(|DoesNotFit(reason)| Seen::LeftOut { reason, score: None })
}

async fn look(example: Rc<Example>, probe: Probe) -> Seen {
    let case = probe.case();
    if !example.following.is_empty() || example.options.iter().any(|option| option.len() > 1) {
        return see_several(&example, &probe).await;
    }
    let options: Vec<i64> = example.options.iter().flatten().copied().collect();
    let mut tokens: Vec<i64> = options.iter().copied().chain([example.target]).chain(example.contrast).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let Some(found) = probe.logits(vec![case.row()], tokens.clone()).await.pop() else {
        return Seen::LeftOut { reason: "the model gave no score".to_owned(), score: None };
    };
    let logit = |id: i64| tokens.binary_search(&id).map_or(f32::NAN, |at| found.logits[at]);
    let others = options.iter().copied().filter(|&id| id != example.target);
    let best_other = others.max_by(|&a, &b| logit(a).total_cmp(&logit(b)));
    let contrast = match case.question.score {
        Score::LogitDifference => example.contrast.or(best_other),
        _ => None,
    };
    let question = Question { contrast, ..case.question };
    let full = question.value(&tokens, &found);
    let answered = match best_other {
        Some(other) if logit(other) >= logit(example.target) => other,
        Some(_) => example.target,
        None => found.argmax,
    };
    if !full.is_finite() {
        Seen::LeftOut { reason: probe.because("the score is not a finite number"), score: None }
    } else if answered != example.target {
        Seen::LeftOut { reason: "answered wrongly".to_owned(), score: Some(full) }
    } else {
        Seen::Explained { case: Case { question, ..(**case).clone() }, score: full }
    }
}

/// The same, where answers are several tokens: among options the most probable is what the model answers, else what it
/// says token by token.
async fn see_several(example: &Example, probe: &Probe) -> Seen {
    let case = probe.case();
    let full = probe.scores(vec![case.row()]).await.first().copied().unwrap_or(f64::NAN);
    let own: Vec<i64> = case.answer().collect();
    let others = example.options.iter().filter(|option| **option != own);
    let asked: Vec<Probe> = others.map(|option| probe.about(case.answered(option, Score::LogProbability))).collect();
    let right = match asked.is_empty() {
        true => {
            let rows = (0..own.len()).map(|behind| case.row().moved(behind)).collect();
            let said = probe.logits(rows, own.clone()).await;
            said.iter().map(|score| score.argmax).eq(own)
        }
        false => {
            let own = probe.about(case.answered(&own, Score::LogProbability));
            let own = own.scores(vec![own.case().row()]).await;
            let others = join_all(asked.iter().map(|other| other.scores(vec![other.case().row()]))).await;
            others.iter().flatten().all(|other| own.first().is_some_and(|own| own > other))
        }
    };
    match (full.is_finite(), right) {
        (false, _) => Seen::LeftOut { reason: probe.because("the score is not a finite number"), score: None },
        (true, false) => Seen::LeftOut { reason: "answered wrongly".to_owned(), score: Some(full) },
        (true, true) => Seen::Explained { case: (**case).clone(), score: full },
    }
}

/// The unit of an example that is left out.
pub fn left_out(wanted: Wanted, index: usize, example: &Example, reason: &str, score: Option<f64>) -> Unit {
    Unit { score, excluded: Some(reason.to_owned()), ..empty(wanted.unit, index, example) }
}

/// A method on an example that the model answered, judged by the metrics.
pub async fn explain(
    wanted: Wanted,
    index: usize,
    example: Rc<Example>,
    full: f64,
    metrics: &Metrics,
    probe: Probe,
) -> Unit {
    let Metrics { measurements, others } = metrics;
    let Wanted { unit, method, known } = wanted;
    let unit = Unit { score: Some(full), ..empty(unit, index, &example) };
    let [for_attribution, for_evaluation] = [(); 2].map(|()| Rc::new(Account::default()));
    let traced = probe.charging(&for_attribution).tracing();
    let (attribution, attribution_cost) = match known {
        Some(known) => {
            let found = Attribution { values: known.attributions, diagnostics: known.diagnostics };
            (Ok(found), known.timing.attribution)
        }
        None => {
            let found = attribution::attribute(&*method, &traced).await;
            (found, for_attribution.total())
        }
    };
    let mut timing = Timing { attribution: attribution_cost, ..Timing::default() };
    let attribution = match attribution {
        Ok(attribution) => Rc::new(attribution),
        Err(reason) => return Unit { metrics: excluded(metrics, &reason.0), timing, ..unit },
    };
    if let Some(reason) = attribution.not_finite() {
        let metrics = excluded(metrics, &traced.because(reason));
        let Attribution { values: attributions, diagnostics } = (*attribution).clone();
        return Unit { attributions, diagnostics, metrics, timing, ..unit };
    }
    let probe = probe.charging(&for_evaluation).tracing();
    let evaluated: Vec<Evaluated> = attribution
        .values
        .iter()
        .enumerate()
        .map(|(seed, values)| Evaluated {
            case: Rc::clone(probe.case()),
            attribution: Rc::clone(&attribution),
            seed,
            ranking: Ranking::new(values, &probe.case().ranked),
            evidence: example.evidence.as_slice().into(),
            full,
            method: Rc::clone(&method),
        })
        .collect();
    // All at once, so that what they ask shares batches.
    let by_measurement =
        measurements.iter().map(|measurement| join_all(evaluated.iter().map(|one| measurement.measure(one, &probe))));
    let measured = join_all(by_measurement).await;
    timing.evaluation = for_evaluation.total();
    let (mut metrics, curves) = combine(measurements, &measured, &probe);
    metrics.extend(others.iter().cloned().map(MetricValue::elsewhere));
    let Attribution { values: attributions, diagnostics } = (*attribution).clone();
    Unit { attributions, diagnostics, metrics, curves, timing, ..unit }
}

fn empty(unit: Identified, index: usize, example: &Example) -> Unit {
    Unit {
        key: unit.key,
        depends_on: unit.depends_on,
        example_index: index,
        n_tokens: example.input_ids.len(),
        n_ranked: example.ranked.len(),
        score: None,
        excluded: None,
        tokens: example.tokens.clone(),
        attributions: Vec::new(),
        metrics: Vec::new(),
        curves: Vec::new(),
        timing: Timing::default(),
        diagnostics: std::collections::BTreeMap::new(),
    }
}

fn excluded(metrics: &Metrics, reason: &str) -> Vec<MetricValue> {
    let own = metrics.measurements.iter().flat_map(|measurement| &measurement.wanted);
    let own = own.map(|(_, metric)| MetricValue {
        metric: metric.clone(),
        values: Vec::new(),
        excluded: Some(reason.to_owned()),
    });
    own.chain(metrics.others.iter().cloned().map(MetricValue::elsewhere)).collect()
}

/// Values by seed, and the curves' mean over the seeds, of what each measurement says of each seed. `probe`: what they asked
/// through, which knows where numbers came from that are not finite.
fn combine(measurements: &[Measurement], measured: &[Vec<Measured>], probe: &Probe) -> (Vec<MetricValue>, Vec<Curve>) {
    let (mut values, mut curves) = (Vec::new(), Vec::new());
    for (measurement, by_seed) in measurements.iter().zip(measured) {
        for (place, metric) in &measurement.wanted {
            let value = |seed: &Measured| match seed.values.get(*place) {
                Some(Ok(value)) if !value.is_finite() => Err("its value is not a finite number".to_owned()),
                Some(value) => value.clone(),
                None => Err("it was not measured".to_owned()),
            };
            let own: Result<Vec<f64>, String> = by_seed.iter().map(value).collect();
            let (values_of, excluded) = match own {
                Ok(own) => (own, None),
                Err(reason) if reason.ends_with(NOT_FINITE) => (Vec::new(), Some(probe.because(reason))),
                Err(reason) => (Vec::new(), Some(reason)),
            };
            values.push(MetricValue { metric: metric.clone(), values: values_of, excluded });
        }
        let mut seeds = by_seed.iter().map(|seed| measurement.curves(seed));
        let Some(mut own) = seeds.next() else { continue };
        // A mean over some of the seeds would pass for one over all.
        if by_seed.iter().any(|seed| seed.curves.len() != own.len()) {
            continue;
        }
        for seed in seeds {
            for (curve, other) in own.iter_mut().zip(&seed) {
                curve.score.iter_mut().zip(&other.score).for_each(|(sum, score)| *sum += score);
            }
        }
        own.iter_mut().flat_map(|curve| &mut curve.score).for_each(|sum| *sum /= by_seed.len() as f64);
        curves.extend(own);
    }
    (values, curves)
}
