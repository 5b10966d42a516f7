#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "safetensors==0.8.0"]
# ///
"""Compares the attributions of a run of gim-harness with PyTorch's, on a model folder of Hugging Face's.

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0
    python scripts/compare_with_pytorch.py FOLDER [--program gim-harness] [--bundle BUNDLE] [--single] [--steps 20]

The program runs two tasks on the prompts below: why the model's own answer (logit), and why this rather than the answer
it holds for the next likely (logit difference). The reference is transformers' eager model in double precision, with the
backward rules of make_architecture_fixtures.py, which are written from the papers and from nothing of this project's
Rust code. So a deviation is what single precision costs, or a mistake; `--single` shows what single precision costs
PyTorch itself. Ends with exit code 1 where a relative error, ||a - b|| / ||b|| over the tokens of a prompt, is above
the tolerance.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F
from make_architecture_fixtures import Modified
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

# temperature, norm freeze, product share, attention path, activation secant, and the share at gates where it is another
KNOBS = {
    "gradient": (1.0, 0.0, 1.0, 1.0, 0.0),
    "gim": (2.0, 1.0, 0.5, 1.0, 0.0),
    "tsg": (2.0, 0.0, 1.0, 1.0, 0.0),
    "norm_freeze": (1.0, 1.0, 1.0, 1.0, 0.0),
    "product_share": (1.0, 0.0, 0.5, 1.0, 0.0),
    "tsg+norm_freeze": (2.0, 1.0, 1.0, 1.0, 0.0),
    "tsg+product_share": (2.0, 0.0, 0.5, 1.0, 0.0),
    "norm_freeze+product_share": (1.0, 1.0, 0.5, 1.0, 0.0),
    "attn_lrp": (1.0, 1.0, 0.5, 1.0, 1.0),
    "transformer_lrp": (1.0, 1.0, 1.0, 0.0, 0.0),
    "relp": (1.0, 1.0, 1.0, 0.0, 1.0, 0.5),
}
CALCULUS = KNOBS["gradient"]
OTHERS = ["attention_rollout", "ablation", "integrated_gradients"]

TEXTS = {
    "two words": "The capital",
    "sentence": "The capital of France is",
    "review": "one of the funniest films of the year , and yet it never quite earns the tears it asks for at the end .\n"
              "Sentiment:",
    "unicode": "Der Zug nach Zürich fährt um 7:45 — und die naïve Café-Besitzerin 😀 sagt: 東京は",
    "paragraph": "The river rises in the hills above the town, where it is little more than a stream that children step "
                 "over in summer. By the time it has passed the mill it is wide enough for boats, and before the last "
                 "bridge it carries barges of grain and timber to the port. Every few years it leaves its bed. People "
                 "who live beside the lower road keep their furniture upstairs, and the oldest of them can show the "
                 "marks that the water has left on the walls of the church. When asked why they stay, they say that the",
}
CHAT = {
    "chat": [("user", "What is the capital of France? Answer with one word.")],
    "chat, 3 turns": [("system", "You are a film critic."), ("user", "Was it any good?"), ("assistant", "No."),
                      ("user", "a gorgeous , witty , seductive movie . Is this review positive or negative?")],
}
# Not compared of long prompts: double precision takes its time.
MANY_PASSES = ["ablation", "integrated_gradients"]


class Reference:
    """transformers' model, with a leaf in place of the embedding lookup's result."""

    def __init__(self, folder, dtype):
        self.classifier = "ForSequenceClassification" in (AutoConfig.from_pretrained(folder).architectures or [""])[0]
        auto = AutoModelForSequenceClassification if self.classifier else AutoModelForCausalLM
        self.model = auto.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval().requires_grad_(False)
        self.table = self.model.get_input_embeddings().weight

    def embeds(self, ids):
        return F.embedding(ids, self.table)

    def __call__(self, embeds, attentions=False):
        """Logits `[batch, outputs]` at the scored position, of embeddings `[batch, seq, hidden]`."""
        lookup = F.embedding
        ids = torch.zeros(embeds.shape[:2], dtype=torch.long)

        def embedding(indices, weight, *rest, **named):
            return embeds if weight is self.table else lookup(indices, weight, *rest, **named)

        last = {} if self.classifier else {"logits_to_keep": 1, "use_cache": False}
        F.embedding = embedding
        try:
            result = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), output_attentions=attentions, **last)
        finally:
            F.embedding = lookup
        return (result.logits if self.classifier else result.logits[:, -1]), result.attentions

    def gradients(self, embeds, directions):
        """One for every direction, `[directions, batch, seq, hidden]`, of one forward pass."""
        leaf = embeds.clone().requires_grad_(True)
        scores = (self(leaf)[0] @ directions.T.to(leaf.dtype)).sum(0)
        return torch.stack([torch.autograd.grad(score, leaf, retain_graph=True)[0] for score in scores])

    def attribute(self, method, ids, baseline, directions, steps):
        """Attributions `[directions, seq]`; a direction is a weight for every output."""
        embeds, empty = self.embeds(ids[None]), self.embeds(torch.full_like(ids, baseline)[None])
        with Modified(self.model, KNOBS.get(method, CALCULUS)):
            if method in KNOBS:
                return ((embeds - empty) * self.gradients(embeds, directions)).sum(-1)[:, 0]
            if method == "integrated_gradients":
                points, weights = gauss_legendre(steps)
                total = 0
                for point, weight in zip(points, weights):
                    total = total + weight * self.gradients(empty + point * (embeds - empty), directions)
                return ((embeds - empty) * total).sum(-1)[:, 0]
            with torch.no_grad():
                if method == "ablation":
                    removed = ids.repeat(len(ids), 1).fill_diagonal_(baseline)
                    scores = torch.cat([self(self.embeds(row))[0] for row in torch.cat([ids[None], removed]).split(8)])
                    scores = scores @ directions.T.to(scores.dtype)
                    return (scores[:1] - scores[1:]).T
                assert method == "attention_rollout"
                rollout = torch.eye(len(ids), dtype=embeds.dtype)
                for layer in self(embeds, attentions=True)[1]:
                    mixed = layer[0].mean(0) + torch.eye(len(ids), dtype=embeds.dtype)
                    rollout = (mixed / mixed.sum(-1, keepdim=True)) @ rollout
                return rollout[0 if self.classifier else -1].expand(len(directions), -1)


def gauss_legendre(points):
    """Nodes and weights on [0, 1], by the eigenvalues of the Legendre polynomials' Jacobi matrix."""
    k = torch.arange(1, points, dtype=torch.float64)
    off = k / (4 * k * k - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return ((nodes + 1) / 2).tolist(), (vectors[0] ** 2).tolist()


def relative(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def prompts(tokenizer):
    found = dict(TEXTS)
    if tokenizer.chat_template:
        for name, turns in CHAT.items():
            turns = [{"role": role, "content": content} for role, content in turns]
            found[name] = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return found


def baseline_token(tokenizer):
    space = tokenizer.encode(" ", add_special_tokens=False)
    return next(id for id in (*space[:1], tokenizer.pad_token_id, tokenizer.unk_token_id) if id is not None)


def write_plan(scratch, model, cases, methods, steps, scores):
    """harness.yaml with a task for each score, whose answers are what the reference model says."""
    options = sorted({case[key] for case in cases.values() for key in ("target", "contrast")})
    tasks = {}
    for score in scores:
        rows = [{"id": name, "text": case["text"], "answer": case["target"], "other": case["contrast"]}
                for name, case in cases.items()]
        (scratch / f"{score}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        tasks[score] = {"task": score, "data": {"file": f"{score}.jsonl", "id": "id"}, "prompt": "{text}",
                        "answer": "{answer}", "score": score, "rank": "all"}
        if score == "logit_difference":
            tasks[score] |= {"contrast": "{other}", "options": {text: text for text in options}}
        (scratch / f"{score}.yaml").write_text(json.dumps(tasks[score]), encoding="utf-8")
    plan = {
        "models": [{"name": "model", "path": str(model)}],
        "tasks": [f"{score}.yaml" for score in tasks],
        "methods": [{name: {"steps": steps}} if name == "integrated_gradients" else name for name in methods],
        "metrics": ["sufficiency"],
        "statistics": {"resamples": 100},
    }
    (scratch / "harness.yaml").write_text(json.dumps(plan), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Compares gim-harness with PyTorch on a Hugging Face folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, help="what the program runs; default: the folder, baked on the way")
    parser.add_argument("--program", default="gim-harness")
    parser.add_argument("--steps", type=int, default=20, help="of integrated gradients")
    parser.add_argument("--single", action="store_true", help="PyTorch in single precision too")
    parser.add_argument("--longest", type=int, default=64,
                        help="prompts of more tokens are not compared for methods of many passes")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--prompts", help="names of prompts, separated by commas; default: all")
    parser.add_argument("--methods", default=",".join([*KNOBS, *OTHERS]))
    parser.add_argument("--scores", default="logit,logit_difference")
    given = parser.parse_args()
    program = shutil.which(given.program) or sys.exit(f"{given.program}: no such program; see --program")
    methods, tasks = given.methods.split(","), given.scores.split(",")

    tokenizer = AutoTokenizer.from_pretrained(given.folder)
    double = Reference(given.folder, torch.float64)
    single = Reference(given.folder, torch.float32) if given.single else None
    names = double.model.config.id2label if double.classifier else None
    cases = {}
    for name, text in prompts(tokenizer).items():
        if given.prompts and name not in given.prompts.split(","):
            continue
        # A chat template writes its special tokens into the text; others are added where the tokenizer does.
        ids = torch.tensor(tokenizer(text).input_ids)
        with torch.no_grad(), Modified(double.model, CALCULUS):
            logits = double(double.embeds(ids[None]))[0][0]
        target, contrast = logits.topk(2).indices.tolist()
        words = [names[id] if names else tokenizer.decode([id]) for id in (target, contrast)]
        if not names and any(tokenizer.encode(word, add_special_tokens=False) != [id]
                             for word, id in zip(words, (target, contrast))):
            print(f"left out: '{name}', whose answer {words} cannot be written as text", file=sys.stderr)
            continue
        cases[name] = {"text": text, "ids": ids, "ids_of": (target, contrast), "target": words[0], "contrast": words[1],
                       "logits": logits}

    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        write_plan(scratch, (given.bundle or given.folder).resolve(), cases, methods, given.steps, tasks)
        subprocess.run([Path(program).resolve(), "run", "harness.yaml", "--all", "--out", "report"], cwd=scratch, check=True,
                       stdout=subprocess.DEVNULL)
        run = scratch / "report"
        lines = [json.loads(line) for line in (run / "attributions.jsonl").read_text(encoding="utf-8").splitlines()]
        with open(run / "examples.csv", encoding="utf-8", newline="") as file:
            scores = {(row["task"], row["example_id"]): row for row in csv.DictReader(file)}

    found = {(line["task"], line["example_id"], line["method"]): line for line in lines}
    worst, worst_single, missing = defaultdict(float), defaultdict(float), []
    baseline = baseline_token(tokenizer)
    for name, case in cases.items():
        ids, (target, contrast) = case["ids"], case["ids_of"]
        directions = torch.zeros(len(tasks), len(case["logits"]), dtype=torch.float64)
        directions[:, target] = 1
        directions[[task == "logit_difference" for task in tasks], contrast] = -1
        errors = defaultdict(float)
        for method in methods:
            lines = [found.get((task, name, method)) for task in tasks]
            missing += [f"{task}, {name}, {method}: {scores.get((task, name), {}).get('excluded')}"
                        for task, line in zip(tasks, lines) if line is None]
            if None in lines or method in MANY_PASSES and len(ids) > given.longest:
                continue
            expected = double.attribute(method, ids, baseline, directions, given.steps)
            other = single.attribute(method, ids, baseline, directions, given.steps) if single else expected
            for task, line, expected, other in zip(tasks, lines, expected, other):
                values = torch.tensor(line["attributions"], dtype=torch.float64)
                if len(values) != len(ids):
                    sys.exit(f"{name}: the program has {len(values)} tokens, transformers {len(ids)}")
                error = relative(values, expected)
                worst[method], errors[task] = max(worst[method], error), max(errors[task], error)
                worst_single[method] = max(worst_single[method], relative(other, expected))
        for task, direction in zip(tasks, directions):
            if (task, name) in scores:
                score = torch.tensor([float(scores[task, name]["score"])])
                error = relative(score, (case["logits"] @ direction)[None])
                worst["score"] = max(worst["score"], error)
                print(f"{task}, {name}: {len(ids)} tokens, score {score.item():.4f} (relative error {error:.1e}), "
                      f"attributions {errors[task]:.1e}", file=sys.stderr, flush=True)

    print(f"{given.folder.name}: largest relative error over {len(cases)} prompts of "
          f"{min(len(case['ids']) for case in cases.values())} to {max(len(case['ids']) for case in cases.values())} "
          f"tokens, {' and '.join(tasks)}, against PyTorch {torch.__version__} in double precision\n")
    print("| | gim-harness |" + (" PyTorch in single precision |" if single else ""))
    print("|---|---|" + ("---|" if single else ""))
    for method in ["score", *methods]:
        print(f"| {method} | {worst[method]:.1e} |" + (f" {worst_single[method]:.1e} |" if single else ""))
    for line in missing:
        print(f"not compared: {line}")
    return int(bool(missing) or any(error > given.tolerance for error in worst.values()))


if __name__ == "__main__":
    sys.exit(main())
