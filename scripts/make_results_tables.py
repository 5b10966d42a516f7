"""The tables of docs/results.md, from the folders of finished runs.

    python scripts/make_results_tables.py reports/study-smollm2 reports/study-gemma3-270m

Prints, in Markdown: of every model and task what was asked, left out and shortened; the means of every method by every metric with
their intervals, methods in the order of the first metric; and what the methods cost. Nothing is computed here: all numbers stand in the
runs' own summary.csv, timings.csv and results.json. Needs nothing but Python.
"""

import csv
import json
import sys
from collections import Counter
from pathlib import Path


def rows(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    return float(text) if text else float("nan")


def with_interval(row: dict | None) -> str:
    if row is None or not row["mean"]:
        return ""
    mean, low, high = (number(row[name]) for name in ("mean", "ci_low", "ci_high"))
    text = f"{mean:.2f} [{low:.2f}, {high:.2f}]" if low == low else f"{mean:.2f}"
    return text.replace("-0.00", "0.00")


def heading(metric: dict) -> str:
    return metric["label"] + (" ↑" if metric["higher_is_better"] else " ↓")


def tables(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    summaries = rows(folder / "summary.csv")
    inexact = {(row["model"], row["task"], row["method"]): row["gap"] for row in results["inexact"]}
    for task in results["tasks"]:
        own = [row for row in summaries if (row["model"], row["task"]) == (task["model"], task["task"])]
        print(f"\n### {task['model']} on {task['task']}\n")
        shortened = f"; {task['shortened']} contexts were shortened" if task["shortened"] else ""
        why = Counter(reason for row in own for reason in [row["reasons"]]).most_common(1)
        count = max((int(row["n"]) for row in own), default=0)
        print(f"{task['examples']} examples of {task['available']}, {count} count"
              f"{f' (left out: {why[0][0]})' if why and why[0][0] else ''}{shortened}.\n")
        metrics = [m for m in results["metrics"] if any(row["metric"] == m["name"] and row["mean"] for row in own)]
        found = {(row["method"], row["metric"]): row for row in own}
        first = metrics[0]["name"]
        sign = -1 if metrics[0]["higher_is_better"] else 1
        order = sorted({row["method"] for row in own}, key=lambda m: sign * number(found[m, first]["mean"]))
        print("| method | " + " | ".join(heading(metric) for metric in metrics) + " |")
        print("|---" * (len(metrics) + 1) + "|")
        for method in order:
            mark = " †" if (task["model"], task["task"], method) in inexact else ""
            print(f"| {method}{mark} | " + " | ".join(with_interval(found.get((method, m["name"]))) for m in metrics) + " |")
    names = list(dict.fromkeys(task["task"] for task in results["tasks"]))
    counted = {(row["task"], row["method"]): int(row["n"]) for row in summaries if row["mean"]}
    cost: dict[str, dict[str, str]] = {}
    for row in rows(folder / "timings.csv"):
        n = max(counted.get((row["task"], row["method"]), 0), 1)
        each = {name: number(row[name]) / n for name in ("attribution_seconds", "forward_rows_asked", "gradient_rows_asked")}
        cost.setdefault(row["method"], {})[row["task"]] = (
            f"{each['attribution_seconds']:.2f} ({each['forward_rows_asked']:.0f}, {each['gradient_rows_asked']:.0f})")
    print(f"\n### What {results['tasks'][0]['model']} cost\n\nSeconds of an attribution, an example; in brackets the rows asked for, "
          "forward (metrics included) and gradient.\n")
    print("| method | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for method, by_task in cost.items():
        print(f"| {method} | " + " | ".join(by_task.get(name, "") for name in names) + " |")


for argument in sys.argv[1:]:
    tables(Path(argument))
