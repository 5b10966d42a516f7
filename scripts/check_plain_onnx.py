# /// script
# requires-python = ">=3.10"
# dependencies = ["onnx==1.23.2", "onnxruntime==1.31.1", "numpy>=1.26"]
# ///
"""Shows that bundles are plain ONNX, with nothing of this project: python scripts/check_plain_onnx.py BUNDLE...

For each bundle:
- every graph passes `onnx.checker` with full shape inference, and names standard operators only;
- ONNX's reference evaluator, ONNX Runtime with all optimizations and ONNX Runtime with none give the same numbers, for one
  prompt and for a batch of prompts of several lengths, at several settings of the knobs, with and without a contrast;
- a prompt in a padded batch gets what it gets alone, and nothing is attributed to padding.

Deviation: the largest absolute difference over the largest absolute value of the tensor compared with; for scores, which
may be differences of logits, over the largest logit. It may be TOLERANCE, the rounding of f32 through a few layers. Exits with
1 if anything does not hold.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

VERSIONS = {"onnx": (onnx.__version__, "1.23.2"), "onnxruntime": (ort.__version__, "1.31.1")}
TOLERANCE = 2e-5
GRAPHS = ("embed", "forward", "gradient", "attention")
KNOBS = ("softmax_temperature", "norm_freeze", "product_share", "attention_path", "activation_secant", "gate_share")
METHODS = {
    "gradient": (1, 0, 1, 1, 0, 1),
    "gim": (2, 1, 0.5, 1, 0, 0.5),
    "attn_lrp": (1, 1, 0.5, 1, 1, 0.5),
    "transformer_lrp": (1, 1, 1, 0, 0, 1),
    "relp": (1, 1, 1, 0, 1, 0.5),
}


class Optimized:
    """ONNX Runtime as anybody would call it, or with its optimizations off."""

    def __init__(self, path, level):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, outputs, inputs):
        return self.session.run(outputs, inputs)


ENGINES = {
    "reference": ReferenceEvaluator,
    "onnxruntime": lambda path: Optimized(path, ort.GraphOptimizationLevel.ORT_ENABLE_ALL),
    "onnxruntime, optimizations off": lambda path: Optimized(path, ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
}


def check_graph(path):
    """The checker with full shape inference; standard operators and sizes by name only."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    domains = {node.domain for node in model.graph.node} | {opset.domain for opset in model.opset_import}
    if domains != {""}:
        raise ValueError(f"operators of the domains {sorted(domains)}")
    if model.functions:
        raise ValueError("functions of its own")
    return len(model.graph.node), model.opset_import[0].version


