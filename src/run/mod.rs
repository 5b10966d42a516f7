//! A plan carried out: every method on every example of every task by every model, each finished unit put into the store.

mod bundles;
mod error;
mod example;
mod find;
mod prepare;
mod reads;
mod record;
mod workers;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::attribution;
use crate::bundle::OpenedBundle;
use crate::config::{Chosen, Plan, TaskPlan, Vocabulary};
use crate::faithfulness::{self, Measurement};
use crate::imports::Given;
use crate::report::{self, ReportError, Written};
use crate::runtime::{Device, Model, PrefixCache, Runtime, SessionOptions};
use crate::store::{self, Damage, Finished, PlannedDataset, RunLock, Store, Unit, UnitKey};
use crate::tasks::{Dataset, Example};

pub use bundles::{Bundles, resolve_bundle};
pub use error::RunError;
pub use find::to_resume;
pub use prepare::{PlanData, data_mistakes};
pub use reads::Reads;

use example::Identified;
use prepare::Prepared;
use record::{Basis, Sessions};
use workers::{Ledger, Piece, Planned, Shared};

/// All methods and metrics that there are.
pub fn vocabulary() -> Vocabulary<'static> {
    Vocabulary {
        methods: attribution::infos(),
        metrics: faithfulness::infos(),
        standard_metrics: faithfulness::standard(),
    }
}

/// Examples that are worked on together at most, so that their rows share batches. What is finished is stored at once.
const TOGETHER: usize = 16;

/// What to do where the run's folder already holds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Go on with it, or extend it, if nothing that it hangs on has changed; else refuse.
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
    /// Called once the run has its folder and its store, before any model runs.
    pub begun: &'a dyn Fn() -> Result<(), ReportError>,
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

/// Runs a plan into `job.folder` and writes its reports. Where the folder holds a run already, only what is missing is
/// done: what was interrupted, what the plan has more than before, and what the store shows to be damaged.
///
/// `data` is what [`PlanData::read`] read of the job's plan; all that can be wrong with it was found there.
///
/// # Errors
/// [`RunError::Held`] where another program writes to the folder.
pub fn run(job: &Job, data: &PlanData, runtime: &Runtime, progress: &dyn Progress) -> Result<Outcome, RunError> {
    let started = Instant::now();
    let plan = job.plan;
    let devices = plan.devices.iter().map(|device| device.parse()).collect::<Result<Vec<Device>, _>>()?;
    // Said before anything is baked for a run that cannot begin.
    if RunLock::is_held(job.folder) {
        take_lock(job.folder)?;
    }
    let prepared = prepare::prepare(job, data, runtime, progress)?;
    let begins = !job.folder.join(store::FILE_NAME).exists();
    if begins && job.existing == Existing::Resume {
        return Err(RunError::NothingToResume { folder: job.folder.to_owned() });
    }
    std::fs::create_dir_all(job.folder).map_err(|source| RunError::Io { path: job.folder.to_owned(), source })?;
    let _lock = take_lock(job.folder)?;
    store::remove_unfinished(job.folder);
    report::remove_unfinished(job.folder);

    let mut options = SessionOptions { threads: plan.threads, batch_tokens: plan.batch_tokens, ..Default::default() };
    options.device = devices.first().copied().unwrap_or_default();
    let reuse_bytes = plan.reuse_bytes.unwrap_or(options.reuse_bytes);
    options.prefix_cache = PrefixCache::named(&plan.prefix_cache).unwrap_or_default();
    let mut sessions = Sessions { threads: options.thread_count(), prepacking: BTreeMap::new() };
    for model in &prepared {
        let workers = workers_of(plan.workers, &devices, &model.bundle, sessions.threads);
        sessions.prepacking.insert(model.name.clone(), Model::choose_prepacking(&model.bundle, &options, workers).on);
    }
    let (mut store, basis) = open_store(job, &prepared, runtime, &mut sessions)?;
    (job.begun)()?;
    let (finished, damage) = store.finished()?;
    if !damage.is_empty() {
        progress.note(&damage_note(&damage));
        store.remove(&damage)?;
    }
    let metrics = plan.all_metrics();
    let work = Work { job, metrics, basis: &basis, finished, progress };
    let mut complete = true;
    let mut ran = Vec::new();
    'models: for prepared in &prepared {
        options.prepacking = sessions.prepacking.get(&prepared.name).copied();
        // Numbers do not hang on how many there are.
        let workers = workers_of(plan.workers, &devices, &prepared.bundle, sessions.threads);
        options.threads = Some((sessions.threads / workers).max(1));
        options.reuse_bytes = reuse_bytes / workers;
        let mut models = Vec::with_capacity(workers);
        for device in devices.iter().cycle().take(workers) {
            let options = SessionOptions { device: *device, ..options.clone() };
            models.push(Model::of_bundle(runtime, Arc::clone(&prepared.bundle), &options)?);
        }
        for ((task, dataset), given) in plan.tasks.iter().zip(&prepared.data.datasets).zip(&prepared.data.given) {
            let data = Data { prepared, task, dataset, given };
            if !run_task(&work, &mut models, &data, &mut store)? {
                complete = false;
                break 'models;
            }
        }
        let placements = record::placements(&prepared.name, &models);
        if !placements.facts.is_empty() {
            store.add_facts(&placements)?;
        }
        ran.push(record::ModelRecord::new(prepared, &models));
    }

    let manifest = record::manifest(plan, store.identity(), &ran, runtime, sessions.threads, started.elapsed());
    let written = Box::new(report::write(&store, job.folder, Some(&manifest))?);
    store.close()?;
    Ok(if complete { Outcome::Complete(written) } else { Outcome::Interrupted(written) })
}

