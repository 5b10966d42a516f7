//! The check of the forward graph that goes on behind a prefix: cut anywhere, rows come to the logits of whole rows.

use std::sync::Arc;

use ndarray::{Array2, ArrayD, IxDyn, s};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::checks::{FAULT, largest, row_deviation};
use super::exact::{Exact, one};
use super::inside::{Expected, Inside, Of, inputs};
use super::reference::array::{Shared, Value};
use super::reference::machine::Feeds;
use super::{Check, VerifyError};
use crate::runtime::Graph;

impl Inside {
    /// Two rows of each prompt, its own and one with other tokens behind the cut, one of them hidden, in one batch behind the
    /// keys and values that a pass over the beginning has given.
    pub(super) fn forward_cached(
        &mut self,
        of: &Of,
        whole: &Exact,
        cached: &Exact,
        random: &mut ChaCha8Rng,
    ) -> Result<(), VerifyError> {
        let Some(shape) = of.bundle.manifest.kept_shape() else { return Ok(()) };
        let sample = &of.evidence.sample;
        let vocab = of.bundle.manifest.dimensions.vocab as i64;
        let mut deviations = Vec::new();
        let mut longest: Option<(usize, Feeds)> = None;
        for (row, &length) in sample.lengths.iter().enumerate() {
            let position = sample.position[row] as usize;
            let cut = random.random_range(0..=position);
            let mut ids = Array2::from_shape_fn((2, length), |(_, place)| sample.ids[[row, place]]);
            ids.slice_mut(s![1, cut..]).mapv_inplace(|_| random.random_range(0..vocab));
            let mut mask = Array2::ones((2, length));
            let hidden = random.random_range(cut..length);
            mask[[1, hidden]] = i64::from(hidden == position);
            let expected = whole.one(&of.machine, &tokens(&ids, &mask, position), "logits")?;

            let empty = || one(Value::Real(ArrayD::zeros(IxDyn(&[shape[0], 1, shape[1], 0, shape[2]]))));
            let mut behind = tokens(&ids.slice(s![.., cut..]).to_owned(), &mask, position - cut);
            behind.extend([("past_keys", empty()), ("past_values", empty())]);
            if cut > 0 {
                let part = |of: &Array2<i64>| of.slice(s![..1, ..cut]).to_owned();
                let mut before = tokens(&part(&ids), &part(&mask), cut - 1);
                before.extend([("past_keys", empty()), ("past_values", empty())]);
                let kept = cached.run(&of.machine, &before, &["keys", "values"])?;
                behind.extend(["past_keys", "past_values"].into_iter().zip(kept));
            }
            let found = cached.one(&of.machine, &behind, "logits")?;
            deviations.push(row_deviation(&found, &expected));
            if longest.as_ref().is_none_or(|(known, _)| *known <= length) {
                longest = Some((length, behind));
            }
        }
        self.checks.push(Check {
            name: "behind a prefix",
            description: "logits of forward_cached.onnx, rows cut anywhere, against forward.onnx, in double precision",
            measured: largest(deviations),
            tolerance: of.evidence.exact(),
            advice: FAULT,
        });
        let Some((_, feeds)) = longest else { return Ok(()) };
        // The runtime starts from keys and values in f32.
        let feeds: Feeds = feeds.into_iter().map(|(name, lanes)| (name, lanes.iter().map(rounded).collect())).collect();
        let names = ["logits", "keys", "values"];
        let exact = names.iter().map(|name| cached.one(&of.machine, &feeds, name));
        let exact = exact.collect::<Result<Vec<_>, _>>()?;
        let outputs = of.with_single(cached, &feeds, &names, exact)?;
        let inputs = inputs(&feeds, Graph::ForwardCached.inputs());
        self.expected.push(Expected { graph: Graph::ForwardCached, inputs, outputs });
        Ok(())
    }
}

/// Rows of tokens that are asked at one position.
fn tokens(ids: &Array2<i64>, mask: &Array2<i64>, position: usize) -> Feeds {
    let positions = ArrayD::from_elem(IxDyn(&[ids.nrows()]), position as i64);
    Feeds::from([
        ("input_ids", one(Value::Whole(ids.clone().into_dyn()))),
        ("attention_mask", one(Value::Whole(mask.clone().into_dyn()))),
        ("position", one(Value::Whole(positions))),
    ])
}

fn rounded(value: &Shared) -> Shared {
    match &**value {
        Value::Real(array) => Arc::new(Value::Real(array.mapv(|x| f64::from(x as f32)))),
        _ => Arc::clone(value),
    }
}
