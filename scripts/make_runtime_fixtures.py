# /// script
# requires-python = ">=3.10"
# dependencies = ["onnx==1.23.0", "numpy>=1.26"]
# ///
"""Writes tests/fixtures/runtime/bundle: a bundle whose graphs have the interface of a real one and mathematics that a
test can repeat in a line.

    hidden state   h = mean of the real tokens' embeddings + the embedding at `position`
    logits         h @ head
    score          logits[target] - contrast_weight * logits[contrast]
    gradient       (d score / d embedding) * (temperature + 2 freeze + 4 share + 8 path + 16 secant)
    attention      attention[l, b, h, i, j] = 100 l + 10 h + id_i + id_j / 10

Run from the root of the repository: python scripts/make_runtime_fixtures.py
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCAB, HIDDEN, LAYERS, HEADS, MAX_POSITIONS = 11, 4, 2, 3, 16
KNOBS = ["softmax_temperature", "norm_freeze", "product_share", "attention_path", "activation_secant"]
F32, I64 = TensorProto.FLOAT, TensorProto.INT64
FOLDER = Path("tests/fixtures/runtime/bundle")

# Multiples of 1/8, so that sums are exact in any order.
table = ((np.arange(VOCAB * HIDDEN) * 7 % 23 - 11) / 8).astype(np.float32).reshape(VOCAB, HIDDEN)
head = ((np.arange(HIDDEN * VOCAB) * 5 % 17 - 8) / 8).astype(np.float32).reshape(HIDDEN, VOCAB)
WEIGHTS = {"table": (table, 0), "head": (head, 4096)}
PORTS = {
    "input_ids": (I64, ["batch", "seq"]),
    "attention_mask": (I64, ["batch", "seq"]),
    "position": (I64, ["batch"]),
    "target": (I64, ["batch"]),
    "contrast": (I64, ["batch"]),
    "contrast_weight": (F32, ["batch"]),
    "inputs_embeds": (F32, ["batch", "seq", HIDDEN]),
    "logits": (F32, ["batch", VOCAB]),
    "score": (F32, ["batch"]),
    "gradient": (F32, ["batch", "seq", HIDDEN]),
    "attention": (F32, [LAYERS, "batch", HEADS, "seq", "seq"]),
    **{knob: (F32, []) for knob in KNOBS},
}


class Builder:
    def __init__(self):
        self.nodes, self.initializers = [], []

    def weight(self, name):
        array, offset = WEIGHTS[name]
        tensor = TensorProto(name=name, data_type=F32, dims=array.shape, data_location=TensorProto.EXTERNAL)
        for key, value in [("location", "weights.bin"), ("offset", offset), ("length", array.nbytes)]:
            tensor.external_data.add(key=key, value=str(value))
        if name not in [known.name for known in self.initializers]:
            self.initializers.append(tensor)
        return name

    def constant(self, value, dtype=np.int64):
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(self, operator, *inputs, name=None, dtype=None, **attributes):
        if dtype:
            attributes["to"] = dtype
        output = name or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"node_{len(self.nodes)}", **attributes))
        return output

    def save(self, name, inputs, outputs):
        ports = [[helper.make_tensor_value_info(port, *PORTS[port]) for port in side] for side in (inputs, outputs)]
        graph = helper.make_graph(self.nodes, name, *ports, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(FOLDER / f"{name}.onnx"), full_check=True)


def cast(b, value):
    return b.node("Cast", value, dtype=F32)


def share_of(b):
    """[batch, seq]: how much of each token is in h, which is the mean plus the token at `position`."""
    mask = cast(b, "attention_mask")
    mean = b.node("Div", mask, b.node("ReduceSum", mask, b.constant([1])))
    length = b.node("Shape", "attention_mask", start=1, end=2)
    index = b.node("Range", b.constant(0), b.node("Squeeze", length), b.constant(1))
    at_position = b.node("Equal", index, b.node("Unsqueeze", "position", b.constant([1])))
    return b.node("Add", mean, cast(b, at_position))


def logits_of(b, embeds, share, name=None):
    # A product, as in attention, and no ReduceSum, whose last digits change with the padding.
    one = b.constant([1])
    hidden = b.node("Squeeze", b.node("MatMul", b.node("Unsqueeze", share, one), embeds), one)
    return b.node("MatMul", hidden, b.weight("head"), name=name)


def embed():
    b = Builder()
    b.node("Gather", b.weight("table"), "input_ids", name="inputs_embeds")
    b.save("embed", ["input_ids"], ["inputs_embeds"])


def forward():
    b = Builder()
    logits_of(b, b.node("Gather", b.weight("table"), "input_ids"), share_of(b), "logits")
    b.save("forward", ["input_ids", "attention_mask", "position"], ["logits"])


def gradient():
    b = Builder()
    share = share_of(b)
    logits = logits_of(b, "inputs_embeds", share)
    columns = b.node("Transpose", b.weight("head"), perm=[1, 0])
    one = b.constant([1])

    def logit(of):
        return b.node("Squeeze", b.node("GatherElements", logits, b.node("Unsqueeze", of, one), axis=1), one)

    b.node("Sub", logit("target"), b.node("Mul", "contrast_weight", logit("contrast")), name="score")
    weight = b.node("Unsqueeze", "contrast_weight", one)
    direction = b.node("Sub", b.node("Gather", columns, "target"), b.node("Mul", weight, b.node("Gather", columns, "contrast")))
    factor = b.constant(0.0, np.float32)
    for power, knob in enumerate(KNOBS):
        factor = b.node("Add", factor, b.node("Mul", knob, b.constant(2.0**power, np.float32)))
    direction = b.node("Mul", direction, factor)
    b.node("Mul", b.node("Unsqueeze", share, b.constant([2])), b.node("Unsqueeze", direction, one), name="gradient")
    inputs = ["inputs_embeds", "attention_mask", "position", "target", "contrast", "contrast_weight", *KNOBS]
    b.save("gradient", inputs, ["score", "gradient"])


def attention():
    b = Builder()
    ids = cast(b, "input_ids")
    row = b.node("Unsqueeze", ids, b.constant([0, 2, 4]))
    column = b.node("Unsqueeze", b.node("Div", ids, b.constant(10, np.float32)), b.constant([0, 2, 3]))
    layer = 100 * np.arange(LAYERS).reshape(LAYERS, 1, 1, 1, 1)
    number = b.constant(layer + 10 * np.arange(HEADS).reshape(HEADS, 1, 1), np.float32)
    mask = b.node("Unsqueeze", cast(b, "attention_mask"), b.constant([0, 2, 3]))
    b.node("Mul", b.node("Add", number, b.node("Add", row, column)), mask, name="attention")
    b.save("attention", ["input_ids", "attention_mask"], ["attention"])


def manifest():
    def entry(path):
        return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}

    def port(name):
        dtype, shape = PORTS[name]
        return {"name": name, "dtype": {F32: "f32", I64: "i64"}[dtype], "shape": [str(size) for size in shape]}

    graphs = {}
    for path in sorted(FOLDER.glob("*.onnx")):
        graph = onnx.load(path, load_external_data=False).graph
        graphs[path.name] = {side: [port(value.name) for value in getattr(graph, side[:-1])] for side in ("inputs", "outputs")}
    content = {
        "format_version": 1,
        "source": {"name": "make_runtime_fixtures", "kind": "onnx", "sha256": "0" * 64},
        "architecture": "fixture",
        "dimensions": {"layers": LAYERS, "hidden": HIDDEN, "heads": HEADS, "vocab": VOCAB, "max_positions": MAX_POSITIONS},
        "dtype": "f32",
        "baseline_token_id": 0,
        "files": {path.name: entry(path) for path in sorted(FOLDER.iterdir()) if path.name != "bundle.json"},
        "graphs": graphs,
        "audit": {"sites": []},
    }
    (FOLDER / "bundle.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    data = bytearray(4096 + head.nbytes)
    for array, offset in WEIGHTS.values():
        data[offset : offset + array.nbytes] = array.tobytes()
    (FOLDER / "weights.bin").write_bytes(data)
    embed(), forward(), gradient(), attention()
    manifest()
