//! Every architecture against PyTorch: tiny checkpoints that Hugging Face transformers wrote, and what it computes on
//! them (`scripts/make_architecture_fixtures.py`); then what becomes of configurations and files that are not as they
//! should be.

use std::path::{Path, PathBuf};

use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::checkpoint::{Checkpoint, CheckpointError, fields};
use gim_harness::grad::{Knobs, SiteKind};
use gim_harness::onnx::proto::ModelProto;
use gim_harness::onnx::weights::WeightSource as _;
use gim_harness::runtime::{GradientRow, Model, Row, Runtime, RuntimeOptions, SessionOptions};
use gim_harness::verify::{Effort, verify};
use prost::Message;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Relative errors: the norm of the difference over the norm of the reference.
const TOLERANCE: f64 = 1e-4;

/// A checkpoint, and how many norms and products of activations each of its layers has.
struct Fixture {
    name: &'static str,
    norms: usize,
    products: usize,
}

const fn fixture(name: &'static str, norms: usize, products: usize) -> Fixture {
    Fixture { name, norms, products }
}

const FIXTURES: &[Fixture] = &[
    fixture("bert-a", 2, 2),
    fixture("bert-quick", 2, 2),
    fixture("gemma2-a", 4, 3),
    fixture("gemma2-biases", 4, 3),
    fixture("gemma3-a", 6, 3),
    fixture("gemma3-both", 6, 3),
    fixture("gemma3-images", 6, 3),
    fixture("gpt2-a", 2, 2),
    fixture("gpt2-base", 2, 2),
    fixture("gpt_neox-a", 2, 2),
    fixture("gpt_neox-odd", 2, 2),
    fixture("gpt_neox-serial", 2, 2),
    fixture("llama-dynamic", 2, 3),
    fixture("llama-linear", 2, 3),
    fixture("mistral-a", 2, 3),
    fixture("mistral-both", 2, 3),
    fixture("phi3-longrope", 2, 3),
    fixture("phi3-partial", 2, 3),
    fixture("qwen2-a", 2, 3),
    fixture("qwen2-yarn", 2, 3),
    fixture("qwen3-a", 4, 3),
    fixture("qwen3-biases", 4, 3),
    fixture("roberta-a", 2, 2),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/architectures").join(name)
}

#[derive(Deserialize)]
struct Golden {
    examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Example {
    index: usize,
    input_ids: Vec<i64>,
    target: i64,
    contrast: i64,
    attribution: Attribution,
}

#[derive(Deserialize)]
struct Attribution {
    attention_rollout: Vec<f64>,
}

fn golden(name: &str) -> Golden {
    serde_json::from_slice(&std::fs::read(folder(name).join("golden.json")).unwrap()).unwrap()
}

fn floats(file: &[u8], tensor: &str) -> Vec<f64> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let data = tensors.tensor(tensor).unwrap().data().to_vec();
    data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

fn relative_error(found: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(reference).map(|(a, b)| a - b)) / norm(&mut reference.iter().copied())
}

#[track_caller]
fn assert_close(what: &str, found: impl IntoIterator<Item = f64>, reference: &[f64]) {
    let error = relative_error(&found.into_iter().collect::<Vec<f64>>(), reference);
    assert!(error < TOLERANCE, "{what}: relative error {error:.2e}");
    println!("{what}: relative error {error:.2e}");
}

fn widened<'a>(values: impl IntoIterator<Item = &'a f32>) -> Vec<f64> {
    values.into_iter().map(|&x| f64::from(x)).collect()
}

