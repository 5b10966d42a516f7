//! Finding or installing ONNX Runtime, devices, sessions, batching, and reuse of repeated rows.
//!
//! ```no_run
//! use gim_harness::runtime::{Model, Row, Runtime, RuntimeOptions, SessionOptions};
//! # fn main() -> Result<(), gim_harness::runtime::RuntimeError> {
//! let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}"))?;
//! let mut model = Model::open(&runtime, "bundle".as_ref(), &SessionOptions::default())?;
//! let scores = model.scores(&[Row::new(vec![0, 5, 9], 2)], &[7])?;
//! println!("logit {}, probability {}", scores[0].logits[0], scores[0].probability(0));
//! # Ok(())
//! # }
//! ```
//!
//! ONNX Runtime is a shared library that is looked for when the program starts (see [`Runtime::open`] for the order)
//! and loaded once per process. Nothing here falls back in silence: a device that was asked for and cannot be had is
//! an error.

mod batch;
mod deep_lift;
mod elf;
mod env;
mod error;
mod external;
mod fewer;
mod gradient_drop;
mod inside;
mod install;
mod library;
mod locate;
mod memory;
mod model;
mod not_finite;
mod pace;
mod placement;
mod prefix;
mod process;
mod projections;
mod python;
mod remembered;
mod residency;
mod reuse;
mod room;
mod row;
mod score;
mod session;
mod watch;

pub use crate::bundle::Graph;
pub use crate::device::{Device, ParseDeviceError};
pub use deep_lift::Multipliers;
pub use env::Env;
pub use error::{InputError, RuntimeError};
pub use inside::{AttentionScores, Residual};
pub use install::{Flavour, InstallOptions, Installed, PINNED_VERSION, install};
pub use library::{MINIMUM_VERSION, Runtime, RuntimeOptions};
pub use locate::{Attempt, Origin, Outcome};
pub use memory::{Memory, Prepacking};
pub use model::{Counters, Gradient, GradientRow, Model};
pub use placement::Placement;
pub use prefix::PrefixCache;
pub use projections::Projections;
pub use residency::Residency;
pub use row::{Change, Prompt, Row};
pub use score::Score;
pub use session::{Optimization, Outputs, Session, SessionOptions, Tensor};
pub use watch::Watch;
