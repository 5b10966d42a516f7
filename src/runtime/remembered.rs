//! Gradients of rows that were run by themselves.

use std::collections::VecDeque;

use super::model::{Bits, Gradient, GradientRow};
use crate::bundle::Graph;

/// The gradients that came last, within some bytes. Only those of rows that were the only one of their call: last digits may hang on
/// what else is in a batch, and what is remembered is to be what would come again.
#[derive(Debug)]
pub(crate) struct Remembered {
    limit: usize,
    bytes: usize,
    /// The newest is the last.
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    graph: Graph,
    /// Knobs by name, to the bit.
    knobs: Vec<(&'static str, u32)>,
    row: GradientRow,
    found: Gradient,
}

impl Held {
    fn bytes(&self) -> usize {
        (self.row.embeds.len() + self.found.gradient.len()) * size_of::<f32>() + size_of::<Held>()
    }
}

impl Remembered {
    /// `limit`: bytes; 0 for nothing.
    pub fn new(limit: usize) -> Self {
        Remembered { limit, bytes: 0, held: VecDeque::new() }
    }

    pub fn get(&self, graph: Graph, knobs: &[(&'static str, f32)], row: &GradientRow) -> Option<Gradient> {
        let same = |held: &&Held| {
            let own = held.knobs.iter().copied();
            held.graph == graph && own.eq(bits(knobs)) && Bits(&held.row) == Bits(row)
        };
        self.held.iter().rev().find(same).map(|held| held.found.clone())
    }

    pub fn insert(&mut self, graph: Graph, knobs: &[(&'static str, f32)], row: &GradientRow, found: &Gradient) {
        let held = Held { graph, knobs: bits(knobs).collect(), row: row.clone(), found: found.clone() };
        if held.bytes() > self.limit {
            return;
        }
        self.bytes += held.bytes();
        self.held.push_back(held);
        while self.bytes > self.limit {
            let Some(oldest) = self.held.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }

    pub fn clear(&mut self) {
        self.held.clear();
        self.bytes = 0;
    }
}

fn bits<'k>(knobs: &'k [(&'static str, f32)]) -> impl Iterator<Item = (&'static str, u32)> + 'k {
    knobs.iter().map(|&(name, value)| (name, value.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn row(first: f32) -> GradientRow {
        GradientRow { embeds: Array2::from_elem((4, 8), first), position: 3, target: 5, contrast: None }
    }

    fn found(score: f32) -> Gradient {
        Gradient { score, gradient: Array2::from_elem((4, 8), score) }
    }

    #[test]
    fn what_was_asked_before_is_found_again_and_nothing_else() {
        let mut remembered = Remembered::new(1 << 20);
        let knobs = [("temperature", 2.0), ("freeze", 1.0)];
        remembered.insert(Graph::Gradient, &knobs, &row(1.0), &found(7.0));
        assert_eq!(remembered.get(Graph::Gradient, &knobs, &row(1.0)), Some(found(7.0)));
        let other = [("temperature", 1.0), ("freeze", 1.0)];
        assert_eq!(remembered.get(Graph::Gradient, &other, &row(1.0)), None);
        assert_eq!(remembered.get(Graph::Gradient, &knobs[..1], &row(1.0)), None);
        assert_eq!(remembered.get(Graph::GradientLogProbability, &knobs, &row(1.0)), None);
        for changed in [
            row(1.0 + f32::EPSILON),
            GradientRow { position: 2, ..row(1.0) },
            GradientRow { target: 6, ..row(1.0) },
            GradientRow { contrast: Some(5), ..row(1.0) },
            GradientRow { embeds: Array2::from_elem((8, 4), 1.0), ..row(1.0) },
        ] {
            assert_eq!(remembered.get(Graph::Gradient, &knobs, &changed), None, "{changed:?}");
        }
        // Not a number is what it is, too.
        remembered.insert(Graph::Gradient, &knobs, &row(f32::NAN), &found(1.0));
        assert!(remembered.get(Graph::Gradient, &knobs, &row(f32::NAN)).is_some());
        remembered.clear();
        assert_eq!(remembered.get(Graph::Gradient, &knobs, &row(1.0)), None);
    }

    #[test]
    fn the_oldest_go_where_there_is_no_room() {
        let one = Held { graph: Graph::Gradient, knobs: Vec::new(), row: row(0.0), found: found(0.0) }.bytes();
        let mut remembered = Remembered::new(3 * one);
        for number in 0..5 {
            remembered.insert(Graph::Gradient, &[], &row(number as f32), &found(number as f32));
            assert!(remembered.bytes <= 3 * one);
        }
        let known: Vec<bool> =
            (0..5).map(|number| remembered.get(Graph::Gradient, &[], &row(number as f32)).is_some()).collect();
        assert_eq!(known, [false, false, true, true, true]);
        let mut none = Remembered::new(0);
        none.insert(Graph::Gradient, &[], &row(0.0), &found(0.0));
        assert_eq!((none.held.len(), none.bytes), (0, 0));
    }
}
