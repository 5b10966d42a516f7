//! The files that other programs read.
//!
//! Numbers are the shortest that read back exactly; a number that is undefined is an empty cell, and the row says why.
//! Cells that a spreadsheet would carry out are guarded (`spreadsheet`); `attributions.jsonl` and `results.json` have them
//! as they came.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::store::{Declared, Unit};
use crate::text::shown_json;

use super::analysis::{Comparison, Summary};
use super::atomic::Pending;
use super::error::ReportError;
use super::gather::{Cell, Gathered};
use super::spreadsheet::guarded;

/// A CSV file that is not finished yet.
struct Csv(csv::Writer<Pending>, std::path::PathBuf);

impl Csv {
    fn create(folder: &Path, name: &'static str) -> Result<Csv, ReportError> {
        let pending = Pending::create(folder, name)?;
        let target = pending.target().to_path_buf();
        Ok(Csv(csv::Writer::from_writer(pending), target))
    }

    fn row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) -> Result<(), ReportError> {
        for cell in cells {
            self.0.write_field(&*guarded(cell.as_ref())).map_err(|error| self.fail(error.into()))?;
        }
        self.0.write_record(None::<&[u8]>).map_err(|error| self.fail(error.into()))
    }

    fn finish(self) -> Result<Pending, ReportError> {
        let target = self.1;
        self.0.into_inner().map_err(|error| ReportError::Io { path: target, source: error.into_error() })
    }

    fn fail(&self, source: std::io::Error) -> ReportError {
        ReportError::Io { path: self.1.clone(), source }
    }
}

/// The files with a row or a line a unit, written while the store is walked.
pub struct PerUnit {
    examples: Csv,
    curves: Csv,
    attributions: Pending,
}

/// A line of `attributions.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    task: &'a str,
    example_id: &'a str,
    method: &'a str,
    tokens: &'a [String],
    /// Of the first seed; `null` for what is not a finite number.
    attributions: Vec<Option<f64>>,
    /// How many vectors the store holds for this unit.
    seeds: usize,
}

impl PerUnit {
    pub fn create(folder: &Path, declared: &Declared) -> Result<PerUnit, ReportError> {
        let mut examples = Csv::create(folder, "examples.csv")?;
        let fixed = ["model", "task", "example_id", "method", "n_tokens", "n_ranked", "score"];
        let metrics = declared.metrics.iter().map(|metric| metric.name.as_str());
        examples.row(fixed.into_iter().chain(metrics).chain(["excluded"]))?;
        let mut curves = Csv::create(folder, "curves.csv")?;
        curves.row(["model", "task", "example_id", "method", "curve", "step", "fraction", "score"])?;
        Ok(PerUnit { examples, curves, attributions: Pending::create(folder, "attributions.jsonl")? })
    }

