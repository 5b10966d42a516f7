//! The parts that transformers are made of.

use super::config::Config;
use super::rope::RotaryTables;
use super::{BATCH, Builder, CheckpointError, SEQ};
use crate::onnx::op::{Activation, Logic, Op, Real, WeightLayout};
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id, Tensor};

/// Added to the scores of what must not be attended to. Finite, so that a row without any key stays a number.
const MASKED: f64 = -1e30;

/// No text is so long.
const LONGEST: i64 = 1 << 29;
/// Where padding stands: out of reach of every query. Sums with it fit 32 bits, in which some runtimes compute places.
const FAR: i64 = 1 << 30;

/// Which keys a query may look at, padding aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them: an encoder.
    Everywhere,
    /// Those up to its own position.
    Before,
    /// The last so many up to its own position, itself included.
    Window(usize),
    /// Those up to so many places away, on both sides.
    Around(usize),
}

/// What is added to attention scores: 0 where a token may look, a large negative number elsewhere.
/// f32 `[batch, 1, 1, seq or 1, keys]`.
pub fn attention_bias(b: &mut Builder, reach: Reach) -> Result<Id, GraphError> {
    let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
    if matches!(reach, Reach::Everywhere | Reach::Around(_)) {
        b.hangs_on_the_rest(
            "its tokens look at what comes after them, so no part of a row is done before the rest is known",
        );
    }
    let present = b.graph.cast(b.attention_mask, Dtype::Bool)?;
    let all = b.keys();
    let as_keys = vec![batch, one.clone(), one.clone(), one.clone(), all.clone()];
    let allowed = if reach == Reach::Everywhere {
        b.graph.reshape(present, as_keys)?
    } else {
        // Padding stands behind all queries. One comparison is all there is then: tract loses a size where a comparison of
        // places is joined to the mask by an operator of its own.
        let places = b.graph.add(Op::Arange(all), &[])?;
        let far = b.graph.constant(Tensor::i64(FAR))?;
        let keys = b.graph.choose(present, places, far)?;
        let keys = b.graph.reshape(keys, as_keys)?;
        let queries = b.places()?;
        let graph = &mut *b.graph;
        let queries = graph.reshape(queries, vec![seq, one])?;
        let mut farther = |from: Id, by: usize| {
            let by = graph.constant(Tensor::i64(i64::try_from(by).map_or(LONGEST, |by| by.min(LONGEST))))?;
            graph.plus(from, by)
        };
        match reach {
            Reach::Everywhere | Reach::Before => graph.logic(Logic::LessOrEqual, keys, queries)?,
            Reach::Window(size) => {
                let ends = farther(keys, size)?;
                let before = graph.logic(Logic::LessOrEqual, keys, queries)?;
                let within = graph.logic(Logic::Less, queries, ends)?;
                graph.logic(Logic::And, before, within)?
            }
            Reach::Around(distance) => {
                let (last, first) = (farther(queries, distance)?, farther(keys, distance)?);
                let before = graph.logic(Logic::LessOrEqual, keys, last)?;
                let after = graph.logic(Logic::LessOrEqual, queries, first)?;
                graph.logic(Logic::And, before, after)?
            }
        }
    };
    let zero = b.graph.constant(Tensor::float(0.0, Dtype::F32))?;
    let masked = b.graph.constant(Tensor::float(MASKED, Dtype::F32))?;
    b.graph.choose(allowed, zero, masked)
}

/// What becomes of the products of queries and keys.
#[derive(Clone, Copy, Debug)]
pub struct Scores {
    pub scale: f64,
    pub cap: Option<Real>,
    /// From [`attention_bias`].
    pub bias: Id,
}

/// The sizes of an attention block.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    pub heads: usize,
    /// Heads of keys and values; several query heads share one.
    pub key_heads: usize,
    pub head_size: usize,
}

impl AttentionShape {
    /// Checks that the heads can be shared out, before anything is made by their sizes.
    pub fn check(&self) -> Result<(), String> {
        const LIMIT: usize = 1 << 16;
        let Self { heads, key_heads, head_size } = *self;
        if head_size == 0 || head_size > LIMIT || heads > LIMIT {
            return Err(format!("{heads} heads of {head_size} elements are absurd"));
        }
        if key_heads == 0 || !heads.is_multiple_of(key_heads) {
            return Err(format!("{heads} query heads cannot share {key_heads} key heads"));
        }
        Ok(())
    }

    /// Elements of all queries of a token.
    pub fn query_size(&self) -> usize {
        self.heads * self.head_size
    }

    /// Elements of all keys of a token, or of all its values.
    pub fn key_size(&self) -> usize {
        self.key_heads * self.head_size
    }

    fn sizes(&self) -> [Dim; 3] {
        [self.key_heads, self.heads / self.key_heads, self.head_size].map(Dim::known)
    }

