"""Every command with outputs that are closed, full, read for one line only, or a terminal that goes away.

No command may panic; its exit code is its own, but for a full disk under the result of a command that is for nothing
else (1). A run's files are the same as ever.
"""

import os
import pty
import shutil
import subprocess
import tempfile
import time

from common import end, program_of_arguments, results, run, workplace

PROMPT = ["--prompt", "w3 w16 w29 w42 w9"]
# Name, arguments, whether stdout is all it is for.
COMMANDS = [
    ("help", ["--help"], False),
    ("version", ["--version"], False),
    ("no such option", ["run", "--bogus"], False),
    ("methods", ["methods"], True),
    ("metrics", ["metrics"], True),
    ("schema", ["schema"], True),
    ("tasks list", ["tasks", "list", "jsonl.yaml"], True),
    ("tasks validate", ["tasks", "validate", "jsonl.yaml", "csv.yaml"], True),
    ("a mistake in YAML", ["tasks", "validate", "harness.yaml"], False),
    ("runtime show", ["runtime", "show"], True),
    ("inspect", ["inspect", "bundle"], True),
    ("verify", ["verify", "bundle"], True),
    ("explain text", ["explain", "bundle", *PROMPT], True),
    ("explain json", ["explain", "bundle", "--format", "json", *PROMPT], True),
    ("explain html", ["explain", "bundle", "--format", "html", *PROMPT], True),
    ("bake", ["bake", "checkpoint", "--out", "baked"], False),
    ("run", ["run", "--out", "out", "--fresh"], False),
    ("report", ["report", "done"], False),
    ("report of nothing", ["report", "nowhere"], False),
]


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full():
    return os.open("/dev/full", os.O_WRONLY)


def hung_up():
    """A terminal that nobody is at any more."""
    master, slave = pty.openpty()
    os.close(master)
    return slave


def one_line(program, arguments, folder):
    """As `PROGRAM | head -1`, both outputs."""
    reader, writer = os.pipe()
    head = subprocess.Popen(["head", "-n", "1"], stdin=reader, stdout=subprocess.DEVNULL)
    os.close(reader)
    try:
        return run(program, arguments, folder, stdout=writer, stderr=writer, meanwhile=lambda _: os.close(writer))
    finally:
        head.wait()


def terminal_that_leaves(program, arguments, folder):
    """Both outputs are a terminal, which goes away after a moment."""
    master, slave = pty.openpty()

    def leave(_):
        os.close(slave)
        time.sleep(0.15)
        os.close(master)

    return run(program, arguments, folder, stdout=slave, stderr=slave, meanwhile=leave)


def main():
    program = program_of_arguments()
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        workplace(program, folder)
        assert run(program, ["run", "--out", "done"], folder).code == 0
        right = results(f"{folder}/done")
        ways = {
            "stdout closed": lambda a: run(program, a, folder, stdout=closed_pipe()),
            "stderr closed": lambda a: run(program, a, folder, stderr=closed_pipe()),
            "both closed": lambda a: run(program, a, folder, stdout=closed_pipe(), stderr=closed_pipe()),
            "stdout full": lambda a: run(program, a, folder, stdout=full()),
            "stderr full": lambda a: run(program, a, folder, stderr=full()),
            "both full": lambda a: run(program, a, folder, stdout=full(), stderr=full()),
            "no descriptors": lambda a: run(program, a, folder, before=lambda: (os.close(1), os.close(2))),
            "terminal gone": lambda a: run(program, a, folder, stdout=hung_up(), stderr=hung_up()),
            "| head -1": lambda a: one_line(program, a, folder),
            "terminal leaves": lambda a: terminal_that_leaves(program, a, folder),
        }
        runs = 0
        print(f"{'command':20} {'own':>4}  " + "  ".join(f"{way:>15}" for way in ways))
        for name, arguments, is_result in COMMANDS:
            own = run(program, arguments, folder).code
            codes = []
            for way, ended in ways.items():
                shutil.rmtree(f"{folder}/out", ignore_errors=True)
                code = ended(arguments).code
                runs += 1
                may_fail = is_result and way in ("stdout full", "both full")
                if code != own and not (may_fail and code == 1):
                    faults.append(f"{name}, {way}: exit code {code}, its own is {own}")
                if is_result and way == "stdout full" and code == own == 0:
                    faults.append(f"{name}, {way}: exit code 0 although nothing could be written")
                if name == "run" and results(f"{folder}/out") != right:
                    faults.append(f"{name}, {way}: its files are not those of an undisturbed run")
                codes.append(code)
            print(f"{name:20} {own:>4}  " + "  ".join(f"{str(code):>15}" for code in codes), flush=True)
        print(f"{runs} runs")
    end(faults)


if __name__ == "__main__":
    main()
