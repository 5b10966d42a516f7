"""Damages the store of a finished run, and looks whether any report or resumed run is wrong without saying so.

    python scripts/torture/store.py PROGRAM [FLIPS]

One bit a time is flipped, half of them anywhere in `run.sqlite` and half in the numbers of metrics and attributions, and
rows are deleted. After each, `report` either gives the files of the sound run or does not end with 0; `run` on the same
folder gives them, or refuses the store.
"""

import pathlib
import random
import shutil
import sqlite3
import sys
import tempfile

import common


def bits(store, count, rng):
    """Places of bits: (name of the kind, byte, bit)."""
    data = store.read_bytes()
    connection = sqlite3.connect(store)
    texts = [row[0].encode() for row in connection.execute("SELECT by_seed FROM metric_value")]
    texts += [row[0].encode() for row in connection.execute("SELECT vector FROM attribution")]
    connection.close()
    spans = [(data.find(text), len(text)) for text in texts if len(text) > 4 and data.find(text) >= 0]
    for number in range(count):
        if number % 2:
            start, length = rng.choice(spans)
            yield "numbers", start + rng.randrange(1, length - 1), rng.randrange(8)
        else:
            yield "anywhere", rng.randrange(len(data)), rng.randrange(8)


DELETIONS = [
    "DELETE FROM metric_value WHERE unit = 1",
    "DELETE FROM metric_value",
    "DELETE FROM attribution WHERE unit = 2",
    "DELETE FROM curve WHERE unit = 3",
    "DELETE FROM unit WHERE id = 4",
    "DELETE FROM unit",
    "DELETE FROM method WHERE id = 1",
    "DELETE FROM task",
    "DELETE FROM metric WHERE id = 2",
    "DELETE FROM example WHERE position = 3",
    "DELETE FROM dataset",
    "DELETE FROM run",
    "DELETE FROM identity",
    "UPDATE run SET resamples = 9000000000000",
    "UPDATE run SET confidence = 2",
    "UPDATE unit SET n_tokens = 9000000000000 WHERE id = 1",
    "UPDATE method SET name = 'gradiant' WHERE name = 'gradient'",
]


def main():
    program = common.program_of_arguments()
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    rng = random.Random(0)
    faults = []
    with tempfile.TemporaryDirectory() as place:
        folder = common.workplace(program, pathlib.Path(place) / "w", examples=12)
        sound = common.run(program, ["run", "--out", "sound"], folder)
        assert sound.code == 0, sound.err
        expected = common.results(folder / "sound")
        store = folder / "sound" / "run.sqlite"
        tally = {}

        def look(kind, name, damage):
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder / "sound", copy)
            damage(copy / "run.sqlite")
            for verb, arguments in [("report", ["report", "copy"]), ("run", ["run", "--out", "copy"])]:
                ended = common.run(program, arguments, folder)
                same = common.results(copy) == expected
                if ended.code == 0:
                    outcome = "right files, exit 0" if same else "WRONG files, exit 0"
                elif ended.code in (1, 4):
                    outcome = f"exit {ended.code}"
                else:
                    outcome = f"ended with {ended.code}"
                if outcome.startswith(("WRONG", "ended")):
                    faults.append(f"{verb}: {name}: {outcome}: {ended.err[-200:]}")
                if verb == "run" and ended.code == 1 and "--fresh" not in ended.err:
                    faults.append(f"{verb}: {name}: no way out is named: {ended.err[-200:]}")
                tally[kind, verb, outcome] = tally.get((kind, verb, outcome), 0) + 1

        for kind, at, bit in bits(store, count, rng):

            def flip(path):
                data = bytearray(path.read_bytes())
                data[at] ^= 1 << bit
                path.write_bytes(data)

            look(f"a bit, {kind}", f"bit {bit} of byte {at}", flip)
        for statement in DELETIONS:

            def alter(path):
                connection = sqlite3.connect(path)
                connection.execute("PRAGMA foreign_keys = OFF")
                connection.execute(statement)
                connection.commit()
                connection.close()

            look("a statement", statement, alter)
    for (kind, verb, outcome), number in sorted(tally.items()):
        print(f"{kind}; {verb}: {number} x {outcome}")
    common.end(faults)


main()
