//! The files that are written, run by ONNX Runtime.

use gim_harness::onnx::op::{Activation, Opaque, Unary};
use gim_harness::onnx::tensor::Tensor as Constant;
use gim_harness::onnx::write::{Export, to_model};
use gim_harness::onnx::{Dtype, Graph, Id, Op};
use gim_harness::runtime::{Optimization, Runtime, RuntimeOptions, Session, SessionOptions, Tensor};
use ndarray::ArrayD;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message;

use super::evaluator::{Data, Feeds, Sizes, evaluate};
use super::programs::{Program, any_settings, config, recipes, with_knobs};
use super::surrogate::Settings;

const OPTIMIZATIONS: [Optimization; 2] = [Optimization::All, Optimization::Disable];

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

/// A graph that ONNX Runtime has loaded as it was written, and the names it gives.
struct Written {
    session: Session,
    dtype: Dtype,
    outputs: Vec<String>,
}

impl Written {
    fn try_new(graph: &Graph, inputs: &[Id], outputs: &[Id], level: Optimization) -> Result<Written, String> {
        let names: Vec<String> = (0..outputs.len()).map(|i| format!("output_{i}")).collect();
        let outputs: Vec<(&str, Id)> = names.iter().map(String::as_str).zip(outputs.iter().copied()).collect();
        let export =
            Export { name: "test", graph, inputs, outputs: &outputs, weights: &[], weight_file: "", metadata: &[] };
        let bytes = to_model(&export).map_err(|error| error.to_string())?.encode_to_vec();
        let options = SessionOptions { threads: Some(1), optimization: level, ..SessionOptions::default() };
        let session =
            Session::from_memory(&runtime(), "test.onnx", &bytes, &options).map_err(|error| error.to_string())?;
        let dtype = graph.dtype(inputs[0]);
        Ok(Written { session, dtype, outputs: names })
    }

    fn run(&mut self, feeds: &Feeds) -> Vec<ArrayD<f64>> {
        let names: Vec<String> = self.session.input_names().map(str::to_owned).collect();
        let inputs: Vec<(&str, Tensor)> =
            names.iter().map(|name| (name.as_str(), tensor(&feeds[name], self.dtype))).collect();
        let outputs = self.session.run(&inputs).unwrap();
        let output = |name: &String| match outputs.get(name).unwrap() {
            Tensor::F64(array) => array.clone(),
            Tensor::F32(array) => array.mapv(f64::from),
            other => panic!("an output of {}", other.dtype()),
        };
        self.outputs.iter().map(output).collect()
    }
}

fn tensor(data: &Data, dtype: Dtype) -> Tensor {
    match data {
        Data::Real(array) if dtype == Dtype::F32 => array.mapv(|x| x as f32).into(),
        Data::Real(array) => array.clone().into(),
        Data::Whole(array) => array.clone().into(),
        Data::Truth(array) => array.clone().into(),
    }
}

/// The same graph in single precision, and some of its values there.
fn single(graph: &Graph, ids: &[Id]) -> (Graph, Vec<Id>) {
    let mut out = Graph::new();
    let mut renamed = Vec::with_capacity(graph.len());
    let narrow = |dtype| if dtype == Dtype::F64 { Dtype::F32 } else { dtype };
    for id in graph.ids() {
        let value = graph.value(id);
        let inputs: Vec<Id> = value.inputs.iter().map(|input: &Id| renamed[input.index()]).collect();
        let op = match &value.op {
            Op::Input { name, dtype, shape } => {
                Op::Input { name: name.clone(), dtype: narrow(*dtype), shape: shape.clone() }
            }
            Op::Constant(tensor) if tensor.dtype == Dtype::F64 => {
                let numbers: Vec<f64> =
                    tensor.bytes.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect();
                Op::Constant(Constant { dims: tensor.dims.clone(), ..Constant::floats(&numbers, Dtype::F32) })
            }
            Op::Cast(dtype) => Op::Cast(narrow(*dtype)),
            Op::Opaque(opaque) => Op::Opaque(Opaque { dtype: narrow(opaque.dtype), ..(**opaque).clone() }.into()),
            op => op.clone(),
        };
        out.set_scope(&value.scope);
        renamed.push(out.add(op, &inputs).unwrap());
    }
    let ids = ids.iter().map(|id| renamed[id.index()]).collect();
    (out, ids)
}

