//! What the names of tensors tell: why one is missing, and whether those that are left over belong to another model.

/// What to do about weights that are not numbers as they were trained.
pub const QUANTISED: &str = "the weights are quantised; bake the model they were made from, or load this one with \
                             transformers, call its `dequantize()` and save it with `save_pretrained`";

/// Prefixes that programs put before every name, and how they came there.
const WRAPPERS: &[(&str, &str)] = &[
    ("module.", "the file was saved from a model inside (Distributed)DataParallel; save `model.module`"),
    ("_orig_mod.", "the file was saved from a model that torch.compile had wrapped; save `model._orig_mod`"),
    ("_fsdp_wrapped_module.", "the file was saved from inside FSDP; save a full state dict"),
    ("base_model.model.", "the file was saved from a model with an adapter (PEFT); save `model.merge_and_unload()`"),
    ("_forward_module.", "the file was saved from inside Lightning's wrapper; save the module within"),
];

/// Parts of names that only quantised weights have.
const QUANTISED_PARTS: &[&str] = &[
    ".absmax",
    ".quant_map",
    ".quant_state",
    ".qweight",
    ".qzeros",
    ".weight_packed",
    ".weight_scale",
    ".scales",
    ".weight_format",
    ".SCB",
    ".g_idx",
    ".weight_scale_inv",
    "_blocks",
    ".quanto",
];

/// Buffers that old files hold beside the parameters; they are made anew.
const BUFFERS: &[&str] = &[
    "rotary_emb.inv_freq",
    "attn.bias",
    "attn.masked_bias",
    "attention.bias",
    "attention.masked_bias",
    "embeddings.position_ids",
    "embeddings.token_type_ids",
    ".k_scale",
    ".v_scale",
];

/// Of which quantisation the names speak.
pub fn quantised<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    names.any(|name| QUANTISED_PARTS.iter().any(|part| name.contains(part))).then_some(QUANTISED)
}

/// Why a tensor that the architecture has is not there, as far as the names of those that are there tell.
pub fn why_missing<'a>(name: &str, stored: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let longer = |other: &&str| {
        other.len() > name.len() && other.ends_with(name) && other[..other.len() - name.len()].ends_with('.')
    };
    let wrapped = |other: &str| {
        WRAPPERS.iter().find(|(prefix, _)| other.starts_with(prefix) || other.contains(&format!(".{prefix}")))
    };
    let found = stored.clone().filter_map(|other| Some((other, wrapped(other)?)));
    if let Some((other, (prefix, cause))) = found.min_by_key(|(other, _)| *other) {
        return Some(format!(
            "names have '{prefix}' in them, as in '{other}': {cause}, or take '{prefix}' out of every name"
        ));
    }
    if stored
        .clone()
        .any(|other| other.contains(".lora_A") || other.contains(".lora_B") || other.contains(".base_layer."))
    {
        return Some(
            "the file holds an adapter beside the weights it changes; save `model.merge_and_unload()`".to_owned(),
        );
    }
    if let Some(cause) = quantised(stored.clone()) {
        return Some(cause.to_owned());
    }
    let other = stored.clone().filter(longer).min()?;
    let prefix = &other[..other.len() - name.len()];
    Some(format!("there is '{other}'; take '{prefix}' out of every name if the rest is as it should be"))
}

/// Looks at the tensors that the graph does not use. Those of layers that the configuration does not have, or of parts of
/// a layer that the architecture does not have, show that the files are of two models.
///
/// Gives a note on the rest.
///
/// # Errors
/// The name of a tensor, and what is wrong with it.
pub fn look<'a>(unused: &[&'a str], layers: usize) -> Result<Option<String>, (&'a str, String)> {
    let rest: Vec<&str> =
        unused.iter().copied().filter(|name| !BUFFERS.iter().any(|end| name.ends_with(end))).collect();
    for name in rest.iter().copied().filter(|name| !of_images(name)) {
        let Some(layer) = layer(name) else { continue };
        if layer >= layers {
            return Err((name, format!("is of layer {layer}, and {layers} layers (from 0) are described")));
        }
        return Err((name, "has no place in the architecture that is described".to_owned()));
    }
    // The table of embeddings is the head, or there is none to be.
    let rest: Vec<&str> =
        rest.into_iter().filter(|name| !matches!(*name, "lm_head.weight" | "embed_out.weight")).collect();
    Ok(rest.first().map(|first| match rest.len() {
        1 => format!("the tensor '{first}' is not used"),
        count => format!("{count} tensors are not used, such as '{first}'"),
    }))
}

/// Parts of a model that sees images.
fn of_images(name: &str) -> bool {
    name.contains("vision_tower.") || name.contains("vision_model.") || name.contains("multi_modal_projector.")
}

/// The number of the layer that a tensor is of.
fn layer(name: &str) -> Option<usize> {
    let mut parts = name.split('.');
    while let Some(part) = parts.next() {
        if matches!(part, "layers" | "h" | "layer") {
            return parts.next()?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_tensor_is_missing() {
        let why = |stored: &[&str]| why_missing("model.norm.weight", stored.iter().copied()).unwrap_or_default();
        assert!(why(&["module.model.norm.weight"]).contains("DataParallel"));
        assert!(why(&["_orig_mod.model.norm.weight"]).contains("torch.compile"));
        assert!(why(&["base_model.model.model.norm.weight"]).contains("merge_and_unload"));
        assert!(why(&["model.layers.0.q_proj.lora_A.default.weight"]).contains("merge_and_unload"));
        assert!(why(&["model.layers.0.q_proj.qweight"]).contains("quantised"));
        assert!(why(&["student.model.norm.weight"]).contains("'student.'"));
        assert_eq!(why(&["transformer.h.0.weight"]), "");
    }

    #[test]
    fn what_is_left_over() {
        assert_eq!(look(&["model.layers.0.self_attn.rotary_emb.inv_freq", "lm_head.weight"], 2), Ok(None));
        let note = look(&["cls.predictions.bias", "cls.seq_relationship.weight"], 2).unwrap().unwrap();
        assert_eq!(note, "2 tensors are not used, such as 'cls.predictions.bias'");
        let (name, problem) = look(&["model.layers.2.mlp.up_proj.weight"], 2).unwrap_err();
        assert!(name.contains("layers.2") && problem.contains("2 layers"), "{problem}");
        let (name, _) = look(&["model.layers.1.self_attn.q_norm.weight"], 2).unwrap_err();
        assert!(name.ends_with("q_norm.weight"));
        let of_images = look(&["vision_tower.vision_model.encoder.layers.7.mlp.fc1.weight"], 2).unwrap();
        assert!(of_images.unwrap().contains("vision_tower"));
    }
}
