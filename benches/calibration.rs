//! Do the statistics keep what they promise? `cargo bench --bench calibration` simulates samples of which the truth is
//! known and prints how often intervals hold it, how often tests, words and verdicts claim a difference that is not there,
//! and how often a difference of the size that a report says a sample could show is shown. Five to ten minutes; seeded.

#[path = "../tests/fixtures/report/synthetic.rs"]
mod synthetic;

use gim_harness::report;
use gim_harness::report::compare::{Comparing, Verdict, compare};
use gim_harness::stats;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use synthetic::{datasets, declared, names, store, units};

const SAMPLES: usize = 2_000;
const RESAMPLES: usize = 2_000;
const LEVEL: f64 = 0.05;

/// Named parts, or all of them: `cargo bench --bench calibration -- comparisons`.
fn main() {
    let parts: [(&str, fn()); 5] = [
        ("coverage", coverage),
        ("power", power),
        ("whole_pipeline", whole_pipeline),
        ("comparisons", comparisons),
        ("falls", falls),
    ];
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, part) in parts {
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            part();
        }
    }
}

/// A kind of paired differences: how one is drawn, its mean, and whether it is symmetric about it.
struct Kind {
    name: &'static str,
    draw: fn(&mut ChaCha8Rng) -> f64,
    mean: f64,
    symmetric: bool,
}

const KINDS: [Kind; 5] = [
    Kind { name: "normal", draw: normal, mean: 0.0, symmetric: true },
    Kind { name: "heavy tails (t, 3 degrees)", draw: heavy, mean: 0.0, symmetric: true },
    Kind { name: "skewed (lognormal, sd 1)", draw: skewed, mean: 0.0, symmetric: false },
    Kind { name: "seven values, ties and zeros", draw: tied, mean: 0.0, symmetric: true },
    Kind { name: "seven in ten are 0", draw: mostly_zero, mean: 0.0, symmetric: true },
];

fn normal(generator: &mut ChaCha8Rng) -> f64 {
    // Box and Muller.
    let (u, v): (f64, f64) = (generator.random_range(f64::MIN_POSITIVE..1.0), generator.random_range(0.0..1.0));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn heavy(generator: &mut ChaCha8Rng) -> f64 {
    let squares: f64 = (0..3).map(|_| normal(generator).powi(2)).sum();
    normal(generator) / (squares / 3.0).sqrt()
}

fn skewed(generator: &mut ChaCha8Rng) -> f64 {
    normal(generator).exp() - 0.5_f64.exp()
}

fn tied(generator: &mut ChaCha8Rng) -> f64 {
    f64::from(generator.random_range(-3_i32..=3)) / 10.0
}

fn mostly_zero(generator: &mut ChaCha8Rng) -> f64 {
    if generator.random_range(0.0..1.0) < 0.7 { 0.0 } else { normal(generator) }
}

fn share(hits: usize, of: usize) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * hits as f64 / of as f64) }
}

/// Intervals of a nominal 95 %, tests of a nominal 5 %.
fn coverage() {
    println!(
        "| differences | n | BCa interval of the mean holds it | interval of the signed ranks holds the centre | signed-rank test rejects | sign-flip test rejects |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    for kind in &KINDS {
        for n in [6, 12, 25, 60, 200] {
            let found: Vec<[Option<bool>; 4]> = (0..SAMPLES)
                .into_par_iter()
                .map(|sample| {
                    let mut generator = ChaCha8Rng::seed_from_u64((sample * 1_000 + n) as u64);
                    let x: Vec<f64> = (0..n).map(|_| (kind.draw)(&mut generator)).collect();
                    let holds = |i: stats::Interval| i.low <= kind.mean && kind.mean <= i.high;
                    [
                        stats::bca_mean_interval(&x, RESAMPLES, 0.95, sample as u64).map(holds),
                        stats::hodges_lehmann_interval(&x, 0.95).filter(|_| kind.symmetric).map(holds),
                        stats::wilcoxon_signed_rank(&x).map(|test| test.p < LEVEL),
                        stats::sign_flip_permutation(&x, RESAMPLES, sample as u64).map(|p| p < LEVEL),
                    ]
                })
                .collect();
            let column = |i: usize| {
                let of: Vec<bool> = found.iter().filter_map(|row| row[i]).collect();
                share(of.iter().filter(|hit| **hit).count(), of.len())
            };
            println!("| {} | {n} | {} | {} | {} | {} |", kind.name, column(0), column(1), column(2), column(3));
        }
    }
    println!();
}

