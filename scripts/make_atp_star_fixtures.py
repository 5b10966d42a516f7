"""Makes tests/fixtures/inside/atp_star.json: what AtP* (arXiv 2403.00745) says of tokens of small models in PyTorch.

Run once, with exactly these versions (the output is committed):

    pip install torch==2.15.0 transformers==5.23.0

    python scripts/make_atp_star_fixtures.py

In double precision, by transformers' own eager models. GradDrop: one layer at a time gives what enters it plus what it makes of
that, the latter as a constant. The backward rules of GIM are those of make_architecture_fixtures.py.
"""

import importlib.metadata
import json
import pathlib

import torch
from make_architecture_fixtures import Modified
from transformers import AutoModelForCausalLM

PINNED = {"torch": "2.15.0", "transformers": "5.23.0"}
VERSIONS = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
assert VERSIONS == PINNED, VERSIONS

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
PROMPT = [0, 78, 114, 12, 80, 43, 7, 66]
TARGET, BASELINE = 8, 1
FOLDERS = ["llama-a", "gpt2-a", "gemma2-a", "qwen3-a", "gpt_neox-a", "gpt_neox-serial"]
# temperature, norm freeze, product share, attention path, activation secant
SETTINGS = {"gradient": (1.0, 0.0, 1.0, 1.0, 0.0), "gim": (2.0, 1.0, 0.5, 1.0, 0.0)}

torch.set_num_threads(1)


def layers_of(model):
    for path in ["model.layers", "transformer.h", "gpt_neox.layers"]:
        found = model
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return list(found)
    raise AssertionError(type(model))


def gradient(model, embeddings, knobs, dropped=None):
    """With respect to the embeddings; the score too."""
    handles = []
    if dropped is not None:
        def around(_, args, kwargs, output):
            entered = args[0] if args else kwargs["hidden_states"]
            left = output[0] if isinstance(output, tuple) else output
            changed = entered + (left - entered).detach()
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        handles.append(layers_of(model)[dropped].register_forward_hook(around, with_kwargs=True))
    embeddings = embeddings.clone().requires_grad_(True)
    with Modified(model, knobs):
        score = model(inputs_embeds=embeddings, use_cache=False).logits[0, -1, TARGET]
        (found,) = torch.autograd.grad(score, embeddings)
    for handle in handles:
        handle.remove()
    return float(score.detach()), found[0]


output = {"versions": VERSIONS, "prompt": PROMPT, "target": TARGET, "baseline": BASELINE, "models": {}}
for name in FOLDERS:
    folder = FIXTURES / name if (FIXTURES / name).exists() else FIXTURES / "architectures" / name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    model.requires_grad_(False)
    # Gemma multiplies what it looked up; given embeddings it takes them for what comes behind that.
    table = model.get_input_embeddings().weight.detach()
    scale = getattr(model.get_input_embeddings(), "embed_scale", torch.tensor(1.0)).to(torch.float64)
    embeddings = table[torch.tensor([PROMPT])] * scale
    difference = (table[BASELINE] * scale - embeddings)[0]
    attributions, from_gradient = {}, {}
    for setting, knobs in SETTINGS.items():
        score, whole = gradient(model, embeddings, knobs)
        sizes = []
        for layer in range(len(layers_of(model))):
            own, found = gradient(model, embeddings, knobs, layer)
            assert abs(own - score) < 1e-9 * max(1.0, abs(score)), (name, own, score)
            sizes.append((difference * found).sum(-1).abs())
        mean = torch.stack(sizes).mean(0)
        attributions[setting] = [float(x) for x in mean]
        plain = (difference * whole).sum(-1).abs()
        from_gradient[setting] = float((plain - mean).norm() / mean.norm())
        print(f"{name}, {setting}: the gradient alone is off by {from_gradient[setting]:.2f}")
    output["models"][name] = {"folder": str(folder.relative_to(FIXTURES)), "attributions": attributions,
                              "from_gradient": from_gradient}
path = FIXTURES / "inside" / "atp_star.json"
path.write_text(json.dumps(output, indent=1) + "\n")
