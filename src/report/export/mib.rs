//! Files like those of the circuit track of the mechanistic interpretability benchmark (MIB, arXiv 2504.13151), about tokens.
//!
//! MIB keeps the best share of a model's edges, patches all others, and asks how much of what the model does is left. A run
//! keeps the best share of a prompt's ranked tokens (the curve `insertion`), and the same is asked of that: with the mean
//! score m over examples, the faithfulness at a share is (m(kept) - m(nothing kept)) / (m(whole) - m(nothing kept)), and a
//! share p of n tokens is floor(p n) of them. Shares, areas and names of fields are MIB's; its own files are pickled.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{ExportError, Exported, by_example, damaged};
use crate::report::sections::file_name;
use crate::stats::Moments;
use crate::store::{Curve, Store, Unit};
use crate::text::shown_json;

/// Shares of what there is at which MIB reads the faithfulness.
const PERCENTAGES: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
/// Curves of this name are read, also where options follow it.
const CURVE: &str = "insertion";
/// Differences of mean scores below this share of them are rounding.
const ROUNDING: f64 = 1e-6;

/// `METHOD/NUMBER-MODEL-TASK.json`, or one for each removal that the run has.
#[derive(Serialize)]
struct Written<'a> {
    model: &'a str,
    task: &'a str,
    method: &'a str,
    /// What is kept: `tokens`, where MIB's own files have edges.
    components: &'static str,
    /// The run's curve that this is of.
    curve: &'a str,
    examples: usize,
    percentages: [f64; 10],
    /// Mean number of tokens that are kept at each share.
    weighted_edge_counts: Vec<f64>,
    /// Of 1 where all that the model does is left; `null` throughout where the whole prompt scores as the empty one.
    faithfulnesses: Vec<Option<f64>>,
    /// Integrated circuit performance ratio (CPR): more is better.
    area_under: Option<f64>,
    /// Integrated circuit-model distance (CMD): less is better.
    area_from_1: Option<f64>,
    average: Option<f64>,
    /// Mean score of the whole prompt.
    baseline: Option<f64>,
    /// Mean score where nothing is kept.
    corrupted_baseline: Option<f64>,
}

/// One method's curve of one name, over the examples of a task.
#[derive(Clone, Default)]
struct Means {
    counts: [Moments; PERCENTAGES.len()],
    scores: [Moments; PERCENTAGES.len()],
    empty: Moments,
    whole: Moments,
}

/// A model on a task.
struct Part {
    model: String,
    task: String,
    examples: usize,
    left_out: usize,
    /// By the curve's name, one a declared method.
    curves: BTreeMap<String, Vec<Means>>,
}

pub fn write(store: &Store, folder: &Path) -> Result<Vec<Exported>, ExportError> {
    let methods = &store.declared().methods;
    let mut parts: Vec<Part> = Vec::new();
    let found = by_example(store, |units| {
        let key = &units[0].key;
        if parts.last().is_none_or(|part| (&part.model, &part.task) != (&key.model, &key.task)) {
            let (model, task) = (key.model.clone(), key.task.clone());
            parts.push(Part { model, task, examples: 0, left_out: 0, curves: BTreeMap::new() });
        }
        if let Some(part) = parts.last_mut() {
            part.add(units, methods.len());
        }
        Ok(())
    })?;
    damaged(store, found)?;
    parts.retain(|part| part.examples > 0);
    if parts.is_empty() {
        return Err(ExportError::NoCurves { store: store.path().to_path_buf() });
    }
    for (place, method) in methods.iter().enumerate() {
        // Numbered, because two labels may differ in nothing that a file name holds.
        let of_method = folder.join(file_name(&[&(place + 1).to_string(), method]));
        fs::create_dir(&of_method).map_err(|source| ExportError::Io { path: of_method.clone(), source })?;
        for (number, part) in parts.iter().enumerate() {
            for (i, (curve, means)) in part.curves.iter().enumerate() {
                let several = if part.curves.len() > 1 { (i + 1).to_string() } else { String::new() };
                let name = file_name(&[&(number + 1).to_string(), &part.model, &part.task, &several]);
                let path = of_method.join(name).with_extension("json");
                let result = means[place].result(part, method, curve);
                let text = serde_json::to_string_pretty(&result)
                    .map_err(|error| ExportError::Io { path: path.clone(), source: error.into() })?;
                fs::write(&path, format!("{}\n", shown_json(&text)))
                    .map_err(|source| ExportError::Io { path: path.clone(), source })?;
            }
        }
    }
    let exported = parts.into_iter().enumerate().map(|(number, part)| Exported {
        place: format!("*/{}*.json", file_name(&[&(number + 1).to_string(), &part.model, &part.task])),
        model: part.model,
        task: part.task,
        examples: part.examples,
        left_out: part.left_out,
    });
    Ok(exported.collect())
}

