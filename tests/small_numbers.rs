//! Numbers too small to be normal are zero while a graph runs. One test alone: the setting is that of the thread that opened the
//! process's first session, and of those that come out of it.
#![cfg(target_arch = "x86_64")]

use gim_harness::onnx::write::{Export, to_model};
use gim_harness::onnx::{Dim, Dtype, Graph};
use gim_harness::runtime::{Runtime, RuntimeOptions, Session, SessionOptions};
use ndarray::Array1;
use prost::Message;

/// Enough numbers for several threads.
const COUNT: usize = 1 << 20;

#[test]
fn what_is_too_small_to_be_normal_is_zero() {
    let mut graph = Graph::new();
    let x = graph.input("x", Dtype::F32, vec![Dim::known(COUNT)]).unwrap();
    let square = graph.times(x, x).unwrap();
    let (inputs, outputs) = ([x], [("square", square)]);
    let export = Export {
        name: "square",
        graph: &graph,
        inputs: &inputs,
        outputs: &outputs,
        weights: &[],
        weight_file: "",
        metadata: &[],
    };
    let graph = to_model(&export).unwrap().encode_to_vec();
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    let check = |threads: usize| {
        let options = SessionOptions { threads: Some(threads), ..SessionOptions::default() };
        let mut session = Session::from_memory(&runtime, "square", &graph, &options).unwrap();
        // The least normal number is 2^-126.
        for (exponent, expected) in [(-60, 2f32.powi(-120)), (-66, 0.0)] {
            let x = Array1::from_elem(COUNT, 2f32.powi(exponent));
            let squares = session.run(&[("x", x.into())]).unwrap().take_f32("square", &[COUNT]).unwrap();
            assert!(squares.iter().all(|&square| square == expected), "{exponent}, {threads} threads: {}", squares[0]);
        }
    };
    check(1);
    check(2);
    std::thread::scope(|scope| scope.spawn(|| check(1)).join().unwrap());
}
