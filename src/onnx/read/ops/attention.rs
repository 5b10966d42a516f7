//! Attention and rotary embedding as single operators, written out so that softmax and products are seen.

use crate::onnx::op::{Logic, Op, Real};
use crate::onnx::read::convert::{Call, Converter, Outcome, Val};
use crate::onnx::{Dim, Dtype, Id, Tensor};

/// Added to the scores of what must not be attended to. Finite, so that a row without any key stays a row of numbers.
const MASKED: f64 = -1e30;

/// How to attend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attend {
    /// Multiplies the scores; 1/sqrt(head size) if not given.
    pub scale: Option<f64>,
    /// Scores are squashed to this by tanh, unless it is 0.
    pub soft_cap: f64,
    /// Whether a query sees only keys up to its own place.
    pub causal: bool,
    /// Whether a query sees only this many keys up to its own place.
    pub window: Option<i64>,
    /// Broadcasts to `[batch, heads, queries, keys]`: truth values, or numbers to add.
    pub mask: Option<Id>,
}

/// `softmax(scale q k^T + mask) v`: q `[batch, heads, queries, size]`, k and v `[batch, key_heads, keys, size]`, result
/// in the shape of q (the last axis v's). Query heads that share a key head are rows of one matrix.
pub fn attend(c: &mut Converter, [q, k, v]: [Id; 3], how: Attend) -> Outcome<Id> {
    let shape = |id: Id| -> Outcome<[Dim; 4]> {
        <[Dim; 4]>::try_from(c.graph.shape(id).to_vec()).map_err(|_| "attends with other than four axes".into())
    };
    let ([batch, heads, queries, size], [_, key_heads, keys, _], [.., value_size]) = (shape(q)?, shape(k)?, shape(v)?);
    let (Some(h), Some(g), Some(d)) = (heads.value(), key_heads.value(), size.value()) else {
        return Err("has numbers of heads that are known only when the model runs".into());
    };
    if g == 0 || !h.is_multiple_of(g) || d == 0 {
        return Err(format!("has {h} query heads for {g} key heads").into());
    }
    let scale = how.scale.unwrap_or(1.0 / (d as f64).sqrt());
    let mut q = c.graph.scaled(q, scale)?;
    let group = Dim::known(h / g);
    let grouped = h != g;
    let rows = group.checked_mul(&queries).ok_or("has an absurd number of queries")?;
    if grouped {
        q = c.graph.reshape(q, vec![batch.clone(), key_heads.clone(), rows.clone(), size])?;
    }
    let k = c.graph.transpose_last(k)?;
    let mut scores = c.graph.matmul(q, k)?;
    if grouped {
        let by_head = vec![batch.clone(), key_heads.clone(), group.clone(), queries.clone(), keys.clone()];
        scores = c.graph.reshape(scores, by_head)?;
    }
    if how.soft_cap != 0.0 {
        scores = c.graph.add(Op::SoftCap { cap: Real::new(how.soft_cap) }, &[scores])?;
    }
    if let Some(mask) = how.mask {
        let mut bias = additive(c, mask, scores)?;
        if grouped {
            bias = by_group(c, bias, h, [&key_heads, &group])?;
        }
        scores = c.graph.plus(scores, bias)?;
    }
    if how.causal || how.window.is_some() {
        let allowed = places(c, &queries, &keys, how)?;
        let bias = additive(c, allowed, scores)?;
        scores = c.graph.plus(scores, bias)?;
    }
    let axis = c.graph.shape(scores).len() - 1;
    let mut weights = c.graph.add(Op::Softmax { axis }, &[scores])?;
    if grouped {
        weights = c.graph.reshape(weights, vec![batch.clone(), key_heads, rows, keys])?;
    }
    let mixed = c.graph.matmul(weights, v)?;
    Ok(c.graph.reshape(mixed, vec![batch, heads, queries, value_size])?)
}

/// A mask as numbers to add.
fn additive(c: &mut Converter, mask: Id, scores: Id) -> Outcome<Id> {
    let dtype = c.graph.dtype(scores);
    if c.graph.dtype(mask) != Dtype::Bool {
        return Ok(c.graph.cast(mask, dtype)?);
    }
    let zero = c.graph.constant(Tensor::float(0.0, dtype))?;
    let masked = c.graph.constant(Tensor::float(MASKED, dtype))?;
    Ok(c.graph.choose(mask, zero, masked)?)
}

/// A mask `[.., heads or 1, queries, keys]` with the heads axis split in two.
fn by_group(c: &mut Converter, mask: Id, heads: usize, [key_heads, group]: [&Dim; 2]) -> Outcome<Id> {
    let shape = c.graph.shape(mask).to_vec();
    let Some(axis) = shape.len().checked_sub(3) else { return Ok(mask) };
    let mut split = shape.clone();
    if shape[axis].value() == Some(heads) {
        split.splice(axis..=axis, [key_heads.clone(), group.clone()]);
    } else {
        split.insert(axis, Dim::known(1));
    }
    Ok(c.graph.reshape(mask, split)?)
}

