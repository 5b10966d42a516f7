//! What each knob does, against formulas written out by hand, and numbers that are easily got wrong.

use gim_harness::grad::{Derivative, GradError, KnobInputs, SiteKind, differentiate};
use gim_harness::onnx::op::{Activation, Logic, Op, Real, Reduction, Unary};
use gim_harness::onnx::{Dim, Dtype, Graph, Id, Shape};
use ndarray::{Array2, ArrayD, Axis, Ix2, IxDyn, array, s};

use super::evaluator::{Data, Feeds, Sizes, activation, evaluate, softmax};
use super::programs::{feed, with_knobs};
use super::surrogate::{ATTN_LRP, CALCULUS, GIM, Settings, TRANSFORMER_LRP};

/// A graph written out by hand.
pub struct Sketch {
    pub graph: Graph,
    pub x: Id,
    pub feeds: Feeds,
    pub sizes: Sizes,
}

impl Sketch {
    /// With an input `x` of known sizes.
    pub fn new(x: ArrayD<f64>) -> Sketch {
        let shape = x.shape().iter().map(|&size| Dim::known(size)).collect();
        Sketch::symbolic(x, shape, Sizes::new())
    }

    pub fn symbolic(x: ArrayD<f64>, shape: Shape, sizes: Sizes) -> Sketch {
        let mut graph = Graph::new();
        graph.set_scope("layers.0");
        let id = graph.input("x", Dtype::F64, shape).unwrap();
        Sketch { graph, x: id, feeds: Feeds::from([("x".to_owned(), Data::Real(x))]), sizes }
    }

    /// An input that is no activation.
    pub fn constant(&mut self, name: &str, array: ArrayD<f64>) -> Id {
        let shape = array.shape().iter().map(|&size| Dim::known(size)).collect();
        self.feeds.insert(name.to_owned(), Data::Real(array));
        self.graph.input(name, Dtype::F64, shape).unwrap()
    }

    /// The sum of a value's elements.
    pub fn sum(&mut self, id: Id) -> Id {
        let axes: Vec<usize> = (0..self.graph.shape(id).len()).collect();
        self.graph.reduce(Reduction::Sum, id, &axes, false).unwrap()
    }

    pub fn differentiated(&self, score: Id, required: &[SiteKind]) -> Result<(Graph, Derivative), GradError> {
        let mut graph = self.graph.clone();
        let knobs = KnobInputs::declare(&mut graph, Dtype::F64)?;
        let derivative = differentiate(&mut graph, score, self.x, &knobs, required)?;
        Ok((graph, derivative))
    }

    pub fn gradient(&self, score: Id, settings: Settings) -> ArrayD<f64> {
        let (graph, derivative) = self.differentiated(score, &[]).unwrap();
        let feeds = with_knobs(self.feeds.clone(), settings);
        evaluate(&graph, &[derivative.gradient], &feeds, &self.sizes).real(derivative.gradient).clone()
    }
}

pub fn numbers(name: &str, shape: &[usize]) -> ArrayD<f64> {
    feed(name, Dtype::F64, shape, 7).real().clone()
}

#[track_caller]
pub fn close(found: &ArrayD<f64>, expected: &ArrayD<f64>) {
    assert_eq!(found.shape(), expected.shape());
    let largest = expected.iter().fold(1e-3f64, |largest, x| largest.max(x.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-12 * largest, "{found}\nis not\n{expected}");
    }
}

/// `softmax(scale q k^T + bias) v` with q, k and v the three parts of `x` `[seq, 3 d]`, weighed by `w` and summed;
/// `between` stands between the softmax and the values.
struct Attention {
    sketch: Sketch,
    score: Id,
    x: Array2<f64>,
    w: Array2<f64>,
    bias: Array2<f64>,
}

const SCALE: f64 = 0.7;