    /// Queries `[batch, seq, heads * size]` to `[batch, key_heads, group, seq, size]`; where each has keys of its own, as those.
    pub fn split_queries(&self, graph: &mut Graph, q: Id) -> Result<Id, GraphError> {
        if self.key_heads == self.heads {
            return self.split_keys(graph, q);
        }
        let [key_heads, group, size] = self.sizes();
        let split = graph.reshape(q, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), key_heads, group, size])?;
        graph.transpose(split, &[0, 2, 3, 1, 4])
    }

    /// Keys or values `[batch, seq, key_heads * size]` to `[batch, key_heads, seq, size]`.
    pub fn split_keys(&self, graph: &mut Graph, k: Id) -> Result<Id, GraphError> {
        let [key_heads, _, size] = self.sizes();
        let split = graph.reshape(k, vec![Dim::symbol(BATCH), Dim::symbol(SEQ), key_heads, size])?;
        graph.transpose(split, &[0, 2, 1, 3])
    }

    /// `softmax(cap(scale * q k^T) + bias) v`, with `q`, `k`, `v` split as above, to `[batch, seq, heads * size]`.
    ///
    /// The query heads that share a key head are rows of one matrix, so no key is ever repeated.
    pub fn attend(&self, b: &mut Builder, [q, k, v]: [Id; 3], scores: Scores) -> Result<Id, GraphError> {
        let Scores { scale, cap, bias } = scores;
        let [key_heads, group, size] = self.sizes();
        let (batch, seq, keys) = (Dim::symbol(BATCH), Dim::symbol(SEQ), b.keys());
        let [k, v] = b.behind_past(*self, k, v)?;
        let graph = &mut *b.graph;
        let rows = group.checked_mul(&seq).unwrap_or_else(|| seq.clone());
        let matrices = |last: Dim| vec![batch.clone(), key_heads.clone(), rows.clone(), last];
        // Where no heads share keys, this is the shape of the matrices.
        let by_head = |last: Dim| match self.key_heads == self.heads {
            true => matrices(last),
            false => vec![batch.clone(), key_heads.clone(), group.clone(), seq.clone(), last],
        };

        let q = graph.reshape(q, matrices(size.clone()))?;
        // Scaled as the product takes them: some runtimes make one operator of the two.
        let q = graph.scaled(q, scale)?;
        let k = graph.transpose_last(k)?;
        let mut scores = graph.matmul(q, k)?;
        if let Some(cap) = cap {
            scores = graph.add(Op::SoftCap { cap }, &[scores])?;
        }
        let scores = graph.reshape(scores, by_head(keys.clone()))?;
        let rank = graph.shape(scores).len();
        let mut aligned = graph.shape(bias).to_vec();
        aligned.drain(1..1 + aligned.len().saturating_sub(rank));
        let bias = graph.reshape(bias, aligned)?;
        let scores = graph.plus(scores, bias)?;
        let weights = graph.add(Op::Softmax { axis: rank - 1 }, &[scores])?;
        let weights = graph.reshape(weights, matrices(keys))?;
        let mixed = graph.matmul(weights, v)?;
        let mixed = graph.reshape(mixed, by_head(size))?;
        // Heads behind tokens: their axes stand between batch and seq.
        let order: Vec<usize> = [0, rank - 2].into_iter().chain(1..rank - 2).chain([rank - 1]).collect();
        let mixed = graph.transpose(mixed, &order)?;
        graph.reshape(mixed, vec![batch, seq, Dim::known(self.heads * self.head_size)])
    }
}

/// Rotates queries or keys, `[batch, .., seq, size]`.
pub fn rotate(graph: &mut Graph, x: Id, tables: RotaryTables) -> Result<Id, GraphError> {
    let rank = graph.shape(x).len();
    let mut aligned = |table: Id| match graph.shape(table) {
        [batch, seq, size] => {
            // Rows have tables of their own; the axes between are heads.
            let mut shape = vec![Dim::known(1); rank];
            (shape[0], shape[rank - 2], shape[rank - 1]) = (batch.clone(), seq.clone(), size.clone());
            graph.reshape(table, shape)
        }
        _ => Ok(table),
    };
    let (cos, sin) = (aligned(tables.cos)?, aligned(tables.sin)?);
    graph.add(Op::Rotary, &[x, cos, sin])
}

/// A PyTorch linear layer, `weight` and maybe `bias` under a prefix.
pub fn linear(b: &mut Builder, x: Id, prefix: &str, sizes: [usize; 2], bias: bool) -> Result<Id, CheckpointError> {
    linear_rows(b, x, prefix, sizes, 0..sizes[0], bias)
}

