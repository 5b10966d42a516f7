//! Asks, and who asks.

use std::cell::{OnceCell, RefCell};
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;

use futures::channel::oneshot;
use futures::future::{Either, select};
use ndarray::{Array1, Array2, Array3, Array4, Axis, concatenate, s};

use super::cost::Account;
use super::{Case, Question, Removal};
use crate::config;
use crate::grad::Knobs;
use crate::runtime::{AttentionScores, Gradient, GradientRow, Graph, Multipliers, Projections, Residual, Row, Score};

/// Embeddings to be differentiated at, made one after another when they are run rather than held all at once.
pub struct Points {
    pub(super) count: usize,
    pub(super) make: Box<dyn Fn(usize) -> Array2<f32>>,
}

impl Points {
    /// `count` of them; `make` gives the one of a number, `[seq, hidden]`, the same whenever it is asked.
    pub fn new(count: usize, make: impl Fn(usize) -> Array2<f32> + 'static) -> Self {
        Points { count, make: Box::new(make) }
    }

    /// A single one.
    pub fn at(embeds: Array2<f32>) -> Self {
        Points::new(1, move |_| embeds.clone())
    }
}

/// What is asked of the model, and where the answer goes.
pub(super) enum Ask {
    Scores {
        rows: Vec<Row>,
        tokens: Vec<i64>,
        answer: oneshot::Sender<Vec<Score>>,
    },
    Gradients {
        points: Points,
        /// All but its embeddings.
        like: GradientRow,
        /// Which graph of gradients.
        graph: Graph,
        knobs: Knobs,
        answer: oneshot::Sender<Vec<Gradient>>,
    },
    Attention {
        row: Row,
        answer: oneshot::Sender<Array4<f32>>,
    },
    AttentionRollout {
        row: Row,
        answer: oneshot::Sender<Array1<f32>>,
    },
    Residual {
        point: GradientRow,
        knobs: Knobs,
        answer: oneshot::Sender<Residual>,
    },
    AttentionScores {
        point: GradientRow,
        knobs: Knobs,
        answer: oneshot::Sender<AttentionScores>,
    },
    Projections {
        point: GradientRow,
        knobs: Knobs,
        answer: oneshot::Sender<Projections>,
    },
    WithoutLayers {
        point: GradientRow,
        knobs: Knobs,
        answer: oneshot::Sender<Vec<Gradient>>,
    },
    Multipliers {
        point: GradientRow,
        baseline: Array2<f32>,
        answer: oneshot::Sender<Multipliers>,
    },
    ValueZeroing {
        row: Row,
        answer: oneshot::Sender<Array3<f32>>,
    },
    Embeddings {
        case: Rc<Case>,
        answer: oneshot::Sender<Embeddings>,
    },
}

impl Ask {
    /// Whether nobody waits for its answer any more.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Ask::Scores { answer, .. } => answer.is_canceled(),
            Ask::Gradients { answer, .. } => answer.is_canceled(),
            Ask::Attention { answer, .. } => answer.is_canceled(),
            Ask::AttentionRollout { answer, .. } => answer.is_canceled(),
            Ask::Residual { answer, .. } => answer.is_canceled(),
            Ask::AttentionScores { answer, .. } => answer.is_canceled(),
            Ask::Multipliers { answer, .. } => answer.is_canceled(),
            Ask::ValueZeroing { answer, .. } => answer.is_canceled(),
            Ask::Projections { answer, .. } => answer.is_canceled(),
            Ask::WithoutLayers { answer, .. } => answer.is_canceled(),
            Ask::Embeddings { answer, .. } => answer.is_canceled(),
        }
    }
}

/// Why an ask has no answer: the model cannot have the memory for one row of it. A sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoesNotFit(pub String);

/// Who is to hear that an ask does not fit; whoever hears it drops the work that asked.
#[derive(Debug)]
pub(super) struct Refusal(RefCell<Option<oneshot::Sender<DoesNotFit>>>);

impl Refusal {
    pub fn say(&self, reason: DoesNotFit) {
        if let Some(waiting) = self.0.take() {
            // Work that has ended meanwhile needs no reason.
            let _ = waiting.send(reason);
        }
    }
}

/// What first made numbers that are not finite, of all that a piece of work asked for.
#[derive(Debug, Default)]
pub(super) struct Cause(RefCell<Option<String>>);

impl Cause {
    pub fn is_open(&self) -> bool {
        self.0.borrow().is_none()
    }

    pub fn say(&self, cause: Option<String>) {
        if self.is_open() {
            *self.0.borrow_mut() = cause;
        }
    }
}

/// An ask that was not answered yet.
pub(super) struct Pending {
    /// Lower turns are answered first.
    pub turn: usize,
    pub account: Rc<Account>,
    pub refusal: Option<Rc<Refusal>>,
    pub cause: Rc<Cause>,
    pub ask: Ask,
}

