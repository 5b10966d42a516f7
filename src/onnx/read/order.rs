//! Which nodes to convert, and in which order: functions inlined, names checked, nothing that the logits do not need.
//!
//! An `If` stays one step until its condition is known, when it is converted: it uses what either of its branches uses.
//! Then [`plan_branch`] plans the branch that is taken.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::attributes::Attributes;
use super::decode::{Branch, Function, Model, NAME_SCOPES, Node, domain};
use crate::onnx::proto::{AttributeProto, TensorProto};

/// Functions that call functions, at most.
const MAX_DEPTH: usize = 16;
/// Nodes after inlining.
const MAX_STEPS: usize = 1 << 18;
/// Bytes of attributes and names that inlining copies: a function of one node that holds much may be called often.
const MAX_COPIED: usize = 256 << 20;

/// The input of merged exports that says whether the cache is read: here it never is.
pub const NO_CACHE: &str = "use_cache_branch";

#[derive(Debug)]
pub enum OrderError {
    Model(String),
    Node { node: String, operator: String, problem: String },
}

/// A node to convert.
#[derive(Debug)]
pub struct Step {
    /// As the file calls it; a node without a name is called by its first output.
    pub name: String,
    pub operator: String,
    pub domain: String,
    /// Where in the model it stands, and its name.
    pub scope: String,
    pub inputs: Vec<String>,
    /// Names, and whether something needs them.
    pub outputs: Vec<(String, bool)>,
    pub attributes: Vec<AttributeProto>,
    /// The attributes of the function call it is part of.
    pub outer: Attributes,
    /// Of an `If`: where its condition holds, and where it does not.
    pub branches: Option<[Rc<Branch>; 2]>,
    /// What names that the branches use are called, where it is part of a branch itself.
    pub names: Rc<Names>,
}

impl Step {
    fn fail<T>(&self, problem: String) -> Result<T, OrderError> {
        Err(OrderError::Node { node: self.name.clone(), operator: self.operator.clone(), problem })
    }
}

/// Nodes in an order in which each comes after those it uses.
#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
    used: HashSet<String>,
}

impl Plan {
    /// Whether something that the logits need uses a value.
    pub fn uses(&self, name: &str) -> bool {
        self.used.contains(name)
    }
}

/// Whether a value of this name is there before the nodes: an input or a tensor, or what the graphs around a branch made.
type Known<'a> = &'a dyn Fn(&str) -> bool;

/// Plans the conversion of what `output` is made from.
pub fn plan(model: &Model, output: &str) -> Result<Plan, OrderError> {
    let sources = sources(model)?;
    let sources: Known = &|name| sources.contains(name);
    let mut inliner = Inliner { model, sources, steps: Vec::new(), calls: 0, copied: 0 };
    for node in &model.nodes {
        let step = step_of(node, "", sources, &Attributes::default());
        inliner.add(step, 0)?;
    }
    arranged(inliner.steps, sources, &[output])
}

