//! Where the rules apply, what is recorded of it, and what is refused.

use gim_harness::grad::{Audit, GradError, SiteKind};
use gim_harness::onnx::op::{Activation, Binary, Logic, Op, Opaque, Real, Reduction, Unary};
use gim_harness::onnx::{Dtype, Id};
use ndarray::ArrayD;

use super::closed_forms::{Sketch, numbers};

/// How many attention softmaxes, norms, products and activations there are between `x` and a value.
fn counts(sketch: &Sketch, score: Id) -> [usize; 4] {
    let (_, derivative) = sketch.differentiated(score, &[]).unwrap();
    SiteKind::ALL.map(|kind| derivative.audit.count(kind))
}

fn square() -> Sketch {
    Sketch::new(numbers("x", &[2, 4, 4]))
}

#[test]
fn only_products_of_two_activations_are_shared() {
    let mut sketch = square();
    let (constant, sine) =
        (sketch.constant("w", numbers("w", &[4, 4])), sketch.graph.unary(Unary::Sin, sketch.x).unwrap());
    let mut added = |op: Op, a: Id, b: Id| {
        let y = sketch.graph.add(op, &[a, b]).unwrap();
        counts(&sketch, y)
    };
    let x = added(Op::MatMul, sine, sine);
    assert_eq!(x, [0, 0, 1, 0]);
    assert_eq!(added(Op::Binary(Binary::Mul), sine, sine), [0, 0, 1, 0]);
    assert_eq!(added(Op::MatMul, sine, constant), [0; 4]);
    assert_eq!(added(Op::MatMul, constant, sine), [0; 4]);
    assert_eq!(added(Op::Binary(Binary::Mul), sine, constant), [0; 4]);
    assert_eq!(added(Op::Binary(Binary::Div), sine, sine), [0; 4]);
}

#[test]
fn what_the_score_does_not_need_is_no_site() {
    let mut sketch = square();
    let weight = sketch.constant("weight", numbers("weight", &[4]));
    let elsewhere = sketch.constant("elsewhere", numbers("elsewhere", &[4]));
    sketch.graph.times(sketch.x, sketch.x).unwrap();
    let eps = Real::new(1e-5);
    let constant = sketch.graph.add(Op::RmsNorm { eps }, &[elsewhere, weight]).unwrap();
    let gate = sketch.graph.activation(Activation::Silu, constant).unwrap();
    let y = sketch.graph.times(sketch.x, gate).unwrap();
    assert_eq!(counts(&sketch, y), [0; 4]);
}

/// The way of split heads: weights are split, turned and merged between the softmax and the values.
#[test]
fn attention_is_found_through_movements() {
    let mut sketch = square();
    let x = sketch.x;
    let turned = sketch.graph.transpose_last(x).unwrap();
    let scores = sketch.graph.matmul(x, turned).unwrap();
    let p = sketch.graph.add(Op::Softmax { axis: 2 }, &[scores]).unwrap();
    let split = sketch.graph.reshape(p, vec![2.into(), 2.into(), 2.into(), 4.into()]).unwrap();
    let turned = sketch.graph.transpose(split, &[0, 2, 1, 3]).unwrap();
    let merged = sketch.graph.reshape(turned, vec![2.into(), 4.into(), 4.into()]).unwrap();
    let narrow = sketch.graph.cast(merged, Dtype::F32).unwrap();
    let p = sketch.graph.cast(narrow, Dtype::F64).unwrap();
    let mixed = sketch.graph.matmul(p, x).unwrap();
    assert_eq!(counts(&sketch, mixed), [1, 0, 2, 0]);
    // On the right as well: values^T p^T.
    let (values, weights) = (sketch.graph.transpose_last(x).unwrap(), sketch.graph.transpose_last(p).unwrap());
    let mixed = sketch.graph.matmul(values, weights).unwrap();
    assert_eq!(counts(&sketch, mixed), [1, 0, 2, 0]);
}

/// A sink takes its share of the softmax, and its column is cut off.
#[test]
fn attention_is_found_through_a_cut() {
    let mut sketch = square();
    let p = sketch.graph.add(Op::Softmax { axis: 2 }, &[sketch.x]).unwrap();
    let cut = sketch.graph.slice(p, 2, 0, 3).unwrap();
    let values = sketch.graph.slice(sketch.x, 1, 0, 3).unwrap();
    let mixed = sketch.graph.matmul(cut, values).unwrap();
    assert_eq!(counts(&sketch, mixed), [1, 0, 1, 0]);
}

#[test]
fn a_softmax_that_weighs_no_activation_is_not_attention() {
    let mut sketch = square();
    let constant = sketch.constant("w", numbers("w", &[4, 4]));
    let p = sketch.graph.add(Op::Softmax { axis: 2 }, &[sketch.x]).unwrap();
    let log = sketch.graph.unary(Unary::Log, p).unwrap();
    assert_eq!(counts(&sketch, log), [0; 4]);
    let mixed = sketch.graph.matmul(p, constant).unwrap();
    assert_eq!(counts(&sketch, mixed), [0; 4]);
    // The logarithm of it is no weight, and one over it is none.
    let product = sketch.graph.times(log, sketch.x).unwrap();
    assert_eq!(counts(&sketch, product), [0, 0, 1, 0]);
    let ratio = sketch.graph.divided(constant, p).unwrap();
    let product = sketch.graph.times(ratio, sketch.x).unwrap();
    assert_eq!(counts(&sketch, product), [0, 0, 1, 0]);
}

