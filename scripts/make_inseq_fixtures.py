"""Makes tests/fixtures/inside/inseq_value_zeroing.json: value zeroing as inseq computes it on tests/fixtures/llama-a.

Run once, with exactly these versions (the output is committed):

    pip install torch==2.15.0 transformers==5.23.0 inseq==0.7.1

    python scripts/make_inseq_fixtures.py

inseq takes what a layer gives for a tuple, which it no longer is in these transformers; the one hook that stumbles over it is
replaced, by the same with a tensor. Its cosines are of single precision. What it gives is the row of the place at which the
answer is asked for, of every layer, divided by its sum, distances below 1e-5 left out. Its last layer is what comes behind the
final norm, which is another definition than this project's, so that layer is not written.
"""

import importlib.metadata
import json
import pathlib

import inseq
import torch
from inseq.attr.feat.ops.value_zeroing import ValueZeroing

PINNED = {"torch": "2.15.0", "transformers": "5.23.0", "inseq": "0.7.1"}
VERSIONS = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
assert VERSIONS == PINNED, VERSIONS

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures"
PROMPTS = ["w3 w16 w29 w42 w55 w9", "w10 w23 w36 w49 w62 w75 w9", "w99 w5 w80"]


def kept(self, layer, hidden_state_idx=0):
    def hook(module, args, output):
        self.corrupted_block_output_states[layer] = output.clone().float().detach().cpu()
        return self.clean_block_output_states[layer].to(output.device)

    return hook


ValueZeroing.get_states_extract_and_patch_hook = kept
torch.set_num_threads(1)
model = inseq.load_model(str(FIXTURES / "llama-a"), "value_zeroing")
examples = []
for prompt in PROMPTS:
    (found,) = model.attribute([prompt], [f"{prompt} w20"], show_progress=False).sequence_attributions
    begin = found.attr_pos_start
    rows = found.target_attributions[:begin, 0, :-1]
    assert rows.shape[0] == len(prompt.split()) and not rows.isnan().any()
    examples.append({
        "input_ids": [token.id for token in found.target[:begin]],
        "layers": [[float(x) for x in layer] for layer in rows.T],
    })
path = FIXTURES / "inside" / "inseq_value_zeroing.json"
path.write_text(json.dumps({"versions": VERSIONS, "examples": examples}, indent=1) + "\n")
