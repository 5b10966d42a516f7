//! The statistics of a run: every method on every task, every pair of methods, and all tasks together.
//!
//! Everything is paired. For each model, task and metric the examples that count are those on which every method has a
//! value (a method without any value takes no part), so all means are means over the same examples.
//!
//! The mean of a fraction of f(x) is the mean of the metric over the mean of f(x), resampled together; differences are in
//! units of that mean. A mean of fractions would be made by the examples with the smallest f(x).

use std::collections::BTreeMap;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use crate::stats;
use crate::store::{Declared, MetricFacts};

use super::gather::{Cell, Gathered, Panel};
use super::inexact::{self, Inexact};

/// A row of `summary.csv`; numbers that are undefined are absent.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    pub model: String,
    pub task: String,
    pub method: String,
    pub metric: String,
    /// Examples that count.
    pub n: usize,
    /// Of a fraction of f(x): the ratio of means.
    pub mean: Option<f64>,
    /// Of the examples' own values, as `sd`.
    pub median: Option<f64>,
    /// Between examples, of means over seeds.
    pub sd: Option<f64>,
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
    /// Between seeds, of means over examples.
    pub seed_sd: Option<f64>,
    /// Examples of the run that do not count.
    pub excluded: usize,
    /// Why they do not, with how many each.
    pub reasons: BTreeMap<String, usize>,
    /// Why a number is absent.
    pub note: Option<&'static str>,
    /// What speaks against the method's being what its name says.
    pub warning: Option<String>,
}

/// A row of `comparisons.csv`. Differences are `method_a - method_b` of the raw metric; wins are the examples on which
/// `method_a` is the more faithful, whichever sign that is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    pub model: String,
    pub task: String,
    pub metric: String,
    pub method_a: String,
    pub method_b: String,
    pub n: usize,
    pub mean_diff: Option<f64>,
    pub hl_diff: Option<f64>,
    /// Of the mean difference.
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
    pub p_wilcoxon: Option<f64>,
    /// `p_wilcoxon`, adjusted over all pairs of methods on this model, task and metric.
    pub p_holm: Option<f64>,
    pub p_permutation: Option<f64>,
    pub rank_biserial: Option<f64>,
    pub wins: usize,
    pub ties: usize,
    pub losses: usize,
    /// Why a number is absent.
    pub note: Option<&'static str>,
    /// What speaks against one of the methods' being what its name says.
    pub warning: Option<String>,
    /// Of `hl_diff`: the shifts that the signed-rank test does not reject.
    pub hl_low: Option<f64>,
    pub hl_high: Option<f64>,
    /// Of the differences.
    pub sd: Option<f64>,
    /// The smallest mean difference that this many examples with differences so spread would have shown with 80 % power,
    /// at the level that Holm's correction asks of the clearest pair.
    pub detectable: Option<f64>,
}

/// All tasks of a model together, on one metric.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AcrossTasks {
    pub model: String,
    pub metric: String,
    /// Tasks on which all of `methods` have a mean.
    pub tasks: Vec<String>,
    /// From the best mean rank to the worst.
    pub methods: Vec<MeanRank>,
    /// Friedman's test that all methods rank alike; absent below three methods or two tasks.
    pub friedman_p: Option<f64>,
    /// Nemenyi's: mean ranks further apart than this differ at the 5 % level.
    pub critical_difference: Option<f64>,
    /// Every pair, in declared order; none where the tasks explain scores of different units.
    pub pairs: Vec<AcrossPair>,
}

/// Two methods over all tasks, every task counting alike. Differences are `method_a - method_b` of the raw metric.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AcrossPair {
    pub method_a: String,
    pub method_b: String,
    /// Examples of all tasks.
    pub n: usize,
    /// Mean over tasks of the mean over examples.
    pub mean_diff: Option<f64>,
    /// From a bootstrap stratified by task.
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
    /// Of `mean_diff`, flipping the sign of every example's difference by itself.
    pub p_permutation: Option<f64>,
    /// `p_permutation`, adjusted over all pairs of methods on this model and metric.
    pub p_holm: Option<f64>,
    /// The smallest difference that these examples would have shown, as that of a comparison.
    pub detectable: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MeanRank {
    pub method: String,
    /// 1 where it is the most faithful on every task.
    pub mean_rank: f64,
    /// Tasks on which it is the most faithful, alone or with others.
    pub first_on: usize,
    /// Mean over tasks of the mean over examples; absent where the tasks explain scores of different units.
    pub mean: Option<f64>,
    /// From a bootstrap stratified by task.
    pub ci_low: Option<f64>,
    pub ci_high: Option<f64>,
}

