#!/usr/bin/env python3
"""Makes tests/fixtures/classifier: a tiny BERT sentiment classifier with a tokenizer of its own, a task, and what a run
of the task should find, computed with PyTorch.

    pip install torch==2.15.0 transformers==5.23.0 tokenizers numpy
    python scripts/make_classifier_fixtures.py

The weights are random; the right answers are those that the model gives, but for two. Attributions and metrics are
computed here from their definitions, in double precision, from the model's own eager forward pass and autograd: the
gradient is taken with respect to the result of the embedding lookup, the score is a logit at the first token, and a
removed token is a [PAD] that the attention mask keeps.
"""

import json
import shutil

import numpy as np
import torch
import torch.nn.functional as F
from make_architecture_fixtures import KNOBS, ROOT, Modified, randomise, run
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification

OUT = ROOT / "tests/fixtures/classifier"
LABELS = ["negative", "neutral", "positive"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ("the a this film play actor story end music plot is was were and but not very good bad great dull slow warm "
         "kind sad fine flat ##s ##ing ##ly ##ful . , !").split()
TEXTS = [
    "The film was good.",
    "The actors were dull, and the story was very slow!",
    "This play is not bad.",
    "Great music, but a flat plot.",
    "The end was sad.",
    "A warm, kind story and very fine acting.",
    "the plots were slow and the music bad",
    "The film is great, great, great!",
    "A flat end.",
    "Not a good play, but the actors were fine.",
    "The story was sadly dull.",
    "This film was kind and warm, and the end was good.",
    "Very slow.",
    "The music is playful and fine, but the story is not very good and the plot is flat.",
]
BASELINE = SPECIAL.index("[PAD]")
FRACTIONS = (0.5, 0.8, 0.9, 0.95, 0.99)


def make_tokenizer():
    vocabulary = {token: index for index, token in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends)
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


class Subject:
    """The model, the score of one question at one text, and its gradient."""

    def __init__(self, model, target, contrast):
        self.model, self.target, self.contrast = model, target, contrast
        self.table = model.get_input_embeddings().weight

    def of(self, logits):
        return logits[0, self.target] - (logits[0, self.contrast] if self.contrast is not None else 0.0)

    def score(self, ids):
        ids = torch.tensor([ids])
        return float(self.of(self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits))

    def embed(self, ids):
        return F.embedding(torch.tensor([ids]), self.table)

    def gradient(self, ids, embeds):
        leaf = embeds.clone().requires_grad_(True)
        logits, _ = run(self.model, torch.tensor([ids]), leaf)
        return torch.autograd.grad(self.of(logits), leaf)[0]


def attribute(method, subject, ids):
    embeds, baseline = subject.embed(ids), subject.embed([BASELINE] * len(ids))
    path = embeds - baseline
    if method in ("gradient", "gim"):
        with Modified(subject.model, KNOBS[method]):
            return (path * subject.gradient(ids, embeds)).sum(-1)[0].tolist()
    if method == "integrated_gradients":
        points, weights = np.polynomial.legendre.leggauss(50)
        total = sum(weight / 2 * subject.gradient(ids, baseline + (point + 1) / 2 * path)
                    for point, weight in zip(points.tolist(), weights.tolist()))
        return (path * total).sum(-1)[0].tolist()
    if method == "ablation":
        return [subject.score(ids) - subject.score(removed(ids, [place])) for place in range(len(ids))]
    assert method == "attention_rollout"
    _, attentions = run(subject.model, torch.tensor([ids]), embeds)
    product = torch.eye(len(ids), dtype=torch.float64)
    for attention in attentions:
        mixed = attention[0].mean(0) + torch.eye(len(ids), dtype=torch.float64)
        product = (mixed / mixed.sum(-1, keepdim=True)) @ product
    return product[0].tolist()


def removed(ids, places):
    return [BASELINE if place in places else token for place, token in enumerate(ids)]


def metrics(subject, ids, attributions):
    """Comprehensiveness and sufficiency of the GIM paper, over all tokens but the first and the last."""
    order = sorted(range(1, len(ids) - 1), key=lambda place: -attributions[place])
    values = sorted(attributions[1:-1])
    assert all(b - a > 1e-5 * max(map(abs, values)) for a, b in zip(values, values[1:])), "nearly a tie"
    full, n = subject.score(ids), len(order)
    falls = [full - subject.score(removed(ids, order[:k])) for k in range(1, min(n, 50) + 1)]
    keeps = [full - subject.score(removed(ids, order[n - int(fraction * n):])) for fraction in FRACTIONS]
    return sum(falls) / len(falls), sum(keeps) / len(keeps)


def main():
    torch.set_num_threads(1)
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=3, max_position_embeddings=32, pad_token_id=BASELINE, attn_implementation="eager",
        id2label=dict(enumerate(LABELS)), label2id={name: index for index, name in enumerate(LABELS)})
    model = BertForSequenceClassification(config)
    randomise(model, torch.Generator().manual_seed(3))
    with torch.no_grad():
        # No label is everyone's.
        logits = [model.eval()(input_ids=torch.tensor([tokenizer.encode(text).ids])).logits[0] for text in TEXTS]
        model.classifier.bias -= torch.stack(logits).mean(0)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    model.save_pretrained(OUT)
    tokenizer.save(str(OUT / "tokenizer.json"))
    model = BertForSequenceClassification.from_pretrained(OUT, attn_implementation="eager").double().eval()
    model.requires_grad_(False)

    rows, examples = [], []
    for index, text in enumerate(TEXTS):
        encoding = tokenizer.encode(text)
        ids = encoding.ids
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        answer = int(logits.argmax())
        wrong = index in (4, 10)
        target = (answer + 1) % 3 if wrong else answer
        rows.append({"id": f"s{index}", "text": text, "label": LABELS[target]})
        example = {"id": f"s{index}", "tokens": encoding.tokens, "input_ids": ids, "logits": logits.tolist()}
        examples.append(example)
        if wrong:
            continue
        contrast = max((other for other in range(3) if other != target), key=lambda other: float(logits[other]))
        for score, against in (("logit", None), ("logit_difference", contrast)):
            subject = Subject(model, target, against)
            found = example[score] = {"score": subject.score(ids), "methods": {}}
            for method in ("gradient", "gim", "integrated_gradients", "ablation", "attention_rollout"):
                attributions = attribute(method, subject, ids)
                comprehensiveness, sufficiency = metrics(subject, ids, attributions)
                found["methods"][method] = {
                    "attributions": [float(f"{value:.9g}") for value in attributions],
                    "comprehensiveness": comprehensiveness, "sufficiency": sufficiency}
    answers = [row["label"] for row in rows]
    assert all(answers.count(name) >= 3 for name in LABELS), f"one-sided: {answers}"

    (OUT / "sentiment.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, score in (("sentiment", "logit"), ("margin", "logit_difference")):
        (OUT / f"{name}.yaml").write_text(
            f"task: {name}\ndata: {{file: sentiment.jsonl, id: id}}\nprompt: \"{{text}}\"\nanswer: \"{{label}}\"\n"
            f"options: [negative, neutral, positive]\nscore: {score}\n")
    (OUT / "golden.json").write_text(json.dumps({"examples": examples}) + "\n")
    print(f"classifier: {sum(file.stat().st_size for file in OUT.iterdir()) // 1024} KB")


if __name__ == "__main__":
    main()
