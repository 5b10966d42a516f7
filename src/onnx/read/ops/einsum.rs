//! `Einsum`, written out as moves, sums and one product for each pair of factors.

use std::collections::BTreeMap;

use crate::onnx::op::Reduction;
use crate::onnx::read::convert::{Call, Converter, Outcome, Val};
use crate::onnx::{Dim, Id, Shape};

/// Axes of the widest factor.
const MAX_RANK: usize = 12;

/// A value with a name for each of its axes.
struct Factor {
    id: Id,
    axes: Vec<Label>,
}

/// A letter, or an axis of the ellipsis counted from its end (so that factors of different rank broadcast).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

pub fn einsum(c: &mut Converter, call: &Call) -> Outcome<Vec<Val>> {
    let equation: String =
        call.attributes.text("equation").ok_or("lacks its equation")?.chars().filter(|x| !x.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != call.inputs.len() {
        return Err(format!("has the equation '{equation}' for {} factors", call.inputs.len()).into());
    }
    let mut factors = Vec::with_capacity(terms.len());
    let mut sizes: BTreeMap<Label, Dim> = BTreeMap::new();
    for (i, term) in terms.iter().enumerate() {
        let id = c.id(call.input(i)?)?;
        let shape = c.graph.shape(id).to_vec();
        let axes = labels(term, Some(shape.len()), 0)?;
        for (label, size) in axes.iter().zip(&shape) {
            let known = sizes.entry(*label).or_insert_with(|| size.clone());
            if known.is_one() {
                *known = size.clone();
            } else if !size.is_one() && known != size {
                return Err(format!("has the equation '{equation}', and axes of sizes {known} and {size}").into());
            }
        }
        factors.push(Factor { id, axes });
    }
    let ellipsis = sizes.keys().filter(|label| matches!(label, Label::Ellipsis(_))).count();
    let wanted = match right {
        Some(right) => labels(right, None, ellipsis)?,
        None => {
            // Without an arrow: the ellipsis, then the letters that occur once, in the order of the alphabet.
            let mut wanted: Vec<Label> = (0..ellipsis).rev().map(Label::Ellipsis).collect();
            let once = |letter: char| left.chars().filter(|&x| x == letter).count() == 1;
            wanted.extend(sizes.keys().filter(|&&label| matches!(label, Label::Letter(letter) if once(letter))));
            wanted
        }
    };
    if wanted.iter().any(|label| !sizes.contains_key(label)) {
        return Err(format!("has the equation '{equation}', whose result has axes that no factor has").into());
    }
    let mut factors = factors.into_iter();
    let mut product = factors.next().ok_or("has no factor")?;
    let mut rest: Vec<Factor> = factors.collect();
    product = without_unused(c, product, &rest, &wanted)?;
    while !rest.is_empty() {
        let next = rest.remove(0);
        let needed: Vec<Label> = rest.iter().flat_map(|factor| &factor.axes).chain(&wanted).copied().collect();
        let next = without_unused(c, next, &[], &[&needed[..], &product.axes].concat())?;
        product = multiplied(c, product, next, &needed)?;
    }
    let result = in_order(c, &product, &wanted)?;
    // An axis that only factors of size 1 have.
    let shape = wanted.iter().map(|label| sizes[label].clone()).collect::<Shape>();
    Ok(vec![c.expand(result, &shape)?.into()])
}

/// The labels of a term. The ellipsis stands for what is left of `rank` axes, or for `ellipsis` axes.
fn labels(term: &str, rank: Option<usize>, ellipsis: usize) -> Outcome<Vec<Label>> {
    let letters = term.replacen("...", "", 1);
    let dots = letters.len() != term.len();
    let covered = match rank {
        Some(rank) => rank.checked_sub(letters.chars().count()).filter(|&n| dots || n == 0),
        None => Some(if dots { ellipsis } else { 0 }),
    };
    let covered = covered.ok_or_else(|| format!("has the term '{term}' for {} axes", rank.unwrap_or(0)))?;
    let mut found = Vec::new();
    let mut rest = term;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            found.extend((0..covered).rev().map(Label::Ellipsis));
            rest = after;
            continue;
        }
        let label = Label::Letter(letter);
        if !letter.is_ascii_alphabetic() || found.contains(&label) {
            return Err(format!("has the term '{term}', which is not supported").into());
        }
        found.push(label);
        rest = &rest[1..];
    }
    if found.len() > MAX_RANK {
        return Err(format!("has a term of {} axes", found.len()).into());
    }
    Ok(found)
}

