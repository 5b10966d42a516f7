//! Normalised AOPC (Edin et al., arXiv 2408.08137): where between the worst and the best order a ranking stands.

use std::collections::HashMap;
use std::rc::Rc;

use async_trait::async_trait;

use super::{Curve, Evaluated, Family, Measured, Metric, Output, REMOVAL, Unit, removal};
use crate::config::{OptionInfo, OptionKind, OptionValue};
use crate::probe::{Probe, Removal};

const EXACT: OptionInfo = OptionInfo {
    name: "exact",
    kind: OptionKind::Integer(1, 16),
    default: OptionValue::Integer(8),
    only_with: None,
    about: "With no more ranked tokens than this all sets of them are scored (2^n), and the best and the worst order are \
            exact.",
};
const BEAM: OptionInfo = OptionInfo {
    name: "beam",
    kind: OptionKind::Integer(1, 64),
    default: OptionValue::Integer(5),
    only_with: None,
    about: "How many orders the search for the best and the worst keeps, with more tokens.",
};
const MOST: OptionInfo = OptionInfo {
    name: "most",
    kind: OptionKind::Integer(1, 1000),
    default: OptionValue::Integer(64),
    only_with: None,
    about: "With more ranked tokens than this it is not measured: a search scores about beam n^2 rows.",
};

pub const NAOPC: Family = Family {
    metrics: &[Output {
        name: "naopc",
        label: "NAOPC",
        description: "Where the mean fall of the score, while tokens are taken away one after another, stands between \
                          those of the worst (0) and the best order (1) that were found: comparable across models.",
        higher_is_better: true,
        unit: Unit::Number,
    }],
    options: &[EXACT, BEAM, MOST, REMOVAL],
    standard: false,
    source: "arXiv 2408.08137",
    cost: "n forward, and 2^n or about beam n^2 that all methods share",
    build: |settings| {
        let option = |info: &OptionInfo| settings.integer(info.name).unwrap_or(1);
        let (exact, beam, most) = (option(&EXACT), option(&BEAM), option(&MOST));
        Rc::new(Naopc { exact, beam, most, removal: removal(settings) })
    },
};

/// By itself, so that who wants no search pays for none.
pub const AOPC: Family = Family {
    metrics: &[Output {
        name: "aopc",
        label: "AOPC",
        description: "The mean fall of the score while all tokens are taken away one after another, the highest-ranked first.",
        higher_is_better: true,
        unit: Unit::Score,
    }],
    options: &[REMOVAL],
    standard: false,
    source: "arXiv 1509.06321, 2408.08137",
    cost: "n forward",
    build: |settings| Rc::new(Aopc { removal: removal(settings) }),
};

struct Aopc {
    removal: Removal,
}

#[async_trait(?Send)]
impl Metric for Aopc {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(1, &reason);
        }
        let value = aopc(self.removal, evaluated, probe).await;
        Measured { values: vec![value.ok_or_else(|| "a score is not a finite number".to_owned())], curves: Vec::new() }
    }
}

/// The mean fall of the ranking itself; `None` where it is no finite number.
async fn aopc(removal: Removal, evaluated: &Evaluated, probe: &Probe) -> Option<f64> {
    let ranking = &evaluated.ranking;
    let scores = probe.without(removal, (1..=ranking.len()).map(|k| ranking.highest(k))).await;
    let mean = scores.iter().map(|score| evaluated.full - score).sum::<f64>() / ranking.len() as f64;
    mean.is_finite().then_some(mean)
}

struct Naopc {
    exact: usize,
    beam: usize,
    most: usize,
    removal: Removal,
}

/// A set of ranked tokens, by their numbers among them, ascending.
type Set = Vec<usize>;

/// An order of tokens that may go on, and what it came to.
#[derive(Clone)]
struct Order {
    /// Numbers of ranked tokens, the first taken away first.
    tokens: Vec<usize>,
    /// f with nothing, one, two.. of them gone.
    scores: Vec<f64>,
    /// The sum of the falls.
    total: f64,
}

#[async_trait(?Send)]
impl Metric for Naopc {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Err(reason) = self.removal.applies(probe) {
            return Measured::none(1, &reason);
        }
        let n = evaluated.ranking.len();
        if n < 2 {
            return Measured::none(1, "fewer than two tokens are ranked");
        }
        if n > self.most {
            let reason = format!("{n} tokens are ranked, more than the {} of the option `most`", self.most);
            return Measured::none(1, &reason);
        }
        let Some(own) = aopc(self.removal, evaluated, probe).await else {
            return Measured::none(1, "a score is not a finite number");
        };
        let search = Search { naopc: self, evaluated, probe };
        let (best, worst) = if n <= self.exact { search.all().await } else { search.beams().await };
        let curve = |name: &str, order: &Order| Curve {
            curve: name.to_owned(),
            step: (0..=n).collect(),
            fraction: (0..=n).map(|k| k as f64 / n as f64).collect(),
            score: order.scores.clone(),
        };
        let curves = vec![curve("naopc_best", &best), curve("naopc_worst", &worst)];
        // A search may miss the best; the ranking itself then is what is known of it.
        let [high, low] = [(best.total / n as f64).max(own), (worst.total / n as f64).min(own)];
        let value = match high - low {
            range if range > 0.0 => Ok((own - low) / range),
            _ => Err("every order is as good as every other".to_owned()),
        };
        Measured { values: vec![value], curves }
    }
}