/// Plans what some outputs of a branch are made from: those of the `If` that something uses. Names that the branch makes are
/// changed as `inner` says; values named in `known` are there already.
pub fn plan_branch(model: &Model, step: &Step, branch: &Branch, known: Known) -> Result<Plan, OrderError> {
    let mut inliner = Inliner { model, sources: known, steps: Vec::new(), calls: 0, copied: 0 };
    let names = Rc::new(Names::within(step, branch));
    let rename = |name: &String| names.outside(name);
    for node in &branch.nodes {
        let mut inner = step_of(node, "", known, &Attributes::default());
        inner.name = rename(&inner.name);
        inner.names = names.clone();
        inner.inputs = inner.inputs.iter().map(rename).collect();
        inner.outputs = inner.outputs.iter().map(|(name, used)| (rename(name), *used)).collect();
        inliner.add(inner, 0)?;
    }
    let outputs: Vec<String> = step
        .outputs
        .iter()
        .zip(&branch.outputs)
        .filter(|((name, used), _)| *used && !name.is_empty())
        .map(|(_, inside)| rename(inside))
        .collect();
    arranged(inliner.steps, known, &outputs.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What the names that a branch uses are called: its own get that of its `If` before them, since branches may use the same
/// names; those of the branches around it likewise.
#[derive(Debug, Default)]
pub struct Names {
    prefix: String,
    own: HashSet<String>,
    around: Option<Rc<Names>>,
}

impl Names {
    /// The names of a branch of this `If`.
    pub fn within(step: &Step, branch: &Branch) -> Self {
        let own = own_names(branch).into_iter().map(str::to_owned).collect();
        Names { prefix: step.name.clone(), own, around: Some(step.names.clone()) }
    }

    pub fn outside(&self, name: &str) -> String {
        match &self.around {
            _ if self.own.contains(name) => format!("{}/{name}", self.prefix),
            Some(around) => around.outside(name),
            None => name.to_owned(),
        }
    }
}

/// Names of what a branch makes or holds.
fn own_names(branch: &Branch) -> HashSet<&str> {
    let made = branch.nodes.iter().flat_map(|node| &node.proto.output).map(String::as_str);
    made.chain(branch.initializers.iter().map(|tensor| tensor.proto.name())).filter(|name| !name.is_empty()).collect()
}

/// Names that a branch uses of the graphs around it.
fn outer_names(branch: &Branch) -> BTreeSet<String> {
    let own = own_names(branch);
    let nodes = branch.nodes.iter().flat_map(|node| {
        let inner = node.branches.iter().flatten().flat_map(|branch| outer_names(branch));
        node.proto.input.iter().cloned().chain(inner)
    });
    let used = nodes.chain(branch.outputs.iter().cloned());
    used.filter(|name| !name.is_empty() && !own.contains(name.as_str())).collect()
}

fn arranged(steps: Vec<Step>, sources: Known, outputs: &[&str]) -> Result<Plan, OrderError> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        for (name, _) in step.outputs.iter().filter(|(name, _)| !name.is_empty()) {
            if sources(name) || makers.insert(name, i).is_some() {
                return step.fail(format!("makes '{name}', and so does something else: a name is used twice"));
            }
        }
    }
    let (order, used) = sorted(&steps, &makers, sources, outputs)?;
    let used: HashSet<String> = used.into_iter().map(str::to_owned).collect();
    let mut taken: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut steps: Vec<Step> = order.into_iter().filter_map(|i| taken[i].take()).collect();
    for step in &mut steps {
        for (name, is_used) in &mut step.outputs {
            *is_used = used.contains(name.as_str());
        }
    }
    Ok(Plan { steps, used })
}

/// Names of inputs and initializers.
fn sources(model: &Model) -> Result<HashSet<&str>, OrderError> {
    let mut inputs = HashSet::new();
    for input in &model.inputs {
        if !inputs.insert(input.name()) {
            return Err(OrderError::Model(format!("has the input '{}' twice: a name is used twice", input.name())));
        }
    }
    let mut tensors = HashSet::new();
    for initializer in &model.initializers {
        let name = initializer.proto.name();
        if !tensors.insert(name) {
            return Err(OrderError::Model(format!("has the tensor '{name}' twice: a name is used twice")));
        }
    }
    // A tensor may be the default of an input of the same name.
    inputs.extend(tensors);
    Ok(inputs)
}

/// What is needed, depth first, so that every node comes after its inputs; without recursion, since graphs are deep.
fn sorted<'a>(
    steps: &'a [Step],
    makers: &HashMap<&str, usize>,
    sources: Known,
    outputs: &[&'a str],
) -> Result<(Vec<usize>, HashSet<&'a str>), OrderError> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Untouched,
        Open,
        Done,
    }
    let mut used: HashSet<&str> = outputs.iter().copied().collect();
    let mut states = vec![State::Untouched; steps.len()];
    let mut order = Vec::new();
    let mut lasts = outputs.iter();
    // A node, and how many of its inputs have been looked at.
    let mut stack: Vec<(usize, usize)> = Vec::new();
    loop {
        let Some((i, next)) = stack.pop() else {
            let Some(&output) = lasts.next() else { break };
            match makers.get(output) {
                Some(&last) if states[last] == State::Untouched => {
                    states[last] = State::Open;
                    stack.push((last, 0));
                }
                Some(_) => {}
                None if sources(output) => {}
                None => return Err(OrderError::Model(format!("has the output '{output}', which nothing makes"))),
            }
            continue;
        };
        let step = &steps[i];
        let Some(name) = step.inputs.get(next) else {
            states[i] = State::Done;
            order.push(i);
            continue;
        };
        stack.push((i, next + 1));
        if name.is_empty() {
            continue;
        }
        used.insert(name);
        if sources(name) {
            continue;
        }
        let Some(&maker) = makers.get(name.as_str()) else {
            return step.fail(format!("uses '{name}', which nothing makes"));
        };
        match states[maker] {
            State::Done => {}
            State::Open => return step.fail(format!("uses '{name}', which is made from its own output: a cycle")),
            State::Untouched => {
                states[maker] = State::Open;
                stack.push((maker, 0));
            }
        }
    }
    Ok((order, used))
}

