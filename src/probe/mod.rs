//! The probe: how attribution methods and metrics ask the model.
//!
//! A method or a metric is an asynchronous function of one example. It asks its [`Probe`] for scores, gradients, attention
//! or embeddings and waits for the answer; it knows nothing of batches, devices and files. A [`Driver`] holds many such
//! functions, lets them run until all wait, and answers what they asked together: what is asked of rows of one length goes
//! through the model in the same batches, whoever asked.
//!
//! Where the model cannot have the memory for a row even by itself, the work that asked for it ends, as far as it said that it
//! would ([`Probe::within_memory`]), and all other work goes on.
//!
//! What a row scores does not hang on what shares its batch, so scores are grouped freely. The last digits of gradients
//! do, so what goes through the gradient graph together is what one ask names, and nothing else.

mod case;
mod cost;
mod desk;
mod driver;
mod removal;

pub use case::{Case, Question};
pub use cost::{Account, Cost};
pub use desk::{DoesNotFit, Embeddings, Points, Probe};
pub use driver::{Driver, ask};
pub use removal::Removal;