struct Search<'a> {
    naopc: &'a Naopc,
    evaluated: &'a Evaluated,
    probe: &'a Probe,
}

impl Search<'_> {
    /// f without each of some sets.
    async fn scores(&self, sets: &[Set]) -> Vec<f64> {
        let places = sets.iter().map(|set| self.evaluated.case.ranked.places_of(set.iter().copied()));
        self.probe.without(self.naopc.removal, places).await
    }

    fn start(&self) -> Order {
        Order { tokens: Vec::new(), scores: vec![self.evaluated.full], total: 0.0 }
    }

    /// The order that goes on with one token more, after which the score is `score`.
    fn extended(&self, order: &Order, token: usize, score: f64) -> Order {
        let mut longer = order.clone();
        longer.tokens.push(token);
        longer.scores.push(score);
        longer.total += self.evaluated.full - score;
        longer
    }

    /// The best and the worst of all orders: of each set, the best order of its tokens ends with one of them.
    async fn all(&self) -> (Order, Order) {
        let n = self.evaluated.ranking.len();
        let members = |mask: usize| (0..n).filter(move |&token| mask & (1 << token) != 0);
        let sets: Vec<Set> = (0..1usize << n).map(|mask| members(mask).collect()).collect();
        let scores = self.scores(&sets).await;
        let mut found: Vec<[Order; 2]> = vec![[self.start(), self.start()]];
        for mask in 1..1usize << n {
            let score = scores[mask];
            let last = |which: usize, better: fn(f64, f64) -> bool| {
                let before = |token: usize| &found[mask & !(1 << token)][which];
                let choice = members(mask).reduce(|a, b| if better(before(b).total, before(a).total) { b } else { a });
                choice.map_or_else(|| self.start(), |token| self.extended(before(token), token, score))
            };
            let next = [last(0, |a, b| a > b), last(1, |a, b| a < b)];
            found.push(next);
        }
        let [best, worst] = found.swap_remove((1 << n) - 1);
        (best, worst)
    }

    /// The best and the worst that a search with beams finds; both ask at the same time.
    async fn beams(&self) -> (Order, Order) {
        let n = self.evaluated.ranking.len();
        let mut beams = [vec![self.start()], vec![self.start()]];
        for _ in 0..n {
            // The same set is reached in many orders: it is scored once.
            let mut sets: Vec<Set> = Vec::new();
            let mut number_of: HashMap<Set, usize> = HashMap::new();
            let mut steps: [Vec<(usize, usize, usize)>; 2] = Default::default();
            for (beam, steps) in beams.iter().zip(&mut steps) {
                for (from, order) in beam.iter().enumerate() {
                    for token in (0..n).filter(|token| !order.tokens.contains(token)) {
                        let mut set = order.tokens.clone();
                        set.push(token);
                        set.sort_unstable();
                        let number = *number_of.entry(set.clone()).or_insert_with(|| {
                            sets.push(set);
                            sets.len() - 1
                        });
                        steps.push((from, token, number));
                    }
                }
            }
            let scores = self.scores(&sets).await;
            for (which, (beam, steps)) in beams.iter_mut().zip(&steps).enumerate() {
                // Of the orders of one set only the best can lead on.
                let mut of_set: HashMap<usize, Order> = HashMap::new();
                let sign = if which == 0 { 1.0 } else { -1.0 };
                for &(from, token, number) in steps {
                    let order = self.extended(&beam[from], token, scores[number]);
                    let known = of_set.get(&number);
                    if known.is_none_or(|known| sign * order.total > sign * known.total) {
                        of_set.insert(number, order);
                    }
                }
                let mut orders: Vec<(usize, Order)> = of_set.into_iter().collect();
                orders.sort_by(|(a, x), (b, y)| (sign * y.total).total_cmp(&(sign * x.total)).then(a.cmp(b)));
                orders.truncate(self.naopc.beam);
                *beam = orders.into_iter().map(|(_, order)| order).collect();
            }
        }
        let [mut best, mut worst] = beams;
        (best.swap_remove(0), worst.swap_remove(0))
    }
}
