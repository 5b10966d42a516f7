"use strict";
(() => {
  // What is kept in the address: key=value pairs behind "#". An anchor has no "=".
  const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const keep = (key, value) => {
    if (value) state.set(key, value); else state.delete(key);
    history.replaceState(null, "", state.size ? "#" + state : location.pathname + location.search);
  };

  // Tables: a button in every head sorts by its column; the third press gives back the order as it was.
  const number = text => {
    const found = text.replace(/^[<>]/, "").match(/^-?[\d.]+(?:e[+-]?\d+)?/i);
    return found ? Number(found[0]) : NaN;
  };
  const sorts = new Map();
  const sort = (table, column, way) => {
    const body = table.tBodies[0];
    const rows = sorts.get(table);
    const text = row => row.cells[column].textContent.trim();
    const compare = (a, b) => {
      const [x, y] = [text(a), text(b)];
      const [m, n] = [number(x), number(y)];
      if (Number.isNaN(m) !== Number.isNaN(n)) return Number.isNaN(m) ? 1 : -1;
      return (Number.isNaN(m) ? x.localeCompare(y) : m - n) * (way === "d" ? -1 : 1);
    };
    body.append(...(way ? [...rows].sort(compare) : rows));
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      if (way && i === column) cell.setAttribute("aria-sort", way === "d" ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  };
  for (const table of document.querySelectorAll("table")) {
    if (table.tBodies[0].rows.length < 2) continue;
    sorts.set(table, [...table.tBodies[0].rows]);
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      if (!button.textContent.trim()) button.setAttribute("aria-label", "order");
      cell.append(button);
      button.addEventListener("click", () => {
        const now = cell.getAttribute("aria-sort");
        const way = now === "descending" ? "" : now === "ascending" ? "d" : "a";
        sort(table, i, way);
        keep(table.id, way && i + way);
      });
    });
    const kept = /^(\d+)([ad])$/.exec(state.get(table.id) || "");
    if (kept && Number(kept[1]) < table.tHead.rows[0].cells.length) sort(table, Number(kept[1]), kept[2]);
  }

  // Examples: by task, by words, by method.
  const groups = [...document.querySelectorAll(".examples")];
  if (groups.length) {
    const tools = document.createElement("form");
    tools.className = "tools";
    const field = (name, control) => {
      const label = document.createElement("label");
      label.append(name, control);
      tools.append(label);
      return control;
    };
    const choice = (name, all, values) => {
      const control = field(name, document.createElement("select"));
      control.append(new Option(all, ""), ...values.map(value => new Option(value, value)));
      return control;
    };
    const task = choice("Task", "all tasks", groups.map(group => group.dataset.place));
    const names = [...new Set([...document.querySelectorAll(".method h4")].map(head => head.textContent))];
    const method = choice("Method", "all side by side", names);
    const words = field("Words", document.createElement("input"));
    words.type = "search";
    const found = document.createElement("output");
    tools.append(found);
    groups[0].before(tools);
    const show = () => {
      let count = 0;
      const wanted = words.value.toLowerCase();
      for (const group of groups) {
        group.hidden = Boolean(task.value) && group.dataset.place !== task.value;
        for (const example of group.querySelectorAll(".example")) {
          example.hidden = Boolean(wanted) && !example.textContent.toLowerCase().includes(wanted);
          count += !group.hidden && !example.hidden;
          for (const one of example.querySelectorAll(".method")) {
            one.hidden = Boolean(method.value) && one.firstElementChild.textContent !== method.value;
          }
        }
      }
      found.textContent = count + " shown";
    };
    for (const [key, control] of [["task", task], ["method", method], ["words", words]]) {
      control.value = state.get(key) || "";
      control.addEventListener("input", () => { keep(key, control.value); show(); });
    }
    tools.addEventListener("submit", event => event.preventDefault());
    show();

    // The open example.
    const open = document.getElementById(state.get("open") || "");
    if (open) {
      for (const example of document.querySelectorAll(".example")) example.open = example === open;
      open.scrollIntoView();
    }
    for (const example of document.querySelectorAll(".example")) {
      example.querySelector("summary").addEventListener("click", () => keep("open", example.open ? "" : example.id));
    }
  }

  // A link to an example opens it.
  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.matches(".example")) target.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();

  // Paper cannot unfold anything.
  addEventListener("beforeprint", () => document.querySelectorAll(".words").forEach(words => { words.open = true; }));
})();
