"""Makes what the tests of tasks need and no editor can write: a Parquet file, a tokenizer, and what chat templates write.

    pip install pyarrow==26.0.1 tokenizers==0.23.3 transformers==5.23.0
    python scripts/make_task_fixtures.py

The templates are our own; each uses what published ones use. What they write is what transformers makes of them, on 26
July 2024, the day that the program always takes.
"""

import datetime
import json
import pathlib

import pyarrow
import pyarrow.parquet
import tokenizers
import transformers
import transformers.utils.chat_template_utils as chat_template_utils

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests/fixtures/tasks"

TEMPLATES = {
    "chatml": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|start|>system\nBe kind<|end|>\n' }}"
    "{% endif %}{{ '<|start|>' + message['role'] + '\n' + message['content'] + '<|end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}",
    "trims": "{{ bos_token }}\n{%- set ns = namespace(system='') %}\n{%- for m in messages if m.role == 'system' %}\n    {%- set ns.system = m.content %}\n"
    "{%- endfor %}\n{% for m in messages %}\n    {% if m['role'] == 'user' %}\n[Q] {{ ns.system }}{{ m['content'] | trim }} [/Q]\n    {% elif m.role == 'assistant' %}\n"
    " {{ m['content'].strip() }}{{ eos_token }}\n    {% endif %}\n{% endfor %}\n",
    "no_system": "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + (m['content'] | trim) + '</turn>\n' }}{% endfor %}<turn>model\n",
    "dated": "{%- if strftime_now is defined %}{%- set today = strftime_now('%d %b %Y') %}{%- endif %}Today: {{ today }}\n"
    "{%- for m in messages %}\n{{ m.role.upper() }}: {{ m.content.replace('{', '<').split('?')[0] if m.role != 'user' else m.content }}{% endfor %}\nASSISTANT:",
    "tools": "{%- if tools is iterable and tools | length > 0 %}tools{%- endif %}{%- macro say(m) -%}{{ m.role | title }}{{ m | tojson }}{%- endmacro -%}"
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ say(m) if m.role == 'assistant' else '|' ~ m.content ~ '|' }}"
    "{% generation %}{% endgeneration %}{% endfor %}{{ undefined_thing }}\n",
    "beyond": "｜{% for m in messages %}<｜{{ m.role }}｜>{{ m.content }}{% endfor %}<｜assistant▁｜>",
    "drops": "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
    "unending": "{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}",
    "broken": "{% for m in messages %}{{ m.content }",
}
CONVERSATIONS = {
    "plain": [("user", "  Is water wet,\n{yes} or 'no'?  ")],
    "system": [("system", "Answer <b>briefly</b> & well."), ("user", "Is it é, 日 or 👍?")],
    "turns": [("system", "Short."), ("user", "One?"), ("assistant", "Yes"), ("user", "Two? "), ("assistant", " No"), ("user", "Three?")],
}


class Day(datetime.datetime):
    @classmethod
    def now(cls, *_):
        return cls(2024, 7, 26, 12)


def tokenizer():
    """Bytes, a few words, and special tokens."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = ["ĠYes", "ĠNo", "Yes", "No", "Ġthe", "Ġis"]
    vocabulary = {token: index for index, token in enumerate(alphabet)}
    merges = []
    for word in words:
        made = word[0]
        for letter in word[1:]:
            merges.append((made, letter))
            made += letter
            vocabulary.setdefault(made, len(vocabulary))
    model = tokenizers.models.BPE(vocab=vocabulary, merges=list(dict.fromkeys(merges)))
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>", "<|start|>", "<|end|>", "<turn>", "</turn>"])
    begin = made.token_to_id("<s>")
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    return made


def main():
    FIXTURES.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(FIXTURES / "tokenizer.json"), pretty=False)
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "tokenizer_class": "PreTrainedTokenizerFast"}
    (FIXTURES / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")

    chat_template_utils.datetime = Day
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(FIXTURES / "tokenizer.json"), bos_token="<s>", eos_token="</s>"
    )
    cases = []
    for name, template in TEMPLATES.items():
        written = {}
        for conversation, said in CONVERSATIONS.items():
            messages = [{"role": role, "content": content} for role, content in said]
            if name == "unending":
                written[conversation] = None
                continue
            try:
                written[conversation] = fast.apply_chat_template(
                    messages, chat_template=template, tokenize=False, add_generation_prompt=True
                )
            except Exception as error:  # Whatever it is, the template refuses these messages.
                print(f"{name}, {conversation}: {error}")
                written[conversation] = None
        cases.append({"name": name, "template": template, "written": written})
    fixture = {
        "transformers": transformers.__version__,
        "tokens": {"bos_token": "<s>", "eos_token": "</s>"},
        "conversations": CONVERSATIONS,
        "cases": cases,
    }
    (FIXTURES / "chat.json").write_text(json.dumps(fixture, indent=1, ensure_ascii=False) + "\n")

    spans = pyarrow.list_(pyarrow.list_(pyarrow.int32()))
    table = pyarrow.table(
        {
            "id": pyarrow.array([6402, 17, 2**40], pyarrow.int64()),
            "text": [
                "The street is wet and the umbrellas are open.",
                "The café puts its chairs out. The sky is blue.",
                "Nobody looks up.",
            ],
            "evidence": pyarrow.array([[[14, 17], [26, 44]], [[30, 45]], None], spans),
            "rain": [True, False, False],
        }
    )
    pyarrow.parquet.write_table(table, ROOT / "tasks/examples/data/weather.parquet", compression="snappy", store_schema=False)
    for compression in ["none", "zstd", "gzip"]:
        pyarrow.parquet.write_table(table, FIXTURES / f"{compression}.parquet", compression=compression, row_group_size=2, store_schema=False)
    pyarrow.parquet.write_table(table, FIXTURES / "brotli.parquet", compression="brotli", store_schema=False)


if __name__ == "__main__":
    main()
