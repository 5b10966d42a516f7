#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "safetensors==0.8.0", "matplotlib==3.11.0"]
# ///
"""What gim-harness takes beside PyTorch: the same weights, the same rows, by turns in one run.

    cargo build --release && cargo bench --bench speed --no-run
    python scripts/benchmark_against_pytorch.py FOLDER [--sizes small,middle,large] [--checkpoint DIR --task FILE] [--plots DIR]

Sets up an environment of its own in FOLDER (a virtual environment with the packages named above, from the package index) and goes on
in it. Random Llama checkpoints of three sizes are made there, or a checkpoint is given; each is baked, and then asked:

- one forward pass and one GIM gradient, by PyTorch's eager model with the same backward rules (make_architecture_fixtures.py) and by
  the bundle, by turns, with the ratio of each pair; medians, and the range of the middle half. A turn is some calls behind a pause, in
  which the threads of the other side stop spinning;
- the paper's protocol, five methods, 20 examples: the program's time, against what PyTorch takes for as many rows one by one, by
  turns with it (rows are counted by the program, as asked for, before anything is shared or remembered);
- the share of this machine's best matrix product that a gradient reaches, the most resident memory after one, weights not copied, and
  the time from the start of a process to its first score;
- with `--scaling`: seconds by tokens, rows together, layers and threads, and the exponents of straight lines in logarithms.

Prints Markdown. Quiet machine, please: other programs that compute are in the numbers.
"""

import argparse
import csv
import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["torch==2.15.0", "transformers==5.23.0", "safetensors==0.8.0", "matplotlib==3.11.0"]
# width, layers, tokens
SIZES = {"small": (64, 5, 64), "middle": (384, 6, 128), "large": (1024, 12, 256)}
WORDS = 2048
METHODS = ["gim", "gradient", {"integrated_gradients": {"steps": 20}}, "attention_rollout", "ablation"]


def in_own_environment(folder):
    """Starts this script again with the interpreter of its environment, which is made first where there is none."""
    home = folder / "environment"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if Path(sys.prefix).resolve() == home.resolve():
        return
    if not python.exists():
        venv.create(home, with_pip=True)
    marker = home / "packages.json"
    if not marker.exists() or json.loads(marker.read_text()) != PACKAGES:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        marker.write_text(json.dumps(PACKAGES))
    sys.exit(subprocess.run([python, *sys.argv]).returncode)


