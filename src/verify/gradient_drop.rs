//! The check of gradients without what flows through one layer.

use ndarray::{Array1, ArrayD, Axis};
use rand_chacha::ChaCha8Rng;

use super::checks::{DERIVATIVE, FAULT, largest, ratio, row_deviation};
use super::exact::{Exact, one};
use super::inside::{Expected, Inside, LANE, Of, inputs, movement};
use super::reference::array::Value;
use super::reference::machine::Edits;
use super::reference::tangents::{Beginnings, inner};
use super::{Check, VerifyError};
use crate::grad::Knobs;
use crate::runtime::Graph;

impl Inside {
    /// A movement that comes to a layer's entry is taken to its end as it is, and how the score then moves is what the gradient
    /// without that layer says of the movement. Every layer in a prompt of its own. `residual`: the graph of the stream.
    pub(super) fn gradient_drop(
        &mut self,
        of: &Of,
        residual: &Exact,
        graph: &Exact,
        random: &mut ChaCha8Rng,
    ) -> Result<(), VerifyError> {
        let names = ["score", "gradient"];
        // Where no layer is left out, it is the gradient.
        let rows = of.evidence.sample.lengths.len();
        let mut feeds = of.feeds.clone();
        feeds.insert("dropped", one(Value::Whole(Array1::from_elem(rows, -1).into_dyn())));
        let found = of.outputs(graph, &feeds, &names)?;
        let whole = [(&found[0], &of.evidence.scores()[0]), (&found[1], &of.evidence.gradients[LANE])];
        let mut deviations: Vec<f64> = whole.into_iter().map(|(found, whole)| row_deviation(found, whole)).collect();

        let layers = of.bundle.manifest.dimensions.layers;
        let mut feeds = of.by_layer.clone();
        feeds.insert("dropped", one(Value::Whole((0..layers as i64).collect::<Array1<i64>>().into_dyn())));
        let found = of.outputs(graph, &feeds, &names)?;
        let directions = [movement(&found[1], random)];
        let entries = residual.moved(
            &of.machine,
            &of.by_layer,
            &residual.sites()?,
            &residual.beginning_at_embeddings(&directions)?,
            "residual",
            &of.knobs,
        )?;
        let entries = &entries.output[0];
        let ends = ends(of, graph, entries.len() / layers.max(1))?;
        let mut beginnings = Beginnings::new();
        for (layer, (&end, moves)) in ends.iter().zip(entries.outer_iter()).enumerate() {
            let mut of_layer = ArrayD::zeros(moves.raw_dim());
            of_layer.index_axis_mut(Axis(0), layer).assign(&moves.index_axis(Axis(0), layer));
            beginnings.insert(end, vec![of_layer]);
        }
        let moved = graph.moved(&of.machine, &feeds, &graph.sites()?, &beginnings, "score", &of.knobs)?;
        let scores = moved.output[0].iter().copied();
        let gradients = found[1].outer_iter().zip(directions[0].outer_iter());
        deviations.extend(gradients.zip(scores).map(|((gradient, moves), score)| {
            let (sum, terms) = inner(&gradient.to_owned(), &moves.to_owned());
            ratio((sum - score).abs(), terms)
        }));
        self.checks.push(Check {
            name: "gradient drop",
            description: "gradient_drop.onnx without a layer against a movement that is taken around it, and without none \
                          against gradient.onnx, in double precision",
            measured: if ends.len() == layers { largest(deviations) } else { f64::NAN },
            tolerance: DERIVATIVE + of.evidence.exact(),
            advice: FAULT,
        });
        let names_of = Graph::GradientDrop.inputs().iter().chain(&Knobs::NAMES).copied();
        self.expected.push(Expected {
            graph: Graph::GradientDrop,
            inputs: inputs(&feeds, &names_of.collect::<Vec<_>>()),
            outputs: of.with_single(graph, &feeds, &names, found)?,
        });
        Ok(())
    }
}

/// Where the layers end: the values of `size` numbers that all ways from the embeddings to the score lead through, the last one
/// before each layer's attention but the first, and the last of all.
fn ends(of: &Of, graph: &Exact, size: usize) -> Result<Vec<usize>, VerifyError> {
    let program = &graph.program;
    let needed = program.needed(&[graph.output("score")?]);
    let reached = program.made_from("inputs_embeds");
    let active: Vec<usize> = (0..program.steps.len()).filter(|&id| needed[id] && reached[id]).collect();
    let mut last_user: Vec<usize> = (0..program.steps.len()).collect();
    for &id in &active {
        program.steps[id].inputs.iter().filter(|input| reached[**input]).for_each(|&input| last_user[input] = id);
    }
    let mut farthest = 0;
    let mut gates = Vec::new();
    for &id in &active {
        if farthest <= id {
            gates.push(id);
        }
        farthest = farthest.max(last_user[id]);
    }
    let softmaxes = graph.sites()?.attention;
    let (first, last) = (softmaxes.first().copied().unwrap_or_default(), softmaxes.last().copied().unwrap_or_default());
    gates.retain(|&gate| gate > first);
    let values = graph.edited(&of.machine, &of.by_layer, &gates, &Edits::new())?;
    let is_stream = |value: &ArrayD<f64>| value.len() == size;
    let stream: Vec<usize> =
        gates.into_iter().zip(&values).filter(|(_, value)| is_stream(value)).map(|(id, _)| id).collect();
    let before = |softmax: usize| stream.iter().copied().rfind(|&gate| gate < softmax);
    let behind = stream.last().copied().filter(|&gate| gate > last);
    Ok(softmaxes.iter().skip(1).filter_map(|&softmax| before(softmax)).chain(behind).collect())
}
