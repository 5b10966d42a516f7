//! A plan carried out: every method on every example of every task by every model, each finished unit put into the store.

mod bundles;
mod chunk;
mod error;
mod prepare;
mod record;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::attribution::{self, Method};
use crate::config::Plan;
use crate::report::{self, Written};
use crate::runtime::{Device, Model, Runtime, RuntimeError, SessionOptions};
use crate::store::{self, DatasetFacts, Store, UnitKey};
use crate::tasks::Dataset;

pub use bundles::{Bundles, resolve_bundle};
pub use error::RunError;
pub use prepare::data_mistakes;

use chunk::{Chunk, Sizes};
use prepare::Prepared;

/// Examples that are worked on together, so that their rows share batches. What is finished is stored after each method
/// on each of these.
const CHUNK: usize = 16;

/// What to do where the run's folder already holds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Go on with it if it is the same run, else refuse.
    Continue,
    /// Go on with it; refuse where there is none.
    Resume,
    /// Remove it and start over.
    Fresh,
}

/// Where a run goes and when it stops.
pub struct Job<'a> {
    pub plan: &'a Plan,
    /// The run's own folder.
    pub folder: &'a Path,
    pub existing: Existing,
    /// Becomes true when the run is to stop after the work in hand.
    pub interrupted: &'a AtomicBool,
    pub bundles: Bundles<'a>,
}

/// Is told what a run does. Every method may be ignored.
pub trait Progress {
    /// One line about something that is done once.
    fn note(&self, line: &str);
    /// Bytes of weights written while baking.
    fn baking(&self, model: &str, done: u64, total: u64);
    /// A model and task begin, with so many units to do.
    fn begin(&self, model: &str, task: &str, units: u64);
    /// Some of them are done.
    fn advance(&self, method: &str, units: u64);
    /// The model and task are done: examples taken, and those left out.
    fn end(&self, model: &str, task: &str, examples: usize, excluded: usize);
}

/// How a run ended.
pub enum Outcome {
    Complete(Box<Written>),
    /// What is stored is reported; the rest can be resumed.
    Interrupted(Box<Written>),
}

/// Runs a plan into `job.folder` and writes its reports.
///
/// Everything that can be wrong with the configuration and the data is found before any model runs.
pub fn run(job: &Job, runtime: &Runtime, progress: &dyn Progress) -> Result<Outcome, RunError> {
    let started = Instant::now();
    let plan = job.plan;
    let device: Device = plan.device.parse()?;
    let prepared = prepare::prepare(job, runtime, progress)?;
    let identity = record::identity(plan, &prepared, runtime);
    let declared = record::declared(plan);
    let mut store = open_store(job, &identity, &declared)?;
    let work =
        Work { job, methods: attribution::build_all(&plan.methods, plan.seed), done: store.done_units()?, progress };
    let options =
        SessionOptions { device, threads: plan.threads, batch_tokens: plan.batch_tokens, ..Default::default() };
    let options = SessionOptions { reuse_bytes: plan.reuse_bytes.unwrap_or(options.reuse_bytes), ..options };

    let mut complete = true;
    let mut ran = Vec::new();
    'models: for prepared in &prepared {
        let mut model = Model::of_bundle(runtime, Arc::clone(&prepared.bundle), &options)?;
        for dataset in &prepared.datasets {
            store.write_dataset(&dataset_facts(&prepared.name, plan, dataset))?;
            let complete_here = match run_task(&work, &mut model, prepared, dataset, &mut store) {
                // In the middle of a unit, which will be done again.
                Err(RunError::Runtime(RuntimeError::Interrupted)) => false,
                result => result?,
            };
            if !complete_here {
                complete = false;
                break 'models;
            }
        }
        ran.push(record::ModelRecord::new(prepared, &model));
    }

    let manifest = record::manifest(plan, &identity, &ran, runtime, &options, started.elapsed());
    let written = Box::new(report::write(&store, job.folder, Some(&manifest))?);
    store.close()?;
    Ok(if complete { Outcome::Complete(written) } else { Outcome::Interrupted(written) })
}

