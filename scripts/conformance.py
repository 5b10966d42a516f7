"""Runs the graphs of a bundle in the runtimes that are installed, and compares them.

    pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1     # and any of the packages in RUNTIMES below
    python scripts/conformance.py BUNDLE|KIT ... [--only NAME] [--json FILE] [--tokens 16] [--seconds 2]
    python scripts/conformance.py BUNDLE ... --write-kit FOLDER

All graphs get the same two prompts, one of them padded, at GIM's setting of the knobs with a contrast, in f32. The reference is
ONNX Runtime's CPU provider with its optimizations off. For each runtime: its version, and for each graph the largest deviation
over the largest number of the reference, or the first line of what it says against the graph; and the time of `gradient.onnx`
over that of ONNX Runtime as it comes, on one thread each. `--every` adds the graphs that look inside, of bundles. ONNX Runtime's OpenVINO provider is a build of its own
(`onnxruntime-openvino`), which an environment has in place of `onnxruntime`: there it is a second runtime beside the CPU.
Runtimes that read no external data (MNN, OpenCV, IREE, tinygrad) get a copy of the file with the weights inside, TVM and IREE
compile the graph, and tinygrad needs a C compiler. `--node FOLDER` runs scripts/conformance.mjs, too, with what npm installed
there (onnxruntime-node, onnxruntime-web).

`--write-kit` makes a folder of each bundle that says what is right by itself: the graphs, `inputs/NAME.npy` for each input of
any graph, `expected/GRAPH.OUTPUT.npy`. `tests/fixtures/conformance` holds such kits of small models, so that any runtime in any
language can be tried with its graphs and an .npy reader.

Exit code 1 if a graph is computed with a deviation above 1e-4: wrong, and without a word.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("RUST_BACKTRACE", "0")

import numpy as np
import onnx
import onnxruntime as ort

GRAPHS = {"embed": ["inputs_embeds"], "forward": ["logits"], "forward_embeds": ["logits"], "gradient": ["score", "gradient"],
          "attention": ["attention"]}
GIM = {"softmax_temperature": 2, "norm_freeze": 1, "product_share": 0.5, "attention_path": 1, "activation_secant": 0,
       "gate_share": 0.5}
# Graphs that look inside, and those that save work.
INSIDE = {"gradient_log_probability": ["score", "gradient"], "attention_rollout": ["rollout"],
          "residual_gradient": ["score", "residual", "residual_gradient"], "forward_residual": ["logits"],
          "score_gradient": ["score", "scores", "score_gradient", "attention_gradient"], "forward_scores": ["logits"],
          "value_zeroing": ["distance"], "deep_lift": ["score", "gradient"],
          "attention_projections": ["score", "queries", "keys", "values", "heads_gradient", "output_gradient"],
          "gradient_drop": ["score", "gradient"], "forward_cached": ["logits", "keys", "values"]}
LIMIT = 1e-4


def session(path, level=None, providers=("CPUExecutionProvider",)):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if level is not None:
        options.graph_optimization_level = level
    made = ort.InferenceSession(str(path), options, providers=list(providers))
    if made.get_providers()[0] != providers[0]:
        raise RuntimeError(f"{providers[0]} did not start")
    names = [port.name for port in made.get_inputs()]
    return lambda feeds: made.run(None, {name: feeds[name] for name in names})


def ports(path):
    """The names of a graph's inputs and outputs."""
    graph = onnx.load(path, load_external_data=False).graph
    return [port.name for port in graph.input], [port.name for port in graph.output]


def inlined(path):
    """A copy with the weights inside, in a folder of its own that goes with the process."""
    folder = Path(tempfile.mkdtemp(dir=SCRATCH.name))
    onnx.save(onnx.load(path), folder / path.name)
    return folder / path.name


def listed(results):
    return list(results) if isinstance(results, (list, tuple)) else [results]


def onnx_runtime(path, feeds):
    return session(path)


def onnx_runtime_openvino(path, feeds):
    return session(path, providers=["OpenVINOExecutionProvider"])


def openvino(path, feeds):
    import openvino as ov

    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = ov.Core().compile_model(str(path), "CPU", config)
    names, _ = ports(path)

    def run(feeds):
        made = model([feeds[name] for name in names])
        return [made[port] for port in model.outputs]

    return run


def tract(path, feeds):
    import tract as library

    model = library.onnx().load(str(path)).into_model().into_runnable()
    names, _ = ports(path)
    return lambda feeds: [made.to_numpy() for made in model.run([feeds[name] for name in names])]


def reference_evaluator(path, feeds):
    from onnx.reference import ReferenceEvaluator

    model = ReferenceEvaluator(str(path))
    names, _ = ports(path)
    return lambda feeds: model.run(None, {name: feeds[name] for name in names})


def opencv(path, feeds):
    import cv2

    cv2.setNumThreads(1)
    network = cv2.dnn.readNetFromONNX(str(inlined(path)), cv2.dnn.ENGINE_NEW)
    names, outputs = ports(path)

    def run(feeds):
        for name in names:
            network.setInput(feeds[name], name)
        return list(network.forward(outputs))

    return run