/// No more workers than this are made unasked.
const MOST_UNASKED: usize = 16;

/// How many workers a model has: as asked for, or one a device; on the CPU alone one a thread where the model is small.
fn workers_of(asked: Option<usize>, devices: &[Device], bundle: &OpenedBundle, threads: usize) -> usize {
    let small = || devices == [Device::Cpu] && Model::is_small(bundle);
    let unasked = || if small() { threads.min(MOST_UNASKED) } else { devices.len() };
    asked.unwrap_or_else(unasked).max(1)
}

fn take_lock(folder: &Path) -> Result<RunLock, RunError> {
    let taken = RunLock::take(folder).map_err(|source| RunError::Io { path: folder.to_owned(), source })?;
    Ok(taken?)
}

/// The run's store, with this plan declared in it, and what its units hang on. Sessions are to compute as the run began.
fn open_store(
    job: &Job,
    prepared: &[Prepared],
    runtime: &Runtime,
    sessions: &mut Sessions,
) -> Result<(Store, Basis), RunError> {
    let plan = job.plan;
    let path = job.folder.join(store::FILE_NAME);
    let declared = record::declared(plan);
    let datasets: Vec<PlannedDataset> = prepared
        .iter()
        .flat_map(|model| model.data.datasets.iter().map(|dataset| record::dataset(model, plan, dataset)))
        .collect();
    let build = crate::digest::sha256_of_this_program()
        .map_err(|source| RunError::Io { path: PathBuf::from("the file of this program"), source })?;
    if job.existing == Existing::Fresh {
        if path.exists() && !store::is_run_store(&path) {
            return Err(RunError::NotOurs { path });
        }
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let file = job.folder.join(format!("{}{suffix}", store::FILE_NAME));
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(RunError::Io { path: file, source: error });
                }
                _ => {}
            }
        }
    } else if path.exists() {
        let mut store = Store::open(&path)?;
        *sessions = sessions.clone().imposed(plan, store.facts());
        let basis = Basis::new(plan, prepared, runtime, &build, sessions);
        store.declare(&basis.identity(), &declared, &datasets)?;
        return Ok((store, basis));
    }
    let basis = Basis::new(plan, prepared, runtime, &build, sessions);
    Ok((Store::create(&path, &basis.identity(), &declared, &datasets)?, basis))
}

fn damage_note(damage: &[Damage]) -> String {
    const SHOWN: usize = 5;
    let named: Vec<&str> = damage.iter().take(SHOWN).map(|damage| damage.what.as_str()).collect();
    let more = if damage.len() > SHOWN { format!(", and {} more", damage.len() - SHOWN) } else { String::new() };
    format!("damaged in the store, and done anew: {}{more}", named.join(", "))
}

/// What is the same for every task.
struct Work<'a> {
    job: &'a Job<'a>,
    /// Of all tasks.
    metrics: Vec<Chosen>,
    basis: &'a Basis,
    /// Units that are in the store.
    finished: HashMap<UnitKey, Finished>,
    progress: &'a dyn Progress,
}

impl Work<'_> {
    /// What is to be done for a unit.
    ///
    /// # Errors
    /// [`RunError::ExampleChanged`] for a unit whose example asked something else when it was done.
    fn due(&self, unit: &Identified) -> Result<Due, RunError> {
        let Some(finished) = self.finished.get(&unit.key) else { return Ok(Due::Whole) };
        if finished.depends_on != unit.depends_on {
            return Err(RunError::ExampleChanged {
                folder: self.job.folder.to_owned(),
                task: unit.key.task.clone(),
                example: unit.key.example_id.clone(),
            });
        }
        let has = |metric: &Chosen| finished.metrics.contains(&metric.label);
        let done = finished.excluded || self.metrics.iter().all(has);
        Ok(if done { Due::Nothing } else { Due::Metrics })
    }
}

