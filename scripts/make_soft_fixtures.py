"""Makes tests/fixtures/methods/soft.json: soft comprehensiveness and sufficiency of attributions of tests/fixtures/llama-a.

Run once, with exactly these versions (the output is committed):

    pip install torch==2.15.0 transformers==5.23.0

    python scripts/make_soft_fixtures.py

Soft-NC and Soft-NS (Zhao and Aletras, arXiv 2305.10496), written from the paper's formulas, in double precision: numbers of
embeddings stay by Bernoulli's draws, with the attributions scaled to [0, 1] as probabilities (what is to be comprehensive stays with
one minus them). With a share that stays, the probabilities are moved by one number and cut off, so that their mean is that share. What
is drawn cannot be drawn again elsewhere, so means over many draws stand here, with their standard deviations. The areas over the shares
(after arXiv 2601.03089) are by trapezoids over 0, 0.25, 0.5, 0.75 and 1, each draw deciding by the same random numbers at every share.
"""

import importlib.metadata
import json
import pathlib

import torch
import transformers

PINNED = {"torch": "2.15.0", "transformers": "5.23.0"}
VERSIONS = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
assert VERSIONS == PINNED, VERSIONS

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
golden = json.loads((FIXTURES / "methods" / "golden.json").read_text())
PROMPT, RANKED, SAMPLES, BATCH = golden["prompt"], golden["ranked"], 20_000, 500

torch.manual_seed(0)
torch.set_num_threads(1)
torch.set_grad_enabled(False)
model = transformers.LlamaForCausalLM.from_pretrained(FIXTURES / "llama-a", dtype=torch.float64).eval()
embeddings = model.get_input_embeddings()(torch.tensor(PROMPT))


def probabilities(embeddings):
    return model(inputs_embeds=embeddings).logits[:, -1].softmax(-1)


full = probabilities(embeddings[None])[0]
TARGET = int(full.argmax())
full = float(full[TARGET])


def fall(stays):
    """Of `[batch, ranked, hidden]` zeros and ones."""
    whole = embeddings.repeat(len(stays), 1, 1)
    whole[:, RANKED] *= stays
    return (full - probabilities(whole)[:, TARGET]).clamp(min=0)


def mean_of(shares, mean):
    low, high = -1.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if (shares + middle).clamp(0, 1).mean() > mean else (middle, high)
    return (shares + low).clamp(0, 1)


def drawn(shares):
    falls = torch.cat([
        fall(torch.bernoulli(shares[:, None].expand(BATCH, -1, embeddings.shape[-1]))) for _ in range(SAMPLES // BATCH)
    ])
    return float(falls.mean()), float(falls.std())


def falls(shares):
    """Over the fall without any, at no share, at 0.25, 0.5, 0.75 and at all: `[5, SAMPLES]`, the same draws at every share."""
    batches = []
    for _ in range(SAMPLES // BATCH):
        numbers = torch.rand(BATCH, len(RANKED), embeddings.shape[-1], dtype=torch.float64)
        of_shares = [fall((numbers < mean_of(shares, mean)[:, None]).double()) / nothing for mean in (0.25, 0.5, 0.75)]
        ends = torch.ones(BATCH, dtype=torch.float64)
        batches.append(torch.stack([ends, *of_shares, 0 * ends]))
    return torch.cat(batches, 1)


nothing = float(fall(torch.zeros(1, len(RANKED), 1, dtype=torch.float64)))
examples = []
for name in ("lime", "ablation"):
    values = golden["attributions"][name]
    values = torch.tensor(values if len(values) == len(RANKED) else [values[place] for place in RANKED], dtype=torch.float64)
    high = (values - values.min()) / (values.max() - values.min())
    comprehensive, sufficient = torch.trapezoid(falls(1 - high), dx=0.25, dim=0), falls(high)
    left = (1 - sufficient.mean(1)).clamp(min=0)
    examples.append({
        "attributions": values.tolist(), "shares": 3,
        "comprehensiveness": float(comprehensive.mean()), "comprehensiveness_stdev": float(comprehensive.std()),
        # At shares at which something is left, as if all draws erred to one side.
        "sufficiency": float(torch.trapezoid(left, dx=0.25)), "sufficiency_stdev": float(sufficient.std(1)[left > 0].sum() / 4),
    })
    print(name, "area", {key: round(value, 4) for key, value in examples[-1].items() if isinstance(value, float)})
    for kept in (None, 50, 20):
        shares = [high, 1 - high] if kept is None else [mean_of(high, kept / 100), mean_of(1 - high, kept / 100)]
        (sufficient, sufficient_stdev), (comprehensive, comprehensive_stdev) = map(drawn, shares)
        examples.append({
            "attributions": values.tolist(), "kept": kept,
            "comprehensiveness": comprehensive / nothing, "comprehensiveness_stdev": comprehensive_stdev / nothing,
            "sufficiency": max(0.0, (1 - sufficient) - (1 - nothing)) / nothing, "sufficiency_stdev": sufficient_stdev / nothing,
        })
        print(name, kept, {key: round(value, 4) for key, value in examples[-1].items() if isinstance(value, float)})
output = {"versions": VERSIONS, "target": TARGET, "samples": SAMPLES, "probability": full, "fall": nothing, "examples": examples}
(FIXTURES / "methods" / "soft.json").write_text(json.dumps(output, indent=1) + "\n")