impl Part {
    /// All units of an example. It counts where every method has the same curves, from nothing kept to everything.
    fn add(&mut self, units: &[Unit], methods: usize) {
        let of = |unit: &Unit| -> Vec<Read> {
            let named = unit.curves.iter().filter(|curve| is_insertion(&curve.curve));
            named.filter_map(Read::of).collect()
        };
        let read: Vec<Vec<Read>> = units.iter().map(of).collect();
        let names = |one: &[Read]| one.iter().map(|read| read.curve.clone()).collect::<Vec<_>>();
        let is_whole = units.len() == methods
            && read.first().is_some_and(|first| !first.is_empty())
            && read.windows(2).all(|pair| names(&pair[0]) == names(&pair[1]));
        if !is_whole {
            self.left_out += 1;
            return;
        }
        self.examples += 1;
        for (place, curves) in read.into_iter().enumerate() {
            for Read { curve, counts, scores, ends: [empty, whole] } in curves {
                let means = &mut self.curves.entry(curve).or_insert_with(|| vec![Means::default(); methods])[place];
                means.empty.push(empty);
                means.whole.push(whole);
                for (i, (count, score)) in counts.into_iter().zip(scores).enumerate() {
                    means.counts[i].push(count);
                    means.scores[i].push(score);
                }
            }
        }
    }
}

/// What is read of one curve.
struct Read {
    /// Its name.
    curve: String,
    counts: [f64; PERCENTAGES.len()],
    scores: [f64; PERCENTAGES.len()],
    /// With nothing kept, and with everything.
    ends: [f64; 2],
}

impl Read {
    /// `None` of a curve that does not go from nothing kept to everything.
    fn of(curve: &Curve) -> Option<Read> {
        let ends = [*curve.score.first()?, *curve.score.last()?];
        Some(Read { curve: curve.curve.clone(), counts: counts(curve)?, scores: scores(curve)?, ends })
    }
}