/// Which keys a query may see by its place: `[queries, keys]`.
fn places(c: &mut Converter, queries: &Dim, keys: &Dim, how: Attend) -> Outcome<Id> {
    let rows = c.graph.add(Op::Arange(queries.clone()), &[])?;
    let rows = c.graph.unsqueeze(rows, 1)?;
    let columns = c.graph.add(Op::Arange(keys.clone()), &[])?;
    let mut allowed = c.graph.logic(Logic::LessOrEqual, columns, rows)?;
    if let Some(window) = how.window {
        let window = c.graph.constant(Tensor::i64(window))?;
        let distance = c.graph.minus(rows, columns)?;
        let near = c.graph.logic(Logic::Less, distance, window)?;
        allowed = c.graph.logic(Logic::And, allowed, near)?;
    }
    Ok(allowed)
}

/// `[batch, seq, heads * size]` to `[batch, heads, seq, size]`.
pub fn split_heads(c: &mut Converter, x: Id, heads: usize) -> Outcome<Id> {
    let [batch, seq, width] = c.graph.shape(x) else { return Err("has other than three axes".into()) };
    let size = width.checked_div(&Dim::known(heads)).ok_or("has a width that is no multiple of its heads")?;
    let split = vec![batch.clone(), seq.clone(), Dim::known(heads), size];
    let split = c.graph.reshape(x, split)?;
    Ok(c.graph.transpose(split, &[0, 2, 1, 3])?)
}

/// `[batch, heads, seq, size]` to `[batch, seq, heads * size]`.
pub fn join_heads(c: &mut Converter, x: Id) -> Outcome<Id> {
    let joined = c.graph.transpose(x, &[0, 2, 1, 3])?;
    let [batch, seq, heads, size] = c.graph.shape(joined) else { return Err("has other than four axes".into()) };
    let width = heads.checked_mul(size).ok_or("has an absurd width")?;
    let shape = vec![batch.clone(), seq.clone(), width];
    Ok(c.graph.reshape(joined, shape)?)
}

/// A number of heads from an attribute.
pub fn heads(call: &Call, name: &str) -> Outcome<Option<usize>> {
    match call.attributes.int(name) {
        None | Some(0) => Ok(None),
        Some(n) => match usize::try_from(n) {
            Ok(n) if n <= 1 << 16 => Ok(Some(n)),
            _ => Err(format!("has {n} heads").into()),
        },
    }
}

/// Caches that hold something before the first token are refused; empty ones are left out.
pub fn no_cache(call: &Call, inputs: &[usize]) -> Outcome<()> {
    match inputs.iter().find(|&&i| matches!(call.optional(i), Some(Val::Node(_) | Val::Known(_)))) {
        None => Ok(()),
        Some(i) => Err(format!("reads a cache of keys and values (its input {i}); export without a cache").into()),
    }
}

/// `Attention` of opset 23.
pub fn attention(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    no_cache(call, &[4, 5])?;
    if call.used.iter().skip(3).any(|&used| used) {
        return Err("is used for its scores, which is not supported".into());
    }
    if call.optional(6).is_some() {
        return Err("has lengths of its keys (nonpad_kv_seqlen), which is not supported".into());
    }
    let mut inputs = [c.id(call.input(0)?)?, c.id(call.input(1)?)?, c.id(call.input(2)?)?];
    let flat = c.graph.shape(inputs[0]).len() == 3;
    if flat {
        let q = heads(call, "q_num_heads")?.ok_or("lacks q_num_heads")?;
        let kv = heads(call, "kv_num_heads")?.ok_or("lacks kv_num_heads")?;
        for (x, heads) in inputs.iter_mut().zip([q, kv, kv]) {
            *x = split_heads(c, *x, heads)?;
        }
    }
    let mask = call.optional(3).cloned().map(|mask| c.id(&mask)).transpose()?;
    let how = Attend {
        scale: call.attributes.float("scale"),
        soft_cap: call.attributes.float("softcap").unwrap_or(0.0),
        causal: call.attributes.int("is_causal").unwrap_or(0) != 0,
        window: None,
        mask,
    };
    let mixed = attend(c, inputs, how)?;
    let mixed = if flat { join_heads(c, mixed)? } else { mixed };
    // Without a cache the present keys and values are the given ones.
    Ok(vec![mixed.into(), inputs[1].into(), inputs[2].into()])
}

