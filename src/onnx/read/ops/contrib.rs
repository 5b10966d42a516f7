//! Operators of ONNX Runtime (`com.microsoft`), written out in standard ones. Its optimizer and onnxruntime-genai's
//! model builder make them. References: `docs/ContribOperators.md` of ONNX Runtime.

use super::attention::{Attend, attend, heads, join_heads, no_cache, rotate, rotate_input, split_heads};
use super::norms::{normalized, root_mean_square};
use super::{NONE, NORM, Operator, norms, op, products};
use crate::onnx::dim::BATCH;
use crate::onnx::op::{Activation, Binary, Logic, Op, Reduction, Unary, WeightLayout};
use crate::onnx::read::attributes::Kind::{self, Float, Int, Ints, Text};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val};
use crate::onnx::{Dim, Dtype, Id};

/// The operator of this name; `None` if it is not understood.
pub fn operator(domain: &str, op: &str) -> Outcome<Option<&'static Operator>> {
    if domain != "com.microsoft" {
        return Err(format!("belongs to the domain '{domain}', which is not supported").into());
    }
    Ok(OPERATORS.iter().find(|operator| operator.name == op))
}

const EPSILON: &[(&str, Kind)] = &[("epsilon", Float)];

/// Operators of ONNX Runtime that are understood.
pub static OPERATORS: &[Operator] = &[
    op("SimplifiedLayerNormalization", NORM, norms::rms_norm),
    op("SkipSimplifiedLayerNormalization", EPSILON, skip_rms_norm),
    op("SkipLayerNormalization", EPSILON, skip_layer_norm),
    op("Gelu", NONE, |c, call| gelu(c, call, Activation::Gelu)),
    op("BiasGelu", NONE, |c, call| gelu(c, call, Activation::Gelu)),
    op("FastGelu", NONE, |c, call| gelu(c, call, Activation::GeluTanh)),
    op("QuickGelu", &[("alpha", Float)], quick_gelu),
    op(
        "FusedMatMul",
        &[("alpha", Float), ("transA", Int), ("transB", Int), ("transBatchA", Int), ("transBatchB", Int)],
        fused_matmul,
    ),
    op(
        "FusedGemm",
        &[("alpha", Float), ("beta", Float), ("transA", Int), ("transB", Int), ("activation", Text)],
        fused_gemm,
    ),
    op(
        "RotaryEmbedding",
        &[
            ("interleaved", Int),
            ("is_packed_batching", Int),
            ("num_heads", Int),
            ("rotary_embedding_dim", Int),
            ("scale", Float),
        ],
        rotary_embedding,
    ),
    op(
        "GroupQueryAttention",
        &[
            ("do_rotary", Int),
            ("kv_num_heads", Int),
            ("local_window_size", Int),
            ("num_heads", Int),
            ("qk_output", Int),
            ("rotary_interleaved", Int),
            ("scale", Float),
            ("smooth_softmax", Int),
            ("softcap", Float),
        ],
        group_query_attention,
    ),
    op(
        "MultiHeadAttention",
        &[("mask_filter_value", Float), ("num_heads", Int), ("scale", Float), ("unidirectional", Int)],
        multi_head_attention,
    ),
    op(
        "Attention",
        &[
            ("do_rotary", Int),
            ("mask_filter_value", Float),
            ("num_heads", Int),
            ("past_present_share_buffer", Int),
            ("qkv_hidden_sizes", Ints),
            ("rotary_embedding_dim", Int),
            ("scale", Float),
            ("unidirectional", Int),
        ],
        attention,
    ),
    op("EmbedLayerNormalization", &[("epsilon", Float), ("mask_index_type", Int)], embed_layer_norm),
];

fn optional(c: &mut Converter, call: &Call, i: usize) -> Outcome<Option<Id>> {
    match call.optional(i) {
        Some(value) => Ok(Some(c.id(value)?)),
        None => Ok(None),
    }
}

/// The sum of input, skip and bias; the statistics that these operators can give are not made.
fn skipped(c: &mut Converter, call: &Call, bias: usize) -> Outcome<Id> {
    if call.used.iter().skip(1).take(2).any(|&used| used) {
        return Err("is used for its statistics, which is not supported".into());
    }
    let (x, skip) = (c.id(call.input(0)?)?, c.id(call.input(1)?)?);
    let mut sum = c.binary(Binary::Add, x, skip)?;
    if let Some(bias) = optional(c, call, bias)? {
        sum = c.binary(Binary::Add, sum, bias)?;
    }
    Ok(sum)
}