/// A factor summed over the axes that neither the others nor the result have.
fn without_unused(c: &mut Converter, factor: Factor, others: &[Factor], wanted: &[Label]) -> Outcome<Factor> {
    let used = |label: &Label| wanted.contains(label) || others.iter().any(|other| other.axes.contains(label));
    let unused: Vec<usize> = (0..factor.axes.len()).filter(|&i| !used(&factor.axes[i])).collect();
    if unused.is_empty() {
        return Ok(factor);
    }
    let id = c.graph.reduce(Reduction::Sum, factor.id, &unused, false)?;
    Ok(Factor { id, axes: factor.axes.into_iter().filter(used).collect() })
}

/// The product of two factors, summed over what is not needed of their common axes.
fn multiplied(c: &mut Converter, a: Factor, b: Factor, needed: &[Label]) -> Outcome<Factor> {
    // A weight comes second, as in a linear layer.
    let (a, b) = if c.is_parameter(a.id) && !c.is_parameter(b.id) { (b, a) } else { (a, b) };
    let common = |label: &&Label| a.axes.contains(label) && b.axes.contains(label);
    let of = |axes: &[Label], keep: &dyn Fn(&Label) -> bool| axes.iter().filter(|x| keep(x)).copied().collect();
    let summed: Vec<Label> = of(&a.axes, &|x| common(&x) && !needed.contains(x));
    let batch: Vec<Label> = of(&a.axes, &|x| common(&x) && needed.contains(x));
    let left: Vec<Label> = of(&a.axes, &|x| !common(&x));
    let right: Vec<Label> = of(&b.axes, &|x| !common(&x));
    let axes = [&batch[..], &left, &right].concat();
    if summed.is_empty() {
        // Nothing is summed: element by element.
        let [x, y] = [spread(c, &a, &axes)?, spread(c, &b, &axes)?];
        return Ok(Factor { id: c.graph.times(x, y)?, axes });
    }
    let x = in_order(c, &a, &[&batch[..], &left, &summed].concat())?;
    let y = in_order(c, &b, &[&batch[..], &summed, &right].concat())?;
    let (shape_x, shape_y) = (c.graph.shape(x).to_vec(), c.graph.shape(y).to_vec());
    let (n, l, s) = (batch.len(), left.len(), summed.len());
    let size = |dims: &[Dim]| Dim::product(dims).ok_or("has axes of absurd sizes");
    let (rows, columns) = (&shape_x[n..n + l], &shape_y[n + s..]);
    // A summed axis of size 1 in one factor repeats there.
    let inner: Shape = shape_x[n + l..].iter().zip(&shape_y[n..n + s]).map(|(a, b)| widest(a, b)).collect();
    let x = c.expand(x, &[&shape_x[..n + l], &inner].concat())?;
    let y = c.expand(y, &[&shape_y[..n], &inner, columns].concat())?;
    let flat = |own: &[Dim], ends: [Dim; 2]| [own, &ends].concat();
    // Without an axis in common every axis of the first is one of rows, which need not be flattened.
    let x = match (n, l) {
        (0, 1..) => c.graph.reshape(x, [rows, &[size(&inner)?]].concat())?,
        _ => c.graph.reshape(x, flat(&shape_x[..n], [size(rows)?, size(&inner)?]))?,
    };
    let y = c.graph.reshape(y, flat(&shape_y[..n], [size(&inner)?, size(columns)?]))?;
    let product = c.graph.matmul(x, y)?;
    let both = c.graph.shape(product)[..n].to_vec();
    let id = c.graph.reshape(product, [&both[..], rows, columns].concat())?;
    Ok(Factor { id, axes })
}

fn widest(a: &Dim, b: &Dim) -> Dim {
    if a.is_one() { b.clone() } else { a.clone() }
}

/// A factor with its axes in another order.
fn in_order(c: &mut Converter, factor: &Factor, wanted: &[Label]) -> Outcome<Id> {
    let order = wanted.iter().map(|label| factor.axes.iter().position(|own| own == label));
    let order = order.collect::<Option<Vec<_>>>().ok_or("has a result with axes that its factors lack")?;
    if order.iter().enumerate().all(|(i, &axis)| i == axis) {
        return Ok(factor.id);
    }
    Ok(c.graph.transpose(factor.id, &order)?)
}

/// A factor in this order, with axes of size 1 where it has none.
fn spread(c: &mut Converter, factor: &Factor, wanted: &[Label]) -> Outcome<Id> {
    let own: Vec<Label> = wanted.iter().filter(|label| factor.axes.contains(label)).copied().collect();
    let mut x = in_order(c, factor, &own)?;
    for (i, label) in wanted.iter().enumerate() {
        if !own.contains(label) {
            x = c.graph.unsqueeze(x, i)?;
        }
    }
    Ok(x)
}
