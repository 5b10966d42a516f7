//! Folders as people find, clone, train and convert them: each is baked, or refused with the cause and the way out. They are
//! made here from the small checkpoints of `fixtures/architectures`.

use std::path::{Path, PathBuf};

use gim_harness::bundle::Manifest;
use gim_harness::bundle::bake::{BakeError, BakeOptions, bake};
use gim_harness::checkpoint::{Checkpoint, CheckpointError};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:dd4dd7c9\nsize 955\n";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A copy of a checkpoint that can be spoilt.
struct Folder(tempfile::TempDir);

impl Folder {
    fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(fixture("architectures").join(name)).unwrap() {
            let entry = entry.unwrap();
            if !entry.file_name().to_string_lossy().starts_with("golden") {
                std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        Folder(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(file), content).unwrap();
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(file)).unwrap()).unwrap()
    }

    fn open(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(self.0.path())
    }

    fn problem(&self) -> String {
        self.open().map(|checkpoint| checkpoint.notes.join("; ")).unwrap_err().to_string()
    }

    fn bake(&self) -> Result<Manifest, BakeError> {
        let out = tempfile::tempdir().unwrap();
        bake(self.0.path(), &out.path().join("bundle"), &BakeOptions::default(), &mut |_, _| {})
    }

    /// Writes the tensors of the single file under other names, or of another shape.
    fn with_tensors(&self, change: impl Fn(&str) -> String) {
        let bytes = std::fs::read(self.path("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let renamed: Vec<(String, TensorView)> =
            tensors.tensors().into_iter().map(|(name, view)| (change(&name), view)).collect();
        self.write("model.safetensors", safetensors::serialize(renamed, None).unwrap());
    }
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

#[test]
fn prefixes_of_wrappers_are_named() {
    for (prefix, cause) in
        [("module.", "DataParallel"), ("_orig_mod.", "torch.compile"), ("base_model.model.", "merge_and_unload")]
    {
        let folder = Folder::of("mistral-a");
        folder.with_tensors(|name| format!("{prefix}{name}"));
        assert_says(&folder.problem(), &["model.safetensors", prefix, cause, "take"]);
    }
}

#[test]
fn an_adapter_is_to_be_merged() {
    let folder = Folder::of("mistral-a");
    std::fs::remove_file(folder.path("model.safetensors")).unwrap();
    folder.write("adapter_config.json", r#"{"peft_type": "LORA", "base_model_name_or_path": "mistral"}"#);
    folder.write("adapter_model.safetensors", "");
    assert_says(&folder.problem(), &["adapter_config.json", "LORA", "'mistral'", "merge_and_unload"]);
    std::fs::remove_file(folder.path("config.json")).unwrap();
    assert_says(&folder.problem(), &["adapter_config.json", "merge_and_unload"]);
}

#[test]
fn the_index_says_which_copy_of_a_tensor_counts() {
    let folder = Folder::of("llama-linear");
    let index = folder.json("model.safetensors.index.json");
    let map = index["weight_map"].as_object().unwrap();
    let (name, of) = map.iter().next().unwrap();
    let other = map.values().find(|shard| *shard != of).unwrap().as_str().unwrap();
    let before = folder.bake().unwrap();

    // A copy of another day in another shard: zeros.
    let bytes = std::fs::read(folder.path(other)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let shape = Checkpoint::open(folder.0.path()).unwrap();
    drop(shape);
    let own = std::fs::read(folder.path(of.as_str().unwrap())).unwrap();
    let own = SafeTensors::deserialize(&own).unwrap();
    let view = own.tensor(name).unwrap();
    let zeros = vec![0u8; view.data().len()];
    let stale = TensorView::new(view.dtype(), view.shape().to_vec(), &zeros).unwrap();
    let mut all = tensors.tensors();
    all.push((name.clone(), stale));
    let written = safetensors::serialize(all, None).unwrap();
    folder.write(other, written);

    let after = folder.bake().unwrap();
    assert_eq!(after.files["weights.bin"], before.files["weights.bin"]);
    assert_says(&after.notes.join("\n"), &[other, name, "not used"]);
}

#[test]
fn a_single_file_beside_an_index_is_taken_and_named() {
    let folder = Folder::of("llama-linear");
    let whole = Folder::of("mistral-a");
    std::fs::copy(whole.path("model.safetensors"), folder.path("model.safetensors")).unwrap();
    assert_says(
        &folder.problem(),
        &["/model.safetensors:", "model.safetensors.index.json stands beside", "move this one away"],
    );
    // One that holds the model is what transformers takes; the bundle says so.
    let sound = Folder::of("mistral-a");
    std::fs::copy(folder.path("model.safetensors.index.json"), sound.path("model.safetensors.index.json")).unwrap();
    assert_says(&sound.bake().unwrap().notes.join("\n"), &["those of model.safetensors", "was not used"]);
}

#[test]
fn pointers_of_git_lfs_are_named_in_the_place_of_every_file() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let folder = Folder::of("mistral-a");
        folder.write(file, POINTER);
        let error = anyhow_chain(&folder.bake().unwrap_err());
        assert_says(&error, &[file, "Git LFS pointer", "git lfs pull"]);
    }
    let folder = Folder::of("llama-linear");
    folder.write("model.safetensors.index.json", POINTER);
    assert_says(&folder.problem(), &["model.safetensors.index.json", "git lfs pull"]);
}

/// An error with all that it comes from, as the program prints it.
fn anyhow_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

#[test]
fn tokens_without_an_embedding_are_no_reason_to_refuse_a_model() {
    let folder = Folder::of("gemma3-a");
    let mut tokenizer = folder.json("tokenizer.json");
    let added = json!({"id": 131, "content": "<image_soft_token>", "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": true});
    tokenizer["added_tokens"].as_array_mut().unwrap().push(added);
    folder.write("tokenizer.json", tokenizer.to_string());
    let notes = folder.bake().unwrap().notes.join("\n");
    assert_says(&notes, &["'<image_soft_token>'", "embeddings for 0 to 130", "refused"]);

    // A vocabulary that is larger itself is another model's.
    tokenizer["added_tokens"] = json!([]);
    tokenizer["model"]["vocab"]["another"] = json!(131);
    folder.write("tokenizer.json", tokenizer.to_string());
    let error = folder.bake().unwrap_err();
    assert!(matches!(error, BakeError::Vocabulary { .. }), "{error}");
    assert_says(&error.to_string(), &["tokenizer.json", "131", "0 to 130", "another model"]);
}

#[test]
fn a_tokenizer_that_ends_prompts_is_noted_for_decoders() {
    let folder = Folder::of("gpt2-a");
    std::fs::copy(fixture("classifier/tokenizer.json"), folder.path("tokenizer.json")).unwrap();
    let notes = folder.bake().unwrap().notes.join("\n");
    assert_says(&notes, &["'[SEP]'", "special_tokens", "make sure that they belong together"]);
    let classifier = Folder::of("bert-a");
    std::fs::copy(fixture("classifier/tokenizer.json"), classifier.path("tokenizer.json")).unwrap();
    let notes = classifier.bake().unwrap().notes.join("\n");
    assert!(!notes.contains("[SEP]"), "{notes}");
}

#[test]
fn a_missing_tokenizer_is_named_with_its_older_form() {
    let folder = Folder::of("mistral-a");
    std::fs::remove_file(folder.path("tokenizer.json")).unwrap();
    folder.write("tokenizer.model", "");
    let error = anyhow_chain(&folder.bake().unwrap_err());
    assert_says(&error, &["tokenizer.json is missing", "tokenizer.model", "save_pretrained"]);
}

#[test]
fn files_of_two_models_are_told() {
    // More layers than the configuration has, and parts that its architecture has not.
    let folder = Folder::of("mistral-a");
    let mut config = folder.json("config.json");
    config["num_hidden_layers"] = json!(1);
    folder.write("config.json", config.to_string());
    assert_says(&folder.problem(), &["model.safetensors", "layers.1", "layer 1", "config.json"]);

    let folder = Folder::of("qwen2-a");
    let mut config = folder.json("config.json");
    config["model_type"] = json!("llama");
    config["architectures"] = json!(["LlamaForCausalLM"]);
    folder.write("config.json", config.to_string());
    assert_says(&folder.problem(), &["model.safetensors", "k_proj.bias", "no place", "config.json"]);

    // Weights of another model altogether, of another size, and the configuration of another.
    for (one, other) in
        [("mistral-a", "gpt2-a"), ("gpt2-a", "bert-a"), ("llama-dynamic", "qwen3-a"), ("bert-a", "roberta-a")]
    {
        let folder = Folder::of(one);
        std::fs::copy(Folder::of(other).path("model.safetensors"), folder.path("model.safetensors")).unwrap();
        assert_says(&folder.problem(), &["model.safetensors", "config.json"]);
    }

    // Cut off.
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        let folder = Folder::of("mistral-a");
        let bytes = std::fs::read(folder.path(file)).unwrap();
        folder.write(file, &bytes[..bytes.len() / 2]);
        assert_says(&anyhow_chain(&folder.bake().unwrap_err()), &[file]);
    }
}

#[test]
fn unsupported_architectures_are_pointed_to_onnx_files() {
    let folder = Folder::of("mistral-a");
    let mut config = folder.json("config.json");
    config["model_type"] = json!("olmo2");
    folder.write("config.json", config.to_string());
    assert_says(&folder.problem(), &["'olmo2'", ".onnx"]);
    config["auto_map"] = json!({"AutoModelForCausalLM": "modeling_olmo2.Olmo2"});
    folder.write("config.json", config.to_string());
    assert_says(&folder.problem(), &["'olmo2'", "code of its own", ".onnx"]);
}

#[test]
fn the_file_that_the_configuration_names_is_read() {
    let folder = Folder::of("mistral-a");
    std::fs::rename(folder.path("model.safetensors"), folder.path("weights.safetensors")).unwrap();
    assert_says(&folder.problem(), &["transformers_weights", "weights.safetensors"]);
    let mut config = folder.json("config.json");
    config["transformers_weights"] = json!("weights.safetensors");
    folder.write("config.json", config.to_string());
    folder.open().unwrap();
    for astray in ["../weights.safetensors", "/etc/passwd", "weights.bin", ""] {
        config["transformers_weights"] = json!(astray);
        folder.write("config.json", config.to_string());
        assert_says(&folder.problem(), &["config.json", "transformers_weights"]);
    }
}
