"""Tries a page of `gim-harness web` in a real browser: its numbers against `explain`, its looks, its keys, and what it says when
something is wrong.

    pip install playwright==1.65.2          # its client only; the browser is the system's
    apt-get install chromium
    python scripts/check_web.py PAGE BUNDLE PROGRAM SHOTS [--prompt TEXT ...] [--numbers-only]

PAGE is the folder that `web` wrote of BUNDLE, PROGRAM the program that is built. Checks, each a line; the exit status is 1 where
one fails. Screenshots go to the folder SHOTS. `--numbers-only` leaves out all that would fetch a large model many times.
"""

import argparse
import functools
import http.server
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

from playwright.sync_api import sync_playwright

BROWSER = "/usr/bin/chromium"
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
METHODS = ["gim", "gradient", "integrated_gradients"]
PROMPTS = [
    "The door rattles. The stove spins. Nearby, the clock shines. Is it true that the clock shines?",
    "The door rattles. The stove spins. Nearby, the clock shines. Is it true that the clock spins?",
    "Naïve words, “quoted”: 1,234.56 & <b>日本語</b> 😀\nand a second line",
]
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
# As the page says of itself, by a server: workers have no policy but their own response's.
STRICT = {"Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; worker-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff"}
failed = []


def check(what, holds, more=""):
    print("ok  " if holds else "FAIL", what, more, flush=True)
    if not holds:
        failed.append(what)


class Server(http.server.ThreadingHTTPServer):
    """Files of a folder, with headers; `missing` answer 404, `replaced` are others."""

    def __init__(self, folder, headers=()):
        self.headers, self.missing, self.replaced, self.asked = dict(headers), set(), {}, []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *_):
        pass

    def end_headers(self):
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def do_GET(self):
        name = self.path.split("?")[0].lstrip("/") or "index.html"
        self.server.asked.append(name)
        if name in self.server.missing:
            return self.send_error(404)
        if name in self.server.replaced:
            body = self.server.replaced[name]
            self.send_response(200)
            self.send_header("Content-Type", self.guess_type(name))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return self.wfile.write(body)
        try:
            super().do_GET()
        except (BrokenPipeError, ConnectionResetError):
            pass


def expected(program, bundle, prompt, target):
    command = [program, "explain", bundle, "--format", "json", "--prompt", prompt]
    command += ["--target", target] if target else []
    command += [part for method in METHODS for part in ("--method", method)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Page:
    def __init__(self, browser, url, **options):
        self.requests, self.errors, self.url = [], [], url
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self):
        self.page.goto(self.url, wait_until="load")
        return self

    def ask(self, prompt, target="", limit=600):
        self.page.fill("#prompt", prompt)
        if self.page.locator("select#target").count():
            self.page.select_option("#target", target)
        else:
            self.page.fill("#target", target)
        self.page.click("#go")
        return self.wait(limit)

    def wait(self, limit=600):
        self.page.wait_for_selector("#go:enabled", timeout=1e3 * limit)
        return self.page.inner_text("#status")

    def problem(self):
        return self.page.inner_text("#problems").strip()

    def json(self):
        with self.page.expect_download() as download:
            self.page.click("text=Save as JSON")
        return json.loads(pathlib.Path(download.value.path()).read_text())


def compare(found, wanted, name):
    for key in ("input_ids", "tokens", "position", "target_id", "target", "baseline_id"):
        check(f"{name}: {key}", found[key] == wanted[key], "" if found[key] == wanted[key] else f"{found[key]} is not {wanted[key]}")
    gap = abs(found["score"] - wanted["score"])
    check(f"{name}: score within 1e-4", gap <= 1e-4, f"{gap:.1e}")
    for a, b in zip(found["explanations"], wanted["explanations"], strict=True):
        gap = max(abs(x - y) for x, y in zip(a["attributions"], b["attributions"], strict=True))
        size = max(abs(y) for y in b["attributions"])
        # Where attributions are larger than a logit, what is left of f32 is a share of them.
        check(f"{name}: {a['method']} within 1e-4", a["method"] == b["method"] and gap <= 1e-4 * max(1, size), f"{gap:.1e} (the largest is {size:.3g})")