/// Where asks lie until they are answered.
pub(super) type Desk = RefCell<Vec<Pending>>;

/// What the model offers.
#[derive(Clone, Debug, Default)]
pub(super) struct Offer {
    pub graphs: Vec<Graph>,
    /// Graphs that could not be made of the model, and why.
    pub absent: Vec<(Graph, String)>,
    /// The knobs of its gradient graphs.
    pub knobs: Vec<&'static str>,
    pub pad: Option<i64>,
    /// Whether tokens behind a deleted one may move up.
    pub may_delete: bool,
}

/// The embeddings of a prompt, and of its baseline token.
#[derive(Clone, Debug)]
pub struct Embeddings {
    /// `[seq, hidden]`.
    pub inputs: Array2<f32>,
    /// Of those tokens of an answer of several that others follow, `[.., hidden]`.
    pub following: Array2<f32>,
    /// `[1, hidden]`.
    pub baseline: Array2<f32>,
}

impl Embeddings {
    /// `e - b`, `[seq, hidden]`.
    pub fn difference(&self) -> Array2<f64> {
        self.inputs.mapv(f64::from) - self.baseline.mapv(f64::from)
    }
}

/// One example's access to the model. Answers always come: where the model fails, what waits for them is given up.
#[derive(Clone)]
pub struct Probe {
    pub(super) desk: Rc<Desk>,
    pub(super) offer: Rc<Offer>,
    pub(super) case: Rc<Case>,
    pub(super) turn: usize,
    pub(super) account: Rc<Account>,
    /// Who is told where an ask does not fit into memory; without one, the driver fails.
    pub(super) refusal: Option<Rc<Refusal>>,
    pub(super) cause: Rc<Cause>,
    pub(super) embeddings: Rc<OnceCell<Rc<Embeddings>>>,
}

impl Probe {
    /// The same access, with what it costs added to another account.
    pub fn charging(&self, account: &Rc<Account>) -> Probe {
        Probe { account: Rc::clone(account), ..self.clone() }
    }

    /// The same access, which knows only of what is asked through it from now on what was not finite.
    pub fn tracing(&self) -> Probe {
        Probe { cause: Rc::default(), ..self.clone() }
    }

    /// A sentence about numbers that are not finite, with what first made them, where something did of what was asked through this
    /// access.
    pub fn because(&self, sentence: impl Into<String>) -> String {
        let sentence = sentence.into();
        match &*self.cause.0.borrow() {
            Some(cause) => format!("{sentence}: {cause}"),
            None => sentence,
        }
    }

