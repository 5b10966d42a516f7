//! How to make the run again.

use crate::report::document::{Block, Text};
use crate::store::NODES;

use super::Source;

impl Source<'_> {
    pub(super) fn reproduce(&self) -> Vec<Block> {
        let facts = &self.gathered.identity.facts;
        let said = |name: &str| facts.get(name).map_or("?", String::as_str);
        let mut items = vec![
            Text::prose(
                "`gim-harness run FILE --out DIR` with the harness file that made this run, the same models, tasks and data; `manifest.json` has the configuration and says where it ran and how long it took.",
            ),
            Text::from("The same numbers to the last bit want the same ")
                .plain(format!(
                    "program ({}), ONNX Runtime ({}), device ({}), ",
                    said("program"),
                    said("ONNX Runtime"),
                    said("device")
                ))
                .plain(format!(
                    "threads ({}) and seed ({}); another processor may give other last digits.",
                    said("threads"),
                    said("seed")
                )),
            Text::prose(
                "`gim-harness report DIR` makes these files again from `run.sqlite`: the same store gives the same bytes.",
            ),
        ];
        let placed: Vec<String> =
            facts.iter().filter_map(|(fact, nodes)| Some(format!("{}: {nodes}", fact.strip_prefix(NODES)?))).collect();
        if !placed.is_empty() {
            items.push(
                Text::prose("Which nodes ran where (what a provider makes one node of is one; what it cannot run, the CPU does): ")
                    .plain(format!("{}.", placed.join("; "))),
            );
        }
        vec![Block::Heading(2, "How to reproduce it".into()), Block::List(items)]
    }
}
