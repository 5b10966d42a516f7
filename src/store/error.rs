//! What can go wrong with a run store.

use std::fmt::Write;
use std::path::PathBuf;

use super::record::UnitKey;
use super::run::FactDifference;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: there is a run here already; resume it, or start afresh somewhere else", path.display())]
    Exists { path: PathBuf },
    #[error("{}: cannot be read or written", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// Some other program's database, or no database at all.
    #[error("{}: not a run store of gim-harness ({why})", path.display())]
    Foreign { path: PathBuf, why: String },
    #[error(
        "{}: written by a newer gim-harness (store format {found}, this program knows up to {known}); update the program",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{}: written by an older gim-harness (store format {found}, this program has {known}); start over with --fresh, \
         or name another folder with --out",
        path.display()
    )]
    Older { path: PathBuf, found: i64, known: i64 },
    #[error("{}: the run store is damaged ({what}); start over with --fresh", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{}: another program is writing to this run store", path.display())]
    Busy { path: PathBuf, source: rusqlite::Error },
    #[error("{}: {}; start over with --fresh, or name another folder with --out", path.display(), explain(differences))]
    OtherRun { path: PathBuf, differences: Vec<FactDifference> },
    #[error("{kind} `{name}` is not one that the run declared")]
    Undeclared { kind: &'static str, name: String },
    #[error("{kind} `{name}` is declared twice")]
    DeclaredTwice { kind: &'static str, name: String },
    #[error("{} on example `{}` of {} ({}): {what}", key.method, key.example_id, key.task, key.model)]
    Malformed { key: Box<UnitKey>, what: String },
    #[error("{}: database error", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}

fn explain(differences: &[FactDifference]) -> String {
    let mut text = String::from("cannot go on, because this is not the run that was begun: ");
    for (i, difference) in differences.iter().enumerate() {
        let separator = if i == 0 { "" } else { "; " };
        let (stored, now) = shorten(&difference.stored, &difference.now);
        let _ = write!(text, "{separator}{} was {stored}, is {now}", difference.fact);
    }
    text
}

/// Long values (hashes, lists) from where they differ, a little before and after.
fn shorten(stored: &str, now: &str) -> (String, String) {
    const BEFORE: usize = 8;
    const LONGEST: usize = 48;
    let common = stored.chars().zip(now.chars()).take_while(|(a, b)| a == b).count();
    let cut = |value: &str| {
        let length = value.chars().count();
        if length <= LONGEST {
            return format!("`{value}`");
        }
        let from = if common > LONGEST - BEFORE { common - BEFORE } else { 0 };
        let middle: String = value.chars().skip(from).take(LONGEST).collect();
        let start = if from > 0 { "..." } else { "" };
        let end = if from + LONGEST < length { "..." } else { "" };
        format!("`{start}{middle}{end}`")
    };
    (cut(stored), cut(now))
}
