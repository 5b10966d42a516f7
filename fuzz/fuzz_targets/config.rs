//! A checkpoint whose `config.json` is anything: a byte that picks the weights among the fixtures' (their folders in
//! alphabetical order), then the text.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gim_harness_fuzz::{bake_anything, folder, root};
use libfuzzer_sys::fuzz_target;

/// Copies of the fixtures.
fn checkpoints() -> &'static [PathBuf] {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let fixtures = std::fs::read_dir(root().join("tests/fixtures/architectures")).expect("the fixtures are there");
        let mut fixtures: Vec<PathBuf> = fixtures.flatten().map(|entry| entry.path()).collect();
        fixtures.sort();
        let parent = folder();
        fixtures.iter().map(|fixture| copy(fixture, &parent)).collect()
    })
}

fn copy(fixture: &Path, parent: &Path) -> PathBuf {
    let folder = parent.join(fixture.file_name().expect("it has a name"));
    std::fs::create_dir(&folder).expect("a folder can be made");
    for entry in std::fs::read_dir(fixture).expect("the fixture is there").flatten() {
        if entry.file_name().to_string_lossy().starts_with("model") {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("the folder can be written");
        }
    }
    folder
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, text)) = data.split_first() else { return };
    let folders = checkpoints();
    let folder = &folders[usize::from(which) % folders.len()];
    std::fs::write(folder.join("config.json"), text).expect("the folder can be written");
    bake_anything(folder, folder);
});
