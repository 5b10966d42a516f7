//! The folder of graphs that `bake` writes and everything else reads.

pub mod bake;
pub mod graphs;
pub mod manifest;
pub mod select;

pub use manifest::Manifest;
