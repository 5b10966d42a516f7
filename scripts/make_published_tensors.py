#!/usr/bin/env python3
"""Writes into tests/fixtures/published the names and shapes of the tensors that belong to each configuration there.

    pip install torch==2.15.0 transformers==5.23.0 safetensors
    python scripts/make_published_tensors.py

A file has `config`, which is the config.json of a published model with smaller sizes, written by hand, and `tensors`,
which are those that Hugging Face transformers saves for it.
"""

import json
import tempfile
from pathlib import Path

import transformers
from safetensors import safe_open

FOLDER = Path(__file__).resolve().parent.parent / "tests/fixtures/published"


def tensors(config):
    parsed = type(transformers.AutoConfig.for_model(config["model_type"])).from_dict(json.loads(json.dumps(config)))
    model = getattr(transformers, config["architectures"][0])(parsed)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(f"{folder}/model.safetensors", "numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}


for path in sorted(FOLDER.glob("*.json")):
    config = json.loads(path.read_text())["config"]
    listed = ",\n".join(f"  {json.dumps(name)}: {shape}" for name, shape in tensors(config).items())
    fields = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in config.items())
    path.write_text(f'{{\n "config": {{\n{fields}\n }},\n "tensors": {{\n{listed}\n }}\n}}\n')
    print(path.name)
