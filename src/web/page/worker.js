// All that takes time: fetches the model, runs its graphs with onnxruntime-web, and sums what they give.
import { tokenizer } from "./tokenize.js";

// What the page shows as it stands: a sentence for its reader.
class Said extends Error {}

const MIB = 1 << 20;
// Of larger weights a graph's copy is let go of before the next graph is loaded, and no second one is laid out for speed.
const LARGE = 256 * MIB;

const post = (kind, more) => postMessage({ kind, ...more });
let facts, names, encode, ort, weights;
let loading = null;
let stopped = false;
const sessions = new Map();
// What is fetched before the first answer, and how much of it is here.
const fetched = { bytes: 0, of: 0 };

async function hexadecimal(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A file of the page, whole, with the size and the hash that page.json states of it.
async function load(path) {
  const { bytes, sha256 } = facts.files[path];
  const broken = (what) => new Said(`${path} ${what}: put the whole folder of this page on the server again.`);
  let answer;
  try {
    answer = await fetch(new URL(path, self.location.href));
  } catch (error) {
    throw broken(`cannot be fetched (${error.message})`);
  }
  if (!answer.ok) throw broken(`is missing on the server (it answers ${answer.status})`);
  let data;
  try {
    data = new Uint8Array(bytes);
  } catch {
    throw new Said(`This browser has no room for ${path} (${Math.round(bytes / MIB)} MiB): close other pages, or run gim-harness itself.`);
  }
  let at = 0;
  const reader = answer.body.getReader();
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw broken(`was cut off after ${at} of ${bytes} bytes (${error.message})`);
    }
    if (part.done) break;
    if (at + part.value.length > bytes) throw broken(`has more than its ${bytes} bytes`);
    data.set(part.value, at);
    at += part.value.length;
    fetched.bytes += part.value.length;
    post("fetched", fetched);
  }
  if (at < bytes) throw broken(`has ${at} of its ${bytes} bytes`);
  // Only pages from a safe place (https, or this machine) may use the browser's SHA-256.
  if (crypto.subtle && (await hexadecimal(data)) !== sha256) throw broken("is not the file that belongs here");
  return data;
}

const json = async (path) => JSON.parse(new TextDecoder().decode(await load(path)));

async function prepare() {
  fetched.bytes = 0;
  const large = [facts.runtime.wasm, facts.weights, ...Object.values(facts.graphs), facts.tokenizer, facts.tokens];
  fetched.of = large.reduce((sum, path) => sum + facts.files[path].bytes, 0);
  const library = async (path) => {
    try {
      return await import(new URL(path, self.location.href));
    } catch (error) {
      throw new Said(`${path} cannot be loaded (${error.message}): put the whole folder of this page on a server that hands out .mjs files as JavaScript.`);
    }
  };
  const { Tokenizer } = await library(facts.runtime.tokenizers);
  ({ names } = await json(facts.tokens));
  encode = tokenizer(Tokenizer, await json(facts.tokenizer));
  const same = (ids, wanted) => ids.length === wanted.length && ids.every((id, i) => id === wanted[i]);
  const otherwise = facts.checks.filter(([text, wanted]) => {
    try {
      return !same(encode(text), wanted);
    } catch {
      return true;
    }
  });
  if (otherwise.length) post("warning", { text: `The tokenizer of this page cuts ${otherwise.length} of ${facts.checks.length} test texts into other tokens than the model's own does, the first of them ${JSON.stringify(otherwise[0][0])}: what it says of such text is of another prompt.` });
  ort = await library(facts.runtime.ort);
  await library(facts.runtime.glue);
  ort.env.wasm.wasmPaths = { mjs: new URL(facts.runtime.glue, self.location.href).href };
  ort.env.wasm.wasmBinary = (await load(facts.runtime.wasm)).buffer;
  // Threads share memory, which browsers allow only to pages that are isolated from others.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 16) : 1;
  weights = await load(facts.weights);
  for (const path of Object.values(facts.graphs)) graphs.set(path, await load(path));
}
const graphs = new Map();

