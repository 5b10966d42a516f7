//! The checkpoint folder in Hugging Face's layout.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, safetensors};
use serde_json::{Value, json};

use crate::model::{Config, Model};
use crate::vocabulary::{BEGIN, PAD, SPECIAL, UNKNOWN, Vocabulary};

pub fn config_json(config: &Config) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": BEGIN,
        "eos_token_id": null,
        "head_dim": config.head_dim(),
        "hidden_act": "silu",
        "hidden_size": config.hidden,
        "initializer_range": 0.02,
        "intermediate_size": config.feed_forward,
        "max_position_embeddings": config.max_positions,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.heads,
        "pad_token_id": PAD,
        "rms_norm_eps": config.norm_epsilon,
        "rope_scaling": null,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "use_cache": true,
        "vocab_size": config.vocab
    })
}

/// Lets `transformers.AutoTokenizer` open the folder.
fn tokenizer_config_json(config: &Config) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[BEGIN as usize],
        "pad_token": SPECIAL[PAD as usize],
        "unk_token": SPECIAL[UNKNOWN as usize],
        "model_max_length": config.max_positions,
        "clean_up_tokenization_spaces": false
    })
}

/// Writes `config.json`, `tokenizer.json`, `tokenizer_config.json` and `model.safetensors`.
pub fn write(folder: &Path, model: &Model, vocabulary: &Vocabulary) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    write_json(&folder.join("config.json"), &config_json(&model.config))?;
    write_json(&folder.join("tokenizer.json"), vocabulary.json())?;
    write_json(&folder.join("tokenizer_config.json"), &tokenizer_config_json(&model.config))?;
    let weights: HashMap<String, Tensor> =
        model.weights().iter().map(|(name, weight)| (name.clone(), weight.as_tensor().clone())).collect();
    safetensors::save(&weights, folder.join("model.safetensors"))?;
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(value)? + "\n").with_context(|| format!("writing {}", path.display()))
}

/// Reads back what `write` wrote.
pub fn read(folder: &Path) -> Result<(Model, Vocabulary)> {
    let read = |name: &str| -> Result<Value> {
        let path = folder.join(name);
        Ok(serde_json::from_slice(&fs::read(&path).with_context(|| format!("reading {}", path.display()))?)?)
    };
    let json = read("config.json")?;
    let whole = |name: &str| json[name].as_u64().map(|value| value as usize).with_context(|| format!("no {name}"));
    let real = |name: &str| json[name].as_f64().with_context(|| format!("no {name}"));
    let config = Config {
        vocab: whole("vocab_size")?,
        hidden: whole("hidden_size")?,
        feed_forward: whole("intermediate_size")?,
        layers: whole("num_hidden_layers")?,
        heads: whole("num_attention_heads")?,
        max_positions: whole("max_position_embeddings")?,
        rope_theta: real("rope_theta")?,
        norm_epsilon: real("rms_norm_eps")?,
    };
    let weights: BTreeMap<_, _> =
        safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?.into_iter().collect();
    Ok((Model::from_weights(config, weights)?, Vocabulary::from_json(read("tokenizer.json")?)?))
}
