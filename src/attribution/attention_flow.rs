//! Attention flow (Abnar and Zuidema, arXiv 2005.00928).

use std::collections::VecDeque;
use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{Array2, Axis};

use super::rollout::with_residual;
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue};
use crate::config::Offered;
use crate::probe::Probe;
use crate::runtime::Graph;

const MOST: OptionInfo = OptionInfo {
    name: "most",
    kind: OptionKind::Integer(1, 4096),
    default: OptionValue::Integer(256),
    only_with: None,
    about: "For prompts of more tokens than this it does not apply: time grows with about the cube of their number.",
};

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "attention_flow", options: &[MOST] },
    description: "the largest flow from the scored position down to a token, attention weights as capacities",
    source: "arXiv 2005.00928",
    cost: "1 forward, with attention weights",
    build: |settings| Rc::new(AttentionFlow { most: settings.integer(MOST.name).unwrap_or(0) }),
};

/// What may flow from the scored position of the last layer to each token, where an edge from place i of a layer to place
/// j of the one below carries at most `A[i, j]`: the mean over heads plus the identity, with rows that sum to 1, as in
/// rollout.
pub struct AttentionFlow {
    most: usize,
}

#[async_trait(?Send)]
impl Method for AttentionFlow {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let seq = case.length();
        if seq > self.most {
            return Err(Inapplicable(format!("the prompt has {seq} tokens, and `most` is {}", self.most)));
        }
        let layers = probe.attention(case.row()).await;
        let layers: Vec<Array2<f64>> = layers
            .axis_iter(Axis(0))
            .map(|layer| with_residual(layer.mapv(f64::from).mean_axis(Axis(0)), seq))
            .collect();
        Ok(Attribution::deterministic(flows(&layers, case.position)))
    }

    fn needs(&self) -> &'static [Graph] {
        &[Graph::Attention]
    }
}

/// The largest flow from place `from` above the last of `layers`, `[seq, seq]` each, to every place below the first; no numbers
/// where a capacity is none.
pub(crate) fn flows(layers: &[Array2<f64>], from: usize) -> Vec<f64> {
    let Some(seq) = layers.first().map(Array2::nrows) else { return Vec::new() };
    if layers.iter().flatten().any(|capacity| !capacity.is_finite()) {
        return vec![f64::NAN; seq];
    }
    let source = layers.len() * seq + from;
    let mut network = Network::of(layers, seq);
    (0..seq).map(|sink| network.largest_flow(source, sink)).collect()
}

/// What is left of a capacity that is no more than rounding.
const NOTHING: f64 = 1e-12;

/// A network whose node `l * seq + i` is place i below layer l. Edges lie in pairs: `e` and its reverse `e ^ 1`.
struct Network {
    edges_of: Vec<Vec<u32>>,
    to: Vec<u32>,
    capacity: Vec<f64>,
    left: Vec<f64>,
    /// Steps from the source, by node.
    depth: Vec<u32>,
    /// The edge of each node that is looked at next.
    next: Vec<usize>,
}

const FAR: u32 = u32::MAX;

impl Network {
    fn of(layers: &[Array2<f64>], seq: usize) -> Network {
        let nodes = (layers.len() + 1) * seq;
        let (mut edges_of, mut to, mut capacity) = (vec![Vec::new(); nodes], Vec::new(), Vec::new());
        for (l, layer) in layers.iter().enumerate() {
            for ((i, j), &weight) in layer.indexed_iter().filter(|(_, weight)| **weight > NOTHING) {
                let (above, below) = ((l + 1) * seq + i, l * seq + j);
                edges_of[above].push(to.len() as u32);
                edges_of[below].push(to.len() as u32 + 1);
                to.extend([below as u32, above as u32]);
                capacity.extend([weight, 0.0]);
            }
        }
        let (depth, next) = (vec![FAR; nodes], vec![0; nodes]);
        Network { left: capacity.clone(), edges_of, to, capacity, depth, next }
    }

