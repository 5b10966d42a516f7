//! The examples of a task, shared out among workers: each has a model of its own, and one of them all, who called, has the
//! store. What a unit's numbers are does not hang on who worked it out, so any number of workers leaves the same.
//!
//! A worker asks for an example, and hands in what it has finished; it waits until that is stored. Methods, metrics and
//! the probe live in the worker's thread and know nothing of others.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::example::{self, Identified, Seen, Wanted};
use super::{Metrics, RunError, TOGETHER};
use crate::attribution::{self, Method};
use crate::config::{Chosen, Plan, TaskPlan};
use crate::imports::Given;
use crate::probe::Driver;
use crate::runtime::{Model, RuntimeError};
use crate::store::Unit;
use crate::tasks::Dataset;

/// What all workers of a task read.
pub struct Shared<'a> {
    pub plan: &'a Plan,
    pub task: &'a TaskPlan,
    pub dataset: &'a Dataset,
    pub given: &'a HashMap<String, Arc<Given>>,
    pub baseline: i64,
    /// Of all tasks.
    pub metrics: &'a [Chosen],
    /// Becomes true when the run is to stop.
    pub interrupted: &'a AtomicBool,
}

/// An example to be worked on.
pub struct Piece {
    /// Among those of the dataset.
    pub index: usize,
    pub units: Vec<Planned>,
}

/// A unit to be made of it.
pub struct Planned {
    pub unit: Identified,
    /// Among the plan's.
    pub method: usize,
    /// The unit as it is in the store, where its attribution is there.
    pub known: Option<Unit>,
}

/// Where examples come from and units go to.
pub trait Ledger {
    /// The next example; none when all are given out.
    ///
    /// # Errors
    /// Those of reading the store.
    fn next(&mut self) -> Result<Option<Piece>, RunError>;
    /// Stores finished units.
    ///
    /// # Errors
    /// Those of writing the store.
    fn store(&mut self, units: &[Unit]) -> Result<(), RunError>;
}

enum Message {
    Next(Sender<Option<Piece>>),
    Done {
        units: Vec<Unit>,
        stored: Sender<()>,
    },
    /// Examples that were left out.
    LeftOut(usize),
    /// A worker has failed: no more is to be begun.
    Failed,
}

/// How a task ended.
pub struct Ended {
    pub interrupted: bool,
    /// Examples that were left out.
    pub left_out: usize,
}

/// Has all examples of the ledger worked on, by as many workers as there are models.
///
/// # Errors
/// The first worker's that failed, or those of the ledger; what was stored before stays.
pub fn work(models: &mut [Model], shared: &Shared, ledger: &mut impl Ledger) -> Result<Ended, RunError> {
    let stop = AtomicBool::new(false);
    let together = TOGETHER.div_ceil(models.len().max(1));
    let (sender, receiver) = channel();
    let (kept, ended) = std::thread::scope(|scope| {
        let workers: Vec<_> = models
            .iter_mut()
            .map(|model| {
                let office = Office { sender: sender.clone(), stop: &stop };
                scope.spawn(move || {
                    let ended = worker(model, shared, &office, together);
                    if ended.is_err() {
                        office.send(Message::Failed);
                    }
                    ended
                })
            })
            .collect();
        drop(sender);
        let kept = keep(&receiver, ledger, &stop);
        // Whoever waits for an answer gets none.
        drop(receiver);
        stop.store(true, Ordering::Relaxed);
        let join =
            |worker: std::thread::ScopedJoinHandle<_>| worker.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        let ended: Vec<Result<bool, RunError>> = workers.into_iter().map(join).collect();
        (kept, ended)
    });
    let left_out = kept?;
    let mut interrupted = false;
    for ended in ended {
        match ended {
            // In the middle of a unit, which will be done again.
            Err(RunError::Runtime(RuntimeError::Interrupted)) => interrupted = true,
            ended => interrupted |= !ended?,
        }
    }
    Ok(Ended { interrupted, left_out })
}

/// Answers the workers until all have gone; gives the number of examples that were left out.
fn keep(receiver: &Receiver<Message>, ledger: &mut impl Ledger, stop: &AtomicBool) -> Result<usize, RunError> {
    let mut left_out = 0;
    for message in receiver {
        // Nobody waits any more where an answer cannot be sent.
        match message {
            Message::Next(answer) => {
                let _ = answer.send(ledger.next()?);
            }
            Message::Done { units, stored } => {
                ledger.store(&units)?;
                let _ = stored.send(());
            }
            Message::LeftOut(count) => left_out += count,
            Message::Failed => stop.store(true, Ordering::Relaxed),
        }
    }
    Ok(left_out)
}

