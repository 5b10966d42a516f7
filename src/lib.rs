//! gim-harness: how far an explanation of a transformer language model can be trusted.
//!
//! The rooms, and which may import which, are described in `docs/architecture.md`.

// What is read and printed goes through two rooms: `clippy.toml` says which, and why.
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr, clippy::undocumented_unsafe_blocks)
)]

pub mod attribution;
pub mod bundle;
pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod date;
pub mod device;
pub mod diagnostics;
mod digest;
pub mod faithfulness;
pub mod files;
pub mod grad;
pub mod imports;
pub mod labels;
pub mod lfs;
mod lock;
pub mod onnx;
mod panics;
pub mod probe;
pub mod raise;
pub mod reference;
pub mod report;
pub mod run;
pub mod runtime;
pub mod stats;
pub mod store;
pub mod tasks;
pub mod text;
pub mod tokenizer;
pub mod units;
pub mod verify;
pub mod web;
mod workfolder;