fn skip_rms_norm(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let sum = skipped(c, call, 3)?;
    let scale = c.id(call.input(2)?)?;
    let normed = root_mean_square(c, sum, scale, call.attributes.float("epsilon").unwrap_or(1e-12))?;
    Ok(vec![normed.into(), normed.into(), normed.into(), sum.into()])
}

fn skip_layer_norm(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let sum = skipped(c, call, 4)?;
    let scale = c.id(call.input(2)?)?;
    let bias = optional(c, call, 3)?;
    let normed = normalized(c, sum, scale, bias, call.attributes.float("epsilon").unwrap_or(1e-12))?;
    Ok(vec![normed.into(), normed.into(), normed.into(), sum.into()])
}

/// x, and maybe a bias to be added first.
fn gelu(c: &mut Converter, call: &Call, kind: Activation) -> Outcome<Vec<Val>> {
    let mut x = c.id(call.input(0)?)?;
    if let Some(bias) = optional(c, call, 1)? {
        x = c.binary(Binary::Add, x, bias)?;
    }
    Ok(vec![c.graph.activation(kind, x)?.into()])
}

/// `x sigmoid(alpha x)`, of which the default is one activation and 1 is another.
fn quick_gelu(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let kind = match call.attributes.float("alpha").unwrap_or(1.702) {
        1.0 => Activation::Silu,
        alpha if (alpha - 1.702).abs() < 1e-4 => Activation::QuickGelu,
        alpha => return Err(format!("is x sigmoid({alpha} x), which is not supported").into()),
    };
    let x = c.id(call.input(0)?)?;
    Ok(vec![c.graph.activation(kind, x)?.into()])
}

fn fused_matmul(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let flag = |name: &str| call.attributes.int(name).unwrap_or(0) != 0;
    if flag("transBatchA") || flag("transBatchB") {
        return Err("transposes batch axes, which is not supported".into());
    }
    let (mut a, mut b) = (c.id(call.input(0)?)?, c.id(call.input(1)?)?);
    if flag("transA") {
        a = c.graph.transpose_last(a)?;
    }
    let alpha = call.attributes.float("alpha").unwrap_or(1.0);
    let product = if c.is_parameter(b) && c.graph.shape(b).len() == 2 {
        let layout = if flag("transB") { WeightLayout::OutIn } else { WeightLayout::InOut };
        c.graph.linear(a, b, None, layout)?
    } else {
        if flag("transB") {
            b = c.graph.transpose_last(b)?;
        }
        c.graph.matmul(a, b)?
    };
    Ok(vec![c.graph.scaled(product, alpha)?.into()])
}

/// A Gemm and the activation of its result.
fn fused_gemm(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let product = products::gemm(c, call)?;
    let [Val::Node(x)] = product[..] else { return Err("has no product".into()) };
    Ok(vec![
        match call.attributes.text("activation").unwrap_or_default() {
            "Relu" => c.graph.activation(Activation::Relu, x)?,
            "Tanh" => c.graph.unary(Unary::Tanh, x)?,
            "Sigmoid" => c.graph.unary(Unary::Sigmoid, x)?,
            other => return Err(format!("is fused with '{other}', which is not supported").into()),
        }
        .into(),
    ])
}

/// x, positions (`[batch, seq]`, or `[1]`: the first one), cos and sin tables `[longest, half]`.
fn rotary_embedding(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    if call.attributes.float("scale").unwrap_or(1.0) != 1.0 {
        return Err("scales what it rotates, which is not supported".into());
    }
    if call.attributes.int("is_packed_batching").unwrap_or(0) != 0 {
        return Err("rotates texts that are packed together, which is not supported".into());
    }
    let mut positions = c.id(call.input(1)?)?;
    if c.graph.shape(positions).len() == 1 {
        let shape = c.graph.shape(x);
        let seq = shape[if shape.len() == 4 { 2 } else { 1 }].clone();
        let places = c.graph.add(Op::Arange(seq), &[])?;
        positions = c.graph.plus(places, positions)?;
    }
    let mut tables = [c.id(call.input(2)?)?, c.id(call.input(3)?)?];
    for table in &mut tables {
        *table = c.graph.add(Op::Gather { axis: 0 }, &[*table, positions])?;
    }
    Ok(vec![rotate_input(c, call, x, tables)?.into()])
}

