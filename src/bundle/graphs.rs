//! The graphs of a bundle, made from one forward graph.

use crate::grad::sites::Sites;
use crate::grad::{Audit, GradError, KnobInputs, SiteKind, differentiate};
use crate::labels::Labels;
use crate::onnx::dim::{BATCH, SEQ};
use crate::onnx::op::{Reduction, Unary};
use crate::onnx::precision::{in_double, products_in_half};
use crate::onnx::rewrite::cut;
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id};

use super::contract::Graph as Contract;
use super::last;
use super::manifest::ComputeType;
use super::select::{first_row, logit_of, row_at};
use super::source::ForwardModel;

/// A graph with its ports, ready to be written.
pub struct Baked {
    pub file: &'static str,
    pub graph: Graph,
    pub inputs: Vec<Id>,
    pub outputs: Vec<(&'static str, Id)>,
}

impl Baked {
    /// Makes it compute in this type, between ports that stay what they are.
    ///
    /// # Errors
    /// Those of building a graph, which are faults of this program.
    pub fn compute_in(&mut self, compute: ComputeType) -> Result<(), GraphError> {
        let retype = match compute {
            ComputeType::F32 => return Ok(()),
            ComputeType::F64 => in_double,
            ComputeType::F16 => products_in_half,
        };
        let outputs: Vec<Id> = self.outputs.iter().map(|&(_, id)| id).collect();
        let (graph, inputs, outputs) = retype(&self.graph, &self.inputs, &outputs)?;
        (self.graph, self.inputs) = (graph, inputs);
        self.outputs.iter_mut().zip(outputs).for_each(|((_, id), made)| *id = made);
        Ok(())
    }
}

/// `embed.onnx`: the token-embedding lookup.
pub fn embed(source: &ForwardModel) -> Baked {
    Baked {
        file: Contract::Embed.file(),
        graph: source.graph.clone(),
        inputs: vec![source.input_ids],
        outputs: vec![("inputs_embeds", source.inputs_embeds)],
    }
}

/// The values of a forward graph that scores are made from, as they are numbered in a copy of it.
pub(super) struct Scored {
    pub logits: Id,
    pub attention_mask: Id,
    pub last_places: Vec<Id>,
    /// Values that are to be there at all positions, though the score hangs on one of them.
    pub whole: Vec<Id>,
}

impl Scored {
    /// What a copy has to keep known by number: the logits, the mask, and where the last place is taken.
    pub fn roots(source: &ForwardModel) -> Vec<Id> {
        [&[source.logits, source.attention_mask], &source.last_places[..]].concat()
    }

