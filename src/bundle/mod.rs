//! The folder of graphs that `bake` writes and everything else reads.

pub mod bake;
mod beside;
pub mod cached;
mod contract;
mod deep_lift;
pub mod foreign;
mod gradient_drop;
pub mod graphs;
mod head;
pub mod inside;
mod last;
pub mod manifest;
pub mod open;
mod padding;
mod positions;
mod projections;
mod records;
pub mod residual;
mod rollout;
pub mod select;
pub mod source;
mod stamp;
mod target;
mod unpublished;

pub use contract::Graph;
pub use manifest::Manifest;
pub use open::{BundleError, OpenedBundle, Opening};
pub use unpublished::{Unpublished, clean, evict};