def numbers(browser, folder, bundle, program, prompts, shots):
    for headers, name in (({}, "plain server"), ({**ISOLATED, **STRICT}, "isolated, strict policy")):
        server = Server(folder, headers)
        page = Page(browser, server.url, viewport={"width": 1440, "height": 1000}).open()
        for prompt in prompts:
            begun = time.perf_counter()
            status = page.ask(prompt)
            if page.problem():
                check(f"{name}: {prompt[:30]!r} is explained", False, page.problem())
                continue
            print(f"     {name}, {prompt[:30]!r}: {status} ({time.perf_counter() - begun:.1f} s)")
            compare(page.json(), expected(program, bundle, prompt, ""), f"{name}, {prompt[:20]!r}")
        wanted = expected(program, bundle, prompts[0], "")
        options = page.page.locator("select#target option")
        other = options.nth(1).get_attribute("value") if options.count() else " No" if "Yes" in wanted["target"] else " Yes"
        try:
            wanted = expected(program, bundle, prompts[0], other)
        except subprocess.CalledProcessError:
            other = wanted["target"]
        page.ask(prompts[0], other)
        check(f"{name}: a named answer, {other!r}", not page.problem(), page.problem())
        compare(page.json(), wanted, f"{name}, {other!r}")
        check(f"{name}: nothing is asked of another server", all(r.startswith((server.url, "data:", "blob:")) for r in page.requests))
        check(f"{name}: no console error", not page.errors, str(page.errors[:3]))
        page.page.screenshot(path=shots / f"numbers-{name.split()[0].strip(',')}.png")
        page.context.close()
        server.shutdown()


def looks(browser, folder, prompt, shots):
    server = Server(folder)
    for scheme in ("light", "dark"):
        for width, height in ((1440, 1000), (390, 844)):
            page = Page(browser, server.url, viewport={"width": width, "height": height}, color_scheme=scheme).open()
            page.page.screenshot(path=shots / f"{scheme}-{width}-first.png")
            page.ask(prompt)
            page.page.click("text=All numbers")
            wide = page.page.evaluate("document.documentElement.scrollWidth")
            check(f"{scheme}, {width} px: nothing is wider than the screen", wide <= width, str(wide))
            page.page.screenshot(path=shots / f"{scheme}-{width}.png", full_page=True)
            page.context.close()
    unlabelled = "[...document.querySelectorAll('input,textarea,select')].filter(e => !e.labels.length).length"
    page = Page(browser, server.url).open()
    check("every field has a label", page.page.evaluate(unlabelled) == 0)
    page.context.close()
    server.shutdown()


def keys(browser, folder, prompt):
    server = Server(folder)
    page = Page(browser, server.url, viewport={"width": 1440, "height": 1000}).open()
    page.page.wait_for_selector("#go:enabled")
    page.page.keyboard.press("Tab")
    check("the first key goes to the link past the form", page.page.evaluate("document.activeElement.className") == "skip")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Control+a")
    page.page.keyboard.type(prompt)
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Tab")
    check("two more go to the button", page.page.evaluate("document.activeElement.id") == "go")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#results h2", timeout=60_000)
    page.wait()
    check("a key explains", page.page.locator(".method").count() == 3)
    check("the focus is still in the form", page.page.evaluate("document.activeElement.id") == "go")
    for _ in range(3):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    page.page.keyboard.press("Enter")
    check("a key opens all numbers", page.page.locator("#results details[open] tbody tr").count() > 5)
    page.page.focus("#prompt")
    page.page.keyboard.press("Control+Enter")
    page.page.wait_for_selector("#go:disabled")
    page.page.wait_for_selector("#stop:visible")
    page.page.click("#stop")
    status = page.wait()
    check("it can be stopped", status.startswith(("Stopped", "Done")), status)
    page.context.close()
    server.shutdown()