def prompts(facts):
    """Three prompts of several lengths, within what the model takes."""
    vocab = facts["dimensions"]["vocab"]
    longest = min(facts["dimensions"]["max_positions"] or 12, 12)
    lengths = sorted({longest, max(2, longest * 2 // 3), 2}, reverse=True)
    random = np.random.default_rng(0)
    return [random.integers(0, vocab, length) for length in lengths]


def batch(rows):
    """Padded on the right; the position is the last token's."""
    width = max(len(row) for row in rows)
    ids = np.array([np.pad(row, (0, width - len(row))) for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], np.int64)
    return ids, mask, np.array([len(row) - 1 for row in rows], np.int64)


def outputs(engine, rows, tokens):
    """Everything four of the graphs compute for a batch, by name. `tokens`: a target and a contrast a row."""
    ids, mask, position = batch(rows)
    found = {}
    (embeds,) = engine["embed"].run(None, {"input_ids": ids})
    found["embeddings"] = embeds
    (found["logits"],) = engine["forward"].run(None, {"input_ids": ids, "attention_mask": mask, "position": position})
    (found["attention"],) = engine["attention"].run(None, {"input_ids": ids, "attention_mask": mask})
    target, contrast = tokens[: len(rows)].T
    for weight in (0, 1):
        for method, values in METHODS.items():
            inputs = {
                "inputs_embeds": embeds,
                "attention_mask": mask,
                "position": position,
                "target": target,
                "contrast": contrast,
                "contrast_weight": np.full(len(rows), weight, np.float32),
                **{knob: np.array(value, np.float32) for knob, value in zip(KNOBS, values)},
            }
            score, gradient = engine["gradient"].run(["score", "gradient"], inputs)
            found[f"score, contrast {weight}"] = score
            found[f"{method}, contrast {weight}"] = gradient
    return found


def deviation(found, reference, scale):
    if found.shape != reference.shape or found.dtype != reference.dtype:
        raise ValueError(f"{found.dtype}{found.shape} is not {reference.dtype}{reference.shape}")
    if not np.isfinite(found).all():
        raise ValueError("numbers that are not finite")
    return float(np.abs(found - reference).max() / max(np.abs(scale).max(), 1e-30))


def worst(found, reference):
    """The largest deviation of all outputs, and whose it is."""
    scale = {name: reference["logits" if name.startswith("score") else name] for name in reference}
    return max((deviation(found[name], reference[name], scale[name]), name) for name in reference)


def of_row(found, i, length):
    """What a padded batch has for one row."""
    row = {}
    for name, value in found.items():
        if name == "attention":
            row[name] = value[:, i : i + 1, :, :length, :length]
        elif value.ndim == 3:
            row[name] = value[i : i + 1, :length]
        else:
            row[name] = value[i : i + 1]
    return row


def check(bundle):
    """Checks a bundle; yields what deviates, by how much and where."""
    facts = json.loads((bundle / "bundle.json").read_text())
    nodes = {graph: check_graph(bundle / f"{graph}.onnx") for graph in GRAPHS}
    described = ", ".join(f"{graph} {count}" for graph, (count, _) in nodes.items())
    print(f"{bundle}: {facts['architecture']}; nodes: {described}; operator set {nodes['gradient'][1]}")

    outcomes = facts["dimensions"].get("labels") or facts["dimensions"]["vocab"]
    rows = prompts(facts)
    tokens = np.array([[(3 * i + 1) % outcomes, (5 * i + 2) % outcomes] for i in range(len(rows))], np.int64)
    alone, padded = {}, {}
    for name, make in ENGINES.items():
        engine = {graph: make(str(bundle / f"{graph}.onnx")) for graph in GRAPHS}
        alone[name] = [outputs(engine, rows[i : i + 1], tokens[i:]) for i in range(len(rows))]
        padded[name] = outputs(engine, rows, tokens)
        for i, row in enumerate(rows):
            yield f"{name}: padded against alone", *worst(of_row(padded[name], i, len(row)), alone[name][i])
            for output, value in padded[name].items():
                if output.startswith(tuple(METHODS)) and np.abs(value[i, len(row) :]).max(initial=0) != 0:
                    raise ValueError(f"{name}: {output}: a gradient at padding")
    for name in list(ENGINES)[1:]:
        for i in range(len(rows)):
            yield f"{name} against reference, one prompt", *worst(alone[name][i], alone["reference"][i])
        yield f"{name} against reference, padded batch", *worst(padded[name], padded["reference"])


def main(bundles):
    if not bundles:
        sys.exit("usage: check_plain_onnx.py BUNDLE...")
    for package, (found, wanted) in VERSIONS.items():
        if found != wanted:
            sys.exit(f"{package} is {found}; this was written for {wanted}")
    failed = False
    overall = 0.0
    for bundle in map(Path, bundles):
        try:
            largest = {}
            for what, value, output in check(bundle):
                largest[what] = max(largest.get(what, (0.0, "")), (value, output))
            for what, (value, output) in largest.items():
                print(f"  {what}: {value:.1e} ({output})")
                overall = max(overall, value)
                failed |= not value <= TOLERANCE
        except Exception as error:
            print(f"  FAILED: {type(error).__name__}: {error}")
            failed = True
    print(f"{len(bundles)} bundles, largest deviation {overall:.1e}, tolerance {TOLERANCE:.0e}: {'FAILED' if failed else 'ok'}")
    sys.exit(failed)


if __name__ == "__main__":
    main(sys.argv[1:])