/// Everything that is computed.
pub struct Analysis {
    /// By model, task, method, metric.
    pub summaries: Vec<Summary>,
    /// By model, task, metric, and pairs in declared order.
    pub comparisons: Vec<Comparison>,
    /// Of the paired differences; one a comparison, in the same order. `None` where there are none.
    pub differences: Vec<Option<stats::Distribution>>,
    pub across: Vec<AcrossTasks>,
    /// Methods whose attributions are not the integrals that they approximate.
    pub inexact: Vec<Inexact>,
}

/// The values that count of one panel and metric.
struct Paired {
    /// One a method, equally long; empty for a method that takes no part.
    values: Vec<Vec<f64>>,
    /// f(x) of the same examples, where the values are fractions of it.
    scores: Option<Vec<f64>>,
    seed_sds: Vec<Option<f64>>,
    takes_part: Vec<bool>,
    /// Which examples count.
    counts: Vec<bool>,
    n: usize,
}

pub fn analyse(gathered: &Gathered) -> Analysis {
    let declared = &gathered.declared;
    let (metrics, methods) = (declared.metrics.len(), declared.methods.len());
    let paired: Vec<Vec<Paired>> = gathered
        .panels
        .iter()
        .map(|panel| {
            declared.metrics.iter().zip(&panel.cells).map(|(facts, cells)| pair(facts, panel, cells)).collect()
        })
        .collect();
    let inexact = inexact::find(gathered);

    let mut cells = Vec::new();
    for panel in 0..gathered.panels.len() {
        for method in 0..methods {
            let measured = (0..metrics).filter(|&metric| gathered.measures(panel, metric));
            cells.extend(measured.map(|metric| (panel, method, metric)));
        }
    }
    let summaries = cells
        .into_par_iter()
        .map(|(panel, method, metric)| {
            let summary = summarise(declared, &gathered.panels[panel], &paired[panel][metric], method, metric);
            Summary {
                warning: inexact::warning(&inexact, &summary.model, &summary.task, &[&summary.method]),
                ..summary
            }
        })
        .collect();

    let mut pairs = Vec::new();
    for panel in 0..gathered.panels.len() {
        for metric in (0..metrics).filter(|&metric| gathered.measures(panel, metric)) {
            for a in 0..methods {
                pairs.extend((a + 1..methods).map(|b| (panel, metric, a, b)));
            }
        }
    }
    let (mut comparisons, differences): (Vec<Comparison>, Vec<Option<stats::Distribution>>) = pairs
        .into_par_iter()
        .map(|(panel, metric, a, b)| {
            let (c, shape) = compare(declared, &gathered.panels[panel], &paired[panel][metric], metric, a, b);
            let warning = inexact::warning(&inexact, &c.model, &c.task, &[&c.method_a, &c.method_b]);
            (Comparison { warning, ..c }, shape)
        })
        .unzip();
    let family = methods * methods.saturating_sub(1) / 2;
    if family > 0 {
        comparisons.chunks_mut(family).for_each(adjust);
    }

    let mut across = Vec::new();
    for model in &declared.models {
        for (index, metric) in declared.metrics.iter().enumerate() {
            let tasks: Vec<(&Panel, &Paired)> = gathered
                .panels
                .iter()
                .zip(&paired)
                .filter(|(panel, _)| panel.model == *model)
                .map(|(panel, metrics)| (panel, &metrics[index]))
                .collect();
            across.extend(over_tasks(declared, model, metric, &tasks));
        }
    }
    Analysis { summaries, comparisons, differences, across, inexact }
}

