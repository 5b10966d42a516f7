//! The table of unsafe code in `docs/architecture.md` lists what there is, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Files with unsafe blocks, functions or implementations, and how many.
fn in_code(root: &Path) -> BTreeMap<String, usize> {
    let mut files = Vec::new();
    for folder in ["src", "trainer/src", "benches", "tests", "fuzz/fuzz_targets"] {
        rust_files(&root.join(folder), &mut files);
    }
    let mut counts = BTreeMap::new();
    for file in files.iter().filter(|file| !file.ends_with("tests/unsafe_code.rs")) {
        let text = fs::read_to_string(file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let count = code
            .map(|line| {
                ["unsafe {", "unsafe fn", "unsafe impl"].map(|form| line.matches(form).count()).iter().sum::<usize>()
            })
            .sum();
        if count > 0 {
            counts.insert(file.strip_prefix(root).unwrap().display().to_string().replace('\\', "/"), count);
        }
    }
    counts
}

/// The rows of the table: file, number, what, argument.
fn in_table(text: &str) -> BTreeMap<String, usize> {
    let section = text.split("\n## Unsafe code\n").nth(1).expect("there is such a section");
    let section = section.split("\n## ").next().unwrap();
    let mut counts = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [file, number, what, argument] = cells[..] else { panic!("not four cells: {row}") };
        assert!(!what.is_empty() && argument.len() > 20, "no argument: {row}");
        *counts.entry(file.trim_matches('`').to_owned()).or_insert(0) += number.parse::<usize>().unwrap();
    }
    counts
}

#[test]
fn the_table_of_unsafe_code_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = in_table(&fs::read_to_string(root.join("docs/architecture.md")).unwrap());
    assert_eq!(in_code(root), table, "docs/architecture.md, \"Unsafe code\", says otherwise than the code");
}
