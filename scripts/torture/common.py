"""What the scripts of this folder share: a small workplace, and running the program under a watch.

Only the standard library is used. Every script takes the path of the program, and prints figures; it ends with 1 where
something happened that must not.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "tests/fixtures/llama-a"
WORDS = [f"w{n}" for n in range(3, 123)]


@dataclasses.dataclass
class Ended:
    """How a process ended: its exit code (negative: killed by that signal, None: it hung), and what it took."""

    code: int | None
    out: str
    err: str
    seconds: float
    megabytes: float


def run(program, arguments, folder, *, limit=60.0, stdout=None, stderr=None, env=None, before=None, meanwhile=None):
    """Runs the program to its end, for `limit` seconds at most. Output goes to files where none is given.

    `before` runs in the new process before the program; `meanwhile(process)` while it runs.
    """
    environment = dict(os.environ, GIM_HARNESS_CACHE=str(pathlib.Path(folder) / "cache"), RAYON_NUM_THREADS="1")
    environment.update(env or {})
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(program), *map(str, arguments)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out if stdout is None else stdout,
            stderr=err if stderr is None else stderr,
            env=environment,
            preexec_fn=before,
        )
        if meanwhile is not None:
            meanwhile(process)
        usage, status = None, None
        while usage is None:
            pid, status, found = os.wait4(process.pid, os.WNOHANG)
            if pid:
                usage = found
            elif time.monotonic() - start > limit:
                os.kill(process.pid, signal.SIGKILL)
                _, _, usage = os.wait4(process.pid, 0)
                status = None
            else:
                time.sleep(0.002)
        seconds = time.monotonic() - start
        process.returncode = 0 if status is None else os.waitstatus_to_exitcode(status)
        read = lambda file: (file.seek(0), file.read().decode("utf-8", "replace"))[1]
        code = None if status is None else process.returncode
        return Ended(code, read(out), read(err), seconds, usage.ru_maxrss / 1024)


def workplace(program, folder, examples=20, methods=("gim", "gradient", "ablation")):
    """A harness of one small bundle and one task in `folder`."""
    folder = pathlib.Path(folder)
    shutil.copytree(CHECKPOINT, folder / "checkpoint")
    ended = run(program, ["bake", "checkpoint", "--out", "bundle", "--no-verify"], folder)
    assert ended.code == 0, ended.err
    rows = []
    for number in range(examples):
        words = [WORDS[(7 * number + 13 * i) % len(WORDS)] for i in range(5 + number % 4)]
        rows.append({"id": f"e{number}", "text": " ".join(words), "label": "w20" if number % 2 else "w21"})
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "words.csv").write_text("id,text,label\n" + "".join(f"{r['id']},{r['text']},{r['label']}\n" for r in rows))
    for kind in ("jsonl", "csv"):
        (folder / f"{kind}.yaml").write_text(
            f"task: {kind}\ndata: {{file: words.{kind}, id: id}}\nprompt: \"{{text}} w9\"\ncontext: text\n"
            'answer: "{label}"\noptions: [w20, w21]\n'
        )
    (folder / "harness.yaml").write_text(
        "name: small\nmodels: [bundle]\ntasks: [jsonl.yaml]\nmethods: [" + ", ".join(methods) + "]\n"
        "statistics: {resamples: 200}\n"
    )
    return folder


def results(folder):
    """The hash of each file that a run left and that is the same for the same inputs."""
    varying = {"manifest.json", "timings.csv"}
    # Hidden files are not finished, and nobody's results.
    files = [f for f in pathlib.Path(folder).iterdir() if f.is_file() and not f.name.startswith(("run.sqlite", "."))]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.name not in varying}


def program_of_arguments():
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} PROGRAM")
    return pathlib.Path(sys.argv[1]).resolve()


def end(faults):
    """Prints what must not have happened, and ends the script."""
    for fault in faults[:20]:
        print("FAULT", fault)
    print(f"{len(faults)} faults")
    sys.exit(1 if faults else 0)