/// How often the difference that a sample is said to be able to show is shown: by the t-test that it is defined by, and by
/// the signed-rank test of the words.
fn power() {
    println!("| n | level | signed-rank test shows the detectable difference (nominal 80 %) |");
    println!("|--:|--:|--:|");
    for n in [12, 25, 60, 200] {
        for level in [LEVEL, LEVEL / 15.0] {
            let Some(difference) = stats::smallest_detectable_difference(n, 1.0, level, 0.8) else { continue };
            let shown: usize = (0..SAMPLES)
                .into_par_iter()
                .filter(|sample| {
                    let mut generator = ChaCha8Rng::seed_from_u64((sample * 1_000 + n) as u64);
                    let x: Vec<f64> = (0..n).map(|_| difference + normal(&mut generator)).collect();
                    stats::wilcoxon_signed_rank(&x).is_some_and(|test| test.p < level)
                })
                .count();
            println!("| {n} | {level:.4} | {} |", share(shown, SAMPLES));
        }
    }
    println!();
}

/// Whole reports of runs in which six methods are equally faithful: in how many families (a task by a metric) does a
/// report call any of 15 pairs different?
fn whole_pipeline() {
    const RUNS: usize = 200;
    println!(
        "| examples | families | any pair has corrected p below .05 | and is called \"surely\" | first and runner-up are told apart |"
    );
    println!("|--:|--:|--:|--:|--:|");
    for n in [12, 25, 60] {
        let [mut families, mut by_test, mut surely, mut headline] = [0; 4];
        for run in 0..RUNS {
            let mut declared = declared();
            declared.methods = names(&["a", "b", "c", "d", "e", "f"]);
            declared.metrics.truncate(2);
            declared.resamples = 500;
            declared.seed = run as u64;
            let mut units = units(&declared, n);
            units.iter_mut().for_each(|unit| unit.excluded = None);
            let mut generator = ChaCha8Rng::seed_from_u64(run as u64);
            let (mut example, mut shared) = (usize::MAX, 0.0);
            for unit in &mut units {
                // What an example has in common for all methods, and noise of each.
                if unit.example_index != example {
                    (example, shared) = (unit.example_index, skewed(&mut generator));
                }
                unit.metrics = declared
                    .metrics
                    .iter()
                    .map(|metric| gim_harness::store::MetricValue {
                        metric: metric.name.clone(),
                        values: vec![shared + skewed(&mut generator)],
                        excluded: None,
                    })
                    .collect();
            }
            let folder = tempfile::tempdir().expect("a temporary folder");
            let store = store(&folder.path().join("run.sqlite"), &declared, &datasets(&declared, n), &units);
            let written = report::write(&store, folder.path(), None).expect("a report");
            for family in written.comparisons.chunks(15) {
                let rejects = |c: &&report::Comparison| c.p_holm.is_some_and(|p| p < LEVEL);
                let agrees = |c: &report::Comparison| {
                    let ends = c.ci_low.zip(c.ci_high).zip(c.rank_biserial);
                    ends.is_some_and(|((low, high), side)| (low > 0.0 && side > 0.0) || (high < 0.0 && side < 0.0))
                };
                families += 1;
                by_test += usize::from(family.iter().any(|c| rejects(&c)));
                surely += usize::from(family.iter().any(|c| rejects(&c) && agrees(c)));
            }
            let is_row = |line: &&str| line.contains('[') && !line.starts_with("all ") && !line.starts_with('-');
            let rows = written.headline.lines().filter(is_row);
            headline += rows.filter(|line| line.contains("surely") || line.contains("probably")).count();
        }
        println!(
            "| {n} | {families} | {} | {} | {} |",
            share(by_test, families),
            share(surely, families),
            share(headline, families)
        );
    }
}

