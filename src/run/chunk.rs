//! Some examples and what is made of them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::RunError;
use super::prepare::Prepared;
use crate::attribution::{Attribution, Case, Method, Question, tokens_of};
use crate::config::Score;
use crate::faithfulness::{Family, Judged, Judgement, Ranking, families_of};
use crate::runtime::{Counters, Model, Row};
use crate::store::{Cost, Curve, MetricValue, Timing, Unit, UnitKey};
use crate::tasks::Example;

/// Limits of the model.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The longest prompt in tokens.
    pub longest: Option<usize>,
}

/// A few examples, their scores known.
pub struct Chunk<'a> {
    /// Index in the dataset of the first example.
    first: usize,
    examples: &'a [Example],
    /// One an example.
    prompts: Vec<Prompt>,
}

/// A unit by name, and what its numbers hang on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    pub key: UnitKey,
    pub depends_on: String,
}

/// A unit to be made.
pub struct Wanted {
    pub unit: Identified,
    /// The unit as it is in the store: its attribution is taken from there.
    pub known: Option<Unit>,
}

/// An example as the model saw it.
enum Prompt {
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

impl Prompt {
    fn left_out(reason: impl Into<String>, score: Option<f64>) -> Self {
        Prompt::LeftOut { reason: reason.into(), score }
    }

    fn explained(&self) -> Option<(Case, f64)> {
        match self {
            Prompt::Explained { case, score } => Some((case.clone(), *score)),
            Prompt::LeftOut { .. } => None,
        }
    }
}

/// What the metrics say of one case, and its curves.
type Verdict = (Vec<MetricValue>, Vec<Curve>);

impl<'a> Chunk<'a> {
    /// Scores the prompts, and leaves out those that cannot be explained or that the model answers wrongly.
    pub fn new(
        model: &mut Model,
        prepared: &Prepared,
        score: Score,
        sizes: Sizes,
        first: usize,
        examples: &'a [Example],
    ) -> Result<Self, RunError> {
        let unfit: Vec<Option<String>> = examples.iter().map(|example| unfit(example, sizes)).collect();
        let fit: Vec<&Example> =
            examples.iter().zip(&unfit).filter(|(_, unfit)| unfit.is_none()).map(|(example, _)| example).collect();
        let mut tokens: Vec<i64> = fit
            .iter()
            .flat_map(|example| example.options.iter().copied().chain([example.target]).chain(example.contrast))
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        let position = |example: &Example| prepared.manifest.dimensions.scored_position(example.input_ids.len());
        let rows: Vec<Row> = fit
            .iter()
            .map(|example| Row { input_ids: example.input_ids.clone(), position: position(example) })
            .collect();
        let scores = model.scores(&rows, &tokens)?;
        let mut scores = scores.iter();
        let mut prompts = Vec::with_capacity(examples.len());
        for (example, unfit) in examples.iter().zip(unfit) {
            if let Some(reason) = unfit {
                prompts.push(Prompt::left_out(reason, None));
                continue;
            }
            let Some(found) = scores.next() else { continue };
            let logit = |id: i64| tokens.binary_search(&id).map_or(f32::NAN, |at| found.logits[at]);
            let best_other = example
                .options
                .iter()
                .copied()
                .filter(|&id| id != example.target)
                .max_by(|&a, &b| logit(a).total_cmp(&logit(b)));
            let contrast = match score {
                Score::LogitDifference => example.contrast.or(best_other),
                _ => None,
            };
            let question = Question { target: example.target, contrast, score };
            let full = question.value(&tokens, found);
            let answered = match best_other {
                Some(other) if logit(other) >= logit(example.target) => other,
                Some(_) => example.target,
                None => found.argmax,
            };
            prompts.push(if !full.is_finite() {
                Prompt::left_out("the score is not a finite number", None)
            } else if answered != example.target {
                Prompt::left_out("answered wrongly", Some(full))
            } else {
                let case = Case {
                    key: example.id.clone(),
                    input_ids: example.input_ids.clone(),
                    position: position(example),
                    question,
                    baseline: prepared.baseline,
                };
                Prompt::Explained { case, score: full }
            });
        }
        Ok(Chunk { first, examples, prompts })
    }

    /// How many of the examples are left out.
    pub fn excluded(&self) -> usize {
        self.prompts.iter().filter(|prompt| matches!(prompt, Prompt::LeftOut { .. })).count()
    }

