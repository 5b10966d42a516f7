//! Random small graphs: a few steps, each of which adds one operator (and what it needs to be defined) to what is there.

use gim_harness::grad::{Derivative, GradError, KnobInputs, Knobs, SiteKind, differentiate};
use gim_harness::onnx::infer::broadcast;
use gim_harness::onnx::op::{Activation, Attribute, Binary, Logic, Opaque, Real, Reduction, Unary, WeightLayout};
use gim_harness::onnx::{Dim, Dtype, Graph, Id, Op, Shape, Tensor};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::evaluator::{Data, Feeds, Sizes, Values, compute, sizes_of};
use super::surrogate::{ATTN_LRP, GIM, RELP, Settings, TRANSFORMER_LRP};

/// What a step adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Unary(Unary),
    Binary(Binary),
    Activation(Activation),
    Linear(WeightLayout),
    Reduce(Reduction),
    Where,
    SoftCap,
    MatMul,
    Softmax,
    RmsNorm,
    LayerNorm,
    Rotary,
    Reshape,
    Transpose,
    Expand,
    Cast,
    Concat,
    Slice,
    Pad,
    Gather,
    GatherElements,
    /// Several operators: the parts of a fused projection, which cover an axis or do not, used apart.
    Split,
    /// Several operators: `softmax(q k^T) v`.
    Attention,
    /// Several operators: `act(x W) * (x V)`.
    Gate,
}

pub const KINDS: [Kind; 45] = [
    Kind::Unary(Unary::Neg),
    Kind::Unary(Unary::Abs),
    Kind::Unary(Unary::Sqrt),
    Kind::Unary(Unary::Reciprocal),
    Kind::Unary(Unary::Exp),
    Kind::Unary(Unary::Log),
    Kind::Unary(Unary::Tanh),
    Kind::Unary(Unary::Sigmoid),
    Kind::Unary(Unary::Erf),
    Kind::Unary(Unary::Sin),
    Kind::Unary(Unary::Cos),
    Kind::Binary(Binary::Add),
    Kind::Binary(Binary::Sub),
    Kind::Binary(Binary::Mul),
    Kind::Binary(Binary::Div),
    Kind::Binary(Binary::Pow),
    Kind::Activation(Activation::Silu),
    Kind::Activation(Activation::Gelu),
    Kind::Activation(Activation::GeluTanh),
    Kind::Activation(Activation::QuickGelu),
    Kind::Activation(Activation::Relu),
    Kind::Linear(WeightLayout::OutIn),
    Kind::Linear(WeightLayout::InOut),
    Kind::Reduce(Reduction::Sum),
    Kind::Reduce(Reduction::Mean),
    Kind::Reduce(Reduction::Max),
    Kind::Where,
    Kind::SoftCap,
    Kind::MatMul,
    Kind::Softmax,
    Kind::RmsNorm,
    Kind::LayerNorm,
    Kind::Rotary,
    Kind::Reshape,
    Kind::Transpose,
    Kind::Expand,
    Kind::Cast,
    Kind::Concat,
    Kind::Slice,
    Kind::Pad,
    Kind::Gather,
    Kind::GatherElements,
    Kind::Split,
    Kind::Attention,
    Kind::Gate,
];

/// A step: what, and a number that all its choices are taken from.
pub type Step = (Kind, u64);

/// What a graph is made from.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The source's shape is one of a few.
    pub source: usize,
    pub batch: usize,
    pub seq: usize,
    pub seed: u64,
    pub steps: Vec<Step>,
}