/// Keeps the examples on which every method that has any value has one.
fn pair(facts: &MetricFacts, panel: &Panel, cells: &[Vec<Cell>]) -> Paired {
    let takes_part: Vec<bool> =
        cells.iter().map(|cells| cells.iter().any(|cell| matches!(cell, Cell::Value { .. }))).collect();
    let examples = cells.first().map_or(0, Vec::len);
    let any = takes_part.contains(&true);
    let counts: Vec<bool> = (0..examples)
        .map(|example| {
            any && (!facts.over_score || weight(panel, example).is_some())
                && cells.iter().zip(&takes_part).all(|(cells, part)| !part || is_value(&cells[example]))
        })
        .collect();
    let n = counts.iter().filter(|counts| **counts).count();
    let scores: Option<Vec<f64>> = facts.over_score.then(|| {
        (0..examples).filter(|&example| counts[example]).filter_map(|example| weight(panel, example)).collect()
    });
    let mut values = Vec::new();
    let mut seed_sds = Vec::new();
    for (cells, part) in cells.iter().zip(&takes_part) {
        let mut means = Vec::new();
        let mut by_seed: Vec<&[f64]> = Vec::new();
        for (cell, counts) in cells.iter().zip(&counts) {
            if let (Cell::Value { mean, by_seed: seeds }, true, true) = (cell, *part, *counts) {
                means.push(*mean);
                by_seed.push(seeds);
            }
        }
        seed_sds.push(seed_sd(&by_seed, scores.as_deref()));
        values.push(means);
    }
    Paired { values, scores, seed_sds, takes_part, counts, n }
}

/// f(x), where a fraction of it can be weighed by it.
fn weight(panel: &Panel, example: usize) -> Option<f64> {
    panel.scores.get(example).copied().flatten().filter(|score| score.is_finite() && *score > 0.0)
}

fn is_value(cell: &Cell) -> bool {
    matches!(cell, Cell::Value { .. })
}

/// Standard deviation between seeds of the mean over examples, where every example has the same two or more seeds.
fn seed_sd(by_seed: &[&[f64]], scores: Option<&[f64]>) -> Option<f64> {
    let seeds = by_seed.first()?.len();
    if seeds < 2 || by_seed.iter().any(|values| values.len() != seeds) {
        return None;
    }
    let means: Option<Vec<f64>> =
        (0..seeds).map(|seed| mean(&by_seed.iter().map(|values| values[seed]).collect::<Vec<f64>>(), scores)).collect();
    stats::sd(&means?)
}

/// Numerators and denominators: fractions of f(x) undone.
fn pairs(values: &[f64], scores: &[f64]) -> Vec<(f64, f64)> {
    values.iter().zip(scores).map(|(value, score)| (value * score, *score)).collect()
}

/// The mean; of fractions of f(x) the ratio of means.
fn mean(values: &[f64], scores: Option<&[f64]>) -> Option<f64> {
    match scores {
        None => stats::mean(values),
        Some(scores) => stats::ratio_of_means(&pairs(values, scores)),
    }
}

/// The interval of [`mean`], averaged over tasks.
fn interval<'a>(
    declared: &Declared,
    tasks: impl Iterator<Item = (&'a [f64], Option<&'a [f64]>)>,
) -> Option<stats::Interval> {
    let (resamples, confidence, seed) = (declared.resamples, declared.confidence, declared.seed);
    let tasks: Vec<(&[f64], Option<&[f64]>)> = tasks.collect();
    if tasks.iter().all(|(_, scores)| scores.is_none()) {
        let values: Vec<&[f64]> = tasks.iter().map(|(values, _)| *values).collect();
        return stats::bca_macro_mean_interval(&values, resamples, confidence, seed);
    }
    let ratios: Vec<Vec<(f64, f64)>> =
        tasks.iter().map(|(values, scores)| pairs(values, scores.unwrap_or(&vec![1.0; values.len()]))).collect();
    stats::bca_macro_ratio_interval(&ratios, resamples, confidence, seed)
}

impl Paired {
    /// `a - b` on every example.
    fn differences(&self, a: usize, b: usize) -> Vec<f64> {
        self.values[a].iter().zip(&self.values[b]).map(|(a, b)| a - b).collect()
    }

