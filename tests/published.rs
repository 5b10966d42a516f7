//! Configurations as published models have them, sizes apart (`scripts/make_published_tensors.py`): no field of theirs is
//! refused, and the tensors that Hugging Face transformers saves for them are those that the graph uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gim_harness::checkpoint::Checkpoint;
use gim_harness::onnx::weights::WeightSource as _;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Published {
    config: Value,
    tensors: BTreeMap<String, Vec<usize>>,
}

fn all() -> Vec<(PathBuf, Published)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/published");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let published = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        (path, published)
    };
    files.into_iter().map(read).collect()
}

/// A folder with these tensors, all zero.
fn folder(config: &Value, tensors: &BTreeMap<String, Vec<usize>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let largest = tensors.values().map(|shape| shape.iter().product::<usize>()).max().unwrap_or(0);
    let zeros = vec![0u8; 4 * largest];
    let views = tensors.iter().map(|(name, shape)| {
        let bytes = 4 * shape.iter().product::<usize>();
        (name, TensorView::new(Dtype::F32, shape.clone(), &zeros[..bytes]).unwrap())
    });
    std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn used(checkpoint: &Checkpoint) -> BTreeSet<String> {
    checkpoint.weights.locations().0.into_iter().map(|location| location.name).collect()
}

#[test]
fn published_configurations_are_understood_and_every_tensor_has_its_use() {
    let all = all();
    assert!(all.len() >= 22, "{}", all.len());
    for (path, Published { config, tensors }) in all {
        let folder = folder(&config, &tensors);
        let checkpoint = Checkpoint::open(folder.path()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // Images are left aside.
        let of_text = |name: &&String| !name.contains("vision_tower.") && !name.contains("multi_modal_projector.");
        let expected: BTreeSet<String> = tensors.keys().filter(of_text).cloned().collect();
        assert_eq!(used(&checkpoint), expected, "{}", path.display());
    }
}

#[test]
fn fields_that_change_the_result_are_refused_by_name() {
    for (path, Published { config, tensors }) in all() {
        for (key, value) in [
            ("quantization_config", json!({"quant_method": "bitsandbytes", "load_in_4bit": true})),
            ("per_layer_config", json!({"1": {"num_attention_heads": 1}})),
            ("configuration_files", json!(["config.4.0.0.json"])),
        ] {
            let mut changed = config.clone();
            changed[key] = value;
            let error = Checkpoint::open(folder(&changed, &tensors).path()).unwrap_err().to_string();
            assert!(error.contains(key), "{}: {error}", path.display());
        }
    }
}

#[test]
fn an_encoder_without_a_head_is_refused_for_that() {
    for (path, Published { mut config, tensors }) in all() {
        let class = config["architectures"][0].as_str().unwrap_or_default().to_owned();
        if let Some(family) = class.strip_suffix("ForSequenceClassification") {
            config["architectures"] = json!([format!("{family}Model")]);
            let error = Checkpoint::open(folder(&config, &tensors).path()).unwrap_err().to_string();
            assert!(error.contains("no head") && error.contains(&class), "{}: {error}", path.display());
        }
    }
}

#[test]
fn fields_that_nobody_reads_are_noted() {
    for (path, Published { config, tensors }) in all() {
        let mut changed = config.clone();
        let fields = [
            ("unsloth_version", json!("2025.1.5")),
            ("custom_pipelines", json!({"sentiment": {"impl": "pipeline.Sentiment"}})),
            ("num_steps", json!(1000)),
            ("emb_size", json!(768)),
            ("_model_name_or_path", json!("SmolLM2")),
            ("sentence_transformers", json!({"version": "5.0.0"})),
            ("pruned_heads", json!({"0": [1]})),
            ("dual_chunk_attention_config", json!({"chunk_size": 262_144})),
        ];
        for (key, value) in &fields {
            changed[*key] = value.clone();
        }
        let before = Checkpoint::open(folder(&config, &tensors).path()).unwrap();
        let after = Checkpoint::open(folder(&changed, &tensors).path()).unwrap();
        for (key, _) in fields {
            assert!(after.ignored_fields.iter().any(|field| field == key), "{}: {key}", path.display());
            assert!(!before.ignored_fields.iter().any(|field| field == key), "{}: {key}", path.display());
        }
    }
}

#[derive(Deserialize)]
struct Left {
    name: String,
    tensors: usize,
    config: Value,
    /// What a refusal has to name.
    refused: Option<String>,
}

#[test]
fn files_as_fine_tunes_and_converters_leave_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configurations");
    let tensors: Vec<BTreeMap<String, Vec<usize>>> =
        serde_json::from_slice(&std::fs::read(path.join("tensors.json")).unwrap()).unwrap();
    let lines = std::fs::read_to_string(path.join("configurations.jsonl")).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    let mut wrong = Vec::new();
    for line in lines.lines() {
        let left: Left = serde_json::from_str(line).unwrap();
        let opened = Checkpoint::open(folder(&left.config, &tensors[left.tensors]).path());
        match (opened, &left.refused) {
            (Ok(_), None) => accepted += 1,
            (Err(error), Some(named)) if error.to_string().contains(named.as_str()) => refused += 1,
            (Ok(_), Some(named)) => wrong.push(format!("{}: accepted, with {named}", left.name)),
            (Err(error), _) => wrong.push(format!("{}: {error}", left.name)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(accepted >= 60 && refused >= 10, "{accepted}, {refused}");
}

#[test]
fn what_a_file_leaves_out_is_what_its_class_has() {
    // A field, and what its absence means.
    for (name, key, default) in [
        ("llama-3-8b", "hidden_act", json!("silu")),
        ("llama-3-8b", "num_key_value_heads", json!(4)),
        ("mistral-7b-v0.1", "sliding_window", json!(4096)),
        ("mistral-7b-v0.3", "rms_norm_eps", json!(1e-6)),
        ("phi-3-mini-4k", "rms_norm_eps", json!(1e-5)),
        ("qwen2.5-1.5b", "tie_word_embeddings", json!(false)),
        ("gemma-2-2b", "attn_logit_softcapping", json!(50.0)),
        ("gemma-2-2b", "final_logit_softcapping", json!(30.0)),
        ("gemma-2-2b", "query_pre_attn_scalar", json!(256)),
        ("gemma-3-1b-it", "tie_word_embeddings", json!(true)),
        ("gpt2", "activation_function", json!("gelu_new")),
        ("pythia-70m", "rotary_pct", json!(0.25)),
        ("pythia-70m", "hidden_act", json!("gelu")),
        ("bert-base-sentiment", "layer_norm_eps", json!(1e-12)),
        ("roberta-base-sentiment", "pad_token_id", json!(1)),
    ] {
        let (_, Published { config, tensors }) =
            all().into_iter().find(|(path, _)| path.file_stem().is_some_and(|stem| stem == name)).unwrap();
        let described = |value: Option<&Value>| {
            let mut config = config.clone();
            match value {
                Some(value) => config[key] = value.clone(),
                None => drop(config.as_object_mut().unwrap().remove(key)),
            }
            match Checkpoint::open(folder(&config, &tensors).path()) {
                Ok(checkpoint) => {
                    let graph = &checkpoint.graph;
                    let value = |id| format!("{:?} {:?}\n", graph.value(id).op, graph.value(id).inputs);
                    graph.ids().map(value).collect::<String>()
                }
                Err(error) => error.to_string().rsplit(": ").next().unwrap_or_default().to_owned(),
            }
        };
        assert_eq!(described(None), described(Some(&default)), "{name}: {key}");
    }
}