impl Attention {
    fn new(x: Array2<f64>, bias: Array2<f64>, between: impl Fn(&mut Sketch, Id) -> Id) -> Attention {
        let (seq, size) = (x.nrows(), x.ncols() / 3);
        let w: Array2<f64> = numbers("w", &[seq, size]).into_dimensionality().unwrap();
        let mut sketch = Sketch::new(x.clone().into_dyn());
        let [q, k, v] = [0, 1, 2].map(|part| sketch.graph.slice(sketch.x, 1, part * size, (part + 1) * size).unwrap());
        let q = sketch.graph.scaled(q, SCALE).unwrap();
        let k = sketch.graph.transpose_last(k).unwrap();
        let scores = sketch.graph.matmul(q, k).unwrap();
        let mask = sketch.constant("bias", bias.clone().into_dyn());
        let scores = sketch.graph.plus(scores, mask).unwrap();
        let p = sketch.graph.add(Op::Softmax { axis: 1 }, &[scores]).unwrap();
        let p = between(&mut sketch, p);
        let mixed = sketch.graph.matmul(p, v).unwrap();
        let weight = sketch.constant("w", w.clone().into_dyn());
        let weighed = sketch.graph.times(mixed, weight).unwrap();
        let score = sketch.sum(weighed);
        Attention { sketch, score, x, w, bias }
    }

    fn random(seq: usize) -> Attention {
        let x = numbers("x", &[seq, 6]).into_dimensionality().unwrap();
        let causal = Array2::from_shape_fn((seq, seq), |(q, k)| if k <= q { 0.0 } else { -1e30 });
        Attention::new(x, causal, |_, p| p)
    }

    fn gradient(&self, settings: Settings) -> Array2<f64> {
        self.sketch.gradient(self.score, settings).into_dimensionality::<Ix2>().unwrap()
    }

    /// By hand, from the papers.
    fn expected(&self, Settings { temperature, share: c, path, .. }: Settings) -> Array2<f64> {
        let size = self.x.ncols() / 3;
        let part = |i: usize| self.x.slice(s![.., i * size..(i + 1) * size]).to_owned();
        let (q, k, v) = (part(0), part(1), part(2));
        let scores = q.dot(&k.t()) * SCALE + &self.bias;
        let at = |t: f64| softmax(&(&scores / t).into_dyn(), 1).into_dimensionality::<Ix2>().unwrap();
        let (p, p_t) = (at(1.0), at(temperature));
        let to_v = p.t().dot(&self.w) * c;
        let to_p = self.w.dot(&v.t()) * c * path;
        let mean = (&p_t * &to_p).sum_axis(Axis(1)).insert_axis(Axis(1));
        let to_scores = &p_t * &(to_p - mean);
        let to_q = to_scores.dot(&k) * c * SCALE;
        let to_k = to_scores.t().dot(&q) * c * SCALE;
        ndarray::concatenate![Axis(1), to_q, to_k, to_v]
    }
}

#[test]
fn attention_is_that_of_the_papers() {
    for seq in [1, 2, 5] {
        let attention = Attention::random(seq);
        for temperature in [1.0, 2.0, 0.5] {
            for share in [1.0, 0.5, 0.3] {
                for path in [1.0, 0.4, 0.0] {
                    let settings = Settings { temperature, share, path, ..CALCULUS };
                    close(&attention.gradient(settings).into_dyn(), &attention.expected(settings).into_dyn());
                }
            }
        }
    }
}

#[test]
fn queries_and_keys_get_a_quarter_where_values_get_half() {
    let attention = Attention::random(4);
    let whole = attention.gradient(CALCULUS);
    let shared = attention.gradient(Settings { share: 0.5, ..CALCULUS });
    let (queries_and_keys, values) = (s![.., ..4], s![.., 4..]);
    close(
        &shared.slice(queries_and_keys).to_owned().into_dyn(),
        &(whole.slice(queries_and_keys).to_owned() / 4.0).into_dyn(),
    );
    close(&shared.slice(values).to_owned().into_dyn(), &(whole.slice(values).to_owned() / 2.0).into_dyn());
}

#[test]
fn the_closed_attention_path_leaves_the_values_alone() {
    let attention = Attention::random(4);
    let whole = attention.gradient(CALCULUS);
    let closed = attention.gradient(Settings { path: 0.0, ..CALCULUS });
    assert!(closed.slice(s![.., ..4]).iter().all(|&x| x == 0.0));
    assert_eq!(closed.slice(s![.., 4..]), whole.slice(s![.., 4..]));
    assert_eq!(attention.gradient(TRANSFORMER_LRP), closed);
}

