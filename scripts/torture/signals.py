"""SIGINT, SIGTERM and SIGHUP at random times to every command that works for a while.

The command ends with 4 (or with its own code, if it was done already), soon, and nothing half-made is left; a run that
was resumed ends with the bytes of one that was left alone. The second signal ends at once. An ignored SIGHUP, as under
nohup, stays ignored.
"""

import collections
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

from common import end, program_of_arguments, results, run, workplace

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SOON = 5.0
UNDISTURBED = 600.0
COMMANDS = {
    "run": ["run", "--out", "out"],
    "bake": ["bake", "checkpoint", "--out", "baked"],
    "explain": ["explain", "checkpoint", "--prompt", "w3 w16 w29 w9", "--method", "ablation"],
    "verify": ["verify", "bundle"],
}


def main():
    program = program_of_arguments()
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    generator = random.Random(0)
    faults, counts = [], collections.Counter()
    longest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        workplace(program, folder, examples=60, methods=("gim", "integrated_gradients", "ablation", "random"))
        # The first run may have to install ONNX Runtime into this folder's cache, which hangs on the network.
        whole = run(program, ["run", "--out", "done"], folder, limit=UNDISTURBED)
        if whole.code != 0:
            sys.exit(f"an undisturbed run ended with {whole.code} after {whole.seconds:.0f} s: {whole.err[-2000:]}")
        right = results(folder / "done")
        cache = folder / "cache"

        def clean():
            for name in ("out", "baked"):
                shutil.rmtree(folder / name, ignore_errors=True)
            shutil.rmtree(cache / "bundles", ignore_errors=True)

        for name, arguments in COMMANDS.items():
            clean()
            undisturbed = run(program, arguments, folder, limit=UNDISTURBED)
            if undisturbed.code != 0:
                sys.exit(f"{name}, undisturbed, ended with {undisturbed.code}: {undisturbed.err[-2000:]}")
            for number in range(times):
                clean()
                which = SIGNALS[number % len(SIGNALS)]
                after = generator.uniform(0.02, max(0.05, undisturbed.seconds))
                sent = []

                def kill(process):
                    time.sleep(after)
                    sent.append(time.monotonic())
                    os.kill(process.pid, which)

                ended = run(program, arguments, folder, meanwhile=kill)
                took = time.monotonic() - sent[0]
                longest = max(longest, took)
                if ended.code == -which and after < 0.2:
                    counts[name, "before it listened"] += 1
                elif ended.code in (4, undisturbed.code):
                    counts[name, "stopped" if ended.code == 4 else "was done"] += 1
                else:
                    faults.append(f"{name}, {which.name} after {after:.2f} s: exit code {ended.code}: {ended.err[-300:]}")
                if took > SOON:
                    faults.append(f"{name}, {which.name} after {after:.2f} s: took {took:.1f} s to end")
                if name == "bake" and ended.code == 4 and (folder / "baked").exists():
                    faults.append("bake: it was stopped, and left a bundle")
                if name == "run":
                    resumed = run(program, arguments, folder)
                    if resumed.code != 0 or results(folder / "out") != right:
                        faults.append(f"run, {which.name} after {after:.2f} s: not the same files when resumed")

        # The second signal, at once.
        for which in SIGNALS:
            clean()

            def kill_twice(process):
                time.sleep(0.3)
                os.kill(process.pid, which)
                time.sleep(0.005)
                os.kill(process.pid, which)

            ended = run(program, COMMANDS["run"], folder, meanwhile=kill_twice)
            counts["two signals", f"exit {ended.code}"] += 1
            if ended.code not in (0, 4):
                faults.append(f"run, {which.name} twice: exit code {ended.code}")

        # As under nohup.
        clean()

        def hang_up(process):
            time.sleep(0.2)
            os.kill(process.pid, signal.SIGHUP)

        ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ended = run(program, COMMANDS["run"], folder, before=ignore, meanwhile=hang_up)
        counts["SIGHUP ignored", f"exit {ended.code}"] += 1
        if ended.code != 0:
            faults.append(f"run with SIGHUP ignored: exit code {ended.code}")
    for (name, outcome), count in sorted(counts.items()):
        print(f"{name:16} {outcome:20} {count:4}")
    print(f"longest from the signal to the end: {longest:.2f} s")
    end(faults)


if __name__ == "__main__":
    main()
