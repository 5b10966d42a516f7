#!/usr/bin/env python3
"""Makes tests/fixtures/architectures: tiny random Hugging Face checkpoints, and what PyTorch computes on them.

    pip install torch transformers safetensors
    python scripts/make_architecture_fixtures.py [NAME ...]
    python scripts/make_architecture_fixtures.py --add relp [FOLDER ...]

A checkpoint is written by `transformers` itself (`save_pretrained`), so its layout is the real one. The reference is the
model's own eager forward pass, loaded back from the files in float32, differentiated by autograd. For the settings of
the knobs that are not plain calculus, softmax, matrix products of two activations, norms, activation functions and the
gated product are replaced by functions with the modified backward pass, written here from the definitions in the papers
(GIM, arXiv 2505.17630; AttnLRP, arXiv 2402.05602; TransformerLRP, arXiv 2202.07304; RelP, arXiv 2508.21258) and from nothing
of this project's Rust code. At calculus the replaced model must agree with the untouched one before anything is written.

Gradients are with respect to the output of the embedding lookup itself: before Gemma's scaling, before positions.
The files follow those of the other golden folders: `golden.json` and `golden.safetensors`. `--add` leaves a checkpoint and what
is known of it as they are, and adds the gradients by another setting, computed in double precision.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
)

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/fixtures/architectures"
TOKENIZER = ROOT / "tests/fixtures/llama-a/tokenizer.json"
LENGTHS = (9, 21)
VOCAB = 131

# temperature, norm freeze, product share, attention path, activation secant, and the share at gates where it is another
KNOBS = {
    "gradient": (1.0, 0.0, 1.0, 1.0, 0.0),
    "gim": (2.0, 1.0, 0.5, 1.0, 0.0),
    "tsg": (2.0, 0.0, 1.0, 1.0, 0.0),
    "norm_freeze": (1.0, 1.0, 1.0, 1.0, 0.0),
    "grad_norm": (1.0, 0.0, 0.5, 1.0, 0.0),
    "attn_lrp": (1.0, 1.0, 0.5, 1.0, 1.0),
    "transformer_lrp": (1.0, 1.0, 1.0, 0.0, 0.0),
    "relp": (1.0, 1.0, 1.0, 0.0, 1.0, 0.5),
}

SMALL = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
DECODER = dict(SMALL, num_key_value_heads=2, max_position_embeddings=128, bos_token_id=None, eos_token_id=None,
               pad_token_id=None)
LONG = [1.0 + 0.5 * i for i in range(4)]

# name: (configuration, how it is saved)
FIXTURES = {
    "llama-linear": (LlamaConfig(**dict(DECODER, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
        rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0})),
        dict(dtype=torch.bfloat16, max_shard_size="12KB")),
    "llama-dynamic": (LlamaConfig(**dict(DECODER, max_position_embeddings=16, tie_word_embeddings=True,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0})), dict(dtype=torch.float16)),
    "qwen2-yarn": (Qwen2Config(**dict(DECODER, max_position_embeddings=2048, use_sliding_window=True, sliding_window=5, max_window_layers=1,
        tie_word_embeddings=False, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
        "original_max_position_embeddings": 512, "beta_fast": 8.0})), dict(dtype=torch.float16)),
    "mistral-a": (MistralConfig(**dict(DECODER, sliding_window=6, head_dim=12, tie_word_embeddings=False)),
        dict(dtype=torch.bfloat16)),
    "qwen3-a": (Qwen3Config(**dict(DECODER, head_dim=16, tie_word_embeddings=True)), dict(dtype=torch.bfloat16)),
    "qwen3-biases": (Qwen3Config(**dict(DECODER, num_key_value_heads=4, head_dim=8, attention_bias=True,
        layer_types=["sliding_attention", "full_attention"], use_sliding_window=True, sliding_window=4,
        tie_word_embeddings=False)), dict(dtype=torch.float32, max_shard_size="30KB")),
    "phi3-partial": (Phi3Config(**dict(DECODER, rope_parameters={"rope_type": "default", "rope_theta": 1e4,
        "partial_rotary_factor": 0.75}, sliding_window=7, tie_word_embeddings=False)), dict(dtype=torch.float16)),
    "phi3-longrope": (Phi3Config(**dict(DECODER, max_position_embeddings=64, original_max_position_embeddings=12,
        rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": LONG}, tie_word_embeddings=True)), dict(dtype=torch.float16)),
    "gemma2-biases": (Gemma2Config(**dict(DECODER, head_dim=12, query_pre_attn_scalar=20, attention_bias=True,
        sliding_window=4, attn_logit_softcapping=3.0, final_logit_softcapping=None)), dict(dtype=torch.bfloat16)),
    "gemma3-a": (Gemma3TextConfig(**dict(DECODER, num_hidden_layers=3, head_dim=12, query_pre_attn_scalar=20,
        sliding_window=5, layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})), dict(dtype=torch.bfloat16)),
    "gemma3-images": (Gemma3Config(
        text_config=dict(DECODER, num_hidden_layers=2, head_dim=12, query_pre_attn_scalar=20, sliding_window=5,
            layer_types=["sliding_attention", "full_attention"], rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}),
        vision_config=dict(hidden_size=8, image_size=28, intermediate_size=8, num_attention_heads=2,
            num_hidden_layers=1, patch_size=14, vision_use_head=False), boi_token_index=128, eoi_token_index=129,
        image_token_index=130, mm_tokens_per_image=4), dict(dtype=torch.bfloat16)),
    # Decoders that look both ways, with windows: `is_causal` of any, and Gemma 3's own switch.
    "mistral-both": (MistralConfig(**dict(DECODER, sliding_window=5, is_causal=False)), dict(dtype=torch.float16)),
    "gemma3-both": (Gemma3TextConfig(**dict(DECODER, num_hidden_layers=3, head_dim=12, sliding_window=8, query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"], use_bidirectional_attention=True)),
        dict(dtype=torch.float16)),
    "gpt2-base": (GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=56,
        scale_attn_by_inverse_layer_idx=True, bos_token_id=None, eos_token_id=None),
        dict(dtype=torch.float32, base=True)),
    "gpt_neox-a": (GPTNeoXConfig(**dict(SMALL, max_position_embeddings=64, rope_parameters={"rope_type": "default",
        "rope_theta": 1e4, "partial_rotary_factor": 0.5}, bos_token_id=None, eos_token_id=None)),
        dict(dtype=torch.float16)),
    "gpt_neox-serial": (GPTNeoXConfig(**dict(SMALL, max_position_embeddings=64, use_parallel_residual=False,
        attention_bias=False, hidden_act="gelu_new", rope_parameters={"rope_type": "linear", "factor": 2.0,
        "rope_theta": 1e4, "partial_rotary_factor": 1.0}, bos_token_id=None, eos_token_id=None)),
        dict(dtype=torch.float16)),
    "gpt_neox-odd": (GPTNeoXConfig(**dict(SMALL, hidden_size=48, max_position_embeddings=16, tie_word_embeddings=True,
        hidden_act="gelu_fast", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e3,
        "partial_rotary_factor": 0.45}, bos_token_id=None, eos_token_id=None)), dict(dtype=torch.float16)),
    "bert-quick": (BertConfig(**dict(SMALL, max_position_embeddings=40, hidden_act="quick_gelu", num_labels=2)),
        dict(dtype=torch.float16, classifier=True)),
    "roberta-a": (RobertaConfig(**dict(SMALL, max_position_embeddings=42, num_labels=4, type_vocab_size=1)),
        dict(dtype=torch.float32, classifier=True)),
}


def randomise(model, generator):
    """Weights large enough that attention is uneven, norms and biases that are not trivial, all exact in float16."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2:
                fan_in = parameter.shape[0] if type(model).__name__.startswith("GPT2") else parameter.shape[1]
                table = "emb" in name or "wte" in name or "wpe" in name
                parameter.copy_(noise * (0.5 if table else 1.6 * fan_in**-0.5))
            elif "norm" in name.lower() or "ln_" in name:
                around = 0.0 if type(model).__name__.startswith("Gemma") or name.endswith("bias") else 1.0
                parameter.copy_(around + 0.2 * noise)
            else:
                parameter.copy_(0.2 * noise)


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores, temperature, path):
        ctx.save_for_backward(scores)
        ctx.knobs = temperature, path
        return torch.softmax(scores, -1)

    @staticmethod
    def backward(ctx, g):
        (scores,), (temperature, path) = ctx.saved_tensors, ctx.knobs
        p = torch.softmax(scores / temperature, -1)
        g = path * g
        return p * (g - (p * g).sum(-1, keepdim=True)), None, None