/// Whether a graph has operators for which ONNX Runtime has no kernel in double precision.
fn single_only(graph: &Graph, outputs: &[Id]) -> bool {
    let has = |wanted: fn(&Op) -> bool| graph.ancestors(outputs).iter().any(|&id| wanted(&graph.value(id).op));
    has(|op| matches!(op, Op::Unary(Unary::Erf) | Op::Activation(Activation::Gelu)))
}

/// The largest difference in parts of the largest number; an error beyond the bound.
fn compare(found: &ArrayD<f64>, expected: &ArrayD<f64>, bound: f64) -> Result<f64, String> {
    assert_eq!(found.shape(), expected.shape());
    let largest = expected.iter().fold(1e-2f64, |largest, x| largest.max(x.abs()));
    let away = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / largest);
    let away = away.fold(0.0f64, |a, b| if b.is_nan() { b } else { a.max(b) });
    if away <= bound { Ok(away) } else { Err(format!("ONNX Runtime is {away:.1e} away: {found} is not {expected}")) }
}

/// Runs score and gradient at several sizes, optimised and not.
fn check(program: &Program, settings: Settings, seed: u64, in_single: bool) -> Result<f64, String> {
    let (graph, knobs, derivative) = program.differentiated();
    let mut ids = vec![program.score, derivative.gradient];
    ids.extend(program.inputs.iter().copied().chain(knobs.ids()));
    let has_cast = graph.ids().any(|id| graph.value(id).op == Op::Cast(Dtype::F32));
    let narrow = in_single || single_only(&graph, &ids[..2]);
    let (graph, ids) = if narrow { single(&graph, &ids) } else { (graph, ids) };
    let (outputs, inputs) = ids.split_at(2);

    let mut largest = 0.0f64;
    for level in OPTIMIZATIONS {
        let bound = match level {
            // Of numbers in f32 some cancel, and some are divided by small ones.
            _ if narrow || has_cast => 1e-4,
            // A number that scales a product is fused into it as an attribute, and those are of single precision.
            Optimization::All => 1e-6,
            Optimization::Disable => 1e-11,
        };
        let mut written = Written::try_new(&graph, inputs, outputs, level)?;
        let other = |batch: usize, seq: usize| {
            let sizes = Sizes::from([("batch", batch), ("seq", seq)]);
            (program.other_feeds(&sizes, seed), sizes)
        };
        for (feeds, sizes) in [(program.feeds.clone(), program.sizes.clone()), other(1, 1), other(3, 7)] {
            let feeds = with_knobs(feeds, settings);
            let values = evaluate(&graph, outputs, &feeds, &sizes);
            for (found, &id) in written.run(&feeds).iter().zip(outputs) {
                let away = compare(found, values.real(id), bound)?;
                let counts = in_single || bound < 1e-10;
                largest = if counts { largest.max(away) } else { largest };
            }
        }
    }
    Ok(largest)
}

fn check_all(cases: u32, in_single: bool) {
    let largest = std::cell::Cell::new(0.0f64);
    let strategy = (recipes(3..=8), any_settings(), any::<u64>());
    let result = TestRunner::new(config(cases)).run(&strategy, |(recipe, settings, seed)| {
        let deviation = check(&Program::new(&recipe), settings, seed, in_single).map_err(TestCaseError::fail)?;
        largest.set(largest.get().max(deviation));
        Ok(())
    });
    println!("largest deviation of {cases} cases: {:.1e}", largest.get());
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn random_graphs_come_to_the_same_in_onnx_runtime() {
    check_all(150, false);
}

#[test]
fn random_graphs_come_to_the_same_in_onnx_runtime_in_single_precision() {
    check_all(100, true);
}