/// Causal attention with shared key heads and maybe rotation. Lengths of rows are not needed: padding is on the right,
/// where no token looks.
fn group_query_attention(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    no_cache(call, &[3, 4])?;
    if call.attributes.int("smooth_softmax").unwrap_or(-1) > 0 {
        return Err("has a softmax with one more than its scores in the sum, which is not supported".into());
    }
    for (i, what) in [(10, "a bias of its scores"), (11, "a sink")] {
        if call.optional(i).is_some() {
            return Err(format!("has {what}, which is not supported").into());
        }
    }
    let q_heads = heads(call, "num_heads")?.ok_or("lacks num_heads")?;
    let kv_heads = heads(call, "kv_num_heads")?.ok_or("lacks kv_num_heads")?;
    let query = c.id(call.input(0)?)?;
    let [mut q, mut k, v] = match (optional(c, call, 1)?, optional(c, call, 2)?) {
        (Some(key), Some(value)) => {
            [split_heads(c, query, q_heads)?, split_heads(c, key, kv_heads)?, split_heads(c, value, kv_heads)?]
        }
        _ => {
            // Queries, keys and values side by side.
            let packed = split_heads(c, query, q_heads + 2 * kv_heads)?;
            let (a, b, end) = (q_heads, q_heads + kv_heads, q_heads + 2 * kv_heads);
            [c.graph.slice(packed, 1, 0, a)?, c.graph.slice(packed, 1, a, b)?, c.graph.slice(packed, 1, b, end)?]
        }
    };
    if call.attributes.int("do_rotary").unwrap_or(0) != 0 {
        let seq = c.graph.shape(q)[2].clone();
        let places = c.graph.add(Op::Arange(seq), &[])?;
        let mut tables = [c.id(call.input(7)?)?, c.id(call.input(8)?)?];
        for table in &mut tables {
            *table = c.graph.add(Op::Gather { axis: 0 }, &[*table, places])?;
        }
        let interleaved = call.attributes.int("rotary_interleaved").unwrap_or(0) != 0;
        let half = c.graph.shape(tables[0]).last().and_then(Dim::value).unwrap_or(0);
        let part = i64::try_from(2 * half).unwrap_or(0);
        for table in &mut tables {
            *table = c.graph.unsqueeze(*table, 0)?;
        }
        q = rotate(c, q, tables, interleaved, part)?;
        k = rotate(c, k, tables, interleaved, part)?;
    }
    let how = Attend {
        scale: call.attributes.float("scale").filter(|&scale| scale != 0.0),
        soft_cap: call.attributes.float("softcap").unwrap_or(0.0),
        causal: true,
        window: call.attributes.int("local_window_size").filter(|&window| window > 0),
        mask: None,
    };
    let mixed = attend(c, [q, k, v], how)?;
    Ok(vec![join_heads(c, mixed)?.into(), k.into(), v.into()])
}

/// query, key, value `[batch, seq, width]`, bias, key padding mask, bias of the scores.
fn multi_head_attention(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    no_cache(call, &[6, 7])?;
    let count = heads(call, "num_heads")?.ok_or("lacks num_heads")?;
    let (Some(k), Some(v)) = (optional(c, call, 1)?, optional(c, call, 2)?) else {
        return Err("has packed queries, keys and values, which is not supported".into());
    };
    let mut inputs = [c.id(call.input(0)?)?, k, v];
    let bias = optional(c, call, 3)?;
    let mut start = 0;
    for x in &mut inputs {
        // Keys and values may come with their heads split already.
        if c.graph.shape(*x).len() == 4 {
            continue;
        }
        if let Some(bias) = bias {
            let width = c.graph.shape(*x).last().and_then(Dim::value).ok_or("has an unknown width")?;
            let part = c.graph.slice(bias, 0, start, start + width)?;
            start += width;
            *x = c.graph.plus(*x, part)?;
        }
        *x = split_heads(c, *x, count)?;
    }
    let keys = c.graph.shape(inputs[1])[2].clone();
    let padding = optional(c, call, 4)?;
    let bias = optional(c, call, 5)?;
    let mask = padding_and_bias(c, padding, bias, &keys)?;
    let how = Attend {
        scale: call.attributes.float("scale").filter(|&scale| scale != 0.0),
        soft_cap: 0.0,
        causal: call.attributes.int("unidirectional").unwrap_or(0) != 0,
        window: None,
        mask,
    };
    let [_, k, v] = inputs;
    let mixed = attend(c, inputs, how)?;
    Ok(vec![join_heads(c, mixed)?.into(), k.into(), v.into()])
}

