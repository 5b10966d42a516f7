//! Each pattern in the ways that exporters write it, and what looks like it but is not.

use super::*;
use crate::onnx::op::{Activation, Reduction, Unary, WeightLayout, WeightRef};
use crate::onnx::{Dim, Dtype, Tensor};

struct Sketch {
    g: Graph,
    x: Id,
}

impl Sketch {
    fn new() -> Self {
        let mut g = Graph::new();
        let shape = vec![Dim::symbol("batch"), Dim::symbol("seq"), Dim::known(8)];
        let x = g.input("x", Dtype::F32, shape).unwrap();
        Sketch { g, x }
    }

    fn number(&mut self, value: f64) -> Id {
        self.g.constant(Tensor::float(value, Dtype::F32)).unwrap()
    }

    fn weight(&mut self, index: usize, dims: &[usize]) -> Id {
        let weight = WeightRef { index, start: 0, dims: dims.to_vec(), dtype: Dtype::F32 };
        self.g.add(Op::Weight(weight), &[]).unwrap()
    }

    fn unary(&mut self, kind: Unary, x: Id) -> Id {
        self.g.unary(kind, x).unwrap()
    }

    fn binary(&mut self, kind: Binary, a: Id, b: Id) -> Id {
        self.g.binary(kind, a, b).unwrap()
    }

    fn with(&mut self, kind: Binary, a: Id, number: f64) -> Id {
        let number = self.number(number);
        self.binary(kind, a, number)
    }

    fn mean(&mut self, x: Id) -> Id {
        self.g.mean_last(x).unwrap()
    }

    /// The operators that `output` is made of once it is raised, inputs and parameters aside.
    fn raised(&self, output: Id) -> Vec<Op> {
        let (g, outputs) = raise(&self.g, &[output]).unwrap();
        let leaf = |op: &Op| matches!(op, Op::Input { .. } | Op::Constant(_) | Op::Weight(_) | Op::Expand(_));
        g.ancestors(&outputs).into_iter().map(|id| g.value(id).op.clone()).filter(|op| !leaf(op)).collect()
    }
}

/// `x^2` averaged, with eps.
fn mean_square(s: &mut Sketch, x: Id, by_product: bool) -> Id {
    let square = if by_product { s.binary(Binary::Mul, x, x) } else { s.with(Binary::Pow, x, 2.0) };
    let mean = s.mean(square);
    s.with(Binary::Add, mean, 1e-6)
}

#[test]
fn rms_norm_in_every_spelling() {
    for spelling in 0..6 {
        for by_product in [false, true] {
            let mut s = Sketch::new();
            let (x, weight) = (s.x, s.weight(0, &[8]));
            let mean = mean_square(&mut s, x, by_product);
            let root = s.unary(Unary::Sqrt, mean);
            let normed = match spelling {
                0 => s.binary(Binary::Div, x, root),
                1 => {
                    let inverse = s.unary(Unary::Reciprocal, root);
                    s.binary(Binary::Mul, x, inverse)
                }
                2 => {
                    let one = s.number(1.0);
                    let inverse = s.binary(Binary::Div, one, root);
                    s.binary(Binary::Mul, inverse, x)
                }
                3 => {
                    let inverse = s.with(Binary::Pow, mean, -0.5);
                    s.binary(Binary::Mul, x, inverse)
                }
                4 => {
                    let inverse = s.unary(Unary::Reciprocal, mean);
                    let inverse = s.unary(Unary::Sqrt, inverse);
                    s.binary(Binary::Mul, x, inverse)
                }
                _ => {
                    let inverse = s.unary(Unary::Reciprocal, root);
                    let both = s.binary(Binary::Mul, inverse, weight);
                    s.binary(Binary::Mul, x, both)
                }
            };
            let output = if spelling == 5 { normed } else { s.binary(Binary::Mul, weight, normed) };
            let raised = s.raised(output);
            assert!(matches!(raised[..], [Op::RmsNorm { .. }]), "{spelling} {by_product}: {raised:?}");
        }
    }
}

#[test]
fn rms_norm_with_a_weight_of_one_plus_something_and_without_any() {
    let mut s = Sketch::new();
    let (x, weight) = (s.x, s.weight(0, &[8]));
    let mean = mean_square(&mut s, x, false);
    let root = s.unary(Unary::Sqrt, mean);
    let normed = s.binary(Binary::Div, x, root);
    assert!(matches!(s.raised(normed)[..], [Op::RmsNorm { .. }]));
    let one_plus = s.with(Binary::Add, weight, 1.0);
    let output = s.binary(Binary::Mul, normed, one_plus);
    let raised = s.raised(output);
    assert!(matches!(raised[..], [Op::Binary(Binary::Add), Op::RmsNorm { .. }]), "{raised:?}");
}

