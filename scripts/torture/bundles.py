"""Kills bakes and flips bits of bundles, and counts what comes of it.

    python scripts/torture/bundles.py PROGRAM [--kills 100] [--flips 200] [--cached 10] [--seed 0]

PROGRAM is the built binary. Nothing but the standard library is used, and nothing outside a temporary folder is written.
Ends with 1 if anything was wrong: a number that differs at exit code 0, a bundle that is not whole after a kill, a file
that went missing, or a work folder that the next bake did not remove.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

DEMO = pathlib.Path(__file__).resolve().parents[2] / "models" / "demo"
IDS = "1,5,9,13,17,21,8,4"
wrong = []


def note_wrong(text):
    wrong.append(text)
    print("  WRONG:", text, flush=True)


class Place:
    """The program in a folder of its own, with a cache of its own."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.env = dict(os.environ, GIM_HARNESS_CACHE=str(folder / "cache"))

    def start(self, *arguments):
        command = [self.program, *map(str, arguments)]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments):
        process = self.start(*arguments)
        out, said = process.communicate()
        return process.returncode, out.decode(errors="replace"), said.decode(errors="replace")

    def need(self, *arguments):
        code, out, said = self.run(*arguments)
        if code != 0:
            sys.exit(f"{arguments} ended with {code}: {said}")
        return out

    def explain(self, bundle):
        return self.run("explain", bundle, "--input-ids", IDS, "--format", "json")


def work_folders(folder):
    return [entry for entry in folder.iterdir() if entry.name.startswith((".baking-", "."))] if folder.is_dir() else []


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else None


def wait_until(happened, process):
    while process.poll() is None and not happened():
        time.sleep(0.0002)


def kill_bakes(place, kills, chance):
    """Bakes over a bundle that is there, killed at any time, and two of three where the folders change places."""
    folder = place.folder / "kills"
    out = folder / "bundle"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    start = time.monotonic()
    place.need("bake", DEMO, "--out", out, "--no-verify")
    whole, duration = contents(out), time.monotonic() - start
    count = collections.Counter()
    for number in range(kills):
        former = out.stat().st_ino
        process = place.start("bake", DEMO, "--out", out, "--no-verify")
        if number % 3 == 0:
            time.sleep(chance.uniform(0, duration))
        elif number % 3 == 1:
            # The manifest is written last.
            wait_until(lambda: any((work / "bundle/bundle.json").exists() for work in folder.glob(".baking-*")), process)
            time.sleep(chance.uniform(0, 0.03))
        else:
            wait_until(lambda: not out.exists() or out.stat().st_ino != former, process)
            time.sleep(chance.uniform(0, 0.001))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        count["killed" if process.returncode == -signal.SIGKILL else "ended before"] += 1
        count["after the folders had changed places"] += out.exists() and out.stat().st_ino != former
        count["left a work folder"] += bool(work_folders(folder))
        if contents(out) != whole:
            note_wrong(f"after kill {number} the bundle is not whole")
        if (folder / "notes.txt").read_text() != "mine":
            note_wrong(f"after kill {number} another file is not what it was")
        if len(work_folders(folder)) > 1:
            note_wrong(f"kill {number} left {len(work_folders(folder))} work folders: the bake did not remove earlier ones")
    place.need("bake", DEMO, "--out", out, "--no-verify")
    left = sorted(entry.name for entry in folder.iterdir())
    if left != ["bundle", "notes.txt"]:
        note_wrong(f"the next bake left {left}")
    print(f"kills of bake over a bundle: {kills}, a whole bake takes {duration:.2f} s; {dict(count)}; left in the end: {left}")


