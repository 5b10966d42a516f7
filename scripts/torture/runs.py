"""Kills runs and reports, starts two at once, and fills disks; what is left must be whole and the same.

    python scripts/torture/runs.py PROGRAM [KILLS]

Full disks are small file systems in memory (`mount -t tmpfs`), which takes a privileged user; without one that part is
left out, and said to be.
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import common


def killed(program, arguments, folder, seconds):
    """Starts the program and kills it after some time; whether it was still running then."""

    def meanwhile(process):
        time.sleep(seconds)
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    ended = common.run(program, arguments, folder, meanwhile=meanwhile)
    return ended.code == -signal.SIGKILL


def litter(folder):
    """Hidden files, but for SQLite's own."""
    return [file.name for file in folder.rglob(".*") if file.is_file()]


def kills(program, folder, count, rng, faults):
    start = time.monotonic()
    whole = common.run(program, ["run", "--out", "whole"], folder)
    length = time.monotonic() - start
    assert whole.code == 0, whole.err
    expected = common.results(folder / "whole")
    done, runs = 0, 0
    while done < count // 2:
        runs += 1
        out = f"killed-{runs}"
        # In the latter half of a run as often as in the former: what is done stays, so a resumed run is nearer its end.
        for _ in range(8):
            done += killed(program, ["run", "--out", out], folder, rng.uniform(0, length * 1.1))
        ended = common.run(program, ["run", "--out", out], folder)
        if ended.code != 0:
            faults.append(f"a killed run does not go on: {ended.code}: {ended.err[-300:]}")
        elif common.results(folder / out) != expected:
            faults.append(f"{out} is not what an uninterrupted run leaves")
    print(f"{done} kills in {runs} runs of {length:.1f} s")
    start = time.monotonic()
    common.run(program, ["report", "whole"], folder)
    length = time.monotonic() - start
    done = 0
    while done < count - count // 2:
        # The renames are at the end.
        done += killed(program, ["report", "whole"], folder, length * rng.choice([rng.uniform(0, 1), rng.uniform(0.85, 1)]))
        if common.results(folder / "whole") != expected:
            faults.append("a killed report leaves files that are not whole")
    print(f"{done} kills of reports of {length * 1000:.0f} ms")
    left = litter(folder)
    for file in (file for file in folder.rglob(".*") if file.is_file()):
        os.utime(file, (0, 0))
    for run in ["whole", *(f"killed-{number + 1}" for number in range(runs))]:
        common.run(program, ["report", run], folder)
    still = [name for name in litter(folder) if name != ".run.lock"]
    print(f"{len(left)} unfinished files were left, {len(still)} after the next command")
    faults.extend(f"litter: {name}" for name in still)


def two_writers(program, folder, times, faults):
    expected = common.results(folder / "whole")
    tally = {}
    for number in range(times):
        extra = ["--fresh"] if number % 2 else []
        out = f"two-{number}"
        environment = dict(os.environ, GIM_HARNESS_CACHE=str(folder / "cache"))
        pair = [
            subprocess.Popen(
                [str(program), "run", "--out", out, *extra],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        ends = [(process.communicate()[1], process.returncode) for process in pair]
        codes = sorted(code for _, code in ends)
        tally[tuple(codes)] = tally.get(tuple(codes), 0) + 1
        refused = [err for err, code in ends if code == 1]
        if codes not in ([0, 1], [0, 0]) or any("is writing to this run" not in err for err in refused):
            faults.append(f"two writers: {codes}: {ends}")
        if common.results(folder / out) != expected:
            faults.append(f"two writers: {out} is not what one leaves")
    for codes, number in tally.items():
        print(f"two writers: {number} x exit codes {codes}")


def full_disks(program, folder, faults):
    disk = folder / "disk"
    disk.mkdir()
    expected = common.results(folder / "whole")
    for kilobytes in (16, 64, 128, 192, 256, 320, 384, 512, 640, 768):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(disk)], capture_output=True, check=False
        )
        if mounted.returncode != 0:
            print("full disks: left out, since this user may not mount")
            return
        try:
            first = common.run(program, ["run", "--out", "disk/run"], folder)
            if first.code not in (0, 1) or (first.code == 1 and not first.err.strip()):
                faults.append(f"a disk of {kilobytes} KB: {first.code}: {first.err[-300:]}")
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            second = common.run(program, ["run", "--out", "disk/run"], folder)
            same = second.code == 0 and common.results(disk / "run") == expected
            print(f"a disk of {kilobytes} KB: exit {first.code}; with room again: {'the same' if same else 'NOT the same'}")
            if not same:
                faults.append(f"a disk of {kilobytes} KB, with room again: {second.code}: {second.err[-300:]}")
        finally:
            subprocess.run(["umount", str(disk)], check=True)


def main():
    program = common.program_of_arguments()
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    faults = []
    with tempfile.TemporaryDirectory() as place:
        folder = common.workplace(program, pathlib.Path(place) / "w")
        kills(program, folder, count, random.Random(0), faults)
        two_writers(program, folder, 10, faults)
        full_disks(program, folder, faults)
    common.end(faults)


main()
