//! Checks of a finished bundle, on random prompts: that it computes what it says.
//!
//! They judge the bundle, never the model: a right bundle passes whatever its weights. What its graphs mean is computed
//! in double precision by [`reference`], which shares nothing with what made them: the score by the forward graph and by
//! the gradient graph, the gradient by the backward pass and by forward-mode differentiation under the rules of the
//! papers. What ONNX Runtime makes of them in f32 is held against that. Where the source is at hand, the weights are
//! compared with it, and the forward graph with the definitions of the layers that it was written from.

mod bake;
mod cached;
mod checks;
mod deep_lift;
mod effort;
mod exact;
mod gradient_drop;
mod inside;
mod projections;
pub mod reference;
mod rollout;
mod rounding;
mod sample;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::manifest::WEIGHT_FILE;
use crate::bundle::source::{ForwardModel, SourceError};
use crate::bundle::{BundleError, OpenedBundle, Opening};
use crate::onnx::weights::CopyError;
use crate::runtime::{Model, Runtime, RuntimeError, SessionOptions};
use checks::Evidence;
use inside::Inside;
use reference::{ReferenceError, WeightFile};

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
    /// Where it fails: the likely cause, and what to do.
    pub advice: &'static str,
}

impl Check {
    pub fn passed(&self) -> bool {
        self.measured <= self.tolerance
    }
}

/// What keeps a check from being made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("a graph of the bundle could not be computed in double precision")]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl VerifyError {
    /// Whether somebody wanted it to stop, rather than that something went wrong.
    pub fn is_interruption(&self) -> bool {
        matches!(self, VerifyError::Runtime(RuntimeError::Interrupted))
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
) -> Result<Vec<Check>, VerifyError> {
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
) -> Result<Vec<Check>, VerifyError> {
    Ok(checked(runtime, bundle, options, effort, seed, progress)?.0)
}

/// The checks that need nothing but the bundle, and what they were made with.
fn checked(
    runtime: &Runtime,
    bundle: &Arc<OpenedBundle>,
    options: &SessionOptions,
    effort: Effort,
    seed: u64,
    progress: &dyn Fn(&str),
) -> Result<(Vec<Check>, Evidence), VerifyError> {
    let mut model = Model::of_bundle(runtime, Arc::clone(bundle), options)?;
    let weights = weight_file(bundle)?;
    progress("double precision");
    let evidence = Evidence::gather(runtime, bundle, &weights, effort.lengths, seed)?;
    let mut done = evidence.audit(&bundle.manifest);
    let finite = evidence.finite();
    if !finite.passed() {
        done.push(finite);
        return Ok((done, evidence));
    }
    done.push(evidence.forward_equality());
    done.extend(evidence.forward_from_embeddings());
    done.extend(evidence.gradient_rules());
    progress("padding");
    done.push(evidence.padding(runtime)?);
    progress("attention");
    done.extend(evidence.attention());
    progress("inside");
    let inside = Inside::gather(runtime, bundle, &weights, &evidence, seed)?;
    done.extend(inside.checks.iter().cloned());
    progress("runtime");
    done.extend(evidence.runtime(&mut model, &inside)?);
    Ok((done, evidence))
}

/// What a bundle was baked from: a Hugging Face folder or a forward `.onnx` file.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    pub path: &'a Path,
    /// The tokenizer that was named by hand.
    pub tokenizer: Option<&'a Path>,
}

/// The same checks, and those that need what the bundle was baked from.
///
/// # Errors
/// As [`verify_opened`], and for a source that cannot be read.
pub fn verify_against(
    runtime: &Runtime,
    original: Original,
    bundle: &Arc<OpenedBundle>,
    options: &SessionOptions,
    effort: Effort,
    seed: u64,
    progress: &dyn Fn(&str),
) -> Result<Vec<Check>, VerifyError> {
    let stored = bundle.manifest.weight_type().unwrap_or_default().dtype();
    let forward = ForwardModel::open(original.path, original.tokenizer)?.stored_as(stored);
    progress("weights");
    let mut done = vec![source::weights(runtime, &forward, bundle)?];
    let (checks, evidence) = checked(runtime, bundle, options, effort, seed, progress)?;
    done.extend(checks);
    // What gives no numbers cannot be compared.
    if done.iter().all(|check| check.name != "finite" || check.passed()) {
        progress("definition");
        done.push(source::definition(runtime, &forward, bundle, &evidence)?);
        progress("rounding");
        done.extend(rounding::rounding(runtime, original, bundle, &evidence)?);
        progress("source file");
        done.extend(source::original(runtime, &forward, bundle, options, seed)?);
    }
    Ok(done)
}

fn weight_file(bundle: &OpenedBundle) -> Result<Arc<WeightFile>, VerifyError> {
    let path = bundle.path().join(WEIGHT_FILE);
    WeightFile::open(&path).map_err(|source| VerifyError::Read { path, source })
}