/// What a task measures.
struct Metrics {
    measurements: Vec<Measurement>,
    /// The labels of what only other tasks do.
    others: Vec<String>,
}

impl Metrics {
    fn new(plan: &Plan, task: &TaskPlan, all: &[Chosen]) -> Rc<Self> {
        let own = plan.metrics_of(task);
        let is_other = |metric: &&Chosen| !own.iter().any(|own| own.label == metric.label);
        Rc::new(Metrics {
            measurements: Measurement::of(own, plan.seed),
            others: all.iter().filter(is_other).map(|metric| metric.label.clone()).collect(),
        })
    }
}

/// A task as a model reads it.
struct Data<'a> {
    prepared: &'a Prepared<'a>,
    task: &'a TaskPlan,
    dataset: &'a Dataset,
    /// By the method's label, what imported files say of its examples.
    given: &'a HashMap<String, Arc<Given>>,
}

/// Whether the task was finished, rather than interrupted.
fn run_task(work: &Work, models: &mut [Model], data: &Data, store: &mut Store) -> Result<bool, RunError> {
    let Work { job, progress, .. } = work;
    let Data { prepared, task, dataset, given } = data;
    let identify = |example: &Example, method: &str| {
        let key = UnitKey {
            model: prepared.name.clone(),
            task: dataset.name.clone(),
            example_id: example.id.clone(),
            method: method.to_owned(),
        };
        Identified { depends_on: work.basis.of_unit(&key, dataset.score, example), key }
    };
    let methods: Vec<&str> = job.plan.methods.iter().map(|method| method.label.as_str()).collect();
    let (mut due, mut missing, mut excluded) = (Vec::with_capacity(dataset.examples.len()), 0, 0);
    for example in &dataset.examples {
        let units: Vec<Identified> = methods.iter().map(|method| identify(example, method)).collect();
        let of_example: Vec<Due> = units.iter().map(|unit| work.due(unit)).collect::<Result<_, _>>()?;
        let count = of_example.iter().filter(|due| **due != Due::Nothing).count();
        let known = |unit: &Identified| work.finished.get(&unit.key).is_some_and(|finished| finished.excluded);
        excluded += usize::from(count == 0 && units.iter().any(known));
        missing += count;
        due.push(of_example);
    }
    progress.begin(&prepared.name, &dataset.name, missing as u64);

    let is_due = |index: &usize| due[*index].iter().any(|due| *due != Due::Nothing);
    let left: Vec<usize> = (0..dataset.examples.len()).filter(is_due).collect();
    // Nobody has nothing to do.
    let models = models.split_at_mut(left.len().clamp(1, models.len())).0;
    let mut ledger = TaskLedger {
        left: left.into_iter(),
        planned: |store: &Store, index: usize| {
            let mut planned = Vec::new();
            for (method, (label, due)) in methods.iter().zip(&due[index]).enumerate() {
                let unit = identify(&dataset.examples[index], label);
                let known = match due {
                    Due::Nothing => continue,
                    Due::Whole => None,
                    Due::Metrics => store.unit(&unit.key)?,
                };
                planned.push(Planned { unit, method, known });
            }
            Ok(planned)
        },
        store,
        progress: *progress,
    };
    let shared = Shared {
        plan: job.plan,
        task,
        dataset,
        given,
        baseline: prepared.baseline,
        metrics: &work.metrics,
        interrupted: job.interrupted,
    };
    let ended = workers::work(models, &shared, &mut ledger)?;
    if ended.interrupted {
        return Ok(false);
    }
    progress.end(&prepared.name, &dataset.name, dataset.examples.len(), excluded + ended.left_out);
    Ok(true)
}

/// The examples that are left of a task, and the run's store.
struct TaskLedger<'a, P> {
    left: std::vec::IntoIter<usize>,
    /// What is to be made of an example.
    planned: P,
    store: &'a mut Store,
    progress: &'a dyn Progress,
}

impl<P: Fn(&Store, usize) -> Result<Vec<Planned>, RunError>> Ledger for TaskLedger<'_, P> {
    fn next(&mut self) -> Result<Option<Piece>, RunError> {
        let Some(index) = self.left.next() else { return Ok(None) };
        Ok(Some(Piece { index, units: (self.planned)(self.store, index)? }))
    }

    fn store(&mut self, units: &[Unit]) -> Result<(), RunError> {
        self.store.write_all(units)?;
        units.iter().for_each(|unit| self.progress.advance(&unit.key.method, 1));
        Ok(())
    }
}

/// What is to be done for a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// The attribution is there, and metrics are missing.
    Metrics,
    Whole,
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

/// `20261123-204500`, in UTC.
fn timestamp(unix_seconds: u64) -> String {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let day = crate::date::Date::of_unix_days(days).compact();
    format!("{day}-{:02}{:02}{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
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