class Share(torch.autograd.Function):
    """The identity, which multiplies the gradient."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return ctx.factor * g, None


class Secant(torch.nn.Module):
    def __init__(self, inner, weight):
        super().__init__()
        self.inner, self.weight = inner, weight

    def forward(self, x):
        y = self.inner(x)
        if self.weight == 0:
            return y
        gate = torch.where(x == 0, torch.full_like(x, 0.5), y / x).detach()
        return (1 - self.weight) * y + self.weight * (x * gate)


class Modified:
    """The model with other backward rules, for as long as the block lasts."""

    def __init__(self, model, knobs):
        self.model = model
        self.temperature, self.freeze, self.share, self.path, self.secant = knobs[:5]
        self.gate = knobs[5] if len(knobs) > 5 else self.share
        self.undo = []

    def replace(self, owner, name, value):
        former = owner.__dict__.get(name)
        self.undo.append((owner, name, former, name in owner.__dict__))
        setattr(owner, name, value)

    def normalise(self, x, eps):
        r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
        return x * (self.freeze * r.detach() + (1 - self.freeze) * r)

    def __enter__(self):
        matmul, functional = torch.matmul, torch.nn.functional
        share, gate_share, found = self.share, self.gate, {"softmax": 0, "norm": 0, "act": 0, "gated": 0}
        self.found = found

        def product(a, b):
            if a.requires_grad and b.requires_grad:
                a, b = Share.apply(a, share), Share.apply(b, share)
            return matmul(a, b)

        def softmax(scores, dim=None, dtype=None, **_):
            assert dim == -1
            found["softmax"] += 1
            return Softmax.apply(scores, self.temperature, self.path)

        self.replace(torch, "matmul", product)
        self.replace(functional, "softmax", softmax)
        for module in list(self.model.modules()):
            kind = type(module).__name__
            if kind.endswith("RMSNorm"):
                eps = getattr(module, "variance_epsilon", None) or module.eps
                one = 1.0 if kind.startswith("Gemma") else 0.0
                module.forward = lambda x, m=module, e=eps, o=one: self.normalise(x, e) * (o + m.weight)
                self.undo.append((module, "forward", None, False))
                found["norm"] += 1
            elif isinstance(module, torch.nn.LayerNorm):
                module.forward = lambda x, m=module: self.normalise(x - x.mean(-1, keepdim=True), m.eps) * m.weight + m.bias
                self.undo.append((module, "forward", None, False))
                found["norm"] += 1
            elif kind.endswith("MLP") and hasattr(module, "gate_proj"):
                module.forward = lambda x, m=module: m.down_proj(
                    Share.apply(m.act_fn(m.gate_proj(x)), gate_share) * Share.apply(m.up_proj(x), gate_share))
                self.undo.append((module, "forward", None, False))
                found["gated"] += 1
            elif kind.endswith("MLP") and hasattr(module, "gate_up_proj"):
                def fused(x, m=module):
                    gate, up = m.gate_up_proj(x).chunk(2, dim=-1)
                    return m.down_proj(Share.apply(m.activation_fn(gate), gate_share) * Share.apply(up, gate_share))
                module.forward = fused
                self.undo.append((module, "forward", None, False))
                found["gated"] += 1
            for name, child in list(module.named_children()):
                if type(child).__module__ == "transformers.activations" or isinstance(child, (torch.nn.SiLU, torch.nn.GELU)):
                    setattr(module, name, Secant(child, self.secant))
                    self.undo.append((module, name, child, True))
                    found["act"] += 1
        return self

    def __exit__(self, *_):
        for owner, name, former, existed in reversed(self.undo):
            if existed:
                setattr(owner, name, former)
            else:
                delattr(owner, name)


def run(model, ids, embeds):
    """Logits `[seq or 1, outputs]` with the lookup's result replaced by a leaf, so that its gradient can be taken."""
    table, lookup = model.get_input_embeddings().weight, F.embedding

    def embedding(indices, weight, *rest, **named):
        return embeds if weight is table and indices.shape == ids.shape else lookup(indices, weight, *rest, **named)

    F.embedding = embedding
    try:
        result = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, output_attentions=True)
    finally:
        F.embedding = lookup
    return result.logits.reshape(-1, result.logits.shape[-1]), result.attentions


