//! What the fuzz targets share: a folder in memory where there is one, and a whole bake with what must hold after it.

use std::path::{Path, PathBuf};

use gim_harness::bundle::bake::{BakeOptions, bake};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a folder")
}

const PREFIX: &str = "gim-harness-fuzz-";

/// A folder to work in, in memory where that can be. libFuzzer ends its processes without unwinding, so the folder outlives
/// this one; the next process to call this deletes what those that are gone have left.
pub fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(process) = name.to_str().and_then(|name| name.strip_prefix(PREFIX))
            && !Path::new("/proc").join(process).exists()
        {
            // Another process may be doing the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder can be made");
    folder
}

/// A tokenizer with 131 tokens, as all seeds have.
pub fn tokenizer() -> PathBuf {
    root().join("tests/fixtures/llama-a/tokenizer.json")
}

/// Bakes `source`, which may be anything, and deletes what came of it. What must hold: no panic, an error that says
/// something, a bundle that is whole or not there, and nothing else left behind.
pub fn bake_anything(source: &Path, folder: &Path) {
    let out = folder.join("out");
    let result = bake(
        source,
        &out.join("bundle"),
        &BakeOptions { tokenizer: Some(tokenizer()), ..BakeOptions::default() },
        &mut |_, _| {},
    );
    let left: Vec<_> = std::fs::read_dir(&out).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    match result {
        Ok(manifest) => {
            assert_eq!(left, ["bundle"]);
            for (name, entry) in &manifest.files {
                let facts = std::fs::metadata(out.join("bundle").join(name)).expect("every file is there");
                assert_eq!(facts.len(), entry.bytes, "{name}");
            }
            std::fs::remove_dir_all(&out).expect("the folder can be deleted");
        }
        Err(error) => {
            assert!(left.is_empty(), "{left:?} left behind by: {error}");
            assert!(!error.to_string().trim().is_empty());
        }
    }
}

/// Numbers for a mutator, from the seed that libFuzzer gives (xorshift; libFuzzer keeps what finds something new).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u32) -> Self {
        Random((u64::from(seed) << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`, 0 if there is none.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.bits() % n as u64) as usize }
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// A size, an axis, an offset: mostly small, now and then absurd.
    pub fn number(&mut self) -> i64 {
        const ODD: [i64; 12] = [
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            1 << 62,
            1 << 40,
            1 << 32,
            (1 << 31) - 1,
            1 << 31,
            -(1 << 31),
            1 << 20,
            8193,
            8192,
        ];
        match self.below(4) {
            0 => ODD[self.below(ODD.len())],
            1 => self.bits() as i64,
            _ => self.below(12) as i64 - 4,
        }
    }
}