async function session(name) {
  if (sessions.has(name)) return sessions.get(name);
  const large = weights.length > LARGE;
  if (large) {
    for (const [other, open] of sessions) {
      await open.release();
      sessions.delete(other);
    }
  }
  const options = { executionProviders: ["wasm"], externalData: [{ path: facts.weight_file, data: weights }], logSeverityLevel: 3 };
  if (large) Object.assign(options, { enableCpuMemArena: false, enableMemPattern: false, extra: { session: { disable_prepacking: "1" } } });
  post("step", { text: `Loading ${facts.graphs[name]}`, at: null });
  const open = await ort.InferenceSession.create(graphs.get(facts.graphs[name]), options);
  sessions.set(name, open);
  return open;
}

// Those of the inputs that the graph has.
async function run(name, inputs) {
  const open = await session(name);
  return open.run(Object.fromEntries(open.inputNames.map((name) => [name, inputs[name]])));
}

const whole = (values, dims = [values.length]) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), dims);
const real = (data, dims) => new ort.Tensor("float32", data, dims);

async function embed(ids) {
  const { inputs_embeds: found } = await run("embed", { input_ids: whole(ids, [1, ids.length]) });
  return found.data.slice();
}

// The token, or a classifier's label, of the highest logit; of equal ones the first.
async function answer(ids, position) {
  const ones = new Array(ids.length).fill(1);
  const feeds = { input_ids: whole(ids, [1, ids.length]), attention_mask: whole(ones, [1, ids.length]), position: whole([position]) };
  const { logits } = await run("forward", feeds);
  return logits.data.reduce((best, value, id, all) => (value > all[best] ? id : best), 0);
}

async function gradient(question, embeddings, knobs) {
  const { length, position, target } = question;
  const feeds = {
    inputs_embeds: real(embeddings, [1, length, facts.hidden]),
    attention_mask: whole(new Array(length).fill(1), [1, length]),
    position: whole([position]),
    target: whole([target]),
    contrast: whole([0]),
    contrast_weight: real(Float32Array.of(0), [1]),
  };
  for (const [name, value] of Object.entries(knobs)) feeds[name] = real(Float32Array.of(value), []);
  const { score, gradient: found } = await run("gradient", feeds);
  return { score: score.data[0], gradient: found.data };
}

// One number a token: the sum over features of difference times gradient, in double precision.
function contributions(difference, gradient) {
  const found = new Array(difference.length / facts.hidden).fill(0);
  difference.forEach((value, i) => { found[Math.floor(i / facts.hidden)] += value * gradient[i]; });
  return found;
}

function one(text, special) {
  const ids = encode(text, special);
  if (ids.length === 1 && (ids[0] !== facts.unknown || text === names[facts.unknown])) return ids[0];
  return null;
}

// The id of what was typed as an answer.
function named(text) {
  if (facts.labels) {
    const number = /^\d+$/.test(text.trim()) ? Number(text) : -1;
    const found = facts.labels.findIndex((label) => label.toLowerCase() === text.trim().toLowerCase());
    if (found >= 0) return found;
    if (number >= 0 && number < facts.labels.length) return number;
    throw new Said(`The model has no label “${text}”; its labels are ${facts.labels.join(", ")}.`);
  }
  const id = one(text, false);
  if (id !== null) {
    if (id < facts.outputs) return id;
    throw new Said(`The model has no logit for “${text}”.`);
  }
  const other = text.startsWith(" ") ? text.trimStart() : ` ${text}`;
  const hint = one(other, false) !== null ? ` “${other}” is one.` : "";
  const ids = encode(text, false);
  if (ids.length === 1) throw new Said(`“${text}” is not in the model's vocabulary.${hint}`);
  throw new Said(`“${text}” is ${ids.length} tokens (${ids.map((id) => `“${names[id]}”`).join(", ")}), and this page explains answers of one.${hint}`);
}