/// Some of the outputs of a linear layer: a part of a fused projection. The parts are products of their own, so that
/// nothing has to be cut up afterwards, nor put together in the backward pass.
pub fn linear_rows(
    b: &mut Builder,
    x: Id,
    prefix: &str,
    [size_out, size_in]: [usize; 2],
    rows: std::ops::Range<usize>,
    bias: bool,
) -> Result<Id, CheckpointError> {
    let count = rows.len();
    let weight = b.weights.rows(b.graph, &format!("{prefix}.weight"), &[size_out, size_in], rows.start, count)?;
    let bias = match bias {
        true => Some(b.weights.rows(b.graph, &format!("{prefix}.bias"), &[size_out], rows.start, count)?),
        false => None,
    };
    Ok(b.graph.linear(x, weight, bias, WeightLayout::OutIn)?)
}

/// GPT-2's `Conv1D`: a linear layer whose weight is stored `[in, out]`.
pub fn conv1d(b: &mut Builder, x: Id, prefix: &str, [size_in, size_out]: [usize; 2]) -> Result<Id, CheckpointError> {
    let weight = b.weights.tensor(b.graph, &format!("{prefix}.weight"), &[size_in, size_out])?;
    let bias = b.weights.tensor(b.graph, &format!("{prefix}.bias"), &[size_out])?;
    Ok(b.graph.linear(x, weight, Some(bias), WeightLayout::InOut)?)
}

/// LayerNorm, `weight` and `bias` under a prefix; old checkpoints call them `gamma` and `beta`.
pub fn layer_norm(b: &mut Builder, x: Id, prefix: &str, size: usize, eps: Real) -> Result<Id, CheckpointError> {
    let [weight, bias] = match b.weights.contains(&format!("{prefix}.gamma")) {
        true => ["gamma", "beta"],
        false => ["weight", "bias"],
    };
    let weight = b.weights.tensor(b.graph, &format!("{prefix}.{weight}"), &[size])?;
    let bias = b.weights.tensor(b.graph, &format!("{prefix}.{bias}"), &[size])?;
    Ok(b.graph.add(Op::LayerNorm { eps }, &[x, weight, bias])?)
}

/// The lookup of the tokens' embeddings, from the table of that name.
pub fn embed(b: &mut Builder, table: &str, [vocab, hidden]: [usize; 2]) -> Result<Id, CheckpointError> {
    b.graph.set_scope("embed");
    let table = b.weights.tensor(b.graph, table, &[vocab, hidden])?;
    Ok(b.graph.add(Op::Gather { axis: 0 }, &[table, b.input_ids])?)
}

/// Learned embeddings of the tokens' places, which are the rows of a table from `first` on. f32 `[seq, hidden]`.
pub fn learned_positions(
    b: &mut Builder,
    table: &str,
    [positions, hidden]: [usize; 2],
    first: usize,
) -> Result<Id, CheckpointError> {
    let count = positions.saturating_sub(first);
    let table = b.weights.rows(b.graph, table, &[positions, hidden], first, count)?;
    let places = b.places()?;
    Ok(b.graph.add(Op::Gather { axis: 0 }, &[table, places])?)
}

/// The logits: a product with the head, which is the table of embeddings where the two are tied.
pub fn head(
    b: &mut Builder,
    x: Id,
    table: &str,
    head: &str,
    tied: bool,
    sizes: [usize; 2],
) -> Result<Id, CheckpointError> {
    b.graph.set_scope("lm_head");
    let own = format!("{head}.weight");
    let shared = format!("{table}.weight");
    if tied && b.weights.contains(&own) && !b.weights.same(&own, &shared)? {
        return Err(b.config.problem(format!(
            "'tie_word_embeddings' says that the head is the table of embeddings, and '{own}' differs from '{shared}'"
        )));
    }
    linear(b, x, if tied { table } else { head }, sizes, false)
}

/// The prefix of a model's tensors: the first of these under which there is a table of embeddings. Files of models
/// without a head have none.
pub fn prefix<'a>(b: &Builder, usual: &[&'a str], table: &str) -> &'a str {
    let mut all = usual.iter().chain(&[""]);
    let found = all.find(|prefix| b.weights.contains(&format!("{prefix}{table}")));
    found.or(usual.first()).copied().unwrap_or_default()
}

/// The activation function that a field names.
pub fn activation(config: &mut Config, key: &str) -> Result<Activation, CheckpointError> {
    Ok(match config.text(key)?.as_str() {
        "silu" | "swish" => Activation::Silu,
        "gelu" | "gelu_python" => Activation::Gelu,
        // Spellings of one function, which differ in what they round.
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => Activation::GeluTanh,
        "quick_gelu" => Activation::QuickGelu,
        "relu" => Activation::Relu,
        other => {
            return Err(config.problem(format!(
                "'{key}' is '{other}'; supported are silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu"
            )));
        }
    })
}

/// Whether queries look at what comes after them too: a decoder with `"is_causal": false`.
///
/// # Errors
/// Null means the one to one of transformers' attention functions and the other to another.
pub fn looks_both_ways(config: &mut Config) -> Result<bool, CheckpointError> {
    match config.flag_or_none("is_causal")? {
        Some(causal) => Ok(!causal),
        None => Err(config.problem("'is_causal' is null; it has to be true or false, or away")),
    }
}