    /// By Dinitz's algorithm: shortest ways are filled until none is left, then longer ones.
    fn largest_flow(&mut self, source: usize, sink: usize) -> f64 {
        self.left.copy_from_slice(&self.capacity);
        let mut total = 0.0;
        while self.measure(source, sink) {
            self.next.fill(0);
            loop {
                let sent = self.send(source, sink);
                if sent <= NOTHING {
                    break;
                }
                total += sent;
            }
        }
        total
    }

    /// Finds the depths of nodes, and whether the sink can still be reached.
    fn measure(&mut self, source: usize, sink: usize) -> bool {
        self.depth.fill(FAR);
        self.depth[source] = 0;
        let mut open = VecDeque::from([source]);
        while let Some(node) = open.pop_front() {
            for &edge in &self.edges_of[node] {
                let to = self.to[edge as usize] as usize;
                if self.depth[to] == FAR && self.left[edge as usize] > NOTHING {
                    self.depth[to] = self.depth[node] + 1;
                    if to == sink {
                        return true;
                    }
                    open.push_back(to);
                }
            }
        }
        false
    }

    /// Fills one shortest way; 0 where none is left.
    fn send(&mut self, source: usize, sink: usize) -> f64 {
        let mut way: Vec<usize> = Vec::new();
        let mut node = source;
        while node != sink {
            match self.edges_of[node].get(self.next[node]) {
                Some(&edge) => {
                    let edge = edge as usize;
                    let to = self.to[edge] as usize;
                    if self.left[edge] > NOTHING && self.depth[to] == self.depth[node] + 1 {
                        way.push(edge);
                        node = to;
                    } else {
                        self.next[node] += 1;
                    }
                }
                // A dead end: one step back, and on with the next edge.
                None => match way.pop() {
                    Some(edge) => {
                        node = self.to[edge ^ 1] as usize;
                        self.next[node] += 1;
                    }
                    None => return 0.0,
                },
            }
        }
        let sent = way.iter().map(|&edge| self.left[edge]).fold(f64::INFINITY, f64::min);
        for &edge in &way {
            self.left[edge] -= sent;
            self.left[edge ^ 1] += sent;
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[track_caller]
    fn assert_flows(layers: &[Array2<f64>], from: usize, expected: &[f64]) {
        let found = flows(layers, from);
        let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(close && found.len() == expected.len(), "{found:?} {expected:?}");
    }

    #[test]
    fn one_layer_carries_its_own_weights() {
        assert_flows(&[arr2(&[[1.0, 0.0], [0.3, 0.7]])], 1, &[0.3, 0.7]);
    }

    #[test]
    fn the_narrowest_of_a_way_counts_and_ways_add_up() {
        // From place 1: 0.4 to place 0, 0.6 to place 1; below, place 0 passes all on, place 1 a half each.
        let (below, above) = (arr2(&[[1.0, 0.0], [0.5, 0.5]]), arr2(&[[1.0, 0.0], [0.4, 0.6]]));
        // To place 0: 0.4 through place 0 and min(0.6, 0.5) through place 1.
        assert_flows(&[below, above], 1, &[0.9, 0.5]);
    }

    #[test]
    fn what_was_sent_the_wrong_way_is_taken_back() {
        // Three layers in which a greedy way through the middle blocks two others.
        let top = arr2(&[[0.0, 0.5, 0.5], [0.0; 3], [0.0; 3]]);
        let middle = arr2(&[[0.0; 3], [0.5, 0.5, 0.0], [0.0, 0.5, 0.0]]);
        let bottom = arr2(&[[0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0; 3]]);
        assert_flows(&[bottom, middle, top], 0, &[1.0, 0.0, 0.0]);
    }

    #[test]
    fn nothing_flows_to_what_is_not_attended_to() {
        assert_flows(&[arr2(&[[1.0, 0.0], [0.3, 0.7]]), arr2(&[[1.0, 0.0], [0.3, 0.7]])], 0, &[1.0, 0.0]);
        assert_flows(&[], 0, &[]);
        let unknown = flows(&[arr2(&[[1.0, 0.0], [f64::NAN, 0.7]])], 1);
        assert!(unknown.len() == 2 && unknown.iter().all(|flow| flow.is_nan()), "{unknown:?}");
    }
}