fn open_store(job: &Job, identity: &store::RunIdentity, declared: &store::Declared) -> Result<Store, RunError> {
    let path = job.folder.join(store::FILE_NAME);
    let exists = path.exists();
    if job.existing == Existing::Fresh && exists {
        for suffix in ["", "-wal", "-shm"] {
            let file = job.folder.join(format!("{}{suffix}", store::FILE_NAME));
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(RunError::Io { path: file, source: error });
                }
                _ => {}
            }
        }
    } else if exists {
        return Ok(Store::resume(&path, identity, declared)?);
    } else if job.existing == Existing::Resume {
        return Err(RunError::NothingToResume { folder: job.folder.to_owned() });
    }
    std::fs::create_dir_all(job.folder).map_err(|source| RunError::Io { path: job.folder.to_owned(), source })?;
    Ok(Store::create(&path, identity, declared)?)
}

fn dataset_facts(model: &str, plan: &Plan, dataset: &Dataset) -> DatasetFacts {
    DatasetFacts {
        model: model.to_owned(),
        task: dataset.name.clone(),
        version: dataset.version,
        sha256: dataset.sha256.clone(),
        score: dataset.score.name().to_owned(),
        available: dataset.available,
        limit: plan.limit,
        sample: plan.sample,
        examples: dataset.examples.len(),
    }
}

/// What is the same for every task.
struct Work<'a> {
    job: &'a Job<'a>,
    methods: Vec<(String, Box<dyn Method>)>,
    /// Units that an earlier run finished.
    done: HashSet<UnitKey>,
    progress: &'a dyn Progress,
}

/// Whether the task was finished, rather than interrupted.
fn run_task(
    work: &Work,
    model: &mut Model,
    prepared: &Prepared,
    dataset: &Dataset,
    store: &mut Store,
) -> Result<bool, RunError> {
    let Work { job, methods, done, progress } = work;
    let key = |example: &str, method: &str| UnitKey {
        model: prepared.name.clone(),
        task: dataset.name.clone(),
        example_id: example.to_owned(),
        method: method.to_owned(),
    };
    let missing: usize = dataset
        .examples
        .iter()
        .map(|example| methods.iter().filter(|(method, _)| !done.contains(&key(&example.id, method))).count())
        .sum();
    progress.begin(&prepared.name, &dataset.name, missing as u64);
    let sizes = Sizes { longest: model.manifest().dimensions.max_positions };
    let mut excluded = 0;
    for (number, examples) in dataset.examples.chunks(CHUNK).enumerate() {
        if job.interrupted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let chunk = Chunk::new(model, prepared, dataset.score, sizes, number * CHUNK, examples)?;
        excluded += chunk.excluded();
        for (name, method) in methods {
            let wanted: Vec<bool> = examples.iter().map(|example| !done.contains(&key(&example.id, name))).collect();
            let count = wanted.iter().filter(|&&wanted| wanted).count();
            if count == 0 {
                continue;
            }
            if job.interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let units = chunk.work(model, method.as_ref(), &wanted, &job.plan.metrics, |example| key(example, name))?;
            store.write_all(&units)?;
            progress.advance(name, count as u64);
        }
    }
    progress.end(&prepared.name, &dataset.name, dataset.examples.len(), excluded);
    Ok(true)
}

/// A folder for a new run: the run's name and the time, under `parent`.
pub fn new_folder(parent: &Path, name: &str, unix_seconds: u64) -> PathBuf {
    let safe: String =
        name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).take(80).collect();
    let stem = format!("{}-{}", if safe.is_empty() { "run" } else { &safe }, timestamp(unix_seconds));
    let mut folder = parent.join(&stem);
    let mut number = 2;
    while folder.exists() {
        folder = parent.join(format!("{stem}-{number}"));
        number += 1;
    }
    folder
}

/// `20261123-204500`, in UTC (days to civil dates by Howard Hinnant's algorithm).
fn timestamp(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_civil_dates() {
        assert_eq!(timestamp(0), "19700101-000000");
        assert_eq!(timestamp(951_782_399), "20000228-235959");
        assert_eq!(timestamp(951_782_400), "20000229-000000");
        assert_eq!(timestamp(1_795_464_061), "20261123-200101");
    }

    #[test]
    fn folders_keep_to_their_parent_and_do_not_collide() {
        let dir = tempfile::tempdir().unwrap();
        let first = new_folder(dir.path(), "../a b/c", 0);
        assert_eq!(first, dir.path().join("---a-b-c-19700101-000000"));
        std::fs::create_dir(&first).unwrap();
        assert_eq!(new_folder(dir.path(), "../a b/c", 0), dir.path().join("---a-b-c-19700101-000000-2"));
    }
}
