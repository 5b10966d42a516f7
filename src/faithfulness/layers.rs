//! Layer-wise faithfulness: the GIM paper's protocol (arXiv 2505.17630) on the residual stream that enters each layer.

use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{ArrayView2, Axis};

use super::gim::{highest_steps, mean_fall, sufficiency_steps};
use super::{Curve, Evaluated, Family, Measured, Metric, Output, Ranking, Unit, blocked_inside};
use crate::config::{OptionInfo, OptionKind, OptionValue};
use crate::probe::Probe;
use crate::runtime::{Change, Graph};

const BASELINE: OptionInfo = OptionInfo {
    name: "baseline",
    kind: OptionKind::Choice(&["zero", "mean"]),
    default: OptionValue::Word("zero"),
    only_with: None,
    about: "What a vector of the stream is compared with when it is multiplied by its gradient: nothing, or the mean that takes \
            its place.",
};
const EVERY: OptionInfo = OptionInfo {
    name: "every",
    kind: OptionKind::Integer(1, 1000),
    default: OptionValue::Integer(1),
    only_with: None,
    about: "Only every so many layers, from the first on: a layer asks for as many rows as the whole protocol.",
};

const SOURCE: &str = "arXiv 2505.17630";

pub const COMPREHENSIVENESS: Family = Family {
    metrics: &[Output {
        name: "layer_comprehensiveness",
        label: "Layer-wise comprehensiveness",
        description: "How much the score falls when what enters a layer at the highest-ranked tokens is replaced by its mean over \
                      the prompt, averaged over the first 1 to 50 of them and over layers; only of methods that are a \
                      gradient, which rank the tokens anew in every layer.",
        higher_is_better: true,
        unit: Unit::Score,
    }],
    options: &[BASELINE, EVERY],
    standard: false,
    source: SOURCE,
    cost: "1 gradient, and min(n, 50) forward a layer",
    build: |settings| {
        Rc::new(Layers {
            curve: "layer_comprehensiveness",
            steps: highest_steps,
            taken: Ranking::highest,
            from_mean: settings.word(BASELINE.name) == "mean",
            every: settings.integer(EVERY.name).unwrap_or(1),
        })
    },
};

pub const SUFFICIENCY: Family = Family {
    metrics: &[Output {
        name: "layer_sufficiency",
        label: "Layer-wise sufficiency",
        description: "The same for the lowest-ranked 50, 80, 90, 95 and 99 % of the tokens.",
        higher_is_better: false,
        unit: Unit::Score,
    }],
    options: &[BASELINE, EVERY],
    standard: false,
    source: SOURCE,
    cost: "1 gradient, and 5 forward a layer",
    build: |settings| {
        Rc::new(Layers {
            curve: "layer_sufficiency",
            steps: sufficiency_steps,
            taken: Ranking::lowest,
            from_mean: settings.word(BASELINE.name) == "mean",
            every: settings.integer(EVERY.name).unwrap_or(1),
        })
    },
};

struct Layers {
    curve: &'static str,
    steps: fn(usize) -> Vec<usize>,
    taken: fn(&Ranking, usize) -> &[usize],
    from_mean: bool,
    every: usize,
}

#[async_trait(?Send)]
impl Metric for Layers {
    async fn measure(&self, evaluated: &Evaluated, probe: &Probe) -> Measured {
        if let Some(reason) = blocked_inside(probe, [Graph::ResidualGradient, Graph::ForwardResidual]) {
            return Measured::none(1, &reason);
        }
        let Some(knobs) = evaluated.method.knobs() else {
            return Measured::none(1, "the method is no gradient, and says nothing of inner layers");
        };
        let case = &evaluated.case;
        let residual = probe.residual(knobs).await;
        let layers = residual.values.len_of(Axis(0));
        let by_layer: Vec<Vec<f64>> = residual
            .values
            .axis_iter(Axis(0))
            .zip(residual.gradient.axis_iter(Axis(0)))
            .map(|(values, gradient)| attributions(values, gradient, self.from_mean))
            .collect();
        // A whole model's stream is not held while rows wait for their turn.
        drop(residual);
        let (mut step, mut score) = (Vec::new(), Vec::new());
        for (layer, values) in by_layer.iter().enumerate().step_by(self.every) {
            if let Some(token) = values.iter().position(|value| !value.is_finite()) {
                return Measured::none(
                    1,
                    &format!("the attribution of token {token} at layer {layer} is not a finite number"),
                );
            }
            let ranking = Ranking::new(values, &case.ranked);
            let change = Change::Residual { layer: u16::try_from(layer).unwrap_or(u16::MAX) };
            let row = |k: usize| case.row().changed((self.taken)(&ranking, k), change);
            let rows = (self.steps)(ranking.len()).into_iter().map(row).collect();
            match mean_fall(evaluated.full, &probe.scores(rows).await) {
                Ok(fall) => score.push(fall),
                Err(reason) => return Measured::none(1, &reason),
            }
            step.push(layer);
        }
        let mean = score.iter().sum::<f64>() / score.len().max(1) as f64;
        let fraction = step.iter().map(|&layer| layer as f64 / layers.saturating_sub(1).max(1) as f64).collect();
        Measured { values: vec![Ok(mean)], curves: vec![Curve { curve: self.curve.to_owned(), step, fraction, score }] }
    }
}

/// `sum_d (r[t, d] - b[d]) g[t, d]` for every token, `b` being 0 or the mean of `r` over tokens.
fn attributions(values: ArrayView2<f32>, gradient: ArrayView2<f32>, from_mean: bool) -> Vec<f64> {
    let (values, gradient) = (values.mapv(f64::from), gradient.mapv(f64::from));
    let difference = match values.mean_axis(Axis(0)) {
        Some(mean) if from_mean => values - mean,
        _ => values,
    };
    (difference * gradient).sum_axis(Axis(1)).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn attributions_are_products_with_the_gradient() {
        let (values, gradient) = (arr2(&[[1.0, 2.0], [3.0, 0.0]]), arr2(&[[1.0, -1.0], [2.0, 5.0]]));
        assert_eq!(attributions(values.view(), gradient.view(), false), [-1.0, 6.0]);
        // The mean is [2, 1].
        assert_eq!(attributions(values.view(), gradient.view(), true), [-2.0, -3.0]);
    }
}
