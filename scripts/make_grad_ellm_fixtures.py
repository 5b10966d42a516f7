"""Makes tests/fixtures/inside/grad_ellm.json: what Grad-ELLM (arXiv 2601.03089) says of small models in PyTorch.

Run once, with exactly these versions (the output is committed):

    pip install torch==2.15.0 transformers==5.23.0

    python scripts/make_grad_ellm_fixtures.py

In double precision, by transformers' own eager models and hooks on their projections. Queries, keys and values are what the
linear layers give, before norms and rotation. `published`: flat vectors, those of fewer key heads repeated as wholes, and the
gradient of what the output projection gives. `aligned`: head by head, with the keys and values that the head uses, and the
gradient of what the output projection takes. The backward rules of GIM are those of make_architecture_fixtures.py.
"""

import importlib.metadata
import json
import pathlib

import torch
import torch.nn.functional as F
from make_architecture_fixtures import Modified
from transformers import AutoModelForCausalLM

PINNED = {"torch": "2.15.0", "transformers": "5.23.0"}
VERSIONS = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
assert VERSIONS == PINNED, VERSIONS

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
PROMPT = [0, 78, 114, 12, 80, 43, 7, 66]
TARGET = 8
# Three tokens behind it are seen by nothing that is explained.
POSITIONS = [len(PROMPT) - 1, 4]
FOLDERS = ["llama-a", "gpt2-a", "qwen3-a", "gemma2-a", "gpt_neox-a", "phi3-partial"]
# temperature, norm freeze, product share, attention path, activation secant
CALCULUS = (1.0, 0.0, 1.0, 1.0, 0.0)
GIM = (2.0, 1.0, 0.5, 1.0, 0.0)

torch.set_num_threads(1)


def attentions(model):
    """Of each layer the modules that project, and how the first ones' outputs are queries, keys and values."""
    config = model.config
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    if hasattr(model, "transformer"):
        blocks = [layer.attn for layer in model.transformer.h]
        found = [([a.c_attn], a.c_proj, lambda x: x.split(heads * size, -1)) for a in blocks]
    elif hasattr(model, "gpt_neox"):
        def by_head(x):
            return [part.flatten(-2) for part in x.unflatten(-1, (heads, 3 * size)).chunk(3, -1)]

        found = [([layer.attention.query_key_value], layer.attention.dense, by_head) for layer in model.gpt_neox.layers]
    else:
        blocks = [layer.self_attn for layer in model.model.layers]
        if hasattr(blocks[0], "qkv_proj"):
            sizes = [heads * size, key_heads * size, key_heads * size]
            found = [([a.qkv_proj], a.o_proj, lambda x: x.split(sizes, -1)) for a in blocks]
        else:
            found = [([a.q_proj, a.k_proj, a.v_proj], a.o_proj, None) for a in blocks]
    return found, heads, key_heads, size


def looked_into(model, position, knobs):
    """Of each layer queries at `position`, keys and values of all tokens, and gradients at `position` of heads and output."""
    found, heads, key_heads, size = attentions(model)
    kept = [{} for _ in found]
    handles = []
    for keep, (first, last, split) in zip(kept, found):
        for number, module in enumerate(first):
            def projected(_, args, output, keep=keep, number=number):
                keep[number] = output

            handles.append(module.register_forward_hook(projected))

        def left(_, args, output, keep=keep):
            keep["heads"], keep["output"] = args[0], output

        handles.append(last.register_forward_hook(left))
    ids = torch.tensor([PROMPT])
    with Modified(model, knobs):
        # A lookup that may be multiplied by something: what is looked up has the gradient.
        handles.append(model.get_input_embeddings().register_forward_hook(lambda _, args, output: output.requires_grad_(True)))
        score = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, position, TARGET]
        gradients = torch.autograd.grad(score, [k["heads"] for k in kept] + [k["output"] for k in kept])
    for handle in handles:
        handle.remove()
    layers = []
    for number, (keep, (_, _, split)) in enumerate(zip(kept, found)):
        q, k, v = split(keep[0]) if split else (keep[0], keep[1], keep[2])
        layers.append({
            "q": q[0, position].detach(), "k": k[0, : position + 1].detach(), "v": v[0, : position + 1].detach(),
            "heads": gradients[number][0, position], "output": gradients[len(kept) + number][0, position],
        })
    return layers, heads, key_heads, size


def explained(model, position, form, weights, last, knobs):
    layers, heads, key_heads, size = looked_into(model, position, knobs)
    total = torch.zeros(len(PROMPT), dtype=torch.float64)
    for layer in layers if last == "all" else layers[-last:]:
        q, k, v = layer["q"], layer["k"], layer["v"]
        if form == "published":
            k, v = k.repeat(1, heads // key_heads), v.repeat(1, heads // key_heads)
            gradient = layer["output"]
        else:
            by_head = [x.unflatten(-1, (key_heads, size)).repeat_interleave(heads // key_heads, 1).flatten(1) for x in (k, v)]
            (k, v), gradient = by_head, layer["heads"]
        if weights == "loosened":
            weight = F.cosine_similarity(q[None], k, dim=-1)
            span = weight.max() - weight.min()
            weight = (weight - weight.min()) / span if span > 0 else torch.zeros_like(weight)
        else:
            weight = torch.softmax(k @ q / q.shape[-1] ** 0.5, -1)
        total[: position + 1] += F.relu((gradient * v).sum(-1) * weight)
    return [float(x) for x in total]


CASES = [(1, "loosened", "gradient"), ("all", "loosened", "gradient"), (2, "softmax", "gradient"), (1, "loosened", "gim")]
output = {"versions": VERSIONS, "prompt": PROMPT, "target": TARGET, "models": {}}
for name in FOLDERS:
    folder = FIXTURES / name if (FIXTURES / name).exists() else FIXTURES / "architectures" / name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    model.requires_grad_(False)
    _, heads, key_heads, size = attentions(model)
    forms = ["published", "aligned"] if heads * size == model.config.hidden_size else ["aligned"]
    rows = []
    for position in POSITIONS:
        for form in forms:
            for last, weights, rules in CASES:
                values = explained(model, position, form, weights, last, GIM if rules == "gim" else CALCULUS)
                rows.append({
                    "position": position, "form": form, "layers": last, "weights": weights, "rules": rules, "values": values,
                })
    # In one layer of a random model values may all speak against the answer, which is cut off.
    nothing = sum(not any(row["values"]) for row in rows)
    assert nothing * 3 < len(rows), (name, nothing)
    output["models"][name] = {"folder": str(folder.relative_to(FIXTURES)), "heads": [heads, key_heads, size], "rows": rows}
    print(name, heads, key_heads, size, model.config.hidden_size, forms, f"{nothing} of {len(rows)} nothing but zeros")
path = FIXTURES / "inside" / "grad_ellm.json"
path.write_text(json.dumps(output, indent=1) + "\n")
