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
