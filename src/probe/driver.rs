//! Who answers.

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Instant;

use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use ndarray::s;

use super::Case;
use super::cost::{Account, Cost, shares};
use super::desk::{Ask, Cause, Desk, DoesNotFit, Embeddings, Offer, Pending, Probe, Refusal};
use crate::bundle::Manifest;
use crate::grad::Knobs;
use crate::runtime::{Counters, GradientRow, Graph, Model, Row, RuntimeError};
use crate::text::Bytes;

/// Scores are answered for at least so many batches at a time, so that most of them are full; more would only make an
/// interruption dearer.
const BATCHES: usize = 8;
/// Bytes that what is in hand may take, by its own estimate; at least one piece of work is let in.
const IN_HAND: usize = 256 << 20;

/// Pieces of work on examples, and the model that answers what they ask.
///
/// Each piece is a future that asks through a [`Probe`] of this driver. Rows are answered by turn: what was let in under
/// a lower turn is finished first.
pub struct Driver<'m, T> {
    model: &'m mut Model,
    desk: Rc<Desk>,
    offer: Rc<Offer>,
    /// Declared before the queue that its futures write to.
    pool: LocalPool,
    finished: Rc<RefCell<Vec<(usize, T)>>>,
    /// Pieces that are not handed out yet, and the bytes that they may take.
    in_hand: usize,
    bytes: usize,
}

