//! ONNX files made by others: from a file to the typed graph.
//!
//! The file is decoded without its weights ([`decode`]), functions are inlined and nodes put in order ([`order`]), and
//! each node becomes operators of the graph ([`ops`]). What can be computed while reading is ([`fold`]): shape
//! arithmetic in terms of the input's sizes disappears, and every shape is known. What is read is not trusted: see
//! [`wire`] and [`weights`].

pub mod array;
pub mod attributes;
pub mod convert;
mod decode;
mod fold;
mod inputs;
mod ops;
mod order;
mod outputs;
mod quantised;
pub mod size;
pub mod weights;
mod wire;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Graph, Id};
use crate::{files, lfs};
use array::{Array, Scalar};
use attributes::Attributes;
use convert::{Call, Converter, Problem, Val, is_small};
use decode::{Branch, Model};
use inputs::Inputs;
use order::Step;
use weights::{FileWeights, Stored};

/// Operator sets of the default domain that are understood.
pub const OPSETS: std::ops::RangeInclusive<i64> = 17..=23;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {path}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} {problem}")]
    File { path: PathBuf, problem: String },
    #[error("{path}: the tensor '{tensor}' {problem}")]
    Tensor { path: PathBuf, tensor: String, problem: String },
    #[error("{path}: the input '{input}' {problem}")]
    Input { path: PathBuf, input: String, problem: String },
    #[error("{path}: the node '{node}' ({operator}) {problem}")]
    Node { path: PathBuf, node: String, operator: String, problem: String },
}

/// A forward graph read from a file.
#[derive(Debug)]
pub struct Foreign {
    pub graph: Graph,
    pub weights: FileWeights,
    /// i64 `[batch, seq]`.
    pub input_ids: Id,
    /// i64 `[batch, seq]`.
    pub attention_mask: Id,
    pub logits: Id,
    /// Whether positions are an input of the file: they count from 0.
    pub takes_positions: bool,
    /// Who wrote the file, as it says.
    pub producer: String,
    /// The output that is taken for the logits.
    pub output: String,
    /// Which output and which branch were chosen, where that needs to be said.
    pub notes: Vec<String>,
}

/// Reads a forward graph. Only what its logits are made from is looked at.
pub fn read(path: &Path) -> Result<Foreign, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let file = files::open(path, files::GRAPH).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    if length == 0 {
        return Err(ReadError::File { path: path.to_owned(), problem: "is empty".to_owned() });
    }
    // SAFETY: a file that another process truncates while it is mapped ends this process with a bus error; no portable
    // interface guards against that. The map lives while the file is read.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
    read_bytes(path, &map)
}

/// Reads a model from its bytes; `path` says where they are from and where external data is looked for.
pub fn read_bytes(path: &Path, bytes: &[u8]) -> Result<Foreign, ReadError> {
    let fail = |problem: String| ReadError::File { path: path.to_owned(), problem };
    if lfs::is_pointer(bytes) {
        return Err(fail(lfs::PROBLEM.to_owned()));
    }
    let model = decode::model(bytes).map_err(fail)?;
    let version = model.opsets.get("").copied().unwrap_or(0);
    if !OPSETS.contains(&version) {
        return Err(fail(format!(
            "is written for operator set {version}; {} to {} are understood",
            OPSETS.start(),
            OPSETS.end()
        )));
    }
    if let Some(problem) = quantised::problem(path, &model) {
        return Err(fail(problem));
    }
    let outputs::Chosen { name: logits, note } = outputs::choose(&model).map_err(fail)?;
    let plan = order::plan(&model, &logits).map_err(|error| order_error(path, error))?;
    Reader { path, converter: Converter { graph: Graph::new(), weights: FileWeights::new(path, bytes.len() as u64) } }
        .run(&model, &plan, &logits, note)
}

struct Reader<'a> {
    path: &'a Path,
    converter: Converter,
}