/// As exported graphs have it: a dropout's scale, zeros where nothing was attended to.
#[test]
fn attention_weights_are_known_after_a_mask_or_a_scale() {
    let x = || numbers("x", &[3, 6]).into_dimensionality().unwrap();
    let bias = || Array2::zeros((3, 3));
    let plain = Attention::new(x(), bias(), |_, p| p);
    let masked = Attention::new(x(), bias(), |sketch, p| {
        let zero = sketch.graph.scalar(0.0, p).unwrap();
        let ones = sketch.constant("ones", ArrayD::ones(IxDyn(&[3, 1])));
        let present = sketch.graph.logic(Logic::Greater, ones, zero).unwrap();
        let p = sketch.graph.choose(present, p, zero).unwrap();
        let twice = sketch.graph.times(ones, p).unwrap();
        sketch.graph.divided(twice, ones).unwrap()
    });
    for settings in [CALCULUS, GIM, Settings { path: 0.2, ..GIM }] {
        close(&masked.gradient(settings).into_dyn(), &plain.gradient(settings).into_dyn());
    }
}

#[test]
fn one_token_attends_to_itself_whatever_its_query() {
    let gradient = Attention::random(1).gradient(GIM);
    assert!(gradient.slice(s![.., ..4]).iter().all(|&x| x == 0.0));
    assert!(gradient.slice(s![.., 4..]).iter().all(|&x| x != 0.0));
}

#[test]
fn padding_gets_no_gradient_and_rows_without_keys_stay_numbers() {
    let x: Array2<f64> = numbers("x", &[4, 6]).into_dimensionality().unwrap();
    // Token 2 is padding for all; token 0 sees nothing at all.
    let bias = Array2::from_shape_fn((4, 4), |(q, k)| if k == 2 || q == 0 { -1e30 } else { 0.0 });
    let attention = Attention::new(x, bias, |_, p| p);
    for settings in [CALCULUS, GIM, ATTN_LRP, TRANSFORMER_LRP] {
        let gradient = attention.gradient(settings);
        close(&gradient.clone().into_dyn(), &attention.expected(settings).into_dyn());
        assert!(gradient.iter().all(|x| x.is_finite()));
        // Its key and value matter to row 0 alone, which sees all alike.
        assert!(gradient.slice(s![2, 2..4]).iter().all(|x| x.abs() < 1.0));
    }
}

#[test]
fn large_scores_stay_numbers() {
    let x: Array2<f64> = numbers("x", &[3, 6]).into_dimensionality::<Ix2>().unwrap() * 1e4;
    let attention = Attention::new(x, Array2::zeros((3, 3)), |_, p| p);
    for settings in [CALCULUS, GIM] {
        assert!(attention.gradient(settings).iter().all(|x| x.is_finite()));
        close(&attention.gradient(settings).into_dyn(), &attention.expected(settings).into_dyn());
    }
}

#[test]
fn a_chain_of_products_shares_at_every_link() {
    let x = numbers("x", &[3]);
    let mut sketch = Sketch::new(x.clone());
    let [a, b, c] = [0, 1, 2].map(|i| sketch.graph.slice(sketch.x, 0, i, i + 1).unwrap());
    let ab = sketch.graph.times(a, b).unwrap();
    let abc = sketch.graph.times(ab, c).unwrap();
    let score = sketch.sum(abc);
    let found = sketch.gradient(score, Settings { share: 0.3, ..CALCULUS });
    let expected = array![0.09 * x[[1]] * x[[2]], 0.09 * x[[0]] * x[[2]], 0.3 * x[[0]] * x[[1]]];
    close(&found, &expected.into_dyn());
}

/// Gates have a share of their own; matrix products keep that of all products, and so does what attention weights scale.
#[test]
fn gates_share_by_themselves() {
    let x: Array2<f64> = numbers("x", &[3, 2]).into_dimensionality().unwrap();
    let mut sketch = Sketch::new(x.clone().into_dyn());
    let [a, b] = [0, 1].map(|i| sketch.graph.slice(sketch.x, 1, i, i + 1).unwrap());
    let gated = sketch.graph.times(a, b).unwrap();
    let turned = sketch.graph.transpose_last(b).unwrap();
    let product = sketch.graph.matmul(turned, gated).unwrap();
    let score = sketch.sum(product);
    let found = sketch.gradient(score, Settings { share: 0.3, gate: Some(0.7), ..CALCULUS });
    // sum a b b: of the gate once, of the matrix product behind and beside it.
    let (a, b) = (x.column(0), x.column(1));
    let expected =
        Array2::from_shape_fn((3, 2), |(row, i)| [0.21 * b[row] * b[row], 0.51 * a[row] * b[row]][i]).into_dyn();
    close(&found, &expected);

    let (_, derivative) = sketch.differentiated(score, &[]).unwrap();
    let rules: Vec<&str> = derivative.audit.sites.iter().map(|site| site.rule.as_str()).collect();
    assert_eq!(rules, ["shared product (gate_share)", "shared product (product_share)"]);

    let mut sketch = Sketch::new(x.into_dyn());
    let weights = sketch.graph.add(Op::Softmax { axis: 1 }, &[sketch.x]).unwrap();
    let weighed = sketch.graph.times(weights, sketch.x).unwrap();
    let score = sketch.sum(weighed);
    let settings = Settings { share: 0.3, ..CALCULUS };
    assert_eq!(sketch.gradient(score, Settings { gate: Some(0.7), ..settings }), sketch.gradient(score, settings));
}