impl<'m, T: 'static> Driver<'m, T> {
    pub fn new(model: &'m mut Model) -> Self {
        let graphs = Graph::ALL.into_iter().filter(|graph| model.bundle().has(graph.file())).collect();
        let reason = |graph: Graph| Some((graph, model.manifest().absent.get(graph.file())?.clone()));
        let absent = Graph::ALL.into_iter().filter_map(reason).collect();
        let Manifest { pad_token_id: pad, dimensions, graphs: ports, .. } = model.manifest();
        let ports = ports.get(Graph::Gradient.file()).map_or(&[][..], |ports| &ports.inputs);
        let knobs = Knobs::NAMES.into_iter().filter(|name| ports.iter().any(|port| port.name == *name)).collect();
        // An encoder that scores its first token has an embedding for each position.
        let may_delete = dimensions.labels.is_none() || dimensions.scores_last;
        Driver {
            offer: Rc::new(Offer { graphs, absent, knobs, pad: *pad, may_delete }),
            model,
            desk: Rc::default(),
            pool: LocalPool::new(),
            finished: Rc::default(),
            in_hand: 0,
            bytes: 0,
        }
    }

    /// Access to the model for work on a case.
    pub fn probe(&self, case: Rc<Case>, turn: usize) -> Probe {
        Probe {
            desk: Rc::clone(&self.desk),
            offer: Rc::clone(&self.offer),
            case,
            turn,
            account: Rc::new(Account::default()),
            refusal: None,
            cause: Rc::default(),
            embeddings: Rc::new(OnceCell::new()),
        }
    }

    /// Whether more work may be taken in hand.
    pub fn has_room(&self) -> bool {
        self.in_hand == 0 || self.bytes < IN_HAND
    }

    /// Bytes that work on a prompt of so many tokens may hold: its embeddings, a path and a gradient.
    pub fn estimate(&self, length: usize) -> usize {
        length.saturating_mul(self.model.manifest().dimensions.hidden).saturating_mul(32)
    }

    /// Takes a piece of work in hand that may hold so many bytes.
    pub fn take(&mut self, bytes: usize, work: impl Future<Output = T> + 'static) {
        let finished = Rc::clone(&self.finished);
        let done = async move {
            let result = work.await;
            finished.borrow_mut().push((bytes, result));
        };
        // A pool that is there takes whatever is spawned on it.
        if self.pool.spawner().spawn_local(done).is_ok() {
            self.in_hand += 1;
            self.bytes += bytes;
        }
    }

    /// What runs the rows.
    pub fn model(&self) -> &Model {
        self.model
    }

    /// Goes on until something is finished, and gives all that then is; nothing where nothing is in hand.
    ///
    /// # Errors
    /// Those of running the model. The work that is in hand is then lost.
    pub fn finish_some(&mut self) -> Result<Vec<T>, RuntimeError> {
        loop {
            self.pool.run_until_stalled();
            let finished = self.finished.take();
            if !finished.is_empty() || self.in_hand == 0 {
                self.in_hand -= finished.len();
                self.bytes -= finished.iter().map(|(bytes, _)| bytes).sum::<usize>();
                return Ok(finished.into_iter().map(|(_, result)| result).collect());
            }
            self.answer()?;
        }
    }

    /// Answers some of what lies on the desk. What is short and what frees memory comes first; scores, which gain by company,
    /// come when nothing else is asked.
    fn answer(&mut self) -> Result<(), RuntimeError> {
        let mut asks = self.desk.take();
        // What dropped work had asked.
        asks.retain(|pending| !pending.ask.is_abandoned());
        if asks.is_empty() {
            return Err(RuntimeError::NothingAsked);
        }
        // Stable: the asks of one turn stay in the order in which they came.
        asks.sort_by_key(|pending| pending.turn);
        let (before, clock) = (self.model.counters(), Instant::now());
        let is_scores = |pending: &Pending| matches!(pending.ask, Ask::Scores { .. });
        let charged = match asks.iter().position(|pending| !is_scores(pending)) {
            Some(first) => {
                let Pending { account, refusal, cause, ask, .. } = asks.remove(first);
                *self.desk.borrow_mut() = asks;
                // One cause is enough: what else is not finite follows from it, or will be seen when it is mended.
                let answered =
                    if cause.is_open() { self.answer_traced(ask, &cause) } else { answer_one(self.model, ask) };
                answered.or_else(|error| refuse(error, refusal.as_deref()))?;
                vec![(account, 1)]
            }
            None => {
                let most = self.model.batch_tokens().saturating_mul(BATCHES);
                let mut tokens = 0usize;
                let together = asks.iter().take_while(|pending| {
                    let Ask::Scores { rows, .. } = &pending.ask else { return false };
                    let fits = tokens < most;
                    tokens += rows.iter().map(Row::length).sum::<usize>();
                    fits
                });
                let later = asks.split_off(together.count());
                *self.desk.borrow_mut() = later;
                self.answer_scores(asks)?
            }
        };
        let together = cost(self.model.counters() - before, clock.elapsed().as_secs_f64());
        let (accounts, asked): (Vec<Rc<Account>>, Vec<u64>) = charged.into_iter().unzip();
        accounts.iter().zip(shares(together, &asked)).for_each(|(account, share)| account.charge(share));
        Ok(())
    }

    fn answer_traced(&mut self, ask: Ask, cause: &Cause) -> Result<(), RuntimeError> {
        let (answered, found) = self.model.with_cause(|model| answer_one(model, ask));
        cause.say(found);
        answered
    }

    fn answer_scores(&mut self, asks: Vec<Pending>) -> Result<Vec<(Rc<Account>, u64)>, RuntimeError> {
        let (mut all, mut wanted, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for Pending { account, refusal, cause, ask, .. } in asks {
            if let Ask::Scores { rows, tokens, answer } = ask {
                wanted.extend_from_slice(&tokens);
                waiting.push((account, refusal, cause, all.len()..all.len() + rows.len(), tokens, answer));
                all.extend(rows);
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut together = match self.model.scores(&all, &wanted) {
            Ok(scores) => Some(scores.into_iter()),
            // Somebody's row does not fit; each by itself shows whose. What was scored is remembered.
            Err(RuntimeError::Memory { .. }) => None,
            Err(error) => return Err(error),
        };
        let mut charged = Vec::with_capacity(waiting.len());
        for (account, refusal, cause, own, tokens, answer) in waiting {
            charged.push((account, own.len() as u64));
            let rows = &all[own];
            let scores = match &mut together {
                Some(together) => {
                    // Of all logits that were kept, those that this one asked for, in its order.
                    let places: Vec<usize> =
                        tokens.iter().filter_map(|token| wanted.binary_search(token).ok()).collect();
                    let own = together.by_ref().take(rows.len()).map(|mut score| {
                        score.logits = places.iter().map(|&place| score.logits[place]).collect();
                        score
                    });
                    own.collect()
                }
                None => match self.model.scores(rows, &tokens) {
                    Ok(scores) => scores,
                    Err(error) => {
                        refuse(error, refusal.as_deref())?;
                        continue;
                    }
                },
            };
            if let Some(bad) = scores.iter().position(|score| !score.is_finite()).filter(|_| cause.is_open()) {
                cause.say(self.model.cause_of(&rows[bad]));
            }
            let _ = answer.send(scores);
        }
        Ok(charged)
    }
}

/// Answers what is no ask for scores, or for them by itself. An answer that nobody waits for any more is no fault.
fn answer_one(model: &mut Model, ask: Ask) -> Result<(), RuntimeError> {
    match ask {
        Ask::Embeddings { case, answer } => {
            let [all, baseline] = [case.prompt.ids(), &[case.baseline]].map(|ids| model.embed(ids));
            let (mut inputs, length) = (all?, case.length());
            let following = inputs.slice(s![length.., ..]).to_owned();
            if !following.is_empty() {
                inputs = inputs.slice(s![..length, ..]).to_owned();
            }
            let _ = answer.send(Embeddings { inputs, following, baseline: baseline? });
        }
        Ask::Gradients { points, like, graph, knobs, answer } => {
            let point = |number| GradientRow { embeds: (points.make)(number), ..like.clone() };
            let rows: Vec<GradientRow> = (0..points.count).map(point).collect();
            let _ = answer.send(model.gradients_by(graph, &rows, &knobs)?);
        }
        Ask::Residual { point, knobs, answer } => {
            if let Some(found) = model.residuals(&[point], &knobs)?.pop() {
                let _ = answer.send(found);
            }
        }
        Ask::AttentionScores { point, knobs, answer } => {
            if let Some(found) = model.attention_scores(&[point], &knobs)?.pop() {
                let _ = answer.send(found);
            }
        }
        Ask::Projections { point, knobs, answer } => {
            if let Some(found) = model.projections(&[point], &knobs)?.pop() {
                let _ = answer.send(found);
            }
        }
        Ask::WithoutLayers { point, knobs, answer } => {
            let _ = answer.send(model.gradients_without_layers(&point, &knobs)?);
        }
        Ask::Multipliers { point, baseline, answer } => {
            let _ = answer.send(model.multipliers(&point, baseline)?);
        }
        Ask::ValueZeroing { row, answer } => {
            let _ = answer.send(model.value_zeroing(&row)?);
        }
        Ask::Attention { row, answer } => {
            if let Some(attention) = model.attention(&[row])?.pop() {
                let _ = answer.send(attention);
            }
        }
        Ask::AttentionRollout { row, answer } => {
            let _ = answer.send(model.attention_rollout(&row)?);
        }
        Ask::Scores { rows, tokens, answer } => {
            let _ = answer.send(model.scores(&rows, &tokens)?);
        }
    }
    Ok(())
}

/// Tells the work that asked that a row of it does not fit into memory.
///
/// # Errors
/// Any other error; this one, too, where the work would not hear of it.
fn refuse(error: RuntimeError, refusal: Option<&Refusal>) -> Result<(), RuntimeError> {
    match (&error, refusal) {
        (RuntimeError::Memory { graph, tokens, estimate, .. }, Some(refusal)) => {
            tracing::warn!(%error, "a row did not fit into memory");
            let graph = graph.file_name().unwrap_or_default().to_string_lossy();
            refusal.say(DoesNotFit(format!(
                "a row of {tokens} tokens does not fit into memory: {graph} takes about {} for it",
                Bytes(*estimate)
            )));
            Ok(())
        }
        _ => Err(error),
    }
}

/// What the counters and the clock say.
fn cost(rows: Counters, seconds: f64) -> Cost {
    Cost {
        seconds,
        forward_rows: rows.forward_rows,
        forward_rows_saved: rows.forward_rows_saved,
        gradient_rows: rows.gradient_rows,
        gradient_rows_saved: rows.gradient_rows_saved,
        prefix_tokens: rows.prefix_tokens,
        prefix_tokens_saved: rows.prefix_tokens_saved,
    }
}

/// Runs one piece of work by itself, and says what it took.
///
/// # Errors
/// Those of running the model.
pub fn ask<T: 'static, F: Future<Output = T> + 'static>(
    model: &mut Model,
    case: Case,
    work: impl FnOnce(Probe) -> F,
) -> Result<(T, Cost), RuntimeError> {
    let mut driver = Driver::new(model);
    let probe = driver.probe(Rc::new(case), 0);
    let account = Rc::clone(&probe.account);
    driver.take(0, work(probe));
    let result = driver.finish_some()?.pop().ok_or(RuntimeError::NothingAsked)?;
    Ok((result, account.total()))
}