    /// Numbers whose plain mean is [`mean`] of these values, for tests: fractions weighed by f(x).
    fn weighed(&self, values: &[f64]) -> Vec<f64> {
        let Some(scores) = &self.scores else { return values.to_vec() };
        let unit = stats::mean(scores).unwrap_or(f64::NAN);
        values.iter().zip(scores).map(|(value, score)| value * (score / unit)).collect()
    }
}

const FEW: &str = "fewer than two examples";
const NOTHING: &str = "no value";
const NO_INTERVAL: &str = "no interval: the bootstrap is degenerate";
const EQUAL: &str = "no test: the two are equal on every example";

fn summarise(declared: &Declared, panel: &Panel, paired: &Paired, method: usize, metric: usize) -> Summary {
    let values = &paired.values[method];
    let scores = paired.scores.as_deref();
    let interval = interval(declared, std::iter::once((values.as_slice(), scores)));
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |reason: String, n: usize| {
        if n > 0 {
            *reasons.entry(reason).or_default() += n;
        }
    };
    for (example, (cell, counts)) in panel.cells[metric][method].iter().zip(&paired.counts).enumerate() {
        match cell {
            Cell::Unfinished => add("not finished".to_string(), 1),
            Cell::LeftOut(reason) | Cell::NoValue(reason) => add(reason.clone(), 1),
            Cell::Value { .. } if !counts => {
                let weightless = declared.metrics[metric].over_score && weight(panel, example).is_none();
                add(if weightless { "f(x) is not above 0" } else { "no value for another method" }.to_string(), 1);
            }
            Cell::Value { .. } | Cell::Elsewhere => {}
        }
    }
    add("not finished".to_string(), panel.expected() - panel.examples);
    Summary {
        model: panel.model.clone(),
        task: panel.task.clone(),
        method: declared.methods[method].clone(),
        metric: declared.metrics[metric].name.clone(),
        n: values.len(),
        mean: mean(values, scores),
        median: stats::median(values),
        sd: stats::sd(values),
        ci_low: interval.map(|interval| interval.low),
        ci_high: interval.map(|interval| interval.high),
        seed_sd: paired.seed_sds[method],
        excluded: panel.expected() - values.len(),
        reasons,
        note: match (values.len(), interval) {
            (0, _) => Some(NOTHING),
            (1, _) => Some(FEW),
            (_, None) => Some(NO_INTERVAL),
            (_, Some(_)) => None,
        },
        warning: None,
    }
}

/// Parts of the histograms of differences.
const PARTS: usize = 24;
/// Of the corrected tests.
pub const LEVEL: f64 = 0.05;
/// With which the smallest detectable difference would be shown.
const POWER: f64 = 0.8;

fn compare(
    declared: &Declared,
    panel: &Panel,
    paired: &Paired,
    metric: usize,
    a: usize,
    b: usize,
) -> (Comparison, Option<stats::Distribution>) {
    let facts = &declared.metrics[metric];
    let differences: Vec<f64> =
        if paired.takes_part[a] && paired.takes_part[b] { paired.differences(a, b) } else { Vec::new() };
    let scores = paired.scores.as_deref().filter(|_| !differences.is_empty());
    let (mean_diff, interval) =
        (mean(&differences, scores), interval(declared, std::iter::once((differences.as_slice(), scores))));
    let differences = if differences.is_empty() { differences } else { paired.weighed(&differences) };
    let wilcoxon = stats::wilcoxon_signed_rank(&differences);
    let (mut wins, mut losses) = (0, 0);
    for difference in &differences {
        match faithful(facts, *difference) {
            d if d > 0.0 => wins += 1,
            d if d < 0.0 => losses += 1,
            _ => {}
        }
    }
    let equal = differences.iter().all(|difference| *difference == 0.0);
    let hl_interval = stats::hodges_lehmann_interval(&differences, declared.confidence);
    let comparison = Comparison {
        model: panel.model.clone(),
        task: panel.task.clone(),
        metric: facts.name.clone(),
        method_a: declared.methods[a].clone(),
        method_b: declared.methods[b].clone(),
        n: differences.len(),
        mean_diff,
        hl_diff: stats::hodges_lehmann(&differences),
        ci_low: interval.map(|interval| interval.low),
        ci_high: interval.map(|interval| interval.high),
        p_wilcoxon: wilcoxon.map(|wilcoxon| wilcoxon.p),
        p_holm: None,
        p_permutation: stats::sign_flip_permutation(&differences, declared.resamples, declared.seed),
        rank_biserial: stats::rank_biserial(&differences),
        wins,
        ties: differences.len() - wins - losses,
        losses,
        note: match differences.len() {
            0 => Some(NOTHING),
            _ if equal => Some(EQUAL),
            1 => Some(FEW),
            _ if interval.is_none() => Some(NO_INTERVAL),
            _ => None,
        },
        warning: None,
        hl_low: hl_interval.map(|interval| interval.low),
        hl_high: hl_interval.map(|interval| interval.high),
        detectable: None,
        sd: stats::sd(&differences),
    };
    (comparison, stats::distribution(&differences, PARTS))
}

