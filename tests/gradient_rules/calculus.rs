//! Gradients of random graphs against central differences.

use std::sync::Arc;

use std::collections::BTreeSet;

use gim_harness::grad::rules::rule;
use gim_harness::onnx::expand::expand;
use gim_harness::onnx::op::{Activation, Binary, Opaque, Real, Reduction, Unary, WeightLayout};
use gim_harness::onnx::tensor::Tensor;
use gim_harness::onnx::{Dim, Dtype, Op};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::evaluator::evaluate;
use super::programs::{KINDS, Program, Recipe, any_settings, config, recipes};
use super::surrogate::{CALCULUS, Function, Settings};

/// Checks the gradient of a program at some settings; gives the largest deviation, in parts of the largest element.
pub fn check(program: &Program, settings: Settings) -> Result<f64, String> {
    let function = Function::new(&program.graph, program.source, program.score, &program.feeds, &program.sizes);
    let expected = function.differences(settings);
    let (graph, _, derivative) = program.differentiated();
    let feeds = program.feeds_at(settings);
    let found = evaluate(&graph, &[derivative.gradient], &feeds, &program.sizes);
    let found = found.real(derivative.gradient);
    assert_eq!(found.shape(), function.point().shape());

    // The expansion computes the same.
    let (expanded, roots) = expand(&graph, &[program.score, derivative.gradient]).unwrap();
    let values = evaluate(&expanded, &roots, &feeds, &program.sizes);
    let largest = found.iter().fold(1e-3f64, |largest, x| largest.max(x.abs()));
    let score = values.real(roots[0]).sum();
    if (score - function.value()).abs() > 1e-11 * (1.0 + score.abs()) {
        return Err(format!("the expanded graph scores {score}, not {}", function.value()));
    }
    for (a, b) in found.iter().zip(values.real(roots[1])) {
        // Said so that a NaN does not pass.
        let agree = (a - b).abs() <= 1e-10 * largest;
        if !agree {
            return Err(format!("the expanded gradient is {b}, not {a}"));
        }
    }

    let mut deviation = 0.0f64;
    for (element, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let Some(expected) = expected else { continue };
        let away = (found - expected).abs() / largest;
        // Differences of a score lose the digits by which it is larger than its gradient.
        let agree = away <= 1e-8 + 1e-11 * score.abs() / largest;
        if !agree {
            return Err(format!("element {element}: the gradient graph gives {found}, differences {expected}"));
        }
        deviation = deviation.max(away);
    }
    Ok(deviation)
}