    /// From the numbers of [`Scored::roots`] in a copy, and others behind them, which are given back.
    pub fn of_roots(source: &ForwardModel, roots: &[Id]) -> (Scored, Vec<Id>) {
        let own = 2 + source.last_places.len();
        let last_places = roots[2..own].to_vec();
        let scored = Scored { logits: roots[0], attention_mask: roots[1], last_places, whole: Vec::new() };
        (scored, roots[own..].to_vec())
    }
}

/// The row of logits that is scored, `[batch, 1, ..]`: a decoder's at `position`, a classifier's at its first token, or where
/// the file says. A classifier has the input `position` like any other model, so that all bundles are asked alike, and does
/// not heed it.
pub(super) fn scored_row(
    graph: &mut Graph,
    source: &ForwardModel,
    scored: &Scored,
    position: Id,
) -> Result<Id, GraphError> {
    let labels = source.labels.as_ref().map(Labels::count);
    let one_row = |size: usize| vec![Dim::symbol(BATCH), Dim::known(1), Dim::known(size)];
    if !scored.last_places.is_empty() {
        let position = match labels {
            Some(_) => last::of_mask(graph, scored.attention_mask)?,
            None => position,
        };
        let row = last::at_position(graph, scored.logits, &scored.last_places, position, &scored.whole)?;
        return graph.reshape(row, one_row(labels.unwrap_or(source.vocab)));
    }
    match labels {
        // The file takes a row itself.
        Some(labels) if Dim::product(graph.shape(scored.logits)) == Dim::product(&one_row(labels)) => {
            graph.reshape(scored.logits, one_row(labels))
        }
        Some(_) => first_row(graph, scored.logits, &scored.whole),
        None => row_at(graph, scored.logits, position, &scored.whole),
    }
}

/// `forward.onnx`: the logits at one position.
pub fn forward(source: &ForwardModel) -> Result<Baked, GradError> {
    let mut graph = source.graph.clone();
    let batch = Dim::symbol(BATCH);
    let position = graph.input("position", Dtype::I64, vec![batch.clone()])?;
    let scored = Scored {
        logits: source.logits,
        attention_mask: source.attention_mask,
        last_places: source.last_places.clone(),
        whole: Vec::new(),
    };
    let row = scored_row(&mut graph, source, &scored, position)?;
    let outputs = source.labels.as_ref().map_or(source.vocab, Labels::count);
    let logits = graph.reshape(row, vec![batch, Dim::known(outputs)])?;
    Ok(Baked {
        file: Contract::Forward.file(),
        graph,
        inputs: vec![source.input_ids, source.attention_mask, position],
        outputs: vec![("logits", logits)],
    })
}

/// `forward_embeds.onnx`: the logits at one position, from embeddings that need not be those of tokens.
pub fn forward_embeds(source: &ForwardModel) -> Result<Baked, GradError> {
    let (mut graph, scored, inputs_embeds, _) = from_embeds(source, &[])?;
    let batch = Dim::symbol(BATCH);
    let position = graph.input("position", Dtype::I64, vec![batch.clone()])?;
    let row = scored_row(&mut graph, source, &scored, position)?;
    let outputs = source.labels.as_ref().map_or(source.vocab, Labels::count);
    let logits = graph.reshape(row, vec![batch, Dim::known(outputs)])?;
    Ok(Baked {
        file: Contract::ForwardEmbeds.file(),
        graph,
        inputs: vec![inputs_embeds, scored.attention_mask, position],
        outputs: vec![("logits", logits)],
    })
}

/// The forward graph behind the token-embedding lookup, its new input, and `others` of its values as they are numbered there.
pub(super) fn from_embeds(source: &ForwardModel, others: &[Id]) -> Result<(Graph, Scored, Id, Vec<Id>), GradError> {
    // All but the logits are outputs of the cut only so that they stay known by number.
    let roots = [&Scored::roots(source), others].concat();
    let (graph, roots, inputs_embeds) = cut(&source.graph, source.inputs_embeds, "inputs_embeds", &roots)?;
    let (scored, others) = Scored::of_roots(source, &roots);
    Ok((graph, scored, inputs_embeds, others))
}

/// The score that is differentiated, and all inputs of a graph that differentiates it.
pub(super) struct Asked {
    pub score: Id,
    pub knobs: KnobInputs,
    pub inputs: Vec<Id>,
}

impl Asked {
    /// `logit[target] - contrast_weight * logit[contrast]` at `position`.
    pub fn declare(
        graph: &mut Graph,
        source: &ForwardModel,
        scored: &Scored,
        inputs_embeds: Id,
    ) -> Result<Asked, GradError> {
        Asked::with(graph, source, scored, inputs_embeds, |graph, dtype| {
            let knobs = KnobInputs::declare(graph, dtype)?;
            Ok((knobs, knobs.ids().to_vec()))
        })
    }

