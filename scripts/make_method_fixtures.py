"""Makes tests/fixtures/methods/golden.json: what captum and SALib say of the model in tests/fixtures/llama-a.

Run once, with exactly these versions (the output is committed):

    pip install torch==2.15.0 transformers==5.23.0 captum==0.9.0 SALib==1.6.0 scikit-learn==1.9.1

    python scripts/make_method_fixtures.py

All in double precision, on one short prompt, so that what draws subsets of tokens can have all of them: captum's KernelSHAP
and LIME are run over every subset, its exact Shapley values over every permutation, and SALib's estimator of total indices
over every pair of subsets, where it is no estimate any more. The noise of SmoothGrad and its kin cannot be enumerated: there
stand the means of many samples, and tests compare within their error.
"""

import importlib.metadata
import itertools
import json
import math
import pathlib

import numpy
import torch
import transformers
from captum.attr import (
    FeatureAblation,
    IntegratedGradients,
    Lime,
    LimeBase,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValues,
)
from captum._utils.models.linear_model import SkLearnLinearRegression, SkLearnRidge
from SALib.analyze import sobol

PINNED = {
    "torch": "2.15.0",
    "transformers": "5.23.0",
    "captum": "0.9.0",
    "SALib": "1.6.0",
    "scikit-learn": "1.9.1",
}
VERSIONS = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
assert VERSIONS == PINNED, VERSIONS

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
PROMPT = [0, 78, 114, 12, 80, 43, 7, 66]
TARGET, BASELINE = 8, 1
RANKED = list(range(1, len(PROMPT) - 1))
NOISE, NOISE_SAMPLES = 0.1, 20_000
KERNEL_WIDTH, REGULARIZATION = 0.25, 1.0

torch.manual_seed(0)
torch.set_num_threads(1)
model = transformers.LlamaForCausalLM.from_pretrained(FIXTURES / "llama-a", dtype=torch.float64).eval()
model.requires_grad_(False)
ids = torch.tensor([PROMPT])


def score(ids):
    return model(input_ids=ids.round().long()).logits[:, -1, TARGET]


def score_of_embeddings(embeddings):
    return model(inputs_embeds=embeddings).logits[:, -1, TARGET]


def score_of_ranked(ranked):
    """The score where only the ranked tokens are an input."""
    whole = ids.repeat(len(ranked), 1)
    whole[:, RANKED] = ranked.round().long()
    return score(whole)


def listed(tensor):
    return [float(x) for x in tensor.detach().reshape(-1)]


subsets = [torch.tensor([bits]) for bits in itertools.product([0, 1], repeat=len(RANKED))]


def every_subset(_, **__):
    yield from subsets


def shapley_kernel(_, __, kept, **___):
    m, k = kept.numel(), int(kept.sum())
    if k in (0, m):
        return 1e9
    return (m - 1) / (math.comb(m, k) * k * (m - k))


def cosine_kernel(_, __, kept, **___):
    share = float(kept.sum()) / kept.numel()
    distance = 1 - math.sqrt(share)
    return math.exp(-(distance**2) / (2 * KERNEL_WIDTH**2))


def put_back(kept, original, **kwargs):
    return kept * original + (1 - kept) * BASELINE


ranked_ids = ids[:, RANKED]
found = {}
found["ablation"] = listed(FeatureAblation(score).attribute(ids, baselines=BASELINE))
for window in (2, 3):
    occlusion = Occlusion(score).attribute(ids, sliding_window_shapes=(window,), baselines=BASELINE)
    found[f"ablation_window_{window}"] = listed(occlusion)
found["shapley"] = listed(ShapleyValues(score_of_ranked).attribute(ranked_ids, baselines=BASELINE))
kernel_shap = LimeBase(
    score_of_ranked, SkLearnLinearRegression(), shapley_kernel, every_subset, True, put_back, None
)
found["kernel_shap"] = listed(kernel_shap.attribute(ranked_ids, n_samples=len(subsets)))
lime = Lime(score_of_ranked, SkLearnRidge(alpha=REGULARIZATION), cosine_kernel, every_subset)
found["lime"] = listed(lime.attribute(ranked_ids, baselines=BASELINE, n_samples=len(subsets)))

embeddings = model.get_input_embeddings()(ids).detach()
baseline = model.get_input_embeddings()(torch.tensor([[BASELINE]])).detach()
difference = embeddings - baseline
integrated = IntegratedGradients(score_of_embeddings).attribute(
    embeddings, baseline.expand_as(embeddings), n_steps=50, method="gausslegendre"
)
found["integrated_gradients"] = listed(integrated.sum(-1))
stdev = NOISE * float(embeddings.std(correction=0))
noisy = NoiseTunnel(Saliency(score_of_embeddings))
for name, kind, path in [
    ("smooth_grad", "smoothgrad", difference),
    ("square_grad", "smoothgrad_sq", difference**2),
    ("var_grad", "vargrad", difference**2),
]:
    gradients = noisy.attribute(
        embeddings, nt_type=kind, nt_samples=NOISE_SAMPLES, nt_samples_batch_size=500, stdevs=stdev, abs=False
    )
    found[name] = listed((path * gradients).sum(-1))

# Every pair of a subset A and a subset B, each with the rows between them: then the estimator is the definition.
values = {tuple(listed(kept)): float(score_of_ranked(put_back(kept, ranked_ids))) for kept in subsets}
rows = []
for a, b in itertools.product(values, repeat=2):
    mixed = [a[:i] + (b[i],) + a[i + 1 :] for i in range(len(a))]
    rows += [values[row] for row in [a, *mixed, b]]
problem = {"num_vars": len(RANKED), "names": [str(i) for i in RANKED], "bounds": [[0, 1]] * len(RANKED)}
indices = sobol.analyze(problem, numpy.array(rows), calc_second_order=False, num_resamples=2)
found["sobol"] = [float(x) for x in indices["ST"]]

output = {
    "versions": VERSIONS,
    "prompt": PROMPT,
    "target": TARGET,
    "baseline": BASELINE,
    "ranked": RANKED,
    "noise": NOISE,
    "noise_samples": NOISE_SAMPLES,
    "kernel_width": KERNEL_WIDTH,
    "regularization": REGULARIZATION,
    "attributions": found,
}
path = FIXTURES / "methods" / "golden.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps(output, indent=1) + "\n")
