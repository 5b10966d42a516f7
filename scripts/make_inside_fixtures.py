"""Makes tests/fixtures/inside/golden.json: what PyTorch says of the inside of small models.

Run once, with exactly these versions (the output is committed):

    pip install torch==2.15.0 transformers==5.23.0 networkx==3.6.1

    python scripts/make_inside_fixtures.py

All in double precision, by transformers' own eager models and hooks in them. Of the model in tests/fixtures/llama-a: the
metrics and methods that look inside. Of every folder in tests/fixtures/architectures: what enters each layer, times its
gradient, summed over the width, which holds only if the stream is found where transformers has it. The backward rules of GIM
are those of make_architecture_fixtures.py, which are written from the papers.
"""

import importlib.metadata
import json
import pathlib

import networkx
import torch
import torch.nn.functional as F
import transformers
from make_architecture_fixtures import Modified
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

PINNED = {"torch": "2.15.0", "transformers": "5.23.0", "networkx": "3.6.1"}
VERSIONS = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
assert VERSIONS == PINNED, VERSIONS

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
PROMPT = [0, 78, 114, 12, 80, 43, 7, 66]
TARGET, BASELINE = 8, 1
RANKED = list(range(1, len(PROMPT) - 1))
# temperature, norm freeze, product share, attention path, activation secant
CALCULUS = (1.0, 0.0, 1.0, 1.0, 0.0)
GIM = (2.0, 1.0, 0.5, 1.0, 0.0)
TSG = (2.0, 0.0, 1.0, 1.0, 0.0)
THRESHOLD = 0.01
FRACTIONS = [0.5, 0.8, 0.9, 0.95, 0.99]

torch.set_num_threads(1)


def listed(tensor):
    return [float(x) for x in tensor.detach().reshape(-1)]


def opened(folder):
    classifier = "ForSequenceClassification" in (AutoConfig.from_pretrained(folder).architectures or [""])[0]
    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval().requires_grad_(False)
    return model, classifier


def layers_of(model):
    """The modules of the layers, by what they are called in the families."""
    for path in ["model.layers", "model.language_model.layers", "transformer.h", "gpt_neox.layers", "bert.encoder.layer",
                 "roberta.encoder.layer"]:
        found = model
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return list(found)
    raise AssertionError(type(model))


class Inside:
    """One forward pass in which what enters the layers is kept, or changed by `enter(layer, hidden)`."""

    def __init__(self, model, classifier, enter=None):
        self.model, self.classifier, self.enter = model, classifier, enter
        self.entries, self.ends = [], []

    def __call__(self, ids, target):
        handles = []
        for number, layer in enumerate(layers_of(self.model)):
            def before(_, args, kwargs, number=number):
                hidden = args[0] if args else kwargs["hidden_states"]
                if self.enter is not None:
                    hidden = self.enter(number, hidden)
                if hidden.requires_grad is False:
                    hidden = hidden.clone().requires_grad_(True)
                self.entries.append(hidden)
                if args:
                    return (hidden, *args[1:]), kwargs
                return args, {**kwargs, "hidden_states": hidden}

            def after(_, args, output):
                self.ends.append(output[0] if isinstance(output, tuple) else output)

            handles.append(layer.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(layer.register_forward_hook(after))
        try:
            named = {} if self.classifier else {"use_cache": False}
            logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), **named).logits
        finally:
            for handle in handles:
                handle.remove()
        return (logits[0] if self.classifier else logits[0, -1])[target]


def stream_attributions(model, classifier, ids, target, knobs):
    """`sum_d r g` for every layer and token."""
    with Modified(model, knobs):
        inside = Inside(model, classifier)
        score = inside(ids, target)
        gradients = torch.autograd.grad(score, inside.entries)
    return [(entry * gradient).sum(-1)[0].detach() for entry, gradient in zip(inside.entries, gradients)]