/// A worker's way to the one who has the store.
struct Office<'a> {
    sender: Sender<Message>,
    stop: &'a AtomicBool,
}

impl Office<'_> {
    fn send(&self, message: Message) {
        // Where nobody reads it the run is ending.
        if self.sender.send(message).is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn next(&self) -> Option<Piece> {
        let (answer, next) = channel();
        self.send(Message::Next(answer));
        next.recv().ok().flatten()
    }

    /// Whether they are stored.
    fn store(&self, units: Vec<Unit>) -> bool {
        let (stored, done) = channel();
        self.send(Message::Done { units, stored });
        done.recv().is_ok()
    }
}

/// Something that was asked of the probe.
enum Done {
    Seen { index: usize, seen: Seen },
    Unit { index: usize, unit: Box<Unit> },
}

/// An example in hand.
struct Open {
    /// Until the model has answered it.
    wanted: Vec<Wanted>,
    /// Units that are being made.
    left: usize,
}

/// Works until no example is left; whether it was not interrupted before.
fn worker(model: &mut Model, shared: &Shared, office: &Office, together: usize) -> Result<bool, RunError> {
    let Shared { plan, task, dataset, given, baseline, metrics, interrupted } = shared;
    let methods: Vec<Rc<dyn Method>> =
        attribution::build_all(&plan.methods, plan.seed, given).into_iter().map(|(_, method)| method).collect();
    let metrics = Metrics::new(plan, task, metrics);
    let dimensions = model.manifest().dimensions.clone();
    let mut driver: Driver<Done> = Driver::new(model);
    let mut open: BTreeMap<usize, Open> = BTreeMap::new();
    let mut all_given = false;
    loop {
        if interrupted.load(Ordering::Relaxed) || office.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let (mut units, mut excluded) = (Vec::new(), 0);
        while !all_given && open.len() < together && driver.has_room() {
            let Some(Piece { index, units: planned }) = office.next() else {
                all_given = true;
                break;
            };
            let wanted = planned.into_iter().filter_map(|planned| {
                let method = Rc::clone(methods.get(planned.method)?);
                Some(Wanted { unit: planned.unit, method, known: planned.known })
            });
            let wanted: Vec<Wanted> = wanted.collect();
            let example = &dataset.examples[index];
            if let Some(reason) = example::unfit(example, dimensions.max_positions) {
                excluded += 1;
                units.extend(wanted.into_iter().map(|wanted| example::left_out(wanted, index, example, &reason, None)));
                continue;
            }
            let position = dimensions.scored_position(example.input_ids.len());
            let case = example::case(example, position, dataset.score, *baseline);
            let (probe, example) = (driver.probe(Rc::new(case), index), Rc::new(example.clone()));
            open.insert(index, Open { wanted, left: 0 });
            driver.take(0, async move { Done::Seen { index, seen: example::see(example, probe).await } });
        }
        let finished = driver.finish_some()?;
        if finished.is_empty() && units.is_empty() && open.is_empty() && all_given {
            return Ok(true);
        }
        for done in finished {
            match done {
                Done::Seen { index, seen: Seen::LeftOut { reason, score } } => {
                    excluded += 1;
                    let example = &dataset.examples[index];
                    let wanted = open.remove(&index).map(|open| open.wanted).unwrap_or_default();
                    let left_out = |wanted| example::left_out(wanted, index, example, &reason, score);
                    units.extend(wanted.into_iter().map(left_out));
                }
                Done::Seen { index, seen: Seen::Explained { case, score } } => {
                    let example = Rc::new(dataset.examples[index].clone());
                    let bytes = driver.estimate(case.length());
                    let probe = driver.probe(Rc::new(case), index);
                    let Some(open) = open.get_mut(&index) else { continue };
                    open.left = open.wanted.len();
                    for wanted in std::mem::take(&mut open.wanted) {
                        let (example, probe) = (Rc::clone(&example), probe.clone());
                        let metrics = Rc::clone(&metrics);
                        driver.take(bytes, async move {
                            let unit = example::explain(wanted, index, example, score, &metrics, probe).await;
                            Done::Unit { index, unit: Box::new(unit) }
                        });
                    }
                }
                Done::Unit { index, unit } => {
                    units.push(*unit);
                    match open.get_mut(&index) {
                        Some(open) if open.left > 1 => open.left -= 1,
                        _ => drop(open.remove(&index)),
                    }
                }
            }
        }
        if excluded > 0 {
            office.send(Message::LeftOut(excluded));
        }
        if !units.is_empty() {
            // Nothing is stored that may have come from weights that changed under the run.
            driver.model().check_weights()?;
            if !office.store(units) {
                return Ok(false);
            }
        }
    }
}