/// A padding mask (`[batch, keys]` of 0 and 1, or `[batch]`: how many keys are there) or a bias of the scores, in a shape
/// that broadcasts to the scores'.
fn padding_and_bias(c: &mut Converter, padding: Option<Id>, bias: Option<Id>, keys: &Dim) -> Outcome<Option<Id>> {
    let Some(padding) = padding else { return Ok(bias) };
    if bias.is_some() {
        return Err("has both a padding mask and a bias, which is not supported".into());
    }
    let one = Dim::known(1);
    let (batch, present) = match c.graph.shape(padding) {
        [batch, own] if own == keys => (batch.clone(), c.graph.cast(padding, Dtype::Bool)?),
        [batch] if *batch == Dim::symbol(BATCH) => {
            let batch = batch.clone();
            let lengths = c.graph.cast(padding, Dtype::I64)?;
            let lengths = c.graph.unsqueeze(lengths, 1)?;
            let places = c.graph.add(Op::Arange(keys.clone()), &[])?;
            (batch, c.graph.logic(Logic::Less, places, lengths)?)
        }
        _ => return Err("has a key padding mask in a form that is not supported".into()),
    };
    Ok(Some(c.graph.reshape(present, vec![batch, one.clone(), one, keys.clone()])?))
}

/// input `[batch, seq, width]`, one weight for queries, keys and values `[width, 3 size]`, bias, padding mask, past, bias
/// of the scores.
fn attention(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    no_cache(call, &[4, 6])?;
    if call.attributes.int("do_rotary").unwrap_or(0) != 0 {
        return Err("rotates inside, which is not supported".into());
    }
    if call.used.iter().skip(1).any(|&used| used) {
        return Err("is used for its cache, which is not supported".into());
    }
    let count = heads(call, "num_heads")?.ok_or("lacks num_heads")?;
    let (x, weight) = (c.id(call.input(0)?)?, c.id(call.input(1)?)?);
    let bias = optional(c, call, 2)?;
    let packed = c.graph.linear(x, weight, bias, WeightLayout::InOut)?;
    let width = c.graph.shape(packed).last().and_then(Dim::value).ok_or("has an unknown width")?;
    let sizes: Vec<usize> = match call.attributes.ints("qkv_hidden_sizes") {
        Some(sizes) if !sizes.is_empty() => sizes.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(),
        _ => vec![width / 3; 3],
    };
    if sizes.len() != 3 || sizes.contains(&0) || sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s)) != Some(width)
    {
        return Err(format!("has a weight of {width} columns for parts of {sizes:?}").into());
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(3);
    for size in sizes {
        let part = c.graph.slice(packed, 2, start, start + size)?;
        parts.push(split_heads(c, part, count)?);
        start += size;
    }
    let &[q, k, v] = &parts[..] else { return Err("lacks queries, keys or values".into()) };
    let keys = c.graph.shape(k)[2].clone();
    let (padding, bias) = (optional(c, call, 3)?, optional(c, call, 5)?);
    let how = Attend {
        scale: call.attributes.float("scale").filter(|&scale| scale != 0.0),
        soft_cap: 0.0,
        causal: call.attributes.int("unidirectional").unwrap_or(0) != 0,
        window: None,
        mask: padding_and_bias(c, padding, bias, &keys)?,
    };
    let mixed = attend(c, [q, k, v], how)?;
    Ok(vec![join_heads(c, mixed)?.into()])
}

/// The sum of the embeddings of words, positions and maybe segments, normalised; how many tokens each row has; the sum.
/// Inputs: ids, segments, the three tables, scale, bias, mask, positions.
fn embed_layer_norm(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let ids = c.id(call.input(0)?)?;
    let (words, places) = (c.id(call.input(2)?)?, c.id(call.input(3)?)?);
    let mut sum = c.graph.add(Op::Gather { axis: 0 }, &[words, ids])?;
    let positions = match optional(c, call, 8)? {
        Some(positions) => positions,
        None => {
            let seq = c.graph.shape(ids).get(1).cloned().ok_or("looks up ids without a sequence")?;
            c.graph.add(Op::Arange(seq), &[])?
        }
    };
    let position = c.graph.add(Op::Gather { axis: 0 }, &[places, positions])?;
    sum = c.graph.plus(sum, position)?;
    if let (Some(segments), Some(table)) = (optional(c, call, 1)?, optional(c, call, 4)?) {
        let segment = c.graph.add(Op::Gather { axis: 0 }, &[table, segments])?;
        sum = c.graph.plus(sum, segment)?;
    }
    let (scale, bias) = (c.id(call.input(5)?)?, c.id(call.input(6)?)?);
    let normed = normalized(c, sum, scale, Some(bias), call.attributes.float("epsilon").unwrap_or(1e-12))?;
    let mut results: Vec<Val> = vec![normed.into()];
    if call.used.iter().skip(1).any(|&used| used) {
        let mask = optional(c, call, 7)?.ok_or("is used for its mask, and has none")?;
        let lengths = c.graph.reduce(Reduction::Sum, mask, &[1], false)?;
        results.extend([lengths.into(), sum.into()]);
    }
    Ok(results)
}