/// Each of the two equal factors takes its share: at one half, `x` times the gradient is `x * x`, as for any product.
#[test]
fn a_square_shares_between_its_equal_factors() {
    let x = numbers("x", &[2, 3]);
    let mut sketch = Sketch::new(x.clone());
    let square = sketch.graph.times(sketch.x, sketch.x).unwrap();
    let score = sketch.sum(square);
    close(&sketch.gradient(score, CALCULUS), &(&x * 2.0));
    close(&sketch.gradient(score, GIM), &x);

    let mut sketch = Sketch::new(x.clone());
    let turned = sketch.graph.transpose_last(sketch.x).unwrap();
    let product = sketch.graph.matmul(sketch.x, turned).unwrap();
    let score = sketch.sum(product);
    let rows = x.clone().into_dimensionality::<Ix2>().unwrap();
    let expected = Array2::<f64>::ones((2, 2)).dot(&rows).into_dyn();
    close(&sketch.gradient(score, CALCULUS), &(&expected * 2.0));
    close(&sketch.gradient(score, GIM), &expected);
}

/// With `y = x r w` and `r = 1 / rms(x)`, `dy/dx = r w (delta - (1 - freeze) n n / d)`.
fn norm_gradient(x: &Array2<f64>, weight: &ArrayD<f64>, out: &Array2<f64>, eps: f64, freeze: f64) -> Array2<f64> {
    let size = x.ncols();
    Array2::from_shape_fn(x.raw_dim(), |(row, i)| {
        let lane = x.row(row);
        let r = 1.0 / (lane.dot(&lane) / size as f64 + eps).sqrt();
        let entry = |j: usize| {
            let own = if i == j { r } else { 0.0 };
            own - (1.0 - freeze) * r.powi(3) * lane[i] * lane[j] / size as f64
        };
        (0..size).map(|j| out[[row, j]] * weight[[j]] * entry(j)).sum()
    })
}

#[test]
fn norms_freeze_their_statistic_to_the_degree_of_the_knob() {
    let eps = 1e-5;
    let (x, out) = (numbers("x", &[3, 4]), numbers("out", &[3, 4]));
    let plain = |array: &ArrayD<f64>| array.clone().into_dimensionality::<Ix2>().unwrap();
    let centered = |x: &Array2<f64>| x - &x.mean_axis(Axis(1)).unwrap().insert_axis(Axis(1));
    for with_mean in [false, true] {
        let mut sketch = Sketch::new(x.clone());
        let weight = sketch.constant("weight", numbers("weight", &[4]));
        let bias = sketch.constant("bias", numbers("bias", &[4]));
        let eps = Real::new(eps);
        let normed = match with_mean {
            false => sketch.graph.add(Op::RmsNorm { eps }, &[sketch.x, weight]),
            true => sketch.graph.add(Op::LayerNorm { eps }, &[sketch.x, weight, bias]),
        };
        let out_id = sketch.constant("out", out.clone());
        let weighed = sketch.graph.times(normed.unwrap(), out_id).unwrap();
        let score = sketch.sum(weighed);
        let at = |freeze: f64| sketch.gradient(score, Settings { freeze, ..CALCULUS });
        for freeze in [0.0, 0.5, 1.0, 0.2] {
            let weight = numbers("weight", &[4]);
            let expected = match with_mean {
                false => norm_gradient(&plain(&x), &weight, &plain(&out), eps.get(), freeze),
                // The subtraction of the mean is its own transpose.
                true => centered(&norm_gradient(&centered(&plain(&x)), &weight, &plain(&out), eps.get(), freeze)),
            };
            close(&at(freeze), &expected.into_dyn());
            close(&at(freeze), &(at(0.0) * (1.0 - freeze) + at(1.0) * freeze));
        }
        // The mean is no statistic: a shift of all elements changes nothing, frozen or not.
        if with_mean {
            assert!(at(1.0).sum_axis(Axis(1)).iter().all(|sum| sum.abs() < 1e-12));
        }
    }
}