/// Logits, gradients at every setting of the knobs, contrast, rollout; the audit; the checks of `verify`; padding.
fn agrees_with_pytorch(name: &str) {
    let fixture = FIXTURES.iter().find(|fixture| fixture.name == name).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let bundle = temporary.path().join("bundle");
    let manifest = bake(&folder(name), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let layers = manifest.dimensions.layers;
    for layer in 0..layers {
        let count = |kind| manifest.audit.count_in(kind, Some(layer));
        let found = SiteKind::ALL.map(count);
        assert_eq!(found, [1, fixture.norms, fixture.products, 1], "{name}: sites of layer {layer}");
    }

    // Gradients of fused projections are joined, not padded with zeros and added.
    let gradient = ModelProto::decode(&std::fs::read(bundle.join("gradient.onnx")).unwrap()[..]).unwrap();
    assert!(gradient.graph.unwrap().node.iter().all(|node| node.op_type() != "Pad"), "{name}");

    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    let mut model = Model::open(&runtime, &bundle, &SessionOptions::default()).unwrap();
    let reference = std::fs::read(folder(name).join("golden.safetensors")).unwrap();
    // The reference for this one took its gradients after the scaling of the embeddings by sqrt(48), not before it.
    let unit = if name == "gemma2-a" { 48f64.sqrt() } else { 1.0 };
    let examples = golden(name).examples;
    let rows: Vec<Row> = examples
        .iter()
        .map(|example| {
            let position = manifest.dimensions.scored_position(example.input_ids.len());
            Row::new(example.input_ids.clone(), position)
        })
        .collect();
    for (example, row) in examples.iter().zip(&rows) {
        let i = example.index;
        let logits = model.logits(std::slice::from_ref(row)).unwrap().remove(0);
        let expected = floats(&reference, &format!("{i}.logits_last"));
        assert_close(&format!("{name} {i} logits"), widened(logits.iter()), &expected);

        let embeds = model.embed(&example.input_ids).unwrap();
        let mut wanted = GradientRow { embeds, position: row.position(), target: example.target, contrast: None };
        for (setting, knobs) in [
            ("gradient", Knobs::GRADIENT),
            ("gim", Knobs::GIM),
            ("tsg", Knobs { softmax_temperature: 2.0, ..Knobs::GRADIENT }),
            ("norm_freeze", Knobs { norm_freeze: 1.0, ..Knobs::GRADIENT }),
            ("grad_norm", Knobs { product_share: 0.5, ..Knobs::GRADIENT }),
            ("attn_lrp", Knobs::ATTN_LRP),
            ("transformer_lrp", Knobs::TRANSFORMER_LRP),
            ("relp", Knobs::RELP),
        ] {
            let found = model.gradients(std::slice::from_ref(&wanted), &knobs).unwrap().remove(0);
            let expected = floats(&reference, &format!("{i}.grad.{setting}"));
            let found_values = widened(&found.gradient).into_iter().map(|x| x / unit);
            assert_close(&format!("{name} {i} {setting}"), found_values, &expected);
            let score = logits[example.target as usize];
            assert!((found.score - score).abs() < 1e-4 * score.abs(), "{name} {i} {setting}: score {}", found.score);
        }
        wanted.contrast = Some(example.contrast);
        let found = model.gradients(&[wanted], &Knobs::GIM).unwrap().remove(0);
        let expected = floats(&reference, &format!("{i}.grad_contrast.gim"));
        let found_values = widened(&found.gradient).into_iter().map(|x| x / unit);
        assert_close(&format!("{name} {i} contrast"), found_values, &expected);

        let attention = model.attention(std::slice::from_ref(row)).unwrap().remove(0);
        let (_, heads, length, _) = attention.dim();
        let mut rollout: Vec<f64> = (0..length).map(|j| f64::from(u8::from(j == row.position()))).collect();
        for layer in attention.outer_iter().rev() {
            let mut next = vec![0.0; length];
            for (from, weight) in rollout.iter().enumerate() {
                for (to, next) in next.iter_mut().enumerate() {
                    let mean = (0..heads).map(|h| f64::from(layer[[h, from, to]])).sum::<f64>() / heads as f64;
                    // A row of weights sums to 1, and 2 with the residual stream.
                    *next += weight * (mean + f64::from(u8::from(from == to))) / 2.0;
                }
            }
            rollout = next;
        }
        assert_close(&format!("{name} {i} rollout"), rollout, &example.attribution.attention_rollout);
        let inside = model.attention_rollout(row).unwrap();
        let inside: Vec<f64> = inside.iter().copied().map(f64::from).collect();
        assert_close(&format!("{name} {i} rollout in a graph"), inside, &example.attribution.attention_rollout);
    }

    // What stands beside a row in its batch, and the padding that brings, changes nothing.
    let apart = model.logits(&rows).unwrap();
    let mut model =
        Model::open(&runtime, &bundle, &SessionOptions { padding: true, ..SessionOptions::default() }).unwrap();
    for (i, (together, apart)) in model.logits(&rows).unwrap().iter().zip(&apart).enumerate() {
        assert_close(&format!("{name} {i} padded"), widened(together.iter()), &widened(apart.iter()));
    }

    for check in verify(&runtime, &bundle, &SessionOptions::default(), Effort::FULL, 0, &|_| {}).unwrap() {
        assert!(check.passed(), "{name}: {check:?}");
    }
}

macro_rules! agree {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { agrees_with_pytorch($name) })*

        #[test]
        fn every_fixture_is_compared() {
            let mut compared = vec![$($name),*];
            let mut present: Vec<String> = std::fs::read_dir(folder("")).unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            present.sort();
            compared.sort_unstable();
            assert_eq!(present, compared);
            assert_eq!(FIXTURES.iter().map(|fixture| fixture.name).collect::<Vec<_>>(), compared);
        }
    };
}

