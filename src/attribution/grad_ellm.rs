//! Grad-ELLM (Huang and Chan, arXiv 2601.03089).

use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{ArrayView1, ArrayView2, ArrayView3, Axis, s};

use super::gradients::{RULES, named_rules, positive};
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue};
use crate::config::Offered;
use crate::grad::Knobs;
use crate::probe::Probe;
use crate::runtime::Graph;

const LAYERS: OptionInfo = OptionInfo {
    name: "layers",
    kind: OptionKind::IntegerOr("all", 1, 1000),
    default: OptionValue::Integer(1),
    only_with: None,
    about: "Over how many layers, from the last one down, it is summed.",
};

const WEIGHTS: OptionInfo = OptionInfo {
    name: "weights",
    kind: OptionKind::Choice(&["loosened", "softmax"]),
    default: OptionValue::Word("loosened"),
    only_with: None,
    about: "What a token counts by: the cosine of its key with the query, from 0 for the least to 1 for the most, or the softmax \
            of their products.",
};

const FORM: OptionInfo = OptionInfo {
    name: "form",
    kind: OptionKind::Choice(&["published", "aligned"]),
    default: OptionValue::Word("published"),
    only_with: None,
    about: "published: the gradient behind the output projection meets values before it, and the keys and values of all groups \
            are repeated one behind another; only where both have one width. aligned: the gradient of what the heads give, and \
            keys and values with the heads that use them.",
};

pub(super) const METHOD: Entry = Entry {
    info: Offered { name: "grad_ellm", options: &[LAYERS, WEIGHTS, FORM, RULES] },
    description: "Grad-ELLM: positive parts of values times the score's gradient behind attention, weighted by keys like the query",
    source: "arXiv 2601.03089",
    cost: "1 gradient, with projections",
    build: |settings| {
        Rc::new(GradEllm {
            layers: settings.integer(LAYERS.name),
            softmax: settings.word(WEIGHTS.name) == "softmax",
            aligned: settings.word(FORM.name) == "aligned",
            knobs: named_rules(settings.word(RULES.name)),
        })
    },
};

/// `sum_layers relu(sum_c g_c v_ic w_i)` for tokens up to the scored one, 0 behind it: `v` the values, and `w` weights made of
/// the query at the scored position and the keys, all as their projections give them. Sizes: it says what a token adds, never
/// what it takes away.
pub struct GradEllm {
    /// All layers where there is none.
    layers: Option<usize>,
    softmax: bool,
    aligned: bool,
    knobs: Knobs,
}

#[async_trait(?Send)]
impl Method for GradEllm {
    async fn attribute(&self, case: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let found = probe.projections(self.knobs).await;
        let (layers, heads, value_size) = found.heads_gradient.dim();
        let hidden = found.output_gradient.ncols();
        let gradient = if self.aligned {
            found.heads_gradient.view()
        } else if let Ok(gradient) = found.output_gradient.view().into_shape_with_order((layers, heads, value_size)) {
            gradient
        } else {
            return Err(Inapplicable(format!(
                "Grad-ELLM as published multiplies values, of which the heads have {}, by a gradient of {hidden} numbers; \
                 `form: aligned` takes the gradient where it has as many",
                heads * value_size
            )));
        };
        let seen = (case.position + 1).min(case.length());
        let key_heads = found.keys.len_of(Axis(2));
        let heads = Heads { heads, key_heads, aligned: self.aligned };
        let mut sum = vec![0.0; case.length()];
        for layer in layers.saturating_sub(self.layers.unwrap_or(layers))..layers {
            let keys = found.keys.slice(s![layer, ..seen, .., ..]);
            let values = found.values.slice(s![layer, ..seen, .., ..]);
            let weights = self.weights(&heads, found.queries.index_axis(Axis(0), layer), keys);
            let gradient = gradient.index_axis(Axis(0), layer);
            for ((sum, value), weight) in sum.iter_mut().zip(values.outer_iter()).zip(weights) {
                *sum += positive(heads.product(gradient, value) * weight);
            }
        }
        Ok(Attribution::deterministic(sum))
    }

