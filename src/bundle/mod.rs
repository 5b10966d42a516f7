//! The folder of graphs that `bake` writes and everything else reads.

pub mod manifest;

pub use manifest::Manifest;
