//! The cost of a report's statistics: `cargo bench --bench report`.

#[path = "../tests/fixtures/report/synthetic.rs"]
mod synthetic;

use gim_harness::report;
use synthetic::{datasets, declared, metric, names, store, units};

fn main() {
    divan::main();
}

/// Three tasks of 400 examples, seven methods, four metrics, 10,000 resamples.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn a_large_run(bencher: divan::Bencher) {
    let mut declared = declared();
    declared.tasks.push("arithmetic".into());
    declared.methods =
        names(&["gim", "gradient", "integrated_gradients", "random", "attn_lrp", "attention_rollout", "ablation"]);
    declared.metrics.push(metric("sufficiency_normalized", false, false, "Sufficiency over the score."));
    declared.resamples = 10_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run.sqlite");
    let store = store(&path, &declared, &datasets(&declared, 400), &units(&declared, 400));
    bencher.bench_local(|| report::write(&store, folder.path(), None).expect("a report"));
}

/// Fifty cells (ten methods on five tasks) of 5,000 examples of 80 tokens: what the page weighs. With `KEEP=DIR` the page
/// stays there, e.g. for `scripts/check_page.py`. Few resamples: they do not change its size.
#[divan::bench(sample_count = 1, sample_size = 1)]
fn a_page_of_fifty_cells(bencher: divan::Bencher) {
    let mut declared = declared();
    declared.tasks = names(&["sentiment", "fact_checking", "arithmetic", "lookup", "entailment"]);
    declared.methods = names(&[
        "gim",
        "gradient",
        "integrated_gradients",
        "random",
        "attn_lrp",
        "attention_rollout",
        "ablation",
        "tsg",
        "norm_freeze",
        "transformer_lrp",
    ]);
    declared.resamples = 200;
    let mut units = units(&declared, 1_000);
    for unit in units.iter_mut().filter(|unit| unit.excluded.is_none()) {
        unit.n_tokens = 80;
        let of_token = |i: usize| format!(" token{i}");
        unit.tokens = (0..80).map(of_token).collect();
        for vector in &mut unit.attributions {
            let short = vector.clone();
            *vector = (0..80).map(|i| short[i % short.len()] * (1.0 + (i * i % 7) as f64)).collect();
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store(&folder.path().join("run.sqlite"), &declared, &datasets(&declared, 1_000), &units);
    bencher.bench_local(|| report::write(&store, folder.path(), None).expect("a report"));
    let page = folder.path().join("report.html");
    let bytes = std::fs::metadata(&page).expect("a page").len();
    println!("report.html: {:.2} MB", bytes as f64 / 1e6);
    if let Some(place) = std::env::var_os("KEEP") {
        std::fs::copy(&page, std::path::Path::new(&place).join("report.html")).expect("a copy");
    }
}
