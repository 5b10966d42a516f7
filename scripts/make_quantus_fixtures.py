"""Makes tests/fixtures/methods/quantus.json: what Quantus says of attributions of the model in tests/fixtures/llama-a.

Run once, with exactly these versions (the output is committed):

    pip install torch==2.15.0 transformers==5.23.0 quantus==0.6.0

    python scripts/make_quantus_fixtures.py

In double precision, on the prompt of tests/fixtures/methods/golden.json and attributions from there, one of them also with its
signs mixed. Quantus is given the ranked tokens as features that are there (1) or not (0: the baseline token stands in its place).
Its faithfulness correlation draws subsets; here it is handed every subset of a size once, so that there is nothing random left.
Its monotonicity is whether the score ever falls while features are given back, beginning with the first that is. By itself it puts
the baseline in the baseline's place, so that all scores are one; it is handed a function that gives back what was there. The scores
that it asked for are written down, with that of no token before them.
"""

import importlib.metadata
import itertools
import json
import pathlib

import numpy
import quantus
import torch
import transformers

PINNED = {"torch": "2.15.0", "transformers": "5.23.0", "quantus": "0.6.0"}
VERSIONS = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
assert VERSIONS == PINNED, VERSIONS

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
golden = json.loads((FIXTURES / "methods" / "golden.json").read_text())
RANKED, TARGET, BASELINE = golden["ranked"], golden["target"], golden["baseline"]
SIZES = (2, 3)


class Kept(torch.nn.Module):
    """`[batch, 1, ranked]` of zeros and ones to logits."""

    def __init__(self):
        super().__init__()
        self.model = transformers.LlamaForCausalLM.from_pretrained(FIXTURES / "llama-a", dtype=torch.float64).eval()
        self.asked = []

    def forward(self, kept):
        kept = kept[:, 0]
        ids = torch.tensor([golden["prompt"]]).repeat(len(kept), 1)
        ids[:, RANKED] = torch.where(kept > 0.5, ids[:, RANKED], BASELINE)
        logits = self.model(input_ids=ids).logits[:, -1]
        self.asked += logits[:, TARGET].tolist()
        return logits


def give_back(arr, indices, perturb_baseline):
    arr = arr.copy()
    numpy.put_along_axis(arr, indices, 1.0, axis=1)
    return arr


def judged(metric, attributions):
    model.asked.clear()
    (found,) = metric(
        model=model,
        x_batch=numpy.ones((1, 1, len(RANKED))),
        y_batch=numpy.array([TARGET]),
        a_batch=numpy.array([[attributions]]),
        device="cpu",
    )
    return found


torch.set_num_threads(1)
torch.set_grad_enabled(False)
model = Kept().eval()
common = dict(abs=False, normalise=False, perturb_baseline=0.0, return_aggregate=False, disable_warnings=True)
known = golden["attributions"]
attributions = {name: [known[name][place] for place in RANKED] for name in ("ablation", "integrated_gradients")}
attributions["lime"] = known["lime"]
attributions["mixed"] = [value * (-1) ** i for i, value in enumerate(known["lime"])]
output = {"versions": VERSIONS, "examples": {}}
for name, values in attributions.items():
    correlations = {}
    for size in SIZES:
        subsets = list(itertools.combinations(range(len(RANKED)), size))
        drawn, choice = iter(subsets), numpy.random.choice
        numpy.random.choice = lambda *_, **__: numpy.array(next(drawn))
        try:
            metric = quantus.FaithfulnessCorrelation(nr_runs=len(subsets), subset_size=size, **common)
            correlations[size] = float(judged(metric, values))
        finally:
            numpy.random.choice = choice
        assert next(drawn, None) is None
    monotone = bool(judged(quantus.Monotonicity(features_in_step=1, perturb_func=give_back, **common), values))
    given_back = list(model.asked)
    assert len(given_back) == len(RANKED)
    model(torch.zeros(1, 1, len(RANKED)))
    output["examples"][name] = {
        "attributions": values, "correlations": correlations, "monotone": monotone,
        "scores": [model.asked[-1], *given_back],
    }
    print(name, correlations, monotone)
path = FIXTURES / "methods" / "quantus.json"
path.write_text(json.dumps(output, indent=1) + "\n")
