//! What storing weights in fewer bits changes: the model that a bundle holds against the one that it was made from.

use ndarray::{ArrayD, Axis, IxDyn};
use prost::Message as _;

use super::checks::{Evidence, largest, row_deviation, scored};
use super::exact::{Exact, asked, prompts};
use super::reference::machine::Machine;
use super::reference::program::Program;
use super::reference::{ReferenceError, WeightFile};
use super::{Check, Original, VerifyError};
use crate::bundle::OpenedBundle;
use crate::bundle::graphs::{self, Baked};
use crate::bundle::manifest::{WEIGHT_FILE, WeightType};
use crate::bundle::source::ForwardModel;
use crate::grad::Knobs;
use crate::onnx::write::{Export, WeightLocation, to_model};
use crate::runtime::Runtime;

const LOGITS: &str = "logits of the stored weights against those of the source's, in double precision";
const ATTRIBUTIONS: &str = "the same of gradient times input, a number a token, by GIM's rules and by calculus";
const ADVICE: &str = "this model does not bear so few bits: bake it with --weights f16 or f32";

/// How far rounding may move logits, and attributions, relative to a row's: some times what was seen of trained and random
/// models. Beyond, it is another model that is explained.
fn bounds(weights: WeightType) -> (f64, f64) {
    match weights {
        WeightType::F32 => (0.0, 0.0),
        WeightType::BF16 => (0.1, 0.5),
        WeightType::F16 => (0.02, 0.1),
    }
}

/// Logits and attributions of the same prompts with weights as they are and as they are stored. Nothing where that is f32.
///
/// # Errors
/// For a source that cannot be read.
pub fn rounding(
    runtime: &Runtime,
    original: Original,
    bundle: &OpenedBundle,
    evidence: &Evidence,
) -> Result<Vec<Check>, VerifyError> {
    let stored = bundle.manifest.weight_type().unwrap_or_default();
    if stored == WeightType::F32 {
        return Ok(Vec::new());
    }
    let source = ForwardModel::open(original.path, original.tokenizer)?;
    let fail = |problem: String| {
        VerifyError::from(ReferenceError { graph: source.path.clone(), node: String::new(), problem })
    };
    let wrong = |error: &dyn std::fmt::Display| fail(error.to_string());
    let baked = [
        graphs::embed(&source),
        graphs::forward(&source).map_err(|error| wrong(&error))?,
        graphs::gradient(&source).map_err(|error| wrong(&error))?.0,
    ];
    let (locations, _) = source.weights.locations();
    let encoded: Vec<Vec<u8>> =
        baked.iter().map(|graph| encoded(graph, &locations)).collect::<Result<_, _>>().map_err(fail)?;
    let path = source.path.clone();
    let weights = WeightFile::of_source(&path, source.weights);
    let read = |bytes: &[u8]| Ok::<_, VerifyError>(Exact::built(&path, Program::read(&path, bytes, &weights)?));
    let (embed, forward, gradient) = (read(&encoded[0])?, read(&encoded[1])?, read(&encoded[2])?);

    let machine = Machine { runtime, single: false };
    let sample = &evidence.sample;
    let embeds = embed.one(&machine, &prompts(sample), "inputs_embeds")?.mapv(|x| f64::from(x as f32));
    let logits = forward.one(&machine, &prompts(sample), "logits")?;
    // In the order of the evidence's settings.
    let settings = [Knobs::GRADIENT, Knobs::GIM];
    let gradients = scored(&gradient, &machine, &asked(sample, &embeds, &settings), settings.len())?.gradients;
    let moved = gradients
        .iter()
        .zip(&evidence.gradients)
        .map(|(wide, stored)| row_deviation(&attributions(&evidence.embeds, stored), &attributions(&embeds, wide)));
    let (of_logits, of_attributions) = bounds(stored);
    let check =
        |name, description, measured, tolerance| Check { name, description, measured, tolerance, advice: ADVICE };
    Ok(vec![
        check("rounded logits", LOGITS, row_deviation(&evidence.logits, &logits), of_logits),
        check("rounded attributions", ATTRIBUTIONS, largest(moved), of_attributions),
    ])
}

fn encoded(baked: &Baked, locations: &[WeightLocation]) -> Result<Vec<u8>, String> {
    let export = Export {
        name: baked.file,
        graph: &baked.graph,
        inputs: &baked.inputs,
        outputs: &baked.outputs,
        weights: locations,
        weight_file: WEIGHT_FILE,
        metadata: &[],
    };
    Ok(to_model(&export).map_err(|error| error.to_string())?.encode_to_vec())
}

/// `[batch, seq]` of two `[batch, seq, hidden]`.
fn attributions(embeds: &ArrayD<f64>, gradient: &ArrayD<f64>) -> ArrayD<f64> {
    if embeds.shape() != gradient.shape() {
        return ArrayD::from_elem(IxDyn(&[0]), f64::NAN);
    }
    (embeds * gradient).sum_axis(Axis(embeds.ndim() - 1))
}