agree! {
    bert: "bert-a",
    bert_quick_gelu_f16: "bert-quick",
    gemma2: "gemma2-a",
    gemma2_biases_no_logit_cap_bf16: "gemma2-biases",
    gemma3_two_rotations: "gemma3-a",
    gemma3_both_ways: "gemma3-both",
    gemma3_with_images_left_aside: "gemma3-images",
    gpt2: "gpt2-a",
    gpt2_without_prefix_scaled_by_layer: "gpt2-base",
    gpt_neox_parallel_partial_rotation: "gpt_neox-a",
    gpt_neox_odd_rotation_dynamic_tied: "gpt_neox-odd",
    gpt_neox_serial_without_attention_biases: "gpt_neox-serial",
    llama_dynamic_rotation: "llama-dynamic",
    llama_linear_rotation_biases_sharded_bf16_untied: "llama-linear",
    mistral_sliding_window: "mistral-a",
    mistral_both_ways: "mistral-both",
    phi3_longrope_tied: "phi3-longrope",
    phi3_partial_rotation_sliding_window: "phi3-partial",
    qwen2: "qwen2-a",
    qwen2_yarn_window_in_upper_layers: "qwen2-yarn",
    qwen3: "qwen3-a",
    qwen3_biases_sharded_alternating_windows: "qwen3-biases",
    roberta: "roberta-a",
}

/// A copy of a fixture whose configuration and files can be changed.
struct Copy {
    folder: tempfile::TempDir,
    config: Map<String, Value>,
}