#[test]
fn the_audit_tells_place_operator_and_rule() {
    let mut sketch = Sketch::new(numbers("x", &[2, 4]));
    let weight = sketch.constant("weight", numbers("weight", &[4]));
    sketch.graph.set_scope("layers.11.mlp");
    let gate = sketch.graph.activation(Activation::Silu, sketch.x).unwrap();
    let product = sketch.graph.times(gate, sketch.x).unwrap();
    sketch.graph.set_scope("norm");
    let normed = sketch.graph.add(Op::RmsNorm { eps: Real::new(1e-5) }, &[product, weight]).unwrap();
    let (_, derivative) = sketch.differentiated(normed, &[SiteKind::Norm]).unwrap();
    let audit = derivative.audit;
    let told: Vec<_> =
        audit.sites.iter().map(|site| (site.kind, site.layer, site.scope.as_str(), site.operator.as_str())).collect();
    assert_eq!(
        told,
        [
            (SiteKind::Activation, Some(11), "layers.11.mlp", "Silu"),
            (SiteKind::ActivationProduct, Some(11), "layers.11.mlp", "Mul"),
            (SiteKind::Norm, None, "norm", "RmsNorm"),
        ]
    );
    assert_eq!(audit.count_in(SiteKind::Norm, None), 1);
    assert_eq!(audit.count_in(SiteKind::Norm, Some(11)), 0);
    let rules: Vec<&str> = audit.sites.iter().map(|site| site.rule.as_str()).collect();
    assert_eq!(rules, [SiteKind::Activation.rule(), Audit::GATE, SiteKind::Norm.rule()]);
}

fn refusal(sketch: &Sketch, score: Id, required: &[SiteKind]) -> (GradError, String) {
    let Err(error) = sketch.differentiated(score, required) else { panic!("it is not refused") };
    let text = error.to_string();
    (error, text)
}

#[test]
fn a_required_site_that_is_missing_is_refused() {
    let mut sketch = square();
    let score = sketch.graph.times(sketch.x, sketch.x).unwrap();
    let (error, text) = refusal(&sketch, score, &[SiteKind::ActivationProduct, SiteKind::AttentionSoftmax]);
    assert!(matches!(error, GradError::NoSite { kind: SiteKind::AttentionSoftmax }));
    assert!(text.starts_with("no attention softmax was found"), "{text}");
}

#[test]
fn an_operator_without_a_rule_is_named_with_its_place() {
    let mut sketch = Sketch::new(numbers("x", &[3, 4]));
    sketch.graph.set_scope("layers.5.router");
    let opaque = |op_type: &str| {
        let shape = sketch.graph.shape(sketch.x).to_vec();
        Op::Opaque(Opaque { op_type: op_type.to_owned(), attributes: vec![], dtype: Dtype::F64, shape }.into())
    };
    let (hardmax, sum) = (opaque("Hardmax"), opaque("CumSum"));
    let largest = sketch.graph.add(hardmax, &[sketch.x]).unwrap();
    let (error, text) = refusal(&sketch, largest, &[]);
    assert!(matches!(error, GradError::NoRule { .. }));
    assert_eq!(
        text,
        "Hardmax in 'layers.5.router' has no gradient rule, and needs one: the score depends on the embeddings \
         through it"
    );

    let axis = sketch.graph.constant(gim_harness::onnx::Tensor::i64(1)).unwrap();
    let summed = sketch.graph.add(sum, &[sketch.x, axis]).unwrap();
    assert!(refusal(&sketch, summed, &[]).1.starts_with("CumSum in 'layers.5.router'"));
}

/// What would be a wrong gradient in silence is an error that says why.
#[test]
fn parameters_made_from_the_embeddings_are_refused() {
    let mut sketch = Sketch::new(numbers("x", &[4, 4]));
    let x = sketch.x;
    let row = sketch.graph.reduce(Reduction::Mean, x, &[0], false).unwrap();
    let half = sketch.graph.slice(x, 1, 0, 2).unwrap();
    let scalar = sketch.sum(x);
    let constant = sketch.constant("w", numbers("w", &[4, 4]));
    let table = sketch.constant("table", numbers("table", &[4, 2]));
    let eps = Real::new(1e-5);
    for (op, inputs, reason) in [
        (Op::RmsNorm { eps }, vec![constant, row], "its weight is made from the embeddings"),
        (Op::LayerNorm { eps }, vec![x, row, row], "its weight is made from the embeddings"),
        (Op::Linear(gim_harness::onnx::op::WeightLayout::OutIn), vec![constant, x], "its weight is made from the"),
        (Op::Rotary, vec![x, half, table], "its tables are made from the embeddings"),
        (Op::Rotary, vec![constant, table, half], "its tables are made from the embeddings"),
        (Op::Binary(Binary::Pow), vec![constant, scalar], "its exponent is not a constant"),
    ] {
        let y = sketch.graph.add(op.clone(), &inputs).unwrap();
        let text = refusal(&sketch, y, &[]).1;
        assert!(text.contains(reason), "{op:?}: {text}");
    }
}

#[test]
fn a_score_that_nothing_flows_from_is_refused() {
    let mut sketch = Sketch::new(ArrayD::zeros(ndarray::IxDyn(&[3])));
    let constant = sketch.constant("w", numbers("w", &[3]));
    assert!(matches!(refusal(&sketch, constant, &[]).0, GradError::Independent));
    // A comparison depends on the embeddings, but in steps.
    let zero = sketch.graph.scalar(0.0, sketch.x).unwrap();
    let above = sketch.graph.logic(Logic::Greater, sketch.x, zero).unwrap();
    let chosen = sketch.graph.choose(above, constant, zero).unwrap();
    assert!(matches!(refusal(&sketch, chosen, &[]).0, GradError::Independent));
    let whole = sketch.graph.cast(sketch.x, Dtype::I64).unwrap();
    let back = sketch.graph.cast(whole, Dtype::F64).unwrap();
    assert!(matches!(refusal(&sketch, back, &[]).0, GradError::Independent));
}