#[test]
fn norms_of_zeros_and_of_large_numbers_stay_numbers() {
    for x in [ArrayD::zeros(IxDyn(&[1, 4])), numbers("x", &[1, 4]) * 1e6, numbers("x", &[1, 4]) * 1e-6] {
        for op in [Op::RmsNorm { eps: Real::new(1e-6) }, Op::LayerNorm { eps: Real::new(1e-6) }] {
            let mut sketch = Sketch::new(x.clone());
            let mut inputs = vec![sketch.x, sketch.constant("weight", numbers("weight", &[4]))];
            if let Op::LayerNorm { .. } = op {
                inputs.push(sketch.constant("bias", numbers("bias", &[4])));
            }
            let normed = sketch.graph.add(op, &inputs).unwrap();
            let score = sketch.sum(normed);
            for settings in [CALCULUS, GIM] {
                assert!(sketch.gradient(score, settings).iter().all(|x| x.is_finite()));
            }
        }
    }
}

const ACTIVATIONS: [Activation; 5] =
    [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu];

fn slopes(kind: Activation, x: &[f64], secant: f64) -> ArrayD<f64> {
    let mut sketch = Sketch::new(ArrayD::from_shape_vec(IxDyn(&[x.len()]), x.to_vec()).unwrap());
    let y = sketch.graph.activation(kind, sketch.x).unwrap();
    let score = sketch.sum(y);
    sketch.gradient(score, Settings { secant, ..CALCULUS })
}

#[test]
fn the_secant_is_the_value_by_its_argument() {
    let x = [-3.0, -0.5, -1e-9, 1e-9, 0.1, 0.75, 2.0, 6.0];
    for kind in ACTIVATIONS {
        let (calculus, secant) = (slopes(kind, &x, 0.0), slopes(kind, &x, 1.0));
        for (i, &x) in x.iter().enumerate() {
            // Absolute: `erf` cancels in the tail.
            assert!((secant[[i]] - activation(kind, x) / x).abs() < 1e-13, "{kind:?} at {x}");
            if x.abs() > 1e-3 {
                let step = 1e-5;
                let difference = (activation(kind, x + step) - activation(kind, x - step)) / (2.0 * step);
                assert!((calculus[[i]] - difference).abs() < 1e-9, "{kind:?} at {x}");
            }
        }
        close(&slopes(kind, &x, 0.5), &((calculus + secant) / 2.0));
    }
}

#[test]
fn the_secant_at_zero_is_the_limit() {
    for kind in ACTIVATIONS {
        let expected = if kind == Activation::Relu { 0.0 } else { 0.5 };
        for secant in [0.0, 0.5, 1.0] {
            assert_eq!(slopes(kind, &[0.0], secant)[[0]], expected, "{kind:?}");
        }
    }
}

#[test]
fn activations_far_out_are_lines() {
    for kind in ACTIVATIONS {
        for secant in [0.0, 0.5, 1.0] {
            let slopes = slopes(kind, &[-1e4, 1e4], secant);
            assert!(slopes[[0]].abs() < 1e-12 && (slopes[[1]] - 1.0).abs() < 1e-12, "{kind:?}: {slopes}");
        }
    }
}