    fn rules(&self) -> Option<Knobs> {
        Some(self.knobs)
    }

    fn needs(&self) -> &'static [Graph] {
        &[Graph::AttentionProjections]
    }
}

impl GradEllm {
    /// What each token counts by: `queries` `[heads, size]`, `keys` `[tokens, key_heads, size]`.
    fn weights(&self, heads: &Heads, queries: ArrayView2<f32>, keys: ArrayView3<f32>) -> Vec<f64> {
        let products = keys.outer_iter().map(|key| heads.product(queries, key));
        if self.softmax {
            let scale = (queries.len() as f64).sqrt();
            let scores: Vec<f64> = products.map(|product| product / scale).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let terms: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let sum: f64 = terms.iter().sum();
            return terms.into_iter().map(|term| term / sum).collect();
        }
        let length: f64 = queries.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let cosines = products.zip(keys.outer_iter()).map(|(product, key)| {
            let lengths = length * heads.square(key).sqrt();
            // A vector of zeros points nowhere.
            if lengths == 0.0 { 0.0 } else { product / lengths }
        });
        from_least_to_most(cosines.collect())
    }
}

/// Which keys and values belong to which heads.
struct Heads {
    heads: usize,
    key_heads: usize,
    aligned: bool,
}

impl Heads {
    /// The key head of a head. All key heads repeated one behind another give another order than each repeated for the heads
    /// of its group.
    fn key_head(&self, head: usize) -> usize {
        let group = (self.heads / self.key_heads.max(1)).max(1);
        if self.aligned { head / group } else { head % self.key_heads.max(1) }
    }

    /// The product of vectors of all heads, `[heads, size]` and `[key_heads, size]`.
    fn product(&self, own: ArrayView2<f32>, of_key_heads: ArrayView2<f32>) -> f64 {
        let of_head = |(head, own): (usize, ArrayView1<f32>)| -> f64 {
            let other = of_key_heads.row(self.key_head(head));
            own.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        own.outer_iter().enumerate().map(of_head).sum()
    }

    /// The square of the length of a vector `[key_heads, size]`, once it is repeated for all heads.
    fn square(&self, of_key_heads: ArrayView2<f32>) -> f64 {
        let sum: f64 = of_key_heads.iter().map(|&x| f64::from(x).powi(2)).sum();
        sum * (self.heads / self.key_heads.max(1)) as f64
    }
}

/// Numbers moved and scaled so that the least is 0 and the largest 1; zeros where all are one number. Where one is none, none is.
fn from_least_to_most(mut numbers: Vec<f64>) -> Vec<f64> {
    if numbers.iter().any(|number| !number.is_finite()) {
        return vec![f64::NAN; numbers.len()];
    }
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let span = most - least;
    numbers.iter_mut().for_each(|number| *number = if span > 0.0 { (*number - least) / span } else { 0.0 });
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn groups_are_repeated_in_either_order() {
        let (own, keys) = (array![[1.0f32], [2.0], [3.0], [4.0]], array![[10.0f32], [100.0]]);
        let product = |aligned| Heads { heads: 4, key_heads: 2, aligned }.product(own.view(), keys.view());
        assert_eq!(product(true), 10.0 + 20.0 + 300.0 + 400.0);
        assert_eq!(product(false), 10.0 + 200.0 + 30.0 + 400.0);
    }

    #[test]
    fn similarities_that_are_all_one_number_weigh_nothing() {
        assert_eq!(from_least_to_most(vec![0.5; 3]), [0.0; 3]);
        assert_eq!(from_least_to_most(vec![-1.0, 1.0, 0.0]), [0.0, 1.0, 0.5]);
        assert!(from_least_to_most(vec![-1.0, f64::NAN, 0.0]).iter().all(|number| number.is_nan()));
    }
}
