//! Running programs.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayView2};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::array::{Computed, Problem, Shared, Value, from_vec, rows};
use super::operators::{compute, finish_linear};
use super::program::{Operator, Program, Step};
use crate::onnx::Dtype;
use crate::onnx::proto::type_proto::{Tensor as TensorType, Value as TypeValue};
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, ValueInfoProto};
use crate::onnx::write::{IR_VERSION, OPSET};
use crate::runtime::{Runtime, Session, SessionOptions, Tensor};
use prost::Message as _;

/// The arrays of a program's inputs. An input with several is run once for each, side by side: lanes.
pub type Feeds = HashMap<&'static str, Vec<Shared>>;

/// One value in each lane, or one that all lanes share.
pub type Lanes = Vec<Shared>;

/// What is made of a step's values, by step.
pub type Edits<'a> = HashMap<usize, Box<dyn Fn(&ArrayD<f64>) -> ArrayD<f64> + 'a>>;

/// What ends a run before its results are there.
#[derive(Debug)]
pub enum Stopped {
    /// What is wrong, and the step at which it was found.
    Problem(usize, Problem),
    /// Whoever holds the runtime's [`Watch`](crate::runtime::Watch) wanted it to stop.
    Interrupted,
}

impl From<(usize, Problem)> for Stopped {
    fn from((step, problem): (usize, Problem)) -> Self {
        Stopped::Problem(step, problem)
    }
}

/// How programs are run.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Runs what only it knows: operators of masks and positions.
    pub runtime: &'a Runtime,
    /// Put into every result of arithmetic an error of up to four units in the last place of f32, and round to f32: what
    /// computations in single precision are off by, whoever wrote them (Monte Carlo arithmetic, Parker, 1997).
    pub single: bool,
}