def reset(model):
    """Dynamic scaling remembers the longest text it has seen; a fresh model has seen none."""
    for module in model.modules():
        if hasattr(module, "original_inv_freq") and hasattr(module, "original_max_seq_len"):
            module.max_seq_len_cached = module.original_max_seq_len
            module.register_buffer("inv_freq", module.original_inv_freq.clone(), persistent=False)


def gradient(model, ids, embeds, target, contrast=None):
    reset(model)
    leaf = embeds.clone().requires_grad_(True)
    logits, _ = run(model, ids, leaf)
    score = logits[-1, target] - (logits[-1, contrast] if contrast is not None else 0.0)
    return torch.autograd.grad(score, leaf)[0][0]


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def make(name):
    config, how = FIXTURES[name]
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    classifier = how.get("classifier", False)
    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    config._attn_implementation = "eager"
    model = auto.from_config(config)
    randomise(model, generator)
    model.tie_weights()
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    saved = model.base_model if how.get("base") else model
    saved.to(how["dtype"]).save_pretrained(folder, max_shard_size=how.get("max_shard_size", "1GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    shutil.copy(TOKENIZER, folder / "tokenizer.json")

    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model.requires_grad_(False)
    examples, tensors = [], {}
    for index, length in enumerate(LENGTHS):
        ids = torch.randint(3, VOCAB - 3 if name == "gemma3-images" else VOCAB, (1, length), generator=generator)
        embeds = F.embedding(ids, model.get_input_embeddings().weight)
        reset(model)
        logits = model(input_ids=ids, use_cache=False).logits.reshape(-1, model.config.num_labels if classifier else VOCAB)
        reset(model)
        again, attentions = run(model, ids, embeds)
        assert relative(again, logits) < 1e-6, "the replaced lookup changes the result"
        ranked = logits[-1].argsort(descending=True)
        target, contrast = int(ranked[0]), int(ranked[1])
        plain = gradient(model, ids, embeds, target)
        tensors[f"{index}.logits_last"] = logits[-1].clone()
        for setting, knobs in KNOBS.items():
            with Modified(model, knobs) as modified:
                value = gradient(model, ids, embeds, target)
            found, layers = modified.found, model.config.get_text_config().num_hidden_layers
            # Where images could be seen too, there are activations that none goes through.
            assert found["softmax"] == layers and found["act"] >= layers and found["norm"] >= 2 * layers, found
            if setting == "gradient":
                assert relative(value, plain) < 1e-5, f"{name}: the replaced model differs by {relative(value, plain)}"
                value = plain
            else:
                assert relative(value, plain) > 1e-3, f"{name}: {setting} changes nothing"
            tensors[f"{index}.grad.{setting}"] = value.clone()
        with Modified(model, KNOBS["gim"]):
            tensors[f"{index}.grad_contrast.gim"] = gradient(model, ids, embeds, target, contrast).clone()
        rollout = torch.eye(length, dtype=torch.float64)
        for attention in attentions:
            mixed = attention[0].double().mean(0) + torch.eye(length, dtype=torch.float64)
            rollout = (mixed / mixed.sum(-1, keepdim=True)) @ rollout
        scored = 0 if classifier else length - 1
        examples.append({
            "index": index, "input_ids": ids[0].tolist(), "target": target, "contrast": contrast,
            "attribution": {"attention_rollout": rollout[scored].tolist()},
        })
    save_file(tensors, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps({"examples": examples}, indent=1) + "\n")
    print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()) // 1024} KB")


def add(setting, folder):
    """Adds the gradients by one setting to what a folder knows."""
    classifier = json.loads((folder / "config.json").read_text())["model_type"] in ("bert", "roberta")
    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    model.requires_grad_(False)
    tensors = load_file(folder / "golden.safetensors")
    unit = 48**0.5 if folder.name == "gemma2-a" else 1.0
    for example in json.loads((folder / "golden.json").read_text())["examples"]:
        index, ids = example["index"], torch.tensor([example["input_ids"]])
        embeds = F.embedding(ids, model.get_input_embeddings().weight)
        found = {}
        for name in ("gim", setting):
            with Modified(model, KNOBS[name]):
                # That of gemma2-a alone holds gradients behind the scaling of the embeddings.
                found[name] = (gradient(model, ids, embeds, example["target"]) / unit).float()
        off = relative(found["gim"], tensors[f"{index}.grad.gim"])
        assert off < 1e-4, f"{folder.name}: what is known of GIM differs by {off}"
        tensors[f"{index}.grad.{setting}"] = found[setting].clone()
    save_file(tensors, folder / "golden.safetensors")
    print(f"{folder.name}: {setting}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--add"]:
        for name in sys.argv[3:] or sorted(path.name for path in OUT.iterdir()):
            add(sys.argv[2], OUT / name)
    else:
        for name in sys.argv[1:] or FIXTURES:
            make(name)