    /// `cells` has one a declared metric.
    pub fn add(&mut self, unit: &Unit, declared: &Declared, cells: &[Cell]) -> Result<(), ReportError> {
        let key = [&unit.key.model, &unit.key.task, &unit.key.example_id, &unit.key.method].map(String::as_str);
        let mut row: Vec<String> = key.map(str::to_string).into();
        row.extend([unit.n_tokens.to_string(), unit.n_ranked.to_string(), number(unit.score)]);
        let mut why: Vec<String> = unit.excluded.iter().cloned().collect();
        for (metric, cell) in declared.metrics.iter().zip(cells) {
            row.push(number(if let Cell::Value { mean, .. } = cell { Some(*mean) } else { None }));
            if let Cell::NoValue(reason) = cell {
                why.push(format!("{}: {reason}", metric.name));
            }
        }
        row.push(why.join("; "));
        self.examples.row(&row)?;

        for curve in &unit.curves {
            for ((step, fraction), score) in curve.step.iter().zip(&curve.fraction).zip(&curve.score) {
                let point = [curve.curve.clone(), step.to_string(), number(Some(*fraction)), number(Some(*score))];
                self.curves.row(key.map(str::to_string).into_iter().chain(point))?;
            }
        }

        if let Some(first) = unit.attributions.first() {
            let line = Line {
                model: key[0],
                task: key[1],
                example_id: key[2],
                method: key[3],
                tokens: &unit.tokens,
                attributions: first.iter().map(|value| value.is_finite().then_some(*value)).collect(),
                seeds: unit.attributions.len(),
            };
            let path = self.attributions.target().to_path_buf();
            let fail = |source| ReportError::Io { path, source };
            serde_json::to_string(&line)
                .map_err(std::io::Error::from)
                .and_then(|line| writeln!(self.attributions, "{}", shown_json(&line)))
                .map_err(fail)?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<[Pending; 3], ReportError> {
        Ok([self.examples.finish()?, self.curves.finish()?, self.attributions])
    }
}

/// `summary.csv`.
pub fn summary(folder: &Path, summaries: &[Summary]) -> Result<Pending, ReportError> {
    let mut file = Csv::create(folder, "summary.csv")?;
    let fixed = ["model", "task", "method", "metric", "n", "mean", "median", "sd", "ci_low", "ci_high"];
    file.row(fixed.into_iter().chain(["seed_sd", "excluded", "reasons", "note", "warning"]))?;
    for s in summaries {
        let reasons: Vec<String> = s.reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        file.row([
            &s.model,
            &s.task,
            &s.method,
            &s.metric,
            &s.n.to_string(),
            &number(s.mean),
            &number(s.median),
            &number(s.sd),
            &number(s.ci_low),
            &number(s.ci_high),
            &number(s.seed_sd),
            &s.excluded.to_string(),
            &reasons.join("; "),
            s.note.unwrap_or_default(),
            s.warning.as_deref().unwrap_or_default(),
        ])?;
    }
    file.finish()
}

/// `comparisons.csv`.
pub fn comparisons(folder: &Path, comparisons: &[Comparison]) -> Result<Pending, ReportError> {
    let mut file = Csv::create(folder, "comparisons.csv")?;
    let key = ["model", "task", "metric", "method_a", "method_b", "n", "mean_diff", "hl_diff", "ci_low", "ci_high"];
    let tests = ["p_wilcoxon", "p_holm", "p_permutation", "rank_biserial", "wins", "ties", "losses"];
    file.row(key.into_iter().chain(tests).chain(["note", "warning", "hl_low", "hl_high", "sd", "detectable"]))?;
    for c in comparisons {
        file.row([
            &c.model,
            &c.task,
            &c.metric,
            &c.method_a,
            &c.method_b,
            &c.n.to_string(),
            &number(c.mean_diff),
            &number(c.hl_diff),
            &number(c.ci_low),
            &number(c.ci_high),
            &number(c.p_wilcoxon),
            &number(c.p_holm),
            &number(c.p_permutation),
            &number(c.rank_biserial),
            &c.wins.to_string(),
            &c.ties.to_string(),
            &c.losses.to_string(),
            c.note.unwrap_or_default(),
            c.warning.as_deref().unwrap_or_default(),
            &number(c.hl_low),
            &number(c.hl_high),
            &number(c.sd),
            &number(c.detectable),
        ])?;
    }
    file.finish()
}

/// `timings.csv`, the one file of these that differs between runs of the same inputs.
pub fn timings(folder: &Path, gathered: &Gathered) -> Result<Pending, ReportError> {
    let mut file = Csv::create(folder, "timings.csv")?;
    let rows = ["forward_rows", "forward_rows_saved", "gradient_rows", "gradient_rows_saved"];
    let asked = ["forward_rows_asked", "gradient_rows_asked", "prefix_tokens", "prefix_tokens_saved"];
    let head = ["model", "task", "method", "n", "attribution_seconds", "evaluation_seconds"];
    file.row(head.into_iter().chain(rows).chain(asked))?;
    for panel in &gathered.panels {
        for (method, totals) in gathered.declared.methods.iter().zip(&panel.methods) {
            let cost = totals.cost();
            file.row([
                &panel.model,
                &panel.task,
                method,
                &totals.units.to_string(),
                &number(Some(totals.attribution.seconds)),
                &number(Some(totals.evaluation.seconds)),
                &cost.forward_rows.to_string(),
                &cost.forward_rows_saved.to_string(),
                &cost.gradient_rows.to_string(),
                &cost.gradient_rows_saved.to_string(),
                &(cost.forward_rows + cost.forward_rows_saved).to_string(),
                &(cost.gradient_rows + cost.gradient_rows_saved).to_string(),
                &cost.prefix_tokens.to_string(),
                &cost.prefix_tokens_saved.to_string(),
            ])?;
        }
    }
    file.finish()
}

/// Shortest digits that read back exactly, as in the JSON files; empty for what is no finite number; no negative zero.
fn number(value: Option<f64>) -> String {
    value.and_then(|value| serde_json::Number::from_f64(value + 0.0)).map_or(String::new(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_read_back() {
        for value in [0.1 + 0.2, 1e-300, -5e-324, f64::MAX, 1.0, 123456789.125] {
            assert_eq!(number(Some(value)).parse::<f64>().unwrap(), value);
        }
        assert_eq!(number(Some(-0.0)), "0.0");
        assert_eq!(number(Some(f64::NAN)), "");
        assert_eq!(number(Some(f64::NEG_INFINITY)), "");
        assert_eq!(number(None), "");
    }
}
