// Runs the graphs of a conformance kit (scripts/conformance.py says what that is) in onnxruntime-node or -web:
//
//     npm install onnxruntime-node onnxruntime-web
//     node conformance.mjs onnxruntime-node KIT [SECONDS]
//
// from a folder that sees node_modules. Prints one JSON object: for each graph the largest deviation over the largest number that
// is expected (null: not a number), or what was said against it; and the median processor time of gradient.onnx.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [name, kit, budget = "2"] = process.argv.slice(2);
const ort = await import(name);
const version = JSON.parse(readFileSync(join(createRequire(import.meta.url).resolve(name), "../../package.json"))).version;
const web = name === "onnxruntime-web";
if (web) ort.env.wasm.numThreads = 1;

// An array of NumPy's format 1.0: a header in Python's notation, then the elements.
const TYPES = { "<f4": ["float32", Float32Array], "<i8": ["int64", BigInt64Array] };
function load(file) {
  const bytes = readFileSync(file);
  const start = 10 + bytes.readUInt16LE(8);
  const header = bytes.toString("latin1", 10, start);
  const [type, Elements] = TYPES[/'descr': '([^']*)'/.exec(header)[1]];
  const dims = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").map((size) => size.trim()).filter(Boolean).map(Number);
  const copy = bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length);
  return { type, dims, data: new Elements(copy) };
}

function deviation(found, wanted) {
  const largest = wanted.data.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
  const same = found.dims.length === wanted.dims.length && found.dims.every((size, i) => size === wanted.dims[i]);
  return same ? wanted.data.reduce((most, x, i) => Math.max(most, Math.abs(x - found.data[i])), 0) / largest : NaN;
}

const result = { runtime: web ? "onnxruntime-web, WebAssembly" : name, version, graphs: {} };
for (const graph of ["embed", "forward", "forward_embeds", "gradient", "attention"]) {
  if (!existsSync(join(kit, `${graph}.onnx`))) continue;
  try {
    const options = { intraOpNumThreads: 1, logSeverityLevel: 4 };
    if (web) options.externalData = [{ path: "weights.bin", data: join(kit, "weights.bin") }];
    const session = await ort.InferenceSession.create(join(kit, `${graph}.onnx`), options);
    const feeds = {};
    for (const input of session.inputNames) {
      const { type, data, dims } = load(join(kit, `inputs/${input}.npy`));
      feeds[input] = new ort.Tensor(type, data, dims);
    }
    const found = await session.run(feeds);
    const outputs = readdirSync(join(kit, "expected")).filter((file) => file.startsWith(`${graph}.`));
    result.graphs[graph] = Math.max(...outputs.map((file) => deviation(found[file.split(".")[1]], load(join(kit, "expected", file)))));
    if (graph === "gradient") {
      const times = [];
      for (const end = Date.now() + 1e3 * Number(budget); times.length < 3 || Date.now() < end; ) {
        const start = process.cpuUsage();
        await session.run(feeds);
        const { user, system } = process.cpuUsage(start);
        times.push((user + system) / 1e3);
      }
      result.milliseconds = times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
      result.runs = times.length;
    }
  } catch (error) {
    result.graphs[graph] = String(error.message ?? error).slice(0, 200);
  }
}
console.log(JSON.stringify(result));