    /// Work that asks through this access, and ends where something that it asks does not fit into memory.
    ///
    /// # Errors
    /// [`DoesNotFit`] then; the work is dropped, and what it asked beside that is not answered.
    pub async fn within_memory<T, F: Future<Output = T>>(
        &self,
        work: impl FnOnce(Probe) -> F,
    ) -> Result<T, DoesNotFit> {
        let (sender, refused) = oneshot::channel();
        let refusal = Rc::new(Refusal(RefCell::new(Some(sender))));
        let work = pin!(work(Probe { refusal: Some(Rc::clone(&refusal)), ..self.clone() }));
        let ended = match select(work, refused).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right((Ok(reason), _)) => Err(reason),
            // It cannot go away while `refusal` is held.
            Either::Right((Err(oneshot::Canceled), work)) => Ok(work.await),
        };
        drop(refusal);
        ended
    }

    /// The same access for another case of the same model.
    pub fn about(&self, case: Case) -> Probe {
        Probe { case: Rc::new(case), embeddings: Rc::default(), ..self.clone() }
    }

    /// The same access to the same prompt at other embeddings, `[seq, hidden]`, for methods that differentiate: what is asked
    /// of rows is about tokens, and stays.
    pub async fn at(&self, inputs: Array2<f32>) -> Probe {
        let own = self.embeddings().await;
        let moved = Embeddings { inputs, ..(*own).clone() };
        Probe { embeddings: Rc::new(OnceCell::from(Rc::new(moved))), ..self.clone() }
    }

    /// What is explained.
    pub fn case(&self) -> &Rc<Case> {
        &self.case
    }

    /// Whether the model has this graph.
    pub fn has(&self, graph: Graph) -> bool {
        self.offer.graphs.contains(&graph)
    }

    /// Why there is no such graph: a sentence without a full stop.
    pub fn lacks(&self, graph: Graph) -> String {
        match self.offer.absent.iter().find(|(absent, _)| *absent == graph) {
            Some((_, reason)) => reason.clone(),
            None => format!("this bundle was baked without {}; bake it anew", graph.file()),
        }
    }

    /// Why the gradient graphs cannot be asked at a setting of the knobs, if they cannot: a sentence without a full stop.
    pub fn lacks_knob(&self, knobs: &Knobs) -> Option<String> {
        let missing = knobs.known_to(|name| self.offer.knobs.contains(&name)).err()?;
        Some(format!("this bundle was baked before there was the knob `{missing}`; bake it anew"))
    }

    /// The model's padding token, where it names one.
    pub fn pad(&self) -> Option<i64> {
        self.offer.pad
    }

    /// Whether tokens may be deleted: not where those behind them would stand at other positions than the model learned.
    pub fn may_delete(&self) -> bool {
        self.offer.may_delete
    }

    /// f of rows, in order.
    pub async fn scores(&self, rows: Vec<Row>) -> Vec<f64> {
        self.scores_of(self.case.question, rows).await
    }

    /// Another question's number of rows, in order: of an answer of several tokens, of all of them.
    pub async fn scores_of(&self, question: Question, rows: Vec<Row>) -> Vec<f64> {
        let following = &self.case.following;
        let mut tokens: Vec<i64> = question.tokens().chain(following.iter().copied()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        if following.is_empty() {
            let scores = self.logits(rows, tokens.clone()).await;
            return scores.iter().map(|score| question.value(&tokens, score)).collect();
        }
        let answer = 1 + following.len();
        let all = rows.iter().flat_map(|row| (0..answer).map(move |behind| row.moved(behind))).collect();
        let scores = self.logits(all, tokens.clone()).await;
        let log_probability = |scores: &[Score]| -> f64 {
            let each = self.case.answer().zip(scores).map(|(target, score)| {
                Question { target, contrast: None, score: config::Score::LogProbability }.value(&tokens, score)
            });
            each.sum()
        };
        let sums = scores.chunks_exact(answer).map(log_probability);
        match question.score {
            config::Score::Probability => sums.map(f64::exp).collect(),
            _ => sums.collect(),
        }
    }

    /// f of the prompt without each of some sets of places.
    pub async fn without(&self, removal: Removal, sets: impl IntoIterator<Item = impl AsRef<[usize]>>) -> Vec<f64> {
        let rows = sets.into_iter().map(|places| removal.without(&self.case, places.as_ref(), self.offer.pad));
        self.scores(rows.collect()).await
    }

    /// The logits of `tokens` at each row's position, and what the row's other logits come to.
    pub async fn logits(&self, rows: Vec<Row>, tokens: Vec<i64>) -> Vec<Score> {
        if rows.is_empty() {
            return Vec::new();
        }
        self.ask(|answer| Ask::Scores { rows, tokens, answer }).await
    }

    /// The gradients of the question at each point.
    pub async fn gradients(&self, points: Points, knobs: Knobs) -> Vec<Gradient> {
        if points.count == 0 {
            return Vec::new();
        }
        let question = self.case.differentiated();
        let like = |behind: usize, target: i64| GradientRow {
            embeds: Array2::default((0, 0)),
            position: self.case.position + behind,
            target,
            contrast: question.contrast,
        };
        let graph = match question.score {
            config::Score::LogProbability => Graph::GradientLogProbability,
            _ => Graph::Gradient,
        };
        if self.case.following.is_empty() {
            let like = like(0, question.target);
            return self.ask(|answer| Ask::Gradients { points, like, graph, knobs, answer }).await;
        }
        // Behind the prompt stands what was answered so far, at its own embeddings.
        let following = self.embeddings().await.following.clone();
        let (count, length) = (points.count, self.case.length());
        let with_answer = Rc::new(move |number| {
            let point = (points.make)(number);
            concatenate(Axis(0), &[point.view(), following.view()]).unwrap_or(point)
        });
        // The derivative of a sum, token by token, so that no more is held than of one; the answer's own tokens are no part
        // of what is explained.
        let mut sums: Vec<Gradient> = Vec::new();
        for (behind, target) in self.case.answer().enumerate() {
            let (like, make) = (like(behind, target), Rc::clone(&with_answer));
            let points = Points::new(count, move |number| make(number));
            let found = self.ask(|answer| Ask::Gradients { points, like, graph, knobs, answer }).await;
            let own = found.into_iter().map(|Gradient { score, gradient }| Gradient {
                score,
                gradient: gradient.slice(s![..length, ..]).to_owned(),
            });
            if sums.is_empty() {
                sums = own.collect();
            } else {
                sums.iter_mut().zip(own).for_each(|(sum, own)| {
                    sum.score += own.score;
                    sum.gradient += &own.gradient;
                });
            }
        }
        sums
    }

    /// The gradient of the question at the prompt's own embeddings, `[seq, hidden]`.
    pub async fn gradient(&self, knobs: Knobs) -> Array2<f64> {
        let embeddings = self.embeddings().await;
        let found = self.gradients(Points::at(embeddings.inputs.clone()), knobs).await;
        found.into_iter().next().map(|found| found.gradient.mapv(f64::from)).unwrap_or_default()
    }

    /// The question, to be differentiated at `embeds`.
    fn point(&self, embeds: Array2<f32>) -> GradientRow {
        let question = self.case.question.differentiated();
        GradientRow { embeds, position: self.case.position, target: question.target, contrast: question.contrast }
    }

    /// What enters each layer, and the gradients of the question with respect to it. Only where the model
    /// [has](Probe::has) the graph.
    pub async fn residual(&self, knobs: Knobs) -> Residual {
        let point = self.point(self.embeddings().await.inputs.clone());
        self.ask(|answer| Ask::Residual { point, knobs, answer }).await
    }

    /// The prompt's attention scores, and the gradients of the question with respect to them and to the weights. Only where
    /// the model [has](Probe::has) the graph.
    pub async fn attention_scores(&self, knobs: Knobs) -> AttentionScores {
        let point = self.point(self.embeddings().await.inputs.clone());
        self.ask(|answer| Ask::AttentionScores { point, knobs, answer }).await
    }

    /// The prompt's queries, keys and values as their projections give them, and the gradients of the question with respect to
    /// what attention makes of them. Only where the model [has](Probe::has) the graph.
    pub async fn projections(&self, knobs: Knobs) -> Projections {
        let point = self.point(self.embeddings().await.inputs.clone());
        self.ask(|answer| Ask::Projections { point, knobs, answer }).await
    }

    /// The gradients of the question with respect to the prompt's embeddings, one for each layer that is left out of the backward
    /// pass. Only where the model [has](Probe::has) the graph.
    pub async fn gradients_without_layers(&self, knobs: Knobs) -> Vec<Gradient> {
        let point = self.point(self.embeddings().await.inputs.clone());
        self.ask(|answer| Ask::WithoutLayers { point, knobs, answer }).await
    }

    /// DeepLIFT's multipliers of the question, the baseline token at every position being what the prompt is compared with. Only
    /// where the model [has](Probe::has) the graph.
    pub async fn multipliers(&self) -> Multipliers {
        let embeddings = self.embeddings().await;
        let point = self.point(embeddings.inputs.clone());
        let baseline = embeddings.baseline.broadcast(embeddings.inputs.dim()).map(|rows| rows.to_owned());
        let baseline = baseline.unwrap_or_default();
        self.ask(|answer| Ask::Multipliers { point, baseline, answer }).await
    }

    /// How far what each layer gives at each place turns without the values of each place, `[layers, seq, seq]`. Only where
    /// the model [has](Probe::has) the graph.
    pub async fn value_zeroing(&self, row: Row) -> Array3<f32> {
        let row = self.before_answer(row);
        self.ask(|answer| Ask::ValueZeroing { row, answer }).await
    }

    /// The attention weights of a row, `[layers, heads, seq, seq]`. Only where the model [has](Probe::has) the graph.
    ///
    /// Of an answer of several tokens nothing is seen: the prompt looks back from where the first of them is given.
    pub async fn attention(&self, row: Row) -> Array4<f32> {
        let row = self.before_answer(row);
        self.ask(|answer| Ask::Attention { row, answer }).await
    }

    /// The row of its position in the product of a row's attention over the layers, `[seq]`. Only where the model
    /// [has](Probe::has) the graph.
    ///
    /// Of an answer of several tokens nothing is seen, as with [`Probe::attention`].
    pub async fn attention_rollout(&self, row: Row) -> Array1<f32> {
        let row = self.before_answer(row);
        self.ask(|answer| Ask::AttentionRollout { row, answer }).await
    }

    fn before_answer(&self, row: Row) -> Row {
        match self.case.following.is_empty() {
            true => row,
            false => Row::new(row.ids()[..row.length() - self.case.following.len()].to_vec(), row.position()),
        }
    }

    /// The prompt's embeddings, looked up once.
    pub async fn embeddings(&self) -> Rc<Embeddings> {
        if let Some(known) = self.embeddings.get() {
            return Rc::clone(known);
        }
        let case = Rc::clone(&self.case);
        let found = Rc::new(self.ask(|answer| Ask::Embeddings { case, answer }).await);
        Rc::clone(self.embeddings.get_or_init(|| found))
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> T {
        let (sender, receiver) = oneshot::channel();
        let (turn, account, refusal) = (self.turn, Rc::clone(&self.account), self.refusal.clone());
        let cause = Rc::clone(&self.cause);
        self.desk.borrow_mut().push(Pending { turn, account, refusal, cause, ask: ask(sender) });
        match receiver.await {
            Ok(answer) => answer,
            // The driver has failed and lets go of all that waits: nobody will look at this again.
            Err(oneshot::Canceled) => pending().await,
        }
    }
}