/// Comparisons of runs between which nothing but noise changed: six methods, two metrics and two tasks, so 24 verdicts each.
/// In how many is any of them better or worse (nominal 1 %: the gate's confidence is .99)?
/// Changes of all kinds have a mean of 0; those of skewed ones are not what nothing does, since most examples go one way.
fn comparisons() {
    const RUNS: usize = 500;
    println!("| changes of examples | examples | comparisons | any verdict is better or worse | the gate fails |");
    println!("|---|--:|--:|--:|--:|");
    // As the tests care for: symmetric, skewed, and mostly without a difference.
    for kind in [&KINDS[0], &KINDS[2], &KINDS[4]] {
        for n in [12, 25, 60] {
            let found = compared(n, RUNS, kind.draw);
            let moved = found.iter().filter(|one| one.better + one.worse > 0).count();
            let failed = found.iter().filter(|one| one.gate_fails).count();
            println!("| {} | {n} | {RUNS} | {} | {} |", kind.name, share(moved, RUNS), share(failed, RUNS));
        }
    }
}

/// Comparisons of runs of which every value fell by a few standard deviations of what examples change by: how many of the
/// 24 verdicts say so?
fn falls() {
    const RUNS: usize = 50;
    println!("| every value fell by | examples | verdicts that are worse | better |");
    println!("|---|--:|--:|--:|");
    type Fall = (&'static str, fn(&mut ChaCha8Rng) -> f64);
    let by: [Fall; 3] = [
        ("half a standard deviation", |generator| normal(generator) - 0.5),
        ("one", |generator| normal(generator) - 1.0),
        ("two", |generator| normal(generator) - 2.0),
    ];
    for (name, draw) in by {
        for n in [12, 25, 60, 200] {
            let found = compared(n, RUNS, draw);
            let of = |count: fn(&Found) -> usize| share(found.iter().map(count).sum(), RUNS * VERDICTS);
            println!("| {name} | {n} | {} | {} |", of(|one| one.worse), of(|one| one.better));
        }
    }
}

/// Two metrics of six methods on two tasks.
const VERDICTS: usize = 24;

/// What a comparison said.
struct Found {
    better: usize,
    worse: usize,
    gate_fails: bool,
}

/// Compares a run with `runs` others whose values differ by what is drawn, with a gate that allows no loss. Values are those
/// of metrics where more is better.
fn compared(n: usize, runs: usize, draw: fn(&mut ChaCha8Rng) -> f64) -> Vec<Found> {
    let gate = margin_of_nothing();
    let mut declared = declared();
    declared.methods = names(&["a", "b", "c", "d", "e", "f"]);
    declared.metrics.truncate(2);
    declared.metrics.iter_mut().for_each(|metric| metric.higher_is_better = true);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |name: &str, draw: &mut dyn FnMut() -> f64| {
        let mut units = units(&declared, n);
        for unit in &mut units {
            // What is not compared would only take time.
            (unit.excluded, unit.attributions, unit.curves) = (None, Vec::new(), Vec::new());
            unit.metrics = declared.metrics.iter().map(|metric| value(&metric.name, 5.0 + draw())).collect();
        }
        store(&folder.path().join(name), &declared, &datasets(&declared, n), &units)
    };
    let base = run("base.sqlite", &mut || 0.0);
    let one = |seed: usize| {
        let mut generator = ChaCha8Rng::seed_from_u64(seed as u64);
        let name = format!("{seed}.sqlite");
        let new = run(&name, &mut || draw(&mut generator));
        let today = "2026-11-30".parse().expect("a date");
        let how = Comparing { gate: Some(&gate), drift: false, today };
        let found = compare(&base, &new, &how).expect("a comparison");
        drop(new);
        std::fs::remove_file(folder.path().join(name)).expect("a store");
        let count = |verdict| found.changes.iter().filter(|change| change.verdict == verdict).count();
        assert_eq!(found.changes.len(), VERDICTS);
        Found { better: count(Verdict::Better), worse: count(Verdict::Worse), gate_fails: found.has_regression() }
    };
    (0..runs).map(one).collect()
}

fn value(metric: &str, value: f64) -> gim_harness::store::MetricValue {
    gim_harness::store::MetricValue { metric: metric.to_owned(), values: vec![value], excluded: None }
}

fn margin_of_nothing() -> gim_harness::config::Gate {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("gate.yaml");
    std::fs::write(&path, "rules: [{margin: 0}]\n").expect("a file");
    gim_harness::config::load_gate(&path).expect("a gate")
}