def mnn(path, feeds):
    import MNN.expr as F
    import MNN.nn as nn

    source = inlined(path)
    target = source.with_suffix(".mnn")
    tool = Path(sys.executable).parent / "mnnconvert"
    done = subprocess.run([tool, "-f", "ONNX", "--modelFile", source, "--MNNModel", target, "--bizCode", "conformance"],
                          capture_output=True, text=True)
    if not target.exists():
        raise RuntimeError((done.stdout + done.stderr)[-200:])
    names, outputs = ports(path)
    model = nn.load_module_from_file(str(target), names, outputs, precision_mode=1)  # 1: high, f32

    def constant(array):
        # Integers have 32 bits there.
        kind, array = (F.int, array.astype(np.int32)) if array.dtype == np.int64 else (F.float, array)
        return F.const(np.ascontiguousarray(array), list(array.shape), F.NCHW, kind)

    return lambda feeds: [F.convert(made, F.NCHW).read() for made in model.onForward([constant(feeds[n]) for n in names])]


def tinygrad(path, feeds):
    from tinygrad import Tensor
    from tinygrad.nn.onnx import OnnxRunner

    runner = OnnxRunner(str(inlined(path)))
    names, outputs = ports(path)

    def run(feeds):
        made = runner({name: Tensor(feeds[name]) for name in names})
        return [made[name].numpy() for name in outputs]

    return run


def iree(path, feeds):
    import iree.compiler
    import iree.runtime

    source = inlined(path)
    target = source.with_suffix(".mlir")
    subprocess.run([sys.executable, "-m", "iree.compiler.tools.import_onnx", source, "-o", target], check=True, capture_output=True)
    compiled = iree.compiler.compile_file(str(target), target_backends=["llvm-cpu"], input_type="onnx",
                                          extra_args=["--iree-llvmcpu-target-cpu=host"])
    context = iree.runtime.SystemContext(config=iree.runtime.Config("local-sync"))
    context.add_vm_module(iree.runtime.VmModule.copy_buffer(context.instance, compiled))
    function = next(module for name, module in context.modules.items() if name != "hal")[path.stem]
    names, _ = ports(path)
    return lambda feeds: [np.asarray(made) for made in listed(function(*[feeds[name] for name in names]))]


def tvm(path, feeds):
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    names, _ = ports(path)
    module = from_onnx(onnx.load(path), shape_dict={name: list(feeds[name].shape) for name in names})
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    return lambda feeds: [made.numpy() for made in listed(machine["main"](*[tvm.runtime.tensor(feeds[name]) for name in names]))]


# What it is called, the package that it comes in, what opens a graph.
RUNTIMES = [
    ("ONNX Runtime, CPU", ["onnxruntime", "onnxruntime-openvino"], onnx_runtime),
    ("ONNX Runtime, OpenVINO provider", ["onnxruntime-openvino"], onnx_runtime_openvino),
    ("OpenVINO", ["openvino"], openvino),
    ("tract", ["tract"], tract),
    ("OpenCV", ["opencv-python-headless", "opencv-python"], opencv),
    ("MNN", ["mnn"], mnn),
    ("tinygrad", ["tinygrad"], tinygrad),
    ("ONNX reference evaluator", ["onnx"], reference_evaluator),
    ("IREE", ["iree-base-compiler"], iree),
    ("TVM", ["apache-tvm"], tvm),
]


