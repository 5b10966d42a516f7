//! Baking a bundle that appears only if it computes what it says.

use std::path::{Path, PathBuf};

use super::{Check, Effort, Original, VerifyError, verify_against};
use crate::bundle::bake::{BakeError, BakeOptions, write};
use crate::bundle::manifest::WEIGHT_FILE;
use crate::bundle::{Manifest, OpenedBundle, Opening};
use crate::runtime::{Residency, Runtime, RuntimeError, SessionOptions};

#[derive(Debug, thiserror::Error)]
pub enum VerifiedBakeError {
    #[error(transparent)]
    Bake(#[from] BakeError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("the bundle of {source_path} could not be verified, and was not kept")]
    Verify { source_path: PathBuf, source: Box<VerifyError> },
    #[error("the bundle of {source_path} does not compute what it says, and was not kept:{}", failures(.checks))]
    Failed { source_path: PathBuf, checks: Vec<Check> },
}

impl VerifiedBakeError {
    /// Whether somebody wanted it to stop, rather than that something went wrong.
    pub fn is_interruption(&self) -> bool {
        match self {
            VerifiedBakeError::Bake(BakeError::Interrupted) | VerifiedBakeError::Runtime(RuntimeError::Interrupted) => {
                true
            }
            VerifiedBakeError::Verify { source, .. } => source.is_interruption(),
            VerifiedBakeError::Bake(_) | VerifiedBakeError::Runtime(_) | VerifiedBakeError::Failed { .. } => false,
        }
    }
}

fn failures(checks: &[Check]) -> String {
    let failed = checks.iter().filter(|check| !check.passed());
    failed
        .map(|check| {
            let Check { name, description, measured, tolerance, advice } = check;
            format!("\n  {name}: {measured:.2e}, and at most {tolerance:.0e} is right ({description}); {advice}")
        })
        .collect()
}

/// Of the random prompts.
const SEED: u64 = 0;

/// Bytes of mapped weights beyond which they are given up: baking is to stay below 500 MB, whatever the model.
const RESIDENT_WEIGHTS: u64 = 48 << 20;

/// Tokens in one batch, at most, for a model with so many bytes of weights: what a token's activations take grows with
/// width and depth, and 32 tokens of Llama 3.2 1B (5 GB) take some 100 MB.
fn batch_tokens(weights: u64) -> usize {
    usize::try_from((160 << 30) / weights.max(1)).unwrap_or(usize::MAX).clamp(8, 256)
}

/// What a bake is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Bytes of weights written, and how many there will be.
    Writing { done: u64, total: u64 },
    /// The check that is next.
    Checking(&'a str),
}

/// Bakes `source` into a bundle at `out`, and lets it appear there only once [`verify`] found nothing wrong with it.
///
/// The checks run on the CPU and leave the weights where they are, in mapped pages of the file, so that they need little
/// memory of their own.
///
/// # Errors
/// Those of [`write`], and when a check fails or cannot be made; nothing is left at `out` then, or what was there before.
pub fn bake(
    runtime: &Runtime,
    source: &Path,
    out: &Path,
    options: &BakeOptions<'_>,
    progress: &dyn Fn(Step<'_>),
) -> Result<(Manifest, Vec<Check>), VerifiedBakeError> {
    let bundle = write(source, out, options, &mut |done, total| progress(Step::Writing { done, total }))?;
    let stored = bundle.manifest().files.get(WEIGHT_FILE).map_or(0, |entry| entry.bytes);
    let weights = options.compute.wide(stored, options.weights);
    let session = SessionOptions {
        prepacking: Some(false),
        arena: false,
        batch_tokens: batch_tokens(weights),
        reuse_bytes: 0,
        ..SessionOptions::default()
    };
    let residency = Residency::limit(&bundle.path().join(WEIGHT_FILE), RESIDENT_WEIGHTS);
    let effort = Effort::for_weights(weights);
    let failed =
        |error: VerifyError| VerifiedBakeError::Verify { source_path: source.to_owned(), source: error.into() };
    let next = |next: &str| progress(Step::Checking(next));
    next("hashes of the files");
    let opened = OpenedBundle::open(bundle.path(), &Opening::default()).map_err(|error| failed(error.into()))?;
    let original = Original { path: source, tokenizer: options.tokenizer.as_deref() };
    let checks = verify_against(runtime, original, &opened.into(), &session, effort, SEED, &next).map_err(failed)?;
    drop(residency);
    if options.is_interrupted() {
        return Err(BakeError::Interrupted.into());
    }
    if !checks.iter().all(Check::passed) {
        return Err(VerifiedBakeError::Failed { source_path: source.to_owned(), checks });
    }
    Ok((bundle.publish()?, checks))
}
