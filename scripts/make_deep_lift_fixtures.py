"""Makes tests/fixtures/methods/deep_lift.json: what captum's DeepLift says of small models.

Run once, with exactly these versions (the output is committed):

    pip install torch==2.15.0 transformers==5.23.0 captum==0.9.0

    python scripts/make_deep_lift_fixtures.py

In double precision. captum has the rescale rule for activations that are modules of a few classes; what transformers makes its
activations of is added to them by name, with captum's own rule. What is no module at all, such as the soft-caps of Gemma 2, has
none in captum: there the rule is written out here as a function with its own backward pass, and used for all activations. On the
other models both must agree.
"""

import importlib.metadata
import json
import pathlib

import captum.attr._core.deep_lift as rules
import torch
from captum.attr import DeepLift
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

PINNED = {"torch": "2.15.0", "transformers": "5.23.0", "captum": "0.9.0"}
VERSIONS = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
assert VERSIONS == PINNED, VERSIONS

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
# Folder, a prompt, the baseline token, and whether captum sees all nonlinearities.
MODELS = {
    "llama-a": ("llama-a", [0, 78, 114, 12, 80, 43, 7, 66], 1, True),
    "gpt2-base": ("architectures/gpt2-base", [9, 78, 114, 12, 80, 43, 7], 1, True),
    "bert-quick": ("architectures/bert-quick", [9, 78, 114, 12, 80], 1, True),
    "gemma2-biases": ("architectures/gemma2-biases", [9, 78, 114, 12, 80, 43, 7], 1, False),
    # A prompt of baseline tokens but for one: differences of nothing.
    "llama-a, nearly the baseline": ("llama-a", [1, 1, 114, 1, 1, 1], 1, True),
}


def is_activation(module):
    return type(module).__module__ == "transformers.activations" or isinstance(module, (torch.nn.SiLU, torch.nn.GELU, torch.nn.Tanh))


class Score(torch.nn.Module):
    def __init__(self, model, target):
        super().__init__()
        self.model, self.target = model, target

    def forward(self, embeddings):
        logits = self.model(inputs_embeds=embeddings).logits
        return (logits if logits.ndim == 2 else logits[:, -1])[:, self.target]


class Rescale(torch.autograd.Function):
    """f of a prompt and its baseline, one above the other; what flows back is multiplied by rise over run."""

    @staticmethod
    def forward(ctx, x, f):
        with torch.enable_grad():
            inner = x.detach().requires_grad_(True)
            y = f(inner)
            (slope,) = torch.autograd.grad(y.sum(), inner)
        rise, run = y[:1] - y[1:], x[:1] - x[1:]
        safe = torch.where(run.abs() < 1e-10, torch.ones_like(run), run)
        ctx.save_for_backward(torch.where(run.abs() < 1e-10, slope, rise / safe))
        return y.detach()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None


def by_hand(score, embeddings, baseline):
    """The same without captum: activations, and every torch.tanh, go by rise over run."""
    tanh, undo = torch.tanh, []
    for module in score.modules():
        if is_activation(module):
            undo.append(module)
            module.forward = lambda x, f=type(module).forward, m=module: Rescale.apply(x, lambda x: outside(f, m, x))

    def outside(f, module, x):
        torch.tanh = tanh
        try:
            return f(module, x)
        finally:
            torch.tanh = capped

    def capped(x):
        return Rescale.apply(x, tanh)

    torch.tanh = capped
    try:
        both = torch.cat([embeddings, baseline]).requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(both)[0], both)
    finally:
        torch.tanh = tanh
        for module in undo:
            del module.forward
    return (gradient[:1] * (embeddings - baseline)).sum(-1)[0]


def relative(a, b):
    return float((a - b).norm() / b.norm())


torch.set_num_threads(1)
output = {"versions": VERSIONS, "examples": {}}
for name, (folder, prompt, baseline_token, seen) in MODELS.items():
    classifier = name.startswith("bert")
    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model = auto.from_pretrained(FIXTURES / folder, dtype=torch.float64, attn_implementation="eager").eval()
    model.requires_grad_(False)
    # Gemma multiplies what it looked up; given embeddings it takes them for what comes before that.
    table = model.get_input_embeddings().weight.detach()
    embeddings = table[torch.tensor([prompt])]
    baseline = table[baseline_token].expand_as(embeddings)
    scale = getattr(model.get_input_embeddings(), "embed_scale", torch.tensor(1.0)).to(torch.float64)
    logits = model(inputs_embeds=embeddings * scale).logits
    target = int((logits if logits.ndim == 2 else logits[:, -1]).argmax())
    score = Score(model, target)
    own = by_hand(score, embeddings * scale, baseline * scale)
    if seen:
        known = dict(rules.SUPPORTED_NON_LINEAR)
        for module in model.modules():
            if is_activation(module):
                rules.SUPPORTED_NON_LINEAR[type(module)] = rules.nonlinear
        attributions = DeepLift(score).attribute(embeddings * scale, baseline * scale).sum(-1)[0]
        rules.SUPPORTED_NON_LINEAR.clear()
        rules.SUPPORTED_NON_LINEAR.update(known)
        assert relative(own, attributions) < 1e-10, (name, relative(own, attributions))
    else:
        attributions = own
    plain = embeddings * scale
    plain = plain.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(plain)[0], plain)
    gradient = (gradient * (embeddings - baseline) * scale).sum(-1)[0]
    ends = score(torch.cat([embeddings, baseline]) * scale)
    change = float(ends[0] - ends[1])
    output["examples"][name] = {
        "folder": folder, "prompt": prompt, "baseline": baseline_token, "target": target, "by": "captum" if seen else "hand",
        "attributions": [float(x) for x in attributions], "change": change,
        "from_gradient": relative(gradient, attributions),
    }
    print(f"{name}: gap {abs(float(attributions.sum()) - change):.3f} of a change of {change:.3f}, of the gradient "
          f"{abs(float(gradient.sum()) - change):.3f}; the gradient is off by {relative(gradient, attributions):.2f}")
path = FIXTURES / "methods" / "deep_lift.json"
path.write_text(json.dumps(output, indent=1) + "\n")