    /// One method on the examples that are wanted (one entry an example), judged by the metrics.
    pub fn work(
        &self,
        model: &mut Model,
        method: &dyn Method,
        mut wanted: Vec<Option<Wanted>>,
        metrics: &[String],
    ) -> Result<Vec<Unit>, RunError> {
        let (chosen, explained): (Vec<usize>, Vec<(Case, f64)>) = (0..self.examples.len())
            .filter(|&i| wanted[i].is_some())
            .filter_map(|i| Some((i, self.prompts[i].explained()?)))
            .unzip();
        let (cases, full): (Vec<Case>, Vec<f64>) = explained.into_iter().unzip();
        // What the store has of a case's attribution; `None`: it is to be made.
        let known: Vec<Option<Unit>> =
            chosen.iter().map(|&i| wanted[i].as_mut().and_then(|wanted| wanted.known.take())).collect();

        // One case at a time: the last digits of a gradient hang on what shares its batch, and a run that was extended or
        // resumed has other cases at hand than one that was not. And so the cost is the case's own.
        let mut attributions = Vec::with_capacity(cases.len());
        let mut costs = Vec::with_capacity(cases.len());
        for (case, known) in cases.iter().zip(&known) {
            if let Some(unit) = known {
                let (values, diagnostics) = (unit.attributions.clone(), unit.diagnostics.clone());
                attributions.push(Attribution { values, diagnostics });
                costs.push(unit.timing.attribution);
                continue;
            }
            let (before, clock) = (model.counters(), Instant::now());
            attributions.extend(method.attribute(model, std::slice::from_ref(case))?);
            costs.push(cost(model.counters() - before, clock.elapsed().as_secs_f64()));
        }
        let (before, clock) = (model.counters(), Instant::now());
        let (judged, asked) = self.judge(model, &chosen, &cases, &full, &attributions, metrics)?;
        let evaluations = shares(cost(model.counters() - before, clock.elapsed().as_secs_f64()), &asked);

        let mut finished: BTreeMap<usize, (Attribution, Vec<MetricValue>, Vec<Curve>, Timing)> = BTreeMap::new();
        let timings =
            costs.into_iter().zip(evaluations).map(|(attribution, evaluation)| Timing { attribution, evaluation });
        for (((&i, made), (values, curves)), timing) in chosen.iter().zip(attributions).zip(judged).zip(timings) {
            finished.insert(i, (made, values, curves, timing));
        }
        let wanted = wanted.into_iter().enumerate().filter_map(|(i, wanted)| Some((i, wanted?.unit)));
        let units = wanted.map(|(i, Identified { key, depends_on })| {
            let example = &self.examples[i];
            let (excluded, score) = match &self.prompts[i] {
                Prompt::Explained { score, .. } => (None, Some(*score)),
                Prompt::LeftOut { reason, score } => (Some(reason.clone()), *score),
            };
            let (attribution, values, curves, timing) = finished.remove(&i).unwrap_or_default();
            Unit {
                key,
                depends_on,
                example_index: self.first + i,
                n_tokens: example.input_ids.len(),
                n_ranked: example.ranked.len(),
                score,
                excluded,
                tokens: example.tokens.clone(),
                attributions: attribution.values,
                metrics: values,
                curves,
                timing,
                diagnostics: attribution.diagnostics,
            }
        });
        Ok(units.collect())
    }

