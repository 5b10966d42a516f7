# /// script
# requires-python = ">=3.10"
# dependencies = ["onnx==1.23.2", "numpy>=1.26"]
# ///
"""Writes the seed corpora of the fuzz targets into fuzz/corpus, from the fixtures of the tests.

    python scripts/make_fuzz_seeds.py

- onnx: the fixtures in tests/fixtures/foreign without notes, their large weights in `weights.data` as the fuzz target has
  it; the same cut off after some of their nodes; and ONNX's own test of every operator, as a model of that one node, with
  its inputs as constants, and with its first input computed from `input_ids`.
- safetensors: the checkpoints in tests/fixtures/architectures that are small, of which one has the shapes that the
  target's config.json means; and its header with few bytes behind it.
- config: every config.json there, behind the byte by which the target picks its weights.
- external_data: its inputs are choices, not files; one that is empty (all where it should be) and some bytes.
"""

import json
import pathlib
import struct

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).parent.parent
FIXTURES = ROOT / "tests/fixtures"
CORPUS = ROOT / "fuzz/corpus"
# Tensors larger than this lie outside.
LARGE = 512
# Where the graphs are cut, as fractions of their nodes.
CUTS = (0.25, 0.4, 0.6)


def folder(target):
    path = CORPUS / target
    path.mkdir(parents=True, exist_ok=True)
    return path


def slim(model):
    """Takes out what the reader does not look at, and puts large tensors outside."""
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for node in [*graph.node, *(node for function in model.functions for node in function.node)]:
        node.doc_string = ""
        scopes = [entry for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
        del node.metadata_props[:]
        node.metadata_props.extend(scopes)
    for function in model.functions:
        del function.value_info[:], function.metadata_props[:]
    offset = 0
    for tensor in graph.initializer:
        size = len(tensor.raw_data)
        tensor.doc_string = ""
        del tensor.metadata_props[:]
        if size > LARGE and tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", "weights.data"), ("offset", offset), ("length", size)):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
            offset += size
    assert offset <= 4 << 20, "the target's file has 4 MiB"
    return model


def cut(model, output):
    """The same model up to one of its values."""
    small = onnx.ModelProto()
    small.CopyFrom(model)
    graph = small.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    needed, stack = set(), [output]
    while stack:
        name = stack.pop()
        if name and name not in needed:
            needed.add(name)
            stack.extend(makers[name].input if name in makers else ())
    nodes = [node for node in graph.node if needed & set(node.output)]
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    for field, kept in ((graph.node, nodes), (graph.initializer, tensors)):
        kept = [type(one).FromString(one.SerializeToString()) for one in kept]
        del field[:]
        field.extend(kept)
    del graph.output[:]
    graph.output.add().name = output
    return small


def write_onnx():
    target = folder("onnx")
    for path in sorted((FIXTURES / "foreign").glob("*.onnx")):
        model = slim(onnx.load(path, load_external_data=False))
        (target / path.name).write_bytes(model.SerializeToString())
        nodes = model.graph.node
        for fraction in CUTS:
            # A sum is the likeliest to have the shape [batch, seq, size], which may pass for logits.
            sums = [node for node in nodes[: int(len(nodes) * fraction)] if node.op_type == "Add" or "Norm" in node.op_type]
            small = cut(model, sums[-1].output[0])
            (target / f"{path.stem}.{int(fraction * 100)}.onnx").write_bytes(small.SerializeToString())


def operator_models():
    """ONNX's node tests as models without inputs of their own, by name."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases():
        model, sets = case.model, case.data_sets
        if model is None or not sets or len(model.graph.output) == 0:
            continue
        values = dict(zip((port.name for port in model.graph.input), sets[0][0]))
        try:
            tensors = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
        except (TypeError, AttributeError, ValueError):
            continue  # Sequences, optionals and strings.
        small = onnx.ModelProto()
        small.CopyFrom(model)
        for opset in small.opset_import:
            if opset.domain == "":
                opset.version = min(max(opset.version, 17), 23)
        del small.graph.input[:], small.graph.value_info[:], small.graph.output[1:]
        small.graph.initializer.extend(tensors)
        if small.ByteSize() < 4000:
            yield case.name, small
            from_ids = with_ids(small)
            if from_ids is not None:
                yield f"{case.name}.ids", from_ids


def with_ids(model):
    """The same with its first tensor computed from `input_ids`, if it has a rank that can be."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    if not graph.initializer:
        return None
    first = graph.initializer[0]
    kind, dims, name = first.data_type, list(first.dims), first.name
    if kind == onnx.TensorProto.FLOAT and len(dims) == 3:
        table = onnx.numpy_helper.from_array(np.zeros((131, dims[2]), np.float32), "ids.table")
        node = onnx.helper.make_node("Gather", ["ids.table", "input_ids"], [name])
    elif len(dims) == 2:
        table, node = None, onnx.helper.make_node("Cast", ["input_ids"], [name], to=kind)
    else:
        return None
    rest = [onnx.TensorProto.FromString(t.SerializeToString()) for t in graph.initializer[1:]]
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(rest + ([table] if table is not None else []))
    graph.node.extend([node, *nodes])
    graph.input.append(onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["batch", "seq"]))
    return changed


def write_operators():
    target = folder("onnx")
    for name, model in operator_models():
        (target / f"{name}.onnx").write_bytes(model.SerializeToString())


def write_checkpoints():
    fixtures = sorted((FIXTURES / "architectures").iterdir())
    target = folder("safetensors")
    for path in fixtures:
        file = path / "model.safetensors"
        if file.is_file() and file.stat().st_size < 60_000:
            whole = file.read_bytes()
            (target / path.name).write_bytes(whole)
            (target / f"{path.name}.cut").write_bytes(whole[: 8 + struct.unpack("<Q", whole[:8])[0] + 64])
    header = json.dumps({"model.norm.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (target / "one").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))

    target = folder("config")
    for i, path in enumerate(fixtures):
        (target / path.name).write_bytes(bytes([i]) + (path / "config.json").read_bytes())


def write_external():
    target = folder("external_data")
    (target / "empty").write_bytes(b"")
    for i in range(32):
        # What they mean is libFuzzer's to find out.
        (target / f"bytes{i}").write_bytes(bytes((i * 37 + j * j * 11 + j) % 256 for j in range(16 + 8 * i)))


if __name__ == "__main__":
    write_onnx()
    write_operators()
    write_checkpoints()
    write_external()
    for path in sorted(CORPUS.iterdir()):
        files = list(path.iterdir())
        print(f"{path.name}: {len(files)} files, {sum(file.stat().st_size for file in files)} bytes")