pub fn recipes(steps: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Recipe> {
    let step = (proptest::sample::select(&KINDS[..]), any::<u64>());
    (0..5usize, 1..=3usize, 1..=4usize, any::<u64>(), proptest::collection::vec(step, steps))
        .prop_map(|(source, batch, seq, seed, steps)| Recipe { source, batch, seq, seed, steps })
}

/// GIM, its relatives, and anything between them and calculus.
pub fn any_settings() -> impl Strategy<Value = Settings> {
    prop_oneof![
        Just(GIM),
        Just(ATTN_LRP),
        Just(TRANSFORMER_LRP),
        Just(RELP),
        (0.5..4.0f64, 0.0..=1.0f64, 0.0..1.5f64, 0.0..=1.0f64, 0.0..=1.0f64, 0.0..1.5f64).prop_map(
            |(temperature, freeze, share, path, secant, gate)| Settings {
                temperature,
                freeze,
                share,
                path,
                secant,
                gate: Some(gate)
            }
        ),
    ]
}

/// A fixed number of cases from a fixed seed: a failure is one for everybody, every time.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(20_250_517),
        max_shrink_iters: 4096,
        ..ProptestConfig::default()
    }
}

/// A score made from a source, and the inputs that all of it is made from.
pub struct Program {
    pub graph: Graph,
    pub source: Id,
    pub score: Id,
    pub inputs: Vec<Id>,
    pub feeds: Feeds,
    pub sizes: Sizes,
}

impl Program {
    pub fn new(recipe: &Recipe) -> Program {
        let mut builder = Builder::new(recipe);
        for &(kind, choices) in &recipe.steps {
            builder.step(kind, choices);
        }
        builder.finish()
    }

    /// The graph with knobs and backward pass, the knobs, and what `differentiate` gives.
    pub fn differentiated(&self) -> (Graph, KnobInputs, Derivative) {
        self.try_differentiated(&[]).unwrap()
    }

    pub fn try_differentiated(&self, required: &[SiteKind]) -> Result<(Graph, KnobInputs, Derivative), GradError> {
        let mut graph = self.graph.clone();
        let knobs = KnobInputs::declare(&mut graph, Dtype::F64)?;
        let derivative = differentiate(&mut graph, self.score, self.source, &knobs, required)?;
        Ok((graph, knobs, derivative))
    }

    /// What is fed at some setting of the knobs.
    pub fn feeds_at(&self, settings: Settings) -> Feeds {
        with_knobs(self.feeds.clone(), settings)
    }

    /// Other numbers, at other sizes.
    pub fn other_feeds(&self, sizes: &Sizes, seed: u64) -> Feeds {
        let feed = |&id: &Id| {
            let Op::Input { name, dtype, shape } = &self.graph.value(id).op else { unreachable!() };
            (name.clone(), feed(name, *dtype, &sizes_of(shape, sizes), seed))
        };
        self.inputs.iter().map(feed).collect()
    }
}

/// What is fed, and the knobs with it.
pub fn with_knobs(mut feeds: Feeds, settings: Settings) -> Feeds {
    let Settings { temperature, freeze, share, path, secant, gate } = settings;
    let all = [temperature, freeze, share, path, secant, gate.unwrap_or(share)];
    for (name, value) in Knobs::NAMES.into_iter().zip(all) {
        feeds.insert(name.to_owned(), Data::Real(ndarray::arr0(value).into_dyn()));
    }
    feeds
}