/// The products inside norms, activations and the soft cap are not shared, nor is any site there.
#[test]
fn composites_keep_their_products_to_themselves() {
    let mut sketch = Sketch::new(numbers("x", &[2, 4]));
    let weight = sketch.constant("weight", numbers("weight", &[4]));
    let bias = sketch.constant("bias", numbers("bias", &[4]));
    let (cos, sin) = (numbers("cos", &[2, 2]), numbers("sin", &[2, 2]));
    let (cos, sin) = (sketch.constant("cos", cos), sketch.constant("sin", sin));
    let eps = Real::new(1e-5);
    let mut y = sketch.graph.add(Op::RmsNorm { eps }, &[sketch.x, weight]).unwrap();
    y = sketch.graph.add(Op::LayerNorm { eps }, &[y, weight, bias]).unwrap();
    for kind in ACTIVATIONS {
        y = sketch.graph.activation(kind, y).unwrap();
    }
    y = sketch.graph.add(Op::SoftCap { cap: Real::new(2.0) }, &[y]).unwrap();
    y = sketch.graph.add(Op::Rotary, &[y, cos, sin]).unwrap();
    y = sketch.graph.scaled(y, 3.0).unwrap();
    y = sketch.graph.times(y, weight).unwrap();
    y = sketch.graph.add(Op::Softmax { axis: 1 }, &[y]).unwrap();
    y = sketch.graph.unary(Unary::Log, y).unwrap();
    let score = sketch.graph.slice(y, 1, 0, 1).unwrap();
    let (_, derivative) = sketch.differentiated(score, &[]).unwrap();
    let counts = SiteKind::ALL.map(|kind| derivative.audit.count(kind));
    assert_eq!(counts, [0, 2, 0, 5], "attention softmaxes, norms, products, activations");
    let others = Settings { temperature: 3.0, share: 0.1, path: 0.2, ..CALCULUS };
    assert_eq!(sketch.gradient(score, others), sketch.gradient(score, CALCULUS));
}

/// `x` used four times, once through a constant, once not at all.
#[test]
fn gradients_of_what_is_used_several_times_add_up() {
    let x = numbers("x", &[3]);
    let mut sketch = Sketch::new(x.clone());
    let square = sketch.graph.times(sketch.x, sketch.x).unwrap();
    let sine = sketch.graph.unary(Unary::Sin, sketch.x).unwrap();
    let sum = sketch.graph.plus(square, sine).unwrap();
    let sum = sketch.graph.plus(sum, sketch.x).unwrap();
    let both = sketch.graph.plus(sum, sum).unwrap();
    let rest = sketch.graph.minus(sketch.x, sketch.x).unwrap();
    let all = sketch.graph.plus(both, rest).unwrap();
    let score = sketch.sum(all);
    close(&sketch.gradient(score, CALCULUS), &x.mapv(|x| 2.0 * (2.0 * x + x.cos() + 1.0)));
}

#[test]
fn powers_of_negative_numbers_and_of_zero() {
    let x = array![-1.5, -0.5, 0.0, 2.0].into_dyn();
    let slope = |p: f64| {
        let mut sketch = Sketch::new(x.clone());
        let exponent = sketch.graph.scalar(p, sketch.x).unwrap();
        let power = sketch.graph.binary(gim_harness::onnx::op::Binary::Pow, sketch.x, exponent).unwrap();
        let power = sketch.graph.plus(power, sketch.x).unwrap();
        let score = sketch.sum(power);
        sketch.gradient(score, CALCULUS) - 1.0
    };
    close(&slope(3.0), &x.mapv(|x| 3.0 * x * x));
    close(&slope(2.0), &x.mapv(|x| 2.0 * x));
    close(&slope(1.0), &x.mapv(|_| 1.0));
    close(&slope(0.0), &x.mapv(|_| 0.0));
}

/// Elements of an axis whose size is known only at run time.
#[test]
fn one_element_of_a_symbolic_axis() {
    for seq in [2, 5] {
        let x = numbers("x", &[3, seq, 2]);
        let shape = vec![Dim::symbol("batch"), Dim::symbol("seq"), 2.into()];
        let mut sketch = Sketch::symbolic(x, shape, Sizes::from([("batch", 3), ("seq", seq)]));
        let second = sketch.graph.slice(sketch.x, 1, 1, 2).unwrap();
        let score = sketch.sum(second);
        let expected = ArrayD::from_shape_fn(IxDyn(&[3, seq, 2]), |i| f64::from(u8::from(i[1] == 1)));
        close(&sketch.gradient(score, CALCULUS), &expected);
        let mean = sketch.graph.reduce(Reduction::Mean, sketch.x, &[0, 1], false).unwrap();
        let score = sketch.sum(mean);
        close(&sketch.gradient(score, CALCULUS), &ArrayD::from_elem(IxDyn(&[3, seq, 2]), 1.0 / (3 * seq) as f64));
    }
}