#[test]
fn layer_norm_by_centred_squares_and_by_variance() {
    for by_variance in [false, true] {
        let mut s = Sketch::new();
        let (x, weight, bias) = (s.x, s.weight(0, &[8]), s.weight(1, &[8]));
        let mean = s.mean(x);
        let centred = s.binary(Binary::Sub, x, mean);
        let variance = if by_variance {
            let square = s.binary(Binary::Mul, x, x);
            let of_squares = s.mean(square);
            let of_mean = s.binary(Binary::Mul, mean, mean);
            let variance = s.binary(Binary::Sub, of_squares, of_mean);
            s.with(Binary::Add, variance, 1e-5)
        } else {
            mean_square(&mut s, centred, false)
        };
        let root = s.unary(Unary::Sqrt, variance);
        let normed = s.binary(Binary::Div, centred, root);
        let scaled = s.binary(Binary::Mul, normed, weight);
        let output = s.binary(Binary::Add, scaled, bias);
        let raised = s.raised(output);
        assert!(matches!(raised[..], [Op::LayerNorm { .. }]), "{by_variance}: {raised:?}");
    }
}

#[test]
fn a_norm_of_something_else_than_what_it_divides_is_none() {
    let mut s = Sketch::new();
    let x = s.x;
    let other = s.unary(Unary::Tanh, x);
    let mean = mean_square(&mut s, other, false);
    let root = s.unary(Unary::Sqrt, mean);
    let output = s.binary(Binary::Div, x, root);
    assert!(!s.raised(output).iter().any(|op| matches!(op, Op::RmsNorm { .. } | Op::LayerNorm { .. })));
    // The sum over another number of elements than there are.
    let square = s.binary(Binary::Mul, x, x);
    let total = s.g.reduce(Reduction::Sum, square, &[2], true).unwrap();
    let mean = s.with(Binary::Div, total, 7.0);
    let root = s.unary(Unary::Sqrt, mean);
    let output = s.binary(Binary::Div, x, root);
    assert!(!s.raised(output).iter().any(|op| matches!(op, Op::RmsNorm { .. })));
}

fn assert_activation(s: &Sketch, output: Id, kind: Activation) {
    assert_eq!(s.raised(output), [Op::Activation(kind)]);
}

#[test]
fn silu_and_its_relatives() {
    let mut s = Sketch::new();
    let x = s.x;
    let gate = s.unary(Unary::Sigmoid, x);
    let output = s.binary(Binary::Mul, gate, x);
    assert_activation(&s, output, Activation::Silu);
    let negative = s.unary(Unary::Neg, x);
    let exponential = s.unary(Unary::Exp, negative);
    let denominator = s.with(Binary::Add, exponential, 1.0);
    let output = s.binary(Binary::Div, x, denominator);
    assert_activation(&s, output, Activation::Silu);
    let scaled = s.with(Binary::Mul, x, 1.702);
    let gate = s.unary(Unary::Sigmoid, scaled);
    let output = s.binary(Binary::Mul, x, gate);
    assert_activation(&s, output, Activation::QuickGelu);
    // A gate of something else is a product of two activations.
    let other = s.unary(Unary::Tanh, x);
    let gate = s.unary(Unary::Sigmoid, other);
    let output = s.binary(Binary::Mul, x, gate);
    assert!(!s.raised(output).iter().any(|op| matches!(op, Op::Activation(_))));
}

#[test]
fn gelu_with_the_error_function_in_every_order() {
    for order in 0..4 {
        let mut s = Sketch::new();
        let x = s.x;
        let scaled = if order % 2 == 0 {
            s.with(Binary::Div, x, std::f64::consts::SQRT_2)
        } else {
            s.with(Binary::Mul, x, 0.70710677)
        };
        let erf = s.unary(Unary::Erf, scaled);
        let shifted = s.with(Binary::Add, erf, 1.0);
        let output = match order {
            0 => {
                let half = s.with(Binary::Mul, x, 0.5);
                s.binary(Binary::Mul, half, shifted)
            }
            1 => {
                let product = s.binary(Binary::Mul, x, shifted);
                s.with(Binary::Mul, product, 0.5)
            }
            2 => {
                let half = s.with(Binary::Mul, shifted, 0.5);
                s.binary(Binary::Mul, x, half)
            }
            _ => {
                let product = s.binary(Binary::Mul, x, shifted);
                s.with(Binary::Div, product, 2.0)
            }
        };
        let raised = s.raised(output);
        assert_eq!(raised, [Op::Activation(Activation::Gelu)], "{order}");
    }
}