impl Reader<'_> {
    fn run(
        mut self,
        model: &Model,
        plan: &order::Plan,
        logits: &str,
        note: Option<String>,
    ) -> Result<Foreign, ReadError> {
        let mut notes: Vec<String> = note.into_iter().collect();
        let stored = self.locate(model)?;
        let mut values: HashMap<String, Val> = HashMap::new();
        let inputs = Inputs::declare(&mut self.converter).map_err(|Problem(problem)| self.fail(problem))?;
        for port in &model.inputs {
            let name = port.name();
            // An initializer may be listed as an input with a default.
            if stored.contains_key(name) || !plan.uses(name) {
                continue;
            }
            if name == order::NO_CACHE {
                notes.push("the file holds a branch with a cache and one without: the one without is used".to_owned());
            }
            self.converter.graph.set_scope(name);
            let value = inputs.meaning(&mut self.converter, port).map_err(|Problem(problem)| ReadError::Input {
                path: self.path.to_owned(),
                input: name.to_owned(),
                problem,
            })?;
            values.insert(name.to_owned(), value);
        }
        // Before nodes add names of their own.
        let takes_positions = ["position_ids", "positions"].iter().any(|name| values.contains_key(*name));
        for (name, tensor) in &stored {
            if plan.uses(name) {
                let value = self.initializer(name, tensor)?;
                values.insert(name.clone(), value);
            }
        }
        for step in &plan.steps {
            self.step(model, step, &mut values)?;
        }
        let Some(value) = values.remove(logits) else {
            return Err(self.fail(format!("has the output '{logits}', which nothing makes")));
        };
        let output = logits.to_owned();
        let logits = self.converter.id(&value).map_err(|Problem(problem)| self.fail(problem))?;
        Ok(Foreign {
            graph: self.converter.graph,
            weights: self.converter.weights,
            input_ids: inputs.input_ids,
            attention_mask: inputs.attention_mask,
            logits,
            takes_positions,
            producer: model.producer.clone(),
            output,
            notes,
        })
    }

    fn fail(&self, problem: String) -> ReadError {
        ReadError::File { path: self.path.to_owned(), problem }
    }

    fn tensor_error(&self, tensor: &str, problem: String) -> ReadError {
        ReadError::Tensor { path: self.path.to_owned(), tensor: tensor.to_owned(), problem }
    }

    /// Checks all tensors of the file against where they say they are, used or not.
    fn locate(&mut self, model: &Model) -> Result<std::collections::BTreeMap<String, Stored>, ReadError> {
        let mut stored = std::collections::BTreeMap::new();
        for initializer in &model.initializers {
            let name = initializer.proto.name().to_owned();
            let located = self.converter.weights.locate(&initializer.proto, initializer.raw.clone());
            let tensor = located.map_err(|problem| self.tensor_error(&name, problem))?;
            stored.insert(name, tensor);
        }
        self.converter.weights.check_overlaps(stored.values()).map_err(|problem| self.fail(format!(": {problem}")))?;
        Ok(stored)
    }

    fn initializer(&mut self, name: &str, tensor: &Stored) -> Result<Val, ReadError> {
        self.converter.graph.set_scope(name);
        let elements = usize::try_from(tensor.elements()).unwrap_or(usize::MAX);
        let c = &mut self.converter;
        let value = if elements == 0 || is_small(tensor.dtype, elements) {
            let loaded = c.weights.load(tensor);
            loaded.map_err(Problem).and_then(|loaded| c.tensor(name, &loaded))
        } else {
            let index = c.weights.index(tensor);
            c.weight(index, &tensor.dims, tensor.dtype)
        };
        value.map_err(|Problem(problem)| self.tensor_error(name, problem))
    }

    fn step(&mut self, model: &Model, step: &Step, values: &mut HashMap<String, Val>) -> Result<(), ReadError> {
        if let Some(branches) = &step.branches {
            return self.choose(model, step, branches, values);
        }
        let path = self.path;
        let fail = |problem: String| step_error(path, step, problem);
        let mut inputs = Vec::with_capacity(step.inputs.len());
        for name in &step.inputs {
            inputs.push(match name.as_str() {
                "" => None,
                name => match values.get(name) {
                    Some(value) => Some(value.clone()),
                    None => return Err(fail(format!("uses '{name}', which nothing makes"))),
                },
            });
        }
        let attributes = Attributes::read(&step.attributes, &step.outer).map_err(fail)?;
        let call = Call {
            name: step.outputs.first().map(|(name, _)| name.clone()).unwrap_or_default(),
            op: step.operator.clone(),
            domain: step.domain.clone(),
            inputs,
            attributes,
            used: step.outputs.iter().map(|(_, used)| *used).collect(),
        };
        self.converter.graph.set_scope(&step.scope);
        let results = ops::convert(&mut self.converter, &call).map_err(|Problem(problem)| fail(problem))?;
        for (i, (name, used)) in step.outputs.iter().enumerate().filter(|(_, (name, _))| !name.is_empty()) {
            match results.get(i) {
                Some(value) => drop(values.insert(name.clone(), value.clone())),
                None if *used => return Err(fail(format!("is used for its output {i}, which is not supported"))),
                None => {}
            }
        }
        Ok(())
    }

    fn step_error(&self, step: &Step, problem: String) -> ReadError {
        step_error(self.path, step, problem)
    }

    /// An `If` whose condition is known becomes the nodes of the branch that is taken.
    fn choose(
        &mut self,
        model: &Model,
        step: &Step,
        [then, otherwise]: &[Rc<Branch>; 2],
        values: &mut HashMap<String, Val>,
    ) -> Result<(), ReadError> {
        let name = step.inputs.first().map(String::as_str).unwrap_or_default();
        let condition = values.get(name);
        let condition = condition.and_then(Val::known).and_then(Array::only).and_then(Scalar::as_bool);
        let branch = match condition {
            Some(true) if name == order::NO_CACHE => {
                return Err(self.step_error(step, "reads a cache; export the model without one".to_owned()));
            }
            Some(true) => then,
            Some(false) => otherwise,
            None => {
                return Err(self.step_error(
                    step,
                    "is control flow whose condition is known only when the model runs, which is not supported; export \
                     the model without it, or choose the file that has one branch alone (decoder_model.onnx or \
                     model.onnx usually lies beside a merged one)"
                        .to_owned(),
                ));
            }
        };
        let names = order::Names::within(step, branch);
        let mut stored = Vec::new();
        for initializer in &branch.initializers {
            let inside = initializer.proto.name();
            let name = names.outside(inside);
            let located = self.converter.weights.locate(&initializer.proto, initializer.raw.clone());
            let mut tensor = located.map_err(|problem| self.tensor_error(inside, problem))?;
            tensor.name.clone_from(&name);
            if values.insert(name.clone(), self.initializer(&name, &tensor)?).is_some() {
                return Err(self.tensor_error(inside, "stands there twice: a name is used twice".to_owned()));
            }
            stored.push(tensor);
        }
        self.converter.weights.check_overlaps(stored.iter()).map_err(|problem| self.fail(format!(": {problem}")))?;
        let plan = order::plan_branch(model, step, branch, &|name| values.contains_key(name));
        let plan = plan.map_err(|error| order_error(self.path, error))?;
        for inner in &plan.steps {
            self.step(model, inner, values)?;
        }
        for (i, (name, used)) in step.outputs.iter().enumerate().filter(|(_, (name, _))| !name.is_empty()) {
            if !used {
                continue;
            }
            let inside = branch.outputs.get(i).map(|inside| names.outside(inside));
            match inside.and_then(|inside| values.get(&inside).cloned()) {
                Some(value) => drop(values.insert(name.clone(), value)),
                None => return Err(self.step_error(step, format!("is used for its output {i}, which nothing makes"))),
            }
        }
        Ok(())
    }
}

fn step_error(path: &Path, step: &Step, problem: String) -> ReadError {
    ReadError::Node { path: path.to_owned(), node: step.name.clone(), operator: step.operator.clone(), problem }
}

fn order_error(path: &Path, error: order::OrderError) -> ReadError {
    let path = path.to_owned();
    match error {
        order::OrderError::Model(problem) => ReadError::File { path, problem },
        order::OrderError::Node { node, operator, problem } => ReadError::Node { path, node, operator, problem },
    }
}
