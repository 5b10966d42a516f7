//! Which files of a folder the weights are in, and what to say of a folder that holds them in another form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::CheckpointError;
use crate::{files, lfs};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const ADAPTER: &str = "adapter_config.json";

/// A file with weights.
#[derive(Debug)]
pub struct Shard {
    pub path: PathBuf,
    /// The tensors that count in it; all of them where there is no index.
    pub tensors: Option<BTreeSet<String>>,
}

/// The files that the weights are in.
#[derive(Debug)]
pub struct Shards {
    pub shards: Vec<Shard>,
    /// What the user should know of the choice.
    pub notes: Vec<String>,
    /// An index that stands beside the single file that was chosen.
    pub index_aside: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Chooses as Hugging Face transformers does: the file that `transformers_weights` of `config.json` names, else
/// `model.safetensors`, else the shards that `model.safetensors.index.json` lists.
pub fn shards(folder: &Path, named: Option<&str>) -> Result<Shards, CheckpointError> {
    let fail = |path: &Path, problem: String| CheckpointError::Weights { path: path.to_owned(), problem };
    let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
    let adapter = folder.join(ADAPTER);
    if adapter.exists() {
        return Err(fail(&adapter, unmerged(folder)));
    }
    if let Some(named) = named {
        let path = inside(folder, named).filter(|_| named.ends_with(".safetensors") || named.ends_with(INDEX_ENDING));
        let Some(path) = path else {
            let problem = format!("'transformers_weights' is '{named}', which is no safetensors file in this folder");
            return Err(CheckpointError::Config { path: folder.join("config.json"), problem });
        };
        return if named.ends_with(INDEX_ENDING) { listed(folder, &path) } else { Ok(whole(path)) };
    }
    if single.exists() {
        let mut found = whole(single);
        if index.exists() {
            found.notes.push(format!(
                "the weights are those of {SINGLE}; {INDEX}, which stands beside it and names other files, was not used"
            ));
            found.index_aside = Some(index);
        }
        return Ok(found);
    }
    if index.exists() { listed(folder, &index) } else { Err(fail(folder, other_form(folder))) }
}

const INDEX_ENDING: &str = ".safetensors.index.json";

fn whole(path: PathBuf) -> Shards {
    Shards { shards: vec![Shard { path, tensors: None }], notes: Vec::new(), index_aside: None }
}

/// A file of the folder, by a name that leads nowhere else.
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    plain.then(|| folder.join(name))
}

fn listed(folder: &Path, path: &Path) -> Result<Shards, CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.to_owned(), source };
    let fail = |problem: String| CheckpointError::Weights { path: path.to_owned(), problem };
    let text = files::read(path, files::INDEX).map_err(io)?;
    if lfs::is_pointer(&text) {
        return Err(fail(lfs::PROBLEM.to_owned()));
    }
    let index: Index =
        serde_json::from_slice(&text).map_err(|source| CheckpointError::Json { path: path.to_owned(), source })?;
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, shard) in index.weight_map {
        shards.entry(shard).or_default().insert(tensor);
    }
    let mut found = Shards { shards: Vec::new(), notes: Vec::new(), index_aside: None };
    let mut missing = Vec::new();
    for (shard, tensors) in shards {
        let Some(path) = inside(folder, &shard) else {
            return Err(fail(format!("names the shard '{shard}', which is not a file in this folder")));
        };
        if !path.exists() {
            missing.push(shard);
        } else {
            found.shards.push(Shard { path, tensors: Some(tensors) });
        }
    }
    match (missing.as_slice(), found.shards.as_slice()) {
        ([], []) => Err(fail("lists no tensor".to_owned())),
        ([], _) => Ok(found),
        ([first, ..], rest) => Err(fail(format!(
            "names {} files of weights, of which {} {} missing: {first}{}; download the whole repository",
            missing.len() + rest.len(),
            missing.len(),
            if missing.len() == 1 { "is" } else { "are" },
            if missing.len() == 1 { "" } else { " and others" }
        ))),
    }
}

/// How to come from an adapter to weights.
fn unmerged(folder: &Path) -> String {
    #[derive(Deserialize)]
    struct Adapter {
        base_model_name_or_path: Option<String>,
        peft_type: Option<String>,
    }
    let text = files::read(&folder.join(ADAPTER), files::CONFIG).unwrap_or_default();
    let adapter: Option<Adapter> = serde_json::from_slice(&text).ok();
    let kind = adapter.as_ref().and_then(|adapter| adapter.peft_type.clone());
    let kind = kind.map_or_else(String::new, |kind| format!(" ({kind})"));
    let base = adapter.and_then(|adapter| adapter.base_model_name_or_path).filter(|base| !base.is_empty());
    let base = base.map_or_else(|| "its base model".to_owned(), |base| format!("its base model, '{base}'"));
    let merge = format!(
        "merge it into {base}: in Python `peft.AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()\
         .save_pretrained(OUT)`, copy tokenizer.json to OUT and bake that"
    );
    match folder.join(SINGLE).exists() || folder.join(INDEX).exists() {
        true => format!(
            "describes an adapter{kind} beside a whole model, which transformers adds to it; {merge}, or move the adapter's \
             files away if they are merged already"
        ),
        false => format!("describes an adapter{kind}, which is not a model by itself; {merge}"),
    }
}

