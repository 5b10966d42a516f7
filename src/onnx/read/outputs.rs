//! Which output of a file is its logits.

use super::decode::Model;
use super::weights::element_type;
use crate::onnx::proto::tensor_shape_proto::dimension;
use crate::onnx::proto::{ValueInfoProto, type_proto};

/// The output that is taken for the logits, and what is to be said about the choice.
#[derive(Debug)]
pub struct Chosen {
    pub name: String,
    pub note: Option<String>,
}

/// Operators that make probabilities, labels or another shape of what the logits are: an output made through them alone is
/// made of the same logits.
const AFTER_LOGITS: [&str; 12] = [
    "Softmax",
    "LogSoftmax",
    "Sigmoid",
    "Exp",
    "Log",
    "ArgMax",
    "TopK",
    "ReduceMax",
    "Identity",
    "Cast",
    "Squeeze",
    "Unsqueeze",
];

/// Nodes between logits and an output, at most.
const MAX_STEPS: usize = 16;

/// Chooses by name, then by type and by what the outputs are made of.
pub fn choose(model: &Model) -> Result<Chosen, String> {
    let all: Vec<&ValueInfoProto> = model.outputs.iter().collect();
    if all.is_empty() {
        return Err("has no output".to_owned());
    }
    if all.iter().any(|output| output.name() == "logits") {
        return Ok(Chosen { name: "logits".to_owned(), note: None });
    }
    let candidates: Vec<&ValueInfoProto> =
        all.iter().copied().filter(|output| is_float(output) && !is_something_else(output.name())).collect();
    let named: Vec<&ValueInfoProto> =
        candidates.iter().copied().filter(|output| output.name().to_lowercase().contains("logits")).collect();
    let chosen = match (&named[..], &candidates[..]) {
        ([only], _) | ([], [only]) => only.name(),
        ([], []) => {
            return Err(format!("has no output 'logits', only {}: export the model with its head", list(&all)));
        }
        ([], several) | (several, _) => nearest(model, several).ok_or_else(|| {
            format!(
                "has no output 'logits', and which of {} holds them is unclear: export the model with one of them, or call \
                 it 'logits'",
                list(several)
            )
        })?,
    };
    let among = if all.len() > 1 { format!(", of the outputs {},", list(&all)) } else { String::new() };
    Ok(Chosen { name: chosen.to_owned(), note: Some(format!("the output '{chosen}'{among} is taken for the logits")) })
}

/// Names of outputs that exporters give beside the logits.
fn is_something_else(name: &str) -> bool {
    const WHOLE: [&str; 11] = [
        "pooler_output",
        "pooled_output",
        "sentence_embedding",
        "token_embeddings",
        "embeddings",
        "embedding",
        "features",
        "loss",
        "image_embeds",
        "text_embeds",
        "encoder_output",
    ];
    const PARTS: [&str; 7] = ["hidden_state", "attention", "present", "past", "cache", "cross_attn", "self_attn"];
    let name = name.to_lowercase();
    let name = name.split(':').next().unwrap_or_default();
    WHOLE.contains(&name) || PARTS.iter().any(|part| name.contains(part))
}

/// Of outputs that are all made of the same value by what comes after logits, the one that is nearest to it.
fn nearest<'a>(model: &Model, outputs: &[&'a ValueInfoProto]) -> Option<&'a str> {
    let origins: Vec<(&str, usize)> = outputs.iter().map(|output| origin(model, output.name())).collect();
    let same = origins.iter().all(|(origin, _)| *origin == origins[0].0);
    let nearest = outputs.iter().zip(&origins).min_by_key(|(_, (_, steps))| *steps);
    nearest.filter(|_| same).map(|(output, _)| output.name())
}

/// What an output is made of, and how many steps away.
fn origin<'a>(model: &'a Model, output: &'a str) -> (&'a str, usize) {
    let mut name = output;
    for steps in 0..MAX_STEPS {
        let maker = model.nodes.iter().map(|node| &node.proto).find(|node| node.output.iter().any(|made| made == name));
        match maker.filter(|node| AFTER_LOGITS.contains(&node.op_type())).and_then(|node| node.input.first()) {
            Some(input) => name = input,
            None => return (name, steps),
        }
    }
    (name, MAX_STEPS)
}

fn is_float(output: &ValueInfoProto) -> bool {
    match output.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => {
            // A file need not say.
            tensor.elem_type.is_none_or(|code| code == 0 || element_type(code).is_ok_and(|dtype| dtype.is_float()))
        }
        Some(_) => false,
        None => true,
    }
}

/// `'logits' [batch, 3], 'label' [batch]`.
fn list(outputs: &[&ValueInfoProto]) -> String {
    let one = |output: &&ValueInfoProto| {
        let shape = match output.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
            Some(type_proto::Value::TensorType(tensor)) => tensor.shape.as_ref(),
            _ => None,
        };
        let size = |dim: &crate::onnx::proto::tensor_shape_proto::Dimension| match &dim.value {
            Some(dimension::Value::DimValue(size)) => size.to_string(),
            Some(dimension::Value::DimParam(name)) => name.clone(),
            None => "?".to_owned(),
        };
        let shape = shape.map(|shape| format!(" [{}]", shape.dim.iter().map(size).collect::<Vec<_>>().join(", ")));
        format!("'{}'{}", output.name(), shape.unwrap_or_default())
    };
    // A model of many layers has as many outputs.
    const MOST: usize = 6;
    let mut names: Vec<String> = outputs.iter().take(MOST).map(one).collect();
    if outputs.len() > MOST {
        names.push(format!("{} more", outputs.len() - MOST));
    }
    names.join(", ")
}
