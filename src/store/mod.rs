//! The run store, `run.sqlite`: every finished unit of work, written before it counts as done.
//!
//! A unit is in the store whole or not at all, so a run that was interrupted, even by `kill -9` or a power cut, goes
//! on where the store ends; and every report can be made again from the store alone.

mod columns;
mod error;
mod record;
mod run;
mod schema;
mod sqlite;

pub use crate::faithfulness::{Curve, MetricFacts};
pub use error::StoreError;
pub use record::{MetricValue, Timing, Unit, UnitKey};
pub use run::{DatasetFacts, Declared, FactDifference, RunIdentity};
pub use sqlite::Store;

/// The store's file name inside a run's folder.
pub const FILE_NAME: &str = "run.sqlite";