def said(browser, folder, shots):
    def with_server(what, expected, prompt="Is it true?", target="", change=lambda server: None, script=None, **options):
        server = Server(folder)
        change(server)
        page = Page(browser, server.url, viewport={"width": 1440, "height": 700}, **options)
        if script:
            page.page.add_init_script(script)
        page.open()
        page.page.wait_for_timeout(300)
        if page.page.is_enabled("#go"):
            page.ask(prompt, target)
        text = page.problem()
        check(f"{what} is said", bool(re.search(expected, text)), f"“{text}”")
        page.page.screenshot(path=shots / f"said-{re.sub('[^a-z]+', '-', what.lower())}.png")
        page.context.close()
        server.shutdown()
        return server

    facts = json.loads((folder / "page.json").read_text())
    for name in ("model/weights.bin", "model/gradient.onnx", "runtime/ort-wasm-simd-threaded.wasm", "runtime/tokenizers.min.mjs", "runtime/ort-wasm-simd-threaded.mjs", "worker.js", "page.json"):
        with_server(f"without {name}", re.escape(name), change=lambda server: server.missing.add(name))
    cut = (folder / "model/weights.bin").read_bytes()[:-100]
    with_server("weights that were cut off", "weights.bin has .* of its", change=lambda server: server.replaced.update({"model/weights.bin": cut}))
    other = bytearray((folder / "model/weights.bin").read_bytes())
    other[1000] ^= 1
    with_server("weights that are others", "not the file that belongs here", change=lambda server: server.replaced.update({"model/weights.bin": bytes(other)}))
    large = json.dumps({**facts, "memory_bytes": 5 << 30}).encode()
    server = with_server("a model that is too large", "needs about 5120 MiB of memory.*nothing was fetched", change=lambda server: server.replaced.update({"page.json": large}))
    check("and nothing of it is fetched", not any(name.startswith(("model/", "runtime/")) for name in server.asked), str(server.asked))
    others = json.dumps({**facts, "checks": [["a b", [1, 2, 3, 4, 5]]]}).encode()
    with_server("a tokenizer that cuts otherwise", "into other tokens", change=lambda server: server.replaced.update({"page.json": others}))
    with_server("a prompt that is too long", r"has \d+ tokens, and .*shorten it", prompt="door " * 3000)
    server = Server(folder)
    page = Page(browser, server.url).open()
    page.ask("door " * 3000)
    page.ask("Is it true?")
    fetched = server.asked.count("model/weights.bin")
    check("after it the next prompt is explained, and nothing is fetched again", not page.problem() and fetched == 1, f"{page.problem()} {fetched}")
    page.context.close()
    server.shutdown()
    if not facts["labels"]:
        with_server("an answer of several tokens", "is 2 tokens|is [3-9] tokens|not in the model's vocabulary", target="clock clock door")
    with_server("no WebAssembly", "has no WebAssembly", script="delete globalThis.WebAssembly")
    with_server("no SIMD", r"no vector instructions \(SIMD\)", script="WebAssembly.validate = () => false")
    with_server("no workers", "has no workers", script="delete globalThis.Worker")
    page = Page(browser, (folder / "index.html").resolve().as_uri()).open()
    page.page.wait_for_timeout(300)
    text = page.problem() or page.page.inner_text("#status")
    check("a page that was opened as a file says so", "python -m http.server" in text, f"“{text}”")
    page.context.close()
    page = Page(browser, (folder / "index.html").resolve().as_uri(), java_script_enabled=False).open()
    check("a page without scripts says so", "needs JavaScript" in page.page.inner_text("#status"))
    page.context.close()


def main():
    parser = argparse.ArgumentParser()
    for name in ("page", "bundle", "program", "shots"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--prompt", action="append", default=[])
    parser.add_argument("--numbers-only", action="store_true")
    arguments = parser.parse_args()
    arguments.shots.mkdir(parents=True, exist_ok=True)
    prompts = arguments.prompt or PROMPTS
    bundle, program = str(arguments.bundle), str(arguments.program)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS.split(), downloads_path=profile)
        print("    ", browser.version)
        numbers(browser, arguments.page, bundle, program, prompts, arguments.shots)
        if not arguments.numbers_only:
            looks(browser, arguments.page, prompts[0], arguments.shots)
            keys(browser, arguments.page, prompts[0])
            said(browser, arguments.page, arguments.shots)
        browser.close()
    if failed:
        sys.exit(f"{len(failed)} failed")


if __name__ == "__main__":
    main()
