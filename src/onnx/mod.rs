//! ONNX: a typed graph, shape inference, and reading and writing files with external weights.

pub mod dim;
pub mod expand;
pub mod graph;
pub mod infer;
pub mod op;
pub mod precision;
#[allow(clippy::all)]
pub mod proto;
pub mod read;
pub mod rewrite;
pub mod tensor;
pub mod weights;
pub mod write;

pub use dim::{Dim, Shape};
pub use graph::{Graph, GraphError, Id, Value};
pub use op::Op;
pub use tensor::{Dtype, Tensor};