def version(packages):
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def questions(bundle, tokens, every=False):
    """The inputs of all graphs, by name, and what the reference makes of them: of a kit as it is, of a bundle now. What an input is
    in one graph alone stands under that graph's name."""
    known = GRAPHS | INSIDE if every else GRAPHS
    graphs = {graph: names for graph, names in known.items() if (bundle / f"{graph}.onnx").is_file()}
    if (bundle / "inputs").is_dir():
        feeds = {file.stem: np.load(file) for file in sorted((bundle / "inputs").iterdir())}
        return feeds, {graph: {name: np.load(bundle / f"expected/{graph}.{name}.npy") for name in names}
                       for graph, names in graphs.items()}
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
    if every:
        ends = np.array([0, size["layers"] - 1])
        feeds |= {"layer": ends, "dropped": ends, "head": np.array([0, size["heads"] - 1]), "query": lengths - 1,
                  "places": rng.integers(0, 2, (2, tokens)) * mask, "baseline_row": np.array([1, 1])}
    wanted = {}
    for graph, names in graphs.items():
        path = bundle / f"{graph}.onnx"
        run = session(path, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
        if graph == "forward_cached":
            feeds[graph] = behind_a_prefix(path, run, feeds)
        made = run(own(feeds, graph))
        wanted[graph] = dict(zip(names, made))
        feeds |= wanted[graph] if graph == "embed" else {}
    return feeds, wanted


def own(feeds, graph):
    """The inputs of a graph."""
    return feeds | feeds.get(graph, {})


def behind_a_prefix(path, run, feeds):
    """Rows that go on behind the first half of the first prompt, whose keys and values are computed here."""
    ids, half = feeds["input_ids"], feeds["input_ids"].shape[1] // 2
    shapes = {port.name: port.type.tensor_type.shape.dim for port in onnx.load(path, load_external_data=False).graph.input}
    none = {name: np.zeros([d.dim_value or (1 if d.dim_param == "batch" else 0) for d in shapes[name]], np.float32)
            for name in ("past_keys", "past_values")}
    first = {"input_ids": ids[:1, :half], "attention_mask": np.ones((1, half), np.int64), "position": np.array([half - 1])}
    _, keys, values = run(first | none)
    return {"input_ids": ids[:, half:], "position": feeds["position"] - half, "past_keys": keys, "past_values": values}


def write_kit(bundle, folder, feeds, wanted):
    for part in ("inputs", "expected"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for file in [f"{graph}.onnx" for graph in wanted] + ["weights.bin"]:
        shutil.copyfile(bundle / file, folder / file)
    for name, value in feeds.items():
        if not isinstance(value, dict):
            np.save(folder / f"inputs/{name}.npy", value)
    for graph, outputs in wanted.items():
        for name, value in outputs.items():
            np.save(folder / f"expected/{graph}.{name}.npy", value)


def deviation(found, wanted):
    worst = 0.0
    for value, reference in zip(found, wanted.values(), strict=True):
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
    return f"{type(error).__name__}: {' '.join(lines[:4])}"[:200]


def try_runtime(opens, bundle, feeds, wanted, budget):
    """What a runtime makes of each graph, and how long it takes for the gradient."""
    result = {"graphs": {}}
    for graph in wanted:
        try:
            of_graph = own(feeds, graph)
            run = opens(bundle / f"{graph}.onnx", of_graph)
            result["graphs"][graph] = deviation(run(of_graph), wanted[graph])
            if graph == "gradient":
                took, count = seconds(run, of_graph, budget)
                result |= {"milliseconds": 1e3 * took, "runs": count}
        except Exception as error:  # noqa: BLE001 whatever a runtime raises is its answer
            result["graphs"][graph] = first_line(error)
    return result


def in_node(folder, bundle, feeds, wanted, budget):
    """The same with the JavaScript packages that `npm` installed in a folder."""
    kit = Path(tempfile.mkdtemp(dir=SCRATCH.name))
    write_kit(bundle, kit, feeds, wanted)
    # Packages are looked for from the script's folder upwards.
    script = folder.resolve() / ".conformance.mjs"
    shutil.copyfile(Path(__file__).with_suffix(".mjs"), script)
    try:
        for package in ("onnxruntime-node", "onnxruntime-web"):
            if (folder / "node_modules" / package).is_dir():
                done = subprocess.run(["node", script, package, kit, str(budget)], capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(done.stderr[-500:])
                yield json.loads(done.stdout.splitlines()[-1])
    finally:
        script.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="a bundle, or a kit")
    parser.add_argument("--only", help="runtimes with this in their name")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--every", action="store_true", help="the graphs that look inside, too; not in kits, nor in Node.js")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a runtime is timed")
    parser.add_argument("--node", type=Path, help="a folder with node_modules")
    parser.add_argument("--write-kit", type=Path, help="make a kit of each bundle in this folder, and run nothing")
    arguments = parser.parse_args()
    results, wrong = [], False
    for bundle in arguments.bundles:
        feeds, wanted = questions(bundle, arguments.tokens, arguments.every and not arguments.write_kit)
        if arguments.write_kit:
            write_kit(bundle, arguments.write_kit / bundle.resolve().name, feeds, wanted)
            continue
        base = None
        found = ({"runtime": name, "version": version(packages),
                  **(try_runtime(opens, bundle, feeds, wanted, arguments.seconds) if version(packages) else {})}
                 for name, packages, opens in RUNTIMES
                 if not arguments.only or arguments.only.lower() in name.lower() or opens is onnx_runtime)
        in_kits = {graph: outputs for graph, outputs in wanted.items() if graph in GRAPHS}
        node = in_node(arguments.node, bundle, feeds, in_kits, arguments.seconds) if arguments.node else ()
        for result in [*found, *node]:
            if result["version"] is None:
                print(f"{result['runtime']}: not installed")
                continue
            results.append({"bundle": bundle.name} | result)
            print(f"{bundle.name}: {result['runtime']} {result['version']}", flush=True)
            for graph, answer in result["graphs"].items():
                answer = float("inf") if answer is None else answer
                bad = not isinstance(answer, str) and answer > LIMIT
                wrong |= bad
                print(f"  {graph:24} {answer if isinstance(answer, str) else f'{answer:.1e}'}{' WRONG' if bad else ''}")
            if took := result.get("milliseconds"):
                base = base or took
                result["over_onnx_runtime"] = results[-1]["over_onnx_runtime"] = took / base
                print(f"  {'gradient':24} {took:.2f} ms of processor time, {took / base:.2f} of ONNX Runtime's "
                      f"({result['runs']} runs)", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        SCRATCH = argparse.Namespace(name=folder)
        sys.exit(main())