/// Holm's correction over one model, task and metric. Pairs without a p-value are no members of the family.
fn adjust(family: &mut [Comparison]) {
    let raw: Vec<f64> = family.iter().map(|comparison| comparison.p_wilcoxon.unwrap_or(f64::NAN)).collect();
    let members = raw.iter().filter(|p| p.is_finite()).count().max(1);
    for (comparison, p) in family.iter_mut().zip(stats::holm(&raw)) {
        comparison.p_holm = p.is_finite().then_some(p);
        let level = LEVEL / members as f64;
        comparison.detectable =
            comparison.sd.and_then(|sd| stats::smallest_detectable_difference(comparison.n, sd, level, POWER));
    }
}

/// The value, or its negative where lower is better: more is more faithful.
pub fn faithful(metric: &MetricFacts, value: f64) -> f64 {
    if metric.higher_is_better { value } else { -value }
}

fn over_tasks(
    declared: &Declared,
    model: &str,
    metric: &MetricFacts,
    tasks: &[(&Panel, &Paired)],
) -> Option<AcrossTasks> {
    let tasks: Vec<&(&Panel, &Paired)> = tasks.iter().filter(|(_, paired)| paired.n > 0).collect();
    let methods: Vec<usize> = (0..declared.methods.len())
        .filter(|&method| !tasks.is_empty() && tasks.iter().all(|(_, paired)| paired.takes_part[method]))
        .collect();
    if tasks.len() < 2 || methods.len() < 2 {
        return None;
    }
    // Rank 1 is the smallest, so the most faithful has to be.
    let blocks: Vec<Vec<f64>> = tasks
        .iter()
        .map(|(_, paired)| {
            methods
                .iter()
                .map(|&method| {
                    mean(&paired.values[method], paired.scores.as_deref()).map(|mean| -faithful(metric, mean))
                })
                .collect::<Option<_>>()
        })
        .collect::<Option<_>>()?;
    let ranks: Vec<Vec<f64>> = blocks.iter().map(|block| ranks(block)).collect();
    let same_unit = !metric.in_score_units
        || tasks.windows(2).all(|pair| {
            let score = |i: usize| pair[i].0.dataset.as_ref().map(|dataset| dataset.score.as_str());
            score(0) == score(1)
        });
    let mut order: Vec<(f64, MeanRank)> = methods
        .iter()
        .enumerate()
        .map(|(i, &method)| {
            let mean_rank = ranks.iter().map(|block| block[i]).sum::<f64>() / ranks.len() as f64;
            let best = |block: &&Vec<f64>| block.iter().all(|value| block[i] <= *value);
            let first_on = blocks.iter().filter(best).count();
            // Equal ranks are ordered by the mean, where there is one.
            let sum = if same_unit { blocks.iter().map(|block| block[i]).sum() } else { 0.0 };
            let of_tasks =
                || tasks.iter().map(|(_, paired)| (paired.values[method].as_slice(), paired.scores.as_deref()));
            let means: Option<Vec<f64>> = of_tasks().map(|(values, scores)| mean(values, scores)).collect();
            let interval = same_unit.then(|| interval(declared, of_tasks())).flatten();
            let rank = MeanRank {
                method: declared.methods[method].clone(),
                mean_rank,
                first_on,
                mean: means.filter(|_| same_unit).and_then(|means| stats::mean(&means)),
                ci_low: interval.map(|interval| interval.low),
                ci_high: interval.map(|interval| interval.high),
            };
            (sum, rank)
        })
        .collect();
    order.sort_by(|(x, a), (y, b)| a.mean_rank.total_cmp(&b.mean_rank).then(x.total_cmp(y)));
    let friedman = stats::friedman(&blocks);
    let mut pairs: Vec<AcrossPair> = Vec::new();
    if same_unit {
        let chosen: Vec<(usize, usize)> = (0..methods.len())
            .flat_map(|a| (a + 1..methods.len()).map(move |b| (a, b)))
            .map(|(a, b)| (methods[a], methods[b]))
            .collect();
        let level = LEVEL / chosen.len().max(1) as f64;
        pairs = chosen.into_par_iter().map(|(a, b)| pair_over_tasks(declared, &tasks, a, b, level)).collect();
        let raw: Vec<f64> = pairs.iter().map(|pair| pair.p_permutation.unwrap_or(f64::NAN)).collect();
        for (pair, p) in pairs.iter_mut().zip(stats::holm(&raw)) {
            pair.p_holm = p.is_finite().then_some(p);
        }
    }
    Some(AcrossTasks {
        model: model.to_string(),
        metric: metric.name.clone(),
        tasks: tasks.iter().map(|(panel, _)| panel.task.clone()).collect(),
        friedman_p: friedman.as_ref().map(|friedman| friedman.p),
        critical_difference: stats::nemenyi_critical_difference(methods.len(), blocks.len(), 0.05),
        pairs,
        methods: order.into_iter().map(|(_, rank)| rank).collect(),
    })
}

