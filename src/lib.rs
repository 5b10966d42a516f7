//! gim-harness: how far an explanation of a transformer language model can be trusted.
//!
//! The rooms, and which may import which, are described in `docs/architecture.md`.

pub mod attribution;
pub mod bundle;
pub mod checkpoint;
pub mod config;
pub mod diagnostics;
mod digest;
pub mod faithfulness;
pub mod grad;
pub mod labels;
pub mod lfs;
pub mod onnx;
pub mod raise;
pub mod report;
pub mod run;
pub mod runtime;
pub mod stats;
pub mod store;
pub mod tasks;
pub mod tokenizer;
pub mod verify;
