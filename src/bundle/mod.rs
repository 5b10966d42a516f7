//! The folder of graphs that `bake` writes and everything else reads.

pub mod bake;
pub mod foreign;
pub mod graphs;
pub mod manifest;
mod padding;
mod positions;
pub mod select;
pub mod source;
mod unpublished;

pub use manifest::Manifest;
pub use unpublished::Unpublished;
