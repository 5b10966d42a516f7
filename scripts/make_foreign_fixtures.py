#!/usr/bin/env python3
"""Makes tests/fixtures/foreign/small: forward ONNX files of tiny random models, and what PyTorch computes on them.

    pip install torch==2.15.0 transformers==5.23.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1 safetensors==0.8.0
    pip install coloredlogs sympy
    python scripts/make_foreign_fixtures.py

- `roberta.ts17`: counts positions over the ids that are not the padding token; a classifier.
- `llama-classifier.dynamo18`: no attention_mask, scores the last id that is not the padding token (GatherND).
- `bert.ort`: as ONNX Runtime's optimizer fuses it (EmbedLayerNormalization, Attention, SkipLayerNormalization).
- `operators.rotary`, `operators.einsum`, `operators.positions`, `operators.padded_positions`: written by hand, with the operators of opset 23 in forms that exporters do not
  choose for these models. ONNX Runtime on the file itself is their reference, so they have no numbers here.

Gradients are with respect to the output of the embedding lookup; the modified ones are those of
`make_architecture_fixtures.py`, whose backward rules are used. NAME.json: prompts and targets; NAME.safetensors:
`K.logits`, `K.gradient` and `K.gim` for example K.
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers import optimizer
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, BertConfig, LlamaConfig, RobertaConfig

from make_architecture_fixtures import KNOBS, Modified, randomise, relative

OUT = Path(__file__).resolve().parent.parent / "tests/fixtures/foreign/small"
VOCAB = 131
SMALL = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
             max_position_embeddings=40, num_labels=3)

MODELS = {
    "roberta.ts17": (RobertaConfig(**SMALL, type_vocab_size=1), "sdpa", ["input_ids", "attention_mask"]),
    "llama-classifier.dynamo18": (LlamaConfig(**SMALL, num_key_value_heads=1, pad_token_id=0, bos_token_id=None,
        eos_token_id=None), "sdpa", ["input_ids"]),
    "bert.ort": (BertConfig(**SMALL), "eager", ["input_ids", "attention_mask"]),
}


class Wrapper(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask=None):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def export(model, name, inputs, path):
    ids = torch.randint(3, VOCAB, (2, 7), generator=torch.Generator().manual_seed(3))
    arguments = (ids, torch.ones_like(ids))[: len(inputs)]
    wrapper = Wrapper(model).eval()
    if "dynamo" in name:
        axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq", max=36)}
        torch.onnx.export(wrapper, arguments, path, input_names=inputs, output_names=["logits"], dynamo=True,
                          dynamic_shapes=tuple(axes for _ in inputs), opset_version=18, external_data=False)
        # Where in PyTorch's sources a node comes from: long, and nothing depends on it.
        proto = onnx.load(path)
        for node in proto.graph.node:
            kept = [entry for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
        del proto.graph.value_info[:]
        onnx.save(proto, path)
        return
    axes = {name: {0: "batch", 1: "sequence"} for name in inputs}
    torch.onnx.export(wrapper, arguments, path, input_names=inputs, output_names=["logits"], opset_version=17,
                      dynamic_axes={**axes, "logits": {0: "batch"}}, dynamo=False)
    if name.endswith(".ort"):
        fused = optimizer.optimize_model(str(path), model_type="bert", num_heads=2, hidden_size=16, opt_level=0)
        found = {node.op_type for node in fused.model.graph.node}
        assert {"EmbedLayerNormalization", "Attention", "SkipLayerNormalization", "BiasGelu"} <= found, found
        fused.save_model_to_file(str(path))


def run(model, ids, embeds):
    table, lookup = model.get_input_embeddings().weight, F.embedding

    def embedding(indices, weight, *rest, **named):
        return embeds if weight is table and indices.shape == ids.shape else lookup(indices, weight, *rest, **named)

    F.embedding = embedding
    try:
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    finally:
        F.embedding = lookup


def gradient(model, ids, embeds, target):
    leaf = embeds.clone().requires_grad_(True)
    return torch.autograd.grad(run(model, ids, leaf)[0, target], leaf)[0][0]


def make(name, folder):
    config, attention, inputs = MODELS[name]
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    randomise(model, generator)
    model.save_pretrained(folder / name)
    load = lambda how: AutoModelForSequenceClassification.from_pretrained(  # noqa: E731
        folder / name, attn_implementation=how).eval().requires_grad_(False)
    export(load(attention), name, inputs, OUT / f"{name}.onnx")

    model = load("eager")
    examples, tensors = [], {}
    for index, length in enumerate((6, 19)):
        ids = torch.randint(3, VOCAB, (1, length), generator=generator)
        embeds = F.embedding(ids, model.get_input_embeddings().weight)
        logits = model(input_ids=ids).logits[0]
        target = int(logits.argmax())
        plain = gradient(model, ids, embeds, target)
        with Modified(model, KNOBS["gradient"]):
            assert relative(gradient(model, ids, embeds, target), plain) < 1e-5
        with Modified(model, KNOBS["gim"]):
            modified = gradient(model, ids, embeds, target)
        assert relative(modified, plain) > 1e-3
        tensors |= {f"{index}.logits": logits.clone(), f"{index}.gradient": plain.clone(), f"{index}.gim": modified.clone()}
        examples.append({"input_ids": ids[0].tolist(), "target": target})
    save_file(tensors, OUT / f"{name}.safetensors")
    (OUT / f"{name}.json").write_text(json.dumps({"examples": examples}) + "\n")


class Sketch:
    """A model of two layers written node by node: `[batch, seq]` ids to `[batch, seq, VOCAB]`."""

    WIDTH, HEADS, KEY_HEADS, SIZE = 16, 2, 1, 8

    def __init__(self, seed):
        self.rng, self.nodes, self.tensors = np.random.default_rng(seed), [], {}

    def tensor(self, name, array):
        self.tensors[name] = np.asarray(array)
        return name

    def weight(self, name, *shape):
        scale = 0.5 if shape[0] == VOCAB else 1.5 * shape[0] ** -0.5
        return self.tensor(name, (self.rng.standard_normal(shape) * scale).astype(np.float32))

    def node(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def norm(self, x, name):
        weight = self.tensor(f"{name}.weight", (1 + 0.2 * self.rng.standard_normal(self.WIDTH)).astype(np.float32))
        return self.node("RMSNormalization", [x, weight], name, axis=-1, epsilon=1e-5)

    def mlp(self, x, p):
        up = self.node("MatMul", [self.norm(x, p + "norm2"), self.weight(p + "up", self.WIDTH, 24)], p + "hidden")
        act = self.node("Gelu", [up], p + "act", approximate="tanh")
        down = self.node("MatMul", [act, self.weight(p + "down", 24, self.WIDTH)], p + "mlp")
        return self.node("Add", [x, down], p + "out")

    def save(self, name, inputs):
        ports = [helper.make_tensor_value_info(i, TensorProto.INT64, ["batch", "seq"]) for i in inputs]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "seq", VOCAB])
        tensors = [numpy_helper.from_array(array, key) for key, array in self.tensors.items()]
        graph = helper.make_graph(self.nodes, name, ports, [logits], tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, OUT / f"{name}.onnx")


def rotary():
    """Three axes, shared key heads, a soft-cap, interleaved rotation, causal without a mask."""
    s = Sketch(1)
    angles = np.outer(np.arange(40), 1e4 ** -(np.arange(0, s.SIZE, 2) / s.SIZE))
    cos, sin = s.tensor("cos", np.cos(angles).astype(np.float32)), s.tensor("sin", np.sin(angles).astype(np.float32))
    shape = s.node("Shape", ["input_ids"], "shape")
    zero, one = s.tensor("zero", np.int64(0)), s.tensor("one", np.int64(1))
    length = s.node("Gather", [shape, one], "length")
    places = s.node("Range", [zero, length, one], "places")
    positions = s.node("Expand", [places, shape], "positions")
    x = s.node("Gather", [s.weight("embeddings", VOCAB, s.WIDTH), "input_ids"], "embedded")
    for layer in range(2):
        p = f"layers.{layer}."
        h = s.norm(x, p + "norm1")
        parts = []
        for part, heads in (("q", s.HEADS), ("k", s.KEY_HEADS), ("v", s.KEY_HEADS)):
            y = s.node("MatMul", [h, s.weight(p + part, s.WIDTH, heads * s.SIZE)], p + part + ".out")
            if part != "v":
                y = s.node("RotaryEmbedding", [y, cos, sin, positions], p + part + ".rotated", interleaved=1,
                           num_heads=heads)
            parts.append(y)
        mixed = s.node("Attention", parts, p + "attention", is_causal=1, softcap=3.0, q_num_heads=s.HEADS,
                       kv_num_heads=s.KEY_HEADS)
        mixed = s.node("MatMul", [mixed, s.weight(p + "o", s.HEADS * s.SIZE, s.WIDTH)], p + "o.out")
        x = s.mlp(s.node("Add", [x, mixed], p + "mid"), p)
    s.node("MatMul", [x, s.weight("head", s.WIDTH, VOCAB)], "logits")
    s.save("operators.rotary", ["input_ids"])


def einsum():
    """Every product of the attention an Einsum, weights of three axes, and logarithms of probabilities for logits."""
    s = Sketch(2)
    x = s.node("Gather", [s.weight("embeddings", VOCAB, s.WIDTH), "input_ids"], "embedded")
    present = s.node("Cast", ["attention_mask"], "present", to=TensorProto.FLOAT)
    absent = s.node("Sub", [s.tensor("one", np.float32(1)), present], "absent")
    bias = s.node("Mul", [absent, s.tensor("masked", np.float32(-1e9))], "bias")
    bias = s.node("Unsqueeze", [bias, s.tensor("axes", np.array([1, 2]))], "mask")
    for layer in range(2):
        p = f"layers.{layer}."
        h = s.norm(x, p + "norm1")
        equations = {"q": "bsd,dhk->bhsk", "k": "bsd,dhk->bhsk", "v": "...d,dhk->...hk"}
        q, k, v = (s.node("Einsum", [h, s.weight(p + part, s.WIDTH, s.HEADS, s.SIZE)], p + part + ".out", equation=e)
                   for part, e in equations.items())
        scores = s.node("Einsum", [q, k], p + "products", equation="bhqd,bhkd->bhqk")
        scores = s.node("Mul", [scores, s.tensor(p + "scale", np.float32(s.SIZE**-0.5))], p + "scaled")
        scores = s.node("Add", [scores, bias], p + "scores")
        weights = s.node("Softmax", [scores], p + "weights", axis=-1)
        mixed = s.node("Einsum", [weights, v], p + "mixed", equation="bhqk,bkhd->bqhd")
        mixed = s.node("Einsum", [mixed, s.weight(p + "o", s.HEADS, s.SIZE, s.WIDTH)], p + "o.out",
                       equation="bqhd,hde->bqe")
        x = s.mlp(s.node("Add", [x, mixed], p + "mid"), p)
    scores = s.node("MatMul", [x, s.weight("head", s.WIDTH, VOCAB)], "scores")
    s.node("LogSoftmax", [scores], "logits", axis=-1)
    s.save("operators.einsum", ["input_ids", "attention_mask"])


def positions(name, padding_row):
    """Position embeddings looked up by an input; with `padding_row`, as a table whose positions begin behind it has it."""
    s = Sketch(3)
    table = (0.5 * s.rng.standard_normal((40, s.WIDTH))).astype(np.float32)
    if padding_row is not None:
        table[padding_row] = 0
    x = s.node("Gather", [s.weight("embeddings", VOCAB, s.WIDTH), "input_ids"], "embedded")
    x = s.node("Add", [x, s.node("Gather", [s.tensor("positions", table), "position_ids"], "placed")], "input")
    for layer in range(2):
        p = f"layers.{layer}."
        h = s.norm(x, p + "norm1")
        parts = [s.node("MatMul", [h, s.weight(p + part, s.WIDTH, s.HEADS * s.SIZE)], p + part + ".out") for part in "qkv"]
        mixed = s.node("Attention", parts, p + "attention", is_causal=1, q_num_heads=s.HEADS, kv_num_heads=s.HEADS)
        mixed = s.node("MatMul", [mixed, s.weight(p + "o", s.HEADS * s.SIZE, s.WIDTH)], p + "o.out")
        x = s.mlp(s.node("Add", [x, mixed], p + "mid"), p)
    s.node("MatMul", [x, s.weight("head", s.WIDTH, VOCAB)], "logits")
    s.save(name, ["input_ids", "position_ids"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            make(name, Path(folder))
    rotary()
    einsum()
    positions("operators.positions", None)
    positions("operators.padded_positions", 1)
    for path in sorted(OUT.iterdir()):
        print(f"{path.name}: {path.stat().st_size // 1024} KB")
