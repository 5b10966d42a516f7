//! Graphs computed in double precision, by code of its own, and differentiated forwards.
//!
//! [`program`] reads a graph file as a list of steps, [`machine`] runs it and leaves large weights in their file,
//! [`tangents`] hands a movement of the embeddings on to the score, and [`sites`] finds where the knobs act. Nothing here
//! uses the backward rules, the expansions or ONNX Runtime (but for operators of masks that only the runtime knows), so
//! that it can judge them, and f64 leaves so few roundings that a difference is a fault, whatever the weights.

pub mod array;
pub mod definition;
pub mod machine;
mod operators;
pub mod program;
pub mod sites;
mod stored;
pub mod tangents;

use std::path::PathBuf;

pub use stored::WeightFile;

/// What keeps a graph from being computed here.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}{problem}", graph.display(), if node.is_empty() { String::new() } else { format!("node '{node}' ") })]
pub struct ReferenceError {
    pub graph: PathBuf,
    pub node: String,
    pub problem: String,
}
