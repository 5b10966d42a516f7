"""What inseq saves, for the tests of imported attributions.

    pip install torch==2.15.0 transformers==5.23.0 inseq==0.7.1
    python scripts/make_import_fixtures.py          # from the project's folder

Writes tests/fixtures/imports/inseq.json, gradient x input of two prompts of the checkpoint tests/fixtures/llama-a as
`FeatureAttributionOutput.save` has it, inseq_not_aggregated.json, the same before its features are added up, and
inseq_expected.json, the numbers by themselves.
"""

import json
from pathlib import Path

import inseq
import torch

FOLDER = Path("tests/fixtures/imports")
PROMPTS = ["w3 w16 w29 w42 w55 w9", "w10 w23 w36 w49 w62 w75 w9"]

torch.set_num_threads(1)
model = inseq.load_model("tests/fixtures/llama-a", "input_x_gradient")
out = model.attribute(PROMPTS, [f"{prompt} w20" for prompt in PROMPTS], attributed_fn="logit", show_progress=False)
for sequence in out:
    # Long numbers that nobody reads.
    sequence.sequence_scores, sequence.step_scores = {}, {}
out.info["exec_time"] = 0.0
added_up = out.aggregate("sum")
added_up.save(str(FOLDER / "inseq.json"), overwrite=True)
out.sequence_attributions = out.sequence_attributions[:1]
out.save(str(FOLDER / "inseq_not_aggregated.json"), overwrite=True)
expected = [
    {"input_ids": [token.id for token in one.target[: one.attr_pos_start]], "attributions": one.target_attributions[: one.attr_pos_start, 0].tolist()}
    for one in added_up
]
(FOLDER / "inseq_expected.json").write_text(json.dumps(expected, indent=1) + "\n")