async function explain({ prompt, target: wanted }) {
  loading ??= prepare().catch((error) => {
    loading = null;
    throw error;
  });
  await loading;
  if (stopped) return;
  let ids;
  try {
    ids = encode(prompt);
  } catch (error) {
    throw new Said(`The prompt cannot be cut into tokens: ${error.message}.`);
  }
  if (!ids.length) throw new Said("The prompt has no tokens: type one.");
  if (ids.length > facts.most_tokens) {
    const positions = facts.max_positions && facts.max_positions <= facts.most_tokens;
    throw new Said(`The prompt has ${ids.length} tokens, and ${positions ? `the model has ${facts.max_positions} positions` : `this page takes at most ${facts.most_tokens}`}: shorten it.`);
  }
  const beyond = ids.find((id) => id >= facts.vocab);
  if (beyond !== undefined) throw new Said(`The prompt has the token “${names[beyond]}”, for which the model has no embedding.`);
  const length = ids.length;
  const position = facts.labels && !facts.scores_last ? 0 : length - 1;
  const chosen = wanted === "" ? null : named(wanted);

  // 0 to 1: the two gradients at the prompt, the score of the baseline, and the points of the path.
  const all = facts.methods.length + 1 + facts.points.length;
  let done = 0;
  const step = (text) => post("step", { text, at: done++ / all });
  const began = performance.now();
  step("The embeddings of the prompt");
  const input = await embed(ids);
  const baseline = await embed([facts.baseline.id]);
  const difference = Float64Array.from(input, (value, i) => value - baseline[i % facts.hidden]);
  const target = chosen ?? (await answer(ids, position));
  const question = { length, position, target };
  const explained = [];
  let score;
  const tell = (method, attributions, diagnostics = {}) => {
    if (!attributions.every(Number.isFinite)) throw new Said(`${method} gives numbers that are none (infinite, or not a number) for this prompt.`);
    explained.push({ method, attributions, diagnostics });
    const about = {
      input_ids: ids,
      tokens: ids.map((id) => names[id]),
      position,
      target_id: target,
      target: facts.labels ? facts.labels[target] : names[target],
      score,
      baseline_id: facts.baseline.id,
    };
    post("result", { result: { explanations: explained, ...about } });
  };
  for (const { name, knobs } of facts.methods) {
    done = explained.length;
    step(name);
    const found = await gradient(question, input, knobs);
    score = found.score;
    tell(name, contributions(difference, found.gradient));
    if (await halted()) return;
  }
  step("The baseline");
  const start = Float32Array.from(input, (_, i) => baseline[i % facts.hidden]);
  const change = score - (await gradient(question, start, facts.calculus)).score;
  const sum = new Array(length).fill(0);
  for (const [i, [place, weight]] of facts.points.entries()) {
    if (await halted()) return;
    step(`integrated_gradients, point ${i + 1} of ${facts.points.length}`);
    const point = Float32Array.from(difference, (value, at) => baseline[at % facts.hidden] + value * place);
    const found = await gradient(question, point, facts.calculus);
    contributions(difference, found.gradient).forEach((value, token) => { sum[token] += weight * value; });
  }
  const gap = Math.abs(sum.reduce((all, value) => all + value, 0) - change);
  const diagnostics = { completeness_gap: gap, steps: facts.points.length };
  if (change !== 0) diagnostics.completeness_gap_relative = gap / Math.abs(change);
  tell("integrated_gradients", sum, diagnostics);
  post("done", { seconds: (performance.now() - began) / 1e3, threads: ort.env.wasm.numThreads });
}

// Whether to stop; a message that says so is heard only between two tasks of this thread.
async function halted() {
  await new Promise((go) => setTimeout(go));
  return stopped;
}

// What a runtime's error means to somebody who typed a prompt.
function meaning(error) {
  const text = String(error?.message ?? error);
  const memory = typeof error === "number" || error instanceof RangeError || /memory|allocat|bad_alloc|OOM|Aborted/i.test(text);
  return memory
    ? `The browser's memory for this page (at most 4 GiB) did not suffice: shorten the prompt, close other pages and load this one again, or run gim-harness itself. (${text.slice(0, 200)})`
    : `The model could not be run in this browser: ${text.slice(0, 300)}`;
}

addEventListener("message", async ({ data }) => {
  if (data.kind === "stop") {
    stopped = true;
    return;
  }
  facts = data.facts;
  stopped = false;
  try {
    await explain(data);
    if (stopped) post("stopped", {});
  } catch (error) {
    // What was said of a prompt leaves the model as it is.
    const spent = loading === null || !(error instanceof Said);
    post("error", { text: error instanceof Said ? error.message : meaning(error), spent });
  }
});
post("ready", {});
