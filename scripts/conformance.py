"""Runs the graphs of a bundle in the runtimes that are installed, and compares them.

    pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1     # and any of: openvino tract
    python scripts/conformance.py bundle [--json FILE] [--tokens 16] [--seconds 2]

The reference is ONNX Runtime's CPU provider with its optimizations off. Every runtime gets the same two prompts, one of them
padded, at GIM's setting of the knobs with a contrast, in f32. For each runtime: its version, and for each graph the largest
deviation over the largest number of the reference, or the first line of what it says against the graph; and the time of
`gradient.onnx` over that of ONNX Runtime as it comes, on one thread each. ONNX Runtime's OpenVINO provider is a build of its own
(`onnxruntime-openvino`), which an environment has in place of `onnxruntime`: there it is a second runtime beside the CPU.

Exit code 1 if a graph is computed with a deviation above 1e-4: wrong, and without a word.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("RUST_BACKTRACE", "0")

import numpy as np
import onnx
import onnxruntime as ort

GRAPHS = {"embed": ["inputs_embeds"], "forward": ["logits"], "gradient": ["score", "gradient"], "attention": ["attention"]}
GIM = {"softmax_temperature": 2, "norm_freeze": 1, "product_share": 0.5, "attention_path": 1, "activation_secant": 0}
LIMIT = 1e-4


def session(path, level=None, providers=("CPUExecutionProvider",)):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if level is not None:
        options.graph_optimization_level = level
    made = ort.InferenceSession(str(path), options, providers=list(providers))
    names = [port.name for port in made.get_inputs()]
    return lambda feeds: made.run(None, {name: feeds[name] for name in names})


def ports(path):
    return [port.name for port in onnx.load(path, load_external_data=False).graph.input]


def onnx_runtime(path):
    return session(path)


def onnx_runtime_openvino(path):
    return session(path, providers=["OpenVINOExecutionProvider"])


def openvino(path):
    import openvino as ov

    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = ov.Core().compile_model(str(path), "CPU", config)
    names = ports(path)

    def run(feeds):
        made = model([feeds[name] for name in names])
        return [made[port] for port in model.outputs]

    return run


def tract(path):
    import tract as library

    model = library.onnx().load(str(path)).into_model().into_runnable()
    names = ports(path)
    return lambda feeds: [made.to_numpy() for made in model.run([feeds[name] for name in names])]


def reference_evaluator(path):
    from onnx.reference import ReferenceEvaluator

    model = ReferenceEvaluator(str(path))
    names = ports(path)
    return lambda feeds: model.run(None, {name: feeds[name] for name in names})


# What it is called, the package that it comes in, what opens a graph.
RUNTIMES = [
    ("ONNX Runtime, CPU", ["onnxruntime", "onnxruntime-openvino"], onnx_runtime),
    ("ONNX Runtime, OpenVINO provider", ["onnxruntime-openvino"], onnx_runtime_openvino),
    ("OpenVINO", ["openvino"], openvino),
    ("tract", ["tract"], tract),
    ("ONNX reference evaluator", ["onnx"], reference_evaluator),
]


def version(packages):
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def questions(bundle, tokens):
    """The inputs of all graphs, by name, and what the reference makes of them."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    size = manifest["dimensions"]
    tokens = min(tokens, size["max_positions"] or tokens)
    outputs = size.get("labels") or size["vocab"]
    rng = np.random.default_rng(0)
    lengths = np.array([tokens, max(1, tokens - tokens // 3)])
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    feeds = {
        "input_ids": rng.integers(0, size["vocab"], (2, tokens)) * mask,
        "attention_mask": mask,
        "position": lengths - 1,
        "target": np.array([0, outputs - 1]),
        "contrast": np.array([0, outputs // 2]),
        "contrast_weight": np.array([0, 1], np.float32),
        **{name: np.array(value, np.float32) for name, value in GIM.items()},
    }
    wanted = {}
    for graph, names in GRAPHS.items():
        made = session(bundle / f"{graph}.onnx", ort.GraphOptimizationLevel.ORT_DISABLE_ALL)(feeds)
        wanted[graph] = dict(zip(names, made))
        feeds |= wanted[graph] if graph == "embed" else {}
    return feeds, wanted


def deviation(found, wanted):
    worst = 0.0
    for value, reference in zip(found, wanted.values()):
        value = np.asarray(value)
        if value.shape != reference.shape or not np.isfinite(value).all():
            return float("inf")
        worst = max(worst, float(np.abs(value - reference).max() / max(float(np.abs(reference).max()), 1e-30)))
    return worst


def seconds(run, feeds, budget):
    """The median time of a run, and how many there were."""
    times, end = [], time.monotonic() + budget
    while len(times) < 3 or time.monotonic() < end:
        start = time.process_time()
        run(feeds)
        times.append(time.process_time() - start)
    return float(np.median(times)), len(times)


def first_line(error):
    lines = [line.strip() for line in str(error).split("Stack backtrace")[0].splitlines() if line.strip()]
    return " ".join(lines[:4])[:200]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--json", type=Path, help="write the results there, too")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a runtime is timed")
    arguments = parser.parse_args()
    feeds, wanted = questions(arguments.bundle, arguments.tokens)
    base, results, wrong = None, [], False
    for name, packages, opens in RUNTIMES:
        found = version(packages)
        if found is None:
            print(f"{name}: not installed ({' or '.join(packages)})")
            continue
        result = {"runtime": name, "version": found, "graphs": {}}
        for graph in GRAPHS:
            path = arguments.bundle / f"{graph}.onnx"
            try:
                run = opens(path)
                worst = deviation(run(feeds), wanted[graph])
                result["graphs"][graph] = worst
                wrong |= worst > LIMIT
                if graph == "gradient":
                    took, count = seconds(run, feeds, arguments.seconds)
                    base = base or took
                    result |= {"milliseconds": 1e3 * took, "runs": count, "over_onnx_runtime": took / base}
            except Exception as error:  # noqa: BLE001 whatever a runtime raises is its answer
                result["graphs"][graph] = first_line(error)
        results.append(result)
        print(f"{name} {found}")
        for graph, answer in result["graphs"].items():
            note = answer if isinstance(answer, str) else f"{answer:.1e}" + (" WRONG" if answer > LIMIT else "")
            print(f"  {graph:10} {note}")
        if "milliseconds" in result:
            print(f"  gradient   {result['milliseconds']:.2f} ms of processor time, {result['over_onnx_runtime']:.2f} of "
                  f"ONNX Runtime's ({result['runs']} runs)")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
