//! Whether the backward rules are right.
//!
//! Three independent things are set against each other:
//! - the **evaluator** ([`evaluator`]) computes any graph in f64, operator by operator and composites included, without
//!   a line of the library's expansions or rules. Central differences of it judge gradients;
//! - the **surrogate** ([`surrogate`]) is the forward pass with what the knobs modify replaced by its linearisation at
//!   one point, written from the papers. Central differences of it judge the modified gradients, at any knobs;
//! - **ONNX Runtime** runs the files that are written, optimised and not, and judges expansion and writer.

mod calculus;
mod closed_forms;
mod evaluator;
mod programs;
mod sites;
mod surrogate;
mod written;