impl Machine<'_> {
    /// Runs the steps that `wanted` needs, and gives those values.
    pub fn run(&self, program: &Program, feeds: &Feeds, wanted: &[usize]) -> Result<Vec<Lanes>, Stopped> {
        self.run_edited(program, feeds, wanted, &Edits::new())
    }

    /// The same, where something is made of the values of some steps before others use them.
    pub fn run_edited(
        &self,
        program: &Program,
        feeds: &Feeds,
        wanted: &[usize],
        edits: &Edits,
    ) -> Result<Vec<Lanes>, Stopped> {
        let needed = program.needed(wanted);
        // A value is forgotten after its last use.
        let mut uses = vec![0usize; program.steps.len()];
        for (step, _) in program.steps.iter().zip(&needed).filter(|(_, needed)| **needed) {
            step.inputs.iter().for_each(|&input| uses[input] += 1);
        }
        wanted.iter().for_each(|&root| uses[root] += 1);
        let mut values: Vec<Option<Lanes>> = vec![None; program.steps.len()];
        for (id, step) in program.steps.iter().enumerate().filter(|(id, _)| needed[*id]) {
            self.go_on()?;
            let mut result = self.step(step, &values, feeds).map_err(|problem| (id, problem))?;
            if let Some(edit) = edits.get(&id) {
                let edited = result.iter().map(|value| Ok(Arc::new(Value::Real(edit(value.real()?)))));
                result = edited.collect::<Computed<Lanes>>().map_err(|problem| (id, problem))?;
            }
            values[id] = Some(result);
            for &input in &step.inputs {
                uses[input] -= 1;
                if uses[input] == 0 {
                    values[input] = None;
                }
            }
        }
        let result = |&root: &usize| values[root].clone().ok_or((root, "was not computed".to_owned()).into());
        wanted.iter().map(result).collect()
    }

    /// To be asked before every step: one takes as long as its weights take to be read.
    pub fn go_on(&self) -> Result<(), Stopped> {
        let interrupted = self.runtime.watch().is_some_and(|watch| watch.is_interrupted());
        if interrupted { Err(Stopped::Interrupted) } else { Ok(()) }
    }

    fn step(&self, step: &Step, values: &[Option<Lanes>], feeds: &Feeds) -> Computed<Lanes> {
        if let Operator::Input(name) = &step.operator {
            return feeds.get(name.as_str()).cloned().ok_or_else(|| format!("'{name}' is not fed"));
        }
        let inputs = step.inputs.iter().map(|&input| values[input].as_ref().ok_or("uses what was not computed"));
        let inputs = inputs.collect::<Result<Vec<&Lanes>, _>>()?;
        let lanes = inputs.iter().map(|lanes| lanes.len()).max().unwrap_or(1);
        let in_lane = |lane: usize| -> Vec<&Shared> {
            inputs.iter().map(|values| values.get(lane).unwrap_or(&values[0])).collect()
        };
        let all: Vec<Vec<&Shared>> = (0..lanes).map(in_lane).collect();
        self.apply(&step.operator, &all)
    }

    /// The results of one operator for several lists of inputs.
    pub fn apply(&self, operator: &Operator, lanes: &[Vec<&Shared>]) -> Computed<Lanes> {
        if let (Operator::Known(value), [_]) = (operator, lanes) {
            return Ok(vec![loaded(value)?]);
        }
        if let (Operator::Same, [inputs]) = (operator, lanes) {
            return Ok(inputs.iter().map(|&input| Arc::clone(input)).collect());
        }
        let results = match product(operator, lanes) {
            Some(transposed) => self.products(transposed, lanes)?,
            None => lanes.iter().map(|inputs| self.one(operator, inputs)).collect::<Computed<Vec<_>>>()?,
        };
        Ok(results.into_iter().map(|value| Arc::new(self.rounded(operator, value))).collect())
    }

    fn one(&self, operator: &Operator, inputs: &[&Shared]) -> Computed<Value> {
        if let Operator::Other(node) = operator {
            return self.elsewhere(node, inputs);
        }
        // What is no product and no lookup takes a weight as the numbers that it is.
        let lazy = matches!(operator, Operator::Gather { .. } | Operator::Cast(_) | Operator::Shape { .. });
        let whole = inputs.iter().map(|&input| match (&**input, lazy) {
            (Value::Stored(stored), false) => stored.load().map(Arc::new),
            _ => Ok(Arc::clone(input)),
        });
        let whole = whole.collect::<Computed<Vec<Shared>>>()?;
        let whole: Vec<&Value> = whole.iter().map(|value| &**value).collect();
        compute(operator, &whole, self.single)
    }

    fn rounded(&self, operator: &Operator, value: Value) -> Value {
        match value {
            Value::Real(mut array) if self.single => {
                if is_arithmetic(operator) {
                    // Errors of one seed: the same run gives the same numbers.
                    let mut random = ChaCha8Rng::seed_from_u64(array.len() as u64);
                    array.mapv_inplace(|x| x * (1.0 + random.random_range(-1.0..1.0) * FOUR_UNITS));
                }
                Value::Real(array.mapv_into(|x| f64::from(x as f32)))
            }
            other => other,
        }
    }

    fn products(&self, transposed: bool, lanes: &[Vec<&Shared>]) -> Computed<Vec<Value>> {
        let Value::Stored(weight) = &***lanes[0].get(1).ok_or("lacks an input")? else {
            return Err("lacks its weight".to_owned());
        };
        let xs = lanes.iter().map(|inputs| inputs[0].real()).collect::<Computed<Vec<_>>>()?;
        let matrices = xs.iter().map(|x| rows(x)).collect::<Computed<Vec<_>>>()?;
        let views: Vec<ArrayView2<f64>> = matrices.iter().map(|matrix| matrix.view()).collect();
        let products = weight.products(&views, transposed, self.single)?;
        let bias = match lanes[0].get(2).map(|bias| &***bias) {
            Some(Value::Stored(bias)) => Some(bias.load()?),
            Some(bias) => Some(bias.clone()),
            None => None,
        };
        let bias = bias.as_ref().map(|bias| bias.real()).transpose()?;
        let finished = products.into_iter().zip(&xs).map(|(product, x)| {
            // The sum is rounded before the bias is added, as a product and a sum are.
            let product = match self.rounded(&Operator::Same, Value::Real(product.into_dyn())) {
                Value::Real(product) => product,
                _ => return Err("is no product".to_owned()),
            };
            finish_linear(product, x.shape(), bias).map(Value::Real)
        });
        finished.collect()
    }

    /// An operator that only the runtime knows, alone in a graph.
    fn elsewhere(&self, node: &NodeProto, inputs: &[&Shared]) -> Computed<Value> {
        let mut graph = GraphProto { name: Some("one".to_owned()), ..GraphProto::default() };
        let mut node = node.clone();
        node.input = (0..inputs.len()).map(|i| format!("input_{i}")).collect();
        node.output = vec!["output".to_owned()];
        let mut feeds = Vec::new();
        for (name, input) in node.input.iter().zip(inputs) {
            let loaded = match &***input {
                Value::Stored(stored) => stored.load()?,
                other => other.clone(),
            };
            let (dtype, tensor): (Dtype, Tensor) = match loaded {
                Value::Real(array) => (Dtype::F32, array.mapv(|x| x as f32).into()),
                Value::Whole(array) => (Dtype::I64, array.into()),
                Value::Truth(array) => (Dtype::Bool, array.into()),
                Value::Stored(_) => return Err("takes weights".to_owned()),
            };
            let kind = TensorType { elem_type: Some(dtype.code()), shape: None };
            let kind = TypeProto { value: Some(TypeValue::TensorType(kind)), ..TypeProto::default() };
            graph.input.push(ValueInfoProto { name: Some(name.clone()), r#type: Some(kind), ..Default::default() });
            feeds.push((name.as_str(), tensor));
        }
        graph.output.push(ValueInfoProto { name: Some("output".to_owned()), ..Default::default() });
        let domain = node.domain().to_owned();
        let mut session = {
            graph.node.push(node.clone());
            let model = ModelProto {
                ir_version: Some(IR_VERSION),
                opset_import: vec![OperatorSetIdProto { domain: Some(domain), version: Some(OPSET) }],
                graph: Some(graph),
                ..ModelProto::default()
            };
            let options = SessionOptions { threads: Some(1), ..SessionOptions::default() };
            Session::from_memory(self.runtime, node.op_type(), &model.encode_to_vec(), &options)
                .map_err(|error| error.to_string())?
        };
        let outputs = session.run(&feeds).map_err(|error| error.to_string())?;
        match outputs.get("output") {
            Some(Tensor::F32(array)) => Ok(Value::Real(array.mapv(f64::from))),
            Some(Tensor::F64(array)) => Ok(Value::Real(array.clone())),
            Some(Tensor::I64(array)) => Ok(Value::Whole(array.clone())),
            Some(Tensor::I32(array)) => Ok(Value::Whole(array.mapv(i64::from))),
            Some(Tensor::Bool(array)) => Ok(Value::Truth(array.clone())),
            _ => Err("gives nothing".to_owned()),
        }
    }
}

/// Four units in the last place of f32, relative.
const FOUR_UNITS: f64 = 4.0 / 8_388_608.0;

/// Whether an operator computes, and does not only move numbers or choose among them.
fn is_arithmetic(operator: &Operator) -> bool {
    matches!(
        operator,
        Operator::Unary(_)
            | Operator::Binary(_)
            | Operator::MatMul
            | Operator::Gemm { .. }
            | Operator::Softmax { .. }
            | Operator::Reduce { .. }
    )
}

/// A weight that is no matrix is read at once: norms, biases, tables of other ranks.
fn loaded(value: &Shared) -> Computed<Shared> {
    match &**value {
        Value::Stored(stored) if !stored.is_matrix() => Ok(Arc::new(stored.load()?)),
        _ => Ok(Arc::clone(value)),
    }
}

/// Whether an operator is a product of what every lane has of its own with a weight in the file, and if the weight is
/// transposed in it.
fn product(operator: &Operator, lanes: &[Vec<&Shared>]) -> Option<bool> {
    let transposed = match operator {
        Operator::MatMul => false,
        Operator::Gemm { transpose_b } => *transpose_b,
        Operator::Linear { out_in } => *out_in,
        _ => return None,
    };
    let stored = |i: usize| lanes.iter().all(|inputs| matches!(inputs.get(i).map(|x| &***x), Some(Value::Stored(_))));
    let plain =
        lanes.iter().all(|inputs| matches!(inputs.first().map(|x| &***x), Some(Value::Real(x)) if x.ndim() > 0));
    (stored(1) && plain).then_some(transposed)
}

/// A vector of integers.
pub fn integers(numbers: &[i64], shape: &[usize]) -> Computed<Shared> {
    Ok(Arc::new(Value::Whole(from_vec(shape, numbers.to_vec())?)))
}
