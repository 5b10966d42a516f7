"""Compares what `explain` says of an answer of several tokens with PyTorch, in double precision.

    pip install torch==2.15.0 transformers==5.23.0 numpy
    gim-harness explain FOLDER --prompt TEXT --max-new 6 --method gradient --method ablation \
        --method 'integrated_gradients{steps: 20}' --format json > explained.json
    python scripts/compare_answers_with_pytorch.py FOLDER explained.json

FOLDER is a decoder in Hugging Face's form (or the one that a bundle was baked from). Prints the score and the relative errors.
"""

import json
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

folder, file = sys.argv[1:]
with open(file) as opened:
    said = json.load(opened)
prompt, answer, baseline = said["input_ids"], said["target_ids"], said["baseline_id"]
explained = {one["method"].split("(")[0]: one["attributions"] for one in said["explanations"]}
model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64).eval()
table = model.get_input_embeddings()
inputs, following = table(torch.tensor(prompt)).detach(), table(torch.tensor(answer[:-1], dtype=torch.long)).detach()
removed = table(torch.tensor([baseline])).detach()


def log_probability(embeddings):
    logits = model(inputs_embeds=torch.cat([embeddings, following])[None]).logits[0]
    logs = torch.log_softmax(logits, -1)
    return sum(logs[len(prompt) - 1 + behind, token] for behind, token in enumerate(answer))


def gradient(at):
    at = at.clone().requires_grad_(True)
    return torch.autograd.grad(log_probability(at), at)[0]


def error(found, expected):
    return float((torch.tensor(found, dtype=torch.float64) - expected).norm() / expected.norm())


with torch.no_grad():
    full = log_probability(inputs)
    places = torch.arange(len(prompt))
    lost = [full - log_probability(torch.where((places == place)[:, None], removed, inputs)) for place in places]
print(f"score {said['score']:.7f}, PyTorch {float(full):.7f}")
print(f"gradient {error(explained['gradient'], (gradient(inputs) * (inputs - removed)).sum(-1)):.1e}")
print(f"ablation {error(explained['ablation'], torch.stack(lost)):.1e}")
points, weights = np.polynomial.legendre.leggauss(20)
mean = sum(weight / 2 * gradient(removed + (point + 1) / 2 * (inputs - removed)) for point, weight in zip(points, weights))
print(f"integrated_gradients {error(explained['integrated_gradients'], (mean * (inputs - removed)).sum(-1)):.1e}")
