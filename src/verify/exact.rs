//! A bundle's graphs in double precision.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};

use super::VerifyError;
use super::reference::array::{Shared, Value};
use super::reference::machine::{Edits, Feeds, Lanes, Machine, Stopped};
use super::reference::program::{Operator, Program, Step};
use super::reference::sites::Sites;
use super::reference::tangents::{Beginnings, Moved, movements};
use super::reference::{ReferenceError, WeightFile};
use super::sample::{CONTRAST_WEIGHT, Sample};
use crate::bundle::OpenedBundle;
use crate::grad::Knobs;
use crate::runtime::{Graph, RuntimeError};

/// A graph of a bundle, as steps.
#[derive(Debug)]
pub struct Exact {
    path: PathBuf,
    pub program: Program,
}

impl Exact {
    pub fn read(bundle: &OpenedBundle, graph: Graph, weights: &Arc<WeightFile>) -> Result<Exact, VerifyError> {
        let path = bundle.path().join(graph.file());
        Ok(Exact { program: Program::read(&path, &bundle.read(graph.file())?, weights)?, path })
    }

    /// A graph that is in no file.
    pub fn built(path: &Path, program: Program) -> Exact {
        Exact { path: path.to_owned(), program }
    }

    fn error(&self, stopped: Stopped) -> VerifyError {
        let Stopped::Problem(step, problem) = stopped else { return RuntimeError::Interrupted.into() };
        let step = &self.program.steps[step];
        let problem = format!("({}) {problem}", step.operator.name());
        ReferenceError { graph: self.path.clone(), node: step.name.clone(), problem }.into()
    }

    pub fn output(&self, name: &str) -> Result<usize, ReferenceError> {
        let problem = || format!("has no output '{name}'");
        let missing = || ReferenceError { graph: self.path.clone(), node: String::new(), problem: problem() };
        self.program.outputs.get(name).copied().ok_or_else(missing)
    }

    pub fn has_input(&self, name: &str) -> bool {
        self.program.steps.iter().any(|step| matches!(&step.operator, Operator::Input(own) if own == name))
    }

    /// The named outputs, one value a lane each.
    pub fn run(&self, machine: &Machine, feeds: &Feeds, outputs: &[&str]) -> Result<Vec<Lanes>, VerifyError> {
        let wanted = outputs.iter().map(|name| self.output(name)).collect::<Result<Vec<_>, _>>()?;
        machine.run(&self.program, feeds, &wanted).map_err(|stopped| self.error(stopped))
    }

    /// The named output, of which there is one.
    pub fn one(&self, machine: &Machine, feeds: &Feeds, output: &str) -> Result<ArrayD<f64>, VerifyError> {
        let values = self.run(machine, feeds, &[output])?;
        let value = values.first().and_then(|lanes| lanes.first());
        let value = value.ok_or_else(|| self.problem("gives nothing"))?;
        Ok(self.real(value)?)
    }

    fn problem(&self, problem: &str) -> ReferenceError {
        ReferenceError { graph: self.path.clone(), node: String::new(), problem: problem.to_owned() }
    }

    pub fn real(&self, value: &Shared) -> Result<ArrayD<f64>, ReferenceError> {
        value.real().cloned().map_err(|problem| self.problem(&format!("an output {problem}")))
    }

    /// The sites between the embeddings and the score.
    pub fn sites(&self) -> Result<Sites, ReferenceError> {
        let needed = self.program.needed(&[self.output("score")?]);
        let reached = self.program.made_from("inputs_embeds");
        let active: Vec<bool> = needed.into_iter().zip(reached).map(|(needed, reached)| needed && reached).collect();
        Ok(Sites::find(&self.program, &active))
    }

    /// How the score moves with the embeddings: in each direction, subject to the knobs at its side.
    pub fn movements(
        &self,
        machine: &Machine,
        feeds: &Feeds,
        sites: &Sites,
        directions: &[ArrayD<f64>],
        knobs: &[Knobs],
    ) -> Result<Moved, VerifyError> {
        self.moved(machine, feeds, sites, &self.beginning_at_embeddings(directions)?, "score", knobs)
    }

