#!/usr/bin/env python3
"""Tries src/checkpoint/read_fields.json against Hugging Face transformers.

    pip install torch==2.15.0 transformers==5.23.0 onnxruntime==1.31.1
    cargo build --release
    python scripts/check_read_fields.py target/release/gim-harness [NAME ...]

For each small checkpoint of tests/fixtures/architectures: each listed field, each entry of its parameters of rotation and
some fields that are not listed get other values, one at a time. Then transformers computes logits, and so does the
bundle that the program bakes. Right is: the program refuses, or its logits are those of transformers. A field that is
called harmless, or is not listed, has to leave the logits as they were and be accepted.

Prints what is wrong, and the counts.
"""

import copy
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests/fixtures/architectures"
LISTED = json.loads((ROOT / "src/checkpoint/read_fields.json").read_text())
TOLERANCE = 1e-4

# Fields that fine-tuning and converting programs leave behind, and some that mean something elsewhere.
NOT_LISTED = {
    "unsloth_version": "2025.1.5", "custom_pipelines": {"a": {"impl": "b.C"}}, "num_steps": 1000, "emb_size": 768,
    "_model_name_or_path": "x", "sentence_transformers": {"version": "5.0.0"}, "logit_scale": 0.25, "alibi": True,
    "residual_multiplier": 0.5, "embedding_multiplier": 3.0, "attention_multiplier": 0.1, "num_experts": 8,
    "pruned_heads": {"0": [1]}, "quantization": {"bits": 4}, "qk_layernorm": True, "use_qk_norm": True, "qkv_bias": True,
    "rope_interleaved": True, "dual_chunk_attention_config": {"chunk_size": 4}, "scale_emb": 12, "no_rope_layers": [0, 1],
    "temperature": 0.5, "max_length": 20, "type_vocab_size_x": 3, "rotary_dim": 2, "layer_norm_type": "rms",
}
# Values that are worth trying by name.
OTHERS = {
    "is_causal": [False, True, None], "hidden_act": ["gelu", "relu", "tanh", "gelu_new"],
    "hidden_activation": ["gelu", "relu", "silu"], "activation_function": ["gelu", "relu", "tanh"],
    "use_bidirectional_attention": [True, False], "sliding_window": [2, 3, None], "use_sliding_window": [True, False],
    "max_window_layers": [0, 1], "rope_theta": [50.0, 1e6], "partial_rotary_factor": [0.5, 0.25, 1.0],
    "rope_parameters": [{"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}, {"rope_type": "default", "rope_theta": 70.0},
                        {"rope_type": "dynamic", "factor": 2.0}, {"full_attention": {"rope_type": "default", "rope_theta": 9.0}},
                        {"rope_type": "yarn", "factor": 2.0}, {"rope_type": "proportional", "partial_rotary_factor": 0.5},
                        {"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 99.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 77.0}}],
    "rope_scaling": [{"type": "linear", "factor": 2.0}, {"rope_type": "default"}, {}, {"type": "yarn", "factor": 4.0}],
    "layer_types": [["full_attention"], ["sliding_attention"], ["chunked_attention"], "full", "sliding"],
    "tie_word_embeddings": [True, False], "id2label": [{"0": "a", "1": "b"}, {"0": "a"}], "num_labels": [3, 1],
    "text_config": [{"hidden_size": 16}], "decoder": [{"hidden_size": 16}], "generator": [{"vocab_size": 10}],
    "quantization_config": [{"quant_method": "gptq", "bits": 4}, {"load_in_4bit": True, "quant_method": "bitsandbytes"}],
    "per_layer_config": [{"0": {"intermediate_size": 24}}, {"1": {"hidden_act": "relu"}}],
    "auto_map": [{"AutoModelForCausalLM": "modeling_other.Other"}], "fusion_config": [{"patch_embeddings": True}],
    "configuration_files": [["config.4.0.0.json"]], "transformers_weights": ["other.safetensors"],
    "default_theta": [50.0], "default_rope_type": ["linear"], "ignore_keys_at_rope_validation": [["a"]],
    "model_type": ["gpt_bigcode"], "dtype": ["bfloat16"], "architectures": [["OtherForCausalLM"]],
    "head_dim": [4, 16, 8], "sliding_window_pattern": [2, 3], "original_max_position_embeddings": [8, 16],
    "problem_type": ["regression", "multi_label_classification"], "chunk_size_feed_forward": [3],
    "_attn_implementation": ["sdpa"], "attn_implementation": ["eager"], "base_model_tp_plan": [{"layers.*": "colwise"}],
    "num_key_value_heads": [1, 4], "vision_config": [{"hidden_size": 8}], "mtp_layer_types": [["full_attention"]],
}
# Entries of the parameters of rotation, tried inside what the fixture has.
ROTATION = {
    "rope_theta": [37.0], "factor": [5.0], "partial_rotary_factor": [0.5], "original_max_position_embeddings": [7],
    "attention_factor": [0.5], "beta_fast": [9.0], "beta_slow": [3.0], "mscale": [0.7], "mscale_all_dim": [0.3],
    "truncate": [False], "low_freq_factor": [2.0], "high_freq_factor": [3.0], "mrope_section": [[1, 1]],
    "rope_type": ["linear", "dynamic", "default"], "type": ["linear"], "short_factor": [[2.0, 1.0]], "long_factor": [[3.0, 1.0]],
}


def other_values(key, value, default):
    if key in OTHERS:
        return OTHERS[key]
    value = default if value is None else value
    match value:
        case bool():
            return [not value]
        case int():
            return [value * 2 + 1, 1, 3]
        case float():
            return [value * 4 + 0.25]
        case str():
            return ["another"]
        case None:
            return [7, "another"]
        case list():
            return [value[:-1]]
        case _:
            return [{"another": 1}]


def expand(value, layers):
    """Short forms of lists with one entry a layer."""
    match value:
        case "full":
            return ["full_attention"] * layers
        case "sliding":
            return ["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(layers)]
        case _:
            return value


class Checkpoint:
    def __init__(self, name, program):
        self.name, self.program = name, program
        self.folder = Path(tempfile.mkdtemp(prefix="fields-"))
        shutil.copytree(FIXTURES / name, self.folder / "model")
        self.config = json.loads((FIXTURES / name / "config.json").read_text())
        self.text = self.config.get("text_config", self.config)
        self.ids = torch.tensor([json.loads((FIXTURES / name / "golden.json").read_text())["examples"][1]["input_ids"]])
        self.classifier = "Classification" in self.config["architectures"][0]

    def write(self, config):
        (self.folder / "model/config.json").write_text(json.dumps(config))

    def transformers(self):
        auto = AutoModelForSequenceClassification if self.classifier else AutoModelForCausalLM
        model, info = auto.from_pretrained(self.folder / "model", dtype=torch.float32, output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            raise ValueError("weights are missing, and made up")
        with torch.no_grad():
            logits = model.eval()(input_ids=self.ids, attention_mask=torch.ones_like(self.ids)).logits
        return logits[0].numpy() if self.classifier else logits[0, -1].numpy()

    def harness(self):
        out = self.folder / "bundle"
        shutil.rmtree(out, ignore_errors=True)
        command = [self.program, "bake", self.folder / "model", "--out", out, "--no-verify"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return None, done.stderr.strip()
        session = ort.InferenceSession(out / "forward.onnx")
        ids = self.ids.numpy()
        position = np.array([0 if self.classifier else ids.shape[1] - 1])
        logits = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids), "position": position})[0][0]
        return logits, json.loads((out / "bundle.json").read_text()).get("ignored_fields", [])


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b)) if a.shape == b.shape else float("inf")


def changes(checkpoint):
    """Every change that is tried: where, what it is called, the whole configuration, whether it must change nothing."""
    config, text = checkpoint.config, checkpoint.text
    layers = text.get("num_hidden_layers") or text.get("n_layer")
    inner = "text_config" in config
    places = [(config, config["model_type"], ())] + ([(text, "gemma3_text", ("text_config",))] if inner else [])
    for own, model_type, path in places:
        fields = LISTED["every"] | LISTED["architectures"][model_type]
        tried = [(key, other, "harmless" in entry) for key, entry in fields.items() if not (inner and key == "text_config")
                 for other in other_values(key, own.get(key), entry.get("default"))]
        tried += [(key, other, True) for key, other in NOT_LISTED.items()]
        for key, other, harmless in tried:
            other = expand(other, layers)
            if key not in own or own[key] != other:
                changed = copy.deepcopy(config)
                (changed["text_config"] if path else changed)[key] = other
                yield ".".join(path + (key,)), other, changed, harmless
    for name in ("rope_parameters", "rope_scaling"):
        given = text.get(name)
        kinds = [(), ("full_attention",), ("sliding_attention",)] if given and "full_attention" in given else [()]
        for kind in kinds if given else []:
            for key, others in ROTATION.items():
                for other in others:
                    changed = copy.deepcopy(config)
                    place = (changed["text_config"] if inner else changed)[name]
                    place = place[kind[0]] if kind else place
                    if place.get(key) != other:
                        place[key] = other
                        yield ".".join((name, *kind, key)), other, changed, False


def check(name, program):
    checkpoint = Checkpoint(name, program)
    before = checkpoint.transformers()
    own, _ = checkpoint.harness()
    assert relative(own, before) < TOLERANCE, name
    counts = dict.fromkeys(["accepted, computed alike", "accepted, as before", "refused by both", "refused here, changes there",
                            "refused here, as before there", "accepted here, refused there"], 0)
    wrong = []
    for place, other, config, harmless in changes(checkpoint):
        checkpoint.write(config)
        try:
            theirs = checkpoint.transformers()
        except Exception as error:  # noqa: BLE001: whatever it is, the configuration does not work there
            theirs, why = None, f"{type(error).__name__}: {str(error)[:80]}"
        ours, told = checkpoint.harness()
        what = f"{name}: {place} = {json.dumps(other)}"
        unlisted = place.split(".")[-1] in NOT_LISTED
        if ours is None and theirs is None:
            counts["refused by both"] += 1
        elif ours is None:
            same = relative(theirs, before) < 1e-6
            counts["refused here, as before there" if same else "refused here, changes there"] += 1
            if harmless:
                wrong.append(f"{what}: called harmless, and refused: {told.splitlines()[-1][:200]}")
            if place.split(".")[-1].split(":")[0] not in told and not any(word in told for word in ("tensor", "rope_", "heads", "model_type", "architecture")):
                wrong.append(f"{what}: refused without its name: {told[:200]}")
        elif theirs is None:
            counts["accepted here, refused there"] += 1
            if harmless and relative(ours, own) > 1e-6:
                wrong.append(f"{what}: computed otherwise, and refused by transformers ({why})")
        elif relative(ours, theirs) < TOLERANCE:
            counts["accepted, as before" if relative(theirs, before) < 1e-6 else "accepted, computed alike"] += 1
            if harmless and relative(theirs, before) > 1e-6:
                wrong.append(f"{what}: called harmless, and changes the logits by {relative(theirs, before):.1e}")
            if unlisted and place not in told:
                wrong.append(f"{what}: not noted in the bundle")
        else:
            wrong.append(f"{what}: ACCEPTED AND WRONG by {relative(ours, theirs):.1e}")
    shutil.rmtree(checkpoint.folder)
    return counts, wrong


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    program, names = Path(sys.argv[1]).resolve(), sys.argv[2:] or sorted(path.name for path in FIXTURES.iterdir())
    total, every = {}, []
    for name in names:
        counts, wrong = check(name, program)
        print(f"{name}: {sum(counts.values()) + len([w for w in wrong if 'WRONG' in w])} tried, {len(wrong)} wrong", flush=True)
        print(*(f"  {line}" for line in wrong), sep="\n", flush=True)
        total = {key: total.get(key, 0) + count for key, count in counts.items()}
        every += wrong
    print(*(f"{count:6} {key}" for key, count in total.items()), f"{len(every):6} wrong", sep="\n")
    sys.exit(bool(every))


if __name__ == "__main__":
    main()