    /// Metrics and curves of every case, as far as they are wanted, and how many prompts each case asked to be scored. The
    /// perturbed prompts of all cases, seeds and families are scored together.
    fn judge(
        &self,
        model: &mut Model,
        chosen: &[usize],
        cases: &[Case],
        full: &[f64],
        attributions: &[Attribution],
        metrics: &[String],
    ) -> Result<(Vec<Verdict>, Vec<u64>), RunError> {
        let families = families_of(metrics);
        let mut rankings: Vec<Vec<Ranking>> = Vec::with_capacity(cases.len());
        let mut rows: Vec<Row> = Vec::new();
        let mut asked = Vec::with_capacity(cases.len());
        for ((&i, attribution), (case, &full)) in chosen.iter().zip(attributions).zip(cases.iter().zip(full)) {
            let eligible = &self.examples[i].ranked;
            let own: Vec<Ranking> = attribution.values.iter().map(|values| Ranking::new(values, eligible)).collect();
            for ranking in own.iter().filter(|_| is_finite(attribution)) {
                for family in &families {
                    rows.extend(family.rows(&Judged { case, ranking, full }));
                }
            }
            rankings.push(own);
            asked.push(rows.len() as u64 - asked.iter().sum::<u64>());
        }
        let tokens = tokens_of(cases);
        let scores = model.scores(&rows, &tokens)?;

        let mut results = Vec::with_capacity(cases.len());
        let mut at = 0;
        for ((case, &full), (rankings, attribution)) in cases.iter().zip(full).zip(rankings.iter().zip(attributions)) {
            if !is_finite(attribution) {
                results.push((excluded(metrics, "an attribution is not a finite number"), Vec::new()));
                continue;
            }
            let mut by_seed: Vec<Vec<Judgement>> = Vec::with_capacity(rankings.len());
            for ranking in rankings {
                let judged = Judged { case, ranking, full };
                let mut own = Vec::with_capacity(families.len());
                for family in &families {
                    let count = family.rows(&judged).len();
                    let values: Vec<f64> =
                        scores[at..at + count].iter().map(|score| case.question.value(&tokens, score)).collect();
                    at += count;
                    own.push(family.judge(&judged, &values));
                }
                by_seed.push(own);
            }
            results.push(combine(&families, &by_seed, metrics));
        }
        Ok((results, asked))
    }
}

/// Why an example cannot be explained, from its size alone.
fn unfit(example: &Example, sizes: Sizes) -> Option<String> {
    match sizes.longest {
        Some(longest) if example.input_ids.len() > longest => {
            Some(format!("longer than the model's {longest} positions"))
        }
        _ if example.ranked.is_empty() => Some("no token to rank".to_owned()),
        _ => None,
    }
}

fn is_finite(attribution: &Attribution) -> bool {
    attribution.values.iter().flatten().all(|value| value.is_finite())
}

fn excluded(metrics: &[String], reason: &str) -> Vec<MetricValue> {
    let value =
        |metric: &String| MetricValue { metric: metric.clone(), values: Vec::new(), excluded: Some(reason.to_owned()) };
    metrics.iter().map(value).collect()
}

/// Values by seed, and the curves' mean over the seeds.
fn combine(families: &[&dyn Family], by_seed: &[Vec<Judgement>], metrics: &[String]) -> Verdict {
    let mut values = Vec::new();
    for (number, family) in families.iter().enumerate() {
        for (place, facts) in family.metrics().into_iter().enumerate() {
            if !metrics.contains(&facts.name) {
                continue;
            }
            let own: Result<Vec<f64>, String> = by_seed.iter().map(|seed| seed[number].values[place].clone()).collect();
            let (values_of, excluded) = match own {
                Ok(own) => (own, None),
                Err(reason) => (Vec::new(), Some(reason)),
            };
            values.push(MetricValue { metric: facts.name, values: values_of, excluded });
        }
    }
    let Some((first, rest)) = by_seed.split_first() else { return (values, Vec::new()) };
    let mut curves: Vec<Curve> = first.iter().flat_map(|judgement| judgement.curves.iter().cloned()).collect();
    for seed in rest {
        let others = seed.iter().flat_map(|judgement| &judgement.curves);
        for (curve, other) in curves.iter_mut().zip(others) {
            curve.score.iter_mut().zip(&other.score).for_each(|(sum, score)| *sum += score);
        }
    }
    for curve in &mut curves {
        curve.score.iter_mut().for_each(|sum| *sum /= by_seed.len() as f64);
    }
    (values, curves)
}

/// What the counters and the clock say.
fn cost(rows: Counters, seconds: f64) -> Cost {
    Cost {
        seconds,
        forward_rows: rows.forward_rows,
        forward_rows_saved: rows.forward_rows_saved,
        gradient_rows: rows.gradient_rows,
        gradient_rows_saved: rows.gradient_rows_saved,
    }
}

/// What each of several cases cost that asked for so many forward rows together: seconds evenly, and of the rows that had
/// to be computed its part of those it asked for.
fn shares(together: Cost, asked: &[u64]) -> Vec<Cost> {
    let all = u128::from(asked.iter().sum::<u64>().max(1));
    let computed = |asked: u64| (u128::from(asked) * u128::from(together.forward_rows) / all) as u64;
    let mut before = 0;
    let share = |&own: &u64| {
        // Differences of sums, so that the parts add up.
        let forward_rows = computed(before + own) - computed(before);
        before += own;
        Cost {
            seconds: together.seconds / asked.len() as f64,
            forward_rows,
            forward_rows_saved: own.saturating_sub(forward_rows),
            ..Cost::default()
        }
    };
    asked.iter().map(share).collect()
}