/// What is wrong with a folder without safetensors files of the usual names.
fn other_form(folder: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    let found = |matches: &dyn Fn(&str) -> bool| names.iter().find(|name| matches(name)).cloned();
    let by_ending = |endings: &[&str]| found(&|name: &str| endings.iter().any(|ending| name.ends_with(ending)));
    let save = "load the model with transformers and save it with `save_pretrained(OUT)`, which writes safetensors, then \
                bake OUT";
    let lacks = format!("holds neither {SINGLE} nor {INDEX}");
    if let Some(name) = found(&|name: &str| name.starts_with("consolidated.") && name.ends_with(".safetensors")) {
        return format!("{lacks}; {name} is in the layout of another program: {save}");
    }
    if let Some(name) = found(&|name: &str| name.starts_with("model-0") && name.ends_with(".safetensors")) {
        return format!(
            "{lacks}; {name} is a shard, and the index that says what is in which is missing: download {INDEX}"
        );
    }
    if let Some(name) = by_ending(&[".safetensors"]) {
        return format!(
            "{lacks}; if {name} holds the weights, name it in config.json: \"transformers_weights\": \"{name}\""
        );
    }
    if let Some(name) = by_ending(&[".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"]) {
        return format!("{lacks}, and {name} is a PyTorch file, which can hold code that runs when it is read: {save}");
    }
    if let Some(name) = by_ending(&[".gguf"]) {
        return format!(
            "{lacks}, and {name} is a GGUF file: `from_pretrained(FOLDER, gguf_file=\"{name}\")` of transformers dequantises \
             it; save it with `save_pretrained(OUT)` and bake OUT"
        );
    }
    if let Some(name) = by_ending(&[".h5", ".msgpack", ".ot"]) {
        return format!("{lacks}, and {name} is of another framework: {save}");
    }
    if let Some(name) = by_ending(&[".onnx"]) {
        return format!("{lacks}; to bake {name}, name the file itself");
    }
    format!("{lacks}; weights of another format have to be saved as safetensors first")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        shards(folder.path(), None).map(|found| format!("{found:?}")).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn weights_in_another_form_are_named_with_the_way_out() {
        for (file, named) in [
            ("pytorch_model.bin", "save_pretrained"),
            ("pytorch_model-00001-of-00002.bin", "PyTorch file"),
            ("model.Q4_K_M.gguf", "gguf_file"),
            ("consolidated.00.safetensors", "another program"),
            ("model-00001-of-00002.safetensors", "model.safetensors.index.json"),
            ("weights.safetensors", "transformers_weights"),
            ("tf_model.h5", "another framework"),
            ("model.onnx", "name the file itself"),
            ("README.md", "another format"),
        ] {
            let problem = problem(&[(file, "")]);
            assert!(problem.contains(named), "{file}: {problem}");
            assert!(file == "README.md" || problem.contains(file), "{file}: {problem}");
        }
    }

    #[test]
    fn adapters_are_to_be_merged() {
        let alone = problem(&[("adapter_config.json", r#"{"peft_type": "LORA", "base_model_name_or_path": "base"}"#)]);
        assert!(alone.contains("merge_and_unload") && alone.contains("'base'") && alone.contains("LORA"), "{alone}");
        let beside = problem(&[("adapter_config.json", "{}"), ("model.safetensors", "")]);
        assert!(beside.contains("beside a whole model") && beside.contains("move"), "{beside}");
    }

    #[test]
    fn what_an_index_lacks_is_named() {
        let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
        let text = problem(&[("model.safetensors.index.json", index), ("one.safetensors", "")]);
        assert!(
            text.contains("2 files") && text.contains("two.safetensors") && text.contains("1 is missing"),
            "{text}"
        );
        let text = problem(&[("model.safetensors.index.json", r#"{"weight_map": {}}"#)]);
        assert!(text.contains("lists no tensor"), "{text}");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n";
        let text = problem(&[("model.safetensors.index.json", pointer)]);
        assert!(text.contains("Git LFS"), "{text}");
    }
}