def kill_starts(place, kills, chance):
    """The same of commands that bake into the program's cache on the way."""
    cache = place.folder / "cache" / "bundles"
    start = time.monotonic()
    expected = json.loads(place.need("explain", DEMO, "--input-ids", IDS, "--format", "json"))
    duration = time.monotonic() - start
    count = collections.Counter()
    for number in range(kills):
        for bundle in cache.iterdir():
            if not bundle.name.startswith("."):
                shutil.rmtree(bundle)
        process = place.start("explain", DEMO, "--input-ids", IDS, "--format", "json")
        time.sleep(chance.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        count["killed" if process.returncode == -signal.SIGKILL else "ended before"] += 1
        count["left a work folder"] += bool(work_folders(cache))
    found = json.loads(place.need("explain", DEMO, "--input-ids", IDS, "--format", "json"))
    if found != expected:
        note_wrong("after kills of explain its numbers are others")
    left = sorted(entry.name for entry in cache.iterdir())
    if len(left) != 1:
        note_wrong(f"the next start left {left}")
    print(f"kills of explain while it bakes: {kills}, a whole one takes {duration:.2f} s; {dict(count)}; left in the end: {left}")


def flipped(path, chance):
    """Flips a bit of a file in place, and says where, and how to undo it."""
    whole = path.read_bytes()
    place, bit = chance.randrange(len(whole)), chance.randrange(8)
    changed = bytearray(whole)
    changed[place] ^= 1 << bit
    path.write_bytes(changed)
    return f"{path.name}, byte {place}, bit {bit}", lambda: path.write_bytes(whole)


def flip_bits(place, flips, chance):
    """Single bits of all files of a bundle of the user's."""
    bundle = place.folder / "flips"
    place.need("bake", DEMO, "--out", bundle, "--no-verify")
    # Long enough after the bake for the hash of the weights to be kept, so that opening does not read them any more.
    time.sleep(3.5)
    code, expected, said = place.explain(bundle)
    if code != 0:
        sys.exit(said)
    files = sorted(bundle.iterdir())
    outcomes = collections.Counter()
    for number in range(flips):
        path = files[number % len(files)]
        where, undo = flipped(path, chance)
        code, out, said = place.explain(bundle)
        if code == 0:
            outcomes["exit 0, same output" if out == expected else "exit 0, OTHER OUTPUT"] += 1
            if out != expected:
                note_wrong(f"{where}: another output and exit 0")
        elif code == 1 and path.name in said and "panicked" not in said:
            outcomes["an error that names the file"] += 1
        else:
            outcomes["another error"] += 1
            note_wrong(f"{where}: exit {code}, {said.strip()}")
        undo()
    code, out, _ = place.explain(bundle)
    if (code, out) != (0, expected):
        note_wrong("the bundle is not what it was before the flips")
    print(f"flips in a bundle: {flips} over {len(files)} files; {dict(outcomes)}")


def flip_cached_bits(place, flips, chance):
    """Single bits of a bundle in the program's cache."""
    cache = place.folder / "cache" / "bundles"
    code, expected, said = place.explain(DEMO)
    if code != 0:
        sys.exit(said)
    time.sleep(3.5)
    place.explain(DEMO)
    outcomes = collections.Counter()
    for number in range(flips):
        (bundle,) = cache.iterdir()
        files = sorted(bundle.iterdir())
        where, _ = flipped(files[number % len(files)], chance)
        code, out, said = place.explain(DEMO)
        if code != 0 or out != expected:
            note_wrong(f"{where} in the cache: exit {code}, {'other' if out != expected else 'the same'} output; {said.strip()}")
        outcomes["baked anew, with a note" if "is damaged and will be baked anew" in said else "not noticed"] += 1
    if outcomes["not noticed"]:
        note_wrong("a damaged bundle of the cache was used")
    print(f"flips in the cache: {flips}; {dict(outcomes)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=100, help="of bakes; a tenth as many of explain")
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--cached", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Place(arguments.program.resolve(), pathlib.Path(folder))
        kill_bakes(place, arguments.kills, chance)
        flip_bits(place, arguments.flips, chance)
        kill_starts(place, arguments.kills // 10, chance)
        flip_cached_bits(place, arguments.cached, chance)
    print(f"wrong: {len(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
