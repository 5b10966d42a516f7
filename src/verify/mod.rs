//! Checks of a finished bundle, on random inputs: that it computes what it says.
//!
//! The checks use nothing but the bundle itself. What they compare with each other was computed in different ways: the
//! score by the forward graph and by the gradient graph, the gradient by the backward pass and by differences.

mod bake;
mod checks;
mod effort;

use std::path::Path;
use std::sync::Arc;

use crate::bundle::{OpenedBundle, Opening};
use crate::runtime::{Model, Optimization, Runtime, RuntimeError, SessionOptions};

pub use bake::{Step, VerifiedBakeError, bake};
pub use effort::Effort;

/// One check's outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub name: &'static str,
    /// What was compared with what.
    pub description: &'static str,
    /// The largest deviation found.
    pub measured: f64,
    /// What it may be.
    pub tolerance: f64,
}

impl Check {
    pub fn passed(&self) -> bool {
        self.measured <= self.tolerance
    }
}

/// Reads all files of a bundle, to see that they are the ones that were baked, and runs all checks.
///
/// # Errors
/// As [`verify_opened`], and those of [`OpenedBundle::open`].
pub fn verify(
    runtime: &Runtime,
    bundle: &Path,
    options: &SessionOptions,
    effort: Effort,
    seed: u64,
    progress: &dyn Fn(&str),
) -> Result<Vec<Check>, RuntimeError> {
    progress("hashes of the files");
    let bundle = Arc::new(OpenedBundle::open(bundle, &Opening::default())?);
    verify_opened(runtime, &bundle, options, effort, seed, progress)
}

/// Runs all checks of a bundle that was opened. `progress` is told which one is next.
///
/// # Errors
/// For what keeps a check from being made; a check that was made and failed is in the result.
pub fn verify_opened(
    runtime: &Runtime,
    bundle: &Arc<OpenedBundle>,
    options: &SessionOptions,
    effort: Effort,
    seed: u64,
    progress: &dyn Fn(&str),
) -> Result<Vec<Check>, RuntimeError> {
    // Batches as in a run have no padding, so it would not be checked.
    let options = &SessionOptions { padding: true, ..options.clone() };
    let mut model = Model::of_bundle(runtime, Arc::clone(bundle), options)?;
    let prompts = checks::prompts(model.manifest(), effort.lengths, seed);
    let mut done = Vec::new();
    progress("forward equality");
    done.push(checks::forward_equality(&mut model, &prompts)?);
    progress("padding");
    done.push(checks::padding(&mut model, &prompts)?);
    progress("finite differences");
    done.push(checks::finite_differences(&mut model, &prompts, effort.places)?);
    progress("completeness");
    done.push(checks::completeness(&mut model, &prompts, effort.points)?);
    progress("knobs");
    done.extend(checks::knobs(&mut model, &prompts)?);
    progress("optimization");
    let plain = SessionOptions { optimization: Optimization::Disable, ..options.clone() };
    let mut unoptimized = Model::of_bundle(runtime, Arc::clone(bundle), &plain)?;
    done.push(checks::optimization(&mut model, &mut unoptimized, &prompts)?);
    Ok(done)
}
