"""Thousands of damaged and hostile inputs of every kind of file that the program reads.

Whatever a file says, the program ends by itself within 20 s and 1 GiB, with an exit code of its own: never a panic
(101), never an abort (134 or a signal). Nothing that acts on a terminal may be in what it prints.
"""

import collections
import concurrent.futures
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile

from common import ROOT, end, program_of_arguments, run, workplace

EXAMPLES = ROOT / "tasks/examples"
CHAT_TASK = 'data: {file: chat.jsonl}\nprompt: "{w}"\nanswer: " Yes"\nchat: always\nsystem: Be brief.\n'
LIMIT_SECONDS = 20
LIMIT_MEGABYTES = 1024
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]")
HOSTILE = ["\x1b[2J\x1b[31m", "\u202e\u2066", "\u2028", "\x07", "\x9b5n", "\u200b", "\\", "'\"`", "{{{{", "../../x", "漢" * 40]
NUMBERS = ["0", "-1", "1e400", "-0.0", "NaN", str(2**31), str(2**40), str(2**63), str(2**64), "1073741824", "0.5", "null", "[]"]


def damaged(data, text, generator):
    """A copy of the bytes with one to three things wrong with it."""
    data = bytearray(data)
    for _ in range(generator.randint(1, 3)):
        if not data:
            break
        at = generator.randrange(len(data))
        kind = generator.randrange(9 if text else 6)
        if kind == 0:
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + generator.randint(1, 64)]
        elif kind == 3:
            data[at:at] = data[at : at + generator.randint(1, 200)]
        elif kind == 4:
            data[at : at + 8] = generator.choice([b"\xff" * 8, b"\0" * 8, b"\x80" * 8, (2**40).to_bytes(8, "little")])
        elif kind == 5:
            data[at:at] = bytes(generator.randrange(256) for _ in range(generator.randint(1, 16)))
        else:
            source = data.decode("utf-8", "surrogateescape")
            if kind == 6:
                found = list(re.finditer(r"-?\d+(\.\d+)?", source))
                replacement = generator.choice(NUMBERS)
            elif kind == 7:
                found = list(re.finditer(r"[A-Za-z_]{3,}", source))
                replacement = generator.choice(HOSTILE + ["true", "x" * 5000])
            else:
                found = list(re.finditer(r"[:,\[\]{}\n]", source))
                replacement = generator.choice(["[" * 3000, "{" * 300, ":", ",,", "\n\n", "&a [*a]", "\t"])
            if found:
                match = generator.choice(found)
                source = source[: match.start()] + replacement + source[match.end() :]
            data = bytearray(source.encode("utf-8", "surrogateescape"))
    return bytes(data)


def kinds(folder):
    """Name: the file that is damaged, where it goes, the command that reads it, and whether it is text."""
    onnx = ROOT / "tests/fixtures/foreign/llama-a.ts17.sdpa.onnx"
    tokenizer = folder / "checkpoint/tokenizer.json"
    bake = lambda place: ["bake", place, "--out", place.parent / "baked", "--no-verify"]
    chat = ROOT / "tests/fixtures/tasks"
    examples = {
        # The example of a format, the file of it that is damaged, and whether that is text.
        f"examples {file}": (
            EXAMPLES / "data" / file,
            f"examples/data/{file}",
            # Read for a model, so that prompts are made.
            lambda p, task=task: ["tasks", "validate", p / f"examples/{task}.yaml", "--tokenizer", chat / "tokenizer.json"],
            text,
        )
        for task, file, text in [
            ("json", "weather.json", True),
            ("csv", "weather.csv", True),
            ("tsv", "weather.tsv", True),
            ("parquet", "weather.parquet", False),
            ("eraser", "eraser/val.jsonl", True),
            ("eraser", "eraser/docs/pond.txt", True),
            ("eraser_lines", "eraser_lines/docs.jsonl", True),
            ("hatexplain", "hatexplain/dataset.json", True),
            ("hatexplain", "hatexplain/post_id_divisions.json", True),
            ("scifact", "scifact/claims_dev.jsonl", True),
            ("scifact", "scifact/corpus.jsonl", True),
            ("tweets", "tweets.csv", True),
        ]
    }
    return examples | {
        "chat template": (
            ROOT / "scripts/torture/chat_template.jinja",
            "chat/chat_template.jinja",
            lambda p: ["tasks", "validate", p / "chat.yaml", "--tokenizer", p / "chat/tokenizer.json"],
            True,
        ),
        "config.json": (folder / "checkpoint/config.json", "checkpoint/config.json", lambda p: bake(p / "checkpoint"), True),
        "tokenizer.json": (tokenizer, "checkpoint/tokenizer.json", lambda p: bake(p / "checkpoint"), True),
        "safetensors": (
            folder / "checkpoint/model.safetensors",
            "checkpoint/model.safetensors",
            lambda p: bake(p / "checkpoint"),
            False,
        ),
        "onnx": (
            onnx,
            "forward.onnx",
            lambda p: ["bake", p / "forward.onnx", "--out", p / "baked", "--no-verify", "--tokenizer", tokenizer],
            False,
        ),
        "harness.yaml": (folder / "harness.yaml", "harness.yaml", lambda p: ["run", p / "harness.yaml", "--out", p / "out"], True),
        "task.yaml": (folder / "jsonl.yaml", "jsonl.yaml", lambda p: ["tasks", "validate", p / "jsonl.yaml"], True),
        "data.jsonl": (folder / "words.jsonl", "words.jsonl", lambda p: ["tasks", "validate", p / "jsonl.yaml"], True),
        "data.csv": (folder / "words.csv", "words.csv", lambda p: ["tasks", "validate", p / "csv.yaml"], True),
        "bundle.json": (folder / "bundle/bundle.json", "bundle/bundle.json", lambda p: ["inspect", p / "bundle"], True),
        "run.sqlite": (folder / "done/run.sqlite", "done/run.sqlite", lambda p: ["report", p / "done"], False),
    }