fn is_insertion(name: &str) -> bool {
    name.strip_prefix(CURVE).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// How many tokens are kept at each share.
fn counts(curve: &Curve) -> Option<[f64; PERCENTAGES.len()]> {
    let n = *curve.step.last()? as f64;
    Some(PERCENTAGES.map(|share| (share * n).floor()))
}

/// The scores there, linear between the points of a curve that has not every count.
fn scores(curve: &Curve) -> Option<[f64; PERCENTAGES.len()]> {
    let points: Vec<(f64, f64)> = curve.step.iter().map(|&k| k as f64).zip(curve.score.iter().copied()).collect();
    let is_read = points.len() > 1
        && points.len() == curve.score.len()
        && points.windows(2).all(|pair| pair[0].0 < pair[1].0)
        && points.iter().all(|(_, score)| score.is_finite());
    if !is_read || points[0].0 != 0.0 {
        return None;
    }
    let counts = counts(curve)?;
    Some(counts.map(|count| {
        let after = points.partition_point(|(k, _)| *k < count).min(points.len() - 1);
        let ((x0, y0), (x1, y1)) = (points[after.saturating_sub(1)], points[after]);
        if after == 0 || count >= x1 { y1 } else { y0 + (y1 - y0) * (count - x0) / (x1 - x0) }
    }))
}

impl Means {
    fn result<'a>(&self, part: &'a Part, method: &'a str, curve: &'a str) -> Written<'a> {
        let (empty, whole) = (self.empty.mean(), self.whole.mean());
        let apart = empty.zip(whole).map(|(empty, whole)| (whole - empty, whole.abs().max(empty.abs())));
        let apart = apart.filter(|(apart, size)| apart.abs() > ROUNDING * size).map(|(apart, _)| apart);
        let faithfulness = |score: &Moments| Some((score.mean()? - empty?) / apart?);
        let faithfulnesses: Vec<Option<f64>> = self.scores.iter().map(faithfulness).collect();
        let known: Option<Vec<f64>> = faithfulnesses.iter().copied().collect();
        let over = |of: fn(f64) -> f64| known.as_ref().map(|known| area(known, of));
        Written {
            model: &part.model,
            task: &part.task,
            method,
            components: "tokens",
            curve,
            examples: part.examples,
            percentages: PERCENTAGES,
            weighted_edge_counts: self.counts.iter().filter_map(Moments::mean).collect(),
            area_under: over(|faithfulness| faithfulness),
            area_from_1: over(|faithfulness| (1.0 - faithfulness).abs()),
            average: known.as_ref().map(|known| known.iter().sum::<f64>() / known.len() as f64),
            faithfulnesses,
            baseline: whole,
            corrupted_baseline: empty,
        }
    }
}

/// By trapezoids between MIB's shares, which leave out what is below the first.
fn area(faithfulnesses: &[f64], of: fn(f64) -> f64) -> f64 {
    let parts = PERCENTAGES.windows(2).zip(faithfulnesses.windows(2));
    parts.map(|(x, y)| (x[1] - x[0]) * (of(y[0]) + of(y[1])) / 2.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(step: &[usize], score: &[f64]) -> Curve {
        let n = *step.last().unwrap() as f64;
        Curve {
            curve: CURVE.into(),
            step: step.to_vec(),
            fraction: step.iter().map(|&k| k as f64 / n).collect(),
            score: score.to_vec(),
        }
    }

    #[test]
    fn shares_are_rounded_down_to_tokens() {
        let ten = curve(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[1.0, 2.0, 4.0, 4.0, 5.0, 6.0, 6.0, 7.0, 7.0, 8.0, 9.0]);
        assert_eq!(counts(&ten).unwrap(), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 5.0, 10.0]);
        assert_eq!(scores(&ten).unwrap(), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 6.0, 9.0]);
        // Not every count is a point: linear between them.
        assert_eq!(scores(&curve(&[0, 4, 10], &[0.0, 4.0, 16.0])).unwrap()[7..], [2.0, 6.0, 16.0]);
        assert_eq!(scores(&curve(&[1, 10], &[0.0, 1.0])), None, "without its start");
        assert_eq!(scores(&curve(&[0, 10], &[f64::NAN, 1.0])), None);
    }

    #[test]
    fn areas_are_mibs() {
        // By hand: all of it at once, from the first share on.
        let at_once = [1.0; 10];
        assert!((area(&at_once, |f| f) - 0.999).abs() < 1e-12);
        assert_eq!(area(&at_once, |f| (1.0 - f).abs()), 0.0);
        // Nothing until half: a trapezoid from .2 to .5, and one from .5 to 1.
        let late = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0];
        assert!((area(&late, |f| f) - (0.15 + 0.5)).abs() < 1e-12);
    }

    #[test]
    fn names_with_options_are_insertion_too() {
        assert!(is_insertion("insertion") && is_insertion("insertion(removal=mean)") && !is_insertion("insertions"));
    }
}