impl Copy {
    fn of(name: &str) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder(name)).unwrap() {
            let entry = entry.unwrap();
            let file = entry.file_name();
            let text = file.to_string_lossy();
            if text.ends_with(".safetensors") && !text.starts_with("golden") || text.ends_with(".index.json") {
                std::fs::copy(entry.path(), copy.path().join(file)).unwrap();
            }
        }
        let config = serde_json::from_slice(&std::fs::read(folder(name).join("config.json")).unwrap()).unwrap();
        Copy { folder: copy, config }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn open(&self) -> Result<Checkpoint, CheckpointError> {
        std::fs::write(self.path("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
        Checkpoint::open(self.folder.path())
    }

    fn open_with(&self, changes: Value) -> Result<Checkpoint, CheckpointError> {
        let mut changed = self.config.clone();
        for (key, value) in changes.as_object().unwrap() {
            changed.insert(key.clone(), value.clone());
        }
        std::fs::write(self.path("config.json"), serde_json::to_vec(&changed).unwrap()).unwrap();
        Checkpoint::open(self.folder.path())
    }
}

/// All that a forward graph computes.
fn described(checkpoint: &Checkpoint) -> String {
    let graph = &checkpoint.graph;
    let mut text = format!("{:?} {:?}\n", checkpoint.inputs_embeds, checkpoint.logits);
    for id in graph.ids() {
        let value = graph.value(id);
        text.push_str(&format!("{:?} {:?} {:?}\n", id, value.op, value.inputs));
    }
    for location in checkpoint.weights.locations().0 {
        text.push_str(&location.name);
    }
    text
}

/// Fields of a fixture's file that do not take part in its forward pass: those that the list calls harmless, those that it
/// does not have, and some that mean nothing beside what else stands in the file.
fn has_no_effect(checkpoint: &Checkpoint, name: &str, field: &str) -> bool {
    let family = name.split('-').next().unwrap();
    let harmless =
        |architecture: &str| fields::of(architecture).get(field).is_some_and(|field| field.harmless.is_some());
    let inner = checkpoint.architecture == "gemma3" && harmless("gemma3_text");
    match field {
        // Padding is masked; only RoBERTa counts its positions from there.
        "pad_token_id" => family != "roberta",
        // A bound, and the length that some scalings refer to; learned positions are counted by it.
        "max_position_embeddings" => {
            !matches!(family, "bert" | "roberta") && !matches!(name, "gpt_neox-odd" | "llama-dynamic" | "phi3-longrope")
        }
        // No layer has a window.
        "sliding_window" | "use_sliding_window" => matches!(name, "qwen2-a" | "qwen3-a"),
        // Read only where the scaling is LongRoPE.
        "original_max_position_embeddings" => name == "phi3-partial",
        // `layer_types` says the same and is read instead.
        "max_window_layers" => true,
        // Checked against the classes, and no more.
        "architectures" => true,
        _ => {
            harmless(&checkpoint.architecture) || inner || checkpoint.ignored_fields.iter().any(|other| other == field)
        }
    }
}

/// Other values of the same type, and the places in the file that they are for.
fn mutants(value: &Value, place: &str) -> Vec<(String, Value)> {
    let mutant = match value {
        Value::Null => json!(7),
        Value::Bool(flag) => json!(!flag),
        Value::Number(number) => match number.as_u64() {
            Some(number) => json!(number * 2 + 1),
            None => json!(number.as_f64().unwrap() * 4.0 + 0.25),
        },
        Value::String(_) => json!("mutant"),
        Value::Array(items) => json!(items[..items.len() - 1]),
        Value::Object(fields) if place == "id2label" => Value::Object(fields.clone().into_iter().skip(1).collect()),
        Value::Object(fields) => {
            let inside = fields.iter().flat_map(|(key, value)| {
                mutants(value, key).into_iter().map(move |(inner, value)| {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), value);
                    (format!("{place}.{inner}"), Value::Object(fields))
                })
            });
            return inside.collect();
        }
    };
    vec![(place.to_owned(), mutant)]
}

#[test]
fn no_field_is_ignored() {
    let mut ignored = Vec::new();
    for Fixture { name, .. } in FIXTURES {
        let copy = Copy::of(name);
        let opened = copy.open().unwrap();
        let original = described(&opened);
        let has_no_effect = |field: &str| has_no_effect(&opened, name, field);
        let mut changes = 0;
        for (key, value) in copy.config.iter().filter(|(key, _)| !has_no_effect(key)) {
            for (place, changed) in mutants(value, key) {
                let inner = place.rsplit('.').next().unwrap();
                // The head belongs to the whole model, and so does the switch beside `text_config`.
                if has_no_effect(inner) || place == "text_config.tie_word_embeddings" {
                    continue;
                }
                changes += 1;
                if let Ok(changed) = copy.open_with(json!({key: changed}))
                    && described(&changed) == original
                {
                    ignored.push(format!("{name}: {place}"));
                }
            }
        }
        assert!(changes >= 8, "{name}: only {changes} fields");
    }
    assert!(ignored.is_empty(), "{ignored:#?}");
}