    /// Movements that begin at the embeddings.
    pub fn beginning_at_embeddings(&self, directions: &[ArrayD<f64>]) -> Result<Beginnings, ReferenceError> {
        let is_source = |step: &Step| matches!(&step.operator, Operator::Input(name) if name == "inputs_embeds");
        let source = self.program.steps.iter().position(is_source);
        let source = source.ok_or_else(|| self.problem("has no input 'inputs_embeds'"))?;
        Ok(Beginnings::from([(source, directions.to_vec())]))
    }

    /// How an output moves with what `beginnings` names.
    pub fn moved(
        &self,
        machine: &Machine,
        feeds: &Feeds,
        sites: &Sites,
        beginnings: &Beginnings,
        output: &str,
        knobs: &[Knobs],
    ) -> Result<Moved, VerifyError> {
        movements(machine, &self.program, feeds, beginnings, self.output(output)?, sites, knobs)
            .map_err(|stopped| self.error(stopped))
    }

    /// The values of steps, in the first lane, where something is made of those of some steps before others use them.
    pub fn edited(
        &self,
        machine: &Machine,
        feeds: &Feeds,
        wanted: &[usize],
        edits: &Edits,
    ) -> Result<Vec<ArrayD<f64>>, VerifyError> {
        let found = machine.run_edited(&self.program, feeds, wanted, edits).map_err(|stopped| self.error(stopped))?;
        let first = |lanes: &Lanes| match lanes.first() {
            Some(value) => self.real(value),
            None => Err(self.problem("gives nothing")),
        };
        Ok(found.iter().map(first).collect::<Result<_, _>>()?)
    }

    /// The steps that an output is stacked of, one a layer, before their shapes were changed for it.
    pub fn layers(&self, output: &str) -> Result<Vec<usize>, ReferenceError> {
        let output = self.output(output)?;
        let unmoved = |mut id: usize| {
            while let (Operator::Reshape | Operator::Same | Operator::Cast(_), Some(&input)) =
                (&self.program.steps[id].operator, self.program.steps[id].inputs.first())
            {
                id = input;
            }
            id
        };
        let step = &self.program.steps[unmoved(output)];
        Ok(match step.operator {
            Operator::Concat { .. } => step.inputs.iter().map(|&input| unmoved(input)).collect(),
            _ => vec![unmoved(output)],
        })
    }
}

/// One value, in one lane.
pub fn one(value: Value) -> Vec<Shared> {
    vec![Arc::new(value)]
}

/// The inputs of the graphs that read token ids.
pub fn prompts(sample: &Sample) -> Feeds {
    Feeds::from([
        ("input_ids", one(Value::Whole(sample.ids.clone().into_dyn()))),
        ("attention_mask", one(Value::Whole(sample.mask().into_dyn()))),
        ("position", one(Value::Whole(sample.position.clone().into_dyn()))),
    ])
}

/// The inputs of the gradient graph, with one lane for each setting of the knobs.
pub fn asked(sample: &Sample, embeds: &ArrayD<f64>, settings: &[Knobs]) -> Feeds {
    let weights = ArrayD::from_elem(IxDyn(&[sample.lengths.len()]), f64::from(CONTRAST_WEIGHT));
    let mut feeds = prompts(sample);
    feeds.insert("inputs_embeds", one(Value::Real(embeds.clone())));
    feeds.insert("target", one(Value::Whole(sample.target.clone().into_dyn())));
    feeds.insert("contrast", one(Value::Whole(sample.contrast.clone().into_dyn())));
    feeds.insert("contrast_weight", one(Value::Real(weights)));
    for (i, name) in Knobs::NAMES.into_iter().enumerate() {
        let number = |knobs: &Knobs| ArrayD::from_elem(IxDyn(&[]), f64::from(knobs.values()[i]));
        feeds.insert(name, settings.iter().map(|knobs| Arc::new(Value::Real(number(knobs)))).collect());
    }
    feeds
}