def make_checkpoint(folder, width, layers, tokens):
    """A random Llama whose vocabulary is words, so that a prompt has exactly as many tokens as are wanted."""
    if (folder / "model.safetensors").exists():
        return
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=WORDS, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
                         num_attention_heads=max(width // 64, 4), num_key_value_heads=max(width // 64, 4),
                         max_position_embeddings=max(1024, 2 * tokens), tie_word_embeddings=False, bos_token_id=None,
                         eos_token_id=None, pad_token_id=0, initializer_range=width ** -0.5)
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer = Tokenizer(models.WordLevel({f"w{number}": number for number in range(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


class Bundle:
    """The benchmark `speed`, which runs requests."""

    def __init__(self, bench, bundle, *options):
        self.process = subprocess.Popen([bench, bundle, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.started = self.read()

    def read(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit("the benchmark `speed` ended; what it says stands above")

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def middle_half(values):
    if len(values) < 4:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


def with_range(values, unit="", digits=3):
    low, high = middle_half(values)
    show = lambda value: f"{value:.{digits}g}"
    return f"{show(statistics.median(values))}{unit} ({show(low)} to {show(high)})"


def best_product(torch):
    """GFLOP/s of this machine's best square matrix product in single precision."""
    best = 0.0
    for size in (512, 1024, 2048):
        a, b = torch.randn(size, size), torch.randn(size, size)
        torch.mm(a, b)
        for _ in range(5):
            start = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2 * size ** 3 / (time.perf_counter() - start) / 1e9)
    return best


def operations(config, tokens):
    """Floating-point operations of the products of one forward pass. In the last layer all but keys and values, and the head behind it,
    are of the last position alone."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    size = getattr(config, "head_dim", None) or width // config.num_attention_heads
    queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
    at_one = width * (2 * queries + 3 * inner) + 2 * tokens * queries
    keys_and_values = 2 * width * keys
    return 2 * (tokens * layers * keys_and_values + (tokens * (layers - 1) + 1) * at_one + width * config.vocab_size)


class Eager:
    """PyTorch's model, one row at a time."""

    def __init__(self, folder, torch):
        from compare_with_pytorch import CALCULUS, KNOBS, Reference
        from make_architecture_fixtures import Modified

        self.torch, self.reference = torch, Reference(folder, torch.float32)
        self.modified = lambda name: Modified(self.reference.model, KNOBS.get(name, CALCULUS))

    def forward(self, ids):
        start = time.perf_counter()
        with self.torch.no_grad():
            ids = self.torch.tensor([ids])
            logits = self.reference.model(input_ids=ids, logits_to_keep=1, use_cache=False).logits[0, -1]
        return time.perf_counter() - start, logits

    def gradient(self, ids, target):
        with self.modified("gim"):
            start = time.perf_counter()
            leaf = self.reference.embeds(self.torch.tensor([ids])).requires_grad_(True)
            score = self.reference(leaf)[0][0, target]
            found = self.torch.autograd.grad(score, leaf)[0]
            return time.perf_counter() - start, found.norm().item()


# Seconds after which the threads of whoever ran before have stopped waiting for more to do.
PAUSE = 0.3
# Calls of a turn; the first, after the pause, is not counted.
CALLS = 6


def turn(call):
    """The median of some calls in a row, behind a pause."""
    time.sleep(PAUSE)
    return statistics.median([call() for _ in range(CALLS)][1:])


def single_calls(eager, bundle, ids, target, rounds):
    """Seconds of each, by turns."""
    # The same rows of the same weights by the same rules, or the seconds say nothing.
    said = bundle.ask(do="forward", ids=[ids])["largest"][0], bundle.ask(do="gradient", ids=[ids], target=target)["norms"][0]
    for own, other in zip(said, (eager.forward(ids)[1].max().item(), eager.gradient(ids, target)[1])):
        if abs(own - other) > 1e-3 * abs(other):
            sys.exit(f"the bundle says {own}, PyTorch {other}")
    calls = {
        "eager forward": lambda: eager.forward(ids)[0],
        "forward": lambda: bundle.ask(do="forward", ids=[ids])["seconds"],
        "eager gradient": lambda: eager.gradient(ids, target)[0],
        "gradient": lambda: bundle.ask(do="gradient", ids=[ids], target=target)["seconds"],
    }
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(turn(call))
    return seconds


def first_prompt(program, bundle, task):
    """The token ids of a task's first example."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        plan = {"models": [{"name": "model", "path": str(bundle)}], "tasks": [str(task)], "methods": ["random"],
                "metrics": ["sufficiency"], "limit": 1}
        (scratch / "harness.yaml").write_text(json.dumps(plan))
        subprocess.run([program, "run", "harness.yaml", "--out", "run"], cwd=scratch, stdout=subprocess.DEVNULL)
        with sqlite3.connect(scratch / "run" / "run.sqlite") as store:
            return json.loads(store.execute("SELECT ids FROM prompt").fetchone()[0])


def write_plan(scratch, bundle, prompts, answers, task, examples):
    if task is None:
        rows = [{"id": str(n), "text": text, "answer": answer} for n, (text, answer) in enumerate(zip(prompts, answers))]
        (scratch / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (scratch / "task.yaml").write_text(json.dumps({
            "task": "random", "data": {"file": "rows.jsonl", "id": "id"}, "prompt": "{text}", "answer": " {answer}",
            "score": "logit", "rank": "all"}))
        task = scratch / "task.yaml"
    (scratch / "harness.yaml").write_text(json.dumps({
        "models": [{"name": "model", "path": str(bundle)}], "tasks": [str(task)], "methods": METHODS, "sample": examples,
        "metrics": ["comprehensiveness", "sufficiency"], "statistics": {"resamples": 1000}}))


def protocol(program, eager, bundle_folder, ids, target, task, examples, rounds, random_ids):
    """Seconds of the program for the paper's protocol, and of PyTorch for as many rows, by turns."""
    prompts, answers = [], []
    for row in random_ids if task is None else []:
        prompts.append(" ".join(f"w{id}" for id in row))
        answers.append(f"w{int(eager.forward(row)[1].argmax())}")
    ratios, lines = [], []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        write_plan(scratch, bundle_folder, prompts, answers, task, examples)
        for number in range(rounds):
            start = time.perf_counter()
            done = subprocess.run([program, "run", "harness.yaml", "--out", f"run{number}"], cwd=scratch, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"the program ended with {done.returncode}: {done.stderr}")
            whole = time.perf_counter() - start
            with open(scratch / f"run{number}" / "timings.csv", newline="") as file:
                timings = list(csv.DictReader(file))
            asked = {kind: sum(int(row[f"{kind}_rows_asked"]) for row in timings) for kind in ("forward", "gradient")}
            model = sum(float(row["attribution_seconds"]) + float(row["evaluation_seconds"]) for row in timings)
            probe = random_ids[:3] or [ids]
            forward = statistics.median(turn(lambda row=row: eager.forward(row)[0]) for row in probe)
            gradient = statistics.median(turn(lambda row=row: eager.gradient(row, target)[0]) for row in probe)
            by_rows = asked["forward"] * forward + asked["gradient"] * gradient
            ratios.append(by_rows / whole)
            lines.append((whole, model, by_rows, asked))
    return ratios, lines


def exponent(xs, ys):
    """The slope of the line through logarithms."""
    xs, ys = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mx, my = statistics.mean(xs), statistics.mean(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def scaling(given, bench, program, plots):
    """Seconds of a GIM gradient and of a forward pass by what they hang on, at the middle size but for one."""
    width, layers, tokens = SIZES["middle"]
    import random

    draw = random.Random(1)
    words = lambda count: [draw.randrange(1, WORDS) for _ in range(count)]

    def bundle_of(layers):
        name = f"scaling-{layers}"
        make_checkpoint(given.folder / name, width, layers, 1024)
        return baked(program, given.folder / name)

    def seconds(bundle, request):
        # The first is not counted; the best of the others, since what else runs only ever adds.
        return min([bundle.ask(**request)["seconds"] for _ in range(6)][1:])

    curves = {}
    bundle = Bundle(bench, bundle_of(layers))
    for kind in ("forward", "gradient"):
        more = {"target": 1} if kind == "gradient" else {}
        lengths = [16, 32, 64, 128, 256, 512]
        curves["tokens", kind] = lengths, [seconds(bundle, dict(do=kind, ids=[words(n)], **more)) for n in lengths]
        batches = [1, 2, 4, 8, 16, 32]
        curves["rows together", kind] = batches, [
            seconds(bundle, dict(do=kind, ids=[words(tokens) for _ in range(n)], **more)) for n in batches]
    bundle.close()
    for kind in ("forward", "gradient"):
        more = {"target": 1} if kind == "gradient" else {}
        depths = [1, 2, 4, 8, 16]
        curves["layers", kind] = depths, []
        for depth in depths:
            bundle = Bundle(bench, bundle_of(depth))
            curves["layers", kind][1].append(seconds(bundle, dict(do=kind, ids=[words(tokens)], **more)))
            bundle.close()
        threads = list(range(1, (os.cpu_count() or 1) + 1))
        curves["threads", kind] = threads, []
        for count in threads:
            bundle = Bundle(bench, bundle_of(layers), "--threads", str(count))
            curves["threads", kind][1].append(seconds(bundle, dict(do=kind, ids=[words(tokens)], **more)))
            bundle.close()
    print(f"\n### What it hangs on\n\n{width} wide, {layers} layers, {tokens} tokens, one row, all threads, but for what is varied; "
          "milliseconds, the best of five.\n")
    print("| varied | | " + "| exponent |\n|---|---|---|---|")
    for (what, kind), (xs, ys) in curves.items():
        shown = ", ".join(f"{x}: {1000 * y:.3g}" for x, y in zip(xs, ys))
        print(f"| {what} | {kind} | {shown} | {exponent(xs, ys) if len(xs) > 1 else float('nan'):.2f} |")
    if plots:
        draw_curves(curves, plots / "speed-scaling.svg")


def draw_curves(curves, path):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    matplotlib.rcParams["svg.hashsalt"] = "gim-harness"
    axes_of = dict.fromkeys(what for what, _ in curves)
    figure, axes = plt.subplots(1, len(axes_of), figsize=(3.2 * len(axes_of), 3), constrained_layout=True)
    for axis, what in zip(axes, axes_of):
        for kind, marker in (("forward", "o"), ("gradient", "s")):
            xs, ys = curves[what, kind]
            axis.loglog(xs, [1000 * y for y in ys], marker=marker, label=f"{kind} ({exponent(xs, ys):.2f})")
        axis.set_xlabel(what)
        axis.set_xticks(xs, [str(x) for x in xs])
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set_ylabel("milliseconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def baked(program, folder):
    bundle = folder.with_name(folder.name + "-bundle")
    if not bundle.exists():
        subprocess.run([program, "bake", folder, "--out", bundle, "--no-verify"], check=True, stdout=subprocess.DEVNULL)
    return bundle


def newest_bench():
    found = [path for path in (ROOT / "target/release/deps").glob("speed-*") if path.suffix in ("", ".exe")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None) or sys.exit(
        "there is no benchmark `speed`: cargo bench --bench speed --no-run")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/gim-harness")
    parser.add_argument("--sizes", default="small,middle,large")
    parser.add_argument("--checkpoint", type=Path, help="a Hugging Face folder, instead of random ones")
    parser.add_argument("--task", type=Path, help="a task file for it; its first prompt is what single calls run")
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15, help="of single calls")
    parser.add_argument("--runs", type=int, default=3, help="of the protocol; 0: none")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--plots", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    in_own_environment(given.folder.resolve())

    import random

    import torch

    sys.path.insert(0, str(ROOT / "scripts"))
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    bench, peak = newest_bench(), best_product(torch)
    print(f"{threads} threads, PyTorch {torch.__version__}, best matrix product {peak:.0f} GFLOP/s\n")
    print("| | forward pass | GIM gradient | PyTorch: forward, gradient | PyTorch / bundle, gradient | gradient / forward | share of the best product "
          "| protocol: program | PyTorch, row by row | ratio | resident, mapped | of that weights | start to first score |")
    print("|---" * 13 + "|", flush=True)
    sizes = [None] if given.checkpoint else [name for name in given.sizes.split(",") if name]
    for name in sizes:
        draw = random.Random(0)
        if name is None:
            folder, task = given.checkpoint, given.task.resolve() if given.task else None
            bundle_folder, random_ids = given.folder.resolve() / f"{folder.name}-bundle", []
            if not bundle_folder.exists():
                subprocess.run([given.program, "bake", folder, "--out", bundle_folder, "--no-verify"], check=True,
                               stdout=subprocess.DEVNULL)
            ids = first_prompt(given.program, bundle_folder, task)
            label = f"{folder.name}, {len(ids)} tokens"
        else:
            width, layers, tokens = SIZES[name]
            folder, task = given.folder.resolve() / f"llama-{width}-{layers}", None
            make_checkpoint(folder, width, layers, tokens)
            bundle_folder = baked(given.program, folder)
            random_ids = [[draw.randrange(1, WORDS) for _ in range(tokens)] for _ in range(given.examples)]
            ids, label = random_ids[0], f"{width} wide, {layers} layers, {tokens} tokens"
        eager, bundle = Eager(folder, torch), Bundle(bench, bundle_folder)
        target = int(eager.forward(ids)[1].argmax())
        seconds = single_calls(eager, bundle, ids, target, given.rounds)
        bundle.close()
        pairs = lambda a, b: [x / y for x, y in zip(seconds[a], seconds[b])]
        work = operations(eager.reference.model.config, len(ids))
        # A forward pass and as much back through its products: to activations, and not to weights.
        share = [2 * work / second / 1e9 / peak for second in seconds["gradient"]]
        mapped = Bundle(bench, bundle_folder, "--mapped")
        mapped.ask(do="gradient", ids=[ids], target=target)
        resident, weights = mapped.ask(do="memory")["bytes"], (bundle_folder / "weights.bin").stat().st_size
        mapped.close()
        start = time.perf_counter()
        again = Bundle(bench, bundle_folder)
        again.ask(do="forward", ids=[ids])
        startup = time.perf_counter() - start
        again.close()
        cells = [label, with_range([1000 * s for s in seconds["forward"]], " ms"), with_range([1000 * s for s in seconds["gradient"]], " ms"),
                 ", ".join(f"{1000 * statistics.median(seconds[name]):.3g} ms" for name in ("eager forward", "eager gradient")),
                 with_range(pairs("eager gradient", "gradient")), with_range(pairs("gradient", "forward")),
                 f"{100 * statistics.median(share):.0f} %"]
        if given.runs:
            ratios, lines = protocol(given.program, eager, bundle_folder, ids, target, task, given.examples, given.runs, random_ids)
            whole, model, by_rows, asked = sorted(lines, key=lambda line: line[0])[len(lines) // 2]
            cells += [f"{whole:.1f} s ({model:.1f} s in the model, over all workers)",
                      f"{by_rows:.0f} s ({asked['forward']} rows, {asked['gradient']} gradients)", with_range(ratios)]
        else:
            cells += ["", "", ""]
        cells += [f"{resident / 2 ** 20:.0f} MiB", f"{weights / 2 ** 20:.0f} MiB", f"{startup:.2f} s"]
        print("| " + " | ".join(cells) + " |", flush=True)
    if given.scaling:
        scaling(given, bench, given.program, given.plots)


if __name__ == "__main__":
    main()