def copy(folder, place):
    """What the damaged file stands among, linked where it is large."""
    for name in ("checkpoint", "bundle", "done"):
        shutil.copytree(folder / name, place / name)
    shutil.copytree(EXAMPLES, place / "examples")
    shutil.copytree(ROOT / "tests/fixtures/tasks", place / "chat")
    (place / "chat.yaml").write_text(CHAT_TASK)
    (place / "chat.jsonl").write_text('{"w": "One  two?"}\n')
    for name in ("harness.yaml", "jsonl.yaml", "csv.yaml", "words.jsonl", "words.csv"):
        shutil.copy(folder / name, place / name)


def main():
    program = program_of_arguments()
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    faults, outcomes = [], collections.defaultdict(collections.Counter)
    longest, largest = collections.Counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        workplace(program, folder, examples=6)
        assert run(program, ["run", "--out", "done"], folder).code == 0
        table = kinds(folder)

        def one(number):
            name = list(table)[number % len(table)]
            source, place, command, text = table[name]
            generator = random.Random(f"{seed}/{number}")
            # The first of a kind is left as it is: what is refused for another reason tells nothing.
            data = source.read_bytes() if number < len(table) else damaged(source.read_bytes(), text, generator)
            with tempfile.TemporaryDirectory() as work:
                work = pathlib.Path(work)
                copy(folder, work)
                (work / place).write_bytes(data)
                ended = run(program, command(work), folder, limit=LIMIT_SECONDS)
            return name, number, ended

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for name, number, ended in pool.map(one, range(count)):
                what = "accepted" if ended.code == 0 else "refused"
                if ended.code is None:
                    what = "hung"
                elif ended.code == 101:
                    what = "panicked"
                elif ended.code < 0 or ended.code == 128 + signal.SIGABRT:
                    what = "crashed"
                elif ended.code not in (0, 1, 2, 4):
                    what = "other"
                outcomes[name][what] += 1
                longest[name] = max(longest[name], ended.seconds)
                largest[name] = max(largest[name], ended.megabytes)
                here = f"{name}, input {number} of seed {seed}"
                if number < len(table) and what != "accepted":
                    faults.append(f"{here}: {what}, although nothing is wrong with it: {ended.err[-300:]}")
                if what not in ("accepted", "refused"):
                    faults.append(f"{here}: {what} ({ended.code}): {ended.err[-300:]}")
                if ended.megabytes > LIMIT_MEGABYTES:
                    faults.append(f"{here}: took {ended.megabytes:.0f} MB")
                if ACTS.search(ended.out + ended.err):
                    faults.append(f"{here}: prints {ACTS.search(ended.out + ended.err).group()!r}")
    print(f"{'file':40} inputs  refused  accepted  panics  crashes  hangs  longest s  most MB")
    for name, found in outcomes.items():
        cells = [sum(found.values()), *(found[what] for what in ("refused", "accepted", "panicked", "crashed", "hung"))]
        print(
            f"{name:40} {cells[0]:6}  {cells[1]:7}  {cells[2]:8}  {cells[3]:6}  {cells[4]:7}  {cells[5]:5}"
            f"  {longest[name]:9.1f}  {largest[name]:7.0f}"
        )
    end(faults)


if __name__ == "__main__":
    main()