/// Checks many recipes and tells the largest deviation.
fn check_all(cases: u32, strategy: impl Strategy<Value = (Recipe, Settings)>) {
    let largest = std::cell::Cell::new(0.0f64);
    let result = TestRunner::new(config(cases)).run(&strategy, |(recipe, settings)| {
        let deviation = check(&Program::new(&recipe), settings).map_err(TestCaseError::fail)?;
        largest.set(largest.get().max(deviation));
        Ok(())
    });
    println!("largest deviation of {cases} cases: {:.1e}", largest.get());
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn random_graphs_agree_with_differences_at_calculus_knobs() {
    check_all(600, recipes(3..=8).prop_map(|recipe| (recipe, CALCULUS)));
}

#[test]
fn random_graphs_agree_with_differences_of_the_surrogate_at_any_knobs() {
    check_all(600, (recipes(3..=8), any_settings()));
}

#[test]
fn every_kind_of_step_alone_agrees_with_differences() {
    for (number, kind) in KINDS.into_iter().enumerate() {
        let source = (0..5usize, 1..=3usize, 1..=4usize, any::<u64>(), any::<u64>());
        let recipe = source.prop_map(move |(source, batch, seq, seed, choices)| Recipe {
            source,
            batch,
            seq,
            seed,
            steps: vec![(kind, choices)],
        });
        let largest = std::cell::Cell::new(0.0f64);
        let result = TestRunner::new(config(24)).run(&(recipe, any_settings()), |(recipe, settings)| {
            for settings in [CALCULUS, settings] {
                let deviation = check(&Program::new(&recipe), settings).map_err(TestCaseError::fail)?;
                largest.set(largest.get().max(deviation));
            }
            Ok(())
        });
        println!("{kind:?}: {:.1e}", largest.get());
        result.unwrap_or_else(|error| panic!("{number} {kind:?}: {error}"));
    }
}

/// One of each operator. A new one does not compile here until it is listed.
fn every_operator() -> Vec<Op> {
    fn listed(op: &Op) {
        match op {
            Op::Input { .. } | Op::Constant(_) | Op::Weight(_) | Op::Unary(_) | Op::Binary(_) | Op::Logic(_) => {}
            Op::Not | Op::Where | Op::Cast(_) | Op::MatMul | Op::Softmax { .. } | Op::Reduce { .. } => {}
            Op::Reshape(_) | Op::Transpose(_) | Op::Expand(_) | Op::Concat { .. } | Op::Slice { .. } => {}
            Op::Pad { .. } | Op::Gather { .. } | Op::DimSize(_) | Op::Arange(_) | Op::Gemm { .. } => {}
            Op::Linear(_) | Op::RmsNorm { .. } | Op::LayerNorm { .. } | Op::Activation(_) | Op::SoftCap { .. } => {}
            Op::Rotary | Op::Opaque(_) => {}
        }
    }
    let eps = Real::new(1e-5);
    let mut all = vec![
        Op::Input { name: "x".to_owned(), dtype: Dtype::F64, shape: vec![] },
        Op::Constant(Tensor::i64(0)),
        Op::Not,
        Op::Where,
        Op::Cast(Dtype::F32),
        Op::MatMul,
        Op::Softmax { axis: 0 },
        Op::Reshape(vec![]),
        Op::Transpose(vec![]),
        Op::Expand(vec![]),
        Op::Concat { axis: 0 },
        Op::Slice { axis: 0, start: 0, end: 1 },
        Op::Pad { axis: 0, before: 0, after: 0 },
        Op::Gather { axis: 0 },
        Op::DimSize(Dim::known(1)),
        Op::Arange(Dim::known(1)),
        Op::Gemm { transpose_b: true },
        Op::RmsNorm { eps },
        Op::LayerNorm { eps },
        Op::SoftCap { cap: eps },
        Op::Rotary,
        Op::Opaque(Arc::new(Opaque {
            op_type: "IsNaN".to_owned(),
            attributes: vec![],
            dtype: Dtype::Bool,
            shape: vec![],
        })),
    ];
    use Unary::{Abs, Cos, Erf, Exp, Log, Neg, Reciprocal, Sigmoid, Sin, Sqrt, Tanh};
    all.extend([Neg, Abs, Sqrt, Reciprocal, Exp, Log, Tanh, Sigmoid, Erf, Sin, Cos].map(Op::Unary));
    use Binary::{Add, Div, Mul, Pow, Sub};
    all.extend([Add, Sub, Mul, Div, Pow].map(Op::Binary));
    use Activation::{Gelu, GeluTanh, QuickGelu, Relu, Silu};
    all.extend([Silu, Gelu, GeluTanh, QuickGelu, Relu].map(Op::Activation));
    all.extend([WeightLayout::OutIn, WeightLayout::InOut].map(Op::Linear));
    all.extend(["GatherElements", "ScatterElements"].map(|op_type| {
        Op::Opaque(Arc::new(Opaque {
            op_type: op_type.to_owned(),
            attributes: vec![],
            dtype: Dtype::F64,
            shape: vec![],
        }))
    }));
    let reduce = |kind| Op::Reduce { kind, axes: vec![0], keep: true };
    all.extend([Reduction::Sum, Reduction::Mean, Reduction::Max].map(reduce));
    all.iter().for_each(listed);
    all
}

/// The operator with what tells its rules apart.
fn rule_name(op: &Op) -> String {
    match op {
        Op::Linear(layout) => format!("Linear {layout:?}"),
        op => op.name(),
    }
}

#[test]
fn every_operator_with_a_rule_is_among_the_random_steps() {
    let mut covered = BTreeSet::new();
    for kind in KINDS {
        for choices in 0..64u64 {
            let steps = vec![(kind, choices.wrapping_mul(0x9e37_79b9_7f4a_7c15))];
            let recipe = Recipe { source: choices as usize % 5, batch: 2, seq: 3, seed: choices, steps };
            let program = Program::new(&recipe);
            let moves = program.graph.descendants(program.source);
            let path = program.graph.ancestors(&[program.score]);
            covered
                .extend(path.iter().filter(|id| moves[id.index()]).map(|&id| rule_name(&program.graph.value(id).op)));
        }
    }
    for op in every_operator().iter().filter(|op| rule(op).is_some()) {
        assert!(covered.contains(&rule_name(op)), "{} has a rule and is in no random graph", rule_name(op));
    }
}