/// `level`: of the test of the clearest pair.
fn pair_over_tasks(declared: &Declared, tasks: &[&(&Panel, &Paired)], a: usize, b: usize, level: f64) -> AcrossPair {
    let differences: Vec<Vec<f64>> = tasks.iter().map(|(_, paired)| paired.differences(a, b)).collect();
    let with_scores =
        || tasks.iter().zip(&differences).map(|((_, paired), d)| (d.as_slice(), paired.scores.as_deref()));
    let means: Option<Vec<f64>> = with_scores().map(|(differences, scores)| mean(differences, scores)).collect();
    let interval = interval(declared, with_scores());
    let by_task: Vec<Vec<f64>> = tasks.iter().zip(&differences).map(|((_, paired), d)| paired.weighed(d)).collect();
    let n: usize = by_task.iter().map(Vec::len).sum();
    // Weighted so that the plain mean of all of them is the mean over tasks: the test is then of that mean.
    let weighted: Vec<f64> = by_task
        .iter()
        .flat_map(|task| task.iter().map(|d| d * (n as f64 / (by_task.len() * task.len()) as f64)))
        .collect();
    // Of the mean over tasks of their means.
    let variances: Option<Vec<f64>> =
        by_task.iter().map(|task| stats::sd(task).map(|sd| sd * sd / task.len() as f64)).collect();
    let error = variances.map(|variances| variances.iter().sum::<f64>().sqrt() / by_task.len() as f64);
    // As of one sample of all examples with that error of its mean.
    let detectable =
        error.and_then(|error| stats::smallest_detectable_difference(n, error * (n as f64).sqrt(), level, POWER));
    AcrossPair {
        detectable,
        method_a: declared.methods[a].clone(),
        method_b: declared.methods[b].clone(),
        n,
        mean_diff: means.and_then(|means| stats::mean(&means)),
        ci_low: interval.map(|interval| interval.low),
        ci_high: interval.map(|interval| interval.high),
        p_permutation: stats::sign_flip_permutation(&weighted, declared.resamples, declared.seed),
        p_holm: None,
    }
}

/// Ranks from 1, ascending; equal numbers share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|value| {
            let less = values.iter().filter(|other| *other < value).count();
            let equal = values.iter().filter(|other| *other == value).count();
            less as f64 + (equal + 1) as f64 / 2.0
        })
        .collect()
}
