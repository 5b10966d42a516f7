//! Which of a graph's nodes ran where, as ONNX Runtime says while it loads the graph.
//!
//! A provider takes the nodes that it can run and leaves the others to the CPU; nothing but the log says which.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// How many nodes each execution provider has, by its name such as `CPUExecutionProvider`. What a provider makes one node
/// of is one. Empty where nothing was said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement(BTreeMap<String, usize>);

impl Placement {
    /// By provider, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(provider, nodes)| (provider.as_str(), *nodes))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a line of the log: `All nodes placed on [P]. Number of nodes: 3`, or `Node(s) placed on [P]. ...` for each.
    fn hear(&mut self, line: &str) {
        let Some((_, rest)) = line.split_once("placed on [") else { return };
        let Some((provider, rest)) = rest.split_once("]. Number of nodes: ") else { return };
        let Ok(nodes) = rest.trim().parse::<usize>() else { return };
        // Said more than once where a graph is taken apart more than once; the last counts.
        self.0.insert(provider.to_owned(), nodes);
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (provider, nodes)) in self.iter().enumerate() {
            let separator = if i > 0 { ", " } else { "" };
            write!(out, "{separator}{nodes} by {}", provider.strip_suffix("ExecutionProvider").unwrap_or(provider))?;
        }
        Ok(())
    }
}

/// Listens to what is said while a graph is loaded.
#[derive(Clone, Default)]
pub(super) struct Listener(Arc<Mutex<Placement>>);

impl Listener {
    pub fn hear(&self, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hear(line);
    }

    pub fn heard(&self) -> Placement {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placements_are_read_from_the_log() {
        let mut placement = Placement::default();
        for line in [
            "Node placements",
            " Node(s) placed on [OpenVINOExecutionProvider]. Number of nodes: 2",
            "  OpenVINO-EP-subgraph_1 (OpenVINOExecutionProvider_OpenVINO-EP-subgraph_1_0)",
            " Node(s) placed on [CPUExecutionProvider]. Number of nodes: 17",
            " Node(s) placed on [X]. Number of nodes: many",
        ] {
            placement.hear(line);
        }
        assert_eq!(placement.to_string(), "17 by CPU, 2 by OpenVINO");
        let mut all = Placement::default();
        all.hear(" All nodes placed on [CUDAExecutionProvider]. Number of nodes: 830");
        assert_eq!(all.iter().collect::<Vec<_>>(), [("CUDAExecutionProvider", 830)]);
        assert!(Placement::default().is_empty() && Placement::default().to_string().is_empty());
    }
}