/// `RotaryEmbedding` of opset 23: x, cos, sin, maybe positions.
pub fn rotary_embedding(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let x = c.id(call.input(0)?)?;
    let mut tables = [c.id(call.input(1)?)?, c.id(call.input(2)?)?];
    if let Some(positions) = call.optional(3).cloned() {
        let positions = c.id(&positions)?;
        for table in &mut tables {
            *table = c.graph.add(Op::Gather { axis: 0 }, &[*table, positions])?;
        }
    }
    Ok(vec![rotate_input(c, call, x, tables)?.into()])
}

/// Rotates x, `[batch, heads, seq, size]` or `[batch, seq, heads * size]`, by tables `[batch or 1, seq, half]`.
pub fn rotate_input(c: &mut Converter, call: &Call, x: Id, tables: [Id; 2]) -> Outcome<Id> {
    let interleaved = call.attributes.int("interleaved").unwrap_or(0) != 0;
    let part = call.attributes.int("rotary_embedding_dim").unwrap_or(0);
    if c.graph.shape(x).len() == 4 {
        return rotate(c, x, tables, interleaved, part);
    }
    let count = match heads(call, "num_heads")? {
        Some(heads) => heads,
        None => {
            let width = c.graph.shape(x).last().and_then(Dim::value);
            let half = c.graph.shape(tables[0]).last().and_then(Dim::value);
            match (width, half) {
                (Some(width), Some(half)) if half > 0 && width % (2 * half) == 0 => width / (2 * half),
                _ => return Err("lacks num_heads".into()),
            }
        }
    };
    let split = split_heads(c, x, count)?;
    let rotated = rotate(c, split, tables, interleaved, part)?;
    join_heads(c, rotated)
}

/// Rotates the first `part` elements (all if 0) of the last axis of x `[batch, heads, seq, size]`.
pub fn rotate(c: &mut Converter, x: Id, tables: [Id; 2], interleaved: bool, part: i64) -> Outcome<Id> {
    let axis = c.graph.shape(x).len() - 1;
    let size = c.graph.shape(x)[axis].value().ok_or("rotates an axis of unknown size")?;
    let part = if part == 0 { size } else { usize::try_from(part).unwrap_or(0) };
    if part == 0 || part > size || part % 2 != 0 {
        return Err(format!("rotates {part} of {size} elements").into());
    }
    let head = c.graph.slice(x, axis, 0, part)?;
    let rotated = if let (Some([cos, sin]), false) = (shared_tables(c, tables, part)?, interleaved) {
        c.graph.add(Op::Rotary, &[head, cos, sin])?
    } else {
        // One table a row of the batch: written out. It is linear in x.
        let cos = c.graph.unsqueeze(tables[0], 1)?;
        let sin = c.graph.unsqueeze(tables[1], 1)?;
        let shape = c.graph.shape(head).to_vec();
        let mut pairs = shape.clone();
        pairs[axis] = Dim::known(part / 2);
        let across = if interleaved { axis + 1 } else { axis };
        pairs.insert(across, Dim::known(2));
        let halves = c.graph.reshape(head, pairs.clone())?;
        let mut flat = shape.clone();
        flat[axis] = Dim::known(part / 2);
        let column = |c: &mut Converter, i: usize| -> Outcome<Id> {
            let column = c.graph.slice(halves, across, i, i + 1)?;
            Ok(c.graph.reshape(column, flat.clone())?)
        };
        let (a, b) = (column(c, 0)?, column(c, 1)?);
        let (a_cos, b_sin) = (c.graph.times(a, cos)?, c.graph.times(b, sin)?);
        let (a_sin, b_cos) = (c.graph.times(a, sin)?, c.graph.times(b, cos)?);
        let parts = [c.graph.minus(a_cos, b_sin)?, c.graph.plus(a_sin, b_cos)?];
        let parts = [c.graph.unsqueeze(parts[0], across)?, c.graph.unsqueeze(parts[1], across)?];
        let joined = c.graph.concat(&parts, across)?;
        c.graph.reshape(joined, shape)?
    };
    if part == size {
        return Ok(rotated);
    }
    let rest = c.graph.slice(x, axis, part, size)?;
    Ok(c.graph.concat(&[rotated, rest], axis)?)
}

/// Tables `[seq, half]`, if all rows of the batch have the same.
fn shared_tables(c: &mut Converter, tables: [Id; 2], part: usize) -> Outcome<Option<[Id; 2]>> {
    let mut shared = tables;
    for table in &mut shared {
        let (seq, half) = match c.graph.shape(*table) {
            [seq, half] => (seq.clone(), half.clone()),
            [one, seq, half] if one.is_one() => (seq.clone(), half.clone()),
            _ => return Ok(None),
        };
        if half.value() != Some(part / 2) {
            return Err(format!("has tables for {half} angles, and rotates {part} elements").into());
        }
        *table = c.graph.reshape(*table, vec![seq, half])?;
    }
    Ok(Some(shared))
}
