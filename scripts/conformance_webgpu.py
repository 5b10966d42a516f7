"""Runs the graphs of conformance kits in Chromium, by onnxruntime-web's WebGPU provider or its WebAssembly one:

    pip install playwright==1.65.2          # its client only; the browser is the system's
    apt-get install chromium
    npm install onnxruntime-web
    python scripts/conformance_webgpu.py node_modules/onnxruntime-web/dist tests/fixtures/conformance/* [--provider wasm]

Where the machine has no graphics device, Chromium's software one (SwiftShader) is asked for. Prints what the adapter says of itself,
then one line a kit: for each graph the largest deviation over the largest number that is expected, or what was said against it, and
the median time of gradient.onnx in milliseconds. The exit status is 1 where there is no adapter or a graph is off by more than 1e-4.
"""

import argparse
import functools
import http.server
import json
import pathlib
import sys
import threading

from playwright.sync_api import sync_playwright

BROWSER = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-unsafe-webgpu", "--enable-features=Vulkan,WebGPU", "--use-webgpu-adapter=swiftshader", "--use-vulkan=swiftshader",
         "--disable-vulkan-surface"]
GRAPHS = ["embed", "forward", "forward_embeds", "gradient", "attention"]
BOUND = 1e-4
ADAPTER = """async () => {
  if (!navigator.gpu) return null;
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) return null;
  const { vendor, architecture, device, description } = adapter.info;
  return { vendor, architecture, device, description };
}"""
# An array of NumPy's format 1.0: a header in Python's notation, then the elements.
RUN = """async ([provider, outputs, budget]) => {
  const ort = await import("/ort/" + (provider === "webgpu" ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs"));
  ort.env.wasm.wasmPaths = "/ort/";
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const TYPES = { "<f4": ["float32", Float32Array], "<i8": ["int64", BigInt64Array] };
  const bytes = async (path) => (await fetch("/kit/" + path)).arrayBuffer();
  async function load(path) {
    const file = await bytes(path);
    const start = 10 + new DataView(file).getUint16(8, true);
    const header = new TextDecoder("latin1").decode(file.slice(10, start));
    const [type, Elements] = TYPES[/'descr': '([^']*)'/.exec(header)[1]];
    const dims = /'shape': \\(([^)]*)\\)/.exec(header)[1].split(",").map((size) => size.trim()).filter(Boolean).map(Number);
    return { type, dims, data: new Elements(file.slice(start)) };
  }
  function deviation(found, wanted) {
    const largest = wanted.data.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
    const same = found.dims.length === wanted.dims.length && found.dims.every((size, i) => size === wanted.dims[i]);
    return same ? wanted.data.reduce((most, x, i) => Math.max(most, Math.abs(x - found.data[i])), 0) / largest : NaN;
  }
  const weights = new Uint8Array(await bytes("weights.bin"));
  const result = {};
  for (const [graph, names] of Object.entries(outputs)) {
    try {
      const options = { executionProviders: [provider], externalData: [{ path: "weights.bin", data: weights }], logSeverityLevel: 3 };
      const session = await ort.InferenceSession.create(new Uint8Array(await bytes(graph + ".onnx")), options);
      const feeds = {};
      for (const input of session.inputNames) {
        const { type, data, dims } = await load(`inputs/${input}.npy`);
        feeds[input] = new ort.Tensor(type, data, dims);
      }
      const found = await session.run(feeds);
      const each = [];
      for (const name of names) each.push(deviation(found[name], await load(`expected/${graph}.${name}.npy`)));
      result[graph] = each.some(Number.isNaN) ? "not a number, or of another shape" : Math.max(...each);
      if (graph === "gradient") {
        const times = [];
        for (const end = performance.now() + 1e3 * budget; times.length < 3 || performance.now() < end; ) {
          const start = performance.now();
          await session.run(feeds);
          times.push(performance.now() - start);
        }
        result.milliseconds = times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
      }
      await session.release();
    } catch (error) {
      result[graph] = String(error.message ?? error).slice(0, 300);
    }
  }
  return result;
}"""


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, roots, *arguments, **named):
        self.roots = roots
        super().__init__(*arguments, **named)

    def log_message(self, *_):
        pass

    def end_headers(self):
        # Another kit has other files of the same names.
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def translate_path(self, path):
        root, _, rest = path.lstrip("/").partition("/")
        return str(self.roots[root] / rest) if root in self.roots else str(self.roots["kit"] / "absent")

    def do_GET(self):
        if self.path != "/":
            return super().do_GET()
        body = b'<!doctype html><title>conformance</title><link rel="icon" href="data:,">'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=pathlib.Path)
    parser.add_argument("kits", type=pathlib.Path, nargs="+")
    parser.add_argument("--provider", choices=["webgpu", "wasm"], default="webgpu")
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    roots = {"ort": arguments.dist.resolve(), "kit": arguments.kits[0].resolve()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, roots))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    wrong = False
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=FLAGS, headless=True)
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.on("console", lambda message: message.type == "error" and print("browser:", message.text[:300], file=sys.stderr))
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        adapter = page.evaluate(ADAPTER)
        print(browser.version, json.dumps(adapter), flush=True)
        if arguments.provider == "webgpu" and not adapter:
            print("no WebGPU adapter")
            return 1
        for kit in arguments.kits:
            roots["kit"] = kit.resolve()
            expected = [file.stem.split(".", 1) for file in sorted((kit / "expected").glob("*.npy"))]
            outputs = {graph: [name for of, name in expected if of == graph] for graph in GRAPHS if (kit / f"{graph}.onnx").exists()}
            found = page.evaluate(RUN, [arguments.provider, outputs, arguments.seconds])
            print(kit.name, json.dumps(found), flush=True)
            wrong |= any(isinstance(found[graph], str) or found[graph] > BOUND for graph in outputs)
        browser.close()
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
