"""How long it takes to open a bundle with large weights: the first time, when they are hashed, and then.

    python scripts/torture/open_large.py PROGRAM [--gigabytes 5] [--folder DIR]

The demo's bundle is baked and its weight file made longer by random bytes, with a manifest to match. Opening is timed with
`inspect`, from the start of the process to its end, against a bundle of the demo's own size.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

DEMO = pathlib.Path(__file__).resolve().parents[2] / "models" / "demo"
PIECE = 1 << 20


def seal(manifest):
    """The text of a bundle.json that states its own hash."""
    text = json.dumps(dict(manifest, manifest_sha256=""), indent=2) + "\n"
    return re.sub('"manifest_sha256": ""', f'"manifest_sha256": "{hashlib.sha256(text.encode()).hexdigest()}"', text)


def enlarge(bundle, size):
    weights, path = bundle / "weights.bin", bundle / "bundle.json"
    digest = hashlib.sha256(weights.read_bytes())
    piece = os.urandom(PIECE)
    with weights.open("ab") as file:
        while file.tell() < size:
            file.write(piece)
            digest.update(piece)
    manifest = json.loads(path.read_text())
    manifest["files"]["weights.bin"] = {"sha256": digest.hexdigest(), "bytes": weights.stat().st_size}
    path.write_text(seal(manifest))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--gigabytes", type=float, default=5)
    parser.add_argument("--folder", type=pathlib.Path, help="where there is space [default: the system's]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        folder = pathlib.Path(folder)
        env = dict(os.environ, GIM_HARNESS_CACHE=str(folder / "cache"))
        program = arguments.program.resolve()

        def timed(*words):
            start = time.monotonic()
            subprocess.run([program, *words], env=env, stdout=subprocess.DEVNULL, check=True)
            return time.monotonic() - start

        small, large = folder / "small", folder / "large"
        for bundle in (small, large):
            timed("bake", DEMO, "--out", bundle, "--no-verify")
        enlarge(large, int(arguments.gigabytes * 1e9))
        # Long enough for the hash to be kept.
        time.sleep(3.5)
        timed("inspect", small)
        print(f"weights.bin has {(large / 'weights.bin').stat().st_size:,} bytes")
        print(f"first opening, hashes kept: {timed('inspect', large):.2f} s")
        for bundle in (small, large):
            times = [timed("inspect", bundle) for _ in range(11)]
            name = "demo" if bundle == small else "large"
            print(f"opened again, {name}: median of {len(times)} {statistics.median(times) * 1000:.0f} ms, most {max(times) * 1000:.0f} ms")
        print(f"--verify-files: {timed('inspect', large, '--verify-files'):.2f} s")


if __name__ == "__main__":
    main()