struct Inliner<'a> {
    model: &'a Model,
    sources: Known<'a>,
    steps: Vec<Step>,
    /// Function calls so far.
    calls: usize,
    /// Bytes of attributes and names copied so far.
    copied: usize,
}

impl Inliner<'_> {
    /// Adds a node, or the nodes of the function that it calls.
    fn add(&mut self, step: Step, depth: usize) -> Result<(), OrderError> {
        let key = (step.domain.clone(), step.operator.clone());
        let Some(function) = self.model.functions.get(&key) else {
            if self.steps.len() == MAX_STEPS {
                return Err(OrderError::Model(format!("has more than {MAX_STEPS} nodes")));
            }
            self.steps.push(step);
            return Ok(());
        };
        if depth == MAX_DEPTH {
            return step.fail(format!("calls functions {MAX_DEPTH} deep: they call each other"));
        }
        self.calls += 1;
        if self.calls > MAX_STEPS {
            return Err(OrderError::Model(format!("has more than {MAX_STEPS} function calls")));
        }
        let mut copies = 2 * function.nodes.len() * (step.name.len() + step.scope.len());
        let passed = weight(&step.attributes) + weight(&function.proto.attribute_proto);
        for node in &function.nodes {
            let proto = &node.proto;
            let names = proto.input.iter().chain(&proto.output).map(String::len).sum::<usize>();
            let prefix = step.outputs.first().map_or(0, |(name, _)| name.len());
            copies += weight(&proto.attribute) + passed + names + prefix * (proto.input.len() + proto.output.len());
        }
        self.copied = self.copied.saturating_add(copies);
        if self.copied > MAX_COPIED {
            return step
                .fail(format!("calls a function: with all calls, functions copy more than {} MiB", MAX_COPIED >> 20));
        }
        let outer = self.attributes(&step, function)?;
        let prefix = step.outputs.first().map(|(name, _)| name.clone()).unwrap_or_default();
        let mut names: HashMap<&str, String> = HashMap::new();
        let proto = &function.proto;
        for (i, name) in proto.input.iter().enumerate() {
            names.insert(name, step.inputs.get(i).cloned().unwrap_or_default());
        }
        for (name, (outside, _)) in proto.output.iter().zip(&step.outputs) {
            // An output that hands an input through has two names.
            if let Some(inside) = names.get(name.as_str()).cloned() {
                let identity = Step {
                    name: step.name.clone(),
                    operator: "Identity".to_owned(),
                    domain: String::new(),
                    scope: step.scope.clone(),
                    inputs: vec![inside],
                    outputs: vec![(outside.clone(), true)],
                    attributes: Vec::new(),
                    outer: Attributes::default(),
                    branches: None,
                    names: Rc::default(),
                };
                self.steps.push(identity);
            } else if !outside.is_empty() {
                names.insert(name, outside.clone());
            }
        }
        for node in &function.nodes {
            let mut inner = step_of(node, &step.scope, self.sources, &outer);
            if inner.branches.is_some() {
                return inner.fail("is control flow within a function, which is not supported".to_owned());
            }
            inner.name = format!("{}/{}", step.name, inner.name);
            let rename = |name: &String| match names.get(name.as_str()) {
                Some(outside) => outside.clone(),
                None if name.is_empty() => String::new(),
                None => format!("{prefix}/{name}"),
            };
            inner.inputs = inner.inputs.iter().map(rename).collect();
            inner.outputs = inner.outputs.iter().map(|(name, used)| (rename(name), *used)).collect();
            self.add(inner, depth + 1)?;
        }
        Ok(())
    }

    /// The attributes that a function's nodes can refer to.
    fn attributes(&self, step: &Step, function: &Function) -> Result<Attributes, OrderError> {
        let version = function.proto.opset_import.iter().find(|set| domain(set.domain()).is_empty());
        if let Some(version) = version.map(|set| set.version()).filter(|version| !super::OPSETS.contains(version)) {
            return step.fail(format!("is a function written for operator set {version}"));
        }
        let own = Attributes::read(&step.attributes, &step.outer);
        let defaults = Attributes::read(&function.proto.attribute_proto, &Attributes::default());
        match (own, defaults) {
            (Ok(own), Ok(defaults)) => Ok(own.or_defaults(&defaults)),
            (Err(problem), _) | (_, Err(problem)) => step.fail(problem),
        }
    }
}