#[test]
fn what_is_not_in_the_file_and_would_matter_is_honoured_or_named() {
    let mut failures = Vec::new();
    for Fixture { name, .. } in FIXTURES {
        let copy = Copy::of(name);
        let opened = copy.open().unwrap();
        let original = described(&opened);
        let harmless =
            |key: &str| fields::of(&opened.architecture).get(key).is_some_and(|field| field.harmless.is_some());
        for (key, value) in [
            ("is_causal", json!(false)),
            ("per_layer_config", json!({"0": {"num_key_value_heads": 1}})),
            ("configuration_files", json!(["config.4.0.0.json"])),
            ("auto_map", json!({"AutoModel": "modeling_other.OtherModel"})),
            ("quantization_config", json!({"quant_method": "gptq", "bits": 4})),
            ("attention_multiplier", json!(2.0)),
            ("logit_scale", json!(0.0625)),
            ("residual_multiplier", json!(0.5)),
            ("alibi", json!(true)),
            ("sliding_window", json!(3)),
            ("partial_rotary_factor", json!(0.5)),
            ("attention_bias", json!(true)),
            ("query_pre_attn_scalar", json!(77)),
            ("final_logit_softcapping", json!(11.0)),
            ("attn_logit_softcapping", json!(11.0)),
            ("position_embedding_type", json!("relative_key")),
            ("rope_scaling", json!({"rope_type": "linear", "factor": 3.0})),
            ("architectures", json!(["SomethingForTokenClassification"])),
            ("pruned_heads", json!({"0": [1]})),
            ("num_experts", json!(8)),
        ] {
            if copy.config.contains_key(key) && (has_no_effect(&opened, name, key) && key != "architectures") {
                continue;
            }
            // The parameters of rotation overrule what stands beside them.
            let inside = copy.config.get("rope_parameters").is_some_and(|p| p.get(key).is_some());
            if inside || copy.config.get(key) == Some(&value) {
                continue;
            }
            match copy.open_with(json!({key: value})) {
                Ok(changed) if described(&changed) == original => {
                    let noted = changed.ignored_fields.iter().any(|field| field == key);
                    let default = fields::of(&opened.architecture).get(key).and_then(|field| field.default.clone());
                    if !noted && !harmless(key) && default != Some(value.clone()) {
                        failures.push(format!("{name}: {key} is ignored without a word"));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    let text = error.to_string();
                    let named = text.contains(key)
                        || key == "is_causal" && text.contains("text_config")
                        || text.contains("bias' is missing");
                    if !named {
                        failures.push(format!("{name}: {key} is not named: {text}"));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// transformers takes another architecture's classes for them.
#[test]
fn kinds_of_layers_make_another_model_of_a_mistral() {
    let mut copy = Copy::of("mistral-a");
    let without = described(&copy.open().unwrap());
    let sliding = json!({"layer_types": ["sliding_attention", "sliding_attention"]});
    assert_eq!(described(&copy.open_with(sliding).unwrap()), without);
    for kinds in [["full_attention", "full_attention"], ["sliding_attention", "full_attention"]] {
        let error = copy.open_with(json!({"layer_types": kinds})).unwrap_err().to_string();
        assert!(error.contains("'layer_types' makes a Ministral of it"), "{error}");
    }
    copy.config.remove("layer_types");
    assert_eq!(described(&copy.open().unwrap()), without);
}

#[test]
fn a_gemma3_that_sees_images_does_not_look_both_ways() {
    let copy = Copy::of("gemma3-images");
    let mut text = copy.config["text_config"].clone();
    text["use_bidirectional_attention"] = json!(false);
    copy.open_with(json!({"text_config": text})).unwrap();
    text["use_bidirectional_attention"] = json!(true);
    let error = copy.open_with(json!({"text_config": text})).unwrap_err().to_string();
    assert!(error.contains("'use_bidirectional_attention' is supported in 'gemma3_text' only"), "{error}");
}

/// Gemma 3 has a rotation for each kind of layer; transformers passes over parameters that name neither.
#[test]
fn one_set_of_parameters_for_two_rotations_is_refused_unless_it_changes_nothing() {
    let mut copy = Copy::of("gemma3-a");
    copy.config.remove("rope_parameters");
    let without = described(&copy.open().unwrap());
    for parameters in [
        json!({"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}),
        json!({"rope_type": "default", "rope_theta": 70.0}),
        json!({"rope_type": "yarn", "factor": 2.0}),
    ] {
        let error = copy.open_with(json!({"rope_parameters": parameters})).unwrap_err().to_string();
        assert!(error.contains("'rope_parameters' is one set") && error.contains("full_attention"), "{error}");
    }
    for parameters in [json!({}), json!({"rope_type": "default"}), json!({"rope_theta": 1e6})] {
        assert_eq!(described(&copy.open_with(json!({"rope_parameters": parameters})).unwrap()), without);
    }
}

#[test]
fn older_names_mean_the_same() {
    let same = |name: &str, without: &[&str], changes: Value| {
        let mut copy = Copy::of(name);
        let original = described(&copy.open().unwrap());
        without.iter().for_each(|key| drop(copy.config.remove(*key)));
        assert_eq!(described(&copy.open_with(changes).unwrap()), original, "{name}");
    };
    same(
        "gemma3-a",
        &["rope_parameters", "layer_types"],
        json!({"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 3,
               "rope_scaling": {"type": "linear", "factor": 8.0}}),
    );
    same("gpt_neox-a", &["rope_parameters"], json!({"rotary_emb_base": 10000, "rotary_pct": 0.5}));
    same(
        "gpt_neox-serial",
        &["rope_parameters"],
        json!({"rotary_emb_base": 10000, "rotary_pct": 1.0, "rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2}}),
    );
    same("phi3-partial", &["rope_parameters"], json!({"rope_theta": 10000.0, "partial_rotary_factor": 0.75}));
    same(
        "phi3-longrope",
        &["rope_parameters"],
        json!({"rope_theta": 10000.0, "rope_scaling": {"type": "su", "short_factor": [1.0, 1.1, 1.2, 1.3],
               "long_factor": [1.0, 1.5, 2.0, 2.5]}}),
    );
    same("qwen2-yarn", &["layer_types"], json!({}));
    same(
        "gemma2-a",
        &["layer_types", "rope_parameters"],
        json!({"rope_theta": 10000.0, "hidden_act": "gelu_pytorch_tanh"}),
    );
    same("llama-dynamic", &["head_dim"], json!({}));
}

#[test]
fn old_names_of_layer_norms_mean_the_same() {
    let copy = Copy::of("bert-a");
    let original = described(&copy.open().unwrap());
    let path = copy.path("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed: Vec<(String, _)> = tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
            (name, view)
        })
        .collect();
    let written = safetensors::serialize(renamed, None).unwrap();
    std::fs::write(&path, written).unwrap();
    let found = described(&copy.open().unwrap()).replace("LayerNorm.gamma", "LayerNorm.weight");
    assert_eq!(found.replace("LayerNorm.beta", "LayerNorm.bias"), original);
}

#[test]
fn a_head_that_differs_from_the_table_it_is_tied_to_is_an_error() {
    let copy = Copy::of("mistral-a");
    let error = copy.open_with(json!({"tie_word_embeddings": true})).unwrap_err().to_string();
    assert!(error.contains("tie_word_embeddings") && error.contains("lm_head.weight"), "{error}");
}

#[test]
fn absurd_sizes_are_errors() {
    let sizes = [
        "hidden_size",
        "n_embd",
        "intermediate_size",
        "n_inner",
        "num_hidden_layers",
        "n_layer",
        "num_attention_heads",
        "n_head",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "n_positions",
        "type_vocab_size",
    ];
    for Fixture { name, .. } in FIXTURES {
        let copy = Copy::of(name);
        for (key, value) in &copy.config {
            for absurd in
                [json!(1_000_000_000_000_000u64), json!(u64::MAX), json!(1e15), json!(0), json!(-1), json!("8")]
            {
                let opened = copy.open_with(json!({key: absurd}));
                if sizes.contains(&key.as_str()) && !value.is_null() {
                    let error = opened.expect_err(&format!("{name}: {key} = {absurd}")).to_string();
                    assert!(error.contains(key) || error.contains("tensor") || error.contains("heads"), "{error}");
                }
            }
        }
    }
}

#[test]
fn files_cut_short_are_errors_at_every_length() {
    for name in ["mistral-a", "llama-linear"] {
        let copy = Copy::of(name);
        copy.open().unwrap();
        let shards: Vec<PathBuf> = std::fs::read_dir(copy.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
            .collect();
        for shard in shards {
            let whole = std::fs::read(&shard).unwrap();
            for length in (0..40).map(|i| whole.len() * i / 40).chain([7, 8, 9, whole.len() - 1]) {
                std::fs::write(&shard, &whole[..length]).unwrap();
                let error = copy.open().unwrap_err().to_string();
                assert!(error.contains(".safetensors"), "{error}");
            }
            std::fs::write(&shard, whole).unwrap();
        }
        copy.open().unwrap();
    }
}

#[test]
fn hostile_headers_are_errors() {
    let copy = Copy::of("mistral-a");
    let path = copy.path("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let data = &whole[8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize..];
    let with_header = |header: &str, length: u64| {
        let file = [&length.to_le_bytes()[..], header.as_bytes(), data].concat();
        std::fs::write(&path, file).unwrap();
        copy.open().unwrap_err().to_string()
    };
    for header in [
        r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[131,32],"data_offsets":[0,99999999999]}}"#,
        r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,4]}}"#,
        r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[131,32],"data_offsets":[8,4]}}"#,
        r#"{"model.embed_tokens.weight":{"dtype":"Q7","shape":[131,32],"data_offsets":[0,4]}}"#,
        "not json",
        "{}",
    ] {
        let error = with_header(header, header.len() as u64);
        assert!(error.contains("model.safetensors"), "{error}");
    }
    for length in [u64::MAX, 1 << 40, 100_000_001] {
        let error = with_header("{}", length);
        assert!(error.contains("model.safetensors"), "{error}");
    }
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let copy = Copy::of("phi3-partial");
    let path = copy.path("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let all = tensors.tensors();
    for (missing, _) in &all {
        let rest: Vec<_> = all.iter().filter(|(name, _)| name != missing).map(|(name, view)| (name, view)).collect();
        std::fs::write(&path, safetensors::serialize(rest, None).unwrap()).unwrap();
        let error = copy.open().unwrap_err().to_string();
        assert!(error.contains(missing.as_str()) && error.contains("missing"), "{error}");
    }
    for (bent, _) in &all {
        let changed: Vec<_> = all
            .iter()
            .map(|(name, view)| {
                let mut shape = view.shape().to_vec();
                if name == bent {
                    shape.push(1);
                }
                (name, safetensors::tensor::TensorView::new(view.dtype(), shape, view.data()).unwrap())
            })
            .collect();
        std::fs::write(&path, safetensors::serialize(changed, None).unwrap()).unwrap();
        let error = copy.open().unwrap_err().to_string();
        assert!(error.contains(bent.as_str()) && error.contains("shape"), "{error}");
    }
}

#[test]
fn an_index_that_leads_astray_is_an_error() {
    let copy = Copy::of("llama-linear");
    let path = copy.path("model.safetensors.index.json");
    let index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let with_shard = |shard: Value| {
        let mut changed = index.clone();
        changed["weight_map"]["model.norm.weight"] = shard;
        std::fs::write(&path, changed.to_string()).unwrap();
        copy.open().unwrap_err().to_string()
    };
    for shard in ["../model.safetensors", "/etc/passwd", "", ".", "missing.safetensors"] {
        let error = with_shard(json!(shard));
        assert!(error.contains("model.safetensors.index.json") || error.contains("missing.safetensors"), "{error}");
    }
    let error = with_shard(json!(3));
    assert!(error.contains("index.json"), "{error}");
    let other = index["weight_map"]["model.embed_tokens.weight"].clone();
    let error = with_shard(other);
    assert!(error.contains("model.norm.weight"), "{error}");
}

#[test]
fn unknown_architectures_are_named_with_the_known_ones() {
    let error = Copy::of("mistral-a").open_with(json!({"model_type": "mamba"})).unwrap_err().to_string();
    assert!(error.contains("'mamba'") && error.contains("gemma3_text") && error.contains("roberta"), "{error}");
}

/// Takes 2.3 GB of disk and some seconds: `cargo test --release --test architectures -- --ignored`.
#[test]
#[ignore = "writes 2.3 GB"]
#[cfg(target_os = "linux")]
fn baking_a_file_over_two_gib_stays_below_500_mb_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (hidden, inner, vocab) = (4096usize, 8192usize, 64_000usize);
    let tensors: &[(&str, Vec<usize>)] = &[
        ("model.embed_tokens.weight", vec![vocab, hidden]),
        ("model.layers.0.input_layernorm.weight", vec![hidden]),
        ("model.layers.0.self_attn.q_proj.weight", vec![hidden, hidden]),
        ("model.layers.0.self_attn.k_proj.weight", vec![hidden, hidden]),
        ("model.layers.0.self_attn.v_proj.weight", vec![hidden, hidden]),
        ("model.layers.0.self_attn.o_proj.weight", vec![hidden, hidden]),
        ("model.layers.0.post_attention_layernorm.weight", vec![hidden]),
        ("model.layers.0.mlp.gate_proj.weight", vec![inner, hidden]),
        ("model.layers.0.mlp.up_proj.weight", vec![inner, hidden]),
        ("model.layers.0.mlp.down_proj.weight", vec![hidden, inner]),
        ("model.norm.weight", vec![hidden]),
        ("lm_head.weight", vec![vocab, hidden]),
    ];
    let mut header = Map::new();
    let mut end = 0usize;
    for (name, shape) in tensors {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        header.insert((*name).to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}));
    }
    assert!(end > 1 << 31);
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], &header].concat()).unwrap();
    // The weights are a hole in the file: zeros that take no place.
    std::fs::File::options().write(true).open(&path).unwrap().set_len((8 + header.len() + end) as u64).unwrap();
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 1,
        "num_attention_heads": 32, "vocab_size": vocab, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::copy(self::folder("gpt2-a").join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();

    let bundle = folder.path().join("bundle");
    let mut baking = std::process::Command::new(env!("CARGO_BIN_EXE_gim-harness"))
        .args(["bake".as_ref(), folder.path().as_os_str(), "--out".as_ref(), bundle.as_os_str()])
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", baking.id());
    let mut peak = 0u64;
    let code = loop {
        // In kilobytes; the file is gone once the process is.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(size.unwrap_or(0));
        match baking.try_wait().unwrap() {
            Some(code) => break code,
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    assert!(code.success());
    assert!((1..500_000).contains(&peak), "{peak} kB");
    assert!(std::fs::metadata(bundle.join("weights.bin")).unwrap().len() >= end as u64);
    println!("peak {peak} kB");
}