streams = {}
for folder in sorted((FIXTURES / "architectures").iterdir()):
    if not (folder / "config.json").exists():
        continue
    try:
        model, classifier = opened(folder)
    except Exception as error:  # a folder that holds a base model, or one that only this project reads
        print(f"left out: {folder.name}: {type(error).__name__}")
        continue
    ids = torch.tensor([PROMPT]) % model.config.get_text_config().vocab_size
    target = 1 if classifier else TARGET
    found = {}
    for name, knobs in [("gradient", CALCULUS), ("gim", GIM)]:
        found[name] = [listed(values) for values in stream_attributions(model, classifier, ids, target, knobs)]
    streams[folder.name] = {"prompt": ids[0].tolist(), "target": target, "attributions": found}

model, classifier = opened(FIXTURES / "llama-a")
ids = torch.tensor([PROMPT])
llama = {}
with torch.no_grad():
    full = float(Inside(model, classifier)(ids, TARGET))
llama["score"] = full

# Layer-wise faithfulness.
def falls(knobs, from_mean, counts, highest):
    by_layer = []
    for layer in range(len(layers_of(model))):
        with Modified(model, knobs):
            inside = Inside(model, classifier)
            score = inside(ids, TARGET)
            gradients = torch.autograd.grad(score, inside.entries)
        entry, gradient = inside.entries[layer][0].detach(), gradients[layer][0]
        difference = entry - entry.mean(0) if from_mean else entry
        values = (difference * gradient).sum(-1)
        order = sorted(RANKED, key=lambda token: -float(values[token]))
        scores = []
        for count in counts:
            places = order[:count] if highest else order[len(order) - count:]

            def enter(number, hidden):
                if number != layer:
                    return hidden
                hidden = hidden.clone()
                mean = hidden[0].mean(0)
                hidden[0, places] = mean
                return hidden

            with torch.no_grad():
                scores.append(float(Inside(model, classifier, enter)(ids, TARGET)))
        by_layer.append(sum(full - score for score in scores) / len(scores))
    return by_layer


highest, lowest = range(1, len(RANKED) + 1), [int(f * len(RANKED)) for f in FRACTIONS]
llama["layers"] = {
    name: {
        "comprehensiveness": falls(knobs, False, highest, True),
        "comprehensiveness_from_mean": falls(knobs, True, highest, True),
        "sufficiency": falls(knobs, False, lowest, False),
    }
    for name, knobs in [("gradient", CALCULUS), ("gim", GIM)]
}


# Attention scores, weights and their gradients: the softmax of the eager model is the place to look.
class Softmaxes:
    """Keeps what every attention softmax takes and gives, and may change what it takes or gives."""

    def __init__(self, model, knobs, take=None, give=None):
        self.modified, self.take, self.give = Modified(model, knobs), take, give
        self.scores, self.weights = [], []

    def __enter__(self):
        self.modified.__enter__()
        self.inner = F.softmax

        def softmax(scores, dim=None, dtype=None, **named):
            scores = scores.clone()
            if not scores.requires_grad:
                scores.requires_grad_(True)
            if self.take is not None:
                scores = self.take(len(self.scores), scores)
            self.scores.append(scores)
            weights = self.inner(scores, dim=dim, dtype=dtype, **named)
            if self.give is not None:
                weights = self.give(len(self.weights), weights)
            self.weights.append(weights)
            return weights

        F.softmax = softmax
        return self

    def __exit__(self, *rest):
        F.softmax = self.inner
        self.modified.__exit__(*rest)


def run(knobs, take=None, give=None):
    with Softmaxes(model, knobs, take, give) as found:
        embeds = model.get_input_embeddings()(ids).detach().requires_grad_(True)
        score = model(inputs_embeds=embeds, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1, TARGET]
        return found, score


def gradients(knobs):
    found, score = run(knobs)
    all_of = torch.autograd.grad(score, found.scores + found.weights)
    layers = len(found.scores)
    return [s.detach()[0] for s in found.scores], [g[0] for g in all_of[:layers]], \
        [w.detach()[0] for w in found.weights], [g[0] for g in all_of[layers:]]


scores, score_gradients, weights, weight_gradients = gradients(CALCULUS)
products = [w * g for w, g in zip(weights, weight_gradients)]
llama["attention_x_gradient"] = listed(sum(product.sum((0, 1)) for product in products))
relevance = torch.eye(len(PROMPT), dtype=torch.float64)
for product in products:
    relevance = relevance + product.clamp(min=0).mean(0) @ relevance