/// Bytes that attributes take in memory, roughly.
fn weight(attributes: &[AttributeProto]) -> usize {
    let tensor = |tensor: &TensorProto| {
        let numbers = tensor.int64_data.len() + tensor.double_data.len() + tensor.dims.len();
        tensor.raw_data.as_ref().map_or(0, Vec::len)
            + 8 * numbers
            + 4 * (tensor.float_data.len() + tensor.int32_data.len())
    };
    let one = |attribute: &AttributeProto| {
        let texts = attribute.strings.iter().map(|text| text.len() + size_of::<Vec<u8>>()).sum::<usize>();
        let lists = 8 * attribute.ints.len() + 4 * attribute.floats.len() + attribute.s().len();
        size_of::<AttributeProto>() + texts + lists + attribute.t.as_ref().map_or(0, tensor)
    };
    attributes.iter().map(one).sum()
}

fn step_of(node: &Node, outside: &str, sources: Known, outer: &Attributes) -> Step {
    let proto = &node.proto;
    let name = match proto.name() {
        "" => proto.output.first().cloned().unwrap_or_default(),
        name => name.to_owned(),
    };
    let scope = match module(node, sources) {
        _ if !outside.is_empty() => format!("{outside}/{name}"),
        Some(module) => format!("{module}/{name}"),
        None => name.trim_start_matches('/').to_owned(),
    };
    let mut inputs = proto.input.clone();
    let branches = node.branches.as_ref().map(|[then, otherwise]| match proto.input.first().map(String::as_str) {
        // The branch of a merged export that reads a cache is never taken, so what it uses is not needed.
        Some(NO_CACHE) => [otherwise.clone(), otherwise.clone()],
        _ => [then.clone(), otherwise.clone()],
    });
    for branch in branches.iter().flatten() {
        inputs.extend(outer_names(branch));
    }
    Step {
        name,
        operator: proto.op_type().to_owned(),
        domain: domain(proto.domain()).to_owned(),
        scope,
        inputs,
        branches,
        names: Rc::default(),
        outputs: proto.output.iter().map(|name| (name.clone(), false)).collect(),
        attributes: proto.attribute.clone(),
        outer: outer.clone(),
    }
}

/// The module that a node was exported from, such as `model.layers.0.mlp`: from what PyTorch's exporter notes, or else
/// from the name of a weight. Node names that are paths, such as TorchScript's, say it themselves.
fn module(node: &Node, sources: Known) -> Option<String> {
    let note = node.proto.metadata_props.iter().find(|entry| entry.key() == NAME_SCOPES);
    let noted = note.and_then(|note| {
        // A Python list of strings: modules from the outside in, then the operation.
        let scopes: Vec<&str> = note.value().split('\'').skip(1).step_by(2).collect();
        let module = scopes.iter().rev().nth(1)?;
        (!module.is_empty() && !module.starts_with('_')).then(|| (*module).to_owned())
    });
    let by_weight = || {
        let weight = node.proto.input.iter().find(|name| sources(name) && name.contains('.'))?;
        Some(weight.rsplit_once('.')?.0.to_owned())
    };
    let is_path = node.proto.name().trim_start_matches('/').contains(['/', '.']);
    noted.or_else(|| if is_path { None } else { by_weight() })
}