#[test]
fn gelu_by_tanh_with_the_cube_written_in_several_ways() {
    let root = 0.797_884_6;
    for cube in 0..4 {
        let mut s = Sketch::new();
        // The input is a sum itself, as behind a linear layer with a bias.
        let bias = s.weight(0, &[8]);
        let x = s.binary(Binary::Add, s.x, bias);
        let inner = match cube {
            0 => {
                let cube = s.with(Binary::Pow, x, 3.0);
                let scaled = s.with(Binary::Mul, cube, 0.044715);
                s.binary(Binary::Add, x, scaled)
            }
            1 => {
                let square = s.binary(Binary::Mul, x, x);
                let cube = s.binary(Binary::Mul, square, x);
                let scaled = s.with(Binary::Mul, cube, 0.044715);
                s.binary(Binary::Add, scaled, x)
            }
            _ => {
                let square = s.with(Binary::Pow, x, 2.0);
                let scaled = s.with(Binary::Mul, square, 0.044715);
                let factor = s.with(Binary::Add, scaled, 1.0);
                s.binary(Binary::Mul, x, factor)
            }
        };
        let inner = s.with(Binary::Mul, inner, root);
        let tanh = s.unary(Unary::Tanh, inner);
        let shifted = s.with(Binary::Add, tanh, 1.0);
        let half = s.with(Binary::Mul, x, 0.5);
        let output = s.binary(Binary::Mul, half, shifted);
        let raised = s.raised(output);
        assert_eq!(raised, [Op::Binary(Binary::Add), Op::Activation(Activation::GeluTanh)], "{cube}");
    }
    // With another constant it is another function.
    let mut s = Sketch::new();
    let x = s.x;
    let scaled = s.with(Binary::Mul, x, 0.9);
    let tanh = s.unary(Unary::Tanh, scaled);
    let shifted = s.with(Binary::Add, tanh, 1.0);
    let half = s.with(Binary::Mul, x, 0.5);
    let output = s.binary(Binary::Mul, half, shifted);
    assert!(!s.raised(output).iter().any(|op| matches!(op, Op::Activation(_))));
}

#[test]
fn a_gated_gelu_keeps_its_gate_as_a_product() {
    let mut s = Sketch::new();
    let x = s.x;
    let up = s.unary(Unary::Sin, x);
    let gate = s.unary(Unary::Sigmoid, x);
    let silu = s.binary(Binary::Mul, x, gate);
    let output = s.binary(Binary::Mul, silu, up);
    let mut raised = s.raised(output);
    raised.sort_by_key(|op| op.name());
    assert_eq!(raised, [Op::Binary(Binary::Mul), Op::Activation(Activation::Silu), Op::Unary(Unary::Sin)]);
}

#[test]
fn soft_cap() {
    for by_product in [false, true] {
        let mut s = Sketch::new();
        let x = s.x;
        let scaled = if by_product { s.with(Binary::Mul, x, 0.02) } else { s.with(Binary::Div, x, 50.0) };
        let tanh = s.unary(Unary::Tanh, scaled);
        let output = s.with(Binary::Mul, tanh, 50.0);
        assert!(matches!(s.raised(output)[..], [Op::SoftCap { cap }] if cap.get() == 50.0));
        let other = s.with(Binary::Mul, tanh, 30.0);
        assert!(!s.raised(other).iter().any(|op| matches!(op, Op::SoftCap { .. })));
    }
}

#[test]
fn linear_layers_and_flattened_rows() {
    let mut s = Sketch::new();
    let (x, weight, bias) = (s.x, s.weight(0, &[8, 4]), s.weight(1, &[4]));
    let product = s.g.matmul(x, weight).unwrap();
    let output = s.binary(Binary::Add, bias, product);
    assert_eq!(s.raised(output), [Op::Linear(WeightLayout::InOut)]);
    // Flattened for the product, and brought back.
    let rows = Dim::product(&s.g.shape(x)[..2]).unwrap();
    let flat = s.g.reshape(x, vec![rows, Dim::known(8)]).unwrap();
    let product = s.g.linear(flat, weight, Some(bias), WeightLayout::InOut).unwrap();
    let activated = s.unary(Unary::Tanh, product);
    let shape = [&s.g.shape(x)[..2], &[Dim::known(4)]].concat();
    let output = s.g.reshape(activated, shape).unwrap();
    assert_eq!(s.raised(output), [Op::Linear(WeightLayout::InOut), Op::Unary(Unary::Tanh)]);
    // A weight that the file transposes is read the other way round.
    let stored = s.weight(2, &[4, 8]);
    let turned = s.g.transpose_last(stored).unwrap();
    let output = s.g.matmul(x, turned).unwrap();
    assert_eq!(s.raised(output), [Op::Linear(WeightLayout::OutIn)]);
}