/// Numbers for an input; its name says of what sort. They are numbers of f32 too.
pub fn feed(name: &str, dtype: Dtype, shape: &[usize], seed: u64) -> Data {
    let salt = name.bytes().fold(seed, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    let mut rng = ChaCha8Rng::seed_from_u64(salt);
    if dtype == Dtype::Bool {
        return Data::Truth(ArrayD::from_shape_simple_fn(IxDyn(shape), || rng.random_bool(0.6)));
    }
    let mut number = |low: f32, high: f32| f64::from(rng.random_range(low..high));
    Data::Real(ArrayD::from_shape_simple_fn(IxDyn(shape), || match name {
        _ if name.starts_with("positive") => number(0.5, 1.6),
        _ if name.starts_with("angle") => number(-3.1, 3.1),
        _ => number(-1.2, 1.2),
    }))
}

/// The choices of a step, taken one after another from one number.
struct Choices(u64);

impl Choices {
    fn below(&mut self, count: usize) -> usize {
        let choice = self.0 % count as u64;
        self.0 /= count as u64;
        choice as usize
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 1
    }
}

struct Builder {
    graph: Graph,
    source: Id,
    inputs: Vec<Id>,
    feeds: Feeds,
    sizes: Sizes,
    seed: u64,
    /// Everything so far: steps look at it to keep numbers in bounds.
    values: Values,
    computed: usize,
    /// What steps start from; all of it is made from the source.
    pool: Vec<Id>,
}

impl Builder {
    fn new(recipe: &Recipe) -> Self {
        let (batch, seq) = (Dim::symbol("batch"), Dim::symbol("seq"));
        let shape: Shape = match recipe.source {
            0 => vec![batch, seq, 4.into()],
            1 => vec![2.into(), 3.into()],
            2 => vec![batch, 2.into(), seq, 2.into()],
            3 => vec![4.into()],
            _ => vec![seq, 1.into(), 4.into()],
        };
        let mut graph = Graph::new();
        graph.set_scope("layers.0");
        let source = graph.input("source", Dtype::F64, shape).unwrap();
        let mut builder = Builder {
            graph,
            source,
            inputs: vec![source],
            feeds: Feeds::new(),
            sizes: Sizes::from([("batch", recipe.batch), ("seq", recipe.seq)]),
            seed: recipe.seed,
            values: Values::default(),
            computed: 0,
            pool: vec![source],
        };
        builder.feed(source);
        builder
    }

    /// The sum of the source and everything that nothing else uses, each element with a weight of its own.
    fn finish(mut self) -> Program {
        let mut used = vec![false; self.graph.len()];
        for id in self.graph.ids() {
            for input in &self.graph.value(id).inputs {
                used[input.index()] = true;
            }
        }
        let mut score = None;
        let source = self.source;
        for id in self.pool.clone().into_iter().filter(|&id| id == source || !used[id.index()]) {
            let shape = self.shape(id);
            let weight = self.input("weight", shape);
            let part = self.graph.times(id, weight).unwrap();
            let axes: Vec<usize> = (0..self.graph.shape(part).len()).collect();
            let part = match axes.is_empty() {
                true => part,
                false => self.graph.reduce(Reduction::Sum, part, &axes, false).unwrap(),
            };
            score = Some(match score {
                Some(score) => self.graph.plus(score, part).unwrap(),
                None => part,
            });
        }
        let Builder { graph, source, inputs, feeds, sizes, .. } = self;
        Program { graph, source, score: score.unwrap(), inputs, feeds, sizes }
    }

    fn shape(&self, id: Id) -> Shape {
        self.graph.shape(id).to_vec()
    }

    fn feed(&mut self, id: Id) {
        let Op::Input { name, dtype, shape } = &self.graph.value(id).op else { unreachable!() };
        let shape = sizes_of(shape, &self.sizes);
        self.feeds.insert(name.clone(), feed(name, *dtype, &shape, self.seed));
    }

    fn typed_input(&mut self, sort: &str, dtype: Dtype, shape: Shape) -> Id {
        let name = format!("{sort}_{}", self.inputs.len());
        let id = self.graph.input(&name, dtype, shape).unwrap();
        self.inputs.push(id);
        self.feed(id);
        id
    }

    /// Numbers that do not depend on the source.
    fn input(&mut self, sort: &str, shape: Shape) -> Id {
        self.typed_input(sort, Dtype::F64, shape)
    }

    fn number(&mut self, value: f64) -> Id {
        self.graph.scalar(value, self.source).unwrap()
    }

    fn op(&mut self, op: Op, inputs: &[Id]) -> Id {
        self.graph.add(op, inputs).unwrap()
    }

    fn magnitude(&mut self, id: Id) -> f64 {
        for id in self.graph.ids().skip(self.computed) {
            compute(&self.graph, id, &self.feeds, &self.sizes, &mut self.values);
        }
        self.computed = self.graph.len();
        self.values.real(id).iter().fold(0.0, |largest, x| largest.max(x.abs()))
    }

    /// Scaled so that no element is large here.
    fn tame(&mut self, id: Id) -> Id {
        let magnitude = self.magnitude(id);
        assert!(magnitude.is_finite());
        if magnitude > 3.0 { self.graph.scaled(id, 2.0 / magnitude).unwrap() } else { id }
    }

    /// Something positive made from a value.
    fn positive(&mut self, id: Id, c: &mut Choices) -> Id {
        if c.yes() {
            let bounded = self.graph.unary(Unary::Tanh, id).unwrap();
            return self.graph.unary(Unary::Exp, bounded).unwrap();
        }
        let square = self.graph.times(id, id).unwrap();
        let offset = self.number(0.3);
        self.graph.plus(square, offset).unwrap()
    }

    /// One of the values so far, the last one as often as not.
    fn any(&mut self, c: &mut Choices) -> Id {
        if c.yes() { *self.pool.last().unwrap() } else { self.pool[c.below(self.pool.len())] }
    }

    /// One with at least so many axes.
    fn of_rank(&mut self, rank: usize, c: &mut Choices) -> Id {
        let mut id = self.any(c);
        while self.graph.shape(id).len() < rank {
            id = self.graph.unsqueeze(id, c.below(self.graph.shape(id).len() + 1)).unwrap();
        }
        id
    }

    /// A shape that broadcasts to this one: fewer leading axes, some sizes 1.
    fn narrowed(&self, shape: &[Dim], c: &mut Choices) -> Shape {
        let dropped = if c.yes() { 0 } else { c.below(shape.len() + 1) };
        shape[dropped..].iter().map(|dim| if c.below(3) == 0 { Dim::known(1) } else { dim.clone() }).collect()
    }

    /// What to combine a value with: of its shape, narrower, wider, and from the source or not.
    fn partner(&mut self, id: Id, sort: &str, c: &mut Choices) -> Id {
        let shape = self.shape(id);
        match c.below(5) {
            0 => {
                let narrowed = self.narrowed(&shape, c);
                self.input(sort, narrowed)
            }
            1 if shape.len() < 4 => {
                let mut wider = vec![Dim::known(2)];
                wider.extend(shape.iter().map(|dim| if c.yes() { Dim::known(1) } else { dim.clone() }));
                self.input(sort, wider)
            }
            // Means of a value from the source, with axes of size 1 or without them.
            2 | 3 if !shape.is_empty() => {
                let axis = c.below(shape.len());
                let keep = c.yes();
                let axes: Vec<usize> = if keep { vec![axis] } else { (0..=axis).collect() };
                let mean = self.graph.reduce(Reduction::Mean, id, &axes, keep).unwrap();
                self.graph.unary(Unary::Sin, mean).unwrap()
            }
            _ => {
                let fits = |&other: &Id| {
                    broadcast(&shape, self.graph.shape(other)).is_ok_and(|wide| wide.len() <= shape.len().max(4))
                };
                let fitting: Vec<Id> = self.pool.iter().copied().filter(fits).collect();
                fitting[c.below(fitting.len())]
            }
        }
    }

    fn step(&mut self, kind: Kind, choices: u64) {
        let mut choices = Choices(choices);
        let result = self.made(kind, &mut choices);
        let result = self.tame(result);
        if self.graph.shape(result).len() <= 5 {
            self.pool.push(result);
        }
    }

    fn made(&mut self, kind: Kind, c: &mut Choices) -> Id {
        match kind {
            Kind::Unary(unary) => {
                let mut x = self.any(c);
                match unary {
                    Unary::Sqrt | Unary::Log => x = self.positive(x, c),
                    Unary::Reciprocal => {
                        x = self.positive(x, c);
                        if c.yes() {
                            x = self.graph.unary(Unary::Neg, x).unwrap();
                        }
                    }
                    _ => {}
                }
                self.graph.unary(unary, x).unwrap()
            }
            Kind::Binary(binary) => self.binary(binary, c),
            Kind::Activation(kind) => {
                let x = self.any(c);
                let x = self.graph.scaled(x, [1.0, 2.5][c.below(2)]).unwrap();
                self.graph.activation(kind, x).unwrap()
            }
            Kind::Linear(layout) => {
                let x = self.of_rank(1, c);
                let size_in = self.shape(x).pop().unwrap();
                self.linear(x, size_in, 1 + c.below(4), layout, c.yes())
            }
            Kind::Reduce(kind) => {
                let x = self.of_rank(1, c);
                let rank = self.shape(x).len();
                let mut axes: Vec<usize> = (0..rank).filter(|_| c.yes()).collect();
                if axes.is_empty() {
                    axes.push(c.below(rank));
                }
                self.graph.reduce(kind, x, &axes, c.yes()).unwrap()
            }
            Kind::Where => self.choice(c),
            Kind::SoftCap => {
                let x = self.any(c);
                self.op(Op::SoftCap { cap: Real::new([0.7, 1.5, 30.0][c.below(3)]) }, &[x])
            }
            Kind::MatMul => self.matmul(c),
            Kind::Softmax => {
                let x = self.of_rank(1, c);
                let axis = c.below(self.shape(x).len());
                self.op(Op::Softmax { axis }, &[x])
            }
            Kind::RmsNorm | Kind::LayerNorm => {
                let x = self.of_rank(1, c);
                let size = self.shape(x).pop().unwrap();
                let eps = Real::new([0.01, 0.1][c.below(2)]);
                let weight = self.input("weight", vec![size.clone()]);
                if kind == Kind::RmsNorm {
                    return self.op(Op::RmsNorm { eps }, &[x, weight]);
                }
                let bias = self.input("bias", vec![size]);
                self.op(Op::LayerNorm { eps }, &[x, weight, bias])
            }
            Kind::Rotary => self.rotary(c),
            Kind::Reshape => self.reshape(c),
            Kind::Transpose => {
                let x = self.of_rank(2, c);
                let mut axes: Vec<usize> = (0..self.shape(x).len()).collect();
                let order: Vec<usize> = (0..axes.len()).map(|_| axes.remove(c.below(axes.len()))).collect();
                self.graph.transpose(x, &order).unwrap()
            }
            Kind::Expand => {
                let x = self.of_rank(1, c);
                let mut shape = self.shape(x);
                let axis = c.below(shape.len());
                let narrow = self.graph.reduce(Reduction::Mean, x, &[axis], true).unwrap();
                if c.yes() && shape.len() < 4 {
                    shape.insert(0, Dim::symbol("batch"));
                }
                self.op(Op::Expand(shape), &[narrow])
            }
            Kind::Cast => {
                let x = self.any(c);
                let narrow = self.graph.cast(x, Dtype::F32).unwrap();
                self.graph.cast(narrow, Dtype::F64).unwrap()
            }
            Kind::Concat => self.concat(c),
            Kind::Slice => {
                let x = self.of_rank(1, c);
                let axis = c.below(self.shape(x).len());
                match self.shape(x)[axis].value() {
                    None => self.graph.slice(x, axis, 0, 1).unwrap(),
                    Some(1) => {
                        let x = self.op(Op::Pad { axis, before: 1, after: 1 }, &[x]);
                        self.graph.slice(x, axis, 0, 2).unwrap()
                    }
                    Some(size) => {
                        let start = c.below(size);
                        let end = start + 1 + c.below(size - start);
                        self.graph.slice(x, axis, start, end).unwrap()
                    }
                }
            }
            Kind::Pad => {
                let (x, axis) = self.with_known_axis(c);
                self.op(Op::Pad { axis, before: c.below(3), after: c.below(3) }, &[x])
            }
            Kind::Gather => {
                let x = self.of_rank(1, c);
                let axis = c.below(self.shape(x).len());
                let indices = self.indices(&self.shape(x)[axis], 1 + c.below(4), c);
                let count = self.graph.shape(indices)[0].clone();
                let indices = match c.below(3) {
                    0 if count == Dim::known(1) => self.graph.reshape(indices, vec![]).unwrap(),
                    1 => self.graph.reshape(indices, vec![Dim::known(1), count]).unwrap(),
                    _ => indices,
                };
                self.op(Op::Gather { axis }, &[x, indices])
            }
            Kind::GatherElements => {
                let x = self.of_rank(1, c);
                let axis = c.below(self.shape(x).len());
                let indices = self.indices(&self.shape(x)[axis], 1 + c.below(4), c);
                let mut shape = self.shape(x);
                let mut narrow = vec![Dim::known(1); shape.len()];
                narrow[axis] = self.graph.shape(indices)[0].clone();
                shape[axis] = narrow[axis].clone();
                let indices = self.graph.reshape(indices, narrow).unwrap();
                let indices = self.op(Op::Expand(shape.clone()), &[indices]);
                let opaque = Opaque {
                    op_type: "GatherElements".to_owned(),
                    attributes: vec![("axis".to_owned(), Attribute::Int(axis as i64))],
                    dtype: Dtype::F64,
                    shape,
                };
                self.op(Op::Opaque(opaque.into()), &[x, indices])
            }
            Kind::Split => {
                let (x, axis) = self.with_known_axis(c);
                let x = self.op(Op::Pad { axis, before: 2, after: 1 }, &[x]);
                let x = self.graph.unary(Unary::Sin, x).unwrap();
                let size = self.shape(x)[axis].value().unwrap();
                let middle = 1 + c.below(size - 2);
                let (first, second) = (c.below(middle), c.below(2));
                let left = self.graph.slice(x, axis, first, middle).unwrap();
                let right = self.graph.slice(x, axis, middle, size - second).unwrap();
                let ends = if c.yes() { [0, middle] } else { [middle, size] };
                let again = self.graph.slice(x, axis, ends[0], ends[1]).unwrap();
                let parts = [left, right, again].map(|part| {
                    let weight = self.input("weight", self.shape(part));
                    self.graph.times(part, weight).unwrap()
                });
                let parts = if c.yes() { &parts[..2] } else { &parts[..] };
                let sums: Vec<Id> =
                    parts.iter().map(|&p| self.graph.reduce(Reduction::Sum, p, &[axis], false).unwrap()).collect();
                sums[1..].iter().fold(sums[0], |sum, &part| self.graph.plus(sum, part).unwrap())
            }
            Kind::Attention => self.attention(c),
            Kind::Gate => {
                let x = self.of_rank(1, c);
                let size = self.shape(x).pop().unwrap();
                let gate = self.linear(x, size.clone(), 3, WeightLayout::OutIn, false);
                let up = self.linear(x, size, 3, WeightLayout::InOut, false);
                let gate = self.graph.activation(Activation::Silu, gate).unwrap();
                self.graph.times(gate, up).unwrap()
            }
        }
    }

    /// Indices into an axis, counted from the front and from the end, maybe the same one twice: `[count]`.
    fn indices(&mut self, size: &Dim, count: usize, c: &mut Choices) -> Id {
        // An axis of any size has its ends.
        let known = size.value().map_or(1, |size| size as i64);
        let indices: Vec<i64> = (0..count).map(|_| c.below(2 * known as usize) as i64 - known).collect();
        self.graph.constant(Tensor::i64s(&indices)).unwrap()
    }

    fn linear(&mut self, x: Id, size_in: Dim, size_out: usize, layout: WeightLayout, bias: bool) -> Id {
        let size_out = Dim::known(size_out);
        let weight = match layout {
            WeightLayout::OutIn => vec![size_out.clone(), size_in],
            WeightLayout::InOut => vec![size_in, size_out.clone()],
        };
        let weight = self.input("weight", weight);
        let bias = bias.then(|| self.input("bias", vec![size_out]));
        self.graph.linear(x, weight, bias, layout).unwrap()
    }

    fn binary(&mut self, kind: Binary, c: &mut Choices) -> Id {
        let x = self.any(c);
        if kind == Binary::Pow {
            let exponent = [0.5, 2.0, 3.0, -1.0, 1.5, 1.0, 0.0][c.below(7)];
            let whole = exponent == f64::floor(exponent) && exponent > 0.0;
            let x = if whole { x } else { self.positive(x, c) };
            let exponent = self.number(exponent);
            return self.graph.binary(kind, x, exponent).unwrap();
        }
        let sort = if kind == Binary::Div { "positive" } else { "constant" };
        let mut other = self.partner(x, sort, c);
        let swapped = c.yes();
        let mut x = x;
        if kind == Binary::Div {
            // What ends up below the line must stay away from 0.
            if swapped {
                x = self.positive(x, c);
            } else if !self.inputs.contains(&other) || other == self.source {
                other = self.positive(other, c);
            }
        }
        let (a, b) = if swapped { (other, x) } else { (x, other) };
        self.graph.binary(kind, a, b).unwrap()
    }

    fn choice(&mut self, c: &mut Choices) -> Id {
        let x = self.any(c);
        let other = self.partner(x, "constant", c);
        let shape = broadcast(self.graph.shape(x), self.graph.shape(other)).unwrap();
        let condition = match c.below(3) {
            0 => {
                let zero = self.number(0.1);
                self.graph.logic(Logic::Greater, x, zero).unwrap()
            }
            1 if shape.len() < 4 => {
                let wider = [vec![Dim::known(2)], self.narrowed(&shape, c)].concat();
                let wider = if wider.len() <= shape.len() { shape } else { wider };
                self.typed_input("condition", Dtype::Bool, wider)
            }
            _ => {
                let narrowed = self.narrowed(&shape, c);
                self.typed_input("condition", Dtype::Bool, narrowed)
            }
        };
        let (a, b) = if c.yes() { (other, x) } else { (x, other) };
        self.graph.choose(condition, a, b).unwrap()
    }

    fn matmul(&mut self, c: &mut Choices) -> Id {
        let a = self.of_rank(2, c);
        let shape = self.shape(a);
        let [batch @ .., rows, columns] = &shape[..] else { unreachable!() };
        match c.below(5) {
            // With its own transpose.
            0 => {
                let b = self.graph.transpose_last(a).unwrap();
                self.graph.matmul(a, b).unwrap()
            }
            // A constant on the right or on the left, some of whose leading axes are missing or of size 1.
            1 => {
                let leading = self.narrowed(batch, c);
                let b = self.input("constant", [leading, vec![columns.clone(), 3.into()]].concat());
                self.graph.matmul(a, b).unwrap()
            }
            2 => {
                let leading = self.narrowed(batch, c);
                let b = self.input("constant", [leading, vec![2.into(), rows.clone()]].concat());
                self.graph.matmul(b, a).unwrap()
            }
            // More leading axes than the value has.
            3 if batch.len() < 2 => {
                let leading = [vec![Dim::known(2)], vec![Dim::known(1); batch.len()]].concat();
                let b = self.input("constant", [leading, vec![columns.clone(), 2.into()]].concat());
                self.graph.matmul(a, b).unwrap()
            }
            // Two values from the source, one of them with leading axes of size 1 or without them.
            _ => {
                let b = self.graph.unary(Unary::Tanh, a).unwrap();
                let mut b = self.graph.transpose_last(b).unwrap();
                if !batch.is_empty() {
                    let axes: Vec<usize> = (0..=c.below(batch.len())).collect();
                    b = self.graph.reduce(Reduction::Mean, b, &axes, c.yes()).unwrap();
                }
                if c.yes() { self.graph.matmul(a, b).unwrap() } else { self.graph.matmul(b, a).unwrap() }
            }
        }
    }

    fn rotary(&mut self, c: &mut Choices) -> Id {
        let mut x = self.of_rank(2, c);
        let last = self.shape(x).pop().unwrap();
        if last.value().is_none_or(|size| size % 2 == 1) {
            x = self.linear(x, last, 4, WeightLayout::OutIn, false);
        }
        let [.., seq, size] = &self.shape(x)[..] else { unreachable!() };
        let half = Dim::known(size.value().unwrap() / 2);
        let angles = self.input("angle", vec![seq.clone(), half]);
        let (cos, sin) = (self.graph.unary(Unary::Cos, angles).unwrap(), self.graph.unary(Unary::Sin, angles).unwrap());
        self.op(Op::Rotary, &[x, cos, sin])
    }

    fn reshape(&mut self, c: &mut Choices) -> Id {
        let x = self.any(c);
        let mut shape = self.shape(x);
        match c.below(4) {
            0 => shape = vec![Dim::product(&shape).unwrap()],
            1 if shape.len() >= 2 => {
                let axis = c.below(shape.len() - 1);
                let merged = shape[axis].checked_mul(&shape[axis + 1]).unwrap();
                shape.splice(axis..axis + 2, [merged]);
            }
            2 => {
                if let Some(axis) = shape.iter().position(|dim| dim.value().is_some_and(|size| size % 2 == 0)) {
                    let half = shape[axis].checked_div(&Dim::known(2)).unwrap();
                    let parts = if c.yes() { [Dim::known(2), half] } else { [half, Dim::known(2)] };
                    shape.splice(axis..axis + 1, parts);
                }
            }
            _ => shape.insert(c.below(shape.len() + 1), Dim::known(1)),
        }
        self.graph.reshape(x, shape).unwrap()
    }

    /// A value and an axis of it whose size is a number.
    fn with_known_axis(&mut self, c: &mut Choices) -> (Id, usize) {
        let mut x = self.of_rank(1, c);
        let mut axes: Vec<usize> = (0..self.shape(x).len()).filter(|&i| self.shape(x)[i].value().is_some()).collect();
        if axes.is_empty() {
            x = self.graph.unsqueeze(x, 0).unwrap();
            axes.push(0);
        }
        (x, axes[c.below(axes.len())])
    }

    /// Three parts, of which at least two come from the source, and maybe the same one twice.
    fn concat(&mut self, c: &mut Choices) -> Id {
        let (x, axis) = self.with_known_axis(c);
        let size = self.shape(x)[axis].value().unwrap();
        let part = self.graph.slice(x, axis, 0, 1 + c.below(size)).unwrap();
        let mut shape = self.shape(x);
        shape[axis] = Dim::known(1 + c.below(3));
        let third = match c.yes() {
            true => self.input("constant", shape),
            false => self.graph.unary(Unary::Sin, x).unwrap(),
        };
        let mut parts = vec![part, x, third];
        let parts: Vec<Id> = (0..3).map(|_| parts.remove(c.below(parts.len()))).collect();
        self.graph.concat(&parts, axis).unwrap()
    }

    fn attention(&mut self, c: &mut Choices) -> Id {
        let x = self.of_rank(2, c);
        let [batch @ .., seq, size] = &self.shape(x)[..] else { unreachable!() };
        let [q, k, v] = [0; 3].map(|_| self.linear(x, size.clone(), 2, WeightLayout::OutIn, false));
        let k = self.graph.transpose_last(k).unwrap();
        let scores = self.graph.matmul(q, k).unwrap();
        let mask = self.input("mask", vec![seq.clone(), seq.clone()]);
        let scores = self.graph.plus(scores, mask).unwrap();
        let axis = batch.len() + 1;
        let mut weights = self.op(Op::Softmax { axis }, &[scores]);
        let shape = self.shape(weights);
        if c.yes() {
            // There and back, as heads are split and merged.
            let split = self.graph.unsqueeze(weights, 0).unwrap();
            let order: Vec<usize> = (1..shape.len() + 1).chain([0]).collect();
            let turned = self.graph.transpose(split, &order).unwrap();
            weights = self.graph.reshape(turned, shape).unwrap();
        }
        self.graph.matmul(weights, v).unwrap()
    }
}