    /// The same with knobs that `declare` gives, and what they are inputs of.
    pub fn with(
        graph: &mut Graph,
        source: &ForwardModel,
        scored: &Scored,
        inputs_embeds: Id,
        declare: impl FnOnce(&mut Graph, Dtype) -> Result<(KnobInputs, Vec<Id>), GraphError>,
    ) -> Result<Asked, GradError> {
        let dtype = graph.dtype(inputs_embeds);
        let batch = || vec![Dim::symbol(BATCH)];
        let position = graph.input("position", Dtype::I64, batch())?;
        let target = graph.input("target", Dtype::I64, batch())?;
        let contrast = graph.input("contrast", Dtype::I64, batch())?;
        let contrast_weight = graph.input("contrast_weight", dtype, batch())?;
        let (knobs, others) = declare(graph, dtype)?;

        let logits = scored_row(graph, source, scored, position)?;
        let target_logit = logit_of(graph, logits, target)?;
        let contrast_logit = logit_of(graph, logits, contrast)?;
        graph.set_scope("score");
        let against = graph.times(contrast_logit, contrast_weight)?;
        let score = graph.minus(target_logit, against)?;
        let inputs = [inputs_embeds, scored.attention_mask, position, target, contrast, contrast_weight];
        Ok(Asked { score, knobs, inputs: inputs.into_iter().chain(others).collect() })
    }
}

/// `gradient.onnx`: the score and its (modified) gradient with respect to the embeddings.
pub fn gradient(source: &ForwardModel) -> Result<(Baked, Audit), GradError> {
    let (mut graph, scored, inputs_embeds, _) = from_embeds(source, &[])?;
    let Asked { score, knobs, inputs } = Asked::declare(&mut graph, source, &scored, inputs_embeds)?;
    let derivative = differentiate(&mut graph, score, inputs_embeds, &knobs, &SiteKind::ALL)?;
    let outputs = vec![("score", score), ("gradient", derivative.gradient)];
    Ok((Baked { file: Contract::Gradient.file(), graph, inputs, outputs }, derivative.audit))
}

/// `gradient_log_probability.onnx`: the logarithm of the target's probability among all tokens or labels, and its (modified)
/// gradient. The softmax over the logits is differentiated by plain calculus: it is no part of the network's attention.
pub fn gradient_log_probability(source: &ForwardModel) -> Result<Baked, GradError> {
    let (mut graph, scored, inputs_embeds, _) = from_embeds(source, &[])?;
    let dtype = graph.dtype(inputs_embeds);
    let position = graph.input("position", Dtype::I64, vec![Dim::symbol(BATCH)])?;
    let target = graph.input("target", Dtype::I64, vec![Dim::symbol(BATCH)])?;
    let knobs = KnobInputs::declare(&mut graph, dtype)?;
    let logits = scored_row(&mut graph, source, &scored, position)?;
    let target_logit = logit_of(&mut graph, logits, target)?;
    graph.set_scope("score");
    let count = source.labels.as_ref().map_or(source.vocab, Labels::count);
    let logits = graph.reshape(logits, vec![Dim::symbol(BATCH), Dim::known(count)])?;
    let largest = graph.reduce(Reduction::Max, logits, &[1], true)?;
    let below = graph.minus(logits, largest)?;
    let terms = graph.unary(Unary::Exp, below)?;
    let sum = graph.reduce(Reduction::Sum, terms, &[1], false)?;
    let log_sum = graph.unary(Unary::Log, sum)?;
    let largest = graph.reshape(largest, vec![Dim::symbol(BATCH)])?;
    let log_sum = graph.plus(log_sum, largest)?;
    let score = graph.minus(target_logit, log_sum)?;
    let derivative = differentiate(&mut graph, score, inputs_embeds, &knobs, &SiteKind::ALL)?;
    let inputs = [inputs_embeds, scored.attention_mask, position, target].into_iter().chain(knobs.ids()).collect();
    let outputs = vec![("score", score), ("gradient", derivative.gradient)];
    Ok(Baked { file: Contract::GradientLogProbability.file(), graph, inputs, outputs })
}

/// A copy of the forward graph, and its attention weights, layer by layer; at least one.
pub(super) fn attention_softmaxes(source: &ForwardModel) -> Result<(Graph, Vec<Id>), GradError> {
    let graph = source.graph.clone();
    let depends = graph.descendants(source.inputs_embeds);
    let path: Vec<Id> = graph.ancestors(&[source.logits]).into_iter().filter(|id| depends[id.index()]).collect();
    let softmaxes: Vec<Id> = Sites::find(&graph, &path).attention().collect();
    if softmaxes.is_empty() {
        return Err(GradError::NoSite { kind: SiteKind::AttentionSoftmax });
    }
    Ok((graph, softmaxes))
}

/// `attention.onnx`: the attention weights of every layer, `[layers, batch, heads, seq, seq]`.
pub fn attention(source: &ForwardModel) -> Result<Baked, GradError> {
    let (mut graph, softmaxes) = attention_softmaxes(source)?;
    graph.set_scope("attention");
    let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
    let mut layers = Vec::with_capacity(softmaxes.len());
    for softmax in softmaxes {
        let heads = Dim::known(source.heads);
        let shape = vec![one.clone(), batch.clone(), heads, seq.clone(), seq.clone()];
        layers.push(graph.reshape(softmax, shape)?);
    }
    let attention = graph.concat(&layers, 0)?;
    Ok(Baked {
        file: Contract::Attention.file(),
        graph,
        inputs: vec![source.input_ids, source.attention_mask],
        outputs: vec![("attention", attention)],
    })
}
