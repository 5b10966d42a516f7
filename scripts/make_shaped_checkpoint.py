#!/usr/bin/env python3
"""Writes a random checkpoint with the shapes of a real model, to measure what baking it costs.

    pip install numpy
    python scripts/make_shaped_checkpoint.py llama-3.2-1b /some/folder [--shards N] [--layers N]
    cargo bench --bench large -- /some/folder

Weights are bf16 normals, streamed to disk a few megabytes at a time; the tokenizer is the test fixtures'.
"""

import argparse
import json
import math
import shutil
import struct
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 1 << 22

SHAPES = {
    "llama-3.2-1b": dict(
        model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=2048, intermediate_size=8192,
        num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, head_dim=64, vocab_size=128256,
        tie_word_embeddings=True, max_position_embeddings=131072, rms_norm_eps=1e-5, hidden_act="silu",
        rope_theta=500000.0, rope_scaling=dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0,
        high_freq_factor=4.0, original_max_position_embeddings=8192)),
    "llama-3.1-8b": dict(
        model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=4096, intermediate_size=14336,
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, head_dim=128, vocab_size=128256,
        tie_word_embeddings=False, max_position_embeddings=131072, rms_norm_eps=1e-5, hidden_act="silu",
        rope_theta=500000.0, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
        high_freq_factor=4.0, original_max_position_embeddings=8192)),
    "qwen2.5-0.5b": dict(
        model_type="qwen2", architectures=["Qwen2ForCausalLM"], hidden_size=896, intermediate_size=4864,
        num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, vocab_size=151936,
        tie_word_embeddings=True, max_position_embeddings=32768, rms_norm_eps=1e-6, hidden_act="silu",
        rope_theta=1000000.0, use_sliding_window=False),
    "gemma-2-2b": dict(
        model_type="gemma2", architectures=["Gemma2ForCausalLM"], hidden_size=2304, intermediate_size=9216,
        num_hidden_layers=26, num_attention_heads=8, num_key_value_heads=4, head_dim=256, vocab_size=256000,
        tie_word_embeddings=True, max_position_embeddings=8192, rms_norm_eps=1e-6,
        hidden_activation="gelu_pytorch_tanh", rope_theta=10000.0, sliding_window=4096, query_pre_attn_scalar=256,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0),
    "gemma-2-9b": dict(
        model_type="gemma2", architectures=["Gemma2ForCausalLM"], hidden_size=3584, intermediate_size=14336,
        num_hidden_layers=42, num_attention_heads=16, num_key_value_heads=8, head_dim=256, vocab_size=256000,
        tie_word_embeddings=True, max_position_embeddings=8192, rms_norm_eps=1e-6,
        hidden_activation="gelu_pytorch_tanh", rope_theta=10000.0, sliding_window=4096, query_pre_attn_scalar=256,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0),
    "phi-3-mini": dict(
        model_type="phi3", architectures=["Phi3ForCausalLM"], hidden_size=3072, intermediate_size=8192,
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32, vocab_size=32064,
        tie_word_embeddings=False, max_position_embeddings=4096, original_max_position_embeddings=4096,
        rms_norm_eps=1e-5, hidden_act="silu", rope_theta=10000.0, sliding_window=2047),
}


def tensors(c):
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    size = c.get("head_dim", hidden // c["num_attention_heads"])
    queries, keys = c["num_attention_heads"] * size, c["num_key_value_heads"] * size
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (hidden,)
        if c["model_type"] == "phi3":
            yield f"{layer}.self_attn.qkv_proj.weight", (queries + 2 * keys, hidden)
            yield f"{layer}.mlp.gate_up_proj.weight", (2 * inner, hidden)
        else:
            for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
                yield f"{layer}.self_attn.{name}.weight", (rows, hidden)
                if c["model_type"] == "qwen2":
                    yield f"{layer}.self_attn.{name}.bias", (rows,)
            yield f"{layer}.mlp.gate_proj.weight", (inner, hidden)
            yield f"{layer}.mlp.up_proj.weight", (inner, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, queries)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield f"{layer}.mlp.down_proj.weight", (hidden, inner)
        if c["model_type"] == "gemma2":
            yield f"{layer}.pre_feedforward_layernorm.weight", (hidden,)
            yield f"{layer}.post_feedforward_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (c["vocab_size"], hidden)


def write(path, entries, generator, norm_mean):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in entries:
        end = at + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in entries:
            left = math.prod(shape)
            scale = shape[-1] ** -0.5 if len(shape) == 2 else 0.1
            offset = norm_mean if "norm" in name else 0.0
            while left:
                count = min(left, CHUNK)
                values = generator.standard_normal(count, dtype=np.float32) * np.float32(scale) + np.float32(offset)
                file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())
                left -= count
    return at


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--layers", type=int, help="fewer of them than the real model has")
    arguments = parser.parse_args()
    config, generator = SHAPES[arguments.shape], np.random.default_rng(0)
    if arguments.layers is not None:
        config["num_hidden_layers"] = arguments.layers
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(ROOT / "tests/fixtures/llama-a/tokenizer.json", arguments.folder / "tokenizer.json")
    entries = list(tensors(config))
    # Gemma stores what its norms' weights have beyond 1.
    norm_mean = 0.0 if config["model_type"] == "gemma2" else 1.0
    if arguments.shards == 1:
        total = write(arguments.folder / "model.safetensors", entries, generator, norm_mean)
    else:
        total, places = 0, {}
        for i in range(arguments.shards):
            part = entries[i * len(entries) // arguments.shards : (i + 1) * len(entries) // arguments.shards]
            name = f"model-{i + 1:05}-of-{arguments.shards:05}.safetensors"
            total += write(arguments.folder / name, part, generator, norm_mean)
            places.update((tensor, name) for tensor, _ in part)
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (arguments.folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    print(f"{arguments.folder}: {total / 1e9:.2f} GB of weights in {arguments.shards} file(s)")


if __name__ == "__main__":
    main()
