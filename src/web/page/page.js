"use strict";
// The form, and what it shows of what the worker finds. Whatever is typed or fetched is put into the page as text.
(() => {
  const at = (id) => document.getElementById(id);
  const [form, prompt, target, go, stop, status, bar, problems, results] = ["form", "prompt", "target", "go", "stop", "status", "bar", "problems", "results"].map(at);
  const MIB = 1 << 20;
  // Weaker tokens, in units of the strongest, have no colour; how many strengths of colour there are.
  const COLOURED = 0.1;
  const LEVELS = 5;

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  // What acts on a text around it (controls, marks that turn its direction) as an escape.
  const shown = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  const size = (bytes) => (bytes < 10 * MIB ? `${(bytes / MIB).toFixed(1)} MiB` : `${Math.round(bytes / MIB)} MiB`);
  const say = (text) => { status.textContent = text; };
  const problem = (text) => problems.append(make("p", { class: "notice" }, text));
  const signed = (value, digits) => (value < 0 ? "-" : "+") + Math.abs(value).toFixed(digits);

  // A vector instruction: without such a browser cannot even load onnxruntime-web.
  const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);
  const lacking = () => {
    if (location.protocol === "file:") return "A page that was opened as a file may not read the files beside it. Serve its folder, for example with “python -m http.server” in it, and open the address that this prints.";
    if (typeof WebAssembly !== "object") return "This browser has no WebAssembly (or it is switched off), which the model is computed with: use a current one.";
    if (!WebAssembly.validate(SIMD)) return "This browser's WebAssembly has no vector instructions (SIMD), which onnxruntime-web needs: use a current one.";
    if (typeof Worker !== "function") return "This browser has no workers, in which the model is computed: use a current one.";
    return null;
  };

  function coloured(token, share) {
    const strength = ((Math.abs(share) - COLOURED) / (1 - COLOURED)) * LEVELS;
    const level = Math.min(Math.floor(strength) + 1, LEVELS);
    const text = shown(token.trim());
    if (!(strength >= 0)) return text;
    return share > 0 ? make("mark", { class: `p${level}` }, text) : make("em", { class: `n${level}` }, text);
  }

  function section({ method, attributions, diagnostics }, tokens) {
    const largest = attributions.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const words = make("p", { class: "tokens", dir: "auto" });
    attributions.forEach((value, i) => words.append(coloured(tokens[i], largest ? value / largest : 0), " "));
    const order = attributions.map((_, i) => i).sort((a, b) => Math.abs(attributions[b]) - Math.abs(attributions[a]));
    const strongest = order.slice(0, 5).map((i) => `${shown(tokens[i].trim())} ${signed(attributions[i], 3)}`).join(", ");
    const numbers = make("p", { class: "numbers" }, `Strongest: ${strongest}.`);
    const part = make("div", { class: "method" }, make("h3", {}, method), words, numbers);
    if (diagnostics.completeness_gap !== undefined) {
      const share = diagnostics.completeness_gap_relative;
      numbers.append(` Completeness gap ${diagnostics.completeness_gap.toFixed(4)}${share === undefined ? "" : ` (${(100 * share).toFixed(2)} % of the change)`}, ${diagnostics.steps} points.`);
      if (!(share <= 0.1)) part.append(make("p", { class: "notice" }, "These attributions are not an integral: they miss the change that they explain by more than a tenth of it."));
    }
    return part;
  }

  function table({ explanations, tokens }) {
    const head = make("tr", {}, make("th", { scope: "col", align: "right" }, "place"), make("th", { scope: "col" }, "token"),
      ...explanations.map((one) => make("th", { scope: "col", align: "right" }, one.method)));
    const rows = tokens.map((token, i) => make("tr", {}, make("td", { align: "right" }, String(i)), make("th", { scope: "row" }, shown(token)),
      ...explanations.map((one) => make("td", { align: "right" }, signed(one.attributions[i], 4)))));
    return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "All numbers" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  let saved = null;
  function show(result) {
    const legend = make("p", { class: "legend" }, make("mark", { class: "p5" }, "for the answer"), " ", make("em", { class: "n5" }, "against it"),
      " The stronger the colour, the larger the attribution, in units of the method's largest on this prompt; below a tenth of it there is none.");
    const methods = make("div", { class: "methods" }, ...result.explanations.map((one) => section(one, result.tokens)));
    const all = results.querySelector("details");
    const numbers = make("details", {}, make("summary", {}, "All numbers"), table(result));
    numbers.open = Boolean(all && all.open);
    if (saved) URL.revokeObjectURL(saved);
    saved = URL.createObjectURL(new Blob([`${JSON.stringify(result, null, 1)}\n`], { type: "application/json" }));
    results.replaceChildren(make("h2", {}, `Why “${shown(result.target)}”? `, make("small", {}, `logit ${result.score.toFixed(3)}`)), legend, methods, numbers,
      make("p", {}, make("a", { class: "act", href: saved, download: "explanation.json" }, "Save as JSON")));
    results.hidden = false;
  }

  let worker = null;
  function busy(is) {
    go.disabled = is;
    stop.hidden = !is;
    bar.hidden = !is;
    results.setAttribute("aria-busy", String(is));
    if (is) bar.removeAttribute("value");
    else if (document.activeElement === document.body) go.focus();
  }
  function ended(text) {
    say(text);
    busy(false);
  }
  function heard({ data }) {
    if (data.kind === "fetched") {
      bar.value = data.bytes / data.of;
      say(`Fetching the model: ${size(data.bytes)} of ${size(data.of)}`);
    } else if (data.kind === "step") {
      if (data.at === null) bar.removeAttribute("value");
      else bar.value = data.at;
      say(`${data.text} …`);
    } else if (data.kind === "result") show(data.result);
    else if (data.kind === "warning") problem(data.text);
    else if (data.kind === "stopped") ended("Stopped.");
    else if (data.kind === "done") {
      const alone = data.threads > 1 ? `${data.threads} threads` : `one thread${crossOriginIsolated ? "" : ", since this server does not isolate its pages (COOP and COEP)"}`;
      ended(`Done in ${data.seconds.toFixed(1)} s, on ${alone}.`);
    } else if (data.kind === "error") {
      problem(data.text);
      ended("Nothing was computed.");
      // Memory that an error left behind is free again only with its worker.
      if (data.spent) {
        worker.terminate();
        worker = null;
      }
    }
  }
  function start() {
    const made = new Worker("worker.js", { type: "module" });
    made.addEventListener("message", heard);
    made.addEventListener("error", (event) => {
      event.preventDefault();
      problem(`worker.js cannot be run in this browser (${event.message || "it could not be loaded"}): put the whole folder of this page on the server, and use a current browser.`);
      ended("Nothing was computed.");
      worker = null;
    });
    return made;
  }

  function ready(facts) {
    const total = facts.download_bytes;
    const device = navigator.deviceMemory;
    const needs = facts.memory_bytes;
    if (needs > 4096 * MIB || (device && device < 8 && needs > device * 1024 * MIB)) {
      const has = needs > 4096 * MIB ? "a page can have at most 4 GiB" : `this device has ${device} GiB`;
      problem(`This model needs about ${size(needs)} of memory, and ${has}: nothing was fetched. Run gim-harness itself.`);
      say("");
      return;
    }
    go.disabled = false;
    say(`The first explanation fetches ${size(total)}; what you type stays in this browser.`);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (go.disabled) return;
      problems.replaceChildren();
      results.hidden = true;
      results.replaceChildren();
      busy(true);
      say("Starting …");
      worker ??= start();
      worker.postMessage({ kind: "explain", facts, prompt: prompt.value, target: target.value });
    });
    stop.addEventListener("click", () => {
      say("Stopping …");
      worker?.postMessage({ kind: "stop" });
    });
    prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
  }

  const missing = lacking();
  if (missing) {
    problem(missing);
    say("");
    return;
  }
  fetch("page.json")
    .then((answer) => {
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      return answer.json();
    })
    .then(ready, (error) => {
      problem(`page.json cannot be read (${error.message}): put the whole folder of this page on the server.`);
      say("");
    });
})();
