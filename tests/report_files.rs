//! The files of a run, from stores of invented numbers.

#[path = "fixtures/report/synthetic.rs"]
mod synthetic;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gim_harness::report;
use gim_harness::store::{Declared, Store, Unit};
use synthetic::{datasets, declared, metric, names, store, unit, units};

const FILES: [&str; 8] = [
    "examples.csv",
    "curves.csv",
    "attributions.jsonl",
    "summary.csv",
    "comparisons.csv",
    "timings.csv",
    "results.json",
    "report.md",
];

/// A folder with a store, in which a report was made.
struct Run {
    folder: tempfile::TempDir,
    written: report::Written,
}

impl Run {
    fn of(declared: &Declared, examples: usize, units: &[Unit]) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder.path().join("run.sqlite"), declared, &datasets(declared, examples), units);
        let written = report::write(&store, folder.path(), None).unwrap();
        store.close().unwrap();
        Run { folder, written }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn rows(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let mut reader = csv::Reader::from_path(self.folder.path().join(name)).unwrap();
        let head = reader.headers().unwrap().clone();
        reader
            .records()
            .map(|row| head.iter().map(str::to_string).zip(row.unwrap().iter().map(str::to_string)).collect())
            .collect()
    }

    fn head(&self, name: &str) -> String {
        self.text(name).lines().next().unwrap().to_string()
    }
}

fn small() -> Run {
    let declared = declared();
    Run::of(&declared, 18, &units(&declared, 18))
}

#[test]
fn the_report_reads_well() {
    insta::assert_snapshot!(small().text("report.md"));
}