llama["attention_x_gradient_relevance"] = listed(relevance[-1])
gim_weights = gradients(GIM)
llama["attention_x_gradient_gim"] = listed(sum((w * g).sum((0, 1)) for w, g in zip(gim_weights[2], gim_weights[3])))

# Attention flow, by networkx's push and relabel.
network = networkx.DiGraph()
for layer, weight in enumerate(weights):
    mean = weight.mean(0) + torch.eye(len(PROMPT), dtype=torch.float64)
    mean = mean / mean.sum(-1, keepdim=True)
    for i in range(len(PROMPT)):
        for j in range(len(PROMPT)):
            if mean[i, j] > 0:
                network.add_edge((layer + 1, i), (layer, j), capacity=float(mean[i, j]))
top = (len(weights), len(PROMPT) - 1)
llama["attention_flow"] = [
    networkx.maximum_flow_value(network, top, (0, j), flow_func=networkx.algorithms.flow.preflow_push)
    for j in range(len(PROMPT))
]

# Value zeroing: a value of zero is attention of zero to its place, in one layer at a time.
clean = Inside(model, classifier)
with torch.no_grad():
    clean(ids, TARGET)
distances = torch.zeros(len(weights), len(PROMPT), len(PROMPT), dtype=torch.float64)
for layer in range(len(weights)):
    for place in range(len(PROMPT)):
        projection = layers_of(model)[layer].self_attn.v_proj

        def zeroed(_, args, output, place=place):
            output = output.clone()
            output[:, place] = 0
            return output

        handle = projection.register_forward_hook(zeroed)
        other = Inside(model, classifier)
        with torch.no_grad():
            other(ids, TARGET)
        handle.remove()
        similar = F.cosine_similarity(other.ends[layer][0], clean.ends[layer][0], dim=-1)
        distances[layer, :, place] = 1 - similar
sums = distances.sum(-1, keepdim=True)
normalised = distances / torch.where(sums == 0, 1.0, sums)
llama["value_zeroing"] = listed(normalised[:, -1].mean(0))
rollout = torch.eye(len(PROMPT), dtype=torch.float64)
for layer in normalised:
    rollout = layer @ rollout
llama["value_zeroing_rollout"] = listed(rollout[-1])

# Self-repair.
seen = torch.ones(len(PROMPT), len(PROMPT)).tril().bool()
tsg_gradients = gradients(TSG)[1]
pairs, interactions, foretold = [], [], {"gradient": [], "tsg": []}
for layer, (score, gradient) in enumerate(zip(scores, score_gradients)):
    for head in range(score.shape[0]):
        for query in range(len(PROMPT)):
            product = score[head, query] * gradient[head, query]
            keys = [k for k in range(query + 1) if product[k] > THRESHOLD]
            keys = sorted(keys, key=lambda k: -float(product[k]))[:2]
            if len(keys) < 2:
                continue
            mean = score[head, query, : query + 1].mean()

            def fall(at):
                def take(number, scores):
                    if number == layer:
                        scores = scores.clone()
                        scores[0, head, query, at] = mean
                    return scores

                with torch.no_grad():
                    return full - float(run(CALCULUS, take=take)[1])

            first, second, both = fall(keys[:1]), fall(keys[1:]), fall(keys)
            if abs(both) < THRESHOLD:
                continue
            pairs.append([layer, head, query, *keys])
            interactions.append((both - first - second) / both)
            for name, of in [("gradient", score_gradients), ("tsg", tsg_gradients)]:
                estimate = sum(float((score[head, query, k] - mean) * of[layer][head, query, k]) for k in keys)
                foretold[name].append(estimate / both)


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


llama["self_repair"] = {
    "threshold": THRESHOLD,
    "rows": len(pairs),
    "least": min(interactions),
    "largest": max(interactions),
    "interaction": median(interactions),
    "share": {name: median(values) for name, values in foretold.items()},
    "error": {name: median([abs(value - 1) for value in values]) for name, values in foretold.items()},
}

output = {
    "versions": VERSIONS,
    "prompt": PROMPT,
    "target": TARGET,
    "baseline": BASELINE,
    "ranked": RANKED,
    "llama": llama,
    "streams": streams,
}
path = FIXTURES / "inside" / "golden.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps(output, indent=1) + "\n")
