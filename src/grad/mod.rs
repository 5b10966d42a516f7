//! Reverse mode on the graph, and the rules that modify it.

pub mod knobs;
